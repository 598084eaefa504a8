"""Commands on a terminal, as a person has them."""

from __future__ import annotations

import os
import pty
import subprocess
import termios
from contextlib import suppress

from support.stack import LABKIT


def on_a_terminal(
    *arguments: str, timeout_s: float = 120, columns: int = 80, colour: bool = False
) -> tuple[int, str]:
    """Run ``labkit`` with a pseudo-terminal for all its streams.

    Return its exit code and what was written.
    """
    ours, child_end = pty.openpty()
    settings = termios.tcgetattr(child_end)
    settings[1] &= ~termios.OPOST  # a line's end stays one character
    termios.tcsetattr(child_end, termios.TCSANOW, settings)
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)} | (
        {} if colour else {"NO_COLOR": "1"}
    )
    command = [*LABKIT, *arguments]
    process = subprocess.Popen(
        command, stdin=child_end, stdout=child_end, stderr=child_end, env=environment
    )
    os.close(child_end)
    written = b""
    try:
        with suppress(OSError):  # how Linux says that the other side is closed
            while part := os.read(ours, 65_536):
                written += part
        code = process.wait(timeout_s)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return code, written.decode()
