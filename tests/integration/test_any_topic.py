"""Issue 22: topics of every kind into every sink and back, on real servers.

They are a registry, and Elasticsearch 8 and 9. What each record says is written here by hand; every
sink must hold exactly that, asked of the servers or read from the files by other programs.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference
from distributed import Client, LocalCluster
from elasticsearch.helpers import scan
from google.protobuf.message_factory import GetMessageClass

import labkit
from labkit import Window, enrich
from labkit.cli import main
from labkit.decode.descriptors import Descriptors
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.stack.state import State
from support.indexing import Bench
from support.registry import avro_schema, avro_values, registry_client

START_MS = 1_456_790_400_000
NINE = "es-9.5.3"
Make, Produce = Callable[..., str], Callable[..., None]
Rows = list[dict[str, Any]]
MONEY = 'syntax = "proto3"; package shop; message Money { int64 units = 1; string currency = 2; }'
ORDER = """syntax = "proto3";
package shop;
import "money.proto";
message Order { int64 id = 1; Money total = 2; repeated string words = 3; }
"""


@dataclass
class Kind:
    """Some records, how they are decoded, and what they say.

    Attributes
    ----------
    values : list
        The records' bytes; the first half is written to partition 0, the others to partition 1.
    rows : list of dict
        What each says, without nulls; {} for one without fields.
    undecodable : int
        How many, at the end, are no record of the kind.
    """

    values: list[bytes | None]
    rows: Rows
    decode: str = "json"
    chain: list[Any] = field(default_factory=list)
    named: list[str] = field(default_factory=list)  # the chain on the command line
    undecodable: int = 0

    @property
    def fields(self) -> list[str]:
        return sorted({name for row in self.rows for name in row})


def evolving_avro(topic: str, _folder: Path) -> Kind:
    first = avro_schema(id="long", name="string")
    later = json.loads(avro_schema(id="long", name="string"))
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
    later["fields"].append({"name": "total", "type": ["null", decimal], "default": None})
    old = [{"id": n, "name": f"a{n}"} for n in range(4)]
    new = [{"id": n, "name": f"b{n}", "total": Decimal(f"{n}.25")} for n in range(4, 8)]
    values = [*avro_values(topic, first, *old), *avro_values(topic, json.dumps(later), *new)]
    return Kind(values, [*old, *new], "avro")


def protobuf_with_imports(topic: str, folder: Path) -> Kind:
    (folder / "money.proto").write_text(MONEY)
    (folder / "order.proto").write_text(ORDER)
    schema = labkit.decode.protobuf(str(folder / "order.proto"), message="shop.Order")
    order = GetMessageClass(Descriptors(schema.descriptors).find("shop.Order"))
    client = registry_client()
    client.register_schema(f"{topic}-money", Schema(MONEY, "PROTOBUF"))
    reference = SchemaReference("money.proto", f"{topic}-money", 1)
    number = client.register_schema(f"{topic}-value", Schema(ORDER, "PROTOBUF", [reference]))
    rows = [
        {"id": n, "total": {"units": 10 * n, "currency": "EUR"}, "words": ["a", "b"]}
        for n in range(1, 9)
    ]
    frame = b"\0" + number.to_bytes(4, "big") + b"\0"
    return Kind([frame + order(**row).SerializeToString() for row in rows], rows, "protobuf")


def json_schema(topic: str, _folder: Path) -> Kind:
    text = json.dumps(
        {"type": "object", "properties": {"id": {"type": "integer"}, "ok": {"type": "boolean"}}}
    )
    number = registry_client().register_schema(f"{topic}-value", Schema(text, "JSON"))
    rows = [{"id": n, "ok": n % 2 == 0, "at": {"x": n + 0.5}} for n in range(8)]
    return Kind(
        [b"\0" + number.to_bytes(4, "big") + json.dumps(row).encode() for row in rows],
        rows,
        "jsonschema",
    )


def debezium(_topic: str, _folder: Path) -> Kind:
    def event(op: str, before: Any, after: Any) -> bytes:
        source = {"connector": "mysql", "ts_ms": START_MS, "db": "shop", "table": "customers"}
        return json.dumps(
            {"before": before, "after": after, "source": source, "op": op, "ts_ms": START_MS}
        ).encode()

    customers = [{"id": n, "name": f"n{n}"} for n in range(6)]
    values = [*(event("c", None, row) for row in customers), event("d", customers[0], None), None]
    rows = [*({**row, "__op": "c"} for row in customers), {**customers[0], "__op": "d"}, {}]
    return Kind(
        values, rows, chain=[enrich.unwrap("debezium")], named=["--enrich", "unwrap:debezium"]
    )


def changelog(_topic: str, _folder: Path) -> Kind:
    rows: Rows = [{"id": n, "text": f'"{n}",\nä'} for n in range(6)]
    return Kind([*(json.dumps(row).encode() for row in rows), None, None], [*rows, {}, {}])


def mixed(topic: str, _folder: Path) -> Kind:
    order = avro_schema(id="long", name="string")
    customer = avro_schema(customer="string").replace("Order", "Customer")
    orders = [{"id": n, "name": "x"} for n in range(4)]
    customers = [{"customer": f"c{n}"} for n in range(3)]
    values = [
        *avro_values(topic, order, *orders),
        *avro_values(f"{topic}-customers", customer, *customers),
    ]
    return Kind([*values, b"neither"], [*orders, *customers, {}], "avro", undecodable=1)


KINDS = (evolving_avro, protobuf_with_imports, json_schema, debezium, changelog, mixed)


def plain(value: Any) -> Any:
    """Return a value as JSON would have it, without nulls."""
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return float(value) if isinstance(value, Decimal) else value


def with_digits(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as JSON holds it: a decimal is text, so that it keeps its digits."""
    return {
        name: str(value) if isinstance(value, Decimal) else value for name, value in row.items()
    }


