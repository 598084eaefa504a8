"""A topic that changes while it is read: partitions are added, it is deleted."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import closing

import pytest
from confluent_kafka.admin import NewPartitions, NewTopic

from labkit import Lab
from labkit.errors import IncompleteError
from labkit.kafka.cluster import Cluster
from labkit.replay.follow import Follower
from support.waiting import until

pytestmark = pytest.mark.chaos


def test_a_topic_deleted_in_mid_read_is_told_as_that(
    lab: Lab, admin: Cluster, produce: Callable[..., None]
) -> None:
    """BEHAVIOURS 90: within seconds, and not as a deadline after a minute."""
    topic = f"irc-test-deleted-{uuid.uuid4().hex[:8]}"
    admin.ask(lambda client: client.create_topics([NewTopic(topic, 1, 1)]), what="make it")
    until(lambda: topic in lab.cluster.topics())
    produce(
        topic, [b'{"n": %d, "text": "%s"}' % (number, b"x" * 5_000) for number in range(12_000)]
    )
    batches = lab.window(topic).batches()
    next(batches)
    admin.ask(lambda client: client.delete_topics([topic]), what="delete it")
    deleted = time.monotonic()
    with pytest.raises(IncompleteError, match="to its end: deleted") as caught:
        for _ in batches:
            pass
    assert time.monotonic() - deleted < 30
    assert {part.stop_reason for part in caught.value.receipt.partitions} == {"deleted"}


def test_new_partitions_are_read_within_30_seconds(
    lab: Lab, admin: Cluster, make_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    """BEHAVIOURS 89: librdkafka's default is five minutes.

    By a group, and by what follows a topic's end.
    """
    topic = make_topic()
    produce(topic, [b'{"n": 0}'])
    follower, followed = Follower(lab.cluster, topic, last=10), list[tuple[int, int]]()

    def follow(wanted: tuple[int, int]) -> bool:
        if (batch := follower.take()) is not None:
            followed.extend(
                zip(batch["partition"].to_pylist(), batch["offset"].to_pylist(), strict=True)
            )
        return wanted in followed

    with (
        closing(follower),
        lab.attach(topic, name=f"grows-{uuid.uuid4().hex[:8]}", start="earliest") as group,
    ):
        assert len(group.read(10)) == 1
        until(lambda: follow((0, 0)), "the record that was there")
        admin.ask(
            lambda client: client.create_partitions([NewPartitions(topic, 2)]), what="add one"
        )
        added = time.monotonic()
        until(lambda: len(admin.partitions(topic)) == 2)
        produce(topic, [b'{"n": 1}'], partition=1)
        until(lambda: len(group.tail(1)) == 1, "a record of the new partition", 40)
        until(lambda: follow((1, 0)), "the same by the follower", 40)
        assert time.monotonic() - added < 35
        assert sorted(followed) == [(0, 0), (1, 0)]
    group.close(delete=True)


def test_a_follower_too_far_behind_shows_no_record_twice_and_counts_what_it_skips(
    lab: Lab,
    make_topic: Callable[..., str],
    produce: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It went back to the newest records of a partition that it had read to the end."""
    monkeypatch.setattr("labkit.replay.follow._STEP_RECORDS", 5)
    monkeypatch.setattr("labkit.replay.follow._FAR", 100)
    topic = make_topic(2)
    for partition in (0, 1):
        produce(topic, [b"1"] * 10, partition=partition)
    places: list[tuple[int, int]] = []

    def follow() -> bool:
        if (batch := follower.take()) is not None:
            columns = (batch[name].to_pylist() for name in ("partition", "offset"))
            places.extend(zip(*columns, strict=True))
        return follower.seen + follower.skipped >= written

    with closing(Follower(lab.cluster, topic, last=20)) as follower:
        written = 20
        until(follow, "the records that were there")
        produce(topic, [b"2"] * 500, partition=1)
        written += 500
        until(follow, "the newest of them")
        assert follower.skipped > 0
        assert len(places) == len(set(places)) == written - follower.skipped
        assert {(0, offset) for offset in range(10)} | {(1, 509)} <= set(places)
        assert not follower.notes


def test_who_follows_a_topic_that_is_made_again_reads_it_from_its_start_and_says_so(
    lab: Lab, admin: Cluster, produce: Callable[..., None]
) -> None:
    """Its records came at offsets that were shown before, and not a word was said of it."""
    topic = f"irc-test-again-{uuid.uuid4().hex[:8]}"

    def make(values: list[bytes]) -> None:
        admin.ask(lambda client: client.create_topics([NewTopic(topic, 2, 1)]), what="make it")
        until(lambda: topic in lab.cluster.topics())
        for partition in (0, 1):
            produce(topic, values, partition=partition)

    make([b'{"n": 0}'] * 10)
    values: list[bytes] = []

    def follow(count: int) -> bool:
        if (batch := follower.take()) is not None:
            values.extend(batch["value"].to_pylist())
        return len(values) >= count

    with closing(Follower(lab.cluster, topic, last=20)) as follower:
        until(lambda: follow(20))
        assert not follower.notes
        admin.ask(lambda client: client.delete_topics([topic]), what="delete it")
        until(lambda: topic not in admin.topics())
        make([b'{"n": 1}'] * 3)
        until(lambda: follow(26), "the new topic's records")
        assert values[20:] == [b'{"n": 1}'] * 6
        for partition in (0, 1):
            assert "from offset 10 to 0" in follower.notes[partition]
