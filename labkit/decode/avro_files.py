"""Avro schemas from files: one, and those of the types that it names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import UnknownType

from labkit.decode.schema_files import read_schema
from labkit.errors import UsageError

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_MOST_STEPS = 1000  # files opened or moved before those that need them
_DEPTH = 300  # of objects and lists: fastavro goes down without looking at its stack
_OTHERS = {
    b"Obj\x01": "a file of Avro records",
    b"PK\x03\x04": "a zip",
    b"\x1f\x8b\x08\0": "compressed",
}


def collect_schemas(path: Path) -> tuple[str, ...]:
    """Return the text of a schema after those of the types it names.

    Raises
    ------
    UsageError
        When a file is missing or holds no schema, or two need each other.
    """
    own = _read_text(path)
    texts: dict[Path, str] = {}
    for _ in range(_MOST_STEPS):
        missing = _find_unknown(path, [*texts.values(), own])
        if missing is None:
            return (*texts.values(), own)
        file = _file_of(missing, path)
        text = texts.pop(file) if file in texts else _read_text(file)
        texts = {file: text, **texts}
    raise UsageError(
        f"the types that {path} names refer to one another in a circle",
        hint="define those in one file",
    )


def _read_text(path: Path) -> str:
    content = read_schema(path)
    if kind := _OTHERS.get(content[:4]):
        raise UsageError(
            f"{path} is {kind}, not a schema", hint="a schema is JSON, such as order.avsc"
        )
    try:
        text = content.decode("utf-8-sig")
        if not _is_shallow(json.loads(text)):
            raise RecursionError
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else error
        raise UsageError(
            f"{path} is not an Avro schema: {reason}",
            hint="a schema is JSON, such as order.avsc; .avdl is compiled first",
        ) from error
    return text


def _is_shallow(schema: Any) -> bool:
    level = [schema]
    for _ in range(_DEPTH):
        parts = [
            part.values() if isinstance(part, dict) else part
            for part in level
            if isinstance(part, dict | list)
        ]
        level = [item for part in parts for item in part]
        if not level:
            return True
    return False


def _find_unknown(path: Path, texts: list[str]) -> str | None:
    """Return a type's name that no schema defines before it is used; None when all are known."""
    names: dict[str, Any] = {}
    try:
        for text in texts:
            fastavro.parse_schema(json.loads(text), named_schemas=names)
    except UnknownType as error:
        return str(error.name)
    except Exception as error:  # whatever the schema makes fastavro stumble over
        raise UsageError(
            f"{path} is not an Avro schema: {type(error).__name__}: {error}",
            hint="see Avro's specification, Schemas",
        ) from error
    return None


def _file_of(name: str, path: Path) -> Path:
    """Return the file beside `path` that defines a type."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{path} is not an Avro schema: {name[:200]} is not a type",
            hint="see Avro's specification, Schemas",
        )
    for stem in dict.fromkeys((name, name.rpartition(".")[2])):
        file = path.with_name(f"{stem}.avsc")
        if file.is_file():
            return file
    raise UsageError(
        f"{path} names the type {name!r}, and neither defines it nor has {name}.avsc beside it",
        hint="put the file of that type beside it, or define the type in place",
    )
