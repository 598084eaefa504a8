"""Charts: the numbers they draw, the words on them, and that they can be drawn."""

import datetime as dt
import io
import json
import re
import struct
import time
import zlib

import altair as alt
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st

from labkit import charts
from labkit.charts import buckets, page_width, show
from labkit.errors import UsageError
from labkit.replay.receipt import Receipt
from labkit.sinks.replay import Replay
from labkit.tables.dataframe import to_pandas
from support.pictures import png_of, subtitle_lines

HOUR = 3_600_000
MONDAY = 1_456_704_000_000  # 2016-02-29T00:00Z
MAGIC = b"\x89PNG\r\n\x1a\n"


def table(hours, **columns):
    stamps = [None if hour is None else MONDAY + int(hour * HOUR) for hour in hours]
    return pa.table({"_timestamp": pa.array(stamps, pa.timestamp("ms", "UTC")), **columns})


def counted(chart):
    """Return (hours since MONDAY, value) to records, without the zeros."""
    rows = chart.data[chart.data["records"] > 0]
    at = (rows["time"] - pd.Timestamp(MONDAY, unit="ms", tz="UTC")) / pd.Timedelta(hours=1)
    values = rows["value"] if "value" in rows else [None] * len(rows)
    return dict(zip(zip(at, values, strict=True), rows["records"], strict=True))


# timeline ------------------------------------------------------------------------------------------------


def test_empty_buckets_are_zero():
    chart = charts.timeline(table([0.5, 0.9, 3.1]), every="1h")
    assert chart.data["records"].tolist() == [2, 0, 0, 1]
    assert chart.data["time"].tolist() == [
        pd.Timestamp(MONDAY + n * HOUR, unit="ms", tz="UTC").as_unit("ms") for n in range(4)
    ]
    assert subtitle_lines(chart) == ["3 records, 2016-02-29 00:30 to 03:06, per hour, UTC"]


def test_hours_and_minutes_of_the_axis_are_of_24_hours():
    out = io.StringIO()
    charts.timeline(table([22.9, 23.1]), every="1m").save(out, format="svg")
    assert {f">{time}</text>" in out.getvalue() for time in ("22:55", "23:00", "23:05")} == {True}


def test_a_bucket_is_half_open():
    assert charts.timeline(table([0, 1]), every="1h").data["records"].tolist() == [1, 1]


def test_top_values_other_and_none():
    nicks = ["a", "a", "a", "b", "b", "c", "d", None]
    chart = charts.timeline(table([0, 0, 1, 0, 1, 1, 1, 1], nick=nicks), "nick", every="1h", top=2)
    assert counted(chart) == {
        (0, "a"): 2,
        (1, "a"): 1,
        (0, "b"): 1,
        (1, "b"): 1,
        (1, "other"): 2,
        (1, "(none)"): 1,
    }
    assert len(chart.data) == 2 * 4
    assert subtitle_lines(chart) == [
        "8 records, 2 of 4 nicks, 2016-02-29 00:00 to 01:00, per hour, UTC",
        '2 records (25 %) with other values are "other"',
    ]
    colour = chart.to_dict()["encoding"]["color"]
    assert json.dumps("\na\nb\nother\n(none)") in colour["legend"]["labelExpr"]
    assert colour["scale"]["domain"] == [0, 1, 2, 3]
    assert len(set(colour["scale"]["range"])) == 4


def test_no_other_and_none_when_there_are_none():
    chart = charts.timeline(table([0, 1], nick=["a", "b"]), "nick", every="1h")
    assert set(chart.data["value"]) == {"a", "b"}
    assert len(subtitle_lines(chart)) == 1


def test_ties_are_in_the_values_order():
    nicks = ["b", "a", "c", "c"]
    assert charts.top(table([0] * 4, nick=nicks), "nick").data["value"].tolist() == ["c", "a", "b"]


def test_records_without_a_time_are_told():
    chart = charts.timeline(table([0, None, 1], nick=["a", "b", "a"]), "nick", every="1h")
    assert counted(chart) == {(0, "a"): 1, (1, "a"): 1}
    assert subtitle_lines(chart) == [
        "2 records, 1 of 1 nicks, 2016-02-29 00:00 to 01:00, per hour, UTC",
        "1 record without a time left out",
    ]


