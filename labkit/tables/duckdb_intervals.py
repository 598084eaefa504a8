"""Intervals on their way into and out of DuckDB: the exact length, or an error.

DuckDB counts microseconds, and hands an interval to Arrow as months, days and 64 bits of
nanoseconds: more than 292 years of microseconds come out as another length, without a word. So
whole days are carried into the days first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labkit.errors import UsageError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

_ANSWER = "_answer_with_intervals"  # no table of a user's is called so
_MACRO = """
    create or replace macro carry_days_of(length) as case when length is not null then
        to_months((12 * date_part('year', length) + date_part('month', length))::int)
        + to_days((date_part('day', length) + date_part('hour', length) // 24)::int)
        + to_microseconds(date_part('hour', length) % 24 * 3600000000 + date_part('minute', length) * 60000000
            + date_part('microsecond', length))
    end
"""


def with_carried_days(connection: DuckDBPyConnection, answer: DuckDBPyRelation) -> DuckDBPyRelation:
    """Return an answer whose intervals, also in lists and objects, leave DuckDB as they are.

    Raises
    ------
    UsageError
        When one stands where it cannot be reached: in a union.
    """
    if not any(_holds_interval(kind) for kind in answer.types):
        return answer
    connection.execute(_MACRO)
    # two of one name stay apart
    names = [f"column_{place}" for place in range(len(answer.columns))]
    columns = [
        f"{_carry_sql(name, kind)} as {_quote(column)}"
        for name, kind, column in zip(names, answer.types, answer.columns, strict=True)
    ]
    source = f"{_ANSWER} as {_ANSWER}({', '.join(names)})"
    return answer.query(_ANSWER, f"select {', '.join(columns)} from {source}")


def _holds_interval(kind: Any) -> bool:
    return kind.id == "interval" or any(_holds_interval(child) for _, child in _children(kind))


def _children(kind: Any) -> list[tuple[str, Any]]:
    if kind.id not in ("list", "array", "struct", "map", "union"):
        return []
    return (
        [(name, child) for name, child in kind.children if name != "size"]
        if kind.id == "array"
        else kind.children
    )


def _carry_sql(value: str, kind: Any, depth: int = 0) -> str:
    """Return the SQL of a value whose intervals have less than a day of microseconds."""
    if not _holds_interval(kind):
        return value
    if kind.id == "interval":
        return f"carry_days_of({value})"
    item = f"item_{depth}"
    children = dict(_children(kind))
    if kind.id == "struct":
        fields = [
            f"{_quote(name)} := {_carry_sql(f'{value}.{_quote(name)}', child, depth)}"
            for name, child in children.items()
        ]
        return f"case when {value} is not null then struct_pack({', '.join(fields)}) end"
    if kind.id == "map":
        pair = [
            f'"{name}" := {_carry_sql(f"{item}.{name}", child, depth + 1)}'
            for name, child in children.items()
        ]
        entries = (
            f"list_transform(map_entries({value}), lambda {item}: struct_pack({', '.join(pair)}))"
        )
        return f"case when {value} is not null then map_from_entries({entries}) end"
    if kind.id == "union":
        raise UsageError(
            "sql gives no interval within a union", hint="ask for epoch_us(…) of it: microseconds"
        )
    child = children["child"]
    items = (
        f"list_transform({value}::{child}[], lambda {item}: {_carry_sql(item, child, depth + 1)})"
    )
    return f"{items}::{kind}" if kind.id == "array" else items


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def in_microseconds(table: pa.Table) -> pa.Table:
    """Return a table whose durations, and times with a zone, have microseconds, not nanoseconds.

    DuckDB would cut such durations without a word. Such times have a type of their own, which is
    equal to no other time, so they are cut.

    Raises
    ------
    UsageError
        When a duration has a part of a microsecond.
    """
    for place, field in enumerate(table.schema):
        if (kind := cut_times(field.type)) != field.type:
            field = field.with_type(kind)  # noqa: PLW2901
            table = table.set_column(place, field, table.column(place).cast(kind, safe=False))
        if (kind := _with_types(field.type, _cut_duration)) == field.type:
            continue
        try:
            column = table.column(place).cast(kind)
        except pa.ArrowInvalid as error:
            raise _cut(field.name) from error
        table = table.set_column(place, field.with_type(kind), column)
    return table


def cut_times(kind: pa.DataType) -> pa.DataType:
    """Return a type whose times with a zone have microseconds, not nanoseconds."""
    return _with_types(kind, _cut_time)


def _cut_time(kind: pa.DataType) -> pa.DataType:
    is_fine = pa.types.is_timestamp(kind) and kind.unit == "ns" and kind.tz is not None
    return pa.timestamp("us", kind.tz) if is_fine else kind


def _cut_duration(kind: pa.DataType) -> pa.DataType:
    return pa.duration("us") if pa.types.is_duration(kind) and kind.unit == "ns" else kind


def _with_types(kind: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """Return a type with the types in it that `change` returns in their place."""
    for is_list, make in ((pa.types.is_list, pa.list_), (pa.types.is_large_list, pa.large_list)):
        if is_list(kind):
            return make(kind.value_field.with_type(_with_types(kind.value_type, change)))
    if pa.types.is_map(kind):
        return pa.map_(kind.key_type, _with_types(kind.item_type, change))
    if pa.types.is_struct(kind):
        return pa.struct([part.with_type(_with_types(part.type, change)) for part in kind])
    return change(kind)


def refuse_cut_durations(frame: Any) -> None:
    """Raise UsageError when a pandas frame has a duration with a part of a microsecond."""
    for place, dtype in enumerate(frame.dtypes):
        if getattr(dtype, "kind", "") == "m" and str(dtype) == "timedelta64[ns]":
            column = frame.iloc[:, place].dropna()
            if (column.to_numpy().astype("int64") % 1000).any():
                raise _cut(str(frame.columns[place]))


def _cut(name: str) -> UsageError:
    return UsageError(
        f"{name!r} has durations of nanoseconds, and DuckDB counts whole microseconds",
        hint="round them first, or give their nanoseconds as integers",
    )
