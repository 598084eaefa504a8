"""Which field of an index, or of a pattern of indices, holds a name's values, or why none does.

Pure. What stands in the answer of ``_field_caps``, asked with ``include_unmapped``: field to type
to what is known of it, with the indices where types differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labkit.errors import UsageError
from labkit.text.visible import first_few

Fields = Mapping[str, Mapping[str, Any]]
UNMAPPED = "unmapped"
DATES = frozenset({"date", "date_nanos"})
# types whose values are equal when they are written alike, and can be counted together
_FAMILIES = (
    DATES,
    frozenset({"keyword", "constant_keyword", "wildcard"}),
    frozenset(
        {"long", "integer", "short", "byte", "double", "float", "half_float", "scaled_float"}
    ),
)
_SHOWN = 3  # indices named of each type


def types(fields: Fields, name: str) -> set[str]:
    """Return the types a field has, in the indices that have it."""
    return set(fields.get(name, {})) - {UNMAPPED}


def is_date(fields: Fields, name: str) -> bool:
    """Tell whether a field is a date wherever it is."""
    return bool(kinds := types(fields, name)) and kinds <= DATES


def known_fields(fields: Fields) -> list[str]:
    """Return the fields a user knows: no inner ones, no objects."""
    parents = {name for name in fields if not {"object", "nested"} & types(fields, name)}
    return [
        name
        for name in sorted(parents)
        if name[0] != "_" and name.rpartition(".")[0] not in parents
    ]


def nested_above(fields: Fields, name: str) -> str | None:
    """Return the nested field that `name` is within, the innermost."""
    parts = name.split(".")
    above = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((path for path in above if "nested" in types(fields, path)), None)


def is_known(fields: Fields, name: str) -> bool:
    """Tell whether a name is a field, an object, or below a flattened object, which takes any."""
    if name in fields or any(field.startswith(f"{name}.") for field in fields):
        return True
    parts = name.split(".")
    above = (".".join(parts[:count]) for count in range(1, len(parts)))
    return any("flattened" in types(fields, path) for path in above)


def countable(fields: Fields, name: str) -> str | None:
    """Return the field that holds whole values of `name` in all indices; None when none does.

    It is ``<name>.keyword`` where there is one. Below a nested field no name works: such values are
    documents of their own, and an aggregation that does not say so finds nothing.
    """
    if nested_above(fields, name):
        return None
    inner = f"{name}.keyword"
    for field in (inner, name):
        kinds = {
            kind: capability
            for kind, capability in fields.get(field, {}).items()
            if kind != UNMAPPED
        }
        if kinds and all(kind["aggregatable"] for kind in kinds.values()):
            is_countable = _agree(set(kinds)) and (
                field == name or not _elsewhere(fields, name, inner)
            )
            return field if is_countable else None
    return None


def _agree(kinds: set[str]) -> bool:
    return len(kinds) == 1 or any(kinds <= family for family in _FAMILIES)


def _elsewhere(fields: Fields, name: str, inner: str) -> set[str]:
    """Return the indices that have `name`, but not its field within."""
    lacking = set(fields[inner].get(UNMAPPED, {}).get("indices") or ())
    return lacking - set(fields.get(name, {}).get(UNMAPPED, {}).get("indices") or ())


def uncountable(fields: Fields, name: str) -> UsageError:
    """Return why the values of a field cannot be counted."""
    names = f"there are: {', '.join(known_fields(fields)) or 'none'}"
    if nested := nested_above(fields, name):
        aggs = f"{{'in': {{'nested': {{'path': {nested!r}}}, 'aggs': {{'by': {{'terms': {{'field': {name!r}}}}}}}}}}}"
        reason = "is nested" if nested == name else f"is within {nested!r}, which is nested"
        return UsageError(
            f"field {name!r} {reason}: its values are documents of their own",
            hint=f"agg(body={aggs})",
        )
    kinds = fields[name]
    inner = fields.get(f"{name}.keyword", {})
    if not _agree(types(fields, name)) or (inner and _elsewhere(fields, name, f"{name}.keyword")):
        where = ", ".join(
            f"{kind} in {first_few(capability.get('indices') or ['others'], _SHOWN)}"
            for kind, capability in kinds.items()
            if kind != UNMAPPED
        )
        lacking = sorted(_elsewhere(fields, name, f"{name}.keyword")) if inner else []
        where += (
            f"; without {name}.keyword in {first_few(lacking, _SHOWN)}"
            if lacking and len(types(fields, name)) == 1
            else ""
        )
        return UsageError(
            f"the indices disagree on field {name!r}: {where}",
            hint="name an index, or a pattern whose indices agree, and put the answers together yourself",
        )
    return UsageError(
        f"field {name!r} is {'/'.join(sorted(types(fields, name)))}, whose values cannot be counted",
        hint=f"map it with a keyword subfield; {names}",
    )
