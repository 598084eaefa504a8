"""Count a field's numbers, and the records between two of them, in a table or an index."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.charts.columns import Columns, ask, is_text
from labkit.charts.search import Index
from labkit.charts.source import Source, Terms
from labkit.errors import UsageError
from labkit.text.visible import a_type_of

LENGTH, NUMBER = "length", "number"
PLACES = (0.0, 0.01, 0.5, 0.99, 1.0)
# https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/number
_NUMERIC = {
    "long", "integer", "short", "byte", "double", "float", "half_float", "scaled_float", "unsigned_long",
}  # fmt: skip


@dataclass(frozen=True)
class Numbers:
    """What is known of a field's numbers before they are counted.

    Attributes
    ----------
    unit : str
        ``characters``, ``bytes``, or ``""`` for the values themselves.
    records, nulls, numbers : int
        All of them; those without a value; those with a finite number.
    whole : bool
        Whether every number is whole.
    quantiles : dict of float to float
        At `PLACES`; empty when there is no number.
    positive : float or None
        The least number above zero: where a logarithmic scale begins.
    exact : bool
        Whether the quantiles are exact; those of an index are estimates.
    """

    unit: str
    records: int
    nulls: int
    numbers: int
    whole: bool
    quantiles: dict[float, float]
    positive: float | None = None
    exact: bool = True

    @property
    def odd(self) -> int:
        """Records with a value that is no number."""
        return self.records - self.nulls - self.numbers


@dataclass(frozen=True)
class Group:
    """One series: its value (None: all records), the count in each bin, and the median.

    `numbers` is how many numbers it has.
    """

    label: str | None
    counts: list[int]
    numbers: int
    median: float | None


class ColumnNumbers:
    """Numbers of Arrow columns.

    `of` is ``"length"``, ``"number"`` or None: what the column's type suggests.
    """

    def __init__(self, columns: Columns, field: str, of: str | None) -> None:
        self._columns = columns
        column = columns.column(field)
        self._values, unit = _measure(column, field, of)
        values = self._values.to_numpy()
        finite = values[np.isfinite(values)]
        places = (
            dict(zip(PLACES, np.quantile(finite, PLACES).tolist(), strict=True))
            if len(finite)
            else {}
        )
        integral = bool(np.all(finite == np.floor(finite)))
        above = finite[finite > 0]
        least = float(above.min()) if len(above) else None
        self.known = Numbers(
            unit, len(column), column.null_count, len(finite), integral, places, least
        )

    def count(self, edges: Sequence[float], by: str | None, terms: Terms | None) -> list[Group]:
        """Count the numbers of each bin [edge, next edge), of all records or of each term."""
        values = self._values.to_numpy()
        finite = np.isfinite(values)
        bins = np.searchsorted(np.asarray(edges), values, side="right") - 1
        table = pa.table({"bin": bins[finite], "number": values[finite]})
        label_sql, labels = "null::varchar", list[str | None]([None])
        if by is not None and terms is not None:
            table = table.append_column("raw", self._columns.column(by).filter(pa.array(finite)))
            label_sql, labels = "cast(raw as varchar)", [term.label for term in terms.top]
        rows = ask(table, f"select {label_sql} label, bin, count(*) n from t group by all")
        middle = ask(
            table, f"select {label_sql} label, count(*), median(number) from t group by all"
        )
        counts = {(label, place): n for label, place, n in rows}
        facts = {label: (n, median) for label, n, median in middle}
        groups = []
        for label in labels:
            counts_of_bins = [counts.get((label, place), 0) for place in range(len(edges) - 1)]
            groups.append(Group(label, counts_of_bins, *facts.get(label, (0, None))))
        return groups


def _measure(column: Any, field: str, of: str | None) -> tuple[Any, str]:
    """Return float64 (nan: no number) and their unit."""
    kind = column.type
    text = is_text(kind)
    raw = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    if pa.types.is_null(kind):
        values, unit = column.cast(pa.float64()), ""
    elif (text or raw) and of != NUMBER:
        values = pc.utf8_length(column) if text else pc.binary_length(column)
        unit = "characters" if text else "bytes"
    elif text:
        values, unit = _parse_numbers(column), ""
    elif of == LENGTH or not (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    ):
        better = "charts.timeline" if pa.types.is_temporal(kind) else "charts.top"
        raise UsageError(
            f"{field!r} holds {kind}, no numbers or texts to measure", hint=f"{better} may show it"
        )
    else:
        values, unit = column, ""
    return pc.fill_null(values.cast(pa.float64(), safe=False), math.nan).combine_chunks(), unit


def _parse_numbers(column: Any) -> Any:
    from labkit.tables.duckdb_sql import connect, register

    with connect() as connection:
        register(connection, "t", pa.table({"raw": column}))
        parsed = connection.sql("select try_cast(raw as double) number from t")
        return parsed.to_arrow_table()["number"]


class IndexNumbers:
    """Numbers of an index's field, counted by Elasticsearch.

    It has no lengths of texts: that would take a script.
    """

    def __init__(self, index: Index, field: str, of: str | None) -> None:
        self._index, self._field = index, field
        kinds = index.kinds(field)
        if of == LENGTH or (kinds and not kinds <= _NUMERIC):
            raise UsageError(
                f"Elasticsearch cannot measure {field!r} of {index.name} ({'/'.join(sorted(kinds)) or 'no field'})",
                hint=f"take the documents: charts.distribution(index.to_pandas(fields=[{field!r}]), {field!r})",
            )
        field_of = {"field": field}
        percents = {"field": field, "percents": [100 * place for place in PLACES]}
        aggs = {
            "numbers": {"filter": {"exists": field_of}},
            "spread": {"percentiles": percents},
            "above": {
                "filter": {"range": {field: {"gt": 0}}},
                "aggs": {"least": {"min": field_of}},
            },
        }
        answer = index.ask(aggs=aggs)
        records = answer["hits"]["total"]["value"]
        numbers = answer["aggregations"]["numbers"]["doc_count"]
        spread = answer["aggregations"]["spread"]["values"].values() if numbers else []
        places = dict(zip(PLACES, map(float, spread), strict=False))
        integral = kinds <= {"long", "integer", "short", "byte", "unsigned_long"}
        least = answer["aggregations"]["above"]["least"]["value"]
        self.known = Numbers(
            "", records, records - numbers, numbers, integral, places, least, exact=False
        )

    def count(self, edges: Sequence[float], by: str | None, terms: Terms | None) -> list[Group]:
        """Count the numbers of each bin, in one request."""
        ranges = [{"from": first, "to": last} for first, last in pairwise(edges)]
        aggs = {
            "bins": {"range": {"field": self._field, "ranges": ranges}},
            "middle": {"percentiles": {"field": self._field, "percents": [50]}},
        }
        query = {"exists": {"field": self._field}}
        if by is None or terms is None:
            answer = self._index.ask(query=query, aggs=aggs)
            answers = {**answer["aggregations"], "doc_count": answer["hits"]["total"]["value"]}
            return [_group(None, answers)]
        filters = [self._index.having(by, term) for term in terms.top]
        group_aggs = {"groups": {"filters": {"filters": filters}, "aggs": aggs}}
        buckets = (
            self._index.ask(query=query, aggs=group_aggs)["aggregations"]["groups"]["buckets"]
            if filters
            else []
        )
        return [_group(term.label, bucket) for term, bucket in zip(terms.top, buckets, strict=True)]


def _group(label: str | None, answers: dict[str, Any]) -> Group:
    (median,) = answers["middle"]["values"].values()
    counts = [bucket["doc_count"] for bucket in answers["bins"]["buckets"]]
    return Group(label, counts, answers["doc_count"], median)


def numbers(source: Source, field: str, of: str | None) -> ColumnNumbers | IndexNumbers:
    """Return what can count the numbers of `field`."""
    if of not in (None, LENGTH, NUMBER):
        raise UsageError(
            f"of must be {LENGTH!r} or {NUMBER!r}, not {of!r}",
            hint="leave it out for what the field's type suggests",
        )
    if isinstance(source, Index):
        return IndexNumbers(source, field, of)
    if not isinstance(source, Columns):
        raise TypeError(f"{a_type_of(source)} has no numbers")
    return ColumnNumbers(source, field, of)
