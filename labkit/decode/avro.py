"""Avro schemas as Arrow types, and a reader of records written under one.

Integers have 64 bits and fractions are doubles; logical types of times, dates and decimals are Arrow's, UUIDs and
enums are text, bytes and fixed are binary, maps are maps. A union with null may be null; one of several other types
follows the rule for fields that disagree (``labkit.decode.merge``): ``["int", "double"]`` is a number, ``["long",
"string"]`` text, several records are one object with the fields of all. A type that holds itself is text from there
on, as its JSON. A schema that is no record has one column, ``value``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import reduce
from typing import Any

import fastavro
import pyarrow as pa

from labkit.decode.avro_limits import Walker, needs_walk
from labkit.decode.limits import COLUMNS, MORE, columns_note
from labkit.decode.merge import BINARY, TEXT, Fields, decimal, fields_of, fit, merge

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
    """

    def __init__(self, schema: Any, referenced: Callable[[str, int], Any]) -> None:
        self._named: dict[str, Any] = {}
        self._schema = _parsed(schema, referenced, self._named)
        self._walker = Walker(self._schema, self._named) if needs_walk(self._schema, self._named) else None
        self._columns = 0
        self._rest: list[str] = []
        kind, self._plain = self._shape(self._schema, ())
        self._record = pa.types.is_struct(kind)
        self.fields: Fields = fields_of(kind) if self._record else {"value": kind}
        self.struct = pa.struct(list(self.fields.items()))
        self.name = str(self._schema.get("name", "")) if isinstance(self._schema, dict) else ""
        of = self._schema.get("type") if isinstance(self._schema, dict) else self._schema
        self._bare = of == "bytes"  # Confluent's serialisers write these without Avro's length

    @property
    def notes(self) -> list[str]:
        """What the receipt should say."""
        return [columns_note(len(self._rest))] if self._rest else []

    def read(self, payload: bytes) -> dict[str, Any]:
        """Return one record's fields; raises whatever the bytes make the parser stumble over."""
        if self._bare:
            return {"value": payload}
        if self._walker:
            self._walker.check(payload)
        source = io.BytesIO(payload)
        value: Any = fastavro.schemaless_reader(source, self._schema, None)
        left = len(payload) - source.tell()
        if left:
            raise ValueError(f"{left} bytes are left over; was it written under another schema?")
        value = value if self._record else {"value": value}
        if self._rest:
            value[MORE] = {name: value.pop(name, None) for name in self._rest}
        found: dict[str, Any] = value if self._plain else fit(value, self.struct)
        return found

    def _shape(self, schema: Any, inside: tuple[str, ...]) -> tuple[pa.DataType, bool]:
        """Return the Arrow type, and whether values are as Arrow takes them."""
        if isinstance(schema, list):
            return self._union(schema, inside)
        if isinstance(schema, str):
            return (_PRIMITIVES[schema], True) if schema in _PRIMITIVES else self._shape(self._named[schema], inside)
        kind = schema["type"]
        if kind in ("record", "error"):
            return self._fields(schema, inside)
        if kind in ("array", "map"):
            return self._items(schema, kind, inside)
        if not isinstance(kind, str) or kind not in _PRIMITIVES:
            return self._shape(kind, inside)
        return _scalar(schema, kind)

    def _items(self, schema: Any, kind: str, inside: tuple[str, ...]) -> tuple[pa.DataType, bool]:
        if len(inside) >= DEPTH:
            return TEXT, False
        item, plain = self._shape(schema["items" if kind == "array" else "values"], (*inside, ""))
        return (pa.large_list(item), plain) if kind == "array" else (pa.map_(pa.string(), item), False)

    def _fields(self, schema: Any, inside: tuple[str, ...]) -> tuple[pa.DataType, bool]:
        name = schema["name"]
        fields = schema["fields"]
        whole = schema is self._schema
        if name in inside or len(inside) >= DEPTH or (not whole and self._columns + len(fields) > COLUMNS):
            return TEXT, False
        if len(fields) > COLUMNS:
            self._rest = [field["name"] for field in fields[COLUMNS - 1 :]]
            fields = fields[: COLUMNS - 1]
        self._columns += len(fields)
        shapes = {field["name"]: self._shape(field["type"], (*inside, name)) for field in fields}
        if whole and self._rest:
            shapes[MORE] = TEXT, False
        kinds = [(field, kind) for field, (kind, _) in shapes.items()]
        return pa.struct(kinds), all(plain for _, plain in shapes.values())

    def _union(self, schema: list[Any], inside: tuple[str, ...]) -> tuple[pa.DataType, bool]:
        shapes = [self._shape(branch, inside) for branch in schema if branch != "null"]
        if len(shapes) == 1:
            return shapes[0]
        return reduce(merge, (kind for kind, _ in shapes), pa.null()), False


def _scalar(schema: Any, kind: str) -> tuple[pa.DataType, bool]:
    logical = schema.get("logicalType")
    if logical == "decimal" and kind in ("bytes", "fixed"):
        found = decimal(schema["precision"], schema.get("scale", 0))
        return found, found is not TEXT
    return _LOGICAL.get(f"{kind}-{logical}", _PRIMITIVES[kind]), logical != "uuid"


def _parsed(schema: Any, referenced: Callable[[str, int], Any], named: dict[str, Any]) -> Any:
    """Parse a schema, those it refers to first."""
    for one in schema.references or ():
        _parsed(referenced(one.subject, one.version), referenced, named)
    text = schema.schema_str.strip()
    try:
        raw = json.loads(text)
    except ValueError:
        raw = text  # some registries give a bare name, such as: string
    return fastavro.parse_schema(raw, named_schemas=named)
