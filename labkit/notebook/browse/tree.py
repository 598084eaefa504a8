"""A record's value as a tree of its fields, each with the filter that a click on it makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from labkit.notebook.inspector import Left

Filters = Callable[[tuple[str, ...], int | None], dict[str, Any] | None]
"""Takes a field's path, and the place of an item in its list; returns the filter of its value, None
where there is no such filter."""


def branches(value: Any, filters: Filters, path: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Return what is in an object or a list, as the page draws it.

    Returns
    -------
    list of dict
        ``name``, and of an object or a list ``count`` and ``inner``, of any other value ``shown``
        and ``filter``.
    """
    if isinstance(value, dict):
        return [_branch(name, inner, filters, (*path, name), None) for name, inner in value.items()]
    return [_branch(str(place), inner, filters, path, place) for place, inner in enumerate(value)]


def _branch(
    name: str, value: Any, filters: Filters, path: tuple[str, ...], place: int | None
) -> dict[str, Any]:
    if isinstance(value, dict | list) and value:
        within = (
            path if place is None else (*path, name)
        )  # no filter is for fields of a list's item
        return {"name": name, "count": len(value), "inner": branches(value, filters, within)}
    shown = json.dumps(value, ensure_ascii=False)
    asked = None if isinstance(value, Left) else filters(path, place)
    return {"name": name, "shown": shown, "filter": asked}
