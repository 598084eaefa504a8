"""JSON values to columns, parsed column-wise by polars.

One rule for fields that disagree, the same whatever the batch size: a field whose non-null values all have one type
(boolean, integer of 64 bits, number, text, object, list) has that type; integers and fractions together are numbers;
objects merge field by field, lists by their items; whatever else disagrees is text, each value as its JSON. A field
absent from a record is null there. A record that is no JSON object has null fields and ``_error``; a tombstone has
null fields and no error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial, reduce

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from labkit.decode.json_known import has_no_field_unknown, has_no_value_unknown, trial
from labkit.decode.json_lines import (
    blanked,
    fault,
    mended,
    once_each,
    one_line_each,
    rows_of,
    suspicious,
    text,
    without,
)
from labkit.decode.json_texts import escaped
from labkit.decode.json_types import Schema, is_plain, kind, merged_fields, narrowed, settled

_MISSES = 3


@dataclass
class Parsed:
    """One batch's values as columns, with a schema of their own.

    Attributes
    ----------
    lines : pyarrow.BinaryArray
        One JSON object a record; ``{}`` in the place of what cannot be decoded.
    table : pyarrow.Table
        One row a record.
    schema : dict
        Field to polars type.
    errors : dict
        Row to reason.
    """

    lines: pa.BinaryArray
    table: pa.Table
    schema: Schema
    errors: dict[int, str] = field(default_factory=dict)


class Json:
    """Decodes the batches of one window: the types found in one are tried on those that follow."""

    def __init__(self) -> None:
        self._known: Schema = {}
        self._misses = 0

    def ready(self) -> Callable[[pa.BinaryArray], Parsed]:
        """Return `parse` for the next batch, for several to be parsed at a time.

        It tries what is known by now, of earlier batches: which of them are done changes no result, for a type that is
        tried must hold for the whole batch. Fields of later ones would come in another order.
        """
        return partial(self._parse, known=self._known)

    def parse(self, values: pa.BinaryArray) -> Parsed:
        """Parse one batch of values; each batch may come out with types of its own, see `unify`."""
        return self._parse(values, self._known)

    def _parse(self, values: pa.BinaryArray, known: Schema) -> Parsed:
        lines = one_line_each(values)
        empty = pc.equal(pc.binary_length(values), 0) if lines is not values else None
        errors = dict.fromkeys(rows_of(empty) if empty is not None else [], "an empty value is not JSON")
        if lines is not values:
            lines, found = without(lines, rows_of(pc.match_substring(values, b"\n")), values)
            errors = found | errors
        joint = text(lines)
        if odd := suspicious(lines, joint):
            lines, found = without(lines, odd)
            errors |= found
            joint = text(lines) if found else joint
        parsed = self._tried(lines, joint, errors, known) or _inferred(lines, joint, errors)
        merged = merged_fields(self._known, parsed.schema)
        if merged != self._known:  # what another thread learned meanwhile may be lost, and is learned again
            self._known = merged
        return parsed

    def _tried(self, lines: pa.BinaryArray, joint: bytes, errors: dict[int, str], known: Schema) -> Parsed | None:
        """Parse with the types known; None when they do not hold for the whole batch."""
        types = trial(known) if len(lines) and self._misses < _MISSES else None
        if not types:
            return None
        try:
            frame = pl.read_ndjson(joint, schema=types)
        except pl.exceptions.PolarsError:
            frame = pl.DataFrame()
        holds = (
            frame.height == len(lines)
            and not _may_hide_integers(frame)
            and has_no_value_unknown(frame, known)
            and has_no_field_unknown(joint, frame)
        )
        if holds or known is self._known:  # else it was tried before the types changed
            self._misses = 0 if holds else self._misses + 1
        return _parsed(lines, escaped(lines, joint, frame), errors, known) if holds else None

    @staticmethod
    def unify(schemas: Iterable[Schema]) -> Schema:
        """Return the one schema that holds for all batches, fields in order of first sight."""
        nothing: Schema = {}
        return {name: settled(dtype) for name, dtype in reduce(merged_fields, schemas, nothing).items()}

    @staticmethod
    def columns(parsed: Parsed, schema: Schema) -> pa.Table:
        """Return the batch's fields under the common schema; parsed again only where a type changed."""
        if not schema:
            return pa.table({}).select([])
        layout, table = _arrow(pl.DataFrame(schema=schema)).schema, parsed.table
        present = {name for name, dtype in parsed.schema.items() if dtype != pl.Null}
        if any(table.schema.field(name).type != layout.field(name).type for name in present):
            return _arrow(_with_schema(parsed.lines, schema))
        count = len(parsed.lines)
        arrays = [table[one.name] if one.name in present else pa.nulls(count, one.type) for one in layout]
        return pa.table(arrays, layout)


