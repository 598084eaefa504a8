"""Ad hoc groups: real members of real groups of the lab's own."""

from __future__ import annotations

import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import NewTopic

from labkit.errors import NotFoundError, RefusedError, ServerError, UsageError
from labkit.groups.offsets import list_groups
from labkit.groups.own import delete_group
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from support.waiting import until

Produce = Callable[..., None]


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def topic(make_topic: Callable[..., str], produce: Produce) -> str:
    new_topic = make_topic(2)
    for partition in (0, 1):
        produce(new_topic, [b'{"n":%d}' % number for number in range(50)], partition=partition)
    return new_topic


@pytest.fixture
def attach(lab: Lab) -> Iterator[Callable[..., Any]]:
    opened: list[Any] = []

    def open_one(*words: Any, **options: Any) -> Any:
        opened.append(lab.attach(*words, **options))
        return opened[-1]

    yield open_one
    for group in opened:
        group.close()
    for group in opened:
        until(lambda name=group.group: not members(lab, name))
        group.close(delete=True)


def members(lab: Lab, group: str) -> int:
    table = lab.groups().set_index("group")
    return int(table.loc[group, "members"]) if group in table.index else 0


def test_it_reads_in_turn_and_is_listed_with_its_member(
    lab: Lab, topic: str, name: str, attach: Any
) -> None:
    group = attach(topic, name=name, start="earliest")
    first, rest = group.read(30), group.read(1000)
    assert (len(first), len(rest)) == (30, 70)
    assert len(group.read(10, timeout="1s")) == 0
    assert group.group.startswith("labkit.")
    assert group.group.endswith(name)
    assert members(lab, group.group) == 1
    assert list(group.lag()["lag"]) == [0, 0]


def test_it_goes_on_at_its_commits_and_only_there(topic: str, name: str, attach: Any) -> None:
    group = attach(topic, name=name, start="earliest")
    group.read(30)
    committed = group.commit()
    group.read(20)
    group.close()
    assert sum(committed.values()) == 30
    assert len(attach(topic, name=name).read(1000)) == 70


def test_it_seeks_to_offsets_times_and_ends(topic: str, name: str, attach: Any) -> None:
    group = attach(topic, name=name, start="latest")
    assert len(group.read(10, timeout="2s")) == 0
    group.seek({1: 48})
    assert group.read(10)["_offset"].tolist() == [48, 49]
    group.seek("earliest")
    assert len(group.read(1000)) == 100
    group.seek("2001-01-01")
    assert len(group.read(1000)) == 100
    with pytest.raises(UsageError, match="not this member's"):
        group.seek({7: 0})
    with pytest.raises(
        UsageError, match=r"the offset of partition 1 must be a whole number, not 1\.5"
    ):
        group.seek({1: 1.5})
    with pytest.raises(UsageError, match="has no offset 1000000") as caught:
        group.seek({1: 1_000_000})  # the consumer would begin at the log's start, without a word
    assert "the end" in str(caught.value.hint)


def test_tail_returns_what_comes_meanwhile(
    topic: str, name: str, attach: Any, produce: Produce
) -> None:
    group = attach(topic, name=name, start="latest")
    group.read(1, timeout="1s")
    produce(topic, [b'{"fresh":true}'] * 3)
    assert group.tail(seconds=2)["fresh"].tolist() == [True] * 3
    produce(topic, [b'{"fresh":false}'] * 2)
    assert group.tail("2s")["fresh"].tolist() == [False] * 2
    with pytest.raises(UsageError, match="not a length of time"):
        group.tail("soon")


def test_records_of_more_bytes_than_one_batch_has(
    topic: str, name: str, attach: Any, produce: Produce
) -> None:
    group = attach(topic, name=name, start="latest")
    group.read(1, timeout="1s")
    produce(topic, [b'{"n":%d,"text":"%s"}' % (n, b"x" * 600_000) for n in range(40)])
    first, rest = group.read(25), group.read(100)
    assert (len(first), len(rest)) == (25, 15)
    assert sorted([*first["n"], *rest["n"]]) == list(range(40))


