"""jsonschema without the second that one of its formats costs each process."""

from __future__ import annotations

import sys
from types import ModuleType

_SLOW = "rfc3987_syntax"


def import_jsonschema() -> None:
    """Import jsonschema without building the grammar of its format ``iri``.

    The grammar is built when that format is first checked. altair, nbformat and papermill import
    jsonschema, and it imports rfc3987_syntax where that is installed, as it is with JupyterLab: 1.4
    s for a grammar that nothing here uses. Call this before them.
    """
    if "jsonschema" in sys.modules or _SLOW in sys.modules:
        return
    stand_in = ModuleType(_SLOW)
    stand_in.is_valid_syntax = _is_valid_syntax  # type: ignore[attr-defined]
    sys.modules[_SLOW] = stand_in
    try:
        import jsonschema  # noqa: F401
    finally:
        del sys.modules[_SLOW]


def _is_valid_syntax(term: str, value: str) -> bool:
    from rfc3987_syntax import is_valid_syntax

    return bool(is_valid_syntax(term, value))
