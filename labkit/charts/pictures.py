"""Pictures of counts: bars over time, bars of values, squares of hours; and their style."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, tzinfo
from typing import Any

from labkit.charts import counts, show
from labkit.charts.buckets import Grid, length
from labkit.charts.labels import NONE, NUMBER, OTHER, Labels, heading, picture_controls, tooltips
from labkit.charts.page_width import Way, mark_width

WIDTH, HEIGHT = 680, 260  # beside JupyterLab's files, in a window of 1300 px, with an axis
# on an axis of time; Vega's own are "11 PM" and, at 23:05, "11:05"
CLOCK = {"hours": "%H:%M", "minutes": "%H:%M"}
MOST_NAMED = 10
LEGEND_COLUMNS = 4
# Greys and colours of middle lightness: they are seen on white and on JupyterLab's dark #111.
INK, FAINT = show.INK, "#8f8f8f"
BLUE, ORANGE, GREY, DARK = "#4e8ac8", "#e8862b", "#9c9c9c", "#6f6f6f"
COLOURS = (
    "#4e8ac8", "#f28e2b", "#59a14f", "#e15759", "#b07aa1",
    "#3fb0ac", "#d9b300", "#ff82a9", "#9c755f", "#7b6fd0",
    "#86b8e6", "#ffbe7d", "#8cd17d", "#ff9d9a", "#d4a6c8",
    "#86d3cf", "#f1ce63", "#ffb7cf", "#c9a58e", "#b3abe8",
)  # fmt: skip


def subtitle(facts: Iterable[str], left_out: Sequence[str], label: str = "") -> list[str]:
    """Return the lines under a chart's title: what it shows, then what it leaves out."""
    return [", ".join(facts), *([label + "; ".join(left_out)] if left_out else [])]


def draw_nothing(title: str, text: str) -> Any:
    """Return a chart that says there is nothing to draw, and why."""
    return dress(draw_text(text), title, [])


def draw_text(text: str) -> Any:
    """Return a text in the place of a chart."""
    import altair as alt
    import pandas as pd

    mark = (
        alt.Chart(pd.DataFrame({"text": [picture_controls(text)]}))
        .mark_text(size=18)
        .encode(text="text:N")
    )
    return mark.properties(width=WIDTH, height=HEIGHT)


def zooming(timeline: counts.Timeline, by: str | None, *rows: Any) -> Any:
    """Return bars over time that a wheel with shift, or dragging, moves."""
    import altair as alt

    zoom = alt.selection_interval(
        name="zoom", bind="scales", encodings=["x"], zoom="wheel![event.shiftKey]"
    )
    return _stack_bars(timeline, by, None, *rows).add_params(zoom)


def with_line(timeline: counts.Timeline, words: str) -> Any:
    """Return bars over time, with a line of steps in front of them.

    The line says how many records were in each bucket so long before.
    """
    import altair as alt

    bars = zooming(timeline, None, ("earlier:Q", {"title": f"{words} earlier", "format": ",d"}))
    line = alt.Chart(timeline.frame).mark_line(
        color=ORANGE, interpolate="step-after", strokeWidth=2
    )
    line = line.encode(x="time:T" if timeline.grid.zone is UTC else "drawn:T", y="earlier:Q")
    return alt.layer(bars, line)


def link_bars(timeline: counts.Timeline, by: str | None) -> Any:
    """Return bars over time with a brush, and below them what is in the brush."""
    import altair as alt

    brush = alt.selection_interval(name="brush", encodings=["x"])
    above = _stack_bars(timeline, by, brush).add_params(brush)
    inside = alt.Chart(timeline.frame).transform_filter(brush)
    if by is None:
        subject = f"the largest {MOST_NAMED} buckets"
        y = alt.Y("from:N", title=f"from ({timeline.grid.zone})")
        y = y.sort(alt.EncodingSortField("rank", op="min")).axis(labelLimit=280)
        rank = alt.WindowFieldDef(op="row_number", **{"as": "rank"})
        largest = [alt.SortField("records", order="descending"), alt.SortField("time")]
        rows = add_bucket_times(inside.transform_joinaggregate(all="sum(records)"), timeline.grid)
        rows = rows.transform_window([rank], sort=largest).transform_filter(
            (alt.datum.rank <= MOST_NAMED) & (alt.datum.records > 0)
        )
    else:
        subject, labels = f"records by {by}", Labels(timeline.order)
        y = alt.Y(f"{NUMBER}:O", title=heading(by)).axis(
            labelLimit=280, labelExpr=labels.expression
        )
        y = y.sort(alt.EncodingSortField("records", op="max", order="descending"))
        inside = labels.number_rows(inside, "value")
        rows = inside.transform_aggregate(records="sum(records)", groupby=[NUMBER])
        rows = rows.transform_joinaggregate(all="sum(records)")
    label = _label("datum.records / max(1, datum.all)")
    base = rows.transform_calculate(label=label).encode(
        y=y,
        x=alt.X("records:Q", axis=None, scale=alt.Scale(range=[0, WIDTH - 240], nice=False)),
    )
    colour = (
        alt.value(BLUE) if by is None else alt.Color(f"{NUMBER}:O", scale=_colours(timeline.order))
    )
    bars = base.mark_bar(height={"band": 0.78}).encode(color=colour)
    text = base.mark_text(align="left", dx=5).encode(text="label:N")
    name = part_title(f"{subject} in the time you brush above")
    below = alt.layer(bars, text).properties(width=WIDTH - 120, height=alt.Step(21), title=name)
    return alt.vconcat(above, below, spacing=24)


