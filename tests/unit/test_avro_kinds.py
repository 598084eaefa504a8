"""Avro as it is written elsewhere.

It has no record at the top, nothing in a record, or logical types that are not valid.
"""

from __future__ import annotations

import base64
import io
import json
import struct
from datetime import UTC, date, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    struct_pb2,
    timestamp_pb2,
)

from labkit.decode import auto
from labkit.decode.registry import Binary
from labkit.decode.types import Typed, types_of
from labkit.errors import NotFoundError
from labkit.registry import Registry
from support.avro import logical_type

CUSTOMER = {"type": "record", "name": "a.Customer", "fields": [{"name": "name", "type": "string"}]}
PRODUCT = {
    "type": "record",
    "name": "b.Product",
    "fields": [
        {"name": "price", "type": "long"},
        {"name": "buyer", "type": ["null", "a.Customer"], "default": None},
    ],
}


def of_one_field(name: str, kind: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": [{"name": name, "type": kind}]}


class Registered(Registry):
    """A registry whose schemas were fetched before; references are subjects of version 1."""

    def __init__(self, schemas: dict[int, Schema], subjects: dict[str, Any] | None = None) -> None:
        super().__init__({"url": "http://registry.example"})
        self._schemas, self._subjects = schemas, subjects or {}

    def schema(self, number: int) -> Any:
        if number not in self._schemas:
            raise NotFoundError("no such id")
        return self._schemas[number]

    def fetch_reference(self, subject: str, version: int) -> Any:
        return self._subjects[subject]


def framed(number: int, payload: bytes) -> bytes:
    return b"\x00" + struct.pack(">I", number) + payload


def written(schema: Any, value: Any, **named: Any) -> bytes:
    into = io.BytesIO()
    fastavro.schemaless_writer(into, fastavro.parse_schema(schema, named_schemas=named), value)
    return into.getvalue()


def decoded(
    registry: Registry, *values: bytes | None, kind: str = "avro"
) -> tuple[list[dict[str, Any]], dict[int, str]]:
    decoder = Binary(registry, kind)
    parsed = decoder.parse(pa.array(values, pa.binary()))
    table = decoder.columns(parsed, decoder.unify([parsed.schema]))
    return table.to_pylist() or [{}] * len(values), parsed.errors


def one_schema(schema: Any) -> Registered:
    return Registered({1: Schema(json.dumps(schema), "AVRO")})


# 31: no record at the top ----------------------------------------------------------------------------------

_CUSTOMERS = SimpleNamespace(schema_str=json.dumps(CUSTOMER), references=[], schema_type="AVRO")
_PRODUCTS = SimpleNamespace(
    schema_str=json.dumps(PRODUCT),
    references=[SchemaReference("a.Customer", "customers", 1)],
    schema_type="AVRO",
)


def by_reference(schema: Any) -> Registered:
    references = [
        SchemaReference("a.Customer", "customers", 1),
        SchemaReference("b.Product", "products", 1),
    ]
    text = schema if isinstance(schema, str) and schema.startswith("a.") else json.dumps(schema)
    return Registered(
        {1: Schema(text, "AVRO", references)}, {"customers": _CUSTOMERS, "products": _PRODUCTS}
    )


def whole(schema: Any) -> Any:
    """Return the schema with its references written out, for the writer."""
    return json.loads(
        json.dumps(schema)
        .replace('"b.Product"', json.dumps(PRODUCT), 1)
        .replace('"a.Customer"', json.dumps(CUSTOMER), 1)
    )


def test_a_union_of_references_gives_the_branchs_fields() -> None:
    """BEHAVIOURS 31: UnknownType in every row."""
    schema = ["a.Customer", "b.Product"]
    values = [
        framed(1, written(whole(schema), value))
        for value in (
            ("a.Customer", {"name": "Ada"}),
            ("b.Product", {"price": 5, "buyer": {"name": "Bob"}}),
        )
    ]
    rows, errors = decoded(by_reference(schema), *values, None)
    assert errors == {}
    assert rows == [
        {"name": "Ada", "price": None, "buyer": None},
        {"name": None, "price": 5, "buyer": {"name": "Bob"}},
        {"name": None, "price": None, "buyer": None},
    ]


@pytest.mark.parametrize(
    ("schema", "value", "row"),
    [
        ("a.Customer", {"name": "Ada"}, {"name": "Ada"}),
        (["null", "a.Customer"], {"name": "Ada"}, {"name": "Ada"}),
        ({"type": "array", "items": "a.Customer"}, [{"name": "Ada"}], {"value": [{"name": "Ada"}]}),
        ({"type": "map", "values": "a.Customer"}, {"x": {"name": "Ada"}}, {"value": [("x", {"name": "Ada"})]}),
        ({"type": "array", "items": ["null", "a.Customer"]}, [None, {"name": "A"}], {"value": [None, {"name": "A"}]}),
        (["null", "long"], 5, {"value": 5}),
        ("string", "x", {"value": "x"}),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B", {"value": "B"}),
        ({"type": "long", "logicalType": "timestamp-millis"}, datetime(2016, 3, 1, tzinfo=UTC),
         {"value": datetime(2016, 3, 1, tzinfo=UTC)}),
    ],
)  # fmt: skip
def test_whatever_stands_at_the_top_is_read(schema: Any, value: Any, row: dict[str, Any]) -> None:
    """BEHAVIOURS 31: a bare name, arrays and maps of it, unions, scalars.

    As values and as keys alike.
    """
    rows, errors = decoded(by_reference(schema), framed(1, written(whole(schema), value)))
    assert (rows, errors) == ([row], {})


# 32: an empty encoding -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "row"),
    [
        ({"type": "record", "name": "R", "fields": []}, {}),
        (of_one_field("a", "null"), {"a": None}),
        ("null", {"value": None}),
        ({"type": "fixed", "name": "F", "size": 0}, {"value": b""}),
        (of_one_field("r", {"type": "record", "name": "S", "fields": []}), {"r": "{}"}),
    ],
)  # fmt: skip
def test_a_value_whose_encoding_is_empty_is_a_row(schema: Any, row: dict[str, Any]) -> None:
    """BEHAVIOURS 32: five bytes in all were too few; auto chose raw for them."""
    registry = one_schema(schema)
    rows, errors = decoded(registry, framed(1, b""), framed(1, b""))
    assert (rows, errors) == ([row, row], {})
    assert auto.choose([framed(1, b"")] * 3, registry).name == "avro"


