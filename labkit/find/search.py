"""A window searched slice by slice until there are enough hits.

The receipt says how far that went.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import tzinfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.checks.suggest import did_you_mean
from labkit.decode import notes
from labkit.decode.decoder import Decoder
from labkit.decode.pipeline import by_partition, note_errors
from labkit.decode.table import assemble
from labkit.errors import UsageError
from labkit.find.matching import Needle
from labkit.find.slices import Frontier
from labkit.kafka.cluster import Cluster
from labkit.profile.origins import times_of
from labkit.read_spec import ReadSpec
from labkit.registry import Registry
from labkit.replay.content_hash import Content
from labkit.replay.plan import Plan
from labkit.replay.reader import Reading
from labkit.replay.receipt import Receipt
from labkit.replay.sample import explain_empty
from labkit.replay.slices import merge_receipts
from labkit.sinks.replay import Replay
from labkit.sinks.replay_filter import recount
from labkit.text.counts import number_of
from labkit.times import iso
from labkit.waiting import interrupt
from labkit.waiting.interrupt import Cancelled

_BY_OFFSET = [("partition", "ascending"), ("offset", "ascending")]
FEW = 100  # records decoded to see which fields there are


@dataclass
class Search:
    """A search under way: the hits so far, and what of the window they are from."""

    needle: Needle
    limit: int
    frontier: Frontier
    hits: list[pa.RecordBatch] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    receipts: dict[int, Receipt] = field(default_factory=dict)

    def cutoff_ms(self) -> int | None:
        """Return the time of the last hit that is wanted; None while there are too few."""
        times = self._times()
        if len(times) < self.limit:
            return None
        return int(np.partition(times, -self.limit)[-self.limit] if self.frontier.newest else
                   np.partition(times, self.limit - 1)[self.limit - 1])  # fmt: skip

    def _times(self) -> np.ndarray:
        parts = [times_of(hit.column("timestamp")) for hit in self.hits]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def run(self, cluster: Cluster, spec: ReadSpec, decoder: Decoder, cancelled: Cancelled) -> None:
        """Search slice after slice until nothing that is left can be among the hits wanted."""
        while not cancelled() and (part := self.frontier.next(self.cutoff_ms())) is not None:
            reading = spec.reading(cluster, part)
            batches = list(self._search(reading, decoder, cancelled))
            receipt = reading.receipt()
            self.receipts[len(self.plans)] = receipt
            self.plans.append(part)
            self.frontier.note_searched(part, batches)
            if receipt.was_ended:
                return

    def _search(
        self, reading: Reading, decoder: Decoder, cancelled: Cancelled
    ) -> Iterator[pa.RecordBatch]:
        """Yield the first and last records of each batch by partition.

        The hits are kept, the others are filtered.
        """
        for batch in reading.batches(cancelled):
            rows = self.needle.rows(batch, decoder)
            # nothing was decoded: is there such a field?
            if self.needle.field is not None and not self.needle.seen:
                self.needle.learn_fields(batch.slice(0, FEW), decoder)
            hits = batch.take(pa.array(rows))
            counts = [
                by_partition(records.column("partition").to_numpy()) for records in (batch, hits)
            ]
            reading.drop(counts[0] - counts[1])
            if len(rows):
                note_errors(reading, hits, decoder.parse_batch(hits).errors)
                self.hits.append(hits)
            yield batch.select(["partition", "timestamp"])

    def take_wanted(self) -> list[pa.RecordBatch]:
        """Return the hits that are wanted, in the order asked for."""
        table = pa.Table.from_batches(self.hits).combine_chunks()
        direction = "descending" if self.frontier.newest else "ascending"
        keys = [("timestamp", direction), ("partition", "ascending"), ("offset", direction)]
        order = pc.sort_indices(table.select(["timestamp", "partition", "offset"]), sort_keys=keys)
        batches: list[pa.RecordBatch] = table.take(order[: self.limit]).to_batches()
        return batches


def find(
    cluster: Cluster,
    plan: Plan,
    needle: Needle,
    spec: ReadSpec,
    *,
    limit: int,
    newest: bool,
    slack_ms: int,
    registry: Registry | None,
    timezone: tzinfo,
) -> tuple[Replay, bool]:
    """Return the hits, and whether the search was stopped; see `labkit.Window.find`."""
    decoder, decoder_notes, _ = spec.choose_decoder(cluster, plan, registry)
    search = Search(needle, limit, Frontier(plan, newest=newest, slack_ms=slack_ms))
    with interrupt.listen() as cancelled:
        decoder.heed(cancelled)
        search.run(cluster, spec, decoder, cancelled)
        ended = cancelled()
    receipt = merge_receipts(
        search.frontier.covered_part(), search.plans, search.receipts, isolation=spec.isolation
    )
    count = sum(hit.num_rows for hit in search.hits)
    if not (count or ended):
        _check_field(search)
    hits = search.take_wanted() if search.hits else []
    table = _in_order(assemble(hits, [decoder.parse_batch(hit) for hit in hits], decoder), hits)
    receipt = recount(receipt, table, content=_content(hits)).with_notes(
        *decoder_notes, *notes(decoder),
        *(["it was stopped before the search was done"] if ended else []),
        _how_far(search, receipt, len(table), count),
    )  # fmt: skip
    if not plan.size:
        receipt = explain_empty(cluster, receipt)
    return Replay(table, receipt, registry, timezone=timezone), ended


def _check_field(search: Search) -> None:
    """Refuse a field that no record has that was decoded.

    Raises
    ------
    UsageError
    """
    name, names = search.needle.field, search.needle.seen
    if name is not None and names and name not in names:
        near = did_you_mean(name, names)
        raise UsageError(
            f"no record has a field {name!r}",
            hint=near or f"fields: {', '.join(sorted(names)[:20])}",
        )


def _in_order(table: pa.Table, hits: list[pa.RecordBatch]) -> pa.Table:
    """Bring the table, which is by partition and offset, into the order of the hits."""
    if not hits:
        return table
    hit_rows = pa.Table.from_batches(hits)
    pairs = zip(hit_rows["partition"].to_pylist(), hit_rows["offset"].to_pylist(), strict=True)
    places = {pair: place for place, pair in enumerate(pairs)}
    own = zip(table["_partition"].to_pylist(), table["_offset"].to_pylist(), strict=True)
    rank = np.array([places[pair] for pair in own])
    return table.take(pa.array(np.argsort(rank)))


def _content(hits: list[pa.RecordBatch]) -> Content:
    """Return the hash of hits, which are by time: it goes by partition and offset."""
    if not hits:
        return Content()
    rows = pa.Table.from_batches(hits).combine_chunks()
    order = pc.sort_indices(rows.select(["partition", "offset"]), sort_keys=_BY_OFFSET)
    return Content.of(rows.take(order).to_batches())


def _how_far(search: Search, receipt: Receipt, shown: int, found: int) -> str:
    frontier, order = search.frontier, "newest" if search.frontier.newest else "oldest"
    looked = sum(span.size for span in frontier.covered_part().ranges)
    if not frontier.left:
        are = "is" if shown == 1 else "are"
        more = f"; the {order} {shown:,} {are} here" if found > shown else ""
        unread = receipt.counts["unread"]
        whole = f"{looked - unread:,} of {looked:,}" if unread else f"all {looked:,}"
        if not found and looked and (any_case := search.needle.in_any_case):
            more = f"; upper and lower case differ: {any_case} takes both"
        return f"{number_of(found, 'hit')} in {whole} records{more}"
    first, last = receipt.span_ms
    edge = iso(first if frontier.newest else last)
    reached = f", {'back' if frontier.newest else 'on'} to {edge}" if edge else ""
    return (
        f"the {order} {number_of(shown, 'hit')}: {looked - receipt.unread:,} of {frontier.plan.size:,} records "
        f"were searched{reached}; the others were not looked at"
    )
