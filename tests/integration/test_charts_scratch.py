"""The same records give the same numbers from Arrow columns and from Elasticsearch."""

import contextlib
import uuid
from functools import partial

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from labkit import charts
from labkit.decode import find_decoder
from labkit.decode.pipeline import decoded_table
from labkit.elastic import Target
from labkit.errors import AccessError, NotFoundError, UsageError
from labkit.es.bulk import Bulk
from labkit.es.documents import documents
from labkit.es.mappings import MAPPING, SETTINGS
from labkit.replay.records import RAW_SCHEMA
from labkit.sinks.scratch_index import ScratchIndex
from labkit.times import to_ms
from support.records import read_sample


def raw(values):
    """Return records whose time is their @timestamp, or that of the record before."""
    stamps, last = [], 0
    for value in values:
        with contextlib.suppress(orjson.JSONDecodeError, KeyError):
            last = to_ms(orjson.loads(value)["@timestamp"])
        stamps.append(last)
    rows = len(values)
    return pa.RecordBatch.from_pydict(
        {
            "topic": pa.array(["irc"] * rows).dictionary_encode(),
            "partition": pa.array([0] * rows, pa.int32()),
            "offset": pa.array(range(rows), pa.int64()),
            "timestamp": pa.array(stamps, pa.timestamp("ms", tz="UTC")),
            "timestamp_type": pa.array(["CreateTime"] * rows).dictionary_encode(),
            "key": pa.nulls(rows, pa.binary()),
            "value": pa.array(values, pa.binary()),
            "headers": pa.nulls(rows, RAW_SCHEMA.field("headers").type),
        },
        schema=RAW_SCHEMA,
    )


def table(batch):
    module = find_decoder("json")
    parsed = module.parse(batch.column("value"))
    return decoded_table(batch, parsed, module, module.unify([parsed.schema]))


@pytest.fixture(scope="module")
def target(stack):
    return Target("default", stack.credentials("lab")["elasticsearch_targets"]["default"])


@pytest.fixture(scope="module")
def make_index(target):
    """Make scratch indices; they are gone after the module."""
    names = []

    def make(batch=None, mapping=MAPPING):
        index = ScratchIndex(f"scratch-test-charts-{uuid.uuid4().hex[:8]}", target)
        target.client.indices.create(index=index.name, mappings=mapping, settings=SETTINGS)
        names.append(index)
        if batch is not None:
            bulk = Bulk(target, index.name)
            try:
                outcome = bulk.send(documents(batch))
            finally:
                bulk.close()
            assert outcome.counts["indexed"] == len(batch)
        assert index.count() == (0 if batch is None else len(batch))
        return index

    yield make
    for index in names:
        index.drop()


@pytest.fixture(scope="module")
def both(make_index):
    """The sample's first 30,000 lines, bad ones included, as a table and as an index."""
    batch = raw(read_sample(30_000))
    return table(batch), make_index(batch)


CASES = {
    "timeline": partial(charts.timeline),
    "timeline per day": partial(charts.timeline, every="1d"),
    "timeline per week": partial(charts.timeline, every="1w"),
    "timeline by channel, with nulls": partial(charts.timeline, by="channel"),
    "timeline by nick, with others": partial(charts.timeline, by="nick", top=5, every="6h"),
    "top nicks": partial(charts.top, field="nick"),
    "top commands, all of them": partial(charts.top, field="command"),
    "top ips, mostly null": partial(charts.top, field="ip", n=50),
    "heatmap": partial(charts.heatmap),
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_numbers_from_both(both, case):
    frame, index = (CASES[case](data) for data in both)
    pd.testing.assert_frame_equal(frame.data, index.data)
    assert frame.title.subtitle == index.title.subtitle
    assert frame.data["records"].sum() > 5_000
    assert index.title.text.startswith("scratch-test-charts-")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "query", ["command:JOIN", {"term": {"command.keyword": "JOIN"}}], ids=["text", "dict"]
)
def test_a_query_charts_a_part_of_an_index(both, case, query):
    records, index = both
    joins = records.filter(pc.equal(records["command"], "JOIN"))
    frame, part = CASES[case](joins), CASES[case](index, query=query)
    pd.testing.assert_frame_equal(frame.data, part.data)
    assert frame.title.subtitle == part.title.subtitle
    assert f"{index.name} where " in part.title.text
    assert "JOIN" in part.title.text


def test_a_query_is_for_an_index_and_one_that_cannot_be_read_is_refused(both):
    records, index = both
    with pytest.raises(UsageError, match="must come with an index, and this is a Table"):
        charts.top(records, "nick", query="command:JOIN")
    with pytest.raises(UsageError, match="query"):
        charts.top(index, "nick", query="command:[")
    with pytest.raises(UsageError, match="query"):
        charts.heatmap(index, query={"no_such_query": {}})


def test_ties_empty_texts_numbers_and_truths(make_index):
    stamp = b'{"@timestamp":"2016-02-29T%02d:00:00.000Z",'
    ends = [
        *(
            b'"nick":"b","n":1,"ok":true}',
            b'"nick":"a","n":2,"ok":false}',
            b'"nick":"","n":10,"ok":true}',
        ),
        *(
            b'"nick":null,"n":null}',
            b'"other":1}',
            b'"nick":" ","n":10}',
            '"nick":"é\'\\"","n":2}'.encode(),
        ),
    ]
    batch = raw([stamp % hour + end for hour, end in enumerate(ends)])
    frame, index = table(batch), make_index(batch)
    for field in ("nick", "n", "ok"):
        for draw in (
            lambda data, field=field: charts.top(data, field, 2),
            lambda data, field=field: charts.top(data, field),
            lambda data, field=field: charts.timeline(data, field, every="1h", top=2),
        ):
            pd.testing.assert_frame_equal(draw(frame).data, draw(index).data)


