"""The charts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

from labkit.charts import counts, show
from labkit.charts.buckets import Grid, counted, length, plural, share
from labkit.charts.labels import NONE, NUMBER, OTHER, Labels, heading, pictured, tooltips
from labkit.charts.source import Source, Span, Terms
from labkit.errors import UsageError
from labkit.times import length_ms
from labkit.validation import whole

if TYPE_CHECKING:
    import altair as alt

WIDTH, HEIGHT = 720, 260
# on an axis of time; Vega's own are "11 PM" and, at 23:05, "11:05"
CLOCK = {"hours": "%H:%M", "minutes": "%H:%M"}
MOST_SERIES, MOST_BARS, MOST_NAMED = 20, 200, 10
# Greys and colours of middle lightness: they read on white and on JupyterLab's dark #111, as the
# background is clear.
INK, QUIET, FAINT = "#7a7a7a", "#7d7d7d", "#8f8f8f"
BLUE, ORANGE, GREY, DARK = "#4e8ac8", "#e8862b", "#9c9c9c", "#6f6f6f"
COLOURS = (
    *(
        "#4e8ac8",
        "#f28e2b",
        "#59a14f",
        "#e15759",
        "#b07aa1",
        "#3fb0ac",
        "#d9b300",
        "#ff82a9",
        "#9c755f",
        "#7b6fd0",
    ),
    *(
        "#86b8e6",
        "#ffbe7d",
        "#8cd17d",
        "#ff9d9a",
        "#d4a6c8",
        "#86d3cf",
        "#f1ce63",
        "#ffb7cf",
        "#c9a58e",
        "#b3abe8",
    ),
)


def timeline(
    data: Any,
    by: str | None = None,
    *,
    every: str | timedelta | None = None,
    field: str | None = None,
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
    field : str, optional
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
            "against= compares all records",
            hint="leave by= and table= out, or choose with where= first",
        )
    top = whole(
        top, "top", f"a chart has room for 1 to {MOST_SERIES} colours", low=1, high=MOST_SERIES
    )
    source = counts.opened(counts.narrowed(data, query), field)
    span = source.span
    title = title or titled(source, "records over time" + (f" by {by}" if by else ""))
    if not span.timed:
        if by is not None:
            source.terms(by, 1, timed=True)  # a wrong name is an error, be there records or not
        return nothing(title, _no_records(span))
    if against is not None:
        return _against(source, span, every, length_ms(against), title)
    if by is None:
        series = counts.over_time(source, span, every)
        lines = _told(span, every_ms=series.grid.every_ms)
    else:
        series = counts.over_time_by(source, span, by, every, top)
        lines = _told(span, every_ms=series.grid.every_ms, field=by, terms=series.terms)
    return dressed(_linked(series, by) if table else _zooming(series, by), title, lines)


def _against(
    source: Source, span: Span, every: str | timedelta | None, by_ms: int, title: str
) -> alt.LayerChart:
    """Draw bars over time, and a line of how many records there were so long before."""
    series = counts.over_time_against(source, span, every, by_ms)
    total, before = int(series.frame["records"].sum()), int(series.frame["earlier"].sum())
    shown = replace(span, timed=total, first_ms=max(series.grid.start_ms, span.first_ms or 0))
    long = length(by_ms)
    words = f"1 {long}" if long.isalpha() else long
    (facts, *_) = _told(shown, every_ms=series.grid.every_ms)
    lines = [facts, f"the line: {words} earlier, {counted(before)}"]
    if span.timed < span.records:
        lines.append(f"{counted(span.records - span.timed)} without a time left out")
    return dressed(_with_line(series, words), title, lines)


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
    n = whole(n, "n", f"a chart has room for 1 to {MOST_BARS} bars", low=1, high=MOST_BARS)
    source = counts.opened(counts.narrowed(data, query), None, needed=False)
    terms = source.terms(field, n, timed=False)
    if not terms.records:
        return nothing(title or titled(source, f"top {plural(field)}"), _no_records(source.span))
    many = len(terms.top) < terms.distinct
    title = title or titled(
        source, f"top {len(terms.top)} {plural(field)}" if many else f"records by {field}"
    )
    return _bars(
        counts.ranked(terms),
        field,
        title,
        _told(source.span, field=field, terms=terms, timed=False),
    )


def heatmap(
    data: Any, *, field: str | None = None, query: counts.Query = None, title: str | None = None
) -> alt.Chart:
    """Draw how many records there are by hour of the day and weekday.

    Parameters
    ----------
    data : Replay, pandas.DataFrame, pyarrow.Table or ScratchIndex
        A frame from another library with an Arrow form, such as polars, will do too.
    field : str, optional
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
    source = counts.opened(counts.narrowed(data, query), field)
    span = source.span
    title = title or titled(source, "records by hour and weekday")
    if not span.timed:
        return nothing(title, _no_records(span))
    return _squares(counts.by_hour_and_weekday(source, span), span.zone, title, _told(span))


