"""From data to the few numbers a chart draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa

from labkit.charts.buckets import DAY, HOUR, MINUTE, Grid, earlier, fitting, grid
from labkit.charts.clock import in_zone, offsets, positions, stamps
from labkit.charts.columns import Columns, Table, find_time
from labkit.charts.labels import NONE, OTHER, all_shown
from labkit.charts.search import Index
from labkit.charts.source import Counts, Source, Span, Terms
from labkit.errors import UsageError
from labkit.es.index import Index as Stored
from labkit.es.index import Part
from labkit.sinks.replay import Replay
from labkit.text.visible import a_type_of
from labkit.times import length_text

if TYPE_CHECKING:
    import pandas as pd

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


Query: TypeAlias = "str | Mapping[str, Any] | None"


def narrow(data: Any, query: Query) -> Any:
    """Return `data`; of an index the documents that fulfil `query`, when there is one.

    Raises
    ------
    UsageError
        When there is a query and `data` is no index.
    """
    if query is None:
        return data
    if not isinstance(data, Stored):
        raise UsageError(
            f"query= must come with an index, and this is {a_type_of(data)}",
            hint="""of a Replay: charts.top(r.where("command = 'PRIVMSG'"), …)""",
        )
    return Part(data.name, data.target, query, timezone=data.timezone)


def open_source(data: Any, time: str | None, *, needed: bool = True) -> Source:
    """Return `data` as something that can be counted.

    Raises
    ------
    UsageError
        When it is nothing labkit can chart, or has no time and one is needed.
    """
    if isinstance(data, Stored):
        return Index(data, time, needed=needed)
    table = open_table(data)
    zone = data.timezone if isinstance(data, Replay) else None
    return Columns(table, find_time(table, time, needed=needed), name_of(data), zone)


def open_table(data: Any) -> Table:
    """Return the columns of a replay or another table.

    Raises
    ------
    UsageError
        When it is nothing labkit can chart.
    """
    import pandas as pd

    if isinstance(data, Replay):
        return Table.of_arrow(data.table)
    if isinstance(data, pd.DataFrame):
        return Table.of_pandas(data)
    if isinstance(data, pa.Table) or hasattr(data, "__arrow_c_stream__"):
        return Table.of_arrow(arrow(data))
    raise UsageError(
        f"{a_type_of(data)} cannot be charted",
        hint="give a Replay (window.read()), a DataFrame, an Arrow table or an index (load.index, lab.index(name))",
    )


def name_of(data: Any) -> str:
    """Return what data is called in a title; warn when it is a part of its window."""
    if isinstance(data, Stored | Replay):
        data.warn_when_incomplete()
    if isinstance(data, Stored):
        return str(data)
    if not isinstance(data, Replay):
        return ""
    receipt = data.receipt
    return receipt.topic + ("" if receipt.complete else f" (INCOMPLETE, {receipt.reached})")


def arrow(data: Any) -> pa.Table:
    """Return any table that has an Arrow form, with types that all of Arrow works with.

    polars hands out views, which not all of Arrow takes.
    """
    try:
        if type(data).__module__.startswith("polars."):
            import polars as pl

            return data.to_arrow(compat_level=pl.CompatLevel.oldest())
        return data if isinstance(data, pa.Table) else pa.table(data)
    except pa.ArrowException as error:
        raise UsageError(
            f"this {type(data).__name__} has no Arrow form: {error}", hint="cast its odd columns"
        ) from error


@dataclass(frozen=True)
class Timeline:
    """Records per bucket.

    `frame` has time, records and, with `by`, value; `terms` and `order` are those of `by`. In
    another zone than UTC also ``drawn`` and ``until``, where a bucket is on the axis, and ``from``,
    its start.
    """

    frame: pd.DataFrame
    grid: Grid
    terms: Terms | None = None
    order: tuple[str, ...] = ()


def over_time(source: Source, span: Span, every: str | timedelta | None) -> Timeline:
    """Count records per bucket, empty ones too."""
    if span.first_ms is None or span.last_ms is None:
        raise ValueError("no record has a time")
    buckets = fitting(span.first_ms, span.last_ms, every, 1, span.zone)
    return Timeline(
        _long(buckets, [("", source.histogram(buckets))]).drop(columns="value"), buckets
    )


def over_time_against(
    source: Source, span: Span, every: str | timedelta | None, by_ms: int
) -> Timeline:
    """Count records per bucket and, as ``earlier``, those of the same data `by_ms` before.

    The buckets are those for which the data reaches so far back.

    Raises
    ------
    UsageError
        When no record is so much older than another.
    """
    if span.first_ms is None or span.last_ms is None:
        raise ValueError("no record has a time")
    first_ms = span.first_ms + by_ms
    if by_ms < 1 or first_ms > span.last_ms:
        reach, given = (
            length_text(timedelta(milliseconds=ms)) for ms in (span.last_ms - span.first_ms, by_ms)
        )
        raise UsageError(
            f"against= must be a length within the {reach} of these records, not {given}",
            hint='read a window that reaches back, as far as the topic does: lab.window(topic, last="2w") '
            'for against="1w"',
        )
    series = over_time(source, replace(span, first_ms=first_ms), every)
    before = earlier(series.grid, by_ms)
    counts = source.histogram(before)
    return replace(
        series, frame=series.frame.assign(earlier=[counts.get(at, 0) for at in before.starts])
    )


def over_time_by(
    source: Source, span: Span, field: str, every: str | timedelta | None, top: int
) -> Timeline:
    """Count records per bucket and value.

    The `top` most frequent values have their own counts; the others are one, those without a value
    another.
    """
    if span.first_ms is None or span.last_ms is None:
        raise ValueError("no record has a time")
    terms = source.terms(field, top, timed=True)
    buckets = fitting(span.first_ms, span.last_ms, every, len(terms.top) + 2, span.zone)
    total, by_term, nulls = source.split(field, terms.top, buckets)
    names = all_shown(term.label for term in terms.top)
    series = list(zip(names, by_term, strict=True))
    rest = _minus(total, [*by_term, nulls])
    series += [
        (label, counts) for label, counts in ((OTHER, rest), (NONE, nulls)) if any(counts.values())
    ]
    return Timeline(_long(buckets, series), buckets, terms, tuple(label for label, _ in series))


def _minus(total: Counts, parts: list[Counts]) -> Counts:
    """Subtract; a record with several values is in several parts, so never below zero."""
    return {at: max(0, n - sum(part.get(at, 0) for part in parts)) for at, n in total.items()}


def _long(buckets: Grid, series: Iterable[tuple[str, Counts]]) -> pd.DataFrame:
    """Return one row per series and bucket, zeros included: time, value, records."""
    import pandas as pd

    starts = list(buckets.starts)
    shown = {"time": in_zone(starts, buckets.zone), **on_the_clock(buckets)}
    parts = []
    for label, counts in series:
        records = [counts.get(at, 0) for at in starts]
        parts.append(pd.DataFrame({**shown, "value": label, "records": records}))
    return pd.concat(parts, ignore_index=True)


def on_the_clock(buckets: Grid) -> dict[str, Any]:
    """Return where buckets are on an axis that shows the zone's clock.

    Of UTC the picture itself knows.
    """
    if buckets.zone is UTC:
        return {}
    edges = np.array([*buckets.starts, buckets.end_ms], np.int64)
    whole_days = buckets.every_ms % DAY == 0
    drawn = edges + offsets(edges, buckets.zone) if whole_days else positions(edges, buckets.zone)
    return {
        "drawn": in_zone(drawn[:-1], UTC),
        "until": in_zone(drawn[1:], UTC),
        "from": stamps(edges[:-1], buckets.zone, buckets.every_ms),
    }


def rank_values(terms: Terms) -> pd.DataFrame:
    """Return one row per value: value, records, share (of all records, 0 to 1).

    Those without a value last.
    """
    import pandas as pd

    rows = list(
        zip(
            all_shown(term.label for term in terms.top),
            (term.records for term in terms.top),
            strict=True,
        )
    )
    if terms.nulls:
        rows.append((NONE, terms.nulls))
    frame = pd.DataFrame(rows, columns=["value", "records"])
    return frame.assign(share=frame["records"] / max(1, terms.records))


def by_hour_and_weekday(source: Source, span: Span) -> pd.DataFrame:
    """Return 168 rows, Monday 0 to Sunday 23: weekday, hour, records.

    By the clock of the span's zone.
    """
    import pandas as pd

    if span.first_ms is None or span.last_ms is None:
        raise ValueError("no record has a time")
    ends = np.array([span.first_ms, span.last_ms], np.int64)
    # some clocks are half an hour apart
    every = 15 * MINUTE if (offsets(ends, span.zone) % HOUR).any() else HOUR
    counts = source.histogram(grid(span.first_ms, span.last_ms, every))
    starts = np.fromiter(counts.keys(), np.int64, len(counts))
    starts = starts + offsets(starts, span.zone)
    week = np.zeros((7, 24), np.int64)
    # The epoch was a Thursday: day 0 is weekday 3.
    np.add.at(
        week,
        ((starts // DAY + 3) % 7, starts // HOUR % 24),
        np.fromiter(counts.values(), np.int64, len(counts)),
    )
    days, hours = np.indices(week.shape)
    return pd.DataFrame(
        {"weekday": np.array(DAYS)[days.ravel()], "hour": hours.ravel(), "records": week.ravel()}
    )
