"""Comparing is exact: held against a naive comparison of dicts, and each rule on its own."""

from __future__ import annotations

import html
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit import Comparison, charts
from labkit.charts.comparison import by_field, over_time
from labkit.compare import compare, inputs, join, rules, run
from labkit.compare.differ import CHANGED, EQUAL, ONLY_LEFT, ONLY_RIGHT, Differ
from labkit.compare.rules import Rules, canonical, dumps, equal, loads
from labkit.compare.times import MOST_BUCKETS, Times
from labkit.config.profiles import Profile
from labkit.decode.table import from_batches
from labkit.errors import UsageError
from labkit.es.point_in_time import origins
from labkit.lab import Lab
from labkit.replay.receipt import PartitionReceipt, Receipt
from labkit.replay.records import RAW_SCHEMA
from labkit.sinks.replay import Replay

T0 = 1_456_790_400_000


def nowhere(name: str) -> Any:
    raise AssertionError(name)  # nothing here asks a server


def compared(a: Any, b: Any, **options: Any) -> Comparison:
    comparison = compare(a, b, targets=nowhere, progress=False, **options)
    n = comparison.counts
    for side in ("left", "right"):
        parts = ("same", "changed", f"only_{side}", f"{side}_duplicates", f"{side}_keyless")
        assert n[side] == sum(n[part] for part in parts), n
    return comparison


def replay(
    values: list[Any], *, topic: str = "irc", stop_reason: str = "end", offsets: Any = None
) -> Replay:
    """Return records as a Replay; those given as bytes or None are so, all others become JSON."""
    rows = len(values)
    raw = [
        value_ if value_ is None or isinstance(value_, bytes) else json.dumps(value_).encode()
        for value_ in values
    ]
    batch = pa.RecordBatch.from_pydict(
        {
            "topic": pa.array([topic] * rows).dictionary_encode(),
            "partition": pa.array([0] * rows, pa.int32()),
            "offset": pa.array(list(range(rows)) if offsets is None else offsets, pa.int64()),
            "timestamp": pa.array(
                [T0 + 1000 * n for n in range(rows)], pa.timestamp("ms", tz="UTC")
            ),
            "timestamp_type": pa.array(["CreateTime"] * rows).dictionary_encode(),
            "key": pa.nulls(rows, pa.binary()),
            "value": pa.array(raw, pa.binary()),
            "headers": pa.nulls(rows, RAW_SCHEMA.field("headers").type),
        },
        schema=RAW_SCHEMA,
    )
    unread = 0 if stop_reason == "end" else 5
    part = PartitionReceipt(0, 0, rows + unread, read=rows, unread=unread, stop_reason=stop_reason)
    receipt = Receipt(topic, "cluster", "window", "read_committed", (part,), 0, 0.0, "group")
    return Replay(from_batches([batch], "raw"), receipt)


# against a naive comparison --------------------------------------------------------------------------------

LONG = st.integers(-(2**70), 2**70)
SCALARS = (
    st.none()
    | st.booleans()
    | LONG
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
)
SOME = st.sampled_from(
    [0, 1, 1.0, -1, True, False, None, "", "1", "é", 2**63, 2**64, float(2**64), 2**53 + 1, {}, []]
)
NAMES = st.sampled_from(["a", "b", "a.b", "@timestamp", "é", ""])
VALUES = st.recursive(
    SOME | SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)


def naive(value: Any) -> Any:
    """Return a value as plain comparable tuples.

    Null members and empty objects are left out, numbers are fractions.
    """
    if isinstance(value, bool) or value is None:
        return ("constant", value)
    if isinstance(value, int | float):
        return ("number", Fraction(value))
    if isinstance(value, list):
        return ("list", tuple(map(naive, value)))
    if isinstance(value, dict):
        members = {name: naive(item) for name, item in value.items()}
        members_ = {
            name: item
            for name, item in members.items()
            if item not in (("constant", None), ("object", frozenset()))
        }
        return ("object", frozenset(members_.items()))
    return ("text", value)


