"""Counting Arrow columns with DuckDB: a Replay's table, a DataFrame, any Arrow table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from labkit.charts.buckets import Grid
from labkit.charts.clock import usable, zone_named
from labkit.charts.source import Counts, Span, Term, Terms
from labkit.checks.suggest import unknown_field
from labkit.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

TIMES = ("_timestamp", "@timestamp")
# A remainder that is never negative: times before 1970 fall into the right bucket too.
_BUCKET = "stamp - (((stamp - $offset) % $every) + $every) % $every"


@dataclass(frozen=True)
class Table:
    """A table whose columns are converted to Arrow when they are asked for."""

    schema: pa.Schema
    get: Callable[[str], Any]
    rows: int

    @classmethod
    def of_arrow(cls, table: pa.Table) -> Table:
        """Wrap an Arrow table."""
        return cls(table.schema, table.column, table.num_rows)

    @classmethod
    def of_pandas(cls, frame: pd.DataFrame) -> Table:
        """Wrap a DataFrame; an index of times counts as a column."""
        import pandas as pd

        if isinstance(frame.index, pd.DatetimeIndex):
            frame = frame.rename_axis(index=str(frame.index.name or "index"))
            frame = frame.reset_index(drop=frame.index.name in frame.columns)
        frame = frame.rename(columns=str)
        try:
            schema = pa.Schema.from_pandas(frame.head(0), preserve_index=False)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise UsageError(
                f"this DataFrame has no Arrow form: {error}", hint="are column names unique?"
            ) from error

        def get(name: str) -> Any:
            try:
                return pa.chunked_array([pa.Array.from_pandas(frame[name])])
            except (pa.ArrowException, TypeError) as error:
                raise UsageError(
                    f"column {name!r} holds values of different kinds: {error}",
                    hint=f"such as frame[{name!r}] = frame[{name!r}].astype(str)",
                ) from error

        return cls(schema, get, len(frame))

    def column(self, name: str) -> Any:
        """Return one column; ``geo.country`` is a struct's member.

        Raises
        ------
        UsageError
            When no such column is there, or when it holds lists or structs.
        """
        if not isinstance(name, str):
            raise UsageError(f"a field's name must be a text, not {name!r}", hint="such as 'nick'")
        head, *path = [name] if name in self.schema.names else name.split(".")
        # an empty window
        if head not in self.schema.names and not self.rows and "_offset" in self.schema.names:
            return pa.chunked_array([], pa.null())
        if head not in self.schema.names:
            raise unknown_field(name, self.schema.names)
        values = self.get(head)
        for member in path:
            if not pa.types.is_struct(values.type) or values.type.get_field_index(member) < 0:
                raise unknown_field(name, self.schema.names)
            values = pc.struct_field(values, member)
        if pa.types.is_nested(values.type):
            raise _uncountable(name, values.type)
        return (
            values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
        )


def _uncountable(name: str, kind: pa.DataType) -> UsageError:
    words, hint = "maps", "make a column of plain values first"
    if pa.types.is_struct(kind):
        words = "objects"
        if kind.num_fields:
            hint = f"name one of {', '.join(f'{name}.{member.name}' for member in kind)}"
    elif not pa.types.is_map(kind):
        words, hint = "lists", f"make a row of each value first: frame.explode({name!r})"
    return UsageError(f"{name!r} holds {words}, which cannot be counted", hint=hint)


def find_time(table: Table, asked: str | None, *, needed: bool) -> str | None:
    """Return the name of the column that says when.

    It is the one asked for, else labkit's own, else the only column of times.
    """
    if asked is not None:
        return asked
    times: list[str] = [
        field.name
        for field in table.schema
        if pa.types.is_temporal(field.type) and _is_dated(field.type)
    ]
    for name in TIMES:  # texts of an index, too
        if name in times or (name in table.schema.names and is_text(table.schema.field(name).type)):
            return name
    if len(times) == 1:
        return times[0]
    if not needed:
        return None
    if times:
        raise UsageError(
            f"more than one column holds times: {', '.join(times)}",
            hint=f"choose one, such as time_field={times[0]!r}",
            names=times,
        )
    names = ", ".join(table.schema.names)
    raise UsageError(
        "no column holds times",
        hint=f"time_field= names one, also of ISO 8601 texts; there are: {names or 'none'}",
    )


def is_text(kind: pa.DataType) -> bool:
    """Tell whether a column of this type holds texts."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_dated(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


