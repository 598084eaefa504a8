"""A lab in a time zone: days are the zone's, and what is shown is the same moments."""

from __future__ import annotations

import re
from collections.abc import Callable
from zoneinfo import ZoneInfo

import pytest

import labkit
from labkit import charts, widgets
from labkit.lab import Lab
from labkit.replay.follow import Follower
from labkit.times import to_ms
from support.waiting import until

HOUR_MS = 3_600_000
VIENNA = ZoneInfo("Europe/Vienna")
FIRST = "2026-03-28T00:00:00Z"


@pytest.fixture(scope="module")
def vienna(stack: object) -> Lab:
    return labkit.connect(timezone="Europe/Vienna")


@pytest.fixture
def topic(make_topic: Callable[..., str], produce: Callable[..., None]) -> str:
    """Return a topic with a record each hour of four days.

    They span the night in which clocks are set forward.
    """
    name = make_topic()
    times = [to_ms(FIRST) + hour * HOUR_MS for hour in range(96)]
    produce(name, [b'{"hour": %d}' % hour for hour in range(96)], timestamps=times)
    return name


def test_a_day_is_the_zones_also_of_23_hours(lab: Lab, vienna: Lab, topic: str) -> None:
    days = ("2026-03-29", "2026-03-30")
    assert [len(vienna.window(topic, on=day).read()) for day in days] == [23, 24]
    assert [len(lab.window(topic, on=day).read()) for day in days] == [24, 24]


def test_bounds_without_a_zone_are_the_zones_and_others_are_as_they_say(
    lab: Lab, vienna: Lab, topic: str
) -> None:
    in_vienna = vienna.window(topic, start="2026-03-30", end="2026-03-30T12:00")
    in_utc = lab.window(topic, start="2026-03-29T22:00Z", end="2026-03-30T10:00Z")
    assert in_vienna.offsets == in_utc.offsets
    assert (
        vienna.window(topic, start="2026-03-29T22:00Z", end="2026-03-30T10:00Z").offsets
        == in_utc.offsets
    )
    assert "2026-03-30T00:00:00.000+02:00, 2026-03-30T12:00:00.000+02:00) Europe/Vienna" in repr(
        in_vienna
    )
    assert "2026-03-29T22:00:00.000Z, 2026-03-30T10:00:00.000Z) UTC" in repr(in_utc)
    assert in_vienna.read().receipt.hash == in_utc.read().receipt.hash


def test_bounds_in_the_wrong_order_are_named_as_they_were_given(vienna: Lab, topic: str) -> None:
    given = (
        "the end 2026-03-28T00:00:00.000+01:00 is before the start 2026-03-30T00:00:00.000+02:00"
    )
    with pytest.raises(labkit.errors.WindowError, match=re.escape(given)):
        vienna.window(topic, start="2026-03-30", end="2026-03-28")


def test_a_time_that_the_zone_has_not_is_an_error(vienna: Lab, topic: str) -> None:
    with pytest.raises(
        labkit.errors.UsageError, match="2026-03-29 02:30:00 does not exist in Europe/Vienna"
    ):
        vienna.window(topic, start="2026-03-29T02:30")


def test_frames_have_the_zone_and_tables_utc(vienna: Lab, topic: str) -> None:
    replay = vienna.window(topic, on="2026-03-29").read()
    frame = replay.to_pandas()
    assert str(frame["_timestamp"].dtype) == "datetime64[ms, Europe/Vienna]"
    assert set(frame["_timestamp"].dt.date.astype(str)) == {"2026-03-29"}
    for part in (replay.head(), replay.tail(), replay[["hour", "_timestamp"]]):
        assert part["_timestamp"].dt.tz == VIENNA
    assert replay["_timestamp"].equals(frame["_timestamp"])
    assert str(replay.table.schema.field("_timestamp").type) == "timestamp[ms, tz=UTC]"
    assert replay.where("hour > 40").decode("json").to_pandas()["_timestamp"].dt.tz == VIENNA
    assert "2026-03-29 23:00:00.000+02:00" in replay._repr_html_()
    window = vienna.window(topic)
    for found in (
        window.find("95"),
        window.latest(key="raw"),
        window.around(time="2026-03-29T12:00"),
    ):
        assert str(found.to_pandas()["_timestamp"].dtype) == "datetime64[ms, Europe/Vienna]"
    around = window.around(time="2026-03-29T12:00", before=0, after=1)
    assert around.to_pandas()["_timestamp"].iloc[-1].isoformat() == "2026-03-29T12:00:00+02:00"


