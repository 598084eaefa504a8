"""Arrow columns as JSON text: each type, and whatever nests, sliced or in chunks."""

from __future__ import annotations

import json
import math
from datetime import date, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.es.column_types import missing, properties
from labkit.es.json_text import objects

UTC_US, UTC_MS = pa.timestamp("us", "UTC"), pa.timestamp("ms", "UTC")
CASES: list[tuple[str, pa.DataType, Any, str]] = [
    ("text", pa.large_string(), 'a"b\\c\n\x01\x1fé€\U0001f600', '"a\\"b\\\\c\\n\\u0001\\u001fé€\U0001f600"'),
    ("empty", pa.string(), "", '""'),
    ("integer", pa.int64(), -(2**63), "-9223372036854775808"),
    ("unsigned", pa.uint64(), 2**64 - 1, "18446744073709551615"),
    ("whole fraction", pa.float64(), 2.0, "2.0"),
    ("large fraction", pa.float64(), 1e300, "1e+300"),
    ("small fraction", pa.float64(), -1.5e-7, "-1.5e-7"),
    ("boolean", pa.bool_(), False, "false"),
    ("date", pa.date32(), date(2016, 3, 1), '"2016-03-01"'),
    ("time", pa.time64("us"), time(1, 2, 3, 4), '"01:02:03.000004"'),
    ("milliseconds", UTC_MS, -1, '"1969-12-31T23:59:59.999Z"'),
    ("whole milliseconds", UTC_US, 1_456_833_600_123_000, '"2016-03-01T12:00:00.123Z"'),
    ("microseconds", UTC_US, 1_456_833_600_123_456, '"2016-03-01T12:00:00.123456000Z"'),
    ("nanoseconds", pa.timestamp("ns"), 1, '"1970-01-01T00:00:00.000000001Z"'),
    ("decimal", pa.decimal128(38, 2), Decimal("-12345678901234567890.10"), '"-12345678901234567890.10"'),
    ("small decimal", pa.decimal128(20, 8), Decimal("-1E-8"), '"-0.00000001"'),
    ("no decimal", pa.decimal256(76, 8), Decimal("0E-8"), '"0.00000000"'),
    ("round decimal", pa.decimal128(4, -3), Decimal("1E+3"), '"1000"'),
    ("bytes", pa.large_binary(), b"\xff\x00", '"/wA="'),
    ("no bytes", pa.binary(), b"", '""'),
    ("list", pa.large_list(pa.int64()), [1, None], "[1,null]"),
    ("no item", pa.list_(pa.string()), [], "[]"),
    ("list of lists", pa.list_(pa.large_list(pa.string())), [["a,b"], None, []], '[["a,b"],null,[]]'),
    ("map", pa.map_(pa.string(), pa.int64()), [('k"', 1), ("", None)], '{"k\\"":1,"":null}'),
    ("object", pa.struct([("a", pa.int64()), ("b", pa.string())]), {"a": None, "b": "x"}, '{"b":"x"}'),
    ("empty object", pa.struct([("a", pa.int64())]), {"a": None}, "{}"),
    ("times within", pa.list_(pa.struct([("at", UTC_MS)])), [{"at": 0}], '[{"at":"1970-01-01T00:00:00.000Z"}]'),
    ("dictionary", pa.dictionary(pa.int32(), pa.string()), "x", '"x"'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "value", "text"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_each_type_has_its_json(kind: pa.DataType, value: Any, text: str) -> None:
    column = pa.array([None, value, None, value], kind)
    for table in (pa.table({"f": column}), pa.concat_tables([pa.table({"f": column.slice(0, 1)}),
                                                             pa.table({"f": column.slice(1)})])):  # fmt: skip
        assert objects(table).to_pylist() == [b"{}", f'{{"f":{text}}}'.encode()] * 2
        assert objects(table.slice(1, 1)).to_pylist() == [f'{{"f":{text}}}'.encode()]
    assert objects(pa.table({"f": column}).slice(0, 0)).to_pylist() == []


def test_what_is_no_number_is_null() -> None:
    assert objects(pa.table({"f": [math.nan, math.inf, 1.5]})).to_pylist() == [
        b"{}",
        b"{}",
        b'{"f":1.5}',
    ]


def test_an_interval_is_refused() -> None:
    with pytest.raises(UsageError, match="which JSON cannot hold"):
        objects(pa.table({"f": pa.array([(1, 2, 3)], pa.month_day_nano_interval())}))


NAMES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5), unique=True, max_size=4
)
SCALARS = st.sampled_from([
    (pa.large_string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.float64(), st.floats(allow_nan=False, allow_infinity=False)),
    (pa.bool_(), st.booleans()),
])  # fmt: skip


def _nest(inner: Any) -> Any:
    def lists(item: Any) -> Any:
        return pa.large_list(item[0]), st.lists(st.none() | item[1], max_size=3)

    def objects_of(names: list[str], items: list[Any]) -> Any:
        pairs = list(zip(names, items, strict=False))
        values = st.fixed_dictionaries({name: st.none() | item[1] for name, item in pairs})
        return pa.struct([(name, item[0]) for name, item in pairs]), values

    several = st.lists(inner, min_size=4, max_size=4)
    return inner.map(lists) | st.builds(objects_of, NAMES.filter(bool), several)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@given(
    st.data(), NAMES, st.lists(st.recursive(SCALARS, _nest, max_leaves=6), min_size=4, max_size=4)
)
def test_any_columns_come_back_as_they_were(
    data: st.DataObject, names: list[str], kinds: list[Any]
) -> None:
    columns = list(zip(names, kinds, strict=False))
    rows = data.draw(
        st.lists(st.fixed_dictionaries({n: st.none() | one[1] for n, one in columns}), max_size=5)
    )
    table = pa.table({n: pa.array([row[n] for row in rows], one[0]) for n, one in columns})
    documents = [json.loads(document) for document in objects(table).to_pylist()] if columns else []
    assert documents == ([without_nulls(row) for row in rows] if columns else [])


# mappings --------------------------------------------------------------------------------------------------


def test_what_json_says_by_itself_is_left_to_the_index() -> None:
    kinds = {
        "s": pa.string(),
        "i": pa.int64(),
        "b": pa.bool_(),
        "o": pa.struct([("s", pa.string())]),
        "n": pa.null(),
    }
    assert properties(kinds) == {}


def test_only_fields_that_a_mapping_lacks_are_added() -> None:
    mapping = {
        "a": {"type": "keyword"},
        "o": {"properties": {"x": {"type": "text"}}},
        "p": {"type": "long"},
    }
    expected = {"a": {"type": "date"}, "b": {"type": "date"}, "p": {"properties": {"z": {"type": "date"}}},
              "o": {"properties": {"x": {"type": "date"}, "y": {"type": "date"}}}}  # fmt: skip
    assert missing(expected, mapping) == {
        "b": {"type": "date"},
        "o": {"properties": {"y": {"type": "date"}}},
    }
