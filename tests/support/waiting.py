"""Waiting for what servers and processes do in their own time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def until(
    met: Callable[[], Any], what: str = "what the test waits for", timeout_s: float = 60
) -> Any:
    """Wait until `met` returns something true, and return it.

    `what` names it if it does not happen.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := met()):
        assert time.monotonic() < deadline, f"{what} did not happen in {timeout_s:g} s"
        time.sleep(0.05)
    return value