def said(rows: Rows, kind: Kind) -> Rows:
    """Return what rows say of the kind's fields."""
    return [plain({name: row.get(name) for name in kind.fields}) for row in rows]


def in_order(table: pa.Table) -> Rows:
    return list(table.sort_by([("_partition", "ascending"), ("_offset", "ascending")]).to_pylist())


def unordered(rows: Rows) -> list[str]:
    return sorted(json.dumps(plain(row), sort_keys=True) for row in rows)


def parsed(cell: str) -> Any:
    """Return what a cell of CSV says, by the csv module."""
    if cell == "":
        return None
    try:
        return json.loads(cell)
    except json.JSONDecodeError:
        return cell


def documents(client: Any, index: str) -> Rows:
    client.indices.refresh(index=index)
    hits = {hit["_id"]: hit["_source"] for hit in scan(client, index=index)}

    def place(identity: str) -> list[int]:
        return [int(part) for part in identity.rsplit("-", 2)[1:]]

    return [hits[identity] for identity in sorted(hits, key=place)]


def from_excel(path: Path) -> Rows:
    """Return a sheet's rows in the topic's order, nested values taken apart."""
    sheet = pd.read_excel(path, engine="calamine", dtype=object, keep_default_na=False)
    rows = [
        {name: parsed(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
        for row in sheet.sort_values(["_partition", "_offset"]).to_dict("records")
    ]
    return [{str(name): cell for name, cell in row.items()} for row in rows]


@contextmanager
def indexed_on_nine(bench: Bench, topic: str, options: list[str]) -> Iterator[Rows]:
    """Yield what `labkit index` writes on Elasticsearch 9; it is gone afterwards."""
    index, group = f"{bench.index}-nine", f"{bench.group}-nine"
    client = labkit.connect(role="admin").target(NINE).client
    try:
        main(["index", topic, index, "--group", group, "--target", NINE, "--once", *options])
        yield documents(client, index)
    finally:
        client.indices.delete(index=index, ignore_unavailable=True)
        bench.admin.ask_each(
            lambda admin, some: admin.delete_consumer_groups(some), [group], what="delete"
        )


def records(window: Window) -> Rows:
    rows = pa.Table.from_batches(window.batches()).sort_by(
        [("partition", "ascending"), ("offset", "ascending")]
    )
    return list(rows.select(["partition", "timestamp", "key", "value", "headers"]).to_pylist())


@pytest.fixture
def clean(registry_lab: Lab, both: Lab, me: str, admin: Cluster) -> Iterator[Lab]:
    """A lab with a registry and two Elasticsearch.

    Its user's scratch topics and indices are gone afterwards.
    """
    lab = labkit.connect()
    assert [lab.target(name).version[:2] for name in ("default", NINE)] == ["8.", "9."]
    yield lab
    for row in lab.scratch().to_dict("records"):
        if row["kind"] == "index":
            lab.scratch_index(row["index"], target=row["target"]).drop()
        else:
            admin.ask(
                lambda client, name=row["topic"]: client.delete_topics([name]), what="delete it"
            )


@pytest.fixture(scope="module")
def workers(registry_url: str, stack: State) -> Iterator[Client]:
    """Two processes; their profile is the local stack's."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", security=True
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.mark.parametrize("make_kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_what_every_sink_holds_is_what_was_written(
    clean: Lab,
    workers: Client,
    bench: Bench,
    make_topic: Make,
    produce: Produce,
    tmp_path: Path,
    make_kind: Callable[..., Kind],
) -> None:
    lab, topic = clean, make_topic(2)
    kind = make_kind(topic, tmp_path)
    half, count = len(kind.values) // 2, len(kind.values)
    for partition, part in enumerate((slice(half), slice(half, None))):
        values = kind.values[part]
        produce(topic, values, partition=partition, keys=[f"k{n % 3}".encode() for n in range(len(values))],
                timestamps=[START_MS + n for n in range(len(values))],
                headers=[[("h", b"%d" % n), ("h", None), ("b", b"\xff")] for n in range(len(values))])  # fmt: skip
    window, chain = lab.window(topic), {"enrich": kind.chain}
    decoders: dict[str, Any] = {"decode": kind.decode, "key_decode": "text"}
    truth = said(kind.rows, kind)
    decoded = count - kind.undecodable

    frame = window.read(**decoders, **chain)
    assert said(in_order(frame.table), kind) == truth, frame.table["_error"].to_pylist()
    assert (frame.receipt.read, frame.receipt.counts["undecodable"]) == (count, kind.undecodable)
    window.to_parquet(tmp_path / "x.parquet", **decoders, **chain)
    assert said(in_order(pq.read_table(tmp_path / "x.parquet")), kind) == truth
    window.to_arrow(tmp_path / "x.arrow", **decoders, **chain)
    assert said(in_order(pa.ipc.open_file(tmp_path / "x.arrow").read_all()), kind) == truth
    window.to_jsonl(tmp_path / "x.jsonl", **decoders, **chain)
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text("utf-8").splitlines()]
    as_json = said([with_digits(row) for row in kind.rows], kind)
    assert unordered(said(lines, kind)) == unordered(as_json)
    assert sorted(line["_key_text"] for line in lines) == sorted(
        frame.table["_key_text"].to_pylist()
    )
    window.to_csv(tmp_path / "x.csv", **decoders, **chain)
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        cells = [{name: parsed(cell) for name, cell in row.items()} for row in csv.DictReader(file)]
    cells.sort(key=lambda row: (row["_partition"], row["_offset"]))
    assert said(cells, kind) == truth

    window.to_excel(tmp_path / "x.xlsx", **decoders, **chain)
    assert said(from_excel(tmp_path / "x.xlsx"), kind) == truth

    alone, by_workers = ("any", {}), ("any-dask", {"client": workers, "slice_records": 3})
    for target, (name, how) in itertools.product(("default", NINE), (alone, by_workers)):
        load = window.to_scratch(name, target=target, metadata=True, **decoders, **chain, **how)
        assert load.counts == {"sent": count, "indexed": decoded, "existing": 0, "rejected": kind.undecodable,
                               "unsent": 0}  # fmt: skip
        stored = documents(lab.target(target).client, load.index.name)
        assert said(stored, kind) == as_json[:decoded]
        assert [row["_key_text"] for row in stored] == frame.table["_key_text"].to_pylist()[
            :decoded
        ]
        assert {row["_kafka"]["topic"] for row in stored} == {topic}

    letters = ["--dead-letter", str(tmp_path / "letters.jsonl")] if kind.undecodable else []
    options = ["--decode", kind.decode, "--key-decode", "text", *kind.named, *letters]
    run = bench.once(topic, *options, code=3 if kind.undecodable else 0)
    assert (run.ledger["indexed"], run.ledger["rejected"]) == (decoded, kind.undecodable)
    assert said(documents(bench.client, bench.index), kind) == as_json[:decoded]
    assert bench.committed() == {0: half, 1: count - half}
    with indexed_on_nine(bench, topic, options) as stored:
        assert said(stored, kind) == as_json[:decoded]

    lazy = window.to_dask(workers, **decoders, **chain, schema="all", slice_records=3)
    dask = pa.Table.from_pandas(lazy.compute(), preserve_index=False)
    assert said(in_order(dask), kind) == truth
    assert lazy.receipt().undecodable == kind.undecodable

    copy = window.to_topic("any")
    assert copy.counts == {"read": count, "written": count, "failed": 0}
    assert records(copy.window()) == records(window)
    assert said(in_order(copy.window().read(**decoders, **chain).table), kind) == truth
    window.to_jsonl(tmp_path / "envelopes.jsonl", envelope=True)
    again = make_topic(2)
    assert (
        main(
            ["extract", "files", str(tmp_path / "envelopes.jsonl"), "--topic", again, "--envelope"]
        )
        == 0
    )
    back, before = (
        [{**row, "partition": 0} for row in records(source_window)]
        for source_window in (lab.window(again), window)
    )
    assert sorted(map(repr, back)) == sorted(map(repr, before))
