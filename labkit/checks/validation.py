"""Check what users give: whole numbers, options, and JSON of labkit's own files.

Whole numbers are Python's, NumPy's, a command line's, or JSON's keys.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import wraps
from types import FunctionType
from typing import Any, ParamSpec, TypeVar, get_args

from labkit.checks.suggest import must_be_one_of, typed
from labkit.checks.user_line import warn
from labkit.errors import UsageError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Part = TypeVar("Part")
DIGITS = re.compile(r"\d+(_\d+)*")


def refuses(**reasons: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Have a method refuse options that its siblings take, with what to do instead.

    Its attribute ``refused`` has the reasons: the options of all methods are compared by a test.
    """

    def decorate(method: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @wraps(method)
        def checked(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
            for name in options:
                if name in reasons:
                    raise UsageError(f"{method.__name__} takes no {name}", hint=reasons[name])
            return method(*arguments, **options)

        vars(checked)["refused"] = reasons
        return checked

    return decorate


def renamed(
    **new_names: str,
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Have a function take options under their former names too, which are deprecated."""

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @wraps(function)
        def checked(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
            for name, new_name in new_names.items():
                if name in options:
                    text = f"{function.__name__}({name}=) is called {new_name}="
                    warn(text, DeprecationWarning)
                    options[new_name] = options.pop(name)
            return function(*arguments, **options)

        return checked

    return decorate


def part_of(public: str) -> Callable[[type[Part]], type[Part]]:
    """Have a class's methods named as those of the public class that it is a part of.

    So Python's own errors of a wrong call name what the user typed.
    """

    def rename(part: type[Part]) -> type[Part]:
        for name, member in vars(part).items():
            method = member
            while isinstance(method, FunctionType):
                method.__qualname__ = f"{public}.{name}"
                method = getattr(method, "__wrapped__", None)
        return part

    return rename


def check_choice(name: str, value: Any, choices: Any, hint: str = "") -> None:
    """Refuse a value that is not one of those of a `Literal`."""
    texts = get_args(choices)
    if value not in texts:
        raise must_be_one_of(name, value, texts, hint)


def whole_number(
    value: Any, what: str, hint: str, *, low: int | None = None, high: int | None = None
) -> int:
    """Return a whole number: an integer of any kind, or a text of digits such as ``"10_000"``.

    Raises
    ------
    UsageError
        For anything else, True among it, and for what is below `low` or above `high`.
    """
    number = _number(value)
    if number is None:
        raise UsageError(f"{what} must be a whole number, not {value!r}", hint=hint)
    if (low is not None and number < low) or (high is not None and number > high):
        bounds = f"{low or 0:,} or more" if high is None else f"{low or 0:,} to {high:,}"
        raise UsageError(f"{what} must be {bounds}, not {number:,}", hint=hint)
    return number


def newest_count(last: Any) -> int | None:
    """Return how many of the newest records are asked for; None when `last` is a length of time."""
    if isinstance(last, timedelta) or (
        isinstance(last, str) and not DIGITS.fullmatch(last.strip())
    ):
        return None
    form = typed('last="6h", or last=10_000', "--last 6h, or --last 10000")
    return whole_number(last, "last", f"write {form} for the newest 10,000 records")


def partition_numbers(wanted: Any) -> list[int]:
    """Return partitions' numbers, sorted, each once; one alone will do."""
    numbers = (
        [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable) else list(wanted)
    )
    hint = f"write {typed('partitions=[0, 2]', '--partitions 0,2')}"
    partitions = sorted({whole_number(number, "partitions", hint) for number in numbers})
    if not partitions:
        raise UsageError(
            "partitions must name one or more, not none", hint=f"{hint}, or leave it out"
        )
    return partitions


def offset_ranges(offsets: Any) -> dict[int, tuple[int, int]]:
    """Return offsets by partition, half-open."""
    hint = f"write {typed('offsets={0: (100, 200)}', '--offsets 0:100-200')}"
    if not isinstance(offsets, Mapping) or not offsets:
        raise UsageError(
            f"offsets must be a dict by partition, not {offsets!r}", hint=f"{hint}, or leave it out"
        )
    ranges: dict[int, tuple[int, int]] = {}
    for name, pair in offsets.items():
        partition = whole_number(name, "a partition", hint)
        if partition in ranges:
            raise UsageError(f"offsets name partition {partition} twice", hint=hint)
        if (
            isinstance(pair, str | bytes | Mapping)
            or not isinstance(pair, Iterable)
            or len(bounds := list(pair)) != 2
        ):
            raise UsageError(
                f"offsets of partition {partition} must be a pair (start, end), not {pair!r}",
                hint=hint,
            )
        start, end = (
            whole_number(bound, f"offsets of partition {partition}", hint) for bound in bounds
        )
        ranges[partition] = (start, end)
    return ranges


def offsets_by_partition(offsets: Mapping[Any, Any]) -> dict[int, int]:
    """Return one offset for each partition."""
    hint = "write {0: 100, 1: 250}: partition and offset"
    return {
        whole_number(name, "a partition", hint, low=0): whole_number(
            offset, f"the offset of partition {name}", hint, low=0
        )
        for name, offset in offsets.items()
    }


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


def check_fields(raw: Any, kinds: Mapping[str, type | tuple[type, ...]]) -> None:
    """Raise ValueError where `raw` is no JSON object whose fields have values of these kinds.

    A whole number of more than 64 bits is none, and neither are true and false.
    """
    if not isinstance(raw, dict):
        raise ValueError("it is no object")
    for name, kind in kinds.items():
        value = raw.get(name)
        too_large = isinstance(value, int) and not -(2**63) <= value < 2**63
        if not isinstance(value, kind) or isinstance(value, bool) or too_large:
            raise ValueError(f"{name} is damaged")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def _number(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if DIGITS.fullmatch(value.strip()) else None
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None