def flat(document: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    paths: dict[tuple[str, ...], Any] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            paths |= {(name, *path): item for path, item in flat(value).items()}
        elif value is not None:
            paths[name,] = naive(value)
    return paths


def naively(left: dict[str, Any], right: dict[str, Any]) -> Counter[tuple[str, int]]:
    counts: Counter[tuple[str, int]] = Counter()
    first, second = flat(left), flat(right)
    for path in {*first, *second}:
        kind = (
            ONLY_RIGHT if path not in first else ONLY_LEFT if path not in second
            else EQUAL if first[path] == second[path] else CHANGED
        )  # fmt: skip
        counts[".".join(path), kind] += 1
    return counts


def tallied(fields: Any) -> Counter[tuple[str, int]]:
    return Counter(
        {
            (name, kind): n
            for name, field_ in fields.items()
            for kind, n in enumerate(field_.counts)
            if n
        }
    )


@settings(max_examples=400, deadline=None)
@given(DOCUMENTS, DOCUMENTS)
def test_two_documents_differ_as_a_naive_comparison_says(
    left: dict[str, Any], right: dict[str, Any]
) -> None:
    differ = Differ(Rules())
    difference = differ.pair(left, right)
    assert tallied(differ.fields) == naively(left, right)
    assert (not difference) == (naive(left) == naive(right))
    same = Differ(Rules())
    same.same(left)
    assert tallied(same.fields) == naively(left, left)


@settings(max_examples=400, deadline=None)
@given(VALUES, VALUES)
def test_equal_values_have_equal_texts_and_only_they(left: Any, right: Any) -> None:
    assert equal(left, right) == (naive(left) == naive(right))
    assert equal(left, right) == (dumps(canonical(left)) == dumps(canonical(right)))
    for text in (json.dumps(left), dumps(left)):
        assert equal(left, loads(text, rules.long_numbers(pa.array([text]))[0].as_py()))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(DOCUMENTS, max_size=8), st.lists(DOCUMENTS, max_size=8), st.data())
def test_two_replays_compare_as_a_naive_comparison_says(
    left: list[dict[str, Any]], right: list[dict[str, Any]], data: st.DataObject
) -> None:
    right = [
        data.draw(st.sampled_from([document, left[n]])) if n < len(left) else document
        for n, document in enumerate(right)
    ]
    comparison = compared(replay(left), replay(right))
    pairs = list(zip(left, right, strict=False))
    same = sum(naive(a) == naive(b) for a, b in pairs)
    assert comparison.counts | {"time": 0} == {
        "left": len(left), "right": len(right), "same": same, "changed": len(pairs) - same,
        "only_left": len(left) - len(pairs), "only_right": len(right) - len(pairs), "duplicates": 0,
        "left_duplicates": 0, "right_duplicates": 0, "left_keyless": 0, "right_keyless": 0, "time": 0,
    }  # fmt: skip
    expected = sum((naively(a, b) for a, b in pairs), Counter())
    assert tallied(comparison.tallies) == expected
    frame = comparison.fields.set_index("field")[["equal", "changed", "only_left", "only_right"]]
    assert {
        (name, kind): n for name, row in frame.iterrows() for kind, n in enumerate(row) if n
    } == expected
    assert len(comparison.changed) == sum(n for (_, kind), n in expected.items() if kind != EQUAL)
    assert comparison.identical == (left == [] == right or (same == len(left) == len(right)))