def test_protobuf_and_fewer_bytes_need_more() -> None:
    """BEHAVIOURS 32: they stay errors."""
    _, errors = decoded(Registered({1: Schema("", "PROTOBUF")}), framed(1, b""), kind="protobuf")
    assert "5 bytes are too few" in errors[0]
    _, errors = decoded(one_schema("null"), framed(1, b"")[:4], b"")
    assert "4 bytes are too few" in errors[0]
    assert "an empty value" in errors[1]


# 33: decimals that are none --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {"precision": 4, "scale": 6},
        {"precision": 4, "scale": -1},
        {"precision": 0},
        {"precision": -3, "scale": 1},
        {},
        {"precision": "4", "scale": 2},
        {"precision": True},
        {"precision": 10, "scale": 2, "type": "fixed", "name": "F", "size": 2},
        {"precision": 5, "type": "fixed", "name": "F", "size": 0},
    ],
)
def test_a_decimal_that_is_not_valid_is_bytes(more: dict[str, Any]) -> None:
    """BEHAVIOURS 33: Avro says to ignore a logical type that is not valid.

    The whole schema was refused.
    """
    kind = {"type": "bytes", "logicalType": "decimal", **more}
    plain = {
        name: value
        for name, value in kind.items()
        if name not in ("logicalType", "precision", "scale")
    }
    size = more.get("size", 2)
    schema, writer = (
        {
            "type": "record",
            "name": "R",
            "fields": [{"name": "d", "type": one}, {"name": "n", "type": "int"}],
        }
        for one in (kind, plain)
    )
    value = b"\x01\x02"[:size]
    rows, errors = decoded(one_schema(schema), framed(1, written(writer, {"d": value, "n": 7})))
    assert (rows, errors) == ([{"d": value, "n": 7}], {})


