"""Avro, Protobuf and JSON Schema behind schema ids.

Confluent's serialisers write them, with a real registry and broker.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from labkit.errors import ConfigError, UnavailableError
from labkit.lab import Lab
from labkit.registry import Registry
from support.avro import logical_type
from support.registry import registry_client

MakeTopic = Callable[..., str]
Produce = Callable[..., None]
AT = datetime(2016, 3, 1, 12, 0, 0, 123000, UTC)


@pytest.fixture(scope="module")
def client(registry_url: str) -> SchemaRegistryClient:
    return registry_client()


def record(*fields: tuple[str, Any], name: str = "Message") -> str:
    fields_ = [{"name": field, "type": kind} for field, kind in fields]
    return json.dumps({"type": "record", "name": name, "namespace": "irc", "fields": fields_})


def avro(
    client: SchemaRegistryClient,
    topic: str,
    schema: str,
    *values: Any,
    of: Any = MessageField.VALUE,
) -> list[bytes]:
    serializer = AvroSerializer(client, schema)
    return [serializer(value, SerializationContext(topic, of)) for value in values]


# avro ------------------------------------------------------------------------------------------------------

_HOST, _IP = {"name": "host", "type": "string"}, {"name": "ip", "type": ["null", "string"]}
USER = {"type": "record", "name": "User", "fields": [_HOST, _IP]}
_USER = pa.struct([("host", pa.large_string()), ("ip", pa.large_string())])
_ID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
_NAIVE = AT.replace(tzinfo=None)
_PRICE = Decimal("-1.25")
KINDS: list[tuple[str, Any, Any, pa.DataType, Any]] = [
    ("yes", "boolean", True, pa.bool_(), True),
    ("small", "int", 7, pa.int64(), 7),
    ("large", "long", -(2**63), pa.int64(), -(2**63)),
    ("x", "double", 0.5, pa.float64(), 0.5),
    ("nick", "string", "älice", pa.large_string(), "älice"),
    ("raw", "bytes", b"\x00\xff", pa.large_binary(), b"\x00\xff"),
    ("digest", {"type": "fixed", "name": "Digest", "size": 2}, b"ab", pa.large_binary(), b"ab"),
    ("kind", {"type": "enum", "name": "Kind", "symbols": ["JOIN", "PART"]}, "PART", pa.large_string(), "PART"),
    ("at", logical_type("long", "timestamp-millis"), AT, pa.timestamp("ms", "UTC"), AT),
    ("at_us", logical_type("long", "timestamp-micros"), AT, pa.timestamp("us", "UTC"), AT),
    ("local", logical_type("long", "local-timestamp-millis"), _NAIVE, pa.timestamp("ms"), _NAIVE),
    ("day", logical_type("int", "date"), date(2016, 3, 1), pa.date32(), date(2016, 3, 1)),
    ("clock", logical_type("int", "time-millis"), time(1, 2, 3), pa.time32("ms"), time(1, 2, 3)),
    ("price", logical_type("bytes", "decimal", precision=10, scale=2), _PRICE, pa.decimal128(10, 2), _PRICE),
    ("id", logical_type("string", "uuid"), _ID, pa.large_string(), _ID),
    ("tags", {"type": "array", "items": "string"}, ["a", "b"], pa.large_list(pa.large_string()), ["a", "b"]),
    ("counts", {"type": "map", "values": "long"}, {"a": 1}, pa.map_(pa.string(), pa.int64()), [("a", 1)]),
    ("user", USER, {"host": "h", "ip": None}, _USER, {"host": "h", "ip": None}),
    ("maybe", ["null", "long"], None, pa.int64(), None),
    ("number", ["null", "int", "double"], 3, pa.float64(), 3.0),
    ("either", ["null", "long", "string"], 5, pa.large_string(), "5"),
]  # fmt: skip


def test_every_avro_type_comes_back_as_itself(
    registry_lab: Lab,
    client: SchemaRegistryClient,
    make_topic: MakeTopic,
    produce: Produce,
    tmp_path: Path,
):
    topic = make_topic()
    schema = record(*((name, kind) for name, kind, *_ in KINDS))
    produce(topic, avro(client, topic, schema, {name: value for name, _, value, *_ in KINDS}))
    window = registry_lab.window(topic)
    replay = window.read(decode="avro")
    for name, _, _, kind, expected in KINDS:
        assert replay.table.schema.field(name).type == kind, name
        assert replay.table[name].to_pylist() == [expected], name
    assert replay.receipt.undecodable == 0
    assert any(note.startswith("decoded as avro by schema ids ") for note in replay.receipt.notes)
    window.to_parquet(tmp_path / "x.parquet", decode="avro")
    assert pq.read_table(tmp_path / "x.parquet")["price"].to_pylist() == [Decimal("-1.25")]
    assert replay.to_pandas()["at"][0] == AT
    assert replay.to_polars()["nick"].to_list() == ["älice"]
    assert replay.sql("select counts['a'] n, year(at_us) y from replay").iloc[0].tolist() == [
        1,
        2016,
    ]


def test_schemas_of_one_window_merge_and_tombstones_stay(
    registry_lab: Lab,
    client: SchemaRegistryClient,
    make_topic: MakeTopic,
    produce: Produce,
    tmp_path: Path,
):
    topic = make_topic()
    old = avro(client, topic, record(("nick", "string"), ("n", "int"), ("who", {**USER, "fields": USER["fields"][:1]})),
               {"nick": "a", "n": 1, "who": {"host": "h"}})  # fmt: skip
    new = avro(client, topic, record(("n", "double"), ("nick", "string"), ("who", USER), ("late", "bytes")),
               {"n": 0.5, "nick": "b", "who": {"host": "i", "ip": "::1"}, "late": b"x"})  # fmt: skip
    odd = avro(client, topic, record(("nick", "long"), ("n", "int")), {"nick": 7, "n": 2})
    produce(topic, [*old, None, *new, *odd])
    window = registry_lab.window(topic)
    table = window.read(decode="avro").table
    assert table.column_names[4:-5] == ["nick", "n", "who", "late"]
    assert table["nick"].to_pylist() == ["a", None, "b", "7"]
    assert table["n"].to_pylist() == [1.0, None, 0.5, 2.0]
    assert table["who"].to_pylist() == [
        {"host": "h", "ip": None},
        None,
        {"host": "i", "ip": "::1"},
        None,
    ]
    assert table["late"].to_pylist() == [None, None, b"x", None]
    assert table["_error"].null_count == 4
    window.to_parquet(tmp_path / "x.parquet", decode="avro")
    assert pq.read_table(tmp_path / "x.parquet").cast(table.schema).equals(table)


def test_what_cannot_be_read_keeps_its_row_and_is_named(
    registry_lab: Lab, client: SchemaRegistryClient, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic()
    (good,) = avro(client, topic, record(("nick", "string"), ("n", "long")), {"nick": "a", "n": 1})
    schema_id = int.from_bytes(good[1:5], "big")
    unknown = b"\x00" + (999_999).to_bytes(4, "big") + good[5:]
    bad = [
        good,
        b'{"n":1}',
        b"",
        unknown,
        good[:-2],
        good + b"more",
        good[:5] + b"\x02\xff\x02",
        None,
        b"\x00ab",
    ]
    produce(topic, bad)
    replay = registry_lab.window(topic).read(decode="avro")
    reasons = replay.table["_error"].to_pylist()
    assert [reason is None for reason in reasons] == [True, *[False] * 6, True, False]
    assert replay.table["_value"].to_pylist() == bad
    assert replay.table["n"].to_pylist() == [1, *[None] * 8]
    assert "not Confluent's wire format: it starts with 7b" in reasons[1]
    assert "empty value" in reasons[2]
    assert "schema id 999999: not in the schema registry at http" in reasons[3]
    assert f"not avro of schema id {schema_id} irc.Message" in reasons[4]
    assert "4 bytes are left over" in reasons[5]
    assert replay.receipt.undecodable == 7
    assert replay.receipt.complete
    assert "7 of the read could not be decoded" in str(replay.receipt)
    text = replay.decode("raw")
    assert text.receipt.undecodable == 0
    assert text.decode("avro").table.equals(replay.table)


def test_types_that_hold_themselves_references_and_no_records(
    registry_lab: Lab, client: SchemaRegistryClient, make_topic: MakeTopic, produce: Produce
):
    from confluent_kafka.schema_registry import Schema, SchemaReference

    tree = record(("n", "int"), ("next", ["null", "irc.Tree"]), name="Tree")
    topic = make_topic()
    produce(topic, avro(client, topic, tree, {"n": 1, "next": {"n": 2, "next": None}}))
    table = registry_lab.window(topic).read(decode="avro").table
    assert json.loads(table["next"].to_pylist()[0]) == {"n": 2, "next": None}
    topic = make_topic()
    produce(topic, avro(client, topic, '"long"', 5))
    assert registry_lab.window(topic).read(decode="avro").table["value"].to_pylist() == [5]
    topic = make_topic()
    client.register_schema(
        f"{topic}-user", Schema(json.dumps({**USER, "namespace": "irc"}), "AVRO")
    )
    outer = Schema(
        record(("who", "irc.User")), "AVRO", [SchemaReference("irc.User", f"{topic}-user", 1)]
    )
    produce(topic, avro(client, topic, outer, {"who": {"host": "h", "ip": "i"}}))
    assert registry_lab.window(topic).read(decode="avro").table["who"].to_pylist() == [
        {"host": "h", "ip": "i"}
    ]


# protobuf --------------------------------------------------------------------------------------------------

PROTO = descriptor_pb2.FieldDescriptorProto


def field(name: str, number: int, kind: int, label: int = 1, **more: Any) -> Any:
    return PROTO(name=name, number=number, type=kind, label=label, **more)


def messages(package: str, *extra: Any) -> dict[str, Any]:
    """Make the message classes of a file: Irc, Irc.Inner and Other.

    Irc has all kinds of fields, and `extra`.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3",
        dependency=[f"google/protobuf/{name}.proto" for name in ("timestamp", "wrappers", "struct")],
    )  # fmt: skip
    irc = file.message_type.add(name="Irc")
    inner = irc.nested_type.add(name="Inner")
    inner.field.append(field("host", 1, PROTO.TYPE_STRING))
    entry = irc.nested_type.add(name="CountsEntry", options={"map_entry": True})
    entry.field.extend([field("key", 1, PROTO.TYPE_STRING), field("value", 2, PROTO.TYPE_INT64)])
    file.enum_type.add(
        name="Kind", value=[{"name": "NONE", "number": 0}, {"name": "JOIN", "number": 1}]
    )
    own = f".{package}"
    irc.oneof_decl.add(name="choice")
    irc.field.extend([
        field("nick", 1, PROTO.TYPE_STRING),
        field("n", 2, PROTO.TYPE_UINT64),
        field("raw", 3, PROTO.TYPE_BYTES),
        field("kind", 4, PROTO.TYPE_ENUM, type_name=f"{own}.Kind"),
        field("at", 5, PROTO.TYPE_MESSAGE, type_name=".google.protobuf.Timestamp"),
        field("maybe", 6, PROTO.TYPE_MESSAGE, type_name=".google.protobuf.Int64Value"),
        field("inner", 7, PROTO.TYPE_MESSAGE, type_name=f"{own}.Irc.Inner"),
        field("many", 8, PROTO.TYPE_MESSAGE, 3, type_name=f"{own}.Irc.Inner"),
        field("counts", 9, PROTO.TYPE_MESSAGE, 3, type_name=f"{own}.Irc.CountsEntry"),
        field("self", 10, PROTO.TYPE_MESSAGE, type_name=f"{own}.Irc"),
        field("free", 11, PROTO.TYPE_MESSAGE, type_name=".google.protobuf.Struct"),
        field("one", 12, PROTO.TYPE_INT32, oneof_index=0),
        *extra,
    ])  # fmt: skip
    file.message_type.add(name="Other").field.append(field("x", 1, PROTO.TYPE_DOUBLE))
    pool = descriptor_pool.Default()
    pool.Add(file)
    names = ("Irc", "Irc.Inner", "Other")
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in names
    }