@pytest.mark.parametrize(
    ("hours", "every"),
    [
        (1, "per 30 s"),
        (24, "per 15 min"),
        (24 * 7, "per hour"),
        (24 * 90, "per 12 h"),
        (24 * 365, "per 3 days"),
    ],
)
def test_the_usual_length_fits(hours, every):
    chart = charts.timeline(table([0, hours - 0.001]))
    assert 60 <= len(chart.data) <= 200
    assert every in subtitle_lines(chart)[0]


@given(st.integers(-(10**13), 10**13), st.integers(0, 10**13))
def test_the_buckets_hold_both_ends(first, span):
    buckets_ = buckets.fitting(first, first + span, None, 1)
    assert buckets_.start_ms <= first < buckets_.start_ms + buckets_.every_ms
    assert buckets_.end_ms - buckets_.every_ms <= first + span < buckets_.end_ms
    assert buckets_.count <= 200
    assert buckets_.count >= 60 or span < 60_000
    assert sum(part.count for part in buckets_.parts(7)) == buckets_.count


def test_weeks_begin_on_monday():
    chart = charts.timeline(table([-1, 0, 24 * 7]), every="1w")
    assert chart.data["time"].dt.day_name().unique().tolist() == ["Monday"]
    assert chart.data["records"].tolist() == [1, 1, 1]


def test_times_before_1970_have_their_buckets():
    times = pd.DataFrame({"at": pd.to_datetime(["1969-12-31T23:30Z", "1970-01-01T00:30Z"])})
    assert charts.timeline(times, every="1h").data["records"].tolist() == [1, 1]


def test_too_many_buckets_are_refused_with_the_numbers():
    with pytest.raises(
        UsageError, match=r"360,001 buckets; a chart holds 5,000 rows\nHint: .* a bar per hour"
    ):
        charts.timeline(table([0, 100]), every="1s")


@pytest.mark.parametrize("wrong", [{"every": "0s"}, {"every": "often"}, {"top": 0}, {"top": 21}])
def test_wrong_options_of_a_timeline_are_refused(wrong):
    with pytest.raises(UsageError):
        charts.timeline(table([0, 1]), **wrong)


def test_a_brush_links_a_table_that_counts_the_same_rows():
    data = table([0, 0, 1, 5], nick=["a", "b", "a", None])
    chart = charts.timeline(data, "nick", every="1h", table=True)
    assert counted(chart) == {(0, "a"): 1, (0, "b"): 1, (1, "a"): 1, (5, "(none)"): 1}
    spec = chart.to_dict()
    above, below = spec["vconcat"]
    brush = next(
        parameter["name"]
        for parameter in spec["params"]
        if parameter["select"].get("encodings") == ["x"]
    )
    assert [parameter["views"] for parameter in spec["params"] if parameter["name"] == brush] == [
        [above["name"]]
    ]
    assert below["layer"][0]["transform"][0] == {"filter": {"param": brush}}
    assert above["encoding"]["opacity"]["condition"]["test"]["and"] == [
        {"param": "chosen"},
        {"param": brush},
    ]
    assert png_of(chart).startswith(MAGIC)
    plain = charts.timeline(data, every="1h", table=True)
    assert "the largest 10 buckets" in str(plain.to_dict()["vconcat"][1])
    assert png_of(plain).startswith(MAGIC)
    assert png_of(charts.timeline(table([]), table=True)).startswith(MAGIC)


# top -----------------------------------------------------------------------------------------------------


def test_top_counts_and_shares():
    chart = charts.top(table([0] * 5, nick=["a", "a", "b", None, ""]), "nick", 2)
    assert chart.data.to_dict("list") == {
        "value": ["a", "(empty)", "(none)"],
        "records": [2, 1, 1],
        "share": [0.4, 0.2, 0.2],
    }
    assert subtitle_lines(chart) == [
        "5 records, 2 of 3 nicks, 2016-02-29 00:00:00.000, UTC",
        "1 record (20 %) with 1 other value not shown",
    ]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (pa.array([7, 7, None], pa.int64()), ["7", "(none)"]),
        (pa.array([True, False, True]), ["true", "false"]),
        (pa.array(["x", "y", "x"]).dictionary_encode(), ["x", "y"]),
        (pa.array([b"x", b"y", b"x"]), ["x", "y"]),
        (pa.nulls(3), ["(none)"]),
    ],
)
def test_values_of_any_plain_kind(values, shown):
    assert charts.top(table([0, 0, 0], it=values), "it").data["value"].tolist() == shown


