"""Judge what a consumer does by several looks at its commits and the log's ends.

Pure: no server is asked. The rules are those of Burrow's evaluator
(https://github.com/linkedin/Burrow/wiki/Consumer-Lag-Evaluation-Rules), with its false alarms
mended. In this order, for each partition:

==========  ===========================================================================================================
unknown     the log's ends could not be asked: the topic may not be seen, or the partition has no leader
unknown     committed beyond the log's end, or the log's end went back: was the topic made again or cut back?
ok          nothing is left to read: the lag is 0, whatever the age of the commit, or only transaction markers and
            aborted records follow
unknown     fewer than 3 looks
unknown     nothing was ever committed, though the log has records or somebody writes: perhaps a consumer that reads
            nothing, perhaps one that began at the end and waits for its first record
idle        nothing was ever committed, the log is empty, and nothing is written
rewound     a commit went back (also from the end: Burrow calls that ok)
stopped     records are left, and no member holds the partition: none ever did and no commit moved, or the last one left
stalled     a member holds it and commits did not move for three quarters of the time looked at, at least the patience
unknown     commits did not move, but not for as long as that, or the group was rebalancing
slow        commits move, but more is written than read: the lag, counted right after each commit, grows, by more
            than a twentieth of what was written and more than what is written between two looks
ok          commits move and keep pace, or do not as far as so few looks tell
==========  ===========================================================================================================

Burrow counts commits as they come; the admin protocol shows only the last one. So a standstill is
called one only when it is longer than the patience, by default a little more than the 5 s that
consumers wait between commits, and lags are compared right after a commit: between two commits each
consumer seems to fall behind. Sinks of Connect, Flink and Spark commit with each checkpoint or
batch, every minute or so: they take more patience. With more, a group without members is not called
stopped sooner either, for the latter two read by assign().
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import groupby, pairwise
from typing import Protocol

from labkit.groups.looks import SLOW_SHARE, UNSEEN, Looks, Sample
from labkit.groups.states import Doing, Flag, Next, SinceBy, Verdict
from labkit.text.counts import number_of
from labkit.times import has_date

MIN_SAMPLES = 3
PATIENCE_S = 5.5  # auto.commit.interval.ms is 5 s in Java's and in librdkafka's consumer
BAD = (Verdict.STOPPED, Verdict.STALLED, Verdict.REWOUND, Verdict.SLOW)
VERDICTS = tuple(Verdict)
"""The worst first."""
_REBALANCING = ("preparing_rebalancing", "completing_rebalancing", "rebalancing")


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on one partition.

    Attributes
    ----------
    verdict : Verdict
        ok | idle | slow | stalled | stopped | rewound | unknown
    doing : Doing
        reading | idle | offline | stuck | unknown: the same at a glance.
    read_per_s, written_per_s : float or None
        Offsets committed and appended per second of the time looked at.
    eta_s : float or None
        When the lag will be 0 at these rates; None when it will not.
    behind_s : float or None
        Age of the record at the committed offset.
    behind_since, since_by : datetime or None, SinceBy
        Since when records wait, in UTC, and what tells it: ``record``, the oldest one that is not
        committed, by its own timestamp; ``looks``, the first look that saw the group behind after
        one that saw it at the end. Else None, "".
    flag : Flag
        That of the last look, or ``end went back``: the log ends earlier than before.
    longer : bool
        Whether more looks would tell.
    at : datetime or None
        When the last look was.
    """

    group: str
    topic: str
    partition: int
    verdict: Verdict
    doing: Doing
    why: str
    lag: int | None
    behind_s: float | None
    read_per_s: float | None
    written_per_s: float | None
    eta_s: float | None
    committed: int | None
    log_start: int | None
    log_end: int | None
    flag: Flag
    member: str
    host: str
    samples: int
    seconds: float
    longer: bool = False
    at: datetime | None = None
    behind_since: datetime | None = None
    since_by: SinceBy = SinceBy.NOTHING

    @property
    def zone(self) -> str:
        """The name of the zone that its times are in."""
        return str(self.behind_since.tzinfo if self.behind_since is not None else UTC)

    def in_zone(self, zone: tzinfo) -> Judged:
        """Return it with its times in another zone; they are the same moments."""
        moments = (self.at, self.behind_since)
        if all(moment is None or moment.tzinfo is zone for moment in moments):
            return self  # a copy of each partition of 20,000 takes a while
        at, since = (None if moment is None else moment.astimezone(zone) for moment in moments)
        return replace(self, at=at, behind_since=since)

    @property
    def since(self) -> str:
        """Since when records wait, as a person reads it: ``19:12 (49 min)``.

        Empty when that is not known.
        """
        return "" if self.behind_since is None else since_text(self.behind_since, self.at)