@settings(max_examples=30, deadline=None)
@given(st.lists(SOME, max_size=8), st.lists(SOME, max_size=8))
def test_keys_pair_as_a_naive_comparison_says(left: list[Any], right: list[Any]) -> None:
    def keys(values: list[Any]) -> Counter[Any]:
        return Counter(naive(key) for key in values if key is not None and key != {})

    first, second = keys(left), keys(right)
    without = [len(side) - sum(found.values()) for side, found in ((left, first), (right, second))]
    documents = ([{"k": key, "n": 1} for key in left], [{"k": key, "n": 1} for key in right])
    if any(n and n == len(side) for n, side in zip(without, (left, right), strict=True)):
        with pytest.raises(UsageError, match="has the fields k"):
            compare(
                replay(documents[0]), replay(documents[1]), targets=nowhere, key="k", progress=False
            )
        return
    found = compared(replay(documents[0]), replay(documents[1]), key="k").counts
    twice = {key for key in {*first, *second} if first[key] > 1 or second[key] > 1}
    single = [key for key in {*first, *second} if key not in twice]
    assert found["same"] == sum(first[key] == second[key] == 1 for key in single)
    assert found["only_left"] == sum(not second[key] for key in single)
    assert found["only_right"] == sum(not first[key] for key in single)
    assert (found["duplicates"], [found["left_keyless"], found["right_keyless"]]) == (
        len(twice),
        without,
    )


@given(
    st.from_regex(r"[A-Za-z0-9._-]{1,30}", fullmatch=True),
    st.integers(0, 2**29),
    st.integers(0, 2**59),
)
def test_an_id_is_split_from_the_right(topic: str, partition: int, offset: int) -> None:
    columns = origins(pa.array([f"{topic}-{partition}-{offset}", None]))
    assert [entry.to_pylist() for entry in columns.values()] == [
        [topic, None],
        [partition, None],
        [offset, None],
    ]


@pytest.mark.parametrize(
    "name",
    ["x", "x-1", "a-1-x", "-1-2", "a-01-2", "a-1-02", "a-1-", f"a-1-{10**18}", f"a-{10**9}-1"],
)
def test_what_is_no_origin_stays_an_id(name: str) -> None:
    assert [origin.to_pylist() for origin in origins(pa.array([name])).values()] == [
        [None],
        [None],
        [None],
    ]


# rules -----------------------------------------------------------------------------------------------------

EQUALS = [
    (1, 1.0),
    (0, -0.0),
    (1e2, 100),
    ({"a": None, "b": {}}, {}),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ([{"a": None}], [{}]),
]
DIFFERENTS = [
    (1, "1"),
    (1, True),
    (0, False),
    (2**53 + 1, float(2**53)),
    ([], None),
    ([None], []),
    ([1, 2], [2, 1]),
    ("a", "A"),
    ("\u00e9", "e\u0301"),
]


@pytest.mark.parametrize(("left", "right"), EQUALS)
def test_values_that_mean_the_same_are_equal(left: Any, right: Any) -> None:
    assert compared(replay([{"v": left}]), replay([{"v": right}])).identical


@pytest.mark.parametrize(("left", "right"), DIFFERENTS)
def test_values_that_mean_another_thing_are_a_change(left: Any, right: Any) -> None:
    comparison = compared(replay([{"v": left}]), replay([{"v": right}]))
    assert comparison.counts["changed"] == 1
    assert comparison.changed["field"].tolist() == ["v"]


NEAR = [
    (0.01, 1.0, 1.01 - 1e-9, True), (0.01, 1.0, 1.02, False), (0, 1, 1.0, True), ("1%", 100, 101, True),
    ("1%", -100, -102, False), ("1%", 0, 0.001, False), (1, 10**30, 10**30 + 1, True), (0.5, 10**400, 1.5, False),
    (5, "1", "2", False), ("5s", "2016-03-01T00:00:00Z", "2016-03-01T01:00:05+01:00", True),
    ("5s", "2016-03-01T00:00:00Z", "2016-03-01T00:00:05.001Z", False), ("5s", "a", "b", False),
    ("0s", "2016-03-01T00:00:00Z", "2016-03-01T00:00:00.000", True), ("5s", 1, 2, False),
    ({"v": 1}, 1, 2, True), ({"w": 1}, 1, 2, False), ({"w": 1, "*": "60%"}, 1, 2, True), (1, [1, 2], [2, 3], True),
    (1, [1], [1, 1], False), (1, True, 0, False), ("1 %", {"x": [{"y": 1}]}, {"x": [{"y": 1.005}]}, True),
]  # fmt: skip


