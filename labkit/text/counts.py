"""Numbers of things in words."""

from __future__ import annotations


def number_of(count: int, noun: str) -> str:
    """Return ``1 record``, ``2,000 records``; the noun's plural ends in s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
