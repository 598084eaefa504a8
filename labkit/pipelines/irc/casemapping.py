"""Which names an IRC server takes for the same one: its CASEMAPPING.

See https://modern.ircdocs.horse/#casemapping-parameter. The irc library's `IRCFoldedCase` folds all
of Unicode's letters, which no mapping in use does: servers compare bytes, so ``#É`` and ``#é`` are
two channels.
"""

from __future__ import annotations

import string

from labkit.pipelines.irc.record import Line, text

DEFAULT = "rfc1459"  # of a server that does not say
_EQUAL = {  # capital and small, beside A to Z
    "ascii": ("", ""),
    "rfc1459": ("[]\\~", "{}|^"),
    "rfc1459-strict": ("[]\\", "{}|"),
    "strict-rfc1459": ("[]\\", "{}|"),
}


class CaseMapping:
    """The mapping that a server has announced, or the default.

    Attributes
    ----------
    name : str
        ``rfc1459``, ``rfc1459-strict``, ``ascii``, or another of the server's: then names are
        folded as Unicode does.
    """

    def __init__(self, name: str = DEFAULT) -> None:
        self.name = name.lower()
        capital, small = _EQUAL.get(self.name, ("", ""))
        self._table = str.maketrans(
            string.ascii_uppercase + capital, string.ascii_lowercase + small
        )

    def fold(self, name: str) -> str:
        """Return what is equal for names that the server takes for the same one."""
        return name.translate(self._table) if self.name in _EQUAL else name.casefold()

    def told_by(self, line: Line) -> CaseMapping:
        """Return the mapping that a line of the server tells (005), or this one."""
        tokens = line.params[1:-1] if line.command == b"005" else []
        for token in map(text, tokens):
            name, _, value = token.partition("=")
            if name == "CASEMAPPING" and value and value.lower() != self.name:
                return CaseMapping(value)
        return self
