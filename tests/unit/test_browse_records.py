"""What is clicked in a browser of records becomes a condition.

It picks the same records as plain Python does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.decode.table import from_batches
from labkit.errors import UsageError
from labkit.notebook.browse import actions, masks
from labkit.notebook.browse.detail import describe
from labkit.notebook.browse.filters import Filter, condition, span_of, time_ends
from labkit.notebook.browse.records import Records, most_frequent
from labkit.notebook.browse.view import parse_view, read_view
from labkit.notebook.browse.widget import Browse
from labkit.replay.records import RAW_SCHEMA
from labkit.sinks.replay import Replay
from labkit.tables.sql_text import literal, plain
from support.replays import RECEIPT

TEXTS = st.text(st.sampled_from("abA'\"\\%;-.(^$ éÉ\n"), max_size=4)


def replay_of(documents: list[dict[str, Any]]) -> Replay:
    rows = [
        {
            "topic": "t", "partition": 0, "offset": n, "timestamp": 10**12 + n, "timestamp_type": "CreateTime",
            "key": b"k", "value": json.dumps(document).encode(), "headers": [{"key": "h", "value": b"v"}],
        }
        for n, document in enumerate(documents)
    ]  # fmt: skip
    return Replay(
        from_batches([pa.RecordBatch.from_pylist(rows, schema=RAW_SCHEMA)], "json"), RECEIPT
    )


def records_of(documents: list[dict[str, Any]]) -> Records:
    return Records(replay_of(documents).table, "_timestamp")


def offsets(records: Records) -> list[int]:
    return sorted(records.table["_offset"].take(pa.array(records.rows)).to_pylist())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.integers(0, 3)), min_size=1, max_size=8), TEXTS, st.booleans())
def test_a_value_picks_its_records_and_turned_around_all_others(
    pairs: list[tuple[str, int]], value: str, negated: bool
) -> None:
    records = records_of([{"select": text, "in": {"a.b": n}} for text, n in pairs])
    records.choose([Filter("is", ("select",), value, negated)])
    assert offsets(records) == [n for n, pair in enumerate(pairs) if (pair[0] == value) != negated]
    records.choose([Filter("text", (), value or "a")])
    assert offsets(records) == [
        n for n, pair in enumerate(pairs) if (value or "a").lower() in pair[0].lower()
    ]
    records.choose([Filter("between", ("in", "a.b"), [1, 3], negated)])
    assert offsets(records) == [n for n, pair in enumerate(pairs) if (1 <= pair[1] < 3) != negated]


def test_a_condition_does_not_depend_on_which_record_came_first() -> None:
    documents = [{"b": "x"}, {"a": "x", "b": "y"}]
    ways = [
        records_of(some).condition_of([Filter("text", (), "x")])
        for some in (documents, documents[::-1])
    ]
    assert ways[0] == ways[1]


def test_what_is_asked_without_sql_is_what_sql_says() -> None:
    values = ["ä%b", "AB", None, "a", "ab", "a", "a", "a\x00b", "'", "Ä(", "İſ\u212a"]
    documents = [{"t": value, "o": {"x.y": value, "n": 1}, "l": [value]} for value in values]
    documents += [{"t": "a", "o": None}, {"o": {"n": 2}}, {}]
    records = records_of([*documents, *documents])
    times = [{"time": f"2001-09-09T01:46:40.00{digit}Z"} for digit in (1, 4)]
    chips = [Filter(op, path, value) for op in ("is", "text") for path in (("t",), ("o", "x.y"))
             for value in ("a", "aB", "'", "Ä", "ä(", "i", "s", "k", "%", "zz")]  # fmt: skip
    chips += [
        Filter("text", (), "a"),
        *(Filter("has", path) for path in (("t",), ("o",), ("o", "x.y"))),
    ]
    chips += [Filter("is", ("o", "x.y")), Filter("between", ("_timestamp",), times)]
    chips += [Filter("between", ("_timestamp",), [None, times[1]]), Filter("has", ("l",))]
    for chip in chips:
        fast = masks.fast_mask(records, chip)
        assert fast is not None, chip
        assert fast.tolist() == records._mask_of_sql(chip.sql(records.texts)).tolist(), chip
    between = [{"time": "2001-09-09T01:46:40.0015Z"}, None]
    for chip in (Filter("between", ("_timestamp",), between), Filter("is", ("o", "n"), 1)):
        assert masks.fast_mask(records, chip) is None


@pytest.mark.parametrize("late", [{"t": "ab", "o": {"n": 3}}, {"t": None, "new": "a"}])
def test_records_that_grow_answer_as_all_of_them_do(late: dict[str, Any]) -> None:
    first = [{"t": text, "o": {"n": n, "x": text}} for n, text in enumerate(["a", "b", None, "ab"])]
    table = records_of([*first, late, late]).table
    before = Records(table.slice(0, len(first)), "_timestamp")
    chips = [Filter("text", (), "a"), Filter("is", ("t",), "ab", negated=True)]
    before.choose([*chips, Filter("sql", (), "o.n < 3")])
    grown, anew = Records(table, "_timestamp", before=before), Records(table, "_timestamp")
    assert [(field.path, field.kind) for field in grown.fields] == [
        (field.path, field.kind) for field in anew.fields
    ]
    assert [field.present for field in grown.fields] == pytest.approx(
        [field.present for field in anew.fields]
    )
    for some in (chips, [*chips, Filter("sql", (), "o.n < 3")], [Filter("text", ("t",), "b")]):
        grown.choose(some)
        anew.choose(some)
        assert offsets(grown) == offsets(anew)


def test_a_field_that_repeats_the_times_is_no_column_to_begin_with() -> None:
    documents = [
        {"@timestamp": f"2001-09-09T01:46:40.00{n}Z", "seen": f"2001-09-09T01:46:4{n}Z", "n": n}
        for n in range(4)
    ]
    browse = Browse(
        None, replay_of(documents), decode=None, time_field=None, limit=None, view=None, anew=True
    )
    assert browse.box.columns == ["seen", "n"]


def test_missing_items_times_and_switched_off() -> None:
    records = records_of([{"a": 1, "l": ["x", "y"]}, {"a": None, "l": ["y"]}, {"l": []}])
    for one, expected in [
        (Filter("has", ("a",)), [0]),
        (Filter("has", ("a",), negated=True), [1, 2]),
        (Filter("is", ("a",), None), [1, 2]),
        (Filter("is", ("l",), "x", items=True), [0]),
        (Filter("is", ("l",), "x", items=True, negated=True), [1, 2]),
        (Filter("is", ("a",), 1, on=False), [0, 1, 2]),
        (Filter("between", ("_timestamp",), [{"time": "2001-09-09T01:46:40.001Z"}, None]), [1, 2]),
    ]:
        records.choose([one])
        assert offsets(records) == expected, one


def test_the_condition_that_is_shown_reads_the_same_records() -> None:
    documents = [
        {"nick": f"n{n % 3}", "who": {"level": n}, "tags": ["a"] if n % 2 else []}
        for n in range(30)
    ]
    replay, filters = replay_of(documents), [
        Filter("is", ("nick",), "n1", negated=True), Filter("between", ("who", "level"), [5, 20]),
        Filter("is", ("tags",), "a", items=True),
    ]  # fmt: skip
    records = Records(replay.table, "_timestamp")
    records.choose(filters)
    assert records.condition is not None
    assert replay.where(records.condition).table["_offset"].to_pylist() == offsets(records)


def test_rows_are_the_newest_first_and_pages_have_the_columns_asked_for() -> None:
    records = records_of([{"n": n, "o": {"p": None if n == 3 else "null"}} for n in range(5)])
    assert [row[1] for row in records.page(0, 10, ["n"])] == ["4", "3", "2", "1", "0"]
    assert [row[1] for row in records.page(0, 2, ["o.p"])] == ['"null"', "null"]
    assert records.page(4, 10, ["n"]) == [["2001-09-09 01:46:40.000", "0"]]
    assert records.page(9, 10, ["n"]) == []


def test_counts_in_the_histogram_and_of_values_add_up() -> None:
    records = records_of(
        [{"c": "x" if n % 3 else "y", "n": n, "l": ["p"] * (n % 3)} for n in range(90)]
    )
    histogram = records.histogram(("c",))
    assert sum(histogram["all"]) == 90
    assert {line["label"]: sum(line["counts"]) for line in histogram["series"]} == {
        "x": 60,
        "y": 30,
    }
    records.choose([Filter("is", ("c",), "y")])
    assert sum(records.histogram()["series"][0]["counts"]) == 30
    values = records.values("n")
    assert (values["present"], values["distinct"], sum(values["numbers"]["counts"])) == (30, 30, 30)
    records.choose([])
    items = records.values("l[]")
    assert (items["present"], items["top"][0]["count"]) == (90, 90)


@pytest.mark.parametrize(
    "numbers",
    [
        pa.array([0.5, 9.75, math.inf, math.nan, None]),
        pa.array([3, 2**53 + 1, 2**63 - 1]),
        pa.array([7]),
        pa.array([Decimal("0.1"), Decimal("0.3")]),
        pa.array([1.0, 1.7976931348623157e308]),
    ],
    ids=["odd", "wide", "one", "decimals", "largest"],
)
def test_each_bar_of_a_histogram_of_numbers_picks_the_numbers_in_it(numbers: pa.Array) -> None:
    """The last one took infinity and NaN, which are in no bar."""
    times = pa.array(range(len(numbers)), pa.timestamp("ms", "UTC"))
    records = Records(pa.table({"n": numbers, "_timestamp": times}), "_timestamp")
    bars = records.values("n")["numbers"]
    ends = [*bars["edges"][1:-1], bars["end"]]
    for low, high, count in zip(bars["edges"][:-1], ends, bars["counts"], strict=True):
        records.choose([Filter("between", ("n",), [low, high])])
        assert records.count == count
    assert sum(bars["counts"]) == sum(
        x is not None and math.isfinite(x) for x in numbers.to_pylist()
    )


def test_one_record_in_full() -> None:
    answer = describe(records_of([{"a": {"b": ["é"]}}]), 0)
    assert json.loads(answer["value"]) == {"a": {"b": ["é"]}}
    assert ["key", "k"] in answer["facts"]
    assert answer["headers"] == [["h", "v"]]
    with pytest.raises(UsageError):
        describe(records_of([{}]), 5)


def leaves(tree: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for one in tree:
        yield from leaves(one["inner"]) if "inner" in one else [one]


def test_each_value_of_a_records_tree_picks_the_record() -> None:
    document = {"a": {"b": 1.5, "c": None}, "tags": ["x", 'y"'], "big": 2**60, "pairs": [{"k": 1}]}
    other = {"a": {"b": 2.5, "c": 3}, "tags": ["z"], "big": 2, "pairs": [{"k": 2}]}
    records = records_of([other, document])
    answer = json.loads(json.dumps(describe(records, 1)))  # as the page has it
    shown = {leaf["name"]: leaf for leaf in leaves(answer["tree"])}
    assert list(shown) == ["b", "c", "0", "1", "big", "k"]
    assert shown["1"]["shown"] == '"y\\""'
    assert shown["k"]["filter"] is None  # SQL asks for no field of a list's items
    for name in ("b", "c", "0", "1", "big"):
        records.choose([Filter.of({"op": "is", **shown[name]["filter"]})])
        assert [*records.rows] == [1], name
    assert answer["bytes"].startswith("00000000  7b 22 61 22")


def test_a_long_value_is_cut_in_the_tree_and_what_stands_for_the_rest_is_no_filter() -> None:
    answer = describe(records_of([{"many": [*range(300)], "text": "x" * 5_000}]), 0)
    many, text = answer["tree"]
    assert many["inner"][-1] == {"name": "200", "shown": '"… 100 more"', "filter": None}
    assert many["inner"][0]["filter"] == {"field": ["many"], "value": 0, "items": True}
    assert len(text["shown"]) < 2_100
    assert json.loads(answer["value"])["many"] == [*range(300)]  # what is copied is whole


def test_the_histogram_zooms_to_the_time_that_is_picked() -> None:
    records = records_of([{"n": n} for n in range(1_000)])
    first, last = int(records.times.min()), int(records.times.max()) + 1
    whole = records.histogram()
    assert (whole["edges"][0], whole["edges"][-1] >= last) == (first, True)
    chip = Filter("between", ("_timestamp",), time_ends(first + 100, first + 160))
    records.choose([chip])
    zoomed = records.histogram((), span_of([chip], records.time_path))
    assert (zoomed["edges"][0], zoomed["edges"][-1]) == (first + 100, first + 160)
    assert sum(zoomed["series"][0]["counts"]) == records.count
    assert (zoomed["undated"], sum(zoomed["all"])) == (0, records.count)
    elsewhere = Filter("between", ("_timestamp",), time_ends(last + 5, None))
    assert records.histogram((), span_of([elsewhere], records.time_path))["edges"] == whole["edges"]
    for unused in (replace(chip, on=False), replace(chip, negated=True)):
        assert span_of([unused], records.time_path) == (None, None)


def test_neighbours_in_time_are_of_all_records_and_say_which_are_picked() -> None:
    records = records_of([{"n": n} for n in range(10)])
    records.choose([Filter("between", ("n",), [4, 6])])
    described = describe(records, 5)
    assert [(neighbour["id"], neighbour["text"]) for neighbour in described["near"]] == [
        (["t", 0, n], str(n)) for n in (8, 7, 6, 5, 4, 3, 2)
    ]
    assert [neighbour["id"][2] for neighbour in described["near"] if neighbour["here"]] == [5]
    assert [describe(records, row)["place"] for row in (5, 4, 9)] == [0, 1, None]
    assert len(describe(records, 9)["near"]) == 4


def test_times_are_the_zones_with_their_distance_from_utc_and_the_code_is_in_utc() -> None:
    times = [pd.Timestamp(text) for text in ("2026-10-25T00:30Z", "2026-10-25T01:30Z")]
    table = replay_of([{"n": n, "at": "x"} for n in range(2)]).table
    place = table.schema.get_field_index("_timestamp")
    table = table.set_column(place, "_timestamp", pa.array(times, pa.timestamp("ms", "UTC")))
    replay = Replay(table, RECEIPT, timezone=ZoneInfo("Europe/Vienna"))
    browse = Browse(None, replay, decode=None, time_field=None, limit=None, view=None, anew=True)
    assert [row[0] for row in browse.records.page(0, 2, [])] == [
        "2026-10-25 02:30:00.000 +01:00", "2026-10-25 02:30:00.000 +02:00",
    ]  # fmt: skip
    assert browse.box.about["zone"] == "Europe/Vienna"
    assert browse.to_pandas()["_timestamp"].dt.tz == ZoneInfo("Europe/Vienna")
    span = browse._span({"text": "2026-10-25 to 2026-10-25T02:00+01:00"})["filter"]
    browse.box.filters = [span]
    assert span["value"] == [
        {"time": "2026-10-24T22:00:00.000Z"},
        {"time": "2026-10-25T01:00:00.000Z"},
    ]
    assert browse.where is not None
    assert "2026-10-24T22:00:00.000Z" in browse.where
    assert len(browse.replay) == 1
    assert "time (Europe/Vienna)" in browse.picture()
    with pytest.raises(UsageError, match="twice in Europe/Vienna"):
        browse._span({"text": "2026-10-25 02:30 – 05:00"})
    with pytest.raises(UsageError, match="is not a period") as caught:
        browse._span({"text": "sometime"})
    assert "'14:00–15:00'" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("before", "text", "after"),
    [
        (Filter("is", ("a",), "x"), " it's ", " it's "), (Filter("is", ("a",), 3), "-4", -4),
        (Filter("is", ("a",), 3), "0.5", 0.5), (Filter("is", ("a",), True), "False", False),
        (Filter("text", value="x"), "y z", "y z"), (Filter("sql", value="a = 1"), " a = 2 ", "a = 2"),
        (Filter("between", ("a",), [1, 2]), "3 … 4.5", [3, 4.5]), (Filter("between", ("a",), [1, 2]), "… 7", [None, 7]),
        (
            Filter("between", ("t",), [{"time": "2026-03-01T00:00:00Z"}, None]), "2026-03-29",
            [{"time": "2026-03-28T23:00:00.000Z"}, {"time": "2026-03-29T22:00:00.000Z"}],
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else None,
)  # fmt: skip
def test_a_chip_takes_what_is_typed(before: Filter, text: str, after: Any) -> None:
    changed = replace(before, negated=True, on=False).change(text, ZoneInfo("Europe/Vienna"))
    assert (changed.value, changed.op, changed.negated, changed.on) == (
        after,
        before.op,
        True,
        False,
    )


@pytest.mark.parametrize(
    ("before", "text"),
    [
        (Filter("is", ("a",), 3), "x"), (Filter("is", ("a",), 3), "nan"), (Filter("is", ("a",), True), "1"),
        (Filter("between", ("a",), [1, 2]), "4"), (Filter("between", ("a",), [1, 2]), "4 … 3"),
        (Filter("between", ("a",), [1, 2]), "…"), (Filter("text", value="x"), " "), (Filter("has", ("a",)), "x"),
        (Filter("is", ("a",), None), "x"), (Filter("between", ("t",), [{"time": "2026-03-01T00:00:00Z"}, None]), "4"),
    ],
)  # fmt: skip
def test_what_is_no_such_value_is_an_error_with_a_hint(before: Filter, text: str) -> None:
    with pytest.raises(UsageError):
        before.change(text)


def test_a_misspelt_field_is_told_and_changes_nothing() -> None:
    records = records_of([{"nick": "a"}, {"nick": "b"}])
    with pytest.raises(UsageError, match="no record has a field 'nikc'") as caught:
        records.choose([Filter("sql", value="nikc = 'a'")])
    assert "did you mean 'nick'" in str(caught.value.hint)
    assert len(records.rows) == 2
    with pytest.raises(UsageError):
        Filter.of({"op": "drop table"})


def test_nothing_breaks_out_of_a_literal() -> None:
    assert literal("it's") == "'it''s'"
    assert condition([Filter("is", ('a"b',), "' or 1=1 --")], []) == "\"a\"\"b\" = ''' or 1=1 --'"


def test_no_record_and_no_time_are_shown_as_such() -> None:
    empty = Records(Replay(from_batches([], "json"), RECEIPT).table, "_timestamp")
    assert empty.histogram()["edges"] == []
    assert empty.page(0, 5, []) == []
    documents = Records(pa.table({"_id": ["1"], "n": [1]}), "")
    assert documents.histogram() == {"edges": [], "all": [], "series": [], "undated": 1}
    assert documents.page(0, 5, ["n"]) == [["", "1"]]


def test_a_view_is_json_or_a_file_and_else_an_error(tmp_path: Path) -> None:
    view = Browse(
        None, replay_of([{"a": 1}]), decode=None, time_field=None, limit=None, view=None, anew=True
    ).view
    (tmp_path / "v.json").write_text(view)
    assert read_view(tmp_path / "v.json") == read_view(view)
    with pytest.raises(UsageError, match="names no window and no index"):
        parse_view(None, read_view(view))
    deep = '{"filters": ' + "[" * 10_000 + "]" * 10_000 + "}"
    for wrong in (str(tmp_path / "none.json"), "{", "{]", "", deep, '{"widths": {"a": 1e999}}'):
        with pytest.raises(UsageError, match="view"):
            read_view(wrong)


def test_rows_are_of_the_pages_last_query_whatever_a_picture_picked_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A picture drawn before the kernel knew of a chip's removal left a table of "…" for good."""
    records = replay_of([{"n": n} for n in range(5)])
    browse = Browse(None, records, decode=None, time_field=None, limit=None, view=None, anew=True)
    answers: list[dict[str, Any]] = []
    monkeypatch.setattr(type(browse.box), "send", lambda _box, answer: answers.append(answer))
    browse.box.filters = [{"op": "is", "field": ["n"], "value": 3}]
    for asked in (
        {"kind": "query", "filters": []},
        {"kind": "page", "start": 0, "count": 100, "columns": ["n"]},
        {"kind": "values", "label": "n"},
    ):
        browse._on_message(None, {**asked, "number": 1}, [])
        assert "1 of 5 picked" in browse.picture()
    query, page, values = answers
    assert (query["count"], len(page["lines"]), values["rows"]) == (5, 5, 5)


