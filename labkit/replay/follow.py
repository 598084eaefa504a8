"""Follow a topic's end: what is new, as it comes.

Joins no group, commits nothing, and hardly waits.
"""

from __future__ import annotations

import time
from contextlib import suppress

import pyarrow as pa
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition

from labkit.errors import AccessError
from labkit.kafka.cluster import Cluster, replay_group
from labkit.kafka.errors import FETCHED_AGAIN
from labkit.kafka.topic import LeaderWatch
from labkit.replay.freeze import newest_records, warn_when_incomplete
from labkit.replay.records import consume, message_batch, portion, sort_out

_STEP_RECORDS = 2_000
_FAR = 50_000  # so far behind, it goes on at the end
_QUEUE_KB = 16_384
# how often new partitions are looked for, and how long an answer may take
_PARTITIONS_S, _ANSWER_S = 20.0, 0.2
_AGAIN_S = 1.0  # when none came


class Follower:
    """A reader at the end of a topic.

    Attributes
    ----------
    seen, skipped : int
        Records that came; offsets passed over because they came faster than they were taken.
    notes : dict of int to str
        Of each partition whose log went back: where to, the last time.
    """

    def __init__(self, cluster: Cluster, topic: str, *, last: int) -> None:
        self.cluster, self.topic = cluster, topic
        self.seen = self.skipped = 0
        self.notes: dict[int, str] = {}
        self._last, self._error, self._watch = last, "", LeaderWatch(cluster, topic)
        self._partitions = cluster.partitions(topic)
        warn_when_incomplete(cluster, topic)
        newest = newest_records(cluster, topic, self._partitions, last)
        self._next = {span.partition: span.start for span in newest.ranges}
        self._consumer = cluster.consumer(
            group=replay_group(),
            auto_offset_reset="earliest",  # of a topic made again, and of what was not deleted yet
            queued_max_messages_kbytes=_QUEUE_KB,
            **self._watch.settings,
        )
        self._go_on()
        self._looked = time.monotonic()

    @property
    def trouble(self) -> str:
        """Why nothing comes: what was refused last, or which leader is out of reach."""
        return self._error or self.cluster.token_problem or self._watch.text

    def _newest(self) -> dict[int, int]:
        """Return where the newest `last` offsets begin, spread evenly over the partitions.

        A partition that is there already, or beyond, stays where it is.
        """
        first, end = self.cluster.starts_and_ends(self.topic, self._partitions)
        share = -(-self._last // max(1, len(self._partitions)))
        begin = {}
        for partition in self._partitions:
            newest = max(first[partition], end[partition] - share)
            at = self._next.get(partition, newest)
            begin[partition] = at if newest <= at <= end[partition] else newest
        return begin

    def _go_on(self) -> None:
        self._consumer.assign(
            [TopicPartition(self.topic, partition, at) for partition, at in self._next.items()]
        )

    def take(self) -> pa.RecordBatch | None:
        """Return what has come, or None; at most 2,000 records."""
        if time.monotonic() - self._looked > _PARTITIONS_S:
            self._looked = time.monotonic() - _PARTITIONS_S + _AGAIN_S  # unless there is an answer
            self._add_partitions()
        messages = consume(self._consumer, _STEP_RECORDS, 0.0)
        good, failed = sort_out(messages)
        refusals = [error for error in map(Message.error, failed) if _stays(error)]
        self._error = refusals[-1].str() if refusals else "" if good else self._error
        if not good:
            return None
        batch = message_batch(self.topic, [portion(good)])
        self.seen += batch.num_rows
        self._move_on(batch)
        self._catch_up()
        return batch

    def _move_on(self, batch: pa.RecordBatch) -> None:
        """Note where each partition goes on, and whether its log went back on the way."""
        places = zip(batch["partition"].to_pylist(), batch["offset"].to_pylist(), strict=True)
        for partition, offset in places:
            if offset < self._next.get(partition, 0):
                self.notes[partition] = (
                    f"partition {partition} of {self.topic!r} went back from offset "
                    f"{self._next[partition]:,} to {offset:,}: it was cut back by an unclean leader "
                    "election, or the topic was made again; the records from there on are others"
                )
            self._next[partition] = offset + 1

    def _add_partitions(self) -> None:
        """Follow the partitions that were made meanwhile, from their first record."""
        # no answer or no token now: the next look has one
        with suppress(KafkaException, AccessError):
            # not by the consumer: on its connection the answer waits behind a fetch, half a second
            answer = self.cluster.admin.list_topics(self.topic, timeout=_ANSWER_S)
            partitions, self._looked = answer.topics[self.topic].partitions, time.monotonic()
            new = sorted(partitions.keys() - set(self._partitions))
            if new:
                self._consumer.incremental_assign(
                    [TopicPartition(self.topic, partition, OFFSET_BEGINNING) for partition in new]
                )
                self._partitions = [*self._partitions, *new]
                self._next |= dict.fromkeys(new, 0)

    def _catch_up(self) -> None:
        behind = 0
        for partition, at in self._next.items():
            _, end = self._consumer.get_watermark_offsets(
                TopicPartition(self.topic, partition), cached=True
            )
            behind += max(0, end - at)
        if behind > _FAR:
            newest = self._newest()
            self.skipped += sum(
                max(0, newest[partition] - at) for partition, at in self._next.items()
            )
            self._next = newest
            self._go_on()

    def close(self) -> None:
        """End it."""
        self._consumer.close()


def _stays(error: KafkaError | None) -> bool:
    """Tell whether the client does not get over an error by itself.

    The group is only a name here: that it is refused matters to nothing.
    """
    passing = {*FETCHED_AGAIN, KafkaError.GROUP_AUTHORIZATION_FAILED}
    return error is not None and error.code() not in passing
