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
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from labkit.decode.decoder import Decoder, FieldPath
from labkit.decode.json_rows import (
    blank_lines,
    column,
    kinds_at,
    kinds_of_numbers,
    lines_of,
    load_record,
    paths,
    rest,
    shape_of,
    spell_numbers,
)
from labkit.decode.json_shape import INTEGER, NUMBER, TEXT, Shape, examine
from labkit.decode.limits import COLUMNS, MORE, columns_note
from labkit.replay.records import join_bytes

_NUMBER = "-?(?:0|[1-9][0-9]*)(?:[.][0-9]+)?(?:[eE][-+]?[0-9]+)?"  # no other may become a text
_WORDS = {"fractions": _NUMBER, "booleans": "true|false"}
_DOUBTFUL = "[0-9]{16}|NaN|Inf"


@dataclass
class Parsed:
    """One batch's values as columns, with types of their own.

    Attributes
    ----------
    lines : pyarrow.BinaryArray
        One JSON object a record; ``{}`` in the place of what cannot be decoded.
    table : pyarrow.Table or None
        One row a record; None for more columns than there can be.
    schema : Shape
        What the fields hold.
    errors : dict
        Row to reason.
    """

    lines: pa.BinaryArray
    table: pa.Table | None
    schema: Shape
    errors: dict[int, str] = field(default_factory=dict)


class Json(Decoder):
    """Decodes the batches of one window: the types found in one are tried on those that follow."""

    parallel = True
    keeps_text = True

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

    def ready(self) -> Callable[[pa.RecordBatch], Parsed]:
        """Return `parse_batch` for the next batch, for several to be parsed at a time.

        It tries what is known by now, of earlier batches: which of them are done changes no result,
        for a type that is tried must hold for the whole batch. Fields of later ones would come in
        another order.
        """
        shape = self._known
        return lambda batch: self._parse(batch.column("value"), shape)

    def parse(self, values: pa.BinaryArray) -> Parsed:
        """Parse one batch of values; each batch may come out with types of its own, see `unify`."""
        return self._parse(values, self._known)

    def _parse(self, values: pa.BinaryArray, known: Shape) -> Parsed:
        lines, errors = lines_of(values)
        tried = _parse_as_known(lines, known)
        if tried is None:
            lines, table, shape, faults = _parse_as_found(lines, known)
            errors |= faults
        else:
            table, shape = tried
        # what another thread learned meanwhile may be lost, and is learned again
        self._known = Shape() + shape if not self._known.fields else self._known + shape
        return Parsed(lines, table, shape, dict(sorted(errors.items())))

    @staticmethod
    def merge(shapes: Iterable[Shape]) -> Shape:
        """Return what the fields of several batches hold, in order of first sight."""
        return sum(shapes, Shape())

    def unify(self, schemas: Iterable[Shape]) -> Shape:
        """Return the one schema that holds for all batches, and note which fields disagree."""
        merged = self.merge(schemas)
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
        return np.array([numbers.setdefault(one, len(numbers)) for one in kinds], np.int64)

    def anew(self) -> Json:
        """Return a decoder that knows of no batch."""
        return Json()

    def columns(self, parsed: Parsed, schema: Shape) -> pa.Table:
        """Return the batch's fields under the common schema.

        Parsed again only where a type became text.
        """
        layout, count = schema.schema, len(parsed.lines)
        beyond = schema.is_limited and not parsed.schema.fields.keys() <= {*layout.names} - {MORE}
        arrays = None if parsed.table is None or beyond else _arrays(parsed.table, layout, count)
        if arrays is None:
            arrays = _arrays(_under(parsed.lines, schema, beyond=beyond), layout, count) or []
        large = pa.schema([(column.name, _large(column.type)) for column in layout])
        return pa.table(
            [array.cast(column.type) for array, column in zip(arrays, large, strict=True)], large
        )


class FromJson(Decoder):
    """Makes a JSON object of each value; the columns are those of ``decode="json"``."""

    def __init__(self) -> None:
        self._json = Json()

    def unify(self, schemas: Iterable[Any]) -> Any:
        """Return the one schema that holds for all batches."""
        return self._json.unify(schemas)

    def kinds(self, parsed: Any, names: Iterable[str]) -> np.ndarray | None:
        """Return a number for each row; see `Decoder.kinds`."""
        return self._json.kinds(parsed, names)

    def anew(self) -> Decoder:
        """Return this decoder without what it knows of the types of other batches."""
        other = copy.copy(self)
        other._json = Json()
        return other

    def columns(self, parsed: Any, schema: Any) -> pa.Table:
        """Return a batch's fields under that schema."""
        return self._json.columns(parsed, schema)


