"""Who answers whom: messages that begin with another's name, as people on IRC write them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from labkit.charts import counts, draw, pictures
from labkit.charts.buckets import plural, share
from labkit.charts.columns import Columns, ask, is_text
from labkit.charts.labels import NUMBER, Labels, all_shown, tooltips
from labkit.checks.validation import whole_number
from labkit.errors import UsageError

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd


GRAPH, MATRIX = "graph", "matrix"
MOST_IN_A_GRAPH, MOST, MOST_ARROWS = 12, 40, 40
ADDRESSEE = "addressee_number"
_PAIR: tuple[tuple[str, dict[str, str]], ...] = (
    ("sender:N", {"title": "from"}),
    ("addressee:N", {"title": "to"}),
    ("messages:Q", {"format": ",d"}),
)
_POINTS = 24  # of a curve
_LIGHT = 0.19  # of the most messages: on fewer white letters read better, on more black ones
# "nick: text", "nick, text", "@nick: text". A nick has neither sign, nor a space (RFC 2812, section
# 2.3.1); its case does not matter. Only names that themselves write count, so that "well, text"
# addresses no nick.
_SAID = r"'^\s*@?([^\s:,]+)[:,](?:\s|$)'"
_MESSAGES = f"""
with said as (select "from", lower("from") a, lower(regexp_extract("text", {_SAID}, 1)) b from t
              where "from" is not null and "text" is not null),
     known as (select lower("from") a, mode("from") as name from t where "from" is not null group by 1)
