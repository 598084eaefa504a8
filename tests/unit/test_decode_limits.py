"""BEHAVIOURS 70: a few bytes of a producer's end no process.

What is beyond a limit says so, and its neighbours stay. What killed the process is decoded in a
process of its own: a signal fails the test, not the test run.
"""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import threading
import time
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from confluent_kafka.schema_registry import Schema
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from labkit.decode import plain
from labkit.decode.limits import COLUMNS, MORE
from labkit.decode.registry import Binary
from support.registry import KnownRegistry


def decode(
    schema: Schema, payloads: list[bytes], kind: str = "avro"
) -> tuple[list[dict[str, Any]], dict[int, str], Any]:
    decoder = Binary(KnownRegistry(schema), kind)
    middle = b"\0" if kind == "protobuf" else b""
    parsed = decoder.parse(
        pa.array([b"\0\0\0\0\1" + middle + payload for payload in payloads], pa.binary())
    )
    return (
        decoder.columns(parsed, decoder.unify([parsed.schema])).to_pylist(),
        parsed.errors,
        decoder,
    )


def avro(schema: Any) -> Schema:
    return Schema(json.dumps(schema), "AVRO")


def record(name: str, *fields: tuple[str, Any]) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": field, "type": kind} for field, kind in fields],
    }


def number(value: int) -> bytes:
    out, value = b"", value << 1
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


NODE = record("Node", ("value", "int"), ("next", ["null", "Node"]))
TREE = record("Tree", ("children", {"type": "array", "items": "Tree"}))
MAPS = record("Maps", ("inner", {"type": "map", "values": "Maps"}))
ENDLESS = record("Endless", ("self", "Endless"))
NULLS = record("Nulls", ("a", {"type": "array", "items": "null"}))
EMPTY = record("Empties", ("a", {"type": "array", "items": record("Empty")}))


def doubled(levels: int) -> dict[str, Any]:
    """Return a schema of `levels` records, each with the one below twice.

    That is 2 ** levels values of no bytes.
    """
    message = record("L0", ("x", "null"))
    for level in range(1, levels):
        message = record(f"L{level}", ("a", message), ("b", f"L{level - 1}"))
    return message


KILLERS = {
    "a list of 5,000 nodes in 10 KB": (NODE, b"\x02\x02" * 5000 + b"\x02\0"),
    "a list of 200,000 nodes": (NODE, b"\x02\x02" * 200_000 + b"\x02\0"),
    "a tree of lists": (TREE, b"\x02" * 5000),
    "a tree of lists with the blocks' sizes": (TREE, b"\x01\x80\x08" * 3000),
    "maps within maps": (MAPS, b"\x02\0" * 5000),
    "a record that holds itself, of no bytes": (ENDLESS, b"\0"),
    "200 million nulls": (NULLS, number(200_000_000) + b"\0"),
    "2 ** 62 nulls": (NULLS, number(2**62) + b"\0"),
    "200 million empty records": (EMPTY, number(200_000_000) + b"\0"),
    "a schema of 2 ** 60 values": (doubled(60), b"\0"),
    "lists of nulls, 90 deep": (
        json.loads('{"type":"array","items":' * 90 + '"null"' + "}" * 90),
        b"\x02" * 5000,
    ),
}
CODE = """
import sys; sys.path[:0] = ["tests", "tests/unit"]
import threading
import test_decode_limits as tests
for name, (schema, payload) in tests.KILLERS.items():
    print(name, flush=True)
    errors = []
    read = lambda: errors.extend(tests.decode(tests.avro(schema), [payload] * 20)[1].values())
    thread = threading.Thread(target=read)  # decoders run in threads, whose stacks are smaller
    thread.start(); thread.join()
    assert len(errors) == 20, errors
    assert "nested deeper" in errors[0] or "claim more" in errors[0] or "ends early" in errors[0], errors
"""


def test_avro_that_killed_the_process_is_an_error_of_its_row(
    request: pytest.FixtureRequest,
) -> None:
    """BEHAVIOURS 70: signal 11, or no end."""
    result = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=request.config.rootpath,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, f"{result.stdout[-80:]}: {result.stderr[-800:]}"
    assert result.stdout.splitlines() == list(KILLERS)


def test_the_neighbours_of_a_record_that_is_too_deep_are_read() -> None:
    rows, errors, _ = decode(
        avro(NODE), [b"\x02\0", b"\x02\x02" * 5000 + b"\x02\0", b"\x04\x02\x06\0"]
    )
    assert [row["value"] for row in rows] == [1, None, 2]
    assert json.loads(rows[2]["next"]) == {"value": 3, "next": None}
    assert "nested deeper than 100 levels" in errors[1]


