"""Follow a topic: its newest records as they come, with pause and filter.

No group joins, nothing is committed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Hashable
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as ipy
import pyarrow as pa

from labkit.decode import Spec, cells, open_named
from labkit.decode.table import from_batches
from labkit.lab import Lab
from labkit.notebook.browse.browsed import whole_ms
from labkit.notebook.live_widget import LiveWidget
from labkit.replay.follow import Follower
from labkit.tables.dataframe import in_zone, to_pandas
from labkit.text import html
from labkit.text.counts import number_of
from labkit.text.visible import text_table

if TYPE_CHECKING:
    import pandas as pd

_KEPT = 2_000  # records a filter looks through
_KEPT_BYTES = 20_000_000  # they are decoded with each step: larger ones would hold up the kernel
_STEP_S = 0.3
_COLUMNS = 12  # that are shown
_MOST = 48  # characters of a cell
_HEIGHT = "640px"  # twenty records and the scroll bar
_PLACE = ("_partition", "_offset")
_HIDDEN = ["_topic", "_timestamp_type", "_headers", "_key"]


class Tail(LiveWidget):
    """A live tail; ``.frame`` has what it shows."""

    def __init__(
        self, lab: Lab, topic: str, *, last: int, rows: int, decode: Spec | None, limit: str
    ) -> None:
        super().__init__(every_s=_STEP_S, limit=limit)
        self.lab = lab
        self._topic = topic
        self._rows = rows
        self._decode = open_named(lab.decoders(topic, decode)[0])
        self._last = last
        lab.cluster.partitions(topic)  # says at once when there is no such topic
        self._kept: list[pa.RecordBatch] = []
        from_batches([], self._decode, registry=lab.registry)  # and when there is no such decoder
        self._follower: Follower | None = None
        self._drawing = threading.Lock()  # what came and what is typed are drawn by two threads
        self.pause = ipy.ToggleButton(description="pause", icon="pause")
        self.filter = ipy.Text(
            placeholder="show only records with this text", continuous_update=True
        )
        bar = ipy.HBox(
            [self.pause, self.stop_button, self.filter, self.state],
            layout=ipy.Layout(flex_flow="row wrap"),
        )
        self.box = ipy.VBox([bar, self.view])
        self.filter.observe(lambda _: self._draw(), "value")

    # life --------------------------------------------------------------------------------------------

    def _still(self) -> dict[str, str]:
        return {"text/plain": self.text()}  # the picture shows what it saw, and it saw nothing yet

    def _begin(self) -> None:
        self._follower = Follower(self.lab.cluster, self._topic, last=self._last)

    def _end(self, why: str) -> None:
        super()._end(why)
        if self._follower is not None:
            self._follower.close()

    def _words(self) -> str:
        if self._follower is None:
            return ""
        skipped = f", {self._follower.skipped:,} skipped" if self._follower.skipped else ""
        trouble = f"; {escape(self._follower.trouble)}" if self._follower.trouble else ""
        notes = "".join(f"; <b>{escape(note)}</b>" for note in self._follower.notes.values())
        return f"{number_of(self._follower.seen, 'record')} seen{skipped}{trouble}{notes}"

    def _step(self) -> None:
        if self.pause.value or self._follower is None:
            self.state.value = f"paused; {self._words()}"
            return
        batch = self._follower.take()
        if batch is not None:
            self._kept = newest([*self._kept, batch])
            self._draw()
        self.state.value = self._words()

    # showing -----------------------------------------------------------------------------------------

    @property
    def frame(self) -> pd.DataFrame:
        """The newest records that have the filter's text, decoded, oldest first."""
        frame = to_pandas(from_batches(list(self._kept), self._decode, registry=self.lab.registry))
        frame = in_zone(frame.sort_values("_timestamp", kind="stable"), self.lab.timezone)
        newest: pd.DataFrame = frame[_having(frame, self.filter.value)].tail(self._rows)
        return newest

    def _draw(self) -> None:
        with self._drawing:
            self.view.value = self._table()
        self._renew_picture()

    def _table(self) -> str:
        frame = _choose_columns(self.frame)
        place = [name for name in _PLACE if name in frame]
        fields = [name for name in frame if name not in place]
        left = len(frame.columns) - _COLUMNS
        more = f"<p>{number_of(left, 'more column')}</p>" if left > 0 else ""
        newest_first = frame[[*fields[: _COLUMNS - len(place)], *place]].iloc[::-1]
        names = [
            f"time ({self.lab.timezone})" if name == "_timestamp" else str(name)
            for name in newest_first
        ]
        table = html.table(names, cells.rows(newest_first, _narrow_cell), one_line=True)
        return html.show_html(
            f'<div style="max-height:{_HEIGHT};overflow:auto;line-height:1.4">{table}{more}</div>'
        )

    def picture(self) -> str:
        """Return the newest records as they were last."""
        return f"<b>{escape(self._topic)}</b>{self.view.value}<div>{self.state.value}</div>"

    @property
    def code(self) -> str:
        """The line that makes it."""
        return f"labkit.widgets.tail(topic={json.dumps(self._topic)}, last={self._last})"

    def text(self) -> str:
        """Return the newest records, as text."""
        replay = self.lab.window(self._topic, last=self._last).read(
            decode=self._decode, progress=False, guard=False
        )
        table = _choose_columns(replay.to_pandas().sort_values("_timestamp"))
        lines = text_table([str(name) for name in table], cells.rows(table, _short_cell))
        return f"the newest {len(table)} records of {self._topic}\n{lines}"


