"""A window of a real topic is read to its frozen end.

Else the receipt says where and why it stopped.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition

from labkit.errors import IncompleteError, UsageError
from labkit.groups.offsets import list_groups
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.replay.reader import Reading
from support.records import number_records
from support.replays import balanced, offsets
from support.waiting import until

T0 = 1_456_790_400_000  # 2016-03-01T00:00:00Z
Produce = Callable[..., None]
MakeTopic = Callable[..., str]


@contextmanager
def transaction(
    admin: Cluster, topic: str, values: list[bytes], *, partition: int = 0
) -> Iterator[Producer]:
    """Write `values` in a transaction that is left open; the block ends it as it likes."""
    producer = admin.producer(transactional_id=f"labkit-test-{uuid.uuid4().hex}", linger_ms=0)
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(30) == 0
    yield producer


def committed(admin: Cluster, topic: str, values: list[bytes], **where: int) -> None:
    with transaction(admin, topic, values, **where) as producer:
        producer.commit_transaction(30)
    settled(admin, topic)


def aborted(admin: Cluster, topic: str, values: list[bytes], **where: int) -> None:
    with transaction(admin, topic, values, **where) as producer:
        producer.abort_transaction(30)
    settled(admin, topic)


def settled(admin: Cluster, topic: str) -> None:
    """Wait for the markers, which the broker writes a moment after the commit was acknowledged."""
    until(lambda: admin.bounds(topic, [0], "stable") == admin.bounds(topic, [0], "latest"))


# transactions (behaviours 1, 3, 4) -------------------------------------------------------------------------


def test_a_window_whose_last_offset_is_a_marker_is_complete_at_once(
    lab: Lab, admin: Cluster, make_topic: MakeTopic
):
    topic = make_topic()
    for number in range(3):
        committed(admin, topic, number_records(3 if number < 2 else 2, 3 * number))
    window = lab.window(topic)
    assert window.offsets == {0: (0, 11)}  # data 0-2, 4-6, 8-9; markers 3, 7, 10
    replay = window.read(deadline="20s")  # which would end it as not complete
    assert offsets(replay.table) == [0, 1, 2, 4, 5, 6, 8, 9]
    receipt = balanced(replay.receipt)
    assert receipt.complete
    assert (receipt.read, receipt.gaps) == (8, 3)


def test_a_window_of_markers_only_is_complete_and_empty(
    lab: Lab, admin: Cluster, make_topic: MakeTopic
):
    topic = make_topic()
    committed(admin, topic, number_records(2))
    replay = lab.window(topic, offsets={0: (2, 3)}).read(deadline="20s")
    assert replay.receipt.complete
    assert balanced(replay.receipt).gaps == 1


def test_an_open_transaction_ends_the_read_early_and_is_named(
    lab: Lab, admin: Cluster, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic()
    produce(topic, number_records(4))
    with transaction(admin, topic, number_records(5, 4)) as producer:
        produce(topic, number_records(2, 9))
        window = lab.window(topic)
        early = window.read(deadline="20s")
        producer.commit_transaction(30)
    settled(admin, topic)
    late = window.read(deadline="20s")
    # the plan goes to the real end, not to the last stable offset
    assert window.offsets == {0: (0, 11)}
    assert offsets(early.table) == [0, 1, 2, 3]
    assert not early.receipt.complete
    assert early.receipt.reasons == {"open_transaction": [0]}
    assert early.receipt.partitions[0].stop_offset == 4
    assert balanced(early.receipt).unread == 7
    assert "open transaction" in str(early.receipt)
    assert "0@4" in str(early.receipt)
    assert late.receipt.complete
    assert offsets(late.table) == list(range(11))


def test_batches_raise_at_their_end_when_a_transaction_is_open(
    lab: Lab, admin: Cluster, make_topic: MakeTopic
):
    topic = make_topic()
    with transaction(admin, topic, number_records(3)) as producer:
        with pytest.raises(IncompleteError, match="open_transaction") as caught:
            list(lab.window(topic).batches(deadline="20s"))
        producer.abort_transaction(30)
    assert balanced(caught.value.receipt).unread == 3


def test_isolation_is_in_the_receipt_and_differs_by_the_aborted_records(
    lab: Lab, admin: Cluster, make_topic: MakeTopic
):
    topic = make_topic()
    committed(admin, topic, number_records(3))
    aborted(admin, topic, number_records(4, 3))
    committed(admin, topic, number_records(2, 7))
    window = lab.window(topic)
    shown = {
        level: window.read(isolation=level) for level in ("read_committed", "read_uncommitted")
    }
    for level, replay in shown.items():
        assert replay.receipt.isolation == level
        assert level in str(replay.receipt)
        assert balanced(replay.receipt).complete
    assert offsets(shown["read_committed"].table) == [0, 1, 2, 9, 10]  # markers 3, 8, 11
    assert offsets(shown["read_uncommitted"].table) == [0, 1, 2, 4, 5, 6, 7, 9, 10]
    assert [shown[level].receipt.gaps for level in shown] == [7, 3]


def test_uncommitted_records_of_an_open_transaction_can_be_read(
    lab: Lab, admin: Cluster, make_topic: MakeTopic
):
    topic = make_topic()
    with transaction(admin, topic, number_records(3)) as producer:
        replay = lab.window(topic).read(isolation="read_uncommitted")
        producer.abort_transaction(30)
    assert replay.receipt.complete
    assert len(replay) == 3


def test_an_unknown_isolation_or_expiry_rule_is_a_usage_error(lab: Lab, make_topic: MakeTopic):
    window = lab.window(make_topic())
    with pytest.raises(UsageError, match="isolation"):
        window.read(isolation="committed")
    with pytest.raises(UsageError, match="on_expired"):
        window.read(on_expired="skip")


# a live topic (2) ------------------------------------------------------------------------------------------


@contextmanager
def written_meanwhile(admin: Cluster, topic: str) -> Iterator[threading.Event]:
    """Write to `topic` from a thread as long as the block lasts.

    The event tells that it has begun.
    """
    stop, begun = threading.Event(), threading.Event()

    def write() -> None:
        producer = admin.producer(linger_ms=0)
        while not stop.is_set():
            for _ in range(200):
                producer.produce(topic, b'{"late":1}')
            producer.flush(10)
            begun.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield begun
    finally:
        stop.set()
        thread.join(30)


def test_records_written_during_the_read_are_not_read(
    lab: Lab, admin: Cluster, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic(2)
    produce(topic, number_records(5000), partition=0)
    produce(topic, number_records(10), partition=1)
    window = lab.window(topic)
    with written_meanwhile(admin, topic) as begun:
        assert begun.wait(30)
        replay = window.read(deadline="30s")
    assert sum(admin.bounds(topic, [0, 1], "latest").values()) > 5010
    assert balanced(replay.receipt).complete
    assert len(replay) == 5010
    assert "late" not in replay.table.column_names
    assert replay.receipt.counts["planned"] == 5010


def test_an_end_of_partition_before_the_frozen_end_does_not_end_the_read(
    lab: Lab,
    admin: Cluster,
    make_topic: MakeTopic,
    produce: Produce,
    monkeypatch: pytest.MonkeyPatch,
):
    topic = make_topic()
    produce(topic, number_records(3))
    values_seen: list[int] = []
    real = Reading._end_of_partition

    def noted(self: Reading, consumer: Any, account: Any, offset: int) -> None:
        values_seen.append(offset)
        if offset == 3 and len(values_seen) == 1:
            producer.commit_transaction(30)  # what stood in the way goes while the end is looked at
            settled(admin, topic)
        real(self, consumer, account, offset)

    monkeypatch.setattr(Reading, "_end_of_partition", noted)
    with transaction(admin, topic, number_records(3, 3)) as producer:
        replay = lab.window(topic).read(deadline="20s")
    assert values_seen[0] == 3
    assert balanced(replay.receipt).complete
    assert len(replay) == 6


# gaps (5) --------------------------------------------------------------------------------------------------


def compacted(admin: Cluster, make_topic: MakeTopic, produce: Produce) -> str:
    """Make a topic whose offsets 1-4 and 6-9 were compacted away: key a at 0-5, key b at 6-10."""
    topic = make_topic(
        cleanup_policy="compact",
        segment_ms="100",
        min_cleanable_dirty_ratio="0.001",
        max_compaction_lag_ms="100",
        delete_retention_ms="0",
    )
    for key, count in ((b"a", 6), (b"b", 5)):
        for number in range(count):
            produce(topic, [b'{"n":%d}' % number], keys=[key])
    began = time.monotonic()
    while time.monotonic() - began < 60:
        produce(topic, [b'{"n":-1}'], keys=[b"roll"])
        if survivors(admin, topic) == [5, 10]:
            return topic
        time.sleep(0.5)
    raise AssertionError("compaction did not come within 60 s")


def survivors(admin: Cluster, topic: str) -> list[int]:
    """Return the offsets below 11 that still have a record, asked without labkit's reader."""
    consumer = admin.consumer(group=f"labkit.test-{uuid.uuid4().hex}", enable_partition_eof=True)
    consumer.assign([TopicPartition(topic, 0, 0)])
    rows: list[int] = []
    while (
        (message := consumer.poll(5)) is not None and not message.error() and message.offset() < 11
    ):
        rows.append(message.offset())
    consumer.close()
    return rows