def protobuf(client: SchemaRegistryClient, topic: str, *values: Any) -> list[bytes]:
    written = []
    for value in values:
        serializer = ProtobufSerializer(type(value), client, {"use.deprecated.format": False})
        written.append(serializer(value, SerializationContext(topic, MessageField.VALUE)))
    return written


def test_protobuf_comes_back_typed_with_what_is_not_set_null(
    registry_lab: Lab, client: SchemaRegistryClient, make_topic: MakeTopic, produce: Produce
):
    of = messages("first")
    Irc, Inner = of["Irc"], of["Irc.Inner"]
    full = Irc(
        nick="a",
        n=2**64 - 1,
        raw=b"\xff",
        kind=1,
        inner=Inner(host="h"),
        many=[Inner(host="i")],
        one=0,
    )
    full.at.FromDatetime(AT)
    full.maybe.value = 0
    full.counts["x"] = 3
    full.self.nick = "b"
    full.free.update({"k": [1, None]})
    topic = make_topic()
    (data,) = protobuf(client, topic, full)
    produce(topic, [data, *protobuf(client, topic, Irc()), data[:-3], None])
    replay = registry_lab.window(topic).read(decode="protobuf")
    first, empty, poisoned, tombstone = replay.table.to_pylist()
    assert replay.table.schema.field("at").type == pa.timestamp("us", "UTC")
    assert (first["n"], first["raw"], first["kind"], first["at"]) == (
        2**64 - 1,
        b"\xff",
        "JOIN",
        AT,
    )
    assert (first["maybe"], first["one"], first["inner"], first["many"]) == (
        0,
        0,
        {"host": "h"},
        [{"host": "i"}],
    )
    assert (first["counts"], json.loads(first["free"])) == ([("x", 3)], {"k": [1.0, None]})
    assert json.loads(first["self"])["nick"] == "b"
    assert (empty["nick"], empty["n"], empty["kind"], empty["many"], empty["counts"]) == (
        "",
        0,
        "NONE",
        [],
        [],
    )
    assert [empty[name] for name in ("at", "maybe", "inner", "one", "self", "free")] == [None] * 6
    assert "not protobuf of schema id" in poisoned["_error"]
    assert tombstone["_error"] is None is tombstone["nick"]
    assert replay.receipt.undecodable == 1


