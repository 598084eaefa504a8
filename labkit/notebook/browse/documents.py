"""The documents of an index, looked at where they are, by aggregations and pages.

It answers as `Records` does. No more than the rows in sight is fetched. A page far from the newest document is found
by counts over time, for Elasticsearch refuses to skip more than 10,000 hits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

import pyarrow as pa

from labkit.decode.cells import cell
from labkit.errors import UsageError
from labkit.es.aggregations import EVERY, weight_note
from labkit.es.fields import countable, is_date, known_fields, nested_above, types, uncountable
from labkit.es.index import Index
from labkit.es.point_in_time import PointInTime
from labkit.notebook.browse.browsed import (
    NEAR,
    SHOWN,
    Browsed,
    Field,
    Id,
    Line,
    Span,
    as_datetime,
    json_answer,
    numbers_answer,
    one_line,
    zoom,
)
from labkit.notebook.browse.es_query import exists, kind_of, query_of
from labkit.notebook.browse.es_source import headers_of, value_at
from labkit.notebook.browse.es_time import TimeAxis, time_axis
from labkit.notebook.browse.filters import Filter
from labkit.notebook.browse.records import MOST_FIELDS, MOST_SERIES, TOP, Records
from labkit.notebook.browse.tree import Filters
from labkit.tables.sql_text import plain
from labkit.times import has_date

MOST_SKIPPED = 10_000  # Elasticsearch's index.max_result_window, unless somebody set another
_BARS = 24


class Documents(Browsed):
    """An index, newest documents first, and what it answers.

    Parameters
    ----------
    index : Index
    time_field : str
        A date, or a number of milliseconds; empty for `TIMES`, as far as there are such.

    Attributes
    ----------
    note : str
        What misleads in its bars and shares; empty where nothing does.
    """

    finds = "the beginning of words in text fields, a part of keywords; upper and lower case alike"

    def __init__(self, index: Index, time_field: str = "", zone: tzinfo = UTC) -> None:
        self.index, self.zone = index, zone
        index.refresh()
        self._caps = index.field_caps()
        self._at = PointInTime(index.target, index.name)
        self.query: dict[str, Any] | None = None
        every = self._at.search(size=0, track_total_hits=True, aggs=EVERY)
        self.there = self.count = int(every["hits"]["total"]["value"])
        self.note = weight_note(every)
        self.fields = self._list_fields()
        axis = time_axis(self._caps, time_field, {field.label for field in self.fields})
        self.time_field = axis.field
        self.time_path = (axis.field,) if axis.field else ()
        self.told_as = "number" if axis.is_number else ""
        self._axis = self._span(axis)
        self._all = self._over_time(None)
        self._counts = self._all  # of the documents that are picked

    @property
    def condition(self) -> dict[str, Any] | None:
        """The query of what is picked, as `Index.count` and `Index.to_pandas` take it."""
        return self.query

    def _list_fields(self) -> list[Field]:
        names = [
            name
            for name in known_fields(self._caps)
            if nested_above(self._caps, name) in (None, name)
        ]
        names += [
            name
            for name in self._caps
            if "nested" in types(self._caps, name) or self._is_of_labkit(name)
        ]
        names = sorted(dict.fromkeys(names))[:MOST_FIELDS]
        if not names:
            return []
        has = {f"f{place}": exists(name, self._caps) for place, name in enumerate(names)}
        buckets = self._ask({"has": {"filters": {"filters": has}}}, None)["has"]["buckets"]
        shares = [
            min(1, buckets[f"f{place}"]["doc_count"] / max(1, self.there))
            for place in range(len(names))
        ]
        return [
            Field((name,), name, kind_of(self._caps, name), share)
            for name, share in zip(names, shares, strict=True)
            if share
        ]

    def _is_of_labkit(self, name: str) -> bool:
        """Tell whether a field, such as ``_kafka.timestamp``, is one of labkit's."""
        kinds = self._caps[name]
        return name.startswith("_") and not any(
            kind.get("metadata_field") or word == "object" for word, kind in kinds.items()
        )

    def _span(self, axis: TimeAxis) -> TimeAxis:
        """Return the axis with the span of all documents."""
        if not axis.field:
            return axis
        answer = self._ask({kind: {kind: {"field": axis.field}} for kind in ("min", "max")}, None)
        if answer["min"]["value"] is None:
            return axis
        return axis.spanning(int(answer["min"]["value"]), int(answer["max"]["value"]) + 1)

    # asking ----------------------------------------------------------------------------------------------

    def _ask(self, aggs: Mapping[str, Any], query: Mapping[str, Any] | None) -> dict[str, Any]:
        answer = self._at.search(
            size=0, track_total_hits=False, query=query or {"match_all": {}}, aggs=dict(aggs)
        )
        return dict(answer["aggregations"])

    def _count(self, *queries: Mapping[str, Any] | None) -> int:
        answer = self._at.search(size=0, track_total_hits=True, query=_all_of(*queries))
        return int(answer["hits"]["total"]["value"])

    def condition_of(self, filters: Iterable[Filter]) -> dict[str, Any] | None:
        """Return the query of all filters that are switched on; None without any."""
        return query_of(filters, self._caps)

    def choose(self, filters: Sequence[Filter]) -> None:
        """Pick the documents that fulfil all filters.

        Raises
        ------
        UsageError
            When the server takes no such query.
        """
        query = self.condition_of(filters)
        if query == self.query:
            return
        count = self._count(query)
        self._counts = self._over_time(query)
        self.query, self.count = query, count

    def _over_time(
        self, query: Mapping[str, Any] | None, axis: TimeAxis | None = None
    ) -> list[int]:
        axis = axis or self._axis
        if not axis.size:
            return []
        within = _all_of(query, axis.between(axis.low_ms, axis.high_ms))
        answer = self._ask({"bins": axis.aggregation()}, within)
        return axis.counts(answer["bins"]["buckets"])

    def histogram(self, by: Sequence[str] = (), span: Span = (None, None)) -> dict[str, Any]:
        """Return how many there are in each bin of time, as `Records.histogram` does."""
        if not self._axis.size:
            return {"edges": [], "all": [], "series": [], "undated": self.count}
        axis, every, counts = self._axis, self._all, self._counts
        undated = self.count - sum(counts)
        low, high = zoom(axis.low_ms, axis.high_ms, span)
        if (low, high) != (axis.low_ms, axis.high_ms):
            axis = axis.spanning(low, high)
            every, counts = self._over_time(None, axis), self._over_time(self.query, axis)
        series = [{"label": "", "counts": counts}]
        if by:
            series = self._series(".".join(by), axis, counts)
        return {"edges": axis.edges, "all": every, "series": series, "undated": undated}

    def _series(self, name: str, axis: TimeAxis, counts: list[int]) -> list[dict[str, Any]]:
        bins = {"bins": axis.aggregation()}
        terms = {"terms": {"field": self._countable(name), "size": MOST_SERIES}, "aggs": bins}
        series: list[dict[str, Any]] = []
        for bucket in self._ask({"by": terms}, self.query)["by"]["buckets"]:
            label = self.cell(_key_of(self._caps, name, bucket), most=40)
            series.append({"label": label, "counts": axis.counts(bucket["bins"]["buckets"])})
        rest = [
            total - sum(one["counts"][place] for one in series)
            for place, total in enumerate(counts)
        ]
        return (
            [*series, {"label": "(others)", "counts": rest}]
            if any(count > 0 for count in rest)
            else series
        )

    def _countable(self, name: str) -> str:
        path = countable(self._caps, name)
        if path is None:
            raise uncountable(self._caps, name)
        return path

    def values(self, label: str) -> dict[str, Any]:
        """Return a field's most frequent values and a histogram, as `Records.values` does."""
        field = self.field(label)
        path = countable(self._caps, label)
        aggs: dict[str, Any] = {"present": {"filter": exists(label, self._caps)}}
        if path:
            aggs |= {
                "top": {"terms": {"field": path, "size": TOP}},
                "distinct": {"cardinality": {"field": path}},
            }
            if field.kind in ("integer", "number"):
                aggs["span"] = {"stats": {"field": path}}
        answer = self._ask(aggs, self.query)
        shown: dict[str, Any] = {
            "field": list(field.path), "label": label, "kind": field.kind, "items": False, "rows": self.count,
            "present": answer["present"]["doc_count"], "top": [], "numbers": None, "distinct": None, "about": True,
        }  # fmt: skip
        if not path:
            said = (
                "" if field.kind in ("list", "object") else uncountable(self._caps, label).message
            )
            return {**shown, "said": said}
        for bucket in answer["top"]["buckets"]:
            value = _key_of(self._caps, label, bucket)
            shown["top"].append(
                {
                    "shown": self.cell(value, most=SHOWN),
                    "value": plain(value),
                    "count": bucket["doc_count"],
                }
            )
        shown["distinct"] = answer["distinct"]["value"]
        shown["about"] = shown["distinct"] > len(shown["top"]) or bool(
            answer["top"]["doc_count_error_upper_bound"]
        )
        if "span" in answer and answer["span"]["count"]:
            span = answer["span"]
            counts, edges = self._numbers(path, span["min"], span["max"])
            shown["numbers"] = numbers_answer(counts, edges, field.kind)
        return shown

    def _numbers(self, path: str, low: float, high: float) -> tuple[list[int], list[float]]:
        step = (high - low) / _BARS or 1.0
        histogram = {"field": path, "interval": step, "offset": low % step, "min_doc_count": 1}
        counts = [0] * (_BARS if high > low else 1)
        for bucket in self._ask({"bars": {"histogram": histogram}}, self.query)["bars"]["buckets"]:
            counts[min(len(counts) - 1, max(0, round((bucket["key"] - low) / step)))] += bucket[
                "doc_count"
            ]
        edges = [low + step * place for place in range(len(counts) + 1)]
        return counts, [*edges[:-1], max(edges[-1], high)]

    # rows ------------------------------------------------------------------------------------------------

    def list_lines(self, start: int, count: int, labels: Sequence[str]) -> list[Line]:
        """Return some of the picked: each one's id, and its cells."""
        hits = self._hits(
            max(0, start), min(max(0, count), 500), [self.field(label).label for label in labels]
        )
        return [(_id_of(hit), self._row(hit, labels)) for hit in hits]

    def _row(self, hit: dict[str, Any], labels: Sequence[str]) -> list[str]:
        cells = (self.cell(value_at(hit["_source"], label), most=SHOWN) for label in labels)
        return [self.time_of(hit), *cells]

    def _hits(self, start: int, count: int, fields: Any = True) -> list[dict[str, Any]]:
        """Return the documents at these places among those picked."""
        count = min(count, self.count - start)
        if count <= 0:
            return []
        query, skipped = self._narrow_query(start, count)
        body: dict[str, Any] = {
            "query": query,
            "sort": self._axis.sort(),
            "track_total_hits": False,
        }
        while skipped + count > MOST_SKIPPED:  # as many have the same time, or none
            step = min(MOST_SKIPPED, skipped)
            body["search_after"] = self._at.search(size=step, source=False, **body)["hits"]["hits"][
                -1
            ]["sort"]
            skipped -= step
        source = fields if fields is True else {"includes": fields or ["_"]}
        if "search_after" in body:
            hits = self._at.search(size=skipped + count, source=source, **body)["hits"]["hits"][
                skipped:
            ]
        else:
            hits = self._at.search(size=count, from_=skipped, source=source, **body)["hits"]["hits"]
        return list(hits)

    def _narrow_query(self, start: int, count: int) -> tuple[dict[str, Any], int]:
        """Return a query that begins near a place, and how many hits are before it."""
        if not self._axis.size or start + count <= MOST_SKIPPED:
            return _all_of(self.query), start
        before, axis, counts = 0, self._axis, self._counts
        if start >= sum(counts):
            undated = {"bool": {"must_not": [exists(axis.field, self._caps)]}}
            return _all_of(self.query, undated), start - sum(counts)
        while True:
            place = len(counts) - 1
            while before + counts[place] <= start:
                before += counts[place]
                place -= 1
            low, high = axis.edges[place], axis.edges[place + 1]
            if start - before + count <= MOST_SKIPPED or axis.step_ms == 1:
                later = {
                    "bool": {"must_not": [axis.between(high, None)]}
                }  # documents without a time come last
                return _all_of(self.query, later), start - before
            axis = axis.spanning(low, high)
            within = _all_of(self.query, axis.between(low, high))
            counts = axis.counts(self._ask({"bins": axis.aggregation()}, within)["bins"]["buckets"])

    def time_of(self, hit: Mapping[str, Any]) -> str:
        """Return when a document was, in the zone."""
        return self.moment(self._ms_of(hit))

    def _ms_of(self, hit: Mapping[str, Any]) -> int | None:
        ms = hit["sort"][0] if self.time_field else None
        return ms if isinstance(ms, int) and has_date(ms) else None

    @property
    def newest(self) -> datetime | None:
        """The newest document's time; None without any."""
        return as_datetime(self._axis.high_ms - 1) if self._axis.size else None

    def picked_rows(self) -> Callable[[], pa.Table]:
        """Return what reads the documents that are picked now, newest first."""
        index, query, when, zone = self.index, self.query, self.time_field, self.zone

        def read() -> pa.Table:
            table = index.to_arrow(query).replace_schema_metadata(None)
            return Records(table, when, zone).picked_rows()()

        return read

    # one document ----------------------------------------------------------------------------------------

    def describe(self, *, place: int | None = None, record_id: Id | None = None) -> dict[str, Any]:
        """Return one document, by its place or by index and id, and its neighbours in time.

        Of both the id decides: other documents may be picked since.

        Raises
        ------
        UsageError
            When there is no such document.
        """
        hits = [] if place is None else self._hits(place, 1)
        if record_id is not None and [_id_of(hit) for hit in hits] != [record_id]:
            place, hits = None, self._hits_of(record_id)
        if not hits:
            raise UsageError(f"there is no document {place if record_id is None else record_id}")
        hit = hits[0]
        source = hit["_source"]
        return {
            "time": self.time_of(hit), "facts": [["index", hit["_index"]], ["id", hit["_id"]]],
            "headers": headers_of(source), "id": _id_of(hit),
            "place": self._place(hit) if place is None else place,
            "near": self._neighbours(hit), **json_answer(source, self._filters_of(source)),
        }  # fmt: skip

    def _hits_of(self, record_id: Id) -> list[dict[str, Any]]:
        answer = self._at.search(
            size=1, query=_query_one(record_id), sort=self._axis.sort(), track_total_hits=False
        )
        return list(answer["hits"]["hits"])

    def place_of(self, record_id: Id) -> int | None:
        """Return a document's place among those picked; None for any other document."""
        hits = self._hits_of(record_id)
        return self._place(hits[0]) if hits else None

    def _filters_of(self, source: Mapping[str, Any]) -> Filters:
        """Return what gives the filter of a value of a document."""
        asked = {
            field.label: field.path for field in self.fields if countable(self._caps, field.label)
        }

        def filter_of(path: tuple[str, ...], place: int | None) -> dict[str, Any] | None:
            label = ".".join(path)
            if label not in asked:
                return None
            value = value_at(source, label)
            return {
                "field": list(asked[label]),
                "value": plain(value if place is None else value[place]),
            }

        return filter_of

    def _place(self, hit: Mapping[str, Any]) -> int | None:
        """Return a document's place among those picked; None for any other document.

        None, too, where more than `MOST_SKIPPED` have its time, or none, and come before it.
        """
        record_id = _id_of(hit)
        if not self._count(self.query, _query_one(record_id)):
            return None
        before, same = 0, None  # without a time all are alike
        if (ms := self._ms_of(hit)) is not None:
            before = self._count(self.query, self._axis.between(ms + 1, None))
            same = self._axis.between(ms, ms + 1)
        elif self.time_field:
            dated = exists(self.time_field, self._caps)
            before, same = self._count(self.query, dated), {"bool": {"must_not": [dated]}}
        answer = self._at.search(
            size=MOST_SKIPPED, source=False, sort=self._axis.sort(), track_total_hits=False,
            query=_all_of(self.query, same),
        )  # fmt: skip
        ids = [_id_of(one) for one in answer["hits"]["hits"]]
        return before + ids.index(record_id) if record_id in ids else None

    def _neighbours(self, hit: Mapping[str, Any]) -> list[dict[str, Any]]:
        def beside(order: str) -> list[dict[str, Any]]:
            answer = self._at.search(
                size=NEAR, sort=self._axis.sort(order), search_after=hit["sort"], track_total_hits=False,
                query={"match_all": {}},
            )  # fmt: skip
            return list(answer["hits"]["hits"])

        near = [*reversed(beside("asc")), hit, *beside("desc")]
        return [
            {
                "id": _id_of(one), "time": self.time_of(one), "text": self._line(one["_source"]),
                "here": _id_of(one) == _id_of(hit),
            }
            for one in near
        ]  # fmt: skip

    def _line(self, source: Mapping[str, Any]) -> str:
        names = [one.label for one in self.fields if not one.label.startswith("_kafka")][:8]
        shown = (self.cell(value_at(source, name), most=80) for name in names)
        return cell(one_line(shown), most=100)


def _id_of(hit: Mapping[str, Any]) -> Id:
    return [hit["_index"], hit["_id"]]


def _query_one(record_id: Id) -> dict[str, Any]:
    """Return the query for one document."""
    index, name = map(str, record_id)
    return _all_of({"term": {"_index": index}}, {"ids": {"values": [name]}})


def _all_of(*queries: Mapping[str, Any] | None) -> dict[str, Any]:
    given = [dict(query) for query in queries if query]
    return {"bool": {"filter": given}} if given else {"match_all": {}}


def _key_of(caps: Any, name: str, bucket: Mapping[str, Any]) -> Any:
    kinds = types(caps, name)
    if kinds == {"boolean"}:
        return bool(bucket["key"])
    if is_date(caps, name):
        return datetime.fromtimestamp(bucket["key"] / 1000, UTC)
    return bucket["key"]