def test_decimals_that_are_valid_stay_numbers() -> None:
    """BEHAVIOURS 33: also of the most digits that a fixed can hold, and in a reference."""
    kind = {
        "type": "fixed",
        "name": "F",
        "size": 4,
        "logicalType": "decimal",
        "precision": 9,
        "scale": 2,
    }
    rows, _ = decoded(one_schema(kind), framed(1, written(kind, Decimal("-1234567.89"))))
    assert rows == [{"value": Decimal("-1234567.89")}]
    bad = {"type": "record", "name": "a.Customer", "fields": [
        {"name": "name", "type": {"type": "bytes", "logicalType": "decimal", "precision": 1, "scale": 9}}
    ]}  # fmt: skip
    subject = SimpleNamespace(schema_str=json.dumps(bad), references=[], schema_type="AVRO")
    registry = Registered(
        {1: Schema('"a.Customer"', "AVRO", [SchemaReference("a.Customer", "customers", 1)])},
        {"customers": subject},
    )
    assert decoded(registry, framed(1, b"\x04ab")) == ([{"name": b"ab"}], {})


# 34: one value that means nothing --------------------------------------------------------------------------


AT = datetime(2016, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "bad", "good", "left", "told"),
    [
        (
            logical_type("string", "uuid"),
            "no uuid",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "no uuid",
            "'no uuid' is no uuid",
        ),
        (logical_type("int", "date"), 2**31 - 1, 16861, None, "2147483647 is no date"),
        (
            logical_type("long", "timestamp-millis"),
            2**62,
            1_456_833_600_000,
            None,
            "4611686018427387904 is no timestamp-millis",
        ),
        (
            logical_type("long", "timestamp-micros"),
            253402300800_000_000,
            1_456_833_600_000_000,
            None,
            "is no timestamp-micros",
        ),
        (
            logical_type("long", "local-timestamp-millis"),
            -(2**62),
            0,
            None,
            "is no local-timestamp-millis",
        ),
        (
            logical_type("int", "time-millis"),
            86_400_000,
            1,
            None,
            "86400000 is no time-millis (a day has 24 hours)",
        ),
        (logical_type("int", "time-millis"), -5, 1, None, "-5 is no time-millis"),
        (logical_type("long", "time-micros"), -1, 1, None, "-1 is no time-micros"),
    ],
)
@pytest.mark.parametrize("shape", ["plain", "optional", "nested", "union"])
def test_one_bad_logical_value_costs_one_field(
    kind: dict[str, Any], bad: Any, good: Any, left: Any, told: str, shape: str
) -> None:
    """BEHAVIOURS 34: all fields of the record were lost, and the error named none."""
    base = kind["type"]

    def schema(inner: Any) -> Any:
        field = {"optional": ["null", inner], "union": ["null", "boolean", inner]}.get(shape, inner)
        if shape == "nested":
            field = {
                "type": "record",
                "name": "S",
                "fields": [{"name": "x", "type": inner}, {"name": "y", "type": "int"}],
            }
        return {
            "type": "record",
            "name": "R",
            "fields": [{"name": "n", "type": "int"}, {"name": "f", "type": field}],
        }

    def value(inner: Any) -> Any:
        return {"n": 7, "f": {"x": inner, "y": 8} if shape == "nested" else inner}

    registry = one_schema(schema(kind))
    rows, errors = decoded(
        registry, *(framed(1, written(schema(base), value(one))) for one in (good, bad))
    )
    assert [row["n"] for row in rows] == [7, 7]
    values_ = [row["f"]["x"] if shape == "nested" else row["f"] for row in rows]
    assert values_[0] is not None
    assert values_[1] == left
    if shape == "nested":
        assert rows[1]["f"]["y"] == 8
    assert list(errors) == [1]
    assert f"R: {'f.x' if shape == 'nested' else 'f'}: " in errors[1]
    assert told in errors[1]


