"""When a topic's records were written, without reading one.

Kafka's time index is asked at the edges of time buckets.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, tzinfo
from html import escape

import numpy as np

from labkit.charts.buckets import Grid, fitting, length
from labkit.kafka.cluster import Cluster
from labkit.times import iso

_NO_FRACTION = re.compile(r"\.000(?=Z|[+-])")
_CHOSEN = 'fill="var(--jp-brand-color1, #1976d2)"'
# the text's: a theme's border may be brighter than its brand
_OTHER = 'fill="currentcolor" fill-opacity="0.3"'


@dataclass(frozen=True, eq=False)
class Timeline:
    """How many offsets each time bucket of a topic has.

    Attributes
    ----------
    grid : Grid or None
        The buckets; None when no record has a time.
    partitions : list of int
    counts : numpy.ndarray
        One row per bucket, one column per partition. Where times do not follow offsets a bucket's
        count is near, not exact, and so is it where compaction or transactions leave offsets
        without a record.
    """

    grid: Grid | None
    partitions: list[int]
    counts: np.ndarray

    def of(self, partitions: Collection[int]) -> np.ndarray:
        """Return the count of each bucket, in these partitions."""
        columns = [
            place for place, partition in enumerate(self.partitions) if partition in partitions
        ]
        counts: np.ndarray = self.counts[:, columns].sum(axis=1)
        return counts

    @property
    def edges(self) -> list[int]:
        """The buckets' edges in milliseconds, one more than there are buckets."""
        return [] if self.grid is None else [*self.grid.starts, self.grid.end_ms]


def timeline(cluster: Cluster, topic: str) -> Timeline:
    """Ask for the offsets at the edges of at most 200 buckets over all of `topic`.

    Some hundred small requests.
    """
    partitions = cluster.partitions(topic)
    span = cluster.span(topic, partitions)
    if span is None:
        return Timeline(None, partitions, np.zeros((0, len(partitions)), np.int64))
    grid = fitting(*span, None, 1)
    first, latest = cluster.starts_and_ends(topic, partitions)
    inner = np.array(cluster.offsets_at(topic, partitions, list(grid.starts)[1:]), np.int64)
    starts = np.array([[first[partition] for partition in partitions]], np.int64)
    ends = np.array([[latest[partition] for partition in partitions]], np.int64)
    inner = inner.reshape(-1, len(partitions))
    inner = np.clip(np.where(inner < 0, ends, inner), starts, np.maximum(starts, ends))
    return Timeline(grid, partitions, np.diff(np.concatenate([starts, inner, ends]), axis=0))


def picture(
    shown: Timeline, partitions: Collection[int], first: int, last: int, zone: tzinfo = UTC
) -> str:
    """Return the timeline as SVG, with the buckets [first, last) lit.

    Its colours are those of the notebook's theme.
    """
    if shown.grid is None:
        return "<i>no record of this topic has a time</i>"
    counts = shown.of(partitions)
    top = max(1, int(counts.max()))
    bars = "".join(
        f'<rect x="{at}" y="{100 - height:.1f}" width="0.9" height="{height:.1f}" '
        f"{_CHOSEN if first <= at < last else _OTHER}/>"
        for at, height in enumerate((100 * counts / top).tolist())
        if height
    )
    scale = f"records per {length(shown.grid.every_ms)}, {top:,} at most; times in {zone}"
    ends = (short(shown.edges[0], zone), scale, short(shown.edges[-1], zone))
    labels = "".join(f'<span style="white-space:nowrap">{escape(text)}</span>' for text in ends)
    return (
        f'<svg role="img" aria-label="{escape(scale)}" viewBox="0 0 {len(counts)} 100" preserveAspectRatio="none" '
        f'style="width:100%;height:90px;display:block">{bars}</svg>'
        f'<div style="display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 1em;'
        f'line-height:1.4;font-size:85%;opacity:.75">{labels}</div>'
    )


def short(ms: int, zone: tzinfo = UTC) -> str:
    """Return a time with its distance from UTC; seconds have no fraction of zero."""
    return _NO_FRACTION.sub("", iso(ms, zone) or "")
