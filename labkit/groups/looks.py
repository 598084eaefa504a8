"""Looks at a partition of a group, and what the rules of lag ask of several of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from labkit.groups.states import Flag, Next

SLOW_SHARE = 0.05
UNSEEN = {
    Flag.NOT_ALLOWED: "the topic may not be looked at",
    Flag.NO_LEADER: "the partition has no leader",
    Flag.NO_ANSWER: "the log's ends are not known",
}
# the state of a group whose members the client cannot see: Kafka Streams' own kind
MEMBERS_UNSEEN = "unknown"
REMADE = (Flag.BEYOND_END, Flag.END_WENT_BACK)


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition of one group.

    Attributes
    ----------
    committed : int or None
        None when the group has committed nothing: that is not offset 0.
    log_start, log_end : int or None
        None when they could not be asked; `flag` says why.
    lag : int or None
        Records-to-come by offsets, from no earlier than the log's start; None without a commit.
    flag : Flag
        ``""``, ``no commit``, ``expired`` (committed before the log's start), ``beyond end`` (topic
        re-created?), or why it could not be looked at: ``not allowed``, ``no leader``, ``no
        answer``.
    member, host : str
        Who holds the partition: its ``group.instance.id``, else its client id, else the broker's
        name for it; empty when no member does.
    """

    group: str
    topic: str
    partition: int
    committed: int | None
    log_start: int | None
    log_end: int | None
    lag: int | None
    flag: Flag
    member: str
    host: str


@dataclass(frozen=True, slots=True)
class Sample(PartitionLag):
    """One look at one partition of one group.

    Attributes
    ----------
    at_ms : int
        When, in ms since the epoch.
    state, members : str, int
        Of the group.
    behind_ms : int or None
        Age of the record at the committed offset, by its own timestamp; 0 at the end; None when it
        is not known.
    next : Next
        What follows the commit: ``record``, ``nothing`` (markers, aborted records), ``open
        transaction``; empty: not looked at.
    """

    at_ms: int
    state: str
    members: int
    behind_ms: int | None = None
    next: Next = Next.NOT_LOOKED_AT


class Looks:
    """What the rules ask of the looks at one partition."""

    def __init__(self, samples: Sequence[Sample], patience_s: float) -> None:
        self.samples, self.patience_s = samples, patience_s
        self.first, self.last = samples[0], samples[-1]
        self.span_s = (self.last.at_ms - self.first.at_ms) / 1000
        self.commits = [sample for sample in samples if sample.committed is not None]
        steps = [(a.committed or 0, b.committed or 0) for a, b in pairwise(self.commits)]
        self.moved = any(b > a for a, b in steps) or 0 < len(self.commits) < len(samples)
        self.went_back = max((a - b for a, b in steps), default=0)
        ends = [sample.log_end or 0 for sample in samples]
        self.grown = [b - a for a, b in pairwise(ends)]
        self.recreated = any(step < 0 for step in self.grown)
        self.written = ends[-1] - ends[0]

    @property
    def flag(self) -> Flag:
        return (
            Flag.END_WENT_BACK
            if self.recreated and self.last.flag not in REMADE
            else self.last.flag
        )

    @property
    def drained(self) -> bool:
        return self.last.lag == 0 or self.last.next == Next.NOTHING

    @property
    def held(self) -> bool:
        """Whether a member holds the partition; also where the client cannot see who does."""
        return bool(self.last.member) or self.last.state == MEMBERS_UNSEEN

    @property
    def standstill_s(self) -> float:
        """For how long there were records to read and no commit moved."""
        since = self.first.at_ms
        for a, b in pairwise(self.samples):
            if b.committed != a.committed or b.lag == 0:
                since = b.at_ms
        return (self.last.at_ms - since) / 1000

    @property
    def stands_still(self) -> bool:
        return self.standstill_s >= max(self.patience_s, 0.75 * self.span_s)

    @property
    def read_per_s(self) -> float | None:
        if len(self.commits) < 2 or self.went_back > 0:
            return None
        a, b = self.commits[0], self.commits[-1]
        return ((b.committed or 0) - (a.committed or 0)) * 1000 / max(1, b.at_ms - a.at_ms)

    @property
    def written_per_s(self) -> float | None:
        return (
            None
            if len(self.samples) < 2 or self.recreated
            else self.written / max(0.001, self.span_s)
        )

    @property
    def eta_s(self) -> float | None:
        read, written, lag = self.read_per_s, self.written_per_s, self.last.lag
        if self.drained:
            return 0.0
        if lag is None or read is None or written is None or read <= written:
            return None
        return lag / (read - written)

    @property
    def falls_behind(self) -> bool:
        after = [
            b.lag
            for a, b in pairwise(self.samples)
            if a.committed != b.committed and b.lag is not None
        ]
        lags = [*([] if self.first.lag is None else [self.first.lag]), *after]
        grows = all(b >= a for a, b in pairwise(lags)) and all(
            sample.lag for sample in self.samples[1:]
        )
        # a look may come just after a commit or just before the next: so much a lag says nothing
        # about
        unsure = max([*self.grown, SLOW_SHARE * self.written])
        return grows and lags[-1] - lags[0] > unsure
