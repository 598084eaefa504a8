"""A profile as HTML: a table of fields with bars, and the records over time.

No script, no address, no image.
"""

from __future__ import annotations

from html import escape
from typing import Any

from labkit.profile.fields import LONG, FieldStats, parts_of, value_cell
from labkit.profile.result import QUANTILES, TOP, Profile, main_kind
from labkit.profile.words import (
    distinct_words,
    head_lines,
    kind_words,
    number,
    percent,
    value_words,
)
from labkit.tables.sql_text import equals, plain
from labkit.text import html
from labkit.text.counts import number_of
from labkit.text.visible import brief, visible
from labkit.times import iso

_MOST_FIELDS = 300
_BAR = "var(--jp-brand-color1, #1976d2)"
_BINS = 24
_VOLUME_BINS = 120


def as_html(profile: Profile) -> str:
    """Return the profile as a table for a notebook."""
    colour = html.GREEN if profile.complete else html.AMBER if profile.sampled else html.RED
    first, *rest = head_lines(profile)
    lines = "".join(f"<br>{escape(line)}" for line in rest)
    notes = "".join(f"<li>{escape(note)}</li>" for note in profile.notes)
    body = (
        f"<b>{escape(profile.what)}</b> · {html.word(colour, escape(first))}{lines}"
        f"{_volume(profile)}{'<ul style=margin:0>' + notes + '</ul>' if notes else ''}"
    )
    return html.box(colour, body) + _table(profile)


def _table(profile: Profile) -> str:
    if not profile.fields:
        return "<p>no fields</p>"
    head = "".join(
        f'<th style="text-align:{side};padding:2px 10px">{name}</th>'
        for name, side in (
            ("field", "left"), ("type", "left"), ("present", "left"), ("distinct", "right"),
            ("distribution", "left"), ("values", "left"),
        )
    )  # fmt: skip
    rows = "".join(_row(profile, field) for field in profile.fields[:_MOST_FIELDS])
    left = len(profile.fields) - _MOST_FIELDS
    more = (
        f"<p>… and {left:,} more fields: <code>.to_pandas()</code> has all</p>" if left > 0 else ""
    )
    table = f'<table style="border-collapse:collapse;line-height:1.4"><tr>{head}</tr>{rows}</table>'
    return f'<div style="max-width:100%;overflow:auto">{table}{more}</div>'


def _row(profile: Profile, field: FieldStats) -> str:
    share = field.present / max(1, len(profile))
    name = f"<code>{escape(visible(brief(field.path, 60)))}</code>"
    cells = [
        ("left", html.fold(name, _details(profile, field), over=True)),
        ("left", _kind(field)),
        ("left", _bar(share, percent(share))),
        ("right", escape(distinct_words(profile, field))),
        ("left", _picture(field)),
        ("left", escape(value_words(field, most=30))),
    ]
    style = "padding:2px 10px;white-space:nowrap;vertical-align:top;max-width:24em"
    cut = (
        "overflow:hidden;text-overflow:ellipsis"  # but the first, whose details go over the others
    )
    row = "".join(
        f'<td style="text-align:{side};{style};{cut if place else ""}">{text}</td>'
        for place, (side, text) in enumerate(cells)
    )
    return f"<tr>{row}</tr>"


def _details(profile: Profile, field: FieldStats) -> str:
    """Return what a click on a field's name shows: what they are, and when it was there."""
    lines = []
    quantiles = field.numbers.quantiles(tuple(QUANTILES.values()))
    if quantiles[0] is not None:
        shares = zip(QUANTILES.values(), map(number, quantiles), strict=True)
        lines.append(" · ".join(f"{share:.0%}: {value}" for share, value in shares))
    elif field.example is not None:
        lines.append(f"example: {value_cell(field.example)}")
    if field.first_ms is not None:
        lines.append(f"first seen {iso(field.first_ms)}, last seen {iso(field.last_ms)}")
    about = "" if field.exact and not profile.sampled else "~"
    wrapped = "white-space:pre-wrap;overflow-wrap:anywhere"  # a long value, but no count
    head, rows = ["value", "count", "of its values"], []
    takes_where = profile.receipt is not None  # an index takes queries of Elasticsearch
    if takes_where:
        head.append("where=")
    for value, count in field.top(TOP):
        if count > 1:
            shown = f'<span style="{wrapped}">{escape(value_cell(value))}</span>'
            row = [shown, f"{about}{count:,}", percent(count / field.values)]
            if takes_where:
                condition = escape(_condition(profile, field, value))
                row.append(f'<code style="{wrapped}">{condition}</code>' if condition else "")
            rows.append(row)
    values = html.table(head, rows, one_line=True) if rows else ""
    facts = html.lines("\n".join(lines))
    return f'{facts}<div style="overflow-wrap:normal">{values}</div>'


