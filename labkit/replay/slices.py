"""A plan cut into slices that engines read apart, and their receipts added up again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, pairwise

from labkit.replay.plan import Plan, Range
from labkit.replay.receipt import PartitionReceipt, Receipt, StopReason, least, most

_COUNTS = ("read", "filtered", "gaps", "unread", "undecodable", "out_of_order", "beyond")
_MOST_NOTES = 20


def cut(plan: Plan, records: int) -> list[Plan]:
    """Return the plan as slices of at most `records` offsets, in its order.

    Together they are the plan. A partition with more is cut evenly, small ones share a slice. A cut
    inside a partition is no end of the asked time, so nothing is looked for behind it.
    """
    slices: list[list[Range]] = [[]]
    for piece in chain.from_iterable(_pieces(span, records) for span in plan.ranges):
        if slices[-1] and sum(earlier.size for earlier in slices[-1]) + piece.size > records:
            slices.append([])
        slices[-1].append(piece)
    return [replace(plan, ranges=tuple(ranges)) for ranges in slices]


def _pieces(span: Range, records: int) -> Iterator[Range]:
    count = max(1, -(-span.size // records))
    edges = [span.start + span.size * number // count for number in range(count + 1)]
    for start, end in pairwise(edges):
        yield replace(span, start=start, end=end, log_end=span.log_end if end == span.end else end)


def merge_receipts(
    plan: Plan, slices: Sequence[Plan], receipts: Mapping[int, Receipt], *, isolation: str
) -> Receipt:
    """Return the receipt of `plan` from those of its slices.

    A slice without one counts as unread, ``pending``.

    Parameters
    ----------
    receipts : mapping
        Number of the slice to receipt.

    Returns
    -------
    Receipt
        ``elapsed_s`` is the sum over the slices. Records out of time order are counted within
        slices.
    """
    parts = [receipts[number] for number in sorted(receipts)]
    by_partition: dict[int, list[PartitionReceipt]] = {span.partition: [] for span in plan.ranges}
    for number, part in enumerate(slices):
        accounts = receipts[number].partitions if number in receipts else map(_pending, part.ranges)
        for account in accounts:
            by_partition[account.partition].append(account)
    groups = {receipt.group for receipt in parts}
    return Receipt(
        topic=plan.topic,
        cluster_id=plan.cluster_id,
        window=plan.hash,
        isolation=isolation,
        partitions=tuple(
            _add_partition(span, by_partition[span.partition]) for span in plan.ranges
        ),
        bytes=sum(receipt.bytes for receipt in parts),
        elapsed_s=round(sum(receipt.elapsed_s for receipt in parts), 3),
        group=f"{len(groups)} readers' own" if len(groups) > 1 else next(iter(groups), "none"),
        versions=parts[0].versions if parts else {},
        notes=_first_notes(note for receipt in parts for note in receipt.notes),
    )


def _pending(span: Range) -> PartitionReceipt:
    reason = StopReason.PENDING if span.size else StopReason.END
    return PartitionReceipt(
        span.partition,
        span.start,
        span.end,
        unread=span.size,
        stop_reason=reason,
        stop_offset=span.start,
    )


def _add_partition(span: Range, parts: list[PartitionReceipt]) -> PartitionReceipt:
    """Add up one partition.

    It ended early where its first slice did that was not read to its end.
    """
    early = next((part for part in parts if part.stop_reason != StopReason.END), None)
    return PartitionReceipt(
        partition=span.partition,
        start=span.start,
        end=span.end,
        **{name: sum(getattr(part, name) for part in parts) for name in _COUNTS},
        first_offset=least(part.first_offset for part in parts),
        last_offset=most(part.last_offset for part in parts),
        first_timestamp_ms=least(part.first_timestamp_ms for part in parts),
        last_timestamp_ms=most(part.last_timestamp_ms for part in parts),
        max_inversion_ms=max((part.max_inversion_ms for part in parts), default=0),
        stop_reason=early.stop_reason if early else StopReason.END,
        stop_offset=early.stop_offset if early else span.end,
    )


def _first_notes(notes: Iterable[str]) -> tuple[str, ...]:
    distinct = list(dict.fromkeys(notes))
    left = len(distinct) - _MOST_NOTES
    return tuple(distinct[:_MOST_NOTES]) + ((f"and {left} more such notes",) if left > 0 else ())