@pytest.mark.parametrize(("tolerance", "left", "right", "near"), NEAR)
def test_a_tolerance_lets_near_values_be_equal(
    tolerance: Any, left: Any, right: Any, near: bool
) -> None:
    comparison = compared(replay([{"v": left}]), replay([{"v": right}]), tolerance=tolerance)
    assert comparison.identical == near
    assert comparison.rules.tolerance
    assert str(comparison.rules) in str(comparison)


@pytest.mark.parametrize(
    "options",
    [
        {"tolerance": one}
        for one in (-1, "soon", float("nan"), float("inf"), True, [1], {"a": "x"}, "-1%")
    ]
    + [
        {"ignore": [1]},
        {"only": [""]},
        {"key": [""]},
        {"key": 5},
        {"keep": -1},
        {"time_field": ""},
        {"time_field": 'a"b'},
    ],
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        compare(replay([{}]), replay([{}]), targets=nowhere, **options)
    assert caught.value.hint


def test_fields_are_left_out_or_chosen() -> None:
    left = {"a": 1, "geo": {"x": 1, "y": [1]}, "labkit": 1}
    right = {"a": 2, "geo": {"x": 2, "y": [2]}, "labkitty": 1}

    def fields(**options: Any) -> list[str]:
        return compared(replay([left]), replay([right]), **options).changed["field"].tolist()

    assert fields() == ["a", "geo.x", "geo.y", "labkit", "labkitty"]
    assert fields(ignore=["geo", "lab*"]) == ["a"]
    assert fields(ignore="geo.x") == ["a", "geo.y", "labkit", "labkitty"]
    assert fields(only=["geo"]) == ["geo.x", "geo.y"]
    assert fields(only=["geo"], ignore=["*.y"]) == ["geo.x"]
    with pytest.raises(UsageError, match="only: no document has a value in nothing") as caught:
        # a misspelt field: all would be the same where nothing is compared
        fields(only=["geo", "nothing"])
    assert "geo.x" in str(caught.value.hint)
    assert "the pattern lbkit of ignore or tolerance matches no field" in str(
        compared(replay([left]), replay([right]), ignore=["lbkit"]).notes
    )


# frames ----------------------------------------------------------------------------------------------------


def test_the_frames_name_the_records_and_the_values() -> None:
    left = [{"n": 1, "u": {"x": "ż"}}, {"n": 2}, {"n": 3}, {"big": 2**70}]
    right = [{"n": "1", "u": {"x": "ó"}}, {"n": 2.0}, {"n": 4, "new": [1]}]
    comparison = compared(replay(left, topic="my-topic-1"), replay(right, topic="my-topic-1"))
    columns = ["_topic", "_partition", "_offset", "field", "kind", "left", "right"]
    rows = comparison.changed.astype(object).where(comparison.changed.notna(), None)
    assert rows[columns].values.tolist() == [
        ["my-topic-1", 0, 0, "n", "changed", "1", '"1"'],
        ["my-topic-1", 0, 0, "u.x", "changed", '"ż"', '"ó"'],
        ["my-topic-1", 0, 2, "n", "changed", "3", "4"],
        ["my-topic-1", 0, 2, "new", "only right", None, "[1]"],
    ]
    assert comparison.only_left[["_topic", "_partition", "_offset", "big"]].values.tolist() == [
        ["my-topic-1", 0, 3, str(2**70)]
    ]
    assert len(comparison.only_right) == 0
    assert list(comparison.only_right) == ["_id", "_topic", "_partition", "_offset", "_error"]
    fields = comparison.fields.set_index("field")
    assert fields.loc["n", ["equal", "changed", "left_example", "right_example"]].tolist() == [
        1,
        2,
        "1",
        '"1"',
    ]
    assert comparison.verdict == "different"
    assert json.loads(json.dumps(comparison.to_dict()))["counts"]["changed"] == 2
    for text in (str(comparison), comparison._repr_html_(), comparison.summary()):
        assert "my-topic-1" in text
        assert "4 left = 1 same + 2 changed + 1 only left" in text
    shown = html.unescape(comparison._repr_html_())
    assert '>"1"<' in shown  # JSON as it is, without another pair of quotes
    assert "\\" not in shown


def test_by_key_duplicates_are_apart_and_nothing_is_counted_twice() -> None:
    left = [{"k": {"id": n}, "t": "x", "v": n} for n in (1, 2, 2, 3)] + [{"v": 9}]
    right = [{"k": {"id": n}, "t": "x", "v": n} for n in (3.0, 2, 1, 4, 5, 5, 5)]
    right[0]["v"] = 7
    comparison = compared(replay(left), replay(right), key=["k.id", "t"])
    expected = {"same": 1, "changed": 1, "only_left": 0, "only_right": 1, "duplicates": 2}
    assert {name: comparison.counts[name] for name in expected} == expected
    assert comparison.counts["left_keyless"] == 1
    assert comparison.duplicates.values.tolist() == [[2, "x", 2, 1], [5, "x", 0, 3]]
    row = comparison.changed.iloc[0]
    assert row[["k.id", "t", "left_id", "right_id", "left", "right"]].tolist() == [
        3,
        "x",
        "irc-0-3",
        "irc-0-0",
        "3",
        "7",
    ]
    assert not comparison.identical
    assert not compared(replay(left[:4]), replay(left[:4]), key="k.id").identical, (
        "a key twice proves nothing"
    )


def test_in_many_parts_it_comes_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [{"id": n, "v": n % 7} for n in range(500)] + [{"id": n} for n in range(0, 500, 9)]
    right = [{"id": n, "v": n % 11} for n in range(20, 530)]
    in_one_part = compared(replay(left), replay(right), key="id")
    for name in ("HELD_BYTES", "JOIN_BYTES"):
        monkeypatch.setattr(join, name, 1)
    monkeypatch.setattr("labkit.compare.inputs.ROWS", 50)
    parts = compared(replay(left), replay(right), key="id")
    assert parts.counts == in_one_part.counts
    assert in_one_part.counts["changed"] > in_one_part.counts["same"] > 0
    assert in_one_part.counts["duplicates"] == 56
    assert set(parts.changed["id"]) == set(in_one_part.changed["id"])


def test_the_frames_are_cut_the_counts_are_not() -> None:
    left = [{"n": n} for n in range(50)]
    comparison = compared(replay(left + left), replay([{"n": -1 - n} for n in range(50)]), keep=7)
    assert comparison.counts["changed"] == comparison.counts["only_left"] == 50
    assert comparison.cut == {"changed": (7, 50), "only_left": (7, 50)}
    assert (len(comparison.changed), len(comparison.only_left)) == (7, 7)
    assert ".changed has 7 of 50" in str(comparison)
    assert comparison.fields.set_index("field").loc["n", "changed"] == 50
    assert len(compared(replay(left), replay([]), keep=0).only_left) == 0


def test_differences_to_show_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "KEEP_BYTES", 1000)
    left = [{"text": "x" * 300, "n": n} for n in range(20)]
    comparison = compared(replay(left), replay([]))
    assert comparison.counts["only_left"] == 20
    assert 1 <= len(comparison.only_left) < 20


