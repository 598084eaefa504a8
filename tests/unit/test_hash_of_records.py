"""The hash of records: the same however they came, another as soon as anything of them differs."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.replay.content_hash import Content
from labkit.replay.records import RAW_SCHEMA

some_bytes = st.none() | st.binary(max_size=6)
headers = st.lists(
    st.fixed_dictionaries({"key": st.text(max_size=3), "value": some_bytes}), max_size=3
)
record = st.fixed_dictionaries(
    {
        "timestamp": st.none() | st.integers(0, 10**12),
        "key": some_bytes,
        "value": some_bytes,
        "headers": st.none() | headers,
    }
)


def rows(partition: int, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    fixed = {"topic": "t", "partition": partition, "timestamp_type": "CreateTime"}
    return [{**fixed, "offset": 3 * number, **record} for number, record in enumerate(records)]


def batch(records: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(records, schema=RAW_SCHEMA)


def hashed(*batches: pa.RecordBatch) -> str:
    return Content.of(batches).hash


@settings(deadline=None)
@given(st.lists(record, max_size=12), st.lists(record, max_size=12), st.data())
def test_batches_slices_and_the_partitions_order_change_nothing(
    first: list, second: list, data: st.DataObject
) -> None:
    parts = [rows(0, first), rows(1, second)]
    in_one_batch = hashed(batch(parts[0] + parts[1]))
    padded = batch(
        rows(9, [{"value": b"before"}]) + parts[0] + parts[1] + rows(9, [{"key": b"after"}])
    )
    assert (
        hashed(padded.slice(1, len(first) + len(second))) == in_one_batch
    )  # buffers with an offset
    pieces, left = [], [list(part) for part in parts]
    while any(left):
        which = data.draw(st.sampled_from([number for number in (0, 1) if left[number]]))
        size = data.draw(st.integers(1, len(left[which])))
        pieces.append(batch(left[which][:size]))
        del left[which][:size]
    assert hashed(*pieces) == in_one_batch


BASE = {
    "timestamp": 5,
    "key": b"k",
    "value": b"v",
    "headers": [{"key": "h", "value": b"x"}, {"key": "h", "value": b""}],
}
BARE = {**BASE, "key": None, "headers": None}
CHANGES = [
    {"timestamp": 6}, {"timestamp": None}, {"key": b"kk"}, {"key": None}, {"key": b""}, {"value": b"w"},
    {"value": None}, {"value": b""}, {"key": b"kv", "value": b""}, {"offset": 1}, {"partition": 1}, {"headers": None},
    {"headers": BASE["headers"][::-1]}, {"headers": BASE["headers"][:1]},
    {"headers": [{"key": "h", "value": b"x"}, {"key": "h", "value": None}]},
    {"headers": [{"key": "hx", "value": b""}, {"key": "h", "value": b""}]},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_any_difference_is_another_hash(change: dict[str, Any]) -> None:
    records = rows(0, [BASE, BASE])
    assert hashed(batch([{**records[0], **change}, records[1]])) != hashed(batch(records))


def test_bytes_that_pass_from_one_record_to_the_next_are_a_difference() -> None:
    assert hashed(batch(rows(0, [{"value": b"ab"}, {"value": b"c"}]))) != hashed(
        batch(rows(0, [{"value": b"a"}, {"value": b"bc"}]))
    )
    pair = [[{"key": "a", "value": b""}], None]
    assert hashed(batch(rows(0, [{"headers": one} for one in pair]))) != hashed(
        batch(rows(0, [{"headers": one} for one in pair[::-1]]))
    )


def test_what_lies_under_a_null_does_not_count() -> None:
    plain = batch(rows(0, [{"value": b"one"}, {"value": None}]))
    ends, data = pa.py_buffer(memoryview(b"\0\0\0\0\3\0\0\0\7\0\0\0")), pa.py_buffer(b"onejunk")
    under = pa.Array.from_buffers(pa.binary(), 2, [pa.py_buffer(b"\1"), ends, data])
    columns = [under if name == "value" else plain.column(name) for name in RAW_SCHEMA.names]
    assert hashed(pa.record_batch(columns, schema=RAW_SCHEMA)) == hashed(plain)


def test_no_record_has_a_hash_too() -> None:
    assert hashed() == hashed(batch([])) != hashed(batch(rows(0, [BASE])))


def test_it_is_the_same_on_every_machine() -> None:
    """Receipts are compared over years: a change here is a change of format."""
    assert hashed(batch(rows(0, [BASE]) + rows(1, [BARE]))) == "4dd5ab7be13415f04674fef5139db8c5"
