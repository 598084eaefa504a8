"""A real broker's groups that are not consumer groups.

They are listed by kind, and never certified without a look.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import NewTopic

import labkit
from labkit import cli
from labkit.errors import ServerError
from labkit.groups.offsets import list_groups
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.stack.state import State
from support.kafka_wire import WireMember
from support.streams_app import streams_applications
from support.waiting import until

pytestmark = pytest.mark.alone
OFTEN = ["--samples", "3", "--every", "200ms"]


@pytest.fixture
def member(admin: Cluster, group: str) -> Iterator[WireMember]:
    """Someone who may join a group of any kind; the group is deleted once it has left."""
    # the broker makes the commits' own topic for who asks for a coordinator
    asks = admin.consumer(group="other.first")
    deadline = time.monotonic() + 30
    while True:
        try:
            asks.committed([TopicPartition("irc", 0)], timeout=10)
            break
        except KafkaException:  # it is being made
            assert time.monotonic() < deadline
            time.sleep(0.2)
    asks.close()
    with WireMember(admin.settings) as wire:
        yield wire
        try:
            wire.leave()
        finally:
            # of a share group that is there, no guard of another test could certify anything
            if wire.group:
                admin.ask(
                    lambda client: client.delete_consumer_groups([wire.group]),
                    what="delete it",
                    done_already=KafkaError.GROUP_ID_NOT_FOUND,
                )


def row(lab: Lab, group: str) -> Any:
    return lab.groups().set_index("group").loc[group]


@pytest.mark.parametrize(
    ("protocol_type", "kind"), [("connect", "connect"), ("sr", "schema registry")]
)
def test_workers_of_connect_and_of_a_schema_registry_are_listed_with_their_members(
    lab: Lab, member: WireMember, group: str, make_topic: Any, protocol_type: str, kind: str
) -> None:
    """BEHAVIOURS 42: the client's list of consumer groups leaves them out."""
    topic = make_topic()
    member.join_classic(group, protocol_type)
    member.commit(topic, 0, 0)
    group_row = row(lab, group)
    assert (group_row["protocol"], group_row["state"], group_row["members"]) == (kind, "stable", 1)
    assert (group_row["topics"], group_row["lag"], group_row["verdict"]) == (topic, 0, "ok")
    (group_,) = list_groups(lab.cluster, [group])
    assert (group_.protocol, [member.name for member in group_.members]) == (kind, ["wire"])
    with lab.guard() as proof:
        pass
    assert group in proof.watched
    assert group not in proof.unseen


