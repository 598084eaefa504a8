"""Elasticsearch aggregations asked for in a few words, and their answers as DataFrames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from labkit.checks.suggest import did_you_mean, unknown_field
from labkit.checks.user_line import warn
from labkit.checks.validation import whole_number
from labkit.errors import IncompleteWarning, UsageError
from labkit.es.fields import Fields, countable, is_date, known_fields, nested_above, uncountable
from labkit.times import length_ms

if TYPE_CHECKING:
    import pandas as pd

TIME = "@timestamp"
METRICS = ("avg", "cardinality", "max", "median_absolute_deviation", "min", "sum", "value_count")
# buckets of one answer; a cluster refuses more than search.max_buckets, 65,536 by default
_PAGE = 5_000
# the epoch was a Thursday; whole weeks begin on Monday
_MONDAY_MS, _WEEK_MS = 4 * 86_400_000, 604_800_000
TOO_LONG = "(not indexed: longer than ignore_above)"
_EVERY = "labkit every"
EVERY: dict[str, Any] = {_EVERY: {"filter": {"match_all": {}}}}


Ask = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Takes aggregations and returns the answer."""


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
            limit = whole_number(limit, "limit", "how many buckets at most; None for all", low=1)
        names = [by] if isinstance(by, str) else list(by or ())
        sources = [(name, _source(fields, name, every)) for name in names]
        if every is not None and not any(is_date(fields, name) for name in names):
            names.insert(0, TIME)
            sources.insert(0, (TIME, _source(fields, TIME, every)))
        measured = dict(
            _metric(fields, text) for text in ([metrics] if isinstance(metrics, str) else metrics)
        )
        dates = frozenset(
            name for name in (*names, *measured) if is_date(fields, name.rpartition(":")[2])
        )
        return cls(
            tuple(sources),
            measured,
            dates - {name for name in measured if not name.startswith(("min:", "max:"))},
            limit,
        )

    def frame(self, ask: Ask) -> pd.DataFrame:
        """Ask, page by page, and return one row per bucket."""
        import pandas as pd

        ignored = self._ignored_fields(ask)
        rows = list(self._all_rows(ask, ignored)) if self.sources else [self._total(ask)]
        names = [name for name, _ in self.sources]
        table = pd.DataFrame(rows, columns=[*names, "documents", *self.metrics])
        for name in self.dates:
            table[name] = pd.to_datetime(table[name], unit="ms", utc=True)
        timed = [name for name, source in self.sources if "date_histogram" in source]
        for name in timed:
            if len(table) and table[name].isna().all():
                warn(
                    f"no document has a time in {name!r}; name the field of dates for every= in by="
                )
        if timed and self.limit is None:
            return table
        table = table.sort_values("documents", ascending=False, kind="stable", ignore_index=True)
        return table if self.limit is None else table.head(self.limit)

    def _total(self, ask: Ask) -> list[Any]:
        answer = ask(self.metrics)
        return [answer["hits"]["total"]["value"], *self._metrics_of(answer.get("aggregations", {}))]

    def _ignored_fields(self, ask: Ask) -> list[str]:
        """Return the fields counted by that some documents have, but not indexed.

        Warn of those measured, and of documents that Elasticsearch counts several times.
        """
        fields = {name: _field_of(source) for name, source in self.sources}
        fields |= {
            name: next(iter(metric.values()))["field"] for name, metric in self.metrics.items()
        }
        measured = {
            name: _ignored_value_query(field)
            for name, field in fields.items()
            if name in self.metrics
        }
        aggs = {
            name: {"filter": measured.get(name) or _only_ignored(field)}
            for name, field in fields.items()
        }
        if not aggs:
            return []
        whole_answer = ask({**aggs, **EVERY})
        answer = whole_answer["aggregations"]
        warn_of_weights(whole_answer)
        for name in self.metrics:
            if count := answer[name]["doc_count"]:
                is_one = count == 1
                warn(
                    f"{name} is without {count:,} document{'' if is_one else 's'} whose value is not indexed: longer "
                    "than ignore_above, or malformed",
                    IncompleteWarning,
                )
        return [
            name for name, source in self.sources if "terms" in source and answer[name]["doc_count"]
        ]

    def _all_rows(self, ask: Ask, ignored: list[str]) -> Iterator[list[Any]]:
        """Yield a row per bucket.

        A value that is there but not indexed is not a missing one: it is `TOO_LONG`.
        """
        if not ignored:
            yield from self._rows(ask, None)
            return
        is_ignored = {
            name: _only_ignored(_field_of(source))
            for name, source in self.sources
            if name in ignored
        }
        for count in range(len(ignored) + 1):
            for names in combinations(ignored, count):
                indexed = [query for name, query in is_ignored.items() if name not in names]
                too_long = [is_ignored[name] for name in names]
                for row in self._rows(ask, {"bool": {"filter": too_long, "must_not": indexed}}):
                    yield self._mark_too_long(row, names)

    def _mark_too_long(self, row: list[Any], names: tuple[str, ...]) -> list[Any]:
        for place, (name, _) in enumerate(self.sources):
            if name in names and row[place] is None:
                row[place] = TOO_LONG
        return row

    def _rows(self, ask: Ask, kept: dict[str, Any] | None) -> Iterator[list[Any]]:
        composite: dict[str, Any] = {
            "size": _PAGE,
            "sources": [{name: source} for name, source in self.sources],
        }
        while True:
            rows = {"composite": composite, **({"aggs": self.metrics} if self.metrics else {})}
            aggs = (
                {"rows": rows}
                if kept is None
                else {"kept": {"filter": kept, "aggs": {"rows": rows}}}
            )
            answers = ask(aggs)["aggregations"]
            answer = (answers if kept is None else answers["kept"])["rows"]
            for bucket in answer["buckets"]:
                yield [*bucket["key"].values(), bucket["doc_count"], *self._metrics_of(bucket)]
            if "after_key" not in answer or len(answer["buckets"]) < _PAGE:
                return
            composite = {**composite, "after": answer["after_key"]}

    def _metrics_of(self, answer: Mapping[str, Any]) -> list[Any]:
        return [answer[name]["value"] for name in self.metrics]


