"""Being in the channels, and coming back when thrown out."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

from labkit.errors import UsageError
from labkit.pipelines.irc.record import Line, text
from labkit.pipelines.irc.wire import Connection

RETRY_S = 60.0
_PER_TURN = 4
_CHANNEL = re.compile(r"[#&+!][^\s,\x00-\x1f\x7f:]{1,199}")
_REFUSED = {b"403", b"405", b"437", b"471", b"473", b"474", b"475", b"476", b"477", b"489"}


def check_channels(channels: Iterable[str]) -> dict[str, str]:
    """Return channel to key (or ``""``); ``"#a key"`` names both."""
    listed = [channels] if isinstance(channels, str) else list(channels)
    wanted = {}
    for item in listed:
        name, _, key = item.partition(" ")
        if not _CHANNEL.fullmatch(name) or re.search(r"[\s,\x00-\x1f]", key):
            raise UsageError(
                f"{item!r} is not a channel", hint="write '#name' in quotes: the shell takes # for a comment"
            )
        wanted[name] = key
    if not wanted:
        raise UsageError("no channel is named", hint="name one or more: --channel '#a'")
    return wanted


class Channels:
    """Which of the wanted channels we are in, on one connection."""

    def __init__(self, wanted: dict[str, str], *, say: Callable[[str], None]) -> None:
        self._wanted = wanted
        self._say = say
        self._said: dict[str, str] = {}
        self._next_try: dict[str, float] = {}
        self._joined: set[str] = set()

    @property
    def joined_all(self) -> bool:
        """Whether we are in every wanted channel."""
        return all(name.lower() in self._joined for name in self._wanted)

    def left_all(self) -> None:
        """Forget where we are: the connection is new."""
        self._joined.clear()
        self._next_try.clear()

    def join(self, connection: Connection) -> None:
        """Ask for those we are not in; a few at a time, for servers take more for a flood."""
        now = time.monotonic()
        due = [
            name for name in self._wanted if name.lower() not in self._joined and now >= self._next_try.get(name, 0.0)
        ]
        for name in due[:_PER_TURN]:
            self._next_try[name] = now + RETRY_S
            connection.join(name, self._wanted[name])

    def handle(self, line: Line, nick: str) -> None:
        """Note what a line says about where we are."""
        params = [text(item) for item in line.params]
        ours = line.nick is not None and text(line.nick).lower() == nick.lower()
        if line.command == b"JOIN" and ours and params:
            self._joined.add(params[0].lower())
            self._said.pop(params[0].lower(), None)
            self._say(f"in {params[0]} as {nick}")
        elif line.command == b"PART" and ours and params:
            self._lost(params[0], "we left")
        elif line.command == b"KICK" and len(params) > 1 and params[1].lower() == nick.lower():
            self._lost(params[0], f"{text(line.nick or b'somebody')} threw us out: {' '.join(params[2:])}")
        elif line.command in _REFUSED and len(params) > 2 and params[1].lower() in map(str.lower, self._wanted):
            self._refused(params[1], params[-1])

    def _lost(self, channel: str, why: str) -> None:
        self._joined.discard(channel.lower())
        for name in self._wanted:
            if name.lower() == channel.lower():
                self._next_try[name] = time.monotonic() + 5
        self._say(f"not in {channel} any more ({why}); joining it again")

    def _refused(self, channel: str, why: str) -> None:
        if self._said.get(channel.lower()) != why:  # it is tried every minute, but said once
            self._said[channel.lower()] = why
            self._say(f"cannot join {channel}: {why}; trying again every {RETRY_S:.0f} s")