def _parsed(lines: pa.BinaryArray, frame: pl.DataFrame, errors: dict[int, str], schema: Schema | None = None) -> Parsed:
    return Parsed(lines, _arrow(frame), schema or dict(frame.schema), errors)


def _arrow(frame: pl.DataFrame) -> pa.Table:
    """Return the frame's columns as Arrow's; handed over at once, for each by itself would wait for other threads."""
    oldest = pl.CompatLevel.oldest()
    if not frame.width:
        return frame.to_arrow(compat_level=oldest)
    return pa.Table.from_batches([pa.RecordBatch.from_struct_array(frame.to_struct().to_arrow(compat_level=oldest))])


def _inferred(lines: pa.BinaryArray, joint: bytes, errors: dict[int, str]) -> Parsed:
    """Parse with the types that the batch itself shows."""
    probe, frame = lines, _read(lines, joint)
    if frame is None or _may_hide_integers(frame):
        probe = mended(lines, digits=19)
        frame = frame if probe is lines else _read(probe)
    if frame is None:  # most often for records that are no JSON: without them it goes at once
        probe, found = without(probe, range(len(lines)))
        lines, errors = blanked(lines, found), errors | found
        frame = _read(probe)
    if frame is not None and probe is lines and is_plain(frame.schema):
        return _parsed(lines, _in_order(lines, escaped(lines, joint, frame)), errors)
    found = {}
    schema = _infer(probe, found) if frame is None else {name: narrowed(one) for name, one in frame.schema.items()}
    lines = mended(blanked(lines, found), digits=39)  # what the parser takes as it is keeps its own text
    return _parsed(lines, _in_order(lines, _with_schema(lines, schema)), errors | found)


def _may_hide_integers(frame: pl.DataFrame) -> bool:
    """Tell whether integers beyond 64 bits may be among the numbers: they are text, wherever they stand."""
    kinds = str([dtype for dtype in frame.dtypes if dtype != pl.Float64])
    if "Float64" in kinds or "Int128" in kinds:
        return True
    largest = frame.select(pl.col(pl.Float64).abs().max()).row(0) if pl.Float64 in frame.dtypes else ()
    return any(one is not None and one >= 2.0**63 for one in largest)


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


def _read(lines: pa.BinaryArray, joint: bytes | None = None) -> pl.DataFrame | None:
    """Parse all lines at once with inferred types, or return None when one of them stands in the way."""
    if not len(lines):
        return pl.DataFrame()
    try:
        frame = pl.read_ndjson(joint or text(lines), infer_schema_length=None)
    except pl.exceptions.PolarsError:
        return None
    if not frame.width:
        return pl.DataFrame(height=len(lines)) if _all_objects(lines) else None
    return frame if frame.height == len(lines) else None


def _all_objects(lines: pa.BinaryArray) -> bool:
    return all(fault(line.as_py()) is None for line in lines)


def _infer(lines: pa.BinaryArray, errors: dict[int, str], base: int = 0) -> Schema:
    """Find the fields' types by halving what cannot be parsed at once, down to the record at fault."""
    frame = _read(lines)
    if frame is not None:
        return {name: narrowed(dtype) for name, dtype in frame.schema.items()}
    if len(lines) > 1:
        half = len(lines) // 2
        left = _infer(lines.slice(0, half), errors, base)
        return merged_fields(left, _infer(lines.slice(half), errors, base + half))
    try:
        return _infer_record(lines[0].as_py())
    except pl.exceptions.PolarsError as error:
        errors[base] = f"JSON that cannot be read as columns: {error}"
        return {}


def _infer_record(line: bytes) -> Schema:
    """Find the types of one record whose own values disagree, as in ``[1, true]``."""
    schema = {name: kind(value) for name, value in orjson.loads(line).items()}
    pl.read_ndjson(line, schema={name: settled(dtype) for name, dtype in schema.items()})
    return schema


def _with_schema(lines: pa.BinaryArray, schema: Schema) -> pl.DataFrame:
    if not schema or not len(lines):
        return pl.DataFrame(schema=schema) if not len(lines) else pl.DataFrame(height=len(lines))
    joint = text(lines)
    try:
        frame = pl.read_ndjson(joint, schema=schema)
    except pl.exceptions.PolarsError:  # an object with a name twice: the type is that of the last value
        lines = once_each(lines)
        joint = text(lines)
        frame = pl.read_ndjson(joint, schema=schema)
    return escaped(lines, joint, frame)
