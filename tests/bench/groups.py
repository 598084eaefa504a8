"""`make bench`: how fast all groups and topics of a large cluster are listed, beside Kafka's tools.

Both list the same of one broker, in turns; a tool's time holds the start of its Java, a command of
labkit's that of its Python, as a user waits for both; labkit in a running notebook is shown apart.
One group of twenty has records to read, so that `labkit lag` looks what comes next there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from labkit.kafka.cluster import Cluster
from labkit.lab import Lab, connect
from labkit.stack import local

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import figures  # noqa: E402

from support.kafka_tools import GROUPS, TOPICS, tool  # noqa: E402
from support.waiting import until  # noqa: E402

READ_TOPICS, PARTITIONS, MEMBERS = 10, 20, 20
RECORDS = 10  # in each of their partitions
BEHIND = 20  # one group of so many has records to read
PREFIX, TOPIC_PREFIX = "bench.groups.", "irc-bench-groups-"
AT_ONCE = 500  # topics made by one request
GROUPS_TOOL = "kafka-consumer-groups.sh --all-groups --describe"
TOPICS_TOOL = "kafka-topics.sh --describe"


@dataclass(frozen=True)
class Way:
    """A way to list groups or topics.

    Attributes
    ----------
    count : callable
        Lists them and returns how many of the bench's rows came.
    rows : int
        How many there are.
    tool : str
        Kafka's tool that it is compared with.
    """

    name: str
    count: Callable[[], int]
    rows: int
    tool: str


@contextmanager
def estate(admin: Cluster, groups: int, topics: int) -> Iterator[None]:
    """Topics, and groups with a commit in each of 20 partitions, some with a live member.

    Gone afterwards.
    """
    names = [f"{TOPIC_PREFIX}{number:04d}" for number in range(topics)]
    with ExitStack() as stack:
        _make_topics(admin, names)
        stack.callback(_delete_topics, admin, names)
        until(lambda: set(names) <= set(admin.topics()), "that the broker knows the topics")
        _write(admin, names[:READ_TOPICS])
        group_names = [f"{PREFIX}{number:05d}" for number in range(groups)]
        admin.ask_each(_commit, group_names, what="commit")
        stack.callback(_delete_groups, admin, group_names)
        for name in group_names[:MEMBERS]:
            stack.callback(_join(admin, name))
        yield


def _topic_of(group: str) -> str:
    return f"{TOPIC_PREFIX}{int(group.removeprefix(PREFIX)) % READ_TOPICS:04d}"


def _make_topics(admin: Cluster, names: list[str]) -> None:
    """Make those that groups read with many partitions, the others with one."""
    new_topics = [
        NewTopic(name, PARTITIONS if number < READ_TOPICS else 1, 1)
        for number, name in enumerate(names)
    ]
    for first in range(0, len(new_topics), AT_ONCE):
        some = new_topics[first : first + AT_ONCE]
        admin.ask(partial(AdminClient.create_topics, new_topics=some), what="make the topics")


def _write(admin: Cluster, topics: list[str]) -> None:
    producer = admin.producer()
    for topic in topics:
        for number in range(PARTITIONS * RECORDS):
            producer.produce(topic, b"{}", partition=number % PARTITIONS)
    producer.flush()


def _commit(client: object, groups: list[str]) -> dict[str, object]:
    """Commit for some groups; each twentieth has not read its last record."""
    answers = {}
    for group in groups:
        behind = int(group.removeprefix(PREFIX)) % BEHIND == 0
        offset, topic = RECORDS - behind, _topic_of(group)
        commits = [TopicPartition(topic, partition, offset) for partition in range(PARTITIONS)]
        asked = [ConsumerGroupTopicPartitions(group, commits)]
        answers[group] = client.alter_consumer_group_offsets(asked)[group]  # type: ignore[attr-defined]
    return answers


def _join(admin: Cluster, group: str) -> Callable[[], None]:
    """Let a member join; return what lets it leave."""
    member = admin.consumer(group=group, auto_offset_reset="earliest")
    member.subscribe([_topic_of(group)])
    deadline = time.monotonic() + 30
    while not member.assignment() and time.monotonic() < deadline:
        member.poll(0.1)
    return member.close


def _delete_groups(admin: Cluster, names: list[str]) -> None:
    admin.ask_each(
        lambda client, some: client.delete_consumer_groups(some), names, what="delete the groups"
    )


def _delete_topics(admin: Cluster, names: list[str]) -> None:
    admin.ask(lambda client: client.delete_topics(names), what="delete the topics")


def run(command: list[str], env: dict[str, str] | None = None) -> str:
    """Run a command to its end and return what it printed."""
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=300, env=env
    ).stdout


def notebook_ways(lab: Lab, groups: int, topics: int) -> list[Way]:
    """Return what is asked in a running notebook."""

    def count(table: pd.DataFrame, name: str, prefix: str) -> int:
        return int(table[name].str.startswith(prefix).sum())

    return [
        Way("labkit: lab.offsets(), notebook", lambda: count(lab.offsets(), "group", PREFIX),
            groups * PARTITIONS, GROUPS_TOOL),
        Way("labkit: lab.groups(), notebook", lambda: count(lab.groups(), "group", PREFIX),
            groups, GROUPS_TOOL),
        Way("labkit: lab.topics(), notebook", lambda: count(lab.topics(), "topic", TOPIC_PREFIX),
            topics, TOPICS_TOOL),
    ]  # fmt: skip


def command_ways(root: Path, groups: int, topics: int) -> list[Way]:
    """Return labkit's commands."""
    env = {**os.environ, "LABKIT_STATE": str(root)}

    def count(command: str, name: str, prefix: str) -> int:
        printed = run([sys.executable, "-m", *command.split()], env)
        return sum(row[name].startswith(prefix) for row in json.loads(printed))

    listed = [
        ("labkit offsets --json", "group", PREFIX, groups * PARTITIONS, GROUPS_TOOL),
        ("labkit groups --json", "group", PREFIX, groups, GROUPS_TOOL),
        ("labkit lag --samples 1 --json", "group", PREFIX, groups * PARTITIONS, GROUPS_TOOL),
        ("labkit topics --json", "topic", TOPIC_PREFIX, topics, TOPICS_TOOL),
    ]
    return [
        Way(command, partial(count, command, name, prefix), rows, peer)
        for command, name, prefix, rows, peer in listed
    ]


