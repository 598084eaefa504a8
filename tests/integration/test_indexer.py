"""`labkit index` as a process of its own: killed, stopped, shared, starved of its servers.

The index ends exact.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from elasticsearch.helpers import scan

from support.indexing import Bench, expected_ids, fill, goes_on, messages
from support.stack import kill_9, run_labkit
from support.waiting import until

RECORDS = 30_000


# killed and stopped --------------------------------------------------------------------------------------


@pytest.mark.chaos
def test_killed_at_any_moment_the_index_ends_exactly_equal_to_the_topic(
    bench: Bench, filled: Any
) -> None:
    topic = filled(RECORDS, 3)
    bench.start(topic).until_said("assigned partitions")
    bench.runs[-1].kill()
    for documents in (1, RECORDS // 2):
        run = bench.start(topic)
        until(lambda threshold=documents: bench.count() >= threshold, f"{documents} documents")
        run.kill()
        behind = sum(bench.committed().values())
        assert behind <= bench.count()  # never committed what is not there
    last = bench.once(topic)
    assert bench.count() == RECORDS, (last.said, last.ledger, bench.committed())
    assert bench.ids() == expected_ids(bench.admin, topic)
    assert sum(bench.committed().values()) == RECORDS


@pytest.mark.chaos
def test_sigterm_ends_well_with_all_that_was_acknowledged_committed(
    bench: Bench, filled: Any
) -> None:
    count = 150_000  # not done before the signal comes, on a busy machine too
    topic = filled(count)
    run = bench.start(topic)
    until(run.sent, "the first batch")
    assert run.stop() == 0
    assert bench.committed() == {0: run.metrics[-1]["positions"]["0"]}
    assert 0 < bench.committed()[0] < count
    assert bench.count() == bench.committed()[0] == run.ledger["indexed"]


@pytest.mark.chaos
def test_sigterm_while_idle_ends_at_once(bench: Bench, make_topic: Any) -> None:
    run = bench.start(make_topic())
    run.until_said("assigned partitions")
    began = time.monotonic()
    assert run.stop() == 0
    assert time.monotonic() - began < 60


def test_fractions_are_found_as_fractions_whatever_came_first(
    bench: Bench, make_topic: Any, produce: Any
) -> None:
    """The first value's type was the field's: of ``1`` and ``1.5`` two documents had ``1``."""
    topic = make_topic()
    produce(topic, [b'{"x":1,"late":1}'] * 300 + [b'{"x":1.5,"late":1}'])
    bench.once(topic)
    produce(topic, [b'{"x":2,"late":1.5,"new":1}', b'{"new":2.5}'])
    run = bench.once(topic)
    assert any("whole numbers in late" in line for line in run.said), run.said
    bench.count()
    for field, values in {"x": {1.0, 1.5, 2.0}, "new": {1.0, 2.5}}.items():
        buckets = bench.client.search(
            index=bench.index, size=0, aggs={"by": {"terms": {"field": field}}}
        )["aggregations"]["by"]["buckets"]
        assert {bucket["key"] for bucket in buckets} == values


def test_a_record_that_a_condition_cannot_be_asked_of_is_a_dead_letter(
    bench: Bench, make_topic: Any, produce: Any, tmp_path: Path
) -> None:
    """It ended the run, and each one after it, for it came again."""
    topic, letters = make_topic(), tmp_path / "letters.jsonl"
    produce(topic, [b'{"n":7}', b'{"m":1}', b'{"n":"x"}', b'{"n":8}', b'{"n":1}'])
    run = bench.once(topic, "--where", "n > 5", "--dead-letter", str(letters), code=3)
    assert run.ledger == {"sent": 3, "indexed": 2, "existing": 0, "rejected": 1, "unsent": 0}
    (letter,) = map(json.loads, letters.read_text().splitlines())
    assert (letter["offset"], letter["type"]) == (2, "where")
    assert (bench.count(), bench.committed()) == (2, {0: 5})


# where it begins -----------------------------------------------------------------------------------------


def test_a_second_run_reads_only_what_is_new(bench: Bench, filled: Any, produce: Any) -> None:
    topic = filled(1000, 2)
    first = bench.once(topic)
    assert first.ledger == {
        "sent": 1000,
        "indexed": 1000,
        "existing": 0,
        "rejected": 0,
        "unsent": 0,
    }
    produce(topic, messages(10), partition=1)
    second = bench.once(topic)
    assert second.ledger == {"sent": 10, "indexed": 10, "existing": 0, "rejected": 0, "unsent": 0}
    assert bench.once(topic).sent() == 0
    assert bench.count() == 1010


def test_from_earliest_reads_all_again_and_changes_nothing(bench: Bench, filled: Any) -> None:
    topic = filled(1000, 2)
    bench.once(topic)
    bench.client.indices.refresh(index=bench.index)
    before = {
        hit["_id"]: hit["_version"] for hit in scan(bench.client, index=bench.index, version=True)
    }
    assert len(before) == 1000
    again = bench.once(topic, "--from", "earliest")
    assert again.ledger == {
        "sent": 1000,
        "indexed": 0,
        "existing": 1000,
        "rejected": 0,
        "unsent": 0,
    }
    assert {
        hit["_id"]: hit["_version"] for hit in scan(bench.client, index=bench.index, version=True)
    } == before


def test_from_latest_reads_only_what_comes(bench: Bench, filled: Any, produce: Any) -> None:
    topic = filled(1000)
    run = bench.start(topic, "--from", "latest")
    run.until_said("assigned partitions 0@1000")
    produce(topic, messages(5))
    until(lambda: run.sent() == 5, "five records")
    assert run.stop() == 0
    assert bench.ids() == {f"{topic}-0-{offset}" for offset in range(1000, 1005)}


def test_where_latest_began_is_remembered(bench: Bench, filled: Any, produce: Any) -> None:
    topic = filled(1000)
    assert bench.once(topic, "--from", "latest").sent() == 0
    produce(topic, messages(3))
    assert bench.once(topic).sent() == 3


def test_records_that_expired_unread_are_named(bench: Bench, filled: Any) -> None:
    topic = filled(100)
    bench.once(topic)
    bench.admin.ask(
        lambda client: client.delete_records([TopicPartition(topic, 0, 90)]), what="delete records"
    )
    consumer = bench.admin.consumer(group=bench.group)
    consumer.commit(offsets=[TopicPartition(topic, 0, 40)], asynchronous=False)
    consumer.close()
    run = bench.once(topic)
    assert "partition 0: 50 offsets were deleted before they were indexed" in run.said
    assert run.sent() == 10


# where it ends -------------------------------------------------------------------------------------------


def test_once_ends_on_an_empty_topic(bench: Bench, make_topic: Any) -> None:
    assert bench.once(make_topic(3)).ledger["sent"] == 0


def test_what_once_wrote_is_visible_when_it_ends(bench: Bench, filled: Any) -> None:
    bench.client.indices.create(index=bench.index, settings={"refresh_interval": "-1"})
    assert bench.once(filled(20)).sent() == 20
    assert bench.client.count(index=bench.index)["count"] == 20


def test_once_ends_where_the_last_offset_is_a_transaction_marker(
    bench: Bench, make_topic: Any
) -> None:
    topic = make_topic()
    producer = bench.admin.producer(transactional_id=f"test-{uuid.uuid4().hex}")
    producer.init_transactions(30)
    for finish in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        for value in messages(5):
            producer.produce(topic, value)
        producer.flush(30)  # abort would drop what is not sent yet
        finish(30)
    assert bench.once(topic).ledger["indexed"] == 5
    assert bench.ids() == {f"{topic}-0-{offset}" for offset in range(5)}
    assert bench.committed() == {0: 12}  # past both markers: no lag is left


def test_once_ends_before_an_open_transaction(bench: Bench, filled: Any) -> None:
    topic = filled(10)
    producer = bench.admin.producer(transactional_id=f"test-{uuid.uuid4().hex}")
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in messages(5):
        producer.produce(topic, value)
    producer.flush(30)
    assert bench.once(topic).ledger["indexed"] == 10
    producer.commit_transaction(30)
    assert bench.once(topic).ledger["indexed"] == 5


@pytest.mark.chaos
def test_once_waits_for_the_partitions_of_a_member_killed_while_it_joined(
    bench: Bench, filled: Any
) -> None:
    topic = filled(300, 3)
    # the second waits for the broker to miss the first; nobody tells the broker it died too
    for members in (1, 2):
        run = bench.start(topic)
        until(lambda count=members: len(bench.owners()) == count, f"{members} members")
        if members == 1:
            run.until_said("assigned partitions")
        run.kill()
    bench.once(topic)
    assert bench.count() == 300
    assert bench.committed() == {0: 100, 1: 100, 2: 100}


def test_once_ends_though_another_instance_holds_partitions(bench: Bench, filled: Any) -> None:
    topic = filled(100, 2)
    other_run = bench.start(topic)
    until(lambda: other_run.sent() == 100, "the first instance's reading")
    assert bench.start(topic, "--once").ended(90) == 0


# two at once ---------------------------------------------------------------------------------------------


@pytest.mark.chaos
def test_two_instances_share_the_partitions_and_nothing_is_lost_with_one(
    bench: Bench, filled: Any, produce: Any
) -> None:
    topic = filled(10_000, 4)
    first, second = bench.start(topic), bench.start(topic)
    until(lambda: bench.owners() == [2, 2], "an even share")
    produce(topic, messages(5_000), partition=0)
    produce(topic, messages(5_000), partition=3)
    first.kill()
    produce(topic, messages(1_000), partition=1)
    until(lambda: bench.count() == 21_000, "all documents")
    until(lambda: bench.owners() == [4], "the second one's partitions")
    assert second.stop() == 0
    assert bench.ids() == expected_ids(bench.admin, topic)
    assert sum(bench.committed().values()) == 21_000


# what is no document -------------------------------------------------------------------------------------

MALFORMED = [
    b"not json",
    b"[1, 2]",
    b'"text"',
    b"5",
    b"null",
    b"true",
    b"",
    b"   ",
    b"\n",
    b"{",
    b'{"a": 1',
    b'{"a": 1} {"b": 2}',
    b'{"a": 1}, trailing',
    b"\xff\xfe\x00",
    b'{"index": {"_index": "irc-test-injected"}}\n{"a": 1}',
    b'{"a": "\xff"}',
]
UNUSUAL = [
    b"{}",
    b'{\n  "a": 1,\n  "b": 2\n}\n',
    b'{"c": "line\\nline"}',
    '{"d": "żółć 🎉"}'.encode(),
    b'{"create": {"_id": "x"}}',
    b' {"a": 1} \r',
    '{"e": "within \ufeff and \uffff", "\ufeff": 1}'.encode(),
]


def test_what_is_no_json_object_becomes_a_tagged_document(
    bench: Bench, make_topic: Any, produce: Any
) -> None:
    topic = make_topic()
    produce(topic, [*MALFORMED, b"{}"])
    run = bench.once(topic)
    total = len(MALFORMED) + 1
    assert run.ledger == {
        "sent": total,
        "indexed": total,
        "existing": 0,
        "rejected": 0,
        "unsent": 0,
    }
    assert bench.count() == total
    assert not bench.client.indices.exists(index="irc-test-injected")
    documents = {row: bench.document(topic, row) for row in range(len(MALFORMED))}
    assert [
        row for row, entry in documents.items() if entry.get("tags") != ["_jsonparsefailure"]
    ] == []
    assert [entry["message"] for entry in documents.values()] == [
        value.decode("utf-8", "replace") for value in MALFORMED
    ]
    assert all(
        entry["labkit"]["topic"] == topic and entry["labkit"]["offset"] == row
        for row, entry in documents.items()
    )


def test_an_unusual_object_stays_what_it_is(bench: Bench, make_topic: Any, produce: Any) -> None:
    topic = make_topic()
    produce(topic, UNUSUAL)
    assert bench.once(topic).ledger["indexed"] == len(UNUSUAL)
    assert [bench.document(topic, row) for row in range(len(UNUSUAL))] == [
        json.loads(value) for value in UNUSUAL
    ]


POISON = [
    b'\xef\xbb\xbf{"a": 1}',
    '{"a": 1}'.encode("utf-16-le"),
    '{"a": 1}'.encode("utf-16-be"),
    '{"a": 1}'.encode("utf-16"),
    '{"a": 1}'.encode("utf-32-le"),
]


def test_json_that_is_not_utf_8_does_not_spoil_the_index(
    bench: Bench, make_topic: Any, produce: Any
) -> None:
    """Elasticsearch reads these encodings and keeps the bytes.

    They then stand in the middle of its UTF-8 answers.
    """
    topic = make_topic()
    produce(topic, [*POISON, b'{"a": 2}'])
    assert bench.once(topic).ledger["indexed"] == len(POISON) + 1
    bench.client.indices.refresh(index=bench.index)
    for row in range(len(POISON) + 1):
        assert bench.document(topic, row)
    assert len(bench.client.search(index=bench.index)["hits"]["hits"]) == len(POISON) + 1


def test_a_tombstone_is_tagged_and_is_not_an_empty_value(
    bench: Bench, make_topic: Any, produce: Any
) -> None:
    topic = make_topic()
    produce(topic, [None, b"", b'{"a": 1}'])
    bench.once(topic)
    tombstone, empty = bench.document(topic, 0), bench.document(topic, 1)
    assert tombstone["tags"] == ["_tombstone"]
    assert "message" not in tombstone
    assert (empty["tags"], empty["message"]) == (["_jsonparsefailure"], "")


def test_a_batch_of_nothing_but_malformed_records_goes_through(
    bench: Bench, make_topic: Any, produce: Any
) -> None:
    topic = make_topic()
    produce(topic, [b"{%d" % i for i in range(2000)])
    assert bench.once(topic).ledger["indexed"] == 2000


CONFLICT = [
    b'{"n": 1}',
    b'{"n": 2}',
    b'{"n": "many"}',
    b'{"n": 4}',
    b'{"n": {"a": 1}}',
    b'{"n": 6}',
]


@pytest.fixture
def conflict(bench: Bench, make_topic: Any, produce: Any) -> str:
    """A topic two of whose records do not fit the index's mapping."""
    topic = make_topic()
    bench.client.indices.create(index=bench.index, mappings={"properties": {"n": {"type": "long"}}})
    produce(topic, CONFLICT)
    return str(topic)


