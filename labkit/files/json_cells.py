"""Write objects and lists as JSON, by columns: each distinct value is rendered once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TEXT = pa.large_string()
_dump = json.JSONEncoder(ensure_ascii=False).encode


def can_join(kind: pa.DataType) -> bool:
    """Tell whether `join_json` takes a type.

    It takes objects and lists whose names differ, without maps within.
    """
    if pa.types.is_struct(kind):
        return len({column.name for column in kind}) == kind.num_fields and all(
            can_join(column.type) for column in kind
        )
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return can_join(kind.value_type)
    return not pa.types.is_nested(kind) and not pa.types.is_dictionary(kind)


def join_json(array: pa.Array, render: Callable[[Any], Any]) -> pa.Array:
    """Return each value as JSON, null as null.

    Parameters
    ----------
    render : callable
        Takes a value that is no object and no list, returns one that JSON knows.
    """
    return pc.if_else(array.is_valid(), _fragments(array, render), pa.scalar(None, TEXT))


def _fragments(array: pa.Array, render: Callable[[Any], Any]) -> pa.Array:
    """Return each value as JSON, null as ``null``."""
    kind = array.type
    if pa.types.is_struct(kind):
        texts_of_rows = _objects(array, render)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        items = pa.LargeListArray.from_arrays(
            pa.array(offsets), _fragments(array.flatten(), render)
        )
        texts_of_rows = pc.binary_join_element_wise(
            _text("["), pc.binary_join(items, _text(", ")), _text("]"), _text("")
        )
    else:
        coded = array.dictionary_encode()
        texts = [_dump(render(value)) for value in coded.dictionary.to_pylist()]
        texts_of_rows = pa.array(texts, TEXT).take(coded.indices)
    return pc.if_else(array.is_valid(), texts_of_rows, _text("null"))


def _objects(array: pa.Array, render: Callable[[Any], Any]) -> pa.Array:
    if not array.type.num_fields:
        return pa.array(["{}"] * len(array), TEXT)
    pieces: list[Any] = []
    for place, (column, inner) in enumerate(zip(array.type, array.flatten(), strict=True)):
        name = _dump(column.name)
        pieces += [_text(f"{', ' if place else '{'}{name}: "), _fragments(inner, render)]
    return pc.binary_join_element_wise(*pieces, _text("}"), _text(""))


def _text(text: str) -> pa.Scalar:
    return pa.scalar(text, TEXT)
