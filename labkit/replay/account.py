"""The account of one partition while it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.replay.plan import Plan, Range
from labkit.replay.receipt import PartitionReceipt, StopReason

PEEK_RECORDS = 500


@dataclass(eq=False)
class Account:
    """One partition while it is read."""

    range: Range
    position: int
    read: int = 0
    filtered: int = 0
    untimed: int = 0  # of the filtered: without a time, in a window of a time
    first_offset: int | None = None
    last_offset: int | None = None
    first_ms: int | None = None
    last_ms: int | None = None
    newest_ms: int = -1
    out_of_order: int = 0
    max_inversion_ms: int = 0
    beyond: int = 0
    cut: int = 0  # offsets of the window that the log had once, and has no more
    stop_reason: StopReason | None = None

    def receipt(self) -> PartitionReceipt:
        is_done = self.stop_reason in (StopReason.END, StopReason.DISORDER)
        unread = 0 if is_done else max(0, self.range.end - self.position)
        return PartitionReceipt(
            partition=self.range.partition,
            start=self.range.start,
            end=self.range.end,
            read=self.read,
            filtered=self.filtered,
            gaps=self.range.size - self.read - self.filtered - unread,
            unread=unread,
            first_offset=self.first_offset,
            last_offset=self.last_offset,
            first_timestamp_ms=self.first_ms,
            last_timestamp_ms=self.last_ms,
            out_of_order=self.out_of_order,
            max_inversion_ms=self.max_inversion_ms,
            beyond=self.beyond,
            stop_reason=self.stop_reason or StopReason.INTERRUPT,
            stop_offset=self.range.end if is_done else self.position,
        )


def end_reason(account: Account) -> StopReason:
    """Return why a partition that was read to its frozen end is done."""
    return StopReason.DISORDER if account.beyond else StopReason.END


def peek_end(account: Account, plan: Plan) -> int:
    """Return up to where to look for records of the asked time that follow the frozen end."""
    span = account.range
    return span.end if plan.end_ms is None else min(span.end + PEEK_RECORDS, span.log_end)


def book_span(account: Account, when: Any) -> None:
    """Note the first and the last time of records."""
    if len(when):
        account.first_ms = min(
            int(when.min()), account.first_ms if account.first_ms is not None else int(when[0])
        )
        account.last_ms = max(
            int(when.max()), account.last_ms if account.last_ms is not None else int(when[0])
        )


def book_order(account: Account, when: Any) -> None:
    """Count records that are older than one before them."""
    if len(when):
        newest = np.maximum.accumulate(np.concatenate(([account.newest_ms], when)))
        inversion = newest[:-1] - when
        account.out_of_order += int((inversion > 0).sum())
        account.max_inversion_ms = max(account.max_inversion_ms, int(inversion.max()))
        account.newest_ms = int(newest[-1])
