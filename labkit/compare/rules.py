"""What counts as equal. Pure.

- Objects: by member, whatever their order. A member that is null equals one that is absent, and so does an object with
  nothing in it: Elasticsearch indexes neither, and a column of a frame cannot tell them apart.
- Numbers: by value, so ``1``, ``1.0`` and ``1e0`` are equal; integers of any length are compared exactly. A number is
  never equal to a text (``1`` and ``"1"``), nor to true or false.
- Lists: item by item, in order; there a null is an item, and ``[]`` is not absent.
- Texts: by code point. ``tolerance`` makes numbers equal that differ a little, and times written in different ways.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from labkit.errors import UsageError
from labkit.times import length_ms

_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
_NUMBERS = (int, float)
TOLERANCE_HINT = "write 0.01 (absolute), '1%' (relative), '5s' (times), or {field: one of these}"


@dataclass(frozen=True)
class Tolerance:
    """How far apart two values may be; None: not at all.

    It is a difference, a part of the larger value, or a length of time.
    """

    absolute: float | None = None
    relative: float | None = None
    time: timedelta | None = None

    @classmethod
    def of(cls, value: float | str | timedelta) -> Tolerance:
        """Read ``0.01``, ``"1%"`` or ``"5s"``."""
        if (
            isinstance(value, _NUMBERS)
            and not isinstance(value, bool)
            and 0 <= value < float("inf")
        ):
            return cls(absolute=value)
        if isinstance(value, str) and (percent := _PERCENT.fullmatch(value)):
            return cls(relative=float(percent[1]) / 100)
        if isinstance(value, str | timedelta):
            try:
                return cls(time=timedelta(milliseconds=length_ms(value)))
            except UsageError:
                pass
        raise UsageError(
            f"tolerance must be a number, a percentage or a length of time, not {value!r}",
            hint=TOLERANCE_HINT,
        )

    def numbers(self, left: float, right: float) -> bool:
        """Tell whether two numbers are near enough."""
        try:
            apart = abs(left - right)
            near = self.absolute is not None and apart <= self.absolute
            return near or (
                self.relative is not None and apart <= self.relative * max(abs(left), abs(right))
            )
        except OverflowError:  # an integer beyond what a fraction can be
            return False

    def texts(self, left: str, right: str) -> bool:
        """Tell whether two texts are times near enough; ISO 8601, without a zone UTC."""
        if self.time is None:
            return False
        first, second = _moment(left), _moment(right)
        return first is not None and second is not None and abs(first - second) <= self.time


def _moment(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


NOTHING_APART = Tolerance()


@dataclass(frozen=True)
class Rules:
    """Which fields are compared, and how closely.

    Attributes
    ----------
    ignore, only : tuple of str
        Fields, with all that is below them; ``*`` and ``?`` stand for any characters.
    tolerance : tuple of (str, Tolerance)
        By field or pattern; the first that fits holds.
    """

    ignore: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    tolerance: tuple[tuple[str, Tolerance], ...] = ()
    _chosen: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)
    _near: dict[str, Tolerance] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, ignore: Any = (), only: Any = (), tolerance: Any = None) -> Rules:
        """Read the options of `labkit.compare.compare`."""
        tolerances = (
            tolerance
            if isinstance(tolerance, Mapping)
            else {}
            if tolerance is None
            else {"*": tolerance}
        )
        near = tuple((str(name), Tolerance.of(value)) for name, value in tolerances.items())
        return cls(texts(ignore, "ignore"), texts(only, "only"), near)

    def is_compared(self, name: str) -> bool:
        """Tell whether a field is compared."""
        is_chosen = self._chosen.get(name)
        if is_chosen is None:
            is_chosen = not _fits(name, self.ignore) and (not self.only or _fits(name, self.only))
            self._chosen[name] = is_chosen
        return is_chosen

    def check(self) -> list[str]:
        """Return what to say of fields that no pair of documents has.

        Raises
        ------
        UsageError
            When one of them is in `only`: all would be the same where nothing was compared.
        """
        missing = self._idle(self.only)
        if missing:
            present = ", ".join(sorted(self._chosen)[:20])
            raise UsageError(
                f"only: no document has a value in {', '.join(missing)}",
                hint=f"there is: {present}",
            )
        unused = self._idle([*self.ignore, *(pattern for pattern, _ in self.tolerance)])
        return [f"the pattern {name} of ignore or tolerance matches no field" for name in unused]

    def _idle(self, patterns: Iterable[str]) -> list[str]:
        """Return the patterns that fit none of the fields asked about; none where no field was."""
        if not self._chosen:
            return []
        return [
            pattern
            for pattern in patterns
            if not any(_fits(name, (pattern,)) for name in self._chosen)
        ]

    def near(self, name: str) -> Tolerance:
        """Return how far apart a field's values may be."""
        if not self.tolerance:
            return NOTHING_APART
        tolerance = self._near.get(name)
        if tolerance is None:
            tolerance = next(
                (near for pattern, near in self.tolerance if _fits(name, (pattern,))), NOTHING_APART
            )
            self._near[name] = tolerance
        return tolerance

    def __str__(self) -> str:
        words = [f"only {', '.join(self.only)}"] if self.only else []
        words += [f"without {', '.join(self.ignore)}"] if self.ignore else []
        words += [f"{name} within {_tolerance_text(near)}" for name, near in self.tolerance]
        return "; ".join(words)