def _arrays(table: pa.Table, layout: pa.Schema, count: int) -> list[pa.Array] | None:
    """Return the columns of a table under wider types; None where values must become text."""
    arrays = []
    for target in layout:
        array = _widen(_only(table, target.name), target.type, count)
        if array is None:
            return None
        arrays.append(array)
    return arrays


def _only(table: pa.Table, name: str) -> pa.Array | None:
    """Return a column that is there as one array."""
    place = table.schema.get_field_index(name)
    if place < 0:
        return None
    column = table.column(place)
    return pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)


def _large(kind: pa.DataType) -> pa.DataType:
    """Return the type that holds more than 2 GiB of texts, or 2^31 items."""
    if pa.types.is_struct(kind):
        return pa.struct([part.with_type(_large(part.type)) for part in kind])
    if pa.types.is_list(kind):
        return pa.large_list(_large(kind.value_type))
    return pa.large_string() if kind == TEXT else kind


def _widen(array: pa.Array | None, kind: pa.DataType, count: int) -> pa.Array | None:
    """Return a column under a wider type; None where values must become text."""
    if array is None or array.null_count == len(array):
        return pa.nulls(count, kind)
    if array.type == kind or (array.type == INTEGER and kind == NUMBER):
        return array.cast(kind, safe=False)
    if pa.types.is_struct(array.type) and pa.types.is_struct(kind):
        inner = dict(zip([part.name for part in array.type], array.flatten(), strict=True))
        parts = [_widen(inner.get(part.name), part.type, count) for part in kind]
        if any(part is None for part in parts):
            return None
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=array.is_null())
    if pa.types.is_list(array.type) and pa.types.is_list(kind):
        items = array.flatten()
        items = _widen(items, kind.value_type, len(items))
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        ends = pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())
        return (
            None
            if items is None
            else pa.ListArray.from_arrays(ends, items, type=kind, mask=array.is_null())
        )
    return None


# parsing ---------------------------------------------------------------------------------------------------


def _read(
    lines: pa.BinaryArray, schema: pa.Schema | None = None, names: Iterable[str] = ()
) -> tuple[pa.Table, dict[str, Counter[str]]] | None:
    """Parse all lines at once, or return None when a line cannot be parsed so.

    The counts are of the numbers and booleans that were quoted.

    Parameters
    ----------
    schema : pyarrow.Schema, optional
        The fields, of which a record may have none beyond.
    names : iterable of str
        Fields whose numbers and booleans are taken for texts.
    """
    data = pa.py_buffer(join_bytes(lines))
    if np.any(np.frombuffer(data, np.uint8) == ord("\n")):
        # it is space between the parts of an object, and must not cut one
        data = pa.py_buffer(bytes(data) + b"\n")
    quoted: dict[str, Counter[str]] = {name: Counter() for name in names}
    for name, counts in quoted.items():
        for kind, word in _WORDS.items():
            before, data = len(data), _quote(data, name, word)
            counts[kind] = (len(data) - before) // 2
    behaviour = "infer" if schema is None else "error"
    schema = schema and pa.schema([(column.name, _plain(column.type)) for column in schema])
    options = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=behaviour)
    blocks = pa.json.ReadOptions(use_threads=False, block_size=max(1, len(data)) + 1)
    try:
        lines.cast(TEXT)  # the parser does not look whether it is UTF-8
        table = pa.json.read_json(pa.BufferReader(data), read_options=blocks, parse_options=options)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return (table, quoted) if len(table) == len(lines) else None


def _quote(data: pa.Buffer, name: str, word: str) -> pa.Buffer:
    """Make texts of a field's numbers or booleans.

    Quotes around a name with a colon behind are nothing but a key.
    """
    text = pa.Array.from_buffers(
        pa.large_binary(), 1, [None, pa.py_buffer(np.array([0, len(data)])), data]
    )
    pattern = rf'("{name.replace(".", "[.]").replace("$", "[$]")}"\s*:\s*)({word})'
    return pa.py_buffer(
        join_bytes(pc.replace_substring_regex(text, pattern, r'\1"\2"').cast(pa.binary()))
    )


def _parse_as_known(lines: pa.BinaryArray, known: Shape) -> tuple[pa.Table, Shape] | None:
    """Parse with the types known; None when they do not hold for the whole batch."""
    if not known.fields or not len(lines) or known.limit_fields() is not known:
        return None
    places = known.quotable()
    read = _read(lines, known.schema, places)
    if read is None:
        return None
    table, quoted = read
    shape, doubtful = examine(table)
    for name, counts in quoted.items():
        _count_quoted(shape.at(places[name]), counts, table, places[name])
    return None if doubtful and _changes_numbers(lines, shape) else (table, shape)


