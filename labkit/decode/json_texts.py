"""The JSON of objects and lists that stand in text columns: polars writes it without escaping the texts inside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from labkit.decode.json_lines import text
from labkit.replay.records import replaced

_OPENED = r"^[\[{]"


def escaped(lines: pa.BinaryArray, joint: bytes, frame: pl.DataFrame) -> pl.DataFrame:
    """Return `frame` with the texts of objects and lists as JSON proper; `lines` are what it was parsed from."""
    if b"\\" not in joint:
        return frame
    rows = np.flatnonzero(_suspects(frame) & pc.match_substring(lines, b"\\").to_numpy(zero_copy_only=False))
    new: dict[int, bytes | None] = {}
    for row in rows.tolist():
        value = json.loads(lines[row].as_py())
        told = {name: _told(item, frame.schema.get(name)) for name, item in value.items()}
        if told != value:
            new[row] = json.dumps(told, ensure_ascii=False).encode()
    return pl.read_ndjson(text(replaced(lines, new)), schema=frame.schema) if new else frame


def _suspects(frame: pl.DataFrame) -> Any:
    """Return which rows may have an object or a list in a text column."""
    mask = np.zeros(frame.height, bool)
    for column in frame.get_columns():
        if column.dtype == pl.String:
            mask |= column.str.contains(_OPENED).fill_null(False).to_numpy()
        elif any(one.str.contains(_OPENED).any() for one in _texts(column)):
            mask[:] = True
    return mask


def _texts(column: pl.Series) -> Iterator[pl.Series]:
    """Yield the texts within a column."""
    if column.dtype == pl.String:
        yield column
    elif isinstance(column.dtype, pl.List):
        yield from _texts(column.drop_nulls().explode(empty_as_null=False))
    elif isinstance(column.dtype, pl.Struct):
        for inner in column.drop_nulls().struct.unnest().get_columns():
            yield from _texts(inner)


def _told(value: Any, dtype: Any) -> Any:
    """Return `value` with objects and lists as text where the column is one."""
    if isinstance(value, dict) and isinstance(dtype, pl.Struct):
        kinds = {one.name: one.dtype for one in dtype.fields}
        return {name: _told(item, kinds.get(name)) for name, item in value.items()}
    if isinstance(value, list) and isinstance(dtype, pl.List):
        return [_told(item, dtype.inner) for item in value]
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) and dtype == pl.String else value
