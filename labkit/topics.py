"""The list of topics.

A topic that cannot be asked in full has missing cells, and hides no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any

from labkit.checks.names import check_patterns, choose
from labkit.checks.suggest import did_you_mean
from labkit.checks.user_line import warn
from labkit.errors import LabkitError
from labkit.kafka.cluster import Cluster, no_leader
from labkit.kafka.connection import in_threads
from labkit.tables.dataframe import in_zone
from labkit.text.counts import number_of
from labkit.times import has_date

if TYPE_CHECKING:
    import pandas as pd

_WHOLE = ["records", "earliest", "latest", "retention_ms"]
_COLUMNS = ["topic", "partitions", *_WHOLE, "cleanup", "timestamp_type", "newest"]


def topics_frame(
    cluster: Cluster, patterns: Iterable[str] = (), zone: tzinfo = UTC
) -> pd.DataFrame:
    """Return one row per topic that a pattern matches; see `labkit.lab.Lab.topics`."""
    import pandas as pd

    patterns = check_patterns(patterns)
    all_leaders = cluster.leaders()
    leaders = {name: all_leaders[name] for name in choose(all_leaders, patterns)}
    near = partial(did_you_mean, there=all_leaders)
    cluster.warn_of_missing("topic", leaders, patterns, near)
    dark = {
        (name, number): no_leader(name, [number])
        for name, partitions in leaders.items()
        for number, leader in partitions.items()
        if leader < 0
    }
    every = [(name, number) for name, partitions in leaders.items() for number in partitions]
    settings, bounds, times = in_threads(
        partial(cluster.each_topic_settings, leaders),
        partial(cluster.log_bounds, every, dark),
        partial(cluster.newest_times, [where for where in every if where not in dark]),
    )
    times |= dark
    rows = []
    refused: dict[str, LabkitError] = {}  # by topic, the first of each
    for name, partitions in leaders.items():
        for answer in (settings[name], *(bounds[name, number] for number in partitions)):
            if isinstance(answer, LabkitError):
                refused.setdefault(name, answer)
        sums = _sums([bounds[name, number] for number in partitions])
        newest = _newest([times[name, number] for number in partitions])
        rows.append((name, len(partitions), *sums, *_kept_settings(settings[name]), newest))
    if refused:
        _warn_of_missing(refused, len(leaders))
    frame = pd.DataFrame(rows, columns=_COLUMNS).astype(dict.fromkeys(_WHOLE, "Int64"))
    return in_zone(frame.astype({"newest": "datetime64[ms, UTC]"}), zone)


def _warn_of_missing(refused: dict[str, LabkitError], count: int) -> None:
    error = next(iter(refused.values()))
    hint = f"; {error.hint}" if error.hint else ""
    have = "has" if count == 1 else "have"
    warn(
        f"{len(refused):,} of {number_of(count, 'topic')} {have} missing cells: {error.message}{hint}"
    )


def _newest(times: list[int | LabkitError | None]) -> datetime | None:
    """Return the newest time of a topic's records that a date can hold.

    Of some of its partitions it would be none.
    """
    known_times = [ms for ms in times if isinstance(ms, int) and has_date(ms)]
    if not known_times or any(isinstance(ms, LabkitError) for ms in times):
        return None
    return datetime.fromtimestamp(max(known_times) / 1000, UTC)


def _sums(bounds: list[tuple[int, int] | LabkitError]) -> tuple[Any, Any, Any]:
    """Return records, first offsets and ends of a topic.

    A sum over some of its partitions would be none.
    """
    import pandas as pd

    known_bounds = [bound for bound in bounds if not isinstance(bound, LabkitError)]
    if len(known_bounds) < len(bounds):
        return pd.NA, pd.NA, pd.NA
    first, end = sum(bound[0] for bound in known_bounds), sum(bound[1] for bound in known_bounds)
    return end - first, first, end


def _kept_settings(settings: dict[str, str] | LabkitError) -> tuple[Any, Any, Any]:
    """Return retention, clean-up and the kind of timestamps."""
    import pandas as pd

    if isinstance(settings, LabkitError):
        return pd.NA, pd.NA, pd.NA
    keeps_ms = int(settings.get("retention.ms", -1))
    return keeps_ms, settings.get("cleanup.policy", ""), settings.get("message.timestamp.type", "")
