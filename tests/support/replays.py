"""A plan and the receipt of its read, where any will do; what holds for each receipt."""

from __future__ import annotations

from typing import Any

from labkit.replay.plan import Plan, Range
from labkit.replay.receipt import PartitionReceipt, Receipt
from labkit.sinks.scratch import Load

PLAN = Plan("irc", "c", "t", (Range(0, 0, 5, 5),), None, None, "CreateTime", "all", 0)
RECEIPT = Receipt(
    "irc",
    "c",
    PLAN.hash,
    "read_committed",
    (PartitionReceipt(0, 0, 5, read=5),),
    10,
    0.1,
    "g",
    hash="ab",
)


def balanced(receipt: Receipt) -> Receipt:
    """Check that every planned offset is accounted for in its partition; return the receipt."""
    for part in receipt.partitions:
        assert part.planned == part.read + part.filtered + part.gaps + part.unread, part
        assert min(part.read, part.filtered, part.gaps, part.unread) >= 0, part
    return receipt


def balance_load(load: Load) -> dict[str, int]:
    """Check a load's two accounts, of the read and of the writes, and the index's own count.

    Return the account of the writes.
    """
    balanced(load.receipt)
    counts = load.counts
    outcomes = ("indexed", "existing", "rejected", "unsent")
    assert counts["sent"] == load.receipt.read == sum(counts[name] for name in outcomes), counts
    assert load.index.count() == counts["indexed"] + counts["existing"]
    return counts


def offsets(table: Any) -> list[int]:
    """Return the offsets of a table's records, in its order."""
    return list(table["_offset"].to_pylist())
