"""Whole numbers: what is one, whoever made it, and what is not is told with a hint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from labkit import charts
from labkit.checks.validation import whole_number
from labkit.errors import UsageError
from labkit.notebook import widgets

FRAME = pd.DataFrame(
    {"at": pd.to_datetime(["2026-11-01T00:00Z"] * 3), "nick": list("aab"), "n": [1, 2, 3]}
)


@pytest.mark.parametrize("value", [7, np.int32(7), np.uint64(7), "7", " 7 ", "0_7"])
def test_a_whole_number_of_any_kind(value: Any) -> None:
    number = whole_number(value, "n", "hint", low=7, high=7)
    assert (number, type(number)) == (7, int)


@pytest.mark.parametrize("value", [True, 7.0, "7.5", "", "-7", None, [7], np.float64(7), 6, 8])
def test_what_is_none_or_outside_is_refused(value: Any) -> None:
    with pytest.raises(
        UsageError, match=r"^n must be (a whole number, not|7 to 7, not [68])"
    ) as caught:
        whole_number(value, "n", "hint", low=7, high=7)
    assert caught.value.hint == "hint"


@pytest.mark.parametrize("value", ["x", 0, 1.5, None, 10_000])
@pytest.mark.parametrize(
    "chart",
    [
        lambda one: charts.top(FRAME, "nick", n=one),
        lambda one: charts.timeline(FRAME, by="nick", top=one),
        lambda one: charts.distribution(FRAME, "n", bins=one),
        lambda one: charts.distribution(FRAME, "n", by="nick", top=one),
        lambda one: charts.conversation(FRAME, sender="nick", text="nick", top=one),
    ],
)
def test_charts_refuse_numbers_they_cannot_draw(chart: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        chart(value)
    assert "a chart has room for" in str(caught.value)


@pytest.mark.parametrize("value", [-1, 1.5, "6h", None])
@pytest.mark.parametrize("name", ["last", "rows"])
def test_a_tail_refuses_what_is_no_number_of_records(name: str, value: Any) -> None:
    """It went wrong beside the cells, or took a length of time at first and failed later."""
    with pytest.raises(UsageError, match=f"^{name} must be "):
        widgets.tail("irc", **{name: value})


@pytest.mark.parametrize("data", [None, [], "history.parquet", FRAME])
@pytest.mark.parametrize("chart", [charts.lag, charts.board])
def test_charts_of_consumers_refuse_what_is_no_look_at_them(
    chart: Callable[[Any], Any], data: Any
) -> None:
    with pytest.raises(UsageError) as caught:
        chart(data)
    assert "lab.lag" in str(caught.value.hint)
