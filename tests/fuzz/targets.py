"""What takes foreign bytes, as targets to be fuzzed.

A target takes any bytes and fails when labkit crashes, hangs or loses a neighbour. Driven by
`hypothesis` in the suite (tests/unit/test_fuzz.py) and by atheris, which follows coverage, in `make
fuzz`.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import os
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import fastavro
import pyarrow as pa
import zstandard
from confluent_kafka.schema_registry import Schema
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from labkit.config.profiles import list_profiles, load_profile
from labkit.decode import plain
from labkit.decode.registry import Binary
from labkit.errors import LabkitError
from labkit.pipelines.files.lines import lines
from labkit.pipelines.irc.record import parse, record
from labkit.replay.plan import Plan
from support.registry import KnownRegistry

Target = Callable[[bytes], None]


class Source:
    """Choices made from bytes; when they are used up, the first choice."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def below(self, count: int) -> int:
        """Return a number from 0 up to `count`, which is left out."""
        self._place += 1
        return self._data[self._place - 1] % count if self._place <= len(self._data) else 0

    @property
    def rest(self) -> bytes:
        """What no choice was made from."""
        return self._data[self._place :]


def decoded(decoder: Any, values: list[bytes | None]) -> list[dict[str, Any]]:
    """Decode one batch and return its rows."""
    parsed = decoder.parse(pa.array(values, pa.binary()))
    table = decoder.columns(parsed, decoder.unify([parsed.schema]))
    table.validate(full=True)
    assert set(parsed.errors) <= set(range(len(values)))
    return table.to_pylist() if table.num_columns else [{}] * len(values)


def json_values(data: bytes) -> None:
    """Values of JSON between two that are well: those stay, each in its row."""
    values = data.split(b"\xff")
    rows = decoded(plain("json"), [b'{"neighbour":1}', *values, b'{"neighbour":2}'])
    assert len(rows) == len(values) + 2
    assert [float(json.loads(str(row["neighbour"]))) for row in (rows[0], rows[-1])] == [1, 2]


_PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
_LOGICAL = (
    {"type": "int", "logicalType": "date"},
    {"type": "long", "logicalType": "timestamp-millis"},
    {"type": "long", "logicalType": "timestamp-micros"},
    {"type": "int", "logicalType": "time-millis"},
    {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2},
    {"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 6},
    {"type": "string", "logicalType": "uuid"},
)


def avro_schema(source: Source, depth: int = 0, names: tuple[str, ...] = ()) -> Any:
    """Return a schema made of choices.

    It has any type within any other; records that hold themselves are among them.
    """
    kind = source.below(9 if depth < 4 else 3)
    if kind == 0:
        return _PRIMITIVES[source.below(len(_PRIMITIVES))]
    if kind == 1:
        return dict(_LOGICAL[source.below(len(_LOGICAL))])
    if kind == 2:
        return names[source.below(len(names))] if names else "null"
    if kind in (3, 4):
        return {"type": "array", "items": avro_schema(source, depth + 1, names)}
    if kind == 5:
        return {"type": "map", "values": avro_schema(source, depth + 1, names)}
    if kind == 6:
        return [
            "null",
            *(avro_schema(source, depth + 1, names) for _ in range(1 + source.below(2))),
        ]
    return avro_record(source, depth, names)


def avro_record(source: Source, depth: int, names: tuple[str, ...]) -> dict[str, Any]:
    """Return a record's schema whose name is not that of another one."""
    name = f"R{depth}_{'_'.join(names)}_{source._place}"
    fields = [
        {"name": f"f{place}", "type": avro_schema(source, depth + 1, (*names, name))}
        for place in range(source.below(5))
    ]
    return {"type": "record", "name": name, "fields": fields}


def avro(data: bytes) -> None:
    """Any bytes under any schema, beside a record of another schema that is well."""
    source = Source(data)
    try:
        schema = json.dumps(avro_record(source, 0, ()))
    except RecursionError:
        return
    well = {"type": "record", "name": "Well", "fields": [{"name": "neighbour", "type": "long"}]}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(well), {"neighbour": 7})
    decoder = Binary(
        KnownRegistry(Schema(schema, "AVRO"), Schema(json.dumps(well), "AVRO")), "avro"
    )
    neighbour = b"\0\0\0\0\2" + out.getvalue()
    rows = decoded(
        decoder, [neighbour, b"\0\0\0\0\1" + source.rest, b"\0" + source.rest, None, neighbour]
    )
    assert [row["neighbour"] for row in (rows[0], rows[-1])] == [7, 7]


