"""Which records fulfil the conditions that are clicked most, without asking SQL.

Each gives what the chip's SQL gives, on a million records within a few hundredths of a second. What
is not clicked often is left to SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from labkit.notebook.browse.browsed import whole_ms
from labkit.notebook.browse.filters import Filter, in_any_case
from labkit.profile.origins import NO_TIME
from labkit.tables.arrow import is_text
from labkit.tables.sql_text import column as column_name

if TYPE_CHECKING:
    from labkit.notebook.browse.records import Records


def fast_mask(records: Records, chip: Filter) -> np.ndarray | None:
    """Return which records fulfil a chip that is not negated; None where SQL must be asked."""
    if chip.op == "text":
        return _mask_of_text(records, chip)
    if chip.op == "between" and chip.field == records.time_path and not chip.told_as:
        return _mask_of_time(records, chip.value)
    if chip.items or not _is_field(records, chip.field):
        return None
    if chip.op == "has" or (chip.op == "is" and chip.value is None):
        valid = np.asarray(pc.is_valid(records.columns[chip.field]))
        return valid if chip.op == "has" else ~valid
    if chip.op == "is" and isinstance(chip.value, str) and _holds_texts(records, chip.field):
        return _true(records.columns.series(chip.field) == chip.value)
    return None


def prepare(records: Records) -> None:
    """Do beforehand what the first filters would wait for."""
    column_name(("select",))  # DuckDB tells the words that are no names
    for path in records.texts:
        if _holds_texts(records, path):
            records.columns.series(path)


def _is_field(records: Records, path: Sequence[str]) -> bool:
    return any(field.path == tuple(path) for field in records.fields)


def _holds_texts(records: Records, path: tuple[str, ...]) -> bool:
    return path in records.texts and is_text(records.columns[path].type)


def _mask_of_text(records: Records, chip: Filter) -> np.ndarray | None:
    """Return which records have a text in a field, or in any of those that hold texts."""
    paths = [chip.field] if chip.field else records.texts
    if not all(_holds_texts(records, path) for path in paths):
        return None
    pattern = in_any_case(str(chip.value))
    mask = np.zeros(len(records.table), bool)
    for path in paths:
        mask |= _true(records.columns.series(path).str.contains(pattern))
    return mask


def _true(answers: pl.Series) -> np.ndarray:
    """Return where a test of values holds; null fulfils none."""
    mask: np.ndarray = answers.fill_null(False).to_numpy()
    return mask


def _mask_of_time(records: Records, ends: Sequence[Any]) -> np.ndarray | None:
    """Return which records are in a time; None of times that are not whole milliseconds."""
    kind = records.columns[records.time_path].type
    if not (pa.types.is_timestamp(kind) and kind.unit in ("s", "ms")):
        return None
    if not all(end is None or (isinstance(end, dict) and set(end) == {"time"}) for end in ends):
        return None
    bounds = [None if end is None else whole_ms(end["time"]) for end in ends]
    mask: np.ndarray = records.times != NO_TIME
    for end, bound, keep in zip(ends, bounds, (np.greater_equal, np.less), strict=True):
        if end is not None:
            if bound is None:
                return None
            mask &= keep(records.times, bound)
    return mask
