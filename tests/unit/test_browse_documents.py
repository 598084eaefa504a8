"""What is clicked on an index becomes a query; its time is cut into bins."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.notebook.browse.es_query import kind_of, query_of
from labkit.notebook.browse.es_source import value_at
from labkit.notebook.browse.es_time import TimeAxis, time_axis
from labkit.notebook.browse.filters import Filter


def caps(kind: str, *, aggregatable: bool = True) -> dict[str, Any]:
    return {kind: {"type": kind, "aggregatable": aggregatable}}


FIELDS = {
    "@timestamp": caps("date"), "ms": caps("long"), "nick": caps("text", aggregatable=False),
    "nick.keyword": caps("keyword"), "command": caps("keyword"), "n": caps("integer"), "ok": caps("boolean"),
    "words": caps("text", aggregatable=False), "many": caps("nested", aggregatable=False),
    "many.a": caps("keyword"), "both": {**caps("long"), **caps("keyword")},
}  # fmt: skip
MOMENT = {"time": "2026-03-01T00:00:00.000Z"}


@pytest.mark.parametrize(
    ("one", "query"),
    [
        (Filter("is", ("nick",), "ann"), {"term": {"nick.keyword": {"value": "ann"}}}),
        (Filter("is", ("words",), "ann"), {"match_phrase": {"words": "ann"}}),
        (Filter("is", ("n",), None), {"bool": {"must_not": [{"exists": {"field": "n"}}]}}),
        (Filter("has", ("many",)), {"nested": {"path": "many", "query": {"match_all": {}}}}),
        (Filter("between", ("n",), [1, None]), {"range": {"n": {"gte": 1}}}),
        (Filter("between", ("@timestamp",), [MOMENT, None]), {"range": {"@timestamp": {"gte": MOMENT["time"]}}}),
        (
            Filter("between", ("ms",), [MOMENT, None], told_as="number"),
            {"range": {"ms": {"gte": 1_772_323_200_000}}},
        ),
        (
            Filter("is", ("@timestamp",), MOMENT),
            {"range": {"@timestamp": {"gte": MOMENT["time"], "lte": MOMENT["time"]}}},
        ),
        (Filter("sql", value="n:[1 TO 5]"), {"query_string": {"query": "n:[1 TO 5]"}}),
        (
            Filter("text", ("command",), "a*"),
            {"bool": {"should": [{"wildcard": {"command": {"value": "*a\\**", "case_insensitive": True}}}]}},
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else f"{value.op}-{'.'.join(value.field)}-{value.value is None}",
)  # fmt: skip
def test_a_chip_is_a_query(one: Filter, query: dict[str, Any]) -> None:
    assert query_of([one], FIELDS) == {"bool": {"filter": [query]}}
    turned = Filter(one.op, one.field, one.value, True, told_as=one.told_as)
    assert query_of([turned], FIELDS) == {"bool": {"must_not": [query]}}


def test_chips_that_are_off_ask_nothing_and_a_text_is_looked_for_in_all_fields() -> None:
    assert query_of([Filter("has", ("n",), on=False)], FIELDS) is None
    query = query_of([Filter("text", value="kafka")], FIELDS)
    assert query is not None
    wild, words = query["bool"]["filter"][0]["bool"]["should"]
    assert list(wild["wildcard"]) == ["command"]
    assert words["multi_match"]["fields"] == ["nick", "words"]


def test_kinds_are_the_words_of_a_profile() -> None:
    kinds = {
        name: kind_of(FIELDS, name)
        for name in ("nick", "command", "n", "ok", "@timestamp", "many", "both")
    }
    assert kinds == {
        "nick": "text", "command": "text", "n": "integer", "ok": "boolean", "@timestamp": "time", "many": "list",
        "both": "integer/text",
    }  # fmt: skip


def test_the_field_that_says_when() -> None:
    assert time_axis(FIELDS, "", FIELDS).field == "@timestamp"
    assert time_axis(FIELDS, "", {"n"}).field == ""
    assert time_axis(FIELDS, "ms", ()).is_number
    assert time_axis({"a": caps("keyword")}, "", {"a"}).field == ""
    with pytest.raises(UsageError, match="not a date"):
        time_axis(FIELDS, "command", FIELDS)
    with pytest.raises(UsageError, match="there is no field") as caught:
        time_axis(FIELDS, "@timestmap", FIELDS)
    assert "did you mean '@timestamp'" in str(caught.value.hint)


@given(st.integers(-(10**12), 10**12), st.integers(0, 10**12), st.booleans())
def test_each_time_is_in_one_bin(low: int, span: int, is_number: bool) -> None:
    axis = TimeAxis("t", is_number).spanning(low, low + span + 1)
    edges = axis.edges
    assert edges[0] == low
    assert edges[-2] <= low + span < edges[-1]
    assert axis.size <= 120
    (how,) = axis.aggregation().values()
    offset = int(str(how["offset"]).removesuffix("ms"))
    keys = [
        (ms - offset) // axis.step_ms * axis.step_ms + offset for ms in (low, low + span)
    ]  # Elasticsearch's rule
    assert axis.counts([{"key": key, "doc_count": 1} for key in keys])[-1] >= 1
    assert sum(axis.counts([{"key": key, "doc_count": 1} for key in keys])) == 2


def test_values_are_found_below_objects_lists_and_names_with_dots() -> None:
    source = {"a": {"b": 1}, "c.d": {"e": 2}, "l": [{"x": 1}, {"x": 2}, {}], "a.z": 9}
    names = {
        "a.b": 1,
        "c.d.e": 2,
        "l.x": [1, 2],
        "a.z": 9,
        "none": None,
        "a.b.c": None,
        "l.y": None,
    }
    assert {name: value_at(source, name) for name in names} == names
