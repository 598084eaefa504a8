"""A window's records in a scratch topic ``labkit.<user>.<name>``.

Keys, headers, times and partitions are as they were. Kafka keeps no notes of a topic. So when it
expires stands in its setting ``delete.retention.ms``, which means nothing where nothing is
compacted, in milliseconds since the epoch; records are never deleted by age, for they may be old.

A copy that is stopped, or whose process is killed, lacks records, and the lab may not change a
topic's settings later. So a topic without records, ``labkit.<user>.<name>.incomplete``, stands
beside it until the whole window is there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import NewTopic

from labkit.checks import names
from labkit.checks.suggest import typed
from labkit.checks.validation import whole_number
from labkit.decode.pipeline import Decoding
from labkit.errors import LabkitError, NotFoundError, UsageError
from labkit.kafka.cluster import SETTLE_S, TIMEOUT_S, Cluster
from labkit.kafka.errors import Operation
from labkit.kafka.new_topic import MOST_PARTITIONS, create_topic
from labkit.replay.receipt import Receipt
from labkit.replay.sample import explain_empty
from labkit.sinks.paced import Record, factor_of, pace_records, records
from labkit.text import html
from labkit.text.visible import visible
from labkit.times import iso, length_ms, now_ms
from labkit.waiting import interrupt
from labkit.waiting.progress import bar

if TYPE_CHECKING:
    from labkit.window import Window

EXPIRES = "delete.retention.ms"
FOR_EVER = str(2**63 - 1)
FLUSH_S = 60.0
NO_TIMESTAMP = -1
JAVAS = "murmur2_random"  # Java's partitioner: a key is in the same partition whoever writes it
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

    @property
    def _summary(self) -> str:
        counts = self.counts
        line = f"{self.topic}: {counts['read']:,} read = {counts['written']:,} written + {counts['failed']:,} failed"
        lines = [line, f"  expires {self.expires}", *(f"  note: {note}" for note in self.notes)]
        return "\n".join(map(visible, lines))

    def __str__(self) -> str:
        return f"{self._summary}\n{self.receipt}"

    __repr__ = __str__

    @html.view
    def _repr_html_(self) -> str:
        colour = html.GREEN if self.complete else html.RED
        return html.box(colour, html.lines(self._summary)) + self.receipt._repr_html_()


@dataclass(frozen=True)
class Shape:
    """How a copy differs from its source.

    Attributes
    ----------
    ttl : str
        After this long it expires.
    partitions : int, optional
        How many it has, records spread anew by key; left out: as they were.
    speed : str, optional
        At what pace records are written, see `labkit.sinks.paced.factor_of`; left out: as fast as
        can be.
    """

    ttl: str = "2d"
    partitions: int | None = None
    speed: str | None = None

    def check(self) -> Shape:
        """Raise where one of them cannot be."""
        length_ms(self.ttl)
        if self.speed is not None:
            factor_of(self.speed)
        if self.partitions is not None:
            whole_number(
                self.partitions,
                "partitions",
                "a number such as 6, or leave it out",
                low=1,
                high=MOST_PARTITIONS,
            )
        return self


def fill(
    cluster: Cluster,
    decoding: Decoding,
    name: str,
    window_of: Callable[..., Window],
    shape: Shape,
    *,
    show: bool | None = None,
) -> TopicCopy:
    """Make the topic and write the window's records to it.

    An interrupt ends it early, and the counts say so.
    """
    topic, reading = names.scratch_topic(name), decoding.reading
    expires_ms = now_ms() + length_ms(shape.ttl)
    partitions = shape.partitions or len(cluster.partitions(reading.plan.topic))
    reading.check()  # a window that cannot be read makes no topic
    _make(cluster, reading.plan.topic, topic, partitions, expires_ms)
    producer = cluster.producer(
        linger_ms=20,
        queue_buffering_max_kbytes=65_536,
        partitioner=JAVAS,
        # each record without a key to a partition of its own; by default a burst goes to one
        sticky_partitioning_linger_ms=0,
    )
    writer = _Writer(producer, topic, anew=shape.partitions is not None)
    with interrupt.listen() as cancelled:
        if shape.speed is None:
            for batch in decoding.raw(cancelled):
                writer.write(records(batch))
        else:
            pace = pace_records(
                decoding.raw(cancelled), factor_of(shape.speed), producer.poll, cancelled
            )
            with bar(f"{topic}, {shape.speed}", reading.plan.size, show) as advance:
                writer.write(pace, advance)
        writer.flush()
    receipt = explain_empty(cluster, decoding.final_receipt())
    counts = {
        "read": receipt.read,
        "written": writer.written,
        "failed": receipt.read - writer.written,
    }
    notes = [f"{count:,} records failed: {why}" for why, count in writer.errors.most_common(5)]
    if stopped := receipt.read - writer.written - writer.errors.total():
        notes.append(f"{stopped:,} records were not written: it was stopped")
    if writer.retimed:
        notes.append(f"{writer.retimed:,} records of {iso(0)} have the time of the writing")
    expires = iso(expires_ms) or ""
    copy = TopicCopy(topic, receipt, counts, expires, window_of, cluster, tuple(notes), cancelled())
    if copy.complete:
        try:
            _unmark(cluster, topic + names.INCOMPLETE)
        except LabkitError as error:
            copy.notes += (f"it is listed as incomplete, and is not: {error.message}",)
    return copy


def _make(cluster: Cluster, source: str, topic: str, partitions: int, expires_ms: int) -> None:
    """Make the topic, and the one beside it that says that it is incomplete.

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
    present = cluster.topics()
    if topic in present:
        raise UsageError(
            f"topic {topic!r} is there already, and would have two windows' records",
            hint="take another name; "
            + typed(
                f"lab.delete_scratch({topic!r}) deletes it",
                f"`labkit scratch delete {topic}` deletes it",
            ),
        )
    if topic + names.INCOMPLETE not in present:
        why = f", which stands beside {topic!r} until that is complete"
        create_topic(cluster, NewTopic(topic + names.INCOMPLETE, 1, config=settings), why)
    create_topic(cluster, NewTopic(topic, partitions, config=settings))


