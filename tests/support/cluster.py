"""Three real brokers, each to be killed, stopped and started by itself.

Topics have replication 3 and min.insync.replicas 2.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import psutil
from confluent_kafka import Consumer, ElectionType, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from labkit.config.profiles import Profile
from labkit.config.secrets import seal
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.stack import access, kafka, process
from labkit.stack.state import Service, State
from support.waiting import until

READY_S = 240.0
_QUIET = logging.getLogger("labkit.librdkafka")  # a dead broker is what the tests are about


def _silent(_text: str) -> None:
    return


class ThreeBrokers:
    """A cluster of three brokers in a state folder of its own, without Elasticsearch."""

    def __init__(self, state: State) -> None:
        self.state = state
        # never the client that is tested: its answers are what the tests compare with
        self.witness = AdminClient(state.credentials("admin")["kafka"], logger=_QUIET)

    @property
    def settings(self) -> dict[str, Any]:
        """The administrator's librdkafka properties."""
        return dict(self.state.credentials("admin")["kafka"])

    @property
    def bootstrap(self) -> str:
        return str(self.settings["bootstrap.servers"])

    def cluster(self, role: str = "lab") -> Cluster:
        """Return a cluster as a role has it: with a client of its own."""
        return Cluster(self.state.credentials(role)["kafka"])

    def lab(self, role: str = "lab") -> Lab:
        """Return a new lab, as a new kernel has it."""
        return Lab(
            Profile(
                "three",
                role,
                seal(self.state.credentials(role)["kafka"]),
                {},
                {},
                source="the test",
            )
        )

    # brokers -----------------------------------------------------------------------------------------

    def broker(self, number: int) -> Service:
        """Return the broker with this id, 1 to 3."""
        return self.state.brokers[number - 1]

    @property
    def alive(self) -> list[int]:
        return [number for number in (1, 2, 3) if process.running(self.broker(number))]

    def kill(self, number: int) -> float:
        """Kill a broker as the system does; return when, on the monotonic clock."""
        self.signal(number, signal.SIGKILL)
        psutil.wait_procs(
            [psutil.Process(self.broker(number).pid)]
            if psutil.pid_exists(self.broker(number).pid)
            else [],
            10,
        )
        return time.monotonic()

    def signal(self, number: int, what: signal.Signals) -> None:
        """Send a signal to a broker's process."""
        os.kill(self.broker(number).pid, what)

    def stop(self, number: int) -> None:
        """Stop a broker in order: it hands over what it leads."""
        process.stop(self.broker(number))

    def start(self, number: int, *, wait: bool = True) -> None:
        """Start a broker; wait until it is in sync again."""
        kafka.start_broker(self.state, self.broker(number), _silent)
        if wait:
            self.wait_healthy()

    def heal(self) -> None:
        """Start what is dead, and wait until all replicas are in sync.

        Then let each partition's first replica lead again.
        """
        for number in (1, 2, 3):
            if number not in self.alive:
                self.start(number, wait=False)
        self.wait_healthy()
        until(
            lambda: self._healthy(preferred=True) or self._elect_preferred(),
            "the preferred leaders",
            READY_S,
        )

    def _elect_preferred(self) -> None:
        # asked again: a broker that was frozen tells for a moment what was when it froze
        with suppress(KafkaException):
            self.witness.elect_leaders(ElectionType.PREFERRED).result(30)

    def wait_healthy(self) -> None:
        """Wait until the three brokers are healthy.

        Every partition has a leader and three replicas in sync then.
        """
        until(self._healthy, "a whole cluster", READY_S)

    def _healthy(self, *, preferred: bool = False) -> bool:
        try:
            metadata = AdminClient(self.settings, logger=_QUIET).list_topics(timeout=5)
        except Exception:
            return False
        return len(metadata.brokers) == 3 and all(
            part.leader >= 0
            and len(part.isrs) == len(part.replicas)
            and (not preferred or part.leader == part.replicas[0])
            for topic in metadata.topics.values()
            for part in topic.partitions.values()
        )

    # topics and who leads -----------------------------------------------------------------------------

    def make_topic(self, name: str, partitions: int = 6, **config: str) -> str:
        """Make a topic with three replicas of each partition."""
        settings = {"retention.ms": "-1"} | {
            key.replace("_", "."): value for key, value in config.items()
        }
        (future,) = self.witness.create_topics(
            [NewTopic(name, partitions, 3, config=settings)]
        ).values()
        future.result(30)
        until(lambda: len(self.leaders(name)) == partitions, f"leaders of {name}", 30)
        return name

    def leaders(self, topic: str) -> dict[int, int]:
        """Return the leader of each partition that has one, asked by a new client."""
        client = AdminClient(self.settings, logger=_QUIET)
        partitions = client.list_topics(topic, timeout=READY_S).topics[topic].partitions
        return {number: part.leader for number, part in partitions.items() if part.leader >= 0}

    def wait_led(self, topic: str) -> float:
        """Wait until live brokers lead all of a topic's partitions; return when, as `kill` does.

        So long Kafka itself needs: on a busy machine a minute, as its controllers are elected anew.
        """
        count = len(self.witness.list_topics(topic, timeout=READY_S).topics[topic].partitions)

        def led() -> bool:
            leaders = self.leaders(topic)
            return len(leaders) == count and set(leaders.values()) <= set(self.alive)

        until(led, f"leaders of {topic}", READY_S)
        return time.monotonic()

    def coordinator(self, group: str) -> int:
        """Return which broker coordinates a group.

        It is the leader of the group's partition of __consumer_offsets.
        """
        leaders = self.leaders("__consumer_offsets")
        return leaders[offsets_partition(group, len(leaders))]

    # records and commits ------------------------------------------------------------------------------

    def produce(
        self, topic: str, count: int, *, size: int = 200, partitions: int = 6, first: int = 0
    ) -> None:
        """Write `count` JSON records that do not compress, one number each.

        They are spread evenly over the partitions.
        """
        producer = self.cluster("admin").producer(linger_ms=5, partitioner="consistent")
        failed: list[Any] = []
        for number in range(first, first + count):
            noise = os.urandom(max(0, size - 30) // 2).hex()
            value = f'{{"n": {number}, "noise": "{noise}"}}'.encode()
            while True:
                try:
                    producer.produce(topic, value, partition=number % partitions,
                                     on_delivery=lambda e, _m: failed.append(e) if e else None)  # fmt: skip
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(120) == 0
        assert not failed, failed[0]

    def numbers(self, topic: str) -> list[int]:
        """Return the number of each record the topic has, sorted, read by a plain client."""
        client = self.cluster("admin")
        ends = client.bounds(topic, client.partitions(topic), "latest")
        consumer = Consumer(
            {**self.settings, "group.id": "labkit-test-numbers", "enable.auto.commit": False}
        )
        consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
        numbers: list[int] = []
        try:
            while len(numbers) < sum(ends.values()):
                messages = consumer.consume(10_000, 20)
                assert messages, f"{len(numbers)} of {sum(ends.values())} records of {topic} came"
                numbers += [
                    orjson.loads(message.value())["n"]
                    for message in messages
                    if message.error() is None
                ]
        finally:
            consumer.close()
        return sorted(numbers)

    def commit(self, group: str, topic: str, offsets: dict[int, int]) -> None:
        """Commit for a group without joining it."""
        consumer = self.cluster("admin").consumer(group=group)
        targets = [TopicPartition(topic, *offset) for offset in offsets.items()]

        def committed() -> bool:
            try:
                consumer.commit(offsets=targets, asynchronous=False)
            except KafkaException:  # its coordinator is not there yet
                return False
            return True

        try:
            until(committed, f"a commit for {group}", 30)
        finally:
            consumer.close()


def offsets_partition(group: str, count: int) -> int:
    """Return the partition of __consumer_offsets that holds a group.

    It follows from Java's String.hashCode of the group's name.
    """
    code = 0
    for character in group:
        code = (31 * code + ord(character)) & 0xFFFFFFFF
    return (code & 0x7FFFFFFF) % count


@contextmanager
def three_brokers(folder: Path, *, keep: bool = False) -> Iterator[ThreeBrokers]:
    """Run three brokers whose data is in `folder`; it takes about nine seconds."""
    state = State.load(folder)
    state.ensure_secrets()
    brokers = []
    try:
        brokers = kafka.start(state, _silent, brokers=3)
        access.ensure(Cluster(state.credentials("admin")["kafka"]), timeout_s=READY_S)
        cluster = ThreeBrokers(state)
        # so that __consumer_offsets is there
        cluster.commit("made-by-the-fixture", access.TOPIC, {0: 0})
        cluster.heal()
        yield cluster
    finally:
        if not keep:
            for service in brokers:
                if pid := process.running(service):
                    pid.kill()
            shutil.rmtree(folder, ignore_errors=True)
