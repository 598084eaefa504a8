"""A few of a window's records, to judge the rest by."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from labkit.errors import LabkitError
from labkit.kafka import Cluster
from labkit.replay.plan import Plan, Range
from labkit.replay.reader import Reading
from labkit.replay.receipt import Receipt
from labkit.times import iso

RECORDS = 25  # at each of two places
PARTITIONS = 4
BYTES = 8_000_000
TIMEOUT_S = 10.0
ENDS = 5  # offsets at each end of a partition: the last may be a transaction's marker
MOST_PARTITIONS = 100


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


def explained(cluster: Cluster, receipt: Receipt) -> Receipt:
    """Return the receipt; of a window without a record with a note that tells where the topic has some."""
    if receipt.read or not receipt.complete:
        return receipt
    if receipt.filtered:
        note = f"none of the {receipt.filtered:,} records looked at is of the asked time and fulfils the condition"
        return replace(receipt, notes=(*receipt.notes, note))
    try:
        first, last = _span_ms(cluster, receipt.topic)
    except LabkitError:  # a note is worth no error
        return receipt
    found = "has no record now" if first is None else f"has records from {iso(first)} to {iso(last)} (UTC)"
    return replace(receipt, notes=(*receipt.notes, f"nothing there: topic {receipt.topic!r} {found}"))


def _span_ms(cluster: Cluster, topic: str) -> tuple[int | None, int | None]:
    """Return the times of a topic's oldest and newest records, by the first and last ones of its partitions."""
    partitions = cluster.partitions(topic)
    starts, ends = (cluster.bounds(topic, partitions, at) for at in ("earliest", "latest"))
    filled = [one for one in partitions if starts[one] < ends[one]][:MOST_PARTITIONS]
    firsts = tuple(Range(p, starts[p], min(ends[p], starts[p] + ENDS), ends[p]) for p in filled)
    lasts = tuple(Range(p, max(starts[p], ends[p] - ENDS), ends[p], ends[p]) for p in filled)
    spans = []
    for ranges in (firsts, lasts):
        plan = Plan(
            topic=topic, cluster_id=cluster.cluster_id, topic_id=cluster.topic_id(topic), ranges=ranges, start_ms=None,
            end_ms=None, timestamp_type="CreateTime", asked="the ends", frozen_ms=0,
        )  # fmt: skip
        reading = Reading(cluster, plan, on_expired="clamp", deadline_s=TIMEOUT_S)
        for _ in reading.batches():
            pass
        spans.append(reading.receipt().span_ms)
    times = [ms for span in spans for ms in span if ms is not None]
    return min(times, default=None), max(times, default=None)
