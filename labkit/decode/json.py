"""JSON values to columns, parsed column-wise by polars.

One rule for fields that disagree, the same whatever the batch size: a field whose non-null values all have one type
(boolean, integer of 64 bits, number, text, object, list) has that type; integers and fractions together are numbers;
objects merge field by field, lists by their items; whatever else disagrees is text, each value as its JSON. A field
absent from a record is null there. A record that is no JSON object has null fields and ``_error``; a tombstone has
null fields and no error.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

Schema = dict[str, Any]
_SCALARS = (pl.Boolean, pl.Int64, pl.Float64, pl.String)


@dataclass
class Parsed:
    """One batch's values as columns, with a schema of their own.

    Attributes
    ----------
    lines : pyarrow.BinaryArray
        One JSON object a record; ``{}`` in the place of what cannot be decoded.
    frame : polars.DataFrame
        One row a record.
    errors : dict
        Row to reason.
    """

    lines: pa.BinaryArray
    frame: pl.DataFrame
    errors: dict[int, str] = field(default_factory=dict)

    @property
    def schema(self) -> Schema:
        """Field to polars type."""
        return dict(self.frame.schema)


def parse(values: pa.BinaryArray) -> Parsed:
    """Parse one batch of values; each batch may come out with types of its own, see `unify`."""
    lines = _one_line_each(values)
    empty = pc.equal(pc.binary_length(values), 0)
    errors = dict.fromkeys(_rows(empty), "an empty value is not JSON")
    frame = _read(lines)
    if frame is None:  # most often for records that are no JSON: without them it goes at once
        reasons = {row: reason for row, line in enumerate(lines.to_pylist()) if (reason := _error(line))}
        errors |= reasons
        lines = _blanked(lines, reasons)
        frame = _read(lines)
    if frame is not None and _plain(frame.schema):
        return Parsed(lines, frame, errors)
    reasons = {}
    schema = _infer(lines, 0, reasons)
    lines = _blanked(lines, reasons)
    return Parsed(lines, _with_schema(lines, schema), errors | reasons)


def _rows(mask: pa.BooleanArray) -> list[int]:
    rows: list[int] = np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False)).tolist()
    return rows


def _blanked(lines: pa.BinaryArray, rows: Iterable[int]) -> pa.BinaryArray:
    """Put an empty object in the place of some lines."""
    bad = np.zeros(len(lines), bool)
    bad[list(rows)] = True
    return pc.if_else(pa.array(bad), pa.scalar(b"{}", pa.binary()), lines) if bad.any() else lines


def unify(schemas: Iterable[Schema]) -> Schema:
    """Return the one schema that holds for all batches, fields in order of first sight."""
    nothing: Schema = {}
    merged = reduce(_merge_fields, schemas, nothing)
    return {name: _settled(dtype) for name, dtype in merged.items()}


def columns(parsed: Parsed, schema: Schema) -> pa.Table:
    """Return the batch's fields under the common schema; parsed again only where a type changed."""
    own, frame = parsed.schema, parsed.frame
    changed = any(dtype != schema[name] and dtype != pl.Null for name, dtype in own.items())
    if changed:
        frame = _with_schema(parsed.lines, schema)
    else:
        missing = [name for name in schema if own.get(name, pl.Null) == pl.Null]
        frame = frame.with_columns(pl.lit(None, schema[name]).alias(name) for name in missing)
    if not schema:
        return pa.table({}).select([])
    return frame.select(list(schema)).to_arrow(compat_level=pl.CompatLevel.oldest())


def _one_line_each(values: pa.BinaryArray) -> pa.BinaryArray:
    """Return the values on one line each; outside of texts JSON's newlines are only space."""
    filled = pc.fill_null(values, b"{}")
    filled = pc.if_else(pc.equal(pc.binary_length(filled), 0), pa.scalar(b"{}", pa.binary()), filled)
    if pc.any(pc.match_substring(filled, b"\n")).as_py():
        filled = pc.replace_substring(filled, pattern=b"\n", replacement=b" ")
    return filled


def _joined(lines: pa.BinaryArray) -> io.BytesIO:
    ended = pc.binary_join_element_wise(lines, pa.scalar(b"", pa.binary()), pa.scalar(b"\n", pa.binary()))
    edges = np.frombuffer(ended.buffers()[1], np.int32)[ended.offset : ended.offset + len(ended) + 1]
    data = ended.buffers()[2]
    return io.BytesIO(memoryview(data)[edges[0] : edges[-1]] if data is not None else b"")


