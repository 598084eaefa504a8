"""What reading a window will take, judged by a small sample of it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from labkit.kafka import Cluster
from labkit.replay.plan import Plan, Range
from labkit.replay.reader import Reading

SAMPLE_RECORDS = 20_000
_PARTITIONS = 4


@dataclass(frozen=True)
class Estimate:
    """What a read will take; from `sampled` records of its largest partitions.

    Attributes
    ----------
    records : int
        At most so many: offsets planned, scaled by what the sample had of them.
    bytes : int
        Of keys and values.
    seconds : float
        At the speed the sample came with, on this machine and network, now.
    """

    records: int
    bytes: int
    seconds: float
    sampled: int

    def __str__(self) -> str:
        return (
            f"about {self.records:,} records, {self.bytes / 1e6:,.1f} MB, {self.seconds:,.1f} s "
            f"(from a sample of {self.sampled:,}; a frame of it takes three to four times the bytes in memory)"
        )

    __repr__ = __str__


def estimate(cluster: Cluster, plan: Plan) -> Estimate:
    """Read a sample from the middle of the largest partitions and scale it up."""
    largest = sorted((one for one in plan.ranges if one.size), key=lambda one: one.size, reverse=True)[:_PARTITIONS]
    share = SAMPLE_RECORDS // max(1, len(largest))
    reading = Reading(cluster, replace(plan, ranges=tuple(_middle(one, share) for one in largest)), on_expired="clamp")
    began = time.monotonic()
    first_s, first_records, read = 0.0, 0, 0
    for batch in reading.batches():
        read += batch.num_rows
        if not first_records:  # connecting is paid once, whatever the size
            first_s, first_records = time.monotonic() - began, batch.num_rows
    planned = sum(min(one.size, share) for one in largest)
    if not read:
        return Estimate(0, 0, 0.0, 0)
    records = round(plan.size * read / planned)
    rest_s = time.monotonic() - began - first_s
    per_record_s = rest_s / (read - first_records) if read > first_records else first_s / read
    return Estimate(records, round(reading.bytes / read * records), tenths(first_s + per_record_s * records), read)


def tenths(seconds: float) -> float:
    """Return seconds rounded up to tenths: what takes some time never takes none."""
    return math.ceil(seconds * 10) / 10


def _middle(one: Range, count: int) -> Range:
    start = one.start + max(0, one.size - count) // 2
    return replace(one, start=start, end=min(one.end, start + count))