def test_fields_made_of_data_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.compare.differ.MOST_FIELDS", 10)
    comparison = compared(
        replay([{f"k{n}": 1} for n in range(50)]), replay([{f"k{n}": 2} for n in range(50)])
    )
    assert len(comparison.fields) == 11
    assert comparison.fields["changed"].sum() == 50


# sides -----------------------------------------------------------------------------------------------------


def test_a_frame_equals_the_replay_it_came_from() -> None:
    values = [
        {"n": 1, "f": 1.5, "t": "é\n", "l": [1, 2], "s": {"x": None, "y": True}},
        {"n": None},
        {"o": "x"},
    ]
    original = replay(values)
    frame = original.decode("json")
    for form in (frame.to_pandas(), frame.table, frame.to_polars()):
        comparison = compared(original, form)
        assert comparison.identical, str(comparison)
        assert comparison.same == 3
    changed = frame.to_pandas().drop(index=1)
    changed["n"] = changed["n"] * 2
    assert compared(original, changed).counts["only_left"] == 1


def test_a_frame_of_ones_own_needs_a_key() -> None:
    frame = pd.DataFrame(
        {"n": [1, 2], "t": pd.to_datetime(["2016-03-01", None], utc=True), "f": [1.0, float("nan")]}
    )
    with pytest.raises(UsageError, match="has an _id") as caught:
        compared(frame, frame)
    assert "key=" in str(caught.value.hint)
    other_replay = replay([{"n": 1, "t": "2016-03-01T00:00:00.000Z", "f": 1}, {"n": 2}])
    assert compared(frame, other_replay, key="n").identical
    frame_with_ids = frame.assign(_id=["irc-0-0", "irc-0-1"])
    assert compared(frame_with_ids, other_replay).identical


