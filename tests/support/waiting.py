"""Waiting for what servers and processes do in their own time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# what waits long asks seldom: most questions go to servers, and cost them time that others need
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.25


def until(
    met: Callable[[], Any], what: str = "what the test waits for", timeout_s: float = 60
) -> Any:
    """Wait until `met` returns something true, and return it.

    `what` names it if it does not happen.
    """
    deadline, pause_s = time.monotonic() + timeout_s, SHORTEST_PAUSE_S
    while not (value := met()):
        assert time.monotonic() < deadline, f"{what} did not happen in {timeout_s:g} s"
        time.sleep(pause_s)
        pause_s = min(1.2 * pause_s, LONGEST_PAUSE_S)
    return value