def warn_of_weights(answer: Mapping[str, Any]) -> None:
    """Warn when documents weigh more than one, by the answer to `EVERY` with the exact total."""
    note = weight_note(answer)
    if note:
        warn(note, IncompleteWarning)


def weight_note(answer: Mapping[str, Any]) -> str:
    """Return what to say where documents weigh more than one; empty where each counts once.

    That is what Elasticsearch takes a field ``_doc_count`` for, whoever wrote it.
    """
    total, weight = answer["hits"]["total"]["value"], answer["aggregations"][_EVERY]["doc_count"]
    if weight == total:
        return ""
    return (
        f"{total:,} documents are counted as {weight:,}: some have a field _doc_count, which Elasticsearch takes "
        "for how many each stands for"
    )


def _field_of(source: Mapping[str, Any]) -> str:
    return str(next(iter(source.values()))["field"])


def _ignored_value_query(field: str) -> dict[str, Any]:
    """Return the query for documents with a `field` value in _source that is not indexed."""
    return {"term": {"_ignored": {"value": field}}}


def _only_ignored(field: str) -> dict[str, Any]:
    """Return the query for documents all of whose values of `field` are not indexed."""
    return {
        "bool": {
            "filter": [_ignored_value_query(field)],
            "must_not": [{"exists": {"field": field}}],
        }
    }


def _source(fields: Fields, name: str, every: str | None) -> dict[str, Any]:
    if every is not None and is_date(fields, name):
        if nested_above(fields, name):
            raise uncountable(fields, name)
        every_ms = length_ms(every)
        if every_ms < 1:
            raise UsageError(
                f"every must be a length of time, not {every!r}", hint="such as every='1h'"
            )
        offset = _MONDAY_MS if every_ms % _WEEK_MS == 0 else 0
        histogram = {"field": name, "fixed_interval": f"{every_ms}ms", "offset": f"{offset}ms"}
        return {"date_histogram": {**histogram, "missing_bucket": True}}
    return {"terms": {"field": _find_field(fields, name), "missing_bucket": True}}


def _metric(fields: Fields, text: str) -> tuple[str, dict[str, Any]]:
    kind, _, name = text.partition(":")
    if kind not in METRICS or not name:
        raise UsageError(
            f"a metric must be KIND:FIELD, not {text!r}",
            hint=f"{did_you_mean(kind, METRICS)}such as 'avg:bytes'; kinds are {', '.join(METRICS)}; "
            "body= takes all others",
        )
    return text, {kind: {"field": _find_field(fields, name)}}


def _find_field(fields: Fields, name: str) -> str:
    if path := countable(fields, name):
        return path
    if name in fields:
        raise uncountable(fields, name)
    raise unknown_field(name, known_fields(fields))


def flatten_buckets(answers: Mapping[str, Any]) -> pd.DataFrame:
    """Return any aggregations' answer as one row per innermost bucket.

    There is a column for each level and metric.
    """
    import pandas as pd

    return pd.DataFrame(list(_flat(answers, {})))


def _flat(answers: Mapping[str, Any], above: dict[str, Any]) -> Iterator[dict[str, Any]]:
    levels = {
        name: level
        for name, level in answers.items()
        if isinstance(level, dict) and _is_level(level)
    }
    row = above | {
        column: value
        for name, answer in answers.items()
        if isinstance(answer, dict) and name not in levels
        for column, value in _values(name, answer)
    }
    if not levels:
        yield row
    for name, level in levels.items():
        for key, bucket in _buckets(level):
            inner = {
                inner: value
                for inner, value in bucket.items()
                if isinstance(value, dict) and inner != "key"
            }
            by_name = key if isinstance(key, dict) else {name: key}
            yield from _flat(inner, {**row, **by_name, "documents": bucket["doc_count"]})


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
    yield from (
        (f"{name}.{key}", value)
        for key, value in many.items()
        if not isinstance(value, dict | list)
    )
