"""What a view shows of a value: null, an empty text and the text "null" look different.

A text is shown as it is, and in quotes where it would look like something else: ``"null"``, ``""``,
``" x"``. Objects, lists and maps are JSON; bytes are their text where they are UTF-8, else
``base64:…``. What is long is cut, and says so; what cannot be seen is an escape (`labkit.text.visible`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labkit.decode.merge import maps_as_dicts, text
from labkit.text.html import GREY, fold
from labkit.text.visible import LONGEST, brief, visible

if TYPE_CHECKING:
    import pandas as pd

NULL = "null"
_ONE_LINE = 80  # characters of a cell that a click opens
_OPENED = 2_000  # and of the opened one: a notebook keeps them


def cell(
    value: Any, kind: pa.DataType | None = None, *, null: str = NULL, most: int = LONGEST
) -> str:
    """Return one line for a value as Arrow's `to_pylist` gives it.

    Parameters
    ----------
    kind : pyarrow.DataType, optional
        The value's type, which tells maps from lists of pairs.
    null : str
        What stands for no value; a text that says the same is shown in quotes.
    most : int
        Characters shown of a long text.
    """
    if value is None:
        return null
    if isinstance(value, bytes):
        return _of_bytes(value, null, most)
    if isinstance(value, str):
        return as_json_text(value, null, most)
    if isinstance(value, datetime):
        return value.isoformat(" ", "milliseconds")
    return visible(brief(text(value if kind is None else maps_as_dicts(value, kind)), most))


def as_json_text(value: str, null: str = NULL, most: int = LONGEST) -> str:
    """Return a text as it is.

    In quotes where it is empty, has space around it, or looks like no value.
    """
    plain = (
        value not in ("", null)
        and value == value.strip()
        and not value.startswith(('"', "base64:"))
    )
    short = brief(value, most)
    return visible(short if plain else json.dumps(short, ensure_ascii=False))


def _of_bytes(value: bytes, null: str, most: int) -> str:
    """Return bytes as text where they are UTF-8; what is cut may end within a character."""
    room = 4 * most  # the rest is not decoded
    try:
        shown = value[:room].decode("utf-8")
    except UnicodeDecodeError as error:
        if len(value) <= room or error.start < room - 3:
            size = f"… ({len(value):,} bytes)" if len(value) > most else ""
            return f"base64:{base64.b64encode(value[:most]).decode()}{size}"
        shown = value[: error.start].decode("utf-8")
    if len(value) > room:
        return f"{as_json_text(shown[:most], null, most)}… ({len(value):,} bytes)"
    return as_json_text(shown, null, most)


def html_cell(value: Any, kind: pa.DataType | None = None, *, most: int = LONGEST) -> str:
    """Return one line of HTML for a value; null does not look like a text."""
    shown = escape(cell(value, kind, most=most))
    return f'<i style="color:{GREY}">{shown}</i>' if value is None else shown


def folded_cell(value: Any, kind: pa.DataType | None = None) -> str:
    """Return a line of HTML for a value; where it is cut, a click on it shows more."""
    if value is not None and kind is not None and pa.types.is_nested(kind):
        value, kind = text(maps_as_dicts(value, kind)), None  # once, for both lengths
    line, more = (cell(value, kind, most=most) for most in (_ONE_LINE, _OPENED))
    if line == more:
        return html_cell(value, kind)
    return fold(escape(line), escape(more))


def tells_all(frame: pd.DataFrame) -> bool:
    """Tell whether the fields say what each record is.

    A record without any field may be a tombstone, empty, or ``{}``.
    """
    fields = frame[[name for name in frame.columns if not str(name).startswith("_")]]
    return bool(len(frame) == 0 or fields.notna().any(axis="columns").all())


def rows(
    frame: pd.DataFrame, render: Callable[[Any, pa.DataType | None], Any] = cell
) -> Iterator[tuple[Any, ...]]:
    """Yield the cells of each row of a DataFrame, as `render` makes them."""
    columns = []
    for place in range(frame.shape[1]):
        column = frame.iloc[:, place]
        kind = getattr(column.dtype, "pyarrow_dtype", None)
        values = zip(column, column.isna(), strict=True)
        columns.append([render(None if gone else value, kind) for value, gone in values])
    return zip(*columns, strict=True)
