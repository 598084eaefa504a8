"""The neighbours in time of one record, or of a point in time, in all partitions of a window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.checks.suggest import typed
from labkit.checks.validation import whole_number
from labkit.decode import notes
from labkit.decode.table import assemble
from labkit.errors import UsageError
from labkit.kafka.cluster import Cluster
from labkit.profile.origins import NO_TIME, times_of
from labkit.read_spec import ReadSpec
from labkit.registry import Registry
from labkit.replay.content_hash import Content
from labkit.replay.plan import Plan, Range
from labkit.replay.receipt import Receipt
from labkit.replay.records import RAW_SCHEMA
from labkit.sinks.replay import Order, Replay
from labkit.sinks.replay_filter import recount
from labkit.text.counts import number_of
from labkit.times import has_date, iso, to_ms
from labkit.waiting import interrupt
from labkit.waiting.interrupt import Cancelled

MOST = 10_000  # records on each side
_GROWTH = 4  # where offsets without a record stand between


@dataclass(frozen=True)
class Anchor:
    """What the neighbours are of: a record, or a point in time."""

    partition: int | None = None
    offset: int | None = None
    time_ms: int | None = None

    @classmethod
    def of(cls, partition: int | None, offset: int | None, time: Any, zone: tzinfo) -> Anchor:
        """Return what `Window.around` was given, checked: a record's place or a point in time."""
        by_place = partition is not None and offset is not None
        incomplete = (partition is None) != (offset is None)
        if incomplete or by_place == (time is not None):
            raise UsageError(
                "around takes a record's partition and offset, or a time",
                hint='w.around(0, 4711), or w.around(time="2016-03-01T12:00")',
            )
        if time is not None:
            return cls(time_ms=to_ms(time, zone))
        hint = "a record's place, such as w.around(0, 4711)"
        return cls(
            whole_number(partition, "partition", hint, low=0),
            whole_number(offset, "offset", hint, low=0),
        )


@dataclass
class _Side:
    """One partition around a place in it."""

    range: Range
    place: int  # the first offset that is not before the anchor
    low: int
    high: int

    def widen(self, before: int, after: int) -> None:
        self.low = max(self.range.start, self.low - before)
        self.high = min(self.range.end, self.high + after)


def around(
    cluster: Cluster,
    plan: Plan,
    anchor: Anchor,
    spec: ReadSpec,
    *,
    before: int,
    after: int,
    registry: Registry | None,
    timezone: tzinfo,
) -> tuple[Replay, bool]:
    """Return the neighbours by time, and whether it was stopped; see `labkit.Window.around`."""
    _check(plan, anchor)
    decoder, decoder_notes, _ = spec.choose_decoder(cluster, plan, registry)
    with interrupt.listen() as cancelled:
        decoder.heed(cancelled)
        look = _Look(cluster, plan, spec, cancelled)
        missing: list[str] = []
        if anchor.time_ms is None:
            anchor, missing = look.at_record(anchor, before, after)
        records, receipt = look.both_sides(anchor, before, after)
        ended = cancelled()
    neighbours = _nearest(records, anchor, before, after)
    by_offset = neighbours.take(
        pc.sort_indices(neighbours, sort_keys=[("partition", "ascending"), ("offset", "ascending")])
    )
    batches = by_offset.combine_chunks().to_batches()
    table = assemble(batches, [decoder.parse_batch(batch) for batch in batches], decoder)
    receipt = recount(receipt, table, content=Content.of(batches))
    receipt = receipt.with_notes(
        *decoder_notes, *missing, *notes(decoder), _in_words(anchor, len(table))
    )
    order: Order = "partition" if anchor.time_ms is None else "time"
    return Replay(table, receipt, registry, timezone=timezone).ordered(order), ended


def _check(plan: Plan, anchor: Anchor) -> None:
    """Refuse a record that is not among the window's, before anything is read."""
    if anchor.partition is None:
        return
    ranges = {span.partition: span for span in plan.ranges}
    span = ranges.get(anchor.partition)
    if span is None:
        raise UsageError(
            f"the window has no partition {anchor.partition}",
            hint=f"it has {', '.join(map(str, ranges))}",
        )
    if anchor.offset is None or not span.start <= anchor.offset < span.end:
        raise UsageError(
            f"offset {anchor.offset} of partition {span.partition} is not in the window, which has {span.start} to "
            f"{span.end - 1}" if span.size else f"the window has no offset of partition {span.partition}",
            hint="make a window that has it"
            + typed(f": lab.window({plan.topic!r})", ", without --start, --last …")
            + f"; {_way_to_trace(plan.topic, anchor)} tells what became of the record",
        )  # fmt: skip


def _way_to_trace(topic: str, anchor: Anchor) -> str:
    partition, offset = anchor.partition, anchor.offset
    return typed(
        f"lab.trace({topic!r}, {partition}, {offset})",
        f"`labkit trace {topic} {partition}:{offset}`",
    )


