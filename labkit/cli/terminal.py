"""What commands write: the only place that prints.

Foreign text cannot control the terminal, and one thing is one line. Group ids, client ids, hosts,
field names, values and servers' answers may hold anything. In a table each cell is one line;
elsewhere only labkit's own line ends are kept. Values of records are bytes of the user's: to a pipe
or a file they go as they are, to a terminal with escapes.
"""

from __future__ import annotations

import codecs
import json
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from labkit.text.counts import number_of
from labkit.text.visible import escape, visible

if TYPE_CHECKING:
    import argparse

    import pandas as pd

_TOMBSTONE = "(tombstone)"
# of verdicts, as ANSI has them
_COLOURS = {"ok": 32, "slow": 33, "stalled": 31, "stopped": 31, "rewound": 31}
_COUNTS = ("records", "documents", "lag", "members", "partitions", "reads")
_UNCUT = ("run", "verdict", "behind since", "keeps", "expires", "newest")
_SPACE = "\n\t"
_NAME = 255  # characters: the longest name of a topic, group or index
_WIDE = 10_000
_WHOLE = sys.maxsize  # `labkit replay` is asked for the values: they are not cut


def take_any_text() -> None:
    """Let standard output and error take every character.

    Those that their encoding lacks, as in a locale that is not UTF-8, become escapes, as JSON
    writes them: JSON stays JSON.
    """
    codecs.register_error("labkit", _escape_unencodable)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's has none, and takes all
            stream.reconfigure(errors="labkit")


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(escape, error.object[error.start : error.end])), error.end


def out(*lines: object) -> None:
    """Print data to standard output, as it is."""
    _write(sys.stdout, map(_clean, lines))


def tell(*texts: object) -> None:
    """Print sentences, the answer to a person, to standard output."""
    _write_sentences(sys.stdout, texts)


def say(text: object) -> None:
    """Tell the person at the terminal; standard output is for data."""
    _write_sentences(sys.stderr, [text])


def answer(options: argparse.Namespace, as_json: Callable[[], str], text: object) -> None:
    """Print JSON where ``--json`` asks for it, else the text that says the same."""
    if options.json:
        out(as_json())
    else:
        tell(text)


def _write_sentences(stream: TextIO, texts: Iterable[object]) -> None:
    """Write texts, on a terminal in lines that it has room for: it would end them in mid-word."""
    lines = "\n".join(map(_clean, texts)).split("\n")
    if stream.isatty():
        from labkit.text.columns import wrap

        columns = shutil.get_terminal_size().columns
        lines = [part for line in lines for part in wrap(line, columns)]
    _write(stream, lines)


def _clean(text: object) -> str:
    return visible(str(text), keep=_SPACE)


def _write(stream: TextIO, lines: Iterable[str]) -> None:
    stream.write("".join(f"{line}\n" for line in lines))
    stream.flush()


def print_table(
    frame: pd.DataFrame,
    options: argparse.Namespace,
    view: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
    why_empty: str = "",
) -> None:
    """Print a DataFrame as JSON records, as text, or, on a terminal, in its width.

    Parameters
    ----------
    view : callable, optional
        Returns the columns that a terminal shows.
    why_empty : str
        What may be the reason when there is no row, told on standard error.
    """
    if frame.empty and why_empty:
        say(why_empty)
    if options.json:
        print_rows(_json_rows(frame))
    elif frame.empty:
        out("none")
    elif sys.stdout.isatty():
        _write_fitted(frame if view is None else view(frame))
    else:
        _write_lines_of(frame, most=_NAME)


def print_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print a list of JSON objects, each on a line of its own; times are in UTC."""
    # in C, as it does not indent
    encode = json.JSONEncoder(ensure_ascii=False, default=utc_text).encode
    out("[" + ",\n ".join(map(encode, rows)) + "]")


def _json_rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the rows as JSON has them.

    Numbers have all of their digits; pandas' own JSON rounds them, and times, and ends at bytes
    that are no UTF-8. Those are ``{"base64": …}``.
    """
    from labkit.decode import cells
    from labkit.decode.merge import as_json_within, maps_as_dicts
    from labkit.sinks.jsonl import readable

    def plain(value: Any, kind: Any) -> Any:
        if value is None or isinstance(value, str | int):  # most of 20,000 rows, at once
            return value
        value = value.item() if hasattr(value, "item") else value  # numpy's
        if isinstance(value, bytes):
            return readable(value)
        value = utc_text(value) if isinstance(value, datetime) else value
        return as_json_within(value if kind is None else maps_as_dicts(value, kind))

    names = [str(name) for name in frame.columns]
    for row in cells.rows(frame, plain):
        yield dict(zip(names, row, strict=True))


