"""Columns of any shape in whatever takes a table: the same values, on the first read too."""

from __future__ import annotations

import json
import pickle
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import charts
from labkit.decode.filter import Where
from labkit.decode.table import from_batches
from labkit.errors import UsageError
from labkit.profile.fields import walk
from labkit.replay.receipt import Receipt
from labkit.replay.records import RAW_SCHEMA, TIMESTAMP_TYPES
from labkit.sinks.replay import Replay
from labkit.tables.dataframe import to_pandas
from labkit.tables.duckdb_sql import duckdb, register
from labkit.tables.nested import list_owners, map_entries, ranks

RECEIPT = Receipt("t", "c", "w", "read_committed", (), 0, 0.0, "g")


def raw(values: list[bytes], first: int = 0) -> pa.RecordBatch:
    """Return records of three partitions, by partition and offset, every second with headers."""
    count = len(values)
    headers = [
        [{"key": "trace", "value": b"%d" % row}] if row % 2 else None for row in range(count)
    ]
    columns: dict[str, Any] = {
        "topic": pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), ["t"]),
        "partition": [3 * row // count for row in range(count)],
        "offset": range(first, first + count),
        "timestamp": [1_600_000_000_000 + row for row in range(count)],
        "timestamp_type": pa.DictionaryArray.from_arrays(
            pa.array([1] * count, pa.int32()), TIMESTAMP_TYPES
        ),
        "key": [None] * count,
        "value": values,
        "headers": headers,
    }
    return pa.record_batch(
        [
            column
            if isinstance(column, pa.Array)
            else pa.array(column, RAW_SCHEMA.field(name).type)
            for name, column in columns.items()
        ],
        schema=RAW_SCHEMA,
    )


def replay(values: list[Any], cuts: tuple[int, ...] = ()) -> Replay:
    """Return a replay of records with the field `a`.

    It is read in batches of three partitions each, so all are slices.
    """
    lines = [json.dumps({"a": value}).encode() for value in values]
    edges = [0, *cuts, len(lines)]
    return Replay(
        from_batches([raw(lines[first:last], first) for first, last in pairwise(edges)], "json"),
        RECEIPT,
    )


