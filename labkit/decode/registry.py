"""Confluent's wire format: a zero byte, four bytes of a schema's id, the record. Avro, Protobuf and JSON Schema.

Schemas come from a schema registry through confluent-kafka's client, once for each id. Each record is read under
the schema it was written with; the columns are those of all ids together, by the rule of ``labkit.decode.merge``,
so they do not depend on how the records are cut into batches. Records are not checked against a JSON Schema: what
breaks it is read all the same. Ids in headers are not looked at, and rules of a schema (encryption, CEL) are not
run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.decode import merge, plain
from labkit.decode.avro_values import shown
from labkit.decode.merge import Fields
from labkit.errors import LabkitError, NotFoundError, UnavailableError
from labkit.registry import Registry

TYPES = {"avro": "AVRO", "protobuf": "PROTOBUF", "jsonschema": "JSON"}
_EMPTY = "an empty value is not Confluent's wire format"
_FILLER = b"\xff\xff\xff\xff\xff{}"
HEAD = 5  # a zero byte and the id
_FAR = 2**31 - 1
_REFUSED = (pa.ArrowException, TypeError, ValueError, OverflowError)
UNKNOWN_IDS = 1000  # so many are asked for in vain: bytes that only look like ids must not become a flood of requests


class _Reader(Protocol):
    fields: Fields
    struct: pa.DataType
    name: str
    problems: list[str]

    @property
    def notes(self) -> list[str]: ...

    def read(self, payload: bytes) -> dict[str, Any]: ...


class UnreadableError(Exception):
    """Why a record cannot be read."""


def framed(value: bytes) -> bool:
    """Tell whether a value may be of Confluent's wire format; of Avro a record without fields has no more bytes."""
    return len(value) >= HEAD and value[0] == 0


def schema_id(value: bytes) -> int:
    """Return the schema's id of a framed value."""
    return int.from_bytes(value[1:5], "big")


@dataclass
class Part:
    """Records of one batch written under one schema."""

    rows: np.ndarray
    table: pa.Table


@dataclass
class Parsed:
    """One batch, by schemas, in the order of their first records."""

    count: int
    parts: list[Part] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)

    @property
    def schema(self) -> Fields:
        """Field to Arrow type, of all the batch's schemas."""
        nothing: Fields = {}
        return reduce(merge.merge_fields, (dict(_fields(part.table)) for part in self.parts), nothing)


def _fields(table: pa.Table) -> Iterable[tuple[str, pa.DataType]]:
    return ((one.name, one.type) for one in table.schema)


class Schemas:
    """The schemas of one read: each id asked for once, also when the answer is no.

    Attributes
    ----------
    notes : list of str
        What the receipt should say.
    lasting : bool
        Whether the registry's answers were such that asking again gives the same.
    """

    def __init__(self, registry: Registry, kind: str) -> None:
        self.registry, self.kind = registry, kind
        self._lock = threading.Lock()
        self._schemas: dict[int, Any] = {}
        self._readers: dict[tuple[int, tuple[int, ...]], _Reader | UnreadableError] = {}
        self._reasons: dict[str, list[int]] = {}
        self._refusals = 0
        self._answered = False
        self._away: str | None = None
        self.lasting = True

    @property
    def notes(self) -> list[str]:
        """What was read by, and what was refused."""
        used = [number for number, schema in sorted(self._schemas.items()) if not isinstance(schema, UnreadableError)]
        notes = [f"decoded as {self.kind} by schema ids {_some(used)} of {self.registry.address}"] if used else []
        notes += [f"schema ids {_some(numbers)}: {reason}" for reason, numbers in self._reasons.items()]
        for (number, _), reader in sorted(self._readers.items()):
            notes += [
                f"schema id {number}: {note}" for note in ([] if isinstance(reader, UnreadableError) else reader.notes)
            ]
        return notes

    def schema(self, number: int) -> Any:
        """Return the schema of an id, of this kind.

        Raises
        ------
        UnreadableError
            When there is none.
        UnavailableError
            When the registry cannot be reached and this read has had nothing from it.
        """
        with self._lock:
            if number not in self._schemas:
                self._schemas[number] = self._fetch(number)
            found = self._schemas[number]
        if isinstance(found, UnreadableError):
            raise UnreadableError(*found.args)  # a new one: an exception raised again and again collects tracebacks
        return found

    def _fetch(self, number: int) -> Any:
        if self._away:
            return self._no(number, self._away)
        if self._refusals >= UNKNOWN_IDS:
            reason = f"not asked for: {UNKNOWN_IDS} other ids are not in the registry at {self.registry.address}"
            return self._no(number, reason)
        try:
            schema = self.registry.schema(number)
        except UnavailableError as error:
            if not self._answered:
                raise
            self.lasting, self._away = False, f"no answer from the schema registry at {self.registry.address}"
            return self._no(number, f"{self._away} ({type(error.__cause__).__name__})")
        except LabkitError as error:
            unknown = f"not in the schema registry at {self.registry.address}"
            self.lasting, self._answered = False, True
            self._refusals += 1
            return self._no(number, unknown if isinstance(error, NotFoundError) else error.message)
        self._answered = True
        if (schema.schema_type or "AVRO") != TYPES[self.kind]:
            return self._no(number, f"it is of type {schema.schema_type}, not {TYPES[self.kind]}")
        return schema

    def _no(self, number: int, reason: str) -> UnreadableError:
        self._reasons.setdefault(reason, []).append(number)
        return UnreadableError(f"schema id {number}: {reason}")

    def reader(self, number: int, path: tuple[int, ...]) -> _Reader:
        """Return what reads the records of an id."""
        key = (number, path)
        found = self._readers.get(key)
        if found is None:
            schema = self.schema(number)
            try:
                found = self._made(schema, path)
            except LabkitError as error:  # a schema it refers to cannot be had
                self.lasting = False
                found = self._no(number, error.message)
            except Exception as error:  # whatever the schema makes the parsers stumble over
                found = self._no(number, f"its schema cannot be used: {_reason(error)}")
            self._readers[key] = found
        if isinstance(found, UnreadableError):
            raise UnreadableError(*found.args)  # a new one: an exception raised again and again collects tracebacks
        return found

    def _made(self, schema: Any, path: tuple[int, ...]) -> _Reader:
        if self.kind == "avro":
            from labkit.decode import avro

            return avro.Reader(schema, self.registry.referenced)
        from labkit.decode import protobuf

        return protobuf.Reader(schema, self.registry.referenced, path)


