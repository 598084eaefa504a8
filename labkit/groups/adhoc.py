"""An ad hoc consumer group: a real member of a real group of the lab's own, beside production."""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from labkit import times
from labkit.checks import names
from labkit.checks.suggest import way
from labkit.checks.user_line import warn
from labkit.checks.validation import offsets_by_partition, whole_number
from labkit.decode.table import from_batches
from labkit.errors import DeadlineError, LabkitError, UsageError
from labkit.groups.offsets import partition_lag
from labkit.groups.own import delete_group, wait_until_left
from labkit.kafka.client import weakly
from labkit.kafka.cluster import Cluster
from labkit.kafka.errors import FETCHED_AGAIN, Action, Operation
from labkit.kafka.topic import LeaderWatch, look_at_topic
from labkit.replay.freeze import warn_when_incomplete
from labkit.replay.reader import BATCH_BYTES, PORTION_RECORDS
from labkit.replay.records import (
    consume,
    member_offsets,
    message_batch,
    no_collection,
    portion,
    sort_out,
)
from labkit.tables.dataframe import in_zone, records_frame
from labkit.waiting import interrupt
from labkit.waiting.interrupt import Cancelled
from labkit.waiting.notice import waiting_for

if TYPE_CHECKING:
    import pandas as pd

    from labkit.decode import Spec
    from labkit.registry import Registry

JOIN_TIMEOUT_S = 30.0
SESSION_S = 20
_POLL_S = 0.2  # an interrupt is seen between two calls


