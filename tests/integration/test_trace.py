"""One record followed through real servers: each reason why it is not where it is missed."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.serialization import MessageField

import labkit
from labkit import cli
from labkit.elastic import Target
from labkit.errors import NotFoundError, UsageError
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.stack.state import State
from labkit.trace.result import Trace
from support.registry import avro_schema, avro_values
from support.waiting import until

Make, Produce = Callable[..., str], Callable[..., None]


@pytest.fixture
def index(stack: State) -> Iterator[Any]:
    """A production index, and the client of an administrator who writes to it."""
    client = Target("default", stack.credentials("admin")["elasticsearch"]).client
    name = f"irc-test-trace-{uuid.uuid4().hex[:8]}"
    client.indices.create(index=name)
    yield name, client
    client.indices.delete(index=name)


@pytest.fixture
def topic(make_topic: Make, produce: Produce) -> str:
    name = make_topic()
    values: list[bytes | None] = [b'{"n": %d, "nick": "u%d"}' % (n, n) for n in range(4)]
    produce(name, [*values, None], keys=[b"a", b"b", b"c", b"a", b"a"])
    return name


def codes(found: Trace) -> dict[str, str]:
    return {step.place: step.code for step in found.steps}


def test_a_record_that_is_where_it_should_be(
    lab: Lab, admin: Cluster, topic: str, index: Any
) -> None:
    name, client = index
    client.index(
        index=name, id=f"{topic}-0-1", document={"n": 1, "nick": "u1", "geo": "AT"}, refresh=True
    )
    group = f"indexer.{uuid.uuid4().hex[:8]}"
    consumer = admin.consumer(group=group)
    consumer.commit(offsets=[TopicPartition(topic, 0, 2)], asynchronous=False)
    consumer.close()
    trace = lab.trace(topic, 0, 1, index=name, group=group, where="n = 1")
    assert codes(trace) == {
        "topic": "found",
        "condition": "fulfilled",
        "group": "passed",
        "index": "found",
    }
    assert trace.verdict == f"It is in index {name}, under its _id."
    assert "committed 2, which is past it" in str(trace)
    assert "added: geo" in str(trace)
    assert trace.record is not None
    assert trace.record.table["nick"].to_pylist() == ["u1"]
    assert trace.to_pandas()["state"].tolist() == ["yes"] * 4
    assert trace.id in trace._repr_html_()
    late = lab.trace(topic, 0, 2, index=name, group=group)
    assert codes(late) == {"topic": "found", "group": "not reached", "index": "missing"}
    assert late.verdict == f"It is not in index {name}: {group} has not come to it yet."
    lost = lab.trace(topic, 0, 0, index=name, group=group)
    assert "has passed it, so it was written elsewhere, left out, or deleted since" in lost.verdict
    assert "leaves it out" in lab.trace(topic, 0, 0, index=name, group=group, where="n > 0").verdict
    nobody = lab.trace(topic, 0, 0, group="indexer.nobody-has-this")
    assert codes(nobody)["group"] == "no group"
    assert nobody.verdict == "It is in the topic; there is no group indexer.nobody-has-this."
    unseen = lab.trace(topic, 0, 2, index="not-for-the-lab", group=group)
    assert unseen.verdict == (
        f"It is not known whether it is in index not-for-the-lab; {group} has not come to it yet."
    )
    near = lab.trace(topic, 0, 0, group=f"{group}x")
    assert f"did you mean '{group}'?" in str(near)
    admin.admin.delete_consumer_groups([group])[group].result(15)


def test_what_an_index_s_condition_leaves_out_is_filtered_and_not_missing(
    lab: Lab, topic: str
) -> None:
    """Of the index's own mapping; compare knows it too.

    An index of loads with several conditions says none.
    """
    window = lab.window(topic)
    load = window.to_scratch("trace-where", where="n >= 2")
    name = load.index.name
    try:
        left_out, indexed = (lab.trace(topic, 0, offset, index=name) for offset in (1, 2))
        assert codes(left_out) == {"topic": "found", "condition": "filtered", "index": "missing"}
        assert left_out.verdict == f"It is not in index {name}: the condition leaves it out."
        assert f"it does not fulfil n >= 2, the condition that {name} was made with" in str(
            left_out
        )
        assert codes(indexed) == {"topic": "found", "condition": "fulfilled", "index": "found"}
        for side in (window, window.read()):
            comparison = lab.compare(side, load.index, latency=False)
            assert (comparison.same, len(comparison.only_left), len(comparison.only_right)) == (
                2,
                0,
                0,
            )
            assert (
                "3 records do not fulfil n >= 2, the condition that the index was made with"
                in comparison.summary()
            )
        again = window.to_scratch("trace-where", where="n >= 1")
        assert again.counts["indexed"] == 1
        assert codes(lab.trace(topic, 0, 0, index=name)) == {"topic": "found", "index": "missing"}
        assert lab.compare(window, again.index, latency=False).same == 3
    finally:
        load.index.drop()


def test_a_field_that_the_record_has_not_is_null_to_the_condition(lab: Lab, topic: str) -> None:
    """As in a window: it is left out, and that is no error."""
    tombstone = lab.trace(topic, 0, 4, where="n = 1")
    assert codes(tombstone) == {"topic": "found", "condition": "filtered"}
    assert "it does not fulfil n = 1; it has no n" in str(tombstone)
    assert codes(lab.trace(topic, 0, 4, where="n is null"))["condition"] == "fulfilled"
    load = lab.window(topic).to_scratch("trace-lacking", where="n >= 2")
    try:
        left_out = lab.trace(topic, 0, 4, index=load.index)
        assert left_out.verdict.endswith("the condition leaves it out.")
    finally:
        load.index.drop()


def test_a_document_that_was_overwritten(lab: Lab, topic: str, index: Any) -> None:
    name, client = index
    for n in (1, 3):
        client.index(index=name, id="a", document={"n": n, "nick": f"u{n}"}, refresh=True)
    trace = lab.trace(topic, 0, 0, index=name, document_id="a")
    assert codes(trace)["index"] == "overwritten"
    assert (
        "version 2; other than in the record: n, nick; a later record of its key is partition 0 offset 4"
        in str(trace)
    )
    assert trace.verdict == f"It is in index {name}, and was overwritten by a later record."
    for n in (0, 1):  # a later record has the key of the first, but another _id
        client.index(
            index=name, id=f"{topic}-0-{n}", document={"n": 7, "nick": f"u{n}"}, refresh=True
        )
        changed = lab.trace(topic, 0, n, index=name)
        assert codes(changed)["index"] == "changed"
        assert str(changed).splitlines()[2].endswith("record: n")


def test_a_document_of_avro_is_compared_as_the_index_was_made(
    lab: Lab, index: Any, make_topic: Make, produce: Produce, registry_url: str
) -> None:
    """It was "in the index" without a word, as if it were the same."""
    _, client = index
    topic = make_topic()
    orders = [{"id": n, "nick": f"u{n}"} for n in range(2)]
    produce(topic, avro_values(topic, avro_schema(id="int", nick="string"), *orders))
    name = lab.window(topic).to_scratch("trace-avro", decode="avro", metadata=True).index.name
    try:
        assert codes(lab.trace(topic, 0, 0, index=name))["index"] == "found"
        assert "not compared" not in str(lab.trace(topic, 0, 0, index=name))
        client.update(index=name, id=f"{topic}-0-1", doc={"nick": "other"}, refresh=True)
        changed = lab.trace(topic, 0, 1, index=name)
        assert codes(changed)["index"] == "changed"
        assert "other than in the record: nick" in str(changed)
        assert "nick: u1 in the record, other in the document" in changed._repr_html_()
    finally:
        labkit.ScratchIndex(name, lab.index(name).target).drop()
    name, _ = index  # it does not say how its documents were made
    client.index(index=name, id=f"{topic}-0-0", document={"id": 0}, refresh=True)
    trace = lab.trace(topic, 0, 0, index=name)
    assert codes(trace)["index"] == "found"
    assert "not compared with the record" in str(trace)


def test_a_record_of_avro_is_shown_asked_and_compared_as_it_is_decoded(
    lab: Lab, index: Any, make_topic: Make, produce: Produce, registry_url: str, capsys: Any
) -> None:
    """The index does not say how its documents were made; the second record is torn."""
    name, client = index
    topic = make_topic()
    hostile = "<img src=x onerror=alert(1)>"
    schema = avro_schema(id="int", nick="string")
    values = avro_values(topic, schema, {"id": 1, "nick": hostile}, {"id": 2, "nick": "u2"})
    keys = avro_values(topic, avro_schema(shop="int"), {"shop": 7}, of=MessageField.KEY) * 2
    produce(topic, [values[0], values[1][:-1]], keys=keys)
    for n in range(2):
        document = {"id": n + 1, "nick": hostile}
        client.index(index=name, id=f"{topic}-0-{n}", document=document, refresh=True)
    undecoded = lab.trace(topic, 0, 0, index=name)
    assert "needs the schema registry" in str(undecoded)
    assert "not compared with the record" in str(undecoded)
    raw = lab.trace(topic, 0, 0, index=name, decode="raw")
    assert "not compared with the record" in str(raw)
    for decode in ("avro", "auto"):
        trace = lab.trace(topic, 0, 0, index=name, decode=decode, key_decode="avro", where="id = 1")
        assert "decoded" not in str(trace)
        assert trace.steps[0].details[:2] == ("id: 1", f"nick: {hostile}")
        assert "_key_shop: 7" in trace.steps[0].details
        assert not [line for line in trace.steps[0].details if line.startswith("_value")]
        assert codes(trace) == {"topic": "found", "condition": "fulfilled", "index": "found"}
        assert "not compared" not in str(trace)
    assert "nick: &lt;img" in trace._repr_html_()
    assert "<img" not in trace._repr_html_()
    client.update(index=name, id=f"{topic}-0-0", doc={"nick": "other"}, refresh=True)
    changed = lab.trace(topic, 0, 0, index=name, decode="avro", where="id > 1")
    assert codes(changed) == {"topic": "found", "condition": "filtered", "index": "changed"}
    assert "other than in the record: nick" in str(changed)
    torn = lab.trace(topic, 0, 1, index=name, decode="avro", where="id = 2")
    assert codes(torn) == {"topic": "found", "condition": "not seen", "index": "found"}
    assert "not decoded: " in torn.steps[0].text
    assert "not known, since it is not decoded: id = 2" in str(torn)
    assert "not compared with the record" in str(torn)
    assert torn.steps[0].details[-1].startswith("_value: \\u0000")
    lost = lab.trace(topic, 0, 1, index=name, decode="avro", where="id = 2", document_id="none")
    assert lost.verdict == (
        f"It is not in index {name}: the condition could not be asked, since its record is not decoded."
    )
    capsys.readouterr()
    asked = ["--decode", "avro", "--key-decode", "avro", "--where", "id = 1"]
    assert cli.main(["trace", topic, "0:0", *asked]) == 0
    assert "it fulfils id = 1" in capsys.readouterr().out
    with pytest.raises(UsageError, match="'avor' is not a decoder"):
        lab.trace(topic, 0, 0, decode="avor")


def test_an_index_made_by_a_function_is_compared_by_it(
    lab: Lab, make_topic: Make, produce: Produce
) -> None:
    """The index cannot keep a function: whoever asks names it."""

    def pairs(value: bytes) -> dict[str, str]:
        name, _, text = value.decode().partition("=")
        return {name: text}

    topic = make_topic()
    produce(topic, [b"n=1", b"n=2"])
    load = lab.window(topic).to_scratch("trace-own", decode=pairs, where="n = '2'")
    try:
        unknown = lab.trace(topic, 0, 1, index=load.index)
        assert codes(unknown) == {"topic": "found", "index": "found"}
        assert "not compared with the record" in str(unknown)
        asked = [lab.trace(topic, 0, n, index=load.index, decode=pairs) for n in range(2)]
        assert asked[1].steps[0].details[0] == "n: 2"
        assert codes(asked[1])["condition"] == "fulfilled"
        assert "not compared" not in str(asked[1])
        assert codes(asked[0])["condition"] == "filtered"
    finally:
        load.index.drop()


def test_a_key_finds_its_newest_record(lab: Lab, topic: str) -> None:
    trace = lab.trace(topic, key="a")
    assert (trace.partition, trace.offset) == (0, 4)
    assert "a tombstone" in str(trace)
    assert lab.trace(topic, key="c").offset == 2
    missing = lab.trace(topic, key="[")
    assert missing.offset is None
    assert "no record of the topic has the key '['" in missing.verdict


def test_why_a_record_is_not_in_the_topic(
    lab: Lab, admin: Cluster, topic: str, produce: Produce, index: Any
) -> None:
    name, client = index
    producer = admin.producer(transactional_id=topic)
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b'{"n": 5}', partition=0)
    producer.flush(30)
    assert codes(lab.trace(topic, 0, 5)) == {"topic": "open"}
    producer.abort_transaction(30)
    until(lambda: codes(lab.trace(topic, 0, 5)) == {"topic": "aborted"}, "the abort")
    assert "never shows it" in str(lab.trace(topic, 0, 5))
    assert codes(lab.trace(topic, 0, 6)) == {"topic": "marker"}
    assert codes(lab.trace(topic, 0, 99)) == {"topic": "future"}
    client.index(index=name, id=f"{topic}-0-0", document={"n": 0}, refresh=True)
    admin.ask(lambda one: one.delete_records([TopicPartition(topic, 0, 2)]), what="delete records")
    gone = lab.trace(topic, 0, 0, index=name)
    assert codes(gone) == {"topic": "expired", "index": "found"}
    assert "the partition begins at offset 2 now" in str(gone)
    assert gone.verdict.endswith("its record is no longer in the topic.")
    assert (
        lab.trace(topic, 0, 1, index=name).verdict
        == f"It is not in index {name}: its record is deleted from the topic."
    )


def test_a_compacted_record_is_told_from_a_missing_one(
    lab: Lab, make_topic: Make, produce: Produce
) -> None:
    topic = make_topic(cleanup_policy="compact", segment_ms="200", min_cleanable_dirty_ratio="0.01",
                       max_compaction_lag_ms="500")  # fmt: skip
    produce(topic, [b'{"n": 1}', b'{"n": 2}'], keys=[b"k", b"k"])
    time.sleep(0.5)
    produce(topic, [b'{"n": 3}'], keys=[b"k"])
    time.sleep(0.5)
    produce(topic, [b'{"n": 4}'], keys=[b"other"])
    until(lambda: codes(lab.trace(topic, 0, 0))["topic"] == "compacted", "compaction", timeout_s=90)
    assert codes(lab.trace(topic, 0, 3))["topic"] == "found"


def test_dead_letters_in_a_file_and_an_index(
    lab: Lab, topic: str, index: Any, tmp_path: Path
) -> None:
    name, client = index
    letter = {
        "topic": topic,
        "partition": 0,
        "offset": 2,
        "status": 400,
        "reason": "failed to parse field [n]",
    }
    file = tmp_path / "dead.jsonl"
    file.write_text(
        '{"torn\n' + json.dumps({**letter, "offset": 1}) + "\n" + json.dumps(letter) + "\n"
    )
    trace = lab.trace(topic, 0, 2, index=name, dead_letters=file)
    assert codes(trace) == {"topic": "found", "index": "missing", "dead letters": "refused"}
    assert "it was refused" in trace.verdict
    assert "failed to parse field [n]" in trace.verdict
    assert codes(lab.trace(topic, 0, 3, dead_letters=str(file)))["dead letters"] == "none"
    client.index(index=name, id=f"{topic}-0-2", document=letter, refresh=True)
    assert codes(lab.trace(topic, 0, 2, dead_letters=f"index:{name}"))["dead letters"] == "refused"


def test_what_cannot_be_asked_and_what_cannot_be_seen(lab: Lab, topic: str) -> None:
    for odd in ({}, {"partition": 0}, {"partition": 0, "offset": 1, "key": "a"}):
        with pytest.raises(UsageError, match="partition and offset, or its key"):
            lab.trace(topic, **odd)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no partition 7"):
        lab.trace(topic, 7, 0)
    with pytest.raises(UsageError, match="where="):
        lab.trace(topic, 0, 0, where="n ==== 1")
    with pytest.raises(NotFoundError, match="no topic"):
        lab.trace("irc-test-no-such-topic", 0, 0)
    trace = lab.trace(topic, 0, 0, index="irc-no-such-index", dead_letters="/no/such/file")
    assert codes(trace) == {"topic": "found", "index": "no such place", "dead letters": "not seen"}
    hidden = lab.trace(topic, 0, 0, index="secret-of-others")
    assert codes(hidden)["index"] in ("not seen", "no such place")


def test_the_command_traces_by_place_and_by_key(
    topic: str, index: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    name, _ = index
    capsys.readouterr()
    assert cli.main(["trace", topic, "0:1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "= It is in the topic."
    assert cli.main(["trace", topic, "0:1", "--index", name, "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert [step["code"] for step in answer["steps"]] == ["found", "missing"]
    assert cli.main(["trace", topic, "--key", "b"]) == 0
    assert cli.main(["trace", topic, "one"]) == cli.main(["trace", topic]) == 2
