"""What was added to records, onto the end of their raw JSON, column-wise."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from labkit.enrich.chain import Added
from labkit.errors import UsageError
from labkit.replay.records import join_bytes, replace_rows
from labkit.tables.arrow import decimal_texts

_SHORT = 16  # bytes; an empty object takes no comma


@dataclass(frozen=True)
class Fragments:
    """What is added to each record: ``,"name":value,"name":value``, empty where nothing is.

    Attributes
    ----------
    names : list of str
        Of the fields.
    texts : BinaryArray
    """

    names: list[str]
    texts: pa.BinaryArray


def fragments(added: Added) -> list[Fragments]:
    """Return what a chain of enrichers added."""
    parts = [(table, rows) for table, rows in added.parts if table.num_columns and table.num_rows]
    return [Fragments(table.column_names, _fragments(table).take(rows)) for table, rows in parts]


def splice(values: pa.BinaryArray, parts: Sequence[Fragments]) -> pa.BinaryArray:
    """Return JSON objects with the added fields at their end.

    The record's own bytes stay as they are. What is no object that ends in a brace stays as it is;
    Elasticsearch will refuse it.
    """
    if not parts or not len(values):
        return values
    names = [name for part in parts for name in part.names]
    empty = pa.scalar(b"", pa.binary())
    pieces = [pc.coalesce(part.texts, empty) for part in parts]
    ends = pc.ends_with(values, pattern=b"}")
    slow = pc.or_(pc.invert(ends), pc.less(pc.binary_length(values), _SHORT))
    slow = (
        pc.or_(slow, _may_clash(values, names))
        if len(set(names)) == len(names)
        else pa.repeat(True, len(values))
    )
    numbers = np.flatnonzero(pc.fill_null(slow, True).to_numpy(zero_copy_only=False)).tolist()
    spliced = pc.binary_join_element_wise(
        pc.binary_slice(values, 0, -1),
        *pieces,
        pa.scalar(b"}", pa.binary()),
        pa.scalar(b"", pa.binary()),
    )
    closer = {}
    for row in numbers:
        added = [piece[row].as_py() for piece in pieces]
        closer[row] = splice_one(values[row].as_py(), added)
    return replace_rows(spliced, closer)


def _may_clash(values: pa.BinaryArray, names: list[str]) -> pa.BooleanArray:
    """Return which records may have a field of one of these names already."""
    shared = names[0][: min(len(names[0]), *(_shared_length(names[0], name) for name in names))]
    marks = [b'"' + shared.encode()] if len(shared) > 2 else [orjson.dumps(name) for name in names]
    text = bytes(join_bytes(values))
    clashes = pa.repeat(False, len(values))
    for mark in marks:
        if mark in text:
            clashes = pc.or_(clashes, pc.match_substring(values, mark))
    return clashes


def _shared_length(one: str, other: str) -> int:
    """Return how many characters two names begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((number for number, (a, b) in pairs if a != b), min(len(one), len(other)))


def splice_one(value: bytes | None, pieces: Iterable[bytes]) -> bytes | None:
    """Return one record with what is added.

    Where a name is taken, under the name with ``_`` at its end.
    """
    text = (value or b"").strip()
    try:
        own = orjson.loads(text)
    except orjson.JSONDecodeError:
        return value
    if not isinstance(own, dict):
        return value
    names, new = set(own), {}
    for piece in pieces:
        for name, added in orjson.loads(b"{%b}" % piece[1:]).items():
            while name in names:
                name += "_"  # noqa: PLW2901
            names.add(name)
            new[name] = added
    if not new:
        return value
    return text[:-1] + (b"," if own else b"") + orjson.dumps(new)[1:]


def _fragments(table: pa.Table) -> pa.BinaryArray:
    """Return each row as ``,"name":value,"name":value``, without its nulls."""
    import polars as pl

    table = _jsonable(table)
    text = io.BytesIO()
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):
        raise TypeError("a table becomes a DataFrame")
    frame.write_ndjson(text)
    data = np.frombuffer(text.getbuffer(), np.uint8).copy()
    ends = np.flatnonzero(data == ord("\n")) + 1
    edges = np.concatenate(([0], ends)).astype(np.int32)
    data[edges[:-1]] = ord(",")
    lines = pa.Array.from_buffers(
        pa.binary(), len(ends), [None, pa.py_buffer(edges), pa.py_buffer(data)]
    )
    lines = pc.binary_slice(lines, 0, -2)  # the closing brace and the newline
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count:  # within a text a quote is escaped, so this cannot be part of one
            lines = pc.replace_substring(
                lines, pattern=b"," + orjson.dumps(name) + b":null", replacement=b""
            )
    return lines


def _lacking(kind: pa.DataType) -> bool:
    """Tell whether JSON lacks a type, or one within it."""
    if pa.types.is_nested(kind):
        return any(_lacking(kind.field(number).type) for number in range(kind.num_fields))
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_duration(kind)
    )


def _jsonable(table: pa.Table) -> pa.Table:
    """Return the table with types that JSON has."""
    for number, column_field in enumerate(table.schema):
        kind = column_field.type
        if pa.types.is_timestamp(kind):
            # a date of Elasticsearch's has ms
            zone = table.column(number).cast(pa.timestamp("ms", "UTC"), safe=False)
            table = table.set_column(
                number, column_field.name, pc.strftime(zone, format="%Y-%m-%dT%H:%M:%SZ")
            )
        elif pa.types.is_dictionary(kind):
            table = table.set_column(
                number, column_field.name, table.column(number).cast(kind.value_type)
            )
        elif pa.types.is_decimal(kind):
            table = table.set_column(number, column_field.name, decimal_texts(table.column(number)))
        elif pa.types.is_date(kind) or pa.types.is_time(kind):
            table = table.set_column(
                number, column_field.name, table.column(number).cast(pa.string())
            )
        elif _lacking(kind):
            raise UsageError(
                f"enrich: column {column_field.name!r} is {kind}, which JSON cannot hold",
                hint="make text or numbers of it",
            )
    return table
