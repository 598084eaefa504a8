"""A clock that jumps while labkit works, as when somebody sets it.

What is shifted is what labkit takes for the time (`labkit.times.now_ms`); the servers' clocks and
the kernel's stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from labkit.groups.sampling import Sampler, take_samples
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.stack.state import State
from support.irc import Ngircd, Running, Talker, numbers_in, say, together
from support.waiting import until

pytestmark = pytest.mark.chaos
HOUR_S = 3600


@pytest.fixture
def topic(make_topic: Callable[..., str]) -> str:
    return make_topic(3)


class Clock:
    """What `labkit.times.now_ms` tells, with the shift it has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *users: str) -> None:
        from labkit.times import now_ms

        self.shift_s = 0
        for module in users:
            monkeypatch.setattr(f"{module}.now_ms", lambda: now_ms() + self.shift_s * 1000)


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S])
def test_the_verdict_on_a_group_does_not_mind(
    lab: Lab,
    admin: Cluster,
    make_topic: Callable[..., str],
    produce: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    jump_s: int,
) -> None:
    """A consumer that keeps pace is neither rewound (the clock went back) nor stalled (it leapt).

    The looks end.
    """
    topic = make_topic()
    group = f"indexer.clock-{topic[-8:]}"
    consumer = admin.consumer(group=group, auto_offset_reset="earliest")
    clock = Clock(monkeypatch, "labkit.groups.sampling")
    sampler, samples = Sampler(lab.cluster, [group]), []

    def next_look(_look: Any) -> None:
        """Between two looks more is written, and read but for the last record.

        After the second the clock jumps.
        """
        samples.append(1)
        produce(topic, [b"{}"] * 10)
        if len(samples) == 2:
            clock.shift_s = jump_s
        consumer.commit(offsets=[position(topic, 10 * len(samples) + 9)], asynchronous=False)

    produce(topic, [b"{}"] * 10)
    consumer.commit(offsets=[position(topic, 9)], asynchronous=False)
    from labkit.groups.lag import judge_all

    (verdict,) = judge_all(take_samples(sampler, 4, 0.2, lambda: len(samples) > 8, keep=next_look))
    consumer.close()
    assert len(samples) == 4
    assert (verdict.verdict, verdict.lag) == ("ok", 1), verdict.why
    assert 0 < verdict.seconds < 60
    admin.ask(lambda client: client.delete_consumer_groups([group]), what="delete it")


def position(topic: str, offset: int) -> Any:
    from confluent_kafka import TopicPartition

    return TopicPartition(topic, 0, offset)


@pytest.mark.hard
def test_the_extractor_loses_nothing_and_keeps_the_order(
    stack: State,
    topic: str,
    ngircd: Callable[..., Ngircd],
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each message is there once, in the order said.

    A receipt tells that the times are not in order.
    """
    clock = Clock(monkeypatch, "labkit.pipelines.irc.session")
    server = ngircd()
    extractor = Running(stack, topic, server.port)
    extractor.hears("connected to")
    talker = Talker(server.port, b"talker")
    together(talker, b"labkit")
    for number, shift_s in enumerate((0, -HOUR_S, 0, HOUR_S // 2, 0)):
        clock.shift_s = shift_s
        say(talker, range(number * 20, number * 20 + 20))
        until(
            lambda so_far=number: numbers_in(stack, topic) == list(range(so_far * 20 + 20)),
            "all in the topic, in order",
        )
    report = extractor.end()
    assert report.counts.failed == 0
    replay = lab.window(topic).read()
    assert replay.receipt.complete
    assert replay.receipt.read == report.records
    partition = max(replay.receipt.partitions, key=lambda one: one.read)
    assert partition.out_of_order > 0
    assert HOUR_S * 900 < partition.max_inversion_ms < HOUR_S * 1100
