"""The sentences about a server that is waited for: the same words everywhere."""

from __future__ import annotations

from collections.abc import Callable


def waiting_for(server: str, reason: str) -> str:
    """Return the words for a wait."""
    return f"waiting for {server}: {reason}"


class WaitNotice:
    """Says once that a server is waited for, and once that it answers again.

    Parameters
    ----------
    say : callable
        Takes one line of text.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._server: str | None = None  # that is waited for

    def wait(self, server: str, reason: str) -> None:
        """Tell that `server` is waited for; a wait that goes on is reported once."""
        if server != self._server:
            self._say(waiting_for(server, reason))
        self._server = server

    def end(self, server: str) -> bool:
        """Tell that `server` answers again; return whether it was waited for."""
        was_away = server == self._server
        if was_away:
            self._server = None
            self._say(f"{server} answers again")
        return was_away