@dataclass(eq=False)
class AdHocGroup:
    """A member of the group ``labkit.<user>.<name>``, reading one topic.

    Several of one name, in one notebook or in several, share the partitions. Nothing is committed
    but by `commit`. It is a context manager: leaving it closes the member and keeps the group's
    commits.

    Attributes
    ----------
    group : str
        The group's full id.
    """

    cluster: Cluster
    topic: str
    name: str
    start: Any = None
    registry: Registry | None = field(default=None, repr=False)
    decoders: tuple[Spec, Spec] = field(default=("json", "raw"), repr=False)
    timezone: tzinfo = field(default=UTC, repr=False)

    group: str = field(init=False)
    _consumer: Consumer | None = field(default=None, init=False, repr=False)
    _positions: dict[int, int] = field(default_factory=dict, init=False, repr=False)
    # of partitions that were taken away: where they were left
    _left: dict[int, int] = field(default_factory=dict, init=False, repr=False)
    _ended: set[int] = field(default_factory=set, init=False, repr=False)
    _watch: LeaderWatch = field(init=False, repr=False)
    _topic_id: str = field(init=False, repr=False)
    _joined: bool = field(default=False, init=False, repr=False)
    # what it was given it could not begin
    _failed: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        self.group = names.lab_group(names.adhoc_group(self.name))
        if self.start not in (None, "earliest", "latest"):
            # a wrong time fails now, not when partitions come
            times.to_ms(self.start, self.timezone)
        self.cluster.partitions(self.topic)
        warn_when_incomplete(self.cluster, self.topic)
        self._watch = LeaderWatch(self.cluster, self.topic, is_member=True)
        self._subscribe()
        self._topic_id = self.cluster.topic_id(self.topic)

    def _subscribe(self) -> None:
        """Become a member of the group; its partitions come with a later poll."""
        self._consumer = self.cluster.consumer(
            group=self.group,
            auto_offset_reset="error",  # see `_find_place`
            enable_partition_eof=True,
            isolation_level="read_committed",
            partition_assignment_strategy="cooperative-sticky",
            session_timeout_ms=SESSION_S * 1_000,
            **self._watch.settings,
        )
        # a cell run again forgets the old member: librdkafka must not keep it alive, and it leaves
        # the group
        self._consumer.subscribe(
            [self.topic], on_assign=weakly(self._on_assign), on_revoke=weakly(self._on_revoke)
        )
        self._leave = weakref.finalize(self, self._consumer.close)

    def __enter__(self) -> AdHocGroup:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # reading -----------------------------------------------------------------------------------------

    def read(
        self,
        count: int = 1000,
        *,
        timeout: str = "10s",
        decode: Spec | None = None,
        key_decode: Spec | None = None,
        on_interrupt: interrupt.OnInterrupt = "raise",
    ) -> pd.DataFrame:
        """Return the next records, at most `count`.

        There are fewer when no more are there now, or `timeout` has passed. The columns are those
        of `Replay.to_pandas`, the decoders those of `Window.read`. The first call waits for the
        group's partitions. Stop raises `Stopped`, which has what came as its ``.frame``, and the
        next call returns that again; with ``on_interrupt="keep"`` it is returned now.
        """
        count = whole_number(count, "count", "how many records? 1 or more", low=1)
        return self._frame(
            count, times.length_ms(timeout) / 1000, decode, key_decode, on_interrupt, at_end=True
        )

    def tail(
        self,
        seconds: float | str | timedelta = 10,
        *,
        decode: Spec | None = None,
        key_decode: Spec | None = None,
        on_interrupt: interrupt.OnInterrupt = "raise",
    ) -> pd.DataFrame:
        """Return what comes within `seconds` (``10``, or ``"1m"``).

        Stop does what it does in `read`.
        """
        length_s = seconds if isinstance(seconds, int | float) else times.length_ms(seconds) / 1000
        return self._frame(None, length_s, decode, key_decode, on_interrupt, at_end=False)

    def _frame(
        self,
        count: int | None,
        timeout_s: float,
        decode: Spec | None,
        key_decode: Spec | None,
        on_interrupt: interrupt.OnInterrupt,
        *,
        at_end: bool,
    ) -> pd.DataFrame:
        interrupt.check_policy(on_interrupt)
        value = self.decoders[0] if decode is None else decode
        key = self.decoders[1] if key_decode is None else key_decode
        self._join()
        before = dict(self._positions)
        try:
            with interrupt.listen() as cancelled:
                raw = self._collect(count, time.monotonic() + timeout_s, cancelled, at_end=at_end)
                if self._watch.text:
                    warn(waiting_for("Kafka", self._watch.text))
                elif not self._positions:
                    self._warn_of_none()
                frame = in_zone(
                    records_frame(from_batches(raw, value, key_decode=key, registry=self.registry)),
                    self.timezone,
                )
            if cancelled() and on_interrupt == "raise":
                raise interrupt.stop_error(
                    f"stopped: {len(frame):,} records of {self.topic!r} had come", frame=frame
                )
            return frame
        except BaseException:  # an interrupt, a decoder's error: what is not returned comes again
            self._rewind(before)
            raise

    def _collect(
        self, count: int | None, deadline: float, cancelled: Cancelled, *, at_end: bool
    ) -> list[pa.RecordBatch]:
        """Take what comes, in portions that become columns before the next is taken.

        Messages hold more memory than columns.
        """
        batches, parts, left = [], [], count
        while left != 0 and time.monotonic() < deadline and not cancelled():
            messages = self._poll(PORTION_RECORDS if left is None else min(PORTION_RECORDS, left))
            left = None if left is None else left - len(messages)
            if messages:
                parts.append(portion(messages))
            if sum(part.bytes for part in parts) >= BATCH_BYTES:
                batches.append(message_batch(self.topic, parts))
                parts = []
            if at_end and self._positions and self._ended >= set(self._positions):
                break
        return [*batches, message_batch(self.topic, parts)] if parts else batches

    def _poll(self, count: int) -> list[Message]:
        with no_collection():
            messages, signals = sort_out(consume(self._open, count, _POLL_S))
        for message in signals:
            self._signal(message)
        for message in messages:
            partition, offset = message.partition(), message.offset()
            if partition is not None and offset is not None:
                self._positions[partition] = offset + 1
                self._ended.discard(partition)
        return messages

    def _signal(self, message: Message) -> None:
        error = message.error()
        assert error is not None  # noqa: S101
        if error.code() == KafkaError._PARTITION_EOF:
            self._ended.add(message.partition() or 0)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            if message.partition() in self._positions:
                self._find_place(message.partition() or 0)
        # it goes on by itself
        elif error.code() not in {KafkaError._MAX_POLL_EXCEEDED, *FETCHED_AGAIN}:
            raise self.cluster.error(
                error, self._to(f"read topic {self.topic!r} as group {self.group!r}")
            )

    def _to(self, what: str) -> Action:
        """Return what is done as the group: an ACL that lacks is one on it, or on the topic."""
        return Operation.READ.to(what, topic=self.topic, group=self.group)

    def _rewind(self, before: dict[int, int]) -> None:
        """Go back, in the partitions that are still ours, to where a call began."""
        self._go(
            {partition: at for partition, at in before.items() if partition in self._positions}
        )

    # the group ---------------------------------------------------------------------------------------

    @property
    def _open(self) -> Consumer:
        if self._consumer is None:
            raise UsageError(
                f"{self.group} is closed", hint="attach again: lab.attach(topic, name=…)"
            )
        return self._consumer

    def _join(self) -> None:
        """Wait until the group has given this member its partitions.

        None, when others hold them all.
        """
        self._look_at_topic()
        if self._failed:
            self._failed = False
            self._leave()
            self._subscribe()
        deadline = time.monotonic() + JOIN_TIMEOUT_S
        while not self._joined:
            self._give_back(consume(self._open, 1, _POLL_S))
            if time.monotonic() > deadline:
                why = f": {self._watch.text}" if self._watch.text else ""
                raise DeadlineError(
                    f"{self.group} got no partitions in {JOIN_TIMEOUT_S:.0f} s{why}",
                    hint="a member of the group that does not read holds up one that joins: read with it, or "
                    f"close it. Is the broker away? {way('doctor')} tells",
                )

    def _give_back(self, messages: list[Message]) -> None:
        records, signals = sort_out(messages)
        for message in signals:
            self._signal(message)
        for message in records:  # came in the very call that brought the partitions
            if message.partition() is not None:
                self._open.seek(
                    TopicPartition(self.topic, message.partition() or 0, message.offset() or 0)
                )

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._consumer is None:  # a late answer while it closes: nothing can be asked any more
            return
        self._failed = True  # until all that is asked here was answered
        held = [place.partition for place in partitions]
        fresh = [number for number in held if number not in {*self._positions, *self._left}]
        starts = self._starts(fresh, self.start) if self.start is not None else {}
        earliest, ends = self.cluster.starts_and_ends(self.topic, held)
        committed = self.cluster.ask_again(
            lambda: member_offsets(consumer, partitions),
            what=self._to(f"read the commits of group {self.group!r}"),
        )
        for place in committed:
            number = place.partition
            if number in starts:  # whatever was committed
                place.offset = starts[number]
            else:
                # one that comes back goes on where it was left, or where another member committed
                # since
                position = max(place.offset, self._left.pop(number, 0))
                place.offset = self._settle(number, position, earliest[number], ends[number])
            self._positions[number] = place.offset
        self._joined, self._failed = True, False
        consumer.incremental_assign(committed)

    def _warn_of_none(self) -> None:
        warn(
            f"this member of {self.group} has no partition of {self.topic!r}: other members hold them all"
        )

    def _settle(self, partition: int, position: int, first: int, end: int) -> int:
        """Return where to go on in a log, after a warning when it lacks the place."""
        if 0 < position < first:
            warn(
                f"offsets {position:,} to {first - 1:,} of partition {partition} of {self.topic!r} were deleted "
                f"before {self.group} read them; it goes on at {first:,}"
            )
        elif position > end:
            warn(
                f"{self.group} was at offset {position} of partition {partition}, but {self.topic!r} ends at {end}: "
                "was it made again, or cut back by an unclean leader election? "
                "The group begins at the log's start"
            )
        return position if first <= position <= end else first

    def _find_place(self, partition: int) -> None:
        """Go on in a partition whose log lacks the place that was asked for."""
        earliest, ends = self.cluster.starts_and_ends(self.topic, [partition])
        position = self._settle(
            partition, self._positions[partition], earliest[partition], ends[partition]
        )
        self._go({partition: position})

    def _look_at_topic(self) -> None:
        """Begin at the log's start when the topic was made again; raise when it is gone."""
        state = look_at_topic(self.cluster, self.topic, [])
        if not state.there:
            self.cluster.partitions(self.topic)
        elif state.topic_id not in (None, self._topic_id):
            self._topic_id = str(state.topic_id)
            warn(f"{self.topic!r} was made again: {self.group} begins at the log's start")
            self.start = "earliest"  # all that it has came since
            self._positions.clear()
            self._left.clear()
            self._joined, self._failed = False, True

    def _go(self, targets: Mapping[int, int]) -> None:
        for partition, offset in targets.items():
            self._positions[partition] = offset
            self._ended.discard(partition)
            self._open.seek(TopicPartition(self.topic, partition, offset))

    def _starts(self, partitions: list[int], place: Any) -> dict[int, int]:
        """Return the offsets of "earliest", "latest" or a point in time."""
        if place not in ("earliest", "latest"):
            place = times.to_ms(place, self.timezone)
        return self.cluster.offsets_from(self.topic, partitions, place)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for place in partitions:
            if place.partition in self._positions:
                self._left[place.partition] = self._positions.pop(place.partition)
            self._ended.discard(place.partition)
        self._joined = bool(self._positions)
        consumer.incremental_unassign(partitions)

    def seek(self, to: str | Any | Mapping[int, int]) -> None:
        """Go to "earliest", "latest", a point in time, or ``{partition: offset}``.

        Only this member's partitions are moved.
        """
        self._join()
        mine = [place.partition for place in self._open.assignment()]
        if isinstance(to, Mapping):
            targets = offsets_by_partition(to)
            foreign = set(targets) - set(mine)
            if foreign:
                raise UsageError(
                    f"partitions {sorted(foreign)} are not this member's",
                    hint=f"it has {sorted(mine)}",
                )
            self._check(targets)
        else:
            targets = self._starts(mine, to)
        with self.cluster.errors(self._to(f"seek in topic {self.topic!r}")):
            self._go(targets)

    def _check(self, targets: Mapping[int, int]) -> None:
        """Refuse offsets the log lacks: librdkafka would go to its start without a word."""
        first, end = self.cluster.starts_and_ends(self.topic, targets)
        for partition, offset in targets.items():
            if not first[partition] <= offset <= end[partition]:
                raise UsageError(
                    f"partition {partition} of {self.topic!r} has no offset {offset}",
                    hint=f"it has {first[partition]} to {end[partition]}, the end",
                )

    def commit(self) -> dict[int, int]:
        """Commit what was returned so far; return the offsets by partition."""
        self._join()
        offsets = [TopicPartition(self.topic, p, at) for p, at in sorted(self._positions.items())]
        if offsets:
            self.cluster.ask_again(
                lambda: self._open.commit(offsets=offsets, asynchronous=False),
                what=self._to(f"commit for group {self.group!r}"),
            )
        return dict(sorted(self._positions.items()))

    def lag(self) -> pd.DataFrame:
        """Return one row per partition of this member, with its lag.

        Its columns: partition, position, committed, log_start, log_end, lag. The lag is from the
        position of this member, not from its last commit.
        """
        import pandas as pd

        self._join()
        mine = sorted(self._positions)
        starts, ends = self.cluster.starts_and_ends(self.topic, mine)
        committed = self.cluster.groups.committed([self.group])[self.group]
        if isinstance(committed, LabkitError):
            raise committed
        rows = [
            {
                "partition": p,
                "position": self._positions[p],
                "committed": committed.get((self.topic, p)),
                "log_start": starts[p],
                "log_end": ends[p],
                "lag": partition_lag(self._positions[p], starts[p], ends[p])[0],
            }
            for p in mine
        ]
        columns = ["partition", "position", "committed", "log_start", "log_end", "lag"]
        return pd.DataFrame(rows, columns=columns).astype({"committed": "Int64", "lag": "Int64"})

    def close(self, *, delete: bool = False) -> None:
        """Leave the group.

        With `delete` remove it with its commits, when no other member is left.
        """
        member_id = None
        if self._consumer is not None:
            member_id = self._consumer.memberid()
            self._consumer = None
            self._leave()
        if delete:
            wait_until_left(self.cluster, self.group, member_id, SESSION_S)
            delete_group(self.cluster, self.group)

    def __str__(self) -> str:
        state = (
            "closed" if self._consumer is None else f"at {self._positions or 'no partition yet'}"
        )
        verbs = ".read(n) .tail(seconds) .seek(to) .commit() .close(delete=True)"
        return f"ad hoc group {self.group} on {self.topic!r}, {state}; {verbs}"

    __repr__ = __str__