def test_long_texts_are_values_all_the_same(make_index):
    lines = [
        b'{"@timestamp":"2016-02-29T00:00:00Z","message":"%s"}' % text
        for text in (b"a", b"a", b"x" * 2000)
    ]
    index = make_index(raw(lines))
    chart = charts.timeline(index, "message", every="1h")
    assert dict(zip(chart.data["value"], chart.data["records"], strict=True)) == {
        "a": 2,
        "other": 1,
    }


def test_documents_without_a_time_are_told(make_index):
    index = make_index(raw([b'{"nick":"a"}', b'{"@timestamp":"2016-02-29T00:00:00Z","nick":"b"}']))
    chart = charts.timeline(index, "nick", every="1h")
    assert chart.data["value"].tolist() == ["b"]
    assert chart.title.subtitle[1] == "1 record without a time left out"
    assert charts.top(index, "nick").data["records"].tolist() == [1, 1]


def test_years_of_hours_are_asked_in_parts(make_index, monkeypatch):
    monkeypatch.setattr("labkit.charts.search._MOST_BUCKETS", 1000)
    lines = [b'{"@timestamp":"%d-02-28T12:00:00Z"}' % year for year in range(2010, 2017)]
    batch = raw(lines)
    frame, index = charts.heatmap(table(batch)), charts.heatmap(make_index(batch))
    pd.testing.assert_frame_equal(frame.data, index.data)
    assert index.data["records"].sum() == 7


def test_many_values_are_estimated_and_said_so(make_index, monkeypatch):
    monkeypatch.setattr("labkit.charts.search._MOST_VALUES", 10)
    lines = [b'{"@timestamp":"2016-02-29T00:00:00Z","nick":"nick%d"}' % n for n in range(20)]
    assert (
        ", 5 of about 20 nicks, " in charts.top(make_index(raw(lines)), "nick", 5).title.subtitle[0]
    )


def test_an_empty_index_is_a_chart_that_says_so(make_index):
    index = make_index()
    for chart in (
        charts.timeline(index),
        charts.timeline(index, "nick"),
        charts.heatmap(index),
        charts.top(index, "n"),
    ):
        assert chart.data["text"].tolist() == ["no records"]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (
            lambda index: charts.top(index, "nik"),
            r"no field 'nik'\nHint: did you mean 'nick'\? there are: @timestamp, channel, command, host",
        ),
        (lambda index: charts.timeline(index, "nik"), "no field 'nik'"),
        (lambda index: charts.timeline(index, time_field="nik"), "no field 'nik'"),
        (
            lambda index: charts.timeline(index, time_field="nick"),
            r"'nick' is text, not a date\nHint: .*@timestamp",
        ),
    ],
)
def test_errors_name_the_fields(both, draw, message):
    with pytest.raises(UsageError, match=message):
        draw(both[1])


def test_a_text_without_a_keyword_is_refused(make_index):
    mapping = {**MAPPING, "properties": {**MAPPING["properties"], "body": {"type": "text"}}}
    index = make_index(raw([b'{"@timestamp":"2016-02-29T00:00:00Z","body":"a b"}']), mapping)
    with pytest.raises(
        UsageError, match=r"'body' is text, whose values cannot be counted\nHint: .*keyword"
    ):
        charts.top(index, "body")


def test_an_index_that_is_not_there(target):
    with pytest.raises((NotFoundError, AccessError), match="scratch-test-nowhere"):
        charts.timeline(ScratchIndex("scratch-test-nowhere", target))


def test_numbers_have_the_same_distribution_from_both_and_texts_none_from_an_index(make_index):
    values = [
        f'{{"n":{n % 37},"x":{n / 10},"k":"{"ab"[n % 3 == 0]}","text":"{"x" * n}"}}'.encode()
        for n in range(200)
    ]
    batch = raw([*values, b'{"k":"a"}', b'{"n":null,"k":"c"}'])
    frame, index = table(batch), make_index(batch)
    for options in (
        {"field": "n"},
        {"field": "x"},
        {"field": "x", "log": True},
        {"field": "n", "by": "k"},
    ):
        left, right = (charts.distribution(data, trim=False, **options) for data in (frame, index))
        columns = ["value", "start", "end", "records", "share"]
        pd.testing.assert_frame_equal(left.data[columns], right.data[columns])
        assert left.title.subtitle[1:] == right.title.subtitle[1:]
    with pytest.raises(
        UsageError, match=r"cannot measure 'text'.*\nHint: .*to_pandas\(fields=\['text'\]\)"
    ):
        charts.distribution(index, "text")
    with pytest.raises(UsageError, match="no field 'z'"):
        charts.distribution(index, "z")
    with pytest.raises(UsageError, match=r"cannot tell who is addressed.*\nHint: .*to_pandas"):
        charts.conversation(index)
    assert charts.distribution(make_index(), "n").data["text"].tolist() == ["no records"]
