"""What is found is what a walk over each record's texts finds, escapes or not.

And slices cover a window once.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.checks import suggest
from labkit.decode import find_decoder
from labkit.errors import UsageError
from labkit.find.matching import Needle
from labkit.find.slices import Frontier
from labkit.replay.plan import Plan, Range
from labkit.replay.records import RAW_SCHEMA

TEXTS = st.text(st.sampled_from('aébn"\\/\n\u2028😀 1'), max_size=6)
VALUES = st.recursive(
    st.none() | st.integers(-20, 20) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def raw(
    values: list[bytes | None], keys: list[bytes | None] | None = None, headers: Any = None
) -> pa.RecordBatch:
    rows = [
        {
            "topic": "t", "partition": 0, "offset": n, "timestamp": n, "timestamp_type": "CreateTime",
            "key": keys[n] if keys else None, "value": value, "headers": headers[n] if headers else [],
        }
        for n, value in enumerate(values)
    ]  # fmt: skip
    return pa.RecordBatch.from_pylist(rows, schema=RAW_SCHEMA)


@pytest.mark.parametrize("size", [1, 3])
def test_a_field_of_an_object_is_found_beside_a_record_that_has_a_text_there(size: int) -> None:
    """The batch's objects were texts then, and their fields were not looked at."""
    values: list[Any] = [{"user": {"name": "alice"}}, {"user": "alice"}, {"user": {"name": "bob"}}]
    lines: list[bytes | None] = [json.dumps(value).encode() for value in values]
    needle, decoder = Needle.of("alice", "user.name", "value"), find_decoder("json")
    rows = [
        start + row
        for start in range(0, len(lines), size)
        for row in needle.rows(raw(lines[start : start + size]), decoder)
    ]
    assert rows == [0]


@pytest.mark.parametrize("text", ["Lag?", "a.b (c)", "no case 1+1", "\\d\n'x'"])
def test_the_way_to_any_case_finds_the_text_itself(text: str) -> None:
    """It was a pattern of the text as it is: of ``Lag?`` it found ``la``."""
    way = Needle.of(text, None, "value").in_any_case
    pattern = eval(way, {"re": re})
    assert pattern.fullmatch(text.swapcase())
    assert [Needle.of(what, None, "value").in_any_case for what in ("1+1", pattern)] == ["", ""]
    with suggest.for_a_shell():
        assert Needle.of(text, None, "value").in_any_case == "--ignore-case"


def texts_within(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for name, inner in value.items() for text in (name, *texts_within(inner))]
    return (
        [text for inner in value for text in texts_within(inner)] if isinstance(value, list) else []
    )


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.dictionaries(TEXTS, VALUES, max_size=3), st.booleans()), min_size=1, max_size=8
    ),
    TEXTS.filter(bool),
)
def test_a_text_is_found_in_the_bytes_or_in_any_text_within(
    documents: list[Any], what: str
) -> None:
    values = [
        json.dumps(document, ensure_ascii=ascii_only).encode() for document, ascii_only in documents
    ]
    expected = [
        n
        for n, ((document, _), value) in enumerate(zip(documents, values, strict=True))
        if what.encode() in value or any(what in text for text in texts_within(document))
    ]
    assert (
        Needle.of(what, None, "value").rows(raw([*values]), find_decoder("json")).tolist()
        == expected
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, st.booleans()), min_size=1, max_size=8), TEXTS.filter(bool))
def test_in_a_field_nothing_else_counts(pairs: list[tuple[str, str, bool]], what: str) -> None:
    values = [
        json.dumps({"a": needle, "b": {"c": text}}, ensure_ascii=ascii).encode()
        for needle, text, ascii in pairs
    ]
    for path, place in (("a", 0), ("b.c", 1)):
        rows = Needle.of(what, path, "value").rows(raw([*values]), find_decoder("json"))
        assert rows.tolist() == [n for n, pair in enumerate(pairs) if what in pair[place]]