def tool_way(name: str, command: list[str], mark: str, rows: int) -> Way:
    """Return one of Kafka's tools; a line that begins with the mark is a row."""

    def count() -> int:
        return sum(line.startswith(mark) for line in run(command).splitlines())

    return Way(name, count, rows, name)


def measure(ways: list[Way], rounds: int) -> dict[str, list[float]]:
    """Return how many seconds each way took, in turns."""
    runs: dict[str, list[float]] = {way.name: [] for way in ways}
    for turn in range(rounds + 1):
        for way in ways:
            began = time.monotonic()
            rows = way.count()
            seconds = time.monotonic() - began
            assert rows >= way.rows, f"{way.name}: {rows} rows of {way.rows}"
            if turn:  # the first round warms the broker
                runs[way.name].append(seconds)
            label = f"round {turn}" if turn else "warm-up"
            print(f"{label}  {way.name:<52}{seconds:7.2f} s", flush=True)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=1_000)
    parser.add_argument("--topics", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    groups, topics = options.groups, options.topics
    state = local.up(say=print)
    with ExitStack() as stack:
        stack.enter_context(estate(Cluster(state.credentials("admin")["kafka"]), groups, topics))
        group_tool = stack.enter_context(tool(state, GROUPS, "--all-groups", "--describe"))
        topic_tool = stack.enter_context(tool(state, TOPICS, "--describe"))
        ways = [
            *notebook_ways(connect(), groups, topics),
            *command_ways(state.root, groups, topics),
            tool_way(GROUPS_TOOL, group_tool, PREFIX, groups * PARTITIONS),
            tool_way(TOPICS_TOOL, topic_tool, f"Topic: {TOPIC_PREFIX}", topics),
        ]
        runs = measure(ways, options.rounds)
    title = f"{groups:,} groups of {PARTITIONS} partitions, {topics:,} topics"
    report(title, ways, runs, options.rounds)


def report(title: str, ways: list[Way], runs: dict[str, list[float]], rounds: int) -> None:
    """Print the medians, and keep them."""
    medians = {name: statistics.median(seconds) for name, seconds in runs.items()}
    print(f"\n{title}\n{'way':<52}{'seconds':>9}{'the tool takes':>16}")
    for way in ways:
        seconds = medians[way.name]
        print(f"{way.name:<52}{seconds:>9.2f}{medians[way.tool] / seconds:>14.1f} x")
    rows = [{"way": name, "seconds": seconds} for name, seconds in medians.items()]
    figures.keep("groups", title, rounds, rows)


if __name__ == "__main__":
    main()
