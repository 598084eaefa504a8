"""A window's numbers as users write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from labkit.errors import UsageError
from labkit.validation import DIGITS, whole


def newest(last: Any) -> int | None:
    """Return how many of the newest records are asked for; None when `last` is a length of time."""
    if isinstance(last, timedelta) or (isinstance(last, str) and not DIGITS.fullmatch(last.strip())):
        return None
    return whole(last, "last", 'write last="6h", or last=10_000 for the newest 10,000 records')


def partitions(wanted: Any) -> list[int]:
    """Return partitions' numbers, sorted, each once; one alone will do."""
    some = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable) else list(wanted)
    found = sorted({whole(one, "partitions", "write partitions=[0, 2]") for one in some})
    if not found:
        raise UsageError("partitions is empty", hint="name some, or leave it out for all")
    return found


def spans(offsets: Any) -> dict[int, tuple[int, int]]:
    """Return offsets by partition, half-open."""
    hint = "write offsets={0: (100, 200)}"
    if not isinstance(offsets, Mapping) or not offsets:
        raise UsageError(f"offsets={offsets!r}", hint=f"{hint}, or leave it out")
    found: dict[int, tuple[int, int]] = {}
    for name, pair in offsets.items():
        partition = whole(name, "a partition", hint)
        if partition in found:
            raise UsageError(f"offsets name partition {partition} twice", hint=hint)
        if isinstance(pair, str | bytes | Mapping) or not isinstance(pair, Iterable) or len(both := list(pair)) != 2:
            raise UsageError(f"offsets of partition {partition}: {pair!r}", hint=hint)
        start, end = (whole(one, f"offsets of partition {partition}", hint) for one in both)
        found[partition] = (start, end)
    return found
