"""States that are texts for those who meet them, and enums for the code. Pure."""

from __future__ import annotations

from enum import StrEnum


class PlainEnum(StrEnum):
    """A closed set of texts.

    A member is shown as its text, in dicts and DataFrames too: ``'ok'``.
    """

    def __repr__(self) -> str:
        return repr(self.value)
