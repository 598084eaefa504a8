"""Times on the clock of a zone: its distance from UTC, and where a moment is on an axis. Pure.

An axis shows what the clock shows. The hour that a clock shows twice is drawn once, at twice the
density: both hours are there, each half as wide, none on top of the other. The hour that it leaves
out is empty.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from labkit.times import END_MS, FIRST_MS

_YEAR = 366 * 86_400_000
_STEP = 6 * 3_600_000  # clocks are not set twice within it
_MARGIN = 60 * _YEAR  # the longest bucket


def usable(zone: tzinfo, first_ms: int | None, last_ms: int | None) -> tzinfo:
    """Return the zone, or UTC where a calendar cannot hold the times.

    Kafka takes any times, such as microseconds in the place of milliseconds.
    """
    if first_ms is None or last_ms is None:
        return zone
    return zone if first_ms > FIRST_MS + _MARGIN and last_ms < END_MS - _MARGIN else UTC


def zone_named(name: str | None) -> tzinfo:
    """Return the zone of an Arrow type, UTC when `name` is not a zone.

    A zone is a name of the IANA database, or a distance such as ``+02:00``.
    """
    if name in (None, "UTC"):
        return UTC
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    try:
        offset = datetime.strptime(str(name), "%z").utcoffset()
    except ValueError:
        return UTC
    return timezone(offset) if offset else UTC


def offsets(moments: np.ndarray, zone: tzinfo) -> np.ndarray:
    """Return how many milliseconds the zone's clock is ahead of UTC at each moment."""
    if zone is UTC or not len(moments):
        return np.zeros(len(moments), np.int64)
    import pandas as pd

    local = pd.DatetimeIndex(moments.astype("datetime64[ms]")).tz_localize("UTC").tz_convert(zone)
    return np.asarray(local.tz_localize(None).as_unit("ms").asi8 - moments, np.int64)


def offset(ms: int, zone: tzinfo) -> int:
    """Return how many milliseconds the zone's clock is ahead of UTC at a moment."""
    if zone is UTC:
        return 0
    ahead = (
        (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).astimezone(zone).utcoffset()
    )
    return 0 if ahead is None else ahead // timedelta(milliseconds=1)


def moments(clock: np.ndarray, zone: tzinfo, *, both: bool) -> np.ndarray:
    """Return when the zone's clock shows these times, in order.

    What it shows twice is the first time, with `both` also the second; what it leaves out is when
    it was set.
    """
    import pandas as pd

    naive = pd.DatetimeIndex(clock.astype("datetime64[ms]"))
    passes = [np.ones(len(clock), bool), *([np.zeros(len(clock), bool)] if both else [])]
    candidates = [
        naive.tz_localize(zone, ambiguous=first, nonexistent="shift_forward")
        .tz_convert("UTC")
        .as_unit("ms")
        .asi8
        for first in passes
    ]
    return np.unique(np.concatenate(candidates))


def positions(at: np.ndarray, zone: tzinfo) -> np.ndarray:
    """Return where moments are on an axis of the zone's clock, in milliseconds.

    Later ones are further on.
    """
    if not len(at):
        return at
    drawn = np.asarray(at + offsets(at, zone), np.int64)
    for change, back in _set_back(int(at.min()), int(at.max()), zone):
        twice = (at >= change - back) & (at < change + back)
        before = change + offset(change, zone)  # what the clock shows when the hour begins again
        drawn[twice] = before + (at[twice] - (change - back)) // 2
    return drawn


def _set_back(first: int, last: int, zone: tzinfo) -> list[tuple[int, int]]:
    """Return when the clock is set back, and by how much, near the time from `first` to `last`."""
    steps = np.arange(first - _STEP, last + 2 * _STEP, _STEP)
    ahead = offsets(steps, zone)
    changes = []
    for place in np.flatnonzero(np.diff(ahead) < 0):
        low, high, before = int(steps[place]), int(steps[place + 1]), int(ahead[place])
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle, zone) == before else (low, middle)
        changes.append((high, before - int(ahead[place + 1])))
    return changes


def stamps(at: np.ndarray, zone: tzinfo, every_ms: int) -> list[str]:
    """Return moments as texts, as fine as buckets of a length need.

    Within a day with the distance from UTC.
    """
    whole_days = every_ms % 86_400_000 == 0
    style = "%Y-%m-%d"
    if not whole_days:
        style += " %H:%M" if every_ms % 60_000 == 0 else " %H:%M:%S"
    return [_stamp(int(ms), zone, style, whole_days) for ms in at]


def _stamp(ms: int, zone: tzinfo, style: str, whole_days: bool) -> str:
    moment = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).astimezone(zone)
    return moment.strftime(style) + ("" if whole_days else f" {moment.isoformat()[-6:]}")


def in_zone(at: Any, zone: tzinfo) -> Any:
    """Return milliseconds since the epoch as a pandas index of times in the zone."""
    import pandas as pd

    index = pd.DatetimeIndex(np.asarray(at, "datetime64[ms]")).tz_localize("UTC")
    return index if zone is UTC else index.tz_convert(zone)
