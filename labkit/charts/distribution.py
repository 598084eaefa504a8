"""How the numbers of a field are spread, or the lengths of its texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from labkit.charts import counts, draw, pictures
from labkit.charts.buckets import count_in_words, plural, share
from labkit.charts.labels import NUMBER, Labels, all_shown, heading, tooltips
from labkit.charts.numbers import Group, Numbers, numbers
from labkit.checks.validation import refuses, whole_number

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from labkit.charts.source import Span

MOST_BINS = 100
_FINEST = 1e-12  # of the numbers themselves: a double has some 15 digits
_FIELD = "charts.distribution(data, 'n') takes the field after the data"
_BY = "by='channel' draws one for each value of a field"
_LEAST = 1e-290  # a bin's width


@refuses(x=_FIELD, column=_FIELD, hue=_BY, color=_BY)
def distribution(
    data: Any,
    field: str,
    by: str | None = None,
    *,
    of: str | None = None,
    bins: int = 50,
    log: bool = False,
    trim: bool | None = None,
    top: int = 6,
    query: counts.Query = None,
    title: str | None = None,
) -> alt.LayerChart | alt.FacetChart:
    """Draw how a field's numbers, or the lengths of its texts, are spread.

    It is a histogram, or one for each value of `by`.

    Parameters
    ----------
    data : Replay, pandas.DataFrame, pyarrow.Table or ScratchIndex
        A frame from another library with an Arrow form, such as polars, will do too. An index has
        numbers only: Elasticsearch measures texts by a script, which clusters often do not allow.
    field : str
        Numbers, texts or bytes.
    by : str, optional
        A histogram for each of the `top` most frequent values of this field, as shares, so that
        shapes compare.
    of : {"number", "length"}, optional
        Left out: numbers themselves, and the length of texts (in characters) and of bytes.
        ``"number"`` reads texts as numbers; other texts are counted in the subtitle.
    bins : int
        How many at most: 2 to 100. Their width is 1, 2 or 5 times a power of ten.
    log : bool
        Bins of equal width on a logarithmic scale, for what spans powers of ten; numbers up to zero
        are left out.
    trim : bool, optional
        Leave out the lowest and the highest 1 %; by default a side where they would take more than
        half of the picture.
    top : int
        How many values of `by`: 1 to 20.
    query : str or dict, optional
        Of an index: only the documents that fulfil it; Elasticsearch's query DSL as a dict, or a
        text such as ``"nick:alice AND command:PRIVMSG"``.
    title : str, optional
        In place of labkit's.

    Returns
    -------
    altair.LayerChart, or altair.FacetChart with `by`
        ``.data`` has one row per bin: start (inclusive), end (exclusive), records; with `by` also
        value and share (of the value's numbers, 0 to 1).

    Raises
    ------
    UsageError
        When there is no such field, or it has nothing to measure.
    """
    bins = whole_number(
        bins, "bins", f"a chart has room for 2 to {MOST_BINS}", low=2, high=MOST_BINS
    )
    top = whole_number(
        top,
        "top",
        f"a chart has room for 1 to {draw.MOST_SERIES} values",
        low=1,
        high=draw.MOST_SERIES,
    )
    source = counts.open_source(counts.narrow(data, query), None, needed=False)
    field_numbers = numbers(source, field, of)
    facts = field_numbers.known
    # a wrong name is an error, whether there are records or not
    terms = None if by is None else source.terms(by, top, timed=False)
    name = f"length of {field}" if facts.unit else field
    title = title or draw.title_of(
        source.name,
        (name if facts.unit else f"distribution of {name}") + (f" by {by}" if by else ""),
    )
    if not facts.numbers or (log and facts.positive is None):
        return pictures.draw_nothing(title, _why_nothing(facts, field))
    edges = powers(facts, bins, trim) if log else steps(facts, bins, trim)
    groups = [group for group in field_numbers.count(edges, by, terms) if group.numbers]
    if not groups:
        return pictures.draw_nothing(title, f"no record has both {field} and {by}")
    lines = _subtitle_lines(
        facts, edges, groups, source.span, log=log, by=by, distinct=terms.distinct if terms else 0
    )
    axis = f"{name} ({facts.unit})" if facts.unit else field
    if by is None:
        return _draw_one(_frame(edges, groups), groups[0], axis, title, lines, log=log)
    return _many(_frame(edges, groups), axis, title, lines, log=log)


# bins ----------------------------------------------------------------------------------------------------


def steps(known: Numbers, bins: int, trim: bool | None) -> list[float]:
    """Return at most about `bins` bins' edges of one width: 1, 2 or 5 times a power of ten."""
    low, high = _bounds(known.quantiles, trim)
    width = max(
        high / bins - low / bins, max(abs(low), abs(high)) * _FINEST, 1 if known.whole else 0
    )
    exponent = math.floor(math.log10(max(width, _LEAST))) if width else 0
    factor = next(
        (step for step in (1, 2, 5, 10) if step * 10.0**exponent >= width * (1 - _FINEST)), 10
    )
    up, down = factor * 10 ** max(0, exponent), 10 ** max(0, -exponent)
    return _edges(lambda n: n * up / down, lambda value: value * down / up, low, high)


def powers(known: Numbers, bins: int, trim: bool | None) -> list[float]:
    """Return edges of equal width on a logarithmic scale, a whole number of them per factor 10."""
    low, high = _bounds(known.quantiles, trim)
    low = max(low, known.positive or 0.0)
    high = max(high, low)
    decades = max(1.0, math.log10(high) - math.log10(low))
    finest = 5 if known.whole else 20  # whole numbers leave finer bins empty
    parts = next(
        (count for count in (20, 10, 5, 2) if count <= finest and count * decades <= bins), 1
    )
    return _edges(
        lambda n: float(f"{10 ** (n / parts):.12g}"),
        lambda value: math.log10(value) * parts,
        low,
        high,
    )


def _edges(
    edge: Callable[[int], float], place: Callable[[float], float], low: float, high: float
) -> list[float]:
    """Return the edges around [low, high].

    `edge` returns the edge of a number, `place` the number of a value.
    """
    first, last = math.floor(place(low)), math.floor(place(high)) + 1
    first -= edge(first) > low  # where rounding went astray
    last += edge(last) <= high
    return [edge(n) for n in range(first, last + 1)]


def _bounds(places: dict[float, float], trim: bool | None) -> tuple[float, float]:
    least, low, _, high, most = (places[place] for place in sorted(places))
    middle = high - low
    cut_low = trim if trim is not None else low - least > middle
    cut_high = trim if trim is not None else most - high > middle
    return low if cut_low else least, high if cut_high else most


def _frame(edges: Sequence[float], groups: Sequence[Group]) -> pd.DataFrame:
    """Return one row per series and bin, zeros too: value, start, end, records, share, median."""
    import pandas as pd

    names = all_shown(group.label or "" for group in groups)
    parts = []
    for name, group in zip(names, groups, strict=True):
        columns = {
            "value": name,
            "start": edges[:-1],
            "end": edges[1:],
            "records": group.counts,
            "share": [n / group.numbers for n in group.counts],
            "median": group.median,
            "numbers": group.numbers,
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


# words ---------------------------------------------------------------------------------------------------


def _why_nothing(known: Numbers, field: str) -> str:
    if not known.records:
        return "no records"
    if known.numbers:
        return f"no number above zero among {known.numbers:,}: leave out log=True"
    return f"no number in {field}: {count_in_words(known.nulls)} without a value, {known.odd:,} with another"


def number(value: float) -> str:
    """Return a number in words, with four digits at most of those behind the point."""
    if value == math.floor(value) and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def _subtitle_lines(
    known: Numbers,
    edges: Sequence[float],
    groups: Sequence[Group],
    span: Span,
    *,
    log: bool,
    by: str | None,
    distinct: int,
) -> list[str]:
    _, _, median, high, most = (known.quantiles[place] for place in sorted(known.quantiles))
    high = math.ceil(high) if known.whole else high
    width = (
        "on a logarithmic scale"
        if log
        else f"bins of {number(edges[1] - edges[0])} {known.unit}".rstrip()
    )
    about = "" if known.exact else "about "
    facts = [count_in_words(known.numbers), width]
    if by is not None:
        facts.append(f"{len(groups):,} of {distinct:,} {plural(by)}")
    facts.append(
        f"median {about}{number(median)}, 99 % up to {about}{number(high)}, largest {number(most)}"
    )
    facts += span.when
    left = []
    if known.nulls:
        left.append(
            f"{count_in_words(known.nulls)} ({share(known.nulls, known.records)}) without a value"
        )
    if known.odd:
        left.append(
            f"{count_in_words(known.odd)} ({share(known.odd, known.records)}) with no number"
        )
    outside = sum(group.numbers - sum(group.counts) for group in groups)
    if outside:
        least = known.quantiles[0.0]
        below = f"below {number(edges[0])} or " if least < edges[0] else ""
        left.append(
            f"{count_in_words(outside)} ({share(outside, known.numbers)}) {below}from {number(edges[-1])} on"
        )
    other_numbers = known.numbers - sum(group.numbers for group in groups)
    if other_numbers > 0:
        left.append(f"{count_in_words(other_numbers)} of other {plural(by or '')}")
    return pictures.subtitle(facts, left, "left out: ")


# pictures ------------------------------------------------------------------------------------------------


def _across(axis: str, *, log: bool) -> Any:
    import altair as alt

    scale = alt.Scale(type="log" if log else "linear", nice=False, zero=False)
    return alt.X(
        "start:Q",
        title=heading(axis),
        scale=scale,
        axis=alt.Axis(grid=False, format=",~r" if log else alt.Undefined, tickCount=10),
    )


_BIN: tuple[tuple[str, dict[str, str]], ...] = (
    ("start:Q", {"title": "from", "format": ",~r"}),
    ("end:Q", {"title": "below", "format": ",~r"}),
    ("records:Q", {"format": ",d"}),
    ("share:Q", {"format": ".1%"}),
)


def _draw_one(
    frame: pd.DataFrame, group: Group, axis: str, title: str, lines: list[str], *, log: bool
) -> Any:
    """Return one histogram, with its median."""
    import altair as alt

    base = alt.Chart(frame)
    count = alt.Y("records:Q", title="records", axis=alt.Axis(format=",d", tickMinStep=1))
    bars = base.mark_bar(color=pictures.BLUE, orient="vertical", binSpacing=1).encode(
        x=_across(axis, log=log), x2="end:Q", y=count, tooltip=tooltips(*_BIN)
    )
    layers = [bars]
    if group.median is not None and frame["start"].min() <= group.median <= frame["end"].max():
        middle = base.transform_aggregate(median="max(median)")
        rule = middle.mark_rule(color=pictures.ORANGE, strokeDash=[4, 3], strokeWidth=1.5).encode(
            x="median:Q"
        )
        text = middle.mark_text(baseline="bottom", dy=-3, fontWeight="bold")
        text = text.encode(
            x="median:Q", y=alt.value(0), text=alt.value(f"median {number(group.median)}")
        )
        layers += [rule, text]
    chart = alt.layer(*layers, data=frame).properties(width=pictures.WIDTH, height=pictures.HEIGHT)
    return pictures.dress(chart, title, lines)


def _many(frame: pd.DataFrame, axis: str, title: str, lines: list[str], *, log: bool) -> Any:
    """Return a histogram for each value, one above the other, on the same scales."""
    import altair as alt

    first = frame.drop_duplicates("value")
    heads = {
        value: f"{value}: {count_in_words(n)}, median {number(median)}"
        for value, n, median in zip(first["value"], first["numbers"], first["median"], strict=True)
    }
    labels, headers = Labels(list(heads)), Labels(list(heads.values()))
    colours = alt.Scale(domain=labels.numbers, range=list(pictures.COLOURS[: len(heads)]))
    colour = alt.Color(f"{NUMBER}:O", legend=None, scale=colours)
    height = alt.Y("share:Q", title=None, axis=alt.Axis(format=".0%", tickCount=3))
    bars = (
        alt.Chart()
        .mark_bar(orient="vertical", binSpacing=0.5)
        .encode(
            x=_across(axis, log=log),
            x2="end:Q",
            y=height,
            color=colour,
            tooltip=tooltips("value:N", *_BIN),
        )
    )
    rule = alt.Chart().mark_rule(color=pictures.INK, strokeDash=[4, 3]).encode(x="max(median):Q")
    header = alt.Header(
        labelOrient="top", labelAnchor="start", labelFontSize=12, labelPadding=2, title=None,
        labelExpr=headers.expression,
    )  # fmt: skip
    row = alt.Row(f"{NUMBER}:O", header=header)
    layers = alt.layer(bars, rule, data=frame).properties(width=pictures.WIDTH, height=58)
    chart = labels.number_rows(layers.facet(row=row, spacing=6), "value")
    return pictures.dress(
        chart, title, [*lines, "shares of each value's records; dashed: its median"]
    )
