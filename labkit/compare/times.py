"""When the differences were: counted at a resolution that stays small, whatever the span. Pure."""

from __future__ import annotations

from collections import Counter

import numpy as np

# Each is a multiple of the one before. With so many buckets at most, a chart's own buckets (200 at
# most, of usual lengths) are never shorter than these, so that they can be summed up from them
# exactly.
RESOLUTIONS_MS = (1_000, 60_000, 3_600_000, 86_400_000)
MOST_BUCKETS = 100_000


class Times:
    """Counts by time and outcome.

    Attributes
    ----------
    every_ms : int
        The buckets' length now.
    counts : Counter
        (bucket's start in ms, outcome) to how many.
    untimed : Counter
        Outcome to how many have no time.
    """

    def __init__(self) -> None:
        self.every_ms = RESOLUTIONS_MS[0]
        self.counts: Counter[tuple[int, int]] = Counter()
        self.untimed: Counter[int] = Counter()

    def add(self, outcomes: np.ndarray, stamps: np.ndarray, timed: np.ndarray) -> None:
        """Count some: `stamps` in ms where `timed` says so."""
        for outcome, count in zip(*np.unique(outcomes[~timed], return_counts=True), strict=True):
            self.untimed[int(outcome)] += int(count)
        if not timed.any():
            return
        buckets = np.stack(
            [stamps[timed] // self.every_ms * self.every_ms, outcomes[timed].astype(np.int64)]
        )
        pairs, counts = np.unique(buckets, axis=1, return_counts=True)
        for at, outcome, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
            self.counts[at, outcome] += count
        while len(self.counts) > MOST_BUCKETS and self.every_ms < RESOLUTIONS_MS[-1]:
            self._coarsen(RESOLUTIONS_MS[RESOLUTIONS_MS.index(self.every_ms) + 1])

    def _coarsen(self, every_ms: int) -> None:
        counts: Counter[tuple[int, int]] = Counter()
        for (at, outcome), count in self.counts.items():
            counts[at // every_ms * every_ms, outcome] += count
        self.every_ms, self.counts = every_ms, counts
