"""Replay any window of a Kafka topic in Jupyter, again and again, without touching production."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit import charts, decode, enrich, errors
    from labkit.compare import Comparison
    from labkit.files.excel_file import to_excel
    from labkit.groups.adhoc import AdHocGroup
    from labkit.lab import Lab, connect
    from labkit.notebook import widgets
    from labkit.notebook.runs import runs
    from labkit.replay.receipt import Receipt
    from labkit.sinks.replay import Replay
    from labkit.sinks.scratch import Load
    from labkit.sinks.scratch_index import ScratchIndex
    from labkit.waiting.interrupt import last_part as stopped
    from labkit.window import Window

__all__ = [
    "AdHocGroup",
    "Comparison",
    "Lab",
    "Load",
    "Receipt",
    "Replay",
    "ScratchIndex",
    "Window",
    "charts",
    "connect",
    "decode",
    "enrich",
    "errors",
    "runs",
    "stopped",
    "to_excel",
    "widgets",
]

# Names are looked up when they are used, so that `import labkit` and the command line start at
# once.
_HOMES = {
    "AdHocGroup": "labkit.groups.adhoc",
    "Comparison": "labkit.compare",
    "Lab": "labkit.lab",
    "Load": "labkit.sinks.scratch",
    "Receipt": "labkit.replay.receipt",
    "Replay": "labkit.sinks.replay",
    "ScratchIndex": "labkit.sinks.scratch_index",
    "Window": "labkit.window",
    "connect": "labkit.lab",
    "runs": "labkit.notebook.runs",
    "to_excel": "labkit.files.excel_file",
}


def __getattr__(name: str) -> Any:
    if name == "stopped":  # what Stop left of the work that it ended
        return import_module("labkit.waiting.interrupt").last_part
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "widgets":
        return import_module("labkit.notebook.widgets")
    if name in __all__:
        return import_module(f"labkit.{name}")
    raise AttributeError(f"module 'labkit' has no attribute {name!r}")


def load_ipython_extension(shell: Any) -> None:
    """Add the magics of ``%load_ext labkit``: ``%lab``, ``%window``, ``%%replay``."""
    from labkit.notebook.magics import load

    load(shell)


def __dir__() -> list[str]:
    return sorted(__all__)
