"""JSON values as lines a parser can take: one object a line, and what is none of these put aside with a reason."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from labkit.replay.records import edges, joined, replaced

DEPTH = 32  # Arrow takes 64 levels, and parsers that recurse may take the process along
CHUNK = 2_097_152  # measured: smaller ones fit the caches, but hand the interpreter over more often than that saves
_EMPTY = pa.scalar(b"{}", pa.binary())


def one_line_each(values: pa.BinaryArray) -> pa.BinaryArray:
    """Return the values on one line each; null and empty ones are ``{}``; JSON's newlines are only space."""
    if values.null_count:
        values = pc.fill_null(values, b"{}")
    if (np.diff(edges(values)) == 0).any():
        values = pc.if_else(pc.equal(pc.binary_length(values), 0), _EMPTY, values)
    if (np.frombuffer(joined(values), np.uint8) == ord("\n")).any():
        values = pc.replace_substring(values, pattern=b"\n", replacement=b" ")
    return values


def text(lines: pa.BinaryArray) -> bytes:
    """Return the lines as one text, each with its newline."""
    return bytes(joined(pc.binary_join_element_wise(lines, pa.scalar(b"", pa.binary()), pa.scalar(b"\n", pa.binary()))))


def suspicious(lines: pa.BinaryArray, joint: bytes) -> list[int]:
    """Return the rows that may be too much for a parser: nested deeply, half a surrogate pair, a NUL in a name."""
    rows: set[int] = set()
    data = np.frombuffer(joint, np.uint8)
    # "[" and "{" differ in one bit; where there are so few, no line can have many
    count = sum(np.count_nonzero(data[at : at + CHUNK] & 0xDF == ord("[")) for at in range(0, len(data), CHUNK))
    if count > len(lines) + DEPTH - 1:
        ends = np.cumsum(np.diff(edges(lines)) + 1)  # each line's end in the text
        before = np.searchsorted(np.flatnonzero(data & 0xDF == ord("[")), ends)
        rows.update(np.flatnonzero(np.diff(before, prepend=0) > DEPTH).tolist())
    if b"\\" in joint:
        for escape in (b"\\ud", b"\\uD", b"\\u0000"):
            if escape in joint:
                rows.update(rows_of(pc.match_substring(lines, escape)))
    return sorted(rows)


def without(
    lines: pa.BinaryArray, rows: Iterable[int], values: pa.BinaryArray | None = None
) -> tuple[pa.BinaryArray, dict[int, str]]:
    """Blank those of `rows` that are no JSON objects, or none to work with; return the reasons too.

    `values` are judged, where the lines were made of them: a newline within a text is space in a line.
    """
    judged = lines if values is None else values
    reasons = {row: reason for row in rows if (reason := fault(judged[row].as_py()))}
    return blanked(lines, reasons), reasons


def blanked(lines: pa.BinaryArray, rows: Iterable[int]) -> pa.BinaryArray:
    """Put an empty object in the place of some lines."""
    bad = np.zeros(len(lines), bool)
    bad[list(rows)] = True
    return pc.if_else(pa.array(bad), _EMPTY, lines) if bad.any() else lines


def mended(lines: pa.BinaryArray, *, digits: int) -> pa.BinaryArray:
    """Write integers beyond 64 bits as texts, in the lines that have so many digits in a row."""
    new: dict[int, bytes | None] = {}
    for row in rows_of(pc.match_substring_regex(lines, rf"\d{{{digits}}}")):
        with suppress(ValueError, RecursionError):
            value = json.loads(lines[row].as_py(), parse_int=_integer, parse_float=_finite, parse_constant=_finite)
            new[row] = orjson.dumps(value)
    return replaced(lines, new)


def once_each(lines: pa.BinaryArray) -> pa.BinaryArray:
    """Leave each name's last value where an object has it several times."""
    new: dict[int, bytes | None] = {}
    for row, line in enumerate(lines.to_pylist()):
        try:
            json.loads(line, object_pairs_hook=_distinct)
        except _TwiceError:
            with suppress(ValueError, RecursionError):
                new[row] = json.dumps(json.loads(line, parse_float=_finite, parse_constant=_finite)).encode()
        except (ValueError, RecursionError):
            continue
    return replaced(lines, new)


class _TwiceError(Exception):
    """A name stands twice in an object."""


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise _TwiceError


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(word)
    return number


def _integer(word: str) -> int | str:
    if len(word) > 20:
        return word
    number = int(word)
    return number if -(2**63) <= number < 2**63 else word


def rows_of(mask: pa.BooleanArray) -> list[int]:
    """Return the rows where a mask is true."""
    rows: list[int] = np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False)).tolist()
    return rows


def fault(line: bytes) -> str | None:
    """Say why `line` is no JSON object, or return None."""
    if line[:1] == b"\x00" and len(line) > 5:
        number = int.from_bytes(line[1:5], "big")
        return f"Confluent wire format (schema id {number}), not JSON: it needs the schema registry"
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return f"not JSON: {error}"
    if not isinstance(value, dict):
        return f"JSON, but not an object: {type(value).__name__}"
    if too_deep(value):
        return f"JSON nested deeper than {DEPTH} levels"
    if any("\0" in name for level in _levels(value) for one in level if isinstance(one, dict) for name in one):
        return "JSON with a NUL character in a field's name: no column can have it"
    return None


def too_deep(value: Any) -> bool:
    """Tell whether a value is nested deeper than what is worked with."""
    return sum(1 for _ in _levels(value)) > DEPTH


def _levels(value: Any) -> Iterator[list[Any]]:
    """Yield the lists and objects of each level of nesting, without recursion, one level more than is allowed."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEPTH + 1):
        if not level:
            return
        yield level
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