def _count_quoted(
    shape: Shape, counts: Counter[str], table: pa.Table, path: tuple[str, ...]
) -> None:
    """Put into a field's shape what its texts were before they were quoted."""
    texts = shape.kinds.pop("texts", 0) - sum(counts.values())
    if counts["fractions"] and not texts and not counts["booleans"] and len(path) == 1:
        shape.kinds += kinds_of_numbers(table[path[0]].drop_null().to_pylist())
        return
    shape.kinds += +counts
    if texts:
        shape.kinds["texts"] = texts


def _changes_numbers(lines: pa.BinaryArray, shape: Shape) -> bool:
    """Tell whether the parser took integers for fractions that are others, or what is not JSON."""
    rows = pc.filter(lines, pc.match_substring_regex(lines, _DOUBTFUL)).to_pylist()
    if any(load_record(line)[1] for line in rows):
        return True
    return bool((shape + shape_of(map(spell_numbers, rows))).schema != shape.schema)


def _parse_as_found(
    lines: pa.BinaryArray, known: Shape
) -> tuple[pa.BinaryArray, pa.Table | None, Shape, dict[int, str]]:
    """Parse with the types that the batch itself shows.

    Values that are not records are left out, with the reason.
    """
    names: set[str] = set()
    faults: dict[int, str] = {}
    for row, line in enumerate(lines.to_pylist()):
        record, reason = load_record(line)
        if reason:
            faults[row] = reason
        elif len(names) <= COLUMNS:
            paths(record, known_paths=names)
    lines = blank_lines(lines, faults)
    tried = _parse_as_known(lines, known) if faults else None
    if tried is None and len(names) <= COLUMNS:
        tried = _parse_as_inferred(lines)
    if tried is not None:
        return lines, *tried, faults
    shape = shape_of(map(spell_numbers, lines.to_pylist()))
    read = _read(lines, shape.schema, shape.quotable()) if len(names) <= COLUMNS else None
    table = read[0] if read else None if len(names) > COLUMNS else _one_by_one(lines, shape)
    return lines, table, shape, faults


def _parse_as_inferred(lines: pa.BinaryArray) -> tuple[pa.Table, Shape] | None:
    """Parse with the types that Arrow finds.

    The result is None where values of a field disagree, or a record has a name twice.
    """
    read = _read(lines) if len(lines) else (pa.table({}), {})
    # for its types: lists may be invalid, see `_plain`
    read = read and _read(lines, read[0].schema)
    if read is None:
        return None
    shape, doubtful = examine(read[0])
    return (
        None
        if doubtful and _changes_numbers(lines, shape)
        else (read[0], _in_order(lines, read[0], shape))
    )


def _plain(kind: pa.DataType, *, inner: bool = False) -> pa.DataType:
    """Return the type to parse under.

    Texts that look like times stay texts, and lists of nulls are avoided: Arrow (26) makes invalid
    ones.
    """
    if pa.types.is_struct(kind):
        return pa.struct(
            [
                (part.name, _plain(part.type, inner=True))
                for part in sorted(kind, key=lambda one: one.name)
            ]
        )
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type, inner=True))
    if inner and pa.types.is_null(kind):
        return pa.bool_()
    return TEXT if pa.types.is_temporal(kind) else kind


def _in_order(lines: pa.BinaryArray, table: pa.Table, shape: Shape) -> Shape:
    """Order the fields by the record they first have a value in, then by their place in it.

    Arrow orders them by name.
    """
    firsts = {name: _first_valid(table[name]) for name in table.column_names}
    places = {row: list(spell_numbers(lines[row].as_py())) for row in {*firsts.values()} - {-1}}
    ordered = sorted(
        (row, places[row].index(name), name) if row >= 0 else (len(lines), 0, name)
        for name, row in firsts.items()
    )
    return Shape(shape.kinds, {name: shape.fields[name] for _, _, name in ordered})


def _first_valid(column: pa.ChunkedArray) -> int:
    """Return the first row that has a value; -1 when none has."""
    return int(pc.index(column.is_valid(), True).as_py())


def _one_by_one(lines: pa.BinaryArray, shape: Shape) -> pa.Table:
    """Make columns of the records one by one, where a parser cannot.

    Numbers keep their spelling.
    """
    records = [spell_numbers(line) for line in lines.to_pylist()]
    own = [name for name in shape.fields if name != MORE or not shape.is_limited]
    arrays = {}
    for name in own:
        values = (record.get(name) for record in records)
        arrays[name] = column(values, shape.fields[name].type)
    if shape.is_limited:
        arrays[MORE] = pa.array([rest(record, own) for record in records], TEXT)
    return pa.table(arrays)


def _under(lines: pa.BinaryArray, shape: Shape, *, beyond: bool) -> pa.Table:
    """Parse again under the types that hold for all batches."""
    read = None if beyond else _read(lines, shape.schema, shape.quotable())
    return read[0] if read else _one_by_one(lines, shape)