def test_numbers_and_lists_are_looked_in_as_text() -> None:
    batch = raw([b'{"n":1200,"l":["x","kafka"]}', b'{"n":7,"l":[]}', None, b"junk 1200"])
    assert Needle.of("120", "n", "value").rows(batch, find_decoder("json")).tolist() == [0]
    assert Needle.of("kafka", "l[]", "value").rows(batch, find_decoder("json")).tolist() == [0]
    assert Needle.of("kafka", "l", "value").rows(batch, find_decoder("json")).tolist() == [0]
    assert Needle.of("1200", None, "value").rows(batch, find_decoder("json")).tolist() == [0, 3]


def test_a_pattern_is_pythons_own() -> None:
    batch = raw([b'{"m":"time out"}', b'{"m":"TIMEOUT"}', b'{"m":"tim"}', b"\xff TimeOut"])
    pattern = re.compile(r"time\s?(?=out)", re.I)
    assert Needle.of(pattern, None, "value").rows(batch, find_decoder("json")).tolist() == [0, 1, 3]
    assert Needle.of(pattern, "m", "value").rows(batch, find_decoder("json")).tolist() == [0, 1]


def test_keys_and_headers_are_looked_in_where_asked() -> None:
    headers = [[], [{"key": "trace", "value": b"abc"}], [{"key": "abc", "value": None}], []]
    batch = raw([b"{}"] * 4, keys=[b"abc", None, b"\xffx", None], headers=headers)
    assert Needle.of("abc", None, "value").rows(batch, find_decoder("json")).tolist() == []
    assert Needle.of("abc", None, ("key",)).rows(batch, find_decoder("json")).tolist() == [0]
    assert Needle.of("abc", None, ("value", "headers")).rows(
        batch, find_decoder("json")
    ).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("what", "field", "places"),
    [
        ("", None, "value"),
        (b"x", None, "value"),
        (re.compile(b"x"), None, "value"),
        ("x", None, "body"),
        ("x", "a", "key"),
    ],
)
def test_what_cannot_be_looked_for_is_refused(what: Any, field: str | None, places: str) -> None:
    with pytest.raises(UsageError):
        Needle.of(what, field, places)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30_000), min_size=1, max_size=4), st.booleans())
def test_slices_cover_a_window_once_and_end_where_nothing_can_matter(
    sizes: list[int], newest: bool
) -> None:
    ranges = tuple(Range(n, 10, 10 + size, 10 + size) for n, size in enumerate(sizes))
    plan = Plan("t", "c", "i", ranges, None, None, "CreateTime", "all", 0)
    frontier = Frontier(plan, newest=newest, slack_ms=0)
    offsets: dict[int, list[int]] = {range_.partition: [] for range_ in ranges}
    while (part := frontier.next(None)) is not None:
        for span in part.ranges:
            offsets[span.partition] += range(span.start, span.end)
        frontier.note_searched(part, [])
    assert all(
        sorted(offsets[range_.partition]) == list(range(range_.start, range_.end))
        for range_ in ranges
    )
    assert frontier.left == 0
    assert frontier.covered_part().ranges == ranges


@pytest.mark.parametrize("newest", [True, False])
def test_the_rest_of_a_partition_is_left_alone_once_it_is_too_far(newest: bool) -> None:
    plan = Plan("t", "c", "i", (Range(0, 0, 100_000, 100_000),), None, None, "CreateTime", "all", 0)
    frontier = Frontier(plan, newest=newest, slack_ms=10)
    part = frontier.next(None)
    assert part is not None
    offsets = np.arange(part.ranges[0].start, part.ranges[0].end)
    batch = pa.table({"partition": pa.array(np.zeros(len(offsets), np.int32)),
                      "timestamp": pa.array(offsets, pa.timestamp("ms", "UTC"))}).to_batches()  # fmt: skip
    frontier.note_searched(part, batch)
    edge = int(offsets[0] if newest else offsets[-1])
    sign = 1 if newest else -1
    assert frontier.next(edge + sign * 11) is None
    assert frontier.next(edge + sign * 10) is not None
    assert frontier.left == 100_000 - len(offsets)
