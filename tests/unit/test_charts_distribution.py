"""Distributions: what is counted in which bin, what is left out and said."""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import charts
from labkit.charts.distribution import powers, steps
from labkit.charts.numbers import PLACES, Numbers
from labkit.errors import UsageError
from support.pictures import can_be_drawn, subtitle_lines


def filled(chart):
    """Return each bin with records: (start, end) to how many."""
    rows = chart.data[chart.data["records"] > 0]
    return dict(zip(zip(rows["start"], rows["end"], strict=True), rows["records"], strict=True))


def test_whole_numbers_have_bins_of_whole_width_and_empty_ones_are_zero():
    chart = charts.distribution(pa.table({"n": [1, 1, 2, 5]}), "n")
    assert filled(chart) == {(1, 2): 2, (2, 3): 1, (5, 6): 1}
    assert len(chart.data) == 5
    assert subtitle_lines(chart) == ["4 records, bins of 1, median 1.5, 99 % up to 5, largest 5"]
    assert can_be_drawn(chart)


def test_a_number_on_an_edge_belongs_to_the_bin_it_begins():
    tenths = [n / 10 for n in range(100)]
    chart = charts.distribution(pa.table({"x": tenths}), "x", bins=100)
    assert chart.data["records"].tolist() == [1] * 100
    assert chart.data["start"].tolist() == tenths


def test_texts_are_measured_in_characters_and_bytes_in_bytes():
    data = pa.table({"t": ["", "héé", "abc", None], "b": [b"", b"abcd", None, None]})
    chart = charts.distribution(data, "t")
    assert filled(chart) == {(0, 1): 1, (3, 4): 2}
    assert chart.to_dict()["title"]["text"] == "Length of t"
    assert subtitle_lines(chart)[1] == "left out: 1 record (25 %) without a value"
    assert filled(charts.distribution(data, "b")) == {(0, 1): 1, (4, 5): 1}


def test_what_is_no_number_is_counted_and_said():
    data = pa.table({"t": ["1", "2.5", "many", "nan", None]})
    chart = charts.distribution(data, "t", of="number", bins=2)
    assert chart.data["records"].sum() == 2
    assert (
        subtitle_lines(chart)[1]
        == "left out: 1 record (20 %) without a value; 2 records (40 %) with no number"
    )
    odd = charts.distribution(pa.table({"x": [1.0, math.nan, math.inf]}), "x")
    assert subtitle_lines(odd)[1] == "left out: 2 records (67 %) with no number"


def test_a_long_tail_is_cut_and_said_unless_all_of_it_is_wanted():
    data = pa.table({"n": [*range(100)] * 10 + [1_000_000]})
    chart = charts.distribution(data, "n")
    assert chart.data["end"].max() == 100
    assert chart.data["records"].sum() == 1000
    assert subtitle_lines(chart)[1] == "left out: 1 record (< 0.1 %) from 100 on"
    full_chart = charts.distribution(data, "n", trim=False)
    assert full_chart.data["records"].sum() == 1001
    assert len(subtitle_lines(full_chart)) == 1
    trimmed_chart = charts.distribution(data, "n", trim=True)
    assert subtitle_lines(trimmed_chart)[1].startswith("left out: ")


def test_a_tail_below_is_cut_too():
    data = pa.table({"n": [-1_000_000, *([*range(100)] * 10)]})
    assert "below 0" in subtitle_lines(charts.distribution(data, "n"))[1]


def test_log_bins_hold_powers_of_ten_and_leave_out_what_is_not_above_zero():
    chart = charts.distribution(
        pa.table({"n": [0, 1, 9, 10, 99, 100, 100_000]}), "n", log=True, trim=False
    )
    assert chart.data["records"].sum() == 6
    assert {1.0, 10.0, 100.0, 1000.0} <= set(chart.data["start"])
    assert filled(chart)[100.0, 158.489319246] == 1
    assert "1 record (14 %) below 1" in subtitle_lines(chart)[1]
    none = charts.distribution(pa.table({"n": [0, -1]}), "n", log=True)
    assert "no number above zero" in none.data["text"][0]


