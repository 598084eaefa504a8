"""A topic's sink with a spool before it.

What Kafka does not take now waits on the disk, and goes first later. A reader can prove from the
headers that nothing is missing: ``labkit.spool`` and ``labkit.spool_sequence`` name each record for
ever, and the numbers of a spool have no gap, but where ``labkit.dropped`` says how many records
before this one found no room. ``labkit.resent`` marks what a former run had in hand when it ended:
it may be in the topic twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from labkit.errors import DeadlineError, LabkitError, UnavailableError
from labkit.pipelines.delivery import Counts, Headers
from labkit.pipelines.spool import Row, Spool
from labkit.pipelines.topic_sink import TopicSink
from labkit.waiting.notice import WaitNotice

COMMIT_S, COMMIT_RECORDS = 0.1, 1_000
FEED_RECORDS = 1_000
MOST_WAITING = 20_000  # in the producer's memory; the rest waits on the disk
RETRY_S = 5.0
CLOSE_S = 30.0
_AWAY = (UnavailableError, DeadlineError)


class SpooledSink:
    """Write records to a topic through a spool. A context manager.

    Parameters
    ----------
    spool : Spool
        Closed with the sink.
    make : callable
        Makes the `TopicSink`; one that waits for Kafka for ever.
    say : callable
        Takes one line of text.

    Raises
    ------
    NotFoundError, AccessError
        When Kafka answers and the topic cannot be written to. That Kafka is away is no error.
    """

    def __init__(
        self, spool: Spool, make: Callable[[], TopicSink], say: Callable[[str], None]
    ) -> None:
        self.spool, self._make, self._say = spool, make, say
        self._notice = WaitNotice(say)
        self._inner: TopicSink | None = None
        self._making: Future[TopicSink] | None = None
        self._pool = ThreadPoolExecutor(1, "labkit-spool")
        self._pending: list[Row] = []
        self._next = spool.next
        self._old = spool.last  # records up to here are a former run's
        self._backlog = len(spool)
        self._fed = 0
        self._forgotten = 0 if self._backlog else spool.last
        self._sent = self._dropped = 0
        self._untold = spool.untold
        self._served_at = self._retry_at = 0.0

    # life --------------------------------------------------------------------------------------------

    def __enter__(self) -> SpooledSink:
        try:
            self._inner = self._make()
        except _AWAY as error:
            self._away(error)
        except BaseException:
            self._end()
            raise
        if self._backlog:
            self._say(
                f"{self._backlog:,} records of a former run are in {self.spool.path} and go first"
            )
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._pending:
                self._commit()
            if left := len(self.spool):
                self._say(f"{left:,} records wait in {self.spool.path}; the next run sends them")
            if self._untold and not self.spool.note_dropped(self._next - 1, self._untold):
                self._say(
                    f"the next run will not know that {self._untold:,} records were dropped: the disk is full"
                )
        finally:
            self._end()

    def _end(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.spool.close()

    @property
    def counts(self) -> Counts:
        """Where the records are; those of a former run count as sent."""
        inner = self._inner.counts if self._inner else Counts(0, 0, 0, 0, 0, 0)
        sent, failed = self._sent + self._backlog, inner.failed + self._dropped
        waiting = sent - inner.delivered - failed
        return Counts(sent, inner.delivered, failed, waiting, inner.rejected, inner.retimed)

    @property
    def error(self) -> LabkitError | None:
        """The first failure that ends the run; None without a failure."""
        return self._inner.error if self._inner else None

    @property
    def rejections(self) -> list[str]:
        """The first few records Kafka refused, in words."""
        return self._inner.rejections if self._inner else []

    # records -----------------------------------------------------------------------------------------

    def send(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Take one record; it is on the disk at the next commit. Nothing is waited for."""
        self._sent += 1
        self._pending.append(Row(self._next, timestamp_ms or 0, key, value, list(headers or [])))
        self._next += 1
        if len(self._pending) >= COMMIT_RECORDS:
            self._commit()

    def serve(self) -> None:
        """Commit what came, hand on what Kafka may have, forget what it has.

        To be called several times a second.
        """
        now = time.monotonic()
        if now - self._served_at < COMMIT_S:
            return
        self._served_at = now
        self._work()

    def _work(self) -> None:
        if self._pending:
            self._commit()
        if self._inner is None:
            self._connect()
        if self._inner is not None:
            self._feed(self._inner)

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until Kafka has all, or `timeout_s` is over; what is left stays on the disk."""
        deadline = time.monotonic() + (CLOSE_S if timeout_s is None else timeout_s)
        self._work()
        while (
            self._forgotten < self.spool.last
            and self._inner is not None
            and time.monotonic() < deadline
        ):
            self._work()
            time.sleep(0.02)

    def close(self) -> None:
        """Wait a while for Kafka to take the rest."""
        self.flush()

    def _commit(self) -> None:
        rows, self._pending = self._pending, []
        if self._untold:
            rows[0] = rows[0]._replace(
                headers=[*rows[0].headers, ("labkit.dropped", str(self._untold).encode())]
            )
        if self.spool.put(rows):
            if self._untold:
                self._say(f"the spool has room again; {self._untold:,} records were dropped")
                self.spool.note_dropped(rows[-1].seq, 0)
            self._untold = 0
            return
        if not self._untold:
            self._say(
                f"the spool {self.spool.path} is full, or its disk: records are dropped, and counted"
            )
        self._dropped += len(rows)
        self._untold += len(rows)

    def _connect(self) -> None:
        """Look for Kafka in a thread: the server's lines must be read meanwhile."""
        if self._making is None:
            if time.monotonic() >= self._retry_at:
                self._making = self._pool.submit(self._make)
        elif self._making.done():
            making, self._making = self._making, None
            try:
                self._inner = making.result()
            except _AWAY as error:
                self._away(error)
            else:
                self._notice.end("Kafka")

    def _away(self, error: LabkitError) -> None:
        self._notice.wait("Kafka", f"{error.message}; records wait in {self.spool.path}")
        self._retry_at = time.monotonic() + RETRY_S

    def _feed(self, inner: TopicSink) -> None:
        while (room := MOST_WAITING - inner.counts.waiting) > 0:
            rows = self.spool.take(self._fed, min(FEED_RECORDS, room))
            for row in rows:
                inner.send(
                    row.key, row.value, [*row.headers, *self._marks(row.seq)], row.ms or None
                )
            if not rows:
                break
            self._fed = rows[-1].seq
            inner.mark(self._fed)
        inner.serve()
        acknowledged = inner.acknowledged
        if acknowledged > self._forgotten and self.spool.forget(acknowledged):
            self._forgotten = acknowledged

    def _marks(self, seq: int) -> list[tuple[str, bytes | None]]:
        resent: list[tuple[str, bytes | None]] = (
            [("labkit.resent", b"1")] if seq <= self._old else []
        )
        return [
            ("labkit.spool", self.spool.id.encode()),
            ("labkit.spool_sequence", b"%d" % seq),
            *resent,
        ]
