"""A few of a window's records, to choose how to decode it and to estimate what a read takes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import pyarrow as pa

from labkit.errors import LabkitError
from labkit.kafka.cluster import Cluster
from labkit.replay.plan import Plan, Range
from labkit.replay.reader import Reading
from labkit.replay.receipt import Receipt
from labkit.text import html
from labkit.text.counts import number_of
from labkit.times import iso

RECORDS = 25  # at each of two places
PARTITIONS = 4
BYTES = 8_000_000
TIMEOUT_S = 10.0
ENDS = 5  # offsets at each end of a partition: the last may be a transaction's marker
MOST_PARTITIONS = 100
ESTIMATE_RECORDS = 20_000


def sample(cluster: Cluster, plan: Plan) -> list[pa.RecordBatch]:
    """Return the first and the last records of the window's largest partitions.

    They are always the same ones.
    """
    largest = sorted(
        (span for span in plan.ranges if span.size),
        key=lambda span: (-span.size, span.partition),
    )[:PARTITIONS]
    firsts = tuple(replace(span, end=min(span.end, span.start + RECORDS)) for span in largest)
    lasts = tuple(
        replace(span, start=max(span.start + RECORDS, span.end - RECORDS)) for span in largest
    )
    batches: list[pa.RecordBatch] = []
    for ranges in (firsts, tuple(last for last in lasts if last.start < last.end)):
        places = replace(plan, ranges=ranges, start_ms=None, end_ms=None)
        batches += Reading(
            cluster, places, on_expired="clamp", max_bytes=BYTES, deadline_s=TIMEOUT_S
        ).batches()
    return batches


def explain_empty(cluster: Cluster, receipt: Receipt) -> Receipt:
    """Return the receipt.

    Of a window without a record with a note that tells where the topic has some.
    """
    if receipt.read or not receipt.complete:
        return receipt
    if receipt.filtered:
        note = f"none of the {receipt.filtered:,} records looked at is of the asked time and fulfils the condition"
        return receipt.with_notes(note)
    return receipt.with_notes(*filter(None, [where_records_are(cluster, receipt.topic)]))


def where_records_are(cluster: Cluster, topic: str) -> str:
    """Return where a topic has records, for who found none; nothing when that cannot be asked."""
    try:
        first, last = _span_ms(cluster, topic)
    except LabkitError:  # a note is worth no error
        return ""
    text = (
        "has no record now"
        if first is None
        else f"has records from {iso(first)} to {iso(last)} (UTC)"
    )
    return f"nothing there: topic {topic!r} {text}"


def _span_ms(cluster: Cluster, topic: str) -> tuple[int | None, int | None]:
    """Return the times of a topic's oldest and newest records.

    They are found among the first and last ones of its partitions.
    """
    partitions = cluster.partitions(topic)
    starts, ends = cluster.starts_and_ends(topic, partitions)
    filled = [partition for partition in partitions if starts[partition] < ends[partition]][
        :MOST_PARTITIONS
    ]
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
            f"about {number_of(self.records, 'record')}, {self.bytes / 1e6:,.1f} MB, {self.seconds:,.1f} s "
            f"(from a sample of {self.sampled:,}; a frame of it takes three to four times the bytes in memory)"
        )

    __repr__ = __str__

    @html.view
    def _repr_html_(self) -> str:
        return f"<div>{self}</div>"  # JupyterLab breaks a plain text within words


def estimate(cluster: Cluster, plan: Plan) -> Estimate:
    """Read a sample from the middle of the largest partitions and scale it up."""
    largest = sorted(
        (span for span in plan.ranges if span.size),
        key=lambda span: span.size,
        reverse=True,
    )[:PARTITIONS]
    share = ESTIMATE_RECORDS // max(1, len(largest))
    reading = Reading(
        cluster,
        replace(plan, ranges=tuple(_middle(span, share) for span in largest)),
        on_expired="clamp",
    )
    began = time.monotonic()
    first_s, first_records, read = 0.0, 0, 0
    for batch in reading.batches():
        read += batch.num_rows
        if not first_records:  # connecting is paid once, whatever the size
            first_s, first_records = time.monotonic() - began, batch.num_rows
    planned = sum(min(span.size, share) for span in largest)
    if not read:
        return Estimate(0, 0, 0.0, 0)
    records = round(plan.size * read / planned)
    rest_s = time.monotonic() - began - first_s
    per_record_s = rest_s / (read - first_records) if read > first_records else first_s / read
    return Estimate(
        records,
        round(reading.bytes / read * records),
        tenths(first_s + per_record_s * records),
        read,
    )


def tenths(seconds: float) -> float:
    """Return seconds rounded up to tenths: what takes some time never takes none."""
    return math.ceil(seconds * 10) / 10


def _middle(span: Range, count: int) -> Range:
    start = span.start + max(0, span.size - count) // 2
    return replace(span, start=start, end=min(span.end, start + count))