def test_protobuf_schemas_evolve_and_each_message_of_a_file_is_told_apart(
    registry_lab: Lab, client: SchemaRegistryClient, make_topic: MakeTopic, produce: Produce
):
    old, new = messages("second.old"), messages("second.new", field("late", 20, PROTO.TYPE_DOUBLE))
    topic = make_topic()
    values = [
        old["Irc"](nick="a"),
        new["Irc"](nick="b", late=0.5),
        old["Other"](x=1.5),
        old["Irc.Inner"](host="h"),
    ]
    produce(topic, protobuf(client, topic, *values))
    table = registry_lab.window(topic).read(decode="protobuf").table
    assert table["nick"].to_pylist() == ["a", "b", None, None]
    assert table["late"].to_pylist() == [None, 0.5, None, None]
    assert table["x"].to_pylist() == [None, None, 1.5, None]
    assert table["host"].to_pylist() == [None, None, None, "h"]
    assert table["_error"].null_count == 4


# json schema -----------------------------------------------------------------------------------------------


def json_schema(client: SchemaRegistryClient, topic: str, *values: Any) -> list[bytes]:
    serializer = JSONSerializer(
        json.dumps(
            {"$schema": "http://json-schema.org/draft-07/schema#", "title": "irc", "type": "object"}
        ),
        client,
    )
    return [serializer(value, SerializationContext(topic, MessageField.VALUE)) for value in values]


