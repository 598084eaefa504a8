"""A saved view of a browser of records: which records, which filters, which columns.

A text for papermill or a file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labkit.checks.validation import read_json
from labkit.errors import UsageError
from labkit.es.index import Index
from labkit.lab import Lab
from labkit.window import Window

_HINT = 'pass b.view, or the path of the file that "save view" wrote'


def read_view(view: str | os.PathLike[str]) -> dict[str, Any]:
    """Return a view's content, of its JSON or of a file's path.

    Raises
    ------
    UsageError
        When it is none.
    """
    text = os.fspath(view)
    if not text.lstrip().startswith("{"):
        try:
            text = Path(text).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UsageError(
                f"view must be JSON or the path of a file, not {text[:60]!r}", hint=_HINT
            ) from error
    try:
        content = read_json(text)
    except ValueError as error:
        raise UsageError(f"view is not what a browser's .view gave: {error}", hint=_HINT) from error
    if not isinstance(content, dict):
        raise UsageError(f"view must be a JSON object, not {type(content).__name__}", hint=_HINT)
    return content


def parse_view(
    lab: Lab | None, view: Mapping[str, Any]
) -> tuple[Lab | None, Window | Index, tuple[str | None, str | None, int | None]]:
    """Return the lab, the records that a view names, and decode, time_field and limit.

    Raises
    ------
    UsageError
        When it names none: that of a Replay.
    """
    limit = view.get("limit")
    options = (
        view.get("decode"),
        view.get("time_field"),
        limit if isinstance(limit, int) else None,
    )
    if "window" in view:
        return lab, Window.from_json(json.dumps(view["window"]), lab), options
    if "index" in view:
        from labkit.lab import connect

        lab = lab or connect()
        return (
            lab,
            lab.index(str(view["index"]), target=str(view.get("target", "default"))),
            options,
        )
    raise UsageError(
        "view names no window and no index: it is that of a Replay",
        hint="give the records too: browse(lab, r, view=…)",
    )