def test_buttons_write_what_is_picked_and_never_over_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    browse = Browse(
        None,
        replay_of([{"a": n} for n in range(9)]),
        decode=None,
        time_field=None,
        limit=None,
        view=None,
        anew=True,
    )
    browse.box.filters = [{"op": "between", "field": ["a"], "value": [3, None]}]
    works = [
        actions.prepare(browse, "csv"),
        actions.prepare(browse, "csv"),
        actions.prepare(browse, "parquet"),
    ]
    browse.box.filters = []  # what is clicked afterwards does not change what was asked for
    for work in works:
        assert ": 6 records, " in work()
    paths = sorted(tmp_path.iterdir())
    assert [path.suffix for path in paths].count(".csv") == 2
    assert {len(pd.read_csv(path)) for path in paths if path.suffix == ".csv"} == {6}
    with pytest.raises(UsageError, match="no button 'scratch'"):
        actions.prepare(browse, "scratch")
    with pytest.raises(UsageError, match="no notebook"):
        actions.prepare(browse, "df")()


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 4))
def test_the_most_frequent_are_those_of_a_whole_sort(counts: list[int], count: int) -> None:
    whole = [
        place
        for place in np.argsort(-np.array(counts, int), kind="stable")[:count]
        if counts[place]
    ]
    assert most_frequent(np.array(counts, int), count) == whole


