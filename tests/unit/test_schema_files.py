"""Schemas from files: Avro, Protobuf with imports, compiled descriptors.

What is wrong with one is said.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from google.protobuf.message_factory import GetMessageClass

import labkit
from labkit import decode
from labkit.decode.descriptors import Descriptors
from labkit.errors import UsageError

CUSTOMER = {
    "type": "record",
    "name": "shop.Customer",
    "fields": [{"name": "name", "type": "string"}],
}
MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
ORDER = {
    "type": "record",
    "name": "shop.Order",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "total", "type": MONEY},
        {"name": "customer", "type": ["null", "shop.Customer"]},
    ],
}
COMMON = """syntax = "proto3";
package shop;
message Money { int64 units = 1; string currency = 2; }
"""
ORDER_PROTO = """syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "shop/common.proto";  // import "no/such.proto";
/* import "nor/this.proto"; */
message Order {
  int64 id = 1;
  Money total = 2;
  google.protobuf.Timestamp at = 3;
  message Line { string sku = 1; }
  repeated Line lines = 4;
  map<string, int32> counts = 5;
}
message Customer { string name = 1; }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the schemas, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("order.avsc").write_text(json.dumps(ORDER))
    Path("shop.Customer.avsc").write_text(json.dumps(CUSTOMER))
    Path("shop").mkdir()
    Path("shop/common.proto").write_text(COMMON)
    Path("shop/order.proto").write_text(ORDER_PROTO)
    return tmp_path


def rows(spec: Any, values: list[bytes | None]) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Decode values in one batch."""
    decoder = decode.find_decoder(spec)
    parsed = decoder.parse(pa.array(values, pa.binary()))
    return decoder.columns(parsed, decoder.unify([parsed.schema])).to_pylist(), parsed.errors


def avro_bytes(record: dict[str, Any]) -> bytes:
    """Return an order without a frame."""
    target = io.BytesIO()
    named_types: dict[str, Any] = {}
    fastavro.parse_schema(CUSTOMER, named_schemas=named_types)
    fastavro.schemaless_writer(
        target, fastavro.parse_schema(ORDER, named_schemas=named_types), record
    )
    return target.getvalue()


def order_bytes(schema: Any, **fields: Any) -> bytes:
    """Return a message of the schema's type."""
    message = GetMessageClass(Descriptors(schema.descriptors).find(schema.message))(**fields)
    return bytes(message.SerializeToString())


def compile_with_protoc(*options: str) -> None:
    """Compile the order's schema as its owner would."""
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *options, "shop/order.proto"]
    subprocess.run(command, check=True)


def test_avro_of_a_file_is_read_with_the_types_it_names_beside_it(folder: Path) -> None:
    value = avro_bytes({"id": 7, "total": Decimal("1.25"), "customer": {"name": "Ada"}})
    decoded_rows, errors = rows(labkit.decode.avro("order.avsc"), [value, None, b"\xff"])
    assert [decoded_rows[0]["id"], str(decoded_rows[0]["total"]), decoded_rows[0]["customer"]] == [
        7,
        "1.25",
        {"name": "Ada"},
    ]
    assert decoded_rows[1] == decoded_rows[2] == {"id": None, "total": None, "customer": None}
    assert list(errors) == [2]
    assert errors[2].startswith("not avro of order.avsc shop.Order: ")


def test_files_that_name_each_others_types_are_put_in_order(folder: Path) -> None:
    def record(name: str, **fields: Any) -> str:
        return json.dumps(
            {
                "type": "record",
                "name": name,
                "fields": [{"name": field_, "type": kind} for field_, kind in fields.items()],
            }
        )

    Path("A.avsc").write_text(record("A", b="B", d="D"))
    Path("B.avsc").write_text(record("B", c="C"))
    Path("C.avsc").write_text(record("C", n="int"))
    Path("D.avsc").write_text(record("D", b="B"))
    decoded_rows, errors = rows(decode.avro("A.avsc"), [b"\x02\x04"])
    assert not errors
    assert decoded_rows == [{"b": {"c": {"n": 1}}, "d": {"b": {"c": {"n": 2}}}}]
    Path("C.avsc").write_text(record("C", n="B"))
    with pytest.raises(UsageError, match="refer to one another in a circle"):
        decode.avro("A.avsc")


