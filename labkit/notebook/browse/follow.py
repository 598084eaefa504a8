"""Records of a window whose end moves on.

Each step reads what came as any window is read: exact, or not taken.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import pyarrow as pa

from labkit.decode import Spec
from labkit.decode.table import from_batches
from labkit.errors import UsageError
from labkit.notebook.browse.records import Records
from labkit.notebook.browse.source import MOST, Source, code_of_window
from labkit.read_spec import ReadSource
from labkit.replay.plan import Range
from labkit.sinks.replay import read
from labkit.sinks.replay_filter import raw_batches
from labkit.text.counts import number_of
from labkit.times import iso, now_ms
from labkit.window import Window

EVERY_S = 1.0
LIMIT_S = 3600.0
STEP = 50_000  # records that one step reads at most
_DEADLINE = "10s"  # of one step: an open transaction must not hold it for ever
_MOST_CHUNKS = 1_000  # to join those of a million records takes a second


@dataclass(frozen=True)
class Grown:
    """What a step found.

    Attributes
    ----------
    source : Source
    records : Records or None
        None where nothing came.
    new : int
    trouble : str
        Why what came was not taken; the next step tries again.
    """

    source: Source
    records: Records | None = None
    new: int = 0
    trouble: str = ""


def grow(source: Source, decode: Spec | None, before: Records | None = None) -> Grown:
    """Read what came after the records that are here, at most `STEP`.

    `before` are those: what was asked of them is not asked again.

    It is called in a thread, so it shows nothing.

    Raises
    ------
    UsageError
        When there would be too many records to look at.
    """
    window = _window_of(source)
    plan, lab = window.plan, window.lab
    latest = lab.cluster.bounds(plan.topic, [part.partition for part in plan.ranges], "latest")
    step = max(1, STEP // max(1, len(plan.ranges)))
    ends = {part.partition: min(part.end + step, latest[part.partition]) for part in plan.ranges}
    fresh = tuple(
        replace(part, start=part.end, end=ends[part.partition], log_end=latest[part.partition])
        for part in plan.ranges
        if ends[part.partition] > part.end
    )
    if not fresh:
        return Grown(source)
    _check_room(source, sum(latest[part.partition] - part.start for part in fresh))
    part = Window(replace(plan, ranges=fresh), lab)
    records = ReadSource.of(part, decode=decode, guard=False, deadline=_DEADLINE)
    replay = read(records, cached=False)
    if not replay.receipt.complete:
        return Grown(source, trouble=replay.receipt.shortfall)
    table, as_before = _join(source, replay.table, records.spec.decode)
    read_until = {part.partition: part for part in fresh}
    ranges = tuple(_longer(part, read_until.get(part.partition)) for part in plan.ranges)
    grown = _move_window(source, window, ranges, table)
    grown_records = Records(
        table, source.time_field, source.zone, before=before if as_before else None
    )
    return Grown(grown, grown_records, len(replay))


def _longer(part: Range, fresh: Range | None) -> Range:
    return part if fresh is None else replace(part, end=fresh.end, log_end=fresh.log_end)


def _window_of(source: Source) -> Window:
    if source.window is None:
        raise UsageError(
            "only a topic's records can be followed",
            hint='browse a topic: widgets.browse(lab, "irc")',
        )
    return source.window


def _check_room(source: Source, coming: int) -> None:
    if len(source.table) + coming > MOST:
        raise UsageError(
            f"{coming:,} records came, and {len(source.table):,} are here: at most {MOST:,} can be looked at",
            hint="browse the topic anew",
        )


def _move_window(
    source: Source, window: Window, ranges: tuple[Range, ...], table: pa.Table
) -> Source:
    begin = source.asked or window.plan.asked
    asked_text = f"{begin}, followed until {(iso(now_ms()) or '')[:19]}Z"
    moved = Window(
        replace(window.plan, ranges=ranges, asked=asked_text, start_ms=None, end_ms=None),
        window.lab,
    )
    extent = (
        number_of(len(table), "record") if source.whole else f"the newest {len(table):,} records"
    )
    return replace(
        source,
        table=table,
        said=extent,
        code=code_of_window(moved, source.decode),
        replay=None,
        window=moved,
        asked=begin,
    )


def _join(source: Source, fresh: pa.Table, decode: Spec) -> tuple[pa.Table, bool]:
    """Put new records behind those that are here; tell whether these stayed as they were.

    Where their fields' types differ, all of them are decoded anew.
    """
    try:
        table = pa.concat_tables([source.table, fresh], promote_options="default")
    except pa.ArrowException:
        raw = [*raw_batches(source.table), *raw_batches(fresh)]
        registry = None if source.window is None else source.window.lab.registry
        return from_batches(raw, decode, registry=registry), False
    crowded = table.column(0).num_chunks > _MOST_CHUNKS
    return table.combine_chunks() if crowded else table, True


class Pace:
    """How many records came, and how fast, over the last ten seconds."""

    def __init__(self) -> None:
        self.new = 0
        self._steps: list[tuple[float, int]] = [(time.monotonic(), 0)]

    def add(self, new: int) -> None:
        """Count what a step found."""
        self.new += new
        now = time.monotonic()
        self._steps = [step for step in self._steps if step[0] > now - 10] or self._steps[-1:]
        self._steps.append((now, new))

    def __str__(self) -> str:
        (begin, _), *steps = self._steps
        seconds = max(0.001, time.monotonic() - begin)
        return f"{self.new:,} new, {sum(new for _, new in steps) / seconds:,.1f} records/s"
