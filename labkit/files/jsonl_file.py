"""A file of lines of JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# what some readers take for the end of a line although JSON does not
_ESCAPED = {ord(mark): f"\\u{ord(mark):04x}" for mark in "\x85\u2028\u2029"}


class JsonlFile:
    """A file with a line of JSON for each record."""

    notes = ()

    def __init__(self, path: Path, lines_of: Callable[[Any], Iterable[str]]) -> None:
        self._lines_of = lines_of
        self._file = path.open("xb")

    def write(self, records: Any) -> None:
        """Append the lines of a table or batch."""
        self._file.writelines(
            line.translate(_ESCAPED).encode() + b"\n" for line in self._lines_of(records)
        )

    def finish(self, _receipt: object) -> None:
        """Write nothing: a line of its own would be no record."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()
