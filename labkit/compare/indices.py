"""Two indices side by side: their mappings, and how long they take to answer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from labkit.es.aggregations import TIME
from labkit.es.fields import countable
from labkit.es.index import Index

if TYPE_CHECKING:
    import pandas as pd

ROUNDS = 7
MAPPING_COLUMNS = ("field", "left", "right")
LATENCY_COLUMNS = ("query", "left_ms", "right_ms", "ratio")


def mappings(left: Index, right: Index) -> pd.DataFrame:
    """Return one row per field that is mapped differently: field, left, right.

    Where a field is not mapped, the cell is missing. The mapping's own settings are rows too, in
    brackets; ``_meta`` is left out. Of a pattern of indices the mappings are taken together.
    """
    import pandas as pd

    first, second = _read_mapping(left), _read_mapping(right)
    names = sorted({*first, *second})
    rows = [
        (name, first.get(name), second.get(name))
        for name in names
        if first.get(name) != second.get(name)
    ]
    return pd.DataFrame(rows, columns=list(MAPPING_COLUMNS))


def _read_mapping(index: Index) -> dict[str, str]:
    texts_by_field: dict[str, set[str]] = {}
    for mapping in index.mapping().values():
        settings = {
            f"({name})": _setting_text(value)
            for name, value in mapping.items()
            if name not in {"_meta", "properties"}
        }
        for name, text in [*settings.items(), *_properties(mapping)]:
            texts_by_field.setdefault(name, set()).add(text)
    return {name: " or ".join(sorted(texts)) for name, texts in texts_by_field.items()}


def _properties(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for kind in ("properties", "fields"):
        for name, rule in mapping.get(kind, {}).items():
            own = {
                key: value
                for key, value in rule.items()
                if key not in {"type", "properties", "fields"}
            }
            words = [
                rule.get("type", "object"),
                *(f"{key}={_setting_text(value)}" for key, value in sorted(own.items())),
            ]
            yield prefix + name, " ".join(words)
            yield from _properties(rule, f"{prefix}{name}.")


def _setting_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, dict | list):
        return str(value)
    import json

    return json.dumps(value, sort_keys=True)


def latency(left: Index, right: Index) -> pd.DataFrame:
    """Return how long both take for the same queries: query, left_ms, right_ms, ratio.

    The ratio is that of right to left. Medians of `ROUNDS`, measured here, asked of both in turn,
    after one to warm up; without the request cache.
    """
    import pandas as pd

    rows = []
    for name, body in queries(left, right).items():
        took: tuple[list[float], list[float]] = ([], [])
        for number in range(ROUNDS + 1):
            sides = (0, 1) if number % 2 else (1, 0)
            for side in sides:
                began = time.perf_counter()
                (left, right)[side].search(**body, request_cache=False)
                if number:
                    took[side].append((time.perf_counter() - began) * 1000)
        first, second = (statistics.median(times_ms) for times_ms in took)
        rows.append((name, round(first, 2), round(second, 2), round(second / first, 2)))
    return pd.DataFrame(rows, columns=list(LATENCY_COLUMNS))


def queries(left: Index, right: Index) -> dict[str, dict[str, Any]]:
    """Return a handful of queries both can answer, of the kinds a dashboard asks."""
    fields = [index.fields() for index in (left, right)]
    common = [
        name
        for name in fields[0]
        if name in fields[1] and name[0] != "_" and not name.startswith("labkit")
    ]
    queries: dict[str, dict[str, Any]] = {"count all": {"size": 0, "track_total_hits": True}}
    if all(set(side_fields.get(TIME, {})) == {"date"} for side_fields in fields):
        queries["the newest 100"] = {
            "size": 100,
            "sort": [{TIME: "desc"}],
            "track_total_hits": False,
        }
        days = {
            "days": {"date_histogram": {"field": TIME, "fixed_interval": "1d", "min_doc_count": 1}}
        }
        queries["documents a day"] = {"size": 0, "aggs": days}
    for name in common:
        if keyword := _common_keyword(fields, name):
            body = {"size": 0, "aggs": {"top": {"terms": {"field": keyword, "size": 10}}}}
            queries[f"top 10 of {name.removesuffix('.keyword')}"] = body
            break
    texts = [name for name in common if all(set(side[name]) == {"text"} for side in fields)]
    return queries | _by_example(left, texts)


def _common_keyword(fields: list[dict[str, Any]], name: str) -> str | None:
    """Return the keyword that counts `name` in both indices, None without one."""
    holders = {countable(side, name) for side in fields}
    keyword = holders.pop()
    if holders or keyword is None:
        return None
    return keyword if all("keyword" in side[keyword] for side in fields) else None


def _by_example(index: Index, texts: list[str]) -> dict[str, dict[str, Any]]:
    """Return queries for a document that is there: by its id, and by the longest word of a text."""
    queries: dict[str, dict[str, Any]] = {}
    for hit in index.search(size=1, source=False)["hits"]["hits"]:
        queries["one by its _id"] = {"query": {"ids": {"values": [hit["_id"]]}}}
    name = "message" if "message" in texts else next(iter(texts), None)
    if name is None:
        return queries
    example = index.search(size=1, query={"exists": {"field": name}}, fields=[name], source=False)[
        "hits"
    ]["hits"]
    for hit in example:
        word = max(
            (part for part in str(hit["fields"][name][0]).split() if len(part) < 40),
            key=len,
            default=None,
        )
        if word:
            queries[f"{name}: {word}"] = {"size": 10, "query": {"match": {name: word}}}
    return queries
