"""Records to Elasticsearch documents in bulk, with a count that adds up.

A record's value goes through as the bytes it is: never parsed, joined column-wise into the request's lines. Its ``_id``
is ``topic-partition-offset``, so loading a record again finds it there and changes nothing. What is no JSON object
becomes a document all the same, tagged as Logstash tags it (``_jsonparsefailure``; a tombstone ``_tombstone``), with
the text in ``message`` and its origin in ``labkit``: every record has its document, or is a reject with a reason.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import elastic_transport
import elasticsearch
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from labkit.elastic import Target
from labkit.errors import AccessError, NotFoundError
from labkit.replay.records import joined
from labkit.times import iso

REQUEST_BYTES = 4_000_000
IN_FLIGHT = 2
MAX_PAUSE_S = 5.0
_BUSY = {408, 429, 502, 503, 504}

SETTINGS: dict[str, Any] = {
    "number_of_shards": 1,
    "number_of_replicas": 0,
    "mapping.total_fields.limit": 1000,
}
MAPPING: dict[str, Any] = {
    "date_detection": False,
    "dynamic_templates": [
        {
            "text_and_keyword": {
                "match_mapping_type": "string",
                "mapping": {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 1024}}},
            }
        }
    ],
    "properties": {
        "@timestamp": {"type": "date"},
        "tags": {"type": "keyword"},
        "labkit": {
            "properties": {
                "error": {"type": "keyword", "ignore_above": 1024},
                "topic": {"type": "keyword"},
                "partition": {"type": "integer"},
                "offset": {"type": "long"},
            }
        },
    },
}


@dataclass(frozen=True)
class Reject:
    """A record Elasticsearch refused, with where it came from and why."""

    topic: str
    partition: int
    offset: int
    status: int
    type: str
    reason: str
    source: str


@dataclass
class Outcome:
    """What became of the records: ``sent = indexed + existing + rejected + unsent``."""

    sent: int = 0
    indexed: int = 0
    existing: int = 0
    unsent: int = 0
    rejects: list[Reject] = field(default_factory=list)
    first_error: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """The ledger."""
        return {
            "sent": self.sent,
            "indexed": self.indexed,
            "existing": self.existing,
            "rejected": len(self.rejects),
            "unsent": self.unsent,
        }

    def add(self, other: Outcome) -> None:
        """Add another outcome to this one."""
        self.sent += other.sent
        self.indexed += other.indexed
        self.existing += other.existing
        self.unsent += other.unsent
        self.rejects += other.rejects
        self.first_error = self.first_error or other.first_error


@dataclass
class Documents:
    """Documents about to be sent: three columns of one length."""

    ids: pa.StringArray
    sources: pa.BinaryArray
    origin: pa.RecordBatch

    def take(self, rows: Iterable[int]) -> Documents:
        """Return some of them."""
        chosen = pa.array(list(rows), pa.int64())
        return Documents(self.ids.take(chosen), self.sources.take(chosen), self.origin.take(chosen))

    def slice(self, first: int, last: int) -> Documents:
        """Return those from `first` up to `last`, exclusive."""
        count = last - first
        return Documents(
            self.ids.slice(first, count), self.sources.slice(first, count), self.origin.slice(first, count)
        )

    def __len__(self) -> int:
        return len(self.ids)


class Bulk:
    """Writes documents to one index.

    Parameters
    ----------
    target : Target
    index : str
    patience_s : float, optional
        How long to go on when the cluster is away or busy; None for ever.
    waiting : callable, optional
        Called about once a second while waiting, with what it is waited for; may raise to give up.
    give_up : callable
        Asked while waiting; once it says so, what is left counts as unsent.
    """

    def __init__(
        self,
        target: Target,
        index: str,
        *,
        patience_s: float | None = 120,
        waiting: Callable[[str], None] | None = None,
        give_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self.target = target
        self.index = index
        self.patience_s = patience_s
        self.waiting = waiting or (lambda _reason: None)
        self.give_up = give_up
        self._pool = ThreadPoolExecutor(IN_FLIGHT, "labkit-bulk")

    def close(self) -> None:
        """End the worker threads."""
        self._pool.shutdown()

    def write(self, batch: pa.RecordBatch) -> Outcome:
        """Write a raw batch's records; return once each is acknowledged, refused or given up."""
        return self.send(documents(batch))

    def send(self, docs: Documents) -> Outcome:
        """Write `docs`; those the cluster is too busy for are sent again until patience ends."""
        outcome = Outcome(sent=len(docs))
        began, attempt = time.monotonic(), 0
        while len(docs):
            answers = list(self._pool.map(self._request, _chunks(docs)))
            again = [doc for answer in answers for doc in self._book(answer, outcome)]
            if not again:
                break
            docs = _concat(again)
            busy = [answer.error for answer in answers if answer.error]
            outcome.first_error = outcome.first_error or (busy[0] if busy else "")
            if not busy and all(answer.repaired for answer in answers):
                continue
            late = self.patience_s is not None and time.monotonic() - began > self.patience_s
            if late or self.give_up():
                outcome.unsent += len(docs)
                break
            self._wait(attempt, busy[0] if busy else "documents were refused for now (429)")
            attempt += 1
        return outcome

    def _wait(self, attempt: int, reason: str) -> None:
        """Wait with growing, jittered pauses: https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter"""
        until = time.monotonic() + random.uniform(0.5, 1) * min(MAX_PAUSE_S, 0.5 * 2**attempt)  # noqa: S311
        while (left := until - time.monotonic()) > 0 and not self.give_up():
            self.waiting(reason)
            time.sleep(min(0.5, left))

    def _request(self, docs: Documents) -> _Answer:
        try:
            found = self.target.client.bulk(
                index=self.index,
                operations=[_body(docs)],  # type: ignore[list-item]
                filter_path="items.*.status,items.*.error",
            )
        except elasticsearch.ApiError as error:
            if error.status_code == 413 and len(docs) > 1:
                half = len(docs) // 2
                return _Answer(docs, halves=(docs.slice(0, half), docs.slice(half, len(docs))))
            if error.status_code in _BUSY:
                return _Answer(docs, error=f"Elasticsearch answered {error.status_code}")
            with self.target.errors(f"write index {self.index!r}"):
                raise
        except elastic_transport.TransportError as error:
            return _Answer(
                docs, error=f"no answer from Elasticsearch at {self.target.address} ({type(error).__name__})"
            )
        return _Answer(docs, items=[next(iter(item.values())) for item in found.get("items", [])])

    def _book(self, answer: _Answer, outcome: Outcome) -> list[Documents]:
        """Book what is settled and return what is to be sent again."""
        if answer.halves:
            return list(answer.halves)
        if answer.items is None:
            return [answer.docs]
        statuses = np.fromiter((item["status"] for item in answer.items), np.int32, len(answer.items))
        outcome.indexed += int(((statuses == 200) | (statuses == 201)).sum())
        outcome.existing += int((statuses == 409).sum())
        busy = np.flatnonzero(np.isin(statuses, list(_BUSY)))
        odd = np.flatnonzero((statuses >= 400) & (statuses != 409) & ~np.isin(statuses, list(_BUSY)))
        self._refuse_forbidden(answer, statuses)
        again = [answer.docs.take(busy)] if len(busy) else []
        for row in odd.tolist():
            one = answer.docs.take([row])
            repaired = _unparsable(one)
            if repaired is not None:
                again.append(repaired)
            else:
                outcome.rejects.append(_reject(one, answer.items[row]))
        answer.repaired = not len(busy)
        return again

    def _refuse_forbidden(self, answer: _Answer, statuses: Any) -> None:
        """Raise when the cluster refuses the writer, not the document."""
        for row in np.flatnonzero(np.isin(statuses, [401, 403, 404]))[:1].tolist():
            error = (answer.items or [])[row]["error"]
            kind = NotFoundError if statuses[row] == 404 else AccessError
            raise kind(
                f"{self.target.user} may not write index {self.index!r}: {error.get('reason')}",
                hint="is it blocked, read-only or missing? `labkit acl` prints the role that may write it",
                index=self.index,
            )


