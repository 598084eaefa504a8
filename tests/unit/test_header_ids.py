"""Schema ids in headers, as Confluent's own serialisers write them.

They are GUIDs and ids, of values and keys, with auto and JSON.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka.schema_registry import Schema, header_schema_id_serializer
from confluent_kafka.schema_registry.serde import SchemaId
from confluent_kafka.serialization import MessageField, SerializationContext

from labkit import decode
from labkit.errors import NotFoundError
from labkit.registry import Registry
from labkit.replay.records import RAW_SCHEMA

ORDER = {"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}]}
AVRO, JSON = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


class Known(Registry):
    """A registry whose schemas were fetched before."""

    def __init__(self) -> None:
        super().__init__({"url": "http://registry.example"})
        self.asked: list[Any] = []

    def schema(self, number: int | str) -> Any:
        self.asked.append(number)
        schemas = {
            AVRO: Schema(json.dumps(ORDER), "AVRO"),
            7: Schema(json.dumps(ORDER), "AVRO"),
            JSON: Schema("{}", "JSON"),
        }
        if number not in schemas:
            raise NotFoundError("no such id")
        return schemas[number]


def headers_of(
    guid: str, *, of: str = MessageField.VALUE, kind: str = "AVRO"
) -> list[dict[str, Any]]:
    """Return the header that Confluent's serialiser writes."""
    headers: list[tuple[str, bytes]] = []
    context = SerializationContext("orders", of, headers)
    header_schema_id_serializer(b"", context, SchemaId(kind, 1, guid))
    return [{"key": key, "value": value} for key, value in headers]


def batch(
    values: list[bytes | None], headers: list[Any], keys: list[bytes | None] | None = None
) -> pa.RecordBatch:
    together = zip(keys or [None] * len(values), values, headers, strict=True)
    rows = [
        {
            "topic": "orders",
            "partition": 0,
            "offset": n,
            "key": key,
            "value": value,
            "headers": some,
        }
        for n, (key, value, some) in enumerate(together)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=RAW_SCHEMA)


def read(decoder: Any, raw: pa.RecordBatch) -> tuple[list[dict[str, Any]], dict[int, str]]:
    parsed = decoder.parse_batch(raw)
    return decoder.columns(parsed, decoder.unify([parsed.schema])).to_pylist(), parsed.errors


def test_a_guid_in_a_header_and_an_id_in_front_are_read_alike() -> None:
    registry = Known()
    by_id = [{"key": "__value_schema_id", "value": b"\0\0\0\0\7"}]
    unknown = headers_of(str(uuid.UUID(int=99)))
    raw = batch(
        [b"\x02", b"\0\0\0\0\7\x04", b"\x06", None, b"\x08", b"\x0a"],
        [
            headers_of(AVRO),
            None,
            [{"key": "trace", "value": b"x"}, *by_id],
            headers_of(AVRO),
            unknown,
            [],
        ],
    )
    rows, errors = read(decode.find_decoder("avro", registry=registry), raw)
    assert [entry["id"] for entry in rows] == [1, 2, 3, None, None, None]
    assert list(errors) == [4, 5]
    assert "schema id 00000000-0000-0000-0000-000000000063: not in the schema registry" in errors[4]
    assert "not Confluent's wire format" in errors[5]
    assert registry.asked.count(AVRO) == 1


def test_notes_name_the_guid() -> None:
    decoder: Any = decode.find_decoder("avro", registry=Known())
    read(decoder, batch([b"\x02"], [headers_of(AVRO)]))
    assert f"decoded as avro by schema ids {AVRO} of http://registry.example" in decode.notes(
        decoder
    )


def test_of_two_headers_the_first_counts_as_for_confluents_deserialiser() -> None:
    raw = batch([b"\x02"], [headers_of(AVRO) + headers_of(JSON)])
    assert read(decode.find_decoder("avro", registry=Known()), raw)[0] == [{"id": 1}]


@pytest.mark.parametrize("head", [b"", b"\x01", b"\x01short", b"\x05" * 17, b"\0\0"])
def test_a_header_that_is_no_id_is_an_error_of_its_row(head: bytes) -> None:
    raw = batch(
        [b"\x02", b"\x02"], [[{"key": "__value_schema_id", "value": head}], headers_of(AVRO)]
    )
    rows, errors = read(decode.find_decoder("avro", registry=Known()), raw)
    assert [entry["id"] for entry in rows] == [None, 1]
    assert list(errors) == [0]


def test_keys_have_a_header_of_their_own() -> None:
    raw = batch(
        [b'{"a": 1}'],
        [[*headers_of(AVRO, of=MessageField.KEY), *headers_of(JSON, kind="JSON")]],
        keys=[b"\x0e"],
    )
    registry = Known()
    decoder, _, _ = decode.find_decoders("jsonschema", "avro", registry=registry, sample=list)
    parsed = decoder.parse_batch(raw)
    schema = decoder.unify([parsed.schema])
    assert not parsed.errors
    assert decoder.columns(parsed, schema).to_pylist() == [{"a": 1}]
    assert decoder.key_columns(parsed, schema).to_pylist() == [{"_key_id": 7}]


def test_types_are_given_to_values_with_ids_in_headers_too() -> None:
    raw = batch([b"\x02"], [headers_of(AVRO)])
    decoder, _, _ = decode.find_decoders(
        "avro", "raw", types={"id": "text"}, registry=Known(), sample=list
    )
    assert read(decoder, raw) == ([{"id": "1"}], {})


def test_json_by_ids_in_headers_is_read_and_refused_row_by_row() -> None:
    raw = batch(
        [b'{"a": 1}', b'\0\0\0\0\7{"a": 2}', b'{"a": 3}', None, b"\x01x"],
        [headers_of(JSON), [], headers_of(AVRO), headers_of(JSON), []],
    )
    rows, errors = read(decode.find_decoder("jsonschema", registry=Known()), raw)
    assert [entry["a"] for entry in rows] == [1, None, None, None, None]
    assert list(errors) == [1, 2, 4]
    assert "it is of type AVRO, not JSON" in errors[1]
    assert "it is of type AVRO, not JSON" in errors[2]


def test_auto_looks_at_headers_and_keeps_plain_json_without_a_registry() -> None:
    avro = batch([b"\x02", b"\x04"], [headers_of(AVRO)] * 2)
    json_values = batch([b'{"a": 1}'], [headers_of(JSON)])

    def chosen(raw: pa.RecordBatch, registry: Registry | None) -> Any:
        return decode.choose_decoders("auto", "raw", registry=registry, sample=lambda: [raw])[0][0]

    assert chosen(avro, Known()) == "avro"
    assert chosen(json_values, Known()) == "jsonschema"
    assert chosen(json_values, None) == "json"
