"""A profile counts what is there, as plain Python does, in batches of any size.

It says what it only estimates.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from html import unescape
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.decode import find_decoders
from labkit.decode.table import from_batches
from labkit.errors import UsageError
from labkit.profile import collect, sketches
from labkit.profile.collect import sample_plans
from labkit.profile.fields import Fields, quote_name
from labkit.profile.origins import Origins
from labkit.profile.records import RecordStats
from labkit.profile.result import Profile, high, low, shares
from labkit.profile.sketches import Distinct, Sample, TopValues, hashes
from labkit.profile.words import kind_words, value_words
from labkit.replay.notes import NoteSource, notes_about
from labkit.replay.plan import Plan, Range
from labkit.replay.records import RAW_SCHEMA
from labkit.sinks.replay import Replay
from labkit.text.columns import width_of
from support.replays import RECEIPT


@pytest.mark.parametrize(
    "numbers",
    [
        [2.0**63] * 3,
        [1.2e18, 1.2e18 + 256, 1.2e18 + 768],
        [5.0],
        [-1.7e308, 0, 1.7e308],
        [0, 5e-324],
    ],
    ids=["largest", "ids", "one", "all", "least"],
)
def test_numbers_with_nothing_between_them_have_a_histogram(numbers: list[float]) -> None:
    """Twenty bins do not fit between two ids of 19 digits: the profile ended in a ValueError."""
    counts, edges = sketches.count_in_bins(np.array(numbers), 20)
    assert (counts.sum(), len(counts)) == (len(numbers), len(edges) - 1)
    assert (edges[0], edges[-1]) == (min(numbers), max(numbers))
    assert (np.diff(edges) >= 0).all()


def replay_of(
    values: list[bytes | None], *, keys: list[bytes | None] | None = None, times: Any = None
) -> Replay:
    rows = [
        {
            "topic": "t", "partition": n % 2, "offset": n, "timestamp": (times or range(10**12, 10**12 + 10**6))[n],
            "timestamp_type": "CreateTime", "key": keys[n] if keys else None, "value": value, "headers": [],
        }
        for n, value in enumerate(values)
    ]  # fmt: skip
    batch = pa.RecordBatch.from_pylist(rows, schema=RAW_SCHEMA)
    return Replay(from_batches([batch], "json"), RECEIPT)


def profile_of(documents: list[Any]) -> Profile:
    return replay_of([json.dumps(document).encode() for document in documents]).profile()


def present(documents: list[dict[str, Any]]) -> Counter[str]:
    """Count the records that have a value in each field, object by object."""
    counts: Counter[str] = Counter()
    for document in documents:
        names: set[str] = set()

        def walk(path: str, value: Any, seen: set[str] = names) -> None:
            if value is None:
                return
            seen.add(path)
            if isinstance(value, dict):
                for name, inner in value.items():
                    walk(f"{path}.{quote_name(name)}", inner)
            elif isinstance(value, list):
                for inner in value:
                    walk(f"{path}[]", inner)

        for name, value in document.items():
            walk(quote_name(name), value)
        counts.update(names)
    return counts


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 30))
def test_present_counts_are_those_of_a_walk_over_the_objects(
    data: st.DataObject, count: int
) -> None:
    shapes = {name: data.draw(st.sampled_from(range(5))) for name in ("a", "b.c", "d")}
    kinds = [
        st.integers(-9, 9),
        st.sampled_from(["", "x", "é"]),
        st.none(),
        st.lists(st.sampled_from(["p", "q"]), max_size=3),
        st.fixed_dictionaries(
            {}, optional={"m": st.integers(0, 3), "n.o": st.lists(st.integers(0, 3), max_size=2)}
        ),
    ]
    document = st.fixed_dictionaries(
        {}, optional={name: st.none() | kinds[shape] for name, shape in shapes.items()}
    )
    documents = data.draw(st.lists(document, min_size=count, max_size=count))
    profile = profile_of(documents)
    expected = present(documents)
    assert {field_.path: field_.present for field_ in profile.fields if field_.present} == dict(
        expected
    )


def test_values_distinct_bounds_and_tops_are_those_of_plain_python() -> None:
    numbers = [int(one) for one in np.random.default_rng(1).zipf(1.5, 2000) % 50]
    profile = profile_of([{"n": number, "t": f"v{number % 7}"} for number in numbers])
    row = profile.to_pandas().set_index("field").loc["n"]
    assert (row["type"], row["present"], row["min"], row["max"]) == (
        "integer",
        1.0,
        min(numbers),
        max(numbers),
    )
    assert row["distinct"] == len(set(numbers))
    assert not row["about"]
    best = Counter(numbers).most_common()
    assert [count for _, count in row["top"]] == [count for _, count in best[:10]]
    assert dict(row["top"]).items() <= dict(best).items()
    assert row["p50"] == pytest.approx(np.quantile(numbers, 0.5))
    assert profile["t"].distinct == len({number % 7 for number in numbers})


def test_a_long_text_is_told_with_its_own_length_in_every_view() -> None:
    """BEHAVIOURS 40: a long text has its own length in every view.

    100,000 characters were "208 characters"; 120 of three bytes were called cut, and were whole.
    """
    long, other, wide = "x" * 100_000, "x" * 99_999 + "y", "語" * 120
    profile = profile_of([{"t": long, "w": wide}] * 3 + [{"t": other + "y", "w": wide}])
    assert str(profile).count("xxx… (100000 characters)") == 1
    assert "… (100000 characters)" in profile._repr_html_()
    row = json.loads(profile.to_json())["fields"][0]
    assert (row["max"][-26:], row["top"][0][1], row["distinct"]) == (
        "xxxxx… (100001 characters)",
        3,
        2,
    )
    assert profile["w"].top(1) == [(wide, 4)]


def test_first_and_last_are_the_times_of_records_that_have_the_field() -> None:
    profile = replay_of(
        [b"{}", b'{"new": 1}', b'{"new": null}', b'{"new": 2}', b"{}"], times=[5, 40, 50, 30, 60]
    )
    one = profile.profile()["new"]
    assert (one.first_ms, one.last_ms, one.present) == (30, 40, 2)


def test_keys_tombstones_empty_and_undecodable_are_told() -> None:
    values = [b'{"a":1}', None, b"", b"not json", b'{"a":2}']
    stats = replay_of(values, keys=[b"k", b"k", None, b"j", b"k"]).profile().records
    assert (stats.records, stats.tombstones, stats.empty, stats.undecodable) == (5, 1, 1, 2)
    assert (stats.keyed, stats.distinct_keys, stats.keys.top(1)) == (4, 2, [(b"k", 3)])


def test_records_out_of_time_order_are_counted_by_partition() -> None:
    stats = replay_of([b"{}"] * 6, times=[100, 0, 50, 10, 120, 5]).profile().records
    assert (stats.out_of_order, stats.max_inversion_ms) == (2, 50)


def test_a_field_with_more_values_than_are_kept_says_that_it_is_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sketches, "KEPT_VALUES", 200)
    count = 2_000
    profile = profile_of([{"id": f"u{n}", "c": str(n % 3)} for n in range(count)])
    row = profile.to_pandas().set_index("field").loc["id"]
    assert row["about"]
    assert row["distinct"] == pytest.approx(count, rel=0.05)
    assert not profile.to_pandas().set_index("field").loc["c"]["about"]
    assert "~" in repr(profile)


def test_no_more_values_are_distinct_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate of 30,000 numbers was 30,312."""
    monkeypatch.setattr(sketches, "KEPT_VALUES", 200)
    profile = profile_of([{"id": n} for n in range(30_000)])
    assert profile["id"].distinct == 30_000
    with pytest.raises(UsageError, match="is compared with a Profile, not with 3") as caught:
        profile.compare(3)  # type: ignore[arg-type]
    assert "w.profile()" in str(caught.value.hint)


