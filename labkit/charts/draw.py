"""The charts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from labkit.charts import counts
from labkit.charts.buckets import count_in_words, length, plural, share
from labkit.charts.labels import OTHER
from labkit.charts.pictures import (
    draw_nothing,
    dress,
    link_bars,
    rank_bars,
    squares,
    subtitle,
    with_line,
    zooming,
)
from labkit.charts.source import Source, Span, Terms
from labkit.checks.validation import refuses, renamed, whole_number
from labkit.errors import UsageError
from labkit.times import length_ms

if TYPE_CHECKING:
    import altair as alt

MOST_SERIES, MOST_BARS = 20, 200
_EVERY = "every='1h' says how long a bar is"
_BY = "by='channel' colours the bars by a field"


@renamed(field="time_field")
@refuses(freq=_EVERY, interval=_EVERY, rule=_EVERY, bins=_EVERY, color=_BY, hue=_BY)
def timeline(
    data: Any,
    by: str | None = None,
    *,
    every: str | timedelta | None = None,
    time_field: str | None = None,
    top: int = 8,
    table: bool = False,
    against: str | timedelta | None = None,
    query: counts.Query = None,
    title: str | None = None,
) -> alt.Chart | alt.LayerChart | alt.VConcatChart:
    """Draw how many records there are over time.

    Parameters
    ----------
    data : Replay, pandas.DataFrame, pyarrow.Table or ScratchIndex
        A frame from another library with an Arrow form, such as polars, will do too.
    by : str, optional
        Stack the counts by this field: its `top` most frequent values, the rest as "other", nulls
        as "(none)".
    every : str or timedelta, optional
        A bucket's length: ``"1h"``; by default a usual length that makes 60 to 200 buckets. Days
        begin at midnight, whole weeks on Monday, in the lab's zone; empty buckets are drawn as
        zero.
    time_field : str, optional
        The field that says when; by default ``_timestamp`` (the record's own), in a scratch index
        ``@timestamp``, else the only column of times. A column of ISO 8601 texts will do when
        named.
    top : int
        How many values of `by` get a colour of their own: 1 to 20.
    table : bool
        Below, count the values of `by` (without it: name the largest buckets) in the part of the
        time that is brushed with the mouse; of all of it as long as none is. A click beside the
        brush takes it away.
    against : str or timedelta, optional
        Draw a line of how many records there were so long before, in the same data: ``"1w"`` of a
        window of two weeks is this week against the last one. Bars begin where the data reaches so
        far back; without `by` and `table`.
    query : str or dict, optional
        Of an index: only the documents that fulfil it; Elasticsearch's query DSL as a dict, or a
        text such as ``"nick:alice AND command:PRIVMSG"``.
    title : str, optional
        In place of labkit's.

    Returns
    -------
    altair.Chart, or altair.VConcatChart with `table`, altair.LayerChart with `against`
        ``.data`` has one row per bucket and value: time (the bucket's start), records and, with
        `by`, value, with `against`, earlier.

    Raises
    ------
    UsageError
        When there is no such field, no time, `every` makes more than 5,000 rows, or no data reaches
        `against` back.
    """
    if against is not None and (by is not None or table):
        raise UsageError(
            "against cannot go with by or table: it compares all records",
            hint="leave them out, or choose records with where= first",
        )
    top = whole_number(
        top, "top", f"a chart has room for 1 to {MOST_SERIES} colours", low=1, high=MOST_SERIES
    )
    source = counts.open_source(counts.narrow(data, query), time_field)
    span = source.span
    title = title or title_of(source.name, "records over time" + (f" by {by}" if by else ""))
    if not span.timed:
        if by is not None:
            source.terms(by, 1, timed=True)  # a wrong name is an error, be there records or not
        return draw_nothing(title, _no_records(span))
    if against is not None:
        return _against(source, span, every, length_ms(against), title)
    if by is None:
        series = counts.over_time(source, span, every)
        lines = _subtitle_lines(span, every_ms=series.grid.every_ms)
    else:
        series = counts.over_time_by(source, span, by, every, top)
        lines = _subtitle_lines(span, every_ms=series.grid.every_ms, field=by, terms=series.terms)
    return dress(link_bars(series, by) if table else zooming(series, by), title, lines)


def _against(
    source: Source, span: Span, every: str | timedelta | None, by_ms: int, title: str
) -> alt.LayerChart:
    """Draw bars over time, and a line of how many records there were so long before."""
    series = counts.over_time_against(source, span, every, by_ms)
    total, before = int(series.frame["records"].sum()), int(series.frame["earlier"].sum())
    shown = replace(span, timed=total, first_ms=max(series.grid.start_ms, span.first_ms or 0))
    long = length(by_ms)
    words = f"1 {long}" if long.isalpha() else long
    (facts, *_) = _subtitle_lines(shown, every_ms=series.grid.every_ms)
    lines = [facts, f"the line: {words} earlier, {count_in_words(before)}"]
    if span.timed < span.records:
        lines.append(f"{count_in_words(span.records - span.timed)} without a time left out")
    return dress(with_line(series, words), title, lines)


def top(
    data: Any, field: str, n: int = 20, *, query: counts.Query = None, title: str | None = None
) -> alt.Chart:
    """Draw the `n` most frequent values of a field.

    Parameters
    ----------
    data : Replay, pandas.DataFrame, pyarrow.Table or ScratchIndex
        A frame from another library with an Arrow form, such as polars, will do too.
    field : str
        Whose values to count; ``geo.country`` is a struct's member. Ties are in the values' order.
    n : int
        How many: 1 to 200.
    query : str or dict, optional
        Of an index: only the documents that fulfil it; Elasticsearch's query DSL as a dict, or a
        text such as ``"nick:alice AND command:PRIVMSG"``.
    title : str, optional
        In place of labkit's.

    Returns
    -------
    altair.Chart
        ``.data`` has one row per value: value, records, share (of all records, 0 to 1). Nulls, if
        any, are the last row, "(none)".

    Raises
    ------
    UsageError
        When there is no such field, or its values cannot be counted.

    Notes
    -----
    A scratch index leaves out texts longer than 1,024 characters: its keyword subfields hold no
    longer ones.
    """
    n = whole_number(n, "n", f"a chart has room for 1 to {MOST_BARS} bars", low=1, high=MOST_BARS)
    source = counts.open_source(counts.narrow(data, query), None, needed=False)
    terms = source.terms(field, n, timed=False)
    if not terms.records:
        return draw_nothing(
            title or title_of(source.name, f"top {plural(field)}"), _no_records(source.span)
        )
    many = len(terms.top) < terms.distinct
    title = title or title_of(
        source.name, f"top {len(terms.top)} {plural(field)}" if many else f"records by {field}"
    )
    return rank_bars(
        counts.rank_values(terms),
        field,
        title,
        _subtitle_lines(source.span, field=field, terms=terms, timed=False),
    )


@renamed(field="time_field")
def heatmap(
    data: Any,
    *,
    time_field: str | None = None,
    query: counts.Query = None,
    title: str | None = None,
) -> alt.Chart:
    """Draw how many records there are by hour of the day and weekday.

    Parameters
    ----------
    data : Replay, pandas.DataFrame, pyarrow.Table or ScratchIndex
        A frame from another library with an Arrow form, such as polars, will do too.
    time_field : str, optional
        The field that says when, as for `timeline`.
    query : str or dict, optional
        Of an index: only the documents that fulfil it; Elasticsearch's query DSL as a dict, or a
        text such as ``"nick:alice AND command:PRIVMSG"``.
    title : str, optional
        In place of labkit's.

    Returns
    -------
    altair.Chart
        ``.data`` has 168 rows: weekday, hour, records.

    Raises
    ------
    UsageError
        When there is no such field, or no time.
    """
    source = counts.open_source(counts.narrow(data, query), time_field)
    span = source.span
    title = title or title_of(source.name, "records by hour and weekday")
    if not span.timed:
        return draw_nothing(title, _no_records(span))
    return squares(
        counts.by_hour_and_weekday(source, span), span.zone, title, _subtitle_lines(span)
    )


def title_of(name: str, what: str) -> str:
    """Return a chart's title: what the data is called, and what is shown of it."""
    return f"{name}: {what}" if name else what[0].upper() + what[1:]


def _subtitle_lines(
    span: Span,
    *,
    every_ms: int | None = None,
    field: str = "",
    terms: Terms | None = None,
    timed: bool = True,
) -> list[str]:
    """Return the lines that say what a chart shows and what it leaves out."""
    facts = [count_in_words(span.timed if timed else span.records)]
    if terms is not None:
        about = "" if terms.distinct_exact else "about "
        facts.append(f"{len(terms.top):,} of {about}{terms.distinct:,} {plural(field)}")
    if span.first_ms is not None and span.last_ms is not None:
        when, zone = span.when
        facts += [when, *([f"per {length(every_ms)}"] if every_ms else []), zone]
    left = []
    if terms is not None and terms.rest:
        rest_words = "1 other value" if terms.distinct - len(terms.top) == 1 else "other values"
        where = f'are "{OTHER}"' if timed else "not shown"
        left.append(
            f"{count_in_words(terms.rest)} ({share(terms.rest, terms.records)}) with {rest_words} {where}"
        )
    if timed and span.timed < span.records:
        left.append(f"{count_in_words(span.records - span.timed)} without a time left out")
    return subtitle(facts, left)


def _no_records(span: Span) -> str:
    return (
        "no records" if not span.records else f"no records with a time ({span.records:,} without)"
    )
