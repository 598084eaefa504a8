"""Servers that are killed while they are read.

Each story counts what came, and says what must hold.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import NewTopic

from labkit.errors import UnavailableError
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab, connect
from labkit.replay.follow import Follower
from labkit.stack.state import State
from support.stack import kill_9, nothing_left, run_labkit
from support.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.hard, pytest.mark.timeout(600)]


@pytest.fixture
def mortal_lab(mortal: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    run_labkit(mortal, "up")
    monkeypatch.setenv("LABKIT_STATE", str(mortal))
    monkeypatch.setenv("LABKIT_USER", f"test_{uuid.uuid4().hex[:8]}")
    yield connect()
    run_labkit(mortal, "up")


class Writer:
    """Writes numbers to a topic of two partitions, whoever is away."""

    def __init__(self, admin: Cluster) -> None:
        self.admin, self.count = admin, 0
        self.topic = f"irc-test-{uuid.uuid4().hex[:8]}"
        admin.ask(lambda client: client.create_topics([NewTopic(self.topic, 2, 1)]), what="make it")
        until(lambda: self.topic in admin.topics(), "the topic")
        self.producer = admin.producer(linger_ms=5)

    def write(self, count: int) -> None:
        for _ in range(count):
            self.producer.produce(self.topic, b'{"n":%d}' % self.count, partition=self.count % 2)
            self.count += 1
        assert self.producer.flush(120) == 0

    def all_once(self, numbers: list[int]) -> None:
        """Hold that these are all that was written, each once."""
        assert sorted(numbers) == list(range(self.count)), Counter(numbers).most_common(3)


@pytest.fixture
def writer(mortal: Path, mortal_lab: Lab) -> Writer:
    return Writer(Cluster(State.load(mortal).credentials("admin")["kafka"]))


def come(take: Callable[[], list[int]], count: int, timeout_s: float = 120) -> list[int]:
    """Take until so many came, and a little longer."""
    rows: list[int] = []
    deadline = time.monotonic() + timeout_s
    while len(rows) < count:
        assert time.monotonic() < deadline, f"{len(rows)} of {count}"
        rows += take()
    return rows + take()


@contextmanager
def away(state: Path) -> Iterator[None]:
    """Kill Kafka now and start it again, while the block is at work."""
    kill_9(state, "kafka")
    back = threading.Thread(target=run_labkit, args=(state, "up"))
    back.start()
    try:
        yield
    finally:
        back.join()


def test_a_group_s_tail_goes_on_after_kafka_was_killed(
    mortal: Path, mortal_lab: Lab, writer: Writer
) -> None:
    """Each record comes once, those of before, and those of after.

    The commit is the topic's end; no group is left.
    """
    with (
        nothing_left(writer.admin, "irc-none"),
        mortal_lab.attach(writer.topic, name="tail", start="earliest") as group,
    ):

        def take() -> list[int]:
            frame = group.tail(0.5)
            return frame["n"].tolist() if len(frame) else []

        writer.write(200)
        numbers = come(take, 200)
        with away(mortal):
            numbers += take()
        writer.write(200)
        numbers += come(take, 200)
        writer.all_once(numbers)
        assert group.commit() == {0: 200, 1: 200}
        group.close()
        until(
            lambda: not mortal_lab.groups().set_index("group")["members"].get(group.group, 0),
            "an empty group",
        )
        group.close(delete=True)


def test_a_live_tail_goes_on_after_kafka_was_killed(
    mortal: Path, mortal_lab: Lab, writer: Writer
) -> None:
    """What the notebook's tail shows, each record once.

    It never waits, and says that Kafka was away.
    """
    writer.write(100)
    follower, troubles = Follower(mortal_lab.cluster, writer.topic, last=100), []

    def take() -> list[int]:
        time.sleep(0.05)
        began = time.monotonic()
        batch = follower.take()
        assert time.monotonic() - began < 5
        troubles.append(follower.trouble)
        return [] if batch is None else [int(text[5:-1]) for text in batch["value"].to_pylist()]

    numbers = come(take, 100)
    with away(mortal):
        until(lambda: numbers.extend(take()) or troubles[-1], "word of what is waited for")
    writer.write(100)
    numbers += come(take, 100)
    writer.all_once(numbers)
    assert follower.seen == 200
    assert follower.skipped == 0
    follower.close()


def test_elasticsearch_killed_in_a_comparison_is_an_error_and_no_verdict(
    mortal: Path, mortal_lab: Lab, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not read is never said to be the same, or missing.

    Once it is back all are the same.
    """
    writer.write(20_000)
    window = mortal_lab.window(writer.topic)
    load = window.to_scratch("killed")
    assert load.counts["indexed"] == 20_000
    looked: list[int] = []

    @contextmanager
    def bar(*_: Any) -> Iterator[Callable[[int, int], None]]:
        def advance(records: int, _size: int) -> None:
            looked.append(records)
            if len(looked) == 2:
                kill_9(mortal, "elasticsearch")

        yield advance

    with monkeypatch.context() as patched:
        patched.setattr("labkit.compare.run.bar", bar)
        with pytest.raises(UnavailableError) as caught:
            mortal_lab.compare(window.read(cache=False), load.index)
    assert caught.value.hint
    assert len(looked) >= 2
    run_labkit(mortal, "up")
    comparison = mortal_lab.compare(window.read(cache=False), load.index)
    assert (
        comparison.same,
        len(comparison.only_left),
        len(comparison.only_right),
        len(comparison.changed),
    ) == (
        20_000,
        0,
        0,
        0,
    )
    load.index.drop()