def test_what_is_walked_is_read_as_what_is_not() -> None:
    """A list of nulls is no attack; the walk ends where fastavro's own reading does."""
    schema = record(
        "R",
        ("n", {"type": "array", "items": "null"}),
        ("t", TREE),
        ("u", ["null", "string", {"type": "enum", "name": "E", "symbols": ["A"]}]),
        ("f", {"type": "fixed", "name": "F", "size": 3}),
        ("m", {"type": "map", "values": ["null", "double"]}),
        *(("b", "boolean"), ("g", "float"), ("l", "long"), ("y", "bytes"), ("again", "F")),
    )
    value = {
        "n": [None] * 500, "t": {"children": [{"children": []}, {"children": [{"children": []}]}]},
        "u": "text", "f": b"abc",
        "m": {"k": 1.5, "é": None}, "b": True, "g": 0.5, "l": -(2**63), "y": b"\0" * 300, "again": b"xyz",
    }  # fmt: skip
    target = io.BytesIO()
    fastavro.schemaless_writer(target, fastavro.parse_schema(schema), value)
    rows, errors, _ = decode(
        avro(schema), [target.getvalue(), target.getvalue()[:-1], target.getvalue()]
    )
    assert list(errors) == [1]
    for row in (rows[0], rows[2]):
        assert (row["l"], row["u"], row["again"], len(row["n"])) == (-(2**63), "text", b"xyz", 500)
        assert [json.loads(child) for child in row["t"]["children"]] == value["t"]["children"]


@pytest.mark.parametrize("kind", ["avro", "protobuf"])
def test_columns_beyond_the_limit_are_one_column_of_json(kind: str) -> None:
    """BEHAVIOURS 70: the rest as text, with a note."""
    names = [f"f{place}" for place in range(COLUMNS + 500)]
    if kind == "avro":
        schema = avro(record("Wide", *((name, "int") for name in names)))
        payload = b"\x02" * len(names)
    else:
        message = DescriptorProto(name="Wide")
        for place, name in enumerate(names, 1):
            message.field.add(
                name=name, number=place, type=FieldDescriptorProto.TYPE_INT64, label=1
            )
        schema, payload = proto(message), b"\x08\x01"
    rows, errors, decoder = decode(schema, [payload], kind)
    assert not errors
    assert len(rows[0]) == COLUMNS
    assert rows[0]["f0"] == 1
    rest = json.loads(rows[0][MORE])
    assert list(rest) == names[COLUMNS - 1 :]
    assert set(rest.values()) == ({1} if kind == "avro" else {0})
    assert any(f"501 fields are in {MORE} as JSON" in note for note in decoder.notes)


def proto(*messages: DescriptorProto) -> Schema:
    file = FileDescriptorProto(name="x.proto", syntax="proto3", message_type=messages)
    return Schema(base64.b64encode(file.SerializeToString()).decode(), "PROTOBUF")


def test_protobuf_schemas_that_double_and_messages_of_two_bytes() -> None:
    """BEHAVIOURS 70: 2 ** 40 columns; 800,000 fields from 4 KB; depth is limited by the parser."""
    chain = []
    for level in range(40):
        message = DescriptorProto(name=f"L{level}")
        for place, name in enumerate("ab", 1):
            field = message.field.add(name=name, number=place, label=1)
            if level:
                field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".L{level - 1}"
            else:
                field.type = FieldDescriptorProto.TYPE_INT64
        chain.insert(0, message)
    began = time.monotonic()
    rows, errors, _ = decode(proto(*chain), [b"", b"\x0a\x00"], "protobuf")
    assert not errors
    assert time.monotonic() - began < 10
    assert rows[1]["a"] is not None

    wide = DescriptorProto(name="Wide")
    for place in range(1, 401):
        wide.field.add(
            name=f"f{place}", number=place, type=FieldDescriptorProto.TYPE_INT64, label=1
        )
    outer = DescriptorProto(name="Outer")
    outer.field.add(
        name="many", number=1, type=FieldDescriptorProto.TYPE_MESSAGE, type_name=".Wide", label=3
    )
    rows, errors, _ = decode(
        proto(outer, wide), [b"\x0a\x00" * 2000, b"\x0a\x02\x08\x07"], "protobuf"
    )
    assert "claim more than" in errors[0]
    assert rows[1]["many"][0]["f1"] == 7


def test_a_schema_nested_10_000_deep_is_refused_in_a_thread_too() -> None:
    text = '{"type":"array","items":' * 10_000 + '"int"' + "}" * 10_000
    rows: list[Any] = []
    thread = threading.Thread(target=lambda: rows.append(decode(Schema(text, "AVRO"), [b"\0"])[1]))
    thread.start()
    thread.join()
    assert "its schema cannot be used" in rows[0][0]


def test_json_that_is_too_deep_or_too_wide_costs_only_itself() -> None:
    """BEHAVIOURS 70: ten records of 62,000 keys had no end; depth is an error of its row."""
    wide = json.dumps({f"k{place}": place for place in range(62_000)}).encode()
    deep = [b'{"a":' * depth + b"1" + b"}" * depth for depth in (40, 900, 100_000)]
    lists = [b'{"a":' + b"[" * depth + b"]" * depth + b"}" for depth in (40, 900, 100_000)]
    values = [b'{"n":1}', *deep, *lists, *[wide] * 3, b'{"n":2}']
    decoder = plain("json")
    began = time.process_time()
    parsed = decoder.parse(pa.array(values, pa.binary()))
    table = decoder.columns(parsed, decoder.unify([parsed.schema]))
    assert time.process_time() - began < 60
    assert list(parsed.errors) == [1, 2, 3, 4, 5, 6]
    assert table.num_columns == COLUMNS
    rows = table.to_pylist()
    assert (rows[0]["n"], rows[-1]["n"]) == (1, 2)
    assert json.loads(rows[7][MORE])["k61999"] == 61_999
    assert any(f"are in {MORE} as JSON" in note for note in decoder.notes)
