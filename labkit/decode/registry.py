"""Confluent's wire format for Avro, Protobuf and JSON Schema.

A value is a zero byte, four bytes of a schema's id, and the record. Schemas come from a schema
registry through confluent-kafka's client, once for each id. Each record is read under the schema it
was written with; the columns are those of all ids together, by the rule of ``labkit.decode.merge``,
so they do not depend on how the records are cut into batches. Records are not checked against a
JSON Schema: what breaks it is read all the same. An id in a header is as good as one in front of
the record. Rules of a schema (encryption, CEL) are not run.
"""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.decode.by_record import ByRecord, Located, Reader, UnreadableError, reason_of
from labkit.decode.decoder import Decoder
from labkit.decode.json import FromJson
from labkit.decode.wire_format import (
    GUID_HEAD,
    HEAD,
    SchemaId,
    head_size,
    is_framed,
    schema_id,
    with_header_ids,
)
from labkit.errors import LabkitError, NotFoundError, UnavailableError
from labkit.registry import Registry

TYPES = {"avro": "AVRO", "protobuf": "PROTOBUF", "jsonschema": "JSON"}
_EMPTY = "an empty value is not Confluent's wire format"
_FILLER = b"\xff\xff\xff\xff\xff{}"
_FAR = 2**31 - 1
# so many are asked for in vain: bytes that only look like ids must not become a flood of requests
UNKNOWN_IDS = 1000


class Schemas:
    """The schemas of one read: each id asked for once, also when the answer is no.

    Attributes
    ----------
    notes : list of str
        What the receipt should say.
    lasting : bool
        Whether the registry's answers were such that asking again gives the same.
    trouble : LabkitError or None
        What kept the registry from answering, the first time; not that it does not know an id.
    """

    def __init__(self, registry: Registry, kind: str) -> None:
        self.registry, self.kind = registry, kind
        self._lock = threading.Lock()
        self._schemas: dict[SchemaId, Any] = {}
        self._readers: dict[tuple[SchemaId, tuple[int, ...]], Reader | UnreadableError] = {}
        self._reasons: dict[str, list[SchemaId]] = {}
        self._refusals = 0
        self._answered = False
        self._away: str | None = None
        self.lasting = True
        self.trouble: LabkitError | None = None

    @property
    def notes(self) -> list[str]:
        """What was read by, and what was refused."""
        used_ids = [
            number
            for number, schema in sorted(self._schemas.items(), key=str)
            if not isinstance(schema, UnreadableError)
        ]
        notes = (
            [
                f"decoded as {self.kind} by schema ids {_first_numbers(used_ids)} of {self.registry.address}"
            ]
            if used_ids
            else []
        )
        notes += [
            f"schema ids {_first_numbers(numbers)}: {reason}"
            for reason, numbers in self._reasons.items()
        ]
        for (number, _), reader in sorted(self._readers.items(), key=str):
            notes += [
                f"schema id {number}: {note}"
                for note in ([] if isinstance(reader, UnreadableError) else reader.notes)
            ]
        return notes

    def schema(self, number: SchemaId) -> Any:
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
            schema = self._schemas[number]
        if isinstance(schema, UnreadableError):
            # a new one: an exception raised again and again collects tracebacks
            raise UnreadableError(*schema.args)
        return schema

    def _fetch(self, number: SchemaId) -> Any:
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
            self.trouble = error
            self.lasting, self._away = (
                False,
                f"no answer from the schema registry at {self.registry.address}",
            )
            return self._no(number, f"{self._away} ({type(error.__cause__).__name__})")
        except LabkitError as error:
            unknown = f"not in the schema registry at {self.registry.address}"
            unknown += "" if number else _EIGHT_BYTES
            self.lasting, self._answered = False, True
            self._refusals += 1
            is_unknown = isinstance(error, NotFoundError)
            self.trouble = self.trouble or (None if is_unknown else error)
            return self._no(number, unknown if is_unknown else error.message)
        self._answered = True
        if (schema.schema_type or "AVRO") != TYPES[self.kind]:
            return self._no(number, f"it is of type {schema.schema_type}, not {TYPES[self.kind]}")
        return schema

    def _no(self, number: SchemaId, reason: str) -> UnreadableError:
        self._reasons.setdefault(reason, []).append(number)
        return UnreadableError(f"schema id {number}: {reason}")

    def reader(self, number: SchemaId, path: tuple[int, ...]) -> Reader:
        """Return what reads the records of an id."""
        key = (number, path)
        reader = self._readers.get(key)
        if reader is None:
            schema = self.schema(number)
            try:
                reader = self._make_reader(schema, path)
            except LabkitError as error:  # a schema it refers to cannot be had
                self.lasting = False
                self.trouble = self.trouble or (None if isinstance(error, NotFoundError) else error)
                reader = self._no(number, error.message)
            except Exception as error:  # whatever the schema makes the parsers stumble over
                reader = self._no(number, f"its schema cannot be used: {reason_of(error)}")
            self._readers[key] = reader
        if isinstance(reader, UnreadableError):
            # a new one: an exception raised again and again collects tracebacks
            raise UnreadableError(*reader.args)
        return reader

    def _make_reader(self, schema: Any, path: tuple[int, ...]) -> Reader:
        if self.kind == "avro":
            from labkit.decode import avro_reader

            return avro_reader.Reader(schema, self.registry.fetch_reference)
        from labkit.decode import protobuf_reader

        return protobuf_reader.Reader(
            protobuf_reader.descriptor_of(schema, self.registry.fetch_reference, path)
        )


