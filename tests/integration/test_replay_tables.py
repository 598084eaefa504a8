"""What was read becomes a table, a file or a DataFrame.

No record, byte or type is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labkit import Window
from labkit.errors import UnavailableError, UsageError
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.replay.reader import Reading
from support.replays import balanced, offsets

T0 = 1_456_790_400_000  # 2016-03-01T00:00:00Z
Produce = Callable[..., None]
MakeTopic = Callable[..., str]


def ordered(table: pa.Table) -> pa.Table:
    return table.sort_by([("_partition", "ascending"), ("_offset", "ascending")])


# bytes as they are (12, 14) --------------------------------------------------------------------------------


def test_a_tombstone_is_not_an_empty_value(
    lab: Lab, make_topic: MakeTopic, produce: Produce, tmp_path: Path
):
    topic = make_topic()
    produce(topic, [None, b"", b'{"n":1}'], keys=[b"k", b"", None])
    window = lab.window(topic)
    window.to_parquet(tmp_path / "x.parquet")
    for table in (
        window.read().table,
        pq.read_table(tmp_path / "x.parquet"),
        window.read(decode="raw").table,
    ):
        assert table["_value"].to_pylist() == [None, b"", b'{"n":1}']
        assert table["_key"].to_pylist() == [b"k", b"", None]
    table = window.read().table
    assert table["_error"].to_pylist() == [None, "an empty value is not JSON", None]
    assert table["n"].to_pylist() == [None, None, 1]
    assert window.read(decode="text").table["text"].to_pylist() == [None, "", '{"n":1}']
    raw = pa.Table.from_batches(window.batches())
    assert raw["value"].to_pylist() == [None, b"", b'{"n":1}']
    frame = window.to_pandas()
    assert [bool(missing) for missing in frame["_value"].isna()] == [True, False, False]


def test_headers_keep_order_duplicates_and_nulls(
    lab: Lab, make_topic: MakeTopic, produce: Produce, tmp_path: Path
):
    topic = make_topic()
    headers = [("b", b"1"), ("a", b"2"), ("b", None), ("b", b""), ("ä", b"\xff\x00")]
    produce(topic, [b"{}"] * 4, headers=[None, headers, [], [("only", b"x")]])
    window = lab.window(topic)
    window.to_parquet(tmp_path / "x.parquet")
    for table in (window.read().table, pq.read_table(tmp_path / "x.parquet")):
        rows = table["_headers"].to_pylist()
        assert [[(pair["key"], pair["value"]) for pair in row or []] for row in rows] == [
            [],
            headers,
            [],
            [("only", b"x")],
        ]


def test_records_of_five_megabytes_arrive(lab: Lab, admin: Cluster, make_topic: MakeTopic):
    topic = make_topic(max_message_bytes="6000000")
    value = b'{"text":"' + b"x" * 5_000_000 + b'"}'
    producer = admin.producer(message_max_bytes=6_000_000)
    for _ in range(4):
        producer.produce(topic, value)
    assert producer.flush(30) == 0
    replay = lab.window(topic).read()
    assert balanced(replay.receipt).complete
    assert {len(text) for text in replay.table["text"].to_pylist()} == {5_000_000}
    assert len(replay) == 4


# decoding (13, 15) -----------------------------------------------------------------------------------------

BROKEN = [
    b'{"n":1}',
    b"plain text",
    b"\x00\x00\x00\x00\x07\x02ab",
    b'{"n":',
    b"[1,2]",
    b'{"n":2}',
    b'{"x":"\xff"}',
]


def test_an_undecodable_record_keeps_its_row_its_bytes_and_a_reason(
    lab: Lab, make_topic: MakeTopic, produce: Produce, tmp_path: Path
):
    topic = make_topic()
    produce(topic, BROKEN)
    window = lab.window(topic)
    replay = window.read()
    assert replay.table["_value"].to_pylist() == BROKEN
    assert replay.table["n"].to_pylist() == [1, None, None, None, None, 2, None]
    reasons = replay.table["_error"].to_pylist()
    assert [bool(reason) for reason in reasons] == [False, True, True, True, True, False, True]
    assert "Confluent wire format (schema id 7)" in reasons[2]
    assert "schema registry" in reasons[2]
    assert "not an object: list" in reasons[4]
    assert balanced(replay.receipt).complete
    assert replay.receipt.undecodable == window.to_parquet(tmp_path / "x.parquet").undecodable == 5
    assert "5 of the read could not be decoded" in str(replay.receipt)


def test_the_same_bytes_are_decoded_another_way_without_kafka(
    lab: Lab, make_topic: MakeTopic, produce: Produce, monkeypatch: pytest.MonkeyPatch
):
    topic = make_topic()
    produce(topic, [b'{"n":1}', b"plain", b"\xff"])
    replay = lab.window(topic).read()
    monkeypatch.setattr(Cluster, "consumer", None)
    text = replay.decode("text").table
    assert text["text"].to_pylist() == ['{"n":1}', "plain", None]
    assert [bool(reason) for reason in text["_error"].to_pylist()] == [False, False, True]
    assert replay.decode("raw").table["_value"].to_pylist() == [b'{"n":1}', b"plain", b"\xff"]
    assert replay.decode("text").decode("json").table.equals(replay.table)
    with pytest.raises(UsageError, match="xml"):
        replay.decode("xml")


def test_a_field_that_changes_its_type_in_the_last_batch_costs_no_row(
    lab: Lab, make_topic: MakeTopic, produce: Produce, tmp_path: Path
):
    topic, count = make_topic(), 45_000  # more than two batches
    last = [
        b'{"n":"many","late":{"a":[1]}}',
        b'{"n":12345678901234567890123}',
        b'{"n":{"a":1}}',
        b'{"n":null}',
        b"{}",
    ]
    produce(topic, [b'{"n":%d}' % number for number in range(count)] + last)
    window = lab.window(topic)
    replay = window.read()
    table = replay.table
    assert balanced(replay.receipt).complete
    assert offsets(table) == list(range(count + 5))
    assert replay.receipt.undecodable == 0
    texts = table["n"].to_pylist()
    assert texts[:count] == [str(number) for number in range(count)]
    assert texts[count:] == ["many", "12345678901234567890123", '{"a": 1}', None, None]
    assert table["late"].to_pylist()[count - 1 :] == [None, {"a": [1]}, None, None, None, None]
    window.to_parquet(tmp_path / "x.parquet")
    assert pq.read_table(tmp_path / "x.parquet", columns=["n"])["n"].to_pylist() == texts


def test_fields_named_like_the_metadata_step_aside(
    lab: Lab, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic()
    produce(topic, [b'{"_offset":7,"_x":1,"topic":"t"}'])
    table = lab.window(topic).read().table
    assert [table[name].to_pylist() for name in ("_offset", "_offset_", "_x", "topic")] == [
        [0],
        [7],
        [1],
        ["t"],
    ]


def test_fields_that_step_aside_do_not_step_on_another(
    lab: Lab, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic()
    produce(topic, [b'{"_offset":7,"_offset_":8}'])
    table = lab.window(topic).read().table
    result = {
        table[name].to_pylist()[0] for name in table.column_names if name.startswith("_offset")
    }
    assert result == {0, 7, 8}


# frames ----------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(lab: Lab, make_topic: MakeTopic, produce: Produce) -> Window:
    """A window of 2 × 3 records with a null among the integers."""
    topic = make_topic(2, retention_ms="-1")
    values = [
        b'{"nick":"a","n":1}',
        b'{"nick":"b","n":9007199254740993}',
        b'{"nick":"a","ok":true,"x":1.5}',
    ]
    for partition in (0, 1):
        produce(topic, values, partition=partition, timestamps=[T0, T0 + 1, T0 + 2])
    return lab.window(topic)


def test_the_table_is_ordered_by_partition_then_offset(mixed: Window):
    table = mixed.read().table
    assert table["_partition"].to_pylist() == [0, 0, 0, 1, 1, 1]
    assert offsets(table) == [0, 1, 2, 0, 1, 2]
    assert table.column_names[:4] == ["_topic", "_partition", "_offset", "_timestamp"]
    assert set(table.column_names[4:-5]) == {"nick", "n", "ok", "x"}
    assert table.column_names[-5:] == ["_timestamp_type", "_key", "_headers", "_value", "_error"]


def test_pandas_keeps_null_integers_integers_and_times_in_utc(mixed: Window):
    frame = mixed.to_pandas()
    assert frame["n"].tolist()[:2] == [1, 9007199254740993]  # beyond what a float holds
    assert frame["n"].isna().tolist() == [False, False, True] * 2
    assert (frame["n"] % 2).tolist()[:2] == [1, 1]
    assert [str(frame[name].dtype) for name in ("n", "ok")] == ["Int64", "boolean"]
    assert str(frame["_timestamp"].dtype) == "datetime64[ms, UTC]"
    assert frame["_timestamp"][1] == datetime(2016, 3, 1, 0, 0, 0, 1000, UTC)
    assert frame["nick"].str.upper().tolist() == ["A", "B", "A"] * 2
    assert frame["ok"].isna().sum() == 4
    assert frame.groupby("nick")["n"].count().to_dict() == {"a": 2, "b": 2}


def test_polars_has_the_same_rows_and_types(mixed: Window):
    replay = mixed.read()
    frame = replay.to_polars()
    assert frame.schema["n"] == pl.Int64
    assert frame.schema["_timestamp"] == pl.Datetime("ms", "UTC")
    assert frame["n"].to_list() == replay.table["n"].to_pylist()


def test_sql_sees_the_records_as_the_table_replay(mixed: Window):
    replay = mixed.read()
    answer = replay.sql(
        "select nick, count(*) n, max(_timestamp) t from replay group by 1 order by n desc, nick"
    )
    assert answer["nick"].tolist() == ["a", "b"]
    assert answer["n"].tolist() == [4, 2]
    assert answer["t"][0] == datetime(2016, 3, 1, 0, 0, 0, 2000, UTC)
    assert mixed.sql("select sum(n) s from replay where _partition = 1")["s"][0] == 9007199254740994
    with pytest.raises(UsageError, match="DuckDB") as caught:
        replay.sql("select nobody from replay")
    assert "nick" in (caught.value.hint or "")


def test_parquet_holds_the_table(mixed: Window, tmp_path: Path):
    receipt = mixed.to_parquet(tmp_path / "x.parquet")
    replay = mixed.read()
    assert ordered(pq.read_table(tmp_path / "x.parquet")).equals(replay.table)
    assert balanced(receipt).counts == replay.receipt.counts
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


def test_an_empty_window_is_a_parquet_file_too(lab: Lab, make_topic: MakeTopic, tmp_path: Path):
    receipt = lab.window(make_topic()).to_parquet(tmp_path / "x.parquet")
    assert receipt.complete
    assert pq.read_table(tmp_path / "x.parquet").num_rows == 0


def test_a_path_that_cannot_be_is_refused_before_reading(mixed: Window, tmp_path: Path):
    with pytest.raises(UsageError, match="cannot be written"):
        mixed.to_parquet(tmp_path / "nowhere" / "x.parquet")


def test_kafka_s_error_is_not_told_as_the_disk_s(
    mixed: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of labkit's errors are OSErrors.

    So ``except OSError`` sees a network that is away.
    """

    def away(_reading: Reading) -> None:
        raise UnavailableError("Kafka is away", hint="wait")

    monkeypatch.setattr(Reading, "check", away)
    with pytest.raises(UnavailableError, match="Kafka is away"):
        mixed.to_parquet(tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []
