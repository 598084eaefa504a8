"""Which JSON records cannot fulfil a condition, told by their bytes alone.

A record is passed over only where decoding it would change nothing: no row, no count, no note. For
that the condition must be made of ``field = value``, ``IN`` and ``LIKE`` with AND and OR, and the
bytes must show that each field is absent, null, or of the type it is compared with. What may be
written in another way (``\\u0041``, ``1e3``), or is of another type, is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_FIELD = re.compile("[A-Za-z][A-Za-z0-9_]*(?<!_)")  # not one of the metadata, nor renamed for them
_TEXT = re.compile(r'[^\x00-\x1f\x7f"\\]*')
_INTEGER = re.compile("[0-9]{1,15}")
_MOST_VALUES = 100
# how the value of a field begins that is compared with texts, or with integers, and is neither null
# nor such a one; it may have any number of digits, and a fraction, where it is a number
_NO_TEXT = r'[^"n\s]'
_NO_INTEGER = r"(?:[^-0-9n\s]|-?[0-9]{16}|-?[0-9]+[.eE])"


@dataclass(frozen=True)
class Needles:
    """Regular expressions of bytes: a record that has none of them does not fulfil a condition.

    Attributes
    ----------
    values : tuple of str
        What the bytes of a record have that fulfils it, one of them.
    doubts : frozenset of str
        What a record may have that must be decoded to know.
    spellings : frozenset of str
        Fields whose names differ only in case: with them the condition can be asked of no record.
    """

    values: tuple[str, ...]
    doubts: frozenset[str]
    spellings: frozenset[str]

    def may_match(self, records: pa.BinaryArray) -> np.ndarray:
        """Return which of the records must be decoded."""
        mask = _has(records, [*self.values, *self.doubts, *self.spellings])
        if _has(records.filter(pa.array(mask)), self.spellings).any():
            return np.ones(len(records), bool)
        return mask


def _has(records: pa.BinaryArray, patterns: Iterable[str]) -> np.ndarray:
    """Return which records have a match of any of the patterns."""
    mask = pc.match_substring_regex(records, "|".join(sorted(patterns)))
    return np.asarray(pc.fill_null(mask, False))


def needles_of(condition: Any) -> Needles | None:
    """Return the needles of a condition's syntax tree; None where it must be asked of all records.

    They hold for the spelling of its fields: records must have those.
    """
    parts = condition.get("children", [])
    if condition["class"] == "CONJUNCTION":
        of_parts = [needles_of(part) for part in parts]
        return _join(of_parts, either=condition["type"] == "CONJUNCTION_OR")
    if condition["type"] == "COMPARE_EQUAL":
        return _comparison(condition["left"], [condition["right"]])
    if condition["type"] == "COMPARE_IN":
        return _comparison(parts[0], parts[1:])
    if condition["class"] == "FUNCTION" and condition["function_name"] == "~~":
        field, pattern = (argument["expression"] for argument in condition["arguments"])
        return _comparison(field, [pattern], like=True)
    return None


def _join(parts: list[Needles | None], *, either: bool) -> Needles | None:
    """Return the needles of conditions of which all must be fulfilled, or only one."""
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts):
        return None
    longest = max(whole, key=lambda part: min(map(len, part.values)))
    values = [value for part in (whole if either else [longest]) for value in part.values]
    doubts = frozenset().union(*(part.doubts for part in whole))
    spellings = frozenset().union(*(part.spellings for part in whole))
    return Needles(tuple(values), doubts, spellings)


def _comparison(field: Any, constants: list[Any], *, like: bool = False) -> Needles | None:
    """Return the needles of a field that is equal to, or like, one of some constants."""
    literals = [constant.get("literal", {}) for constant in constants]
    kinds = {literal.get("kind") for literal in literals}
    if field["class"] != "COLUMN_REF" or len(literals) > _MOST_VALUES:
        return None
    name, *inner = field["column_names"]
    if inner or not _FIELD.fullmatch(name):
        return None
    texts = [literal.get("text", "") for literal in literals]
    key, spellings = rf'"{name}"\s*:\s*', frozenset(_other_spellings(name))
    if kinds == {"STRING"} and all(map(_TEXT.fullmatch, texts)):
        escape = r"\\u00[2-7]" if "".join(texts).isascii() else r"\\u"
        values = [_like(text) if like else f'{key}"{_spell(text)}"' for text in texts]
        return Needles(tuple(values), frozenset({escape, key + _NO_TEXT}), spellings)
    if kinds == {"INTEGER"} and all(map(_INTEGER.fullmatch, texts)):
        values = [rf"{key}-?{text}\b" for text in texts]
        return Needles(tuple(values), frozenset({r"\\u00[2-7]", key + _NO_INTEGER}), spellings)
    return None


def _spell(text: str) -> str:
    """Return the expression of a text in JSON; of its characters only ``/`` may be escaped."""
    return re.escape(text).replace("/", r"\\?/")


def _like(pattern: str) -> str:
    """Return the expression of the longest part of a LIKE pattern without a placeholder."""
    return _spell(max(re.split("[%_]", pattern), key=len))


def _other_spellings(name: str) -> Iterable[str]:
    """Yield expressions of a field whose name differs only in case: SQL takes it for the same."""
    for place, letter in enumerate(name):
        if letter.isalpha():
            yield f'"{name[:place]}{letter.swapcase()}(?i:{name[place + 1 :]})"'
