"""Counting an index: Elasticsearch aggregates, no document is fetched and no script is needed."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Any

from labkit.charts.buckets import Grid
from labkit.charts.clock import usable
from labkit.charts.source import Counts, Span, Term, Terms
from labkit.checks.suggest import unknown_field
from labkit.errors import UsageError
from labkit.es.aggregations import EVERY, warn_of_weights
from labkit.es.fields import countable, is_date, known_fields, nested_above, types, uncountable
from labkit.es.index import Index as Stored

TIME = "@timestamp"
# of one request; a cluster refuses more than search.max_buckets, 65,536 by default
_MOST_BUCKETS = 10_000
# Values are counted up to here. What is beyond is estimated, by an aggregate that is off by a few
# even among hundreds:
# https://www.elastic.co/docs/reference/aggregations/search-aggregations-metrics-cardinality-aggregation
_MOST_VALUES = 10_000
_PRECISION = 40_000


class Index:
    """An index as a `Source`.

    Parameters
    ----------
    index : labkit.es.index.Index
    time : str, optional
        The date field that says when.
    needed : bool
        Whether a missing field is an error.
    """

    def __init__(self, index: Stored, time: str | None = None, *, needed: bool = True) -> None:
        self._index = index
        index.warn_when_incomplete()
        self._time = time or TIME
        kinds = types(self._fields, self._time)
        self._timed = is_date(self._fields, self._time) and not nested_above(
            self._fields, self._time
        )
        if not self._timed and (needed or time) and self.span.records:
            raise self._no_time(kinds)

    def _no_time(self, kinds: set[str]) -> UsageError:
        if not kinds:
            return unknown_field(self._time, self._names)
        if nested_above(self._fields, self._time):
            return uncountable(self._fields, self._time)
        dates = [name for name in self._fields if is_date(self._fields, name)]
        hint = f"fields of dates: {', '.join(dates) or 'none'}"
        return UsageError(
            f"field {self._time!r} is {'/'.join(sorted(kinds))}, not a date", hint=hint
        )

    @property
    def name(self) -> str:
        """What it is called."""
        return str(self._index)

    @cached_property
    def _fields(self) -> dict[str, dict[str, Any]]:
        return self._index.field_caps()

    @property
    def _names(self) -> list[str]:
        return known_fields(self._fields)

    def _countable(self, name: str) -> str:
        """Return the field that holds whole values of `name`.

        It is ``<name>.keyword`` when there is one.
        """
        if field_name := countable(self._fields, name):
            return field_name
        if name in self._fields:
            raise uncountable(self._fields, name)
        if not self.span.records:
            return name
        raise unknown_field(name, self._names)

    def kinds(self, name: str) -> set[str]:
        """Return the types of a field; none when the index is empty.

        There are several where indices of a pattern disagree.

        Raises
        ------
        UsageError
            When there are documents and no such field, or it is below a nested one.
        """
        if name not in self._fields and self.span.records:
            raise unknown_field(name, self._names)
        if nested_above(self._fields, name):
            raise uncountable(self._fields, name)
        return types(self._fields, name)

    def having(self, field: str, term: Term) -> dict[str, Any]:
        """Return the query for the documents whose `field` has this value."""
        return {"term": {self._countable(field): {"value": term.label}}}

    def ask(self, **body: Any) -> dict[str, Any]:
        """Count: the keywords are those of ``Elasticsearch.search``, no document is fetched."""
        return self._index.search(size=0, track_total_hits=True, **body)

    @cached_property
    def span(self) -> Span:
        """How many records and when."""
        if not self._timed:
            answer = self.ask(aggs=EVERY)
            warn_of_weights(answer)
            return Span(answer["hits"]["total"]["value"])
        field = {"field": self._time}
        answer = self.ask(
            aggs={
                "first": {"min": field},
                "last": {"max": field},
                "timed": {"filter": {"exists": field}},
                **EVERY,
            }
        )
        warn_of_weights(answer)
        answers = answer["aggregations"]
        first, last = answers["first"]["value"], answers["last"]["value"]
        first, last = (None if at is None else int(at) for at in (first, last))
        zone = usable(self._index.timezone, first, last)
        return Span(
            answer["hits"]["total"]["value"], answers["timed"]["doc_count"], first, last, zone
        )

    def _when(self, grid: Grid) -> dict[str, Any]:
        return {
            "range": {
                self._time: {"gte": grid.start_ms, "lt": grid.end_ms, "format": "epoch_millis"}
            }
        }

    def _buckets(self, grid: Grid) -> dict[str, Any]:
        if grid.edges:
            ranges = [{"from": low, "to": high} for low, high in pairwise(grid.edges)]
            return {"date_range": {"field": self._time, "format": "epoch_millis", "ranges": ranges}}
        every, offset = f"{grid.every_ms}ms", f"{grid.offset_ms}ms"
        return {
            "date_histogram": {
                "field": self._time,
                "fixed_interval": every,
                "offset": offset,
                "min_doc_count": 1,
            }
        }

    def histogram(self, grid: Grid) -> Counts:
        """Count the records of each bucket."""
        counts: Counts = {}
        for part in grid.parts(_MOST_BUCKETS):
            answer = self.ask(query=self._when(part), aggs={"time": self._buckets(part)})
            counts |= _counts(answer["aggregations"])
        return counts

    def terms(self, field: str, size: int, *, timed: bool) -> Terms:
        """Count the most frequent values."""
        countable = self._countable(field)
        answer = self.ask(
            filter_path="hits.total,aggregations,-aggregations.values",
            query={"exists": {"field": self._time}} if timed else {"match_all": {}},
            aggs={
                "top": {"terms": {"field": countable, "size": size, "shard_size": _MOST_VALUES}},
                "values": {"terms": {"field": countable, "size": _MOST_VALUES}},
                "distinct": {"stats_bucket": {"buckets_path": "values._count"}},
                "about": {"cardinality": {"field": countable, "precision_threshold": _PRECISION}},
                "nulls": {"filter": _without(field, countable)},
            },
        )
        answers = answer["aggregations"]
        top = [
            Term(str(bucket.get("key_as_string", bucket["key"])), bucket["doc_count"])
            for bucket in answers["top"]["buckets"]
        ]
        distinct = answers["distinct"]["count"]
        exact = distinct < _MOST_VALUES
        distinct = distinct if exact else max(distinct, answers["about"]["value"])
        records, nulls = answer["hits"]["total"]["value"], answers["nulls"]["doc_count"]
        return Terms(top, distinct, exact, records, nulls)

    def split(
        self, field: str, terms: list[Term], grid: Grid
    ) -> tuple[Counts, list[Counts], Counts]:
        """Count the records of each bucket: all, by term, without a value.

        In one request, so that they agree.
        """
        countable, time = self._countable(field), self._buckets(grid)
        groups = [self.having(field, term) for term in terms]
        answer = self.ask(
            query=self._when(grid),
            aggs={
                "time": time,
                "groups": {
                    "filters": {"filters": [*groups, _without(field, countable)]},
                    "aggs": {"time": time},
                },
            },
        )
        answers = answer["aggregations"]
        *by_term, nulls = [_counts(bucket) for bucket in answers["groups"]["buckets"]]
        return _counts(answers), by_term, nulls


def _without(field: str, countable: str) -> dict[str, Any]:
    """Return the query for no value at all; a text too long for its keyword is a value."""
    present = [{"exists": {"field": name}} for name in dict.fromkeys((field, countable))]
    return {"bool": {"must_not": [*present, {"term": {"_ignored": {"value": countable}}}]}}


def _counts(answer: dict[str, Any]) -> Counts:
    return {
        int(bucket.get("from", bucket["key"])): bucket["doc_count"]
        for bucket in answer["time"]["buckets"]
        if bucket["doc_count"]
    }
