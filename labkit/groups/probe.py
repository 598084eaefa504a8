"""What a consumer will read next: the first record after a committed offset, and its time.

Only that tells how late a consumer is (not the clock of a commit, nor a guess between two looks),
and whether a lag is of records at all: behind the last record may be transaction markers, which no
consumer ever receives.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from labkit.groups.looks import PartitionLag
from labkit.groups.states import Next
from labkit.kafka.cluster import Cluster, replay_group
from labkit.replay.records import consume

TIMEOUT_S = 5.0
MOST = 2_000  # partitions a look reads from; of more, those with the largest lag
_FETCH_BYTES = 65_536
_KEPT = 100_000

Where = tuple[str, int]
At = tuple[str, int, int]


class Prober:
    """Reads one record at each committed offset, outside any group: assign(), no commit.

    What it has read it remembers.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._times: dict[tuple[str, int, int], int | None] = {}
        self._ends: dict[tuple[str, int, int, int], Next] = {}

    def look(
        self, rows: Iterable[PartitionLag]
    ) -> dict[tuple[str, str, int], tuple[Next, int | None]]:
        """Return what comes next, and its time, by (group, topic, partition).

        The time is in ms since the epoch. Partitions without lag are left out, and those whose
        answer did not come in `TIMEOUT_S`.
        """
        behind = sorted((row for row in rows if row.lag), key=lambda row: -(row.lag or 0))[:MOST]
        ends = {(row.topic, row.partition, _from(row)): row.log_end or 0 for row in behind}
        self._read({at: end for at, end in ends.items() if not self._is_known(at, end)})
        results = {}
        for row in behind:
            at = (row.topic, row.partition, _from(row))
            if self._is_known(at, end := row.log_end or 0):
                kind = self._ends.get((*at, end), Next.RECORD)
                results[row.group, row.topic, row.partition] = (kind, self._times.get(at))
        self._forget()
        return results

    def _is_known(self, at: At, end: int) -> bool:
        return at in self._times or (*at, end) in self._ends

    def _forget(self) -> None:
        if len(self._times) + len(self._ends) > _KEPT:
            self._times.clear()
            self._ends.clear()

    def _read(self, missing: dict[At, int]) -> None:
        """Read what comes at each offset, until all are known or the time is over."""
        if not missing:
            return
        deadline = time.monotonic() + TIMEOUT_S
        consumer = self.cluster.consumer(
            group=replay_group(), enable_partition_eof=True, isolation_level="read_committed", fetch_wait_max_ms=50,
            max_partition_fetch_bytes=_FETCH_BYTES,
        )  # fmt: skip
        try:
            while missing and time.monotonic() < deadline:
                # a consumer holds a partition once: groups at other offsets of it have the next
                # turn
                turn = {
                    (topic, partition): (offset, missing[topic, partition, offset])
                    for topic, partition, offset in missing
                }
                self._turn(consumer, turn, deadline)
                missing = {at: end for at, end in missing.items() if not self._is_known(at, end)}
        finally:
            consumer.close()

    def _turn(
        self, consumer: Consumer, turn: dict[Where, tuple[int, int]], deadline: float
    ) -> None:
        waiting = dict(turn)
        consumer.assign([TopicPartition(*where, offset) for where, (offset, _) in turn.items()])
        while waiting and time.monotonic() < deadline:
            read = [
                where
                for message in consume(consumer, 500, 0.1)
                if (where := self._note(message, waiting))
            ]
            if read:
                consumer.incremental_unassign([TopicPartition(*where) for where in read])

    def _note(self, message: Message, waiting: dict[Where, tuple[int, int]]) -> Where | None:
        where = (message.topic() or "", message.partition() or 0)
        if where not in waiting:
            return None
        error, (offset, end) = message.error(), waiting[where]
        if error is None and (message.offset() or 0) < offset:
            return None  # of the turn before
        if error is None:
            kind, stamp = message.timestamp()
            self._times[(*where, offset)] = stamp if kind and stamp >= 0 else None
        elif error.code() == KafkaError._PARTITION_EOF:
            stable = (message.offset() or 0) >= end
            self._ends[(*where, offset, end)] = Next.NOTHING if stable else Next.OPEN_TRANSACTION
        else:
            self._ends[(*where, offset, end)] = Next.NOT_LOOKED_AT
        del waiting[where]
        return where


def _from(row: PartitionLag) -> int:
    return max(row.committed or 0, row.log_start or 0)
