"""Moving commits and deleting groups is planned first.

labkit's rules and the servers refuse it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from labkit import cli
from labkit.errors import AccessError, NotFoundError, RefusedError, ServerError, UsageError
from labkit.groups.offsets import list_groups
from labkit.groups.reset import plan_reset
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab, connect
from labkit.stack.state import State
from support.waiting import until


@pytest.fixture
def group(admin: Cluster) -> Iterator[Callable[..., str]]:
    """Make groups with commits; they are gone after the test."""
    names: list[str] = []

    def make(prefix: str, topic: str, **offsets: int) -> str:
        name = f"{prefix}{uuid.uuid4().hex[:10]}"
        names.append(name)
        consumer = admin.consumer(group=name)
        offsets_to_commit = [
            TopicPartition(topic, int(key[1:]), offset) for key, offset in offsets.items()
        ]
        consumer.commit(offsets=offsets_to_commit, asynchronous=False)
        consumer.close()
        return name

    yield make
    admin.ask_each(lambda client, some: client.delete_consumer_groups(some), names, what="delete")


@pytest.fixture
def topic(make_topic: Any, produce: Any) -> str:
    name: str = make_topic(2)
    produce(
        name, [b"{}"] * 10, timestamps=[1_000_000_000_000 + 1000 * number for number in range(10)]
    )
    produce(
        name,
        [b"{}"] * 4,
        partition=1,
        timestamps=[1_000_000_000_000 + 3000 * number for number in range(4)],
    )
    return name


def committed(admin: Cluster, name: str) -> dict[int, int]:
    (group,) = list_groups(admin, [name])
    return {partition: offset for (_, partition), offset in sorted(group.committed.items())}


def test_a_dry_run_shows_the_plan_and_changes_nothing(
    lab: Lab, admin: Cluster, group: Any, topic: str
) -> None:
    name = group("labkit.test.", topic, p0=5)
    plan = lab.reset(name, topic, "earliest")
    assert plan[["partition", "target", "moves"]].values.tolist() == [
        [0, 0, "5 back"],
        [1, 0, "first commit"],
    ]
    assert plan.attrs["executed"] is False
    assert committed(admin, name) == {0: 5}


@pytest.mark.parametrize(
    ("to", "wanted"),
    [
        ("earliest", {0: 0, 1: 0}),
        ("latest", {0: 10, 1: 4}),
        ("2001-09-09T01:46:45Z", {0: 5, 1: 2}),
        ("2030-01-01", {0: 10, 1: 4}),  # after the last record: the end, never -1
        ({0: 7}, {0: 7}),
    ],
)
def test_a_group_is_set_to_each_way_to_say_where(
    lab: Lab, admin: Cluster, group: Any, topic: str, to: Any, wanted: dict[int, int]
) -> None:
    name = group("labkit.test.", topic, p0=3)
    lab.reset(name, topic, to, execute=True)
    assert committed(admin, name) == wanted


def test_a_foreign_group_is_refused_before_any_connection(stack: State) -> None:
    cut_off = connect()
    cut_off.cluster._settings["bootstrap.servers"] = "127.0.0.1:1"
    with pytest.raises(RefusedError, match="not the lab's to reset"):
        cut_off.reset("indexer.logstash", "irc", "earliest", execute=True)
    with pytest.raises(RefusedError, match="not the lab's to touch"):
        cut_off.delete_group("indexer.logstash")


def test_the_servers_refuse_the_lab_and_each_partition_is_told(
    lab: Lab, admin: Cluster, group: Any, topic: str
) -> None:
    name = group("indexer.test.", topic, p0=3, p1=1)
    with pytest.raises(AccessError, match="authorization failed") as raised:
        lab.reset(name, topic, "earliest", execute=True, i_own_this_group=True)
    assert (raised.value.refused, raised.value.done) == ([0, 1], [])
    assert committed(admin, name) == {0: 3, 1: 1}
    # whose group it is
    connect(role="indexer").reset(name, topic, "latest", execute=True, i_own_this_group=True)
    assert committed(admin, name) == {0: 10, 1: 4}


def test_a_group_with_members_is_left_alone(
    lab: Lab, admin: Cluster, group: Any, topic: str
) -> None:
    name = group("labkit.test.", topic, p0=3)
    plan = plan_reset(lab.cluster, name, topic, "earliest")
    consumer = admin.consumer(group=name)
    consumer.subscribe([topic])
    until(lambda: [consumer.poll(0.1), *consumer.assignment()][1:], "an assignment")
    try:
        with pytest.raises(ServerError, match="has 1 member:"):
            lab.reset(name, topic, "earliest", execute=True)
        with pytest.raises(ServerError, match="has 1 member:"):
            lab.delete_group(name)
        with pytest.raises(ServerError, match="could not reset") as raised:
            plan.execute()  # it joined after the plan was made: the broker refuses
        assert "stop it first" in str(raised.value)
        assert committed(admin, name) == {0: 3}
    finally:
        consumer.close()


@pytest.mark.parametrize(
    ("to", "error"),
    [
        ({0: 11}, UsageError),
        ({0: -1}, UsageError),
        ({9: 0}, UsageError),
        ({}, UsageError),
        ("soon", UsageError),
    ],
)
def test_what_cannot_be_is_refused(
    lab: Lab, group: Any, topic: str, to: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        lab.reset(group("labkit.test.", topic, p0=3), topic, to, execute=True)


def test_what_is_not_there_is_not_made(lab: Lab, topic: str) -> None:
    for name in (
        lambda: lab.reset("labkit.nobody", topic, "latest"),
        lambda: lab.delete_group("labkit.nobody"),
    ):
        with pytest.raises(NotFoundError, match="no consumer group"):
            name()


def test_the_command_plans_executes_and_deletes(
    admin: Cluster, group: Any, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = group("labkit.test.", topic, p0=5, p1=4)
    ask = ["groups", "reset", name, "--topic", topic, "--to", "0:2,1:3"]
    assert cli.main(ask) == 0
    shown = capsys.readouterr()
    assert "3 back" in shown.out
    assert "nothing was changed" in shown.err
    assert committed(admin, name) == {0: 5, 1: 4}
    assert cli.main([*ask, "--execute", "--json"]) == 0
    assert [row["target"] for row in json.loads(capsys.readouterr().out)] == [2, 3]
    assert committed(admin, name) == {0: 2, 1: 3}
    assert cli.main(["groups", "delete", name]) == 0
    assert name not in {group_info.name for group_info in list_groups(admin)}
    assert cli.main(["groups", "delete", name]) == 1
    assert cli.main(["groups", "delete", "indexer.x"]) == 2
    assert cli.main(["groups", "reset", "indexer.x", "--topic", topic, "--to", "latest"]) == 2
    assert cli.main(["groups", "reset", name, "--topic", topic, "--to", "0:1,0:2"]) == 2
    capsys.readouterr()
    assert cli.main(["groups", "--json"]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), list)


def test_the_role_given_before_or_behind_the_word_counts(group: Any, topic: str) -> None:
    name = group("indexer.test.", topic, p0=5)
    rest = [name, "--topic", topic, "--to", "latest", "--i-own-this-group", "--execute"]
    assert cli.main(["groups", "reset", *rest]) == 1  # as the lab
    assert cli.main(["groups", "--role", "indexer", "reset", *rest]) == 0
    assert cli.main(["groups", "reset", *rest, "--role", "indexer"]) == 0


def test_retention_is_shown_and_set_where_the_role_may(
    topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["retention", topic, "90d"]) == 1
    assert "may not" in capsys.readouterr().err
    assert cli.main(["retention", topic, "90d", "--role", "admin"]) == 0
    assert cli.main(["retention", topic, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"topic": topic, "days": 90.0}