# words ---------------------------------------------------------------------------------------------------


def titled(source: Source, what: str) -> str:
    """Return a chart's title: what the data is called, and what is shown of it."""
    return f"{source.name}: {what}" if source.name else what[0].upper() + what[1:]


def _told(
    span: Span,
    *,
    every_ms: int | None = None,
    field: str = "",
    terms: Terms | None = None,
    timed: bool = True,
) -> list[str]:
    """Return the lines that say what a chart shows and what it leaves out."""
    facts = [counted(span.timed if timed else span.records)]
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
            f"{counted(terms.rest)} ({share(terms.rest, terms.records)}) with {rest_words} {where}"
        )
    if timed and span.timed < span.records:
        left.append(f"{counted(span.records - span.timed)} without a time left out")
    return [", ".join(facts), *(["; ".join(left)] if left else [])]


def _no_records(span: Span) -> str:
    return (
        "no records" if not span.records else f"no records with a time ({span.records:,} without)"
    )


def nothing(title: str, text: str) -> Any:
    """Return a chart that says there is nothing to draw, and why."""
    import altair as alt
    import pandas as pd

    mark = (
        alt.Chart(pd.DataFrame({"text": [pictured(text)]}))
        .mark_text(size=18, color=INK)
        .encode(text="text:N")
    )
    return dressed(mark.properties(width=WIDTH, height=HEIGHT), title, [])


# pictures ------------------------------------------------------------------------------------------------


def _zooming(found: counts.Timeline, by: str | None, *rows: Any) -> Any:
    """Return bars over time that a wheel with shift, or dragging, moves."""
    import altair as alt

    zoom = alt.selection_interval(
        name="zoom", bind="scales", encodings=["x"], zoom="wheel![event.shiftKey]"
    )
    return _stacked(found, by, None, *rows).add_params(zoom)


def _with_line(found: counts.Timeline, words: str) -> Any:
    """Return bars over time, with a line of steps in front of them.

    The line says how many records were in each bucket so long before.
    """
    import altair as alt

    bars = _zooming(found, None, ("earlier:Q", {"title": f"{words} earlier", "format": ",d"}))
    line = alt.Chart(found.frame).mark_line(color=ORANGE, interpolate="step-after", strokeWidth=2)
    line = line.encode(x="time:T" if found.grid.zone is UTC else "drawn:T", y="earlier:Q")
    return alt.layer(bars, line)


