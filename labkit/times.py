"""Points in time and lengths of time as users write them.

Nothing is guessed: a time without a zone is in the zone given to the lab, else UTC; a bare
number is refused because it could be seconds, milliseconds, microseconds or nanoseconds.
"""

from __future__ import annotations

import contextlib
import math
import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from labkit.checks.suggest import did_you_mean, typed
from labkit.errors import UsageError
from labkit.spoken_times import EXAMPLES, WEEKDAYS, exact, parse_days, parse_spoken

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_LENGTH = re.compile(
    r"(\d+(?:\.\d+)?)\s*(ms|s(?:ec(?:onds?)?)?|m(?:in(?:utes?)?)?|h(?:ours?)?|d(?:ays?)?|w(?:eeks?)?)(?![a-z])"
)
# of the years 1 to 9999, the end exclusive
FIRST_MS, END_MS = -62_135_596_800_000, 253_402_300_800_000
_LONGEST_MS = 1000 * 366 * 86_400_000
_DAYS = ("today", "yesterday", *WEEKDAYS)
_WORDS = ("now", "earliest", "latest", *_DAYS)
SPAN_HINT = (
    "write 'yesterday', '2016-03-01', '2016-W09', 'last 2h', '14:00–15:00', '2016-03-01 14:00 to 2016-03-02', "
    "'since monday 9:30' or 'before 2016-03-01'"
)
_BETWEEN = re.compile(r"\s*(?:[–—…]|\.\.+|\s-\s|\b(?:to|until|and)\b)\s*")
_CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?")
_CLOCKS = re.compile(r"^((?:from |between )?\d{1,2}:\d{2})-(\d{1,2}:\d{2})$")


def to_ms(
    value: Any, zone: tzinfo = UTC, *, spoken: bool = True, now: datetime | None = None
) -> int:
    """Return a point in time as milliseconds since the epoch, UTC.

    Parameters
    ----------
    value : str, datetime, date, pandas.Timestamp or numpy.datetime64
        A text is ISO 8601, or as people say it: ``"yesterday 14:00"``, ``"2h ago"`` (see
        `labkit.spoken_times`). Kafka's timestamps are whole milliseconds, so a finer value is
        rounded up: with that, ``start <= t`` and ``t < end`` select the same records before and
        after rounding.
    zone : tzinfo
        Of times without one.
    spoken : bool
        Whether a text may say it as people do: a user's may, a record's may not.
    now : datetime, optional
        From when on a text is meant; by default now.

    Raises
    ------
    UsageError
        For a bare number (its unit would be a guess), NaT, a text that says no time, or a time that
        the zone has twice or not at all.
    """
    if isinstance(value, bool | int | float):
        raise _unitless(value)
    if isinstance(value, str):
        value = _read(value, zone, spoken, now)
    ms = _datetime_ms(value, zone) if isinstance(value, datetime | date) else _numpy_ms(value)
    if not FIRST_MS <= ms < END_MS:
        raise UsageError(f"{value!r} is not within the years 1 to 9999 in UTC", hint=_time_hint())
    return ms


def find_zone(value: str | tzinfo | None) -> tzinfo:
    """Return a time zone by its name in the IANA database; UTC for None.

    A name is such as ``"Europe/Vienna"``.

    Raises
    ------
    UsageError
        When there is no such zone.
    """
    if value is None or isinstance(value, tzinfo):
        return value or UTC
    try:
        return UTC if value == "UTC" else ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError, AttributeError) as error:
        near = did_you_mean(value, available_timezones()) if isinstance(value, str) else ""
        raise UsageError(
            f"timezone must be a name of the IANA database, such as 'Europe/Vienna' or 'Asia/Tokyo', not {value!r}",
            hint=f"{near}`pip install tzdata` where the system has no zones",
        ) from error