def _choose_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that say something, the time first and the record's place last.

    The values as they came only where no field says what a record is; no field that repeats the
    time.
    """
    bare = not cells.tells_all(frame)
    columns = frame.drop(columns=_HIDDEN, errors="ignore")
    # among them _error, most often
    empty = [name for name in columns if columns[name].isna().all()]
    times = [name for name in columns if name != "_timestamp" and _repeats_time(columns, name)]
    unused = {*empty, *times} - {"_value"} if bare else {*empty, *times, "_value"}
    fields = [name for name in columns if name not in {*unused, "_timestamp", *_PLACE}]
    order = ["_timestamp", *fields, *_PLACE]
    return columns[[name for name in order if name in columns and name not in unused]]


def _repeats_time(frame: pd.DataFrame, name: Hashable) -> bool:
    """Tell whether a field's texts are the records' times."""
    texts, times = frame[name], frame["_timestamp"]
    return bool(len(texts)) and all(
        isinstance(text, str) and whole_ms(text) == whole_ms(time)
        for text, time in zip(texts, times, strict=True)
    )


def newest(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Return the last batches, as many as have the records that are kept, or the bytes.

    The very last one always.
    """
    records = size = count = 0
    for batch in reversed(batches):
        size += batch.nbytes
        if count and (records >= _KEPT or size > _KEPT_BYTES):
            break
        records, count = records + batch.num_rows, count + 1
    return batches[len(batches) - count :]


def _having(frame: pd.DataFrame, text: str) -> Any:
    """Tell for each row whether some column's text has `text`, in any case."""
    import numpy as np

    matches = np.full(len(frame), not text)
    for name in frame.columns.difference(_HIDDEN) if text else ():
        column = frame[name].map(_readable).astype("string").fillna("")
        matches |= column.str.contains(text, case=False, regex=False).to_numpy(dtype=bool)
    return matches


def _narrow_cell(value: Any, kind: pa.DataType | None) -> str:
    """Return one line of HTML that makes no column wide; all of a text is in the inspector."""
    return cells.html_cell(_without_offset(value), kind, most=_MOST)


def _short_cell(value: Any, kind: pa.DataType | None) -> str:
    return cells.cell(value, kind, most=80)


def _without_offset(value: Any) -> Any:
    """Return a time in UTC without saying so: the column's name does."""
    is_utc = isinstance(value, datetime) and str(value.tzinfo) == "UTC"
    return value.replace(tzinfo=None) if is_utc else value


def _readable(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