SHAPES = [
    {"b": 1},
    {"b": {"c": 1}},
    {"b": {"c": {"d": "x"}}},
    {"b": [{"c": "x"}]},
    [1, 2],
    [[1], []],
    [{"b": 1}, None],
    [{"b": {"c": [1]}}],
    [[{"b": {"c": 0.5}}]],
]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=json.dumps)
scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, "", "x"])
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("bcd"), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(st.lists(anything, min_size=6, max_size=12))
def test_any_shape_is_the_same_in_every_engine(values: list[Any]) -> None:
    """BEHAVIOURS 56: Arrow to pandas, polars, DuckDB, Parquet, and back."""
    frame = replay(values, (len(values) // 2,))
    column, rows = frame.table.select(["a", "_headers"]), frame.table["a"].to_pylist()
    buffer = pa.BufferOutputStream()
    pq.write_table(column, buffer)
    assert pq.read_table(pa.BufferReader(buffer.getvalue())).to_pylist() == column.to_pylist()
    assert frame.to_polars()["a"].to_arrow().to_pylist() == rows
    assert pa.array(frame.to_pandas()["a"]).to_pylist() == rows
    with duckdb.connect() as connection:
        register(connection, "replay", column)
        assert (
            connection.sql("select * from replay").to_arrow_table().to_pylist()
            == column.to_pylist()
        )
    assert pa.array(frame.sql("select a from replay")["a"]).to_pylist() == rows


@shapes
def test_every_shape_is_taken_by_sql_conditions_charts_and_pandas(
    shape: Any, tmp_path: Path
) -> None:
    """BEHAVIOURS 56: on the first read, where columns are slices of batches."""
    replayed = replay([shape, shape, None, shape, shape, shape], (3,))
    assert replayed.sql(
        "select count(distinct a) n, count(*) rows from replay"
    ).values.tolist() == [[1, 6]]
    assert Where("a is not null").rows(replayed.table).tolist() == [0, 1, 2, 3, 5]  # by partition
    assert charts.top(replayed, "_offset") is not None
    with pytest.raises(UsageError, match="cannot be counted"):
        charts.top(replayed, "a")
    frame = replayed.to_pandas()
    assert frame["a"].nunique() == 1
    assert frame.nunique()["_headers"] == 1
    assert len(frame.drop_duplicates("a")) == 2
    assert len(frame.drop_duplicates()) == 6
    assert frame["a"].value_counts().tolist() == [5]
    assert frame.groupby("a", dropna=False).size().tolist() == [5, 1]
    described = frame.describe(include="all")
    assert described.loc["unique", "a"] == 1
    assert described.loc["freq", "a"] == 5
    assert frame.sort_values("a")["a"].isna().tolist() == [False] * 5 + [True]
    frame.to_parquet(tmp_path / "a.parquet")
    assert (
        pa.array(pd.read_parquet(tmp_path / "a.parquet")["a"]).to_pylist()
        == replayed.table["a"].to_pylist()
    )
    back = pickle.loads(pickle.dumps(frame))
    pd.testing.assert_frame_equal(pd.concat([back, frame]).iloc[:6], frame)


def test_a_frame_of_nested_dates_and_decimals_is_read_back_from_parquet(tmp_path: Path) -> None:
    """pandas took the name of such a type for one of its own, and refused it."""
    kinds = {"d": pa.large_list(pa.date32()), "m": pa.map_(pa.string(), pa.decimal128(9, 2))}
    rows = {"d": [[date(2016, 3, 1)], None], "m": [[("a", Decimal("1.50"))], []]}
    table = pa.table({name: pa.array(rows[name], kind) for name, kind in kinds.items()})
    to_pandas(table).to_parquet(tmp_path / "a.parquet")
    back = pd.read_parquet(tmp_path / "a.parquet")
    assert {name: pa.array(back[name]).to_pylist() for name in kinds} == rows


def test_a_chart_counts_an_inner_field_of_slices() -> None:
    """BEHAVIOURS 56."""
    frame = replay([{"b": {"c": "x"}}] * 6, (3,))
    assert charts.top(Replay(frame.table.slice(1), RECEIPT), "a.b.c") is not None


@shapes
def test_slices_of_every_shape_enter_sql(shape: Any) -> None:
    """BEHAVIOURS 56: tables and frames that a user cut, as records or beside them."""
    replayed = replay([shape] * 6, (3,))
    part = Replay(replayed.table.slice(1, 3), RECEIPT)
    frames = {
        "arrow": part.table,
        "pandas": replayed.to_pandas().iloc[1:4],
        "polars": replayed.to_polars().slice(1, 3),
    }
    for name, frame in frames.items():
        answer = part.sql("select a from replay union all by name select a from more", more=frame)
        assert pa.array(answer["a"]).to_pylist() == part.table["a"].to_pylist() * 2, name
    assert Where("a is null").rows(part.table).tolist() == []


def _sortable(value: Any) -> Any:
    """Return a value that Python sorts as the rule says: missing ones first, by field, by item."""
    if isinstance(value, dict):
        return [(value[name] is not None, _sortable(value[name])) for name in sorted(value)]
    if isinstance(value, list):
        return [(item is not None, _sortable(item)) for item in value]
    return value


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.none()
        | st.fixed_dictionaries(
            {
                "b": st.none() | st.text("xy", max_size=2),
                "l": st.none()
                | st.lists(
                    st.none() | st.fixed_dictionaries({"c": st.text("xy", max_size=1)}), max_size=2
                ),
            }
        ),
        max_size=9,
    ),
    st.integers(0, 3),
)
def test_ranks_are_those_of_the_values(values: list[Any], first: int) -> None:
    kind = pa.struct([("b", pa.string()), ("l", pa.list_(pa.struct([("c", pa.string())])))])
    own, part = ranks(pa.array(values, kind).slice(first)).tolist(), values[first:]
    texts = [json.dumps(value, sort_keys=True) for value in part]
    assert [own.index(rank) for rank in own] == [texts.index(rank) for rank in texts]
    rows = [row for row, value in enumerate(part) if value is not None]
    assert sorted(rows, key=lambda row: own[row]) == sorted(
        rows, key=lambda row: _sortable(part[row])
    )
    assert all(own[row] == 0 for row, value in enumerate(part) if value is None)


