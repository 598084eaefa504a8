"""The indexer as a member of its group: where it begins, what it commits, how it waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from labkit.errors import AccessError, LabkitError, NotFoundError
from labkit.kafka.cluster import Cluster
from labkit.kafka.errors import ACCESS, FETCHED_AGAIN, Action, Operation, is_outage, passes
from labkit.kafka.groups import NOWHERE
from labkit.kafka.topic import LeaderWatch
from labkit.replay.records import (
    Portion,
    consume,
    member_offsets,
    message_batch,
    no_collection,
    portion,
    runs,
    sort_out,
)
from labkit.waiting.notice import WaitNotice

BATCH_RECORDS = 10_000
BATCH_BYTES = 4_000_000
PORTION_RECORDS = 1_000  # measured in the reader: larger ones outgrow the processor's caches
POLL_S = 0.5
SLOW_S = 5.0  # an answer that takes longer is told to be waited for
_REJOIN = {KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS,
           KafkaError._NO_OFFSET, KafkaError.FENCED_INSTANCE_ID, KafkaError.STALE_MEMBER_EPOCH}  # fmt: skip


class StoppedError(Exception):
    """Stop was asked for while Elasticsearch or Kafka was waited for."""


@dataclass(frozen=True)
class Stretch:
    """The offsets behind a batch's records, by partition, and whose assignment they belong to."""

    ahead: dict[int, int]
    epochs: dict[int, int]


