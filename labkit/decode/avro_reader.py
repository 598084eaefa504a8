"""Avro schemas as Arrow types, and a reader of records written under one.

Integers have 64 bits and fractions are doubles; logical types of times, dates and decimals are
Arrow's, UUIDs and enums are text, bytes and fixed are binary, maps are maps. A union with null may
be null; one of several other types follows the rule for fields that disagree
(``labkit.decode.merge``): ``["int", "double"]`` is a number, ``["long", "string"]`` text, several
records are one object with the fields of all. A type that holds itself is text from there on, as
its JSON. A schema that is no record has one column, ``value``.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import reduce
from typing import Any

import fastavro
import pyarrow as pa

from labkit.decode.avro_limits import Walker, needs_walk
from labkit.decode.avro_schema import VALUE, parse_schema, without_invalid, without_logical
from labkit.decode.avro_values import meaning
from labkit.decode.decoder import FieldPath
from labkit.decode.limits import COLUMNS, MORE, columns_note
from labkit.decode.merge import (
    BINARY,
    TEXT,
    Fields,
    Rounded,
    decimal,
    disagreements_of,
    fields_of,
    fit,
    merge,
)

DEPTH = 24  # Arrow takes 64 levels
_PRIMITIVES = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int64(),
    "long": pa.int64(),
    "float": pa.float64(),
    "double": pa.float64(),
    "bytes": BINARY,
    "fixed": BINARY,
    "string": TEXT,
    "enum": TEXT,
}
_LOGICAL = {
    "int-date": pa.date32(),
    "int-time-millis": pa.time32("ms"),
    "long-time-micros": pa.time64("us"),
    "long-timestamp-millis": pa.timestamp("ms", "UTC"),
    "long-timestamp-micros": pa.timestamp("us", "UTC"),
    "long-timestamp-nanos": pa.timestamp("ns", "UTC"),
    "long-local-timestamp-millis": pa.timestamp("ms"),
    "long-local-timestamp-micros": pa.timestamp("us"),
    "long-local-timestamp-nanos": pa.timestamp("ns"),
}

_TIMES_OF_DAY = ("int-time-millis", "long-time-micros")


class Reader:
    """Reads records written under one schema.

    Parameters
    ----------
    schema : confluent_kafka.schema_registry.Schema
    referenced : callable
        Takes a subject and a version and returns that schema.

    Attributes
    ----------
    fields : dict
        Column to Arrow type.
    name : str
        The record's full name, for messages.
    problems : list of str
        Which values of the record read last mean nothing, and are null or text.
    disagreements : dict
        Fields that are text because they are unions of several types: path to a note.
    """

    def __init__(self, schema: Any, referenced: Callable[[str, int], Any]) -> None:
        self._source, self._referenced = schema, referenced
        self._schema, self._named, self._wrapped = parse_schema(schema, referenced, without_invalid)
        self._walker = (
            Walker(self._schema, self._named) if needs_walk(self._schema, self._named) else None
        )
        self._columns = 0
        self._rest: list[str] = []
        # the schema without logical types: made when a value means nothing by its own
        self._written: Any = None
        self.problems: list[str] = []
        self.disagreements: dict[FieldPath, str] = {}
        self._rounded = Rounded()  # of a union of integers and fractions
        self._careful = False  # fastavro makes 00:00:00.999 of a time of day of -1 ms
        root = self._schema["fields"][0]["type"] if self._wrapped else self._schema
        kind, self._plain = self._shape(root, (), (VALUE,) if self._wrapped else ())
        self._record = pa.types.is_struct(kind)
        self.fields: Fields = fields_of(kind) if self._record else {VALUE: kind}
        self.struct = pa.struct(list(self.fields.items()))
        self.name = str(root.get("name", "")) if isinstance(root, dict) else ""
        of = root.get("type") if isinstance(root, dict) else root
        self._bare = of == "bytes"  # Confluent's serialisers write these without Avro's length

    @property
    def notes(self) -> list[str]:
        """What the receipt should say."""
        return [*([columns_note(len(self._rest))] if self._rest else []), *self._rounded.notes]

    def read(self, payload: bytes) -> dict[str, Any]:
        """Return one record's fields; raises whatever the bytes make the parser stumble over."""
        self.problems = []
        if self._bare:
            return {VALUE: payload}
        if self._walker:
            self._walker.check(payload)
        try:
            value = self._by_value(payload) if self._careful else _read(payload, self._schema)
        except (ValueError, OverflowError, ArithmeticError):
            value = self._by_value(payload)
        if self._wrapped and self._record:
            value = value[VALUE]
        if self._rest:
            value[MORE] = {name: value.pop(name, None) for name in self._rest}
        record: dict[str, Any] = value if self._plain else fit(value, self.struct, self._rounded)
        return record

    def _by_value(self, payload: bytes) -> Any:
        """Return a record in which a value may mean nothing.

        Raise when it is not of this schema at all.
        """
        if self._written is None:
            self._written, _, _ = parse_schema(self._source, self._referenced, without_logical)
        return meaning(_read(payload, self._written), self._schema, self._named, "", self.problems)

    def _shape(
        self, schema: Any, inside: tuple[str, ...], path: FieldPath
    ) -> tuple[pa.DataType, bool]:
        """Return the Arrow type, and whether values are as Arrow takes them."""
        if isinstance(schema, list):
            return self._union(schema, inside, path)
        if isinstance(schema, str):
            return (
                (_PRIMITIVES[schema], True)
                if schema in _PRIMITIVES
                else self._shape(self._named[schema], inside, path)
            )
        kind = schema["type"]
        if kind in ("record", "error"):
            return self._fields(schema, inside, path)
        if kind in ("array", "map"):
            return self._items(schema, kind, inside, path)
        if not isinstance(kind, str) or kind not in _PRIMITIVES:
            return self._shape(kind, inside, path)
        self._careful |= f"{kind}-{schema.get('logicalType')}" in _TIMES_OF_DAY
        return _scalar(schema, kind)

    def _items(
        self, schema: Any, kind: str, inside: tuple[str, ...], path: FieldPath
    ) -> tuple[pa.DataType, bool]:
        if len(inside) >= DEPTH:
            return TEXT, False
        items = schema["items" if kind == "array" else "values"]
        item, plain = self._shape(items, (*inside, ""), (*path, "[]"))
        return (
            (pa.large_list(item), plain) if kind == "array" else (pa.map_(pa.string(), item), False)
        )

    def _fields(
        self, schema: Any, inside: tuple[str, ...], path: FieldPath
    ) -> tuple[pa.DataType, bool]:
        name = schema["name"]
        fields = schema["fields"]
        is_root = schema is self._schema
        if (
            name in inside
            or len(inside) >= DEPTH
            or (not is_root and self._columns + len(fields) > COLUMNS)
        ):
            return TEXT, False
        if len(fields) > COLUMNS:
            self._rest = [field["name"] for field in fields[COLUMNS - 1 :]]
            fields = fields[: COLUMNS - 1]
        self._columns += len(fields)
        shapes = {
            field["name"]: self._shape(field["type"], (*inside, name), (*path, field["name"]))
            for field in fields
        }
        if is_root and self._rest:
            shapes[MORE] = TEXT, False
        kinds = [(field, kind) for field, (kind, _) in shapes.items()]
        return pa.struct(kinds), all(plain for _, plain in shapes.values())

    def _union(
        self, schema: list[Any], inside: tuple[str, ...], path: FieldPath
    ) -> tuple[pa.DataType, bool]:
        shapes = [self._shape(branch, inside, path) for branch in schema if branch != "null"]
        if len(shapes) == 1:
            return shapes[0]
        kinds = [kind for kind, _ in shapes]
        self.disagreements |= disagreements_of(kinds, path)
        return reduce(merge, kinds, pa.null()), False


def _scalar(schema: Any, kind: str) -> tuple[pa.DataType, bool]:
    logical = schema.get("logicalType")
    if logical == "decimal" and kind in ("bytes", "fixed"):
        arrow_type = decimal(schema["precision"], schema.get("scale", 0))
        return arrow_type, arrow_type is not TEXT
    return _LOGICAL.get(f"{kind}-{logical}", _PRIMITIVES[kind]), logical != "uuid"


def _read(payload: bytes, schema: Any) -> Any:
    source = io.BytesIO(payload)
    value = fastavro.schemaless_reader(source, schema, None)
    left = len(payload) - source.tell()
    if left:
        raise ValueError(f"{left} bytes are left over; was it written under another schema?")
    return value