def _linked(found: counts.Timeline, by: str | None) -> Any:
    """Return bars over time with a brush, and below them what is in the brush."""
    import altair as alt

    brush = alt.selection_interval(name="brush", encodings=["x"])
    above = _stacked(found, by, brush).add_params(brush)
    inside = alt.Chart(found.frame).transform_filter(brush)
    if by is None:
        subject = f"the largest {MOST_NAMED} buckets"
        y = alt.Y("from:N", title=f"from ({found.grid.zone})")
        y = y.sort(alt.EncodingSortField("rank", op="min")).axis(labelLimit=280)
        rank = alt.WindowFieldDef(op="row_number", **{"as": "rank"})
        largest = [alt.SortField("records", order="descending"), alt.SortField("time")]
        rows = _stamped(inside.transform_joinaggregate(all="sum(records)"), found.grid)
        rows = rows.transform_window([rank], sort=largest).transform_filter(
            (alt.datum.rank <= MOST_NAMED) & (alt.datum.records > 0)
        )
    else:
        subject, labels = f"records by {by}", Labels(found.order)
        y = alt.Y(f"{NUMBER}:O", title=heading(by)).axis(
            labelLimit=280, labelExpr=labels.expression
        )
        y = y.sort(alt.EncodingSortField("records", op="max", order="descending"))
        inside = labels.numbered(inside, "value")
        rows = inside.transform_aggregate(records="sum(records)", groupby=[NUMBER])
        rows = rows.transform_joinaggregate(all="sum(records)")
    label = "format(datum.records, ',d') + ' (' + format(datum.records / max(1, datum.all), '.1%') + ')'"
    base = rows.transform_calculate(label=label).encode(
        y=y,
        x=alt.X("records:Q", axis=None, scale=alt.Scale(range=[0, WIDTH - 240], nice=False)),
    )
    colour = (
        alt.value(BLUE) if by is None else alt.Color(f"{NUMBER}:O", scale=_colours(found.order))
    )
    bars = base.mark_bar(height={"band": 0.78}).encode(color=colour)
    text = base.mark_text(align="left", dx=5, color=INK).encode(text="label:N")
    name = alt.TitleParams(
        heading(f"{subject} in the time you brush above"),
        fontSize=12,
        fontWeight="normal",
        anchor="start",
        frame="group",
        offset=8,
    )
    below = alt.layer(bars, text).properties(width=WIDTH - 120, height=alt.Step(21), title=name)
    return alt.vconcat(above, below, spacing=24)


def _stamped(chart: Any, grid: Grid) -> Any:
    """Give each bucket its start as text and its end.

    In another zone than UTC its rows have them.
    """
    if grid.zone is not UTC:
        return chart
    every_ms = grid.every_ms
    fine = every_ms % 60_000, every_ms % 86_400_000
    stamp = "%Y-%m-%d %H:%M:%S" if fine[0] else "%Y-%m-%d %H:%M" if fine[1] else "%Y-%m-%d"
    expressions = {
        "until": f"+toDate(datum.time) + {every_ms}",
        "from": f"utcFormat(toDate(datum.time), '{stamp}')",
    }
    return chart.transform_calculate(**expressions)


def _stacked(found: counts.Timeline, by: str | None, brush: Any = None, *rows: Any) -> Any:
    """Return bars over time, stacked by value when there are values.

    Those beside the brush are dim. `rows` are more of the tooltip.
    """
    import altair as alt

    every, zone = found.grid.every_ms, found.grid.zone
    when = (("from:N", {"title": f"from ({zone})"}), ("records:Q", {"format": ",d"}), *rows)
    time = "time:T" if zone is UTC else "drawn:T"
    count = alt.Y(
        "records:Q", title=f"records per {length(every)}", axis=alt.Axis(format=",d", tickMinStep=1)
    )
    axis = alt.Axis(grid=False, format=CLOCK)
    chart = (
        _stamped(alt.Chart(found.frame), found.grid)
        .mark_bar(color=BLUE, orient="vertical")
        .encode(
            x=alt.X(
                time, title=f"time ({zone})", scale=alt.Scale(type="utc", nice=False), axis=axis
            ),
            x2="until:T",
            y=count,
            tooltip=tooltips(*(when if by is None else (("value:N", {"title": by}), *when))),
        )
        .properties(width=WIDTH, height=HEIGHT)
    )
    if by is not None:
        return _coloured(chart, found.order, by, brush)
    return chart if brush is None else chart.encode(opacity=_lit(brush))


def _lit(chosen: Any) -> Any:
    import altair as alt

    return alt.condition(chosen, alt.value(1), alt.value(0.15))


def _colours(order: tuple[str, ...]) -> Any:
    import altair as alt

    greys = {OTHER: GREY, NONE: DARK}
    colours = [greys.get(label, COLOURS[place % len(COLOURS)]) for place, label in enumerate(order)]
    return alt.Scale(domain=Labels(order).numbers, range=colours)


