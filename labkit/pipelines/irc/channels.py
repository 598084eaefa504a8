"""Being in the channels, and coming back when thrown out."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

from labkit.errors import UsageError
from labkit.pipelines.irc.casemapping import CaseMapping
from labkit.pipelines.irc.record import Line, text
from labkit.pipelines.irc.wire import Connection

RETRY_S = 60.0
_PER_TURN = 4
_CHANNEL = re.compile(r"[#&+!][^\s,\x00-\x1f\x7f:]{1,199}")
# FAIL: https://ircv3.net/specs/extensions/standard-replies
_REFUSAL = re.compile(rb"[45]\d\d|FAIL")
_FORWARDED, _FORWARD_PARAMS = b"470", 3


def check_channels(channels: Iterable[str]) -> dict[str, str]:
    """Return channel to key (or ``""``); ``"#a key"`` names both."""
    listed = [channels] if isinstance(channels, str) else list(channels)
    keys = {}
    for item in listed:
        name, _, key = item.partition(" ")
        if not _CHANNEL.fullmatch(name) or re.search(r"[\s,\x00-\x1f]", key):
            raise UsageError(
                f"{item!r} is not a channel",
                hint="write '#name' in quotes: the shell takes # for a comment",
            )
        keys[name] = key
    if not keys:
        raise UsageError("no channel is named", hint="name one or more: --channel '#a'")
    return keys


class Channels:
    """Which of the wanted channels we are in, on one connection.

    Attributes
    ----------
    case : CaseMapping
        How the server compares names.
    """

    def __init__(self, wanted: dict[str, str], *, say: Callable[[str], None]) -> None:
        self.case = CaseMapping()
        self._wanted = wanted
        self._say = say
        self._said: dict[str, str] = {}
        self._next_try: dict[str, float] = {}
        self._joined: set[str] = set()
        self._forwards: dict[str, str] = {}  # a channel we were sent to, to the wanted one
        self._unanswered: set[str] = set()

    @property
    def joined_all(self) -> bool:
        """Whether we are in every wanted channel."""
        joined = self._joined_folded()
        return all(self.case.fold(name) in joined for name in self._wanted)

    def forget_all(self) -> None:
        """Forget where we are: the connection is new."""
        self._joined.clear()
        self._next_try.clear()
        self._forwards.clear()
        self._unanswered.clear()

    def join(self, connection: Connection) -> None:
        """Ask for those we are not in; a few at a time, for servers take more for a flood."""
        now = time.monotonic()
        joined = self._joined_folded()
        due = [
            name
            for name in self._wanted
            if self.case.fold(name) not in joined and now >= self._next_try.get(name, 0.0)
        ]
        for name in due[:_PER_TURN]:
            if name in self._unanswered:
                self._cannot_join(name, "the server does not answer")
            self._next_try[name] = now + RETRY_S
            self._unanswered.add(name)
            connection.join(name, self._wanted[name])

    def handle(self, line: Line, nick: str) -> None:
        """Note what a line says about where we are."""
        params = [text(item) for item in line.params]
        if line.command == b"JOIN" and params and self._same(line.nick, nick):
            self._enter(params[0], nick)
        elif line.command == b"PART" and params and self._same(line.nick, nick):
            self._lost(params[0], "we left")
        elif (
            line.command == b"KICK"
            and len(params) > 1
            and self.case.fold(params[1]) == self.case.fold(nick)
        ):
            self._lost(
                params[0], f"{text(line.nick or b'somebody')} threw us out: {' '.join(params[2:])}"
            )
        elif _REFUSAL.fullmatch(line.command):
            self._say_refused(line.command, params)

    def _joined_folded(self) -> set[str]:
        return {self.case.fold(name) for name in self._joined}

    def _same(self, who: bytes | None, nick: str) -> bool:
        return who is not None and self.case.fold(text(who)) == self.case.fold(nick)

    def _find_wanted(self, channel: str) -> str | None:
        """Return the wanted channel of that name, as it was written when it was asked for."""
        folded = self.case.fold(channel)
        return next((name for name in self._wanted if self.case.fold(name) == folded), None)

    def _enter(self, channel: str, nick: str) -> None:
        names = [self._find_wanted(channel), self._forwards.get(self.case.fold(channel))]
        self._joined |= {channel, *(name for name in names if name is not None)}
        for name in names:
            self._said.pop(name or "", None)
            self._unanswered.discard(name or "")
        instead = names[1]
        self._say(f"in {channel} as {nick}" + (f", instead of {instead}" if instead else ""))

    def _lost(self, channel: str, why: str) -> None:
        folded = self.case.fold(channel)
        name = self._forwards.pop(folded, None) or self._find_wanted(channel)
        self._joined = {
            channel
            for channel in self._joined
            if self.case.fold(channel) != folded and channel != name
        }
        if name is not None:
            self._next_try[name] = time.monotonic() + 5
        self._say(
            f"not in {channel} any more ({why}); joining {'it' if name == channel else name or 'it'} again"
        )

    def _say_refused(self, command: bytes, params: list[str]) -> None:
        """Say once why the server lets us not into a wanted channel.

        Any number counts as a refusal: each server has its own.
        """
        refused = [
            (param, name) for param in params[:-1] if (name := self._find_wanted(param)) is not None
        ]
        if not refused or refused[0][1] in self._joined:
            return
        name, why = refused[0][1], params[-1]
        self._unanswered.discard(name)
        if command == _FORWARDED and len(params) > _FORWARD_PARAMS:
            target = params[2]
            self._forwards[self.case.fold(target)] = name
            why = f"{why} ({target})"
        self._cannot_join(name, why)

    def _cannot_join(self, name: str, why: str) -> None:
        if self._said.get(name) != why:  # it is tried every minute, but reported once
            self._said[name] = why
            self._say(f"cannot join {name}: {why}; trying again every {RETRY_S:.0f} s")
