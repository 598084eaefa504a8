"""Writing to a topic so that of every record it is known whether Kafka has it.

Measured on Kafka 4.4.0: one record the broker refuses (too large, a timestamp more than an hour
ahead) makes it refuse the whole batch, with the same error for each record in it, and librdkafka
does not send the innocent ones again. So refused records are sent once more in two halves, each by
itself, and so on: only what is refused alone is rejected. Each by itself at once took 4 s for 3,000
records, and half a minute on a busy machine.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException

from labkit.errors import LabkitError, UnavailableError
from labkit.kafka.cluster import Cluster
from labkit.kafka.errors import Operation
from labkit.pipelines.delivery import SETTINGS, Block, Counts, Headers, origin

# refused because of what the record is: another record may well pass
_RECORD = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_MSG,
}
# the errors of records when the producer has failed for another reason
_CONSEQUENCES = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._FATAL}
_KEPT_REJECTIONS = 20


class _Sent:
    """One record on its way; called with its delivery report."""

    __slots__ = ("alone", "block", "headers", "key", "sink", "timestamp_ms", "value")

    def __init__(
        self,
        sink: TopicSink,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        timestamp_ms: int,
    ) -> None:
        self.sink = sink
        self.block = sink._block
        self.key = key
        self.value = value
        self.headers = headers
        self.timestamp_ms = timestamp_ms
        self.alone = False

    def __call__(self, error: KafkaError | None, _message: object) -> None:
        if error is None:
            self.sink._delivered += 1
            self.block.waiting -= 1
        else:
            self.sink._handle_refusal(self, error)


class TopicSink:
    """Write records to one topic: idempotent, ``acks=all``, bounded memory. A context manager.

    Parameters
    ----------
    cluster : Cluster
        As a principal that may write to `topic`.
    topic : str
        Must exist: it is asked for at once, so a wrong name, password or right fails in seconds.
    patience_s : float, default 300
        How long a record may wait for Kafka before the run fails; 0 waits for ever.
    close_timeout_s : float, default 30
        How long leaving the ``with`` block may wait for what is still on its way.
    give_up : callable, optional
        Asked while the local queue is full; True ends the wait with an UnavailableError.

    Raises
    ------
    NotFoundError, AccessError, UnavailableError
        When the topic cannot be written to.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        *,
        patience_s: float = 300,
        close_timeout_s: float = 30,
        give_up: Callable[[], bool] | None = None,
    ) -> None:
        cluster.partitions(topic)
        cluster.require_write(topic)
        self.topic = topic
        self.rejections: list[str] = []  # the first few, in words
        self._what = Operation.WRITE.to(f"write to topic {topic!r}", topic=topic)
        self._cluster = cluster
        self._close_timeout_s = close_timeout_s
        self._give_up = give_up
        self._producer = cluster.producer(**SETTINGS, message_timeout_ms=round(patience_s * 1000))
        self._sent = self._delivered = self._failed = self._rejected = self._retimed = 0
        self._again: list[_Sent] = []  # refused, maybe for the sake of another record
        self._parts: deque[list[_Sent]] = deque()  # of those, to be sent with nothing beside them
        self._trying = False  # whether one of the parts is on its way
        self._block = Block()
        self._blocks: deque[Block] = deque([self._block])
        self._acknowledged = 0
        self._error: LabkitError | None = None
        self._explained = True

    def __repr__(self) -> str:
        return f"TopicSink({self.topic!r}, {self.counts})"

    def __enter__(self) -> TopicSink:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.close()
            return
        # what was sent before the error still arrives; but it is that error the caller must see
        try:
            self.flush(min(self._close_timeout_s, 10))
        except LabkitError as second:
            if second is not error:
                error.add_note(second.message)

    @property
    def counts(self) -> Counts:
        """Where the records are."""
        waiting = self._sent - self._delivered - self._failed
        return Counts(
            self._sent, self._delivered, self._failed, waiting, self._rejected, self._retimed
        )

    @property
    def error(self) -> LabkitError | None:
        """The first failure that ends the run; None without a failure."""
        return self._error

    def send(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Hand one record to the producer; wait when its queue is full.

        Parameters
        ----------
        timestamp_ms : int, optional
            The record's time in milliseconds since the epoch; without, or not above 0, Kafka's own.

        Raises
        ------
        LabkitError
            When an earlier record failed for a reason that will not go away.
        """
        self._raise_error()
        while self._suspects:
            self._send_again()
            self._heed_give_up()
            self._raise_error()
        sent = _Sent(self, key, value, headers or [], max(timestamp_ms or 0, 0))
        self._sent += 1
        self._block.waiting += 1
        self._produce(sent)
        if self._sent % 256 == 0:
            self._poll(0)

    def begin(self, file: Path | None) -> None:
        """Take note of nothing: a topic numbers its records itself."""

    def mark(self, label: int) -> None:
        """End a block of records: once all up to here are settled, ``acknowledged`` is `label`."""
        self._block.label = label
        self._block = Block()
        self._blocks.append(self._block)

    @property
    def acknowledged(self) -> int:
        """The last mark before which every record is in Kafka or rejected for what it is.

        It is 0 for none.
        """
        while (first := self._blocks[0]).label is not None and not first.waiting and not first.lost:
            self._acknowledged = first.label
            self._blocks.popleft()
        return self._acknowledged

    def serve(self) -> None:
        """Take what delivery reports there are; call it now and then while nothing is sent."""
        self._poll(0)
        self._raise_error()
        if self._suspects:
            self._send_again()

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until every record is delivered or failed.

        Parameters
        ----------
        timeout_s : float, optional
            Without one, as long as the sink's patience lasts.

        Raises
        ------
        LabkitError
            The first failure; UnavailableError when records still wait after `timeout_s`.
        """
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while self.counts.waiting and self._error is None:
            if self._suspects:
                self._send_again()
            self._flush(0.2)
            if time.monotonic() > deadline:
                break
        self._raise_error()
        if self.counts.waiting:
            raise self._unsent(f"after {timeout_s:g} s")

    def close(self) -> None:
        """Flush, and raise what went wrong."""
        self.flush(self._close_timeout_s)

    def _produce(self, sent: _Sent) -> None:
        while True:
            try:
                self._producer.produce(
                    self.topic,
                    sent.value,
                    sent.key,
                    headers=sent.headers,
                    timestamp=sent.timestamp_ms,
                    on_delivery=sent,
                )
                return
            except BufferError:  # the local queue is full: this is where the reader waits for Kafka
                self._poll(0.1)
                if self._heed_give_up():
                    self._failed += 1
                    sent.block.waiting -= 1
                    sent.block.lost = True
                self._raise_error()
            except KafkaException as error:
                self._handle_refusal(sent, error.args[0], final=True)
                return

    def _heed_give_up(self) -> bool:
        """End a wait as failed when it is to be given up; tell whether that is so."""
        if self._give_up is None or self._error is not None or not self._give_up():
            return False
        self._error = self._unsent("when the run was stopped")
        return True

    def _handle_refusal(self, sent: _Sent, error: KafkaError, *, final: bool = False) -> None:
        if error.code() in _RECORD and not final and not sent.alone:
            self._again.append(sent)
            return
        if error.code() == KafkaError.INVALID_TIMESTAMP and sent.timestamp_ms:
            sent.timestamp_ms = 0
            self._retimed += 1
            self._again.append(sent)
            return
        self._failed += 1
        sent.block.waiting -= 1
        if error.code() in _RECORD:
            self._rejected += 1
            if len(self.rejections) < _KEPT_REJECTIONS:
                self.rejections.append(origin(sent.headers, sent.value, error.str()))
            return
        sent.block.lost = True
        if self._error is None:
            self._error = self._map_error(error)
            self._explained = error.code() not in _CONSEQUENCES

    def _flush(self, timeout_s: float) -> bool:
        """Flush, and tell whether nothing is left in the producer."""
        with self._explaining():
            return not self._producer.flush(timeout_s)
        return False

    def _poll(self, timeout_s: float) -> None:
        with self._explaining():
            self._producer.poll(timeout_s)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            # the producer itself has failed for good; its records only say that they were purged
            self._error, self._explained = self._map_error(error.args[0]), True

    def _raise_error(self) -> None:
        if self._error is not None and not self._explained:
            self._flush(0)
        if self._error is not None:
            raise self._error from None

    def _unsent(self, when: str) -> UnavailableError:
        waiting = self._sent - self._delivered
        return UnavailableError(
            f"{waiting:,} records for topic {self.topic!r} are not in Kafka {when}",
            hint=f"is Kafka running at {self._cluster.address}? `labkit status`; what can be sent again must be",
            unsent=waiting,
        )

    def _map_error(self, error: KafkaError) -> LabkitError:
        if error.code() == KafkaError._MSG_TIMED_OUT:
            error = KafkaError(KafkaError._TIMED_OUT)
        return self._cluster.error(error, self._what)

    @property
    def _suspects(self) -> bool:
        """Whether refused records are to be sent again before any other."""
        return bool(self._again or self._parts or self._trying)

    def _send_again(self) -> None:
        """Send refused records again in ever smaller parts.

        A part goes when nothing else is on its way; what cannot go now goes at the next call.
        """
        while self._suspects and self._error is None and self._flush(1):
            refused, self._again = self._again, []
            half = len(refused) // 2
            self._parts.extendleft(part for part in (refused[half:], refused[:half]) if part)
            part = self._parts.popleft() if self._parts else []
            self._trying = bool(part)
            for sent in part:
                sent.alone = len(part) == 1
                self._produce(sent)
