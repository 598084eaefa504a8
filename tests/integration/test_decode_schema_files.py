"""Records without a frame, read by a schema's file, with a real broker.

The file can be named wherever a decoder is named.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import fastavro
import pyarrow.parquet as pq
import pytest
from distributed import Client, LocalCluster
from google.protobuf.message_factory import GetMessageClass

import labkit
from labkit.cli import main
from labkit.decode.descriptors import Descriptors
from labkit.lab import Lab

KEY = {"type": "record", "name": "Key", "fields": [{"name": "shop", "type": "string"}]}
COMMON = 'syntax = "proto3"; package shop; message Money { int64 units = 1; string currency = 2; }'
ORDER = """syntax = "proto3";
package shop;
import "shop/common.proto";
message Order { int64 id = 1; Money total = 2; }
message Customer { string name = 1; }
"""
AVRO_KEY, ORDER_VALUE = "avro:key.avsc", "protobuf:shop/order.proto#shop.Order"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the schemas."""
    monkeypatch.chdir(tmp_path)
    Path("key.avsc").write_text(json.dumps(KEY))
    Path("shop").mkdir()
    Path("shop/common.proto").write_text(COMMON)
    Path("shop/order.proto").write_text(ORDER)
    return tmp_path


def key(shop: str) -> bytes:
    target = io.BytesIO()
    fastavro.schemaless_writer(target, fastavro.parse_schema(KEY), {"shop": shop})
    return target.getvalue()


@pytest.fixture
def topic(folder: Path, make_topic: Callable[..., str], produce: Callable[..., None]) -> str:
    """Orders of three shops, a tombstone, and bytes that are none."""
    schema = labkit.decode.protobuf("shop/order.proto", message="shop.Order")
    order = GetMessageClass(Descriptors(schema.descriptors).find("shop.Order"))
    values = [
        order(id=n, total={"units": n * 10, "currency": "EUR"}).SerializeToString()
        for n in range(1, 301)
    ]
    name = make_topic()
    produce(name, [*values, None, b"\xff\xff"], keys=[key(f"shop{n % 3}") for n in range(302)])
    return name


def test_values_and_keys_are_read_by_their_files(lab: Lab, topic: str) -> None:
    value = labkit.decode.protobuf("shop/order.proto", message="shop.Order")
    replay = lab.window(topic).read(decode=value, key_decode=labkit.decode.avro("key.avsc"))
    assert replay.receipt.complete
    assert replay.receipt.counts["undecodable"] == 1
    assert any(
        note.startswith("decoded as protobuf by order.proto shop.Order (sha256 ")
        for note in replay.receipt.notes
    )
    assert any(
        note.startswith("keys: decoded as avro by key.avsc Key (sha256 ")
        for note in replay.receipt.notes
    )
    answer = replay.sql(
        "select _key_shop, count(*) n, sum(total.units) units from replay where id > 0 group by 1 order by 1"
    )
    assert answer["n"].tolist() == [100, 100, 100]
    assert answer["units"].sum() == 10 * sum(range(1, 301))
    again = replay.decode("raw").decode(ORDER_VALUE, key_decode=AVRO_KEY)
    assert again.table.equals(replay.table)


def test_the_cache_keeps_what_a_schema_decoded_until_its_content_changes(
    lab: Lab, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LABKIT_CACHE_GB", "1")
    window = lab.window(topic)
    first = window.read(decode=ORDER_VALUE)
    second = window.read(decode=ORDER_VALUE)
    assert any("from the local cache" in note for note in second.receipt.notes)
    assert second.table.equals(first.table)
    Path("shop/order.proto").write_text(ORDER.replace("int64 id", "int64 number"))
    assert "number" in window.read(decode=ORDER_VALUE).table.column_names
    Path("shop/common.proto").write_text(COMMON.replace("units", "amount"))
    third = window.read(decode=ORDER_VALUE)
    assert "amount" in str(third.table.schema.field("total").type)


def test_files_profiles_and_finds_take_a_schema_too(lab: Lab, topic: str, folder: Path) -> None:
    window = lab.window(topic)
    window.to_parquet("orders.parquet", decode=ORDER_VALUE, key_decode=AVRO_KEY)
    table = pq.read_table("orders.parquet")
    assert table["id"].to_pylist() == [*range(1, 301), None, None]
    assert table["_key_shop"].null_count == 0
    profile = window.profile(decode=ORDER_VALUE).to_pandas().set_index("field")
    assert profile.loc["total.units", "max"] == 3_000
    hits = window.find("EUR", field="total.currency", decode=ORDER_VALUE, limit=5)
    assert hits.table["id"].to_pylist() == [300, 299, 298, 297, 296]


def test_a_group_of_ones_own_takes_a_schema(lab: Lab, topic: str) -> None:
    with lab.attach(topic, name=f"schemas-{topic[-8:]}", start="earliest") as group:
        frame = group.read(300, decode=ORDER_VALUE, key_decode=AVRO_KEY)
        assert frame["id"].tolist() == list(range(1, 301))
        group.close(delete=True)


def test_dask_workers_need_no_file(lab: Lab, topic: str) -> None:
    window = lab.window(topic)
    expected = window.read(decode=ORDER_VALUE, key_decode=AVRO_KEY).to_pandas(text_keys=False)
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", security=True
        ) as cluster,
        Client(cluster) as client,
    ):
        frame = window.to_dask(client, decode=ORDER_VALUE, key_decode=AVRO_KEY, slice_records=100)
        Path("shop/order.proto").unlink()
        Path("key.avsc").unlink()
        assert frame.compute().reset_index(drop=True).equals(expected)


def test_the_command_line_names_a_file_and_a_message(
    topic: str, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert main(["replay", topic, "--decode", ORDER_VALUE, "--key-decode", AVRO_KEY]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["id"] == 1
    assert lines[0]["total"] == {"units": 10, "currency": "EUR"}
    assert lines[0]["_key_shop"] == "shop0"
    assert main(["replay", topic, "-o", "orders.csv", "--decode", ORDER_VALUE]) == 0
    assert Path("orders.csv").read_text().splitlines()[1].startswith("1,")
    capsys.readouterr()
    assert main(["replay", topic, "--decode", "protobuf:shop/order.proto"]) == 2
    assert "2 messages" in capsys.readouterr().err
    assert main(["replay", topic, "--decode", "protobuf:shop/order.proto#shop.Odrer"]) == 2
    assert "did you mean 'shop.Order'" in capsys.readouterr().err
    assert main(["replay", topic, "--decode", "avro:nothing.avsc"]) == 2
    assert "'nothing.avsc' cannot be read: No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [("find", "EUR", "--limit", "1"), ("around", "0:299"), ("latest",)]
)
def test_records_in_a_shell_have_the_fields_of_their_files(
    command: tuple[str, ...], topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *more = command
    options = ["--decode", ORDER_VALUE, "--key-decode", AVRO_KEY]
    assert main([name, topic, *more, *options]) == 0
    assert '{"id": 300, "total": {"units": 3000, "currency": "EUR"}, "_key_shop": "shop2"}' in (
        capsys.readouterr().out
    )
    assert main([name, topic, *more, *options, "--json"]) == 0
    records = json.loads(capsys.readouterr().out)["records"]
    (fields,) = (record["fields"] for record in records if record["offset"] == 299)
    assert fields["total"] == {"units": 3000, "currency": "EUR"}
