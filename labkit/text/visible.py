"""Make foreign text safe to show: it cannot move a cursor, turn or end a line, or hide.

Terminals obey control characters (ECMA-48) wherever they come from; the Unicode Bidirectional
Algorithm (UAX 9) lets a few invisible ones turn the text around them. Each is shown as JSON writes
it, so that JSON stays JSON: ``\\u001b``, ``\\u202e``, ``\\n``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from labkit.text.columns import pad, width_of

LONGEST = 200
"""Characters that a view shows of one text."""
JOINERS = "\u200c\u200d"  # of Persian words and of emoji: they neither turn nor end anything


def visible(text: str, keep: str = "") -> str:
    """Return `text` with each character that cannot be seen as its escape, but those in `keep`."""
    if text.isprintable():
        return text
    kept = JOINERS + keep
    hidden = (char for char in set(text) if not (char.isprintable() or char in kept))
    return text.translate({ord(char): escape(char) for char in hidden})


def escape(char: str) -> str:
    """Return a character's escape, as JSON writes it."""
    if char == "\x7f":  # the one control character that JSON leaves as it is
        return "\\u007f"
    return json.dumps(char)[1:-1]


def brief(text: str, most: int = LONGEST) -> str:
    """Return a text of at most `most` characters and, where that cuts it, how long it is."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def a_type_of(value: object) -> str:
    """Return the name of a value's type, with its article: ``an int``, ``a DataFrame``."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def first_few(names: Sequence[str], most: int) -> str:
    """Return the first names and how many more there are: ``a, b and 3 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(visible, names[:most])) + more


def text_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return lines with a column for each name; a cell is one line, whatever is in it."""
    lines = [[visible(brief(cell)) for cell in row] for row in (names, *rows)]
    widths = [max(map(width_of, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(pad, line, widths)).rstrip() for line in lines)
