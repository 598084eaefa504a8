"""Write objects and lists as JSON, by columns.

Whole numbers, booleans and texts without an escape are Arrow's, and so are bytes that are all UTF-8;
of the others each distinct value is rendered once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.tables.arrow import is_bytes, is_text

TEXT = pa.large_string()
_dump = json.JSONEncoder(ensure_ascii=False).encode
_ESCAPED = r'["\\\x00-\x1f]'  # what a text in JSON cannot have as it is


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
        Takes a value that is no object, list, text, boolean or whole number, returns one that JSON
        knows: of bytes that are UTF-8 their text.
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
    elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        texts_of_rows = array.cast(TEXT)
    elif (is_text(kind) or is_bytes(kind)) and (texts := as_texts(array)) is not None:
        texts_of_rows = _quoted(texts)
    else:
        texts_of_rows = _rendered(array, render)
    return pc.if_else(array.is_valid(), texts_of_rows, _text("null"))


def as_texts(array: Any) -> Any:
    """Return texts or bytes as texts; None where some are no UTF-8."""
    try:
        return array.cast(TEXT)
    except pa.ArrowInvalid:
        return None


def _quoted(texts: pa.Array) -> pa.Array:
    quoted = pc.binary_join_element_wise(_text('"'), texts, _text('"'), _text(""))
    escaped = pc.fill_null(pc.match_substring_regex(texts, _ESCAPED), False)
    return pc.replace_with_mask(quoted, escaped, _rendered(texts.filter(escaped)))


def _rendered(array: pa.Array, render: Callable[[Any], Any] = str) -> pa.Array:
    coded = array.dictionary_encode()
    texts = [_dump(render(value)) for value in coded.dictionary.to_pylist()]
    return pa.array(texts, TEXT).take(coded.indices)


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