_EIGHT_BYTES = (  # whose first four are zeros
    "; Apicurio's serialisers write ids of eight bytes, and Confluent's four with their Legacy4ByteIdHandler"
)


def _first_numbers(numbers: list[SchemaId]) -> str:
    return ", ".join(map(str, numbers[:8])) + (f" … ({len(numbers)})" if len(numbers) > 8 else "")


# of AWS Glue's serialisers: version, compression (none, zlib), the schema version's UUID
_GLUE_HEAD, _GLUE_VERSION, _GLUE_COMPRESSIONS = 18, 3, (0, 5)


def _no_frame(value: bytes) -> str:
    if value[:1] == b"\0":
        return f"not Confluent's wire format: {len(value)} bytes are too few"
    if len(value) >= _GLUE_HEAD and value[0] == _GLUE_VERSION and value[1] in _GLUE_COMPRESSIONS:
        packed = ", compressed" if value[1] else ""
        version = UUID(bytes=value[2:_GLUE_HEAD])
        return f"AWS Glue's header, of schema version {version}{packed}; labkit reads Confluent's wire format only"
    return f"not Confluent's wire format: it starts with {value[:5].hex(' ')}" if value else _EMPTY


def _payload(kind: str, value: bytes) -> tuple[SchemaId, tuple[int, ...], bytes]:
    """Take a framed value apart: the schema's id, which of its messages (Protobuf), the record."""
    if not is_framed(value):
        raise UnreadableError(_no_frame(value))
    size = head_size(value)
    if kind != "protobuf":
        return schema_id(value), (), value[size:]
    if len(value) == size:
        raise UnreadableError(_no_frame(value))
    if value[size] == 0:  # short for the first message
        return schema_id(value), (0,), value[size + 1 :]
    from io import BytesIO

    from confluent_kafka.schema_registry.serde import SchemaId

    source, head = BytesIO(value), SchemaId("PROTOBUF")
    try:
        head.from_bytes(source)
    except Exception as error:  # EOFError, IndexError … of bytes cut short
        raise UnreadableError(
            f"not Confluent's wire format of Protobuf: {reason_of(error)}"
        ) from error
    return schema_id(value), tuple(head.message_indexes or (0,)), source.read()


class _Framed(Decoder):
    """What the decoders of the wire format share."""

    schemas: Schemas

    def parse_batch(self, batch: pa.RecordBatch) -> Any:
        """Read the values of one batch of records, by ids in front of them or in headers."""
        return self.parse(with_header_ids(batch, "value"))

    def parse_keys(self, batch: pa.RecordBatch) -> Any:
        """Read the keys of one batch of records."""
        return self.parse(with_header_ids(batch, "key"))

    @property
    def notes(self) -> list[str]:
        """What the receipt should say."""
        return [*super().notes, *self.schemas.notes]

    @property
    def lasting(self) -> bool:
        """Whether decoding again gives the same."""
        return self.schemas.lasting

    @property
    def trouble(self) -> LabkitError | None:
        """What kept the registry from answering."""
        return self.schemas.trouble


class Binary(_Framed, ByRecord):
    """The decoder of Avro and of Protobuf."""

    def __init__(self, registry: Registry, kind: str) -> None:
        self.schemas, self.kind = Schemas(registry, kind), kind

    @property
    def notes(self) -> list[str]:
        """What the receipt should say."""
        return [*super().notes, *self.rounded.notes]

    def locate(self, value: bytes) -> Located:
        """Return what reads a value, by its schema's id."""
        number, path, payload = _payload(self.kind, value)
        reader = self.schemas.reader(number, path)
        return Located((number, path), f"schema id {number} {reader.name}", reader, payload)


class JsonSchema(_Framed, FromJson):
    """The decoder of JSON behind a schema's id; its columns are those of ``decode="json"``."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self.schemas = Schemas(registry, "jsonschema")

    def parse(self, values: pa.BinaryArray) -> Any:
        """Take the ids off one batch of values and parse what is behind them."""
        errors: dict[int, str] = {}
        long = pc.fill_null(pc.greater(pc.binary_length(values), 5), False)
        filled = pc.if_else(long, values, pa.scalar(_FILLER, values.type))
        by_guid = pc.starts_with(filled, pattern=b"\1")
        heads = pc.if_else(
            by_guid, pc.binary_slice(filled, 0, GUID_HEAD), pc.binary_slice(filled, 0, HEAD)
        )
        heads = heads.dictionary_encode()
        reasons = [self._refusal(head) for head in heads.dictionary.to_pylist()]
        codes = heads.indices.to_numpy()
        refused = np.array([reason is not None for reason in reasons], bool)
        bad = refused[codes] & values.is_valid().to_numpy(False)
        for row in np.flatnonzero(bad).tolist():
            errors[row] = reasons[codes[row]] or _no_frame(values[row].as_py())
        ready = pc.if_else(pa.array(bad), pa.scalar(_FILLER, values.type), filled)
        inner = pc.if_else(  # without an end, Arrow 26 fails
            pc.and_(by_guid, pa.array(~bad)),
            pc.binary_slice(ready, GUID_HEAD, _FAR),
            pc.binary_slice(ready, HEAD, _FAR),
        )
        parsed = self.parse_objects(inner)
        parsed.errors = dict(sorted({**parsed.errors, **errors}.items()))
        return parsed

    def _refusal(self, head: bytes) -> str | None:
        """Say why values with this head are not read; None when they are.

        It is "" when each value says so itself.
        """
        if not is_framed(head):
            return ""
        try:
            self.schemas.schema(schema_id(head))
        except UnreadableError as error:
            return str(error)
        return None
