"""What is known of records on their way to Kafka."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from labkit.errors import UsageError
from labkit.times import to_ms

SETTINGS = {
    "linger_ms": 20,
    "compression_type": "zstd",
    "batch_size": 200_000,  # a refused batch is sent again one by one: keep it small
    # the topic's own limit decides, not librdkafka's 1 MB; must fit the queue
    "message_max_bytes": 60_000_000,
    "queue_buffering_max_messages": 100_000,
    "queue_buffering_max_kbytes": 65_536,  # librdkafka would take 1 GB
    "partitioner": "murmur2_random",  # Java's: a key is in the same partition whoever writes it
}

_YEAR_10000_MS = 253_402_300_800_000
Headers = list[tuple[str, bytes | None]] | list[tuple[str, bytes]]


@dataclass(frozen=True)
class Counts:
    """Where the records are: ``sent = delivered + failed + waiting``.

    Attributes
    ----------
    sent : int
        Records taken by ``send``.
    delivered : int
        Acknowledged by all in-sync replicas.
    failed : int
        Not in Kafka, ``rejected`` included.
    waiting : int
        Neither yet.
    rejected : int
        Refused for what they are (too large); the run goes on without them.
    retimed : int
        Delivered with Kafka's own time because it refused theirs.
    """

    sent: int
    delivered: int
    failed: int
    waiting: int
    rejected: int
    retimed: int


class Sink(Protocol):
    """What records are sent to: a topic (`TopicSink`), the same through a spool, or an index."""

    @property
    def rejections(self) -> list[str]: ...

    @property
    def counts(self) -> Counts: ...

    @property
    def error(self) -> Exception | None: ...

    def __enter__(self) -> Sink: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None: ...

    def send(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
        timestamp_ms: int | None = None,
    ) -> None: ...

    def serve(self) -> None: ...

    def flush(self, timeout_s: float | None = None) -> None: ...

    def close(self) -> None: ...


class MarkedSink(Sink, Protocol):
    """A sink that tells how far all before is settled."""

    def __enter__(self) -> MarkedSink: ...

    @property
    def acknowledged(self) -> int: ...

    def begin(self, file: Path | None) -> None:
        """Tell which file the records that follow are from; None: this run alone has them."""

    def mark(self, label: int) -> None: ...


class Block:
    """Records sent one after the other, acknowledged together."""

    __slots__ = ("label", "lost", "waiting")

    def __init__(self) -> None:
        self.label: int | None = None
        self.waiting = 0
        self.lost = False


def kafka_ms(value: str) -> int | None:
    """Return ISO 8601 text as milliseconds since the epoch.

    It is None for other text, and for times that Kafka cannot hold. Kafka's client takes 0 for
    "now" and refuses less; past the year 9999 it could not be shown again.
    """
    try:
        stamp = to_ms(value, spoken=False)
    except (UsageError, OverflowError):
        return None
    return stamp if 0 < stamp < _YEAR_10000_MS else None


def origin(headers: Headers, value: bytes | None, why: str) -> str:
    """Say which record was rejected and why; its headers know where it came from."""
    pairs = [
        f"{name.removeprefix('labkit.')} {item.decode(errors='replace')}"
        for name, item in headers
        if name.startswith("labkit.") and item is not None
    ]
    return f"{', '.join(pairs) or 'a record'}: {len(value or b''):,} bytes, {why}"
