"""Debezium's envelopes from a real topic.

They go to a frame, a file, a scratch index, and through the continuous indexer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from labkit import enrich
from labkit.lab import Lab
from support.indexing import Bench

AT_MS = 1_456_833_600_000
CHAIN = [enrich.unwrap("debezium"), enrich.rename({"_id": "customer_id"}), enrich.drop(["email"])]


def envelope(op: str, before: Any, after: Any) -> bytes:
    source = {
        "connector": "mysql",
        "ts_ms": AT_MS,
        "db": "shop",
        "table": "customers",
        "file": "binlog.1",
        "pos": 4,
    }
    payload = {"before": before, "after": after, "source": source, "op": op, "ts_ms": AT_MS + 5}
    return json.dumps({"schema": {"type": "struct", "fields": []}, "payload": payload}).encode()


@pytest.fixture
def topic(make_topic: Callable[..., str], produce: Callable[..., None]) -> str:
    """Twenty customers read, one changed, one deleted with its tombstone."""
    rows = [{"_id": n, "name": f"name{n}", "email": "x"} for n in range(20)]
    name = make_topic()
    changed = {**rows[3], "name": "new"}
    values = [envelope("r", None, row) for row in rows]
    produce(name, [*values, envelope("u", rows[3], changed), envelope("d", rows[4], None), None])
    return name


def test_a_frame_and_a_file_have_the_rows(lab: Lab, topic: str, tmp_path: Path) -> None:
    window = lab.window(topic)
    replay = window.read(enrich=CHAIN)
    answer = replay.sql(
        "select __op, count(*) n, max(customer_id) top from replay group by 1 order by 1 nulls last"
    )
    assert answer["n"].tolist() == [1, 20, 1, 1]
    assert answer["__op"].tolist()[:3] == ["d", "r", "u"]
    assert replay.receipt.complete
    assert "unwrapped from debezium's envelopes" in replay.receipt.notes
    window.to_parquet(tmp_path / "rows.parquet", enrich=CHAIN)
    table = pq.read_table(tmp_path / "rows.parquet")
    assert table.select(replay.table.column_names).to_pylist() == replay.table.to_pylist()
    assert replay.decode("text").table["text"].null_count == 1


def test_unwrapped_documents_are_the_rows(lab: Lab, topic: str) -> None:
    load = lab.window(topic).to_scratch(f"cdc-{topic[-8:]}", ttl="1h", enrich=CHAIN)
    assert load.counts["indexed"] == 23
    assert not len(load.rejects)
    frame = load.index.to_pandas().sort_values("_id")
    assert frame["customer_id"].notna().sum() == 22
    assert frame["__deleted"].sum() == 1  # a tombstone is a document that says only that
    assert not {"payload", "schema", "email"} & set(frame.columns)


def test_the_indexer_unwraps_too(bench: Bench, topic: str) -> None:
    run = bench.once(
        topic,
        "--enrich",
        "unwrap:debezium",
        "--enrich",
        "rename:_id=customer_id",
        "--enrich",
        "drop:email",
    )
    assert run.ledger == {"sent": 23, "indexed": 23, "existing": 0, "rejected": 0, "unsent": 0}
    assert bench.document(topic, 20)["name"] == "new"
    assert bench.document(topic, 21)["__deleted"] is True
    assert bench.document(topic, 0)["customer_id"] == 0


def test_rows_that_are_texts_have_the_columns_of_all_batches_in_every_sink(
    lab: Lab,
    make_topic: Callable[..., str],
    produce: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MongoDB's: a later batch with a fraction ended a file, and errors were not counted."""
    monkeypatch.setattr("labkit.replay.reader.BATCH_RECORDS", 20)
    rows: list[Any] = [{"n": n, "price": n, "place": {"x": n}} for n in range(20)]
    rows += [{"n": n, "price": n + 0.5, "new": ["a"], "place": {"y": "b"}} for n in range(20, 40)]
    rows += [{"n": 40, "price": None}, {"n": 41, "new": []}]
    afters = [*map(json.dumps, rows), "odd"]
    values = [
        json.dumps({"op": "c", "after": after, "source": {"ts_ms": AT_MS}}) for after in afters
    ]
    topic, chain = make_topic(), [enrich.unwrap("debezium")]
    produce(topic, [value.encode() for value in values])
    window = lab.window(topic)
    replay = window.read(enrich=chain)
    assert replay.table["price"].to_pylist() == [row.get("price") for row in rows] + [None]
    assert replay.receipt.undecodable == 1
    receipts = [window.to_parquet(tmp_path / "x.parquet", enrich=chain)]
    table = pq.read_table(tmp_path / "x.parquet").select(replay.table.column_names)
    assert table.to_pylist() == replay.table.to_pylist()
    receipts.append(window.to_jsonl(tmp_path / "x.jsonl", enrich=chain))
    lines = (tmp_path / "x.jsonl").read_text().splitlines()
    assert [json.loads(line).get("price") for line in lines] == replay.table["price"].to_pylist()
    receipts.append(window.to_csv(tmp_path / "x.csv", enrich=chain))
    query = "select count(*) n, sum(price) total, count(place.y) y, count(_error) bad from replay"
    answer = window.sql(query, enrich=chain)
    assert answer.values.tolist() == [[43, sum(row.get("price") or 0 for row in rows), 20, 1]]
    assert answer.attrs["receipts"]["replay"]["undecodable"] == 1
    assert [receipt.undecodable for receipt in receipts] == [1, 1, 1]
    load = window.to_scratch(f"mongo-{topic[-8:]}", ttl="1h", enrich=chain)
    stored = load.index.search(size=100, sort="n")["hits"]["hits"]
    assert [hit["_source"].get("price") for hit in stored] == [
        row["price"] for row in rows[:-1]
    ] + [None]
    assert (len(load.rejects), load.index.count("price:20.5")) == (1, 1)
    load.index.drop()
    frame = window.to_dask(enrich=chain, schema="all", slice_records=10)
    assert frame.compute()["_error"].notna().sum() == 1
    assert frame.receipt().undecodable == 1