"""
_PAIRS = f"""{_MESSAGES}
select x.name, y.name, count(*) n from said join known x using (a) join known y on y.a = said.b
where said.a <> said.b group by all order by n desc, x.name, y.name
"""
_FACTS = f"{_MESSAGES} select (select count(*) from said), (select count(*) from known)"


@dataclass(frozen=True)
class Talk:
    """Who addressed whom: `pairs` has sender, addressee and messages, the most frequent first.

    Of how many messages.
    """

    pairs: pd.DataFrame
    messages: int
    names: int

    @property
    def addressed(self) -> int:
        """Messages to somebody known."""
        return int(self.pairs["messages"].sum())


def conversation(
    data: Any,
    *,
    sender: str = "nick",
    text: str = "message",
    top: int = MOST_IN_A_GRAPH,
    form: str | None = None,
    title: str | None = None,
) -> alt.LayerChart:
    """Draw who answers whom.

    A message ``nick: …`` or ``nick, …`` goes from its sender to that nick.

    Parameters
    ----------
    data : Replay, pandas.DataFrame or pyarrow.Table
        A frame from another library with an Arrow form, such as polars, will do too. Not an index:
        Elasticsearch cannot tell the first word of a text, ``index.to_pandas(fields=["nick",
        "message"])`` can.
    sender, text : str
        The fields that hold who writes, and what.
    top : int
        How many names, those that take part in the most such messages first: 2 to 40.
    form : {"graph", "matrix"}, optional
        Left out: a graph of arrows for up to 12 names, a matrix for more.
    title : str, optional
        In place of labkit's.

    Returns
    -------
    altair.LayerChart
        ``.data`` has one row per pair that is shown: sender, addressee, messages. In the graph an
        arrow has its sender's colour and is as wide as its messages are many; of more than 40
        arrows the lightest are left out, and the subtitle says so. In the matrix a row is a sender.

    Raises
    ------
    UsageError
        When there is no such field, or `data` is an index.

    Notes
    -----
    A nick is known when it writes in `data`; case does not matter. Messages to oneself do not
    count.
    """
    top = whole_number(top, "top", f"a chart has room for 2 to {MOST} names", low=2, high=MOST)
    if form not in (None, GRAPH, MATRIX):
        raise UsageError(
            f"form must be {GRAPH!r} or {MATRIX!r}, not {form!r}",
            hint="leave it out for the one that reads best",
        )
    source = counts.open_source(data, None, needed=False)
    if not isinstance(source, Columns):
        raise UsageError(
            f"Elasticsearch cannot tell who is addressed in {source.name}",
            hint=f"take the documents: charts.conversation(index.to_pandas(fields={[sender, text]!r}))",
        )
    title = title or draw.title_of(source.name, "who answers whom")
    talk = _talk(source, sender, text)
    if talk.pairs.empty:
        why = (
            f"none of {talk.messages:,} messages begins with one of {talk.names:,} {plural(sender)}"
        )
        return pictures.draw_nothing(title, why if source.span.records else "no records")
    names = _leading(talk.pairs, top)
    pairs = talk.pairs[talk.pairs["sender"].isin(names) & talk.pairs["addressee"].isin(names)]
    as_graph = form == GRAPH or (form is None and len(names) <= MOST_IN_A_GRAPH)
    drawn = pairs.head(MOST_ARROWS) if as_graph else pairs
    people = f"{len(names)} of {talk.names:,} {plural(sender)}"
    facts = [_addressed_line(talk, sender), people, *source.span.when]
    lines = pictures.subtitle(facts, _left_out_lines(talk, pairs, drawn), "left out: ")
    picture = _graph(drawn, names) if as_graph else _matrix(drawn, names)
    return pictures.dress(picture, title, lines, "scales")


def _talk(source: Columns, sender: str, text: str) -> Talk:
    import pandas as pd

    texts = {"from": _texts(source, sender), "text": _texts(source, text)}
    table = pa.table(texts)
    ((messages, names),) = ask(table, _FACTS)
    counted_pairs = ask(table, _PAIRS)
    ends = [(sender, addressee) for sender, addressee, _ in counted_pairs]
    people = list(dict.fromkeys(chain.from_iterable(ends)))
    called = dict(zip(people, all_shown(people), strict=True))
    rows = [(called[sender], called[addressee], n) for sender, addressee, n in counted_pairs]
    pairs = pd.DataFrame(rows, columns=["sender", "addressee", "messages"])
    return Talk(pairs, messages, names)


def _texts(source: Columns, field: str) -> Any:
    column = source.column(field)
    kind = column.type
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    if not is_text(kind):
        raise UsageError(
            f"{field!r} holds {kind}, not texts", hint="sender= and text= name the fields"
        )
    return column


def _leading(pairs: pd.DataFrame, top: int) -> list[str]:
    """Return the names with the most messages from and to them."""
    both_ends = (
        pairs.groupby("sender")["messages"]
        .sum()
        .add(pairs.groupby("addressee")["messages"].sum(), fill_value=0)
    )
    order = (
        both_ends.rename_axis("name")
        .reset_index()
        .sort_values(["messages", "name"], ascending=[False, True])
    )
    return [str(name) for name in order["name"].head(top)]


def _addressed_line(talk: Talk, sender: str) -> str:
    part = (
        f"{talk.addressed:,} of {talk.messages:,} messages ({share(talk.addressed, talk.messages)})"
    )
    return f"{part} begin with a {sender}"


def _left_out_lines(talk: Talk, pairs: pd.DataFrame, drawn: pd.DataFrame) -> list[str]:
    left = []
    shown = int(pairs["messages"].sum())
    if shown < talk.addressed:
        left.append(f"{talk.addressed - shown:,} messages from or to others")
    if len(drawn) < len(pairs):
        thin = shown - int(drawn["messages"].sum())
        left.append(f"the {len(pairs) - len(drawn)} thinnest arrows ({thin:,} messages)")
    return left


# pictures ------------------------------------------------------------------------------------------------


def around(pairs: pd.DataFrame, names: list[str]) -> list[str]:
    """Order names around a circle so that those who talk much stand near one another.

    By the angle of the second and third eigenvectors of the graph's Laplacian; see Koren, "Drawing
    graphs by eigenvectors", https://doi.org/10.1016/j.camwa.2004.08.015
    """
    if len(names) < 4:
        return names
    place = {name: at for at, name in enumerate(names)}
    weights = np.zeros((len(names), len(names)))
    at = (pairs["sender"].map(place).to_numpy(), pairs["addressee"].map(place).to_numpy())
    np.add.at(weights, at, pairs["messages"].to_numpy(float))
    weights += weights.T
    _, vectors = np.linalg.eigh(np.diag(weights.sum(axis=0)) - weights)
    return [
        names[place]
        for place in np.argsort(np.arctan2(vectors[:, 2], vectors[:, 1]), kind="stable")
    ]


def curves(pairs: pd.DataFrame, spots: pd.DataFrame) -> pd.DataFrame:
    """Return each pair's arrow as points: x, y, step, and the angle of its head.

    The angle is in degrees, clockwise from upwards. A quadratic Bézier curve from near one spot to
    near the other; both ways of a pair bend apart.
    """
    import pandas as pd

    at = spots.set_index("name")[["x", "y"]]
    start, end = at.loc[pairs["sender"]].to_numpy(), at.loc[pairs["addressee"]].to_numpy()
    way = end - start
    control = (start + end) / 2 * 0.62 + 0.16 * np.stack([way[:, 1], -way[:, 0]], axis=1)
    near = 1 / np.hypot(*way.T)  # arrows begin and end beside the dots, not on them
    t = np.linspace(0.04 * near, 1 - 0.075 * near, _POINTS).T[:, :, None]
    points = (
        (1 - t) ** 2 * start[:, None] + 2 * t * (1 - t) * control[:, None] + t**2 * end[:, None]
    )
    last = points[:, -1] - points[:, -2]
    turn = np.degrees(np.arctan2(last[:, 0], last[:, 1]))
    rows = pairs.loc[pairs.index.repeat(_POINTS)].reset_index(drop=True)
    step = np.tile(np.arange(_POINTS), len(pairs))
    flat = pd.DataFrame(points.reshape(-1, 2), columns=["x", "y"])
    return rows.assign(
        x=flat["x"].round(4),
        y=flat["y"].round(4),
        step=step,
        angle=np.repeat(turn.round(1), _POINTS),
    )


def _graph(pairs: pd.DataFrame, names: list[str]) -> Any:
    """Return names on a circle and arrows between them.

    A pointer on a name dims the arrows of the others.
    """
    import altair as alt

    spots = _spots(pairs, names)
    selection = alt.selection_point(
        name="chosen", fields=[NUMBER], on="pointerover", clear="pointerout"
    )
    place = {
        "x": alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-1.6, 1.6])),
        "y": alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-1.2, 1.2])),
        "color": _colour(names),
    }
    labels = Labels(names)
    person = tooltips("name:N", ("sent:Q", {"format": ",d"}), ("received:Q", {"format": ",d"}))
    dots = (
        labels.number_rows(alt.Chart(spots), "name")
        .mark_circle(opacity=1)
        .encode(**place, size=alt.value(150), tooltip=person)
    )
    numbered = labels.number_rows(alt.Chart(curves(pairs, spots)), "sender")
    base = labels.number_rows(numbered, "addressee", ADDRESSEE).encode(
        **place,
        opacity=alt.condition(selection, alt.value(0.85), alt.value(0.08)),
        tooltip=tooltips(*_PAIR),
    )
    layers = [*_arrows(base, pairs), dots.add_params(selection), *_labels(spots)]
    return (
        alt.layer(*layers, data=pairs)
        .resolve_scale(size="independent")
        .properties(width=600, height=450)
    )


def _spots(pairs: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return one row per name, clockwise from the top: name, sender, x, y, sent, received."""
    import pandas as pd

    order = around(pairs, names)
    turn = np.pi / 2 - 2 * np.pi * np.arange(len(order)) / len(order)
    spots = pd.DataFrame(
        {"name": order, "sender": order, "x": np.cos(turn).round(4), "y": np.sin(turn).round(4)}
    )
    for column, side in (("sent", "sender"), ("received", "addressee")):
        spots[column] = (
            spots["name"].map(pairs.groupby(side)["messages"].sum()).fillna(0).astype(int)
        )
    return spots


