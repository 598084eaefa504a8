"""Documents to Elasticsearch in bulk, a few requests in flight, with a count that adds up."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import elastic_transport
import elasticsearch
import numpy as np

from labkit.elastic import BUSY, Target, block_reason
from labkit.errors import AccessError, LabkitError, NotFoundError, ServerError
from labkit.es.documents import Documents, Reject, concat, reject_answered, unparsable

REQUEST_BYTES = 4_000_000
IN_FLIGHT = 2
MAX_PAUSE_S = 5.0
# a request that is refused for want of room again and again is made smaller, down to this
_SMALLEST_BYTES = 50_000
_CALM = 20  # good requests, after which it may be larger again
# 400s that the next document would get as well: the index takes nothing as it is
_INDEX_TYPES = {"index_closed_exception", "routing_missing_exception", "validation_exception"}
_INDEX_REASONS = ("no write index is defined", "pipeline with id")


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
        """The counts by their names."""
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
class _Ticket:
    """A batch on its way."""

    tag: Any
    outcome: Outcome
    requests: list[Future[Outcome]]


# What one request came to is one of three: answered, too large, or not taken.


@dataclass
class _Answered:
    """Elasticsearch answered for each document."""

    docs: Documents
    items: list[dict[str, Any]]


@dataclass
class _TooLarge:
    """The request was too large (413): its halves go again at once."""

    halves: tuple[Documents, Documents]


@dataclass
class _NotTaken:
    """No document was taken, as far as is known: all go again after a pause."""

    docs: Documents
    reason: str
    for_want_of_room: bool = False


_Answer = _Answered | _TooLarge | _NotTaken


@dataclass
class _Again:
    """Documents that are sent again: at once, or after a pause when there is a `reason`."""

    parts: list[Documents]
    reason: str = ""


class Bulk:
    """Writes documents, `IN_FLIGHT` requests at a time.

    Either ``send(docs)``, which returns when all is settled, or ``put(docs)`` and ``take_settled(leave)``,
    with which the next batch is made ready while earlier ones are on their way.

    Parameters
    ----------
    target : Target
    index : str
    patience_s : float, optional
        How long to go on when the cluster is away or busy, for each request; None for ever.
    waiting : callable, optional
        Called about twice a second while waiting, in the caller's thread, with what it is waited
        for; may raise to give up.
    give_up : callable
        Asked while waiting, in any thread; once it says so, what is left counts as unsent.
    make : callable, optional
        Called with an index and the fields its documents must find mapped, before the
        first of those is sent: for each index that documents name, and for each new set of fields.
    """

    def __init__(
        self,
        target: Target,
        index: str,
        *,
        patience_s: float | None = 120,
        waiting: Callable[[str], None] | None = None,
        give_up: Callable[[], bool] = lambda: False,
        make: Callable[[str, Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.target = target
        self.index = index
        self.patience_s = patience_s
        self.waiting = waiting or (lambda _reason: None)
        self.give_up = give_up
        self.make = make
        self._request_bytes = REQUEST_BYTES
        self._good = 0
        self._made: dict[str, Mapping[str, Any]] = {}
        self._making = threading.Lock()
        self._closing = threading.Event()
        self._troubles: dict[int, str] = {}
        self._tickets: deque[_Ticket] = deque()
        self._pool = ThreadPoolExecutor(IN_FLIGHT, "labkit-bulk")

    def close(self) -> None:
        """End the worker threads; what still waits is given up."""
        self._closing.set()
        self._pool.shutdown(cancel_futures=True)

    @property
    def trouble(self) -> str:
        """What is waited for now; empty while all goes well."""
        return next(iter(list(self._troubles.values())), "")

    @property
    def busy(self) -> bool:
        """Whether anything is on its way."""
        return bool(self._tickets)

    def send(self, docs: Documents) -> Outcome:
        """Write `docs`, and return once each is settled."""
        self.put(docs)
        total = Outcome()
        for _, outcome in self.take_settled():
            total.add(outcome)
        return total

    def put(self, docs: Documents, tag: Any = None) -> None:
        """Begin to write `docs`."""
        outcome = Outcome(sent=len(docs.rejects), rejects=list(docs.rejects))
        chunks = docs.chunks(self._request_bytes)
        self._tickets.append(
            _Ticket(tag, outcome, [self._pool.submit(self._deliver, chunk) for chunk in chunks])
        )

    def take_settled(self, leave: int = 0) -> Iterator[tuple[Any, Outcome]]:
        """Yield tag and outcome of each `put` that is settled, in their order.

        It ends when only `leave` are on their way.
        """
        while self._tickets:
            ticket = self._tickets[0]
            late = len(self._tickets) > leave
            _, open_ones = wait(ticket.requests, timeout=0.5 if late else 0)
            if open_ones:
                if not late:
                    return
                if self.trouble:
                    self.waiting(self.trouble)
                continue
            for request in ticket.requests:
                ticket.outcome.add(request.result())
            self._tickets.popleft()
            yield ticket.tag, ticket.outcome

    # in the worker threads ---------------------------------------------------------------------------

    def _deliver(self, docs: Documents) -> Outcome:
        """Send documents until each is settled.

        What the cluster is too busy for goes again until patience ends.
        """
        outcome, me = Outcome(sent=len(docs)), threading.get_ident()
        began, attempt, parts = time.monotonic(), 0, [docs]
        try:
            while parts:
                answers = [self._request(part) for part in parts]
                parts, reason = [], ""
                for answer in answers:
                    again = self._book(answer, outcome)
                    no_room = isinstance(answer, _NotTaken) and answer.for_want_of_room
                    parts += self._smaller(again.parts) if no_room and attempt else again.parts
                    reason = reason or again.reason
                outcome.first_error = outcome.first_error or reason
                if not parts or not reason:
                    continue
                late = self.patience_s is not None and time.monotonic() - began > self.patience_s
                if late or self._ending():
                    outcome.unsent += sum(map(len, parts))
                    break
                self._troubles[me] = reason
                self._pause(attempt)
                attempt += 1
        finally:
            self._troubles.pop(me, None)
        return outcome

    def _ending(self) -> bool:
        return self._closing.is_set() or self.give_up()

    def _pause(self, attempt: int) -> None:
        """Wait with growing, jittered pauses.

        https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter says why.
        """
        until = time.monotonic() + random.uniform(0.5, 1) * min(MAX_PAUSE_S, 0.5 * 2**attempt)  # noqa: S311
        while (left := until - time.monotonic()) > 0 and not self._ending():
            self._closing.wait(min(0.2, left))

    def _smaller(self, parts: list[Documents]) -> list[Documents]:
        """Take smaller requests from now on.

        There may never be room for a request that was refused more than once.
        """
        self._good = 0
        self._request_bytes = max(_SMALLEST_BYTES, self._request_bytes // 2)
        return [piece for part in parts for piece in part.chunks(self._request_bytes)]

    def _went_well(self) -> None:
        # the cluster answers: another request's trouble is old, or will be met again
        self._troubles.clear()
        self._good += 1
        if self._good % _CALM == 0:
            self._request_bytes = min(REQUEST_BYTES, self._request_bytes * 2)

    def _request(self, docs: Documents) -> _Answer:
        try:
            self._make(docs)
            answer = self.target.client.bulk(
                index=None if docs.indices is not None else self.index,
                operations=[docs.body()],  # type: ignore[list-item]
                filter_path="items.*.status,items.*.error",
            )
        except elasticsearch.ApiError as error:
            if error.status_code == 413:
                return self._too_large(docs)
            if error.status_code in BUSY:
                no_room = error.status_code == 429
                return _NotTaken(docs, f"Elasticsearch answered {error.status_code}", no_room)
            if reason := block_reason(error):
                return _NotTaken(docs, f"the cluster is blocked: {reason}")
            with self.target.errors(f"write index {self.index!r}"):
                raise
        except elastic_transport.TransportError as error:
            kind = type(error).__name__
            return _NotTaken(
                docs, f"no answer from Elasticsearch at {self.target.address} ({kind})"
            )
        items = [next(iter(item.values())) for item in answer.get("items", [])]
        if len(items) != len(docs):  # what was not acknowledged counts as not written
            return _NotTaken(
                docs, f"Elasticsearch answered for {len(items):,} of {len(docs):,} documents"
            )
        self._went_well()
        return _Answered(docs, items)

    def _make(self, docs: Documents) -> None:
        """Make the indices that are named for the first time, and map fields that are new."""
        if self.make is None or (docs.indices is None and not docs.fields):
            return
        with self._making:
            for name in [self.index] if docs.indices is None else docs.indices.unique().to_pylist():
                if self._made.get(name) is not docs.fields:
                    self.make(name, docs.fields)
                    self._made[name] = docs.fields

    @staticmethod
    def _too_large(docs: Documents) -> _Answer:
        if len(docs) > 1:
            half = len(docs) // 2
            return _TooLarge((docs.slice(0, half), docs.slice(half, len(docs))))
        error = {
            "type": "request_too_large",
            "reason": "the document alone is more than a request may hold (413)",
        }
        return _Answered(docs, [{"status": 413, "error": error}])

    def _book(self, answer: _Answer, outcome: Outcome) -> _Again:
        """Book what is settled; return what is sent again."""
        match answer:
            case _TooLarge(halves):
                return _Again(list(halves))
            case _NotTaken(docs, reason):
                return _Again([docs], reason)
            case _Answered(docs, items):
                return self._book_each(docs, items, outcome)

    def _book_each(self, docs: Documents, items: list[dict[str, Any]], outcome: Outcome) -> _Again:
        """Book each document: indexed, there already, refused for now or for what it is."""
        statuses = np.fromiter((item["status"] for item in items), np.int32, len(items))
        outcome.indexed += int(((statuses == 200) | (statuses == 201)).sum())
        outcome.existing += int((statuses == 409).sum())
        refused = np.flatnonzero((statuses >= 400) & (statuses != 409)).tolist()
        for_now = [row for row in refused if _is_refused_for_now(items[row])]
        again = _Again([])
        if for_now:
            again = _Again([docs.take(for_now)], _reason(items[for_now[0]]))
        repaired = []
        for row in sorted({*refused} - {*for_now}):
            document = docs.take([row])
            if error := self._refusal(document, items[row]):
                raise error
            mended = unparsable(document)
            if mended is not None:
                repaired.append(mended)
            else:
                outcome.rejects.append(reject_answered(document, items[row]))
        if repaired:
            again.parts.append(concat(repaired))
        return again

    def _refusal(self, document: Documents, item: dict[str, Any]) -> LabkitError | None:
        """Return the error when the cluster refuses the writer or the index, not the document."""
        index = self.index if document.indices is None else document.indices[0].as_py()
        status, reason = item["status"], item["error"].get("reason")
        if status in (401, 403, 404):
            return (NotFoundError if status == 404 else AccessError)(
                f"{self.target.user} may not write index {index!r}: {reason}",
                hint=f"is it missing? {self.target.recipe} prints the role that may write it",
                index=index,
            )
        if _of_index(item["error"]):
            return ServerError(
                f"index {index!r} takes no documents: {reason}",
                hint="is it closed, or an alias without a write index? mend that, then start again",
                status=status,
                index=index,
            )
        return None


def _of_index(error: dict[str, Any]) -> bool:
    """Tell whether an error is the index's, whatever the document.

    To put records aside for such an error would drain a topic.
    """
    return error.get("type") in _INDEX_TYPES or str(error.get("reason")).startswith(_INDEX_REASONS)


def _is_refused_for_now(item: dict[str, Any]) -> bool:
    """Tell whether a document is sent again: the cluster was busy, failed, or is read-only."""
    return item["status"] in BUSY or item["status"] >= 500 or _is_read_only(item)


def _is_read_only(item: dict[str, Any]) -> bool:
    """Tell whether the index is read-only now.

    A disk is full, or an administrator is at work on it.
    """
    return bool(item["status"] == 403) and bool(
        item["error"].get("type") == "cluster_block_exception"
    )


def _reason(item: dict[str, Any]) -> str:
    if _is_read_only(item):
        return f"the index is blocked: {item['error'].get('reason')}"
    return f"documents were refused for now ({item['status']}: {item['error'].get('reason')})"