def _read(lines: pa.BinaryArray) -> pl.DataFrame | None:
    """Parse all lines at once with inferred types, or return None when one of them stands in the way."""
    if not len(lines):
        return pl.DataFrame()
    try:
        frame = pl.read_ndjson(_joined(lines), infer_schema_length=None)
    except pl.exceptions.PolarsError:
        return None
    if not frame.width:
        return pl.DataFrame(height=len(lines)) if _all_objects(lines) else None
    return frame if frame.height == len(lines) else None


def _all_objects(lines: pa.BinaryArray) -> bool:
    return all(_error(line.as_py()) is None for line in lines)


def _plain(schema: Any) -> bool:
    """Tell whether each type is one this module hands out."""
    return all(_narrowed(dtype) == dtype for dtype in schema.values())


def _infer(lines: pa.BinaryArray, base: int, errors: dict[int, str]) -> Schema:
    """Find the fields' types by halving what cannot be parsed at once, down to the record at fault."""
    frame = _read(lines)
    if frame is not None:
        return {name: _narrowed(dtype) for name, dtype in frame.schema.items()}
    if len(lines) > 1:
        half = len(lines) // 2
        left = _infer(lines.slice(0, half), base, errors)
        return _merge_fields(left, _infer(lines.slice(half), base + half, errors))
    line = lines[0].as_py()
    reason = _error(line)
    if reason is None:
        try:
            return _infer_record(line)
        except pl.exceptions.PolarsError as error:
            reason = str(error)
    errors[base] = reason
    return {}


def _infer_record(line: bytes) -> Schema:
    """Find the types of one record whose own values disagree (``[1, true]``): such a field is text."""
    schema: Schema = {}
    for name, value in orjson.loads(line).items():
        alone = _read(pa.array([orjson.dumps({name: value})], pa.binary()))
        schema[name] = _narrowed(alone.schema[name]) if alone is not None and alone.width else pl.String()
    pl.read_ndjson(io.BytesIO(line), schema=schema)
    return schema


def _error(line: bytes) -> str | None:
    """Say why `line` is no JSON object, or return None."""
    if line[:1] == b"\x00" and len(line) > 5:
        number = int.from_bytes(line[1:5], "big")
        return f"Confluent wire format (schema id {number}), not JSON: it needs the schema registry"
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return f"not JSON: {error}"
    return None if isinstance(value, dict) else f"JSON, but not an object: {type(value).__name__}"


def _with_schema(lines: pa.BinaryArray, schema: Schema) -> pl.DataFrame:
    if not schema or not len(lines):
        return pl.DataFrame(schema=schema) if not len(lines) else pl.DataFrame(height=len(lines))
    return pl.read_ndjson(_joined(lines), schema=schema)


# types ---------------------------------------------------------------------------------------------------


def _narrowed(dtype: Any) -> Any:
    """Return the type labkit keeps for what polars inferred: integers beyond 64 bits are text."""
    if isinstance(dtype, pl.Struct):
        return pl.Struct({one.name: _narrowed(one.dtype) for one in dtype.fields})
    if isinstance(dtype, pl.List):
        return pl.List(_narrowed(dtype.inner))
    return dtype if dtype in _SCALARS or dtype == pl.Null else pl.String()


def _settled(dtype: Any) -> Any:
    """Return the type of a column at the end: what was null throughout is text."""
    if isinstance(dtype, pl.Struct):
        return pl.Struct({one.name: _settled(one.dtype) for one in dtype.fields}) if dtype.fields else pl.String()
    if isinstance(dtype, pl.List):
        return pl.List(_settled(dtype.inner))
    return pl.String() if dtype == pl.Null else dtype


def _merge_fields(left: Schema, right: Schema) -> Schema:
    merged = {name: _merge(dtype, right.get(name, pl.Null())) for name, dtype in left.items()}
    return {**merged, **{name: dtype for name, dtype in right.items() if name not in left}}


def _merge(left: Any, right: Any) -> Any:
    if right in (left, pl.Null):
        return left
    if left == pl.Null:
        return right
    if isinstance(left, pl.Struct) and isinstance(right, pl.Struct):
        fields = ({one.name: one.dtype for one in side.fields} for side in (left, right))
        return pl.Struct(_merge_fields(*fields))
    if isinstance(left, pl.List) and isinstance(right, pl.List):
        return pl.List(_merge(left.inner, right.inner))
    if {left, right} == {pl.Int64(), pl.Float64()}:
        return pl.Float64()
    return pl.String()
