"""Points in time as people say them. Pure.

Such as ``yesterday 14:00``, ``2h ago`` or ``now-2h``, ``19:12``, ``last monday`` and ``2016-W09``. Each is one
moment, in the zone given, from the moment given on. A clock time without a day is the last one that
was; a weekday is that of the last seven days, today included, ``last monday`` the one before today.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from labkit.errors import UsageError

EXAMPLES = (
    "'now', '2h ago', '19:12', 'today', 'yesterday 14:00', 'monday 9:30', 'last friday', '2016-W09'"
)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_AGO = re.compile(
    r"(\d+(?:\.\d+)?)\s*(s|sec|seconds?|m|min|minutes?|h|hours?|d|days?|w|weeks?)\s+ago"
)
_NOW_LESS = re.compile(r"^now\s*-\s*(?=\d)(.+)$")  # as Kibana and Grafana write it
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_WEEK = re.compile(r"(\d{4})-w(\d{2})")
_MONTH = re.compile(r"(\d{4})-(\d{2})")
_DAY = re.compile(
    rf"(today|yesterday|(?:last\s+)?(?:{'|'.join(WEEKDAYS)}))(?:\s+(?:at\s+)?(\d{{1,2}}:\d{{2}}(?::\d{{2}})?))?"
)


def parse_spoken(text: str, now: datetime, zone: tzinfo = UTC) -> datetime | None:
    """Return the moment, with its zone; None for any other text.

    Parameters
    ----------
    now : datetime
        With a zone.

    Raises
    ------
    UsageError
        When there is no such time of the day, or it is there twice or not at all in the zone.
    """
    words = " ".join(text.lower().split())
    local_now = now.astimezone(zone)
    words = "0s ago" if words == "now" else _NOW_LESS.sub(r"\1 ago", words)
    if ago := _AGO.fullmatch(words):
        try:
            return now - timedelta(seconds=float(ago[1]) * _UNITS[ago[2][0]])
        except OverflowError as error:
            raise UsageError(
                f"{text!r} is before the year 1", hint="write such as '2h ago'"
            ) from error
    if _CLOCK.fullmatch(words):
        moment = at(local_now.date(), _clock(words), zone)
        if moment <= now:
            return moment
        return at(local_now.date() - timedelta(days=1), _clock(words), zone)
    if week := _WEEK.fullmatch(words):
        try:
            return at(date.fromisocalendar(int(week[1]), int(week[2]), 1), time(), zone)
        except ValueError as error:
            raise UsageError(
                f"{text!r} is not a week: {error}", hint="ISO weeks are 2016-W01 to 2016-W52"
            ) from error
    if day := _DAY.fullmatch(words):
        return at(_day(day[1], local_now.date()), _clock(day[2]) if day[2] else time(), zone)
    return None


def parse_days(text: str, now: datetime, zone: tzinfo = UTC) -> tuple[datetime, datetime] | None:
    """Return when a day, ISO week or month begins, and when the next one does.

    It is None for other text.
    """
    words = " ".join(text.lower().split())
    today = now.astimezone(zone).date()
    try:
        if week := _WEEK.fullmatch(words):
            first = date.fromisocalendar(int(week[1]), int(week[2]), 1)
            after = first + timedelta(weeks=1)
        elif month := _MONTH.fullmatch(words):
            first = date(int(month[1]), int(month[2]), 1)
            after = (first + timedelta(days=31)).replace(day=1)
        else:
            spoken = _DAY.fullmatch(words)
            first = (
                _day(spoken[1], today)
                if spoken and not spoken[2]
                else date.fromisoformat(text.strip())
            )
            after = first + timedelta(days=1)
    except (ValueError, OverflowError):
        return None
    return at(first, time(), zone), at(after, time(), zone)


def _day(word: str, today: date) -> date:
    if word in ("today", "yesterday"):
        return today - timedelta(days=word == "yesterday")
    back = (today.weekday() - WEEKDAYS.index(word.removeprefix("last").strip())) % 7
    return today - timedelta(days=7 if word.startswith("last") and not back else back)


def _clock(text: str) -> time:
    hour, minute, second = (int(part or 0) for part in _CLOCK.fullmatch(text).groups())  # type: ignore[union-attr]
    try:
        return time(hour, minute, second)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a time of the day", hint="00:00 to 23:59:59") from error


def at(day: date, clock: time, zone: tzinfo) -> datetime:
    """Return a day's time in a zone.

    Raises
    ------
    UsageError
        When clocks are set then, so that the zone has that time twice or not at all.
    """
    return exact(datetime.combine(day, clock), zone)


def exact(local: datetime, zone: tzinfo) -> datetime:
    """Return a time without a zone as that of a zone.

    UsageError is raised where the zone's clock shows it twice or not at all.
    """
    first, second = (local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return first
    exists = first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local.replace(fold=0)
    shown = local.isoformat(" ", "seconds")
    times = " or ".join(moment.isoformat("T", "seconds") for moment in (first, second))
    if exists:
        raise UsageError(
            f"{shown} exists twice in {zone}: clocks are set back then", hint=f"write {times}"
        )
    raise UsageError(
        f"{shown} does not exist in {zone}: clocks are set forward then",
        hint="write a time with its offset",
    )
