"""A browser of records in a saved notebook: title, chips, histogram and newest rows."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from labkit.errors import LabkitError
from labkit.notebook.browse.filters import span_of
from labkit.text import html

if TYPE_CHECKING:
    from labkit.notebook.browse.widget import Browse

ROWS = 10
_MOST = 48  # characters of a cell


def picture(browse: Browse) -> str:
    """Return it as HTML without the code.

    A condition that cannot be asked is shown instead of the rows.
    """
    records, source = browse.records, browse.source
    title = f"<b>{escape(source.title)}</b> {escape(source.said)}"
    try:
        records.choose(browse.filters)
    except LabkitError as error:
        return html.show_html(
            f'<div>{title}</div><div style="color:{html.RED}">{escape(error.message)}</div>'
        )
    count, total = records.count, records.there
    columns = [str(name) for name in browse.box.columns]
    rows = [[escape(_cut(cell)) for cell in row] for row in records.page(0, ROWS, columns)]
    table = html.table([f"time ({source.zone})", *columns], rows, one_line=True)
    where = f" where <code>{escape(str(browse.condition))}</code>" if browse.condition else ""
    caption = f"<div>{count:,} of {total:,} picked{where}; the newest {len(rows):,}:</div>"
    bars = _bars(records.histogram(span=span_of(browse.filters, records.time_path)))
    return html.show_html(
        f'<div style="line-height:1.4"><div>{title}</div>{bars}{caption}'
        f'<div style="overflow:auto">{table}</div></div>'
    )


def _cut(text: str) -> str:
    return text if len(text) <= _MOST else f"{text[: _MOST - 1]}…"


def _bars(histogram: dict[str, Any]) -> str:
    """Return the histogram over time: all records pale, the picked ones in the theme's colour."""
    every = histogram["all"]
    if not every:
        return ""
    picked = histogram["series"][0]["counts"] if histogram["series"] else [0] * len(every)
    top = max(1, *every)
    style = (("currentcolor", 0.25, every), ("var(--jp-brand-color1, #1976d2)", 1, picked))
    bars = "".join(
        f'<rect x="{at}" y="{60 - 60 * count / top:.1f}" width="0.9" height="{60 * count / top:.1f}" '
        f'fill="{colour}" fill-opacity="{opacity}"/>'
        for colour, opacity, counts in style
        for at, count in enumerate(counts)
        if count
    )
    return (
        f'<svg role="img" aria-label="records over time" viewBox="0 0 {len(every)} 60" preserveAspectRatio="none" '
        f'style="width:100%;height:60px;display:block">{bars}</svg>'
    )