def _condition(profile: Profile, field: FieldStats, value: Any) -> str:
    """Return what ``where=`` of a read takes for the records with a value; else nothing."""
    names, items, within = parts_of(field.path)
    plain_value = plain(value)
    in_a_map = items and "map" in profile[field.path.removesuffix("[]")].kinds
    whole = len(str(value)) <= LONG  # of a longer one only the beginning is kept
    if plain_value is None or within or in_a_map or not whole or not all(names):
        return ""
    condition = equals(names, plain_value, items=items)
    return condition if visible(condition) == condition else ""


def _kind(field: FieldStats) -> str:
    words = escape(kind_words(field))
    return html.word(html.AMBER, words) if len(field.kinds) > 1 and "," in words else words


def _bar(share: float, label: str) -> str:
    return (
        '<span style="display:inline-block;width:60px;height:9px;background:rgba(128,128,128,.25);margin-right:6px">'
        f'<span style="display:block;width:{60 * share:.1f}px;height:9px;background:{_BAR}"></span></span>{label}'
    )


def _picture(field: FieldStats) -> str:
    """Return a small histogram of numbers, or bars of the most frequent values."""
    if main_kind(field) in ("integer", "number", "decimal", "list", "map"):
        counts, edges = field.numbers.histogram(_BINS)
        if len(set(edges)) < 2:
            return ""
        title = f"{number(edges[0])} to {number(edges[-1])}"
        return _columns(counts, [title] * len(counts), width=120, height=22)
    if field.distinct is None or not field.values:
        return ""
    top = field.top(10)
    titles = [f"{value_cell(value, most=40)}: {count:,}" for value, count in top]
    return _columns(
        [count / field.values for _, count in top], titles, width=120, height=22, bins=10
    )


def _volume(profile: Profile) -> str:
    frame = profile.volume()
    if len(frame) < 2:
        return ""
    step = -(-len(frame) // _VOLUME_BINS)
    counts = frame["records"].to_numpy()
    sums = [int(counts[at : at + step].sum()) for at in range(0, len(counts), step)]
    times = [frame["time"].iloc[at] for at in range(0, len(counts), step)]
    titles = [
        f"{time}: {number_of(count, 'record')}" for time, count in zip(times, sums, strict=True)
    ]
    width = int((times[1] - times[0]).total_seconds() * 1000)
    style = "opacity:.7;display:inline-block;padding-left:.4em"  # whole, on a line below if need be
    label = f'<span style="{style}">records over time, a column is {_length(width)}</span>'
    return (
        f"<br>{_columns([float(height) for height in sums], titles, width=480, height=40)}{label}"
    )


def _columns(
    heights: list[float], titles: list[str], *, width: int, height: int, bins: int | None = None
) -> str:
    """Return a small chart of columns as SVG."""
    most = max(heights, default=0)
    if not most:
        return ""
    step = width / max(len(heights), bins or 0)
    drawn = "".join(
        _column(step * place, step, max(1.0, height * count / most), height, title)
        for place, (count, title) in enumerate(zip(heights, titles, strict=True))
        if count
    )
    return (
        # where there is less room it is narrower, not cut
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img"'
        f' style="vertical-align:middle;max-width:100%;height:{height}px">'
        f'<rect x="0" y="{height - 0.5}" width="{width}" height="0.5" fill="currentColor" opacity=".4"/>{drawn}</svg>'
    )


def _column(left: float, step: float, tall: float, height: int, title: str) -> str:
    return (
        f'<rect x="{left:.1f}" y="{height - tall:.1f}" width="{max(1.0, step - 1):.1f}" height="{tall:.1f}"'
        f' fill="{_BAR}"><title>{escape(title)}</title></rect>'
    )


def _length(ms: int) -> str:
    units = ((86_400_000, "days"), (3_600_000, "hours"), (60_000, "minutes"), (1_000, "seconds"))
    size, word = next((pair for pair in units if ms >= pair[0]), (1, "ms"))
    count = ms / size
    return f"{count:g} {word[:-1] if count == 1 and word != 'ms' else word}"