def test_values_without_fields_are_shown_as_they_are() -> None:
    rows = [{"topic": "t", "partition": 0, "offset": 0, "timestamp": 0, "value": b"\xff\x00plain"}]
    table = from_batches([pa.RecordBatch.from_pylist(rows, schema=RAW_SCHEMA)], "raw")
    browse = Browse(
        None, Replay(table, RECEIPT), decode=None, time_field=None, limit=None, view=None, anew=True
    )
    assert browse.box.columns[0] == "_value"
    assert browse.records.page(0, 1, ["_value"])[0][1] == "base64:/wBwbGFpbg=="
    assert browse.records.values("_value")["present"] == 1


@pytest.mark.parametrize(
    "times",
    [
        ["2026-03-01T00:00:00Z", "2026-03-01T01:00:00+01:00", None, "no time"],
        [1_772_323_200_000, 1_772_323_200_000, None, 0],
    ],
    ids=["texts", "numbers"],
)
def test_times_that_are_texts_or_numbers_can_be_brushed(times: list[Any]) -> None:
    records = Records(pa.table({"at": pa.array(times)}), "at")
    ends = [{"time": "2026-03-01T00:00:00.000Z"}, {"time": "2026-03-01T00:00:00.001Z"}]
    records.choose([Filter("between", records.time_path, ends, told_as=records.told_as)])
    assert sorted(records.rows) == [0, 1]


