"""The production-style consumer: a topic into an index, continuously.

At least once: an offset is committed only after Elasticsearch acknowledged every record before it, or the record lies
in the dead-letter file. A document's ``_id`` names its record, so what comes twice is there once.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import elasticsearch
import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from labkit import names
from labkit.elastic import Target
from labkit.errors import DeadlineError, NotFoundError, ServerError, UnavailableError, UsageError
from labkit.kafka import Cluster
from labkit.load.bulk import MAPPING, SETTINGS, Bulk, Outcome
from labkit.replay.records import consume, message_batch, portion
from labkit.times import iso, now_ms

BATCH_RECORDS = 10_000
STARTS = ("resume", "earliest", "latest")
_REJOIN = {KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS,
           KafkaError._NO_OFFSET, KafkaError.FENCED_INSTANCE_ID, KafkaError.STALE_MEMBER_EPOCH}  # fmt: skip


_AWAY = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._WAIT_COORD,
         KafkaError.REQUEST_TIMED_OUT, KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE,
         KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError._NOENT, KafkaError._RESOLVE}  # fmt: skip


class _StoppedError(Exception):
    """Stop was asked for while Elasticsearch or Kafka was waited for."""


@dataclass
class Indexer:
    """Copies a topic into an index until told to stop.

    Parameters
    ----------
    cluster, target : Cluster, Target
    topic, index, group : str
    start : {"resume", "earliest", "latest"}
        Where to begin: at the group's committed offsets (the log's start where there are none), or, whatever was
        committed, at the log's start or end.
    dead_letter : Path, optional
        File that refused records are appended to, as JSON lines with origin, reason and source. Without one, a
        refused record ends the run with an error and is not passed over.
    once : bool
        Stop at the end the topic has now.
    say : callable
        Takes one line of text.
    metrics : callable, optional
        Takes the counts every `every_s` seconds.
    """

    cluster: Cluster
    target: Target
    topic: str
    index: str
    group: str
    start: str = "resume"
    dead_letter: Path | None = None
    once: bool = False
    every_s: float = 10.0
    say: Callable[[str], None] = print
    metrics: Callable[[dict[str, Any]], None] | None = None

    outcome: Outcome = field(default_factory=Outcome, init=False)
    _positions: dict[int, int] = field(default_factory=dict, init=False)
    _ends: dict[int, int] = field(default_factory=dict, init=False)
    _began: set[int] = field(default_factory=set, init=False)
    _joined: bool = field(default=False, init=False)
    _waiting: bool = field(default=False, init=False)
    _stop: threading.Event = field(default_factory=threading.Event, init=False)

    def __post_init__(self) -> None:
        names.topic(self.topic)
        names.index(self.index)
        if self.start not in STARTS:
            raise UsageError(f"start {self.start!r}", hint=f"one of {', '.join(STARTS)}")
        names.group(self.group)
        if self.group.startswith(names.GROUP_PREFIX):
            raise UsageError(
                f"group {self.group!r} is a lab's", hint="name a production group, such as indexer.logstash-es"
            )

    def run(self, stop: threading.Event | None = None) -> dict[str, int]:
        """Copy until `stop` is set, or to the frozen end with `once`; return the ledger."""
        self._stop = stop or self._stop
        partitions = self.cluster.partitions(self.topic)
        self._check_dead_letter()
        self._ends = self.cluster.bounds(self.topic, partitions, "latest") if self.once else {}
        self._ensure_index()
        consumer = self.cluster.consumer(
            group=self.group,
            auto_offset_reset="earliest",
            enable_partition_eof=True,
            isolation_level="read_committed",
            partition_assignment_strategy="cooperative-sticky",
            queued_max_messages_kbytes=32_768,
            session_timeout_ms=10_000,  # how long a killed instance keeps its partitions from the next
        )
        bulk = Bulk(self.target, self.index, patience_s=None, waiting=lambda reason: self._wait(consumer, reason))
        try:
            consumer.subscribe([self.topic], on_assign=self._assigned, on_revoke=self._revoked)
            self._loop(consumer, bulk)
        except _StoppedError:
            self.say("stopped while waiting; what was not acknowledged is read again next time")
        finally:
            bulk.close()
            consumer.close()
        return self.outcome.counts

    # the loop ----------------------------------------------------------------------------------------

    def _loop(self, consumer: Consumer, bulk: Bulk) -> None:
        told = time.monotonic()
        while not self._stop.is_set() and not self._reached():
            messages = [one for one in consume(consumer, BATCH_RECORDS, 0.5) if not self._signal(one)]
            if messages:
                self._copy(consumer, bulk, messages)
            if time.monotonic() - told >= self.every_s:
                told = time.monotonic()
                self._tell()
        self._tell()

    def _copy(self, consumer: Consumer, bulk: Bulk, messages: list[Message]) -> None:
        outcome = bulk.write(message_batch(self.topic, [portion(messages)]))
        self._resume(consumer)
        if outcome.rejects:
            self._bury(outcome)
        self.outcome.add(outcome)
        ahead = {message.partition(): message.offset() + 1 for message in messages}
        self._commit(consumer, ahead)
        self._positions |= ahead

    def _commit(self, consumer: Consumer, ahead: dict[int, int]) -> None:
        """Commit what was acknowledged, for the partitions still ours."""
        ours = {one.partition for one in consumer.assignment()}
        offsets = [TopicPartition(self.topic, p, offset) for p, offset in ahead.items() if p in ours]
        if not offsets:
            return
        try:
            self._patiently(lambda: consumer.commit(offsets=offsets, asynchronous=False))
        except KafkaException as error:
            if error.args[0].code() not in _REJOIN:
                raise self.cluster.error(error.args[0], f"commit for group {self.group!r}") from error
            self.say("the group was rebalanced before the commit; its next owner reads these records again")

    def _patiently(self, call: Callable[[], Any]) -> Any:
        """Return what `call` returns, as soon as Kafka answers."""
        said = False
        while True:
            try:
                return call()
            except (UnavailableError, DeadlineError, NotFoundError) as error:
                reason = error.message
            except KafkaException as error:
                if error.args[0].code() not in _AWAY:
                    raise
                reason = error.args[0].str()
            if not said:
                self.say(f"waiting for Kafka: {reason}")
            said = True
            if self._stop.wait(0.5):
                raise _StoppedError

    def _signal(self, message: Message) -> bool:
        """Book what is no record; return whether it was none."""
        error = message.error()
        if error is None:
            return False
        if error.code() == KafkaError._PARTITION_EOF:
            partition, offset = message.partition(), message.offset()
            if partition is not None and offset is not None:
                self._positions[partition] = max(self._positions.get(partition, 0), offset)
        elif not error.retriable() and error.code() not in {KafkaError._MAX_POLL_EXCEEDED, *_AWAY}:
            raise self.cluster.error(error, f"read topic {self.topic!r} as group {self.group!r}")
        return True

    def _reached(self) -> bool:
        if not self.once:
            return False
        return self._joined and all(at >= self._ends.get(p, 0) for p, at in self._positions.items())

    def _tell(self) -> None:
        if self.metrics:
            counts = {**self.outcome.counts, "positions": self._positions}
            self.metrics({"time": iso(now_ms()), "group": self.group, "index": self.index, **counts})

    # assignment --------------------------------------------------------------------------------------

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = [one.partition for one in partitions]
        starts = self._patiently(lambda: consumer.committed(partitions, timeout=10)) if partitions else []
        earliest, latest = (
            self._patiently(partial(self.cluster.bounds, self.topic, numbers, at)) for at in ("earliest", "latest")
        )
        asked = []
        for one in starts:
            first = earliest[one.partition]
            fresh = one.partition not in self._began  # only the first time: a rebalance goes on where it was
            if fresh and self.start != "resume":
                one.offset = first if self.start == "earliest" else latest[one.partition]
                asked.append(one)
            elif one.offset < 0:
                one.offset = first
            elif one.offset < first:
                lost = first - one.offset
                self.say(f"partition {one.partition}: {lost:,} offsets were deleted before they were indexed")
                one.offset = first
            self._began.add(one.partition)
            self._positions[one.partition] = one.offset
        consumer.incremental_assign(starts)
        self._joined = True
        if asked:  # a later run resumes from where this one was told to begin
            self._commit(consumer, {one.partition: one.offset for one in asked})
        if self._waiting:
            consumer.pause(starts)
        where = ", ".join(f"{one.partition}@{one.offset}" for one in starts) or "none"
        self.say(f"assigned partitions {where}")

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_unassign(partitions)
        for one in partitions:
            self._positions.pop(one.partition, None)
        if partitions:
            self.say(f"gave up partitions {', '.join(str(one.partition) for one in partitions)}")

    def _wait(self, consumer: Consumer, reason: str) -> None:
        """Stay a member of the group while Elasticsearch is waited for: paused partitions deliver nothing."""
        if self._stop.is_set():
            raise _StoppedError
        if not self._waiting:
            self.say(f"waiting: {reason}")
        self._waiting = True
        consumer.pause(consumer.assignment())
        stray = consumer.poll(0)
        if stray is not None and stray.error() is None:
            consumer.seek(TopicPartition(self.topic, stray.partition(), stray.offset()))

    def _resume(self, consumer: Consumer) -> None:
        if self._waiting:
            self._waiting = False
            consumer.resume(consumer.assignment())
            self.say("Elasticsearch answers again")

    # index and dead letters --------------------------------------------------------------------------

    def _ensure_index(self) -> None:
        client = self.target.client
        with self.target.errors(f"make index {self.index!r}"):
            if client.indices.exists(index=self.index):
                return
            try:
                client.indices.create(index=self.index, mappings=MAPPING, settings=SETTINGS)
            except elasticsearch.BadRequestError as error:
                if "resource_already_exists" not in str(error):
                    raise

    def _check_dead_letter(self) -> None:
        if self.dead_letter is None:
            return
        try:
            self.dead_letter.open("ab").close()
        except OSError as error:
            raise UsageError(
                f"{self.dead_letter} cannot be written: {error.strerror}", hint="give --dead-letter a file"
            ) from error

    def _bury(self, outcome: Outcome) -> None:
        if self.dead_letter is None:
            first = outcome.rejects[0]
            raise ServerError(
                f"{first.topic}-{first.partition}-{first.offset} was refused: {first.reason}",
                hint="give --dead-letter FILE to put such records aside and go on",
            )
        with self.dead_letter.open("ab") as file:
            _append(file, outcome)
        self.say(f"{len(outcome.rejects)} refused records put aside in {self.dead_letter}")


def _append(file: BinaryIO, outcome: Outcome) -> None:
    file.writelines(orjson.dumps(asdict(one)) + b"\n" for one in outcome.rejects)
    file.flush()
    os.fsync(file.fileno())
