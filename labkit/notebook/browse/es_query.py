"""What was clicked, as a query of Elasticsearch's: what `Filter.sql` is for records. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from labkit.es.fields import Fields, countable, known_fields, nested_above, types
from labkit.notebook.browse.filters import Filter
from labkit.times import to_ms

WORDS = frozenset({"text", "match_only_text"})
TEXTS = frozenset({*WORDS, "keyword", "constant_keyword", "wildcard"})
_KINDS = {
    "text": (*TEXTS, "ip", "version"), "integer": ("long", "integer", "short", "byte", "unsigned_long"),
    "number": ("double", "float", "half_float", "scaled_float"), "time": ("date", "date_nanos"),
    "boolean": ("boolean",), "list": ("nested",), "object": ("object", "flattened"),
}  # fmt: skip
_MOST_WILDCARDS = 50  # fields without words that a text is looked for in


def kind_of(fields: Fields, name: str) -> str:
    """Return the word for a field's type, as a profile has it; all where indices disagree."""
    words = {_word(kind) for kind in types(fields, name)}
    return "/".join(sorted(words))


def _word(kind: str) -> str:
    return next((word for word, kinds in _KINDS.items() if kind in kinds), kind)


def query_of(filters: Iterable[Filter], fields: Fields) -> dict[str, Any] | None:
    """Return the query of all filters that are switched on; None without any."""
    wanted: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for one in filters:
        if one.on:
            (refused if one.negated else wanted).append(_query(one, fields))
    parts = {
        name: queries for name, queries in (("filter", wanted), ("must_not", refused)) if queries
    }
    return {"bool": parts} if parts else None


def _query(one: Filter, fields: Fields) -> dict[str, Any]:
    name = ".".join(one.field)
    if one.op == "sql":
        return {"query_string": {"query": str(one.value)}}
    if one.op == "text":
        return _text(str(one.value), [name] if name else known_fields(fields), fields)
    if one.op == "between":
        bounds = zip(("gte", "lt"), one.value, strict=True)
        ends = {bound: _end(end) for bound, end in bounds if end is not None}
        return {"range": {name: _as_numbers(ends) if one.told_as == "number" else ends}}
    return exists(name, fields) if one.op == "has" else _is(name, one.value, fields)


def _is(name: str, value: Any, fields: Fields) -> dict[str, Any]:
    if value is None:
        return {"bool": {"must_not": [exists(name, fields)]}}
    if isinstance(value, Mapping) and "time" in value:
        return {"range": {name: {"gte": value["time"], "lte": value["time"]}}}
    if isinstance(value, Mapping):  # what JSON cannot hold in a browser
        value = str(value["text"])
    path = countable(fields, name)
    return {"term": {path: {"value": value}}} if path else {"match_phrase": {name: str(value)}}


def exists(name: str, fields: Fields) -> dict[str, Any]:
    """Return the query for the documents that have a field."""
    query: dict[str, Any] = {"exists": {"field": name}}
    nested = nested_above(fields, name)
    if nested is None:
        return query
    return {"nested": {"path": nested, "query": {"match_all": {}} if nested == name else query}}


def _end(end: Any) -> Any:
    return end["time"] if isinstance(end, Mapping) else end


def _as_numbers(ends: Mapping[str, Any]) -> dict[str, int | None]:
    return {bound: to_ms(end) for bound, end in ends.items()}


def _text(text: str, names: list[str], fields: Fields) -> dict[str, Any]:
    """Look for words in text fields, and for a part of other texts' values."""
    names = [name for name in names if types(fields, name) and not nested_above(fields, name)]
    words = [name for name in names if types(fields, name) <= WORDS]
    others = [name for name in names if name not in words and types(fields, name) <= TEXTS]
    pattern = "".join(f"\\{char}" if char in "*?\\" else char for char in text)
    queries: list[dict[str, Any]] = [
        {"wildcard": {name: {"value": f"*{pattern}*", "case_insensitive": True}}}
        for name in others[:_MOST_WILDCARDS]
    ]
    if words:
        queries.append({"multi_match": {"query": text, "type": "phrase_prefix", "fields": words}})
    return {"bool": {"should": queries}} if queries else {"match_none": {}}
