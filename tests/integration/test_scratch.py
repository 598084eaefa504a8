"""Records into real Elasticsearch: each one has its document or a reject.

No index but the lab's own is touched.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from labkit import charts, widgets
from labkit.checks import names
from labkit.config.profiles import Profile
from labkit.config.secrets import seal
from labkit.elastic import Target
from labkit.enrich import parse
from labkit.errors import (
    AccessError,
    ConfigError,
    IncompleteWarning,
    LabkitError,
    NotFoundError,
    RefusedError,
    Stopped,
    UnavailableError,
    UsageError,
)
from labkit.es import bulk as bulk_module
from labkit.es.bulk import Bulk
from labkit.es.documents import documents
from labkit.lab import Lab, connect
from labkit.replay.records import RAW_SCHEMA
from labkit.sinks import scratch_index
from labkit.sinks.scratch import Load
from labkit.sinks.scratch_index import ScratchIndex, collect
from labkit.stack.process import free_port
from labkit.stack.state import State
from support.forwarding import forwarding
from support.records import number_records
from support.replays import balance_load
from support.waiting import until

T0 = 1_456_790_400_000  # 2016-03-01T00:00:00Z
Produce = Callable[..., None]
MakeTopic = Callable[..., str]


pytestmark = pytest.mark.usefixtures("me")


@pytest.fixture
def root(stack: State) -> Target:
    """Elasticsearch as its administrator has it."""
    return connect(role="admin").target()


def stored(index: ScratchIndex) -> dict[str, dict[str, Any]]:
    hits = index.search(query={"match_all": {}}, size=1000)["hits"]["hits"]
    return {hit["_id"]: hit["_source"] for hit in hits}


# counts ----------------------------------------------------------------------------------------------------


def test_a_load_counts_up_and_a_second_adds_nothing(
    lab: Lab, make_topic: MakeTopic, produce: Produce, me: str
):
    topic = make_topic(2)
    for partition in (0, 1):
        produce(topic, number_records(500), partition=partition)
    window = lab.window(topic)
    first, second = window.to_scratch("twice"), window.to_scratch("twice")
    assert first.index.name == f"scratch-{me}-twice"
    assert balance_load(first) == {
        "sent": 1000,
        "indexed": 1000,
        "existing": 0,
        "rejected": 0,
        "unsent": 0,
    }
    assert balance_load(second) == {
        "sent": 1000,
        "indexed": 0,
        "existing": 1000,
        "rejected": 0,
        "unsent": 0,
    }
    assert first.complete
    assert second.complete
    assert f"{topic}-1-499" in stored(first.index)
    assert "1,000 sent = 1,000 indexed" in str(first)
    with pytest.warns(UserWarning, match="no document has a time in '@timestamp'; name the field"):
        assert first.index.agg(every="1h")["documents"].tolist() == [1000]
    assert "as an earlier load made them" in str(second)
    assert "as an earlier load made them" not in str(first)


def test_a_field_that_no_record_has_leaves_no_document_without_it(
    lab: Lab, make_topic: MakeTopic, produce: Produce
) -> None:
    """The load of the right name found them, and left them as they were."""
    topic = make_topic()
    produce(topic, number_records(10))
    window, right = lab.window(topic), [parse("n", r"(?P<digit>.).*")]
    with pytest.raises(UsageError, match="no record has a value in 'm'"):
        window.to_scratch("misspelt", enrich=[parse("m", r"(?P<digit>.).*")])
    assert window.to_scratch("misspelt", enrich=right).counts["indexed"] == 10
    with pytest.raises(UsageError, match="no record has a value in 'm'"):
        window.to_scratch("misspelt", enrich=[parse("m", r"(?P<digit>.).*")])
    assert lab.scratch_index("misspelt").count() == 10


def test_a_wider_window_adds_only_what_is_new(lab: Lab, make_topic: MakeTopic, produce: Produce):
    topic = make_topic()
    produce(topic, number_records(10))
    lab.window(topic, offsets={0: (0, 4)}).to_scratch("wider")
    counts = balance_load(lab.window(topic).to_scratch("wider"))
    assert (counts["indexed"], counts["existing"]) == (6, 4)


def test_a_load_of_several_requests_counts_up(
    lab: Lab, make_topic: MakeTopic, produce: Produce, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bulk_module, "REQUEST_BYTES", 2000)
    topic = make_topic()
    produce(topic, [b'{"n":1,"text":"%s"}' % (b"x" * size) for size in range(0, 4000, 40)])
    assert balance_load(lab.window(topic).to_scratch("chunks"))["indexed"] == 100


def test_an_empty_window_makes_an_empty_index(lab: Lab, make_topic: MakeTopic):
    load = lab.window(make_topic()).to_scratch("empty")
    assert balance_load(load)["sent"] == 0
    assert load.complete


def test_a_load_that_begins_while_elasticsearch_is_away_waits_for_it(
    lab: Lab, make_topic: MakeTopic, produce: Produce
):
    topic, port = make_topic(), free_port()
    produce(topic, number_records(10))
    server = urlsplit(lab.target().address)
    settings = {**lab.target().settings, "hosts": [f"http://127.0.0.1:{port}"]}
    kafka = seal(lab.cluster.settings)
    beyond = Lab(Profile("beyond", "lab", kafka, {"default": seal(settings)}, source="the test"))
    window = beyond.window(topic)
    lead = partial(forwarding, port, str(server.hostname), int(server.port or 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the first contact is not waited for
        with pytest.raises(UnavailableError, match="no server listens"):
            window.to_scratch("first")
    with lead():
        assert window.to_scratch("first").complete
    with warnings.catch_warnings(record=True) as said, ThreadPoolExecutor(1) as pool:
        warnings.simplefilter("always")
        loading = pool.submit(window.to_scratch, "second")
        until(lambda: loading.done() or said, "a word about the wait")
        assert "waiting for Elasticsearch: no answer" in str(said[0].message)
        assert "(2m at most)" in str(said[0].message)
        with lead():
            assert loading.result(120).complete
            assert balance_load(loading.result())["indexed"] == 10
    with pytest.raises(UnavailableError, match="no server listens"):
        window.to_scratch("third", patience="1s")


@pytest.mark.chaos
def test_an_interrupted_load_still_counts_up(
    lab: Lab, make_topic: MakeTopic, produce: Produce, monkeypatch: pytest.MonkeyPatch
):
    topic = make_topic()
    produce(topic, number_records(3000))
    monkeypatch.setattr("labkit.replay.reader.BATCH_RECORDS", 100)
    written = threading.Event()
    real = Bulk.put

    def put(self: Bulk, *arguments: Any) -> None:
        real(self, *arguments)
        if not written.is_set():
            written.set()
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Bulk, "put", put)
    with pytest.raises(
        Stopped, match=r"stopped at \d+ %: [\d,]+ of 3,000; scratch-.* has what was loaded"
    ) as stop:
        lab.window(topic).to_scratch("interrupted")
    load = stop.value.load
    assert written.is_set()
    assert load.receipt.reasons == {"interrupt": [0]}
    assert not load.complete
    balance_load(load)
    assert_half(lab, load)
    lab.window(topic, offsets={0: (0, 10)}).to_scratch("interrupted")  # another, whole
    assert_half(lab, load)
    monkeypatch.setattr(Bulk, "put", real)
    load.index.extend("3d")
    lab.window(topic).to_scratch("interrupted")
    assert lab.scratch()["shortfall"].tolist() == [""]
    with warnings.catch_warnings():
        warnings.simplefilter("error", IncompleteWarning)
        assert len(load.index.to_pandas()) == 3000


def assert_half(lab: Lab, load: Load) -> None:
    """Whatever tells of the index says that it has not all of its window."""
    index, reached = load.index, load.receipt.reached
    for listed in (lab.scratch(), lab.indices(index.name)):
        assert reached in listed["shortfall"].item()
    for ask in (
        index.to_pandas,
        index.count,
        lab.index(index.name).count,
        lambda: index.agg("n"),
        lambda: charts.top(index, "n"),
        lab.index(index.name).to_pandas,
    ):
        with pytest.warns(IncompleteWarning, match=re.escape(reached)):
            ask()
    for limit in (None, 10_000):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IncompleteWarning)
            browser = widgets.browse(index, limit=limit)
        assert reached in str(browser.source.said)
        assert not browser.source.whole
    assert reached in str(lab.compare(index, index))


@pytest.mark.chaos
def test_a_load_that_was_killed_says_so(lab: Lab, make_topic: MakeTopic, produce: Produce, me: str):
    topic = make_topic()
    produce(topic, number_records(10))
    script = (
        "import os, labkit, labkit.sinks.scratch as s\n"
        "s.finish = lambda *_: os.kill(os.getpid(), 9)\n"
        f"labkit.connect().window({topic!r}).to_scratch('killed', progress=False)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    assert lab.scratch()["shortfall"].tolist() == [scratch_index.LOADING]
    with pytest.warns(IncompleteWarning, match="has not ended"):
        lab.scratch_index("killed").to_pandas()


# what is no JSON object (12, 13) ---------------------------------------------------------------------------

NO_OBJECTS = [
    b"plain text",
    b'{"n":',
    b"[1,2]",
    b"3",
    b'"text"',
    b"null",
    b"",
    b" ",
    b"\xff\xfe",
    b"\x00\x00\x00\x00\x07a",
]


def test_what_is_no_json_object_becomes_a_tagged_document(
    lab: Lab, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic(retention_ms="-1")
    produce(topic, [b'{"n":1}', *NO_OBJECTS, b'{"n":2}'], timestamps=[T0] * 12)
    load = lab.window(topic).to_scratch("broken")
    assert balance_load(load) == {
        "sent": 12,
        "indexed": 12,
        "existing": 0,
        "rejected": 0,
        "unsent": 0,
    }
    documents = stored(load.index)
    assert [documents[f"{topic}-0-{offset}"] for offset in (0, 11)] == [{"n": 1}, {"n": 2}]
    for offset, value in enumerate(NO_OBJECTS, 1):
        document = documents[f"{topic}-0-{offset}"]
        assert document["tags"] == ["_jsonparsefailure"], value
        assert document["message"] == value.decode("utf-8", "replace")
        assert document["@timestamp"] == "2016-03-01T00:00:00.000Z"
        assert [document["labkit"][name] for name in ("topic", "partition", "offset")] == [
            topic,
            0,
            offset,
        ]


def test_two_objects_in_one_record_are_no_json_object(
    lab: Lab, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic()
    values = [b'{"n":1}{"n":2}', b'{"n":1} tail', b'{"n":1}\n{"index":{}}\n{"n":2}']
    produce(topic, values)
    load = lab.window(topic).to_scratch("double")
    balance_load(load)
    assert [document.get("tags") for document in stored(load.index).values()] == [
        ["_jsonparsefailure"]
    ] * 3


def test_a_tombstone_is_a_document_of_its_own_kind(
    lab: Lab, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic()
    produce(topic, [None, b"", b'{"n":1}'])
    load = lab.window(topic).to_scratch("tombstone")
    assert balance_load(load)["indexed"] == 3
    documents = stored(load.index)
    assert documents[f"{topic}-0-0"]["tags"] == ["_tombstone"]
    assert "message" not in documents[f"{topic}-0-0"]
    assert documents[f"{topic}-0-1"]["tags"] == ["_jsonparsefailure"]
    assert documents[f"{topic}-0-1"]["message"] == ""
    assert load.index.search(query={"term": {"tags": "_tombstone"}})["hits"]["total"]["value"] == 1


def test_json_over_several_lines_is_one_document(lab: Lab, make_topic: MakeTopic, produce: Produce):
    topic = make_topic()
    produce(topic, [json.dumps({"n": 1, "text": "a\nb"}, indent=2).encode(), b'{"n":\r\n2}\r\n'])
    load = lab.window(topic).to_scratch("lines")
    assert balance_load(load)["indexed"] == 2
    assert list(stored(load.index).values()) == [{"n": 1, "text": "a\nb"}, {"n": 2}]


# rejects ---------------------------------------------------------------------------------------------------


def test_a_mapping_conflict_is_a_reject_that_can_be_mended_and_sent_again(
    lab: Lab, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic()
    produce(
        topic,
        [b'{"user":{"nick":"a"}}', b'{"user":"b"}', b'{"user":{"nick":"c"}}', b'{"user":"d"}'],
    )
    load = lab.window(topic).to_scratch("conflict")
    assert balance_load(load) == {
        "sent": 4,
        "indexed": 2,
        "existing": 0,
        "rejected": 2,
        "unsent": 0,
    }
    assert not load.complete
    rejects = load.rejects
    assert rejects[["topic", "partition", "offset"]].values.tolist() == [
        [topic, 0, 1],
        [topic, 0, 3],
    ]
    assert rejects["status"].tolist() == [400, 400]
    assert rejects["reason"].str.contains("user").all()
    assert rejects["source"].tolist() == ['{"user":"b"}', '{"user":"d"}']

    assert lab.scratch()["shortfall"].tolist() == ["2 records were refused"]
    rejects["source"] = [{"user": {"nick": "b"}}, '{"user":"still wrong"}']
    assert load.resend(rejects) == {
        "sent": 2,
        "indexed": 1,
        "existing": 0,
        "rejected": 1,
        "unsent": 0,
    }
    assert balance_load(load) == {
        "sent": 4,
        "indexed": 3,
        "existing": 0,
        "rejected": 1,
        "unsent": 0,
    }
    assert stored(load.index)[f"{topic}-0-1"] == {"user": {"nick": "b"}}

    rejects = load.rejects
    rejects["source"] = '{"user":{"nick":"d"}}'
    load.resend(rejects)
    assert lab.scratch()["shortfall"].tolist() == [""]
    assert balance_load(load)["indexed"] == 4
    assert load.complete
    assert len(load.rejects) == 0


def test_a_cell_of_mending_run_twice_changes_no_count(
    lab: Lab, make_topic: MakeTopic, produce: Produce
) -> None:
    """What was sent is no reject any more; an index that is away keeps what it did not take."""
    topic = make_topic()
    produce(topic, [b'{"user":{"nick":"a"}}', b'{"user":"b"}', b'{"user":"c"}'])
    load = lab.window(topic).to_scratch("twice")
    mended = load.rejects.assign(source=[{"user": {"nick": "b"}}, '{"user":"still wrong"}'])
    load.resend(mended)
    assert load.resend(mended) == {
        "sent": 1,
        "indexed": 0,
        "existing": 0,
        "rejected": 1,
        "unsent": 0,
    }
    assert balance_load(load) == {
        "sent": 3,
        "indexed": 2,
        "existing": 0,
        "rejected": 1,
        "unsent": 0,
    }
    load.resend(mended.assign(source='{"user":{"nick":"c"}}'))
    load.resend(mended.assign(source='{"user":{"nick":"c"}}'))
    assert balance_load(load) == {
        "sent": 3,
        "indexed": 3,
        "existing": 0,
        "rejected": 0,
        "unsent": 0,
    }


def test_an_index_dropped_while_it_is_loaded_is_told_and_leaves_nothing_without_expiry(
    lab: Lab, make_topic: MakeTopic, produce: Produce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elasticsearch makes a dropped index anew.

    It does so as it sees fit, for the rest of the documents, and every count looks right.
    """
    topic = make_topic()
    produce(topic, number_records(3_000))
    window, index = lab.window(topic), lab.scratch_index("dropped")
    monkeypatch.setattr("labkit.replay.reader.BATCH_RECORDS", 1_000)
    put, calls = Bulk.put, []

    def drop_then_put(self: Bulk, *arguments: Any) -> None:
        if len(calls) == 2:
            # a request on its way would be refused, and tell otherwise
            until(lambda: index.count() >= sum(calls), "what was sent so far")
            index.drop()
        calls.append(len(arguments[0].ids))
        put(self, *arguments)

    monkeypatch.setattr(Bulk, "put", drop_then_put)
    with pytest.raises(NotFoundError, match="was deleted while it was loaded"):
        window.to_scratch("dropped")
    assert lab.scratch().empty
    monkeypatch.undo()


