"""Avro schemas made ready to read by: references first, logical types that are not valid left out.

A schema that is no record (a union, a name, a list, a map) is read as a record of one field: the
encoding is the same, and named types of references are known within it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import fastavro

VALUE = "value"  # the one field of a schema that is not a record
_WRAPPER = "labkit.decode.Value"
_RECORDS = ("record", "error")
Edit = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes a type with a logical type and returns it as it is to be read."""


def parse_schema(
    schema: Any, referenced: Callable[[str, int], Any], edit: Edit
) -> tuple[Any, dict[str, Any], bool]:
    """Return the schema as fastavro reads by it, and its named types.

    The third value says whether it had to be made a record.

    Parameters
    ----------
    schema : confluent_kafka.schema_registry.Schema
    referenced : callable
        Takes a subject and a version and returns that schema.
    edit : callable
        `without_invalid`, or `without_logical` for what is written, without its meaning.
    """
    types: dict[str, Any] = {}
    _add_references(schema, referenced, edit, types)
    raw = _edit_types(_load_json(schema), edit)
    is_record = isinstance(raw, dict) and raw.get("type") in _RECORDS
    if not is_record:
        raw = {"type": "record", "name": _WRAPPER, "fields": [{"name": VALUE, "type": raw}]}
    return fastavro.parse_schema(raw, named_schemas=types), types, not is_record


def _add_references(
    schema: Any, referenced: Callable[[str, int], Any], edit: Edit, named: dict[str, Any]
) -> None:
    for reference in schema.references or ():
        registered = referenced(reference.subject, reference.version)
        _add_references(registered, referenced, edit, named)
        fastavro.parse_schema(_edit_types(_load_json(registered), edit), named_schemas=named)


def _load_json(schema: Any) -> Any:
    text = schema.schema_str.strip()
    try:
        return json.loads(text)
    except ValueError:
        return text  # some registries give a bare name, such as: string


def _edit_types(schema: Any, edit: Edit) -> Any:
    """Return the schema with each of its logical types edited."""
    if isinstance(schema, list):
        return [_edit_types(branch, edit) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    edited = dict(edit(schema)) if "logicalType" in schema else dict(schema)
    for name in ("type", "items", "values"):
        if isinstance(edited.get(name), dict | list):
            edited[name] = _edit_types(edited[name], edit)
    if isinstance(edited.get("fields"), list):
        edited["fields"] = [_edit_types(field, edit) for field in edited["fields"]]
    return edited


def without_logical(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a type without its logical type: what is written."""
    return {name: value for name, value in schema.items() if name != "logicalType"}


def without_invalid(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a type without logical types that are not valid for it.

    Readers must ignore those (Avro 1.12, Logical Types).
    """
    valid = schema["logicalType"] != "decimal" or _is_decimal(schema)
    return schema if valid else without_logical(schema)


def _is_decimal(schema: dict[str, Any]) -> bool:
    precision, scale, size = (
        _whole_number(schema.get(name, default)) for name, default in _DECIMAL
    )
    if precision < 1 or not 0 <= scale <= precision:
        return False
    if schema.get("type") != "fixed":
        return schema.get("type") == "bytes"
    # so many digits has the largest number of that many bytes, less one: not all of that length fit
    return size > 0 and precision <= len(str(2 ** (8 * size - 1) - 1)) - 1


_DECIMAL = (("precision", -1), ("scale", 0), ("size", -1))


def _whole_number(value: Any) -> int:
    """Return a whole number; -1 for any other value."""
    return value if isinstance(value, int) and not isinstance(value, bool) else -1