def test_a_struct_has_members():
    data = table([0, 0], geo=[{"country": "DE"}, None])
    assert charts.top(data, "geo.country").data["value"].tolist() == ["DE", "(none)"]
    with pytest.raises(UsageError, match=r"Hint: name one of geo\.country"):
        charts.top(data, "geo")
    with pytest.raises(UsageError, match=r"no field 'geo\.town'"):
        charts.top(data, "geo.town")


def test_a_field_of_lists_is_not_counted():
    hint = r"make a row of each value first: frame\.explode\('tags'\)"
    with pytest.raises(UsageError, match=f"'tags' holds lists, which cannot be counted\n.*{hint}"):
        charts.top(table([0], tags=[["a"]]), "tags")
    frame = to_pandas(table([0], tags=[["a", "b"]])).explode("tags")
    assert charts.top(frame, "tags") is not None


@pytest.mark.parametrize(
    ("kind", "words"), [(pa.map_(pa.string(), pa.int64()), "maps"), (pa.struct([]), "objects")]
)
def test_a_field_of_maps_or_of_objects_without_a_field_is_not_counted(
    kind: pa.DataType, words: str
):
    with pytest.raises(UsageError, match=f"holds {words}, .*\n.*a column of plain values first"):
        charts.top(pa.table({"tags": pa.nulls(2, kind)}), "tags")


@pytest.mark.parametrize("n", [0, 201])
def test_top_n_has_bounds(n):
    with pytest.raises(UsageError):
        charts.top(table([0], nick=["a"]), "nick", n)


# heatmap -------------------------------------------------------------------------------------------------


def test_heatmap_is_a_week_in_utc():
    chart = charts.heatmap(table([0, 0.5, 24 * 6 + 23, 24 * 7]))
    data = chart.data
    assert len(data) == 168
    assert data.loc[data["records"] > 0].to_dict("list") == {
        "weekday": ["Mon", "Sun"],
        "hour": [0, 23],
        "records": [3, 1],
    }
    assert data["weekday"].unique().tolist() == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


def test_heatmap_counts_by_the_zone_of_the_times():
    frame = pd.DataFrame({"at": pd.to_datetime(["2016-02-29T00:30"]).tz_localize("Europe/Berlin")})
    for times, cell in (
        (frame, ["Mon", 0]),
        (frame.assign(at=frame["at"].dt.tz_convert("UTC")), ["Sun", 23]),
    ):
        data = charts.heatmap(times).data
        assert data.loc[data["records"] > 0, ["weekday", "hour"]].to_numpy().tolist() == [cell]


# what may be given ---------------------------------------------------------------------------------------


def test_every_kind_of_data_gives_the_same():
    arrow = table([0, 1, 1], nick=["a", "b", None])
    replay = Replay(arrow, Receipt("irc", "c", "w", "read_committed", (), 0, 0.0, "g"))
    specs = [
        charts.timeline(data, "nick", every="1h").data
        for data in (arrow, replay, replay.to_pandas(), arrow.to_pandas(), pl.from_arrow(arrow))
    ]
    for entry in specs[1:]:
        pd.testing.assert_frame_equal(entry, specs[0])
    assert charts.timeline(replay).title.text == "irc: records over time"


def test_an_index_of_times_will_do():
    frame = pd.DataFrame(
        {"n": [1, 2]}, index=pd.to_datetime(["2016-02-29 00:00", "2016-02-29 01:00"])
    )
    assert charts.timeline(frame, every="1h").data["records"].tolist() == [1, 1]


