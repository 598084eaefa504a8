"""Avro records with logical values that mean nothing, such as a date beyond the calendar.

The record is read as it is written, and its logical types are applied value by value; what fails is
null, or the text that it is, and is reported with its field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOCAL_EPOCH = datetime(1970, 1, 1)
_DAY = date(1970, 1, 1)
_SHOWN = 60  # characters of a value in an error
_PYTHON: dict[str, tuple[type, ...]] = {
    "boolean": (bool,), "int": (int,), "long": (int,), "float": (float,), "double": (float, int), "bytes": (bytes,),
    "fixed": (bytes,), "string": (str,), "enum": (str,), "array": (list,), "map": (dict,), "record": (dict,),
    "error": (dict,),
}  # fmt: skip


def meaning(
    value: Any, schema: Any, named: Mapping[str, Any], where: str, problems: list[str]
) -> Any:
    """Return a written value with its logical types applied; note what cannot be, in `problems`.

    Parameters
    ----------
    schema : dict, list or str
        As `fastavro.parse_schema` returns it, with logical types.
    where : str
        The field, for the messages; the fields within an object follow a dot.
    """
    kind = _concrete(value, schema, named)
    if value is None or isinstance(kind, str):
        return value
    inside = f"{where}." if where else ""
    if kind["type"] in ("record", "error"):
        return {
            field["name"]: meaning(
                value[field["name"]], field["type"], named, inside + field["name"], problems
            )
            for field in kind["fields"]
        }
    if kind["type"] == "array":
        return [meaning(item, kind["items"], named, where, problems) for item in value]
    if kind["type"] == "map":
        return {
            key: meaning(item, kind["values"], named, inside + key, problems)
            for key, item in value.items()
        }
    return _scalar(value, kind, where, problems)


def _concrete(value: Any, schema: Any, named: Mapping[str, Any]) -> Any:
    """Return the type a value is of: a union's branch, what a name stands for."""
    if isinstance(schema, list):
        return _concrete(
            value, next((branch for branch in schema if _fits(value, branch, named)), "null"), named
        )
    if isinstance(schema, str):
        return _concrete(value, named[schema], named) if schema in named else schema
    kind = schema["type"]
    return _concrete(value, kind, named) if not isinstance(kind, str) or kind in named else schema


def _fits(value: Any, schema: Any, named: Mapping[str, Any]) -> bool:
    """Tell whether a written value may be of a union's branch."""
    if isinstance(schema, str) and schema in named:
        return _fits(value, named[schema], named)
    kind = schema if isinstance(schema, str) else schema["type"]
    if not isinstance(kind, str):
        return _fits(value, kind, named)
    if kind in ("record", "error"):
        return (
            isinstance(value, dict)
            and {field["name"] for field in schema["fields"]} == value.keys()
        )
    return type(value) in _PYTHON.get(kind, ())


def _scalar(value: Any, schema: Mapping[str, Any], where: str, problems: list[str]) -> Any:
    logical = schema.get("logicalType")
    convert = _CONVERTS.get(f"{schema['type']}-{logical}")
    if convert is None:
        return value
    try:
        return convert(value, schema)
    except (ValueError, OverflowError, ArithmeticError) as error:
        problems.append(f"{where}: {shorten_value(value)} is no {logical} ({error})")
        return value if logical == "uuid" else None  # a UUID's column is text


def shorten_value(value: Any) -> str:
    """Return a value for an error: not more than a line of it."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _decimal(value: bytes, schema: Mapping[str, Any]) -> Decimal:
    sign, digits, _ = Decimal(int.from_bytes(value, "big", signed=True)).as_tuple()
    return Decimal((sign, digits, -schema.get("scale", 0)))


def _time_of_day(microseconds: int) -> time:
    if not 0 <= microseconds < 86_400_000_000:
        raise ValueError("a day has 24 hours")
    return (_LOCAL_EPOCH + timedelta(microseconds=microseconds)).time()


_CONVERTS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "int-date": lambda value, _: _DAY + timedelta(days=value),
    "int-time-millis": lambda value, _: _time_of_day(1000 * value),
    "long-time-micros": lambda value, _: _time_of_day(value),
    "long-timestamp-millis": lambda value, _: _EPOCH + timedelta(milliseconds=value),
    "long-timestamp-micros": lambda value, _: _EPOCH + timedelta(microseconds=value),
    "long-local-timestamp-millis": lambda value, _: _LOCAL_EPOCH + timedelta(milliseconds=value),
    "long-local-timestamp-micros": lambda value, _: _LOCAL_EPOCH + timedelta(microseconds=value),
    "string-uuid": lambda value, _: UUID(value),
    "bytes-decimal": _decimal,
    "fixed-decimal": _decimal,
}
