"""Decoders without a server.

It tests the contract, own functions, the choice of auto, keys, and the rule for types.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import fastavro
import pyarrow as pa
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import decode
from labkit.decode import auto, custom, keys, merge
from labkit.decode.registry import Binary, JsonSchema
from labkit.errors import ConfigError, UsageError
from labkit.registry import Registry
from support.registry import KnownRegistry

Values = list[bytes | None]


def table(
    decoder: Any, values: Values, cuts: Any = ()
) -> tuple[list[dict[str, Any]], pa.Schema | None, dict[int, str]]:
    """Decode values in batches cut at `cuts`; return rows, Arrow schema and errors."""
    edges = [0, *sorted(cuts), len(values)]
    parsed = [
        decoder.parse(pa.array(values[first:last], pa.binary())) for first, last in pairwise(edges)
    ]
    schema = decoder.unify([one.schema for one in parsed])
    errors: dict[int, str] = {}
    tables = []
    for batch, (first, _) in zip(parsed, pairwise(edges), strict=True):
        tables.append(decoder.columns(batch, schema))
        errors |= {first + row: reason for row, reason in batch.errors.items()}
    if not schema:
        return [{}] * len(values), None, errors
    joined = pa.concat_tables(tables)
    return joined.to_pylist(), joined.schema, errors


# a registry that is not asked: its answers are there already ------------------------------------------------


def record(*fields: tuple[str, Any], name: str = "R") -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": field, "type": kind} for field, kind in fields],
    }


SCHEMAS = [
    record(("a", "long"), ("b", ["null", "string"])),
    record(("a", "double"), ("c", {"type": "array", "items": "int"})),
    record(("b", ["null", "long"]), ("a", "string")),
    record(("n", record(("x", "int"), name="N")), ("m", {"type": "map", "values": "long"})),
    record(
        ("n", record(("x", "double"), ("y", "bytes"), name="N")),
        ("m", {"type": "map", "values": "string"}),
    ),
    record(
        ("t", {"type": "long", "logicalType": "timestamp-millis"}), ("a", ["int", "string", "null"])
    ),
    record(
        ("t", {"type": "long", "logicalType": "timestamp-micros"}), ("e", record(name="Nothing"))
    ),
]
KNOWN = KnownRegistry(*(Schema(json.dumps(schema), "AVRO") for schema in SCHEMAS))
_PARSED = [fastavro.parse_schema(schema) for schema in SCHEMAS]


def written(number: int, value: Any) -> bytes:
    import io

    target = io.BytesIO()
    fastavro.schemaless_writer(target, _PARSED[number - 1], value)
    return b"\x00" + number.to_bytes(4, "big") + target.getvalue()


integers = st.integers(-(2**31), 2**31 - 1)
longs = st.integers(-(2**52), 2**52)
texts = st.text(max_size=3)
times = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(
    lambda one: one.replace(tzinfo=UTC)
)
fractions = st.floats(allow_nan=False, allow_infinity=False, width=32)
records = st.one_of(
    st.builds(lambda a, b: written(1, {"a": a, "b": b}), longs, st.none() | texts),
    st.builds(lambda a, c: written(2, {"a": a, "c": c}), fractions, st.lists(integers, max_size=2)),
    st.builds(lambda a, b: written(3, {"a": a, "b": b}), texts, st.none() | longs),
    st.builds(
        lambda x, m: written(4, {"n": {"x": x}, "m": m}),
        integers,
        st.dictionaries(texts, longs, max_size=2),
    ),
    st.builds(
        lambda x, y: written(5, {"n": {"x": x, "y": y}, "m": {"k": "v"}}),
        fractions,
        st.binary(max_size=2),
    ),
    st.builds(lambda t, a: written(6, {"t": t, "a": a}), times, st.none() | integers | texts),
    st.builds(lambda t: written(7, {"t": t, "e": {}}), times),
    st.none(),
    st.sampled_from(
        [
            b"",
            b"{}",
            b"\x00\x00\x00\x00\x63ab",
            b"\x00\x00\x00\x00\x01",
            b"\x00\x00\x00\x00\x01\x02",
        ]
    ),
)
values_and_cuts = st.lists(records, min_size=1, max_size=8).flatmap(
    lambda values: st.tuples(st.just(values), st.sets(st.integers(0, len(values))))
)


@settings(deadline=None, max_examples=300)
@given(values_and_cuts)
def test_any_split_of_avro_gives_the_same_columns_rows_and_errors(given: tuple[Values, set[int]]):
    values, cuts = given
    whole_table, parts = (
        table(Binary(KNOWN, "avro"), values),
        table(Binary(KNOWN, "avro"), values, cuts),
    )
    assert whole_table[1] == parts[1]
    assert whole_table[0] == parts[0]
    assert whole_table[2] == parts[2]
    assert [
        row for row, value in enumerate(values) if value is None and row in whole_table[2]
    ] == []


def test_a_value_becomes_text_from_what_was_written_not_from_a_number_it_was_merged_into():
    values: Values = [
        written(1, {"a": 1, "b": None}),
        written(2, {"a": 0.5, "c": []}),
        written(3, {"a": "x", "b": 7}),
    ]
    for cuts in ((), (1,), (2,), (1, 2)):
        rows, _, errors = table(Binary(KNOWN, "avro"), values, cuts)
        assert [row["a"] for row in rows] == ["1", "0.5", "x"]
        assert [row["b"] for row in rows] == [None, None, "7"]
        assert errors == {}


def test_bytes_that_only_look_like_ids_do_not_flood_the_registry(monkeypatch: pytest.MonkeyPatch):
    from labkit.decode import registry

    monkeypatch.setattr(registry, "UNKNOWN_IDS", 10)
    requests = []
    monkeypatch.setattr(
        KnownRegistry,
        "schema",
        lambda self, number, real=KnownRegistry.schema: (
            requests.append(number),
            real(self, number),
        )[1],
    )
    values: Values = [b"\x00" + number.to_bytes(4, "big") + b"x" for number in range(100, 200)]
    for decoder in (Binary(KNOWN, "avro"), JsonSchema(KNOWN)):
        requests.clear()
        errors = table(decoder, values)[2]
        assert len(requests) == 10
        assert len(errors) == 100
        assert "not asked for: 10 other ids" in errors[99]
        assert decoder.lasting is False


framed = st.sampled_from([b'{"a":1}', b'{"a":"x","b":[1]}', b"[1]", b"{", b""]).map(
    lambda line: b"\x00\x00\x00\x00\x01" + line
)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(framed | st.none() | st.binary(max_size=8), min_size=1, max_size=8),
    st.sets(st.integers(0, 1)),
)
def test_any_split_of_framed_json_gives_the_same_as_json_without_frames(
    values: Values, cuts: set[int]
):
    registry = KnownRegistry(Schema("{}", "JSON"))
    rows, schema, errors = table(JsonSchema(registry), values, cuts)
    assert (rows, schema, errors) == table(JsonSchema(registry), values)
    inner = [
        b"{}" if row in errors else None if value is None else value[5:]
        for row, value in enumerate(values)
    ]
    assert (rows, schema) == table(decode.find_decoder("json"), inner)[:2]


def test_what_json_behind_an_id_does_not_agree_on_is_announced():
    """BEHAVIOURS 57, 70: as of JSON without an id."""
    decoder = JsonSchema(KnownRegistry(Schema("{}", "JSON")))
    wide = json.dumps({f"f{number}": number for number in range(1001)}).encode()
    table(decoder, [b"\0\0\0\0\1" + line for line in (b'{"a":1}', b'{"a":"x"}', wide)])
    assert decode.notes(decoder)[-1].startswith("field a: 1 number, 1 text")
    assert decode.notes(decoder)[0].startswith("3 fields are in _more as JSON")


def test_a_schema_of_another_type_is_named():
    _, _, errors = table(JsonSchema(KNOWN), [written(1, {"a": 1, "b": None})])
    assert errors == {0: "schema id 1: it is of type AVRO, not JSON"}


@pytest.mark.parametrize(
    ("text", "references", "reason"),
    [
        ('syntax = "proto3"; message A { int64 n = 1;', (), "cannot be compiled: "),
        ('syntax = "proto3"; import "b.proto"; message A {}', (), "b.proto: File not found"),
        (
            'syntax = "proto3"; message A {}',
            ("../a.proto",),
            "it refers to '../a.proto', which is not the name",
        ),
        (
            'syntax = "proto3"; message A {}',
            ("/etc/a.proto",),
            "it refers to '/etc/a.proto', which is not the name",
        ),
    ],
    ids=["broken", "import", "above", "absolute"],
)
def test_text_of_a_proto_that_cannot_be_compiled_says_why(
    text: str, references: tuple[str, ...], reason: str
):
    schema = Schema(text, "PROTOBUF", [SchemaReference(name, "a", 1) for name in references])
    _, _, errors = table(Binary(KnownRegistry(schema), "protobuf"), [b"\0\0\0\0\1\0ab"])
    assert reason in errors[0]


def test_glues_header_is_named():
    version = UUID("b7b4a7f0-9c96-4e4a-a687-fb5de9ef0c63")
    values = [
        b"\3\0" + version.bytes + b"x",
        b"\3\5" + version.bytes + b"x",
        b"\3\1" + version.bytes,
    ]
    _, _, errors = table(Binary(KnownRegistry(), "avro"), values)
    assert errors[0].startswith(f"AWS Glue's header, of schema version {version}; labkit reads")
    assert f"{version}, compressed;" in errors[1]
    assert errors[2].startswith("not Confluent's wire format: it starts with 03 01")


def test_text_of_a_proto_is_compiled():
    schema = Schema('syntax = "proto3"; message A { message B { int64 n = 1; } }', "PROTOBUF")
    rows, _, errors = table(Binary(KnownRegistry(schema), "protobuf"), [b"\0\0\0\0\1\4\0\0\x08\5"])
    assert (rows, errors) == ([{"n": 5}], {})


def descriptor(package: str, kind: int) -> tuple[Schema, Any]:
    """Return a Protobuf schema of one message ``{n}`` and the class that writes it."""
    import base64

    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3"
    )
    file.message_type.add(name="M").field.add(name="n", number=1, type=kind, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    text = base64.b64encode(file.SerializeToString()).decode()
    return Schema(text, "PROTOBUF"), message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"{package}.M")
    )


def test_any_split_of_protobuf_gives_the_same_columns_and_rows():
    descriptors = [
        descriptor("a", 3),
        descriptor("b", 1),
        descriptor("c", 9),
    ]  # int64, double, string
    registry = KnownRegistry(*(schema for schema, _ in descriptors))
    values: Values = [
        b"\x00" + number.to_bytes(4, "big") + b"\x00" + kind(n=n).SerializeToString()
        for number, ((_, kind), n) in enumerate(zip(descriptors, (5, 0.5, "x"), strict=True), 1)
    ]
    values = [
        values[0],
        None,
        b"\x00\x00\x00\x00\x01\x00\x08",
        values[1],
        values[2],
        b"\x00\x00\x00\x00\x01\x04\x02\x02",
    ]
    for cuts in ((), (1,), (3,), (4,), (1, 3, 4)):
        rows, _, errors = table(Binary(registry, "protobuf"), values, cuts)
        assert [row["n"] for row in rows] == ["5", None, None, "0.5", "x", None]
        assert sorted(errors) == [2, 5]
        assert "message number [1, 1] is not in the schema" in errors[5]
        rows, _, _ = table(
            Binary(registry, "protobuf"), values[:4], [cut for cut in cuts if cut < 4]
        )
        assert [row["n"] for row in rows] == [5.0, None, None, 0.5]


def test_a_value_too_large_for_its_own_schema_costs_one_field():
    """BEHAVIOURS 34: all fields of the record were lost, and the error named none."""
    kind = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}
    registry = KnownRegistry(Schema(json.dumps(record(("x", kind), ("n", "int"))), "AVRO"))
    values: Values = [
        b"\x00\x00\x00\x00\x01" + bytes([2 * size]) + unscaled.to_bytes(size, "big") + b"\x02"
        for unscaled, size in ((125, 1), (123_456_789, 4), (-1 & 0xFF, 1))
    ]
    rows, schema, errors = table(Binary(registry, "avro"), values)
    assert [row["x"] for row in rows] == [Decimal("1.25"), None, Decimal("-0.01")]
    assert [row["n"] for row in rows] == [1, 1, 1]
    assert list(errors) == [1]
    assert "a value of schema id 1 R that no column holds: x: Decimal(" in errors[1]
    assert schema is not None
    assert schema.field("x").type == pa.decimal128(4, 2)


# types -----------------------------------------------------------------------------------------------------

leaves = st.sampled_from([
    pa.null(), pa.bool_(), pa.int64(), pa.uint64(), pa.float64(), merge.TEXT, merge.BINARY,
    pa.date32(), pa.time32("ms"), pa.time64("us"), pa.timestamp("ms"),
    pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC"), pa.timestamp("ns", "UTC"),
    pa.decimal128(10, 2), pa.decimal128(38, 0), pa.decimal128(38, 20),
])  # fmt: skip
kinds = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(pa.large_list),
        inner.map(lambda item: pa.map_(pa.string(), item)),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(
            lambda one: pa.struct(list(one.items()))
        ),
    ),
    max_leaves=4,
)


def unordered(kind: pa.DataType) -> Any:
    """Return a type without the order of its fields."""
    if pa.types.is_struct(kind):
        return {field_.name: unordered(field_.type) for field_ in kind}
    if pa.types.is_map(kind):
        return ("map", unordered(kind.item_type))
    return [unordered(kind.value_type)] if pa.types.is_large_list(kind) else str(kind)


@settings(deadline=None, max_examples=500)
@given(kinds, kinds, kinds)
def test_types_merge_whatever_the_order_and_the_grouping(
    a: pa.DataType, b: pa.DataType, c: pa.DataType
):
    assert unordered(merge.merge(a, b)) == unordered(merge.merge(b, a))
    assert merge.merge(merge.merge(a, b), c) == merge.merge(a, merge.merge(b, c))
    assert merge.merge(a, a) == a


# functions -------------------------------------------------------------------------------------------------


def test_what_a_function_returns_becomes_columns():
    results = iter([
        {"a": 1, "at": datetime(2016, 3, 1, tzinfo=UTC), "price": Decimal("0E-7"), "raw": b"\xff", "set": {2, 1}},
        "text", None, [1, 2], {"a": 2**70}, {1: "one"}, {"id": UUID(int=1)},
    ])  # fmt: skip
    rows, _, errors = table(custom.Own(lambda value: next(results)), [b"x"] * 7)
    assert errors == {}
    assert [row["a"] for row in rows] == ["1", None, None, None, str(2**70), None, None]
    assert rows[0]["at"] == "2016-03-01T00:00:00+00:00"
    assert (rows[0]["price"], rows[0]["raw"], rows[0]["set"]) == ("0.0000000", "/w==", [1, 2])
    assert [row["value"] for row in rows] == [None, "text", None, "[1, 2]", None, None, None]
    assert (rows[5]["1"], rows[6]["id"]) == ("one", str(UUID(int=1)))


def test_what_a_function_raises_is_the_rows_error_and_tombstones_are_not_passed():
    values_seen = []

    def function(value: bytes) -> Any:
        values_seen.append(value)
        return {"thing": object()} if value == b"o" else {"n": int(value)}

    rows, _, errors = table(custom.Own(function), [b"1", None, b"x", b"o", b"", b"2"])
    assert values_seen == [b"1", b"x", b"o", b"", b"2"]
    assert [row["n"] for row in rows] == [1, None, None, None, None, 2]
    assert sorted(errors) == [2, 3, 4]
    assert (
        errors[2] == "the decoder raised ValueError: invalid literal for int() with base 10: b'x'"
    )
    assert (
        errors[3]
        == "the decoder raised TypeError: the decoder returned a object, which is not a JSON value"
    )


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.none()
        | st.sampled_from([b"1", b'"x"', b"[1]", b'{"a":1}', b'{"a":0.5,"b":null}', b"!"]),
        min_size=1,
    ),
    st.sets(st.integers(0, 1)),
)
def test_any_split_of_a_functions_results_gives_the_same_columns(values: Values, cuts: set[int]):
    assert table(custom.Own(json.loads), values, cuts) == table(custom.Own(json.loads), values)


# the contract ----------------------------------------------------------------------------------------------


def test_names_functions_and_decoders_are_all_taken():
    for name in ("json", "text", "raw"):
        assert isinstance(decode.find_decoder(name), decode.Decoder)
    decoder = Binary(KNOWN, "avro")
    assert decode.find_decoder(decoder) is decoder
    assert isinstance(decode.find_decoder(json.loads), custom.Own)
    for name in decode.REGISTRY:
        assert isinstance(decode.find_decoder(name, registry=KNOWN), decode.Decoder)
        with pytest.raises(ConfigError, match=f"{name}.*needs a schema registry"):
            decode.find_decoder(name)
    for wrong in ("xml", 5, None):
        with pytest.raises(UsageError, match="is not a decoder"):
            decode.find_decoder(wrong)  # type: ignore[arg-type]


def test_a_function_has_no_name_in_the_cache_and_registries_have_their_own():
    def parse(value: bytes) -> Any:
        return value

    other_registry = Registry({"url": "http://other.example"})
    assert decode.cache_name(parse, "raw", None) is decode.cache_name("json", parse, None) is None
    assert decode.cache_name(Binary(KNOWN, "avro"), "raw", KNOWN) is None
    names = [
        decode.cache_name(value, key, registry)
        for value in decode.NAMES
        for key in ("raw", "text", "auto")
        for registry in (KNOWN, other_registry)
    ]
    plain = 3 * 2  # a value's and a key's decoder without a registry are the same with any
    assert len(set(names)) == len(names) - plain
    assert decode.cache_name("json", "raw", KNOWN) == "json"


def test_keys_become_columns_of_their_own_beside_the_values_errors():
    pair = keys.Both(decode.find_decoder("json"), decode.find_decoder("text"))
    batch = pa.record_batch({
        "value": pa.array([b'{"text":"v"}', b"{", b"{}"], pa.binary()),
        "key": pa.array([b"k", b"\xff", None], pa.binary()),
    })  # fmt: skip
    parsed = pair.parse_batch(batch)
    schema = pair.unify([parsed.schema])
    assert pair.columns(parsed, schema).to_pydict() == {"text": ["v", None, None]}
    assert pair.key_columns(parsed, schema).to_pydict() == {"_key_text": ["k", None, None]}
    assert sorted(parsed.errors) == [1]
    assert "not JSON" in parsed.errors[1]
    assert "; key: not UTF-8" in parsed.errors[1]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([b'{"a":1}', b'{"a":2}', b"x"], "json"),
        ([b"x", b"1", b'{"a":1}', None], "text"),
        ([b"[1]", b"3"], "text"),
        ([b"\x00\x00\x00\x01", b"\x00\x00\x00\x02"], "raw"),
        ([b"\xff\xfe"], "raw"),
        ([None, b""], "json"),
        ([written(1, {"a": 1, "b": None}), b'{"a":1}', written(2, {"a": 1, "c": []})], "avro"),
        ([b"\x00\x00\x00\x00\x63ab"], "raw"),
    ],
)
def test_auto_says_what_it_chose(values: Values, name: str):
    choice, why, lasting = auto.choose(values, KNOWN)
    assert choice == name
    assert why.startswith(f"auto chose {name} for the values: ")
    assert lasting is ("is not in" not in why and "no such id" not in why)


# the profile -----------------------------------------------------------------------------------------------


def test_a_registry_shows_no_password():
    registry = Registry(
        {"url": "https://alice:hush@registry.example/api", "basic_auth": ["alice", "hush"]}
    )
    assert "hush" not in f"{registry!r} {registry.address} {registry.user} {registry.hash}"
    with pytest.raises(ConfigError) as caught:
        Registry({"url": "ftp://x:hush@y"}).client  # noqa: B018
    assert "hush" not in str(caught.value)
    with pytest.raises(ConfigError, match="registry"):
        Registry({"url": "https://x", "ca_certs": "/nowhere.pem"}).client  # noqa: B018
