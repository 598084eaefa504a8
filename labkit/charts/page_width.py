"""A chart is as wide as its place on JupyterLab's page.

Vega-Lite's ``width="container"`` knows no charts of several parts, none whose bars leave room for a
text, and no width where the page gives none. So the compiled chart's widths become signals: each is
its own, and what the page has more, or less, than the whole chart takes. A title too long for a
narrow page has more lines.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Literal

STYLE_CLASS = "labkit-chart"
STYLE = (
    f'<div class="{STYLE_CLASS}"><style>.jp-OutputArea-child:has(.{STYLE_CLASS}){{display:none}}'
    f".jp-OutputArea:has(.{STYLE_CLASS}) .vega-embed{{width:100%}}</style></div>"
)
"""An output beside the chart's: a page gives a chart no width by itself, but takes the chart's."""
Way = Literal["fills", "shrinks", "scales"]
"""What a chart does on a page of another width.

It fills it; it shrinks on a narrow one; or it shrinks there, and is lower, too.
"""
_WIDTH, _WAY = "width", "on another page"
_PAGE = "page_width"  # the signal
_LEAST_PAGE, _LEAST_CHART = 200, 150  # px; what is narrower is no page
_SPARE = 12  # px: a browser's letters are wider than those of the measured picture
_AXIS_SHARE = 0.35  # of a page, at most, for an axis' labels
_PAGES = (300, 400, 500, 640)  # px, for which titles are broken into lines
_TITLE_LETTER, _LETTER = 8.5, 6.5  # px
_INDENT = 100  # px, of a part of the chart: its axis' labels
_COLUMN = 150  # px, of a legend
_CHANGES = [
    {"source": "window", "type": "resize"},
    # a side bar that opens resizes no window
    {"source": "view", "type": "mouseover"},
]


def mark_width(width: Any, way: Way) -> dict[str, Any]:
    """Return what a chart's ``usermeta`` says of its width: another one was given by its user."""
    return {"labkit": {_WIDTH: _pixels(width), _WAY: way}}


def _pixels(width: Any) -> float | None:
    """Return a width that is a number: one by steps, or of several parts, is none."""
    return width if isinstance(width, int | float) else None


def fills_page(spec: dict[str, Any]) -> bool:
    """Tell whether a chart is labkit's, with the width that labkit gave it."""
    marked = spec.get("usermeta", {}).get("labkit")
    return marked is not None and _pixels(spec.get("width")) == marked[_WIDTH]


def fill_page(vega: dict[str, Any], whole_px: float) -> dict[str, Any]:
    """Return a compiled chart whose widths follow the page.

    Parameters
    ----------
    vega : dict
        As Vega-Lite compiles it, with numbers for widths.
    whole_px : float
        How wide the whole chart is, with axes and legends.
    """
    way = vega["usermeta"]["labkit"][_WAY]
    more = f"{_PAGE} - {whole_px + _SPARE:g}"
    more = more if way == "fills" else f"min(0, {more})"
    room = "containerSize()[0]"
    page = f"{room} > {_LEAST_PAGE} ? {room} : {whole_px + _SPARE:g}"
    signals = [{"name": _PAGE, "init": page, "on": [{"events": _CHANGES, "update": page}]}]
    widths = {}
    for signal in [*vega.get("signals", ()), {"name": "width", "value": vega.get("width")}]:
        if signal["name"].endswith("width") and isinstance(signal.get("value"), int | float):
            name, px = signal["name"], signal["value"]
            widths[name] = px
            signals.append({"name": name, "update": f"max({_LEAST_CHART}, {px:g} + {more})"})
        elif signal["name"] != "width" or "update" in signal:
            signals.append(signal)
    if way == "scales":
        signals.append(
            {"name": "height", "update": f"width * {vega['height'] / vega['width']:.4f}"}
        )
    given = {"width", *(["height"] if way == "scales" else [])} if "width" in widths else set()
    filled = {name: part for name, part in vega.items() if name not in given}
    filled["scales"] = [_follow(scale, widths) for scale in vega.get("scales", ())]
    filled["signals"] = signals
    if "width" not in widths:  # Vega lays out charts of several parts once, unless it is told to
        filled["autosize"] = {"type": "pad", "resize": True}
    for part in _parts(filled):
        _narrow(part, 0 if part is filled else _INDENT)
    return filled


def _follow(scale: dict[str, Any], widths: dict[str, float]) -> dict[str, Any]:
    """Let a scale that ends before its chart does, to leave room for texts, end so much before."""
    name, span = f"{scale['name'].removesuffix('x')}width", scale.get("range")
    if name not in widths or not isinstance(span, list) or not isinstance(span[-1], int | float):
        return scale
    return {**scale, "range": [span[0], {"signal": f"{name} - {widths[name] - span[-1]:g}"}]}


def _parts(vega: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a chart and all groups within it: each may have axes and legends."""
    yield vega
    for mark in vega.get("marks", ()):
        if mark.get("type") == "group":
            yield from _parts(mark)


def _narrow(part: dict[str, Any], indent_px: int) -> None:
    """Give a title more lines, and labels and legends less room, on a narrow page."""
    if "title" in part:
        part["title"] = {**part["title"], **_lines_of(part["title"], indent_px)}
    for axis in part.get("axes", ()):
        if "labelLimit" in axis:
            axis["labelLimit"] = {
                "signal": f"min({axis['labelLimit']}, max(100, {_AXIS_SHARE} * {_PAGE}))"
            }
    for legend in part.get("legends", ()):
        if "columns" in legend:
            columns = f"clamp(floor({_PAGE} / {_COLUMN}), 1, {legend['columns']})"
            legend["columns"] = {"signal": columns}


def _lines_of(title: dict[str, Any], indent_px: int) -> dict[str, Any]:
    """Return a title's texts, in more lines the narrower the page is."""
    sizes = {"text": _LETTER if indent_px else _TITLE_LETTER, "subtitle": _LETTER}
    return {
        name: {
            "signal": _broken([lines] if isinstance(lines, str) else lines, sizes[name], indent_px)
        }
        for name, lines in title.items()
        if name in sizes and isinstance(lines, str | list)
    }


def _broken(lines: Sequence[str], letter_px: float, indent_px: int) -> str:
    """Return the expression for lines that a page has room for."""
    choices = ""
    for page in _PAGES:
        letters = int((page - indent_px) / letter_px)
        broken = [part for line in lines for part in textwrap.wrap(line, letters) or [""]]
        choices += f"{_PAGE} < {page + 100} ? {_literal(broken)} : " if broken != lines else ""
    return choices + _literal(lines)


def _literal(lines: Sequence[str]) -> str:
    # one text of all lines: Vega's parser takes a text such as "constructor" for a variable
    return f"slice(split({json.dumps(''.join(chr(10) + line for line in lines))}, '\\n'), 1)"