@dataclass
class Member:
    """One member of a consumer group, that commits only what `commit` is given.

    Parameters
    ----------
    cluster : Cluster
    topic, group : str
    start : {"resume", "earliest", "latest"} or int
        Where to begin; a number is a time in milliseconds. What another member of the group has
        still to read is not skipped, nor is a partition that is made later.
    say : callable
    stop : threading.Event
    leaving : callable
        Called before partitions are given up: the last moment to settle and commit what was read of
        them.
    """

    cluster: Cluster
    topic: str
    group: str
    start: str | int
    say: Callable[[str], None]
    stop: threading.Event
    leaving: Callable[[], None] = lambda: None

    positions: dict[int, int] = field(default_factory=dict, init=False)
    joined: bool = field(default=False, init=False)
    paused: bool = field(default=False, init=False)
    _epochs: dict[int, int] = field(default_factory=dict, init=False)
    _ends_seen: dict[int, int] = field(default_factory=dict, init=False)
    _began: set[int] = field(default_factory=set, init=False)
    _there: set[int] = field(default_factory=set, init=False)  # the partitions when it joined
    _shared: bool = field(default=False, init=False)  # the group had other members then
    # few at first, for they may be large
    _record_bytes: float = field(default=BATCH_BYTES / 100, init=False)
    _consumer: Consumer | None = field(default=None, init=False)
    _notice: WaitNotice = field(init=False)
    _watch: LeaderWatch = field(init=False)

    def __post_init__(self) -> None:
        self._notice = WaitNotice(self.say)
        self._watch = LeaderWatch(self.cluster, self.topic, is_member=True)

    @property
    def trouble(self) -> str:
        """What of Kafka is waited for; empty when all it needs is there."""
        return self.cluster.token_problem or self._watch.text

    @property
    def consumer(self) -> Consumer:
        """The consumer, once `join` was called."""
        assert self._consumer is not None  # noqa: S101
        return self._consumer

    def require_rights(self) -> None:
        """Raise AccessError unless the group may commit and the topic be read.

        A commit to a partition that no topic has changes nothing: the broker refuses it for want of
        a right, else for want of the partition.
        """
        action = self._reading
        refused = self.patiently(
            lambda: self.cluster.groups.commit(self.group, self.topic, {NOWHERE: 0}, what=action)
        )
        for error in refused.values():
            if error.code() in ACCESS:
                raise self.cluster.error(error, action)

    @property
    def _reading(self) -> Action:
        """What it does, as an error says it."""
        return Operation.READ.to(
            f"read topic {self.topic!r} as group {self.group!r}",
            topic=self.topic,
            group=self.group,
        )

    def join(self) -> None:
        """Join the group."""
        if self.start != "resume":
            self._there = set(self.patiently(partial(self.cluster.partitions, self.topic)))
            self._shared = self.patiently(self._has_members)
        self._consumer = self.cluster.consumer(
            group=self.group,
            auto_offset_reset="error",  # records that are gone are an error, see `_mislaid`
            enable_partition_eof=True,
            isolation_level="read_committed",
            partition_assignment_strategy="cooperative-sticky",
            queued_max_messages_kbytes=32_768,
            # how long a killed instance keeps its partitions from the next
            session_timeout_ms=10_000,
            **self._watch.settings,
        )
        self.consumer.subscribe([self.topic], on_assign=self._on_assign, on_revoke=self._on_revoke)

    def _has_members(self) -> bool:
        described = self.cluster.groups.describe([self.group])[self.group]
        if isinstance(described, NotFoundError):
            return False
        if isinstance(described, LabkitError):
            raise described
        return bool(described.members)

    def close(self) -> None:
        """Leave the group."""
        if self._consumer is not None:
            self._consumer.close()

    # reading -----------------------------------------------------------------------------------------

    def read(self, timeout_s: float = POLL_S) -> tuple[pa.RecordBatch, Stretch] | None:
        """Return the next batch, bounded in records and bytes; None when nothing has come."""
        parts: list[Portion] = []
        ahead: dict[int, int] = {}
        room, left = BATCH_RECORDS, float(BATCH_BYTES)
        with no_collection():
            while room > 0 and left > 0:
                few = max(1, min(PORTION_RECORDS, room, int(left / self._record_bytes)))
                messages = consume(self.consumer, few, timeout_s)
                if not messages:
                    break
                records, signals = sort_out(messages)
                for signal in signals:
                    self._signal(signal)
                if records:
                    parts.append(portion(records))
                    offsets = parts[-1].offsets
                    ahead |= {
                        p: int(offsets[end - 1]) + 1 for p, _, end in runs(parts[-1].partitions)
                    }
                    self._record_bytes = max(1.0, parts[-1].bytes / len(records))
                    left -= parts[-1].bytes
                room -= len(messages)
                # only what is there: the first records should not wait for the last
                timeout_s = 0.01
        self._notice.tell("Kafka", self.trouble)
        if not parts:
            return None
        return message_batch(self.topic, parts), Stretch(
            ahead, {p: self._epochs.get(p, 0) for p in ahead}
        )

    def _signal(self, message: Message) -> None:
        """Book a message that is not a record."""
        error = message.error()
        assert error is not None  # noqa: S101
        if error.code() == KafkaError._PARTITION_EOF:
            partition, offset = message.partition(), message.offset()
            if partition is not None and offset is not None:
                self._ends_seen[partition] = offset
        elif (
            error.code() == KafkaError._AUTO_OFFSET_RESET and message.partition() in self.positions
        ):
            self._mislaid(TopicPartition(self.topic, message.partition()))
        elif error.code() not in {KafkaError._MAX_POLL_EXCEEDED, *FETCHED_AGAIN}:
            raise self.cluster.error(error, self._reading)

    def _mislaid(self, one: TopicPartition) -> None:
        """Go on at the log's start where records were deleted before they were read."""
        # negative before the first
        at = max(self.consumer.position([one])[0].offset, self.positions[one.partition])
        partition = one.partition
        bounds = partial(self.cluster.bounds, self.topic, [partition])
        first = self.patiently(partial(bounds, "earliest"))[partition]
        last = self.patiently(partial(bounds, "latest"))[partition]
        self._require_there(partition, at, last)
        self._say_deleted(one.partition, at, first)
        self._ends_seen[one.partition] = first  # committed once what was read before is
        one.offset = first
        # librdkafka no longer fetches it, and does not let it be sought
        self.consumer.incremental_unassign([one])
        self.consumer.incremental_assign([one])

    def _say_deleted(self, partition: int, at: int, first: int) -> None:
        self.say(
            f"partition {partition}: {first - at:,} offsets were deleted before they were indexed"
        )

    def _require_there(self, partition: int, at: int, last: int) -> None:
        if at > last:
            raise NotFoundError(
                f"partition {partition} of {self.topic!r} ends at {last:,}, and group {self.group!r} is at {at:,}",
                hint="was the topic made again, or cut back by an unclean leader election? "
                "Its records have the _ids of others then: use a new index and a new group, or delete both",
            )

    def has_reached(self, ends: dict[int, int]) -> bool:
        """Tell whether all there was to read of our partitions is committed, up to `ends`."""
        return self.joined and all(at >= ends.get(p, 0) for p, at in self.positions.items())

    def elsewhere(self, ends: dict[int, int]) -> list[int]:
        """Return the partitions of other members whose committed offsets lie before `ends`.

        A member killed while it joined holds partitions, unread, until the broker misses it.
        """
        unheld = [TopicPartition(self.topic, p) for p in ends if p not in self.positions]
        if not unheld:
            return []
        committed = self.patiently(partial(member_offsets, self.consumer, unheld))
        first = self.patiently(
            partial(
                self.cluster.bounds, self.topic, [place.partition for place in unheld], "earliest"
            )
        )
        return [
            place.partition
            for place in committed
            if max(place.offset, first[place.partition]) < ends[place.partition]
        ]

    @property
    def lag_records(self) -> int | None:
        """How many offsets of this member's partitions have no commit yet; None if unknown."""
        lag = 0
        for partition, at in self.positions.items():
            watermarks = self.consumer.get_watermark_offsets(
                TopicPartition(self.topic, partition), cached=True
            )
            if not watermarks or watermarks[1] < 0:
                return None
            lag += max(0, int(watermarks[1]) - at)
        return lag

    # committing --------------------------------------------------------------------------------------

    def commit(self, stretch: Stretch) -> None:
        """Commit what was acknowledged, for the partitions still ours."""
        ours = {p for p in self.positions if self._epochs.get(p, 0) == stretch.epochs.get(p)}
        self._commit({p: offset for p, offset in stretch.ahead.items() if p in ours})

    def commit_ends(self) -> None:
        """Commit the ends that were met, once all before them is committed.

        Only transaction markers may lie between.
        """
        self._commit(
            {p: end for p, end in self._ends_seen.items() if end > self.positions.get(p, end)}
        )

    def _commit(self, ahead: dict[int, int]) -> None:
        offsets = [TopicPartition(self.topic, p, offset) for p, offset in ahead.items()]
        if not offsets:
            return
        try:
            self.patiently(lambda: self.consumer.commit(offsets=offsets, asynchronous=False))
        except KafkaException as error:
            if error.args[0].code() not in _REJOIN:
                action = Operation.READ.to(
                    f"commit for group {self.group!r}", topic=self.topic, group=self.group
                )
                raise self.cluster.error(error.args[0], action) from error
            self.say(
                "the group was rebalanced before the commit; its next owner reads these records again"
            )
        self.positions |= {p: offset for p, offset in ahead.items() if p in self.positions}

    def patiently(self, call: Callable[[], Any]) -> Any:
        """Return what `call` returns, as soon as Kafka answers."""
        while True:
            try:
                # a commit waits within the client, as long as its coordinator is away
                with self._notice.after(SLOW_S, "Kafka"):
                    answer = call()
            except LabkitError as error:
                if not self._may_pass(error):
                    raise
                reason = error.message
            except KafkaException as error:
                if error.args[0].code() not in FETCHED_AGAIN:
                    raise
                reason = error.args[0].str()
            else:
                self._notice.end("Kafka")
                return answer
            self._notice.wait("Kafka", reason)
            if self.stop.wait(0.5):
                raise StoppedError

    def _may_pass(self, error: LabkitError) -> bool:
        if isinstance(error, AccessError):  # a token may be had later, once one was had before
            return self._consumer is not None and is_outage(error)
        there_later = isinstance(error, NotFoundError) or bool(error.facts.get("leaderless"))
        return there_later or passes(error)

    # assignment --------------------------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = [place.partition for place in partitions]
        starts = self.patiently(partial(member_offsets, consumer, partitions))
        earliest, latest = (
            self.patiently(partial(self.cluster.bounds, self.topic, numbers, at))
            for at in ("earliest", "latest")
        )
        starts_by_partition = self._starting_offsets(
            {start.partition: start.offset for start in starts}, earliest, latest
        )
        for place in starts:
            first = earliest[place.partition]
            if place.partition in starts_by_partition:
                place.offset = starts_by_partition[place.partition]
            elif place.offset < 0:
                place.offset = first
            elif place.offset < first:
                self._say_deleted(place.partition, place.offset, first)
                place.offset = first
            self._require_there(place.partition, place.offset, latest[place.partition])
            self._began.add(place.partition)
            self._epochs[place.partition] = self._epochs.get(place.partition, 0) + 1
            self._ends_seen.pop(place.partition, None)
            self.positions[place.partition] = place.offset
        consumer.incremental_assign(starts)
        self.joined = True
        # a later run resumes from where this one was to begin
        self._commit(starts_by_partition)
        if self.paused:
            consumer.pause(starts)
        where = ", ".join(f"{start.partition}@{start.offset}" for start in starts) or "none"
        self.say(f"assigned partitions {where}")

    def _starting_offsets(
        self, committed: dict[int, int], earliest: dict[int, int], latest: dict[int, int]
    ) -> dict[int, int]:
        """Return where to begin partitions that are ours for the first time.

        After a rebalance they go on.
        """
        fresh = [number for number in committed if number not in self._began]
        if self.start == "resume" or not fresh:
            return {}
        if isinstance(self.start, int):
            offsets = self.patiently(partial(self.cluster.bounds, self.topic, fresh, self.start))
            offsets = {p: at if at >= 0 else latest[p] for p, at in offsets.items()}
        else:
            offsets = earliest if self.start == "earliest" else {**latest, **self._new(earliest)}
        # others read it until now: what they left is not skipped
        handed_over = self._shared or bool(self._began)
        left = {p: committed[p] for p in fresh if handed_over and 0 <= committed[p] < offsets[p]}
        for partition, at in left.items():
            self.say(
                f"partition {partition} goes on from {at:,}, not {offsets[partition]:,}: the group has read up to there"
            )
        return {p: offsets[p] for p in fresh if p not in left}

    def _new(self, earliest: dict[int, int]) -> dict[int, int]:
        """Return the start of partitions that were made since this member came.

        No record of them was read yet.
        """
        return {p: at for p, at in earliest.items() if p not in self._there}

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if partitions:
            self.leaving()
        consumer.incremental_unassign(partitions)
        for place in partitions:
            self.positions.pop(place.partition, None)
            self._epochs[place.partition] = self._epochs.get(place.partition, 0) + 1
        if partitions:
            self.say(
                f"gave up partitions {', '.join(str(place.partition) for place in partitions)}"
            )

    # waiting -----------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Deliver nothing for a while, yet stay in the group; to be called about twice a second."""
        self.paused = True
        self.consumer.pause(self.consumer.assignment())
        stray = self.consumer.poll(0)
        if stray is not None and stray.error() is not None:
            self._signal(stray)
        elif stray is not None and stray.partition() in self.positions:
            self.consumer.seek(TopicPartition(self.topic, stray.partition(), stray.offset()))

    def resume(self) -> None:
        """Go on."""
        if self.paused:
            self.paused = False
            self.consumer.resume(self.consumer.assignment())