def utc_text(value: datetime) -> str:
    """Return a time in UTC, with milliseconds or, where it has them, finer parts."""
    local = value if value.tzinfo is None else value.astimezone(UTC)
    fine = local.microsecond % 1000 or getattr(local, "nanosecond", 0)
    text = local.isoformat() if fine else local.isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _write_fitted(frame: pd.DataFrame) -> None:
    """Write a table that no terminal wraps: all of it is in ``--json`` and in a pipe."""
    from pandas.api.types import is_numeric_dtype

    # offsets and ids have no separators: they are copied into the next command
    counts = [name for name in _COUNTS if name in frame and is_numeric_dtype(frame[name])]
    texts = {name: frame[name].map("{:,}".format, na_action="ignore") for name in counts}
    # wider than a terminal, so that `fit` cuts the text itself and no remark behind it
    left_out = _write_lines_of(
        frame.assign(**texts), most=_WIDE, width=shutil.get_terminal_size().columns, right=counts
    )
    if left_out:
        say(f"{number_of(left_out, 'more column')}: --json, or a wider terminal")


def _write_lines_of(
    frame: pd.DataFrame, *, most: int, width: int = _WHOLE, right: Collection[str] = ()
) -> int:
    """Write a line for each row, and return how many columns were left out.

    No value is ``-``, and a text that says so stands in quotes.

    Parameters
    ----------
    most : int
        Characters of a cell.
    right : collection of str
        Columns that stand to the right, beside those of numbers.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    from labkit.decode import cells
    from labkit.text.columns import SEPARATOR, fit

    numeric = [
        name in right or (is_numeric_dtype(kind) and not is_bool_dtype(kind))
        for name, kind in frame.dtypes.items()
    ]
    names = [visible(str(name)) for name in frame.columns]
    rows = list(cells.rows(frame, lambda value, kind: cells.cell(value, kind, null="-", most=most)))
    uncut = [name in _UNCUT for name in names]
    lines, left_out = fit(names, rows, numeric, uncut, width=width)
    fitted = names[: len(names) - left_out]
    verdict = fitted.index("verdict") if "verdict" in fitted and _may_colour() else None
    for line in lines:
        if verdict is not None:
            line[verdict] = _colour(line[verdict])
        # each cell is visible(); what is not is ours
        sys.stdout.write(SEPARATOR.join(line).rstrip() + "\n")
    sys.stdout.flush()
    return left_out


def _may_colour() -> bool:
    """Tell whether the user, or else the terminal, takes colours: https://force-color.org."""
    if os.environ.get("NO_COLOR"):
        return False
    watched = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return watched or bool(os.environ.get("FORCE_COLOR"))


def _colour(text: str) -> str:
    verdict = text.strip()
    code = _COLOURS.get(verdict)
    return text if code is None else text.replace(verdict, f"\x1b[{code}m{verdict}\x1b[0m")


def write_values(values: Iterable[bytes | None]) -> None:
    """Write each value on a line.

    On a terminal a tombstone, an empty value and what they are not look different.
    """
    if not sys.stdout.isatty():
        sys.stdout.buffer.writelines((value or b"") + b"\n" for value in values)
        return
    from labkit.decode.cells import as_json_text

    for value in values:
        text = None if value is None else value.decode("utf-8", "backslashreplace")
        out(_TOMBSTONE if text is None else as_json_text(text, null=_TOMBSTONE, most=_WHOLE))


def write_lines(lines: Iterable[str]) -> None:
    """Write lines of JSON; on a terminal what cannot be seen is an escape."""
    watched = sys.stdout.isatty()
    for line in lines:
        sys.stdout.write(f"{visible(line) if watched else line}\n")
