"""The newest record of each key of real topics, and a record's neighbours in time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from labkit.cli import main
from labkit.errors import UsageError, WindowExpiredError
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.sinks.answer import write_answer

START_MS = 1_790_000_000_000
Make, Produce = Callable[..., str], Callable[..., None]


def balances(receipt: Any) -> bool:
    """Tell whether each partition's receipt adds up."""
    return all(
        part.planned == part.read + part.filtered + part.gaps + part.unread
        for part in receipt.partitions
    )


def test_latest_is_what_a_dictionary_would_hold(
    lab: Lab, make_topic: Make, produce: Produce
) -> None:
    """60,000 records of 5,000 keys, more than a batch: against the same done record by record."""
    topic, rng = make_topic(2), np.random.default_rng(7)
    expected: dict[bytes, tuple[int, int]] = {}
    for partition in (0, 1):
        keys = [b"p%d-k%d" % (partition, n) for n in rng.integers(0, 2_500, 30_000)]
        values: list[bytes | None] = [
            None if n % 11 == 0 else json.dumps({"n": n, "p": partition}).encode()
            for n in range(30_000)
        ]
        produce(topic, values, partition=partition, keys=keys)
        for n, key in enumerate(keys):
            expected[key] = (partition, n)
            if values[n] is None:
                expected[key] = (-1, n)
    alive = {key: place for key, place in expected.items() if place[0] >= 0}
    newest = lab.window(topic).latest()
    table = newest.table
    assert dict(zip(table["_key"].to_pylist(), zip(table["p"].to_pylist(), table["n"].to_pylist(), strict=True),
                    strict=True)) == alive  # fmt: skip
    places = list(zip(table["_partition"].to_pylist(), table["_offset"].to_pylist(), strict=True))
    assert places == sorted(places)
    receipt = newest.receipt
    assert receipt.complete
    assert balances(receipt)
    assert (receipt.read, receipt.filtered) == (len(alive), 60_000 - len(alive))
    tombstones = len(expected) - len(alive)
    assert f"{60_000 - len(expected):,} records superseded" in str(receipt)
    assert f"{tombstones:,} tombstones" in str(receipt)
    assert "several partitions" not in str(receipt)


def test_records_without_a_key_and_keys_in_several_partitions(
    lab: Lab, make_topic: Make, produce: Produce
) -> None:
    topic = make_topic(3)
    produce(topic, [b'{"n": 1}', b'{"n": 2}', b'{"n": 3}'], keys=[b"a", None, b"a"],
            timestamps=[START_MS + 900, START_MS, START_MS + 100])  # fmt: skip
    produce(
        topic,
        [b'{"n": 4}', b"not json"],
        keys=[b"a", b"b"],
        partition=1,
        timestamps=[START_MS + 200] * 2,
    )
    produce(topic, [None, b""], keys=[b"b", b""], partition=2, timestamps=[START_MS + 100] * 2)
    newest = lab.window(topic).latest()
    rows = {row["_key"]: (row["_partition"], row["_offset"]) for row in newest.table.to_pylist()}
    # in partition 0 offset 2 is the newest of a, though an earlier one has a later time; partition
    # 1's is newer yet
    assert rows == {b"a": (1, 0), b"b": (1, 1), b"": (2, 1)}
    assert balances(newest.receipt)
    text = str(newest.receipt)
    assert "2 keys are in several partitions" in text
    assert "1 records without a key" in text
    assert newest.receipt.undecodable == 2
    assert newest.table.filter(newest.table["_error"].is_valid())["_key"].to_pylist() == [b"b", b""]


def test_keys_that_mean_the_same_as_json_are_the_same(
    lab: Lab, make_topic: Make, produce: Produce
) -> None:
    topic = make_topic()
    produce(
        topic,
        [b"1", b"2", b"3", b"4"],
        keys=[b'{"a":1,"b":2}', b'{"b": 2, "a": 1}', b"odd{", b"odd{"],
    )
    window = lab.window(topic)
    assert window.latest().table["_offset"].to_pylist() == [0, 1, 3]
    newest = window.latest("json")
    assert newest.table["_offset"].to_pylist() == [1, 3]
    assert newest.table["_key_a"].to_pylist() == [1, None]