def test_fractions_are_found_as_fractions_whatever_came_first(
    lab: Lab, make_topic: MakeTopic, produce: Produce, me: str
):
    """The first value's type was the field's: of ``1`` and ``1.5`` two documents had ``1``."""
    topic = make_topic()
    first = {"x": 1, "o": {"y": 1}, "l": [1], "most": 1, "text": "a", "id": 7}
    later = {"x": 1.5, "o": {"y": 2.5}, "l": [[0.5]], "most": 2.5, "text": 2.5, "id": 2**63}
    records = [first, later, {"most": "none"}, {"text": "b"}, {"most": 4}]
    produce(topic, [json.dumps(record).encode() for record in records])
    window = lab.window(topic)
    load = window.to_scratch("fractions")
    assert [(reject["offset"], reject["status"]) for reject in load.rejects.to_dict("records")] == [
        (2, 400)
    ]
    for field, values in {
        "x": {1.0, 1.5}, "o.y": {1.0, 2.5}, "l": {1.0, 0.5}, "most": {1.0, 2.5, 4.0},
        "text": {"a", "2.5", "b"}, "id": {"7", "9223372036854775808"},
    }.items():  # fmt: skip
        assert set(load.index.agg(field)[field].dropna()) == values
    assert not any("finds and sums them cut" in note for note in load.receipt.notes)
    lab.window(topic, offsets={0: (0, 1)}).to_scratch("whole")
    late = window.to_scratch("whole")
    assert any("whole numbers in id, l, most, o.y, x" in note for note in late.receipt.notes)


