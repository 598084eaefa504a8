"""A profile is the same whichever partition answers first, its estimates too."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from labkit.decode import find_decoder, notes
from labkit.profile import collect, fields
from labkit.profile.fields import Fields
from labkit.profile.records import RecordStats
from labkit.profile.result import Profile
from labkit.replay.records import RAW_SCHEMA
from support.replays import RECEIPT

RECORDS = 10_000  # of each partition: more numbers than a profile keeps
IN_ORDER = (0, 1, 2)


def batch_of(partition: int) -> pa.RecordBatch:
    """Return records whose fields, headers and faults are as frequent as one another."""
    random = np.random.default_rng(partition)
    values = [
        json.dumps({
            "ratio": random.random(), "id": f"{partition}-{n}", "items": [n, random.random()],
            "code": n % 5 if partition else str(n % 5), "either": [n, "text"][partition % 2],
        }).encode()
        for n in range(RECORDS)
    ]  # fmt: skip
    values[7] = (b"no json", b"[", b'{"cut')[partition]
    rows = [
        {
            "topic": "t", "partition": partition, "offset": n, "timestamp": n, "value": value,
            "headers": [{"key": f"header{partition}", "value": b"x"}],
        }
        for n, value in enumerate(values)
    ]  # fmt: skip
    return pa.RecordBatch.from_pylist(rows, schema=RAW_SCHEMA)


@pytest.fixture(scope="module")
def batches() -> list[pa.RecordBatch]:
    return [batch_of(partition) for partition in IN_ORDER]


def profile_of(batches: list[pa.RecordBatch]) -> Profile:
    decoder, known, records = find_decoder("json"), Fields(), RecordStats()
    parsed = [decoder.parse_batch(batch) for batch in batches]
    for batch, values in zip(batches, parsed, strict=True):
        collect._add(batch, values, decoder, known, records)
    decoder.unify([values.schema for values in parsed])
    return Profile(
        name="t", what="topic t", fields=tuple(known.known.values()), left_out=0, records=records,
        receipt=RECEIPT, planned=records.records, sampled=False, notes=tuple(notes(decoder)),
    )  # fmt: skip


@pytest.mark.parametrize("arrival", [(2, 1, 0), (1, 2, 0), (1, 0, 2)], ids=str)
def test_the_order_of_arrival_changes_nothing(
    batches: list[pa.RecordBatch], arrival: tuple[int, ...]
) -> None:
    first = profile_of(batches)
    assert not first["ratio"].numbers.exact
    assert first["id"].distinct == pytest.approx(3 * RECORDS, rel=0.04)  # it was 20,000
    assert not first["id"].exact
    assert len(first.notes) == 2
    other = profile_of([batches[number] for number in arrival])
    assert json.loads(other.to_json()) == json.loads(first.to_json())
    assert str(other) == str(first)
    assert other._repr_html_() == first._repr_html_()


def test_what_is_too_much_is_left_out_by_its_name_not_by_its_arrival(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of many fields, headers and faults the first that came were kept."""
    monkeypatch.setattr(fields, "MOST_FIELDS", 4)
    parts = []
    for partition in IN_ORDER:
        values = [
            b'{"z%d": {"a": 1}, "c": %d, "b%d": 1}' % (partition, n, partition) for n in (1, 2)
        ]
        # a reason names the place of the fault
        values += [b" " * (100 * partition + n) + b"x" for n in range(100)] + [
            b" " * 400 + b"x"
        ] * 2
        rows = [
            {
                "topic": "t", "partition": partition, "offset": n, "value": value,
                "headers": [{"key": f"{partition}-{n}", "value": b""}, {"key": "z", "value": b""}],
            }
            for n, value in enumerate(values)
        ]  # fmt: skip
        parts.append(pa.RecordBatch.from_pylist(rows, schema=RAW_SCHEMA))
    for order in permutations(parts):
        profile = profile_of([*order])
        assert {field.path for field in profile.fields} == {"b0", "b1", "b2", "c"}
        assert (profile["c"].present, profile["b0"].present) == (6, 2)
        stats = profile.records
        assert (stats.reasons.distinct, stats.headers.distinct) == (3 * 100 + 1, 3 * 104 + 1)
        assert stats.headers.top(1) == [("z", 3 * 104)]
        (reason, count), *_ = stats.reasons.top(1)
        assert ("column 401 " in reason, count) == (True, 6)


def test_batches_of_any_size_change_nothing(batches: list[pa.RecordBatch]) -> None:
    """A batch of numbers alone and one of numbers and texts counted one value as two."""
    parts: list[Any] = []
    for batch in batches:
        parts += [batch.slice(0, 3_000), batch.slice(3_000)]
    first, other = profile_of(batches), profile_of(parts)
    assert (first["code"].distinct, first["code"].top(1)) == (5, [("0", 6_000)])
    assert other.to_json() == first.to_json()


def test_an_example_is_of_the_lowest_partition(batches: list[pa.RecordBatch]) -> None:
    assert profile_of(batches[::-1])["id"].example == "0-0"


def test_notes_come_by_the_names_of_their_fields() -> None:
    values = [b'{"a": 1, "b": 1}', b'{"b": "x", "a": "x"}', b'{"b": 1}']
    texts = []
    for order in (values, values[::-1]):
        decoder = find_decoder("json")
        decoder.unify([decoder.parse(pa.array([value])).schema for value in order])
        texts.append([str(note) for note in notes(decoder)])
    assert texts[0] == texts[1]
    assert [text.split(":")[0] for text in texts[0]] == ["field a", "field b"]
