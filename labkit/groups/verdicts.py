"""The verdict on a group: that of its worst partition, and one line that says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING

from labkit.groups.kinds import WORKERS
from labkit.groups.lag import Judged, total_lag, worst
from labkit.groups.looks import REMADE, UNSEEN
from labkit.groups.states import Flag, Verdict
from labkit.text.visible import visible

if TYPE_CHECKING:
    from labkit.groups.offsets import Group

_LATEST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class GroupVerdict:
    """The verdict on a group, as one line says it; of no partition when none of it can be seen.

    Attributes
    ----------
    lag : int or None
        Of all its partitions; None when that of any is not known.
    unknown : int
        How many partitions have a lag that is not known.
    known_lag : int
        The lag of the other partitions.
    behind_since : datetime or None
        Since when the first of its partitions has records that wait, as far as that is known.
    since : str
        The same as a person reads it.
    """

    group: str
    verdict: Verdict
    why: str
    partitions: int
    lag: int | None
    flags: frozenset[Flag] = frozenset()
    unknown: int = 0
    known_lag: int = 0
    behind_since: datetime | None = None
    since: str = ""

    @property
    def unseen(self) -> bool:
        """Whether a partition of it, or all of it, could not be looked at."""
        nothing_seen = not self.partitions and self.verdict == Verdict.UNKNOWN
        return nothing_seen or not self.flags.isdisjoint(UNSEEN)

    @property
    def uncommitted(self) -> bool:
        """Whether a partition of it has records and no commit.

        Whether they are read is then unknown.
        """
        return bool(self.unknown) and Flag.NO_COMMIT in self.flags

    @property
    def remade(self) -> bool:
        """Whether a topic of it seems to have been made again: its commits mean nothing there."""
        return not self.flags.isdisjoint(REMADE)

    @property
    def lag_text(self) -> str:
        """The lag as a person reads it: what is not known is not counted as 0."""
        if self.lag is not None:
            return f"{self.lag:,}"
        if self.verdict == Verdict.IDLE:
            return "none"
        return f"{self.known_lag:,} or more" if 0 < self.unknown < self.partitions else "not known"

    def __str__(self) -> str:
        since = f", behind since {self.since}" if self.since else ""
        return visible(f"{self.group}: {self.verdict}, lag {self.lag_text}, {self.why}{since}")


def judge_without_partitions(group: Group) -> tuple[Verdict, str]:
    """Return the verdict on a group that has no commit and holds no partition, and why."""
    if group.error is not None:
        return Verdict.UNKNOWN, group.error.message
    if group.gone:
        return Verdict.UNKNOWN, "there is no such group"
    if not group.shows_members:
        return Verdict.UNKNOWN, "its members and commits cannot be seen, such as of a share group"
    count = len(group.members)
    members = f"{count or 'no'} member{'' if count == 1 else 's'}"
    if group.protocol not in WORKERS:
        why = f"{members}, no commit in a topic that may be seen, no partition held"
        return Verdict.UNKNOWN, why
    why = f"{members}; a worker group of kind {group.protocol} commits no offsets"
    return (Verdict.IDLE if count else Verdict.UNKNOWN), why


def _telling(part: Judged) -> tuple[bool, bool, int]:
    """Return the order by which one of several partitions with a verdict says why."""
    blind = part.flag in UNSEEN or part.flag in REMADE
    return blind, part.flag == Flag.NO_COMMIT and part.lag is None, part.lag or 0


def judge_groups(
    judged: Iterable[Judged], others: Mapping[str, tuple[Verdict, str]] = MappingProxyType({})
) -> list[GroupVerdict]:
    """Return each group's verdict: its worst partition's, with that one's reason.

    Parameters
    ----------
    others : mapping
        Groups that may have no partition, to their verdict then, and why.
    """
    verdicts = []
    for group, rows in groupby(judged, key=lambda one: one.group):
        mine = list(rows)
        verdict = worst(part.verdict for part in mine)
        worst_parts = [part for part in mine if part.verdict == verdict]
        first = max(worst_parts, key=_telling)
        where = f"{len(worst_parts)} of {len(mine)} partitions, such as {first.topic}[{first.partition}]"
        why = first.why if len(mine) == 1 else f"{where}: {first.why}"
        lag, unknown = total_lag(mine)
        known_lag = sum(part.lag or 0 for part in mine)
        flags = frozenset(part.flag for part in mine)
        oldest = min(
            (part for part in mine if part.behind_since),
            key=lambda one: one.behind_since or _LATEST,
            default=None,
        )
        since = (
            (oldest.behind_since, oldest.since.replace(" (", f" {oldest.zone} ("))
            if oldest
            else (None, "")
        )
        verdicts.append(
            GroupVerdict(group, verdict, why, len(mine), lag, flags, unknown, known_lag, *since)
        )
    missing = others.keys() - {verdict.group for verdict in verdicts}
    verdicts += [GroupVerdict(name, *others[name], 0, None) for name in missing]
    return sorted(verdicts, key=lambda verdict: verdict.group)