def _some(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (f" … ({len(numbers)})" if len(numbers) > 8 else "")


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _no_frame(value: bytes) -> str:
    if value[:1] == b"\0":
        return f"not Confluent's wire format: {len(value)} bytes are too few"
    return f"not Confluent's wire format: it starts with {value[:5].hex(' ')}" if value else _EMPTY


def _payload(kind: str, value: bytes) -> tuple[int, tuple[int, ...], bytes]:
    """Take a framed value apart: the schema's id, which of its messages (Protobuf), the record."""
    if not framed(value):
        raise UnreadableError(_no_frame(value))
    if kind != "protobuf":
        return schema_id(value), (), value[HEAD:]
    if len(value) == HEAD:
        raise UnreadableError(_no_frame(value))
    if value[HEAD] == 0:  # short for the first message
        return schema_id(value), (0,), value[6:]
    from io import BytesIO

    from confluent_kafka.schema_registry.serde import SchemaId

    source, head = BytesIO(value), SchemaId("PROTOBUF")
    try:
        head.from_bytes(source)
    except Exception as error:  # EOFError, IndexError … of bytes cut short
        raise UnreadableError(f"not Confluent's wire format of Protobuf: {_reason(error)}") from error
    return schema_id(value), tuple(head.message_indexes or (0,)), source.read()


class _Framed:
    """What the decoders of the wire format share."""

    schemas: Schemas

    @property
    def notes(self) -> list[str]:
        """What the receipt should say."""
        return self.schemas.notes

    @property
    def lasting(self) -> bool:
        """Whether decoding again gives the same."""
        return self.schemas.lasting


class Binary(_Framed):
    """The decoder of Avro and of Protobuf."""

    def __init__(self, registry: Registry, kind: str) -> None:
        self.schemas, self.kind = Schemas(registry, kind), kind

    def parse(self, values: pa.BinaryArray) -> Parsed:
        """Read one batch of values, each under its own schema."""
        parsed = Parsed(len(values))
        groups: dict[Any, tuple[_Reader, list[int], list[Any]]] = {}
        for row, value in enumerate(values.to_pylist()):
            if value is None:
                continue
            try:
                number, path, payload = _payload(self.kind, value)
                reader = self.schemas.reader(number, path)
            except UnreadableError as error:
                parsed.errors[row] = str(error)
                continue
            try:
                found = reader.read(payload)
            except Exception as error:  # whatever bytes make the parsers stumble over: the row stays
                parsed.errors[row] = f"not {self.kind} of schema id {number} {reader.name}: {_reason(error)}"
                continue
            if reader.problems:
                parsed.errors[row] = f"{self.kind} of schema id {number} {reader.name}: {'; '.join(reader.problems)}"
            _, rows, objects = groups.setdefault((number, path), (reader, [], []))
            rows.append(row)
            objects.append(found)
        for (number, _), (reader, rows, objects) in groups.items():
            what = f"a value of schema id {number} {reader.name} that no column holds"
            part = _part(reader, rows, objects, parsed.errors, what)
            if len(part.rows):
                parsed.parts.append(part)
        parsed.parts.sort(key=lambda one: int(one.rows[0]))
        return parsed

    def unify(self, schemas: Iterable[Fields]) -> Fields:
        """Return the one schema that holds for all batches."""
        return merge.unify(schemas)

    def columns(self, parsed: Parsed, schema: Fields) -> pa.Table:
        """Return the batch's fields under the common schema."""
        if not schema:
            return pa.table({})
        if not parsed.parts:
            return pa.table({name: pa.nulls(parsed.count, kind) for name, kind in schema.items()})
        places = np.concatenate([part.rows for part in parsed.parts])
        order = None
        if len(places) != parsed.count or (np.diff(places) < 0).any():
            taken = np.full(parsed.count, -1)
            taken[places] = np.arange(len(places))
            order = pa.array(taken, mask=taken < 0)
        return pa.table({name: _column(parsed.parts, name, kind, order) for name, kind in schema.items()})


def _part(reader: _Reader, rows: list[int], objects: list[Any], errors: dict[int, str], what: str) -> Part:
    """Return records as columns; a value that Arrow refuses is null, and told."""
    try:
        found = pa.array(objects, reader.struct)
    except _REFUSED:
        held = []
        for row, one in zip(rows, objects, strict=True):
            problems: list[str] = []
            held.append(_held(one, reader.struct, "", problems))
            if problems:
                errors[row] = "; ".join([*([errors[row]] if row in errors else []), f"{what}: {'; '.join(problems)}"])
        found = pa.array(held, reader.struct)
    return Part(np.array(rows, np.int64), pa.Table.from_arrays(found.flatten(), names=list(reader.fields)))


def _held(value: Any, kind: pa.DataType, where: str, problems: list[str]) -> Any:
    """Return a value with null for what within it no column holds."""
    try:
        pa.array([value], kind)
    except _REFUSED as error:
        inside = f"{where}." if where else ""
        if pa.types.is_struct(kind) and isinstance(value, dict):
            return {one.name: _held(value.get(one.name), one.type, inside + one.name, problems) for one in kind}
        if pa.types.is_large_list(kind) and isinstance(value, list):
            return [_held(item, kind.value_type, where, problems) for item in value]
        if pa.types.is_map(kind) and isinstance(value, list):
            return [(key, _held(item, kind.item_type, f"{inside}{key}", problems)) for key, item in value]
        problems.append(f"{where}: {shown(value)} ({_reason(error)})")
        return None
    return value


def _column(parts: list[Part], name: str, kind: pa.DataType, order: pa.Array | None) -> pa.Array:
    pieces = [
        merge.cast(part.table[name].combine_chunks(), kind)
        if name in part.table.column_names
        else pa.nulls(len(part.rows), kind)
        for part in parts
    ]
    column = pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)
    return column if order is None else column.take(order)


