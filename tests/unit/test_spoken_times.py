"""Times as people say them: one moment each, frozen; what a zone has twice or not at all is an error."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from labkit.errors import UsageError
from labkit.spoken_times import exact, parse_spoken
from labkit.times import now_ms, to_ms

NOW = datetime(2026, 11, 29, 1, 30, tzinfo=UTC)  # a Sunday; in Vienna half past two
VIENNA = ZoneInfo("Europe/Vienna")


@pytest.mark.parametrize(
    ("said", "utc", "vienna"),
    [
        ("now", "11-29 01:30", "11-29 01:30"),
        ("2h ago", "11-28 23:30", "11-28 23:30"),
        ("1.5 hours ago", "11-29 00:00", "11-29 00:00"),
        ("10 min ago", "11-29 01:20", "11-29 01:20"),
        ("1 Day ago", "11-28 01:30", "11-28 01:30"),
        ("today", "11-29 00:00", "11-28 23:00"),
        ("yesterday 14:00", "11-28 14:00", "11-28 13:00"),
        ("Yesterday at 9:05:30", "11-28 09:05:30", "11-28 08:05:30"),
        ("01:15", "11-29 01:15", "11-29 00:15"),
        ("19:12", "11-28 19:12", "11-28 18:12"),
        ("sunday", "11-29 00:00", "11-28 23:00"),
        ("last sunday", "11-22 00:00", "11-21 23:00"),
        ("monday", "11-23 00:00", "11-22 23:00"),
        ("last monday 8:00", "11-23 08:00", "11-23 07:00"),
        ("2026-W48", "11-23 00:00", "11-22 23:00"),
    ],
)
def test_what_people_say_is_one_moment(said: str, utc: str, vienna: str) -> None:
    for zone, expected in ((UTC, utc), (VIENNA, vienna)):
        found = parse_spoken(said, NOW, zone)
        assert found is not None
        assert found.astimezone(UTC) == datetime.fromisoformat(f"2026-{expected}").replace(tzinfo=UTC)


@pytest.mark.parametrize("said", ["yesterday noon", "next monday", "two hours ago", "14", "", "monday week", "-2h ago"])
def test_what_is_not_understood_is_none(said: str) -> None:
    assert parse_spoken(said, NOW) is None


@pytest.mark.parametrize("said", ["25:00", "yesterday 12:60", "2026-W54", "99999999 weeks ago", "999999999999 d ago"])
def test_what_cannot_be_is_an_error(said: str) -> None:
    with pytest.raises(UsageError, match=r"is not a (time of the day|week)|before the year 1"):
        parse_spoken(said, NOW)


def test_times_that_a_zone_has_twice_or_not_at_all_are_errors() -> None:
    with pytest.raises(UsageError, match=r"there twice in Europe/Vienna(.|\n)*\+02:00 or 2026-10-25T02:30:00\+01:00"):
        exact(datetime(2026, 10, 25, 2, 30), VIENNA)
    with pytest.raises(UsageError, match="is not there in Europe/Vienna: clocks are set forward"):
        exact(datetime(2026, 3, 29, 2, 30), VIENNA)
    with pytest.raises(UsageError, match="there twice"):
        parse_spoken("yesterday 2:30", datetime(2026, 10, 26, 12, tzinfo=UTC), VIENNA)
    assert exact(datetime(2026, 10, 25, 3), VIENNA).utcoffset() == timedelta(hours=1)


def test_a_day_of_25_hours_begins_where_it_does() -> None:
    noon = datetime(2026, 10, 25, 12, tzinfo=UTC)
    today = parse_spoken("today", noon, VIENNA)
    assert today is not None
    assert noon - today.astimezone(UTC) == timedelta(hours=14)


def test_bounds_take_them_and_errors_show_examples() -> None:
    assert abs(to_ms("2h ago") - (now_ms() - 7_200_000)) < 5_000
    assert to_ms("2016-03-01", VIENNA) == 1_456_786_800_000
    with pytest.raises(UsageError, match="yesterday 14:00"):
        to_ms("the other day")
