"""Charts of consumers: the numbers they draw, what they leave out, and that they can be drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from labkit import charts
from labkit.charts.lag import MOST_LINES, MOST_POINTS, MOST_ROWS
from labkit.errors import UsageError
from labkit.groups.history import SCHEMA, to_frame
from labkit.groups.judgement import partitions_frame
from labkit.groups.lag import judge_all
from labkit.groups.looks import Sample

FIRST = Sample(
    group="g", topic="t", partition=0, committed=0, log_start=0, log_end=0, lag=0, flag="", member="reader",
    host="127.0.0.1", at_ms=1_000_000_000_000, state="stable", members=1, behind_ms=0, next="record",
)  # fmt: skip


def history(
    *, groups: int = 1, partitions: int = 2, looks: int = 5
) -> tuple[list[Sample], pd.DataFrame]:
    """Read 10 a look, written 20 a look; a look every 2 s."""
    import pyarrow as pa

    samples = [
        replace(
            FIRST, at_ms=FIRST.at_ms + 2000 * look, group=f"g{group:02d}", partition=partition, committed=10 * look,
            log_end=20 * look + group, lag=10 * look + group, behind_ms=1000 * look,
        )
        for look in range(looks) for group in range(groups) for partition in range(partitions)
    ]  # fmt: skip
    columns = [
        [getattr(sample, "at_ms" if name == "at" else name) for sample in samples]
        for name in SCHEMA.names
    ]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
    return samples, to_frame(pa.table(arrays, schema=SCHEMA))


def data_of(chart: Any) -> pd.DataFrame:
    """Return the rows a chart draws, wherever altair keeps them."""
    inner = (chart.vconcat if hasattr(chart, "vconcat") else chart.layer)[0]
    frame = chart.data if isinstance(chart.data, pd.DataFrame) else inner.data
    assert isinstance(frame, pd.DataFrame)
    return frame


def test_lag_of_one_group_is_drawn_by_partition_with_rates() -> None:
    chart = charts.lag(history()[1])
    rows = data_of(chart)
    assert set(rows["line"]) == {"0", "1"}
    partition_rows = rows[rows["line"] == "0"].sort_values("at")
    assert partition_rows["lag"].tolist() == [0, 10, 20, 30, 40]
    assert partition_rows["read"].tolist()[1:] == [5] * 4
    assert partition_rows["written"].tolist()[1:] == [10] * 4
    assert partition_rows["behind_s"].tolist() == [0, 1, 2, 3, 4]
    spec = chart.to_dict()
    assert spec["title"]["text"] == "g00: lag over time"
    assert "UTC" in spec["title"]["subtitle"][0]


def test_lag_of_several_groups_is_summed_and_the_left_out_are_told() -> None:
    spec = charts.lag(history(groups=20)[1]).to_dict()
    assert f"{MOST_LINES} of 20 groups, those with the largest lag" in spec["title"]["subtitle"][0]


def test_a_hole_in_the_looks_is_a_hole_in_the_line() -> None:
    look = history(looks=40, partitions=1)[1]
    assert data_of(charts.lag(look))["lag"].notna().all()
    holed = data_of(charts.lag(look.drop(look.index[10:30])))
    assert holed["lag"].isna().sum() == 1
    assert len(holed) == 21


def test_a_long_history_is_thinned() -> None:
    chart = charts.lag(history(looks=3 * MOST_POINTS, partitions=1)[1])
    assert len(data_of(chart)) <= MOST_POINTS + 1


def test_the_board_has_a_tile_for_each_partition_the_worst_first() -> None:
    samples = history(groups=2)[0]
    stuck = [
        replace(sample, group="z-stuck", committed=5, log_end=50, lag=45)
        for sample in samples
        if sample.group == "g00"
    ]
    judged = partitions_frame(judge_all([*samples, *stuck]))
    chart = charts.board(judged)
    data = data_of(chart)
    assert data["group"].tolist()[:2] == ["z-stuck", "z-stuck"]
    assert dict(zip(data["group"], data["doing"], strict=True)) == {
        "z-stuck": "stuck",
        "g00": "slow",
        "g01": "slow",
    }
    assert "3 groups, 6 partitions" in chart.to_dict()["title"]["subtitle"][0]


def test_the_board_of_a_history_is_that_of_its_verdicts() -> None:
    chart = charts.board(history(groups=2)[1])
    data = data_of(chart)
    assert set(data["verdict"]) == {"slow"}
    many = charts.board(history(groups=MOST_ROWS + 5)[1]).to_dict()
    assert "10 partitions not shown" in many["title"]["subtitle"][1]


@pytest.mark.parametrize("draw", [charts.lag, charts.board])
def test_nothing_to_draw_is_said_and_a_foreign_frame_refused(draw: Callable[..., Any]) -> None:
    from altair.utils.mimebundle import spec_to_mimebundle

    spec = draw(history()[1].iloc[:0]).to_dict()
    assert spec_to_mimebundle(spec, "png", mode="vega-lite")[0]["image/png"]
    with pytest.raises(UsageError, match="lacks"):
        draw(pd.DataFrame({"a": [1]}))
