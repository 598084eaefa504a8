"""Plans cut into slices, and their receipts added up.

Nothing is lost between, whatever the sizes.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from labkit.replay.plan import Plan, Range
from labkit.replay.receipt import PartitionReceipt, Receipt
from labkit.replay.slices import cut, merge_receipts


def plan(ranges: tuple[Range, ...]) -> Plan:
    return Plan("irc", "c", "t", ranges, None, 5, "CreateTime", "all", 0)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    ranges = []
    for partition in range(draw(st.integers(1, 6))):
        start, size = draw(st.integers(0, 50)), draw(st.integers(0, 60))
        ranges.append(Range(partition, start, start + size, start + size + draw(st.integers(0, 9))))
    return plan(tuple(ranges))


@given(plans(), st.integers(1, 40))
def test_slices_are_the_plan_in_its_order(whole: Plan, records: int) -> None:
    parts = cut(whole, records)
    assert all(part.size <= records for part in parts)
    assert sum(part.size for part in parts) == whole.size
    assert [range_.partition for part in parts for range_ in part.ranges] == sorted(
        range_.partition for part in parts for range_ in part.ranges
    )
    for part in parts:
        assert len({range_.partition for range_ in part.ranges}) == len(part.ranges)
    for span in whole.ranges:
        pieces = [
            piece for part in parts for piece in part.ranges if piece.partition == span.partition
        ]
        assert [piece.start for piece in pieces[1:]] == [piece.end for piece in pieces[:-1]]
        assert (pieces[0].start, pieces[-1].end, pieces[-1].log_end) == (
            span.start,
            span.end,
            span.log_end,
        )
        # a cut is no end of the asked time
        assert all(piece.log_end == piece.end for piece in pieces[:-1])
        if span.size > records:
            assert max(piece.size for piece in pieces) - min(piece.size for piece in pieces) <= 1


def receipt(part: Plan, reason: str, short: int) -> Receipt:
    parts = []
    for span in part.ranges:
        unread = min(short, span.size) if reason != "end" else 0
        read = (span.size - unread) // 2
        parts.append(
            PartitionReceipt(
                span.partition, span.start, span.end, read=read, filtered=span.size - unread - read, unread=unread,
                stop_reason=reason if unread else "end", stop_offset=span.end - unread, first_offset=span.start,
                last_offset=span.end - 1, first_timestamp_ms=span.start, last_timestamp_ms=span.end,
            )
        )  # fmt: skip
    return Receipt(
        "irc",
        "c",
        part.hash,
        "read_committed",
        tuple(parts),
        10,
        0.5,
        f"g{part.hash}",
        notes=("same",),
    )


@given(plans(), st.integers(1, 40), st.data())
def test_receipts_add_up_whatever_slices_are_there(
    whole: Plan, records: int, data: st.DataObject
) -> None:
    parts = cut(whole, records)
    present = data.draw(st.sets(st.integers(0, len(parts) - 1)))
    receipts = {
        number: receipt(
            parts[number],
            data.draw(st.sampled_from(["end", "deadline"])),
            data.draw(st.integers(1, 3)),
        )
        for number in present
    }
    total = merge_receipts(whole, parts, receipts, isolation="read_committed")
    assert total.planned == whole.size == total.read + total.filtered + total.gaps + total.unread
    assert total.window == whole.hash
    assert total.bytes == 10 * len(present)
    missing = sum(parts[number].size for number in range(len(parts)) if number not in present)
    assert total.unread == missing + sum(receipt.unread for receipt in receipts.values())
    assert total.complete == (not total.unread)
    for part in total.partitions:
        if part.stop_reason != "end":
            assert part.start <= part.stop_offset < part.end


def test_of_the_same_notes_one_is_kept_and_of_many_twenty() -> None:
    full_plan = plan((Range(0, 0, 100, 100),))
    parts = cut(full_plan, 1)
    receipts = {
        n: replace(receipt(part, "end", 1), notes=("same", f"note {n}"))
        for n, part in enumerate(parts)
    }
    total = merge_receipts(full_plan, parts, receipts, isolation="read_committed")
    assert total.notes[:2] == ("same", "note 0")
    assert total.notes[-1] == "and 81 more such notes"
    assert total.group == "100 readers' own"
