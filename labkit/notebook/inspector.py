"""Look into one record: where it is, its value as a tree, its headers, its bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, tzinfo
from html import escape
from itertools import islice
from typing import Any

import ipywidgets as ipy
import pyarrow as pa

from labkit.checks.validation import whole_number
from labkit.decode import cells
from labkit.decode.json_rows import too_deep
from labkit.decode.merge import as_json, maps_as_dicts
from labkit.errors import UsageError
from labkit.notebook.widget_base import Shown, keep_pick, read_pick
from labkit.sinks.replay import Replay
from labkit.tables.dataframe import without_far_times
from labkit.text import html
from labkit.text.counts import number_of
from labkit.text.visible import a_type_of, brief, visible

_NONE = "no record in this replay"
_TOMBSTONE = "tombstone: no value"
_BYTES, _ITEMS, _TEXT, _NODES = 4_096, 200, 2_000, 5_000  # shown at most; what is left out is said


class RecordInspector(Shown):
    """A record of a Replay; ``.row`` is which one."""

    def __init__(self, replay: Replay, row: int | None = None) -> None:
        if not isinstance(replay, Replay):
            raise UsageError(
                f"inspect takes a Replay, not {a_type_of(replay)}",
                hint="window.read() returns one",
            )
        self._key = ("inspect", replay.receipt.topic, replay.receipt.hash, str(len(replay)))
        kept_row = read_pick(*self._key) if row is None and replay.receipt.hash else None
        self._kept = "" if not kept_row else f"row {kept_row}, looked at before: row=0 is the first"
        row = whole_number(
            kept_row or 0 if row is None else row, "row", "which record? rows count from 0"
        )
        last = max(0, len(replay) - 1)  # an empty window has none to show, and says so
        if not 0 <= row <= last:
            raise UsageError(f"row must be 0 to {last:,}, not {row}", hint="rows count from 0")
        replay.warn_when_incomplete()
        self.replay = replay
        self.place = ipy.BoundedIntText(value=row, min=0, max=last, description="row")
        self.slider = ipy.IntSlider(min=0, max=last, readout=False)
        ipy.link((self.place, "value"), (self.slider, "value"))
        self.view = ipy.HTML()
        self.said = ipy.HTML(f"<i>{self._kept}</i>" if self._kept else "")
        self.box = ipy.VBox([ipy.HBox([self.place, self.slider, self.said]), self.view])
        self.place.observe(lambda _: self._on_change(), "value")
        self._draw()

    @property
    def row(self) -> int:
        """Which record is shown."""
        return int(self.place.value)

    @property
    def record(self) -> dict[str, Any]:
        """The record's columns."""
        row: dict[str, Any] = without_far_times(self.replay.table.slice(self.row, 1)).to_pylist()[0]
        return row

    def _on_change(self) -> None:
        self.said.value = ""
        keep_pick(self.row, *self._key)
        self._draw()

    def _draw(self) -> None:
        self.view.value = html.show_html(self._markup()) if len(self.replay) else _NONE
        self._renew_picture()

    def picture(self) -> str:
        """Return the record."""
        return str(self.view.value)

    @property
    def code(self) -> str:
        """The line that looks at the same record, of the Replay ``r``."""
        return f"labkit.widgets.inspect(r, row={self.row})"

    def _markup(self) -> str:
        record = self.record
        headers = [
            [escape(cells.as_json_text(name)), f"<code>{cells.html_cell(raw)}</code>"]
            for name, raw in _headers(record)
        ]
        parts = [
            f"<b>{escape(place(record, self.replay.timezone))}</b>",
            f"<div>key <code>{cells.html_cell(record['_key'])}</code></div>",
            f"<div style='color:{html.RED}'>{escape(record['_error'])}</div>"
            if record["_error"]
            else "",
            tree("value", self.value)
            if record["_value"] is not None
            else f"<div><b>value</b> <i>{_TOMBSTONE}</i></div>",
            f"<details><summary>{number_of(len(headers), 'header')}</summary>"
            f"{html.table(('name', 'value'), headers)}</details>",
            f"<details><summary>bytes</summary><pre>{escape(dump(record['_value']))}</pre></details>",
        ]
        return f'<div style="line-height:1.5">{"".join(parts)}</div>'

    @property
    def value(self) -> Any:
        """The record's value as it nests, long texts and lists cut."""
        kinds = {column.name: column.type for column in self.replay.table.schema}
        return shorten(value_of(self.record, kinds))

    def text(self) -> str:
        """Return the record as text."""
        if not len(self.replay):
            return _NONE
        record = self.record
        lines = [f"{cells.as_json_text(name)}: {cells.cell(raw)}" for name, raw in _headers(record)]
        value = (
            json.dumps(self.value, indent=2, ensure_ascii=False)
            if record["_value"] is not None
            else _TOMBSTONE
        )
        error = [f"error: {record['_error']}"] if record["_error"] else []
        return visible(
            "\n".join(
                [
                    place(record, self.replay.timezone),
                    f"key: {cells.cell(record['_key'])}",
                    *lines,
                    value,
                    *error,
                ]
            ),
            keep="\n",
        )