def _colour(names: list[str]) -> Any:
    import altair as alt

    if len(names) > len(pictures.COLOURS):
        return alt.value(pictures.BLUE)
    colours = alt.Scale(domain=Labels(names).numbers, range=list(pictures.COLOURS[: len(names)]))
    return alt.Color(f"{NUMBER}:O", legend=None, scale=colours)


def _arrows(base: Any, pairs: pd.DataFrame) -> list[Any]:
    """Return lines and their heads."""
    import altair as alt

    legend = alt.Legend(
        title="messages",
        format=",d",
        symbolType="stroke",
        values=_marks(pairs),
        symbolStrokeColor=pictures.INK,
    )
    wide = alt.StrokeWidth(
        "messages:Q", scale=alt.Scale(domainMin=0, range=[0.6, 7]), legend=legend
    )
    large = alt.Size("messages:Q", legend=None, scale=alt.Scale(domainMin=0, range=[50, 330]))
    heads = base.transform_filter(alt.datum.step == _POINTS - 1).mark_point(
        shape="triangle", filled=True
    )
    return [
        base.mark_line(strokeCap="round").encode(
            detail=f"{ADDRESSEE}:O", order="step:O", strokeWidth=wide
        ),
        heads.encode(angle=alt.Angle("angle:Q", scale=None), size=large),
    ]


