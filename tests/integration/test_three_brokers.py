"""Three real brokers, one of which dies: no window lies, no process dies, and one dead broker costs little."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from labkit.errors import LabkitError, ServerError, UnavailableError
from support.cluster import ThreeBrokers
from support.waiting import until

pytestmark = pytest.mark.chaos
RECORDS = 12_000
TIMEOUT_S = 60.0


@pytest.fixture(autouse=True)
def _whole(three: ThreeBrokers) -> None:
    """Begin with three brokers, whatever the test before has killed."""
    three.heal()


@pytest.fixture(scope="module")
def topic(three: ThreeBrokers) -> str:
    """A topic of six partitions with data that does not compress."""
    name = three.make_topic(f"irc-three-{uuid.uuid4().hex[:8]}")
    three.produce(name, RECORDS)
    return name


@contextmanager
def in_a_loop(act: Callable[[], Any]) -> Iterator[list[tuple[float, float, Any]]]:
    """Act again and again in a thread; yield what came of it: when each began, how long it took, result or error."""
    results: list[tuple[float, float, Any]] = []
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            began = time.monotonic()
            try:
                result: Any = act()
            except LabkitError as error:
                result = error
            results.append((began, time.monotonic() - began, result))
            over.wait(0.1)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield results
    finally:
        over.set()
        thread.join(120)
        assert not thread.is_alive()


def test_each_window_is_whole_or_an_error_while_a_leader_dies(three: ThreeBrokers, topic: str) -> None:
    """BEHAVIOURS 83: right after a leader's death the client answers -1001 for its partitions; that is no offset."""
    lab, fresh = three.lab(), three.lab
    with in_a_loop(lambda: len(lab.window(topic))) as old, in_a_loop(lambda: len(fresh().window(topic))) as new:
        until(lambda: len(old) > 3 and len(new) > 3)
        killed = three.kill(three.leaders(topic)[0])
        until(lambda: all(one[-1][0] > killed + 12 for one in (old, new)), timeout_s=TIMEOUT_S)
    for results in (old, new):
        sizes = [size for _, _, size in results if not isinstance(size, LabkitError)]
        assert set(sizes) == {RECORDS}
        errors = [error for _, _, error in results if isinstance(error, LabkitError)]
        assert all(isinstance(error, UnavailableError | ServerError) and topic in str(error) for error in errors)
        assert not isinstance(results[-1][2], LabkitError), "leaders have moved"