def test_texts_and_dates_will_do_when_named():
    frame = pd.DataFrame({"at": ["2016-02-29T00:00:00Z", "2016-02-29T03:00:00+02:00", "never"]})
    chart = charts.timeline(frame, time_field="at", every="1h")
    assert chart.data["records"].tolist() == [1, 1]
    assert subtitle_lines(chart)[1] == "1 record without a time left out"
    days = pd.DataFrame({"on": [dt.date(2016, 2, 29), dt.date(2016, 3, 2)]})
    assert charts.timeline(days, time_field="on", every="1d").data["records"].tolist() == [1, 0, 1]


@pytest.mark.parametrize("draw", [charts.timeline, charts.heatmap])
def test_the_field_that_says_when_has_its_former_name_too(draw):
    frame = pd.DataFrame(
        {"at": pd.to_datetime(["2016-03-01"]), "b": pd.to_datetime(["2016-04-01"])}
    )
    with pytest.warns(
        DeprecationWarning, match=rf"{draw.__name__}\(field=\) is called time_field="
    ):
        former = draw(frame, field="at").data
    pd.testing.assert_frame_equal(former, draw(frame, time_field="at").data)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (
            lambda t: charts.timeline(t, "nik"),
            r"no field 'nik'\nHint: did you mean 'nick'\? there are: _timestamp, nick",
        ),
        (lambda t: charts.timeline(t, time_field="nik"), "no field 'nik'"),
        (lambda t: charts.timeline(t.slice(0, 0), "nik"), "no field 'nik'"),
        (lambda t: charts.top(t, "nik"), "no field 'nik'"),
        (lambda t: charts.top(t, ["nick"]), "a field's name must be a text"),
        (lambda t: charts.heatmap(t, time_field="nick"), "holds no times"),
        (
            lambda t: charts.timeline(t.drop_columns("_timestamp")),
            "no column holds times\nHint: time_field= names one",
        ),
        (
            lambda t: charts.timeline(pd.DataFrame({"at": [1456704000]}), time_field="at"),
            "holds int64, not times",
        ),
        (
            lambda t: charts.timeline(pd.DataFrame(columns=["a", "b"], dtype="datetime64[ns]")),
            "more than one column holds times: a, b",
        ),
        (lambda t: charts.top(pd.DataFrame({"a": [1, "x"]}), "a"), "values of different kinds"),
        (lambda t: charts.top(pd.DataFrame([[1, 2]], columns=["a", "a"]), "a"), "no Arrow form"),
        (lambda t: charts.timeline([1, 2]), r"a list cannot be charted\nHint: give a Replay"),
        (lambda t: charts.timeline(3), r"an int cannot be charted"),
    ],
)
def test_errors_name_the_remedy(draw, message):
    with pytest.raises(UsageError, match=message):
        draw(table([0, 1], nick=["a", "b"]))


@pytest.mark.parametrize(
    "draw",
    [
        charts.timeline,
        lambda t: charts.timeline(t, "nick"),
        charts.heatmap,
        lambda t: charts.top(t, "nick"),
    ],
)
def test_no_records_is_a_chart_that_says_so(draw):
    chart = draw(table([0], nick=["a"]).slice(0, 0))
    assert chart.data["text"].tolist() == ["no records"]
    assert png_of(chart).startswith(MAGIC)


def test_no_times_is_a_chart_that_says_so():
    assert charts.timeline(table([None, None])).data["text"].tolist() == [
        "no records with a time (2 without)"
    ]


def test_a_million_records_are_a_small_chart():
    rows = 1_000_000
    random = np.random.default_rng(1)
    stamps = pa.array(MONDAY + random.integers(0, 90 * 24 * HOUR, rows), pa.timestamp("ms", "UTC"))
    nicks = pa.array([f"nick{n}" for n in range(1000)]).take(
        pa.array(random.geometric(0.01, rows) % 1000)
    )
    data = pa.table({"_timestamp": stamps, "nick": nicks})
    began = time.monotonic()
    drawn = [
        charts.timeline(data),
        charts.timeline(data, "nick", top=20),
        charts.top(data, "nick"),
        charts.heatmap(data),
    ]
    assert time.monotonic() - began < 20  # 0.5 s on two cores
    for chart in drawn:
        assert len(chart.data) < 5000
        assert len(chart.to_json()) < 500_000
    for chart in (drawn[0], drawn[1], drawn[3]):
        assert chart.data["records"].sum() == rows


