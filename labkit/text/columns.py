"""The width of a terminal: a table's rows are cut, sentences go on in the next line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

ELLIPSIS = "…"
_GAP = 2
_LEAST = 8  # characters that are left of a text
_HANGING = " " * 2  # before what goes on in the next line
_WORD = re.compile(r" *(?:`[^`]*`|[^ ])+")  # with the spaces before it; a command is one word


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for wide characters and emoji."""
    if text.isascii():
        return len(text)
    return sum(_width(char) for char in text)


def _width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut_middle(text: str, most: int) -> str:
    """Return a text in at most so many columns: of a long one its begin and its end."""
    if width_of(text) <= most:
        return text
    if most < 2:
        return ELLIPSIS[:most]
    head = _take(text, most // 2)
    tail = _take(text[::-1], most - 1 - width_of(head))[::-1]
    return f"{head}{ELLIPSIS}{tail}"


def _take(text: str, most: int) -> str:
    count = width = 0
    for char in text:
        width += _width(char)
        if width > most:
            break
        count += 1
    return text[:count]


def fit(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    numeric: Sequence[bool],
    whole: Sequence[bool],
    *,
    width: int,
) -> tuple[list[list[str]], int]:
    """Return lines of padded cells, the names first, and how many columns were left out.

    A line takes at most `width`. Texts are cut before a column is left out; numbers, and columns
    that are to be whole, never are.
    """
    rigid = [number or keep for number, keep in zip(numeric, whole, strict=True)]
    columns = [[name, *cells] for name, *cells in zip(names, *rows, strict=True)]
    natural = [max(map(width_of, column)) for column in columns]
    count = len(columns)
    while count > 1 and _least(natural[:count], rigid) > width:
        count -= 1
    widths = _shrink(natural[:count], rigid, width)
    lines = []
    for row in zip(*columns[:count], strict=True):
        cells = [cut_middle(text, most) for text, most in zip(row, widths, strict=True)]
        lines.append(list(map(pad, cells, widths, numeric)))
    return lines, len(columns) - count


def _least(natural: Sequence[int], rigid: Sequence[bool]) -> int:
    least = [
        width if keep else min(width, _LEAST) for width, keep in zip(natural, rigid, strict=False)
    ]
    return sum(least) + _GAP * (len(least) - 1)


def _shrink(natural: list[int], rigid: Sequence[bool], width: int) -> list[int]:
    """Take from the widest text, a column at a time, until all fit."""
    widths = list(natural)
    texts = [place for place in range(len(widths)) if not rigid[place]]
    while sum(widths) + _GAP * (len(widths) - 1) > width and texts:
        widest = max(texts, key=lambda place: widths[place])
        if widths[widest] <= _LEAST:
            break
        widths[widest] -= 1
    return widths


SEPARATOR = " " * _GAP


def pad(text: str, width: int, right: bool = False) -> str:
    """Return a text in so many columns at least, at their left or their right end."""
    spaces = " " * (width - width_of(text))
    return spaces + text if right else text + spaces


def cut_end(text: str, most: int) -> str:
    """Return a line in at most so many columns."""
    return text if width_of(text) <= most else f"{_take(text, most - 1)}{ELLIPSIS}"


def cut_around(text: str, most: int, place: int) -> str:
    """Return a line in at most so many columns, with the character at a place in sight."""
    begin = place - most // 3
    if begin <= 0 or width_of(text) <= most:
        return cut_end(text, most)
    return cut_end(ELLIPSIS + text[begin:], most)


def wrap(line: str, most: int) -> list[str]:
    """Return a line as several of at most so many columns, ended between words.

    A word that is longer has a line of its own, uncut: it is a path, a hash or a command to copy.
    """
    indent = line[: len(line) - len(line.lstrip(" "))] + _HANGING
    lines = [""]
    for word in _WORD.findall(line) if width_of(line) > most else [line]:
        if lines[-1] and width_of(lines[-1] + word) > most:
            lines.append(indent + word.lstrip(" "))
        else:
            lines[-1] += word
    return lines
