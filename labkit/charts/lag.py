"""Charts of consumers: their lag over time, and what each does at a glance."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.charts.buckets import period
from labkit.charts.clock import in_zone, positions, stamps
from labkit.charts.labels import (
    NUMBER,
    Labels,
    all_shown,
    picture_controls,
    shorten_label,
    tooltips,
)
from labkit.charts.pictures import CLOCK, COLOURS, WIDTH, draw_nothing, dress, legend_above
from labkit.errors import UsageError
from labkit.groups.history import KEY, samples_of
from labkit.groups.lag import judge_all, worst
from labkit.groups.states import Doing, Verdict
from labkit.text.counts import number_of
from labkit.text.visible import a_type_of

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

MOST_LINES, MOST_POINTS = 12, 600
MOST_ROWS, MOST_TILES, WINDOW = 40, 48, 10
_HISTORY = "lab.lag_history(PATH) reads one"
_LOOK = "lab.lag(GROUP) takes one, lab.lag_history(PATH) reads some"
TILE_TEXT = "#111111"  # white is pale on most of the tiles' colours
DOING = {
    Doing.READING: "#59a14f",
    Verdict.SLOW: "#f28e2b",
    Verdict.REWOUND: "#b07aa1",
    Doing.STUCK: "#e15759",
    Doing.OFFLINE: "#7d7d7d",
    Doing.IDLE: "#86b8e6",
    Doing.UNKNOWN: "#d9b300",
}


def lag(history: pd.DataFrame, *, title: str | None = None) -> alt.VConcatChart | alt.Chart:
    """Draw how far behind consumers were over time, and how fast they read what was written.

    Parameters
    ----------
    history : DataFrame
        Of `lab.lag_history`. Of one group, its partitions are drawn; of several, the groups.
    title : str, optional
        In place of labkit's.

    Returns
    -------
    altair.VConcatChart
        Three panels over time, in the history's zone: lag in records, age of the next record in
        seconds, and records per second read (committed) and written. ``.data`` has one row per line
        and look: at, line, lag, behind_s, read, written; and ``drawn`` and ``when``, where it is on
        the axis and in words.

    Raises
    ------
    UsageError
        When it is no history.
    """
    import altair as alt

    rows, line = _rows(history)
    if rows.empty:
        return draw_nothing(title or "Lag over time", "no looks")
    every = rows["line"].nunique()
    keep = list(rows.groupby("line")["lag"].max().sort_values(ascending=False).index[:MOST_LINES])
    rows = _broken(_thin_out(rows[rows["line"].isin(keep)]))
    kept = sorted(keep)
    names = all_shown(kept)
    rows = rows.assign(line=rows["line"].map(dict(zip(kept, names, strict=True))))
    labels = Labels(names)
    colours = alt.Scale(domain=labels.numbers, range=list(COLOURS[: len(names)]))
    colour = alt.Color(
        f"{NUMBER}:O",
        title=line,
        scale=colours,
        legend=legend_above("circle", labelExpr=labels.expression),
    )
    start, end = (int(rows["at"].agg(edge).timestamp() * 1000) for edge in ("min", "max"))
    zone = rows["at"].dt.tz
    rows["drawn"], rows["when"] = _by_the_clock(rows["at"], zone)
    stamp = "%H:%M:%S" if end - start < 1_800_000 else CLOCK
    axis = alt.Axis(grid=False, format=stamp, tickCount=8, title=None)
    base = labels.number_rows(alt.Chart(rows), "line").encode(
        x=alt.X("drawn:T", scale=alt.Scale(type="utc", nice=False), axis=axis),
        color=colour,
        tooltip=tooltips("line:N", ("when:N", {"title": f"at ({zone})"}), "lag:Q", "behind_s:Q"),
    )
    panels = [
        _lines(base, "lag:Q", "lag (records)", 190),
        _lines(base, "behind_s:Q", "next record's age (s)", 110),
        _rates(base),
    ]
    shown = (
        f"; {len(keep)} of {every} {line}s, those with the largest lag" if every > len(keep) else ""
    )
    lines = [f"{period(start, end, zone)}, {zone}{shown}"]
    lines.append("solid: read (committed offsets); dashed: written (log end)")
    if uncounted := rows.attrs["uncounted"]:
        lines.append(
            f"lag of {number_of(uncounted, 'partition')} not known and not counted: "
            "nothing committed, or the log's ends could not be asked"
        )
    group = f"{rows.attrs['group']}: " if rows.attrs.get("group") else ""
    return dress(
        alt.vconcat(*panels, spacing=8),
        title or (f"{group}lag over time" if group else "Lag over time"),
        lines,
    )


def _by_the_clock(at: pd.Series, zone: tzinfo) -> tuple[Any, list[str]]:
    """Return where looks are on the axis, by the zone's clock, and their times in words."""
    moments = (
        at.dt.as_unit("ms").dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("int64")
    )
    return in_zone(positions(moments, zone), UTC), stamps(moments, zone, 1000)