def judge(samples: Sequence[Sample], patience_s: float = PATIENCE_S) -> Judged:
    """Judge one partition of one group by its looks, oldest first.

    Parameters
    ----------
    patience_s : float
        A standstill of commits says nothing when it is shorter: a little more than consumers wait
        between two.
    """
    visible = [sample for sample in samples if sample.flag not in UNSEEN]
    look = Looks(samples[-1:] if samples[-1].flag in UNSEEN else visible, patience_s)
    verdict, why, longer = _verdict(look)
    last = look.last
    since, by = _behind_since(look)
    return Judged(
        group=last.group, topic=last.topic, partition=last.partition,
        verdict=verdict, doing=_doing(look, verdict), why=why,
        lag=last.lag, behind_s=None if last.behind_ms is None else last.behind_ms / 1000,
        read_per_s=look.read_per_s, written_per_s=look.written_per_s, eta_s=look.eta_s,
        committed=last.committed, log_start=last.log_start, log_end=last.log_end, flag=look.flag,
        member=last.member, host=last.host, samples=len(look.samples), seconds=look.span_s, longer=longer,
        at=_datetime(last.at_ms), behind_since=since, since_by=by,
    )  # fmt: skip


def _behind_since(look: Looks) -> tuple[datetime | None, SinceBy]:
    """Return since when records wait, and what tells it. A record from the future tells nothing."""
    last = look.last
    if not last.lag or look.drained:
        return None, SinceBy.NOTHING
    if last.behind_ms:
        return _datetime(last.at_ms - last.behind_ms), SinceBy.RECORD
    return first_behind(look.samples)


def first_behind(samples: Sequence[Sample]) -> tuple[datetime | None, SinceBy]:
    """Return the first look that saw a partition behind, after the last one that saw it at the end.

    Else None.
    """
    for before, after in reversed(list(pairwise(samples))):
        if before.lag == 0:
            return _datetime(after.at_ms), SinceBy.LOOKS
    return None, SinceBy.NOTHING


def _datetime(ms: int) -> datetime | None:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms) if has_date(ms) else None


def since_text(since: datetime, now: datetime | None) -> str:
    """Return a time, its date unless that is today, and how long ago it was: ``19:12 (49 min)``."""
    if now is None:
        return f"{since:%Y-%m-%d %H:%M}"
    day = ""
    if since.date() != now.date():
        day = f"{since:%d %b} " if since.year == now.year else f"{since:%Y-%m-%d} "
    # within one zone Python subtracts what its clock shows
    long = now.astimezone(UTC) - since.astimezone(UTC)
    return f"{day}{since:%H:%M} ({_seconds(long.total_seconds())})"


Finding = tuple[Verdict, str, bool]
"""Verdict, why, and whether more looks would tell."""


def _verdict(look: Looks) -> Finding:
    return next(finding for rule in _RULES if (finding := rule(look)) is not None)


def _not_seen(look: Looks) -> Finding | None:
    why = UNSEEN.get(look.last.flag)
    return (Verdict.UNKNOWN, why, False) if why else None


def _judge_remade(look: Looks) -> Finding | None:
    last = look.last
    if last.flag == Flag.BEYOND_END:
        return (
            Verdict.UNKNOWN,
            f"committed {last.committed:,} is beyond the end {last.log_end:,}: topic made again or cut back?",
            False,
        )
    return (
        (Verdict.UNKNOWN, "the log's end went back: topic made again or cut back?", False)
        if look.recreated
        else None
    )


def _at_the_end(look: Looks) -> Finding | None:
    last = look.last
    if not look.drained:
        return None
    text = (
        "at the end"
        if last.lag == 0
        else f"at the end: {last.lag or 0:,} markers or aborted records follow"
    )
    return (
        Verdict.OK,
        f"{text}; a commit went back by {look.went_back:,} before" if look.went_back > 0 else text,
        False,
    )


def _too_few(look: Looks) -> Finding | None:
    count = len(look.samples)
    enough = count >= MIN_SAMPLES
    return (
        None
        if enough
        else (Verdict.UNKNOWN, f"{number_of(count, 'look')}; {MIN_SAMPLES} are needed", False)
    )


def _without_commit(look: Looks) -> Finding | None:
    if look.last.committed is not None:
        return None
    waiting = count_uncommitted(look.last)
    up_to = f"nothing committed, up to {waiting:,} to read"
    if look.written:
        return (
            Verdict.UNKNOWN,
            f"{up_to}, {_rate(look.written_per_s)} written: offsets kept elsewhere?",
            False,
        )
    if waiting:
        return Verdict.UNKNOWN, f"{up_to}; a consumer that began at the end looks the same", False
    return Verdict.IDLE, "nothing committed, nothing to read", False


def _rewound(look: Looks) -> Finding | None:
    return (
        (Verdict.REWOUND, f"a commit went back by {look.went_back:,}", False)
        if look.went_back > 0
        else None
    )


def _not_held(look: Looks) -> Finding | None:
    last = look.last
    if look.held:
        return None
    if last.state in _REBALANCING:
        return Verdict.UNKNOWN, "the group is rebalancing", True
    left = any(sample.member for sample in look.samples) and not last.members
    if look.moved and not left and not look.stands_still:
        return None  # read by assign(), without membership
    if not left and look.standstill_s < look.patience_s > PATIENCE_S:
        return Verdict.UNKNOWN, f"no member, {_awaited_reason(look)}", True
    reason = (
        "its last member left"
        if left
        else "no member"
        if not last.members
        else "no member holds it"
    )
    return Verdict.STOPPED, f"{reason}, {last.lag:,} to read", False


