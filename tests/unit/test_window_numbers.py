"""A window's numbers, as people, NumPy, JSON and command lines write them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from labkit.checks.options import Parser, window_bounds, window_options
from labkit.checks.validation import newest_count, offset_ranges, partition_numbers
from labkit.errors import UsageError
from labkit.times import length_ms, to_ms


@pytest.mark.parametrize(
    "last", [10_000, np.int64(10_000), np.uint16(10_000), "10000", "10_000", " 10000 "]
)
def test_a_number_of_records(last: Any) -> None:
    count = newest_count(last)
    assert (count, type(count)) == (10_000, int)


@pytest.mark.parametrize("last", ["6h", timedelta(hours=6), pd.Timedelta("6h"), "360m"])
def test_a_length_of_time(last: Any) -> None:
    assert newest_count(last) is None
    assert length_ms(last) == 6 * 3_600_000


@pytest.mark.parametrize("last", [True, 1.5, 10_000.0, [], b"10", None, np.float64(3)])
def test_what_is_neither_a_count_nor_a_length_is_refused(last: Any) -> None:
    with pytest.raises(UsageError, match="must be a whole number"):
        newest_count(last)


@pytest.mark.parametrize("last", ["", "10 000", "1e4", "_1", "six hours", "-1"])
def test_a_text_that_is_neither_is_no_length_of_time(last: str) -> None:
    assert newest_count(last) is None
    with pytest.raises(UsageError, match="not a length of time"):
        length_ms(last)


@pytest.mark.parametrize(
    "wanted", [[2, 0], (np.int32(2), 0, 0), {"0", "2"}, np.array([0, 2]), pd.Index([2, 0])]
)
def test_partitions_in_any_list_of_numbers(wanted: Any) -> None:
    assert partition_numbers(wanted) == [0, 2]


def test_one_partition_needs_no_list() -> None:
    assert partition_numbers(3) == partition_numbers("3") == partition_numbers(np.int64(3)) == [3]


@pytest.mark.parametrize("wanted", [[], "all", [None], [0.5], [[1]]])
def test_what_names_no_partitions_is_refused(wanted: Any) -> None:
    with pytest.raises(UsageError):
        partition_numbers(wanted)


@pytest.mark.parametrize(
    "offsets",
    [{0: (1, 5)}, {"0": [1, 5]}, {np.int64(0): (np.int64(1), np.int64(5))}, {0: np.array([1, 5])}],
)
def test_offsets_of_a_partition(offsets: Any) -> None:
    """JSON has texts for keys, and a DataFrame's offsets are NumPy's."""
    assert offset_ranges(offsets) == {0: (1, 5)}


@pytest.mark.parametrize(
    "offsets",
    [{}, [], {0: 5}, {0: (1,)}, {0: (1, 2, 3)}, {0: "15"}, {0: (1.5, 2)}, {0: (True, 2)}, {"a": (1, 2)},
     {0: (1, 2), "0": (1, 2)}, {0: None}],
)  # fmt: skip
def test_what_gives_no_offsets_is_refused(offsets: Any) -> None:
    with pytest.raises(UsageError, match=r"offsets|partition"):
        offset_ranges(offsets)


@pytest.mark.parametrize(
    "text", ["1711121012345", "1456833600", " 1732000000000", "-1456833600", "201603011230"]
)
def test_digits_alone_are_no_time(text: str) -> None:
    """Python reads 1711121012345, milliseconds of 2024, as the 10th of December 1711."""
    with pytest.raises(UsageError, match="number without a unit"):
        to_ms(text)


def test_a_day_in_iso_s_basic_form_is_one() -> None:
    assert to_ms("20160301") == to_ms("2016-03-01")


def test_the_command_line_s() -> None:
    parser = window_options(Parser())
    options = parser.parse_args(["irc", "--last", "10_000", "--partitions", "0,2", "--slack", "5m"])
    bounds = window_bounds(options)
    assert (newest_count(bounds["last"]), partition_numbers(bounds["partitions"]), bounds["slack"]) == (
        10_000, [0, 2], "5m",
    )  # fmt: skip
