"""How states look in a notebook: the theme's own colours, light or dark; others where a page has no theme."""

from __future__ import annotations


def _readable(colour: str) -> str:
    """Mix a colour with that of the text around it: the themes' own alone go down to a contrast of 3.5."""
    return f"color-mix(in srgb, {colour} 75%, currentcolor)"


GREEN = _readable("var(--jp-success-color1, #2e7d32)")
AMBER = _readable("var(--jp-warn-color0, #b26a00)")
RED = _readable("var(--jp-error-color1, #c62828)")
GREY = _readable("var(--jp-ui-font-color2, #757575)")


def box(colour: str, html: str) -> str:
    """Return HTML with a bar of a state's colour at its left."""
    return f'<div style="border-left:4px solid {colour};padding:2px 12px;line-height:1.5">{html}</div>'


def word(colour: str, text: str) -> str:
    """Return a state's name in its colour."""
    return f'<span style="color:{colour};font-weight:600">{text}</span>'


def spaced(table: str, *, one_line: bool = False) -> str:
    """Return a table's HTML with room between its columns: in a widget there is none.

    With `one_line` no cell is broken: a long one to the right would make every row tall.
    """
    style = "text-align:left;padding-right:1em"
    cell = f"{style};white-space:nowrap" if one_line else style
    return table.replace("<td>", f'<td style="{cell}">').replace("<th>", f'<th style="{style}">')