def test_a_mapping_conflict_is_put_aside_with_its_origin_and_the_rest_goes_on(
    bench: Bench, conflict: str, produce: Any, tmp_path: Path
) -> None:
    letters = tmp_path / "dead.jsonl"
    run = bench.once(conflict, "--dead-letter", str(letters), code=3)
    assert run.ledger == {"sent": 6, "indexed": 4, "existing": 0, "rejected": 2, "unsent": 0}
    letters_ = [json.loads(line) for line in letters.read_text().splitlines()]
    assert [(entry["topic"], entry["partition"], entry["offset"]) for entry in letters_] == [
        (conflict, 0, 2),
        (conflict, 0, 4),
    ]
    assert [entry["source"].encode() for entry in letters_] == [CONFLICT[2], CONFLICT[4]]
    assert all(entry["reason"] and entry["status"] == 400 for entry in letters_)
    assert bench.committed() == {0: 6}
    produce(conflict, [b'{"n": 7}'])
    assert bench.once(conflict, "--dead-letter", str(letters)).ledger["indexed"] == 1
    assert len(letters.read_text().splitlines()) == 2


def test_without_a_dead_letter_file_a_mapping_conflict_ends_the_run_and_is_not_passed_over(
    bench: Bench, conflict: str
) -> None:
    run = bench.once(conflict, code=1)
    (line,) = [line for line in run.said if line.startswith("labkit: ")]
    assert f"{conflict}-0-2 was refused" in line
    assert run.said[-1].startswith("Hint: give --dead-letter FILE")
    assert bench.committed().get(0, 0) <= 2


