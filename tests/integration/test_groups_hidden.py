"""What a look cannot see: hidden by access rules, without a leader, of a topic made again.

None is left out.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from labkit import cli
from labkit.errors import AccessError
from labkit.groups import sampling
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab, connect
from labkit.stack import kafka, process
from labkit.stack.state import HOST, State
from support.stack import new_state_dir
from support.waiting import until

OFTEN = ["--samples", "3", "--every", "200ms"]


def commit(cluster: Cluster, group: str, topic: str, *offsets: int) -> None:
    consumer = cluster.consumer(group=group)
    consumer.commit(
        offsets=[TopicPartition(topic, p, at) for p, at in enumerate(offsets)], asynchronous=False
    )
    consumer.close()


@contextmanager
def denied(
    admin: Cluster, topic: str, operation: AclOperation, role: str = "lab"
) -> Iterator[None]:
    """Deny a role something on a topic while a block runs."""
    who, deny = f"User:{role}", AclPermissionType.DENY
    rule = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, who, "*", operation, deny)
    admin.ask(lambda client: client.create_acls([AclBinding(*rule)]), what="create ACLs")
    try:
        yield
    finally:
        admin.ask(lambda client: client.delete_acls([AclBindingFilter(*rule)]), what="delete ACLs")


@contextmanager
def hidden(admin: Cluster, lab: Lab, topic: str) -> Iterator[None]:
    """Hide a topic from the lab while a block runs."""
    with denied(admin, topic, AclOperation.ALL):
        until(lambda: topic not in lab.cluster.topics())
        yield
    until(lambda: topic in lab.cluster.topics())


def test_partitions_of_a_hidden_topic_are_unknown_and_alarm(
    lab: Lab,
    admin: Cluster,
    group: str,
    make_topic: Any,
    produce: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    visible, unseen = make_topic(), make_topic(2)
    produce(visible, [b"{}"])
    consumer = admin.consumer(group=group)
    consumer.subscribe([visible, unseen])
    until(lambda: len([consumer.poll(0.1), *consumer.assignment()]) == 4)
    consumer.commit(
        offsets=[TopicPartition(visible, 0, 1), TopicPartition(unseen, 0, 0)], asynchronous=False
    )
    try:
        with hidden(admin, lab, unseen):
            rows = lab.offsets().set_index(["group", "topic"]).loc[group]
            assert rows.loc[[unseen], "flag"].tolist() == ["not allowed"] * 2
            assert rows.loc[[unseen], ["log_start", "log_end", "lag"]].isna().all(axis=None)
            assert rows.loc[visible, "lag"] == 0
            assert lab.groups().set_index("group").loc[group, "verdict"] == "unknown"
            assert cli.main(["lag", "--check", group, *OFTEN]) == 3
            assert capsys.readouterr().out.startswith(
                f"ALARM {group}: unknown, lag 0 or more, 2 of 3 partitions, such as {unseen}[0]: the topic "
                "may not be looked at"
            )
            assert cli.main(["lag", "--watch", group, "--samples", "1"]) == 0
        assert cli.main(["lag", "--check", group, *OFTEN]) == 0
    finally:
        consumer.close()


def test_a_named_group_that_shows_nothing_alarms(
    lab: Lab, admin: Cluster, group: str, make_topic: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = make_topic()
    commit(admin, group, topic, 0)
    with hidden(admin, lab, topic):
        assert cli.main(["lag", "--check", "--json", group, *OFTEN]) == 3
        (answer,) = json.loads(capsys.readouterr().out)
        assert (answer["group"], answer["verdict"], answer["partitions"], answer["alarm"]) == (
            group,
            "unknown",
            0,
            True,
        )
        assert lab.lag(group, samples=1).attrs["verdict"] == "unknown"


def test_a_topic_that_is_deleted_is_no_alarm_of_the_next_looks(
    lab: Lab, admin: Cluster, group: str, make_topic: Any, produce: Any
) -> None:
    """A watch went on for ten looks to say that its group had stopped, with records to read."""
    kept, deleted = make_topic(), f"irc-test-{group}"
    admin.ask(lambda client: client.create_topics([NewTopic(deleted, 1, 1)]), what="make it")
    until(lambda: deleted in admin.topics())
    produce(deleted, [b"{}"] * 3)
    commit(admin, group, kept, 0)
    commit(admin, group, deleted, 0)
    looks = sampling.watch(sampling.Sampler(lab.cluster, [group]), 0.2, lambda: False)
    before = [next(looks) for _ in range(3)][-1]
    assert [(row.topic, row.verdict) for row in before] == [(deleted, "stopped"), (kept, "ok")]
    admin.ask(lambda client: client.delete_topics([deleted]), what="delete it")
    until(lambda: deleted not in lab.cluster.topics())
    assert any([row.topic for row in next(looks)] == [kept] for _ in range(sampling.WINDOW // 2))


def test_a_topic_made_again_alarms(
    lab: Lab,
    admin: Cluster,
    group: str,
    make_topic: Any,
    produce: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    topic = make_topic()
    produce(topic, [b"{}"] * 3)
    commit(admin, group, topic, 5_000)
    assert cli.main(["lag", "--check", group, *OFTEN]) == 3
    assert (
        "committed 5,000 is beyond the end 3: topic made again or cut back?"
        in capsys.readouterr().out
    )


# the list of topics --------------------------------------------------------------------------------------

ENDS, KEPT = ["records", "earliest", "latest"], ["retention_ms", "cleanup", "timestamp_type"]


def test_a_topic_that_is_gone_or_does_not_tell_hides_no_other(
    lab: Lab, admin: Cluster, make_topic: Any, produce: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine, closed = make_topic(), make_topic()
    for topic in (fine, closed):
        produce(topic, [b"{}"] * 3)
    leaders_of = Cluster.leaders
    monkeypatch.setattr(
        Cluster, "leaders", lambda self: {**leaders_of(self), "irc-test-gone": {0: 1}}
    )
    with denied(admin, closed, AclOperation.DESCRIBE_CONFIGS):
        until(lambda: lab.topics().set_index("topic").loc[closed, KEPT].isna().all())
        table = lab.topics().set_index("topic")
    assert table.loc[closed, ENDS].tolist() == [3, 0, 3]
    assert table.loc[fine, ENDS + KEPT].tolist() == [3, 0, 3, -1, "delete", "CreateTime"]
    assert table.loc["irc-test-gone", [*ENDS, *KEPT, "newest"]].isna().all()


def test_files_were_sent_though_nobody_knows_for_how_long_they_are_kept(
    admin: Cluster, make_topic: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = make_topic()
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    with denied(admin, topic, AclOperation.DESCRIBE_CONFIGS, "extractor"):
        writer = connect(role="extractor").cluster
        until(lambda: isinstance(writer.each_topic_settings([topic])[topic], AccessError))
        assert cli.main(["extract", "files", str(tmp_path / "a.jsonl"), "--topic", topic]) == 0
    assert f"cannot tell how long {topic} keeps records" in capsys.readouterr().err
    assert admin.bounds(topic, [0], "latest") == {0: 1}


# a partition without a leader ----------------------------------------------------------------------------


@contextmanager
def second_broker(first: State, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a broker beside the stack's while a block runs, or until it is killed."""
    port = process.free_port()
    lines = (first.root / "kafka" / "server.properties").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines)
    address = f"CLIENT://{HOST}:{port}"
    settings |= {"process.roles": "broker", "node.id": "2", "log.dirs": str(folder / "data")}
    settings |= {"listeners": address, "advertised.listeners": address}
    kafka.write_settings(folder, settings)
    command = kafka.java_command(folder, first.run_id, lambda _: None)
    cluster_id = Cluster(first.credentials("admin")["kafka"]).cluster_id
    file = str(folder / "server.properties")
    storage = [
        *command,
        "kafka.tools.StorageTool",
        "format",
        "--cluster-id",
        cluster_id,
        "--config",
        file,
    ]
    subprocess.run(storage, check=True, capture_output=True, timeout=60)
    with (folder / "log").open("wb") as log:
        broker = subprocess.Popen([*command, "kafka.Kafka", file], stdout=log, stderr=log)
    try:
        yield broker
    finally:
        broker.kill()
        broker.wait(30)


