"""Look into one record: where it is, its value as a tree, its headers, its bytes."""

from __future__ import annotations

import json
from html import escape
from typing import Any

import ipywidgets as ipy

from labkit import html
from labkit.dataframe import dated
from labkit.decode.json_rows import too_deep
from labkit.errors import UsageError
from labkit.notebook.widget_base import Shown
from labkit.sinks.replay import Replay
from labkit.validation import whole

_NONE = "no record in this replay"
_BYTES, _ITEMS = 4_096, 200  # shown at most; what is left out is said


class RecordInspector(Shown):
    """A record of a Replay; ``.row`` is which one."""

    def __init__(self, replay: Replay, row: int = 0) -> None:
        if not isinstance(replay, Replay):
            raise UsageError(f"a {type(replay).__name__} cannot be looked into", hint="give a Replay: window.read()")
        row = whole(row, "row", "which record? rows count from 0")
        last = max(0, len(replay) - 1)  # an empty window has none to show, and says so
        if not 0 <= row <= last:
            raise UsageError(f"row={row}; the replay has {len(replay):,} records", hint="rows count from 0")
        self.replay = replay
        self.place = ipy.BoundedIntText(value=row, min=0, max=last, description="row")
        self.slider = ipy.IntSlider(min=0, max=last, readout=False)
        ipy.link((self.place, "value"), (self.slider, "value"))
        self.view = ipy.HTML()
        self.box = ipy.VBox([ipy.HBox([self.place, self.slider]), self.view])
        self.place.observe(lambda _: self._draw(), "value")
        self._draw()

    @property
    def row(self) -> int:
        """Which record is shown."""
        return int(self.place.value)

    @property
    def record(self) -> dict[str, Any]:
        """The record's columns."""
        found: dict[str, Any] = dated(self.replay.table.slice(self.row, 1)).to_pylist()[0]
        return found

    def _draw(self) -> None:
        if not len(self.replay):
            self.view.value = _NONE
            return
        record = self.record
        raw = record["_value"]
        headers = "".join(
            f"<tr><td>{escape(one['key'])}</td><td><code>{escape(_brief(one['value']))}</code></td></tr>"
            for one in record["_headers"] or []
        )
        parts = [
            f"<b>{escape(place(record))}</b>",
            f"<div>key <code>{escape(_brief(record['_key']))}</code></div>",
            f"<div style='color:{html.RED}'>{escape(record['_error'])}</div>" if record["_error"] else "",
            tree("value", value_of(record)),
            f"<details><summary>{len(record['_headers'] or [])} headers</summary><table>{headers}</table></details>",
            f"<details><summary>bytes</summary><pre>{escape(dump(raw))}</pre></details>",
        ]
        body = f'<div style="line-height:1.5">{"".join(parts)}</div>'
        self.view.value = body.encode("utf-8", "backslashreplace").decode()  # JSON may have half a surrogate pair

    def text(self) -> str:
        """Return the record as text."""
        if not len(self.replay):
            return _NONE
        record = self.record
        headers = [f"{one['key']}: {_brief(one['value'])}" for one in record["_headers"] or []]
        value = json.dumps(value_of(record), indent=2, ensure_ascii=False, default=str)
        lines = [place(record), f"key: {_brief(record['_key'])}", *headers, value]
        return "\n".join([*lines, *([f"error: {record['_error']}"] if record["_error"] else [])])


def place(record: dict[str, Any]) -> str:
    """Return where a record is and when it was written."""
    at = f"{record['_topic']}[{record['_partition']}]@{record['_offset']}"
    return f"{at}  {record['_timestamp']} {record['_timestamp_type']}"


def value_of(record: dict[str, Any]) -> Any:
    """Return the value as it nests: parsed JSON where it is such, else the decoded fields that are there."""
    if record["_value"] is None:
        return None
    try:
        value = json.loads(record["_value"])
        return _brief(record["_value"]) if too_deep(value) else value
    except RecursionError:
        return _brief(record["_value"])
    except ValueError:
        fields = {name: value for name, value in record.items() if not name.startswith("_") and value is not None}
        return fields or _brief(record["_value"])


def tree(name: str, value: Any, depth: int = 0) -> str:
    """Return a value as nested HTML that opens and closes."""
    if not isinstance(value, dict | list):
        text = json.dumps(value, ensure_ascii=False, default=str)
        return f"<div><b>{escape(name)}</b> <code>{escape(text)}</code></div>"
    pairs = list(value.items() if isinstance(value, dict) else enumerate(value))
    inner = "".join(tree(str(key), one, depth + 1) for key, one in pairs[:_ITEMS])
    if len(pairs) > _ITEMS:
        inner += f"<div>… {len(pairs) - _ITEMS:,} more</div>"
    return (
        f"<details {'open' if depth < 2 else ''}><summary><b>{escape(name)}</b> {len(pairs):,}</summary>"
        f'<div style="margin-left:1.2em">{inner}</div></details>'
    )


def dump(raw: bytes | None) -> str:
    """Return bytes as hex and text, sixteen a line."""
    if raw is None:
        return "tombstone: no value"
    lines = []
    for at in range(0, min(len(raw), _BYTES), 16):
        part = raw[at : at + 16]
        shown = "".join(chr(one) if 32 <= one < 127 else "." for one in part)
        lines.append(f"{at:08x}  {part.hex(' '):<47}  {shown}")
    if len(raw) > _BYTES:
        lines.append(f"… {len(raw) - _BYTES:,} more bytes")
    return "\n".join(lines) or "empty: 0 bytes"


def _brief(raw: bytes | None) -> str:
    if raw is None:
        return "null"
    text = raw[:200].decode("utf-8", "backslashreplace")
    return text + (f" … {len(raw):,} bytes" if len(raw) > 200 else "")