def test_times_of_frames_are_compared_as_points_in_time() -> None:
    def frame(text: str, zone: str) -> pd.DataFrame:
        return pd.DataFrame({"k": [1], "t": pd.to_datetime([text], utc=True).tz_convert(zone)})

    noon = frame("2016-03-01T12:00:00", "UTC")
    assert compared(noon, frame("2016-03-01T12:00:00", "Europe/Berlin"), key="k").identical
    assert not compared(noon, frame("2016-03-01T11:00:00", "Europe/Berlin"), key="k").identical
    assert compared(
        frame("2016-03-01T12:00:00", "Europe/Berlin"),
        replay([{"k": 1, "t": "2016-03-01T12:00:00.000Z"}]),
        key="k",
    ).identical


@pytest.mark.parametrize(
    "what",
    [5, None, [1], {"a": 1}, pd.DataFrame({"a": [1, "x", {}]}), pd.DataFrame({"a": [b"\xff"]})],
)
def test_what_cannot_be_compared(what: Any) -> None:
    with pytest.raises(UsageError) as caught:
        compared(what, replay([{}]), key="a")
    assert caught.value.hint


def test_records_that_are_no_objects_are_what_an_index_holds_of_them() -> None:
    values = [
        b"plain",
        b"[1]",
        b"",
        None,
        b"\xff\xfe",
        b'{"n":',
        b'{"a":1}\n',
        b"\x00\x00\x00\x00\x07x",
        b'{"n":"\\ud800"}',
    ]
    comparison = compared(replay(values), replay([*values[:-2], b"other", values[-1]]))
    assert comparison.counts["changed"] == 1
    assert comparison.changed["field"].tolist() == ["message"]


def test_a_document_nested_beyond_reason_is_compared_as_text() -> None:
    deep = [b'{"a":' * 800 + b"%d" % n + b"}" * 800 for n in (1, 2)]
    deeper = [b'{"a":' * 50_000 + b"%d" % n + b"}" * 50_000 for n in (1, 2)]
    for first, second in (deep, deeper):
        assert compared(replay([first]), replay([second])).counts["changed"] == 1
        assert compared(replay([first]), replay([first])).identical


def test_the_field_that_says_when_has_its_former_name_too() -> None:
    lab = Lab(Profile("none", "lab", {"bootstrap.servers": "127.0.0.1:1"}, {}))
    frame = pd.DataFrame({"_id": ["a"], "at": ["2016-03-01"]})
    with pytest.warns(DeprecationWarning, match=r"compare\(time=\) is called time_field="):
        assert lab.compare(frame, frame, time="at", progress=False).identical


def test_what_is_incomplete_says_so() -> None:
    comparison = compared(replay([{"n": 1}], stop_reason="deadline"), replay([{"n": 1}]))
    assert comparison.counts["same"] == 1
    assert not comparison.complete
    assert not comparison.identical
    assert comparison.verdict == "incomplete"
    shortfall = "incomplete at 16 %: 1 of 6 (the deadline passed, or the broker was away too long)"
    assert f"replay of irc: {shortfall}" in str(comparison)
    assert "incomplete" in comparison._repr_html_()


