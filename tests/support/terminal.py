"""Commands on a terminal, as a person has them."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import termios
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from support.stack import LABKIT

# runs command after command, and says on the terminal when each is done
_PROGRAM = """
import json, os, sys, warnings
from labkit.cli import main
warnings.simplefilter("always", UserWarning)  # each command tells, as in a process of its own
with open(int(sys.argv[1])) as requests:
    for request in map(json.loads, requests):
        os.environ["COLUMNS"] = request["columns"]
        try:
            code = main(request["arguments"])
        except SystemExit as ended:
            code = ended.code
        sys.stdout.write(f"{request['mark']} {code}\\n")
        sys.stdout.flush()
"""


def _open_terminal() -> tuple[int, int]:
    """Return our end of a new pseudo-terminal, and the program's."""
    ours, child_end = pty.openpty()
    settings = termios.tcgetattr(child_end)
    settings[1] &= ~termios.OPOST  # a line's end stays one character
    termios.tcsetattr(child_end, termios.TCSANOW, settings)
    return ours, child_end


class Terminal:
    """A process that runs commands one after the other, with a terminal for all its streams."""

    def __init__(self, ours: int, requests: int) -> None:
        self._ours, self._requests = ours, requests

    def run(self, *arguments: str, columns: int = 80) -> tuple[int, str]:
        """Run ``labkit``; return its exit code and what was written."""
        mark = uuid.uuid4().hex
        request = {"arguments": arguments, "columns": str(columns), "mark": mark}
        os.write(self._requests, json.dumps(request).encode() + b"\n")
        written, end = b"", re.compile(rb"%s (\d+)\n$" % mark.encode())
        while not (done := end.search(written)):
            try:
                written += os.read(self._ours, 65_536)
            except OSError as closed:  # how Linux says that the other side is closed
                raise AssertionError(written.decode()) from closed
        return int(done[1]), written[: done.start()].decode()


@contextmanager
def terminal() -> Iterator[Terminal]:
    """Start the process, with the environment of now."""
    ours, child_end = _open_terminal()
    reads, writes = os.pipe()
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    command = [sys.executable, "-c", _PROGRAM, str(reads)]
    process = subprocess.Popen(
        command,
        stdin=child_end,
        stdout=child_end,
        stderr=child_end,
        env=environment,
        pass_fds=[reads],
    )
    os.close(child_end)
    os.close(reads)
    try:
        yield Terminal(ours, writes)
    finally:
        os.close(writes)
        process.kill()
        process.wait()
        os.close(ours)


def on_a_terminal(
    *arguments: str, timeout_s: float = 120, columns: int = 80, colour: bool = False
) -> tuple[int, str]:
    """Run ``labkit`` with a pseudo-terminal for all its streams.

    Return its exit code and what was written.
    """
    ours, child_end = _open_terminal()
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