def test_what_looks_framed_says_so(folder: Path) -> None:
    _, errors = rows(decode.avro("order.avsc"), [b"\0\0\0\0\x05" + b"\xff" * 11])
    assert "with schema id 5: a registry's" in errors[0]


def test_protobuf_of_a_file_is_read_with_its_imports(folder: Path) -> None:
    schema = labkit.decode.protobuf("shop/order.proto", message="shop.Order")
    at = datetime(2016, 3, 1, 12, tzinfo=UTC)
    value = order_bytes(
        schema,
        id=7,
        total={"units": 3, "currency": "EUR"},
        at=at,
        lines=[{"sku": "x"}],
        counts={"a": 1},
    )
    decoded_rows, errors = rows(schema, [value, b"\xff"])
    assert decoded_rows[0] == {
        "id": 7, "total": {"units": 3, "currency": "EUR"}, "at": at, "lines": [{"sku": "x"}], "counts": [("a", 1)],
    }  # fmt: skip
    assert list(errors) == [1]
    assert errors[1].startswith("not protobuf of order.proto shop.Order: ")


def test_compiled_descriptors_give_what_their_source_gives(folder: Path) -> None:
    compile_with_protoc("--include_imports", "--descriptor_set_out=order.desc")
    schema, compiled = (
        decode.protobuf(file, message="shop.Order") for file in ("shop/order.proto", "order.desc")
    )
    value = order_bytes(schema, id=7, total={"units": 3})
    assert rows(schema, [value]) == rows(compiled, [value])


def test_descriptors_need_their_imports_but_not_those_of_protobuf_itself(folder: Path) -> None:
    compile_with_protoc("--descriptor_set_out=order.desc")
    with pytest.raises(UsageError, match=r"lacks 'shop/common.proto'.*\nHint: .*--include_imports"):
        decode.protobuf("order.desc", message="shop.Order")
    Path("shop/order.proto").write_text(
        'syntax = "proto3"; import "google/protobuf/timestamp.proto"; message A {google.protobuf.Timestamp at = 1;}'
    )
    compile_with_protoc("--descriptor_set_out=order.desc")
    assert decode.protobuf("order.desc").message == "A"