def day_span(value: Any, zone: tzinfo = UTC) -> tuple[datetime, datetime]:
    """Return when a day, week or month begins and when the next one does.

    Parameters
    ----------
    value : date or str
        A text is ``"yesterday"``, ``"monday"``, ``"2016-03-01"``, ``"2016-W09"`` or ``"2016-03"``.
    zone : tzinfo
        Where the days are.

    Raises
    ------
    UsageError
        For any other text.
    """
    text = (
        value.isoformat() if isinstance(value, date) and not isinstance(value, datetime) else value
    )
    span = parse_days(text, datetime.now(UTC), zone) if isinstance(text, str) else None
    if span is None:
        raise UsageError(
            f"{value!r} is not a day, a week or a month",
            hint=f"{did_you_mean(str(value), _DAYS)}"
            "write 'yesterday', 'monday', '2016-03-01', '2016-W09' or '2016-03'; "
            f"{typed('start= and end=', '--start and --end')} take times",
        )
    return span


def parse_span(
    text: str, zone: tzinfo = UTC, *, now: datetime | None = None
) -> tuple[int | None, int | None]:
    """Return when a time as people say it begins and ends, in milliseconds; None where it is open.

    Parameters
    ----------
    text : str
        A day, week or month (``"yesterday"``, ``"2016-W09"``), ``"last 2h"``, two times
        (``"14:00–15:00"``, ``"yesterday 14:00 to 15:00"``), ``"since monday 9:30"`` or ``"before
        2016-03-01"``. A second time without a day is the next after the first.
    zone : tzinfo
        Of times without one.
    now : datetime, optional
        From which on a clock time without a day is the last one that was; by default now. Days are
        those from now on.

    Raises
    ------
    UsageError
        For any other text, or a period that ends before it begins.
    """
    phrase = " ".join(text.split())
    utc_now = datetime.now(UTC)
    if days := parse_days(phrase, utc_now, zone):
        return to_ms(days[0]), to_ms(days[1])
    word, _, rest = phrase.partition(" ")
    if word.lower() == "last" and _LENGTH.match(rest):
        end = to_ms(utc_now)
        return end - length_ms(rest), end
    if word.lower() in ("since", "from") and not _BETWEEN.search(rest):
        return _clock_ms(rest, zone, now), None
    if word.lower() in ("before", "until"):
        return None, _clock_ms(rest, zone, now)
    phrase = _CLOCKS.sub(r"\1–\2", phrase)
    parts = _BETWEEN.split(phrase.removeprefix("from ").removeprefix("between "))
    if len(parts) != 2 or not all(parts):
        raise UsageError(f"{text!r} is not a period of time", hint=SPAN_HINT)
    start = _clock_ms(parts[0], zone, now)
    end = (
        _next_clock(parts[1], start, zone)
        if _CLOCK.fullmatch(parts[1])
        else _clock_ms(parts[1], zone, now)
    )
    if end <= start:
        raise UsageError(
            f"{text!r} ends at {iso(end, zone)}, not after its start {iso(start, zone)}",
            hint=SPAN_HINT,
        )
    return start, end


def _clock_ms(text: str, zone: tzinfo, now: datetime | None) -> int:
    """Return a moment.

    A clock time without a day is counted from `now`, all else from the real one.
    """
    return to_ms(text, zone, now=now if _CLOCK.fullmatch(text) else None)


def _next_clock(text: str, after_ms: int, zone: tzinfo) -> int:
    """Return when the zone's clock shows a time next, after a moment."""
    hour, rest = text.split(":", 1)
    day = (
        (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=after_ms))
        .astimezone(zone)
        .date()
    )
    same = to_ms(f"{day}T{int(hour):02}:{rest}", zone)
    return (
        same if same > after_ms else to_ms(f"{day + timedelta(days=1)}T{int(hour):02}:{rest}", zone)
    )


def _time_hint() -> str:
    datetimes = typed(" or a datetime", "")
    return (
        "write '2016-03-01', '2016-03-01T12:30:00Z' (ISO 8601; without a zone it is in the lab's, UTC by default)"
        f"{datetimes}, or {EXAMPLES}"
    )


def _unitless(value: Any) -> UsageError:
    return UsageError(
        f"{value!r} is a number without a unit",
        hint="say which: pandas.Timestamp(value, unit='s'), unit='ms', unit='us' or unit='ns'",
    )


