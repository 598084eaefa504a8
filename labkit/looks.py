"""How states look in a notebook: the theme's own colours, light or dark; others where a page has no theme."""

from __future__ import annotations

GREEN = "var(--jp-success-color1, #2e7d32)"
AMBER = "var(--jp-warn-color0, #b26a00)"
RED = "var(--jp-error-color1, #c62828)"
GREY = "var(--jp-ui-font-color2, #757575)"


def box(colour: str, html: str) -> str:
    """Return HTML with a bar of a state's colour at its left."""
    return f'<div style="border-left:4px solid {colour};padding:2px 12px;line-height:1.5">{html}</div>'


def word(colour: str, text: str) -> str:
    """Return a state's name in its colour."""
    return f'<span style="color:{colour};font-weight:600">{text}</span>'


def one_line(table: str) -> str:
    """Return a DataFrame's HTML with its cells on one line: a long one to the right would make every row tall."""
    return table.replace("<td>", '<td style="white-space:nowrap;text-align:left">').replace(
        "<th>", '<th style="text-align:left">'
    )