@pytest.fixture
def leaderless(mortal: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Cluster, str]]:
    """A topic whose partition 1 was on a broker that is dead; partition 0 has a leader."""
    monkeypatch.setenv("LABKIT_STATE", str(mortal))
    admin, topic = connect(role="admin").cluster, f"irc-test-leaderless-{uuid.uuid4().hex[:8]}"
    commit(admin, "other.before", "irc", 0)  # the commits' own topic is on the first broker
    folder = new_state_dir()  # the servers' user must be able to enter it
    with second_broker(State.load(mortal), folder) as broker:
        until(
            lambda: len(admin.ask(lambda client: client.describe_cluster(), what="look").nodes) == 2
        )
        new = NewTopic(topic, 2, replica_assignment=[[1], [2]])
        admin.ask(lambda client: client.create_topics([new]), what="make it")
        until(lambda: topic in admin.topics())
        broker.kill()
        until(lambda: admin.metadata().topics[topic].partitions[1].leader == -1)
    yield admin, topic
    admin.ask(lambda client: client.delete_topics([topic]), what="delete it")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.chaos
def test_a_partition_without_a_leader_is_unknown_and_hinders_nobody(
    leaderless: tuple[Cluster, str], capsys: pytest.CaptureFixture[str]
) -> None:
    admin, topic = leaderless
    commit(admin, "other.leaderless", topic, 0, 0)
    lab, began = connect(), time.monotonic()
    table = lab.offsets().set_index(["group", "partition"]).loc["other.leaderless"]
    assert table["flag"].tolist() == ["", "no leader"]
    assert cli.main(["lag", "--check", "other.leaderless", *OFTEN]) == 3
    assert f"{topic}[1]: the partition has no leader" in capsys.readouterr().out
    topics = lab.topics().set_index("topic")
    assert topics.loc[topic, ENDS].isna().all()
    assert topics.loc["irc", ENDS].notna().all()
    assert time.monotonic() - began < 10