@pytest.mark.parametrize(
    ("protocol_type", "kind"), [("connect", "connect"), ("sr", "schema registry")]
)
def test_a_group_of_workers_without_commits_is_idle_and_no_alarm(
    lab: Lab,
    member: WireMember,
    group: str,
    protocol_type: str,
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What its workers read and write has other groups, or none: it was called a share group."""
    member.join_classic(group, protocol_type)
    why = f"1 member; a worker group of kind {kind} commits no offsets"
    assert row(lab, group)["verdict"] == "idle"
    judged = lab.lag(group, samples=1)
    assert (judged.attrs["verdict"], judged.attrs["why"]) == ("idle", why)
    assert cli.main(["lag", "--check", group, "--max-lag", "5", *OFTEN]) == 0
    assert capsys.readouterr().out == f"ok    {group}: idle, lag none, {why}\n"
    assert why in labkit.widgets.lag_board([group]).text()
    member.leave()
    until(lambda: row(lab, group)["members"] == 0)
    assert row(lab, group)["verdict"] == "unknown"
    assert cli.main(["lag", "--check", group, *OFTEN]) == 3
    assert "unknown, lag not known, no members; " in capsys.readouterr().out


def test_the_doctor_counts_groups_of_every_kind(
    lab: Lab, member: WireMember, group: str, make_topic: Any
) -> None:
    """It counted consumer groups only."""
    topic = make_topic()
    before = _seen_by_the_doctor(lab, topic)
    member.join_classic(group, "connect")
    assert _seen_by_the_doctor(lab, topic) == before + 1


def _seen_by_the_doctor(lab: Lab, topic: str) -> int:
    return int(lab.doctor(topic=topic)["kafka describe groups"].finding.split()[0])


def test_a_connect_worker_that_joins_is_a_change(lab: Lab, member: WireMember, group: str) -> None:
    """BEHAVIOURS 42: the guard compares members of other kinds where the broker shows them."""
    with lab.guard() as proof:
        member.join_classic(group, "connect")
    assert [(change.what, change.after) for change in proof.changes if change.group == group] == [
        ("group", "present")
    ]
    assert not proof.untouched


def test_a_streams_groups_commits_are_listed_and_guarded(
    lab: Lab,
    member: WireMember,
    group: str,
    make_topic: Any,
    produce: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """BEHAVIOURS 42: the guard said untouched while a Streams group's commits moved."""
    topic = make_topic()
    produce(topic, [b"{}"] * 10)
    member.join_streams(group, topic)
    with lab.guard() as first:
        member.commit(topic, 0, 3)
    assert [
        (change.what, change.before, change.after)
        for change in first.changes
        if change.group == group
    ] == [(f"{topic}[0]", "None", "3")]
    group_row = row(lab, group)
    assert (group_row["protocol"], group_row["topics"], group_row["lag"]) == ("streams", topic, 7)
    assert group_row["verdict"] == "unknown"  # not stopped: whether it has members cannot be seen
    assert group_row["members"] is pd.NA
    assert "(unknown, members cannot be seen)" in str(lab.trace(topic, 0, 1, group=group))
    with lab.guard() as second:
        pass
    assert group in second.by_commits
    assert f"of {group} only the commits can be seen" in second.report()
    with lab.guard() as third:
        member.commit(topic, 0, 5)
    assert (f"{topic}[0]", "3", "5") in [
        (change.what, change.before, change.after) for change in third.changes
    ]
    assert not third.untouched
    assert lab.lag(group, samples=3, every="2s")["verdict"].tolist() == ["stalled"]
    assert cli.main(["lag", "--check", group, *OFTEN]) == 3
    assert "5 to read" in capsys.readouterr().out
    with pytest.raises(ServerError, match="not a consumer group"):
        lab.reset(group, topic, "earliest", i_own_this_group=True)


def test_kafka_streams_applications_of_both_protocols(
    lab: Lab,
    admin: Cluster,
    stack: State,
    make_topic: Any,
    produce: Any,
    tmp_path: Path,
    group: str,
) -> None:
    """BEHAVIOURS 42: real ones; the classic protocol shows members, the newer one commits only."""
    topic, copy = make_topic(2), make_topic(2)
    produce(topic, [b"{}"] * 10)
    classic, streams = f"{group}-classic", f"{group}-streams"
    columns = ["protocol", "members", "topics", "lag", "verdict"]

    def rows() -> dict[str, str]:
        table = lab.groups(f"{group}*").set_index("group")[columns]
        return {name: " ".join(map(str, table.loc[name])) for name in table.index}

    caught_up = {classic: f"classic 1 {topic} 0 ok", streams: f"streams <NA> {topic} 0 ok"}
    with streams_applications(
        stack, tmp_path, {classic: "classic", streams: "streams"}, topic, copy
    ):
        until(lambda: rows() == caught_up, timeout_s=60)
        with lab.guard() as beside:
            assert len(lab.window(copy).read(progress=False)) == 20
        assert classic in beside.watched
        assert streams in beside.by_commits
        assert [change for change in beside.changes if change.group in (classic, streams)] == []
        with lab.guard() as moved:
            produce(topic, [b"{}"] * 5)
            until(lambda: len(lab.window(copy)) == 30, timeout_s=30)
            until(lambda: rows() == caught_up, timeout_s=30)
        changes = {
            (change.group, change.what, change.before, change.after) for change in moved.changes
        }
        assert {
            (classic, f"{topic}[0]", "10", "15"),
            (streams, f"{topic}[0]", "10", "15"),
        } <= changes
    produce(topic, [b"{}"])
    ended = {classic: f"classic 0 {topic} 1 stopped", streams: f"streams <NA> {topic} 1 unknown"}
    until(lambda: rows() == ended, f"{rows()} are not {ended}, that", timeout_s=15)
    for name in (classic, streams):
        admin.admin.delete_consumer_groups([name])[name].exception(15)


def test_a_pattern_leaves_out_no_group_without_a_partition(
    lab: Lab,
    admin: Cluster,
    member: WireMember,
    group: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A share group, and one whose topic was deleted, were in `lab.groups` and nowhere else."""
    topic, deleted = f"irc-test-{group}", f"{group}.deleted"
    admin.ask(lambda client: client.create_topics([NewTopic(topic, 1, 1)]), what="make the topic")
    member.join_share(group, topic)
    commit = ConsumerGroupTopicPartitions(deleted, [TopicPartition(topic, 0, 0)])
    admin.ask(lambda client: client.alter_consumer_group_offsets([commit]), what="commit")
    admin.ask(lambda client: client.delete_topics([topic]), what="delete the topic")
    pattern = f"{group}*"
    until(lambda: lab.offsets(pattern).empty, "no commit in it")
    with pytest.warns(
        UserWarning, match=rf"no row of groups without a partition: {group}: unknown"
    ):
        judged = lab.lag(pattern, samples=1)
    assert judged.attrs["verdict"] == dict.fromkeys([group, deleted], "unknown")
    assert judged.attrs["why"][group].startswith("its members and commits cannot be seen")
    board = labkit.widgets.lag_board([pattern]).text()
    assert [line.split()[0] for line in board.splitlines()[1:]] == [group, deleted]
    assert cli.main(["lag", pattern, "--samples", "1"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [group, deleted]
    assert cli.main(["lag", pattern, "--samples", "1", "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out) == []
    assert f"no row of groups without a partition: {group}: unknown" in output.err
    for more in ([], ["--max-lag", "5"], ["--samples", "1"]):
        assert cli.main(["lag", "--check", pattern, *OFTEN, *more]) == 0, "none of them is named"
        lines = capsys.readouterr().out.splitlines()
        assert [line[:6] for line in lines] == ["?     "] * 2
    admin.admin.delete_consumer_groups([deleted])[deleted].exception(15)


def test_a_share_group_is_listed_and_never_certified(
    lab: Lab,
    member: WireMember,
    group: str,
    make_topic: Any,
    produce: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """BEHAVIOURS 42: only its name can be seen.

    So it is not known whether it is untouched.
    """
    topic = make_topic()
    member.join_share(group, topic)
    group_row = row(lab, group)
    assert (group_row["protocol"], group_row["verdict"]) == ("streams or share", "unknown")
    with lab.guard() as proof:
        pass
    assert not proof.untouched
    assert "neither members nor commits" in proof.unseen[group]
    assert group_row["members"] is pd.NA
    produce(topic, [b"{}"])
    trace = str(lab.trace(topic, 0, 0, group=group))
    assert "shows neither members nor commits" in trace
    assert trace.endswith(f"It is in the topic; {group} could not be looked at.")
    assert proof.report().startswith("no proof for all: ")
    receipt = lab.window(topic).read(progress=False).receipt
    assert receipt.guard["untouched"] is False
    assert receipt.guard["unseen"] >= 1
    assert cli.main(["lag", "--check", "--json", group, *OFTEN]) == 3
    (verdict,) = json.loads(capsys.readouterr().out)
    assert (verdict["verdict"], verdict["lag"], verdict["alarm"]) == ("unknown", None, True)


def test_a_held_partition_without_a_commit_is_not_lag_0(
    lab: Lab,
    admin: Cluster,
    make_topic: Any,
    produce: Any,
    group: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """BEHAVIOURS 41: a member holds it, ten records wait, and nothing was ever committed."""
    topic = make_topic(2)
    produce(topic, [b"{}"] * 10)
    consumer = admin.consumer(group=group)
    try:
        consumer.subscribe([topic])
        deadline = time.monotonic() + 20
        while len(consumer.assignment()) < 2:
            assert time.monotonic() < deadline
            consumer.poll(0.1)
        consumer.commit(offsets=[TopicPartition(topic, 1, 0)], asynchronous=False)
        group_row = row(lab, group)
        assert (group_row["lag"] is pd.NA, group_row["verdict"]) == (True, "unknown")
        judged = lab.lag(group, samples=3, every="200ms")
        assert judged["verdict"].tolist() == ["unknown", "ok"]
        assert "nothing committed, up to 10 to read" in judged["why"].iloc[0]
        assert cli.main(["lag", "--check", group, *OFTEN]) == 3
        out = capsys.readouterr().out
        assert out.startswith(f"ALARM {group}: unknown, lag 0 or more, ")
    finally:
        consumer.close()
        admin.admin.delete_consumer_groups([group])[group].exception(15)
