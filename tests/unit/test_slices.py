"""Plans cut into slices, and their receipts added up.

Nothing is lost between, whatever the sizes.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from labkit.replay.plan import Plan, Range
from labkit.replay.receipt import PartitionReceipt, Receipt
from labkit.replay.slices import cut, merged


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
    assert [one.partition for part in parts for one in part.ranges] == sorted(
        one.partition for part in parts for one in part.ranges
    )
    for part in parts:
        assert len({one.partition for one in part.ranges}) == len(part.ranges)
    for one in whole.ranges:
        pieces = [
            piece for part in parts for piece in part.ranges if piece.partition == one.partition
        ]
        assert [piece.start for piece in pieces[1:]] == [piece.end for piece in pieces[:-1]]
        assert (pieces[0].start, pieces[-1].end, pieces[-1].log_end) == (
            one.start,
            one.end,
            one.log_end,
        )
        # a cut is no end of the asked time
        assert all(piece.log_end == piece.end for piece in pieces[:-1])
        if one.size > records:
            assert max(piece.size for piece in pieces) - min(piece.size for piece in pieces) <= 1


def receipt(part: Plan, reason: str, short: int) -> Receipt:
    told = []
    for one in part.ranges:
        unread = min(short, one.size) if reason != "end" else 0
        read = (one.size - unread) // 2
        told.append(
            PartitionReceipt(
                one.partition, one.start, one.end, read=read, filtered=one.size - unread - read, unread=unread,
                stop_reason=reason if unread else "end", stop_offset=one.end - unread, first_offset=one.start,
                last_offset=one.end - 1, first_timestamp_ms=one.start, last_timestamp_ms=one.end,
            )
        )  # fmt: skip
    return Receipt(
        "irc",
        "c",
        part.hash,
        "read_committed",
        tuple(told),
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
    there = data.draw(st.sets(st.integers(0, len(parts) - 1)))
    receipts = {
        number: receipt(
            parts[number],
            data.draw(st.sampled_from(["end", "deadline"])),
            data.draw(st.integers(1, 3)),
        )
        for number in there
    }
    found = merged(whole, parts, receipts, isolation="read_committed")
    assert found.planned == whole.size == found.read + found.filtered + found.gaps + found.unread
    assert found.window == whole.hash
    assert found.bytes == 10 * len(there)
    missing = sum(parts[number].size for number in range(len(parts)) if number not in there)
    assert found.unread == missing + sum(one.unread for one in receipts.values())
    assert found.complete == (not found.unread)
    for one in found.partitions:
        if one.stop_reason != "end":
            assert one.start <= one.stop_offset < one.end


def test_of_the_same_notes_one_is_kept_and_of_many_twenty() -> None:
    whole = plan((Range(0, 0, 100, 100),))
    parts = cut(whole, 1)
    receipts = {
        n: replace(receipt(part, "end", 1), notes=("same", f"note {n}"))
        for n, part in enumerate(parts)
    }
    found = merged(whole, parts, receipts, isolation="read_committed")
    assert found.notes[:2] == ("same", "note 0")
    assert found.notes[-1] == "and 81 more such notes"
    assert found.group == "100 readers' own"
