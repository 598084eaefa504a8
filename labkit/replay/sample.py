"""A few of a window's records, to judge the rest by."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from labkit.kafka import Cluster
from labkit.replay.plan import Plan
from labkit.replay.reader import Reading

RECORDS = 25  # at each of two places
PARTITIONS = 4
BYTES = 8_000_000
TIMEOUT_S = 10.0


def sample(cluster: Cluster, plan: Plan) -> list[pa.RecordBatch]:
    """Return the first and the last records of the window's largest partitions, always the same ones."""
    largest = sorted((one for one in plan.ranges if one.size), key=lambda one: (-one.size, one.partition))[:PARTITIONS]
    firsts = tuple(replace(one, end=min(one.end, one.start + RECORDS)) for one in largest)
    lasts = tuple(replace(one, start=max(one.start + RECORDS, one.end - RECORDS)) for one in largest)
    found: list[pa.RecordBatch] = []
    for ranges in (firsts, tuple(one for one in lasts if one.start < one.end)):
        places = replace(plan, ranges=ranges, start_ms=None, end_ms=None)
        found += Reading(cluster, places, on_expired="clamp", max_bytes=BYTES, deadline_s=TIMEOUT_S).batches()
    return found