def _tolerance_text(near: Tolerance) -> str:
    if near.time is not None:
        return f"{near.time.total_seconds():g} s"
    return (
        f"{near.absolute:g}" if near.absolute is not None else f"{100 * (near.relative or 0):g} %"
    )


def texts(value: Any, name: str) -> tuple[str, ...]:
    """Return the fields an option names: none, one, or several."""
    names = (value,) if isinstance(value, str) else value or ()
    if not isinstance(names, Sequence) or not all(isinstance(name, str) and name for name in names):
        raise UsageError(
            f"{name} must be names of fields, not {value!r}",
            hint=f"such as {name}=['geo', 'labkit.id']",
        )
    return tuple(names)


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(
        fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*") for pattern in patterns
    )


def equal(left: Any, right: Any, near: Tolerance = NOTHING_APART) -> bool:
    """Tell whether two values are equal, as the module says."""
    first, second = type(left), type(right)
    if first is str and second is str:
        return bool(left == right) or near.texts(left, right)
    if first is list and second is list:
        return len(left) == len(right) and all(
            equal(a, b, near) for a, b in zip(left, right, strict=True)
        )
    if first is dict and second is dict:
        left, right = _present(left), _present(right)
        return left.keys() == right.keys() and all(
            equal(value, right[name], near) for name, value in left.items()
        )
    if first in _NUMBERS and second in _NUMBERS:
        return bool(left == right) or near.numbers(left, right)
    return left is right  # true, false and null are single


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if not is_nothing(value)}


def is_nothing(value: Any) -> bool:
    """Tell whether a member is as good as absent."""
    return value is None or (type(value) is dict and all(map(is_nothing, value.values())))


# JSON ----------------------------------------------------------------------------------------------------


def long_numbers(texts: pa.Array) -> pa.BooleanArray:
    """Tell which texts may hold integers beyond 64 bits."""
    return pc.fill_null(pc.match_substring_regex(texts, r"[0-9]{19}"), False)


def loads(text: str, long: bool = False) -> Any:
    """Parse JSON, with half surrogate pairs as they are.

    With `long`, integers of any length are exact.
    """
    if long:
        return json.loads(text)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def dumps(value: Any) -> str:
    """Return a value as JSON, with objects' members in order of their names."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
            "utf-8", "backslashreplace"
        ).decode()  # fmt: skip


def canonical(value: Any) -> Any:
    """Return a value written so that equal ones have equal JSON.

    They are equal as `equal` says without a tolerance.
    """
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is list:
        return [canonical(item) for item in value]
    if type(value) is dict:
        return {name: canonical(item) for name, item in value.items() if not is_nothing(item)}
    return value
