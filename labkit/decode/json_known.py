"""Whether a batch parsed under a schema known before has any field that the schema lacks.

Inferring types takes twice as long as parsing. polars parses under a given schema strictly, but passes over fields that
are not in it; so they are counted here: each key of an object is a text followed by a colon and has a value, which is
either in a column or null. The numbers must agree; where they do not, or nulls cannot be told apart, the answer is no.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import polars as pl

from labkit.decode.json_lines import CHUNK
from labkit.decode.json_types import Schema, has, settled

_QUOTE, _COLON, _SPACE, _BACKSLASH = b'": \\'
_LONGEST = 64  # run of spaces or backslashes that is followed


def trial(schema: Schema) -> Schema | None:
    """Return the types to parse under when `schema` is known; None when they cannot be tried.

    polars is not strict about a type of null within a list or an object: a text stands in for it, and must stay empty.
    """
    if any(has(dtype, lambda one: isinstance(one, pl.Struct) and not one.fields) for dtype in schema.values()):
        return None
    return {name: dtype if dtype == pl.Null else settled(dtype) for name, dtype in schema.items()}


def has_no_value_unknown(frame: pl.DataFrame, schema: Schema) -> bool:
    """Tell whether `frame`, parsed under `trial`, is empty wherever `schema` knows nothing but nulls."""
    open_ended = [name for name, dtype in schema.items() if has(dtype, lambda one: one == pl.Null)]
    return all(_is_empty(frame[name], schema[name]) for name in open_ended)


def _is_empty(column: pl.Series, dtype: Any) -> bool:
    if dtype == pl.Null:
        return bool(column.null_count() == len(column))
    if isinstance(dtype, pl.List):
        return _is_empty(column.drop_nulls().explode(empty_as_null=False), dtype.inner)
    if isinstance(dtype, pl.Struct):
        fields = column.drop_nulls().struct.unnest()
        return all(_is_empty(fields[one.name], one.dtype) for one in dtype.fields)
    return True


def has_no_field_unknown(joint: bytes, frame: pl.DataFrame) -> bool:
    """Tell whether each key in the text `joint` has its column in `frame`; False where that cannot be told.

    Parameters
    ----------
    joint : bytes
        One JSON object a line, each a row of `frame`.
    """
    keys = _keys(joint)
    if keys is None:
        return False
    nulls = keys - sum(len(one) - one.null_count() for one in _leaves(frame))
    return not nulls or (nulls > 0 and _known_nulls(joint, frame) == nulls)


def _keys(joint: bytes) -> int | None:
    """Return how many keys there are; None when they cannot be counted."""
    count, start, data = 0, 0, np.frombuffer(joint, np.uint8)
    while start < len(joint):  # some lines at a time: what is between is large
        end = joint.rfind(b"\n", start, start + CHUNK) + 1 or joint.find(b"\n", start) + 1
        found = _keys_of(data[start:end], escapes=joint.find(b"\\", start, end) >= 0)
        if found is None:
            return None
        count, start = count + found, end
    return count


def _keys_of(data: np.ndarray, *, escapes: bool) -> int | None:
    quotes = np.flatnonzero(data == _QUOTE)
    if escapes:
        after_backslash = data[quotes - 1] == _BACKSLASH
        escaped = _escaped(data, quotes[after_backslash])
        if escaped is None:
            return None
        after_backslash[after_backslash] = escaped
        quotes = quotes[~after_backslash]
    at, count = quotes[1::2] + 1, 0  # behind each text
    for _ in range(_LONGEST):
        after = data[at]
        count += int(np.count_nonzero(after == _COLON))
        at = at[after <= _SPACE] + 1
        at = at[at < len(data)]
        if not len(at):
            return count
    return None


def _escaped(data: np.ndarray, quotes: np.ndarray) -> np.ndarray | None:
    """Tell which quotes have an odd number of backslashes before them; all have one."""
    odd, rows, at = np.ones(len(quotes), bool), np.arange(len(quotes)), quotes - 2
    for _ in range(_LONGEST):
        more = data[at] == _BACKSLASH
        if not more.any():
            return odd
        rows, at = rows[more], at[more] - 1
        odd[rows] = ~odd[rows]
    return None


def _leaves(frame: pl.DataFrame) -> Iterator[pl.Series]:
    """Yield the frame's columns and, below them, the fields of objects, in lists too: each is named by keys."""
    for column in frame.get_columns():
        yield column
        inner = column
        while isinstance(inner.dtype, pl.List):
            inner = inner.drop_nulls().explode(empty_as_null=False)
        if isinstance(inner.dtype, pl.Struct):
            yield from _leaves(inner.drop_nulls().struct.unnest())


def _known_nulls(joint: bytes, frame: pl.DataFrame) -> int:
    """Return how often the columns' own names have a null; -1 where names may stand on several levels."""
    if any(isinstance(dtype, pl.Struct | pl.List) for dtype in frame.dtypes):
        return -1
    names = (orjson.dumps(column.name) for column in frame.get_columns() if column.null_count())
    return sum(joint.count(name + b":null") + joint.count(name + b": null") for name in names)
