"""Fields and values as SQL writes them, so that a condition asks for just that value."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from datetime import time as clock
from decimal import Decimal
from functools import cache
from typing import Any

from labkit.errors import UsageError

_TYPES = re.compile(r"BLOB|DATE|TIME|DOUBLE|HUGEINT|DECIMAL\(38,\d\d?\)")


def equals(path: Sequence[str], value: Any, *, items: bool = False) -> str:
    """Return the condition that a field has a value, as `plain` returns it; None for null.

    With `items` the field is a list, and one of its items is that value.
    """
    name = column(path)
    if items:
        return f"list_contains({name}, {literal(value)})"
    return f"{name} is null" if value is None else f"{name} = {literal(value)}"


def column(path: Sequence[str]) -> str:
    """Return a field as SQL names it."""
    return ".".join(_name(part) for part in path)


def _name(text: str) -> str:
    if text.isidentifier() and text.isascii() and text.lower() not in _reserved_words():
        return text
    if not text:
        raise UsageError("SQL cannot name a field without a name", hint="pandas can: df['']")
    quoted = text.replace('"', '""')
    return f'"{quoted}"'


@cache
def _reserved_words() -> frozenset[str]:
    """Return the words that are no names in DuckDB's SQL without quotes."""
    from labkit.tables.duckdb_sql import connect

    with connect() as connection:
        keywords = connection.execute(
            "select keyword_name from duckdb_keywords() where keyword_category <> 'unreserved'"
        ).fetchall()
    return frozenset(name for (name,) in keywords)


def plain(value: Any) -> Any:
    """Return a value as JSON for the browser and back; None where a filter cannot name it.

    What JSON cannot hold goes as a text with its type in SQL, a moment as ``{"time": …}``.
    """
    if isinstance(value, datetime):
        return {"time": value.isoformat()}
    text, kind = _type_value(value)
    if kind:
        return {"text": text, "type": kind}
    return value if isinstance(value, bool | int | float | str) else None


def _type_value(value: Any) -> tuple[str, str]:
    """Return the text and the type in SQL of a value that JSON cannot hold; else no type."""
    kind, text = "", str(value)
    if isinstance(value, bytes):
        kind, text = "BLOB", escape_bytes(value)
    elif isinstance(value, Decimal):
        scale = max(0, -int(value.as_tuple().exponent))
        kind, text = f"DECIMAL(38,{scale})" if scale <= 38 else "", f"{value:f}"
    elif isinstance(value, int) and abs(value) >= 2**53:
        kind = "HUGEINT"
    elif isinstance(value, float) and not math.isfinite(value):
        kind = "DOUBLE"
    elif isinstance(value, date | clock):
        kind, text = "DATE" if isinstance(value, date) else "TIME", value.isoformat()
    return text, kind


def escape_bytes(value: bytes) -> str:
    """Return bytes as the text of DuckDB's BLOB: what is not printable ASCII as ``\\xFF``."""
    return "".join(
        chr(byte) if 32 <= byte < 127 and byte != 92 else f"\\x{byte:02X}" for byte in value
    )


def literal(value: Any) -> str:
    """Return a value as SQL writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping) and set(value) == {"time"}:
        return f"timestamptz {literal(value['time'])}"
    if isinstance(value, Mapping):
        kind = str(value.get("type"))
        if not _TYPES.fullmatch(kind):
            raise UsageError(f"a filter's value cannot be of the type {kind!r}")
        return f"{literal(str(value.get('text')))}::{kind}"
    text = str(value).replace("'", "''")
    return f"'{text}'"