def test_an_empty_window_an_early_end_and_bad_input(
    lab: Lab, admin: Cluster, make_topic: Make, produce: Produce
) -> None:
    topic = make_topic()
    empty = lab.window(topic).latest()
    assert len(empty) == 0
    assert "_key" in empty.table.column_names
    produce(topic, [b"{}"] * 3, keys=[b"k"] * 3)
    window = lab.window(topic)
    with pytest.raises(UsageError, match="key must be one of 'json'"):
        window.latest("nick")
    with pytest.raises(UsageError, match="on_interrupt"):
        window.latest(on_interrupt="no")  # type: ignore[arg-type]
    producer = admin.producer(transactional_id=topic)
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"{}", key=b"k", partition=0)
    producer.flush(30)
    part = lab.window(topic).latest()
    assert part.receipt.reasons == {"open_transaction": [0]}
    assert part.table["_offset"].to_pylist() == [2]
    assert balances(part.receipt)
    producer.abort_transaction(30)
    from confluent_kafka import TopicPartition

    admin.ask(
        lambda client: client.delete_records([TopicPartition(topic, 0, 2)]), what="delete records"
    )
    with pytest.raises(WindowExpiredError):
        window.latest()
    assert window.latest(on_expired="clamp").table["_offset"].to_pylist() == [2]


def test_around_shows_what_happened_in_all_partitions(
    lab: Lab, make_topic: Make, produce: Produce
) -> None:
    topic = make_topic(3)
    for partition in (0, 1):  # partition 2 is empty; the records take turns
        values = [json.dumps({"n": 2 * n + partition}).encode() for n in range(5_000)]
        times = [START_MS + 1000 * (2 * n + partition) for n in range(5_000)]
        produce(topic, values, partition=partition, timestamps=times)
    window = lab.window(topic)
    neighbours = window.around(1, 2_000, before=3, after=2)
    assert neighbours.table["n"].to_pylist() == [3_998, 3_999, 4_000, 4_001, 4_002, 4_003]
    assert neighbours.receipt.complete
    assert balances(neighbours.receipt)
    assert neighbours.receipt.planned < 20
    by_time = window.around(time=START_MS_TEXT, before=2, after=3)
    assert by_time.table["n"].to_pylist() == [8, 9, 10, 11, 12]
    assert window.around(0, 0, before=5, after=1).table["n"].to_pylist() == [0, 1]
    assert window.around(1, 4_999, before=1, after=9).table["n"].to_pylist() == [9_998, 9_999]
    assert window.around(0, 7, before=0, after=0).table["n"].to_pylist() == [14]
    assert window.around(0, 7, 1).table["n"].to_pylist() == [13, 14, 15]
    assert window.around(0, 7, 1, after=0).table["n"].to_pylist() == [13, 14]
    with pytest.raises(UsageError, match="n must be 0 to 10,000, not -1"):
        window.around(0, 7, -1)
    last = window.around(time="2099-01-01", before=2)
    assert last.table["n"].to_pylist() == [9_998, 9_999]


START_MS_TEXT = "2026-09-21T14:13:30Z"  # START_MS and ten seconds


def test_around_steps_over_what_is_no_record(
    lab: Lab, admin: Cluster, make_topic: Make, produce: Produce
) -> None:
    """Aborted records and markers: 300 offsets without a record stand before the neighbours."""
    topic = make_topic()
    produce(topic, [b'{"n": 0}', b'{"n": 1}'])
    producer = admin.producer(transactional_id=topic)
    producer.init_transactions(30)
    producer.begin_transaction()
    for _ in range(300):
        producer.produce(topic, b"{}", partition=0)
    producer.flush(30)
    producer.abort_transaction(30)
    produce(topic, [b'{"n": 2}', b'{"n": 3}'])
    window = lab.window(topic)
    neighbours = window.around(0, 303, before=2, after=1)
    assert neighbours.table["n"].to_pylist() == [0, 1, 2, 3]
    gap = window.around(0, 150, before=1, after=1)
    assert gap.table["n"].to_pylist() == [1, 2]
    assert "no record at offset 150" in str(gap.receipt)
    assert balances(gap.receipt)


