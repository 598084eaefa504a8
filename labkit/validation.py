"""Whole numbers as users write them: Python's, NumPy's, and the texts of a command line or of JSON's keys."""

from __future__ import annotations

import operator
import re
from typing import Any

from labkit.errors import UsageError

DIGITS = re.compile(r"\d+(_\d+)*")


def whole(value: Any, what: str, hint: str, *, low: int | None = None, high: int | None = None) -> int:
    """Return a whole number: an integer of any kind, or a text of digits such as ``"10_000"``.

    Raises
    ------
    UsageError
        For anything else, True among it, and for what is below `low` or above `high`.
    """
    number = _number(value)
    if number is None:
        raise UsageError(f"{what}: {value!r} is no whole number", hint=hint)
    if (low is not None and number < low) or (high is not None and number > high):
        raise UsageError(f"{what}={number}", hint=hint)
    return number


def _number(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if DIGITS.fullmatch(value.strip()) else None
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None
