"""Work beside the cells: what ends it is told."""

from __future__ import annotations

import asyncio

import pytest

from labkit.errors import UsageError
from labkit.notebook.background import Live


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no such thing"), "ValueError: no such thing"),
        (UsageError("wrong", hint="right"), "wrong"),
    ],
)
def test_an_error_of_the_work_is_what_ended_it(error: Exception, told: str) -> None:
    """Not "its time is up": nobody awaits the work, so an error would be seen nowhere."""
    ended: list[str] = []

    async def step() -> None:
        raise error

    async def main() -> None:
        live = Live(step, ended.append, lambda: False, every_s=0.01, limit_s=10)
        while live.running:
            await asyncio.sleep(0.01)

    asyncio.run(main())
    assert len(ended) == 1
    assert ended[0].startswith(told)
