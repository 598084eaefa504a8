"""BEHAVIOURS 38: a length of time beyond 292 years comes out of `.sql` as it is, or as an error."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory

from labkit.compare.inputs import open_side
from labkit.decode.filter import Where
from labkit.decode.merge import as_json
from labkit.decode.registry import Binary
from labkit.errors import UsageError
from labkit.es.json_text import json as json_text
from labkit.replay.receipt import Receipt
from labkit.sinks.replay import Replay
from labkit.tables.duckdb_sql import connect

RECEIPT = Receipt("irc", "c", "w", "read_committed", (), 0, 0.0, "g")
DAY = 86_400_000_000  # µs
AGES = 3_652_425 * DAY + 7  # 10,000 years, the most of a Protobuf Duration
LENGTHS = [AGES, -AGES, 106_000_000 * DAY + DAY - 1, 1 - DAY, 5, -1, 0, None]


def replay(**columns: pa.Array) -> Replay:
    return Replay(pa.table(columns), RECEIPT)


def micros(frame: pd.DataFrame, name: str) -> list[int | None]:
    numbers = pa.array(frame[name], pa.duration("us"), from_pandas=True).cast(pa.int64())
    return list(numbers.to_pylist())


def length_of(part: Any) -> int:
    assert part.months == 0
    return int(part.days * DAY + part.nanoseconds // 1000)


@pytest.fixture
def ages() -> Replay:
    return replay(n=pa.array(range(len(LENGTHS))), took=pa.array(LENGTHS, pa.duration("us")))


def test_lengths_of_ten_thousand_years_are_exact(ages: Replay) -> None:
    frame = ages.sql("select took, took as again, n from replay order by n")
    assert frame["n"].tolist() == list(range(len(LENGTHS)))
    assert micros(frame, "took") == micros(frame, "again") == LENGTHS


def test_arithmetic_with_lengths_is_exact_and_keeps_the_order(ages: Replay) -> None:
    frame = ages.sql(
        "select took - interval '1 day 1 hour' less from replay where n < 4 order by n desc"
    )
    assert micros(frame, "less") == [part - DAY - DAY // 24 for part in reversed(LENGTHS[:4])]
    frame = ages.sql(
        "select timestamp '9999-01-01' - timestamp '0001-01-01' whole, max(took) most from replay"
    )
    assert micros(frame, "whole") == [3_651_694 * DAY]
    assert micros(frame, "most") == [LENGTHS[2]]


@pytest.mark.parametrize("place", [0, 1, 4, 5])
def test_lengths_within_objects_lists_and_maps_are_exact(ages: Replay, place: int) -> None:
    frame = ages.sql(f"""select {{'a b': took, 'list': [[took]], 'n': n}} object, [{{'x': took}}] list,
        map(['k'], [took]) map, array_value(took, took) pair, null::interval[] none from replay where n = {place}""")
    row = frame.iloc[0]
    expected = LENGTHS[place]
    assert length_of(row["object"]["a b"]) == length_of(row["object"]["list"][0][0]) == expected
    assert row["object"]["n"] == place
    assert length_of(row["list"][0]["x"]) == expected
    assert length_of(dict(row["map"])["k"]) == expected
    assert [length_of(part) for part in row["pair"]] == [expected, expected]
    assert frame["none"].isna().all()


def test_months_and_very_many_days_are_told_in_words_exactly() -> None:
    replayed = replay(n=pa.array([1]))
    frame = replayed.sql("""select interval '1 month 3 days' + to_microseconds(14454775807) as late,
        to_days(2000000000) day_count, interval '-25 months -2 days -1 second' less""")
    assert frame.iloc[0].to_dict() == {
        "late": "1 months 3 days 14454.775807 s",
        "day_count": "2000000000 days",
        "less": "-25 months -2 days -1 s",
    }


def test_a_length_that_cannot_be_told_is_an_error(ages: Replay) -> None:
    with pytest.raises(UsageError, match="out of range"):
        ages.sql("select to_days(2147483647) + to_hours(48) much")
    with pytest.raises(UsageError, match="no interval within a union"):
        ages.sql("select union_value(a := took) from replay")
    seconds = replay(took=pa.array([10**14], pa.duration("s")))
    with pytest.raises(UsageError, match="Could not convert"):
        seconds.sql("select took from replay")


def test_times_of_nanoseconds_equal_those_of_microseconds_in_sql() -> None:
    """DuckDB's type of them is equal to no other time: of all records none was found."""
    start, fine = 1_456_790_400_000, pa.timestamp("ns", "UTC")
    times = pa.array([start * 10**6 + 1], fine)
    nested = pa.array([{"l": times.to_pylist(), "m": [("a", times[0])]}], pa.struct(
        [("l", pa.large_list(fine)), ("m", pa.map_(pa.string(), fine))]))  # fmt: skip
    records = replay(t=times, n=nested, k=pa.array([start], pa.timestamp("ms", "UTC")))
    for name in ("t", "n.l[1]", "n.m['a']"):
        for sign in ("=", ">="):
            condition = f"{name} {sign} timestamptz '2016-03-01'"
            assert len(records.sql(f"select 1 from replay where {condition}")) == 1
            assert Where(condition).rows(records.table).tolist() == [0]
    for table in (pa.table({"k": times}), pl.DataFrame({"k": times}),
                  pd.DataFrame({"k": pd.array(times.to_pylist(), dtype=pd.ArrowDtype(fine))})):  # fmt: skip
        joined = records.sql("select count(*) n from replay join o using (k)", o=table)
        assert joined["n"].tolist() == [1]


