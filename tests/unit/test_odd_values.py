"""Values at the edges of what their types hold.

They are exact, or an error in their row, and never the end of a read.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from labkit import charts
from labkit.compare.inputs import open_side
from labkit.compare.result import _beside
from labkit.compare.run import compare
from labkit.decode.filter import Where
from labkit.decode.fixed_schema import conform
from labkit.decode.merge import TEXT, decimal, text
from labkit.decode.protobuf_reader import _decimal
from labkit.decode.table import from_batches, spread
from labkit.enrich import Chain, apply
from labkit.errors import UsageError
from labkit.es.documents import documents
from labkit.files.whole_file import cast_to, settle_columns
from labkit.notebook.parameter_types import _guess_value
from labkit.notebook.tail import _having, newest
from labkit.replay.plan import by_last_records
from labkit.replay.receipt import PartitionReceipt, Receipt
from labkit.replay.records import RAW_SCHEMA
from labkit.sinks.replay import Replay
from labkit.tables.dataframe import numbers, to_pandas

RECEIPT = Receipt("irc", "c", "w", "read_committed", (), 0, 0.0, "g")


def raw(values: list[bytes | None]) -> pa.RecordBatch:
    rows = [
        {"topic": "irc", "partition": 0, "offset": n, "value": value}
        for n, value in enumerate(values)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=RAW_SCHEMA)


# JSON ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        b'{"id":1234567890123456789,"load":{"cpu":0.5},"a":"x","a":1}',
        b'{"id":1234567890123456789,"o":{"a":"x","a":1},"load":0.5}',
        b'{"a":[1,true],"a":1,"b":"x","b":{"c":1}}',
    ],
)
def test_a_name_that_is_there_twice_in_an_object_does_not_end_a_read(odd: bytes) -> None:
    table = from_batches([raw([b'{"a":1}', odd, b'{"a":3}'])], "json")
    assert table["a"].to_pylist()[::2] in ([1, 3], ["1", "3"])
    assert table["_value"].to_pylist()[1] == odd


def test_a_newline_within_a_text_is_no_json_and_one_between_is_space() -> None:
    table = from_batches(
        [raw([b'{"a":"x\ny"}', b'{\n"a":\n"b"\n}', b"\n", b'{"a":"x\\ny"}'])], "json"
    )
    assert table["a"].to_pylist() == [None, "b", None, "x\ny"]
    assert [error is not None for error in table["_error"].to_pylist()] == [
        True,
        False,
        True,
        False,
    ]


# more than 2 GiB of bytes ----------------------------------------------------------------------------------


def test_more_values_than_an_array_of_arrow_can_hold() -> None:
    """A column of them has chunks.

    Here it is the same one again and again, which takes no memory.
    """
    batch = raw([b'{"n":%d,"text":"%s"}' % (n, b"x" * 1_000_000) for n in range(50)])
    table = pa.concat_tables([from_batches([batch], "raw")] * 45)
    assert table.nbytes > 2**31
    part = PartitionReceipt(
        0, 0, len(table), len(table), 0, 0, 0, stop_reason="end", stop_offset=len(table)
    )
    replay = Replay(table, replace(RECEIPT, partitions=(part,)))
    kept_rows = replay.where("_offset = 49")
    assert (len(kept_rows), kept_rows.receipt.filtered) == (45, 44 * 50 + 5)
    assert len(spread(table.select([f"_{name}" for name in RAW_SCHEMA.names]).to_batches())) > 1
    frame = replay.to_pandas()
    assert len(frame[frame["_offset"] == 49]) == 45
    assert frame["_value"].iloc[-1] == batch.column("value")[49].as_py()


# numbers ---------------------------------------------------------------------------------------------------


def test_decimals_that_a_fraction_cannot_hold_stay_what_they_are() -> None:
    exact, plain = Decimal("12345678901234567890.12"), Decimal("0.10")
    table = pa.table(
        {
            "exact": pa.array([exact], pa.decimal128(30, 2)),
            "plain": pa.array([plain], pa.decimal128(4, 2)),
        }
    )
    frame = to_pandas(numbers(table))
    assert (frame["exact"][0], frame["plain"][0]) == (exact, 0.1)
    assert Replay(table, RECEIPT).sql("select exact, plain * 2 twice from replay").iloc[
        0
    ].tolist() == [exact, 0.2]


def test_a_frame_of_decimals_is_measured_and_described() -> None:
    """The mean of 1 and 2, whole decimals, was 2, and `describe` ended in ArrowTypeError."""
    values = [Decimal(1), None, Decimal(2), Decimal(7)]
    frame = to_pandas(
        pa.table({"d": pa.array(values, pa.decimal128(9, 0)), "g": list("aaab"), "x": range(4)})
    )
    assert frame["d"][:3].mean() == Decimal("1.5")
    assert frame[["d", "x"]].mean()["d"] * 3 == pytest.approx(Decimal(10))
    assert frame.groupby("g")["d"].mean().tolist() == [1.5, 7]
    assert frame.groupby("g")["d"].sum().tolist() == [Decimal(3), Decimal(7)]
    assert frame.groupby("g")["d"].transform("mean").tolist() == [1.5, 1.5, 1.5, 7]
    assert frame.pivot_table(index="g", values="d")["d"].tolist() == [1.5, 7]
    assert pd.isna(frame["d"][1:2].mean())
    assert pd.isna(frame["d"].mean(skipna=False))
    assert (frame["d"].sum(), frame["d"].max()) == (Decimal(10), Decimal(7))
    assert frame.describe(include="all").loc["unique", "d"] == 3
    assert frame[["d"]].describe().loc["count", "d"] == 3


def test_decimals_of_more_digits_than_duckdb_and_polars_have_are_texts() -> None:
    assert decimal(38, 2) == pa.decimal128(38, 2)
    assert decimal(39, 2) == TEXT


def test_what_duckdb_cannot_hold_is_an_error_with_a_hint() -> None:
    table = pa.table({"d": pa.array([Decimal(10) ** 40], pa.decimal256(50, 0))})
    for ask in (
        lambda: Replay(table, RECEIPT).sql("select 1 from replay"),
        lambda: Where("true").rows(table),
    ):
        with pytest.raises(UsageError):
            ask()


def test_a_decimal_of_protobuf_is_exact() -> None:
    number = 10000000000000000000000000000012345678901

    class Message:
        value, scale = number.to_bytes(20, "big", signed=True), 2

    assert _decimal(Message()) == "100000000000000000000000000000123456789.01"


def test_json_within_texts_knows_no_infinity() -> None:
    assert json.loads(text({"a": [float("inf"), 1.5], "b": float("nan")})) == {
        "a": [None, 1.5],
        "b": None,
    }


@pytest.mark.parametrize(
    ("word", "value"), [("NaN", "NaN"), ("Infinity", "Infinity"), ("1.5", 1.5), ("null", None)]
)
def test_parameters_of_a_run_are_json(word: str, value: Any) -> None:
    assert _guess_value(word) == value


def test_frames_with_infinite_numbers_differ() -> None:
    def sources(*values: float | None) -> list[str]:
        rows: list[str] = []
        for batch in open_side(pl.DataFrame({"v": values}), None, None).batches(lambda: False):  # type: ignore[arg-type]
            rows += batch.column("source").to_pylist()
        return rows

    words = [
        json.loads(source).get("v")
        for source in sources(1.5, float("inf"), float("-inf"), float("nan"), None)
    ]
    assert words == [1.5, "Infinity", "-Infinity", "NaN", None]


def test_frames_whose_columns_are_named_like_patterns_of_polars() -> None:
    """Of a column ``*`` all columns were taken, and the comparison ended in DuplicateError."""
    row = {"*": 1.5, "^a.*$": {"b": 2}, "ab": 4}
    compared = open_side(pl.DataFrame([row, row | {"*": float("nan")}]), None, None)  # type: ignore[arg-type]
    (batch,) = compared.batches(lambda: False)
    first, second = map(json.loads, batch.column("source").to_pylist())
    assert (first, second["*"]) == (row, "NaN")


def test_frames_whose_members_are_named_like_patterns_of_polars() -> None:
    """A member ``*`` of an object ended the comparison in a panic of polars."""
    row = {"o": {"*": 1, "^a.*$": {"*": 2.5}, "": "x"}, "l": [{"*": 1}], "ab": 4}
    compared = open_side(pl.DataFrame([row]), None, None)  # type: ignore[arg-type]
    (batch,) = compared.batches(lambda: False)
    assert json.loads(batch.column("source")[0].as_py()) == row


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"x": math.nan}, {"x": None}), ([math.inf], [-math.inf]), ([[math.nan]], [[None]]),
        ({"x": b"\xff"}, {"x": b"\xfe"}),
    ],
    ids=["object", "list", "lists", "bytes"],
)  # fmt: skip
def test_frames_whose_nested_values_have_no_json_differ(left: Any, right: Any) -> None:
    """Infinity within a list was equal to minus infinity, NaN in an object to null."""
    frames = [pl.DataFrame({"k": [1], "v": [value]}, strict=False) for value in (left, right)]
    assert compare(*frames, key="k", targets=None, progress=False).verdict == "different"  # type: ignore[arg-type]
    assert compare(frames[0], frames[0], key="k", targets=None, progress=False).verdict == "same"  # type: ignore[arg-type]


def test_a_frame_is_written_as_the_documents_of_its_columns() -> None:
    """Maps were lists of pairs, bytes were texts, and times of day had six digits."""
    table = pa.table({
        "m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "b": [b"\xff"], "n": pa.nulls(1),
        "t": pa.array([1], pa.time32("ms")), "d": [Decimal("1.10")], "f": pa.array([0.1], pa.float32()),
    })  # fmt: skip
    for frame in (table, pl.from_arrow(table), to_pandas(table)):
        (batch,) = open_side(frame, None, None).batches(lambda: False)  # type: ignore[arg-type]
        source = json.loads(batch.column("source")[0].as_py())
        assert source == {
            "m": {"a": 1}, "b": "/w==", "t": "00:00:00.001", "d": "1.10", "f": 0.10000000149011612,
        }  # fmt: skip


# functions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda frame: frame.sort_values("a", ascending=False).assign(b=lambda one: one["a"] * 10)[
            ["b"]
        ],
        lambda frame: {"b": (frame["a"] * 10).sort_values(ascending=False)},
        lambda frame: (frame["a"] * 10).rename("b").sort_values(ascending=False),
        lambda frame: (frame.set_index("a", drop=False)["a"] * 10).rename("b"),
    ],
)
def test_a_function_that_sorts_gives_each_record_its_own_value(function: Any) -> None:
    sources = documents(
        raw([b'{"a":1}', b'{"a":2}', b'{"a":3}']), Chain(apply(function))
    ).sources.to_pylist()
    assert [json.loads(source)["b"] for source in sources] == [10, 20, 30]


def test_times_that_a_function_adds_have_milliseconds_in_documents() -> None:
    chain = Chain(
        apply(lambda frame: {"at": pd.to_datetime(["2024-01-01T00:00:00.123456"] * len(frame))})
    )
    assert (
        json.loads(documents(raw([b'{"a":1}']), chain).sources[0].as_py())["at"]
        == "2024-01-01T00:00:00.123Z"
    )


def test_bytes_within_what_a_function_adds_are_refused() -> None:
    chain = Chain(apply(lambda frame: {"o": [{"b": b"x"}] * len(frame)}))
    with pytest.raises(UsageError, match="which JSON cannot hold"):
        documents(raw([b'{"a":1}']), chain)


def test_a_column_without_a_value_in_the_first_batch_is_no_text_later() -> None:
    first = pa.table({"n": pa.nulls(2)})
    assert cast_to(pa.table({"n": ["x"]}), settle_columns(first.schema), ["n"])[
        "n"
    ].to_pylist() == ["x"]
    with pytest.raises(UsageError, match="'n' had no value in the first batch, and is double now"):
        cast_to(pa.table({"n": [1.5]}), settle_columns(first.schema), ["n"])


def test_points_that_are_no_numbers_are_not_on_the_map() -> None:
    points = [
        {"lat": "52.5", "lon": "13.4"},
        {"lat": "x", "lon": "1"},
        {"lat": "1", "lon": None},
        None,
    ]
    chart = charts.map(pa.table({"location": points}))
    assert "3 records (75 %) without a place left out" in chart.to_dict()["title"]["subtitle"]


def test_a_time_that_is_none_is_null_in_what_a_decoder_returns() -> None:
    table = from_batches([raw([b"x"])], lambda _: {"at": pd.NaT, "n": 1})
    assert (table["n"].to_pylist(), table["_error"].to_pylist()) == ([1], [None])
    assert "at" not in table.column_names or table["at"].to_pylist() == [None]


# the rest --------------------------------------------------------------------------------------------------


def test_a_column_of_a_known_type_keeps_it_where_a_batch_has_only_nulls() -> None:
    table = pa.table({"day": pa.nulls(2, pa.timestamp("ms", "UTC")), "k": [1, 2]})
    assert Where("year(day) = 2024 or k = 2").rows(table).tolist() == [1]


def test_a_filter_of_the_tail_reads_bytes_that_are_no_text() -> None:
    frame = to_pandas(from_batches([raw([b"\xff\xfe", b'{"nick":"ann"}'])], "json"))
    assert _having(frame, "ANN").tolist() == [False, True]
    # the topic is not shown, and not searched
    assert _having(frame, "irc").tolist() == [False, False]


def test_a_tail_keeps_few_records_where_they_are_large() -> None:
    small, large = raw([b"{}"] * 900), raw([b"x" * 1_000_000] * 9)
    assert [one.num_rows for one in newest([small] * 5)] == [900] * 3
    assert [one.num_rows for one in newest([small, large, large, large])] == [9, 9]
    assert len(newest([raw([b"x" * 30_000_000])] * 2)) == 1


def test_differences_of_documents_whose_key_is_called_as_their_columns() -> None:
    key_frame, frame = (
        pd.DataFrame({"kind": ["a"]}),
        pd.DataFrame({"kind": ["changed"], "left": [1]}),
    )
    assert _beside(key_frame, frame).columns.tolist() == ["kind_key", "kind", "left"]


def test_the_newest_of_a_compacted_log_stay_within_it() -> None:
    """Its first offsets have no record, so a search by time finds fewer than there are offsets."""
    first = {0: 100, 1: 400}

    def bounds(at: str | int) -> dict[int, int]:
        if at == "latest":
            return {0: 1_000, 1: 1_000}
        return (
            {0: 0, 1: 0}
            if at == "earliest"
            else {p: n if int(at) <= 5 else -1 for p, n in first.items()}
        )

    for count in (1_500, 1_501, 1_700, 1_999, 2_000):
        ranges = by_last_records(bounds, count, 10_000).ranges
        assert sum(span.size for span in ranges) == count
        assert all(0 <= span.start <= first[span.partition] for span in ranges)


def test_conform_reads_times_and_maps_and_takes_no_text_for_bytes() -> None:
    table = pa.table(
        {
            "t": ["2024-01-01T00:00:00.123000", "x"],
            "m": ['{"a": 1}', None],
            "b": ["QUJD", None],
            "_error": pa.nulls(2, pa.string()),
        }
    )
    layout = pa.schema(
        [
            ("t", pa.timestamp("ms")),
            ("m", pa.map_(pa.string(), pa.int64())),
            ("b", pa.binary()),
            ("_error", pa.string()),
        ]
    )
    rows = conform(table, layout).table
    assert str(rows["t"].to_pylist()[0]) == "2024-01-01 00:00:00.123000"
    assert rows["m"].to_pylist() == [[("a", 1)], None]
    assert rows["b"].to_pylist() == [None, None]
    assert [
        "no timestamp" in str(one) or "no binary" in str(one) for one in rows["_error"].to_pylist()
    ] == [
        True,
        True,
    ]
