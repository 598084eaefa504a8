"""Charts in the lab's time zone.

Days and hours are those of its clock, also when clocks are set.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import charts
from labkit.charts.buckets import DAY, HOUR, fitting
from labkit.charts.clock import offsets, positions
from labkit.consumers import LabConsumers
from labkit.groups.history import History
from labkit.groups.looks import Sample
from labkit.times import to_ms

VIENNA = ZoneInfo("Europe/Vienna")
ZONES = (
    "Europe/Vienna",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Asia/Tokyo",
)
FORWARD, BACK = "2026-03-28T00:00:00Z", "2026-10-24T00:00:00Z"


def hourly(first: str, count: int, zone: str = "Europe/Vienna") -> pa.Table:
    times = [to_ms(first) + hour * HOUR for hour in range(count)]
    return pa.table({"_timestamp": pa.array(times, pa.timestamp("ms", zone)), "one": ["a"] * count})


def records(chart: Any) -> dict[str, int]:
    return dict(zip(chart.data["from"], chart.data["records"], strict=True))


def test_days_are_the_zones_of_23_and_of_25_hours() -> None:
    assert records(charts.timeline(hourly(FORWARD, 95), every="1d")) == {
        "2026-03-28": 23, "2026-03-29": 23, "2026-03-30": 24, "2026-03-31": 24, "2026-04-01": 1,
    }  # fmt: skip
    assert records(charts.timeline(hourly(BACK, 70), by="one", every="1d")) == {
        "2026-10-24": 22, "2026-10-25": 25, "2026-10-26": 23,
    }  # fmt: skip


def test_a_day_is_held_against_the_day_before_by_the_clock() -> None:
    """Of 24 hours to 23 of the day that clocks are set forward.

    Each hour to the same hour by the clock.
    """
    chart = charts.timeline(hourly(FORWARD, 95), every="1d", against="1d")
    assert chart.data["earlier"].tolist() == [23, 23, 24, 24]
    assert chart.data["records"].tolist() == [23, 24, 24, 1]
    assert chart.to_dict()["layer"][0]["encoding"]["tooltip"][-1]["title"] == "1 day earlier"
    hours = charts.timeline(hourly("2026-03-29T12:00:00Z", 60), every="1h", against="1d").data
    assert hours["earlier"].tolist() == [1] * 36
    assert str(hours["time"][0]) == "2026-03-30 14:00:00+02:00"


def test_the_hour_that_is_there_twice_is_two_bars_beside_one_another() -> None:
    chart = charts.timeline(hourly("2026-10-24T23:00:00Z", 4), every="1h")
    assert records(chart) == dict.fromkeys(
        [
            "2026-10-25 01:00 +02:00",
            "2026-10-25 02:00 +02:00",
            "2026-10-25 02:00 +01:00",
            "2026-10-25 03:00 +01:00",
        ],
        1,
    )
    drawn = [(at.hour, at.minute) for at in chart.data["drawn"]]
    assert drawn == [(1, 0), (2, 0), (2, 30), (3, 0)]
    assert [at.isoformat() for at in chart.data["time"]][1:3] == [
        "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00",
    ]  # fmt: skip


def test_the_zone_is_named_on_the_axis_in_the_subtitle_and_in_the_tooltip() -> None:
    picture = charts.timeline(hourly(FORWARD, 95)).to_dict()
    assert picture["encoding"]["x"]["title"] == "time (Europe/Vienna)"
    assert picture["title"]["subtitle"] == [
        "95 records, 2026-03-28 to 2026-04-01, per 30 min, Europe/Vienna"
    ]
    assert "from (Europe/Vienna)" in {one.get("title") for one in picture["encoding"]["tooltip"]}
    heat = charts.heatmap(hourly(FORWARD, 95))
    assert heat.to_dict()["encoding"]["x"]["title"] == "hour of the day (Europe/Vienna)"
    lost = heat.data[(heat.data["weekday"] == "Sun") & (heat.data["hour"] == 2)]
    assert lost["records"].sum() == 0
    assert heat.data["records"].sum() == 95


def test_a_zone_that_is_half_an_hour_apart_has_its_own_hours() -> None:
    heat = charts.heatmap(hourly("2026-03-02T00:00:00Z", 24, "Asia/Kolkata"))
    assert set(heat.data[heat.data["records"] > 0]["weekday"]) == {"Mon", "Tue"}
    assert (
        heat.data.loc[(heat.data["weekday"] == "Mon") & (heat.data["hour"] == 5), "records"].sum()
        == 1
    )


def test_times_that_no_calendar_holds_are_charted_in_utc() -> None:
    far = pa.table(
        {"_timestamp": pa.array([10**15, 10**15 + HOUR], pa.timestamp("ms", "Europe/Vienna"))}
    )
    assert charts.timeline(far).to_dict()["encoding"]["x"]["title"] == "time (UTC)"


def test_lag_is_drawn_and_told_in_the_zone_of_its_lab(tmp_path: Path) -> None:
    """Since 02:40, two looks later in the hour that is there twice: 70 minutes by any watch."""
    begin = to_ms("2026-10-25T00:00Z")
    looks = []
    for n in range(12):
        lag = max(0, n - 3)
        looks.append(
            Sample(
                group="g",
                topic="t",
                partition=0,
                committed=5,
                log_start=0,
                log_end=5 + lag,
                lag=lag,
                flag="",
                member="",
                host="",
                at_ms=begin + n * 600_000,
                state="Empty",
                members=0,
            )
        )
    History(tmp_path / "h").append(looks)
    lab = SimpleNamespace(cluster=None, timezone=VIENNA)
    history = LabConsumers.lag_history(lab, tmp_path / "h")
    assert str(history["at"].dtype) == "datetime64[ms, Europe/Vienna]"
    lags = LabConsumers.lag(lab, history)
    assert lags["since"].tolist() == ["02:40 (70 min)"]
    assert lags["behind_since"].iloc[0].isoformat() == "2026-10-25T02:40:00+02:00"
    assert (
        charts.lag(history).to_dict()["title"]["subtitle"][0]
        == "2026-10-25 02:00 to 02:50, Europe/Vienna"
    )


@settings(max_examples=15, deadline=None)
@given(
    st.integers(to_ms("1990-01-01"), to_ms("2030-01-01")), st.integers(1, 90 * DAY), st.sampled_from(ZONES),
    st.sampled_from(["1h", "3h", "1d", "1w"]),
)  # fmt: skip
def test_buckets_hold_all_and_begin_by_the_clock(
    first: int, long: int, name: str, every: str
) -> None:
    long = min(long, 20 * DAY) if every == "1h" else long
    zone = ZoneInfo(name)
    grid = fitting(first, first + long, every, 1, zone)
    edges = np.array([*grid.starts, grid.end_ms], np.int64)
    assert len(edges) == grid.count + 1
    assert edges[0] <= first < edges[1]
    assert edges[-2] <= first + long < edges[-1]
    assert (np.diff(edges) > 0).all()
    days = pd.DatetimeIndex(edges.astype("datetime64[ms]")).tz_localize("UTC").tz_convert(zone)
    assert (days.minute % 30 == 0).all()
    if every == "1w":
        assert set(days.day_of_week) == {0}
    if every in ("1d", "1w"):
        # clocks are set at midnight there
        assert set(days.hour) <= ({0} if name != "America/Sao_Paulo" else {0, 1})
        assert {day.date() for day in days} == {
            days[0].date() + n * dt.timedelta(weeks=every == "1w", days=every == "1d")
            for n in range(len(days))
        }
    assert (np.diff(positions(edges, zone)) >= 0).all()


@pytest.mark.parametrize("zone", [dt.UTC, VIENNA], ids=str)
def test_positions_are_the_clock_but_for_the_hour_that_is_there_twice(zone: Any) -> None:
    at = np.arange(
        to_ms("2026-10-24T00:00Z"), to_ms("2026-10-26T00:00Z"), 15 * 60_000, dtype=np.int64
    )
    off = np.flatnonzero(positions(at, zone) != at + offsets(at, zone))
    assert len(off) == (0 if zone is dt.UTC else 7)  # the first quarter of the eight is where it is
