"""Looks at groups, taken and judged: what `Lab.lag` and ``labkit lag`` show."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from labkit.checks.user_line import warn
from labkit.checks.validation import whole_number
from labkit.groups.history import History, samples_of
from labkit.groups.lag import VERDICTS, Judged, first_behind, judge_all
from labkit.groups.looks import Sample
from labkit.groups.sampling import Sampler, every_seconds, take_samples
from labkit.groups.states import Verdict
from labkit.groups.verdicts import GroupVerdict, judge_groups
from labkit.kafka.cluster import Cluster
from labkit.times import length_ms
from labkit.waiting import interrupt

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = [name for name in Judged.__slots__ if name != "longer"]  # type: ignore[attr-defined]
_COLUMNS.insert(_COLUMNS.index("behind_s") + 1, "since")
_FEW = 5  # groups that a sentence names
_DIGITS = {"read_per_s": 2, "written_per_s": 2, "eta_s": 1}


@dataclass(frozen=True)
class Judgement:
    """What some looks at groups tell.

    Attributes
    ----------
    partitions : list of Judged
        In the order of group, topic, partition; their times are in one zone.
    without_partitions : mapping
        Groups that have no partition, to their verdict and why.
    interrupted : bool
        Whether the looks ended before there were as many as asked.
    """

    partitions: list[Judged]
    without_partitions: Mapping[str, tuple[Verdict, str]] = field(default_factory=dict)
    interrupted: bool = False

    @cached_property
    def groups(self) -> list[GroupVerdict]:
        """The verdict on each group, by name."""
        return judge_groups(self.partitions, self.without_partitions)

    @property
    def missing_rows(self) -> str:
        """Which groups have no row among the partitions, and why; empty when each has one."""
        missing = [str(group) for group in self.groups if not group.partitions]
        if not missing:
            return ""
        more = [f"and {len(missing) - _FEW} more"] if len(missing) > _FEW else []
        return f"no row of groups without a partition: {'; '.join(missing[:_FEW] + more)}"

    def worst_first(self) -> list[Judged]:
        """Return the partitions by verdict, the worst first, then by lag, the largest first."""
        return sorted(
            self.partitions,
            key=lambda row: (VERDICTS.index(row.verdict), row.lag is None, -(row.lag or 0)),
        )


def judge_now(
    cluster: Cluster,
    groups: str | Iterable[str] | None,
    *,
    samples: int,
    every: str,
    record: str | os.PathLike[str] | None,
    patience: str,
    zone: tzinfo,
) -> Judgement:
    """Look at groups several times and judge them; see `labkit.lab.Lab.lag`.

    An interrupt ends the looks.
    """
    samples, patience_s = _check_looks(samples, patience)
    every_s = every_seconds(every)
    sampler = Sampler(cluster, [groups] if isinstance(groups, str) else groups)
    keep = History(record).append if record is not None else lambda _: None
    sampler.check()
    with interrupt.listen() as cancelled:
        looks = take_samples(sampler, samples, every_s, cancelled, keep=keep, patience_s=patience_s)
        interrupted = cancelled()
    if not (looks or sampler.without_partitions or interrupted):
        warn(sampler.why_none())
    partitions = [row.in_zone(zone) for row in judge_all(looks, patience_s)]
    return Judgement(partitions, sampler.without_partitions, interrupted)


def judge_history(
    history: pd.DataFrame, *, samples: int, patience: str, zone: tzinfo = UTC
) -> Judgement:
    """Judge groups by the newest looks of a history. No server is asked."""
    samples, patience_s = _check_looks(samples, patience)
    judged = judge_all(samples_of(history, samples), patience_s)
    return Judgement([row.in_zone(zone) for row in _with_whole_history(judged, history)])


def _check_looks(samples: int, patience: str) -> tuple[int, float]:
    """Return how many looks there are to be, and the patience in seconds."""
    reason = "how many looks? 3 or more for a verdict"
    return whole_number(samples, "samples", reason, low=1), length_ms(patience) / 1000


def _with_whole_history(judged: list[Judged], history: pd.DataFrame) -> list[Judged]:
    """Look through a whole history for since when partitions are behind.

    It is done where no record's time tells it.
    """
    if all(row.behind_since or not row.lag for row in judged):
        return judged
    ordered = sorted(samples_of(history), key=attrgetter("at_ms"))
    looks: dict[tuple[str, str, int], list[Sample]] = {}
    for sample in ordered:
        looks.setdefault((sample.group, sample.topic, sample.partition), []).append(sample)
    rows = []
    for row in judged:
        if row.lag and row.behind_since is None:
            since, by = first_behind(looks[row.group, row.topic, row.partition])
            rows.append(replace(row, behind_since=since, since_by=by))
        else:
            rows.append(row)
    return rows


def lag_frame(
    cluster: Cluster,
    groups: str | Iterable[str] | pd.DataFrame | None,
    *,
    samples: int,
    every: str,
    record: str | os.PathLike[str] | None,
    patience: str,
    on_interrupt: interrupt.OnInterrupt,
    zone: tzinfo = UTC,
) -> pd.DataFrame:
    """Return a verdict per partition, from looks taken now or from a history.

    See `labkit.lab.Lab.lag`.
    """
    import pandas as pd

    interrupt.check_policy(on_interrupt)
    if isinstance(groups, pd.DataFrame):
        judgement = judge_history(groups, samples=samples, patience=patience, zone=zone)
    else:
        judgement = judge_now(
            cluster, groups, samples=samples, every=every, record=record, patience=patience, zone=zone
        )  # fmt: skip
    table = partitions_frame(judgement.partitions, zone=zone)
    if judgement.missing_rows:
        warn(judgement.missing_rows)
    for name in ("verdict", "why"):
        by_group = {group.group: getattr(group, name) for group in judgement.groups}
        table.attrs[name] = by_group if len(by_group) != 1 else by_group.popitem()[1]
    if judgement.interrupted and on_interrupt == "raise":
        raise interrupt.stop_error(
            "stopped before the groups were looked at as often as asked", frame=table
        )
    return table


def partitions_frame(judged: Iterable[Judged], *, zone: tzinfo = UTC) -> pd.DataFrame:
    """Return one row per partition, in the order given."""
    import pandas as pd

    table = pd.DataFrame(partition_rows(judged), columns=_COLUMNS)
    counts = dict.fromkeys(("lag", "committed", "log_start", "log_end"), "Int64")
    parts = dict.fromkeys(("behind_s", *_DIGITS), "Float64")
    moments: dict[str, Any] = dict.fromkeys(("at", "behind_since"), pd.DatetimeTZDtype("ms", zone))
    return table.astype(moments | counts | parts)


def partition_rows(judged: Iterable[Judged]) -> list[dict[str, Any]]:
    """Return the same rows as plain values.

    To load pandas takes longer than to look at most clusters.
    """
    values = attrgetter(*_COLUMNS)
    rows = [dict(zip(_COLUMNS, values(partition), strict=True)) for partition in judged]
    for row in rows:
        for name, digits in _DIGITS.items():
            if row[name] is not None:
                row[name] = round(row[name], digits)
    return rows
