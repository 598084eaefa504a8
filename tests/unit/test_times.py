"""Points and lengths of time.

Nothing is guessed, no unit is mistaken for another, and half-open stays half-open.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.tables.dataframe import to_pandas
from labkit.times import FIRST_MS, find_zone, has_date, iso, length_ms, length_text, now_ms, to_ms

MARCH = 1_456_790_400_000  # 2016-03-01T00:00:00Z
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SAME: list[Any] = [
    "2016-03-01",
    " 2016-03-01 ",
    "20160301",
    "2016-03-01T00:00",
    "2016-03-01 00:00:00",
    "2016-03-01T00:00:00Z",
    "2016-03-01T00:00:00.000000+00:00",
    "2016-02-29T19:00:00-05:00",
    date(2016, 3, 1),
    datetime(2016, 3, 1),
    datetime(2016, 3, 1, tzinfo=UTC),
    datetime(2016, 3, 1, 5, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    datetime(2016, 3, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
    pd.Timestamp("2016-03-01"),
    pd.Timestamp("2016-03-01T01:00", tz="Europe/Berlin"),
    pd.Timestamp(MARCH // 1000, unit="s"),
    pd.Timestamp(MARCH, unit="ms"),
    pd.Timestamp(MARCH * 1000, unit="us"),
    pd.Timestamp(MARCH * 1_000_000, unit="ns"),
    np.datetime64("2016-03"),
    np.datetime64("2016-03-01"),
    np.datetime64(MARCH // 1000, "s"),
    np.datetime64(MARCH, "ms"),
    np.datetime64(MARCH * 1000, "us"),
    np.datetime64(MARCH * 1_000_000, "ns"),
    pd.Series([pd.Timestamp("2016-03-01")])[0],
    np.array(["2016-03-01"], "datetime64[ns]")[0],
]


@pytest.mark.parametrize("value", SAME, ids=repr)
def test_one_moment_however_it_is_written(value: Any):
    assert to_ms(value) == MARCH


@pytest.mark.parametrize(
    "value",
    [
        MARCH,
        float(MARCH),
        True,
        np.int64(MARCH),
        np.float64(5),
        "1456790400",
        "yesterday noon",
        "the day before",
        "",
        "2016-13-01",
        "03/01/2016",
    ],
    ids=repr,
)
def test_what_would_be_a_guess_is_refused(value: Any):
    with pytest.raises(UsageError) as caught:
        to_ms(value)
    assert caught.value.hint


@pytest.mark.parametrize("value", [pd.NaT, np.datetime64("NaT"), None, [], timedelta(1)], ids=repr)
def test_what_is_no_time_is_refused(value: Any):
    with pytest.raises(UsageError, match="not a point in time"):
        to_ms(value)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))
def test_a_time_without_a_zone_is_utc(value: datetime):
    aware = value.replace(tzinfo=UTC)
    assert to_ms(value) == to_ms(aware) == to_ms(value.isoformat()) == to_ms(aware.isoformat())
    assert to_ms(value) == to_ms(pd.Timestamp(value)) == to_ms(np.datetime64(value, "us"))


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.timezones()))
def test_zones_and_summer_time_do_not_move_a_moment(value: datetime):
    exact = (value - EPOCH) // timedelta(microseconds=1)
    assert to_ms(value) == -(-exact // 1000)


@given(st.integers(0, 4_000_000_000_000_000_000), st.integers(-3, 3))
def test_half_open_bounds_select_the_same_records_after_rounding(nanos: int, near: int):
    stamp = nanos // 1_000_000 + near
    for value in (
        np.datetime64(nanos, "ns"),
        pd.Timestamp(nanos, unit="ns"),
        pd.Timestamp(nanos, unit="ns", tz="UTC"),
    ):
        assert (stamp * 1_000_000 >= nanos) == (stamp >= to_ms(value))


@pytest.mark.parametrize("year", [1600, 2263, 3000])
@pytest.mark.parametrize("unit", ["D", "s", "ms", "us"])
def test_a_year_beyond_nanoseconds_is_still_that_year(year: int, unit: str):
    exact = int((datetime(year, 6, 1, tzinfo=UTC) - EPOCH).total_seconds() * 1000)
    assert to_ms(np.datetime64(f"{year}-06-01", unit)) == to_ms(datetime(year, 6, 1)) == exact


def test_a_year_beyond_nanoseconds_from_pandas():
    assert to_ms(pd.Timestamp("3000-06-01")) == to_ms(datetime(3000, 6, 1))


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("90d", 7_776_000_000),
        ("6h", 21_600_000),
        ("1h 30m", 5_400_000),
        ("1h30m", 5_400_000),
        ("45s", 45_000),
        ("500ms", 500),
        ("2w", 1_209_600_000),
        ("1.5h", 5_400_000),
        ("0s", 0),
        (timedelta(minutes=5), 300_000),
        (timedelta(microseconds=1), 1),
        ("1 day", 86_400_000),
        ("2 hours 30 minutes", 9_000_000),
        ("10 min", 600_000),
        ("45 sec", 45_000),
        ("3weeks", 1_814_400_000),
        ("500 ms", 500),
    ],
)
def test_a_length_of_time_is_read_as_milliseconds(text: Any, ms: int):
    assert length_ms(text) == ms


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (pd.Timedelta("6h"), "6h"),
        (timedelta(days=90), "90d"),
        (timedelta(hours=1, minutes=30), "1h 30m"),
        (timedelta(milliseconds=1_005), "1s 5ms"),
        (timedelta(0), "0s"),
        ("1 day", "1 day"),
    ],
)
def test_a_length_as_people_write_it(value: Any, text: str):
    assert length_text(value) == text
    assert length_ms(text) == length_ms(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "d",
        "-5d",
        "5 parsecs",
        "1h and 5m",
        "5D",
        5,
        None,
        "∞d",
        "1 month",
        "2 dayss",
        "1 daym",
    ],
)
def test_a_length_without_a_known_unit_is_refused(text: Any):
    with pytest.raises(UsageError) as caught:
        length_ms(text)
    assert caught.value.hint


@given(st.integers(0, 253_402_300_799_999))
def test_iso_is_utc_to_the_millisecond_and_reads_back(ms: int):
    text = iso(ms)
    assert text is not None
    assert text.endswith("Z")
    assert len(text) == 24
    assert to_ms(text) == ms


def test_iso_of_nothing_is_nothing():
    assert iso(None) is None


@pytest.mark.parametrize(
    "ms", [253_402_300_800_000, 1_700_000_000_000_000, 2**63 - 1, -62_135_596_800_001]
)
def test_iso_of_what_no_date_can_hold_is_the_number(ms: int):
    assert iso(ms) == f"{ms} ms"
    assert not has_date(ms)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_a_frame_is_without_times_that_no_date_can_hold(unit: str, zone: str | None):
    """Pandas has room for them, and fails when they are to be shown."""
    ticks = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    seconds = [0, None] + (
        [] if unit == "ns" else [253_402_300_799, 253_402_300_800, 1_700_000_000_000]
    )
    numbers = [None if second is None else second * ticks for second in seconds]
    kind = pa.timestamp(unit, tz=zone)
    times = pa.chunked_array([pa.array(numbers, pa.int64()).cast(kind), pa.array([], kind)])
    frame = to_pandas(pa.table({"t": times, "n": range(len(numbers))}))
    assert frame["t"].notna().tolist() == [True, False, True, False, False][: len(numbers)]
    assert "1970-01-01" in repr(frame)
    assert "1970-01-01" in frame.to_html()


def test_now_is_between_before_and_after():
    before = datetime.now(UTC)
    assert before.timestamp() * 1000 - 1 <= now_ms() <= datetime.now(UTC).timestamp() * 1000


def test_iso_in_a_zone_has_its_offset_and_is_the_same_moment():
    vienna, london = find_zone("Europe/Vienna"), find_zone("Europe/London")
    assert iso(MARCH, vienna) == "2016-03-01T01:00:00.000+01:00"
    assert iso(MARCH, london) == "2016-03-01T00:00:00.000+00:00"
    assert to_ms(iso(MARCH, vienna)) == MARCH
    # no date before it
    assert iso(FIRST_MS, find_zone("America/New_York")) == "0001-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("zone", "near"),
    [("Europe/Viena", "did you mean 'Europe/Vienna'"), ("", ""), ("/etc", ""), (3, "")],
)
def test_what_is_no_zone_is_refused_with_examples(zone: Any, near: str):
    with pytest.raises(UsageError, match="timezone must be a name of the IANA database") as caught:
        find_zone(zone)
    assert near in caught.value.hint


def test_a_zone_may_be_given_as_such():
    assert find_zone(None) is find_zone("UTC") is UTC
    assert find_zone(ZoneInfo("Asia/Tokyo")) == ZoneInfo("Asia/Tokyo")