@pytest.mark.parametrize("path", ["/nonexistent/dead.jsonl", "/tmp"])
def test_a_dead_letter_file_that_cannot_be_written_is_refused_before_anything_is_read(
    path: str, bench: Bench, conflict: str
) -> None:
    run = bench.start(conflict, "--once", "--dead-letter", path)
    assert run.ended() in (1, 2)
    assert not [line for line in run.said if "Traceback" in line]
    assert not run.metrics
    assert bench.count() == 0


def test_a_group_it_may_not_join_is_refused_before_an_index_is_made(
    bench: Bench, filled: Any
) -> None:
    topic, letters = filled(10), f"{bench.index}-letters"
    bench.group = f"not-the-indexers.{bench.group}"
    run = bench.once(topic, "--dead-letter", f"index:{letters}", code=1)
    assert any(
        f"may not read topic {topic!r} as group {bench.group!r}" in line for line in run.said
    ), run.said
    assert not bench.client.indices.exists(index=f"{bench.index}*", allow_no_indices=False)


def test_nothing_but_its_own_lines_is_on_standard_error(bench: Bench, filled: Any) -> None:
    run = bench.once(filled(100))
    assert [
        line for line in run.said if not re.match(r"(assigned|gave up) partitions ", line)
    ] == []


# servers that go away ------------------------------------------------------------------------------------


