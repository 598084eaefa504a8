"""Nested Arrow columns: without the offsets that DuckDB refuses, and compared by their values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NULL = 0


def field_column(table: pa.Table, name: str) -> pa.ChunkedArray | None:
    """Return a column, or a field within objects by its dotted name; None where there is none."""
    head, *path = [name] if name in table.column_names else name.split(".")
    column = table.column(head) if head in table.column_names else None
    for part in path:
        if column is None or not pa.types.is_struct(column.type):
            return None
        place = column.type.get_field_index(part)
        column = pc.struct_field(column, [place]) if place >= 0 else None
    return column


def field_names(schema: pa.Schema) -> list[str]:
    """Return the names of columns and of the fields within their objects, dotted."""
    names = []
    for column in schema:
        names.append(column.name)
        if pa.types.is_struct(column.type):
            names += [f"{column.name}.{name}" for name in field_names(pa.schema(column.type))]
    return names


def list_owners(array: pa.Array) -> np.ndarray:
    """Return, for each item of ``array.flatten()``, the row of a list's entry that has it."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(array)), lengths)


def with_items(array: Any, items: pa.Array) -> pa.LargeListArray:
    """Return lists with other items in the place of ``array.flatten()``."""
    sizes = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    ends = pa.array(np.concatenate(([0], np.cumsum(sizes))).astype(np.int64))
    return pa.LargeListArray.from_arrays(ends, items, mask=array.is_null())


def map_entries(array: pa.MapArray) -> pa.ListArray:
    """Return maps as lists of objects, each with a key and an item."""
    kind = array.type
    return array.cast(pa.list_(pa.struct([kind.key_field, kind.item_field])))


def without_offsets(table: pa.Table) -> pa.Table:
    """Return a table whose nested chunks begin at the first element of their buffers.

    Others are copied. DuckDB 2 refuses a struct that lies below an offset, as in a slice of objects
    within objects.
    """
    for place, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            table = table.set_column(place, field, rebuilt(table.column(place)))
    return table


def rebuilt(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a nested column without offsets; itself where it has none."""
    if not any(map(_has_offset, column.chunks)):
        return column
    return pa.chunked_array([pa.concat_arrays([chunk]) for chunk in column.chunks], column.type)


def _has_offset(array: pa.Array) -> bool:
    """Tell whether a nested array, or one within it, begins behind the start of its buffers."""
    kind = array.type
    if array.offset:
        return True
    if pa.types.is_struct(kind):
        return any(_has_offset(array.field(place)) for place in range(kind.num_fields))
    if pa.types.is_map(kind):
        return _has_offset(array.keys) or _has_offset(array.items)
    if pa.types.is_nested(kind) and not pa.types.is_union(kind):
        return _has_offset(array.values)
    return False


def ranks(array: pa.Array) -> np.ndarray:
    """Return a number for each value, so that they compare as the values do.

    Equal values have equal numbers, smaller ones come first, and null is 0. Objects are compared
    field by field, lists item by item. A list of numbers is compared as the bytes of its items'
    ranks, so nothing is done value by value.
    """
    kind = array.type
    if pa.types.is_struct(kind):
        keys = _key_of_struct(array)
    elif pa.types.is_dictionary(kind):
        return ranks(array.dictionary_decode())
    elif pa.types.is_nested(kind):
        keys = _key_of_list(array)
    elif pa.types.is_null(kind):
        return np.zeros(len(array), np.int64)
    else:
        keys = array
    encoded = keys.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order) + 1, ">u8")
    rank[order], rank[-1] = np.arange(1, len(order) + 1), NULL
    places = pc.fill_null(encoded.indices, len(order)).to_numpy(zero_copy_only=False)
    codes: np.ndarray = rank[places]
    if array.null_count:
        codes[array.is_null().to_numpy(zero_copy_only=False)] = NULL
    return codes


def _key_of_struct(array: pa.StructArray) -> pa.Array:
    columns = [ranks(field) for field in array.flatten()]
    if not columns:
        return pa.array([b""] * len(array))
    width = 8 * len(columns)
    data = pa.py_buffer(np.ascontiguousarray(np.stack(columns, axis=1), ">u8"))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(array), [None, data])


def _key_of_list(array: Any) -> pa.LargeBinaryArray:
    kind = array.type
    if pa.types.is_map(kind):
        array = map_entries(array)
    elif pa.types.is_fixed_size_list(kind):
        array = array.cast(pa.large_list(kind.value_field))
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    edges = np.concatenate(([0], np.cumsum(8 * lengths.astype(np.int64))))
    items = np.ascontiguousarray(ranks(array.flatten()), ">u8")
    buffers = [None, pa.py_buffer(edges), pa.py_buffer(items)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(array), buffers)
