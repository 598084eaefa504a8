"""JSON values to columns, parsed column-wise by polars.

One rule for fields that disagree, the same whatever the batch size: a field whose non-null values all have one type
(boolean, integer of 64 bits, number, text, object, list) has that type; integers and fractions together are numbers;
objects merge field by field, lists by their items; whatever else disagrees is text, each value as its JSON. A field
absent from a record is null there. A record that is no JSON object has null fields and ``_error``; a tombstone has
null fields and no error.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from labkit.replay.records import joined

Schema = dict[str, Any]
DEPTH = 32  # Arrow takes 64 levels, and parsers that recurse may take the process along
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
    errors = dict.fromkeys(_rows(pc.equal(pc.binary_length(values), 0)), "an empty value is not JSON")
    lines, found = _without(lines, _suspicious(lines))
    errors |= found
    probe, frame = lines, _read(lines)
    if frame is None or _may_hide_integers(frame):
        probe = _mended(lines, digits=19)
        frame = frame if probe is lines else _read(probe)
    if frame is None:  # most often for records that are no JSON: without them it goes at once
        probe, found = _without(probe, range(len(lines)))
        lines, errors = _blanked(lines, found), errors | found
        frame = _read(probe)
    if frame is not None and probe is lines and _plain(frame.schema):
        return Parsed(lines, _in_order(lines, frame), errors)
    found = {}
    schema = _infer(probe, found) if frame is None else {name: _narrowed(one) for name, one in frame.schema.items()}
    lines = _mended(_blanked(lines, found), digits=39)  # what the parser takes as it is keeps its own text
    return Parsed(lines, _in_order(lines, _with_schema(lines, schema)), errors | found)


def _may_hide_integers(frame: pl.DataFrame) -> bool:
    """Tell whether integers beyond 64 bits may be among the numbers: they are text, wherever they stand."""
    kinds = str([dtype for dtype in frame.dtypes if dtype != pl.Float64])
    if "Float64" in kinds or "Int128" in kinds:
        return True
    largest = frame.select(pl.col(pl.Float64).abs().max()).row(0) if pl.Float64 in frame.dtypes else ()
    return any(one is not None and one >= 2.0**63 for one in largest)


def _suspicious(lines: pa.BinaryArray) -> list[int]:
    """Return the rows that may be too much for a parser: nested deeply, or with half a surrogate pair."""
    rows: list[int] = []
    text = _joined(lines).getvalue()
    if text.count(b"{") + text.count(b"[") > len(lines) + DEPTH - 1:  # else no line can have so many
        opened = pc.add(pc.count_substring(lines, b"{"), pc.count_substring(lines, b"["))
        rows += _rows(pc.greater(opened, DEPTH))
    if b"\\ud" in text or b"\\uD" in text:
        rows += _rows(pc.or_(pc.match_substring(lines, b"\\ud"), pc.match_substring(lines, b"\\uD")))
    return rows


def _without(lines: pa.BinaryArray, rows: Iterable[int]) -> tuple[pa.BinaryArray, dict[int, str]]:
    """Blank those of `rows` that are no JSON objects, or none to work with; return the reasons too."""
    reasons = {row: reason for row in rows if (reason := _error(lines[row].as_py()))}
    return _blanked(lines, reasons), reasons


def _in_order(lines: pa.BinaryArray, frame: pl.DataFrame) -> pl.DataFrame:
    """Order the fields by first sight: by the record they first have a value in, and by their place in it.

    polars has an order of its own where records have different fields. Fields without any value come last.
    """
    if frame.width < 2 or not frame.height:
        return frame
    first = frame.select(pl.all().is_not_null().arg_max()).row(0)
    some = frame.select(pl.all().is_not_null().any()).row(0)
    places = {row: {name: n for n, name in enumerate(orjson.loads(lines[row].as_py()))} for row in set(first)}
    order = sorted(
        zip(frame.columns, first, some, strict=True),
        key=lambda one: (not one[2], one[1], places[one[1]].get(one[0], 0), one[0]) if one[2] else (True, 0, 0, one[0]),
    )
    return frame.select([name for name, _, _ in order])


def _mended(lines: pa.BinaryArray, *, digits: int) -> pa.BinaryArray:
    """Write integers beyond 64 bits as texts, in the lines that have so many digits in a row."""
    rows = _rows(pc.match_substring_regex(lines, rf"\d{{{digits}}}"))
    texts: list[bytes | None] = [None] * len(lines)
    changed = False
    for row in rows:
        line = lines[row].as_py()
        try:
            mended = orjson.dumps(json.loads(line, parse_int=_integer, parse_float=_finite, parse_constant=_finite))
        except (ValueError, RecursionError):
            continue
        changed, texts[row] = True, mended
    return pc.coalesce(pa.array(texts, pa.binary()), lines) if changed else lines


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _integer(text: str) -> int | str:
    if len(text) > 20:
        return text
    number = int(text)
    return number if -(2**63) <= number < 2**63 else text


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
    return io.BytesIO(joined(ended))


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


def _infer(lines: pa.BinaryArray, errors: dict[int, str], base: int = 0) -> Schema:
    """Find the fields' types by halving what cannot be parsed at once, down to the record at fault."""
    frame = _read(lines)
    if frame is not None:
        return {name: _narrowed(dtype) for name, dtype in frame.schema.items()}
    if len(lines) > 1:
        half = len(lines) // 2
        left = _infer(lines.slice(0, half), errors, base)
        return _merge_fields(left, _infer(lines.slice(half), errors, base + half))
    try:
        return _infer_record(lines[0].as_py())
    except pl.exceptions.PolarsError as error:
        errors[base] = f"JSON that cannot be read as columns: {error}"
        return {}


