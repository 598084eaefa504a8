"""Times as people say them: one moment each, frozen.

What a zone has twice or not at all is an error.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from labkit.errors import UsageError
from labkit.spoken_times import exact, parse_days, parse_spoken
from labkit.times import day_span, iso, now_ms, parse_span, to_ms

NOW = datetime(2026, 11, 29, 1, 30, tzinfo=UTC)  # a Sunday; in Vienna half past two
VIENNA = ZoneInfo("Europe/Vienna")


@pytest.mark.parametrize(
    ("said", "utc", "vienna"),
    [
        ("now", "11-29 01:30", "11-29 01:30"),
        ("2h ago", "11-28 23:30", "11-28 23:30"),
        ("1.5 hours ago", "11-29 00:00", "11-29 00:00"),
        ("10 min ago", "11-29 01:20", "11-29 01:20"),
        ("now-10m", "11-29 01:20", "11-29 01:20"),
        ("NOW - 1 day", "11-28 01:30", "11-28 01:30"),
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
        moment = parse_spoken(said, NOW, zone)
        assert moment is not None
        assert moment.astimezone(UTC) == datetime.fromisoformat(f"2026-{expected}").replace(
            tzinfo=UTC
        )


@pytest.mark.parametrize(
    "said",
    [
        "yesterday noon",
        "next monday",
        "two hours ago",
        "14",
        "",
        "monday week",
        "-2h ago",
        "now-1h/h",
        "now+1h",
        "now--1h",
    ],
)
def test_what_is_not_understood_is_none(said: str) -> None:
    assert parse_spoken(said, NOW) is None


@pytest.mark.parametrize(
    "said", ["25:00", "yesterday 12:60", "2026-W54", "99999999 weeks ago", "999999999999 d ago"]
)
def test_what_cannot_be_is_an_error(said: str) -> None:
    with pytest.raises(UsageError, match=r"is not a (time of the day|week)|before the year 1"):
        parse_spoken(said, NOW)


def test_times_that_a_zone_has_twice_or_not_at_all_are_errors() -> None:
    with pytest.raises(
        UsageError,
        match=r"exists twice in Europe/Vienna(.|\n)*\+02:00 or 2026-10-25T02:30:00\+01:00",
    ):
        exact(datetime(2026, 10, 25, 2, 30), VIENNA)
    with pytest.raises(UsageError, match="does not exist in Europe/Vienna: clocks are set forward"):
        exact(datetime(2026, 3, 29, 2, 30), VIENNA)
    with pytest.raises(UsageError, match="exists twice"):
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
    with pytest.raises(UsageError, match="did you mean '90m ago'"):
        to_ms("90m")


@pytest.mark.parametrize(
    ("said", "first", "after"),
    [
        ("today", "2026-11-29", "2026-11-30"),
        (" Yesterday ", "2026-11-28", "2026-11-29"),
        ("last sunday", "2026-11-22", "2026-11-23"),
        ("2016-02-29", "2016-02-29", "2016-03-01"),
        ("2026-W48", "2026-11-23", "2026-11-30"),
        ("2020-w53", "2020-12-28", "2021-01-04"),
        ("2016-02", "2016-02-01", "2016-03-01"),
        ("2016-12", "2016-12-01", "2017-01-01"),
    ],
)
def test_a_day_a_week_and_a_month_end_where_the_next_begins(
    said: str, first: str, after: str
) -> None:
    for zone in (UTC, VIENNA):
        span = parse_days(said, NOW, zone)
        assert span is not None
        assert [moment.replace(tzinfo=None).isoformat() for moment in span] == [
            f"{first}T00:00:00",
            f"{after}T00:00:00",
        ]


def test_a_day_on_which_clocks_are_set_is_shorter_or_longer() -> None:
    for day, hours in (("2026-03-29", 23), ("2026-10-25", 25)):
        first, after = (moment.astimezone(UTC) for moment in parse_days(day, NOW, VIENNA) or ())
        assert after - first == timedelta(hours=hours)


@pytest.mark.parametrize(
    "value", ["yesterday 14:00", "2016-02-30", "2016-W60", "2016-13", "2016", "now", "", "9999-12-31", 5, None,
              datetime(2016, 3, 1)],
)  # fmt: skip
def test_what_is_no_day_is_refused_with_examples(value: Any) -> None:
    with pytest.raises(UsageError, match="is not a day, a week or a month") as caught:
        day_span(value)
    assert "2016-W09" in str(caught.value.hint)


def test_a_date_is_its_day() -> None:
    assert day_span(date(2016, 3, 1)) == day_span("2016-03-01")


@pytest.mark.parametrize(
    ("said", "start", "end"),
    [
        ("2016-03-01", "2016-03-01T00:00+01:00", "2016-03-02T00:00+01:00"),
        ("2016-W12", "2016-03-21T00:00+01:00", "2016-03-28T00:00+02:00"),
        ("14:00–15:00", "2016-03-26T14:00+01:00", "2016-03-26T15:00+01:00"),
        ("from 14:00 to 15:00", "2016-03-26T14:00+01:00", "2016-03-26T15:00+01:00"),
        ("9:30-10:00", "2016-03-27T09:30+02:00", "2016-03-27T10:00+02:00"),
        ("23:30 … 1:00", "2016-03-26T23:30+01:00", "2016-03-27T01:00+01:00"),
        ("2016-03-01 14:00 to 2016-03-02", "2016-03-01T14:00+01:00", "2016-03-02T00:00+01:00"),
        (
            "2016-03-01T14:00-05:00..2016-03-02T00:00Z",
            "2016-03-01T20:00+01:00",
            "2016-03-02T01:00+01:00",
        ),
        ("since 2016-03-01", "2016-03-01T00:00+01:00", None),
        ("before 9:00", None, "2016-03-27T09:00+02:00"),
    ],
)
def test_a_period_is_read_in_the_zone(said: str, start: str | None, end: str | None) -> None:
    """A clock time is the last one before the newest record.

    That is of 10:15, after the night without 02:30.
    """
    span = parse_span(said, VIENNA, now=datetime(2016, 3, 27, 8, 15, tzinfo=UTC))
    assert [
        None if ms is None else (iso(ms, VIENNA) or "").replace(":00.000", "") for ms in span
    ] == [start, end]


@pytest.mark.parametrize(
    "said",
    ["", "14:00", "sometime", "15:00 –", "2016-03-02 to 2016-03-01", "last week 3", "1 to 2"],
)
def test_what_says_no_period_is_an_error_with_examples(said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_span(said, VIENNA)
    assert "write " in str(caught.value.hint)


def test_the_last_hours_end_now() -> None:
    start, end = parse_span("last 1h 30m")
    assert start is not None
    assert end is not None
    assert end - start == 5_400_000
    assert abs(end - now_ms()) < 60_000
