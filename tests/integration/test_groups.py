"""Groups as the broker knows them: members, commits, lag.

And the guard, which sees all others and leaves nothing.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pandas as pd
import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from labkit.errors import AccessError, ServerError
from labkit.groups.offsets import Group, lags, list_groups, partition_lag
from labkit.kafka.cluster import Cluster
from labkit.kafka.groups import Member
from labkit.lab import Lab, connect
from support.waiting import until

pytestmark = pytest.mark.alone


@pytest.fixture
def member(admin: Cluster, group: str) -> Iterator[Callable[[str], Consumer]]:
    """A foreign consumer that has joined and holds all partitions of a topic."""
    members: list[Consumer] = []

    def join(topic: str) -> Consumer:
        consumer = admin.consumer(
            group=group, auto_offset_reset="earliest", client_id="foreign-reader"
        )
        members.append(consumer)
        consumer.subscribe([topic])
        expected, deadline = len(admin.partitions(topic)), time.monotonic() + 20
        while len(consumer.assignment()) < expected:
            assert time.monotonic() < deadline, "the consumer got no partitions"
            consumer.poll(0.1)
        return consumer

    yield join
    for member in members:
        member.close()


def commit(consumer: Consumer, topic: str, **offsets: int) -> None:
    """Commit such as ``commit(consumer, topic, p0=5)``."""
    offsets_to_commit = [
        TopicPartition(topic, int(name[1:]), offset) for name, offset in offsets.items()
    ]
    consumer.commit(offsets=offsets_to_commit, asynchronous=False)


@pytest.fixture
def absent(admin: Cluster, group: str) -> Callable[..., None]:
    """Commit as the foreign group without staying a member."""

    def leave(topic: str, **offsets: int) -> None:
        consumer = admin.consumer(group=group)
        commit(consumer, topic, **offsets)
        consumer.close()

    return leave


def row(frame: pd.DataFrame, group: str) -> pd.Series:
    matching = frame[frame["group"] == group]
    assert len(matching) == 1, matching
    return matching.iloc[0]


def rows(frame: pd.DataFrame, group: str) -> pd.DataFrame:
    return frame[frame["group"] == group].set_index("partition")


# lists ---------------------------------------------------------------------------------------------------


def test_a_group_with_a_member_shows_members_topics_and_lag(
    lab: Lab, group: str, member: Any, make_topic: Any, produce: Any
) -> None:
    topic = make_topic(2)
    produce(topic, [b"{}"] * 10)
    produce(topic, [b"{}"] * 4, partition=1)
    commit(member(topic), topic, p0=7, p1=4)
    group_row = row(lab.groups(), group)
    assert (group_row["state"], group_row["members"], group_row["topics"], group_row["lag"]) == (
        "stable",
        1,
        topic,
        3,
    )
    assert group_row["verdict"] == "unknown"  # one look cannot tell slow from stalled


def test_offsets_show_who_holds_each_partition(
    lab: Lab, group: str, member: Any, make_topic: Any, produce: Any
) -> None:
    topic = make_topic(2)
    produce(topic, [b"{}"] * 10)
    commit(member(topic), topic, p0=7)
    offset_rows = rows(lab.offsets(), group)
    assert list(offset_rows.index) == [0, 1]
    row = offset_rows.loc[0]
    assert (row["committed"], row["log_start"], row["log_end"], row["lag"], row["flag"]) == (
        7,
        0,
        10,
        3,
        "",
    )
    assert set(offset_rows["member"]) == {"foreign-reader"}
    assert set(offset_rows["host"]) == {"127.0.0.1"}


def test_no_commit_is_none_and_not_zero(
    lab: Lab, group: str, member: Any, make_topic: Any, produce: Any
) -> None:
    topic = make_topic(2)
    produce(topic, [b"{}"] * 10, partition=1)
    commit(member(topic), topic, p0=0)
    offset_rows = rows(lab.offsets(), group)
    assert (
        offset_rows.loc[0, "committed"],
        offset_rows.loc[0, "lag"],
        offset_rows.loc[0, "flag"],
    ) == (0, 0, "")
    assert offset_rows.loc[1, "committed"] is pd.NA
    assert offset_rows.loc[1, "lag"] is pd.NA
    assert offset_rows.loc[1, "flag"] == "no commit"


def test_a_group_that_has_committed_nothing_has_no_lag(
    lab: Lab, group: str, member: Any, make_topic: Any, produce: Any
) -> None:
    topic = make_topic()
    produce(topic, [b"{}"] * 10)
    member(topic)
    group_row = row(lab.groups(), group)
    assert group_row["lag"] is pd.NA
    assert group_row["verdict"] == "unknown"


def test_committed_before_the_logs_start_is_expired_and_the_lag_clamped(
    lab: Lab, admin: Cluster, group: str, absent: Any, make_topic: Any, produce: Any
) -> None:
    topic = make_topic()
    produce(topic, [b"{}"] * 10)
    absent(topic, p0=2)
    admin.ask(
        lambda client: client.delete_records([TopicPartition(topic, 0, 6)]), what="delete records"
    )
    row = rows(lab.offsets(), group).loc[0]
    assert (row["committed"], row["log_start"], row["log_end"]) == (2, 6, 10)
    assert (row["flag"], row["lag"]) == ("expired", 4)  # naive: 8


def test_committed_beyond_the_end_is_flagged(
    lab: Lab, group: str, absent: Any, make_topic: Any, produce: Any
) -> None:
    topic = make_topic()
    produce(topic, [b"{}"] * 3)
    absent(topic, p0=100)
    row = rows(lab.offsets(), group).loc[0]
    assert (row["lag"], row["flag"]) == (0, "beyond end")


def test_a_group_nobody_reads_for_is_stopped_or_ok(
    lab: Lab, group: str, absent: Any, make_topic: Any, produce: Any
) -> None:
    topic = make_topic()
    produce(topic, [b"{}"] * 10)
    absent(topic, p0=9)
    group_row = row(lab.groups(), group)
    assert (group_row["state"], group_row["members"], group_row["lag"], group_row["verdict"]) == (
        "empty",
        0,
        1,
        "stopped",
    )
    absent(topic, p0=10)
    group_row = row(lab.groups(), group)
    assert (group_row["lag"], group_row["verdict"]) == (0, "ok")


def test_a_member_without_a_client_id_is_somebody(lab: Lab, make_topic: Any) -> None:
    """Clients other than Java's and librdkafka may leave it empty."""
    where = (make_topic(), 0)
    nameless = Member("", "127.0.0.1", frozenset([where]), "m-1")
    (lag,) = lags(lab.cluster, [Group("other.x", "stable", "classic", (nameless,), {where: 0})])
    assert lag.member == "m-1"


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_static_member_is_shown_by_its_instance(
    protocol: str, lab: Lab, admin: Cluster, group: str, make_topic: Any
) -> None:
    """Members that share a client id, as pods of one deployment do, could not be told apart."""
    topic = make_topic(1)
    # its membership outlives it, and a guard of a later test must not take it for labkit's
    consumer = admin.consumer(
        group=group, group_protocol=protocol, group_instance_id="pod-0", client_id="pods"
    )
    try:
        consumer.subscribe([topic])
        until(lambda: consumer.poll(0.1) or consumer.assignment())
        assert lab.offsets(group)["member"].tolist() == ["pod-0"]
        assert lab.lag(group, samples=1)["member"].tolist() == ["pod-0"]
        with pytest.raises(ServerError, match="has 1 member: pod-0 on 127"):
            lab.reset(group, topic, "earliest", i_own_this_group=True)
    finally:
        consumer.close()


