"""Real indices read back: whole, in part, by chance, as counts.

And what happens when they go away in the middle.
"""

from __future__ import annotations

import os
import signal
import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest

from labkit import charts, stopped
from labkit.compare.indices import latency
from labkit.elastic import Target
from labkit.errors import AccessError, ConfigError, NotFoundError, ServerError, Stopped, UsageError
from labkit.es import point_in_time
from labkit.es.bulk import Bulk
from labkit.es.documents import Documents
from labkit.es.index import Index
from labkit.es.mappings import MAPPING, SETTINGS
from labkit.lab import Lab, connect
from labkit.sinks.scratch_index import ScratchIndex
from labkit.stack.state import State

Make = Callable[..., ScratchIndex]


@pytest.fixture(scope="module")
def make(stack: State) -> Iterator[Make]:
    """Make scratch indices of documents, by id; they are gone after the module."""
    lab, names = connect(), []

    def build(
        documents: dict[str, Any],
        *,
        target: str = "default",
        settings: Any = None,
        mapping: Any = MAPPING,
    ) -> Any:
        index = ScratchIndex(f"scratch-test-index-{uuid.uuid4().hex[:8]}", lab.target(target))
        index.target.client.indices.create(
            index=index.name, settings={**SETTINGS, **(settings or {})}, mappings=mapping
        )
        names.append(index)
        write(index, documents)
        return index

    yield build
    for index in names:
        index.target.client.options(ignore_status=404).indices.delete(index=index.name)


def write(index: ScratchIndex, documents: dict[str, Any]) -> None:
    if not documents:
        return
    rows = len(documents)
    sources = [
        document if isinstance(document, bytes) else orjson.dumps(document)
        for document in documents.values()
    ]
    empty = pa.RecordBatch.from_pydict(
        {
            "topic": ["x"] * rows,
            "partition": pa.array([0] * rows, pa.int32()),
            "offset": pa.array(range(rows), pa.int64()),
            "timestamp": pa.nulls(rows, pa.timestamp("ms", "UTC")),
            "value": pa.array(sources, pa.binary()),
        }
    )
    bulk = Bulk(index.target, index.name)
    try:
        outcome = bulk.send(
            Documents(pa.array(list(documents)), pa.array(sources, pa.binary()), empty)
        )
    finally:
        bulk.close()
    assert outcome.counts["indexed"] == rows, outcome.rejects


def open_contexts(index: Index) -> int:
    stats = (
        connect(role="admin")
        .target(index.target.name)
        .client.indices.stats(index=index.name, metric="search")
    )
    return int(stats["indices"][index.name]["total"]["search"]["open_contexts"])


@pytest.fixture(scope="module")
def many(make: Make) -> ScratchIndex:
    """More documents than any window of hits holds."""
    stamp = "2016-03-{:02d}T{:02d}:00:00.000Z"
    return make(
        {
            f"my-topic-{n % 3}-{n}": {
                "@timestamp": stamp.format(1 + n % 28, n % 24),
                "n": n,
                "nick": f"nick{n % 700}",
                "channel": None if n % 10 == 0 else f"#{n % 4}",
            }
            for n in range(23_456)
        }
    )


def test_all_documents_come_back_beyond_ten_thousand(many: ScratchIndex) -> None:
    frame = many.to_pandas()
    assert many.count() == len(frame) == 23_456
    assert list(frame) == [
        "_id",
        "_topic",
        "_partition",
        "_offset",
        "@timestamp",
        "n",
        "nick",
        "channel",
        "_error",
    ]
    assert sorted(frame["n"]) == list(range(23_456))
    assert (frame["_offset"] == frame["n"]).all()
    assert frame["_partition"].tolist() == [n % 3 for n in frame["n"]]
    assert set(frame["_topic"]) == {"my-topic"}
    assert frame.attrs["complete"] is True
    assert frame["channel"].isna().sum() == 2346
    assert open_contexts(many) == 0


def test_a_query_fields_and_a_limit(many: ScratchIndex) -> None:
    assert many.count("nick:nick5") == many.count({"term": {"nick.keyword": "nick5"}}) == 34
    frame = many.to_pandas("nick:nick5", fields=["n", "nick"], limit=20)
    assert list(frame) == ["_id", "_topic", "_partition", "_offset", "n", "nick", "_error"]
    assert (len(frame), set(frame["nick"])) == (20, {"nick5"})
    assert len(many.to_pandas(limit=12_000)) == 12_000
    assert len(many.to_pandas(limit=0)) == 0
    assert list(many.to_pandas("nick:nobody")) == [
        "_id",
        "_topic",
        "_partition",
        "_offset",
        "_error",
    ]