def test_bad_values_in_lists_and_maps_cost_themselves() -> None:
    """BEHAVIOURS 34."""
    kind = {"type": "record", "name": "R", "fields": [
        {"name": "days", "type": {"type": "array", "items": logical_type("int", "date")}},
        {"name": "by", "type": {"type": "map", "values": logical_type("int", "date")}},
    ]}  # fmt: skip
    plain = json.loads(json.dumps(kind).replace(', "logicalType": "date"', ""))
    value = {"days": [0, 2**31 - 1], "by": {"k": -(2**31), "l": 1}}
    rows, errors = decoded(one_schema(kind), framed(1, written(plain, value)))
    assert rows[0]["days"] == [date(1970, 1, 1), None]
    assert dict(rows[0]["by"]) == {"k": None, "l": date(1970, 1, 2)}
    assert "days: 2147483647 is no date" in errors[0]
    assert "by.k: -2147483648 is no date" in errors[0]


def test_what_is_of_another_schema_stays_an_error_without_fields() -> None:
    """BEHAVIOURS 34: bytes left over are no logical value; nothing is made up of them."""
    schema = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "d", "type": logical_type("int", "date")}],
    }
    rows, errors = decoded(one_schema(schema), framed(1, b"\x02\x02"))
    assert rows == [{}]
    assert "1 bytes are left over" in errors[0]