# pictures ------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn():
    odd = ["it's", '"\\', "<b>", "日本", None, ""]
    data = table(range(6), **{"a.b[0]": odd})
    return [
        charts.timeline(data),
        charts.timeline(data, "a.b[0]", every="1h", top=3),
        charts.top(data, "a.b[0]", 3),
        charts.heatmap(data),
    ]


def test_they_can_be_drawn(drawn):
    for chart in drawn:
        assert png_of(chart).startswith(MAGIC)
        assert show.compiled(chart.to_dict())["background"] == "transparent"
        assert "UTC" in subtitle_lines(chart)[0]


def test_the_bundle_is_small_and_shows_everywhere(drawn, monkeypatch):
    monkeypatch.delenv("LABKIT_HEADLESS", raising=False)
    for chart in drawn:
        data, metadata = show.bundle(chart.to_dict())
        assert data["image/png"].startswith(MAGIC)
        assert data[show.VEGA]["$schema"].endswith("/vega/v5.json")
        assert data["text/plain"] == chart.title.text
        assert metadata["image/png"]["width"] < 1000
        assert len(data["image/png"]) < 120_000


def test_a_chart_that_follows_its_page_is_as_wide_as_before_where_there_is_none(drawn):
    for chart in [*drawn, charts.timeline(table(range(6)), table=True)]:
        spec = chart.to_dict()
        _, metadata = show.bundle(spec)
        whole = metadata["image/png"]["width"]
        svg = vl_convert.vega_to_svg(page_width.fill_page(show.compiled(spec), whole))
        assert abs(float(re.search(r'width="([\d.]+)"', svg)[1]) - whole) <= 1


def test_a_headless_run_gets_the_picture_alone(drawn, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    data, _ = show.bundle(drawn[0].to_dict())
    assert set(data) == {"image/png", "text/plain"}


def test_packing_keeps_the_picture():
    def chunks(data):
        at, parts = 8, []
        while at < len(data):
            (size,) = struct.unpack_from(">I", data, at)
            kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
            assert struct.unpack_from(">I", data, at + 8 + size) == (zlib.crc32(kind + body),)
            parts.append((kind, body))
            at += 12 + size
        pixels = zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"))
        return [entry for entry in parts if entry[0] != b"IDAT"], pixels

    plain = png_of(charts.heatmap(table([0, 1])))
    packed = show.repack_png(plain)
    assert chunks(packed) == chunks(plain)
    assert len(packed) < len(plain) / 2


@pytest.fixture
def fresh():
    show.enable.cache_clear()
    before = alt.renderers._get_state()
    yield
    alt.renderers._set_state(before)
    show.enable.cache_clear()


def test_no_renderer_is_enabled_outside_a_notebook(fresh):
    charts.timeline(table([0]))
    assert alt.renderers.active == "default"


def test_the_first_chart_in_a_notebook_enables_the_renderer(fresh, monkeypatch):
    monkeypatch.setattr(show, "in_notebook", lambda: True)
    chart = charts.timeline(table([0]))
    assert alt.renderers.active == show.NAME
    data, _ = chart._repr_mimebundle_()
    assert "image/png" in data
    alt.renderers.enable("default")  # the user's own choice stays
    charts.timeline(table([0]))
    assert alt.renderers.active == "default"


def test_the_users_renderer_stays(fresh, monkeypatch):
    monkeypatch.setattr(show, "in_notebook", lambda: True)
    alt.renderers.enable("svg")
    charts.timeline(table([0]))
    assert alt.renderers.active == "svg"


# words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ms", "text"),
    [(HOUR, "hour"), (6 * HOUR, "6 h"), (90_000, "90 s"), (86_400_000, "day"), (1500, "1,500 ms")],
)
def test_the_length_of_a_bucket_in_words(ms, text):
    assert buckets.length(ms) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "0 %"),
        (0, 9, "0 %"),
        (1, 9999, "< 0.1 %"),
        (1, 40, "2.5 %"),
        (9998, 9999, "> 99.9 %"),
        (9, 9, "100 %"),
    ],
)
def test_a_share_in_words_is_0_or_100_only_when_it_is_exact(part, whole, text):
    assert buckets.share(part, whole) == text


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (0, 90 * 24 * HOUR, "1970-01-01 to 1970-04-01"),
        (0, 30 * HOUR, "1970-01-01 00:00 to 1970-01-02 06:00"),
        (0, 10_000, "1970-01-01 00:00:00 to 00:00:10"),
        (0, 0, "1970-01-01 00:00:00.000"),
        (0, 1_700_000_000_000_000, "1970-01-01 to 55840-11-08"),
    ],
)
def test_a_period_in_words_is_as_fine_as_it_needs(first, last, text):
    assert buckets.period(first, last) == text


