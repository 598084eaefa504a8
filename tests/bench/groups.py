"""`make bench`: how fast all groups' offsets and lag are listed, beside Kafka's own tool.

Both list the same groups of one broker, in turns; the tool's time holds the start of its Java,
labkit's that of its Python, as a user waits for both; labkit in a running notebook is shown apart.
Writes ``test-output/bench-groups.json``.
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
from pathlib import Path

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import NewTopic

from labkit.kafka.cluster import Cluster
from labkit.lab import Lab, connect
from labkit.stack import local

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import figures  # noqa: E402

from support.kafka_tools import GROUPS, tool  # noqa: E402

TOPICS, PARTITIONS, MEMBERS = 10, 20, 20
PREFIX = "bench.groups."
NOTEBOOK = "labkit: lab.offsets(), notebook"
OURS = "labkit offsets --json"
PEER = "kafka-consumer-groups.sh --all-groups --describe"


@contextmanager
def estate(admin: Cluster, count: int) -> Iterator[list[str]]:
    """Groups with a commit in each of their 20 partitions, some with a live member.

    Gone afterwards.
    """
    topics = [f"irc-bench-groups-{number}" for number in range(TOPICS)]
    missing = [NewTopic(name, PARTITIONS, 1) for name in set(topics) - set(admin.topics())]
    if missing:
        admin.ask(lambda client: client.create_topics(missing), what="make the topics")
    groups = [f"{PREFIX}{number:05d}" for number in range(count)]

    def commit(client: object, some: list[str]) -> dict[str, object]:
        return {
            name: client.alter_consumer_group_offsets(  # type: ignore[attr-defined]
                [
                    ConsumerGroupTopicPartitions(
                        name,
                        [
                            TopicPartition(topics[int(name[-5:]) % TOPICS], p, 0)
                            for p in range(PARTITIONS)
                        ],
                    )
                ]
            )[name]
            for name in some
        }

    admin.ask_each(commit, groups, what="commit")
    with ExitStack() as stack:
        stack.callback(
            lambda: admin.ask(lambda client: client.delete_topics(topics), what="delete the topics")
        )
        stack.callback(lambda: _delete(admin, groups))
        for number, name in enumerate(groups[:MEMBERS]):
            member = admin.consumer(group=name, auto_offset_reset="earliest")
            stack.callback(member.close)
            member.subscribe([topics[number % TOPICS]])
            deadline = time.monotonic() + 30
            while not member.assignment() and time.monotonic() < deadline:
                member.poll(0.1)
        yield groups


def _delete(admin: Cluster, groups: list[str]) -> None:
    admin.ask_each(
        lambda client, some: client.delete_consumer_groups(some), groups, what="delete the groups"
    )


def timed(what: Callable[[], int], wanted: int) -> float:
    """Return how many seconds `what` took; it must have listed all rows."""
    began = time.monotonic()
    answer = what()
    seconds = time.monotonic() - began
    assert answer >= wanted, f"{answer} rows of {wanted}"
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    state = local.up(say=print)
    lab: Lab = connect()
    rows = options.groups * PARTITIONS
    with tool(state, GROUPS, "--all-groups", "--describe") as command, estate(
        Cluster(state.credentials("admin")["kafka"]), options.groups
    ):  # fmt: skip
        env = {**os.environ, "LABKIT_STATE": str(state.root)}

        def peer() -> int:
            result = subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=300
            )
            return sum(line.startswith(PREFIX) for line in result.stdout.splitlines())

        def ours() -> int:
            listing = [sys.executable, "-m", "labkit", "offsets", "--json"]
            result = subprocess.run(
                listing, capture_output=True, text=True, check=True, timeout=300, env=env
            )
            return sum(row["group"].startswith(PREFIX) for row in json.loads(result.stdout))

        ways: dict[str, Callable[[], int]] = {
            NOTEBOOK: lambda: int(lab.offsets()["group"].str.startswith(PREFIX).sum()),
            "labkit: lab.groups(), notebook": lambda: len(lab.groups()) * PARTITIONS,
            OURS: ours,
            PEER: peer,
        }
        runs: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(options.rounds + 1):
            for name, way in ways.items():
                seconds = timed(way, rows)
                if turn:  # the first round warms the broker
                    runs[name].append(seconds)
                print(
                    f"{'warm-up' if not turn else f'round {turn}'}  {name:<52}{seconds:7.2f} s",
                    flush=True,
                )
    report(runs, options.groups, options.rounds)


def report(runs: dict[str, list[float]], groups: int, rounds: int) -> None:
    """Print the medians, and keep them as JSON."""
    medians = {name: statistics.median(figures) for name, figures in runs.items()}
    print(
        f"\n{groups:,} groups x {PARTITIONS} partitions\n{'way':<52}{'seconds':>9}{'the tool takes':>16}"
    )
    for name, seconds in medians.items():
        print(f"{name:<52}{seconds:>9.2f}{medians[PEER] / seconds:>14.1f} x")
    folder = HERE.parents[1] / "test-output"
    folder.mkdir(exist_ok=True)
    found = {"groups": groups, "partitions": PARTITIONS, "medians_s": medians, "runs_s": runs}
    (folder / "bench-groups.json").write_text(json.dumps(found, indent=2))
    rows = [{"way": name, "seconds": seconds} for name, seconds in medians.items()]
    figures.keep("groups", f"{groups:,} groups of {PARTITIONS} partitions", rounds, rows)


if __name__ == "__main__":
    main()