def test_json_behind_a_schema_id_has_the_columns_of_json(
    registry_lab: Lab, client: SchemaRegistryClient, make_topic: MakeTopic, produce: Produce
):
    values = [{"n": 1, "user": {"a": 1}}, {"n": 0.5, "user": {"b": "x"}, "late": [1]}]
    framed, plain = make_topic(), make_topic()
    data = json_schema(client, framed, *values)
    unknown = b"\x00" + (999_999).to_bytes(4, "big") + b"{}"
    produce(framed, [*data, None, data[0][:8], b'{"n":1}', unknown, b"", b"\x00{}"])
    produce(plain, [json.dumps(value).encode() for value in values])
    replay = registry_lab.window(framed).read(decode="jsonschema")
    expected = registry_lab.window(plain).read().table
    own = expected.column_names[4:-5]
    assert replay.table.column_names == expected.column_names
    assert replay.table.select(own).slice(0, 2).to_pylist() == expected.select(own).to_pylist()
    reasons = replay.table["_error"].to_pylist()
    assert [reason is None for reason in reasons] == [True, True, True, *[False] * 5]
    assert "schema id 999999: not in the schema registry" in reasons[5]
    assert replay.receipt.undecodable == 5


# auto ------------------------------------------------------------------------------------------------------


def test_auto_chooses_each_and_says_why(
    registry_lab: Lab, client: SchemaRegistryClient, make_topic: MakeTopic, produce: Produce
):
    unknown = [b"\x00" + (999_000 + n).to_bytes(4, "big") + b"\x01\xff" for n in range(3)]
    topics = {
        name: make_topic(2)
        for name in ("avro", "protobuf", "jsonschema", "json", "text", "raw", "unknown", "empty")
    }
    values = {
        "avro": avro(client, topics["avro"], record(("n", "int")), *({"n": n} for n in range(60))),
        "protobuf": protobuf(client, topics["protobuf"], messages("auto")["Irc"](nick="a")),
        "jsonschema": json_schema(client, topics["jsonschema"], {"a": 1}, {"a": 2}),
        "json": [b'{"a":1}', b'{"a":2}', b"plain"],
        "text": [b"a|b|c", b"d|e|f", b'{"a":1}'],
        "raw": [b"\x01\x02\xff", b"\xfe"],
        "unknown": unknown,
        "empty": [],
    }
    for name, value in values.items():
        produce(topics[name], value)
        replay = registry_lab.window(topics[name]).read(decode="auto")
        (note,) = [note for note in replay.receipt.notes if note.startswith("auto chose ")]
        decoder_name = {"unknown": "raw", "empty": "json"}.get(name, name)
        assert note.startswith(f"auto chose {decoder_name} for the values: "), note
        assert note in str(replay.receipt)
        same = replay.decode("raw").decode("auto")
        assert same.table.equals(replay.table), name
        assert replay.table.equals(
            registry_lab.window(topics[name]).read(decode=decoder_name).table
        ), name
    why = str(registry_lab.window(topics["unknown"]).read(decode="auto").receipt)
    assert "3 of 3 sampled start as Confluent's wire format does, but" in why
    assert "does not have it" in why