def test_a_rebalance_of_the_new_protocol_is_called_so(
    lab: Lab, admin: Cluster, group: str, make_topic: Any, produce: Any
) -> None:
    """A member has to give a partition up, and does not poll.

    Until it does, the broker calls that Reconciling.
    """
    topic = make_topic(2)
    for partition in (0, 1):
        produce(topic, [b"{}"], partition=partition)
    first, second = (admin.consumer(group=group, group_protocol="consumer") for _ in range(2))
    try:
        first.subscribe([topic])
        until(lambda: len([first.poll(0.1), *first.assignment()]) == 3)
        commit(first, topic, p0=0, p1=0)
        second.subscribe([topic])
        until(lambda: [second.poll(0.1), *list_groups(admin, [group])[0].members][2:])
        assert row(lab.groups(), group)["state"] == "rebalancing"
    finally:
        first.close()
        second.close()


def test_a_coordinator_that_moves_is_asked_again_after_a_pause(lab: Lab) -> None:
    requests: list[float] = []

    def call(_client: Any, some: list[str]) -> dict[str, Future[str]]:
        requests.append(time.monotonic())
        answer: Future[str] = Future()
        if len(requests) < 4:
            answer.set_exception(KafkaException(KafkaError(KafkaError.NOT_COORDINATOR)))
        else:
            answer.set_result("here")
        return dict.fromkeys(some, answer)

    assert lab.cluster.ask_each(call, ["x"], what="look") == {"x": "here"}
    assert requests[-1] - requests[0] > 0.5


