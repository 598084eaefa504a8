"""Ctrl-C that asks to stop, instead of breaking in anywhere: what was read stays and is counted right."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def asked(*, patient: bool = False) -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether an interrupt has come; a second raises KeyboardInterrupt, unless `patient`.

    In a thread other than the main one no interrupt comes, so the answer is always False.
    """
    seen = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield seen.is_set
        return
    before = signal.getsignal(signal.SIGINT)

    def note(_number: int, _frame: FrameType | None) -> None:
        if seen.is_set() and not patient:
            raise KeyboardInterrupt
        seen.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield seen.is_set
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def held() -> Iterator[None]:
    """Hold an interrupt back until the block is over: where it would end the process."""
    with asked(patient=True) as seen:
        yield
    if seen():
        raise KeyboardInterrupt