@pytest.mark.chaos
def test_an_interrupt_keeps_what_was_read_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.compare.inputs.ROWS", 10)
    real = join.Spill.add
    values_seen: list[int] = []

    def add(self: join.Spill, number: int, batch: pa.RecordBatch) -> None:
        real(self, number, batch)
        values_seen.append(number)
        if len(values_seen) == 4:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(join.Spill, "add", add)
    comparison = compared(
        replay([{"n": n} for n in range(100)]),
        replay([{"n": n} for n in range(100)]),
        on_interrupt="keep",
    )
    assert comparison.same == 20
    assert not comparison.complete
    assert "interrupted while reading (20 of 100 and 20 of 100 documents)" in str(comparison)


def test_nothing_is_the_same_as_nothing_and_no_file_stays(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert compared(replay([]), replay([])).identical
    assert compared(replay([{"n": 1}]), replay([])).counts["only_left"] == 1
    with pytest.raises(UsageError):
        compared(pd.DataFrame({"n": [1]}), replay([{}]))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_full_or_closed_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/nothing")
    with pytest.raises(UsageError, match="cannot be kept in /proc/nothing") as caught:
        compared(replay([{}]), replay([{}]))
    assert "TMPDIR" in str(caught.value.hint)


# found as the files are ended, and with the first batch
@pytest.mark.parametrize("held", [join.HELD_BYTES, 1])
def test_a_full_disk_is_one_clear_error(held: int, tmp_path: Path) -> None:
    """A limit on file sizes stands for it; nothing is left of what was written."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), str(held)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    message, hint = result.stdout.splitlines()
    assert message.startswith(f"the sides cannot be kept in {tmp_path}: ")
    assert "TMPDIR" in hint
    assert result.stderr == ""
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import random, resource, sys, tempfile
import pyarrow as pa
from labkit.compare import compare, join
from labkit.errors import UsageError
tempfile.tempdir, join.HELD_BYTES = sys.argv[1], int(sys.argv[2])
ids = [f"irc-0-{n}" for n in range(2000)]
table = pa.table({"_id": ids, "text": [random.randbytes(50).hex() for _ in ids]})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
try:
    compare(table, table, targets=None, latency=False, progress=False)
except UsageError as error:
    print(error.message)
    print(error.hint)
"""


# times and pictures ----------------------------------------------------------------------------------------


def test_times_are_counted_exactly_at_a_resolution_that_stays_small() -> None:
    rng = np.random.default_rng(1)
    stamps = T0 + rng.integers(0, 400 * 86_400_000, 300_000)
    outcomes = rng.integers(1, 4, 300_000)
    timed = rng.random(300_000) < 0.9
    times = Times()
    for first in range(0, 300_000, 30_000):
        some = slice(first, first + 30_000)
        times.add(outcomes[some], stamps[some], timed[some])
    assert len(times.counts) <= MOST_BUCKETS
    assert times.every_ms > 1000
    assert sum(times.untimed.values()) == (~timed).sum()
    days: Counter[int] = Counter((stamps[timed] // 86_400_000).tolist())
    counts: Counter[int] = Counter()
    for (at, _), n in times.counts.items():
        counts[at // 86_400_000] += n
    assert counts == days


def test_the_chart_shows_when_and_in_which_fields() -> None:
    day = 86_400_000
    rows = 400
    left = [
        {"@timestamp": pd.Timestamp(T0 + n * day // 4, unit="ms").isoformat() + "Z", "n": n}
        for n in range(rows)
    ]
    right = [
        {**document, "n": -1, "new": 1} if n % 2 else document for n, document in enumerate(left)
    ][:-10]
    comparison = compared(replay(left), replay(right))
    timed = over_time(comparison)
    assert timed is not None
    frame, grid = timed
    assert frame.groupby("kind")["documents"].sum().to_dict() == {
        "changed": 195,
        "only left": 10,
        "only right": 0,
    }
    assert len(frame) == 3 * grid.count
    assert by_field(comparison, 15).values.tolist() == [
        ["n", "changed", 195],
        ["new", "only right", 195],
    ]
    spec = charts.comparison(comparison).to_dict()
    assert "400 documents left, 390 right: 195 the same" in str(spec["title"])
    assert len(spec["vconcat"]) == 2
    in_vienna = str(
        charts.comparison(replace(comparison, timezone=ZoneInfo("Europe/Vienna"))).to_dict()
    )
    assert "time (Europe/Vienna)" in in_vienna
    assert "(UTC)" not in in_vienna


@pytest.mark.parametrize("one", [replay([{"n": 1}]), replay([])])
def test_a_chart_of_no_differences_says_so(one: Replay) -> None:
    text = json.dumps(charts.comparison(compared(one, one)).to_dict())
    assert "no differences" in text or "no documents" in text
    with pytest.raises(UsageError):
        charts.comparison(one)
    with pytest.raises(UsageError):
        charts.comparison(compared(one, one), fields=0)


def test_no_time_no_timeline_but_the_fields() -> None:
    comparison = compared(
        pd.DataFrame({"k": [1], "v": [1]}), pd.DataFrame({"k": [1], "v": [2]}), key="k"
    )
    spec = charts.comparison(comparison).to_dict()
    assert len(spec["vconcat"]) == 1


def test_rules_say_what_they_are() -> None:
    text = str(Rules.of(["geo"], ["a"], {"lat": 0.5, "n": "1%", "t": "5s"}))
    assert text == "only a; without geo; lat within 0.5; n within 1 %; t within 5 s"
    assert rules.__doc__


@pytest.mark.parametrize(("left", "right", "same"), [
    (("ms", 1_000), ("ns", 1_000_000_000), True),
    (("us", 1), ("us", 2), False),
    (("us", 1), ("ns", 1_000), True),
    (("ns", 1), ("ms", 0), False),
])  # fmt: skip
def test_times_are_compared_to_the_nanosecond_whatever_their_unit(
    left: tuple[str, int], right: tuple[str, int], same: bool
) -> None:
    def table(unit: str, count: int) -> pa.Table:
        stamps = pa.array([count, None], pa.timestamp(unit, "UTC"))
        inner = pa.StructArray.from_arrays([stamps], ["at"])
        lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), inner)
        return pa.table({"k": [1, 2], "at": stamps, "deep": lists})

    counts = compared(table(*left), table(*right), key="k")
    assert counts.identical is same
    if not same:
        assert set(counts.fields.loc[counts.fields["changed"] > 0, "field"]) == {"at", "deep"}


@pytest.mark.parametrize(("left", "right"), [
    (pa.array([{}, None], pa.struct([])), pa.array([{}, None], pa.struct([]))),
    (pa.array([[("k", b"v")], None], pa.map_(pa.string(), pa.binary())),
     pa.array([[("k", b"w")], None], pa.map_(pa.string(), pa.binary()))),
])  # fmt: skip
def test_frames_with_empty_objects_and_maps_can_be_compared(
    left: pa.Array, right: pa.Array
) -> None:
    comparison = compared(
        pa.table({"k": [1, 2], "m": left}), pa.table({"k": [1, 2], "m": right}), key="k"
    )
    assert comparison.identical is left.equals(right)


def test_a_float32_column_compares_as_numbers() -> None:
    """Issue 20, item 6: 0.1 of 32 bits equals 0.1 of 64 bits.

    It was the text 0.1, and so another one than the same number in 64 bits.
    """
    short = pl.DataFrame({"x": [0.1, 1e20, 3.0, None], "n": [[0.1], [], None, [0.5]]},
                         schema={"x": pl.Float32, "n": pl.List(pl.Float32)})  # fmt: skip
    long = short.cast({"x": pl.Float64, "n": pl.List(pl.Float64)})
    assert inputs._json(short).to_pylist() == inputs._json(long).to_pylist()
