"""What several rooms ask of Arrow's types and columns."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

MOST_DIGITS = 76  # of a decimal in 256 bits


def is_text(kind: pa.DataType) -> bool:
    """Tell whether a column holds texts, one by one."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Tell whether a column holds bytes, of any length or of one."""
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def join_chunks(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column as one array that begins at the start of its buffers."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return array if isinstance(array, pa.Array) else pa.concat_arrays(array.chunks)


def decimal_text(value: Decimal) -> str:
    """Return a decimal with all its digits, as far as one of Arrow's may have: ``0.00000001``."""
    exponent = value.as_tuple().exponent
    is_short = isinstance(exponent, int) and abs(exponent) <= MOST_DIGITS
    return f"{value:f}" if is_short else str(value)


def decimal_texts(column: pa.Array | pa.ChunkedArray) -> pa.StringArray:
    """Return decimals as texts with all their digits: ``0.00000000``, where Arrow has ``0E-8``."""
    array = join_chunks(column)
    texts = array.cast(pa.string())
    has_exponent = pc.fill_null(pc.match_substring(texts, "E"), False)
    if not pc.any(has_exponent).as_py():
        return texts
    digits = list(map(decimal_text, array.filter(has_exponent).to_pylist()))
    return pc.replace_with_mask(texts, has_exponent, pa.array(digits, pa.string()))