def test_batches_are_small_whatever_the_size_of_documents(make: Make) -> None:
    big = make({f"t-0-{n}": {"text": "x" * 400_000} for n in range(40)})
    sizes = [batch.nbytes for batch in big.batches()]
    assert sum(sizes) > 16_000_000
    assert max(sizes[1:], default=0) <= 2 * point_in_time.PAGE_BYTES


def test_a_page_is_a_point_in_time(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(point_in_time, "FIRST_PAGE", 10)
    index = make({f"t-0-{n}": {"n": n} for n in range(100)})
    stream = index.batches()
    seen = len(next(stream))
    write(index, {f"t-0-{n}": {"n": n} for n in range(100, 150)})
    index.refresh()
    index.target.client.delete(index=index.name, id="t-0-99", refresh=True)
    assert seen + sum(len(batch) for batch in stream) == 100
    assert index.count() == 149


def test_a_reader_that_stops_early_leaves_nothing_open(many: ScratchIndex) -> None:
    stream = many.batches()
    next(stream)
    assert open_contexts(many) > 0
    stream.close()
    assert open_contexts(many) == 0


def test_the_former_name_of_cancelled_still_works(many: ScratchIndex) -> None:
    with pytest.warns(DeprecationWarning, match="cancelled="):
        assert list(many.batches(stop=lambda: True)) == list(many.batches(cancelled=lambda: True))


@pytest.mark.chaos
def test_an_interrupt_keeps_what_was_read_says_so_and_closes(
    many: ScratchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = point_in_time._batch

    def batch(hits: Any, name: str) -> pa.RecordBatch:
        os.kill(os.getpid(), signal.SIGINT)
        return real(hits, name)

    monkeypatch.setattr(point_in_time, "_batch", batch)
    with pytest.warns(
        UserWarning, match="interrupted: 500 documents of scratch-.* were read, not all"
    ):
        frame = many.to_pandas(on_interrupt="keep")
    assert frame.attrs["complete"] is False
    assert len(frame) == 500
    assert open_contexts(many) == 0
    with pytest.raises(Stopped, match=r"500 documents of scratch-.* were read, not all") as stop:
        many.to_pandas()
    assert stop.value.frame.equals(frame)
    assert stopped() is stop.value.frame
    assert open_contexts(many) == 0


@pytest.mark.parametrize("after", ["deleted", "closed point in time"])
def test_an_index_that_goes_away_in_the_middle_is_a_clear_error(make: Make, after: str) -> None:
    index = make({f"t-0-{n}": {"n": n, "text": "x" * 2000} for n in range(9_000)})
    stream = index.batches()
    next(stream)
    if after == "deleted":
        index.drop()
    else:
        connect(role="admin").target().client.indices.close(index=index.name)
        connect(role="admin").target().client.indices.open(
            index=index.name, wait_for_active_shards="all"
        )
    words = (
        "vanished while it was read"
        if after == "deleted"
        else "the point in time of index .* was gone"
    )
    with pytest.raises(NotFoundError, match=words) as caught:
        list(stream)
    assert caught.value.read >= 500
    assert caught.value.hint


def test_types_follow_the_rule_of_the_decoder(make: Make) -> None:
    """BEHAVIOURS 57, of an index: what is text because values disagree is told."""
    lists = (
        b'{"id":%d,"n":1,"mixed":"1","nested":{"a":{"b":[1,2]},"c":"\xc5\xbc"},'
        b'"long":[12345678901234567890123],"f":1}'
    )
    other_source = b'{"id":2,"mixed":2,"nested":{"a":{"b":[]}},"f":1.5,"_topic_":1}'
    mapping = {"dynamic": False}
    index = make({"a-b-c": lists % 1, "irc-0-7": other_source}, mapping=mapping)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = index.to_pandas().sort_values("id", ignore_index=True)
    assert sorted(str(warning.message) for warning in caught) == [
        f"{index.name!r}: field long[]: 1 number, with integers beyond 64 bits, → text",
        f"{index.name!r}: field mixed: 1 number, 1 text → text",
    ]
    assert frame["_topic"].isna().tolist() == [True, False]
    assert frame["mixed"].tolist() == ["1", "2"]
    assert frame["nested"][0] == {"a": {"b": [1, 2]}, "c": "ż"}
    assert list(frame["long"][0]) == ["12345678901234567890123"]
    assert frame["f"].tolist() == [1.0, 1.5]
    sources = {row["_id"]: row["_source"] for batch in index.batches() for row in batch.to_pylist()}
    assert b"12345678901234567890123" in sources["a-b-c"]


def test_a_document_is_the_text_that_elasticsearch_keeps(make: Make) -> None:
    texts = {
        "t-0-1": b'{ "n": 1.50, "more": 0.12345678901234567890, "same": {"n" : 1E2} }',
        "t-0-2": b'{"n": "one"}',
        "t-0-3": b'{"half": "\\ud800 \\\\ud800", "long": 123456789012345678901234567890}',
    }
    index = make(texts, mapping={"dynamic": False})
    rows = [row for batch in index.batches() for row in batch.to_pylist()]
    assert {row["_id"]: row["_source"] for row in rows} == texts
    with pytest.warns(UserWarning, match="field n: 1 number, 1 text → text"):
        frame = index.to_pandas().set_index("_id")
    assert frame.loc[["t-0-1", "t-0-2"], "n"].tolist() == ["1.50", "one"]


def test_a_smaller_window_of_hits_is_heeded(make: Make) -> None:
    index = make({f"t-0-{n}": {"n": n} for n in range(250)}, settings={"max_result_window": 60})
    assert sorted(index.to_pandas()["n"]) == list(range(250))


def test_an_index_without_sources_says_so(make: Make) -> None:
    with pytest.raises(UsageError, match="keeps no _source"):
        make({"t-0-1": {"n": 1}}, mapping={"_source": {"enabled": False}}).to_pandas()


# samples and counts ----------------------------------------------------------------------------------------


def test_a_sample_is_by_chance_or_the_same_again(many: ScratchIndex) -> None:
    once, again = many.sample(50, seed=3), many.sample(50, seed=3)
    pd.testing.assert_frame_equal(once, again)
    assert set(once["_id"]) != set(many.sample(50, seed=4)["_id"])
    assert many.sample(12_000)["_id"].nunique() == 12_000
    assert set(many.sample(5, "nick:nick5", fields=["nick"])["nick"]) == {"nick5"}


def test_counts_are_those_of_pandas(many: ScratchIndex) -> None:
    frame = many.to_pandas()
    by_channel = many.agg("channel", metrics=["avg:n", "cardinality:nick"])
    expected = (
        frame.groupby("channel", dropna=False)["n"]
        .agg(["size", "mean"])
        .sort_values("size", ascending=False)
    )
    assert sorted(by_channel["documents"]) == sorted(expected["size"])
    assert by_channel["channel"].isna().sum() == 1
    assert np.isclose(sorted(by_channel["avg:n"]), sorted(expected["mean"])).all()
    nicks = many.agg("nick")
    assert len(nicks) == 700
    assert nicks["documents"].sum() == 23_456
    assert len(many.agg(["nick", "n"])) == 23_456, "more than one answer holds"
    assert many.agg("nick", limit=3)["documents"].tolist() == [34, 34, 34]
    total = many.agg(metrics=["max:n", "min:@timestamp"], query="nick:nick5")
    assert total.values.tolist() == [[34, 23105.0, pd.Timestamp("2016-03-06T01:00", tz="UTC")]]


def test_counts_over_time_have_a_row_for_each_day_and_week(many: ScratchIndex) -> None:
    days = many.agg(every="1d")
    assert len(days) == 28
    assert days["@timestamp"].is_monotonic_increasing
    assert days["@timestamp"][0] == pd.Timestamp("2016-03-01", tz="UTC")
    assert days["documents"].sum() == 23_456
    weeks = many.agg(["@timestamp", "channel"], every="1w")
    assert set(weeks["@timestamp"].dt.day_name()) == {"Monday"}


def test_aggregations_in_elasticsearchs_own_form(many: ScratchIndex) -> None:
    inner = {"low": {"filter": {"range": {"n": {"lt": 100}}}}, "n": {"stats": {"field": "n"}}}
    frame = many.agg(
        body={"c": {"terms": {"field": "channel.keyword", "order": {"_key": "asc"}}, "aggs": inner}}
    )
    assert frame["c"].tolist() == ["#0", "#1", "#2", "#3"]
    assert frame["documents"].max() <= 100
    assert {"n.min", "n.max", "n.avg"} <= set(frame)
    assert many.agg(body={"m": {"max": {"field": "n"}}})["m"].tolist() == [23_455.0]


ASKED_WRONG = {
    "a query that is none": lambda index: index.to_pandas({"nope": {}}),
    "a text that cannot be read": lambda index: index.count("nick:("),
    "a negative limit": lambda index: index.to_pandas(limit=-1),
    "a field that is not there": lambda index: index.agg("nope"),
    "a metric that is none": lambda index: index.agg("nick", metrics=["median:n"]),
    "a metric without a field": lambda index: index.agg("nick", metrics=["avg"]),
    "a length that is none": lambda index: index.agg(every="often"),
    "no length at all": lambda index: index.agg(every="0s"),
    "two ways at once": lambda index: index.agg("nick", body={}),
    "an aggregation that is none": lambda index: index.agg(body={"a": {"nope": {}}}),
    "an average of texts": lambda index: index.agg(metrics=["avg:nick"]),
}


@pytest.mark.parametrize("case", ASKED_WRONG)
def test_what_is_asked_wrong_is_the_askers_error(many: ScratchIndex, case: str) -> None:
    with pytest.raises(UsageError) as caught:
        ASKED_WRONG[case](many)
    assert caught.value.hint
    assert open_contexts(many) == 0


@pytest.mark.parametrize(
    "ask",
    [
        lambda index, query: index.count(query),
        lambda index, query: index.to_pandas(query),
        lambda index, query: index.sample(5, query),
        lambda index, query: list(index.batches(query)),
        lambda index, query: index.profile(query),
        lambda index, query: index.agg("nick", query=query),
        lambda index, query: index.agg(body={"a": {"avg": {"field": "n"}}}, query=query),
        lambda index, query: charts.top(index, "nick", query=query),
    ],
    ids=["count", "to_pandas", "sample", "batches", "profile", "agg", "agg body", "chart"],
)
def test_a_misspelt_field_of_a_query_is_told_with_the_near_one(
    many: ScratchIndex, ask: Callable[..., Any]
) -> None:
    """BEHAVIOURS 61: the answer was 0, as if no document had the value."""
    for query in ('n:1 OR nik:"nick5"', {"term": {"nik": "nick5"}}):
        with pytest.raises(UsageError, match="there is no field 'nik'") as caught:
            ask(many, query)
        assert "did you mean 'nick'?" in (caught.value.hint or "")


# production indices ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def production(stack: State) -> Iterator[str]:
    """An index the lab may read and not write, of two months."""
    client, name = connect(role="admin").target().client, f"irc-test-{uuid.uuid4().hex[:8]}"
    for month in ("2016.03", "2016.04"):
        for n in range(20):
            client.index(
                index=f"{name}-{month}", id=f"irc-0-{month}-{n}", document={"n": n, "month": month}
            )
    client.indices.refresh(index=f"{name}-*")
    yield name
    client.indices.delete(index=[f"{name}-2016.03", f"{name}-2016.04"])


def test_a_production_index_is_read_only(lab: Lab, production: str) -> None:
    index = lab.index(f"{production}-2016.03")
    assert (index.count(), len(index.to_pandas()), len(index.sample(5))) == (20, 20, 5)
    assert not hasattr(index, "drop")
    assert index.name in repr(index)
    indices = lab.index(f"{production}-*")
    assert indices.agg("month").values.tolist() == [["2016.03", 20], ["2016.04", 20]]
    assert len(indices.mapping()) == 2
    with pytest.raises(AccessError):
        ScratchIndex(index.name, lab.target()).refresh()


@pytest.fixture
def short(production: str, stack: State) -> Iterator[str]:
    """A pattern of indices one of which has no node to be on."""
    client, name = connect(role="admin").target().client, f"{production}-2016.05"
    nowhere = {"index.routing.allocation.require.box": "none"}
    client.indices.create(index=name, settings=nowhere, wait_for_active_shards=0)
    yield f"{production}-*"
    client.indices.delete(index=name)


@pytest.mark.parametrize(
    "ask",
    [
        lambda index: index.count(),
        lambda index: index.agg("month"),
        lambda index: index.agg(body={"by": {"terms": {"field": "month.keyword"}}}),
        lambda index: index.to_pandas(),
        lambda index: index.target.count(index.name),
        lambda index: charts.top(index, "month"),
        lambda index: charts.distribution(index, "n"),
        lambda index: latency(index, index),
    ],
    ids=["count", "agg", "agg body", "read", "target's count", "top", "distribution", "latency"],
)
def test_no_answer_is_given_without_the_shards_that_are_away(
    lab: Lab, short: str, ask: Callable[[Index], Any]
) -> None:
    with pytest.raises(ServerError, match="shards") as caught:
        ask(lab.index(short))
    assert caught.value.hint is not None
    assert "ask again when the cluster is whole" in caught.value.hint


@pytest.mark.parametrize("name", ["irc-test-none", "irc-test-none-*", "irc-test-none,irc-test-no"])
def test_an_index_that_is_not_there(lab: Lab, name: str) -> None:
    for ask in (
        Index.count,
        Index.to_pandas,
        Index.agg,
        Index.sample,
        Index.mapping,
        lambda one: list(one.batches()),
    ):
        with pytest.raises(NotFoundError, match="irc-test-none"):
            ask(lab.index(name))


def test_an_index_the_reader_may_not_see(lab: Lab) -> None:
    with pytest.raises(AccessError, match="may not"):
        lab.index("other").to_pandas()
    with pytest.raises(ConfigError, match="nope"):
        lab.index("irc", target="nope")
    with pytest.raises(UsageError):
        lab.index("Not a name")
    wrong = Target("default", {"hosts": [lab.target().address], "basic_auth": ["lab", "wrong-one"]})
    with pytest.raises(AccessError, match="refused the login") as caught:
        Index("irc", wrong).to_pandas()
    assert "wrong-one" not in str(caught.value)
