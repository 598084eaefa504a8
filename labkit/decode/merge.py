"""Typed columns and the one rule for fields that disagree, on Arrow types. Pure.

The rule is that of ``labkit.decode.json``, for more types. A field whose schemas agree has that
type; integers and fractions together are numbers; objects merge field by field, lists by their
items, maps by their values; decimals widen; times of milliseconds and microseconds are
microseconds; whatever else disagrees is text, each value as its JSON (bytes in it as base64, times
in ISO 8601). It gives the same whatever the order or the grouping.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from labkit.checks.suggest import typed
from labkit.decode.decoder import FieldPath
from labkit.tables.arrow import decimal_text

Fields = dict[str, pa.DataType]
TEXT, BINARY = pa.large_string(), pa.large_binary()
_NUMBERS = {pa.int64(), pa.float64()}


def merge(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    """Return the type that holds values of both."""
    if left.equals(right) or pa.types.is_null(right):
        return left
    if pa.types.is_null(left):
        return right
    if {left, right} == _NUMBERS:
        return pa.float64()
    return _merge_nested(left, right) or _merge_scalars(left, right) or TEXT


def _merge_nested(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    if pa.types.is_struct(left) and pa.types.is_struct(right):
        return pa.struct(list(merge_fields(fields_of(left), fields_of(right)).items()))
    if pa.types.is_large_list(left) and pa.types.is_large_list(right):
        return pa.large_list(merge(left.value_type, right.value_type))
    if pa.types.is_map(left) and pa.types.is_map(right) and left.key_type.equals(right.key_type):
        return pa.map_(left.key_type, merge(left.item_type, right.item_type))
    return None


def _merge_scalars(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    if pa.types.is_decimal(left) and pa.types.is_decimal(right):
        integer_digits = max(left.precision - left.scale, right.precision - right.scale)
        scale = max(left.scale, right.scale)
        return decimal(integer_digits + scale, scale)
    if pa.types.is_timestamp(left) and pa.types.is_timestamp(right) and left.tz == right.tz:
        # ns ends in 2262
        return None if "ns" in (left.unit, right.unit) else pa.timestamp("us", left.tz)
    return pa.time64("us") if {left, right} == {pa.time32("ms"), pa.time64("us")} else None


def decimal(precision: int, scale: int) -> pa.DataType:
    """Return the decimal type; text beyond 38 digits, which neither DuckDB nor polars can have."""
    if not 0 < precision <= 38 or not 0 <= scale <= precision:
        return TEXT
    return pa.decimal128(precision, scale)


def fields_of(kind: pa.StructType) -> Fields:
    """Return a struct's fields."""
    return {member.name: member.type for member in kind}


def merge_fields(left: Mapping[str, pa.DataType], right: Mapping[str, pa.DataType]) -> Fields:
    """Merge two sets of fields; each keeps the place it was first seen in."""
    return {
        name: merge(left.get(name, pa.null()), right.get(name, pa.null()))
        for name in (*left, *right)
    }


def unify(schemas: Iterable[Mapping[str, pa.DataType]]) -> Fields:
    """Return the one schema that holds for all; what is null throughout is text."""
    no_fields: Fields = {}
    return {
        name: settle_type(kind) for name, kind in reduce(merge_fields, schemas, no_fields).items()
    }


