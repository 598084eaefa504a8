"""The sentences about a server that is waited for: the same words everywhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def waiting_for(server: str, reason: str) -> str:
    """Return the words for a wait."""
    return f"waiting for {server}: {reason}"


class WaitNotice:
    """Says once that a server is waited for, and once that it answers again.

    Parameters
    ----------
    say : callable
        Takes one line of text.
    quiet_s : float
        How long nothing is said from now on: a shorter wait is not worth a word.
    """

    def __init__(self, say: Callable[[str], object], *, quiet_s: float = 0) -> None:
        self._say = say
        self._speaks_from = time.monotonic() + quiet_s
        self._server: str | None = None  # that is waited for

    def wait(self, server: str, reason: str) -> None:
        """Tell that `server` is waited for; a wait that goes on is reported once."""
        if time.monotonic() < self._speaks_from:
            return
        if server != self._server:
            self._say(waiting_for(server, reason))
        self._server = server

    def tell(self, server: str, reason: str) -> None:
        """Tell that `server` is waited for where there is a reason, else that it answers."""
        if reason:
            self.wait(server, reason)
        else:
            self.end(server)

    @contextmanager
    def after(self, seconds: float, server: str) -> Iterator[None]:
        """Tell that `server` is waited for when what is done meanwhile takes longer."""
        timer = threading.Timer(seconds, self.wait, (server, f"no answer for {seconds:g} s"))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def end(self, server: str) -> bool:
        """Tell that `server` answers again; return whether it was waited for."""
        was_away = server == self._server
        if was_away:
            self._server = None
            self._say(f"{server} answers again")
        return was_away