def together(act: Callable[[Any], Any], *members: Any) -> list[Any]:
    """Ask members at the same time: one that is not asked holds up the rebalance of the other."""
    with ThreadPoolExecutor(len(members)) as pool:
        return list(pool.map(act, members))


def test_two_members_share_the_partitions_and_one_takes_over(
    lab: Lab, topic: str, name: str, attach: Any
) -> None:
    first = attach(topic, name=name, start="earliest")
    second = attach(topic, name=name, start="earliest")

    def shared() -> bool:
        together(lambda member: member.read(5, timeout="300ms"), first, second)
        return len(first._positions) == len(second._positions) == 1

    until(shared)
    second.close()
    until(lambda: len(first.read(1000, timeout="300ms")) >= 0 and len(first._positions) == 2)


def test_a_group_with_another_member_is_not_deleted(topic: str, name: str, attach: Any) -> None:
    first, second = attach(topic, name=name), attach(topic, name=name)
    until(lambda: all(map(len, together(lambda it: it.read(1, timeout="300ms"), first, second))))
    with pytest.raises(ServerError, match="The group is not empty") as caught:
        first.close(delete=True)
    assert caught.value.hint == "it has members: stop its consumers first"


def test_a_partition_that_comes_back_goes_on_where_it_was_left(
    topic: str, name: str, attach: Any, produce: Produce
) -> None:
    """Without a commit the group knows no position.

    The member must not begin with the oldest record.
    """
    first = attach(topic, name=name, start="latest")
    assert len(first.tail(0.5)) == 0
    second = attach(topic, name=name, start="latest")
    until(
        lambda: (
            sum(map(len, together(lambda member: member.tail(0.3), first, second))) == 0
            and len(first.lag()) == len(second.lag()) == 1
        )
    )
    second.close()
    until(lambda: len(first.tail(0.3)) == 0 and len(first.lag()) == 2)
    for partition in (0, 1):
        produce(topic, [b'{"n":50}'], partition=partition)
    assert first.tail(3)["n"].tolist() == [50, 50]


def test_gc_removes_groups_without_a_member_and_no_others(
    lab: Lab, topic: str, name: str, attach: Any
) -> None:
    group = attach(topic, name=name, start="earliest")
    group.read(5)
    group.commit()
    assert group.group not in lab.gc()
    group.close()
    until(lambda: not members(lab, group.group))
    assert group.group in lab.gc()
    assert group.group not in set(lab.groups()["group"])


def test_a_foreign_group_is_refused_before_any_connection(lab: Lab) -> None:
    with pytest.raises(RefusedError, match="not the lab's to touch"):
        delete_group(lab.cluster, "indexer.logstash-es")
    with pytest.raises(UsageError):
        lab.attach("irc", name="../x")


def test_a_cell_run_again_takes_over_from_the_member_it_forgets(
    lab: Lab, topic: str, name: str, admin: Cluster
) -> None:
    """``g = lab.attach(…)`` again: the old member leaves.

    Else the new one would wait for partitions that nothing reads.
    """
    group = lab.attach(topic, name=name, start="earliest")
    assert len(group.read(10)) == 10
    began = time.monotonic()
    group = lab.attach(topic, name=name, start="earliest")
    assert len(group.read(100)) == 100
    assert time.monotonic() - began < 15
    until(lambda: len(list_groups(admin, [group.group])[0].members) == 1)
    group.close(delete=True)


def test_a_member_without_a_partition_says_so(topic: str, name: str, attach: Any) -> None:
    members = [attach(topic, name=name, start="earliest") for _ in range(2)]
    ended = threading.Event()

    def go_on(member: Any) -> None:  # a member is given its share when it asks for records
        while not ended.is_set():
            member.tail(0.2)

    with ThreadPoolExecutor(len(members)) as pool:
        background = [pool.submit(go_on, member) for member in members]
        try:
            until(lambda: [len(member._positions) for member in members] == [1, 1], "a share each")
            third = attach(topic, name=name, start="earliest")
            with pytest.warns(UserWarning, match="has no partition"):
                assert len(third.read(1, timeout="2s")) == 0
        finally:
            ended.set()
    assert [other.exception() for other in background] == [None, None]


