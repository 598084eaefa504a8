"""Arrow columns as JSON, column by column: no record is touched by itself.

Times are ISO 8601 in UTC (without a zone: taken as UTC), with milliseconds where that is all they
have; lengths of time are seconds (``-1.5s``), decimals are texts with all of their digits, bytes
base64, maps objects. A field that is null
is left out of its object; infinite fractions, and those that are no number, are null, for JSON has
none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from labkit.decode.merge import seconds
from labkit.errors import UsageError
from labkit.replay.records import join_bytes
from labkit.tables.arrow import decimal_texts, is_bytes, is_text

_NULL = pa.scalar("null")
_FAR = 2**31 - 1  # without an end, Arrow 26 fails


def objects(table: pa.Table, *, odd: bool = False) -> pa.BinaryArray:
    """Return each row as a JSON object, of the columns that are not null in it."""
    return wrap(fields(table, odd=odd)).cast(pa.binary())


def fields(table: pa.Table, *, odd: bool = False) -> pa.StringArray:
    """Return each row as ``,"name":value,"name":value``, without its nulls."""
    texts = [json(_join_chunks(column), odd=odd) for column in table.columns]
    return members(table.column_names, texts, len(table))


def _join_chunks(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0, column.type)


def members(names: Sequence[str], texts: Sequence[pa.StringArray], count: int) -> pa.StringArray:
    """Return what `fields` does, of values that are JSON already."""
    parts: list[Any] = []
    for name, value in zip(names, texts, strict=True):
        mark = pa.scalar(f",{orjson.dumps(name).decode()}:")
        if value.null_count == len(value):
            continue
        parts += (
            [mark, value]
            if not value.null_count
            else [pc.binary_join_element_wise(mark, value, "")]
        )
    if not parts:
        return pa.array([""] * count, pa.string())
    return pc.binary_join_element_wise(*parts, "", null_handling="replace", null_replacement="")


def wrap(texts: pa.StringArray) -> pa.StringArray:
    """Return rows of `fields` or `members` as objects."""
    inside = pc.binary_slice(texts.cast(pa.binary()), 1, _FAR).cast(pa.string())
    return between("{", inside, "}")


def between(first: str, texts: pa.StringArray, last: str) -> pa.StringArray:
    """Return texts with something before and after them."""
    return pc.binary_join_element_wise(pa.scalar(first), texts, pa.scalar(last), "")


def json(column: pa.Array, *, odd: bool = False) -> pa.StringArray:
    """Return each value as JSON text; null where it is null.

    Parameters
    ----------
    odd : bool
        Write fractions that JSON has not as texts, ``"NaN"``, and those of 32 bits as the numbers
        of 64 bits that they equal: to compare them.
    """
    kind = column.type
    for fits, write in _NESTED:
        if fits(kind):
            return write(column, odd)
    if odd and _is.is_floating(kind):
        return _odd_fractions(column.cast(pa.float64()))
    for fits, write_scalars in _WRITERS:
        if fits(kind):
            return write_scalars(column)
    raise UsageError(
        f"a column is {kind}, which JSON cannot hold", hint="make text or numbers of it"
    )


def _plain(column: pa.Array) -> pa.StringArray:
    return column.cast(pa.string())


def _fractions(column: pa.Array) -> pa.StringArray:
    """Return fractions that look like ones, also where they are whole: an index goes by that."""
    texts = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type)).cast(pa.string())
    is_integer = pc.equal(pc.floor(column), column)
    if not pc.any(is_integer).as_py():
        return texts
    bare = pc.and_(is_integer, pc.less(pc.find_substring(texts, "e"), 0))
    return pc.if_else(bare, between("", texts, ".0"), texts)


def _odd_fractions(column: pa.Array) -> pa.StringArray:
    texts = _fractions(column)
    words = pc.case_when(
        pc.make_struct(pc.is_nan(column), pc.equal(column, np.inf), pc.equal(column, -np.inf)),
        '"NaN"', '"Infinity"', '"-Infinity"',
    )  # fmt: skip
    return pc.if_else(pc.is_finite(column), texts, words)


def _quote(column: pa.Array) -> pa.StringArray:
    return between('"', column, '"')


def _texts(column: pa.Array) -> pa.StringArray:
    return _quote(_escape(column.cast(pa.string())))


def _escape(texts: pa.StringArray) -> pa.StringArray:
    """Return texts as JSON has them within quotes.

    What is nowhere in the column is not looked for in each.
    """
    data = join_bytes(texts)
    codes = np.frombuffer(data, np.uint8)
    marks = [mark for mark in (b"\\", b'"') if mark in bytes(data)]  # the backslash first
    if len(codes) and codes.min() < ord(" "):
        marks += [bytes([code]) for code in np.unique(codes[codes < ord(" ")]).tolist()]
    for mark in marks:
        text = mark.decode()
        texts = pc.replace_substring(
            texts, pattern=text, replacement=orjson.dumps(text)[1:-1].decode()
        )
    return texts


def _times(column: pa.Array) -> pa.StringArray:
    """Return points in time with milliseconds, or nine digits where they have more."""
    unit = column.type.unit
    local = column.cast(pa.timestamp(unit))
    if unit in ("s", "ms"):
        return _iso(local.cast(pa.timestamp("ms")), "Z")
    in_ms = pc.floor_temporal(local, unit="millisecond")
    short = _iso(in_ms.cast(pa.timestamp("ms"), safe=False), "Z")
    exact = pc.equal(in_ms, local)
    if pc.all(exact).as_py() in (True, None):
        return short
    return pc.if_else(exact, short, _iso(local, "000Z" if unit == "us" else "Z"))


def _times_of_day(column: pa.Array) -> pa.StringArray:
    """Return times of day with three, six or nine digits: no more than they need in any unit."""
    texts = column.cast(pa.string())
    for digits in (6, 3):
        pattern = rf"(\.\d{{{digits}}})000$"
        texts = pc.replace_substring_regex(texts, pattern=pattern, replacement=r"\1")
    return _quote(texts)


def _iso(local: pa.Array, end: str) -> pa.StringArray:
    text = pc.replace_substring(local.cast(pa.string()), pattern=" ", replacement="T")
    return between('"', text, f'{end}"')


def _bytes(column: pa.Array) -> pa.StringArray:
    import polars as pl

    encoded = pl.Series(column.cast(pa.large_binary())).bin.encode("base64")
    return _quote(encoded.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string()))


def _structs(column: Any, odd: bool) -> pa.StringArray:
    texts = [json(part, odd=odd) for part in column.flatten()]
    return _mask_nulls(
        wrap(members([part.name for part in column.type], texts, len(column))), column
    )


def _mask_nulls(texts: pa.StringArray, column: pa.Array) -> pa.StringArray:
    return (
        pc.if_else(column.is_valid(), texts, pa.scalar(None, pa.string()))
        if column.null_count
        else texts
    )


def _lists(column: Any, odd: bool) -> pa.StringArray:
    if pa.types.is_fixed_size_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    return _list_items(column, pc.fill_null(json(column.flatten(), odd=odd), _NULL), "[]")


def _maps(column: Any, odd: bool) -> pa.StringArray:
    """Return maps as objects.

    Of equal keys Arrow holds both, and a reader of JSON takes the last.
    """
    key, item = column.type.key_type, column.type.item_type
    kind = pa.list_(pa.struct([pa.field("key", key, nullable=False), ("value", item)]))
    entries = column.cast(kind)
    keys, items = entries.flatten().flatten()
    names = _texts(keys.cast(pa.string()))
    pairs = pc.binary_join_element_wise(names, pc.fill_null(json(items, odd=odd), _NULL), ":")
    return _list_items(entries, pairs, "{}")


def _list_items(column: Any, items: pa.StringArray, brackets: str) -> pa.StringArray:
    """Return the items of each list between brackets, with commas."""
    sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return _mask_nulls(between(brackets[0], join_by_comma(items, sizes), brackets[1]), column)


def join_by_comma(items: pa.StringArray, sizes: np.ndarray) -> pa.StringArray:
    """Return so many items after the other in one text each."""
    ends = np.concatenate(([0], np.cumsum(sizes))).astype(np.int32)
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(ends), items), ",")


def _decode_dictionary(column: Any, odd: bool) -> pa.StringArray:
    values = json(column.dictionary, odd=odd)
    return values.take(column.indices)


def _lengths(column: pa.Array) -> pa.StringArray:
    digits = {"s": 0, "ms": 3, "us": 6, "ns": 9}[column.type.unit]
    ticks = column.cast(pa.int64()).to_pylist()
    return _quote(
        pa.array(
            [None if count is None else seconds(count, digits) for count in ticks], pa.string()
        )
    )


_is = pa.types
_WRITERS: list[tuple[Callable[[pa.DataType], bool], Callable[[Any], pa.StringArray]]] = [
    (is_text, _texts),
    (lambda kind: _is.is_integer(kind) or _is.is_boolean(kind) or _is.is_null(kind), _plain),
    (_is.is_floating, _fractions),
    (_is.is_timestamp, _times),
    (_is.is_duration, _lengths),
    (_is.is_time, _times_of_day),
    (_is.is_date, lambda column: _quote(column.cast(pa.string()))),
    (_is.is_decimal, lambda column: _quote(decimal_texts(column))),
    (is_bytes, _bytes),
]
_NESTED: list[tuple[Callable[[pa.DataType], bool], Callable[[Any, bool], pa.StringArray]]] = [
    (_is.is_struct, _structs),
    (
        lambda kind: _is.is_list(kind) or _is.is_large_list(kind) or _is.is_fixed_size_list(kind),
        _lists,
    ),
    (_is.is_map, _maps),
    (_is.is_dictionary, _decode_dictionary),
]
