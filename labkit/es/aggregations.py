"""Elasticsearch aggregations asked for in a few words, and their answers as DataFrames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.errors import UsageError
from labkit.times import length_ms
from labkit.validation import whole

if TYPE_CHECKING:
    import pandas as pd

TIME = "@timestamp"
METRICS = ("avg", "cardinality", "max", "median_absolute_deviation", "min", "sum", "value_count")
_PAGE = 5_000  # buckets of one answer; a cluster refuses more than search.max_buckets, 65,536 by default
_MONDAY_MS, _WEEK_MS = 4 * 86_400_000, 604_800_000  # the epoch was a Thursday; whole weeks begin on Monday
_DATES = {"date", "date_nanos"}
Fields = Mapping[str, Mapping[str, Any]]


def countable(fields: Fields, name: str) -> str | None:
    """Return the field that holds the values of `name` as a whole: ``<name>.keyword`` when there is one."""
    for field in (f"{name}.keyword", name):
        kinds = fields.get(field)
        if kinds and all(kind["aggregatable"] for kind in kinds.values()):
            return field
    return None


def known(fields: Fields) -> list[str]:
    """Return the fields a user knows: no inner ones, no objects."""
    parents = {name for name, kinds in fields.items() if not {"object", "nested"} & set(kinds)}
    return [name for name in sorted(parents) if name[0] != "_" and name.rpartition(".")[0] not in parents]


def _is_date(fields: Fields, name: str) -> bool:
    return bool(fields.get(name)) and set(fields[name]) <= _DATES


@dataclass(frozen=True)
class Asking:
    """A count by values or times, with metrics."""

    sources: tuple[tuple[str, dict[str, Any]], ...]
    metrics: dict[str, dict[str, Any]]
    dates: frozenset[str]
    limit: int | None

    @classmethod
    def of(
        cls,
        fields: Fields,
        by: str | Sequence[str] | None,
        every: str | None,
        metrics: Sequence[str],
        limit: int | None,
    ) -> Asking:
        """Check what is asked for against the index's fields."""
        if limit is not None:
            limit = whole(limit, "limit", "how many buckets at most; None for all", low=1)
        names = [by] if isinstance(by, str) else list(by or ())
        if every is not None and not any(_is_date(fields, name) for name in names):
            names.insert(0, TIME)
        sources = tuple((name, _source(fields, name, every)) for name in names)
        measured = dict(_metric(fields, text) for text in ([metrics] if isinstance(metrics, str) else metrics))
        dates = frozenset(name for name in (*names, *measured) if _is_date(fields, name.rpartition(":")[2]))
        return cls(
            sources, measured, dates - {name for name in measured if not name.startswith(("min:", "max:"))}, limit
        )

    def frame(self, ask: Callable[[dict[str, Any]], Mapping[str, Any]]) -> pd.DataFrame:
        """Ask, page by page, and return one row per bucket."""
        import pandas as pd

        rows = list(self._rows(ask)) if self.sources else [self._total(ask)]
        names = [name for name, _ in self.sources]
        found = pd.DataFrame(rows, columns=[*names, "documents", *self.metrics])
        for name in self.dates:
            found[name] = pd.to_datetime(found[name], unit="ms", utc=True)
        if any("date_histogram" in source for _, source in self.sources) and self.limit is None:
            return found
        found = found.sort_values("documents", ascending=False, kind="stable", ignore_index=True)
        return found if self.limit is None else found.head(self.limit)

    def _total(self, ask: Callable[[dict[str, Any]], Mapping[str, Any]]) -> list[Any]:
        answer = ask(self.metrics)
        return [answer["hits"]["total"]["value"], *self._measured(answer.get("aggregations", {}))]

    def _rows(self, ask: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Iterator[list[Any]]:
        composite: dict[str, Any] = {"size": _PAGE, "sources": [{name: source} for name, source in self.sources]}
        while True:
            aggs = {"rows": {"composite": composite, **({"aggs": self.metrics} if self.metrics else {})}}
            answer = ask(aggs)["aggregations"]["rows"]
            for one in answer["buckets"]:
                yield [*one["key"].values(), one["doc_count"], *self._measured(one)]
            if "after_key" not in answer or len(answer["buckets"]) < _PAGE:
                return
            composite = {**composite, "after": answer["after_key"]}

    def _measured(self, answer: Mapping[str, Any]) -> list[Any]:
        return [answer[name]["value"] for name in self.metrics]


def _source(fields: Fields, name: str, every: str | None) -> dict[str, Any]:
    if every is not None and _is_date(fields, name):
        every_ms = length_ms(every)
        if every_ms < 1:
            raise UsageError(f"every={every!r} is no length", hint="such as every='1h'")
        offset = _MONDAY_MS if every_ms % _WEEK_MS == 0 else 0
        histogram = {"field": name, "fixed_interval": f"{every_ms}ms", "offset": f"{offset}ms"}
        return {"date_histogram": {**histogram, "missing_bucket": True}}
    return {"terms": {"field": _found(fields, name), "missing_bucket": True}}


def _metric(fields: Fields, text: str) -> tuple[str, dict[str, Any]]:
    kind, _, name = text.partition(":")
    if kind not in METRICS or not name:
        raise UsageError(
            f"{text!r} is no metric",
            hint=f"write KIND:FIELD, such as 'avg:bytes'; kinds are {', '.join(METRICS)}; body= takes all others",
        )
    return text, {kind: {"field": _found(fields, name)}}


def _found(fields: Fields, name: str) -> str:
    if found := countable(fields, name):
        return found
    names = ", ".join(known(fields)) or "none"
    if name in fields:
        hint = f"map it with a keyword subfield; there are: {names}"
        raise UsageError(f"field {name!r} is {'/'.join(fields[name])}, whose values cannot be counted", hint=hint)
    raise UsageError(f"there is no field {name!r}", hint=f"there are: {names}")


def flattened(answers: Mapping[str, Any]) -> pd.DataFrame:
    """Return any aggregations' answers with one row per innermost bucket, a column for each level and metric."""
    import pandas as pd

    return pd.DataFrame(list(_flat(answers, {})))


def _flat(answers: Mapping[str, Any], above: dict[str, Any]) -> Iterator[dict[str, Any]]:
    levels = {name: one for name, one in answers.items() if isinstance(one, dict) and _is_level(one)}
    row = above | {
        column: value
        for name, one in answers.items()
        if isinstance(one, dict) and name not in levels
        for column, value in _values(name, one)
    }
    if not levels:
        yield row
    for name, one in levels.items():
        for key, bucket in _buckets(one):
            inner = {inner: value for inner, value in bucket.items() if isinstance(value, dict) and inner != "key"}
            named = key if isinstance(key, dict) else {name: key}
            yield from _flat(inner, {**row, **named, "documents": bucket["doc_count"]})


def _is_level(one: Mapping[str, Any]) -> bool:
    return "buckets" in one or "doc_count" in one


def _buckets(one: Mapping[str, Any]) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    buckets = one.get("buckets")
    if buckets is None:  # one bucket without a name: filter, missing, nested …
        yield True, one
    elif isinstance(buckets, dict):
        yield from buckets.items()
    else:
        yield from ((bucket.get("key_as_string", bucket["key"]), bucket) for bucket in buckets)


def _values(name: str, one: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield a metric's columns: one value, or several, such as of stats and percentiles."""
    if "value" in one:
        yield name, one.get("value_as_string", one["value"])
        return
    many = one.get("values", one)
    yield from ((f"{name}.{key}", value) for key, value in many.items() if not isinstance(value, dict | list))
