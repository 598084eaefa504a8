"""How Elasticsearch is to index decoded columns, where their JSON alone would mislead it. Pure.

Texts, whole numbers and booleans are left to the index: its own rule for new fields, or its
administrator's, fits them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from labkit.decode.json_shape import HUGE, NUMBERS, WIDE, Shape
from labkit.tables.arrow import is_bytes

# what a number of JSON cannot hold is exact in its keyword
_EXACT: dict[str, Any] = {"type": "double", "fields": {"keyword": {"type": "keyword"}}}
_BINARY: dict[str, Any] = {"type": "binary"}  # base64, kept and not searched
# one field, whatever keys it has: a map's keys are data, and a mapping must not grow with them
FLAT: dict[str, Any] = {"type": "flattened", "ignore_above": 1024}


def properties(fields: Mapping[str, pa.DataType]) -> dict[str, Any]:
    """Return the mapping of columns that need one.

    They are dates, decimals, fractions, bytes, maps, and objects with one of them.
    """
    rules = {name: _rule(kind) for name, kind in fields.items()}
    return {name: rule for name, rule in rules.items() if rule is not None}


def json_properties(shape: Shape) -> dict[str, Any]:
    """Return the mapping of JSON fields that an index would take for whole numbers, and cut.

    They are fractions, and integers beyond 64 bits, where most of the values are numbers: the first
    value alone would decide.
    """
    rules = {name: _json_rule(field) for name, field in shape.fields.items()}
    return {name: rule for name, rule in rules.items() if rule is not None}


def _json_rule(shape: Shape) -> dict[str, Any] | None:
    scalars = [shape]
    while (shape := shape.items or Shape()).kinds:  # a list is mapped as its items are
        scalars.append(shape)
    kinds = sum((one.kinds for one in scalars), Counter[str]())
    del kinds["lists"]
    if set(kinds) == {"objects"}:
        inside: dict[str, Any] = {}
        for one in scalars:
            inside |= json_properties(one)
        return {"properties": inside} if inside else None
    numbers = sum(kinds[kind] for kind in NUMBERS)
    if not (kinds["fractions"] or kinds[HUGE]) or 2 * numbers <= kinds.total():
        return None
    return _EXACT if kinds[HUGE] or kinds[WIDE] else {"type": "double"}


def _rule(kind: pa.DataType) -> dict[str, Any] | None:
    if pa.types.is_struct(kind):
        inside = properties({part.name: part.type for part in kind})
        return {"properties": inside} if inside else None
    if pa.types.is_map(kind):
        return FLAT
    if pa.types.is_nested(kind) or pa.types.is_dictionary(kind):
        return _rule(kind.value_type)
    return next((rule for fits, rule in _SCALARS if fits(kind)), None)


_is = pa.types
_SCALARS: list[tuple[Callable[[pa.DataType], bool], dict[str, Any]]] = [
    (lambda kind: _is.is_timestamp(kind) or _is.is_date(kind), {"type": "date"}),
    (lambda kind: _is.is_decimal(kind) or _is.is_uint64(kind), _EXACT),
    (_is.is_floating, {"type": "double"}),
    (is_bytes, _BINARY),
    (_is.is_time, {"type": "keyword"}),
]


def missing(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties that a mapping lacks.

    A field it has stays as it is, whatever its type.
    """
    rules: dict[str, Any] = {}
    for name, rule in wanted.items():
        present = there.get(name)
        if present is None:
            rules[name] = rule
        elif "properties" in rule and "properties" in present:
            inside = missing(rule["properties"], present["properties"])
            if inside:
                rules[name] = {"properties": inside}
    return rules


_WHOLE = frozenset({"long", "integer", "short", "byte"})


def truncating(wanted: Mapping[str, Any], there: Mapping[str, Any], inside: str = "") -> list[str]:
    """Return the fields whose fractions a mapping cuts to whole numbers, without a word.

    Only ``_source`` keeps the fractions.
    """
    names: list[str] = []
    for name, rule in wanted.items():
        present = there.get(name, {})
        if rule.get("type") == "double" and present.get("type") in _WHOLE:
            names.append(inside + name)
        names += truncating(
            rule.get("properties", {}), present.get("properties", {}), f"{inside}{name}."
        )
    return names