def test_too_many_fields_are_a_reject_not_the_end(
    lab: Lab, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic()
    wide = json.dumps({f"field{number}": number for number in range(1500)}).encode()
    produce(topic, [b'{"n":1}', wide, b'{"n":2}'])
    load = lab.window(topic).to_scratch("wide")
    assert balance_load(load)["rejected"] == 1
    assert load.rejects["offset"].tolist() == [1]


def test_rejects_without_their_origin_or_with_broken_json_are_a_usage_error(
    lab: Lab, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic()
    produce(topic, [b'{"user":{"nick":"a"}}', b'{"user":"b"}'])
    load = lab.window(topic).to_scratch("mend")
    with pytest.raises(UsageError, match="offset"):
        load.resend(load.rejects.drop(columns="offset"))
    with pytest.raises(UsageError, match="not JSON"):
        load.resend(load.rejects.assign(source="{"))
    assert len(load.rejects) == 1


# lifetime --------------------------------------------------------------------------------------------------


def test_gc_deletes_ones_own_expired_indices_only(
    lab: Lab, make_topic: MakeTopic, produce: Produce, me: str, root: Target
):
    topic = make_topic()
    produce(topic, number_records(2))
    window = lab.window(topic)
    window.to_scratch("old", ttl="1ms")
    names = [
        window.to_scratch("new", ttl="1h").index.name,
        f"scratch-{me}-plain",
        f"scratch-{me}x-old",
    ]
    root.client.indices.create(index=names[1])
    expired = {"_meta": {"labkit": {"made_by": "another", "expires": "2020-01-01T00:00:00.000Z"}}}
    root.client.indices.create(index=names[2], mappings=expired)
    try:
        assert dict(lab.scratch().set_index("index")["expired"]) == {
            f"scratch-{me}-new": False,
            f"scratch-{me}-old": True,
            f"scratch-{me}-plain": False,
        }
        assert list(collect(lab.target())) == [f"scratch-{me}-old"]
        assert [bool(root.client.indices.exists(index=name)) for name in names] == [True] * 3
        assert not root.client.indices.exists(index=f"scratch-{me}-old")
    finally:
        root.client.indices.delete(index=names[1:])


@pytest.mark.parametrize("notes", ["mine", {"expires": 5, "incomplete": "a part"}])
def test_what_others_keep_in_place_of_labkits_notes_hides_no_index(
    notes: Any, lab: Lab, make_topic: MakeTopic, me: str, root: Target
):
    odd = lab.scratch_index(f"scratch-{me}-odd")
    root.client.indices.create(index=odd.name, mappings={"_meta": {"labkit": notes, "team": "a"}})
    lab.window(make_topic()).to_scratch("mine", ttl="1ms")
    assert set(lab.scratch()["index"]) == {odd.name, f"scratch-{me}-mine"}
    assert list(collect(lab.target())) == [f"scratch-{me}-mine"]
    odd.extend("1ms")
    assert odd.mapping()[odd.name]["_meta"]["team"] == "a"
    assert list(collect(lab.target())) == [odd.name]


def test_two_gcs_at_once_disturb_nobody(
    lab: Lab, make_topic: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = lab.window(make_topic())
    for name in ("one", "two"):
        window.to_scratch(name, ttl="1ms")
    rows = scratch_index.list_indices(lab.target())
    monkeypatch.setattr(scratch_index, "list_indices", lambda *_: rows)  # what the other saw before
    lab.scratch_index("one").drop()
    assert [name.rpartition("-")[2] for name in collect(lab.target())] == ["two"]


def test_a_later_load_puts_the_expiry_off(lab: Lab, make_topic: MakeTopic):
    window = lab.window(make_topic())
    window.to_scratch("again", ttl="1ms")
    window.to_scratch("again", ttl="1h")
    assert lab.scratch()["expired"].tolist() == [False]
    assert list(collect(lab.target())) == []


def test_the_list_says_what_each_holds(lab: Lab, make_topic: MakeTopic, produce: Produce):
    topic = make_topic()
    produce(topic, number_records(7))
    load = lab.window(topic).to_scratch("listed")
    row = lab.scratch().iloc[0]
    assert (row["index"], row["target"], row["documents"], row["topic"]) == (
        load.index.name,
        "default",
        7,
        topic,
    )
    load.index.drop()
    assert len(lab.scratch()) == 0


# what the lab may not --------------------------------------------------------------------------------------


def test_a_name_elasticsearch_would_refuse_is_refused_before_reading(
    lab: Lab, make_topic: MakeTopic
):
    window = lab.window(make_topic())
    for name in ("Upper", "with space", "a/b", "a*", "a,b", "x" * 300):
        with pytest.raises(UsageError) as caught:
            window.to_scratch(name)
        assert caught.value.hint


def test_an_index_that_is_not_the_labs_is_refused_without_asking_a_server():
    nowhere = Target("nowhere", {"hosts": ["http://127.0.0.1:9"]})
    with pytest.raises(RefusedError, match="irc-x"):
        ScratchIndex("irc-x", nowhere).drop()
    with pytest.raises(RefusedError):
        names.scratch_index("irc")


def test_another_users_prefix_becomes_part_of_ones_own_name(me: str):
    assert names.scratch_name("scratch-another-x") == f"scratch-{me}-scratch-another-x"
    assert names.scratch_name(f"scratch-{me}-x") == names.scratch_name("x") == f"scratch-{me}-x"


def test_elasticsearch_itself_refuses_the_lab_an_index_outside_scratch(lab: Lab, root: Target):
    batch = pa.RecordBatch.from_pylist(
        [{"topic": "irc", "partition": 0, "offset": 0, "value": b'{"n":1}'}], schema=RAW_SCHEMA
    )
    writer = Bulk(lab.target(), "irc-x")
    try:
        with pytest.raises(AccessError, match="may not write index 'irc-x'") as caught:
            writer.send(documents(batch))
    finally:
        writer.close()
    assert caught.value.hint
    with pytest.raises(AccessError), lab.target().errors("delete index 'irc-x'"):
        lab.target().client.indices.delete(index="irc-x")
    assert not root.client.indices.exists(index="irc-x")


def test_an_unknown_target_is_named(lab: Lab, make_topic: MakeTopic):
    with pytest.raises(ConfigError, match="es-none"):
        lab.window(make_topic()).to_scratch("x", target="es-none")


def test_a_wrong_password_or_address_is_an_error_without_the_secret(lab: Lab):
    wrong = "not-the-password-1234"
    stranger = Target("default", {"hosts": [lab.target().address], "basic_auth": ["lab", wrong]})
    away = Target("default", {"hosts": ["http://127.0.0.1:9"], "basic_auth": ["lab", wrong]})
    for target, error in ((stranger, AccessError), (away, UnavailableError)):
        with pytest.raises(LabkitError) as caught:
            target.count("scratch-x")
        assert isinstance(caught.value, error)
        assert caught.value.hint
        assert wrong not in str(caught.value) + repr(caught.value) + repr(target)