def part_title(text: str) -> Any:
    """Return the title of one of a chart's parts."""
    import altair as alt

    return alt.TitleParams(
        heading(text), fontSize=12, fontWeight="normal", anchor="start", frame="group", offset=8
    )


def _label(share: str) -> str:
    """Return the expression of a bar's count and share; a small share is not 0.0%."""
    words = f"({share} > 0 && {share} < 0.0005 ? '<0.1%' : format({share}, '.1%'))"
    return f"format(datum.records, ',d') + ' (' + {words} + ')'"


def add_bucket_times(chart: Any, grid: Grid) -> Any:
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


def _stack_bars(timeline: counts.Timeline, by: str | None, brush: Any = None, *rows: Any) -> Any:
    """Return bars over time, stacked by value when there are values.

    Those beside the brush are dim. `rows` are more of the tooltip.
    """
    import altair as alt

    every, zone = timeline.grid.every_ms, timeline.grid.zone
    when = (("from:N", {"title": f"from ({zone})"}), ("records:Q", {"format": ",d"}), *rows)
    time = "time:T" if zone is UTC else "drawn:T"
    count = alt.Y(
        "records:Q", title=f"records per {length(every)}", axis=alt.Axis(format=",d", tickMinStep=1)
    )
    axis = alt.Axis(grid=False, format=CLOCK)
    chart = (
        add_bucket_times(alt.Chart(timeline.frame), timeline.grid)
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
        return _colour_bars(chart, timeline.order, by, brush)
    return chart if brush is None else chart.encode(opacity=_lit(brush))


def _lit(chosen: Any) -> Any:
    import altair as alt

    return alt.condition(chosen, alt.value(1), alt.value(0.15))


def _colours(order: tuple[str, ...]) -> Any:
    import altair as alt

    greys = {OTHER: GREY, NONE: DARK}
    colours = [greys.get(label, COLOURS[place % len(COLOURS)]) for place, label in enumerate(order)]
    return alt.Scale(domain=Labels(order).numbers, range=colours)


def _colour_bars(chart: Any, order: tuple[str, ...], by: str, brush: Any) -> Any:
    """Colour stacked bars by value; a click in the legend dims the others."""
    import altair as alt

    labels = Labels(order)
    selection = alt.selection_point(name="chosen", fields=[NUMBER], bind="legend")
    legend = legend_above("square", labelExpr=labels.expression)
    coloured = chart.encode(
        color=alt.Color(f"{NUMBER}:O", title=heading(by), scale=_colours(order), legend=legend),
        opacity=_lit(selection if brush is None else selection & brush),
        order=alt.Order(f"{NUMBER}:Q"),
    )
    return labels.number_rows(coloured, "value").add_params(selection)


def legend_above(symbol: str, **options: Any) -> Any:
    """Return a legend above its chart: beside it, a page has no room for both."""
    import altair as alt

    room = {"labelLimit": WIDTH // LEGEND_COLUMNS - 30, "columns": LEGEND_COLUMNS}
    return alt.Legend(symbolType=symbol, orient="top", titleOrient="left", **room, **options)


def rank_bars(frame: Any, field: str, title: str, lines: list[str]) -> Any:
    """Return one bar per value with its count at its end."""
    import altair as alt

    axis = alt.Axis(format=",d", tickMinStep=1, tickCount=6, grid=False)
    room = alt.Scale(domain=[0, max(1, int(frame["records"].max())) * 1.2], nice=False)
    labels = Labels(list(frame["value"]))
    base = labels.number_rows(alt.Chart(frame), "value").encode(
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
    label = _label("datum.share")
    text = (
        base.transform_calculate(label=label).mark_text(align="left", dx=5).encode(text="label:N")
    )
    chart = alt.layer(base.mark_bar(height={"band": 0.78}).encode(color=none), text)
    return dress(chart.properties(width=WIDTH - 120, height=alt.Step(21)), title, lines)


def squares(frame: Any, zone: tzinfo, title: str, lines: list[str]) -> Any:
    """Return weekdays x hours as coloured squares."""
    import altair as alt

    colour = alt.Scale(scheme="viridis", domain=[0, max(1, int(frame["records"].max()))], nice=True)
    chart = (
        alt.Chart(frame)
        .mark_rect()
        .encode(
            x=alt.X(
                "hour:O",
                title=f"hour of the day ({zone})",
                axis=alt.Axis(labelAngle=0, labelOverlap="greedy"),
            ),
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
    return dress(chart, title, lines)


def _title(title: str, lines: list[str]) -> Any:
    import altair as alt

    return alt.TitleParams(
        heading(title), subtitle=[picture_controls(line) for line in lines] or alt.Undefined
    )


def dress(chart: Any, title: str, lines: list[str], way: Way = "fills") -> Any:
    """Give a chart its title and its looks, and see that it can show itself."""
    show.enable()
    width = getattr(chart, "width", None)
    return (
        chart.properties(
            title=_title(title, lines),
            background=show.PAPER,
            usermeta=mark_width(width, way),
        )
        .configure_view(stroke=None)
        .configure_title(
            anchor="start",
            fontSize=15,
            color=INK,
            subtitleColor=INK,
            subtitleFontSize=12,
            offset=14,
        )
        .configure_axis(
            labelColor=INK,
            titleColor=INK,
            titleFontWeight="normal",
            titlePadding=8,
            labelSeparation=5,
            domainColor=FAINT,
            tickColor=FAINT,
            gridColor=FAINT,
            gridOpacity=0.25,
        )
        .configure_legend(labelColor=INK, titleColor=INK, titleFontWeight="normal")
        .configure_header(labelColor=INK, titleColor=INK)
        .configure_text(color=INK)
    )