@dataclass
class _Answer:
    """What one request came to."""

    docs: Documents
    items: list[dict[str, Any]] | None = None
    halves: tuple[Documents, ...] = ()
    error: str = ""
    repaired: bool = True


def documents(batch: pa.RecordBatch) -> Documents:
    """Return a raw batch's records as documents, column by column."""
    topic = batch.column("topic").cast(pa.string())
    numbers = (batch.column(name).cast(pa.string()) for name in ("partition", "offset"))
    ids = pc.binary_join_element_wise(topic, *numbers, "-")
    values = batch.column("value")
    if pc.any(pc.match_substring(values, b"\n")).as_py():  # one document, one line; only space in JSON
        values = pc.replace_substring(values, pattern=b"\n", replacement=b" ")
    rows = _unfit(values)
    if rows:
        texts: list[bytes | None] = [None] * len(values)
        for row in rows:
            texts[row] = _stand_in(batch.slice(row, 1))
        values = pc.coalesce(pa.array(texts, pa.binary()), values)
    return Documents(ids, values, batch.select(["topic", "partition", "offset", "timestamp", "value"]))


def _unfit(values: pa.BinaryArray) -> list[int]:
    """Return the rows that cannot pass as they are: null, empty, or not UTF-8.

    Elasticsearch also reads UTF-16, UTF-32 and a byte order mark, keeps such bytes as they are, and then puts them in
    the middle of its UTF-8 answers.
    """
    unfit = pc.equal(pc.fill_null(pc.binary_length(values), 0), 0)
    for mark in (b"\x00", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"):
        unfit = pc.or_(unfit, pc.fill_null(pc.match_substring(values, mark), False))
    rows: list[int] = np.flatnonzero(unfit.to_numpy(zero_copy_only=False)).tolist()
    try:
        values.cast(pa.string())
        return rows
    except pa.ArrowInvalid:
        return sorted({*rows, *(row for row, value in enumerate(values.to_pylist()) if value and not _is_utf8(value))})


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _stand_in(origin: pa.RecordBatch) -> bytes:
    """Return the document of a record that is no JSON object."""
    record = origin.select(["topic", "partition", "offset", "value"]).to_pylist()[0]
    stamp = origin.column("timestamp").cast(pa.int64())[0].as_py()
    value = record.pop("value")
    document: dict[str, Any] = {"@timestamp": iso(stamp)} if stamp is not None else {}
    if value is None:
        document |= {"tags": ["_tombstone"], "labkit": record}
    else:
        document |= {
            "message": value.decode("utf-8", "replace"),
            "tags": ["_jsonparsefailure"],
            "labkit": {**record, "error": "the value is not a JSON object"},
        }
    return orjson.dumps(document)


def _unparsable(one: Documents) -> Documents | None:
    """Return the stand-in of a document that was refused because it is no JSON object; None when it is one."""
    source = one.sources[0].as_py()
    try:
        if isinstance(orjson.loads(source), dict):
            return None
    except orjson.JSONDecodeError:
        pass
    return Documents(one.ids, pa.array([_stand_in(one.origin)], pa.binary()), one.origin)


def _reject(one: Documents, item: dict[str, Any]) -> Reject:
    origin = one.origin.select(["topic", "partition", "offset"]).to_pylist()[0]
    error = item["error"]
    cause = error.get("caused_by", {}).get("reason")
    reason = f"{error.get('reason')}: {cause}" if cause else str(error.get("reason"))
    source = one.sources[0].as_py().decode("utf-8", "replace")
    return Reject(**origin, status=item["status"], type=str(error.get("type")), reason=reason, source=source)


def _lines(docs: Documents) -> pa.BinaryArray:
    """Return each document's two lines of a bulk request."""
    return pc.binary_join_element_wise(
        pa.scalar(b'{"create":{"_id":"', pa.binary()),
        docs.ids.cast(pa.binary()),
        pa.scalar(b'"}}\n', pa.binary()),
        docs.sources,
        pa.scalar(b"\n", pa.binary()),
        pa.scalar(b"", pa.binary()),
    )


def _body(docs: Documents) -> bytes:
    return bytes(joined(_lines(docs)))


def _chunks(docs: Documents) -> list[Documents]:
    """Split into requests of about `REQUEST_BYTES`."""
    sizes = pc.fill_null(pc.binary_length(docs.sources), 0).to_numpy() + 64
    total = np.cumsum(sizes)
    cuts, base = [0], 0
    while base < total[-1]:
        cut = max(int(np.searchsorted(total, base + REQUEST_BYTES, side="right")), cuts[-1] + 1)
        cuts.append(min(cut, len(docs)))
        base = int(total[cuts[-1] - 1])
    return [docs.slice(first, last) for first, last in pairwise(cuts)]


def _concat(parts: list[Documents]) -> Documents:
    return Documents(
        pa.concat_arrays([part.ids for part in parts]),
        pa.concat_arrays([part.sources for part in parts]),
        pa.Table.from_batches([part.origin for part in parts]).combine_chunks().to_batches()[0],
    )
