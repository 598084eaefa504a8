"""Looks at groups, one after the other, without a daemon."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any

from labkit.checks.names import plain_names, without_match
from labkit.checks.suggest import typed, way
from labkit.checks.user_line import warn
from labkit.errors import LabkitError, NotFoundError, UsageError
from labkit.groups.history import GAP
from labkit.groups.lag import MIN_SAMPLES, PATIENCE_S, Judged, judge_all
from labkit.groups.listing import list_whole
from labkit.groups.looks import PartitionLag, Sample
from labkit.groups.offsets import (
    WITH_COMMIT,
    Group,
    lags,
    list_groups,
    matching_groups,
    must_be_seen,
    names_by_members,
    near_group,
)
from labkit.groups.probe import Prober
from labkit.groups.states import Next, Verdict
from labkit.groups.verdicts import judge_without_partitions
from labkit.kafka.cluster import Cluster
from labkit.kafka.errors import is_outage
from labkit.times import length_ms, now_ms
from labkit.waiting.interrupt import Cancelled

WINDOW = 10  # looks a verdict of a watch rests on, as in Burrow
_STEP_S = 0.1  # an interrupt is seen between two steps
# on Linux: goes on while the machine sleeps
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Sampler:
    """Looks at some groups, or at all there are at each look.

    Parameters
    ----------
    groups : iterable of str, optional
        Names, and patterns such as ``"indexer.*"`` of what there is at each look. All by default.

    Attributes
    ----------
    named : list of str
        The groups that are named without a pattern.
    without_partitions : dict
        The groups that the last look saw without a partition, to their verdict and why.
    """

    def __init__(self, cluster: Cluster, groups: Iterable[str] | None = None) -> None:
        self.cluster = cluster
        names = {"*"} if groups is None else set(groups)
        self.named = plain_names(names)
        self.without_partitions: dict[str, tuple[Verdict, str]] = {}
        self._patterns = sorted(names - {*self.named})
        self._prober = Prober(cluster)
        self._began_ms = now_ms() - _uptime_ms()

    def check(self) -> None:
        """Raise NotFoundError when one of the groups does not exist, or none matches the patterns.

        Warn of a pattern that matches none. AccessError is raised when one may not be described.
        """
        if self._patterns not in ([], ["*"]):
            self._check_patterns()
        for group in list_groups(self.cluster, self.named):
            must_be_seen(group, self.cluster)
            if group.gone:
                raise NotFoundError(
                    f"there is no consumer group {group.name!r}",
                    hint=f"{near_group(self.cluster, group.name)}{way('groups')} lists those you may see",
                    group=group.name,
                )

    def _check_patterns(self) -> None:
        self.cluster.groups.prepare()
        missing = without_match(names_by_members(list_whole(self.cluster)), self._patterns)
        text = f"no consumer group matches {' or '.join(map(repr, missing))}"
        if len(missing) == len(self._patterns):
            raise NotFoundError(text, hint=f"{way('groups')} lists those you may see")
        if missing:
            warn(text)

    def why_none(self) -> str:
        """Return why no group may be seen: that there is none, or a right is missing."""
        return self.cluster.why_missing(WITH_COMMIT)

    def look(self) -> list[Sample]:
        """Look once. The commits are asked before the log's ends, so that a lag is never below 0.

        Looks are as far apart as they were, whatever is done to the clock meanwhile.
        """
        at_ms = self._began_ms + _uptime_ms()
        groups = self._groups()
        rows = lags(self.cluster, groups)
        probes = self._prober.look(rows)
        by_name = {group.name: group for group in groups}
        empty = by_name.keys() - {row.group for row in rows}
        self.without_partitions = {
            name: judge_without_partitions(by_name[name]) for name in sorted(empty)
        }
        return [_sample(at_ms, by_name[row.group], row, probes) for row in rows]

    def _groups(self) -> list[Group]:
        groups = {group.name: group for group in list_groups(self.cluster, self.named)}
        if self._patterns:
            matching = matching_groups(self.cluster, self._patterns)
            groups = {group.name: group for group in matching} | groups
        return sorted(groups.values(), key=attrgetter("name"))

    def looks(self, every_s: float, cancelled: Cancelled) -> Iterator[list[Sample]]:
        """Look every so many seconds until it is cancelled.

        A look that took longer makes the next one late.
        """
        due = time.monotonic()
        while not cancelled():
            yield self.look()
            due = max(due + every_s, time.monotonic())
            wait(due, cancelled)


def _sample(
    at_ms: int,
    group: Group,
    row: PartitionLag,
    seen: dict[tuple[str, str, int], tuple[Next, int | None]],
) -> Sample:
    kind, stamp = seen.get((row.group, row.topic, row.partition), (Next.NOT_LOOKED_AT, None))
    behind = None if stamp is None else max(0, at_ms - stamp)
    same_fields: dict[str, Any] = {
        name: getattr(row, name) for name in PartitionLag.__dataclass_fields__
    }
    return Sample(
        **same_fields,
        at_ms=at_ms,
        state=group.state,
        members=len(group.members),
        behind_ms=0 if row.lag == 0 and not row.flag else behind,
        next=kind,
    )


def take_samples(
    sampler: Sampler,
    samples: int,
    every_s: float,
    cancelled: Cancelled,
    *,
    keep: Callable[[list[Sample]], None] = lambda _: None,
    patience_s: float = PATIENCE_S,
) -> list[Sample]:
    """Return the samples of so many looks.

    Where the first look sees no group, it is the last. Where a member's commits stood still all the
    time, looks go on until the patience is over: sooner, a consumer that stands still looks like
    one that has not committed yet.
    """
    all_samples: list[Sample] = []
    for count, look in enumerate(sampler.looks(every_s, cancelled), 1):
        keep(look)
        all_samples += look
        if count == 1 and not (look or sampler.without_partitions):
            break  # no group is there, or none may be seen: more looks tell no more
        if count < samples:
            continue
        span_s = (
            (all_samples[-1].at_ms - all_samples[0].at_ms) / 1000 if all_samples else patience_s
        )
        enough = samples < MIN_SAMPLES or span_s > patience_s + every_s
        if enough or not any(verdict.longer for verdict in judge_all(all_samples, patience_s)):
            break
    return all_samples


def every_seconds(every: str) -> float:
    """Return the time between two looks, in seconds."""
    seconds = length_ms(every) / 1000
    if seconds < _STEP_S:
        hint = typed("such as every='2s'", "such as --every 2s")
        raise UsageError(f"every must be 100ms or more, not {every!r}", hint=hint)
    return seconds


class Recent:
    """The newest looks, on which the verdicts of a watch rest.

    They are `WINDOW`, or as many as the patience takes. After a gap of `GAP` looks it begins anew:
    whether commits stood still meanwhile is unknown.
    """

    def __init__(self, sampler: Sampler, every_s: float, patience_s: float) -> None:
        self.sampler, self.patience_s = sampler, patience_s
        self.looks: deque[list[Sample]] = deque(
            maxlen=max(WINDOW, math.ceil(patience_s / every_s) + 2)
        )
        self._gap_ms = GAP * every_s * 1000
        self._ended_ms = _uptime_ms()

    def look(self) -> list[Sample]:
        """Look once more."""
        began_ms = _uptime_ms()
        look = self.sampler.look()
        if began_ms - self._ended_ms > self._gap_ms:
            self.looks.clear()
        self.looks.append(look)
        self._ended_ms = _uptime_ms()
        return look

    @property
    def judged(self) -> list[Judged]:
        """The verdict on each partition; a group that is gone has none any more."""
        looks = list(self.looks)  # a board looks in another thread
        present_groups = {sample.group for sample in looks[-1]} if looks else set()
        return judge_all(
            (sample for look in looks for sample in look if sample.group in present_groups),
            self.patience_s,
        )


def watch(
    sampler: Sampler,
    every_s: float,
    cancelled: Cancelled,
    *,
    keep: Callable[[list[Sample]], None] = lambda _: None,
    away: Callable[[LabkitError], None] = lambda _: None,
    patience_s: float = PATIENCE_S,
) -> Iterator[list[Judged]]:
    """Yield the verdicts of the looks so far, see `Recent`, after each look.

    When a broker goes away, `away` is called and the next look tries again; the first look's error is
    raised.
    """
    recent = Recent(sampler, every_s, patience_s)
    due = time.monotonic()
    while not cancelled():
        try:
            look = recent.look()
        except LabkitError as error:
            if not (recent.looks and is_outage(error)):
                raise
            away(error)
        else:
            keep(look)
            yield recent.judged
        due = max(due + every_s, time.monotonic())
        wait(due, cancelled)


def _uptime_ms() -> int:
    return time.clock_gettime_ns(_BOOT) // 1_000_000


def wait(until: float, cancelled: Cancelled) -> None:
    """Wait for a point in time (monotonic), or until it is cancelled."""
    while (left := until - time.monotonic()) > 0 and not cancelled():
        time.sleep(min(_STEP_S, left))
