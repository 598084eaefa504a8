"""JSON records one by one: broken ones, and those whose values must keep their spelling."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from labkit.decode.decoder import FieldPath
from labkit.decode.json_shape import EXACT, HUGE, NUMBER, TEXT, WIDE, Shape
from labkit.replay.records import replace_rows

DEPTH = 32  # Arrow takes 64 levels, and parsers that recurse may take the process along
_FRACTION = re.compile("[.eE]")
# integers that orjson takes for infinite
_HUGE = re.compile(rb"(?<![0-9.eE+-])-?[1-9][0-9]{300,}(?![0-9.eE])")
_LONG = re.compile(rb"[0-9]{19}")
_spell = json.JSONEncoder(ensure_ascii=False).encode
_DIGITS = 20  # no integer of 64 bits has more, with its sign


class Fraction(float):
    """A number with a fraction or an exponent, as it is written."""

    def __init__(self, spelling: str) -> None:
        self.spelling = spelling


class HugeInteger(str):
    """An integer beyond 64 bits, or one that is written ``-0``."""

    __slots__ = ()


def lines_of(values: pa.BinaryArray) -> tuple[pa.BinaryArray, dict[int, str]]:
    """Return a line for each value, and why some have ``{}`` instead of their own.

    A value keeps its own when it begins with ``{``, ends with ``}`` and is UTF-8. Parsers of
    objects one after the other cannot take such lines for fewer or for more of them without the
    number of rows being another: ``}`` and ``{`` follow one another only where an object ends.
    """
    if values.null_count:
        values = pc.fill_null(values, b"{}")
    is_object = pc.and_(pc.starts_with(values, b"{"), pc.ends_with(values, b"}"))
    new: dict[int, bytes | None] = {}
    errors: dict[int, str] = {}
    for row in sorted({*np.flatnonzero(~np.asarray(is_object)).tolist(), *_rows_of_bytes(values)}):
        value = values[row].as_py()
        _, reason = load_record(value)
        new[row] = b"{}" if reason else value.strip(b" \t\r\n")
        if reason:
            errors[row] = reason
    return replace_rows(values, new), errors


def _rows_of_bytes(values: pa.BinaryArray) -> Iterator[int]:
    """Yield the rows of what is not UTF-8: Arrow's parser does not look."""
    try:
        values.cast(TEXT)
    except pa.ArrowInvalid:
        for row, value in enumerate(values.to_pylist()):
            try:
                value.decode()
            except UnicodeDecodeError:
                yield row


def without_rows(lines: pa.BinaryArray, rows: Iterable[int]) -> pa.BinaryArray:
    """Put an empty object in the place of some lines."""
    return replace_rows(lines, dict.fromkeys(rows, b"{}"))


def load_records(lines: pa.BinaryArray) -> tuple[pa.BinaryArray, Shape, dict[int, str]]:
    """Return the lines without those that cannot be used, what the others hold, and the reasons."""
    loaded = [load_record(line) for line in lines.to_pylist()]
    faults = {row: reason for row, (_, reason) in enumerate(loaded) if reason}
    return without_rows(lines, faults), shape_of(record for record, _ in loaded), faults


def load_record(line: bytes) -> tuple[dict[str, Any], str]:
    """Return a record, with integers as they are, and why it cannot be used, if so.

    It may be other than a JSON object, or beyond a limit.
    """
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        shorter = _HUGE.sub(b"1", line)
        reason = load_record(shorter)[1] if shorter != line else _why_not_json(line, error)
        return ({} if reason else spell_numbers(line)), reason
    if not isinstance(value, dict):
        return {}, f"JSON, but not an object: {type(value).__name__}"
    if line.count(b"{") + line.count(b"[") > DEPTH and too_deep(value):
        return {}, f"JSON nested deeper than {DEPTH} levels"
    if b"\\u0000" in line and any("\0" in name for name in _names(line)):
        return {}, "JSON with a NUL character in a field's name: no column can have it"
    # orjson makes fractions of integers beyond 64 bits
    return spell_numbers(line) if _LONG.search(line) else value, ""


def _why_not_json(line: bytes, error: orjson.JSONDecodeError) -> str:
    if not line:
        return "an empty value is not JSON"
    if line[:1] == b"\x00" and len(line) > 5:
        number = int.from_bytes(line[1:5], "big")
        return f"Confluent wire format (schema id {number}), not JSON: it needs the schema registry"
    return f"not JSON: {error}"


def too_deep(value: Any) -> bool:
    """Tell whether a value is nested deeper than what is worked with."""
    level = [value]
    for _ in range(DEPTH):
        level = list(chain.from_iterable(map(_members, level)))
    return any(isinstance(item, dict | list) for item in level)


def _members(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _names(line: bytes) -> list[str]:
    """Return the names of all fields, also those within objects and lists."""
    names: list[str] = []
    json.loads(line, object_hook=names.extend)
    return names


def spell_numbers(line: bytes) -> dict[str, Any]:
    """Return a record whose numbers keep their spelling.

    The last of a name that stands there twice is taken.
    """
    record: dict[str, Any] = json.loads(line.decode(), parse_float=Fraction, parse_int=_integer)
    return record


def _integer(word: str) -> int | HugeInteger:
    number = int(word) if len(word) <= _DIGITS and word != "-0" else 2**64
    return number if -(2**63) <= number < 2**63 else HugeInteger(word)


def shape_of(records: Iterable[Any]) -> Shape:
    """Return the shape of spelled records; fields in the order they first have a value in."""
    shape = Shape()
    for record in records:
        _add(shape, record)
    return Shape() + shape  # fields without a value come last


def _add(shape: Shape, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, dict):
        shape.kinds["objects"] += 1
        for name, inner in value.items():
            if inner is not None and name in shape.fields and not shape.fields[name].kinds:
                # its place is where it first has a value
                shape.fields[name] = shape.fields.pop(name)
            _add(shape.fields.setdefault(name, Shape()), inner)
    elif isinstance(value, list):
        shape.kinds["lists"] += 1
        shape.items = shape.items or Shape()
        for inner in value:
            _add(shape.items, inner)
    else:
        shape.kinds[_kind(value)] += 1


def _kind(value: Any) -> str:
    if isinstance(value, HugeInteger):
        return "integers" if value == "-0" else HUGE
    if isinstance(value, str):
        return "texts"
    if isinstance(value, bool):
        return "booleans"
    if isinstance(value, float):
        return "fractions"
    return "integers" if -EXACT <= value <= EXACT else WIDE


def kinds_at(value: Any, path: FieldPath) -> frozenset[str]:
    """Return the kinds of a record's values in a field; integers count as the numbers they are."""
    if path and path[0] == "[]":
        items = value if isinstance(value, list) else []
        return frozenset().union(*(kinds_at(item, path[1:]) for item in items))
    if path:
        return kinds_at(value.get(path[0]) if isinstance(value, dict) else None, path[1:])
    if isinstance(value, dict | list):
        return frozenset({type(value).__name__})
    kind = "" if value is None else _kind(value)
    return frozenset({"fractions" if kind == "integers" else kind} - {""})


def kinds_of_numbers(words: Iterable[str]) -> Counter[str]:
    """Count the kinds of numbers that stand in texts."""
    return Counter(
        "fractions" if _FRACTION.search(word) else _kind(_integer(word)) for word in words
    )


def fit_value(value: Any, kind: pa.DataType) -> Any:
    """Return a spelled value as one of the type that its shape has."""
    if value is None:
        return None
    if kind == TEXT:
        is_text = isinstance(value, str) and not isinstance(value, HugeInteger)
        return value if is_text else spell_value(value)
    if isinstance(value, dict):
        return {part.name: fit_value(value.get(part.name), part.type) for part in kind}
    if isinstance(value, list):
        return [fit_value(inner, kind.value_type) for inner in value]
    if isinstance(value, HugeInteger):
        return -0.0 if kind == NUMBER else 0
    return float(value) if kind == NUMBER else value


def spell_value(value: Any) -> str:
    """Return a spelled value's JSON, its numbers as they were written."""
    if isinstance(value, Fraction):
        return value.spelling
    if isinstance(value, HugeInteger):
        return str(value)
    if isinstance(value, dict):
        members = (f"{spell_value(name)}: {spell_value(inner)}" for name, inner in value.items())
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(spell_value, value)) + "]"
    return _spell(value)


def rest(record: dict[str, Any], known: Collection[str]) -> str | None:
    """Return the JSON of the fields that are no columns of their own."""
    rest_of_record = {name: value for name, value in record.items() if name not in known}
    return spell_value(rest_of_record) if rest_of_record else None
