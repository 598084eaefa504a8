"""What can be browsed: a topic, a window, a replay, an index.

Read once, with a cap that is said.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from typing import Any

import pyarrow as pa

from labkit.decode import Spec
from labkit.decode.schema_files import SchemaFile
from labkit.errors import NotFoundError, UsageError
from labkit.es.index import Index
from labkit.lab import Lab
from labkit.notebook.browse.records import time_path
from labkit.replay.plan import by_last_records
from labkit.sinks.replay import Replay
from labkit.sinks.scratch import Load
from labkit.times import now_ms
from labkit.window import Window

LAST = 100_000  # records of a topic given by its name
MOST_PARTITIONS = 16  # whose offsets stand in the code
MOST = 1_000_000  # records of a window, documents of an index
TIMES = ("@timestamp", "timestamp", "time", "_kafka.timestamp")  # fields of documents that say when


@dataclass(frozen=True)
class Source:
    """Records to look at, and how to say where they are from.

    Attributes
    ----------
    title : str
    table : pyarrow.Table
    time_field : str
    said : str
        What of it is here; the reader must see it where it is not all.
    whole : bool
        Whether all of it is here.
    code : callable
        Takes a condition or None, returns the lines that make the same records.
    replay : Replay or None
    window : Window or None
    zone : tzinfo
        In which times are shown.
    """

    title: str
    table: pa.Table
    time_field: str
    said: str
    whole: bool
    code: Callable[[str | None], str]
    replay: Replay | None = None
    window: Window | None = None
    index: Index | None = None
    decode: Spec | None = None
    asked: str = ""
    zone: tzinfo = UTC

    @property
    def name(self) -> str:
        """The name of the topic or index."""
        if self.index is not None:
            return self.index.name
        if self.window is not None:
            return self.window.topic
        return self.replay.receipt.topic if self.replay is not None else "records"

    @property
    def named(self) -> dict[str, Any]:
        """What finds the same records again: a frozen window, or an index; nothing for a Replay."""
        if self.index is not None:
            return {"index": self.index.name, "target": self.index.target.name}
        return {} if self.window is None else {"window": json.loads(self.window.to_json())}


def open_source(
    lab: Lab | None, what: Any, *, decode: Spec | None, time_field: str | None, limit: int | None
) -> Source:
    """Return what is to be browsed.

    Raises
    ------
    UsageError
        When it is nothing that can be.
    NotFoundError
        When there is no topic and no index of that name.
    """
    if isinstance(what, Load):
        what = what.index
    if isinstance(what, str):
        what = _named(_given(lab), what)
        limit = limit or LAST
    if isinstance(what, Window):
        return _of_window(what, decode, limit)
    if isinstance(what, Replay):
        return _of_replay(
            what, f"a replay of {what.receipt.topic}", lambda where: _filter_code("r", where), None
        )
    if isinstance(what, Index):
        return _of_index(what, time_field, limit)
    raise UsageError(
        f"browse() takes a topic's or an index's name, a Window, a Replay or an index, not {type(what).__name__}",
        hint='such as widgets.browse(lab, "irc")',
    )


def _given(lab: Lab | None) -> Lab:
    if lab is None:
        from labkit.lab import connect

        return connect()
    return lab


def _named(lab: Lab, name: str) -> Window | Index:
    if name in lab.cluster.topics():
        return lab.window(name)
    index = lab.index(name)
    try:
        index.count()
    except NotFoundError as error:
        lab.cluster.partitions(name)  # says what is wrong with the topic's name
        raise error
    return index


def _of_window(window: Window, decode: Spec | None, limit: int | None) -> Source:
    part = _newest(window, limit or MOST)
    replay = part.read(decode=decode)

    source = _of_replay(
        replay,
        f"topic {window.topic}, {window.plan.asked}",
        code_of_window(part, decode),
        part,
        decode,
    )
    if len(part) == len(window):
        return source
    extent = f"the newest {len(part):,} of {len(window):,} records: limit={len(window):_} reads all"
    return replace(source, said=extent, whole=False)


def code_of_window(window: Window, decode: Spec | None) -> Callable[[str | None], str]:
    """Return a function that returns the lines which read a window's same records.

    It takes a condition or None.
    """

    def code(where: str | None) -> str:
        return f"{_window_code(window)}\n{_read_code(where, decode)}"

    return code


def _newest(window: Window, most: int) -> Window:
    """Return the window's newest records, at most so many.

    They are those that `Lab.window` finds with ``last=``.
    """
    if len(window) <= most:
        return window
    spans = {part.partition: (part.start, part.end) for part in window.plan.ranges}
    asked_text = f"the newest {most:,} records of {window.plan.asked}"

    def bounds(at: str | int) -> dict[int, int]:
        """Return the window's own bounds, for the log's."""
        if isinstance(at, str):
            return {partition: span[at != "earliest"] for partition, span in spans.items()}
        offsets = window.lab.cluster.bounds(window.topic, spans, at)
        return {
            partition: -1
            if offset < 0 or offset >= spans[partition][1]
            else max(offset, spans[partition][0])
            for partition, offset in offsets.items()
        }

    newest_plan = by_last_records(bounds, most, now_ms())
    return Window(replace(window.plan, ranges=newest_plan.ranges, asked=asked_text), window.lab)


def _of_replay(
    replay: Replay,
    title: str,
    code: Callable[[str | None], str],
    window: Window | None,
    decode: Spec | None = None,
) -> Source:
    receipt = replay.receipt
    extent = f"{len(replay):,} records" if receipt.complete else receipt.shortfall
    return Source(
        title,
        replay.table,
        "_timestamp",
        extent,
        receipt.complete,
        code,
        replay,
        window,
        decode=decode,
        zone=replay.timezone,
    )


def _window_code(window: Window) -> str:
    """Return the line that makes the same frozen window."""
    plan = window.plan
    if plan.start_ms is None and plan.end_ms is None and len(plan.ranges) <= MOST_PARTITIONS:
        spans = {part.partition: (part.start, part.end) for part in plan.ranges}
        return f"w = lab.window({json.dumps(plan.topic)}, offsets={spans})"
    return f"w = labkit.Window.from_json({window.to_json()!r})"


def _read_code(where: str | None, decode: Spec | None) -> str:
    options = [f"decode={decode!r}"] if isinstance(decode, str | SchemaFile) else []
    options += [f"where={where!r}"] if where else []
    return f"r = w.read({', '.join(options)})"


def _filter_code(name: str, where: str | None) -> str:
    return (
        f'df = {name}.sql("""select * from replay where {where}""")'
        if where
        else f"df = {name}.to_pandas()"
    )


def _of_index(index: Index, time_field: str | None, limit: int | None) -> Source:
    most = limit or LAST
    total = index.count()
    table = index.to_arrow(limit=most)
    name = time_field or next((name for name in TIMES if time_path(table, name)), "")
    if time_field and not time_path(table, time_field):
        raise UsageError(
            f"the documents have no field {time_field!r}",
            hint=f"fields: {', '.join(table.column_names)}",
        )

    def code(where: str | None) -> str:
        line = (
            f"df = lab.index({index.name!r}, target={index.target.name!r}).to_pandas(limit={most})"
        )
        return f"{line}\n# where {where}" if where else line

    complete = len(table) >= total
    extent = (
        f"{len(table):,} documents"
        if complete
        else f"{len(table):,} of {total:,} documents: limit={total:_} reads all"
    )
    title = f"index {index.name} on {index.target.name}"
    return Source(
        title,
        table.replace_schema_metadata(None),
        name,
        extent,
        complete,
        code,
        index=index,
        zone=index.timezone,
    )