# the registry itself ---------------------------------------------------------------------------------------


def test_a_schema_is_fetched_once_for_each_id(
    registry_lab: Lab,
    client: SchemaRegistryClient,
    make_topic: MakeTopic,
    produce: Produce,
    monkeypatch: pytest.MonkeyPatch,
):
    topic = make_topic()
    good = avro(client, topic, record(("n", "int")), *({"n": n} for n in range(3000)))
    unknown = b"\x00" + (999_999).to_bytes(4, "big") + b"xx"
    produce(topic, [*good, *[unknown] * 3000])
    requests = []
    real = Registry.schema
    monkeypatch.setattr(
        Registry, "schema", lambda self, number: (requests.append(number), real(self, number))[1]
    )
    assert registry_lab.window(topic).read(decode="avro").receipt.undecodable == 3000
    assert sorted(requests) == [int.from_bytes(good[0][1:5], "big"), 999_999]


def test_a_registry_that_cannot_be_reached_is_one_error(
    lab: Lab, client: SchemaRegistryClient, make_topic: MakeTopic, produce: Produce
):
    from dataclasses import replace

    topic = make_topic()
    produce(topic, avro(client, topic, record(("n", "int")), {"n": 1}))
    away = Lab(replace(lab.connection, registry={"url": "http://127.0.0.1:9"}))
    for decode in ("avro", "auto"):
        with pytest.raises(
            UnavailableError, match=r"schema registry at http://127.0.0.1:9"
        ) as caught:
            away.window(topic).read(decode=decode)
        assert "labkit up --registry" in (caught.value.hint or "")
    none = Lab(replace(lab.connection, registry={}))
    with pytest.raises(ConfigError, match="needs a schema registry") as refused:
        none.window(topic).read(decode="avro")
    assert "labkit.toml" in (refused.value.hint or "")
    assert "this profile has no registry" in str(none.window(topic).read(decode="auto").receipt)
    web = Lab(
        replace(
            lab.connection,
            registry={"url": client._rest_client.base_urls[0].replace("/apis/ccompat/v7", "/ui")},
        )
    )
    replay = web.window(topic).read(decode="avro")
    assert replay.receipt.undecodable == 1


# ids in headers ------------------------------------------------------------------------------------------------


def test_ids_in_headers_are_read_like_those_in_front(
    registry_lab: Lab, client: SchemaRegistryClient, make_topic: MakeTopic, produce: Produce
) -> None:
    name = make_topic()
    schema = record(("nick", "string"))
    framed = avro(client, name, schema, {"nick": "ada"}, {"nick": "alan"})
    keys = avro(
        client, name, record(("n", "long"), name="Key"), {"n": 1}, {"n": 2}, of=MessageField.KEY
    )
    heads = [
        [("trace", b"x"), ("__value_schema_id", value[:5]), ("__key_schema_id", key[:5])]
        for value, key in zip(framed, keys, strict=True)
    ]
    produce(name, [value[5:] for value in framed], keys=[key[5:] for key in keys], headers=heads)
    produce(name, framed, keys=keys)
    replay = registry_lab.window(name).read(decode="avro", key_decode="avro")
    assert replay.receipt.counts["undecodable"] == 0
    assert replay.table["nick"].to_pylist() == ["ada", "alan"] * 2
    assert replay.table["_key_n"].to_pylist() == [1, 2] * 2
    assert replay.table["_value"].to_pylist()[0] == framed[0][5:]
    decoded = registry_lab.window(name, offsets={0: (0, 2)}).read(decode="auto")
    assert decoded.table["nick"].to_pylist() == ["ada", "alan"]