def message() -> tuple[Schema, Any]:
    """Return a Protobuf schema with a time, a Struct, a message that has a time, and a number.

    And its class.
    """
    pool = descriptor_pool.DescriptorPool()
    for module in (timestamp_pb2, struct_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(name="m.proto", package="m", syntax="proto3")
    file.dependency.extend(["google/protobuf/timestamp.proto", "google/protobuf/struct.proto"])
    inner = file.message_type.add(name="In")
    inner.field.add(name="at", number=1, type=11, label=1, type_name=".google.protobuf.Timestamp")
    outer = file.message_type.add(name="M")
    outer.field.add(name="at", number=1, type=11, label=1, type_name=".google.protobuf.Timestamp")
    outer.field.add(name="free", number=2, type=11, label=1, type_name=".google.protobuf.Struct")
    outer.field.add(name="n", number=3, type=3, label=1)
    outer.field.add(name="inner", number=4, type=11, label=1, type_name=".m.In")
    outer.field.add(
        name="times", number=5, type=11, label=3, type_name=".google.protobuf.Timestamp"
    )
    outer.field.add(name="inners", number=6, type=11, label=3, type_name=".m.In")
    entry = outer.nested_type.add(name="ByNameEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=9, label=1)
    entry.field.add(name="value", number=2, type=11, label=1, type_name=".m.In")
    outer.field.add(name="by_name", number=7, type=11, label=3, type_name=".m.M.ByNameEntry")
    pool.Add(file)
    text = base64.b64encode(file.SerializeToString()).decode()
    return Schema(text, "PROTOBUF"), message_factory.GetMessageClass(
        pool.FindMessageTypeByName("m.M")
    )


def test_one_bad_value_of_protobuf_costs_one_field() -> None:
    """BEHAVIOURS 34: a time beyond the year 9999, and NaN in a Struct, lost the whole message."""
    schema, kind = message()
    far, odd, nested = kind(n=7), kind(n=8), kind(n=9)
    far.at.seconds = 2**60
    odd.free.fields["x"].number_value = float("nan")
    odd.at.seconds = 1_456_833_600
    nested.inner.at.seconds = -(2**60)
    values = [framed(1, b"\x02\x02" + value.SerializeToString()) for value in (far, odd, nested)]
    rows, errors = decoded(Registered({1: schema}), *values, kind="protobuf")
    assert [row["n"] for row in rows] == [7, 8, 9]
    assert [row["at"] for row in rows] == [None, AT, None]
    assert rows[2]["inner"] == {"at": None}
    assert "m.M: at: " in errors[0]
    assert "1152921504606846976" in errors[0]
    assert "m.M: free: " in errors[1]
    assert "m.M: inner.at: " in errors[2]


def test_one_bad_item_of_protobuf_costs_one_item() -> None:
    """BEHAVIOURS 34: in a repeated field all items were lost; in a map, the map's others."""
    schema, kind = message()
    odd, many = kind(n=1), kind(n=2)
    for seconds in (1_456_833_600, 2**60, 1_456_833_600):
        odd.times.add(seconds=seconds)
        odd.inners.add().at.seconds = seconds
    odd.by_name["a"].at.seconds, odd.by_name["b"].at.seconds = 2**60, 1_456_833_600
    for _ in range(1_000):
        many.times.add(seconds=2**60)
    values = [framed(1, b"\x02\x02" + value.SerializeToString()) for value in (odd, many)]
    rows, errors = decoded(Registered({1: schema}), *values, kind="protobuf")
    assert rows[0]["times"] == [AT, None, AT]
    assert rows[0]["inners"] == [{"at": AT}, {"at": None}, {"at": AT}]
    assert dict(rows[0]["by_name"]) == {"a": {"at": None}, "b": {"at": AT}}
    for place in ("times[1]: ", "inners[1].at: ", "by_name[a].at: "):
        assert place in errors[0]
    assert rows[1]["times"] == [None] * 1_000
    assert errors[1].endswith("; and 992 more")
    assert len(errors[1]) < 2_000


# 35: auto tries ---------------------------------------------------------------------------------------------

RECORD = {"type": "record", "name": "R", "fields": [{"name": "name", "type": "string"}]}


def longs(count: int) -> list[bytes]:
    """Return keys of eight bytes that start like schema id 1."""
    return [struct.pack(">q", (1 << 24) + number) for number in range(count)]


def test_integers_that_fractions_do_not_hold_are_told() -> None:
    """BEHAVIOURS 36: rounded integers are told.

    9007199254740993 became …992.0 without a word, in a union and beside a schema of fractions.
    """
    union = of_one_field("n", {"type": "array", "items": ["long", "double"]})
    long, double = of_one_field("n", "long"), of_one_field("n", "double")
    registry = Registered(
        {n: Schema(json.dumps(one), "AVRO") for n, one in enumerate((union, long, double), 1)}
    )
    message = (
        "integers were rounded to fractions, which their fields hold too: such as 9007199254740993"
    )
    exact, rounded = [5, 2**60, -(2**53)], [2**53 + 1, -(2**62) - 1]
    for values, note in (
        ([framed(1, written(union, {"n": [*exact, *rounded, 1.5]}))], [f"schema id 1: {message}"]),
        (
            [
                *(framed(2, written(long, {"n": n})) for n in (*exact, *rounded)),
                framed(3, written(double, {"n": 0.5})),
            ],
            [message],
        ),
        (
            [
                *(framed(2, written(long, {"n": n})) for n in exact),
                framed(3, written(double, {"n": 0.5})),
            ],
            [],
        ),
        ([framed(2, written(long, {"n": n})) for n in rounded], []),
    ):
        decoder = Binary(registry, "avro")
        parsed = decoder.parse(pa.array(values, pa.binary()))
        assert not decoder.rounded.notes
        decoder.columns(parsed, decoder.unify([parsed.schema]))
        assert [note for note in decoder.notes if "rounded" in note] == note


def object_of(kind: str) -> dict[str, Any]:
    return {**of_one_field("m", kind), "name": "M"}


@pytest.mark.parametrize(
    ("kinds", "notes"),
    [(["long", "string"], ['field n: numbers and texts in its schemas → text; read(types={"n": "float"})']),
     (["double", "long", "int"], []),
     ([{"type": "array", "items": "long"}, {"type": "array", "items": "boolean"}],
      ["field n[]: numbers and booleans in its schemas → text"]),
     ([{"type": "map", "values": "long"}, {"type": "map", "values": "boolean"}],
      ["field n[]: numbers and booleans in its schemas → text"]),
     ([object_of("bytes"), object_of("string")], ["field n.m: bytes and texts in its schemas → text"]),
     ([object_of("bytes"), "string", "null"], ["field n: objects and texts in its schemas → text"])],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 10])
def test_a_field_of_which_schemas_disagree_is_announced(
    kinds: list[Any], notes: list[str], size: int
) -> None:
    """BEHAVIOURS 57: a long that became a string made a text column without a word."""
    schemas = [of_one_field("n", kind) for kind in kinds]
    decoder = Binary(
        Registered({n: Schema(json.dumps(one), "AVRO") for n, one in enumerate(schemas, 1)}), "avro"
    )
    examples = {"long": 1, "int": 1, "double": 0.5, "string": "x", "null": None}
    values = []
    for number, (schema, kind) in enumerate(zip(schemas, kinds, strict=True), 1):
        empty = (
            {"m": b"" if kind["fields"][0]["type"] == "bytes" else ""} if "fields" in kind else []
        )
        value = examples[kind] if isinstance(kind, str) else {} if kind["type"] == "map" else empty
        values.append(framed(number, written(schema, {"n": value})))
    for start in range(0, len(values), size):
        parsed = decoder.parse(pa.array(values[start : start + size], pa.binary()))
        decoder.unify([parsed.schema])
    assert list(decoder.disagreements.values()) == notes


@pytest.mark.parametrize(
    ("kind", "value", "notes"),
    [(["null", "long", "string"], None,
      ['field n: numbers and texts in its schemas → text; read(types={"n": "float"})']),
     ({"type": "map", "values": {"type": "array", "items": ["boolean", "string"]}}, {},
      ["field n[][]: booleans and texts in its schemas → text"]),
     ([object_of("long"), {**object_of("string"), "name": "O"}], {"m": 1},
      ["field n.m: numbers and texts in its schemas → text"]),
     (["null", "long", "double"], None, []),
     (["null", "string", {"type": "enum", "name": "E", "symbols": ["A"]}], None, [])],
)  # fmt: skip
def test_a_union_that_is_text_is_announced(kind: Any, value: Any, notes: list[str]) -> None:
    """One schema was enough for a text column, and only several were told."""
    schema = of_one_field("n", kind)
    decoder = Binary(one_schema(schema), "avro")
    assert not decoder.disagreements
    decoder.parse(pa.array([framed(1, written(schema, {"n": value}))], pa.binary()))
    assert list(decoder.disagreements.values()) == notes


@pytest.mark.parametrize("size", [1, 2])
def test_every_value_can_be_text_whatever_is_read_with_it(size: int) -> None:
    """Decimals, times and bytes were null, but not beside a record of another schema."""
    kinds: dict[str, Any] = {
        "decimal": {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2},
        "date": {"type": "int", "logicalType": "date"},
        "map": {"type": "map", "values": "int"},
        "bytes": "bytes",
    }
    names = list(kinds)
    first = {
        "type": "record",
        "name": "R",
        "fields": [{"name": n, "type": kinds[n]} for n in names],
    }
    later = {
        "type": "record",
        "name": "R",
        "fields": [{"name": n, "type": "string"} for n in names],
    }
    registry = Registered(
        {n: Schema(json.dumps(one), "AVRO") for n, one in enumerate((first, later), 1)}
    )
    record = {
        "decimal": Decimal("2.50"),
        "date": date(2016, 3, 1),
        "map": {"k": 1},
        "bytes": b"\xff",
    }
    values = [
        framed(1, written(first, record)),
        framed(2, written(later, dict.fromkeys(names, "x"))),
    ]
    decoder = Typed(Binary(registry, "avro"), types_of(dict.fromkeys(names, "text")))
    parsed = [
        decoder.parse(pa.array(values[start : start + size], pa.binary()))
        for start in range(0, len(values), size)
    ]
    schema = decoder.unify([batch.schema for batch in parsed])
    table = pa.concat_tables([decoder.columns(batch, schema) for batch in parsed])
    assert [dict(batch.errors) for batch in parsed] == [{}] * len(parsed)
    told = {"decimal": "2.50", "date": "2016-03-01", "map": '{"k": 1}', "bytes": "/w=="}
    assert table.to_pylist() == [told, dict.fromkeys(names, "x")]


def test_a_whole_decimal_is_an_integer_where_one_is_asked_for() -> None:
    kind = {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2}
    schema = of_one_field("n", kind)
    decoder = Typed(Binary(one_schema(schema), "avro"), types_of({"n": "int"}))
    values = [framed(1, written(schema, {"n": Decimal(text)})) for text in ("2.00", "2.50")]
    parsed = decoder.parse(pa.array(values, pa.binary()))
    table = decoder.columns(parsed, decoder.unify([parsed.schema]))
    assert (table["n"].to_pylist(), list(parsed.errors)) == ([2, None], [1])


def test_apicurios_ids_of_eight_bytes_are_named() -> None:
    """They were a schema id 0 that the registry does not have."""
    value = b"\0" + (1).to_bytes(8, "big") + written(RECORD, {"name": "x"})
    parsed = Binary(one_schema(RECORD), "avro").parse(pa.array([value], pa.binary()))
    assert "schema id 0: not in the schema registry" in parsed.errors[0]
    assert "Apicurio's serialisers write ids of eight bytes" in parsed.errors[0]


def test_auto_reads_the_sample_before_it_chooses() -> None:
    """BEHAVIOURS 35: auto tries what it chooses.

    8-byte long keys that start like a schema's id were called avro, and every row was an error.
    """
    registry = one_schema(RECORD)
    name, why, lasting = auto.choose(longs(200), registry, of="keys")
    assert (name, lasting) == ("raw", True)
    assert "of the 200 that http://registry.example has as avro cannot be read: " in why
    good = [framed(1, written(RECORD, {"name": "x"}))] * 200
    name, why, _ = auto.choose(good, registry)
    assert name == "avro"
    assert "a guess" not in why


def test_a_plurality_is_enough_and_called_a_guess() -> None:
    """BEHAVIOURS 35: 40 % Avro, 30 % JSON and 30 % text were called text."""
    registry = one_schema(RECORD)
    good = framed(1, written(RECORD, {"name": "x"}))
    name, why, _ = auto.choose([good] * 4 + [b"{}"] * 3 + [b"text"] * 3, registry)
    assert name == "avro"
    assert why.endswith("; a guess: 6 of 10 are something else")
    name, why, _ = auto.choose([b"{}"] * 4 + [b"text"] * 3 + [b"\xff"] * 3, registry)
    assert (name, why.endswith("a guess: 6 of 10 are something else")) == ("json", True)
    assert "a guess" not in auto.choose([b"{}"] * 4, registry).why
    mostly = auto.choose([good, *longs(3)], registry)
    assert mostly.name == "raw"


def test_few_framed_values_among_json_ask_no_registry() -> None:
    """BEHAVIOURS 35: a few framed values cannot be the choice.

    A registry that is away must not hinder it.
    """

    class Away(Registered):
        def schema(self, number: int) -> Any:
            raise AssertionError("asked")

    assert auto.choose([b"{}"] * 5 + [framed(1, b"x")] * 2, Away({})).name == "json"
