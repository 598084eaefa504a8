"""Warn at a line of the user's: one of labkit's own says nothing to him, and Python hides some."""

from __future__ import annotations

import contextlib
import sys
import warnings
from pathlib import Path

# a context manager that decorates a method of ours stands between it and its caller
_PASSED = (str(Path(__file__).parents[1]), contextlib.__file__)
_THREADS = ("threading", "concurrent.futures.thread")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the caller's that led here: the last one outside of labkit."""
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PASSED):
        level, frame = level + 1, frame.f_back
    if frame.f_globals.get("__name__") in _THREADS:  # no line of the caller's leads to a thread
        warnings.warn_explicit(message, category, "labkit", 1)
    else:
        warnings.warn(message, category, stacklevel=level)
