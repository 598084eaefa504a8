"""Batches under a schema fixed beforehand.

Values fit or do not, and fields are new.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labkit import decode
from labkit.decode.fixed_schema import Conformed, Fixed, conform, fit_column
from labkit.decode.table import empty_table, from_batches
from support.records import raw_batch


def under(sample: list[Any], values: list[Any]) -> Conformed:
    """Decode `values` under the schema of `sample`, both records or bytes."""
    first, later = (
        raw_batch(
            [one if isinstance(one, bytes | None) else json.dumps(one).encode() for one in rows]
        )
        for rows in (sample, values)
    )
    module = decode.plain("json")
    schema = module.unify([module.parse_batch(first).schema])
    layout = empty_table(module, schema).schema
    result = conform(from_batches([later], Fixed(decode.plain("json"), schema)), layout)
    assert result.table.schema.equals(layout)
    assert result.table["_value"].to_pylist() == later.column("value").to_pylist()
    return result


@pytest.mark.parametrize(
    ("known", "value", "expected"),
    [
        (1, 2, 2),
        (1, 2.0, 2),
        (1, "3", 3),
        (1, None, None),
        (1.5, 2, 2.0),
        (1.5, "2.5", 2.5),
        ("a", 5, "5"),
        ("a", {"b": 1}, '{"b": 1}'),
        (True, False, False),
        ({"a": 1}, {"a": "7"}, {"a": 7}),
        ({"a": 1, "b": "x"}, {"b": "y"}, {"a": None, "b": "y"}),
        ([1], [2, 3], [2, 3]),
        ([{"a": 1}], [{"a": 2.0}], [{"a": 2}]),
    ],
)
def test_a_value_that_fits_is_kept(known: Any, value: Any, expected: Any) -> None:
    rows = under([{"f": known}], [{"f": value}, {"f": known}])
    assert rows.table["f"].to_pylist() == [expected, known]
    assert rows.table["_error"].null_count == 2


@pytest.mark.parametrize(
    ("known", "value"),
    [(1, 2.5), (1, "x"), (1, True), (1, [1]), (1, 2**70), (1.5, "x"), (True, 1), (True, "true-ish"), ({"a": 1}, 5),
     ({"a": 1}, {"a": "x"}), ([1], [2.5]), ([1], "x")],
)  # fmt: skip
def test_a_value_of_another_type_is_null_and_says_so_and_its_neighbours_stay(
    known: Any, value: Any
) -> None:
    rows = under(
        [{"f": known, "g": 1}], [{"f": known, "g": 1}, {"f": value, "g": 2}, {"f": known, "g": 3}]
    )
    first, odd, last = rows.table["f"].to_pylist()
    assert first == last == known
    assert odd in (None, {"a": None}, [None])
    assert rows.table["g"].to_pylist() == [1, 2, 3]
    errors = rows.table["_error"].to_pylist()
    assert errors[0] is errors[2] is None
    assert "field 'f" in errors[1]


def test_new_fields_are_named_and_counted_and_missing_ones_are_null() -> None:
    rows = under(
        [{"a": 1, "b": {"c": 1}}], [{"new": 5}, {"a": 2, "b": {"c": 3, "d": 4}, "new": None}]
    )
    assert rows.table["a"].to_pylist() == [None, 2]
    assert rows.unknown == {"new": 1, "b.d": 1}
    assert rows.table["_error"].null_count == 2


def test_what_is_no_json_keeps_its_own_error() -> None:
    rows = under([{"a": 1}], [b"no", None, b""])
    errors = rows.table["_error"].to_pylist()
    assert errors[0]
    assert errors[1] is None
    assert rows.table["a"].to_pylist() == [None] * 3


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 2**66)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
)
values = st.recursive(
    scalars | st.text("ab1", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2)
    ),
    max_leaves=4,
)
records = st.lists(st.dictionaries(st.sampled_from("fgh"), values, max_size=3), max_size=6)


@settings(max_examples=60, deadline=None)
@given(records, records, st.integers(0, 6))
@example([{"f": None, "g": [False]}], [{}, {}, {"f": None, "g": False}, {"g": [0]}], 3)
def test_it_is_the_same_however_batches_are_cut(
    sample: list[Any], later: list[Any], at: int
) -> None:
    in_one_batch = under(sample, later)
    parts = [under(sample, rows) for rows in (later[:at], later[at:])]
    for name in in_one_batch.table.column_names:
        if name not in ("_offset", "_timestamp"):
            joined = [value for part in parts for value in part.table[name].to_pylist()]
            assert in_one_batch.table[name].to_pylist() == joined, name


def test_a_list_is_no_map() -> None:
    kind = pa.map_(pa.large_string(), pa.int64())
    errors: dict[int, str] = {}
    texts = pa.chunked_array([['{"a": 1}', "[1, 2]"]])
    column = fit_column(texts, kind, "labels", errors)
    assert column.to_pylist() == [[("a", 1)], None]
    assert errors == {1: f"field 'labels' is no {kind} here: [1, 2]"}
    same = fit_column(pa.chunked_array([column]), pa.map_(pa.string(), pa.int64()), "labels", {})
    assert same.to_pylist() == column.to_pylist()
