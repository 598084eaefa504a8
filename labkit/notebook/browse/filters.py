"""What was clicked, as a condition in SQL that `Window.read` takes.

So the widget and the code show the same records.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from typing import Any

from labkit.errors import UsageError
from labkit.tables.sql_text import column, equals, escape_bytes, literal
from labkit.times import iso, parse_span, to_ms

_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")  # what means something in a pattern
OPS = ("is", "in", "between", "has", "text", "sql")


@dataclass(frozen=True)
class Filter:
    """One chip.

    Attributes
    ----------
    op : str
        ``is`` (a value, or None), ``between`` (low, high; half-open), ``has`` (any value), ``text``
        (in any text field, or in `field`; upper and lower case are the same), ``sql`` (a condition as it is).
    field : tuple of str
        The path of names; empty for ``text`` in all fields and for ``sql``.
    value : Any
    negated, on : bool
    items : bool
        Whether the field is the items of a list: one of them fulfils it.
    told_as : str
        How the field says a time: ``text`` (ISO 8601), ``number`` (milliseconds since the epoch);
        else by its type.
    """

    op: str
    field: tuple[str, ...] = ()
    value: Any = None
    negated: bool = False
    on: bool = True
    items: bool = False
    told_as: str = ""

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Filter:
        """Return a filter of what the browser sent.

        Raises
        ------
        UsageError
            When it is none.
        """
        if raw.get("op") not in OPS:
            raise UsageError(
                f"a filter's op must be one of {', '.join(OPS)}, not {raw.get('op')!r}"
            )
        path = tuple(str(part) for part in raw.get("field") or ())
        return cls(
            str(raw["op"]), path, raw.get("value"), bool(raw.get("negated")), raw.get("on") is not False,
            bool(raw.get("items")), str(raw.get("told_as") or ""),
        )  # fmt: skip

    def sql(self, texts: Sequence[tuple[str, ...]]) -> str:
        """Return the condition.

        `texts` are the fields that hold texts, for a search in all of them.
        """
        positive = self._positive(texts)
        return f"not coalesce({positive}, false)" if self.negated else positive

    def change(self, text: str, zone: tzinfo = UTC, now: datetime | None = None) -> Filter:
        """Return the filter with what was typed in place of its value.

        Parameters
        ----------
        zone, now
            Of times, as `labkit.times.parse_span` takes them.

        Raises
        ------
        UsageError
            When the text is no such value.
        """
        if self.op in ("has", "in") or (self.op == "is" and self.value is None):
            raise UsageError(
                "there is no value to change here", hint="turn it around, or remove it"
            )
        if self.op in ("text", "sql"):
            if not text.strip():
                raise UsageError("there is nothing to look for", hint="× removes the filter")
            return replace(self, value=text.strip() if self.op == "sql" else text)
        if self.op == "is":
            return replace(self, value=_value_of(text, self.value, zone, now))
        if any(isinstance(end, Mapping) for end in self.value):
            return replace(self, value=time_ends(*parse_span(text, zone, now=now)))
        low, high = _numbers(text)
        return replace(self, value=[low, high])

    def _positive(self, texts: Sequence[tuple[str, ...]]) -> str:
        if self.op == "sql":
            return f"({self.value})"
        if self.op == "text":
            return self._contains([self.field] if self.field else list(texts))
        if self.op == "is" or self.items:
            return equals(self.field, self.value, items=self.items)
        name = column(self.field)
        return f"{name} is not null" if self.op == "has" else self._between(name)

    def _contains(self, paths: Sequence[tuple[str, ...]]) -> str:
        """Return the condition that one of the fields contains the text, in any case."""
        pattern = literal(in_any_case(str(self.value)))
        parts = [f"regexp_matches({column(path)}, {pattern})" for path in paths]
        if len(parts) > 1:
            return f"({' or '.join(parts)})"
        return parts[0] if parts else "false"

    def _between(self, name: str) -> str:
        """Return the condition that a field is within the ends: [low, high)."""
        low, high = self.value
        if self.told_as == "text":
            name = f"try_cast({name} as timestamptz)"
        elif self.told_as:
            name = f"epoch_ms({name})"
        parts = []
        if low is not None:
            parts.append(f"{name} >= {literal(low)}")
        if high is not None:
            parts.append(f"{name} < {literal(high)}")
        return " and ".join(parts) or "true"


def in_any_case(text: str) -> str:
    """Return the pattern of a text in upper and lower case alike, for DuckDB and for polars."""
    return "(?i)" + _SPECIAL.sub(r"\\\g<0>", text)


def span_of(filters: Iterable[Filter], path: tuple[str, ...]) -> tuple[int | None, int | None]:
    """Return the time that the chips on the field `path` leave, in milliseconds: [start, end)."""
    starts: list[int] = []
    ends: list[int] = []
    for chip in filters:
        if chip.on and not chip.negated and chip.op == "between" and chip.field == path:
            for end, times in zip(chip.value, (starts, ends), strict=True):
                if isinstance(end, Mapping):
                    times.append(to_ms(end["time"]))
    return max(starts, default=None), min(ends, default=None)


def time_ends(start_ms: int | None, end_ms: int | None) -> list[Any]:
    """Return the ends of a time as a filter's value has them, in UTC."""
    return [None if ms is None else {"time": iso(ms)} for ms in (start_ms, end_ms)]


def _value_of(text: str, before: Any, zone: tzinfo, now: datetime | None) -> Any:
    """Return a text as a value of the kind that was there before."""
    if isinstance(before, Mapping) and "type" in before:
        return {
            **before,
            "text": escape_bytes(text.encode()) if before["type"] == "BLOB" else text,
        }
    if isinstance(before, Mapping):
        return {"time": iso(to_ms(text, zone, now=now))}
    if isinstance(before, bool):
        if text.strip().lower() not in ("true", "false"):
            raise UsageError(f"this field is true or false, not {text!r}")
        return text.strip().lower() == "true"
    return _number(text) if isinstance(before, int | float) else text


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a number", hint="such as 12 or 0.5") from error
    if not math.isfinite(number):
        raise UsageError(f"{text!r} is not a number that can be compared", hint="such as 12 or 0.5")
    return number


def _numbers(text: str) -> tuple[int | float | None, int | float | None]:
    """Return two numbers, of which one may be left out: ``10 … 20``, ``10 …``."""
    parts = re.split(r"\s*(?:…|–|\.\.+|\bto\b)\s*", text.strip())
    if len(parts) != 2 or not any(parts):
        raise UsageError(
            f"{text!r} is not a range of numbers",
            hint="write 10 … 20, 10 … or … 20; the end is not in it",
        )
    low, high = (_number(part) if part else None for part in parts)
    if low is not None and high is not None and high <= low:
        raise UsageError(f"{text!r} ends at {high}, not above its start {low}")
    return low, high


def condition(filters: Iterable[Filter], texts: Sequence[tuple[str, ...]]) -> str | None:
    """Return the condition of all filters that are switched on; None without one."""
    parts = [chip.sql(texts) for chip in filters if chip.on]
    return " and ".join(parts) if parts else None