def test_a_group_outlives_its_topic(lab: Lab, make_topic: Any, produce: Any) -> None:
    """The broker forgets a deleted topic's commits a moment later.

    Until then they must not hide all other groups.
    """
    topic, gone = make_topic(), f"irc-test-gone-{uuid.uuid4().hex[:8]}"
    produce(topic, [b"{}"])
    group = Group("other.x", "empty", "classic", (), {(gone, 0): 1, (topic, 0): 0})
    assert [(lag.topic, lag.lag) for lag in lags(lab.cluster, [group])] == [(topic, 1)]


@pytest.fixture
def nameless(admin: Cluster, make_topic: Any) -> Iterator[None]:
    """The group with the empty id: brokers take its commits.

    The client's own check must be passed by to make one.
    """
    request = [ConsumerGroupTopicPartitions("", [TopicPartition(make_topic(), 0, 0)])]
    answer: Future[Any] = Future()
    super(AdminClient, admin.admin).alter_consumer_group_offsets(
        request, answer, request_timeout=15
    )
    answer.result(20)
    yield
    admin.admin.delete_consumer_groups([""])[""].exception(15)


def test_a_group_with_the_empty_id_hinders_nobody(
    lab: Lab, me: str, admin: Cluster, nameless: None, make_topic: Any, produce: Any
) -> None:
    topic = make_topic()
    produce(topic, [b"{}"])
    assert "" in {
        listing.group_id for listing in admin.admin.list_consumer_groups().result(15).valid
    }
    assert "" not in set(lab.groups()["group"]) | set(lab.offsets()["group"])
    with lab.guard() as proof:
        assert lab.window(topic).read(progress=False).receipt.guard["untouched"]
    assert proof.untouched
    assert lab.gc() == []


def test_all_partitions_of_many_groups_are_listed_once(
    lab: Lab, admin: Cluster, make_topic: Any, produce: Any
) -> None:
    topic, names = make_topic(3), [f"other.{uuid.uuid4().hex[:10]}" for _ in range(12)]
    produce(topic, [b"{}"] * 5)
    for name in names:
        consumer = admin.consumer(group=name)
        commit(consumer, topic, p0=1, p1=0, p2=0)
        consumer.close()
    try:
        offsets = lab.offsets()
        mine = offsets[offsets["group"].isin(names)]
        assert len(mine) == len(names) * 3
        assert not mine.duplicated(["group", "topic", "partition"]).any()
        assert mine["lag"].sum() == len(names) * 4
    finally:
        for future in admin.admin.delete_consumer_groups(names).values():
            future.result(15)


@pytest.mark.slow
def test_a_thousand_groups_of_twenty_partitions_are_listed(
    lab: Lab, admin: Cluster, make_topic: Any, produce: Any
) -> None:
    topic, prefix = make_topic(20), f"many.{uuid.uuid4().hex[:6]}."
    produce(topic, [b"{}"] * 3)
    names = [f"{prefix}{number}" for number in range(1_000)]

    def write(client: Any, some: list[str]) -> dict[str, Any]:
        return {
            name: client.alter_consumer_group_offsets(
                [
                    ConsumerGroupTopicPartitions(
                        name, [TopicPartition(topic, p, 0) for p in range(20)]
                    )
                ]
            )[name]
            for name in some
        }

    assert not [
        one
        for one in admin.ask_each(write, names, what="commit").values()
        if isinstance(one, Exception)
    ]
    try:
        offsets = lab.offsets()
        offsets = offsets[offsets["group"].str.startswith(prefix)]
        assert len(offsets) == 20_000
        assert not offsets.duplicated(["group", "topic", "partition"]).any()
        groups = lab.groups()
        groups = groups[groups["group"].str.startswith(prefix)]
        assert groups["lag"].tolist() == [3] * 1_000
        assert set(groups["verdict"]) == {"stopped"}
    finally:
        admin.ask_each(
            lambda client, some: client.delete_consumer_groups(some), names, what="delete"
        )


def test_what_may_not_be_seen_of_one_group_does_not_hide_the_others(
    lab: Lab, group: str, absent: Any, make_topic: Any
) -> None:
    absent(make_topic(), p0=0)
    result = {
        group_info.name: group_info
        for group_info in list_groups(connect(role="indexer").cluster, [group, "indexer.nobody"])
    }
    assert (result[group].state, result["indexer.nobody"].state) == ("not allowed", "dead")
    with pytest.raises(AccessError, match="may not describe group"):
        connect(role="indexer").lag(group)