def _marks(pairs: pd.DataFrame) -> list[int]:
    """Return the numbers of messages a legend shows."""
    most = int(pairs["messages"].max())
    return sorted({max(1, most // 8), max(1, most // 2), most})


def _labels(spots: pd.DataFrame) -> list[Any]:
    """Return where names stand outside of the circle: left, right, above and below."""
    import altair as alt

    far = spots.assign(lx=spots["x"] * 1.1, ly=spots["y"] * 1.1)
    side = np.where(far["x"].abs() < 0.15, "center", np.where(far["x"] > 0, "left", "right"))
    return [
        alt.Chart(far[side == align])
        .mark_text(align=align, fontSize=12, fontWeight="bold")
        .encode(x="lx:Q", y="ly:Q", text="name:N")
        for align in ("left", "center", "right")
        if (side == align).any()
    ]


def _matrix(pairs: pd.DataFrame, names: list[str]) -> Any:
    import altair as alt

    most = int(pairs["messages"].max())
    step = 28 if len(names) <= 24 else 17
    order = around(pairs, names)
    labels = Labels(order)
    scale = alt.Scale(domain=labels.numbers)
    numbered = labels.number_rows(alt.Chart(pairs), "sender")
    base = labels.number_rows(numbered, "addressee", ADDRESSEE).encode(
        x=alt.X(
            f"{ADDRESSEE}:O",
            title="to",
            scale=scale,
            axis=alt.Axis(orient="top", labelAngle=-45, labelExpr=labels.expression),
        ),
        y=alt.Y(
            f"{NUMBER}:O", title="from", scale=scale, axis=alt.Axis(labelExpr=labels.expression)
        ),
        tooltip=tooltips(*_PAIR),
    )
    colour = alt.Scale(type="sqrt", scheme="viridis", domain=[0, most])  # a few pairs talk most
    squares = base.mark_rect().encode(
        color=alt.Color(
            "messages:Q",
            title="messages",
            scale=colour,
            legend=alt.Legend(format=",d", gradientLength=190, tickCount=5),
        )
    )
    layers = [squares]
    if step > 20 and most < 10_000:
        is_light = alt.datum.messages > _LIGHT * most
        ink = alt.condition(is_light, alt.value("#000"), alt.value("#fff"))
        layers.append(
            base.mark_text(fontSize=10).encode(text=alt.Text("messages:Q", format=",d"), color=ink)
        )
    return alt.layer(*layers, data=pairs).properties(
        width=step * len(names), height=step * len(names)
    )
