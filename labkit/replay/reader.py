"""Read a plan's records from Kafka as Arrow record batches.

``assign()`` to the frozen offsets, never ``subscribe()``; nothing is committed, so no group is left
behind. A partition is done when a record or the end-of-partition signal at or after its frozen end
is seen: the record before the end may not exist (a transaction marker, a compacted record), so
neither ``end - 1`` nor a count is waited for.

Where the end was given as a time, the records just after the frozen end are looked at too: Kafka
finds the first offset at or after a time, so one record from a clock that runs ahead hides those of
the asked time that follow it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from labkit.errors import LabkitError
from labkit.kafka.cluster import Cluster, replay_group
from labkit.kafka.errors import FETCHED_AGAIN, MISSING, Operation
from labkit.kafka.topic import look_at_topic
from labkit.replay.account import Account, book_order, book_span, end_reason, peek_end
from labkit.replay.content_hash import Content
from labkit.replay.log_check import check_log, log_bounds
from labkit.replay.plan import Plan
from labkit.replay.receipt import Receipt, StopReason, versions
from labkit.replay.records import (
    consume,
    is_end,
    message_batch,
    no_collection,
    payload_bytes,
    portion,
    runs,
    sort_out,
)
from labkit.waiting.interrupt import Cancelled, never
from labkit.waiting.progress import Bar

BATCH_RECORDS = 20_000
BATCH_BYTES = 8_000_000
# measured: three times as fast as portions of 10,000, whose messages no cache holds
PORTION_RECORDS = 1_000
LOOK_S = 2.0  # nothing came for so long: why?
POLL_S = 0.2  # an interrupt is seen between two calls, so this is the longest wait for it
# where few records are left: gaps may stand in their place, and then the end is signalled
SHORT_POLL_S = 0.05
STALL_TIMEOUT_S = 60.0
Isolation = Literal["read_committed", "read_uncommitted"]
OnExpired = Literal["error", "clamp"]
Watch: TypeAlias = Callable[[Cluster], AbstractContextManager[Callable[[], dict[str, Any]]]]


@dataclass
class Reading:
    """One pass over a plan.

    Parameters
    ----------
    cluster : Cluster
    plan : Plan
    isolation : {"read_committed", "read_uncommitted"}
        Whether records of open and aborted transactions are hidden.
    on_expired : {"error", "clamp"}
        What to do when the first records are no longer in the topic: refuse, or read what is left
        and say so.
    max_bytes : int, optional
        End early once this many bytes of keys and values were read.
    deadline_s : float, optional
        End early after so many seconds.
    advance : callable, optional
        Called with how many records and bytes came with each batch.
    watch : callable, optional
        Makes a context that is entered around the reading, such as a look at the cluster's consumer
        groups before and after. It yields what returns the receipt's ``guard``.

    Notes
    -----
    Iterate over `batches()` once; `receipt()` is right at any time after it began.
    """

    cluster: Cluster
    plan: Plan
    isolation: Isolation = "read_committed"
    on_expired: OnExpired = "error"
    max_bytes: int | None = None
    deadline_s: float | None = None
    advance: Callable[[int, int], None] | None = None
    watch: Watch | None = field(default=None, repr=False)

    group: str = field(default_factory=replay_group, init=False)
    bytes: int = field(default=0, init=False)
    undecodable: dict[int, int] = field(default_factory=dict, init=False)
    _cancelled: Cancelled = field(default_factory=lambda: never, init=False, repr=False)
    _watched: Callable[[], dict[str, Any]] = field(default=dict, init=False, repr=False)
    _content: Content = field(default_factory=Content, init=False, repr=False)
    _accounts: dict[int, Account] = field(default_factory=dict, init=False)
    _unclear: list[Account] = field(default_factory=list, init=False)
    _missing: bool = field(default=False, init=False)
    _notes: list[str] = field(default_factory=list, init=False)
    _began: float = field(default=0.0, init=False)
    _ended: float = field(default=0.0, init=False)

    # reading -----------------------------------------------------------------------------------------

    def batches(self, cancelled: Cancelled = never) -> Iterator[pa.RecordBatch]:
        """Yield the records as batches of `RAW_SCHEMA`, each ordered by partition, then offset.

        `cancelled` is asked several times a second; once it says so, the reading ends.
        """
        self._cancelled = cancelled
        with self.watch(self.cluster) if self.watch else nullcontext(dict) as self._watched:
            yield from self._read()

    @property
    def was_cancelled(self) -> bool:
        """Whether it was cancelled, also after the last record."""
        return self._cancelled()

    def _read(self) -> Iterator[pa.RecordBatch]:
        self._began = self._ended = time.monotonic()
        self._content = Content()
        self.check()
        waiting = [account for account in self._accounts.values() if account.stop_reason is None]
        if not waiting:
            return
        lent = self.cluster.lend_consumer(
            (self.plan.topic_id, self.isolation),
            group=self.group,
            isolation_level=self.isolation,
            enable_partition_eof=True,
            fetch_wait_max_ms=10,  # at the log's end; a reading after this one waits for its fetches
            # fetched ahead; it holds three times as much memory or more, measured
            queued_max_messages_kbytes=8_192,
        )
        self.group, consumer = lent.group, lent.consumer
        try:
            positions = [
                TopicPartition(self.plan.topic, account.range.partition, account.position)
                for account in waiting
            ]
            consumer.assign(positions)
            yield from self._poll(consumer)
        except KeyboardInterrupt:
            self._stop_all(StopReason.INTERRUPT)
            raise
        finally:
            self._ended = time.monotonic()
            if {account.stop_reason for account in self._accounts.values()} == {StopReason.END}:
                self.cluster.keep_consumer(lent)
            else:
                consumer.close()

    def _poll(self, consumer: Consumer) -> Iterator[pa.RecordBatch]:
        moved = looked = time.monotonic()
        is_first_silence = True
        while self._open():
            batch, signals = self._gather(consumer)
            now = time.monotonic()
            if is_first_silence and batch is None and not signals:
                is_first_silence = False
                self._end_hidden(consumer)
            if batch is not None:
                batch = self._select(consumer, batch)
            for message in signals:
                self._signal(consumer, message)
            for account in list(self._unclear):
                self._judge(consumer, account)
            if batch is not None or any(map(is_end, signals)):
                moved = now
            elif now - max(moved, looked) > LOOK_S:
                looked = now
                self._look_for_trouble(consumer)
            if batch is not None and batch.num_rows:
                self._ended = now
                self._content.add(batch)
                if self.advance:
                    self.advance(batch.num_rows, payload_bytes(batch))
                yield batch
            self._stop_early(now, moved)

    def _stop_early(self, now: float, moved: float) -> None:
        """Stop all partitions when cancelled, at the cap, or late; `moved`: when a record came."""
        if self._cancelled():
            self._stop_all(StopReason.INTERRUPT)
        if self.max_bytes is not None and self.bytes >= self.max_bytes:
            self._stop_all(StopReason.CAP)
        late = self.deadline_s is not None and now - self._began > self.deadline_s
        if late or now - moved > STALL_TIMEOUT_S:
            self._stop_all(StopReason.DEADLINE)

    def _look_for_trouble(self, consumer: Consumer) -> None:
        """Say what is waited for; end the reading when the topic is not there any more."""
        topic, open_ = self.plan.topic, [account.range.partition for account in self._open()]
        state = look_at_topic(self.cluster, topic, open_)
        if not state.there or state.topic_id not in (None, self.plan.topic_id):
            if self._missing:  # a broker that has just started may not know it yet
                self._stop_all(StopReason.DELETED)
            self._missing = True
            return
        self._missing = False
        if not state.text:
            self._end_hidden(consumer)
            return
        if isinstance(self.advance, Bar):
            self.advance.wait(state.text)
        if (note := f"waited for Kafka: {state.text}") not in self._notes:
            self._notes.append(note)

    def _batch_records(self) -> int:
        """Return how many records to ask for, by the size of those that came.

        At first they are few, for they may be large.
        """
        so_far = sum(account.read + account.filtered for account in self._accounts.values())
        if not so_far:
            return 100
        left = (
            BATCH_BYTES if self.max_bytes is None else min(BATCH_BYTES, self.max_bytes - self.bytes)
        )
        return max(1, min(BATCH_RECORDS, int(left / max(1.0, self.bytes / so_far))))

    def _count_expected(self) -> int:
        """Return how many records may still come: nothing is gained by waiting for more."""
        return sum(
            max(1, peek_end(account, self.plan) - account.position) for account in self._open()
        )

    def _open(self) -> list[Account]:
        return [account for account in self._accounts.values() if account.stop_reason is None]

    def _stop_all(self, reason: StopReason) -> None:
        for account in self._open():
            account.stop_reason = reason

    def _gather(self, consumer: Consumer) -> tuple[pa.RecordBatch | None, list[Message]]:
        """Take what has come, and the broker's signals.

        Records come in small portions, which become columns before the next is taken.
        """
        expected = self._count_expected()
        most = min(self._batch_records(), expected)
        timeout_s = POLL_S if expected > PORTION_RECORDS else SHORT_POLL_S
        parts, signals = [], []
        with no_collection():
            while most > 0:
                messages = consume(consumer, min(PORTION_RECORDS, most), timeout_s)
                if not messages:
                    break
                records, new_signals = sort_out(messages)
                signals += new_signals
                if records:
                    parts.append(portion(records))
                most -= len(messages)
                # only what is there: the first records should not wait for the last
                timeout_s = 0.01
        return message_batch(self.plan.topic, parts) if parts else None, signals

    def _select(self, consumer: Consumer, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """Keep account of a batch; return its records that are in the window."""
        partitions = batch.column("partition").to_numpy()
        offsets = batch.column("offset").to_numpy()
        times = pc.fill_null(batch.column("timestamp").cast(pa.int64()), -1).to_numpy()
        keep = np.zeros(len(offsets), bool)
        for partition, first, last in runs(partitions):
            rows = slice(first, last)
            keep[rows] = self._account(consumer, partition, offsets[rows], times[rows])
        if not keep.any():
            return None
        batch = batch if keep.all() else batch.filter(pa.array(keep))
        self.bytes += payload_bytes(batch)
        return batch

    def _account(self, consumer: Consumer, partition: int, offsets: Any, times: Any) -> Any:
        """Book one partition's run of records; return which of them are in the window."""
        account = self._accounts[partition]
        inside = offsets < account.range.end
        if account.stop_reason is not None:
            return np.zeros(len(offsets), bool)
        keep = inside & self._in_time(times)
        account.read += int(keep.sum())
        account.filtered += int(inside.sum() - keep.sum())
        account.untimed += int((inside & ~keep & (times < 0)).sum())
        if inside.any():
            account.position = int(offsets[inside][-1]) + 1
        if keep.any():
            inside_offsets, when = offsets[keep], times[keep]
            account.first_offset = (
                int(inside_offsets[0]) if account.first_offset is None else account.first_offset
            )
            account.last_offset = int(inside_offsets[-1])
            book_span(account, when[when >= 0])
        book_order(account, times[inside & (times >= 0)])
        if not inside.all():
            beyond = offsets[~inside]
            account.beyond += int(
                (self._in_time(times[~inside]) & (beyond < peek_end(account, self.plan))).sum()
            )
            if beyond[-1] + 1 >= peek_end(account, self.plan):
                self._finish(consumer, account, end_reason(account))
        # the last record of all: no signal of the end is waited for
        elif account.position >= peek_end(account, self.plan):
            self._finish(consumer, account, end_reason(account))
        return keep

    def _in_time(self, times: Any) -> Any:
        """Tell which records are of the asked time: one without a time, -1, is of none."""
        if not self.plan.is_by_time:
            return np.ones(len(times), bool)
        keep = times >= max(0, self.plan.start_ms or 0)
        return keep if self.plan.end_ms is None else keep & (times < self.plan.end_ms)

    def _finish(self, consumer: Consumer, account: Account, reason: StopReason) -> None:
        account.stop_reason = reason
        consumer.incremental_unassign([TopicPartition(self.plan.topic, account.range.partition)])

    def _signal(self, consumer: Consumer, message: Message) -> None:
        error, account = message.error(), self._accounts.get(message.partition())
        if error is None or account is None or account.stop_reason is not None:
            return
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            return  # the group is only a name here: nothing is asked of it
        if is_end(message):
            self._end_of_partition(consumer, account, message.offset())
        elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            self._finish(consumer, account, self._why_out_of_range(account))
        elif error.code() in MISSING:
            self._missing = True  # whether it is, the next look tells
        elif error.code() not in FETCHED_AGAIN:
            raise self.cluster.error(
                error, Operation.READ.to(f"read topic {self.plan.topic!r}", topic=self.plan.topic)
            )
        elif (
            note := f"partition {message.partition()}: the broker said {error.str()}"
        ) not in self._notes:
            self._notes.append(note)  # it is asked again, as long as a stall may last

    def _why_out_of_range(self, account: Account) -> StopReason:
        """Tell whether the log's start passed the position, or its end fell behind it."""
        try:
            log_end = log_bounds(self.cluster, self.plan, "latest")[account.range.partition]
        except LabkitError:
            return StopReason.EXPIRED
        return StopReason.TRUNCATED if log_end < account.position else StopReason.EXPIRED

    def _end_of_partition(self, consumer: Consumer, account: Account, offset: int) -> None:
        if offset >= account.range.end:
            self._finish(consumer, account, end_reason(account))
            return
        account.position = max(account.position, offset)
        self._unclear.append(account)

    def _end_hidden(self, consumer: Consumer) -> None:
        """End partitions whose other records an open transaction hides: Kafka signals no end."""
        if self.isolation != "read_committed":
            return
        try:
            stable, latest = self._bounds("stable"), self._bounds("latest")
        except LabkitError:  # the reading itself tells what is wrong
            return
        for account in self._open():
            partition = account.range.partition
            if stable[partition] <= account.position and latest[partition] >= account.range.end:
                self._finish(consumer, account, StopReason.OPEN_TRANSACTION)

    def _judge(self, consumer: Consumer, account: Account) -> None:
        """Find out why a partition ends before its frozen end: again while the broker is away."""
        committed = self.isolation == "read_committed"
        try:
            visible = self._bounds("stable" if committed else "latest")[account.range.partition]
            reason = (
                StopReason.OPEN_TRANSACTION
                if committed and self._more(account)
                else StopReason.TRUNCATED
            )
        except LabkitError:
            return
        self._unclear.remove(account)
        if visible <= account.position and account.stop_reason is None:
            self._finish(consumer, account, reason)

    def _more(self, account: Account) -> bool:
        return self._bounds("latest")[account.range.partition] >= account.range.end

    # the account -------------------------------------------------------------------------------------

    def check(self) -> None:
        """Hold the frozen offsets against what the log has now, before anything is read.

        Raises
        ------
        WindowError
            When the topic is not the one the window was made of.
        WindowExpiredError
            When records are gone and `on_expired` is "error".
        """
        self._accounts = {span.partition: Account(span, span.start) for span in self.plan.ranges}
        self._notes = check_log(
            self.cluster, self.plan, self._accounts, clamp=self.on_expired == "clamp"
        )

    def _bounds(self, at: str) -> dict[int, int]:
        """Return the log's bounds, asked once: what moves is waited for, and told, by `_poll`."""
        return log_bounds(self.cluster, self.plan, at, patience_s=0)

    def drop(self, left_out: Mapping[int, int]) -> None:
        """Book records left out by a later filter, counted by partition.

        Only the thread that iterates over `batches` may call it: two that count in one account lose
        counts.
        """
        for partition, count in left_out.items():
            account = self._accounts[partition]
            account.read -= count
            account.filtered += count

    def _untimed_note(self) -> list[str]:
        """Say how many records are left out for want of a time."""
        count = sum(account.untimed for account in self._accounts.values())
        return [f"records without a time are in no window of a time: {count:,} left out"] * bool(
            count
        )

    def receipt(self) -> Receipt:
        """Return the account as it stands."""
        planned = {span.partition: span for span in self.plan.ranges}
        partitions = []
        for partition, account in sorted(self._accounts.items()):
            row = replace(account.receipt(), undecodable=self.undecodable.get(partition, 0))
            lost = row.start - planned[partition].start  # clamped: the plan stays what it was
            if lost:
                reason = (
                    StopReason.EXPIRED if row.stop_reason == StopReason.END else row.stop_reason
                )
                row = replace(
                    row,
                    start=planned[partition].start,
                    unread=row.unread + lost,
                    stop_reason=reason,
                )
            if account.cut:
                reason = (
                    StopReason.TRUNCATED if row.stop_reason == StopReason.END else row.stop_reason
                )
                row = replace(
                    row,
                    end=row.end + account.cut,
                    unread=row.unread + account.cut,
                    stop_reason=reason,
                )
            partitions.append(row)
        return Receipt(
            topic=self.plan.topic,
            cluster_id=self.plan.cluster_id,
            window=self.plan.hash,
            isolation=self.isolation,
            partitions=tuple(partitions),
            bytes=self.bytes,
            elapsed_s=round(self._ended - self._began, 3),
            group=self.group,
            versions=versions(),
            notes=(*self._notes, *self._untimed_note()),
            hash=self._content.hash,
            guard=self._watched(),
        )