def test_text_is_80_columns_and_one_path_a_field_whatever_the_values() -> None:
    hostile = "\x1b[31m\n\u202eevil" * 40
    profile = profile_of([{hostile: hostile, "image": {"x" * 300: ["<script>"]}}] * 2)
    lines = repr(profile).splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line.isprintable() for line in lines)
    assert len([line for line in lines if line.startswith(("image", '"\\u001b'))]) == 4
    page = profile._repr_html_()
    assert "<script>" not in page
    assert "\x1b" not in page


@pytest.mark.parametrize("name", ["名前", "名" * 15, "名前" * 60])
def test_text_is_80_columns_where_characters_take_two(name: str) -> None:
    """They were counted as one: a row of 104 columns wrapped."""
    lines = repr(profile_of([{name: "東京都 👍" * 30, "n": 1}] * 3)).splitlines()
    assert max(map(width_of, lines)) <= 80


def test_paths_of_deeply_nested_fields_are_told_apart_in_text() -> None:
    document: dict[str, Any] = {"x": 1}
    for number in range(14):
        document = {"deep_object": document, "n": number}
    found = profile_of([document, {"mixed": 7}, {"mixed": "a"}])
    text = repr(found)
    assert max(map(len, text.splitlines())) <= 80
    joined = text.replace("\n  ", "")  # a long path's lines, and the field's own below it
    assert all(f"\n{field.path} " in joined for field in found.fields)


