"""A warning names a line of the user's: Python hides what comes from a library's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import labkit
from labkit.checks.user_line import warn
from labkit.checks.validation import refuses, renamed
from labkit.waiting.interrupt import quiet_stop


@refuses(limit="there is none")
@quiet_stop("stopped")
@renamed(time="time_field")
def warn_of(text: str, time_field: str = "") -> None:
    """Stand for a method of labkit's below its decorators."""


@pytest.mark.parametrize(
    "call",
    [
        lambda: warn("a note"),
        lambda: quiet_stop("stopped")(warn)("a note"),
        lambda: warn_of("a note", time="at"),
    ],
    ids=["plain", "decorated", "a former name"],
)
def test_a_warning_names_the_user_s_line(call: Callable[[], Any]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert [warning.filename for warning in caught] == [__file__]


def test_each_warning_of_labkit_s_is_made_so() -> None:
    modules = Path(labkit.__file__).parent.rglob("*.py")
    calls = [module.name for module in modules if "warnings.warn(" in module.read_text()]
    assert calls == ["user_line.py"]