def settle_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column at the end: null and objects without a field are text."""
    if pa.types.is_null(kind):
        return TEXT
    if pa.types.is_struct(kind):
        return (
            pa.struct([(member.name, settle_type(member.type)) for member in kind])
            if kind.num_fields
            else TEXT
        )
    if pa.types.is_large_list(kind):
        return pa.large_list(settle_type(kind.value_type))
    if pa.types.is_map(kind):
        return pa.map_(kind.key_type, settle_type(kind.item_type))
    return kind


def disagreements(schemas: Sequence[Fields], above: FieldPath = ()) -> dict[FieldPath, str]:
    """Return each field that is text because schemas disagree, and what the receipt says of it."""
    paths: dict[FieldPath, str] = {}
    names = dict.fromkeys(name for fields in schemas for name in fields)
    for name in names:
        kinds = [fields[name] for fields in schemas if name in fields]
        paths |= disagreements_of(kinds, (*above, name))
    return paths


def disagreements_of(kinds: Sequence[pa.DataType], path: FieldPath) -> dict[FieldPath, str]:
    """Return the field where its types are one as text only, or those within it."""
    kinds = list(dict.fromkeys(kind for kind in kinds if not pa.types.is_null(kind)))
    if all(map(pa.types.is_struct, kinds)):
        return disagreements([fields_of(kind) for kind in kinds], path)
    if all(map(pa.types.is_large_list, kinds)):
        return disagreements_of([kind.value_type for kind in kinds], (*path, "[]"))
    if all(map(pa.types.is_map, kinds)) and len({kind.key_type for kind in kinds}) == 1:
        return disagreements_of([kind.item_type for kind in kinds], (*path, "[]"))
    if len(kinds) < 2 or not reduce(merge, kinds).equals(TEXT):
        return {}
    words = list(dict.fromkeys(map(_word, kinds)))
    name = ".".join(path).replace(".[]", "[]")
    hint = way_to_type(name, "float") if len(path) == 1 and "numbers" in words else ""
    return {path: f"field {name}: {' and '.join(words)} in its schemas → text{hint}"}


def way_to_type(name: str, kind: str) -> str:
    """Return how a read gives a field a type, as the end of a note; no command does."""
    return typed(f'{_WAY}{{"{name}": "{kind}"}})', "")


def without_way(note: str) -> str:
    """Return a note for what takes no ``types=``."""
    return note.partition(_WAY)[0]


def _word(kind: pa.DataType) -> str:
    """Return what values of a type are called in a note."""
    return next((word for fits, word in _WORDS if fits(kind)), str(kind))


_WAY = "; read(types="
_WORDS: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (pa.types.is_integer, "numbers"),
    (pa.types.is_floating, "numbers"),
    (pa.types.is_decimal, "decimals"),
    (pa.types.is_boolean, "booleans"),
    (pa.types.is_large_string, "texts"),
    (pa.types.is_large_binary, "bytes"),
    (pa.types.is_struct, "objects"),
    (pa.types.is_large_list, "lists"),
    (pa.types.is_map, "maps"),
    (pa.types.is_temporal, "times"),
)


# values --------------------------------------------------------------------------------------------------


@dataclass
class Rounded:
    """The first integer that became another number, as a fraction of 64 bits.

    They are not counted: a file's records are decoded twice.
    """

    first: int | None = None

    @property
    def notes(self) -> list[str]:
        """What the receipt should say."""
        if self.first is None:
            return []
        return [
            f"integers were rounded to fractions, which their fields hold too: such as {self.first}"
        ]

    def add(self, values: Iterable[int]) -> None:
        """Take in some."""
        self.first = next(iter(values), None) if self.first is None else self.first


def fit(value: Any, kind: pa.DataType, rounded: Rounded | None = None) -> Any:
    """Return a Python value as `pyarrow.array` takes it for `kind`.

    The value's own type was merged into `kind`. Integers that this changes are noted in
    `rounded`.
    """
    fitted = value
    if value is None:
        return None
    if kind.equals(TEXT):
        fitted = text(value)
    elif pa.types.is_floating(kind):
        fitted = float(value)
        if rounded is not None and fitted != value and isinstance(value, int):
            rounded.add([value])
    elif pa.types.is_struct(kind):
        fitted = {member.name: fit(value.get(member.name), member.type, rounded) for member in kind}
    elif pa.types.is_large_list(kind):
        fitted = [fit(item, kind.value_type, rounded) for item in value]
    elif pa.types.is_map(kind):
        fitted = [(key, fit(item, kind.item_type, rounded)) for key, item in value.items()]
    return fitted


def text(value: Any) -> str:
    """Return a value as text: a text as it is, anything else as its JSON."""
    json_value = as_json(value)
    return json_value if isinstance(json_value, str) else json.dumps(json_value, ensure_ascii=False)


def as_json(value: Any) -> Any:
    """Return a value as JSON has it: bytes are base64, times and decimals texts."""
    if isinstance(value, dict):
        return {
            key if isinstance(key, str) else text(key): as_json_within(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [as_json_within(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, timedelta):
        micros = value // timedelta(microseconds=1)
        return seconds(1000 * micros + getattr(value, "nanoseconds", 0), 9)
    text_of = decimal_text if isinstance(value, Decimal) else str  # else UUIDs
    return value.isoformat() if hasattr(value, "isoformat") else text_of(value)


def seconds(ticks: int, digits: int) -> str:
    """Return a length of time as Protobuf's JSON has it: ``-1.5s``.

    A second has 10^`digits` ticks.
    """
    return f"{Decimal(ticks).scaleb(-digits).normalize():f}s"


def as_json_within(value: Any) -> Any:
    """Return a value within JSON as JSON has it, which knows no infinity and no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else as_json(value)


def cast(column: pa.Array, kind: pa.DataType, rounded: Rounded | None = None) -> pa.Array:
    """Return a column under a type its own was merged into.

    Integers that this changes are noted in `rounded`.
    """
    if column.type.equals(kind):
        return column
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), kind)
    if pa.types.is_nested(column.type) or kind.equals(TEXT):
        own = column.type
        return pa.array(
            [fit(maps_as_dicts(value, own), kind, rounded) for value in column.to_pylist()], kind
        )
    converted = pc.cast(column, kind, safe=not pa.types.is_floating(kind))
    if rounded is not None and pa.types.is_integer(column.type) and pa.types.is_floating(kind):
        same = pc.equal(pc.cast(converted, column.type, safe=False), column)
        rounded.add(column.filter(pc.invert(same)).to_pylist())
    return converted


def maps_as_dicts(value: Any, kind: pa.DataType) -> Any:
    """Return a value from Arrow with its maps as dicts again, as they were before."""
    if value is None or not pa.types.is_nested(kind):
        return value
    if pa.types.is_map(kind):
        return {key: maps_as_dicts(item, kind.item_type) for key, item in value}
    if pa.types.is_struct(kind):
        return {member.name: maps_as_dicts(value[member.name], member.type) for member in kind}
    return [maps_as_dicts(item, kind.value_type) for item in value]
