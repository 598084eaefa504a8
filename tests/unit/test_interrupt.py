"""An interrupt, or SIGTERM, at the worst moment."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_in_the_middle_of_a_wait_sets_the_event(number: str) -> None:
    """The wait holds the event's lock then: `labkit index` hung there, and stayed in its group."""
    program = f"""
        import signal
        from labkit.waiting.interrupt import stop_event

        stop = stop_event()
        with stop._cond:
            signal.raise_signal(signal.{number})
        assert stop.wait(10)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=20)