@pytest.mark.parametrize(
    ("committed", "start", "end", "lag", "flag"),
    [
        (None, 0, 10, None, "no commit"),
        (0, 0, 0, 0, ""),
        (10, 0, 10, 0, ""),
        (4, 4, 10, 6, ""),
        (3, 4, 10, 6, "expired"),
        (2, 10, 10, 0, "expired"),
        (11, 0, 10, 0, "beyond end"),
    ],
)
def test_lag_counts_from_the_logs_start(
    committed: int | None, start: int, end: int, lag: int | None, flag: str
) -> None:
    assert partition_lag(committed, start, end) == (lag, flag)


# the guard -----------------------------------------------------------------------------------------------


def test_guard_is_untouched_when_nothing_moved(
    lab: Lab, group: str, member: Any, make_topic: Any, produce: Any
) -> None:
    topic = make_topic()
    produce(topic, [b"{}"] * 10)
    commit(member(topic), topic, p0=5)
    with lab.guard() as proof:
        assert not proof.untouched  # not before the end
        assert lab.window(topic).read(progress=False).receipt.complete
    assert group in proof.watched
    assert proof.untouched, proof.report()
    assert proof.report().startswith("untouched: ")
    assert group in proof.report()


def test_guard_reports_a_commit_of_the_foreign_consumer(
    lab: Lab, group: str, member: Any, make_topic: Any, produce: Any
) -> None:
    topic = make_topic()
    produce(topic, [b"{}"] * 10)
    consumer = member(topic)
    commit(consumer, topic, p0=5)
    with lab.guard() as proof:
        commit(consumer, topic, p0=8)
    assert not proof.untouched
    assert [
        (change.what, change.before, change.after)
        for change in proof.changes
        if change.group == group
    ] == [(f"{topic}[0]", "5", "8")]
    assert f"{group}: {topic}[0]: 5 -> 8" in proof.report()


def test_guard_reports_a_first_commit(lab: Lab, group: str, member: Any, make_topic: Any) -> None:
    topic = make_topic(2)
    consumer = member(topic)
    with lab.guard() as proof:
        commit(consumer, topic, p1=0)
    assert [
        (change.what, change.before, change.after)
        for change in proof.changes
        if change.group == group
    ] == [(f"{topic}[1]", "None", "0")]


def test_guard_reports_a_member_that_left(
    lab: Lab, group: str, member: Any, make_topic: Any
) -> None:
    topic = make_topic()
    consumer = member(topic)
    commit(consumer, topic, p0=0)
    with lab.guard() as proof:
        consumer.close()
    assert [
        (change.what, change.before, change.after)
        for change in proof.changes
        if change.group == group
    ] == [("members", "foreign-reader", "none")]


def test_guard_reports_a_group_that_came_and_one_that_went(
    lab: Lab, admin: Cluster, group: str, absent: Any, make_topic: Any
) -> None:
    topic = make_topic()
    with lab.guard() as came:
        absent(topic, p0=0)
    assert ("absent", "present") in [
        (change.before, change.after) for change in came.changes if change.group == group
    ]
    with lab.guard() as went:
        admin.admin.delete_consumer_groups([group])[group].result(15)
    assert ("present", "absent") in [
        (change.before, change.after) for change in went.changes if change.group == group
    ]


def test_guard_ignores_the_labs_own_groups(lab: Lab, admin: Cluster, make_topic: Any) -> None:
    topic, name = make_topic(), f"labkit.test.{uuid.uuid4().hex[:8]}"
    with lab.guard() as proof:
        consumer = lab.cluster.consumer(group=name)
        commit(consumer, topic, p0=0)
        consumer.close()
    assert not [change for change in proof.changes if change.group == name]
    admin.admin.delete_consumer_groups([name])[name].result(15)


def test_an_error_in_the_block_is_passed_on_and_the_proof_is_there(lab: Lab) -> None:
    with pytest.raises(ZeroDivisionError), lab.guard() as proof:
        1 / 0  # noqa: B018
    assert "has not ended" not in proof.report()


def test_looking_leaves_no_group(
    admin: Cluster, make_topic: Any, produce: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = f"u{uuid.uuid4().hex[:10]}"
    monkeypatch.setenv("LABKIT_USER", user)
    topic, lab = make_topic(), connect()
    produce(topic, [b"{}"] * 10)
    with lab.guard():
        lab.groups()
        lab.offsets()
        lab.window(topic, last=5).read(progress=False)
    assert not [group_info.name for group_info in list_groups(admin) if user in group_info.name]
