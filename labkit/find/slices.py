"""The slices in which a window is searched, from its newest or from its oldest records."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from labkit.profile.origins import NO_TIME, times_of
from labkit.replay.plan import Plan, Range

FIRST = 2_000  # records of the first slice, of all partitions together
LARGEST = 200_000
GROWTH = 4


@dataclass
class _Edge:
    """How far one partition has been searched: [low, high) is still to be."""

    range: Range
    low: int
    high: int
    # of the record last searched nearest to the rest; None: nothing was yet
    time_ms: int | None = None


class Frontier:
    """What of a window is still to be searched.

    Parameters
    ----------
    plan : Plan
    newest : bool
        From the end back; else from the start on.
    slack_ms : int
        Records may lie out of time order by so much.
    """

    def __init__(self, plan: Plan, *, newest: bool, slack_ms: int) -> None:
        self.plan, self.newest, self.slack_ms = plan, newest, slack_ms
        self._edges = [_Edge(span, span.start, span.end) for span in plan.ranges if span.size]
        self._size = FIRST

    def next(self, cutoff_ms: int | None) -> Plan | None:
        """Return the next slice; None when nothing is left that could be before the cutoff.

        Parameters
        ----------
        cutoff_ms : int or None
            The time of the last hit that is wanted; None while there are too few hits.
        """
        open_ = [
            edge
            for edge in self._edges
            if edge.low < edge.high and self._may_matter(edge, cutoff_ms)
        ]
        if not open_:
            return None
        share = max(1, self._size // len(open_))
        self._size = min(LARGEST, self._size * GROWTH)
        return replace(self.plan, ranges=tuple(self._slice(edge, share) for edge in open_))

    def _may_matter(self, edge: _Edge, cutoff_ms: int | None) -> bool:
        if cutoff_ms is None or edge.time_ms is None:
            return True
        if self.newest:
            return edge.time_ms + self.slack_ms >= cutoff_ms
        return edge.time_ms - self.slack_ms <= cutoff_ms

    def _slice(self, edge: _Edge, share: int) -> Range:
        if self.newest:
            start, end = max(edge.low, edge.high - share), edge.high
        else:
            start, end = edge.low, min(edge.high, edge.low + share)
        log_end = edge.range.log_end if end == edge.range.end else end
        return replace(edge.range, start=start, end=end, log_end=log_end)

    def note_searched(self, part: Plan, batches: list[pa.RecordBatch]) -> None:
        """Note that a slice was searched; `batches` are its records."""
        nearest: dict[int, int] = {}
        for batch in batches:
            partitions = batch.column("partition").to_numpy()
            times = times_of(batch.column("timestamp"))
            for number in np.unique(partitions).tolist():
                own = times[(partitions == number) & (times != NO_TIME)]
                if len(own) and (number not in nearest or not self.newest):
                    nearest[number] = int(own[0] if self.newest else own[-1])
        for span in part.ranges:
            edge = next(edge for edge in self._edges if edge.range.partition == span.partition)
            edge.time_ms = nearest.get(span.partition, edge.time_ms)
            if self.newest:
                edge.high = span.start
            else:
                edge.low = span.end

    def covered_part(self) -> Plan:
        """Return the part of the window that was searched."""
        ranges = {span.partition: replace(span, end=span.start) for span in self.plan.ranges}
        for edge in self._edges:
            span = edge.range
            part = (edge.high, span.end) if self.newest else (span.start, edge.low)
            ranges[span.partition] = replace(span, start=part[0], end=part[1])
        return replace(self.plan, ranges=tuple(ranges[span.partition] for span in self.plan.ranges))

    @property
    def left(self) -> int:
        """How many offsets were not searched."""
        return sum(edge.high - edge.low for edge in self._edges)
