"""Whole numbers as users write them (Python's, NumPy's, a command line's, JSON's keys), and JSON of our own files."""

from __future__ import annotations

import json
import math
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


def read_json(text: str | bytes) -> Any:
    """Return what a JSON text of a file or a parameter means.

    Raises
    ------
    ValueError
        When it is no JSON, is nested too deep to be read, or has numbers beyond a float's range.
    """
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def _number(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if DIGITS.fullmatch(value.strip()) else None
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None
