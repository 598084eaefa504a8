"""What a chart says and looks like."""

from __future__ import annotations

import io
from typing import Any


def subtitle_lines(chart: Any) -> list[str]:
    """Return the lines below a chart's title."""
    subtitle = chart.to_dict()["title"].get("subtitle", [])
    return subtitle if isinstance(subtitle, list) else [subtitle]


def png_of(chart: Any) -> bytes:
    """Return a chart as a picture."""
    out = io.BytesIO()
    chart.save(out, format="png")
    return out.getvalue()


def can_be_drawn(chart: Any) -> bool:
    """Tell whether a chart becomes a picture."""
    return png_of(chart).startswith(b"\x89PNG")