@cache
def protobuf_decoder() -> Binary:
    """Return a decoder of a message that has each kind of field and holds itself."""
    message = DescriptorProto(name="All")
    kinds = range(1, 19)
    for kind in kinds:
        if kind in (FieldDescriptorProto.TYPE_GROUP, FieldDescriptorProto.TYPE_ENUM):
            continue
        field = message.field.add(
            name=f"f{kind}", number=kind, type=kind, label=3 if kind % 2 else 1
        )
        if kind == FieldDescriptorProto.TYPE_MESSAGE:
            field.type_name = ".All"
    file = FileDescriptorProto(name="x.proto", syntax="proto3", message_type=[message])
    return Binary(
        KnownRegistry(Schema(base64.b64encode(file.SerializeToString()).decode(), "PROTOBUF")),
        "protobuf",
    )


def protobuf(data: bytes) -> None:
    """Any bytes as a message, and as what comes before one."""
    well = b"\0\0\0\0\1\0" + bytes([3 << 3, 7])
    rows = decoded(
        protobuf_decoder(), [well, b"\0\0\0\0\1\0" + data, b"\0\0\0\0\1" + data, data, well]
    )
    assert rows[0]["f3"] == rows[-1]["f3"]
    assert rows[0]["f3"] not in (None, [])


def irc(data: bytes) -> None:
    """Any line of a server: taken apart, and a record of JSON or none."""
    for line in data.split(b"\n"):
        parse(line)
        message = record(line, received_ms=1, server="irc.example", sequence=1, fold=str.lower)
        if message is not None:
            json.loads(message.value)


def labkit_toml(data: bytes) -> None:
    """Any file of settings: read, or one clear error."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ):
        path = Path(folder) / "labkit.toml"
        path.write_bytes(data)
        os.environ["LABKIT_CONFIG"] = str(path)
        for attempt in (list_profiles, lambda: load_profile("x")):
            try:
                repr(attempt())
            except LabkitError as error:
                assert "\n" not in error.message  # noqa: PT017


def window(data: bytes) -> None:
    """Any text as a window."""
    try:
        plan = Plan.from_json(data.decode("utf-8", "surrogateescape"))
    except LabkitError:
        return
    assert Plan.from_json(plan.to_json()) == plan


def containers(data: bytes) -> None:
    """Read any bytes as a file, and as what follows or damages a packed one.

    All lines before the damage come.
    """
    source = Source(data)
    pack = (gzip.compress, zstandard.ZstdCompressor().compress, bz2.compress, bytes)[
        source.below(4)
    ]
    container = pack(b'{"neighbour":1}\n')
    cut = struct.unpack("<H", (source.rest + b"\0\0")[:2])[0] % (len(container) + 1)
    for raw in (data, container + source.rest, container[:cut] + source.rest + container[cut:]):
        lines_ = []
        try:
            for line in lines(io.BytesIO(raw), "x"):
                lines_.append(line)
        except LabkitError:
            pass
        if raw[: len(container)] == container and pack is not bytes and lines_:
            assert lines_[0] == b'{"neighbour":1}'


TARGETS: dict[str, Target] = {
    "json": json_values,
    "avro": avro,
    "protobuf": protobuf,
    "irc": irc,
    "toml": labkit_toml,
    "window": window,
    "containers": containers,
}
SEEDS: dict[str, list[bytes]] = {
    "json": [
        b'{"a":1,"b":[1,2.5,"x",null,true],"c":{"d":"e"}}\xff{"a":"x"}\xff[1]\xff\xff{"a":1e400}\xff{"a":'
        + b"[" * 300
    ],
    "avro": [
        bytes(range(64)),
        b"\x03\x06\x01\x07\x02\x02\x02\x00",
        bytes([4, 7, 2, 3, 0, 8, 6, 5]) * 8,
    ],
    "protobuf": [b"\x08\x01\x12\x03abc\x5a\x02\x18\x01", b"\x5a\x00" * 40],
    "irc": [
        b"@time=2020-01-01T00:00:00Z :nick!user@host PRIVMSG #c :hello \x01ACTION x\x01\n:a QUIT\nPING :x"
    ],
    "toml": [
        b'[profiles.x.kafka]\n"bootstrap.servers" = "a:1"\n"sasl.password" = "${file:x}"\n'
        b'[profiles.x.registry]\nurl="u"'
    ],
    "window": [
        b'{"labkit_window":1,"topic":"irc","ranges":[[0,1,2,2]],"start_ms":1,"end_ms":2,"frozen_ms":3}',
        b"[" * 20_000,
        b'{"labkit_window":1,"ranges":[[0,1e999]]}',
    ],
    "containers": [b'\x00{"a":1}\n{"b":2}\n', b"\x01\x28\xb5\x2f\xfd", b"\x02BZh9", b"\xfd7zXZ\0"],
}