def _headers(record: dict[str, Any]) -> list[tuple[str, bytes | None]]:
    return [(header["key"], header["value"]) for header in record["_headers"] or []]


def place(record: dict[str, Any], zone: tzinfo) -> str:
    """Return where a record is and when it was written, in a zone."""
    at = f"{record['_topic']}[{record['_partition']}]@{record['_offset']}"
    when = record["_timestamp"]
    if isinstance(when, datetime):
        when = when.astimezone(zone)
    return f"{at}  {cells.cell(when)} {record['_timestamp_type']}"


def value_of(record: dict[str, Any], kinds: Mapping[str, pa.DataType]) -> Any:
    """Return the value as it nests.

    It is parsed JSON where it is such, else the decoded fields that are there.
    """
    try:
        value = json.loads(record["_value"])
        return cells.cell(record["_value"]) if too_deep(value) else value
    except RecursionError:
        return cells.cell(record["_value"])
    except (ValueError, TypeError):
        fields = {
            name: as_json(maps_as_dicts(value, kinds[name]))
            for name, value in record.items()
            if not name.startswith("_") and value is not None
        }
        return fields or (cells.cell(record["_value"]) if record["_value"] else "")


class Left(str):
    """Stands in a list for the items that are left out."""


def shorten(value: Any, room: list[int] | None = None) -> Any:
    """Return a JSON value with long texts, objects and lists cut.

    The whole is cut too where it is long.
    """
    room = [_NODES] if room is None else room
    room[0] -= 1
    if isinstance(value, str):
        return brief(value, _TEXT)
    if not isinstance(value, dict | list):
        return value
    most = min(len(value), _ITEMS, max(0, room[0]))
    left = f"{len(value) - most:,} more" if len(value) > most else ""
    if isinstance(value, list):
        return [
            *(shorten(item, room) for item in value[:most]),
            *([Left(f"… {left}")] if left else []),
        ]
    pairs = {brief(name): shorten(item, room) for name, item in islice(value.items(), most)}
    return {**pairs, "…": left} if left else pairs


def tree(name: str, value: Any, depth: int = 0) -> str:
    """Return a value as nested HTML that opens and closes."""
    if not isinstance(value, dict | list):
        shown = json.dumps(value, ensure_ascii=False)
        return f"<div><b>{escape(name)}</b> <code>{escape(shown)}</code></div>"
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    inner = "".join(tree(str(key), item, depth + 1) for key, item in pairs)
    return (
        f"<details {'open' if depth < 2 else ''}><summary><b>{escape(name)}</b> {len(value):,}</summary>"
        f'<div style="margin-left:1.2em">{inner}</div></details>'
    )


def dump(raw: bytes | None) -> str:
    """Return bytes as hex and text, sixteen a line."""
    if raw is None:
        return _TOMBSTONE
    lines = []
    for at in range(0, min(len(raw), _BYTES), 16):
        part = raw[at : at + 16]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{at:08x}  {part.hex(' '):<47}  {shown}")
    if len(raw) > _BYTES:
        lines.append(f"… {len(raw) - _BYTES:,} more bytes")
    return "\n".join(lines) or "empty: 0 bytes"