def test_an_empty_profile_is_shown_as_such() -> None:
    profile = Replay(from_batches([], "json"), RECEIPT).profile()
    assert len(profile.to_pandas()) == len(profile.volume()) == 0
    assert "0 records" in repr(profile)
    assert "no fields" in profile._repr_html_()


def test_a_misspelt_field_is_met_with_the_nearest() -> None:
    with pytest.raises(KeyError, match="did you mean 'nick'"):
        profile_of([{"nick": 1}])["nik"]


def test_comparing_tells_new_and_gone_fields_types_shares_and_distributions() -> None:
    left = profile_of(
        [{"same": n % 4, "gone": 1, "half": 1, "moved": "a", "kind": 1} for n in range(400)]
    )
    right = profile_of(
        [{"same": n % 4, "new": 1, "kind": "x", "moved": "a" if n % 2 else "b"} | ({"half": 1} if n % 2 else {})
         for n in range(400)]
    )  # fmt: skip
    changes = {change.field: change.change for change in left.compare(right).changes}
    assert changes == {"new": "only right", "gone": "only left", "kind": "type", "half": "present", "moved": "values",
                     "same": "same"}  # fmt: skip
    frame = left.compare(right).to_pandas().set_index("field")
    assert frame.loc["half", "present_right"] == 0.5
    assert frame.loc["moved", "size"] > 0.4


def test_a_difference_is_told_by_what_makes_it() -> None:
    sides = [
        profile_of([{"id": 100_000.5 + n + 5_000 * side, "name": f"{side}-{n % 900}"} for n in range(2_000)])
        for side in (0, 1)
    ]  # fmt: skip
    details = {change.field: change.detail for change in sides[0].compare(sides[1]).different}
    assert re.fullmatch(r"median 10[01],\d{3} -> 10[56],\d{3}", details["id"]), details
    assert details["name"] == "900 values only left, 900 only right"  # each is less than 2 %


def test_two_samples_of_one_distribution_are_not_different() -> None:
    def draw(seed: int) -> Profile:
        numbers = np.random.default_rng(seed).zipf(1.3, 3000) % 500
        return profile_of([{"word": f"w{one}", "size": int(one)} for one in numbers])

    assert draw(1).compare(draw(2)).different == []


