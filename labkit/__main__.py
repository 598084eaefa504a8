"""``python -m labkit`` is the ``labkit`` command."""

import signal

from labkit.cli import main


def run() -> int:
    """Run the command as a process of its own.

    Once the command is done, an interrupt is ignored: it could only break Python's own end.
    """
    try:
        return main()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    raise SystemExit(run())
