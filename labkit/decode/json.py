"""JSON values to columns, parsed column-wise by Arrow.

One rule for fields that disagree, the same whatever the batch size: a field whose non-null values
all have one type (boolean, integer of 64 bits, number, text, object, list) has that type; integers
and fractions together are numbers, unless an integer is beyond 2^53, where a number would be
another; objects merge field by field, lists by their items; whatever else disagrees is text, each
value as its JSON and each number as it is written, and the receipt says so. Of a name that an
object has twice the last value is taken. A field absent from a record is null there. Beyond 1,000
columns the rest is text in one. A record that is no JSON object has null fields and ``_error``; a
tombstone has null fields and no error.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from labkit.decode.decoder import Decoder, FieldPath
from labkit.decode.json_rows import (
    fit_value,
    kinds_at,
    kinds_of_numbers,
    lines_of,
    load_records,
    rest,
    spell_numbers,
    without_rows,
)
from labkit.decode.json_shape import EXACT, HUGE, INTEGER, NUMBER, TEXT, WIDE, Shape
from labkit.decode.limits import MORE, columns_note
from labkit.replay.records import join_bytes

_INTEGER = "-?(?:0|[1-9][0-9]*)"  # no other may become a text
_WORDS = {  # in this order: what is quoted already is not found again
    "fractions": rf"{_INTEGER}(?:[.][0-9]+(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)",
    "integers": _INTEGER,
    "booleans": "true|false",
}
_SCALARS = {TEXT: "texts", INTEGER: "integers", NUMBER: "fractions", pa.bool_(): "booleans"}
_DOUBTFUL = "[0-9]{16}|NaN|Inf"
_PART = 200  # records that are looked at one by one where the known types do not hold


@dataclass
class Parsed:
    """One batch's values as columns, with types of their own.

    Attributes
    ----------
    lines : pyarrow.BinaryArray
        One JSON object a record; ``{}`` in the place of what cannot be decoded.
    records : pyarrow.StructArray or None
        None for more columns than there can be.
    schema : Shape
        What the fields hold.
    errors : dict
        Row to reason.
    """

    lines: pa.BinaryArray
    records: pa.StructArray | None
    schema: Shape
    errors: dict[int, str] = field(default_factory=dict)


class FromJson(Decoder):
    """Makes a JSON object of each value; the columns are those of ``decode="json"``.

    The types found in one batch are tried on those that follow.
    """

    def __init__(self) -> None:
        self._known = Shape()
        self._notes: list[str] = []
        self._disagreements: dict[FieldPath, str] = {}

    @property
    def notes(self) -> list[str]:
        """What the receipt should say."""
        return self._notes

    @property
    def disagreements(self) -> dict[FieldPath, str]:
        """Fields that hold values of several types: path to what the receipt should say of it."""
        return self._disagreements

    def parse_objects(self, values: pa.BinaryArray, known: Shape | None = None) -> Parsed:
        """Parse one batch of JSON: by the types `known`, or all known by now, where they hold."""
        lines, errors = lines_of(values)
        known = self._known if known is None else known
        tried = _parse_as_known(lines, known)
        parsed = Parsed(lines, *tried) if tried else _parse_as_found(lines, known)
        parsed.errors = dict(sorted({**errors, **parsed.errors}.items()))
        # what another thread learned meanwhile may be lost, and is learned again
        self._known += parsed.schema
        return parsed

    def unify(self, schemas: Iterable[Shape]) -> Shape:
        """Return the one schema that holds for all batches, and note which fields disagree."""
        merged = sum(schemas, Shape())
        total = merged.settle().limit_fields()
        self._disagreements = total.disagreements()
        left = len(merged.fields) - len(total.fields) + 1
        self._notes = [columns_note(left)] if total.is_limited else []
        return total

    def kinds(self, parsed: Parsed, names: Iterable[str]) -> np.ndarray | None:
        """Return a number for each row by the kinds of its values in fields that disagree."""
        lowered = {name.lower() for name in names}
        here = (self._known + parsed.schema).disagreements() if lowered else {}
        # what others than this decoder's batches disagreed on is text in the common schema, too
        places = self._disagreements | here
        paths = [path for path in places if path[0].lower() in lowered]
        if not paths:
            return None
        numbers: dict[tuple[frozenset[str], ...], int] = {}
        records = map(spell_numbers, parsed.lines.to_pylist())
        kinds = (tuple(kinds_at(record, path) for path in paths) for record in records)
        return np.array([numbers.setdefault(of_row, len(numbers)) for of_row in kinds], np.int64)

    def anew(self) -> Decoder:
        """Return this decoder without what it knows of the types of other batches."""
        other = copy.copy(self)
        FromJson.__init__(other)
        return other

    def columns(self, parsed: Parsed, schema: Shape) -> pa.Table:
        """Return the batch's fields under the common schema.

        Parsed again only where a type became text.
        """
        lines, records, wide = parsed.lines, parsed.records, _large(schema.struct)
        own = schema.fields.keys() - {MORE}
        beyond = schema.is_limited and not parsed.schema.fields.keys() <= own
        if records is None or beyond or not _holds(wide, records.type):
            read = None if beyond else _read(lines, schema)
            records = read[0] if read else _one_by_one(lines, schema)
        return pa.Table.from_struct_array(records.cast(wide, safe=False))


class Json(FromJson):
    """Decodes the batches of one window, whose values are JSON objects."""

    parallel = True
    keeps_text = True

    def ready(self) -> Callable[[pa.RecordBatch], Parsed]:
        """Return `parse_batch` for the next batch, for several to be parsed at a time.

        It tries what is known by now, of earlier batches: which of them are done changes no result,
        for a type that is tried must hold for the whole batch. Fields of later ones would come in
        another order.
        """
        known = self._known
        return lambda batch: self.parse_objects(batch.column("value"), known)

    def parse(self, values: pa.BinaryArray) -> Parsed:
        """Parse one batch of values."""
        return self.parse_objects(values)


def _large(kind: pa.DataType) -> pa.DataType:
    """Return the type that holds more than 2 GiB of texts, or 2^31 items."""
    if pa.types.is_struct(kind):
        return pa.struct([part.with_type(_large(part.type)) for part in kind])
    if pa.types.is_list(kind):
        return pa.large_list(_large(kind.value_type))
    return pa.large_string() if kind == TEXT else kind


def _holds(wide: pa.StructType, narrow: pa.StructType) -> bool:
    """Tell whether a type holds the values of another, and none must become text."""
    schemas = [pa.schema(list(kind)) for kind in (wide, narrow)]
    try:
        return bool(pa.unify_schemas(schemas, promote_options="permissive") == schemas[0])
    except pa.ArrowTypeError:
        return False


def _read(
    lines: pa.BinaryArray, shape: Shape
) -> tuple[pa.StructArray, dict[FieldPath, Counter[str]]] | None:
    """Parse all lines at once by the types of `shape`; None when a line cannot be parsed so.

    Fields that disagree are texts: the counts are of their numbers and booleans.
    """
    data = pa.py_buffer(join_bytes(lines))
    if np.any(np.frombuffer(data, np.uint8) == ord("\n")):
        # it is space between the parts of an object, and must not cut one
        data = pa.py_buffer(bytes(data) + b"\n")
    quoted: dict[FieldPath, Counter[str]] = {}
    for path in shape.quotable():
        quoted[path] = Counter()
        for kind, word in _WORDS.items():
            before, data = len(data), _quote(data, path[-1], word)
            quoted[path][kind] = (len(data) - before) // 2
    schema = pa.schema(list(shape.struct))
    options = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    blocks = pa.json.ReadOptions(use_threads=False, block_size=max(1, len(data)) + 1)
    try:
        table = pa.json.read_json(pa.BufferReader(data), read_options=blocks, parse_options=options)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return (table.to_struct_array().chunk(0), quoted) if len(table) == len(lines) else None


def _quote(data: pa.Buffer, name: str, word: str) -> pa.Buffer:
    """Make texts of a field's numbers or booleans.

    Quotes around a name with a colon behind are nothing but a key.
    """
    pattern = rf'("{re.escape(name)}"\s*:\s*)({word})'
    text = pa.scalar(bytes(data), pa.large_binary())
    return pc.replace_substring_regex(text, pattern, r'\1"\2"').as_buffer()


def _parse_as_known(lines: pa.BinaryArray, known: Shape) -> tuple[pa.StructArray, Shape] | None:
    """Parse with the types known; None when they do not hold for the whole batch."""
    if not known.fields or not len(lines) or known.limit_fields() is not known:
        return None
    read = _read(lines, known)
    if read is None:
        return None
    records, quoted = read
    shape = _shape_of(records, quoted)
    return None if _is_doubtful(records) and _changes_numbers(lines, shape) else (records, shape)


def _is_doubtful(array: pa.Array) -> bool:
    """Tell whether fractions may be integers that were changed, or NaN, which is not JSON."""
    if pa.types.is_nested(array.type):
        parts = array.flatten()
        return any(map(_is_doubtful, parts if isinstance(parts, list) else [parts]))
    if array.type != NUMBER or array.null_count == len(array):
        return False
    total = pc.sum(array).as_py()
    return _is_beyond(array, EXACT - 1) or total - total != 0


def _changes_numbers(lines: pa.BinaryArray, shape: Shape) -> bool:
    """Tell whether the parser took integers for fractions that are others, or what is not JSON."""
    rows = pc.filter(lines, pc.match_substring_regex(lines, _DOUBTFUL))
    _, by_row, faults = load_records(rows)
    return bool(faults) or (shape + by_row).struct != shape.struct


def _parse_as_found(lines: pa.BinaryArray, known: Shape) -> Parsed:
    """Parse with the types that the batch itself shows.

    Values that are not records are left out, with the reason.
    """
    learned, faults = _learn(lines, known)
    filled = without_rows(lines, faults)
    tried = None if learned is None else _parse_as_known(filled, learned)
    if tried is not None:
        return Parsed(filled, *tried, faults)
    filled, shape, faults = load_records(lines)
    records = _one_by_one(filled, shape) if shape.limit_fields() is shape else None
    return Parsed(filled, records, shape, faults)


def _learn(lines: pa.BinaryArray, known: Shape) -> tuple[Shape | None, dict[int, str]]:
    """Return the types with those of records for which the known ones do not hold, and faults.

    They are looked for in parts, from the first record on. None instead of the types where records
    cannot be parsed by their own, as those with a name twice.
    """
    faults: dict[int, str] = {}
    first, size = 0, _PART
    while first < len(lines):
        part = lines.slice(first, size)
        if _parse_as_known(part, known) is None:
            if size > _PART:
                size //= 2
                continue
            part, shape, part_faults = load_records(part)
            known += shape
            if _parse_as_known(part, known) is None:
                return None, faults
            faults |= {first + row: reason for row, reason in part_faults.items()}
        first, size = first + size, 2 * size
    return known, faults


def _one_by_one(lines: pa.BinaryArray, shape: Shape) -> pa.StructArray:
    """Take the records one by one, where a parser cannot: numbers keep their spelling."""
    records = [spell_numbers(line) for line in lines.to_pylist()]
    if shape.is_limited:
        own = shape.fields.keys() - {MORE}
        records = [{**record, MORE: rest(record, own)} for record in records]
    return pa.array([fit_value(record, shape.struct) for record in records], shape.struct)


def _shape_of(
    array: pa.Array, quoted: Mapping[FieldPath, Counter[str]], path: FieldPath = ()
) -> Shape:
    """Return the shape of parsed values."""
    count, kind = len(array) - array.null_count, array.type
    shape, name = Shape(), _SCALARS.get(kind, "")
    if pa.types.is_struct(kind):
        name = "objects"
        for part, inner in zip(kind, array.flatten(), strict=True):
            shape.fields[part.name] = _shape_of(inner, quoted, (*path, part.name))
    elif pa.types.is_list(kind):
        name = "lists"
        shape.items = _shape_of(array.flatten(), quoted, (*path, "[]"))
    if count and path in quoted:
        shape.kinds = _kinds_of_quoted(array, quoted[path])
    elif count:
        shape.kinds[name] = count
    if count and kind == INTEGER and _is_beyond(array, EXACT):
        wide = pc.sum(pc.or_(pc.greater(array, EXACT), pc.less(array, -EXACT))).as_py()
        shape.kinds = +Counter({WIDE: wide, name: count - wide})
    return shape


def _kinds_of_quoted(texts: pa.Array, counts: Counter[str]) -> Counter[str]:
    """Return the kinds of what became texts: `counts` of them were none before."""
    own_texts = len(texts) - texts.null_count - counts.total()
    if own_texts or counts["booleans"]:
        # some of 19 digits have 64 bits, and some may have been texts
        long = pc.sum(pc.match_substring_regex(texts, "^-?[1-9][0-9]{18,}$")).as_py() or 0
        huge = min(long, counts["integers"])
        whole = {"integers": counts["integers"] - huge, HUGE: huge}
        return +Counter({**counts, **whole, "texts": own_texts})
    return kinds_of_numbers(texts.drop_null().to_pylist())


def _is_beyond(array: pa.Array, bound: int) -> bool:
    extremes = pc.min_max(array)
    return bool(extremes["max"].as_py() > bound or extremes["min"].as_py() < -bound)
