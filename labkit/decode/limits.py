"""Limits of what one record may cost its reader. Pure.

Without them a few bytes of a producer could end the process that reads them. What is beyond a limit
is not lost: the record's bytes stay in ``value``, fields beyond `COLUMNS` are in one column
``_more`` as their JSON, and a record that is too deep or too much work has ``_error``.
docs/limits.md lists them all.
"""

from __future__ import annotations

COLUMNS = 1000  # Elasticsearch's own limit of an index, too
# of objects and lists within each other; decoders written in C do not look at their stack
DEPTH = 100
MORE = "_more"
_VALUES = 20_000
_VALUES_A_BYTE = 32


class LimitError(ValueError):
    """A record that is deeper, or more work, than a decoder may spend on it."""


def most_values(size: int) -> int:
    """Return how many values a record of `size` bytes may hold.

    It has a constant part, since arrays of nulls need no bytes at all.
    """
    return _VALUES + _VALUES_A_BYTE * size


def too_deep() -> LimitError:
    """Return the error of a record that is nested too deep."""
    return LimitError(f"it is nested deeper than {DEPTH} levels")


def too_much(size: int) -> LimitError:
    """Return the error of a record that claims more values than its bytes can mean."""
    return LimitError(f"its {size:,} bytes claim more than {most_values(size):,} values")


def columns_note(count: int) -> str:
    """Return the receipt's note of `count` fields that are no columns."""
    return f"{count:,} fields are in {MORE} as JSON: at most {COLUMNS:,} become columns"
