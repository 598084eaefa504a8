"""Work beside the cells, in a thread of its own: it goes on while a cell runs.

It changes widgets, which sends messages of their own. It displays nothing: an output from a thread
would go to the cell that runs. It ends when its cell is run again, the kernel is interrupted, its
widget is closed, or its time is up.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from labkit.errors import LabkitError

Cell = tuple[str | None, str | None]  # id and text
_running: set[Live] = set()
_watched: list[Any] = []  # the shells whose cells are heard of
_before: Any = None


class Live:
    """A thread that takes a step again and again.

    Parameters
    ----------
    step : callable
        What it raises as a LabkitError ends the work and is shown.
    ended : callable
        Called with the reason, once, in the thread.
    closed : callable
        Tells whether the widget is closed.
    cell : Cell, optional
        The cell that shows it, as `cell_now` gave it; left out: the one that runs.
    """

    def __init__(
        self,
        step: Callable[[], None],
        ended: Callable[[str], None],
        closed: Callable[[], bool],
        *,
        every_s: float,
        limit_s: float,
        cell: Cell | None = None,
    ) -> None:
        self._step, self._ended, self._closed = step, ended, closed
        self._every_s, self._until = every_s, time.monotonic() + limit_s
        self._why: str | None = None
        self._stopped = threading.Event()
        self._cell = cell or cell_now()

    def start(self) -> None:
        """Begin, once."""
        watch_kernel()
        _running.add(self)
        threading.Thread(target=self._run, name="labkit-live", daemon=True).start()

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self in _running

    @property
    def stopped(self) -> bool:
        """Whether it was told to end, though a step may be under way."""
        return self._stopped.is_set()

    def rest(self, seconds: float) -> None:
        """Wait within a step, until it is told to end at most."""
        self._stopped.wait(seconds)

    def stop(self, why: str = "stopped") -> None:
        """End the work after the step that is under way."""
        self._why = self._why or why
        self._stopped.set()

    def _run(self) -> None:
        why = "its time is up"
        try:
            while not self._stopped.is_set() and time.monotonic() < self._until:
                if self._closed():
                    why = "closed"
                    break
                self._step()
                self.rest(self._every_s)
        except LabkitError as error:
            why = str(error)
        # no code waits for this thread: an error not shown here would be lost
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        finally:
            _running.discard(self)
            self._ended(self._why or why)


def stop_all(why: str) -> None:
    """End all that runs beside the cells."""
    for work in list(_running):
        work.stop(why)


def _shell() -> Any:
    shell = sys.modules.get("IPython")
    return None if shell is None else shell.get_ipython()


def cell_now() -> Cell:
    """Return id and text of the cell that runs; a front end may give no id."""
    shell = _shell()
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return None, None
    raw = shell.history_manager.input_hist_raw
    return kernel.get_parent("shell").get("metadata", {}).get("cellId"), raw[-1] if raw else None


def _cell_begins(info: Any) -> None:
    for work in list(_running):
        name, text = work._cell
        if (info.cell_id == name) if info.cell_id and name else info.raw_cell == text:
            work.stop("its cell was run again")


def _cell_ended(result: Any) -> None:
    if isinstance(result.error_in_exec, KeyboardInterrupt):
        stop_all("interrupted")


def _take_interrupt(number: int, frame: FrameType | None) -> None:
    """Take the interrupt of a kernel that runs no cell; ipykernel ignores it then."""
    stop_all("interrupted")
    if callable(_before):
        _before(number, frame)


def watch_kernel() -> None:
    """Hear from now on of cells that begin, and of interrupts.

    Of interrupts only when called by the kernel's main thread, as a cell's code is: a click may be
    answered in another.
    """
    global _before
    shell = _shell()
    if shell is None:
        return
    if shell not in _watched:
        _watched.append(shell)
        shell.events.register("pre_run_cell", _cell_begins)
        shell.events.register("post_run_cell", _cell_ended)
    kernel = getattr(shell, "kernel", None)
    handler = getattr(kernel, "saved_sigint_handler", _take_interrupt)
    # while a cell runs ipykernel has its own handler in place, and puts back this one afterwards
    if handler is not _take_interrupt and threading.current_thread() is threading.main_thread():
        _before, kernel.saved_sigint_handler = handler, _take_interrupt  # type: ignore[union-attr]