@given(st.lists(st.integers(0, 200), max_size=300), st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_top_values_in_any_batches_are_exact_below_the_limit(numbers: list[int], size: int) -> None:
    top = TopValues(pa.int64())
    for start in range(0, len(numbers), size):
        counted = Counter(numbers[start : start + size])
        top.add(pa.array(counted.keys(), pa.int64()), pa.array(counted.values(), pa.int64()))
    assert dict(top.top(1000)) == dict(Counter(numbers))
    assert top.error == 0


@pytest.mark.parametrize("count", [0, 1, 100, 5_000, 300_000])
def test_the_estimate_of_distinct_values_is_within_four_standard_errors(count: int) -> None:
    sketch = Distinct()
    for start in range(0, count, 50_000):
        values = pa.array(np.arange(start, min(count, start + 50_000)))
        sketch.add(hashes(values))
        sketch.add(hashes(values))
    assert sketch.estimate() == pytest.approx(count, rel=4 * 1.04 / 2**7)


def test_a_sample_is_uniform_over_batches() -> None:
    sample = Sample(most=2_000)
    for start in range(0, 100_000, 10_000):
        numbers = np.arange(start, start + 10_000)
        sample.add(numbers.astype(float), Origins.of_rows(start, 10_000).keys)
    assert not sample.exact
    assert sample.quantiles((0.5,))[0] == pytest.approx(50_000, rel=0.1)


def test_notes_are_told_once_in_every_view() -> None:
    profile = replace(profile_of([{"n": 1}]), notes=("seen " * 30,))
    assert " ".join(str(profile).split()).count("note: " + ("seen " * 30).strip()) == 1
    assert max(map(len, str(profile).split("\n"))) <= 80
    assert profile._repr_html_().count("seen " * 30) == 1


def test_maps_are_counted_with_how_many_entries_they_have() -> None:
    maps = pa.array([[("a", 1), ("b", 2)], [], None, [("a", 3)]], pa.map_(pa.string(), pa.int64()))
    own = replay_of([b"{}"] * 4).table
    profile = Replay(own.append_column("labels", maps), RECEIPT).profile()
    frame = profile.to_pandas().set_index("field")
    assert frame.loc["labels", ["type", "min", "max"]].tolist() == ["map", 0, 2]
    assert frame.loc["labels[]", ["type", "min", "max"]].tolist() == ["integer", 1, 3]
    assert "labels" in str(profile)


def test_each_top_value_has_the_condition_that_finds_its_records() -> None:
    """A value that no condition names has none, such as one that is cut or cannot be seen."""
    document = {
        "nick": "o'neil <b>", "Order": 1.5, "where": True, "a.b": {"c d": 2**60}, "tags": ["x", "x", 'y"'],
        "mixed": 5, "far": [{"inner": 1}], "long": "x" * 300, "hidden": "\u202eabc", "": 1,
    }  # fmt: skip
    other = {**document, "nick": "ada", "mixed": "n/a", "tags": ["z"]}
    replay = replay_of([json.dumps(document).encode()] * 6 + [json.dumps(other).encode()] * 4)
    table = re.compile(
        r"<td[^>]*>([\d,]+)</td><td[^>]*>[^<]*</td><td[^>]*><code[^>]*>([^<]*)</code>"
    )
    profile = replay.profile()
    assert "where=" not in replace(profile, receipt=None)._repr_html_()  # as of an index
    counts = {
        unescape(condition): int(count) for count, condition in table.findall(profile._repr_html_())
    }
    assert "" not in counts  # a box with nothing in it
    assert {condition.split(" = ")[0] for condition in counts if " = " in condition} == {
        "nick", '"Order"', '"where"', '"a.b"."c d"', "mixed"
    }  # fmt: skip
    assert counts.pop("list_contains(tags, 'x')") == 12  # values, of 6 records
    assert counts == {condition: len(replay.where(condition)) for condition in counts}


@pytest.mark.parametrize("fraction", [{}, {"n": 2.5}], ids=["whole", "a fraction too"])
def test_numbers_beside_a_text_are_as_whole_as_they_are(fraction: dict[str, Any]) -> None:
    """Each number beside a text was called a fraction, and the values `None … None … None`."""
    documents = [{"n": number} for number in range(1, 20)] + [{"n": "n/a"}] + [fraction] * 3
    batch = pa.RecordBatch.from_pylist(
        [
            {"topic": "t", "partition": 0, "offset": n, "timestamp": n, "value": json.dumps(value).encode()}
            for n, value in enumerate(documents)
        ],
        schema=RAW_SCHEMA,
    )  # fmt: skip
    decoder, _, _ = find_decoders("json", "raw", registry=None, sample=list)
    fields, records = Fields(), RecordStats()
    collect._add(batch, decoder.parse_batch(batch), decoder, fields, records)
    field = fields.known["n"]
    fractions = {"number": 3} if fraction else {}
    assert field.kinds == {"integer": 19, "text": 1, **fractions}
    assert (low(field), high(field)) == (1, 19)
    assert value_words(field).startswith("1 … ")


def test_values_that_disagree_are_counted_by_their_types() -> None:
    values = [b'{"total": 7, "o": {"x.y": true}, "l": [1, "a"]}'] * 6
    values += [
        b'{"total": "n/a", "o": {"x.y": 2.5}}',
        b'{"total": {"v": 1}}',
        b'{"total": 2.5, "l": null}',
        b"{}",
    ]
    batch = pa.RecordBatch.from_pylist(
        [
            {"topic": "t", "partition": 0, "offset": n, "timestamp": n, "value": value}
            for n, value in enumerate(values)
        ],
        schema=RAW_SCHEMA,
    )
    decoder, _, _ = find_decoders("json", "raw", registry=None, sample=list)
    fields, records = Fields(), RecordStats()
    for part in (batch.slice(0, 4), batch.slice(4)):  # the first agrees with itself
        collect._add(part, decoder.parse_batch(part), decoder, fields, records)
    assert {name: dict(one.kinds) for name, one in fields.known.items()} == {
        "total": {"integer": 6, "text": 1, "object": 1, "number": 1}, "o": {"object": 7},
        "o.\"x.y\"": {"boolean": 6, "number": 1}, "l": {"list": 6}, "l[]": {"integer": 6, "text": 6},
    }  # fmt: skip
    total = fields.known["total"]
    assert shares(total)["integer"] == pytest.approx(6 / 9)
    assert (low(total), high(total)) == (7, 7)
    assert "integer 67 %" in kind_words(total)
    table = from_batches([batch], "json")
    note = notes_about(NoteSource.DECODING, ["field total: …"])
    replay = Replay(table, replace(RECEIPT, notes=tuple(note)))
    assert {one.path: one.kinds for one in replay.profile().fields} == {
        name: one.kinds for name, one in fields.known.items()
    }
    half = replay.where("_offset >= 6").profile()["total"].kinds  # which agree with no other
    assert half == {"text": 1, "object": 1, "number": 1}


@pytest.mark.parametrize("partitions", [1, 2, 200])
@pytest.mark.parametrize("size", [1, 7, 19, 1_000])
def test_a_sample_has_as_many_records_as_asked_for(partitions: int, size: int) -> None:
    """Each slice was rounded by itself: 1,000 of 200 partitions, or 9 of a few, were none."""
    ranges = tuple(Range(number, 5, 5 + 50_000, 60_000) for number in range(partitions))
    plan = Plan(
        topic="t", cluster_id="c", topic_id="t", ranges=ranges, start_ms=None, end_ms=None,
        timestamp_type="CreateTime", asked="all", frozen_ms=0,
    )  # fmt: skip
    plans = sample_plans(plan, size)
    assert sum(part.size for part in plans) == size
    for span in (span for part in plans for span in part.ranges):
        assert 5 <= span.start < span.end <= 50_005


@pytest.mark.parametrize(
    ("first", "later", "top"),
    [
        (pa.array([Decimal("1.00")]), pa.array([Decimal("1.000")]), [(Decimal(1), 2)]),
        (
            pa.array([2], pa.timestamp("ms", "UTC")),
            pa.array([2000], pa.timestamp("us", "UTC")),
            None,
        ),
        (pa.array([2], pa.int64()), pa.array([2], pa.uint64()), [("2", 2)]),
    ],
    ids=["decimals", "times", "integers"],
)
def test_a_later_schema_may_give_a_field_another_type(first: Any, later: Any, top: Any) -> None:
    fields = Fields()
    for column in (first, later):
        fields.add(pa.table({"x": column}), Origins.of_rows(0, 1), {})
    assert fields.known["x"].distinct == 1
    assert top is None or fields.known["x"].top(5) == top


def test_times_with_a_zone_and_without_are_types_of_their_own() -> None:
    """They have no order: the profile ended with a TypeError."""
    fields = Fields()
    for zone in ("UTC", None):
        times = pa.array([2], pa.timestamp("ms", zone))
        fields.add(pa.table({"x": times}), Origins.of_rows(0, 1), {})
    assert fields.known["x"].kinds == {"time": 1, "local time": 1}
    assert fields.known["x"].distinct == 2


def test_few_values_of_many_batches_take_little_memory() -> None:
    """A batch's table waited until 40,000 values did: 4 KB of each batch, for one value or none."""
    top = sketches.TopValues(pa.string())
    for _ in range(1_000):
        top.count(pa.array(["a"]))
        top.count(pa.array([], pa.string()))
    assert len(top._waiting) <= sketches.MOST_WAITING
    assert top.top(2) == [("a", 1_000)]