def test_parts_of_a_microsecond_are_refused_and_not_cut(ages: Replay) -> None:
    odd = pa.array([1_999], pa.duration("ns"))
    column = pa.array([2_000], pa.duration("ns"))
    for table in (pa.table({"t": odd}), pa.table({"t": pa.array([[1_999]], pa.list_(odd.type))}),
                  pd.DataFrame({"t": pd.to_timedelta([1_999, None], unit="ns")})):  # fmt: skip
        with pytest.raises(UsageError, match="'t' has durations of nanoseconds") as caught:
            ages.sql("select t from given", given=table)
        assert "round them" in str(caught.value.hint)
    for table in (
        pa.table({"t": column}),
        pd.DataFrame({"t": pd.to_timedelta([2_000], unit="ns")}),
    ):
        assert ages.sql("select t from given", given=table)["t"].tolist() == [
            timedelta(microseconds=2)
        ]


def spans() -> pa.Table:
    """Return messages with a Protobuf Duration, as labkit decodes them.

    It is also in a list and in another message.
    """
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(duration_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(name="m.proto", package="m", syntax="proto3")
    file.dependency.append("google/protobuf/duration.proto")
    kind = ".google.protobuf.Duration"
    inner, outer = file.message_type.add(name="In"), file.message_type.add(name="M")
    inner.field.add(name="took", number=1, type=11, label=1, type_name=kind)
    outer.field.add(name="took", number=1, type=11, label=1, type_name=kind)
    outer.field.add(name="many", number=2, type=11, label=3, type_name=kind)
    outer.field.add(name="inner", number=3, type=11, label=1, type_name=".m.In")
    pool.Add(file)
    make = message_factory.GetMessageClass(pool.FindMessageTypeByName("m.M"))
    schema = SimpleNamespace(
        schema_str=base64.b64encode(file.SerializeToString()).decode(),
        schema_type="PROTOBUF",
        references=[],
    )
    values = []
    for length in LENGTHS:
        message = make()
        if length is not None:
            for took in (message.took, message.many.add(), message.inner.took):
                took.FromMicroseconds(length)
        values.append(b"\0\0\0\0\1\2\2" + message.SerializeToString())
    registry = SimpleNamespace(schema=lambda number: schema, fetch_reference=None)
    decoder = Binary(cast(Any, registry), "protobuf")
    parsed = decoder.parse(pa.array(values, pa.binary()))
    assert not parsed.errors
    return decoder.columns(parsed, decoder.unify([parsed.schema]))


def test_a_duration_of_protobuf_is_a_duration_in_parquet(tmp_path: Path) -> None:
    """To what reads Arrow's schema.

    To others it is an integer, of microseconds as `to_parquet` says.
    """
    table, path = spans(), tmp_path / "x.parquet"
    assert table.schema.field("took").type == pa.duration("us")
    expected = [None if length is None else timedelta(microseconds=length) for length in LENGTHS]
    pq.write_table(table, path)
    for name, one in (("arrow", pq.read_table(path)), ("polars", pl.read_parquet(path).to_arrow())):
        assert one["took"].to_pylist() == expected, name
        assert one["many"].to_pylist() == [
            [] if length is None else [length] for length in expected
        ], name
        assert [row and row["took"] for row in one["inner"].to_pylist()] == expected, name
    assert micros(pd.read_parquet(path), "took") == LENGTHS
    with connect(files=True) as connection:
        rows = connection.execute(f"select took from '{path}'").fetchall()
    assert [length for (length,) in rows] == LENGTHS


def test_a_duration_of_protobuf_is_exact_in_sql() -> None:
    frame = Replay(spans(), RECEIPT).sql('select took, many[1] item, "inner".took deep from replay')
    assert micros(frame, "took") == micros(frame, "item") == micros(frame, "deep") == LENGTHS


def test_a_duration_is_seconds_in_json_whatever_writes_it() -> None:
    """A load of such a topic ended in an error; −1.5 s was "-1 day, 23:59:58.500000" in files."""
    micros_of = [-1_500_000, 1, 0, 10_000_000, AGES, None]
    texts = ["-1.5s", "0.000001s", "0s", "10s", "315569520000.000007s", None]
    lengths = pa.array(micros_of, pa.duration("us"))
    structs = pa.StructArray.from_arrays([lengths], ["took"])
    assert [text and json.loads(text) for text in json_text(lengths).to_pylist()] == texts
    assert [json.loads(text).get("took") for text in json_text(structs).to_pylist()] == texts
    assert [as_json(value) for value in lengths.to_pylist()[:3]] == texts[:3]
    assert as_json(timedelta(microseconds=AGES)) == texts[4]
    assert as_json(pd.Timedelta(1, "ns")) == "0.000000001s"
    frame = pl.DataFrame(
        {"took": lengths, "in": structs, "many": [[value] for value in lengths.to_pylist()]}
    )
    (batch,) = open_side(frame, None, None).batches(lambda: False)  # type: ignore[arg-type]
    rows = [json.loads(text) for text in batch.column("source").to_pylist()]
    assert [row.get("took") for row in rows] == [row["in"].get("took") for row in rows] == texts
    assert [row["many"] for row in rows] == [[text] for text in texts]
