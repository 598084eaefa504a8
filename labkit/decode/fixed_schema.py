"""Bring batches under a schema fixed beforehand, for engines that plan before they read.

One rule. The columns and their types are those found beforehand. A value of another type is null
and its record has ``_error``, so it counts as undecodable; a number that is whole is an integer,
a text that reads as the type is taken for it, and anything can be text. A field that was not found beforehand is no
column, and the receipt names it. A field without a value beforehand is text. ``_value`` keeps every
record's bytes.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from labkit.decode import merge
from labkit.decode.decoder import Decoder
from labkit.errors import LabkitError
from labkit.tables.arrow import is_bytes, is_text, join_chunks
from labkit.waiting.interrupt import Cancelled


class Fixed(Decoder):
    """A decoder whose batches come out under a known schema.

    What a batch has beyond it is merged with it.

    Parameters
    ----------
    inner : Decoder
        As `labkit.decode.find_decoders` returns it.
    known : Any
        What its `unify` returned.
    """

    def __init__(self, inner: Decoder, known: Any) -> None:
        self.inner, self.known = inner, known

    @property
    def notes(self) -> list[str]:
        """What the receipt should say."""
        return [*self.inner.notes, *self.inner.disagreements.values()]

    @property
    def lasting(self) -> bool:
        """Whether decoding again gives the same."""
        return self.inner.lasting

    @property
    def parts(self) -> tuple[Decoder, ...]:
        """What decodes the values and the keys."""
        return self.inner.parts

    @property
    def trouble(self) -> LabkitError | None:
        """What kept a registry from answering."""
        return self.inner.trouble

    def heed(self, cancelled: Cancelled) -> None:
        """Let the decoder within know of an interrupt."""
        self.inner.heed(cancelled)

    def parse(self, values: pa.BinaryArray) -> Any:
        """Decode one batch of values."""
        return self.inner.parse(values)

    def parse_batch(self, batch: pa.RecordBatch) -> Any:
        """Decode one batch of records."""
        return self.inner.parse_batch(batch)

    def unify(self, schemas: Iterable[Any]) -> Any:
        """Return the one schema that holds for what is known and all batches."""
        return self.inner.unify([self.known, *schemas])

    def columns(self, parsed: Any, schema: Any) -> pa.Table:
        """Return the fields of the values."""
        table: pa.Table = self.inner.columns(parsed, schema)
        return table

    def key_columns(self, parsed: Any, schema: Any) -> pa.Table:
        """Return the fields of the keys."""
        return self.inner.key_columns(parsed, schema)


@dataclass
class Conformed:
    """A table under a fixed schema.

    Attributes
    ----------
    table : pyarrow.Table
    unknown : dict
        Field that is no column to how many records have a value in it.
    """

    table: pa.Table
    unknown: dict[str, int] = field(default_factory=dict)


def conform(table: pa.Table, layout: pa.Schema) -> Conformed:
    """Bring a decoded table under `layout`, by the rule above.

    Parameters
    ----------
    table : pyarrow.Table
        As `labkit.decode.pipeline.decoded_table` returns it.
    layout : pyarrow.Schema
        With the same metadata columns.
    """
    fitting = _Fitting()
    columns: dict[str, Any] = {}
    present = set(table.column_names)
    for column in layout:
        if column.name in present:
            columns[column.name] = fitting.chunked(table[column.name], column.type, column.name)
        else:
            columns[column.name] = pa.nulls(len(table), column.type)
    for name in table.column_names:
        if name not in columns and (count := len(table) - table[name].null_count):
            fitting.unknown[name] = count
    if fitting.errors:
        columns["_error"] = _error_column(columns["_error"], fitting.errors)
    return Conformed(pa.table(columns, schema=layout), fitting.unknown)


def fit_column(
    column: pa.ChunkedArray, kind: pa.DataType, name: str, errors: dict[int, str]
) -> pa.Array:
    """Return a column under a type.

    Null, and the reason in `errors`, where a value is of another.
    """
    return _Fitting(errors).column(join_chunks(column), kind, name)


@dataclass
class _Fitting:
    """Brings columns under other types.

    Attributes
    ----------
    errors : dict
        Row to why a value in it is null now.
    unknown : dict
        Field that the type does not have to how many values were in it.
    """

    errors: dict[int, str] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)

    def chunked(self, column: pa.ChunkedArray, kind: pa.DataType, name: str) -> Any:
        """Return a table's column under a type, as it is where it has that type."""
        return column if column.type.equals(kind) else self.column(join_chunks(column), kind, name)

    def column(self, column: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
        """Return a column under another type; note the rows with a value of another type."""
        if column.type.equals(kind):
            return column
        if pa.types.is_null(column.type):
            return pa.nulls(len(column), kind)
        if pa.types.is_struct(column.type) and pa.types.is_struct(kind):
            return self._object(column, kind, name)
        if _are_alike(column.type, kind) and not pa.types.is_nested(kind):
            try:
                return column.cast(kind)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                pass
        if is_text(kind) and not is_text(column.type):
            return merge.cast(column, merge.TEXT).cast(kind)
        return self._one_by_one(column, kind, name)

    def _object(self, column: Any, kind: pa.DataType, name: str) -> pa.Array:
        inner = dict(zip([part.name for part in column.type], column.flatten(), strict=True))
        parts = [
            self.column(inner.pop(part.name), part.type, f"{name}.{part.name}")
            if part.name in inner
            else pa.nulls(len(column), part.type)
            for part in kind
        ]
        for extra in sorted(inner):
            if count := len(column) - inner[extra].null_count:
                self._count_unknown(f"{name}.{extra}", count)
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=column.is_null())

    def _count_unknown(self, name: str, count: int = 1) -> None:
        self.unknown[name] = self.unknown.get(name, 0) + count

    def _one_by_one(self, column: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
        values = []
        for row, value in enumerate(column.to_pylist()):
            misfits: list[str] = []
            values.append(self._value(value, kind, name, misfits))
            if misfits:
                self.errors.setdefault(row, misfits[0])
        return pa.array(values, kind)

    def _value(self, value: Any, kind: pa.DataType, name: str, misfits: list[str]) -> Any:
        """Return a value as Arrow takes it for `kind`.

        A value of another type is None, and the reason is put into `misfits`.
        """
        if isinstance(value, str) and not is_text(kind):
            # values that disagree are JSON in a column of texts, or in a list of them
            value = _read(value)
        if value is None:
            return None
        if pa.types.is_struct(kind) and isinstance(value, dict):
            return self._members(value, kind, name, misfits)
        if pa.types.is_map(kind) and (isinstance(value, dict) or _is_map(value)):
            pairs = value.items() if isinstance(value, dict) else value
            return [(key, self._value(item, kind.item_type, name, misfits)) for key, item in pairs]
        if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and isinstance(value, list):
            return [self._value(item, kind.value_type, name, misfits) for item in value]
        try:
            scalar = _scalar(value, kind)
        except (ValueError, TypeError, OverflowError, pa.ArrowException):
            scalar = None
        if scalar is None:
            misfits.append(f"{_misfit(name, kind)}: {reprlib.repr(value)}")
        return scalar

    def _members(
        self, value: dict[str, Any], kind: pa.DataType, name: str, misfits: list[str]
    ) -> dict[str, Any]:
        names = {part.name for part in kind}
        for key, item in value.items():
            if key not in names and item is not None:
                self._count_unknown(f"{name}.{key}")
        return {
            part.name: self._value(value.get(part.name), part.type, f"{name}.{part.name}", misfits)
            for part in kind
        }


def _is_map(value: Any) -> bool:
    """Tell whether a value from Arrow is a map: a list of pairs, which JSON has none of."""
    return isinstance(value, list) and all(isinstance(pair, tuple) for pair in value)


def _are_alike(left: pa.DataType, right: pa.DataType) -> bool:
    """Tell whether Arrow's cast keeps the meaning: text stays text, and a boolean a boolean."""
    booleans = pa.types.is_boolean(left), pa.types.is_boolean(right)
    return is_text(left) == is_text(right) and booleans[0] == booleans[1]


def _read(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _scalar(value: Any, kind: pa.DataType) -> Any:
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if pa.types.is_boolean(kind):
        return value if isinstance(value, bool) else None
    if pa.types.is_integer(kind):
        return pa.scalar(int(value), kind).as_py() if number and value == int(value) else None
    if pa.types.is_floating(kind):
        return float(value) if number else None
    if is_text(kind):
        return merge.text(value)
    return None if pa.types.is_nested(kind) else _fit_other(value, kind)


def _fit_other(value: Any, kind: pa.DataType) -> Any:
    """Return a time, decimal or bytes.

    A text is not taken for bytes, and Arrow reads no time with a digit too many.
    """
    if not isinstance(value, str):
        return pa.scalar(value).cast(kind).as_py()
    if is_bytes(kind):
        return None
    if pa.types.is_timestamp(kind):
        return pa.scalar(datetime.fromisoformat(value), kind).as_py()
    if pa.types.is_time(kind):
        return pa.scalar(time.fromisoformat(value), kind).as_py()
    return pa.scalar(value).cast(kind).as_py()


def _misfit(name: str, kind: pa.DataType) -> str:
    return f"field {name!r} is no {kind} here"


def _error_column(column: Any, errors: dict[int, str]) -> pa.Array:
    texts: list[str | None] = [None] * len(column)
    for row, reason in errors.items():
        texts[row] = reason
    return pc.coalesce(column, pa.array(texts, column.type))
