"""``python -m labkit`` is the ``labkit`` command."""

import signal
import warnings

from labkit.cli import main
from labkit.cli.terminal import say


def run() -> int:
    """Run the command as a process of its own.

    A warning is one line, without a place in labkit's code. Once the command is done, an interrupt
    is ignored: it could only break Python's own end.
    """
    warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
    try:
        return main()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    raise SystemExit(run())
