"""Numbers of things in words."""

from __future__ import annotations

from collections import Counter


def number_of(count: int, noun: str) -> str:
    """Return ``1 record``, ``2,000 records``; the noun's plural ends in s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def most_frequent(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return what was counted, the most frequent first; of equal counts by name."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
