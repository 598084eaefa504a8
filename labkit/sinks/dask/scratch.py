"""Load a window into a scratch index by a Dask cluster.

The slices are those of a frame, and the workers load them into one index. ``sent = indexed +
existing + rejected + unsent`` holds, for each slice counts once: as of the try that was finished.
What a lost worker had written before is found there by the next try, for a record's ``_id`` is its
origin and is only ever created: such records count as existing, not as indexed, and the receipt
says how many slices that may concern.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from distributed import KilledWorker, as_completed

from labkit.checks import names
from labkit.decode.filter import Where
from labkit.decode.pipeline import condition
from labkit.enrich import Chain
from labkit.errors import LabkitError, UnavailableError
from labkit.es.bulk import Outcome
from labkit.es.encode import Encoder
from labkit.read_spec import ReadSpec
from labkit.replay.plan import Plan
from labkit.replay.receipt import Receipt, StopReason
from labkit.replay.sample import sample
from labkit.replay.slices import cut
from labkit.sinks import scratch
from labkit.sinks.dask.access import (
    Access,
    Slices,
    listen,
    movable,
    slice_size,
    tell,
    wait_for_brokers,
)
from labkit.sinks.scratch import Load, Request
from labkit.sinks.scratch_index import ScratchIndex
from labkit.waiting import interrupt
from labkit.waiting.interrupt import Cancelled

if TYPE_CHECKING:
    from distributed import Client, Future

_LOOK_S = 0.1
# what it had returned was lost with its worker: the scheduler has it computed again
_UNDONE = ("lost", "pending")
_halted: set[str] = set()  # on a worker: tokens whose slices are to end


@dataclass(frozen=True)
class _Pour:
    """The task of one slice."""

    access: Access
    index: str
    spec: ReadSpec
    request: Request

    def __call__(
        self, number: int, plan: Plan
    ) -> tuple[int, Outcome, Receipt, Chain, frozenset[str]]:
        token, servers = self.access.token, self.access.connection()
        tell(token, number)
        reading = self.spec.reading(servers.cluster, plan)
        wait_for_brokers(reading.check)
        index = ScratchIndex(self.index, servers.target(self.request.target))
        chain = Chain(self.spec.enrich)
        encoder = Encoder(self.request.form, servers.registry, chain)

        def cancelled() -> bool:
            return token in _halted

        where = condition(self.spec.where)  # one for each slice: threads may share a task
        encoder.decoder.heed(cancelled)
        outcome, receipt = scratch.pour(
            reading,
            index,
            encoder,
            where=where,
            patience=self.request.patience,
            cancelled=cancelled,
        )
        return number, outcome, receipt, chain, frozenset() if where is None else where.seen


def _halt(token: str) -> None:
    _halted.add(token)


def load(
    access: Access,
    plan: Plan,
    client: Client,
    spec: ReadSpec,
    request: Request,
    *,
    slice_records: int | None,
    advance: Callable[[int, int], None] | None,
) -> Load:
    """Load a window into a scratch index of this user by the client's workers.

    See `Window.to_scratch`.
    """
    servers, chain = access.connection(), spec.chain
    index = ScratchIndex(names.scratch_name(request.name), servers.target(request.target))
    movable(enrich=chain, decode=request.form)
    where = condition(spec.where)
    spec.reading(servers.cluster, plan).check()
    parts = cut(plan, slice_size(slice_records, servers.cluster, plan))
    request = replace(
        request, form=request.form.settle(lambda: sample(servers.cluster, plan), servers.registry)
    )
    index_uuid = scratch.prepare(
        index, plan, Encoder(request.form, servers.registry, chain), request, where=spec.where
    )
    slices = Slices(plan, parts, spec.isolation)
    listen(client, access.token, slices)
    began = time.monotonic()
    # a slice is not guarded by itself, and ends when it is cancelled
    task = _Pour(access, index.name, replace(spec, guard=False, deadline=None), request)
    run = _Run(
        client, access.token, slices, chain, where, advance=advance, deadline_s=spec.deadline_s
    )
    with interrupt.listen() as cancelled:
        run.all(
            client.map(
                task, range(len(parts)), parts, pure=False, key=f"labkit-load-{access.token}"
            ),
            cancelled,
        )
        scratch.finish(index, run.outcome, index_uuid, request.patience)
    receipt = slices.receipt(time.monotonic() - began)
    scratch.check_names(index, run.outcome, receipt, where, chain)
    if run.reason:
        receipt = scratch.with_stop_reason(receipt, run.reason)
    return scratch.conclude(Load(index, receipt, run.outcome, interrupted=cancelled()))


class _Run:
    """The slices on their way: their outcomes added up, and why the rest was cancelled."""

    def __init__(
        self,
        client: Client,
        token: str,
        slices: Slices,
        chain: Chain,
        where: Where | None,
        *,
        advance: Callable[[int, int], None] | None,
        deadline_s: float | None,
    ) -> None:
        self.client, self.token, self.slices, self.advance = client, token, slices, advance
        self.chain, self.where = chain, where
        self.until = None if deadline_s is None else time.monotonic() + deadline_s
        self.outcome = Outcome()
        self.reason: StopReason | None = None
        self._error: BaseException | None = None

    def all(self, futures: list[Future], cancelled: Cancelled) -> None:
        """Wait for all.

        Once one fails, or it is cancelled, the others are cancelled, and what they did counts.
        """
        try:
            self._wait(futures, cancelled)
        except KeyboardInterrupt:  # the second: the workers would go on writing
            self._end(StopReason.INTERRUPT)
            raise
        if self._error is not None:
            raise self._error

    def _wait(self, futures: list[Future], cancelled: Cancelled) -> None:
        waiting = as_completed(futures)
        while not waiting.is_empty():
            for future in waiting.next_batch(block=False):
                if future.status in _UNDONE:
                    waiting.add(future)
                else:
                    self._book(future)
            if cancelled():
                self._end(StopReason.INTERRUPT)
            elif self.until is not None and time.monotonic() > self.until:
                self._end(StopReason.DEADLINE)
            if not waiting.has_ready():
                time.sleep(_LOOK_S)

    def _book(self, future: Future) -> None:
        if future.status != "finished":
            self._error = self._error or _cause(future)
            self._end(StopReason.INTERRUPT)
            return
        number, outcome, receipt, chain, fields = future.result()
        self.outcome.add(outcome)
        self.chain.learn(chain)
        if self.where is not None:
            self.where.learn(fields)
        self.slices.receipts[number] = receipt
        if self.advance is not None:
            self.advance(outcome.sent, receipt.bytes)
        if outcome.unsent:
            self._end(StopReason.SINK)

    def _end(self, reason: StopReason) -> None:
        if not self.reason:
            self.reason = reason
            self.client.run(_halt, self.token)


def _cause(future: Future) -> BaseException:
    """Return what ended a slice as one of labkit's errors."""
    error = future.exception()
    if isinstance(error, KilledWorker):
        return UnavailableError(
            f"a slice was given up: the workers that had it were lost, {error}",
            hint="were they out of memory? smaller slices (slice_records=) or more memory help; load again to go on",
        )
    if isinstance(error, LabkitError):
        return error
    return (
        error
        if error is not None
        else UnavailableError("a slice was cancelled", hint="load again to go on")
    )