def _lines(base: Any, field: str, title: str, height: int) -> Any:
    import altair as alt

    axis = alt.Axis(format=",d", tickMinStep=1, tickCount=5)
    encoded = base.encode(y=alt.Y(field, title=title, axis=axis))
    return encoded.mark_line(point={"size": 18}, strokeWidth=1.8).properties(
        width=WIDTH, height=height
    )


def _rates(base: Any) -> Any:
    import altair as alt

    axis = alt.Axis(format=",.2~f", tickCount=5)
    lines = [
        base.mark_line(strokeWidth=1.8, strokeDash=dash).encode(
            y=alt.Y(field, title="records per second", axis=axis)
        )
        for field, dash in (("read:Q", [1, 0]), ("written:Q", [4, 3]))
    ]
    return alt.layer(*lines).properties(width=WIDTH, height=110)


def _rows(history: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return one row per line and look; a line is a group, or a partition of the only group."""
    import pandas as pd

    _require_frame(
        history, {*KEY, "lag", "behind_ms", "committed", "log_end"}, "history of lag", _HISTORY
    )
    rows = history.sort_values(KEY)
    one_group = rows["group"].nunique() == 1
    topics = rows["topic"].nunique()
    label = (
        rows["partition"].astype(str)
        if topics == 1
        else rows["topic"] + "[" + rows["partition"].astype(str) + "]"
    )
    rows = rows.assign(
        line=label if one_group else rows["group"], behind_s=rows["behind_ms"] / 1000
    )
    steps = rows.groupby(["group", "topic", "partition"], observed=True)
    seconds = steps["at"].diff().dt.total_seconds()
    for name, field in (("read", "committed"), ("written", "log_end")):
        rows[name] = steps[field].diff() / seconds
    wide = rows.groupby(["line", "at"], observed=True, as_index=False)
    sums = wide[["lag", "read", "written"]].sum(min_count=1)
    sums["behind_s"] = wide["behind_s"].max()["behind_s"]
    numbers = ["lag", "read", "written", "behind_s"]
    sums = sums.astype(dict.fromkeys(numbers, "Float64")).astype(dict.fromkeys(numbers, float))
    sums["at"] = pd.to_datetime(sums["at"], utc=True).dt.tz_convert(
        getattr(history["at"].dtype, "tz", None) or UTC
    )
    sums.attrs["group"] = str(rows["group"].iloc[0]) if one_group else ""
    sums.attrs["uncounted"] = _count_unknown(rows)
    return sums, "partition" if one_group else "group"


def _count_unknown(rows: pd.DataFrame) -> int:
    """Return how many partitions have no known lag at the last look.

    Partitions with nothing to read are not counted.
    """
    last = rows.drop_duplicates(["group", "topic", "partition"], keep="last")
    start = last.get("log_start", 0)
    empty = last["committed"].isna() & last["log_end"].notna() & (last["log_end"] <= start)
    return int((last["lag"].isna() & ~empty.fillna(False)).sum())


def _require_frame(data: Any, columns: Iterable[str], what: str, hint: str) -> None:
    import pandas as pd

    if not isinstance(data, pd.DataFrame):
        raise UsageError(f"a {what} is needed, not {a_type_of(data)}", hint=hint)
    if missing := sorted(set(columns) - set(data.columns)):
        raise UsageError(
            f"this DataFrame is not a {what}: it lacks {', '.join(missing)}", hint=hint
        )


def _thin_out(rows: pd.DataFrame) -> pd.DataFrame:
    """Return at most so many points a line: the one with the largest lag of each stretch."""
    if rows.groupby("line").size().max() <= MOST_POINTS:
        return rows
    first, last = rows["at"].min(), rows["at"].max()
    stretch = ((rows["at"] - first) / ((last - first) / MOST_POINTS)).astype(int).rename("stretch")
    keep = rows["lag"].fillna(-1).groupby([rows["line"], stretch]).idxmax()
    points: pd.DataFrame = rows.loc[keep].sort_values(["line", "at"])
    return points


def _broken(rows: pd.DataFrame) -> pd.DataFrame:
    """Break each line where no look was taken for long: a line across would be a guess."""
    import pandas as pd

    step = rows.groupby("line")["at"].diff()
    usual = step.median()
    holes = rows[step > 5 * usual]
    if pd.isna(usual) or holes.empty:
        return rows
    between = holes.assign(
        at=holes["at"] - usual, **dict.fromkeys(("lag", "read", "written", "behind_s"), np.nan)
    )
    rows_and_breaks = pd.concat([rows, between]).sort_values(["line", "at"])
    rows_and_breaks.attrs = rows.attrs
    return rows_and_breaks


def board(data: pd.DataFrame, *, title: str | None = None) -> alt.LayerChart | alt.Chart:
    """Draw the consumers at a glance: a row for each group, a tile for each of its partitions.

    Parameters
    ----------
    data : DataFrame
        Of `lab.lag`, or of `lab.lag_history`: then judged by its last 10 looks.
    title : str, optional
        In place of labkit's.

    Returns
    -------
    altair.LayerChart
        Tiles are coloured by what the partition's consumer does, and bear the lag. ``.data`` has
        one row per tile.

    Raises
    ------
    UsageError
        When it is neither.
    """
    import altair as alt

    tiles, lines = _tiles(data)
    if tiles.empty:
        return draw_nothing(title or "What consumers do", "no group")
    most = int(tiles["place"].max()) + 1
    width = min(76, max(14, (WIDTH - 60) // most))
    shown_states = [name for name in DOING if name in set(tiles["doing"])]
    scale = alt.Scale(domain=shown_states, range=[DOING[name] for name in shown_states])
    labels = Labels(list(dict.fromkeys(tiles["label"])))
    base = labels.number_rows(alt.Chart(tiles), "label").encode(
        x=alt.X("place:O", title="partitions of the group", scale=alt.Scale(paddingInner=0.06),
                axis=alt.Axis(labels=False, ticks=False, domain=False)),
        y=alt.Y(
            f"{NUMBER}:O", title=None, scale=alt.Scale(paddingInner=0.1),
            axis=alt.Axis(labelLimit=420, ticks=False, domain=False, labelExpr=labels.expression),
        ),
        tooltip=tooltips("group:N", "topic:N", "partition:Q", "verdict:N", "why:N", "lag:Q", "member:N"),
    )  # fmt: skip
    squares = base.mark_rect(cornerRadius=3).encode(
        color=alt.Color(
            "doing:N", title=None, scale=scale, legend=alt.Legend(orient="top", symbolType="square")
        )
    )
    layers = [squares]
    if width >= 30:
        layers.append(
            base.mark_text(
                color=TILE_TEXT,
                fontSize=11,
                fontWeight="bold",
                opacity=alt.ExprRef("bandwidth('x') < 26 ? 0 : 1"),
            ).encode(text="text:N")
        )
    chart = alt.layer(*layers).properties(width=width * most, height=alt.Step(30))
    return dress(chart, title or "What consumers do", lines, "shrinks")


def _tiles(data: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    import pandas as pd

    names = ["group", "topic", "partition", "verdict", "doing", "why", "lag", "member", "seconds"]
    _require_frame(data, [], "look at consumers", _LOOK)
    if "doing" in data.columns:
        _require_frame(data, names, "look at consumers", _LOOK)
        rows = data[names].copy()
    else:
        judged = judge_all(samples_of(data, WINDOW))
        rows = pd.DataFrame(
            [[getattr(verdict, name) for name in names] for verdict in judged], columns=names
        )
    if rows.empty:
        return rows, []
    rows["lag"] = rows["lag"].astype("Float64").astype(float)
    rows["doing"] = rows["doing"].where(
        ~rows["verdict"].isin([Verdict.SLOW, Verdict.REWOUND]), rows["verdict"]
    )
    rows["text"] = ["-" if np.isnan(records) else f"{records:,.0f}" for records in rows["lag"]]
    rows["place"] = rows.groupby("group").cumcount()
    verdicts = {
        str(name): worst(verdicts_of_group)
        for name, verdicts_of_group in rows.groupby("group")["verdict"]
    }
    order = sorted(verdicts, key=lambda name: (_RANK[verdicts[name]], name))
    called = dict(zip(order, all_shown(order), strict=True))
    label = {name: f"{called[name]}: {verdicts[name]}" for name in order}
    shown_rows = rows[rows["group"].isin(order[:MOST_ROWS]) & (rows["place"] < MOST_TILES)]
    shown_rows = shown_rows.assign(
        label=shown_rows["group"].map(label), rank=shown_rows["group"].map(order.index)
    )
    shown_rows = shown_rows.assign(
        group=shown_rows["group"].map(called), why=shown_rows["why"].map(picture_controls),
        member=shown_rows["member"].map(shorten_label, na_action="ignore"),
    )  # fmt: skip
    lines = [
        f"{number_of(len(order), 'group')}, {number_of(len(rows), 'partition')}; numbers are the lag in records; "
        f"looked at for {rows['seconds'].max():.0f} s"
    ]
    if len(shown_rows) < len(rows):
        lines.append(
            f"{number_of(len(rows) - len(shown_rows), 'partition')} not shown: "
            f"the worst {MOST_ROWS} groups, {MOST_TILES} each"
        )
    shown_rows = shown_rows.sort_values(["rank", "place"]).drop(columns="rank")
    return shown_rows.reset_index(drop=True), lines


_RANK = {verdict: rank for rank, verdict in enumerate(Verdict)}
