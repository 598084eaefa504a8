"""What a document of an index has: values under dotted names, the headers of its record. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labkit.decode.cells import cell
from labkit.es import metadata


def headers_of(source: Mapping[str, Any]) -> list[list[str]]:
    """Return the headers of the record that a document was made of, a row for each value."""
    headers = value_at(source, f"{metadata.NAME}.headers")
    if not isinstance(headers, Mapping):
        return []
    return [
        [cell(name), cell(value, most=1_000)]
        for name, values in headers.items()
        for value in (values if isinstance(values, list) else [values])
    ]


def value_at(source: Any, name: str) -> Any:
    """Return what a document has under a dotted name; of a list on the way each item's."""
    if isinstance(source, list):
        found = [value_at(one, name) for one in source]
        return [one for one in found if one is not None] or None
    if not isinstance(source, Mapping):
        return None
    if name in source:
        return source[name]
    head, dot, rest = name.partition(".")
    while dot:
        if head in source:
            return value_at(source[head], rest)
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return None
