"""A comparison as a picture: when the differences were, and in which fields."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.charts.buckets import Grid, fitting, length, period, share
from labkit.charts.clock import in_zone, offsets, usable
from labkit.charts.counts import on_the_clock
from labkit.charts.labels import NUMBER, Labels, all_shown, tooltips
from labkit.charts.pictures import (
    CLOCK,
    HEIGHT,
    WIDTH,
    add_bucket_times,
    draw_text,
    dress,
    part_title,
)
from labkit.checks.validation import whole_number
from labkit.compare import Comparison
from labkit.compare.differ import CHANGED, KINDS, ONLY_LEFT, ONLY_RIGHT
from labkit.errors import UsageError
from labkit.text.visible import a_type_of

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

COLOURS = {CHANGED: "#f28e2b", ONLY_LEFT: "#4e8ac8", ONLY_RIGHT: "#59a14f"}
MOST_FIELDS = 50


def comparison(c: Comparison, *, fields: int = 15, title: str | None = None) -> alt.Chart:
    """Draw what differs: documents over time, and below it the fields of the pairs.

    Parameters
    ----------
    c : Comparison
        From `Lab.compare`.
    fields : int
        How many fields at most, the most different first: 1 to 50.
    title : str, optional
        In place of labkit's.

    Returns
    -------
    altair.Chart
        Two pictures, one above the other. Above: one row per bucket and kind (changed, only left,
        only right) with the documents; by the `time_field` of `Lab.compare`, in the lab's zone.
        Below: one row per field and kind with the pairs.
    """
    import altair as alt

    if not isinstance(c, Comparison):
        raise UsageError(
            f"a comparison is drawn of what lab.compare() returned, not of {a_type_of(c)}",
            hint="charts.comparison(lab.compare(a, b))",
        )
    fields = whole_number(fields, "fields", "a chart has no more room", low=1, high=MOST_FIELDS)
    title = title or f"{c.left} (left) and {c.right} (right): {_verdict(c)}"
    pictures = [picture for picture in (_over_time(c), _by_field(c, fields)) if picture is not None]
    if not pictures:
        pictures = [draw_text("no differences" if c.counts["same"] else "no documents")]
    chart = alt.vconcat(*pictures, spacing=36).resolve_scale(color="shared")
    return dress(chart, title, _subtitle_lines(c))


def _verdict(c: Comparison) -> str:
    return "the same" if c.identical else "what differs" + ("" if c.complete else ", INCOMPLETE")


def _subtitle_lines(c: Comparison) -> list[str]:
    n = c.counts
    lines = [
        f"{n['left']:,} documents left, {n['right']:,} right: {n['same']:,} the same ({_share(c, 'same')} of the left)"
    ]
    facts = [
        f"{n['changed']:,} changed",
        f"{n['only_left']:,} only left",
        f"{n['only_right']:,} only right",
    ]
    facts += [f"{n['duplicates']:,} keys more than once"] if n["duplicates"] else []
    lines.append(", ".join(facts) + (f"; {c.rules}" if str(c.rules) else ""))
    return lines + [f"incomplete: {reason}" for reason in c.reasons]


def _share(c: Comparison, name: str) -> str:
    return share(c.counts[name], c.counts["left"])


def _kinds() -> Any:
    import altair as alt

    domain = [KINDS[kind] for kind in COLOURS]
    return alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=domain, range=list(COLOURS.values())),
        legend=alt.Legend(symbolType="square", orient="top"),
    )


def over_time(c: Comparison) -> tuple[pd.DataFrame, Grid] | None:
    """Return documents per bucket and kind, zeros included; None when no difference has a time."""
    import pandas as pd

    counts = c.times.counts
    if not counts:
        return None
    stamps = [at for at, _ in counts]
    zone = _zone(c, stamps)
    grid = fitting(min(stamps), max(stamps) + c.times.every_ms - 1, None, len(COLOURS), zone)
    starts = list(grid.starts)
    summed: Counter[tuple[int, int]] = Counter()
    for (at, kind), n in counts.items():
        summed[bisect_right(starts, at) - 1, kind] += n
    shown = {"time": in_zone(starts, zone), **on_the_clock(grid)}
    parts = []
    for kind in COLOURS:
        documents = [summed[n, kind] for n in range(grid.count)]
        parts.append(pd.DataFrame({**shown, "kind": KINDS[kind], "documents": documents}))
    return pd.concat(parts, ignore_index=True), grid


def _zone(c: Comparison, stamps: list[int]) -> tzinfo:
    """Return the lab's zone; UTC where its clock cuts what was counted together."""
    zone = usable(c.timezone, min(stamps), max(stamps))
    apart = offsets(np.array([min(stamps), max(stamps)], np.int64), zone) % c.times.every_ms
    return UTC if apart.any() else zone


