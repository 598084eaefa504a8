"""A query as Elasticsearch takes it, and the fields that a text of it names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# phrases, regular expressions and ranges: what is in them is no field
_VALUES = re.compile(r'"(?:\\.|[^"\\])*"|/(?:\\.|[^/\\])*/|[\[{][^\]}]*[\]}]')
_FIELD = re.compile(r"(?<![\w.@:\\])([A-Za-z@][\w.@-]*):")
# of the query DSL: their names are fields
_OF_A_FIELD = frozenset(
    [
        "term",
        "terms",
        "match",
        "match_phrase",
        "match_phrase_prefix",
        "prefix",
        "wildcard",
        "regexp",
        "fuzzy",
        "range",
    ]
)


def query_of(query: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a query as Elasticsearch takes it."""
    if query is None:
        return {"match_all": {}}
    return {"query_string": {"query": query}} if isinstance(query, str) else dict(query)


def fields_in(query: str | Mapping[str, Any] | None) -> list[str]:
    """Return the fields that a query names: ``nick:alice AND size:[1 TO 5]``, or a dict."""
    if isinstance(query, str):
        return _FIELD.findall(_VALUES.sub(" ", query))
    return list(_fields_below(query))


def _fields_below(value: Any) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for part in value:
            yield from _fields_below(part)
    for kind, inner in value.items() if isinstance(value, Mapping) else ():
        if kind in _OF_A_FIELD and isinstance(inner, Mapping):
            yield from (name for name in inner if name != "boost")
        elif kind == "exists" and isinstance(inner, Mapping):
            yield str(inner.get("field", ""))
        else:
            yield from _fields_below(inner)
