"""A plan and the receipt of its read, where any will do."""

from __future__ import annotations

from labkit.replay.plan import Plan, Range
from labkit.replay.receipt import PartitionReceipt, Receipt

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
