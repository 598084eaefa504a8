"""Columns have one order, whichever partition answers first and however batches are cut."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pyarrow as pa
import pytest

from labkit.decode import find_decoder
from labkit.decode.decoder import Decoder
from labkit.decode.field_order import RECORDS, FirstRecords
from labkit.decode.keys import Both
from labkit.decode.table import assemble, empty_table
from labkit.profile.fields import Fields
from labkit.profile.origins import Origins
from support.records import raw_batch

# the third partition's second batch has a field that none of its first records has
BATCHES = [
    (0, 0, [{"a": 1, "b": 1, "d": {"y": 1, "x": 1}}] * 3),
    (1, 0, [{"b": 1, "c": [1], "a": 1}] * 2),
    (2, 0, [{"a": 1}] * RECORDS),
    (2, RECORDS, [{"z": 1, "late": 1, "b": 1}, {"early": 1}]),
]
IN_ORDER = ["a", "b", "d", "c", "early", "late", "z"]


def batch_of(partition: int, start: int, records: list[Any]) -> pa.RecordBatch:
    values = [json.dumps(record).encode() for record in records]
    batch = raw_batch(values)
    numbers = {
        "partition": pa.array([partition] * len(values), pa.int32()),
        "offset": pa.array(range(start, start + len(values)), pa.int64()),
        "key": pa.array(values, pa.binary()),
    }
    for name, column in numbers.items():
        batch = batch.set_column(batch.schema.get_field_index(name), name, column)
    return batch


# a partition's own batches come in their order
ARRIVALS = [order for order in permutations(range(4)) if order.index(2) < order.index(3)]


@pytest.mark.parametrize("arrival", ARRIVALS, ids=str)
@pytest.mark.parametrize("spec", ["json", json.loads], ids=["json", "a function"])
def test_it_is_that_of_each_partitions_first_records_then_by_name(
    spec: Any, arrival: tuple[int, ...]
) -> None:
    raw = [batch_of(*BATCHES[number]) for number in arrival]
    decoder: Decoder = Both(find_decoder(spec), find_decoder(spec))
    table = assemble(raw, [decoder.parse_batch(batch) for batch in raw], decoder)
    names = [name for name in table.column_names if not name.startswith("_")]
    keys = [name for name in table.column_names if name.startswith("_key_")]
    assert names == IN_ORDER
    assert keys == [f"_key_{name}" for name in IN_ORDER]
    assert table["b"].to_pylist() == [1] * 5 + [None] * RECORDS + [1, None]


@pytest.mark.parametrize("arrival", ARRIVALS, ids=str)
def test_a_profile_has_the_order_of_the_table(arrival: tuple[int, ...]) -> None:
    raw = [batch_of(*BATCHES[number]) for number in arrival]
    decoder, fields, first = find_decoder("json"), Fields(), FirstRecords()
    parsed = [decoder.parse_batch(batch) for batch in raw]
    for batch, values in zip(raw, parsed, strict=True):
        first.add(batch)
        columns = decoder.columns(values, decoder.unify([values.schema]))
        fields.add(columns, Origins.of_raw(batch), {})
    schema = first.arrange(decoder.unify([values.schema for values in parsed]), decoder)
    fields.arrange(empty_table(decoder, schema))
    assert list(fields.known) == ["a", "b", "d", "d.x", "d.y", "c", "c[]", "early", "late", "z"]


def test_only_first_records_are_kept() -> None:
    """A slice of a batch would keep all of it in memory."""
    first = FirstRecords()
    first.add(batch_of(0, 0, [{"a": "x" * 1_000}] * 5_000))
    assert sum(kept.nbytes for kept in first._batches[0]) < 40_000
    assert sum(kept.num_rows for kept in first._batches[0]) == RECORDS
