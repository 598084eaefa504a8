"""Texts of records on charts: how each is shown, and how Vega takes none of them for a name.

Vega looks into plain JavaScript objects, which own ``constructor``, ``toString`` and others from
birth: its parser of expressions takes a literal text of such a name (or ``if``) for a variable, and
it groups and sorts by the names of an object. The tooltips that JupyterLab draws take an object,
too, whose names ``image`` and ``title`` mean a picture to fetch, unescaped, and a heading. So a
scale, a sort, a group or a facet works on the number of a label and a text is looked up where it is
drawn (`Labels`); `heading` makes all titles, `tooltips` all tooltips.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from labkit.text.visible import JOINERS, brief

OTHER, NONE, BLANK = "other", "(none)", "(empty)"
LONGEST = 80  # characters of a label; an axis has room for about 45
LONGEST_TITLE = 200
NUMBER = "label_number"
_UNSEEN = "\u2060"  # a word joiner: no width, no effect
# The names of Object.prototype in ECMAScript, and `if`: vega-expression's parser looks them up in
# `legalKeywords`
_NAMES = frozenset({
    "if", "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__", "__proto__", "constructor",
    "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString", "valueOf",
})  # fmt: skip
# https://github.com/vega/vega-tooltip/blob/v0.30.0/src/formatValue.ts
_OF_TOOLTIPS = frozenset({"image", "title"})


def picture_controls(text: str) -> str:
    """Return a text with characters that cannot be seen as Unicode's pictures, or their numbers.

    Vega compiles labels into expressions, and its parser takes no line separator (U+2028) within a
    text.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in JOINERS else _picture(ord(char)) for char in text
    )


def _picture(code: int) -> str:
    return chr(0x2400 + code) if code < 0x20 else f"<U+{code:04X}>"


def shorten_label(label: str) -> str:
    """Return how a value is called on a chart; a long one is cut, and says so."""
    if label in (OTHER, NONE, BLANK) or (label and not label.strip()):
        label = f'"{label}"'  # it is labkit's own word for a missing value, or is only space
    return picture_controls(brief(label, LONGEST)) or BLANK


def all_shown(labels: Iterable[str]) -> list[str]:
    """Return how values are shown on a chart; those that look the same get a number each."""
    names: list[str] = []
    used_labels: set[str] = set()
    for name in map(shorten_label, labels):
        unique, count = name, 1
        while unique in used_labels:
            count += 1
            unique = f"{name} #{count}"
        used_labels.add(unique)
        names.append(unique)
    return names


def heading(text: str) -> str:
    """Return a text for the title of a chart, an axis or a legend."""
    text = picture_controls(brief(text, LONGEST_TITLE))
    return text + _UNSEEN if text in _NAMES else text


class Labels:
    """The labels of one chart, in their order; Vega gets their numbers."""

    def __init__(self, labels: Sequence[str]) -> None:
        # one literal of all of them is not a name that Vega takes for a variable; JSON
        # escapes all but ASCII
        self._list = f"split({json.dumps(''.join(chr(10) + picture_controls(label) for label in labels))}, '\\n')"
        self.numbers = list(range(len(labels)))

    def number(self, field: str) -> str:
        """Return the expression for a label's number; `field` is a column that labkit named."""
        return f"indexof({self._list}, datum.{field}) - 1"

    @property
    def expression(self) -> str:
        """The label of an axis, a legend or a header whose values are numbers."""
        return f"{self._list}[datum.value + 1]"

    def number_rows(self, chart: Any, field: str, name: str = NUMBER) -> Any:
        """Give each row of a chart the number of its label, as the field `name`."""
        return chart.transform_calculate(**{name: self.number(field)})


def tooltips(*rows: str | tuple[str, dict[str, str]]) -> list[Any]:
    """Return a tooltip's rows: each a field, or a field with its ``title`` and ``format``.

    No title is one that the tooltip or JavaScript takes for something else, and none is there
    twice.
    """
    import altair as alt

    pairs = [(row, dict[str, str]()) if isinstance(row, str) else row for row in rows]
    titles = {field.partition(":")[0] for field, options in pairs if "title" not in options}
    chart_rows = []
    for field, options in pairs:
        titled = {"title": _row_title(options["title"], titles)} if "title" in options else {}
        titles |= set(titled.values())
        chart_rows.append(alt.Tooltip(field, **{**options, **titled}))
    return chart_rows


def _row_title(text: str, taken: set[str]) -> str:
    title = heading(text) or BLANK
    if title in _OF_TOOLTIPS:
        title += _UNSEEN
    while title in taken:  # a field that is called as a count of labkit's
        title = f'"{title}"'
    return title