class _Look:
    """Reads a few records here and there."""

    def __init__(self, cluster: Cluster, plan: Plan, spec: ReadSpec, cancelled: Cancelled) -> None:
        self.cluster, self.plan, self.spec, self.cancelled = cluster, plan, spec, cancelled

    def read(self, sides: list[_Side]) -> tuple[pa.Table, Receipt]:
        ranges = tuple(
            replace(side.range, start=side.low, end=side.high,
                    log_end=side.range.log_end if side.high == side.range.end else side.high)
            for side in sides
        )  # fmt: skip
        reading = self.spec.reading(self.cluster, replace(self.plan, ranges=ranges))
        batches = list(reading.batches(self.cancelled))
        return pa.Table.from_batches(batches, RAW_SCHEMA), reading.receipt()

    def at_record(self, anchor: Anchor, before: int, after: int) -> tuple[Anchor, list[str]]:
        """Return the anchor with its record's time.

        Where there is no record, with that of the next or the last.
        """
        span = next(span for span in self.plan.ranges if span.partition == anchor.partition)
        offset = anchor.offset or 0
        side = _Side(span, offset, offset, offset + 1)
        while True:
            table, _ = self.read([side])
            if len(table) or (side.low, side.high) == (span.start, span.end) or self.cancelled():
                break
            width = side.high - side.low
            side.widen(max(before, width * _GROWTH), max(after, width * _GROWTH))
        if not len(table):
            return anchor, [f"partition {anchor.partition} has no record in this window"]
        offsets = table["offset"].to_numpy()
        row = min(int(np.searchsorted(offsets, offset)), len(table) - 1)
        time_ms = int(times_of(table["timestamp"])[row])
        missing = []
        if offsets[row] != offset:
            missing = [
                f"partition {anchor.partition} has no record at offset {offset} (compacted, aborted, or a "
                f"transaction's marker); offset {offsets[row]} stands for it"
            ]
        return replace(anchor, time_ms=None if time_ms == NO_TIME else time_ms), missing

    def both_sides(self, anchor: Anchor, before: int, after: int) -> tuple[pa.Table, Receipt]:
        """Return the records around the anchor in each partition, more than enough of them."""
        sides = [_Side(span, place, place, place) for span, place in self._places(anchor).items()]
        for side in sides:
            side.widen(before, after + 1)
        growth = 1
        while True:
            table, receipt = self.read(sides)
            untimed = table["timestamp"].null_count if anchor.time_ms is not None else 0
            if untimed:  # nobody knows whether they are near
                table = table.filter(pc.is_valid(table["timestamp"]))
                receipt = receipt.with_notes(f"{untimed:,} records without a time are left out")
            short = [side for side in sides if _is_short(side, table, before, after)]
            if not short or untimed > MOST or receipt.was_ended or self.cancelled():
                return table, receipt
            growth *= _GROWTH
            for side in short:
                side.widen(growth * max(1, before), growth * (after + 1))

    def _places(self, anchor: Anchor) -> dict[Range, int]:
        """Return where the anchor stands in each partition.

        Of a record without a time only its own is known.
        """
        own = {
            span: anchor.offset or 0
            for span in self.plan.ranges
            if span.partition == anchor.partition
        }
        if anchor.time_ms is None:
            return own
        others = [span for span in self.plan.ranges if span not in own and span.size]
        if not others:
            return own
        (offsets,) = self.cluster.offsets_at(
            self.plan.topic, [span.partition for span in others], [max(0, anchor.time_ms)]
        )
        places = {
            span: span.end if offset < 0 else min(max(offset, span.start), span.end)
            for span, offset in zip(others, offsets, strict=True)
        }
        return {span: place for span, place in sorted({**own, **places}.items()) if span.size}


def _is_short(side: _Side, table: pa.Table, before: int, after: int) -> bool:
    """Tell whether a side has fewer records than wanted although there may be more."""
    offsets = table["offset"].to_numpy()[table["partition"].to_numpy() == side.range.partition]
    earlier = int((offsets < side.place).sum())
    lacks_before = earlier < before and side.low > side.range.start
    return lacks_before or (len(offsets) - earlier < after + 1 and side.high < side.range.end)


def _nearest(table: pa.Table, anchor: Anchor, before: int, after: int) -> pa.Table:
    """Return the anchor's record and those next to it: by time, or by offset where it has none."""
    if not len(table):
        return table
    partitions, offsets = table["partition"].to_numpy(), table["offset"].to_numpy()
    times = times_of(table["timestamp"]) if anchor.time_ms is not None else np.zeros(len(table))
    earlier, own = times < (anchor.time_ms or 0), 0
    if anchor.partition is not None and anchor.offset is not None:
        in_partition = partitions == anchor.partition
        lower = (partitions < anchor.partition) | (in_partition & (offsets < anchor.offset))
        earlier |= (times == (anchor.time_ms or 0)) & lower
        own = int((in_partition & (offsets == anchor.offset)).sum())
    place = int(earlier.sum())
    order = np.lexsort((offsets, partitions, times))
    rows = order[max(0, place - before) : place + own + after]
    return table.take(pa.array(rows))


def _in_words(anchor: Anchor, shown: int) -> str:
    time = ""
    if anchor.time_ms is not None:
        time = str(iso(anchor.time_ms)) if has_date(anchor.time_ms) else "its time"
    if anchor.partition is None:
        return f"the {number_of(shown, 'record')} nearest in time to {time}, of all partitions of the window"
    where = f"partition {anchor.partition} offset {anchor.offset}"
    if anchor.time_ms is None:
        return f"{number_of(shown, 'record')} around {where}, which has no time: of its own partition only"
    return f"{number_of(shown, 'record')} around {where} ({time}), by time, of all partitions of the window"