def _datetime_ms(value: datetime | date, zone: tzinfo) -> int:
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if value.year != value.year:  # pandas.NaT is a datetime too, and equals nothing
        raise UsageError("NaT is not a point in time", hint=_time_hint())
    nanos = getattr(value, "nanosecond", 0)
    if value.tzinfo is None:
        value = exact(
            value.to_pydatetime(warn=False) if hasattr(value, "to_pydatetime") else value, zone
        )
    since = value - datetime(1970, 1, 1, tzinfo=UTC)
    micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return -(-(micros * 1000 + nanos) // 1_000_000)


def _read(text: str, zone: tzinfo, spoken: bool, now: datetime | None) -> datetime:
    # Python 3.11 reads milliseconds of 2024 as a day of 1711
    if re.fullmatch(r"\s*[-+]?\d{9,}\s*", text):
        raise _unitless(text)
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError as error:
        moment = parse_spoken(text, now or datetime.now(UTC), zone) if spoken else None
        if moment is None:
            length = spoken and parse_spoken(f"{text} ago", datetime.now(UTC), zone) is not None
            near = f"did you mean '{text.strip()} ago'? " if length else did_you_mean(text, _WORDS)
            raise UsageError(
                f"{text!r} is not a point in time", hint=near + _time_hint()
            ) from error
        return moment


def _numpy_ms(value: Any) -> int:
    import numpy as np

    if not isinstance(value, np.datetime64) or np.isnat(value):
        raise UsageError(f"{value!r} is not a point in time", hint=_time_hint())
    floor = value.astype("datetime64[ms]")
    return int(floor.astype(np.int64)) + bool(floor < value)


def length_ms(value: Any) -> int:
    """Return a length of time in milliseconds.

    It is ``"90d"``, ``"6 hours"``, ``"1h 30m"`` or a timedelta.
    """
    if isinstance(value, timedelta):
        return _check_length(math.ceil(value.total_seconds() * 1000), value)
    parts = _LENGTH.findall(value) if isinstance(value, str) else []
    if not parts or _LENGTH.sub("", value).strip():
        raise UsageError(
            f"{value!r} is not a length of time", hint="write '90d', '6h', '30m', '45s' or '1h 30m'"
        )
    units = ((number, unit if unit == "ms" else unit[0]) for number, unit in parts)
    return _check_length(sum(float(number) * _UNITS_MS[unit] for number, unit in units), value)


def length_text(value: Any) -> str:
    """Return a length of time as people write it, which `length_ms` reads: ``6h``, ``1h 30m``.

    A text stays as it is.
    """
    if not isinstance(value, timedelta):
        return str(value)
    left, parts = length_ms(value), []
    for unit in ("d", "h", "m", "s", "ms"):
        count, left = divmod(left, _UNITS_MS[unit])
        parts += [f"{count}{unit}"] if count else []
    return " ".join(parts) or "0s"


def _check_length(ms: float, value: Any) -> int:
    if not 0 <= ms <= _LONGEST_MS:
        raise UsageError(
            f"a length of time must be 0 to 1,000 years, not {value!r}",
            hint="write such as '90d' or '6h'",
        )
    return round(ms)


def iso(ms: int | None, zone: tzinfo = UTC) -> str | None:
    """Return milliseconds since the epoch as ISO 8601 in a zone, or None.

    As such, where no date can hold them.
    """
    if ms is None:
        return None
    if not has_date(ms):
        return f"{ms} ms"
    moment = datetime(1970, 1, 1) + timedelta(milliseconds=ms)
    if zone is not UTC:
        with contextlib.suppress(OverflowError):  # at the ends of the years 1 and 9999
            return moment.replace(tzinfo=UTC).astimezone(zone).isoformat(timespec="milliseconds")
    return moment.isoformat(timespec="milliseconds") + "Z"


def has_date(ms: int) -> bool:
    """Tell whether a date can hold these milliseconds since the epoch.

    Kafka takes any, such as microseconds.
    """
    return FIRST_MS <= ms < END_MS


def now_ms() -> int:
    """Return the time now in milliseconds since the epoch."""
    return math.floor(datetime.now(UTC).timestamp() * 1000)
