"""Ctrl-C that asks to stop instead of breaking in: what was read stays, and is counted right.

Then `Stopped` is raised, so that Stop in JupyterLab ends the queued cells too;
``on_interrupt="keep"`` returns the part.
"""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Literal

from labkit.checks.validation import check_choice
from labkit.errors import Stopped

OnInterrupt = Literal["raise", "keep"]
# asked again and again while work goes on; once it says so, the work ends early
Cancelled = Callable[[], bool]
_last: dict[str, Any] = {"part": None}


def never() -> bool:
    """Return False: work without a Stop button is never cancelled."""
    return False


@contextmanager
def listen(*, patient: bool = False) -> Iterator[Cancelled]:
    """Yield a function that tells whether an interrupt has come.

    A second one raises KeyboardInterrupt, unless `patient`. In a thread other than the main one no
    interrupt comes, so the answer is always False.
    """
    if threading.current_thread() is not threading.main_thread():
        yield never
        return
    before = signal.getsignal(signal.SIGINT)
    pressed = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed and not patient:
            raise KeyboardInterrupt
        pressed = True

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def stop_event() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set, so that what is under way is finished first.

    It is set by a thread: the main one may hold the event's lock, as it waits for it, and would
    then wait for itself for ever.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _thread.start_new_thread(stop.set, ()))
    return stop


@contextmanager
def quiet_stop(message: str) -> Iterator[None]:
    """Raise `Stopped` for an interrupt that comes where no work listens for it.

    The user sees one line instead of a long traceback.
    """
    try:
        yield
    except Stopped:
        raise
    except KeyboardInterrupt as error:
        raise _stopped(message) from error


@contextmanager
def hold_back() -> Iterator[None]:
    """Hold an interrupt back until the block is over: where it would end the process."""
    with listen(patient=True) as cancelled:
        yield
    if cancelled():
        raise KeyboardInterrupt


@contextmanager
def show_interrupts() -> Iterator[None]:
    """Raise an interrupt as one where confluent-kafka (2.16) makes a SystemError of it.

    It does so with one that comes while it calls back, such as for a token or a log line.
    """
    try:
        yield
    except SystemError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise


def check_policy(on_interrupt: str) -> None:
    """Refuse what `on_interrupt` cannot be, before anything is read."""
    hint = "'raise' ends the run when Stop is pressed, 'keep' returns what there is until then"
    check_choice("on_interrupt", on_interrupt, OnInterrupt, hint)


def stop_error(message: str, hint: str = "", **part: Any) -> Stopped:
    """Return the error to raise after an interrupt.

    It carries the `part`, given by its name, and `last_part` finds it.
    """
    name = next(iter(part))
    advice = f'the {name} so far is kept: part = labkit.stopped(); on_interrupt="keep" returns it and goes on'
    return _stopped(message, hint=hint or advice, **part)


def _stopped(message: str, *, hint: str = "", **part: Any) -> Stopped:
    """Return the error, and keep its part, or that there is none, for `last_part`."""
    _last["part"] = next(iter(part.values()), None)
    return Stopped(message, hint=hint or None, part=_last["part"], **part)


def last_part() -> Any:
    """Return what the last stopped work left; None when it left nothing.

    It is a Replay, Load, Comparison or DataFrame.
    """
    return _last["part"]