def _coloured(chart: Any, order: tuple[str, ...], by: str, brush: Any) -> Any:
    """Colour stacked bars by value; a click in the legend dims the others."""
    import altair as alt

    labels = Labels(order)
    selection = alt.selection_point(name="chosen", fields=[NUMBER], bind="legend")
    legend = alt.Legend(symbolType="square", labelLimit=180, labelExpr=labels.expression)
    coloured = chart.encode(
        color=alt.Color(f"{NUMBER}:O", title=heading(by), scale=_colours(order), legend=legend),
        opacity=_lit(selection if brush is None else selection & brush),
        order=alt.Order(f"{NUMBER}:Q"),
    )
    return labels.numbered(coloured, "value").add_params(selection)


def _bars(frame: Any, field: str, title: str, lines: list[str]) -> Any:
    """Return one bar per value with its count at its end."""
    import altair as alt

    axis = alt.Axis(format=",d", tickMinStep=1, tickCount=6, grid=False)
    room = alt.Scale(domain=[0, max(1, int(frame["records"].max())) * 1.2], nice=False)
    labels = Labels(list(frame["value"]))
    base = labels.numbered(alt.Chart(frame), "value").encode(
        y=alt.Y(
            f"{NUMBER}:O",
            title=heading(field),
            axis=alt.Axis(labelLimit=280, labelExpr=labels.expression),
        ),
        x=alt.X("records:Q", title="records", scale=room, axis=axis),
        tooltip=tooltips(
            ("value:N", {"title": field}),
            ("records:Q", {"format": ",d"}),
            ("share:Q", {"title": "share of all records", "format": ".1%"}),
        ),
    )
    none = alt.condition(alt.datum.value == NONE, alt.value(DARK), alt.value(BLUE))
    label = "format(datum.records, ',d') + ' (' + format(datum.share, '.1%') + ')'"
    text = (
        base.transform_calculate(label=label)
        .mark_text(align="left", dx=5, color=INK)
        .encode(text="label:N")
    )
    chart = alt.layer(base.mark_bar(height={"band": 0.78}).encode(color=none), text)
    return dressed(chart.properties(width=WIDTH - 120, height=alt.Step(21)), title, lines)


def _squares(frame: Any, zone: tzinfo, title: str, lines: list[str]) -> Any:
    """Return weekdays x hours as coloured squares."""
    import altair as alt

    colour = alt.Scale(scheme="viridis", domain=[0, max(1, int(frame["records"].max()))], nice=True)
    chart = (
        alt.Chart(frame)
        .mark_rect()
        .encode(
            x=alt.X("hour:O", title=f"hour of the day ({zone})", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("weekday:O", title=f"weekday ({zone})", sort=list(counts.DAYS)),
            color=alt.Color(
                "records:Q",
                title="records",
                scale=colour,
                legend=alt.Legend(format=",d", gradientLength=190, tickCount=5),
            ),
            tooltip=tooltips(
                "weekday:O",
                ("hour:O", {"title": f"hour ({zone})"}),
                ("records:Q", {"format": ",d"}),
            ),
        )
        .properties(width=WIDTH, height=224)
    )
    return dressed(chart, title, lines)


def _title(title: str, lines: list[str]) -> Any:
    import altair as alt

    return alt.TitleParams(
        heading(title), subtitle=[pictured(line) for line in lines] or alt.Undefined
    )


def dressed(chart: Any, title: str, lines: list[str]) -> Any:
    """Give a chart its title and its looks, and see that it can show itself."""

    show.enable()
    return (
        chart.properties(title=_title(title, lines), background="transparent")
        .configure_view(stroke=None)
        .configure_title(
            anchor="start",
            fontSize=15,
            color=INK,
            subtitleColor=QUIET,
            subtitleFontSize=12,
            offset=14,
        )
        .configure_axis(
            labelColor=INK,
            titleColor=INK,
            titleFontWeight="normal",
            titlePadding=8,
            domainColor=FAINT,
            tickColor=FAINT,
            gridColor=FAINT,
            gridOpacity=0.25,
        )
        .configure_legend(labelColor=INK, titleColor=INK, titleFontWeight="normal")
    )
