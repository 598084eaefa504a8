"""A window's records in a scratch topic ``labkit.<user>.<name>``, with keys, headers, times, partitions as they were.

Kafka keeps no notes of a topic. So when it expires stands in its setting ``delete.retention.ms``, which means nothing
where nothing is compacted, in milliseconds since the epoch; records are never deleted by age, for they may be old.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import NewTopic

from labkit import html, interrupt, names
from labkit.decode.pipeline import Decoding
from labkit.errors import LabkitError, UsageError
from labkit.kafka import TIMEOUT_S, Cluster
from labkit.replay.receipt import Receipt
from labkit.times import iso, length_ms, now_ms

if TYPE_CHECKING:
    from labkit.window import Window

EXPIRES = "delete.retention.ms"
FOR_EVER = str(2**63 - 1)
FLUSH_S = 60.0
_PLAUSIBLE_MS = 1_700_000_000_000  # Kafka's own default of that setting is a day: no time of expiry


@dataclass(repr=False)
class TopicCopy:
    """A scratch topic and what came of its filling.

    Attributes
    ----------
    topic : str
        Its whole name.
    receipt : Receipt
        Of the read.
    counts : dict
        ``read = written + failed``, as the broker acknowledged.
    expires : str
        After this time `Lab.gc` deletes it.
    notes : tuple of str
        What else is to know, such as why records failed.
    """

    topic: str
    receipt: Receipt
    counts: dict[str, int]
    expires: str
    window_of: Callable[..., Window] = field(repr=False)
    cluster: Cluster = field(repr=False)
    notes: tuple[str, ...] = ()
    interrupted: bool = False

    @property
    def complete(self) -> bool:
        """Whether the whole window was read and each of its records is there."""
        return self.receipt.complete and not self.counts["failed"]

    def window(self, **bounds: Any) -> Window:
        """Return a window of the topic; the bounds are those of `Lab.window`."""
        return self.window_of(self.topic, **bounds)

    def drop(self) -> None:
        """Delete the topic."""
        drop(self.cluster, self.topic)

    def __str__(self) -> str:
        counts = self.counts
        line = f"{self.topic}: {counts['read']:,} read = {counts['written']:,} written + {counts['failed']:,} failed"
        lines = [line, f"  expires {self.expires}", *(f"  note: {note}" for note in self.notes)]
        return "\n".join([*lines, str(self.receipt)])

    __repr__ = __str__

    @html.view
    def _repr_html_(self) -> str:
        text = escape(str(self).split("\n" + str(self.receipt))[0]).replace("\n", "<br>")
        return html.box(html.GREEN if self.complete else html.RED, text) + self.receipt._repr_html_()


def fill(cluster: Cluster, decoding: Decoding, name: str, window_of: Callable[..., Window], *, ttl: str) -> TopicCopy:
    """Make the topic and write the window's records to it; an interrupt ends it early, and the counts say so."""
    topic, reading = names.scratch_topic(name), decoding.reading
    expires_ms = now_ms() + length_ms(ttl)
    partitions = cluster.partitions(reading.plan.topic)
    reading.check()  # a window that cannot be read makes no topic
    _make(cluster, reading.plan.topic, topic, len(partitions), expires_ms)
    writer = _Writer(cluster.producer(linger_ms=20, queue_buffering_max_kbytes=65_536), topic)
    with interrupt.asked() as reading.interrupted:
        for batch in decoding.raw():
            writer.write(batch)
        writer.flush()
    receipt = decoding.whole()
    counts = {"read": receipt.read, "written": writer.written, "failed": receipt.read - writer.written}
    notes = [f"{count:,} records failed: {why}" for why, count in writer.errors.most_common(5)]
    if writer.untimed:
        notes.append(f"{writer.untimed:,} records without a time have that of the writing")
    expires = iso(expires_ms) or ""
    return TopicCopy(topic, receipt, counts, expires, window_of, cluster, tuple(notes), reading.interrupted())


def _make(cluster: Cluster, source: str, topic: str, partitions: int, expires_ms: int) -> None:
    """Make the topic.

    Raises
    ------
    UsageError
        When it is there already: to write into it would mix two windows.
    """
    settings = {
        "cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", EXPIRES: str(expires_ms),
        "message.timestamp.type": "CreateTime", "message.timestamp.before.max.ms": FOR_EVER,
        "message.timestamp.after.max.ms": FOR_EVER,
    }  # fmt: skip
    if size := _largest(cluster, source):
        settings["max.message.bytes"] = size
    if topic in cluster.topics():
        raise UsageError(
            f"topic {topic!r} is there already, and would have two windows' records",
            hint="take another name, or delete it first: t.drop(); lab.gc() deletes it when it has expired",
        )
    cluster.ask(
        lambda admin: admin.create_topics([NewTopic(topic, partitions, config=settings)], request_timeout=TIMEOUT_S),
        what=f"make topic {topic!r}",
    )


def _largest(cluster: Cluster, source: str) -> str | None:
    try:
        return cluster.topic_settings([source])[source].get("max.message.bytes")
    except LabkitError:  # may not be told: the broker's default
        return None


@dataclass
class _Writer:
    """Writes records to their partitions; what the broker acknowledges is counted."""

    producer: Producer
    topic: str
    written: int = 0
    untimed: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def write(self, batch: pa.RecordBatch) -> None:
        columns = [batch.column(name) for name in ("partition", "key", "value", "headers")]
        times = batch.column("timestamp").cast(pa.int64()).to_pylist()
        for time_ms, partition, key, value, headers in zip(times, *(one.to_pylist() for one in columns), strict=True):
            extra = {"timestamp": time_ms} if time_ms else {}
            self.untimed += not extra
            pairs = [(one["key"], one["value"]) for one in headers] if headers else None
            self._put(value, key=key, partition=partition, headers=pairs, **extra)
        self.producer.poll(0)

    def _put(self, value: bytes | None, **record: Any) -> None:
        while True:
            try:
                self.producer.produce(self.topic, value, on_delivery=self._settled, **record)
            except BufferError:  # the broker is slower than the reading
                self.producer.poll(0.1)
            except KafkaException as error:  # such as a record that is too large for the client
                self.errors[error.args[0].str()] += 1
                return
            else:
                return

    def _settled(self, error: KafkaError | None, _message: Any) -> None:
        if error is None:
            self.written += 1
        else:
            self.errors[error.str()] += 1

    def flush(self) -> None:
        if left := self.producer.flush(FLUSH_S):
            self.errors[f"not acknowledged within {FLUSH_S:.0f} s"] += left


def drop(cluster: Cluster, topic: str) -> None:
    """Delete a scratch topic of the lab's."""
    names.lab_topic(topic)
    cluster.ask(
        lambda admin: admin.delete_topics([topic], request_timeout=TIMEOUT_S), what=f"delete topic {topic!r}"
    )  # fmt: skip


def collect(cluster: Cluster) -> list[str]:
    """Delete this user's expired scratch topics; return their names."""
    mine = [name for name in cluster.topics() if name.startswith(f"{names.TOPIC_PREFIX}{names.user()}.")]
    gone = []
    for name, settings in cluster.each_topic_settings(mine).items():
        if isinstance(settings, LabkitError):
            continue
        expires_ms = int(settings.get(EXPIRES, 0))
        if settings.get("cleanup.policy") == "delete" and _PLAUSIBLE_MS < expires_ms < now_ms():
            drop(cluster, name)
            gone.append(name)
    return gone
