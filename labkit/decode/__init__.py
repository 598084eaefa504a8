"""Decode: raw bytes become columns, a step that can be repeated without reading Kafka again.

A decoder is a module with ``parse(values)``, ``unify(schemas)`` and ``columns(parsed, schema)``: batches are parsed
alone, then brought under the one schema that holds for all of them.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from labkit.errors import UsageError

NAMES = ("json", "text", "raw")


def decoder(name: str) -> ModuleType:
    """Return the decoder called `name`.

    Raises
    ------
    UsageError
        When there is none.
    """
    if name not in NAMES:
        raise UsageError(f"decode={name!r}", hint=f"one of {', '.join(NAMES)}")
    module = import_module(f"labkit.decode.{name}")
    return module.Json() if name == "json" else module
