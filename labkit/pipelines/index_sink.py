"""The direct form: an extractor's records into an index, with no Kafka between.

It is what a pipeline looks like before it is decoupled. While Elasticsearch is away, records wait
in memory; what a killed extractor held is lost, and no second reader can come along. `TopicSink`
and the indexer know better.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import orjson
import pyarrow as pa

from labkit.checks import names
from labkit.elastic import Target
from labkit.errors import LabkitError, UnavailableError
from labkit.es import mappings
from labkit.es.bulk import IN_FLIGHT, Bulk
from labkit.es.documents import Documents, documents
from labkit.pipelines.delivery import Counts, Headers
from labkit.replay.records import RAW_SCHEMA
from labkit.waiting.notice import WaitNotice

BATCH_RECORDS = 5_000
LINGER_S = 1.0
MOST_WAITING = 100_000
_KEPT_REJECTIONS = 20


class _Row(NamedTuple):
    name: str
    source: str
    number: int
    value: bytes | None
    stamp: int | None


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


class IndexSink:
    """Writes records to one index, as `TopicSink` does to a topic. A context manager.

    A record's ``_id`` is its file (name and a hash of its path), its line and a hash of what stands
    there, so sending a file again adds what is new in it and nothing else; from standard input or
    IRC it is the run and a number.

    Parameters
    ----------
    target : Target
    index : str
        A name, or a pattern such as ``irc-%Y.%m``.
    say : callable
        Takes one line of text when Elasticsearch is waited for.
    give_up : callable
        Asked while waiting; True ends the wait with an UnavailableError.
    """

    def __init__(
        self,
        target: Target,
        index: str,
        *,
        say: Callable[[str], None] = lambda _text: None,
        give_up: Callable[[], bool] = lambda: False,
        close_timeout_s: float = 30,
    ) -> None:
        self.target, self.index, self.name = target, index, mappings.IndexName(index)
        self.place = f"{target.address}/{index}"
        self.rejections: list[str] = []  # the first few, in words
        self.error: LabkitError | None = None
        self._give_up, self._close_timeout_s = give_up, close_timeout_s
        self._run, self._file = f"run-{uuid.uuid4().hex[:12]}", ""
        self._rows: list[_Row] = []
        self._marks: deque[tuple[int, int]] = deque()  # how many records were sent before it, label
        self._sent = self._settled = self._delivered = self._rejected = self._acknowledged = 0
        self._deadline: float | None = None
        self._put_at, self._notice = time.monotonic(), WaitNotice(say)
        with target.errors(f"make index {self.name.undated!r}"):
            if self.name.dated:
                target.has_index(self.name.undated)  # a wrong password shows now
            else:
                self._make(index)
                self.place += f"/{mappings.uuid(target, index)}"  # made anew it is empty
                if why := mappings.doubling(target, index):
                    say(f"warning: {why}")
        self._bulk = Bulk(
            target,
            index,
            patience_s=None,
            waiting=self._wait,
            give_up=give_up,
            make=lambda name, _: self._make(name),
        )

    def _make(self, index: str) -> None:
        mappings.ensure(self.target, names.index(index), mappings.mapping())

    def __enter__(self) -> IndexSink:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self.close()
            elif error is not self.error:
                self.flush(min(self._close_timeout_s, 10))
        except LabkitError as second:
            if error is None:
                raise
            error.add_note(second.message)
        finally:
            self._bulk.close()

    @property
    def counts(self) -> Counts:
        """Where the records are."""
        return Counts(
            self._sent, self._delivered, self._rejected, self._sent - self._delivered - self._rejected,
            self._rejected, 0,
        )  # fmt: skip

    def send(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Take one record; wait when too many are in memory."""
        self._raise_error()
        self._sent += 1
        self._rows.append(
            self._row(
                value, headers or [], timestamp_ms if timestamp_ms and timestamp_ms > 0 else None
            )
        )
        if len(self._rows) >= BATCH_RECORDS:
            self._put()
            self._settle(IN_FLIGHT if self.counts.waiting < MOST_WAITING else 0)

    def _row(self, value: bytes | None, headers: Headers, stamp: int | None) -> _Row:
        line = dict(headers).get("labkit.line")
        if not (self._file and line):
            return _Row(f"{self._run}-{self._sent}", self._run, self._sent, value, stamp)
        number = int(line)
        return _Row(
            f"{self._file}-{number}-{_digest(value or b'')}", self._file, number, value, stamp
        )

    def begin(self, file: Path | None) -> None:
        """Tell which file the records that follow are from; None: this run alone has them."""
        file_id = f"{file.name}-{_digest(os.fsencode(file))}" if file else ""
        self._file = file_id.encode(errors="replace").decode()

    def mark(self, label: int) -> None:
        """End a block of records: once all up to here are settled, ``acknowledged`` is `label`."""
        self._marks.append((self._sent, label))

    @property
    def acknowledged(self) -> int:
        """The last mark before which every record is in Elasticsearch or rejected."""
        while self._marks and self._marks[0][0] <= self._settled:
            self._acknowledged = self._marks.popleft()[1]
        return self._acknowledged

    def serve(self) -> None:
        """Send what has lingered and book what is settled.

        Call it now and then while nothing is sent.
        """
        self._raise_error()
        if self._rows and time.monotonic() - self._put_at > LINGER_S:
            self._put()
        self._settle(1_000_000)

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until every record is settled."""
        self._put()
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            self._settle(0)
        finally:
            self._deadline = None

    def close(self) -> None:
        """Flush, and raise what went wrong."""
        self.flush(self._close_timeout_s)

    def _raise_error(self) -> None:
        if self.error is not None:
            raise self.error from None

    def _put(self) -> None:
        self._put_at = time.monotonic()
        if self._rows:
            rows, self._rows = self._rows, []
            self._bulk.put(self._documents(rows))

    def _documents(self, rows: list[_Row]) -> Documents:
        raw = [
            {
                "topic": row.source,
                "partition": 0,
                "offset": row.number,
                "timestamp": row.stamp,
                "value": row.value,
            }
            for row in rows
        ]
        docs = documents(pa.RecordBatch.from_pylist(raw, schema=RAW_SCHEMA), name=self.name)
        ids = [orjson.dumps(row.name).decode()[1:-1] for row in rows]
        return Documents(pa.array(ids), docs.sources, docs.origin, docs.indices)

    def _settle(self, leave: int) -> None:
        try:
            for _, outcome in self._bulk.take_settled(leave):
                self._notice.end("Elasticsearch")
                if outcome.unsent:
                    self._fail("when the run was stopped")
                self._settled += outcome.sent
                self._delivered += outcome.indexed + outcome.existing
                self._rejected += len(outcome.rejects)
                room = max(0, _KEPT_REJECTIONS - len(self.rejections))
                self.rejections += [
                    f"{reject.topic} {reject.offset}: {reject.reason}"
                    for reject in outcome.rejects[:room]
                ]
        except LabkitError as error:
            self.error = self.error or error
            raise

    def _wait(self, reason: str) -> None:
        self._notice.wait("Elasticsearch", reason)
        if self._give_up() or (self._deadline is not None and time.monotonic() > self._deadline):
            self._fail(f"({reason})")

    def _fail(self, when: str) -> None:
        waiting = self.counts.waiting
        raise UnavailableError(
            f"{waiting:,} records for index {self.index!r} are not in Elasticsearch {when}",
            hint=f"is Elasticsearch running at {self.target.address}? what can be sent again must be",
            unsent=waiting,
        )
