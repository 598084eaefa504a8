"""What commands write: the only place that prints. Nothing foreign controls the terminal, and one thing is one line.

Group ids, client ids, hosts, field names, values and servers' answers may hold anything. In a table each cell is one
line; elsewhere only labkit's own line ends are kept. Values of records are bytes of the user's: to a pipe or a file
they go as they are, to a terminal with escapes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from labkit.visible import visible

if TYPE_CHECKING:
    import argparse

    import pandas as pd

_TOMBSTONE = "(tombstone)"
_SPACE = "\n\t"
_WHOLE = sys.maxsize  # `labkit replay` is asked for the values: they are not cut


def out(*lines: object) -> None:
    """Print to standard output: data, or what was asked for."""
    _write(sys.stdout, lines)


def say(text: str) -> None:
    """Tell the person at the terminal; standard output is for data."""
    _write(sys.stderr, [text])


def _write(stream: TextIO, lines: Iterable[object]) -> None:
    stream.write("".join(f"{visible(str(line), keep=_SPACE)}\n" for line in lines))
    stream.flush()


def print_table(frame: pd.DataFrame, options: argparse.Namespace) -> None:
    """Print a DataFrame as text, or as JSON records."""
    if options.json:
        out(frame.to_json(orient="records", indent=2, date_format="iso"))
    elif frame.empty:
        out("none")
    else:
        out(_table(frame))


def _table(frame: pd.DataFrame) -> str:
    """Return a line for each row; no value is ``-``, and a text that says so stands in quotes."""
    import pandas as pd

    from labkit.decode import cells

    rows = cells.rows(frame, lambda value, kind: cells.cell(value, kind, null="-"))
    names = [visible(str(name)) for name in frame.columns]
    return str(pd.DataFrame(list(rows), columns=names).to_string(index=False))


def write_values(values: Iterable[bytes | None]) -> None:
    """Write each value on a line; on a terminal a tombstone, an empty value and what they are not look different."""
    if not sys.stdout.isatty():
        sys.stdout.buffer.writelines((value or b"") + b"\n" for value in values)
        return
    from labkit.decode.cells import quoted

    for value in values:
        text = None if value is None else value.decode("utf-8", "backslashreplace")
        out(_TOMBSTONE if text is None else quoted(text, null=_TOMBSTONE, most=_WHOLE))


def write_lines(lines: Iterable[str]) -> None:
    """Write lines of JSON; on a terminal what cannot be seen is an escape."""
    watched = sys.stdout.isatty()
    for line in lines:
        sys.stdout.write(f"{visible(line) if watched else line}\n")
