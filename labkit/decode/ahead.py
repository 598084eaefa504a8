"""Work done in a thread while the next batch is fetched and the last one is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(items: Iterable[Item], work: Callable[[Item], Result], *, most: int, threads: int = 1) -> Iterator[Result]:
    """Yield ``work(item)`` for each item, in order; at most `most` items wait for it or for the caller.

    `items` is iterated over in the caller's thread; with more threads than one `work` must be safe for them.
    """
    with ThreadPoolExecutor(threads, "labkit-work") as pool:
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > most:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