@pytest.mark.chaos
def test_elasticsearch_killed_while_indexing_is_waited_for_and_said_once(
    hospital: Bench, second_opinion: Bench, mortal: Path, wide: str
) -> None:
    """A second indexer is told to end while it waits.

    It ends, and what it had not written comes next time.
    """
    run, other_run = hospital.start(wide), second_opinion.start(wide)
    until(lambda: run.sent() and other_run.sent(), "the first batches")
    kill_9(mortal, "elasticsearch")
    fill(hospital, wide, 1_000, 2)  # so that something surely waits
    for one in (run, other_run):
        one.until_said("waiting for Elasticsearch: no answer from Elasticsearch")
    assert other_run.stop() == 0
    run_labkit(mortal, "up")
    run.until_said("Elasticsearch answers again")
    goes_on(hospital, run, wide, RECORDS + 1_000)
    assert len([line for line in run.said if line.startswith("waiting")]) == 1
    second_opinion.once(wide)
    assert second_opinion.ids() == expected_ids(hospital.admin, wide)


@pytest.mark.chaos
def test_kafka_killed_while_indexing_is_waited_for(
    hospital: Bench, mortal: Path, wide: str
) -> None:
    run = hospital.start(wide)
    until(run.sent, "the first batch")
    kill_9(mortal, "kafka")
    run_labkit(mortal, "up")
    fill(hospital, wide, 1_000, 2)
    goes_on(hospital, run, wide, RECORDS + 1_000)
