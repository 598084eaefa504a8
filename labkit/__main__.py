"""``python -m labkit`` is the ``labkit`` command."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
import warnings

from labkit.cli import main
from labkit.cli.terminal import say


def run() -> int:
    """Run the command as a process of its own.

    A warning is one line, without a place in labkit's code. Once the command is done, an interrupt
    is ignored: it could only break Python's own end.
    """
    warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
    sys.unraisablehook = _keep_interrupt
    try:
        return main()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _keep_interrupt(unraisable: sys.UnraisableHookArgs) -> None:
    """Interrupt again when the first interrupt came where Python drops every exception.

    Such a place is a finalizer, or a callback of the import system. Python would print a traceback
    there, and the command would go on.
    """
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        thread = threading.get_ident()  # the main one: Python interrupts no other
        _thread.start_new_thread(_interrupt_soon, (thread,))  # which takes no lock
    else:
        sys.__unraisablehook__(unraisable)


def _interrupt_soon(thread: int) -> None:
    time.sleep(0.01)  # until the thread is past that place
    signal.pthread_kill(thread, signal.SIGINT)


if __name__ == "__main__":
    raise SystemExit(run())