def _largest(cluster: Cluster, source: str) -> str | None:
    try:
        return cluster.topic_settings([source])[source].get("max.message.bytes")
    except LabkitError:  # may not be asked: the broker's default
        return None


@dataclass
class _Writer:
    """Writes records to their partitions; what the broker acknowledges is counted."""

    producer: Producer
    topic: str
    anew: bool = False
    written: int = 0
    retimed: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def write(
        self, batch: Iterable[Record], advance: Callable[[int, int], None] | None = None
    ) -> None:
        for time_ms, partition, key, value, headers in batch:
            self.retimed += time_ms == 0  # which librdkafka takes for now
            stamp = NO_TIMESTAMP if time_ms is None else time_ms
            place = {} if self.anew else {"partition": partition}
            self._put(value, key=key, headers=headers, timestamp=stamp, **place)
            if advance is not None:
                advance(1, len(value or b""))
        self.producer.poll(0)

    def _put(self, value: bytes | None, **record: Any) -> None:
        while True:
            try:
                self.producer.produce(self.topic, value, on_delivery=self._on_delivery, **record)
            except BufferError:  # the broker is slower than the reading
                self.producer.poll(0.1)
            except KafkaException as error:  # such as a record that is too large for the client
                self.errors[error.args[0].str()] += 1
                return
            else:
                return

    def _on_delivery(self, error: KafkaError | None, _message: Any) -> None:
        if error is None:
            self.written += 1
        else:
            self.errors[error.str()] += 1

    def flush(self) -> None:
        if left := self.producer.flush(FLUSH_S):
            self.errors[f"not acknowledged within {FLUSH_S:.0f} s"] += left


def _unmark(cluster: Cluster, mark: str) -> None:
    """Delete the topic that says that another is incomplete, and wait until no broker lists it."""
    _delete(cluster, mark)
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline and mark in cluster.topics():
        time.sleep(0.05)


def drop(cluster: Cluster, topic: str) -> None:
    """Delete a scratch topic of the lab's."""
    names.lab_topic(topic)
    _delete(cluster, topic)
    if (mark := topic + names.INCOMPLETE) in cluster.topics():
        _delete(cluster, mark)


def _delete(cluster: Cluster, topic: str) -> None:
    cluster.ask(
        lambda admin: admin.delete_topics([topic], request_timeout=TIMEOUT_S),
        what=Operation.DELETE.to(f"delete topic {topic!r}", topic=topic),
        done_already=KafkaError.UNKNOWN_TOPIC_OR_PART,
    )


def list_topics(cluster: Cluster) -> list[dict[str, Any]]:
    """Return one row per scratch topic of this user.

    Its columns: kind, topic, documents (by offsets), expires, expired, shortfall.
    """
    rows, topics = [], cluster.topics()
    for name, expires_ms in _expiries(cluster, topics).items():
        starts, ends = cluster.starts_and_ends(name, cluster.partitions(name))
        row = {
            "kind": "topic",
            "topic": name,
            "documents": sum(ends.values()) - sum(starts.values()),
            "expires": iso(expires_ms),
            "expired": expires_ms is not None and expires_ms < now_ms(),
            "shortfall": names.shortfall(name, topics),
        }
        rows.append(row)
    return rows


def _expiries(cluster: Cluster, topics: Collection[str]) -> dict[str, int | None]:
    """Return when each of this user's scratch topics expires; None where nothing says so.

    A topic that says of another that it is incomplete has no line while that one is there.
    """
    mine = {name for name in topics if name.startswith(f"{names.TOPIC_PREFIX}{names.user()}.")}
    mine -= {name + names.INCOMPLETE for name in mine}
    expiries: dict[str, int | None] = {}
    for name, settings in sorted(cluster.each_topic_settings(mine).items()):
        if isinstance(settings, LabkitError):
            expiries[name] = None
            continue
        expires_ms = int(settings.get(EXPIRES, 0))
        is_ours = settings.get("cleanup.policy") == "delete" and expires_ms > _PLAUSIBLE_MS
        expiries[name] = expires_ms if is_ours else None
    return expiries


def collect(cluster: Cluster) -> Iterator[str]:
    """Delete this user's expired scratch topics; yield the name of each that is gone."""
    now = now_ms()
    for name, expires_ms in _expiries(cluster, cluster.topics()).items():
        if expires_ms is not None and expires_ms < now:
            with suppress(NotFoundError):  # somebody else's gc was faster
                drop(cluster, name)
                yield name
