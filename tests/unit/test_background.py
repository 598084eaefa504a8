"""Work beside the cells: it needs no event loop, and what ends it is told."""

from __future__ import annotations

import time

import pytest

from labkit.errors import UsageError
from labkit.notebook.background import Live
from support.waiting import until


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no such thing"), "ValueError: no such thing"),
        (UsageError("wrong", hint="right"), "wrong"),
    ],
)
def test_an_error_of_the_work_is_what_ended_it(error: Exception, told: str) -> None:
    """Not "its time is up": nobody waits for the work, so an error would be seen nowhere."""
    ended: list[str] = []

    def step() -> None:
        raise error

    live = Live(step, ended.append, lambda: False, every_s=0.01, limit_s=10)
    live.start()
    until(lambda: ended, "the end", 10)
    assert not live.running
    assert len(ended) == 1
    assert ended[0].startswith(told)


def test_a_rest_and_the_wait_for_the_next_step_end_at_once_when_stopped() -> None:
    ended: list[str] = []
    steps: list[float] = []

    def step() -> None:
        steps.append(time.monotonic())
        live.rest(60)

    live = Live(step, ended.append, lambda: False, every_s=60, limit_s=600)
    live.start()
    until(lambda: steps, "a step", 10)
    live.stop("enough")
    until(lambda: ended, "the end", 10)
    assert ended == ["enough"]
    assert len(steps) == 1