@pytest.mark.slow
def test_a_long_pause_between_two_calls_is_no_error(
    topic: str, name: str, attach: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka takes the partitions away from a member that is silent for its max.poll.interval.

    It joins again.
    """
    consumer = Cluster.consumer

    def hasty(self: Cluster, **settings: Any) -> Any:
        settings |= {"session_timeout_ms": 6_000, "max_poll_interval_ms": 6_000}
        return consumer(self, **settings)

    monkeypatch.setattr(Cluster, "consumer", hasty)
    group = attach(topic, name=name, start="earliest")
    first = group.read(30)
    time.sleep(9)
    rest = group.read(100, timeout="20s")
    assert sorted([*first["n"].tolist(), *rest["n"].tolist()]) == sorted([*range(50), *range(50)])
    assert group.commit() == {0: 50, 1: 50}


def test_a_commit_beyond_the_log_s_end_is_told_and_read_from_the_start(
    topic: str, name: str, attach: Any, admin: Cluster
) -> None:
    """librdkafka goes to the start without a word, and a commit would put the old offset back."""
    group = attach(topic, name=name, start="earliest")
    group.read(10)
    group.commit()
    group.close()
    until(lambda: not list_groups(admin, [group.group])[0].members)
    beyond = ConsumerGroupTopicPartitions(group.group, [TopicPartition(topic, 0, 5_000)])
    admin.ask(
        lambda client: client.alter_consumer_group_offsets([beyond]), what="commit beyond the end"
    )
    again = attach(topic, name=name)
    with pytest.warns(UserWarning, match="was at offset 5000 of partition 0"):
        frame = again.read(1_000)
    assert frame.loc[frame["_partition"] == 0, "_offset"].tolist() == list(range(50))
    assert again.commit()[0] == 50


def test_records_that_were_deleted_before_they_were_read_are_told(
    topic: str, name: str, attach: Any, admin: Cluster
) -> None:
    group = attach(topic, name=name)
    group.seek({0: 10, 1: 50})
    group.commit()
    group.close()
    place = TopicPartition(topic, 0, 40)
    admin.admin.delete_records([place])[place].result()
    again = attach(topic, name=name)
    with pytest.warns(UserWarning, match="offsets 10 to 39 of partition 0 .* deleted"):
        assert again.read()["_offset"].tolist() == list(range(40, 50))
    again.close()
    with warnings.catch_warnings():  # it was not asked to go on there
        warnings.simplefilter("error", UserWarning)
        assert attach(topic, name=name, start="latest").read(timeout="1s").empty


def test_a_topic_made_again_is_told_and_read_from_the_start(
    topic: str, name: str, attach: Any, admin: Cluster, produce: Produce
) -> None:
    group = attach(topic, name=name)
    assert len(group.read()) == 100
    admin.admin.delete_topics([topic])[topic].result()
    until(lambda: topic not in admin.topics())
    admin.admin.create_topics([NewTopic(topic, 2)])[topic].result()
    for partition in (0, 1):
        produce(topic, [b'{"n":%d}' % number for number in range(50)], partition=partition)
    with pytest.warns(UserWarning, match="made again"):
        frame = group.read(timeout="30s")
    assert len(frame) == 100


def test_a_topic_that_was_deleted_is_told(
    topic: str, name: str, attach: Any, admin: Cluster
) -> None:
    group = attach(topic, name=name)
    admin.admin.delete_topics([topic])[topic].result()
    until(lambda: topic not in admin.topics())
    with pytest.raises(NotFoundError, match=topic):
        group.tail(1)
    admin.admin.create_topics([NewTopic(topic, 2)])[topic].result()  # which the fixture deletes
