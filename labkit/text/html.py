"""HTML that a notebook shows: how states look, tables, and records as they are.

Colours are the theme's own, light or dark; others where a page has no theme. All that labkit shows
goes through `view` or `show_html`: no record's ``$5 and $6`` is typeset as mathematics, and nothing in
it that cannot be seen turns the text around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, wraps
from html import escape
from typing import TypeVar

from labkit.text.visible import brief, visible

AS_IT_IS = "tex2jax_ignore mathjax_ignore"
"""Classes whose content MathJax leaves alone, of version 2 (a page of nbconvert) and of 3
(JupyterLab).
"""


_NAME = 80  # characters of a column's name
_WIDEST, _OPENED = "min(60em,30vw)", "min(60em,40vw)"  # a cell, and what is opened
_SURE_ROOM = 30  # characters that any page has room for
_SPACE = "\n\t"
T = TypeVar("T")


def _readable(colour: str) -> str:
    """Mix a colour with that of the text around it.

    The themes' own colours alone have a contrast of 3.5 at worst.
    """
    return f"color-mix(in srgb, {colour} 75%, currentcolor)"


GREEN = _readable("var(--jp-success-color1, #2e7d32)")
AMBER = _readable("var(--jp-warn-color0, #b26a00)")
RED = _readable("var(--jp-error-color1, #c62828)")
GREY = _readable("var(--jp-ui-font-color2, #757575)")


def show_html(markup: str) -> str:
    """Return HTML as something that shows records as they are."""
    return f'<div class="{AS_IT_IS}">{visible(markup, keep=_SPACE)}</div>'


def view(render: Callable[[T], str]) -> Callable[[T], str]:
    """Let a ``_repr_html_`` show records as they are."""

    @wraps(render)
    def wrapped(self: T) -> str:
        return show_html(render(self))

    return wrapped


@cache
def frames_as_they_are() -> None:
    """Let pandas show texts of records as they are, once per process.

    It is pandas' own option, which a user may set back.
    """
    import pandas as pd

    pd.set_option("display.html.use_mathjax", False)


def box(colour: str, html: str) -> str:
    """Return HTML with a bar of a state's colour at its left."""
    return (
        f'<div style="border-left:4px solid {colour};padding:2px 12px;line-height:1.5">{html}</div>'
    )


def lines(text: str) -> str:
    """Return lines of text as HTML."""
    return escape(text).replace("\n", "<br>")


def word(colour: str, text: str) -> str:
    """Return a state's name in its colour."""
    return f'<span style="color:{colour};font-weight:600">{text}</span>'


def fold(summary: str, more: str, *, over: bool = False) -> str:
    """Return HTML of which a click, or Enter on it, shows more; without a kernel, too.

    Parameters
    ----------
    summary, more : str
        As HTML.
    over : bool
        In a table, what is shown goes below the cells to the right, so that no column moves.
    """
    style = "white-space:pre-wrap;overflow-wrap:anywhere;padding:2px 0 6px 1.2em;"
    style += f"max-width:{_OPENED}"
    if over:  # and below pictures in the row
        style += f";width:{_OPENED};margin:6px calc(-1*{_OPENED}) 0 0;position:relative"
    head = '<summary style="cursor:pointer;overflow:hidden;text-overflow:ellipsis">'
    return f'<details>{head}{summary}</summary><div style="{style}">{more}</div></details>'


def table(names: Sequence[str], rows: Iterable[Sequence[str]], *, one_line: bool = False) -> str:
    """Return a table, with room between its columns: in a widget it has none of its own.

    Parameters
    ----------
    names : sequence of str
        The columns' names, as text.
    rows : iterable of sequences of str
        The cells, as HTML.
    one_line : bool
        No cell is broken: a long one to the right would make every row tall. One that is wider than
        its place is cut, and shows all where the mouse rests.
    """
    style = "text-align:left;vertical-align:top;padding-right:1em"
    cut = f"white-space:nowrap;max-width:{_WIDEST};overflow:hidden;text-overflow:ellipsis"
    cell = f"{style};{cut}" if one_line else style
    head = "".join(
        f'<th style="{style}">{escape(visible(brief(name, _NAME)))}</th>' for name in names
    )
    body = ""
    for row in rows:
        titles = [_title_of(content) if one_line else "" for content in row]
        cells = "".join(
            f'<td style="{cell}"{title}>{content}</td>'
            for title, content in zip(titles, row, strict=True)
        )
        body += f"<tr>{cells}</tr>"
    rows_html = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<table class="dataframe" style="line-height:1.4">{rows_html}</table>'


def _title_of(content: str) -> str:
    """Return the attribute that shows all of a cell which a narrow page may cut.

    A cell with tags has none: what is folded opens.
    """
    if len(content) <= _SURE_ROOM or "<" in content:
        return ""
    return f' title="{content.replace(chr(34), "&quot;")}"'