class Columns:
    """Arrow columns as a `Source`.

    Parameters
    ----------
    table : Table
    time : str or None
        The column that says when.
    name : str
        What the data is called, or ``""``.
    zone : tzinfo, optional
        In which times are shown; by default that of the column's type, else UTC.
    """

    def __init__(
        self, table: Table, time: str | None, name: str = "", zone: tzinfo | None = None
    ) -> None:
        self._table = table
        self._zone = zone or (
            UTC if time is None else zone_named(getattr(table.column(time).type, "tz", None))
        )
        self._stamps = (
            pa.nulls(table.rows, pa.int64())
            if time is None
            else _milliseconds(table.column(time), time)
        )
        self._name = name

    @property
    def name(self) -> str:
        """What it is called."""
        return self._name

    @cached_property
    def span(self) -> Span:
        """How many records and when."""
        sql = "select count(*), count(stamp), min(stamp), max(stamp) from t"
        ((records, timed, first, last),) = ask(pa.table({"stamp": self._stamps}), sql)
        return Span(records, timed, first, last, usable(self._zone, first, last))

    def histogram(self, grid: Grid) -> Counts:
        """Count the records of each bucket."""
        bucket, source, parameters = _bucket_sql(grid)
        sql = f"select {bucket} bucket, count(*) from {source} where stamp is not null group by 1"
        return dict(ask(pa.table({"stamp": self._stamps}), sql, **parameters))

    def column(self, field: str) -> Any:
        """Return one column of plain values; `Table.column` tells what it refuses."""
        return self._table.column(field)

    def _with(self, field: str) -> pa.Table:
        return pa.table({"stamp": self._stamps, "raw": self.column(field)})

    def terms(self, field: str, size: int, *, timed: bool) -> Terms:
        """Count the most frequent values."""
        table, where = self._with(field), "stamp is not null" if timed else "true"
        sql = f"select count(*), count(raw), count(distinct raw) from t where {where}"
        ((records, valued, distinct),) = ask(table, sql)
        sql = f"""select cast(raw as varchar), count(*) n from t where raw is not null and {where}
                  group by raw order by n desc, raw limit $size"""
        top = [Term(label, n) for label, n in ask(table, sql, size=size)]
        return Terms(top, distinct, True, records, records - valued)

    def split(
        self, field: str, terms: list[Term], grid: Grid
    ) -> tuple[Counts, list[Counts], Counts]:
        """Count the records of each bucket: all, by term, without a value."""
        bucket, source, parameters = _bucket_sql(grid)
        sql = f"""select {bucket} bucket, cast(raw as varchar) label, count(*) from {source} where stamp is not null
                  and (raw is null or list_contains($keys, cast(raw as varchar))) group by 1, 2"""
        keys = [term.label for term in terms]
        rows = ask(self._with(field), sql, keys=keys, **parameters)
        by_label: dict[str | None, Counts] = {}
        for bucket, label, n in rows:
            by_label.setdefault(label, {})[bucket] = n
        return self.histogram(grid), [by_label.get(key, {}) for key in keys], by_label.get(None, {})


def _bucket_sql(grid: Grid) -> tuple[str, str, dict[str, Any]]:
    """Return a time's bucket as SQL, the table to ask it of, and the parameters."""
    if not grid.edges:
        return _BUCKET, "t", {"offset": grid.offset_ms, "every": grid.every_ms}
    source = "t asof join (select unnest($starts) begins) on stamp >= begins"
    return "begins", source, {"starts": [*grid.starts, grid.end_ms]}


def ask(table: pa.Table, sql: str, **parameters: Any) -> list[Any]:
    """Ask DuckDB about `table`, which is ``t``; the answer is small."""
    from labkit.tables.duckdb_sql import connect, register

    with connect() as connection:
        register(connection, "t", table)
        return list(connection.execute(sql, parameters).fetchall())


def _milliseconds(column: Any, name: str) -> Any:
    """Return times as milliseconds since the epoch; without a zone they are UTC."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("ms", kind.tz), safe=False).cast(pa.int64())
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("ms")).cast(pa.int64())
    if is_text(kind):
        return _parse_times(column, name)
    if pa.types.is_null(kind):
        return column.cast(pa.int64())
    raise UsageError(
        f"{name!r} holds {kind}, not times",
        hint="pandas.to_datetime(column, unit=…, utc=True) makes times of numbers; their unit would be a guess",
    )


def _parse_times(column: Any, name: str) -> Any:
    """Return ISO 8601 texts as milliseconds; any other text becomes null."""
    from labkit.tables.duckdb_sql import connect, register

    with connect() as connection:
        register(connection, "t", pa.table({"raw": column}))
        parsed = connection.sql(
            "select epoch_ms(try_cast(raw as timestamptz)) stamp from t"
        ).to_arrow_table()["stamp"]
    if parsed.null_count == len(parsed) and column.null_count < len(column):
        raise UsageError(
            f"{name!r} holds no times", hint="texts must be ISO 8601, such as 2016-03-01T12:30:00Z"
        )
    return parsed