def _over_time(c: Comparison) -> Any:
    import altair as alt

    series = over_time(c)
    if series is None:
        return None
    frame, grid = series
    stamps = [at for at, _ in c.times.counts]
    untimed = sum(c.times.untimed.values())
    left_out = [f"{untimed:,} without a time left out"] if untimed else []
    facts = [
        "documents that differ",
        period(min(stamps), max(stamps), grid.zone),
        f"per {length(grid.every_ms)}",
    ]
    name = ", ".join([*facts, str(grid.zone), *left_out])
    return (
        add_bucket_times(alt.Chart(frame), grid)
        .mark_bar(orient="vertical")
        .encode(
            x=alt.X(
                "time:T" if grid.zone is UTC else "drawn:T",
                title=f"time ({grid.zone})",
                scale=alt.Scale(type="utc", nice=False),
                axis=alt.Axis(grid=False, format=CLOCK, labelSeparation=12),
            ),
            x2="until:T",
            y=alt.Y("documents:Q", title="documents", axis=alt.Axis(format=",d", tickMinStep=1)),
            color=_kinds(),
            tooltip=tooltips(
                ("from:N", {"title": f"from ({grid.zone})"}),
                "kind:N",
                ("documents:Q", {"format": ",d"}),
            ),
        )
        .properties(width=WIDTH, height=HEIGHT - 60, title=part_title(name))
    )


def by_field(c: Comparison, most: int) -> pd.DataFrame:
    """Return pairs per field and kind: field, kind, pairs; the most different fields first."""
    frame = c.fields.rename(columns={"only_left": "only left", "only_right": "only right"})
    kinds = [KINDS[kind] for kind in COLOURS]
    different = frame[frame[kinds].sum(axis=1) > 0].head(most)
    long = different.melt(id_vars="field", value_vars=kinds, var_name="kind", value_name="pairs")
    return long[long["pairs"] > 0].reset_index(drop=True)


def _by_field(c: Comparison, most: int) -> Any:
    import altair as alt

    frame = by_field(c, most)
    if not len(frame):
        return None
    fields = list(dict.fromkeys(frame["field"]))
    names = dict(zip(fields, all_shown(fields), strict=True))
    frame, labels = frame.assign(field=frame["field"].map(names)), Labels(list(names.values()))
    different = int((c.fields[["changed", "only_left", "only_right"]].sum(axis=1) > 0).sum())
    shown = frame["field"].nunique()
    left_out = (
        f"the {shown} most different of {different:,}"
        if shown < different
        else f"all {shown} that differ"
    )
    pairs = c.counts["same"] + c.counts["changed"]
    axis = alt.Axis(labelLimit=280, labelExpr=labels.expression)
    base = labels.number_rows(alt.Chart(frame), "field").encode(
        y=alt.Y(f"{NUMBER}:O", title="field", axis=axis)
    )
    room = alt.Scale(
        domain=[0, 1.12 * int(frame.groupby("field")["pairs"].sum().max())], nice=False
    )
    axis = alt.Axis(format=",d", tickMinStep=1, tickCount=6, grid=False)
    bars = base.mark_bar(height={"band": 0.78}).encode(
        x=alt.X("pairs:Q", title="pairs in which it differs", axis=axis, scale=room),
        color=_kinds(),
        tooltip=tooltips("field:N", "kind:N", ("pairs:Q", {"format": ",d"})),
    )
    sums = base.mark_text(align="left", dx=5).encode(
        x="sum(pairs):Q", text=alt.Text("sum(pairs):Q", format=",d")
    )
    name = part_title(f"fields, {left_out}, of {pairs:,} pairs")
    return alt.layer(bars, sums).properties(width=WIDTH, height=alt.Step(21), title=name)