def test_a_compacted_topic_is_read_with_gaps_at_start_middle_and_end(
    lab: Lab, admin: Cluster, make_topic: MakeTopic, produce: Produce
):
    topic = compacted(admin, make_topic, produce)
    for bounds, expected in (((0, 11), [5, 10]), ((1, 9), [5]), ((6, 10), []), ((5, 6), [5])):
        replay = lab.window(topic, offsets={0: bounds}).read(deadline="20s")
        assert offsets(replay.table) == expected
        assert balanced(replay.receipt).complete
        assert replay.receipt.gaps == bounds[1] - bounds[0] - len(expected)
    assert "gaps" in str(replay.receipt)


# no trace (19) ---------------------------------------------------------------------------------------------


def test_a_replay_leaves_no_group(
    lab: Lab, admin: Cluster, make_topic: MakeTopic, produce: Produce, tmp_path: Any
):
    topic = make_topic(2)
    produce(topic, number_records(100))
    window = lab.window(topic)
    before = {group.name for group in list_groups(admin)}
    receipts = [window.read().receipt, window.to_parquet(tmp_path / "x.parquet")]
    list(window.batches())
    after = {group.name for group in list_groups(admin)}
    assert {name for name in after - before if ".replay-" in name} == set()
    assert not {receipt.group for receipt in receipts} & after
    assert all(receipt.group.startswith("labkit.") for receipt in receipts)


def test_a_forked_process_may_ask_too(
    lab: Lab, make_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    """``multiprocessing`` forks on Linux (up to Python 3.13).

    librdkafka's threads stay in the parent.
    """
    topic = make_topic()
    produce(topic, [b'{"n":1}'])
    lab.window(topic)  # the parent has its client
    fork = multiprocessing.get_context("fork")
    ours, childs = fork.Pipe()
    child = fork.Process(
        target=lambda: childs.send(sum(batch.num_rows for batch in lab.window(topic).batches()))
    )
    child.start()
    try:
        assert ours.poll(60)
        assert ours.recv() == 1
    finally:
        child.kill()
    assert lab.topics()["topic"].eq(topic).any()