def test_by_gives_shares_of_each_value_and_says_what_is_not_shown():
    data = pa.table({"n": [1, 1, 2, 3, 9, 9], "k": ["a", "a", "a", "b", "c", None]})
    chart = charts.distribution(data, "n", by="k", top=2)
    rows = chart.data[chart.data["records"] > 0]
    assert rows[["value", "start", "records"]].to_numpy().tolist() == [
        ["a", 1, 2],
        ["a", 2, 1],
        ["b", 3, 1],
    ]
    assert rows["share"].tolist() == pytest.approx([2 / 3, 1 / 3, 1])
    assert "2 of 3 ks" in subtitle_lines(chart)[0]
    assert "left out: 2 records of other ks" in subtitle_lines(chart)[1]
    assert can_be_drawn(chart)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (pa.table({"n": pa.array([], pa.int64())}), "no records"),
        (pa.table({"n": pa.nulls(3)}), "no number in n: 3 records without a value, 0 with another"),
        (
            pd.DataFrame({"n": [math.nan, math.nan]}),
            "no number in n: 2 records without a value, 0 with another",
        ),
    ],
)
def test_nothing_to_draw_is_said(data, said):
    chart = charts.distribution(data, "n")
    assert chart.data["text"].tolist() == [said]
    assert can_be_drawn(chart)


@pytest.mark.parametrize(
    ("field", "options", "hint"),
    [
        ("x", {}, "there are: n, at, flag"),
        ("n", {"by": "x"}, "there are: n, at, flag"),
        ("n", {"of": "length"}, "charts.top"),
        ("n", {"of": "weight"}, "of must be 'length' or 'number', not 'weight'"),
        ("at", {}, "charts.timeline"),
        ("flag", {}, "charts.top"),
        ("n", {"bins": 1}, "2 to 100"),
        ("n", {"top": 0}, "1 to 20"),
    ],
)
def test_what_cannot_be_distributed_says_why(field, options, hint):
    data = pa.table({"n": [1], "at": pa.array([0], pa.timestamp("ms", "UTC")), "flag": [True]})
    with pytest.raises(UsageError) as caught:
        charts.distribution(data, field, **options)
    assert hint in str(caught.value)


FINITE = st.floats(-1e15, 1e15, allow_nan=False)


@given(st.lists(FINITE, min_size=1, max_size=30), st.integers(2, 100))
def test_bins_rise_hold_all_numbers_and_are_no_more_than_asked(values, most):
    places = dict(zip(PLACES, np.quantile(values, PLACES), strict=True))
    edges = steps(Numbers("", len(values), 0, len(values), False, places), most, False)
    assert all(low < high for low, high in pairwise(edges))
    assert edges[0] <= min(values)
    assert max(values) < edges[-1]
    assert len(edges) <= most + 3


@given(st.lists(st.floats(1e-9, 1e12), min_size=1, max_size=30), st.integers(2, 100))
def test_logarithmic_bins_rise_and_hold_all_numbers(values, most):
    places = dict(zip(PLACES, np.quantile(values, PLACES), strict=True))
    edges = powers(
        Numbers("", len(values), 0, len(values), False, places, min(values)), most, False
    )
    assert all(low < high for low, high in pairwise(edges))
    assert edges[0] <= min(values) * (1 + 1e-9)
    assert max(values) < edges[-1] * (1 + 1e-9)


def test_columns_of_decimals_and_huge_whole_numbers():
    from decimal import Decimal

    data = pa.table({"fee": [Decimal("1.10"), Decimal("2.20")], "big": [2**62, 2**62 + 1]})
    assert charts.distribution(data, "fee").data["records"].sum() == 2
    assert charts.distribution(data, "big").data["records"].sum() == 2


def test_by_a_field_that_nobody_has_says_so() -> None:
    table = pa.table({"n": [1, 2, 3], "x": pa.nulls(3)})
    assert charts.distribution(table, "n", by="x").data["text"].tolist() == [
        "no record has both n and x"
    ]