def test_charts_count_by_the_zones_clock_and_an_index_as_its_records(
    vienna: Lab, topic: str
) -> None:
    window = vienna.window(topic)
    replay = window.read()
    by_day = charts.timeline(replay, every="1d").data
    assert by_day["records"].tolist() == [23, 23, 24, 24, 2]
    assert [str(at) for at in by_day["time"][1:3]] == [
        "2026-03-29 00:00:00+01:00",
        "2026-03-30 00:00:00+02:00",
    ]
    assert charts.timeline(replay.to_pandas(), every="1d").data.equals(by_day)
    load = window.to_scratch(f"zones-{topic[-6:]}", metadata=True, progress=False)
    try:
        index = vienna.index(load.index.name)
        for every in ("1d", "3h", "1h"):
            counts = charts.timeline(replay, every=every).data
            assert charts.timeline(index, time_field="_kafka.timestamp", every=every).data.equals(
                counts
            )
            options = {"every": every, "against": "1d"}
            against = charts.timeline(replay, **options).data
            assert charts.timeline(index, time_field="_kafka.timestamp", **options).data.equals(
                against
            )
            by_hour = charts.timeline(
                load.index, by="hour", top=3, field="_kafka.timestamp", every=every
            )
            assert by_hour.data["records"].sum() == 96
        week = charts.heatmap(index, time_field="_kafka.timestamp")
        assert week.data.equals(charts.heatmap(replay).data)
        assert week.to_dict()["encoding"]["x"]["title"] == "hour of the day (Europe/Vienna)"
    finally:
        load.index.drop()


def test_what_was_made_expires_by_the_zones_clock_and_a_picker_shows_it(
    vienna: Lab, lab: Lab, topic: str
) -> None:
    load = vienna.window(topic, last=2).to_scratch(f"zone-{topic[-6:]}", ttl="1d", progress=False)
    try:
        in_utc, in_vienna = (
            one.scratch().set_index("index")["expires"][load.index.name] for one in (lab, vienna)
        )
        assert in_utc.endswith("Z")
        assert in_vienna[-6:] in ("+01:00", "+02:00")
        assert to_ms(in_utc) == to_ms(in_vienna)
        assert "expires (Europe/Vienna)" in widgets.scratch(vienna).picture()
        assert in_vienna[:16].replace("T", " ") in widgets.scratch(vienna).picture()
    finally:
        load.index.drop()
    picker = widgets.pick_window(vienna, topic, anew=True)
    assert "times in Europe/Vienna" in picker.picture()
    assert "2026-03-28T01:00:00+01:00" in picker.picture()
    picker.range.index = (24, 48)
    copied = {"lab": vienna}
    exec(picker.code, copied)
    assert "+0" in picker.code
    assert copied["w"].offsets == picker.window.offsets  # type: ignore[attr-defined]


def test_groups_begin_and_are_set_by_the_zone(vienna: Lab, topic: str) -> None:
    with vienna.attach(topic, name="zones", start="2026-03-30") as group:
        frame = group.read(1)
        assert frame["hour"].tolist() == [46]
        assert frame["_timestamp"].iloc[0].isoformat() == "2026-03-30T00:00:00+02:00"
        group.seek("2026-03-30T12:00")
        assert group.read(1)["hour"].tolist() == [58]


def test_a_tail_and_an_inspector_show_the_zones_time(vienna: Lab, topic: str) -> None:
    tail = widgets.tail(vienna, topic, last=2)
    tail._follower = Follower(vienna.cluster, topic, last=2)
    try:
        until(lambda: tail._step() or "<td" in tail.view.value, "records are shown", 20)
    finally:
        tail._follower.close()
    replay = vienna.window(topic, last=1).read(progress=False)
    newest = f"{replay.to_pandas()['_timestamp'].iloc[0]:%Y-%m-%d %H:%M:%S}"
    assert "time (Europe/Vienna)" in tail.view.value
    assert newest in tail.view.value
    assert newest in widgets.inspect(replay).view.value