def test_folders_of_imports_can_be_named(folder: Path) -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/order.proto").write_text(ORDER_PROTO)
    other_side = Path("other")
    other_side.mkdir()
    Path("shop").rename("other/shop")
    with pytest.raises(
        UsageError, match=r'"shop/common.proto" was not found(.|\n)*Hint: .*include= names others'
    ):
        decode.protobuf("elsewhere/order.proto", message="shop.Order")
    assert (
        decode.protobuf("elsewhere/order.proto", message="shop.Order", include=other_side).message
        == "shop.Order"
    )
    with pytest.raises(UsageError, match="must be a folder"):
        decode.protobuf("elsewhere/order.proto", include=["nowhere"])


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        (None, "message= one of: shop.Order, shop.Customer, shop.Order.Line"),
        ("Order", "did you mean 'shop.Order'?"),
        ("shop.Ordr", "did you mean 'shop.Order'"),
        ("nothing", "it has: shop.Order"),
    ],
)
def test_which_message_is_meant_is_never_guessed(
    folder: Path, message: str | None, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        decode.protobuf("shop/order.proto", message=message)
    assert hint in (caught.value.hint or "")


def test_the_one_message_of_a_file_needs_no_name(folder: Path) -> None:
    assert decode.protobuf("shop/common.proto").message == "shop.Money"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.avsc", b'{"type":"rec', "a.avsc is not an Avro schema: Unterminated string"),
        ("a.avsc", b'{"type": "recrd", "name": "X"}', "'recrd', 'name': 'X'} is not a type"),
        ("a.avsc", b'{"type": "record", "name": "X", "fields": [{"name": "x", "type": "Y"}]}', "names the type 'Y'"),
        ("a.avsc", b'{"type": "record"}', '"name" is a required field'),
        ("a.avsc", b"5", "is not an Avro schema"),
        ("a.avsc", b"\xff\xfe{\0", "is not an Avro schema"),
        ("a.avsc", b"Obj\x01\x02", "is a file of Avro records, not a schema"),
        ("a.avsc", b'{"type":"array","items":' * 20_000 + b'"int"' + b"}" * 20_000, "nested too deep"),
        ("a.avsc", b'{"type":"array","items":' * 310 + b'"int"' + b"}" * 310, "nested too deep"),
        ("a.avsc", b" " * 10_000_001, "more than 10,000,000 bytes"),
        ("a.proto", b"syntax = 'proto3'; message A { Foo f = 1; }", '"Foo" is not defined'),
        ("a.proto", b"syntax = 'proto3';", "has no message"),
        ("a.proto", b"\0\1\2", "cannot be compiled"),
        ("a.desc", b"", "holds no compiled descriptors"),
        ("a.desc", b"syntax = 'proto3';", "holds no compiled descriptors"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_schema_is_said(
    folder: Path, name: str, content: bytes, message: str
) -> None:
    Path(name).write_bytes(content)
    make = decode.avro if name.endswith(".avsc") else decode.protobuf
    with pytest.raises(UsageError) as caught:
        make(name)
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_an_error_that_names_those_that_are(folder: Path) -> None:
    with pytest.raises(
        UsageError,
        match=r"'ordr.avsc' cannot be read: No such file(.|\n)*order.avsc, shop.Customer.avsc",
    ):
        decode.avro("ordr.avsc")
    with pytest.raises(
        UsageError, match=r"cannot be read: No such file(.|\n)*shop has common.proto, order.proto"
    ):
        decode.protobuf("shop/ordr.proto")


@pytest.mark.parametrize("name", ["pipe.avsc", "pipe.proto"])
def test_a_pipe_is_no_schema_and_nobody_is_waited_for(folder: Path, name: str) -> None:
    """A repository's labkit.toml may name one: a read waited for ever for who writes to it."""
    os.mkfifo(folder / name)
    read = decode.avro if name.endswith("avsc") else decode.protobuf
    with pytest.raises(UsageError, match="it is not a regular file"):
        read(folder / name)


def test_a_python_module_in_the_working_folder_is_not_run_in_the_place_of_protoc(
    folder: Path,
) -> None:
    Path("grpc_tools").mkdir()
    Path("grpc_tools/__init__.py").write_text("")
    Path("grpc_tools/protoc.py").write_text("open('ran', 'w')")
    assert decode.protobuf("shop/common.proto").message == "shop.Money"
    assert not Path("ran").exists()


def test_a_schema_travels_without_its_files_and_its_content_names_it(folder: Path) -> None:
    specs = [decode.avro("order.avsc"), decode.protobuf("shop/order.proto", message="shop.Order")]
    names = [decode.cache_name(spec, "raw", None) for spec in specs]
    moved = pickle.loads(pickle.dumps(specs))
    Path("order.avsc").write_text(json.dumps(CUSTOMER))
    Path("shop/common.proto").unlink()
    value = avro_bytes({"id": 7, "total": Decimal("1.25"), "customer": None})
    assert rows(moved[0], [value])[0][0]["id"] == 7
    assert rows(moved[1], [b"\x08\x07"])[0][0]["id"] == 7
    assert [decode.cache_name(spec, "raw", None) for spec in moved] == names
    assert decode.cache_name(decode.avro("order.avsc"), "raw", None) != names[0]
    assert decode.cache_name("json", moved[0], None) == f"json-{names[0]}"


def test_names_say_a_file_and_a_message(folder: Path) -> None:
    decoded_rows, _ = rows("protobuf:shop/order.proto#shop.Order", [b"\x08\x07"])
    assert decoded_rows[0]["id"] == 7
    assert decode.open_named("avro:order.avsc") == decode.avro("order.avsc")
    assert decode.open_named("protobuf:shop/common.proto") == decode.protobuf("shop/common.proto")
    for wrong in ("avro:", "protobuf:#shop.Order", "json:order.avsc", "arvo:order.avsc"):
        with pytest.raises(UsageError, match="must be a decoder's name or avro:FILE"):
            decode.find_decoder(wrong)


def test_a_schema_prints_as_the_code_that_makes_it(folder: Path) -> None:
    schema = decode.protobuf("shop/order.proto", message="shop.Order")
    assert eval(repr(schema)) == schema
    assert eval(repr(decode.avro("order.avsc"))) == decode.avro("order.avsc")


def test_a_record_deeper_than_the_stack_is_an_error_of_its_row(folder: Path) -> None:
    node = {
        "type": "record",
        "name": "Node",
        "fields": [{"name": "next", "type": ["null", "Node"]}],
    }
    Path("node.avsc").write_text(json.dumps(node))
    decoded_rows, errors = rows(decode.avro("node.avsc"), [b"\x02" * 100_000 + b"\0", b"\x02\0"])
    assert "deeper than 100 levels" in errors[0]
    assert decoded_rows[1] == {"next": '{"next": null}'}


KINDS = """syntax = "proto3";
import "google/protobuf/timestamp.proto";
import "google/protobuf/struct.proto";
enum Color { option allow_alias = true; NONE = 0; RED = 1; CRIMSON = 1; }
message Kinds {
  google.protobuf.Timestamp at = 1;
  google.protobuf.Value any = 2;
  repeated google.protobuf.Value many = 3;
  Color color = 4;
  map<string, Color> colors = 5;
  map<string, Kinds> inner = 6;
}
"""


def test_members_and_keys_are_in_order_in_each_process(tmp_path: Path) -> None:
    """Protobuf's order is by chance: a topic's Struct differed from its own index."""
    (tmp_path / "kinds.proto").write_text(KINDS)
    schema = decode.protobuf(tmp_path / "kinds.proto")
    message = GetMessageClass(Descriptors(schema.descriptors).find("Kinds"))()
    names = [f"n{number}" for number in range(40)]
    for name in names:
        message.any.struct_value.update({name: dict.fromkeys(names, 1)})
        message.colors[name] = 1
        message.inner[name].color = 1
    row = schema.reader().read(message.SerializeToString())
    members = json.loads(row["any"])
    assert list(members) == list(members["n7"]) == sorted(names)
    assert (
        [name for name, _ in row["colors"]] == [name for name, _ in row["inner"]] == sorted(names)
    )


def test_the_first_name_of_a_number_null_as_null_and_times_cut_are_told(tmp_path: Path) -> None:
    """The last alias was taken, null was the text "null", and nanoseconds went without a word."""
    (tmp_path / "kinds.proto").write_text(KINDS)
    schema = decode.protobuf(tmp_path / "kinds.proto")
    make = GetMessageClass(Descriptors(schema.descriptors).find("Kinds"))
    message = make(color=1, colors={"a": 1, "b": 9})
    message.at.FromJsonString("2016-03-01T00:00:00.123456789Z")
    message.any.null_value = 0
    message.many.extend([message.any, type(message.any)(string_value="null")])
    reader = schema.reader()
    row = reader.read(message.SerializeToString())
    assert (row["color"], dict(row["colors"])) == ("RED", {"a": "RED", "b": "9"})
    assert (row["any"], row["many"]) == (None, [None, "null"])
    assert row["at"].microsecond == 123456
    reader.read(message.SerializeToString())  # as a file's records are: each twice
    note = "times were cut to whole microseconds, the first to 2016-03-01T00:00:00.123456+00:00"
    assert reader.notes == [note]


@pytest.mark.parametrize("nanos", [1_999, -1_999])
def test_a_duration_is_cut_towards_zero(nanos: int, tmp_path: Path) -> None:
    """A negative one became longer."""
    (tmp_path / "took.proto").write_text(
        'syntax = "proto3"; import "google/protobuf/duration.proto";'
        "message Took { google.protobuf.Duration time = 1; }"
    )
    schema = decode.protobuf(tmp_path / "took.proto")
    message = GetMessageClass(Descriptors(schema.descriptors).find("Took"))()
    message.time.nanos = nanos
    row = schema.reader().read(message.SerializeToString())
    assert row["time"] == timedelta(microseconds=1 if nanos > 0 else -1)


@pytest.mark.parametrize("value", [b"\x04a", b"\x02a" + b"\0" * 7, b""])
def test_a_value_that_is_cut_short_has_the_same_reason_each_time(
    folder: Path, value: bytes
) -> None:
    """It had the address of a buffer in it: no two reads were the same."""
    fields = [{"name": "text", "type": "string"}, {"name": "number", "type": "double"}]
    Path("cut.avsc").write_text(json.dumps({"type": "record", "name": "Cut", "fields": fields}))
    errors = decode.find_decoder("avro:cut.avsc").parse(pa.array([value], pa.binary())).errors
    assert errors == {0: "not avro of cut.avsc Cut: its bytes end too early"}
