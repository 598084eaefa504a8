"""The map: counted by place, and said what is left out."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest

from labkit import charts
from labkit.charts import places
from labkit.errors import IncompleteWarning, UsageError
from labkit.replay.receipt import StopReason
from labkit.sinks.replay import Replay
from support.replays import RECEIPT

POINTS = [{"lat": 51.5, "lon": -0.2}] * 3 + [
    {"lat": 51.6, "lon": -0.3},
    {"lat": -33.9, "lon": 151.2},
    None,
]
TABLE = pa.table(
    {
        "geoip_location": POINTS,
        "geoip_city": ["London"] * 4 + [None] * 2,
        "geoip_country_name": ["UK"] * 4 + ["AU", None],
    }
)


def circles(chart: object) -> pd.DataFrame:
    return chart.layer[1].data  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("data", [TABLE, TABLE.to_pandas()], ids=["arrow", "pandas"])
def test_records_of_a_place_are_one_circle(data: object) -> None:
    chart = charts.map(data)
    circles_ = circles(chart)
    assert circles_[["records", "place"]].values.tolist() == [[4, "London"], [1, "AU"]]
    assert circles_["latitude"][0] == pytest.approx(51.525)
    assert "5 records from 2 places" in chart.title.subtitle[0]
    assert "1 record (17 %) without a place left out" in chart.title.subtitle[1]


def test_a_column_of_values_of_different_kinds_beside_the_points_does_not_matter() -> None:
    frame = TABLE.to_pandas()
    frame.insert(0, "mixed", [1, "two", None, 4, "five", 6])
    assert circles(charts.map(frame))["records"].tolist() == [4, 1]


def test_many_places_are_cut_and_the_rest_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MOST_PLACES", 3)
    table = pa.table({"at": [{"lat": float(n * 5), "lon": 0.0} for n in range(10)]})
    chart = charts.map(table, "at")
    assert len(circles(chart)) == 3
    assert "7 records from 7 smaller places not shown" in chart.title.subtitle[1]


def test_nobody_located_is_an_empty_map() -> None:
    table = pa.table(
        {"at": pa.array([None, None], pa.struct([("lat", pa.float64()), ("lon", pa.float64())]))}
    )
    assert charts.map(table).to_dict()["title"]["subtitle"][0].startswith("0 records")


@pytest.mark.parametrize("field", [None, "geoip_city", "nowhere"])
def test_without_points_there_is_no_map(field: str | None) -> None:
    with pytest.raises(UsageError, match="no field of points") as caught:
        charts.map(TABLE.drop_columns("geoip_location"), field)
    assert "geoip" in (caught.value.hint or "")


def test_it_needs_no_network() -> None:
    text = charts.map(TABLE).to_json()
    assert "world-110m" not in text
    assert '"url"' not in text


def test_a_map_of_a_part_of_a_window_says_so() -> None:
    part = replace(RECEIPT.partitions[0], read=0, unread=5, stop_reason=StopReason.DEADLINE)
    replay = Replay(TABLE, replace(RECEIPT, partitions=(part,)))
    with pytest.warns(IncompleteWarning, match="incomplete"):
        chart = charts.map(replay)
    assert chart.title.text.startswith("irc (INCOMPLETE, ")
