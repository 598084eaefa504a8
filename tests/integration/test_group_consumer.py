"""The indexer's member of a group, on a real broker.

It tests where it begins, and what it says of records that are gone.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewPartitions

from labkit.errors import NotFoundError
from labkit.kafka.cluster import Cluster
from labkit.pipelines.indexer.group_consumer import Member

Produce = Callable[..., None]


class Group:
    """Members of one group, turned by hand."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = Cluster({**cluster.settings, "topic.metadata.refresh.interval.ms": "500"})
        self.name = f"indexer.test-{uuid.uuid4().hex[:8]}"
        self.said: list[str] = []
        self.members: list[Member] = []

    def join(self, topic: str, start: str | int) -> Member:
        self.members.append(
            Member(self.cluster, topic, self.name, start, self.said.append, threading.Event())
        )
        self.members[-1].join()
        return self.members[-1]

    def read(
        self, until: Callable[[dict[int, int]], bool], timeout_s: float = 40
    ) -> dict[int, int]:
        """Let all read in turn, until `until` holds.

        It is given the first offset per partition that the newest member read.
        """
        first: dict[int, int] = {}
        deadline = time.monotonic() + timeout_s
        while not until(first):
            assert time.monotonic() < deadline, self.said
            for member in self.members:
                read = member.read(0.1)
                if read is not None and member is self.members[-1]:
                    rows = zip(
                        read[0]["partition"].to_pylist(), read[0]["offset"].to_pylist(), strict=True
                    )
                    first = dict(reversed([*rows])) | first
        return first

    def commit(self, topic: str, **offsets: int) -> None:
        consumer = self.cluster.consumer(group=self.name)
        where = [TopicPartition(topic, int(name[1:]), offset) for name, offset in offsets.items()]
        consumer.commit(offsets=where, asynchronous=False)
        consumer.close()

    def close(self) -> None:
        for member in self.members:
            member.close()


@pytest.fixture
def group(admin: Cluster) -> Iterator[Group]:
    new_group = Group(admin)
    yield new_group
    new_group.close()
    admin.ask(
        lambda client: client.delete_consumer_groups([new_group.name]), what="delete the group"
    )


@pytest.fixture
def topic(make_topic: Callable[..., str], produce: Produce) -> str:
    name = make_topic(2)
    for partition in range(2):
        produce(name, [b"{}"] * 100, partition=partition)
    return name


@pytest.mark.parametrize("start", ["latest", "time"])
def test_what_another_member_has_still_to_read_is_not_skipped(
    group: Group, topic: str, start: str
) -> None:
    group.commit(topic, p0=10, p1=20)
    other_member = group.join(topic, "resume")
    group.read(lambda _: other_member.positions == {0: 10, 1: 20})
    newest = group.join(topic, "latest" if start == "latest" else int(time.time() * 1000) + 60_000)
    first = group.read(lambda first: len(newest.positions) == 1 and bool(first))
    ((partition, at),) = first.items()
    assert at == newest.positions[partition] == (10, 20)[partition]
    assert (
        f"partition {partition} goes on from {at}, not 100: the group has read up to there"
        in group.said
    )


def test_alone_it_begins_where_it_is_told(group: Group, topic: str) -> None:
    group.commit(topic, p0=10, p1=20)
    member = group.join(topic, "latest")
    group.read(lambda _: member.positions == {0: 100, 1: 100})
    assert not [text for text in group.said if "goes on from" in text]


def test_a_partition_made_later_is_read_from_its_first_record(
    group: Group, topic: str, admin: Cluster, produce: Produce
) -> None:
    member = group.join(topic, "latest")
    group.read(lambda _: len(member.positions) == 2)
    admin.ask(
        lambda client: client.create_partitions([NewPartitions(topic, 3)]), what="add a partition"
    )
    produce(topic, [b"{}"] * 5, partition=2)
    assert group.read(bool) == {2: 0}


def test_records_deleted_while_they_wait_are_told(group: Group, topic: str, admin: Cluster) -> None:
    member = group.join(topic, "earliest")
    member.paused = True  # as while Elasticsearch is away
    group.read(lambda _: len(member.positions) == 2)
    admin.ask(
        lambda client: client.delete_records([TopicPartition(topic, 0, 70)]), what="delete records"
    )
    member.resume()
    assert group.read(lambda first: len(first) == 2) == {0: 70, 1: 0}
    assert "partition 0: 70 offsets were deleted before they were indexed" in group.said


def test_all_deleted_while_they_wait_is_told_and_leaves_no_lag(
    group: Group, topic: str, admin: Cluster
) -> None:
    member = group.join(topic, "earliest")
    member.paused = True
    group.read(lambda _: len(member.positions) == 2)
    admin.ask(
        lambda client: client.delete_records([TopicPartition(topic, 0, 100)]), what="delete records"
    )
    member.resume()
    group.read(
        lambda first: any("partition 0: 100 offsets were deleted" in text for text in group.said)
    )
    member.commit_ends()
    assert member.positions[0] == 100


def test_a_group_beyond_the_end_of_a_topic_made_again_is_an_error(group: Group, topic: str) -> None:
    """It would read all again under ids that are taken, and index nothing."""
    group.commit(topic, p0=150)
    group.join(topic, "resume")
    with pytest.raises(NotFoundError, match=r"ends at 100, and group .* is at 150") as caught:
        group.read(lambda _: False)
    assert "made again, or cut back" in str(caught.value.hint)