TYPED = pa.table(
    {
        "day": pa.array([date(2016, 3, 1), date(1, 1, 1), None]),
        "clock": pa.array([time(12, 30), time(23, 59, 59, 999_999), None]),
        "price": pa.array([Decimal("1.10"), Decimal("-0.01"), None], pa.decimal128(38, 10)),
        "bytes": pa.array([b"it's \\x41", b"\xff\x00", None]),
        "far": pa.array([2**53 + 1, 2**63 - 1, None]),
        "odd": pa.array([float("nan"), float("-inf"), None]),
        "at": pa.array([datetime(2016, 3, 1), datetime(1, 1, 1), None], pa.timestamp("ms")),
        'q"uote': pa.array(["it's", "", None]),
        "ids[]": pa.array([[1], [2], None]),
        "ids[].k": pa.array([1, 2, None]),
        "in": pa.array([{'a"b': 1, "c[]": 5}, {'a"b': 2, "c[]": 6}, None]),
    }
)


@pytest.mark.parametrize("value", range(2))
def test_each_kind_of_value_is_picked_by_a_click_whatever_its_field_is_called(value: int) -> None:
    table = TYPED.append_column("_timestamp", pa.array([1, 2, 3], pa.timestamp("ms", "UTC")))
    records = Records(table, "_timestamp")
    labels = [field.label for field in records.fields if field.kind not in ("object", "list")]
    assert len(labels) == 12
    for label in labels:
        records.choose([])
        shown = records.values(label)
        assert shown["present"] == 2
        sent = json.loads(json.dumps(shown["top"][value]["value"], allow_nan=False))
        chip = Filter("is", tuple(shown["field"]), sent, items=shown["items"])
        records.choose([chip])
        assert records.rows.tolist() == [value], label
        records.choose([replace(chip, negated=True)])
        assert sorted(records.rows.tolist()) == sorted({0, 1, 2} - {value}), label


def test_a_chip_of_such_a_value_keeps_its_type() -> None:
    for before, text, sql in [
        (plain(b"k"), "ä", r"'\xC3\xA4'::BLOB"),
        (plain(Decimal("1.10")), "2.5", "'2.5'::DECIMAL(38,2)"),
        (plain(date(2016, 3, 1)), "2016-03-02", "'2016-03-02'::DATE"),
    ]:
        assert literal(Filter("is", ("a",), before).change(text).value) == sql
    with pytest.raises(UsageError, match="cannot be of the type"):
        literal({"text": "1", "type": "INT); drop"})


def test_a_maps_values_are_shown_and_what_has_no_name_is_told() -> None:
    maps = pa.array([[("a", 1), ("b", 1)], None], pa.map_(pa.string(), pa.int64()))
    records = Records(pa.table({"m": maps, "": [1, 2]}), "_timestamp")
    top = records.values("m[]")["top"]
    assert [(entry["count"], entry["value"]) for entry in top] == [(2, None)]
    with pytest.raises(UsageError, match="without a name"):
        records.choose([Filter("is", ("",), 1)])