def _judge_stalled(look: Looks) -> Finding | None:
    last, still = look.last, look.standstill_s
    if look.stands_still:
        hidden = (
            ": an open transaction hides what follows" if last.next == Next.OPEN_TRANSACTION else ""
        )
        return Verdict.STALLED, f"no commit for {still:.1f} s, {last.lag:,} to read{hidden}", False
    if look.moved:
        return None
    if still < look.span_s:
        return Verdict.OK, f"was at the end {still:.1f} s ago", False
    return Verdict.UNKNOWN, _awaited_reason(look), True


def _awaited_reason(look: Looks) -> str:
    return f"no commit for {look.standstill_s:.1f} s; with a patience of {look.patience_s:g} s that says nothing"


def _slow(look: Looks) -> Finding | None:
    if not look.falls_behind:
        return None
    return (
        Verdict.SLOW,
        f"reads {_rate(look.read_per_s)} of {_rate(look.written_per_s)} written",
        False,
    )


def _in_time(look: Looks) -> Finding:
    lag, eta = look.last.lag, look.eta_s
    if eta is not None:
        return Verdict.OK, f"catching up: {lag:,} to read in about {_seconds(eta)}", False
    read, written = look.read_per_s, look.written_per_s
    if read is not None and written is not None and read < (1 - SLOW_SHARE) * written:
        # the next commit may make up for that
        rates = f"reads {_rate(read)} of {_rate(written)} written so far"
        return Verdict.OK, f"commits move; {rates}, {lag:,} to read", False
    return Verdict.OK, f"keeps pace, {lag:,} to read", False


_RULES: tuple[Callable[[Looks], Finding | None], ...] = (
    *(
        _not_seen,
        _judge_remade,
        _at_the_end,
        _without_commit,
        _too_few,
        _rewound,
        _not_held,
        _judge_stalled,
        _slow,
        _in_time,
    ),
)


def _doing(look: Looks, verdict: Verdict) -> Doing:
    if verdict is Verdict.STALLED:
        return Doing.STUCK
    if verdict in (Verdict.SLOW, Verdict.REWOUND) or (look.moved and verdict is Verdict.OK):
        return Doing.READING
    if verdict is Verdict.STOPPED or not (look.held or look.moved or look.last.members):
        return Doing.OFFLINE
    return Doing.UNKNOWN if verdict is Verdict.UNKNOWN else Doing.IDLE


def _rate(per_s: float | None) -> str:
    return "some" if per_s is None else f"{per_s:,.1f}/s" if per_s < 100 else f"{per_s:,.0f}/s"


def _seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:,.0f} days"


def judge_all(samples: Iterable[Sample], patience_s: float = PATIENCE_S) -> list[Judged]:
    """Judge each partition of each group; in the order of group, topic, partition.

    Left out is one that its group's last look did not see: its topic was deleted, or its commit
    has expired.
    """

    def where(one: Sample) -> tuple[str, str, int]:
        return one.group, one.topic, one.partition

    ordered = sorted(samples, key=lambda one: (*where(one), one.at_ms))
    last_ms: dict[str, int] = {}
    for sample in ordered:
        last_ms[sample.group] = max(sample.at_ms, last_ms.get(sample.group, sample.at_ms))
    partitions = (list(mine) for _, mine in groupby(ordered, key=where))
    return [
        judge(mine, patience_s) for mine in partitions if mine[-1].at_ms == last_ms[mine[-1].group]
    ]


class _Lag(Protocol):
    """What is known of a partition's lag: a `Sample`, a `Judged` or a `PartitionLag`."""

    @property
    def committed(self) -> int | None: ...
    @property
    def log_start(self) -> int | None: ...
    @property
    def log_end(self) -> int | None: ...
    @property
    def lag(self) -> int | None: ...


def count_uncommitted(row: _Lag) -> int:
    """Return how many offsets a partition without a commit has that may be read.

    It is 0 where the log is empty.
    """
    return max(0, (row.log_end or 0) - (row.log_start or 0))


def total_lag(rows: Iterable[_Lag]) -> tuple[int | None, int]:
    """Return the lag of all partitions, and how many have an unknown lag.

    When any is unknown, the total is None. A lag that is not known is not 0; but where nothing was
    committed and the log is empty, there is nothing to read.
    """
    lags = [_lag_or_none(row) for row in rows]
    unknown = lags.count(None)
    return (None if unknown or not lags else sum(lag or 0 for lag in lags)), unknown


def _lag_or_none(row: _Lag) -> int | None:
    empty = row.committed is None and row.log_end is not None and not count_uncommitted(row)
    return 0 if row.lag is None and empty else row.lag


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict on a group: that of its worst partition; ``unknown`` when it has none."""
    return min(verdicts, key=VERDICTS.index, default=Verdict.UNKNOWN)