def test_the_exports_are_documented():
    assert charts.__all__ == [
        *("board", "comparison", "conversation", "distribution"),
        *("heatmap", "lag", "map", "timeline", "top"),
    ]
    for name in charts.__all__:
        assert getattr(charts, name).__doc__


def test_values_named_as_the_rest_is_stay_apart_from_it() -> None:
    values = ["other"] * 5 + ["(none)"] * 4 + ["(empty)"] * 3 + ["a", "b", None, ""]
    times = pd.date_range("2026-01-01", periods=len(values), freq="h", tz="UTC")
    table = pa.table({"_timestamp": pa.array(times), "word": values})
    counts = (
        charts.timeline(table, by="word", top=3).data.groupby("value")["records"].sum().to_dict()
    )
    assert counts == {'"other"': 5, '"(none)"': 4, '"(empty)"': 3, "other": 3, "(none)": 1}
    ranked = charts.top(table, "word").data.set_index("value")["records"].to_dict()
    assert (ranked['"(none)"'], ranked["(none)"], ranked['"(empty)"'], ranked["(empty)"]) == (
        4,
        1,
        3,
        1,
    )


def test_times_as_values_are_in_utc_wherever_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        table = pa.table({"at": pa.array([0], pa.timestamp("ms", "UTC"))})
        assert charts.top(table, "at").data["value"].tolist() == ["1970-01-01 00:00:00+00"]
    finally:
        monkeypatch.undo()
        time.tzset()


# against -----------------------------------------------------------------------------------------------------


def test_a_line_of_what_was_so_long_before_in_the_same_data():
    """Bars are the second of two weeks alone.

    The second week has two records an hour, and nothing is counted twice.
    """
    begin = pd.Timestamp("2026-03-02T00:00Z")
    hours = [*range(7 * 24), *(hour for hour in range(7 * 24, 14 * 24) for _ in range(2))]
    frame = pd.DataFrame({"_timestamp": [*(begin + pd.to_timedelta(hours, unit="h")), pd.NaT]})
    chart = charts.timeline(frame, every="1d", against="1w")
    assert chart.data["records"].tolist() == [48] * 7
    assert chart.data["earlier"].tolist() == [24] * 7
    assert chart.data["time"].iloc[0] == begin + pd.Timedelta(days=7)
    assert chart.title.subtitle == [
        "336 records, 2026-03-09 to 2026-03-15, per day, UTC", "the line: 1 week earlier, 168 records",
        "1 record without a time left out",
    ]  # fmt: skip


@pytest.mark.parametrize("against", ["2d", "0s"])
def test_nothing_is_so_much_older(against):
    frame = pd.DataFrame({"_timestamp": pd.to_datetime(["2026-03-02T00:00Z", "2026-03-03T00:00Z"])})
    with pytest.raises(
        UsageError,
        match=f"against= must be a length within the 1d of these records, not {against}",
    ) as caught:
        charts.timeline(frame, against=against)
    assert "a window that reaches back" in str(caught.value.hint)


@pytest.mark.parametrize("options", [{"by": "x"}, {"table": True}])
def test_all_records_are_held_against_those_before(options):
    frame = pd.DataFrame({"_timestamp": pd.to_datetime(["2026-03-02T00:00Z"]), "x": 1})
    with pytest.raises(UsageError, match="against cannot go with by or table"):
        charts.timeline(frame, against="1d", **options)
