"""Work beside the cells, as a task of the kernel's own event loop.

So nothing is shown from a thread. It ends when its cell is run again, the kernel is interrupted,
its widget is closed, or its time is up.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

from labkit.errors import LabkitError

Cell = tuple[str | None, str | None]  # id and text
_running: set[Live] = set()
_before: Any = None


class Live:
    """One task that takes a step again and again.

    Parameters
    ----------
    step : callable
        Returns an awaitable; what it raises as a LabkitError ends the work and is told.
    ended : callable
        Called with the reason, once, on the loop.
    closed : callable
        Tells whether the widget is closed.
    cell : Cell, optional
        The cell that shows it, as `cell_now` gave it; left out: the one that runs.
    """

    def __init__(
        self,
        step: Callable[[], Awaitable[None]],
        ended: Callable[[str], None],
        closed: Callable[[], bool],
        *,
        every_s: float,
        limit_s: float,
        cell: Cell | None = None,
    ) -> None:
        self._step, self._ended, self._closed = step, ended, closed
        self._every_s, self._until = every_s, time.monotonic() + limit_s
        self._loop = asyncio.get_running_loop()
        self._why: str | None = None
        self._cell = cell or cell_now()
        _watch_the_kernel()
        _running.add(self)
        self._task = self._loop.create_task(self._run())

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self in _running

    def stop(self, why: str = "stopped") -> None:
        """End the work, from any thread."""
        self._why = self._why or why
        self._loop.call_soon_threadsafe(self._task.cancel)

    async def _run(self) -> None:
        why = "its time is up"
        try:
            while self._why is None and time.monotonic() < self._until:
                if self._closed():
                    why = "closed"
                    break
                await self._step()
                await asyncio.sleep(self._every_s)
        except asyncio.CancelledError:
            why = "stopped"
        except LabkitError as error:
            why = str(error)
        # nobody awaits this task: what is not shown here is seen nowhere
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        finally:
            _running.discard(self)
            _unwatch_the_kernel()
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


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    """Take the interrupt of a kernel that runs no cell; ipykernel ignores it then."""
    stop_all("interrupted")


def _watch_the_kernel() -> None:
    global _before
    shell = _shell()
    if shell is None or _running:
        return
    shell.events.register("pre_run_cell", _cell_begins)
    shell.events.register("post_run_cell", _cell_ended)
    kernel = getattr(shell, "kernel", None)
    # while a cell runs ipykernel has its own handler in place, and puts back this one afterwards
    if kernel is not None and hasattr(kernel, "saved_sigint_handler"):
        _before, kernel.saved_sigint_handler = kernel.saved_sigint_handler, _interrupted


def _unwatch_the_kernel() -> None:
    shell = _shell()
    if shell is None or _running:
        return
    shell.events.unregister("pre_run_cell", _cell_begins)
    shell.events.unregister("post_run_cell", _cell_ended)
    if signal.getsignal(signal.SIGINT) is _interrupted:
        signal.signal(signal.SIGINT, _before)
    elif getattr(shell.kernel, "saved_sigint_handler", None) is _interrupted:
        shell.kernel.saved_sigint_handler = _before