def test_around_refuses_what_is_not_in_the_window(
    lab: Lab, make_topic: Make, produce: Produce
) -> None:
    topic = make_topic()
    produce(topic, [b"{}"] * 3)
    window = lab.window(topic)
    with pytest.raises(
        UsageError, match="offset 3 of partition 0 is not in the window, which has 0 to 2"
    ):
        window.around(0, 3)
    with pytest.raises(UsageError, match="no partition 1"):
        window.around(1, 0)
    for odd in (
        {},
        {"partition": 0},
        {"offset": 0},
        {"partition": 0, "offset": 0, "time": "2026-01-01"},
    ):
        with pytest.raises(UsageError, match="a record's partition and offset, or a time"):
            window.around(**odd)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="before"):
        window.around(0, 0, before=-1)
    with pytest.raises(UsageError, match="not a point in time"):
        window.around(time="soonish")
    assert len(lab.window(make_topic()).around(time="2026-01-01")) == 0


def test_the_commands_answer_as_the_methods_do(
    lab: Lab, make_topic: Make, produce: Produce, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    topic = make_topic(2)
    produce(topic, [b'{"n": 1}', b'{"n": 2}', None], keys=[b"a", b"b", b"b"])
    headers = [[("h", b"1"), ("h", None)], []]
    produce(topic, [b'{"n": 4}', b"no json"], keys=[b"c", b"d"], partition=1, headers=headers)
    assert (
        main(
            [
                "sql",
                topic,
                "select sum(n) s, count(*) c from replay",
                "--where",
                "n > 1 or n is null",
                "--json",
            ]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out) == [{"s": 6, "c": 4}]
    assert main(["sql", topic, "select n from replay where n is not null order by n"]) == 0
    assert capsys.readouterr().out.split() == ["n", "1", "2", "4"]
    assert main(["latest", topic, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert sorted(record["key"] for record in content["records"]) == ["a", "c", "d"]
    assert content["receipt"]["complete"] is True
    (record,) = [record for record in content["records"] if record["key"] == "c"]
    assert (record["topic"], record["partition"], record["offset"]) == (topic, 1, 0)
    assert record["headers"] == [{"key": "h", "value": "1"}, {"key": "h", "value": None}]
    assert record["timestamp"].endswith("Z")
    assert main(["around", topic, "1:0", "--before", "0", "--after", "1"]) == 0
    out = capsys.readouterr().out
    assert "1@0  c  {" in out
    # as it is listed
    assert main(["around", topic, "1@0", "--before", "0", "--after", "1"]) == 0
    assert capsys.readouterr().out == out
    assert main(["around", topic, "1"]) == 2
    assert "'1' is not a record's place" in capsys.readouterr().err
    columns = "n, count(*) c, [n] l, timestamptz '2026-03-01T00:00Z' t"
    query = f"select {columns} from replay where n < 3 group by n order by n"
    assert main(["sql", topic, query, "-o", str(tmp_path / "a.csv")]) == 0
    assert "a.csv: 2 rows, 4 columns" in capsys.readouterr().err
    answer = lab.window(topic).sql(query)
    for name in ("a.parquet", "a.jsonl", "a.arrow", "a.xlsx"):
        write_answer(answer, tmp_path / name)
    assert (tmp_path / "a.csv").read_text().splitlines()[
        1
    ] == '1,1,"[1]",2026-03-01 00:00:00.000000Z'
    assert json.loads((tmp_path / "a.jsonl").read_text().splitlines()[1])["l"] == [2]
    for frame in (pd.read_parquet(tmp_path / "a.parquet"), pd.read_feather(tmp_path / "a.arrow")):
        assert frame["n"].tolist() == [1, 2]
    assert (tmp_path / "a.xlsx").read_bytes().startswith(b"PK")
    assert main(["sql", topic, query, "-o", str(tmp_path / "a.txt")]) == 2
    assert "must end in .parquet" in capsys.readouterr().err
    assert main(["sql", topic, "select nothing"]) == 2
    assert "Hint: " in capsys.readouterr().err