def test_pandas_counts_maps_and_lists_of_a_fixed_size_too() -> None:
    maps = pa.array([[("k", 1)], None, [("k", 1)], [("k", 2)]], pa.map_(pa.string(), pa.int64()))
    fixed = pa.array([[1, 2], None, [1, 2], [2, 1]], pa.list_(pa.int64(), 2))
    frame = to_pandas(pa.table({"maps": maps, "fixed": fixed}))
    assert frame.nunique().tolist() == [2, 2]
    assert frame.duplicated().tolist() == [False, False, True, False]


def test_nested_bytes_numbers_and_times_are_counted() -> None:
    kind = pa.struct(
        [
            ("b", pa.binary()),
            ("f", pa.float64()),
            ("t", pa.timestamp("ms", "UTC")),
            ("n", pa.null()),
        ]
    )
    row = {"b": b"\xff", "f": np.nan, "t": 5, "n": None}
    assert (
        to_pandas(pa.table({"a": pa.array([row, row, {**row, "b": b""}], kind)}))["a"].nunique()
        == 2
    )


def test_each_item_of_a_list_is_owned_by_its_row_also_in_slices_and_beside_nulls():
    lists = pa.array([["a"], [], None, ["b", "c"], ["d"]])
    assert list_owners(lists).tolist() == [0, 3, 3, 4]
    assert list_owners(lists.slice(2)).tolist() == [1, 1, 2]
    maps = pa.array([[("a", 1)], None, [("b", 2), ("c", 3)]], pa.map_(pa.string(), pa.int64()))
    assert list_owners(map_entries(maps)).tolist() == [0, 2, 2]
    assert len(list_owners(pa.array([], pa.list_(pa.int64())))) == 0


def test_a_maps_items_are_walked_with_the_rows_that_have_them_also_in_slices():
    maps = pa.array([[("a", 1)], None, [("b", 2), ("c", 3)]], pa.map_(pa.string(), pa.int64()))
    walked = [
        (path, items.to_pylist(), rows.tolist())
        for path, items, rows in walk("m", maps, np.arange(3))
    ]
    assert walked[1:] == [("m[]", [1, 2, 3], [0, 2, 2])]
    _, (_, items, rows) = walk("m", maps.slice(1), np.arange(2))
    assert (items.to_pylist(), rows.tolist()) == ([2, 3], [1, 1])


def test_a_field_within_an_object_is_a_column_by_its_dotted_name() -> None:
    values = [{"user": {"name": "a", "home": {"city": "Wien"}}, "x.y": 1}, {"user": None}]
    table = from_batches([raw([json.dumps(value).encode() for value in values])], "json")
    replay = Replay(table, RECEIPT)
    assert replay["user.home.city"].tolist()[0] == "Wien"
    assert replay["user.name"].isna().tolist() == [False, True]
    assert replay["x.y"].tolist()[0] == 1
    assert list(replay[["x.y", "user.name", "user.name"]]) == ["x.y", "user.name", "user.name"]
    for name in ("user.nmae", "user.name.first", "x.z.name", "user."):
        with pytest.raises(UsageError, match="there is no field"):
            replay[name]
    with pytest.raises(UsageError) as caught:
        replay["user.nmae"]
    assert str(caught.value.hint).startswith("did you mean 'user.name'? ")
