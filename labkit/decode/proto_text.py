"""Compile a registry's Protobuf schema, given as text, and the schemas it refers to."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from labkit.decode.descriptors import Descriptors
from labkit.decode.protoc import compile_proto
from labkit.errors import UsageError

_NAME = "labkit_this.proto"
_OWN = "google/protobuf/"  # what protoc has with it


def compile_text(schema: Any, referenced: Callable[[str, int], Any]) -> Any:
    """Return the descriptor of a schema's file.

    Parameters
    ----------
    schema : confluent_kafka.schema_registry.Schema
    referenced : callable
        Takes a subject and a version and returns that schema.

    Raises
    ------
    ValueError
        When it cannot be compiled, with what protoc says.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            _write(folder, schema, referenced)
            return Descriptors(compile_proto(folder / _NAME, [folder]), _NAME).file(_NAME)
        except UsageError as error:
            raise ValueError(error.message) from error
        except OSError as error:
            raise ValueError(
                f"a schema that it refers to cannot be written: {error.strerror}"
            ) from error


def _write(folder: Path, schema: Any, referenced: Callable[[str, int], Any]) -> None:
    """Write a schema and those it refers to, under the names they are imported by."""
    waiting, written = [(_NAME, schema)], {_NAME}
    while waiting:
        name, file = waiting.pop()
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.schema_str, encoding="utf-8")
        for reference in file.references or ():
            if reference.name not in written and not reference.name.startswith(_OWN):
                written.add(reference.name)
                waiting.append(
                    (
                        _check_import(reference.name),
                        referenced(reference.subject, reference.version),
                    )
                )


def _check_import(name: str) -> str:
    """Return a name from the registry if no file outside the folder has it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise ValueError(f"it refers to {name!r}, which is not the name of an imported file")
    return name