def _infer_record(line: bytes) -> Schema:
    """Find the types of one record whose own values disagree, as in ``[1, true]``."""
    schema = {name: _kind(value) for name, value in orjson.loads(line).items()}
    pl.read_ndjson(io.BytesIO(line), schema={name: _settled(dtype) for name, dtype in schema.items()})
    return schema


def _kind(value: Any) -> Any:
    if isinstance(value, dict):
        return pl.Struct({name: _kind(value[name]) for name in sorted(value)})
    if isinstance(value, list):
        return pl.List(reduce(_merge, map(_kind, value), pl.Null()))
    kinds = {bool: pl.Boolean(), int: pl.Int64(), float: pl.Float64(), type(None): pl.Null()}
    return kinds.get(type(value), pl.String())


def _error(line: bytes) -> str | None:
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
    return f"JSON nested deeper than {DEPTH} levels" if _depth(value) > DEPTH else None


def _depth(value: Any) -> int:
    """Return how deeply lists and objects are nested, without recursion."""
    depth, level = 0, [value]
    while level and depth <= DEPTH:
        depth += 1
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
    return depth


def _with_schema(lines: pa.BinaryArray, schema: Schema) -> pl.DataFrame:
    if not schema or not len(lines):
        return pl.DataFrame(schema=schema) if not len(lines) else pl.DataFrame(height=len(lines))
    return pl.read_ndjson(_joined(lines), schema=schema)


# types ---------------------------------------------------------------------------------------------------


def _narrowed(dtype: Any) -> Any:
    """Return the type labkit keeps for what polars inferred: integers beyond 64 bits are text."""
    if isinstance(dtype, pl.Struct):
        return pl.Struct({one.name: _narrowed(one.dtype) for one in sorted(dtype.fields, key=lambda one: one.name)})
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
    """Merge two schemas; a field without a value so far takes its place where it first has one."""
    merged = {name: _merge(left.get(name, pl.Null()), right.get(name, pl.Null())) for name in (*left, *right)}
    seen = [name for side in (left, right) for name, dtype in side.items() if dtype != pl.Null]
    unseen = sorted(name for name, dtype in merged.items() if dtype == pl.Null)
    return {name: merged[name] for name in dict.fromkeys([*seen, *unseen])}


def _merge(left: Any, right: Any) -> Any:
    if right in (left, pl.Null):
        return left
    if left == pl.Null:
        return right
    if isinstance(left, pl.Struct) and isinstance(right, pl.Struct):
        fields = [{one.name: one.dtype for one in side.fields} for side in (left, right)]
        return pl.Struct(dict(sorted(_merge_fields(*fields).items())))
    if isinstance(left, pl.List) and isinstance(right, pl.List):
        return pl.List(_merge(left.inner, right.inner))
    if {left, right} == {pl.Int64(), pl.Float64()}:
        return pl.Float64()
    return pl.String()