class JsonSchema(_Framed):
    """The decoder of JSON behind a schema's id; its columns are those of ``decode="json"``."""

    def __init__(self, registry: Registry) -> None:
        self.schemas = Schemas(registry, "jsonschema")
        self._json = plain("json")
        self.unify, self.columns = self._json.unify, self._json.columns

    def parse(self, values: pa.BinaryArray) -> Any:
        """Take the ids off one batch of values and parse what is behind them."""
        errors: dict[int, str] = {}
        long = pc.fill_null(pc.greater(pc.binary_length(values), 5), False)
        filled = pc.if_else(long, values, pa.scalar(_FILLER, values.type))
        heads = pc.binary_slice(filled, 0, 5).dictionary_encode()
        reasons = [self._refused(head) for head in heads.dictionary.to_pylist()]
        codes = heads.indices.to_numpy()
        bad = np.array([reason is not None for reason in reasons], bool)[codes] & values.is_valid().to_numpy(False)
        for row in np.flatnonzero(bad).tolist():
            errors[row] = reasons[codes[row]] or _no_frame(values[row].as_py())
        ready = pc.if_else(pa.array(bad), pa.scalar(_FILLER, values.type), filled)
        inner = pc.binary_slice(ready, 5, _FAR)  # without an end, Arrow 26 fails
        parsed = self._json.parse(inner)
        parsed.errors = dict(sorted({**parsed.errors, **errors}.items()))
        return parsed

    def _refused(self, head: bytes) -> str | None:
        """Say why values with this head are not read: no id, or none of a JSON Schema; "" when each says so itself."""
        if len(head) < 5 or head[0]:
            return ""
        try:
            self.schemas.schema(schema_id(head))
        except UnreadableError as error:
            return str(error)
        return None
