"""Getting in: nick, SASL PLAIN, and what refusals mean."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

from labkit.errors import AccessError, UsageError
from labkit.pipelines.irc.record import Line, text
from labkit.pipelines.irc.wire import Connection

_NICK = re.compile(r"[A-Za-z\[\]\\`_^{|}][A-Za-z0-9\[\]\\`_^{|}-]{0,63}")
_TAKEN = {b"433", b"436", b"437"}
_BAD_NICK = b"432"
_REFUSED = {b"464": "the server's password is wrong or missing", b"465": "the server has banned us"}
# what servers say instead of a number (ngircd: "Access denied: Bad password?")
_REFUSED_IN_WORDS = re.compile(
    rb"password|access denied|not authori[sz]ed|banned|[kgz][- ]?lined", re.IGNORECASE
)
_SASL_FAILED = {b"902", b"904", b"905", b"906"}
_AUTH_CHUNK = 400
_SHORTEST_LIMIT = 9  # RFC 2812: what every server allows


def check_nick(nick: str) -> str:
    """Return `nick` if a server may take it."""
    if not _NICK.fullmatch(nick):
        raise UsageError(
            f"{nick!r} is not a nick",
            hint="letters, digits and [ ] \\ ` _ ^ { | } -, no digit first",
        )
    return nick


class Login:
    """One connection's way to being welcome.

    Parameters
    ----------
    nick : str
        Taken nicks are answered with ``_`` appended, as often as needed, within the server's
        length.
    sasl : tuple of str, optional
        User and password for SASL PLAIN.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        nick: str,
        sasl: tuple[str, str] | None,
        say: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._nick = nick
        self._limit = 64
        self._tries = 0
        self._sasl = sasl
        self._say = say
        self._proven = sasl is None
        self.welcome = False

    def begin(self) -> None:
        """Hold the registration open for SASL.

        Must be sent before NICK and USER, which would complete it.
        """
        if self._sasl is not None:
            self._connection.cap("REQ", "sasl")

    def handle(self, line: Line) -> None:
        """Answer a line of the server.

        Raises
        ------
        AccessError
            When the server does not let us in.
        """
        command = line.command
        if self.welcome:
            return
        if command == b"001":
            if not self._proven:
                raise self._refusal("it does not know SASL")
            self.welcome = True
        elif command in _TAKEN or command == _BAD_NICK:
            self._next_nick(
                too_long=command == _BAD_NICK, said=text(line.params[-1]) if line.params else ""
            )
        elif command in _REFUSED:
            raise self._refusal(_REFUSED[command])
        elif command == b"ERROR" and line.params and _REFUSED_IN_WORDS.search(line.params[-1]):
            raise self._refusal(text(line.params[-1]))
        elif not self._proven:
            self._prove(line)

    def _next_nick(self, *, too_long: bool, said: str) -> None:
        if too_long and (
            self._limit == _SHORTEST_LIMIT or len(self._candidate()) <= _SHORTEST_LIMIT
        ):
            raise UsageError(
                f"the server does not take the nick {self._nick!r}: {said}",
                hint="choose another --nick",
            )
        if too_long:
            self._limit = _SHORTEST_LIMIT
        else:
            self._tries += 1
        if self._tries >= _SHORTEST_LIMIT - 1:
            raise UsageError(
                f"the nick {self._nick!r} and those like it are in use",
                hint="choose another --nick",
            )
        candidate = self._candidate()
        self._say(f"the nick is {'too long' if too_long else 'in use'}; trying {candidate}")
        self._connection.nick(candidate)

    def _candidate(self) -> str:
        return self._nick[: self._limit - self._tries] + "_" * self._tries

    def _prove(self, line: Line) -> None:
        command, params = line.command, line.params
        words = params[2].split() if command == b"CAP" and len(params) > 2 else []
        if command == b"CAP" and b"sasl" in words and params[1] == b"ACK":
            self._connection.send_items("AUTHENTICATE", "PLAIN")
        elif (command == b"CAP" and b"sasl" in words and params[1] == b"NAK") or (
            command in {b"421", b"410"} and b"CAP" in params
        ):
            raise self._refusal("it does not know SASL")
        elif command == b"AUTHENTICATE" and params[:1] == [b"+"]:
            self._authenticate()
        elif command == b"903":
            self._proven = True
            self._connection.cap("END")
        elif command in _SASL_FAILED:
            raise self._refusal(
                f"SASL user or password: {text(params[-1]) if params else 'refused'}"
            )

    def _authenticate(self) -> None:
        user, password = self._sasl or ("", "")
        proof = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        chunks = [proof[start : start + _AUTH_CHUNK] for start in range(0, len(proof), _AUTH_CHUNK)]
        if len(chunks[-1]) == _AUTH_CHUNK:
            # https://ircv3.net/specs/extensions/sasl-3.1: a full chunk says that more follows
            chunks.append("+")
        for chunk in chunks:
            self._connection.send_items("AUTHENTICATE", chunk)

    def _refusal(self, why: str) -> AccessError:
        return AccessError(
            f"{self._connection.server} does not let {self._nick} in: {why}",
            hint="check the server password and the SASL user and password",
        )
