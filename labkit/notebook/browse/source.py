"""What can be browsed: a topic, a window, a replay, an index; with a cap that is shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from typing import Any

import pyarrow as pa

from labkit.decode import Spec
from labkit.decode.pipeline import FIRST, LAST
from labkit.decode.schema_files import SchemaFile
from labkit.errors import AccessError, ConfigError, LabkitError, NotFoundError, UsageError
from labkit.es.index import Index, shortfall_notes
from labkit.lab import Lab
from labkit.notebook.browse.columns import time_path
from labkit.notebook.browse.documents import Documents
from labkit.notebook.browse.es_time import TIMES
from labkit.notebook.browse.records import Records
from labkit.read_spec import ReadSource
from labkit.replay import read_log
from labkit.replay.freeze import newest_records
from labkit.replay.plan import Range
from labkit.sinks.replay import Replay, read
from labkit.sinks.scratch import Load
from labkit.text.counts import number_of
from labkit.window import Window

MOST_OF_TOPIC = 100_000  # records of a topic given by its name
AT_ONCE = 2_000  # records that are shown while the others are read
_DEADLINE = "10s"  # of these: an open transaction must not hold them for ever
MOST_PARTITIONS = 16  # whose offsets stand in the code
MOST = 1_000_000  # records of a window


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
    documents : Documents or None
        Of an index that is looked at where it is; the table is empty then.
    replay : Replay or None
    window : Window or None
    zone : tzinfo
        In which times are shown.
    within : Window or None
        What the caller named; `window` is the newest part of it, or all.
    begun : bool
        Whether the table has only the newest records of `window`: `read_part` reads all.
    """

    title: str
    table: pa.Table
    time_field: str
    said: str
    whole: bool
    code: Callable[[Any], str]
    replay: Replay | None = None
    window: Window | None = None
    index: Index | None = None
    decode: Spec | None = None
    asked: str = ""
    zone: tzinfo = UTC
    within: Window | None = None
    begun: bool = False
    documents: Documents | None = None

    def look(self) -> Records | Documents:
        """Return what answers clicks."""
        return self.documents or Records(self.table, self.time_field, self.zone)

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
    lab: Lab | None,
    what: Any,
    *,
    decode: Spec | None,
    time_field: str | None,
    limit: int | None,
    at_once: bool = False,
) -> Source:
    """Return what is to be browsed.

    Parameters
    ----------
    at_once : bool
        Read only the newest records of a window; `read_part` reads all of it.

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
        what = _open_name(_lab_or_default(lab), what)
        limit = limit or (MOST_OF_TOPIC if isinstance(what, Window) else None)
    if isinstance(what, Window):
        return _of_window(what, decode, limit or MOST, at_once=at_once)
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


def _lab_or_default(lab: Lab | None) -> Lab:
    if lab is None:
        from labkit.lab import connect

        return connect()
    return lab


def _open_name(lab: Lab, name: str) -> Window | Index:
    """Open a topic, or else an index; of a name that is neither, say why it is no topic."""
    if name in lab.cluster.topics():
        return lab.window(name)
    try:
        index = lab.index(name)
        index._count()
    except (ConfigError, NotFoundError, UsageError):
        lab.cluster.partitions(name)  # says what is wrong with the topic's name
        raise
    except AccessError as error:
        with suppress(NotFoundError):  # an index is meant
            _require_topic(lab, name, error)
        raise
    return index


def _require_topic(lab: Lab, name: str, index_error: AccessError) -> None:
    """Raise why a name may be looked at neither as a topic nor as an index."""
    try:
        lab.cluster.partitions(name)
    except AccessError as error:
        raise AccessError(
            f"{name!r} may be read neither as a topic nor as an index: {error.message}; {index_error.message}",
            hint=f"a topic: {error.hint}; an index: {index_error.hint}",
        ) from error


def _of_window(window: Window, decode: Spec | None, most: int, *, at_once: bool) -> Source:
    part = newest(window, most)
    first = newest(part, AT_ONCE) if at_once else part
    if len(first) == len(part):
        replay = part.read(decode=decode, progress=False if at_once else None)
    else:
        replay = first.read(decode=decode, deadline=_DEADLINE, guard=False, progress=False)
    if decode is None and replay.receipt.undecodable == len(replay) > 0:
        replay, decode = _decode_by_sample(replay)
    source = _of_part(window, part, decode, replay)
    if len(first) == len(part):
        return source
    said = f"the newest {len(replay):,} of {len(part):,} records; reading the others"
    return replace(source, replay=None, said=said, whole=False, begun=True)


def _decode_by_sample(replay: Replay) -> tuple[Replay, Spec | None]:
    """Decode records of which none was; where a sample tells no format, they stay as they are."""
    try:
        decoded = replay.decode("auto")
    except LabkitError:  # such as a registry that does not answer: each row has its _error
        return replay, None
    has_fields = not {*FIRST, *LAST}.issuperset(decoded.table.column_names)
    return (decoded, "auto") if has_fields else (replay, None)


def _count_undecoded(replay: Replay) -> str:
    """Return how many records could not be decoded, in words; empty without any."""
    count = replay.receipt.undecodable
    return f", {count:,} of them not decoded (see _error)" if count else ""


def read_part(source: Source, advance: Callable[[int, int], None]) -> Source:
    """Read all of a window of which only the newest records are here.

    `advance` is called with how many records and bytes came with each batch; what it raises ends it.
    """
    part, within = source.window, source.within
    if part is None or within is None:
        return source
    records = ReadSource.of(part, decode=source.decode)
    reading = records.spec.reading(part.lab.cluster, part.plan, advance)
    replay = read(replace(records, reading=reading))
    read_log.record(part.plan, replay.receipt, "read")
    return _of_part(within, part, source.decode, replay.in_zone(part.lab.timezone))


def _of_part(window: Window, part: Window, decode: Spec | None, replay: Replay) -> Source:
    title = f"topic {window.topic}, {window.plan.asked}"
    source = replace(
        _of_replay(replay, title, code_of_window(part, decode), part, decode), within=window
    )
    if len(part) == len(window) or not source.whole:
        return source
    said = f"the newest {len(part):,} of {len(window):,} records{_count_undecoded(replay)}"
    return replace(source, said=said, whole=False)


def some_partitions(window: Window, partitions: Sequence[int]) -> Window:
    """Return a window's records of these partitions; of all without any."""
    ranges = tuple(one for one in window.plan.ranges if one.partition in partitions)
    if not ranges or len(ranges) == len(window.plan.ranges):
        return window
    numbers = ", ".join(str(one.partition) for one in ranges)
    asked = f"{window.plan.asked}, partition{'s' if len(ranges) > 1 else ''} {numbers}"
    return Window(replace(window.plan, ranges=ranges, asked=asked), window.lab)


def with_ends(window: Window, ranges: Sequence[Range]) -> Window:
    """Return a window that also has the records up to the ends of `ranges`."""
    ends = {one.partition: one for one in ranges}
    longer = tuple(
        replace(one, end=ends[one.partition].end, log_end=ends[one.partition].log_end)
        if one.partition in ends and ends[one.partition].end > one.end
        else one
        for one in window.plan.ranges
    )
    return (
        window
        if longer == window.plan.ranges
        else Window(replace(window.plan, ranges=longer), window.lab)
    )


def code_of_window(window: Window, decode: Spec | None) -> Callable[[str | None], str]:
    """Return a function that returns the lines which read a window's same records.

    It takes a condition or None.
    """

    def code(where: str | None) -> str:
        return f"{_window_code(window)}\n{_read_code(where, decode)}"

    return code


def newest(window: Window, most: int) -> Window:
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

    newest_plan = newest_records(window.lab.cluster, window.topic, spans, most, bounds)
    return Window(replace(window.plan, ranges=newest_plan.ranges, asked=asked_text), window.lab)


def _of_replay(
    replay: Replay,
    title: str,
    code: Callable[[str | None], str],
    window: Window | None,
    decode: Spec | None = None,
) -> Source:
    receipt = replay.receipt
    extent = number_of(len(replay), "record") if receipt.complete else receipt.shortfall
    extent += _count_undecoded(replay) if receipt.complete else ""
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
    if not plan.is_by_time and len(plan.ranges) <= MOST_PARTITIONS:
        spans = {part.partition: (part.start, part.end) for part in plan.ranges}
        return f"w = lab.window({json.dumps(plan.topic)}, offsets={spans})"
    return f"w = labkit.Window.from_json({window.to_json()!r})"


def code_of_record(source: Source, facts: Mapping[str, str]) -> str:
    """Return the lines that read one record, or one document, of what `describe` tells of it."""
    if source.index is not None:
        query = {"ids": {"values": [facts["id"]]}}
        target = source.index.target.name
        return f"df = lab.index({facts['index']!r}, target={target!r}).to_pandas({query})"
    offset = int(facts["offset"])
    offsets = {int(facts["partition"]): (offset, offset + 1)}
    window = f"w = lab.window({json.dumps(facts['topic'])}, offsets={offsets})"
    return f"{window}\n{_read_code(None, source.decode)}"


def _read_code(where: str | None, decode: Spec | None) -> str:
    options = [f"decode={decode!r}"] if isinstance(decode, str | SchemaFile) else []
    options += [f"where={_quote(where)}"] if where else []
    return f"r = w.read({', '.join(options)})"


def _quote(text: str) -> str:
    """Return a text as Python writes it, without backslashes where that can be."""
    is_plain = "\\" not in text and text.isprintable() and not text.endswith('"')
    return f'"""{text}"""' if is_plain and "'" in text and '"' in text else repr(text)


def _filter_code(name: str, where: str | None) -> str:
    return (
        f'df = {name}.sql("""select * from replay where {where}""")'
        if where
        else f"df = {name}.to_pandas()"
    )


def _of_index(index: Index, time_field: str | None, limit: int | None) -> Source:
    title = f"index {index.name} on {index.target.name}"
    made = f"lab.index({index.name!r}, target={index.target.name!r}).to_pandas"
    shortfalls = "".join(f"; {note}" for note in shortfall_notes(index))
    if limit is None:
        documents = Documents(index, time_field or "", index.timezone)
        said = (documents.note or number_of(documents.there, "document")) + shortfalls
        all_there = not (documents.note or shortfalls)
        return Source(
            title, pa.table({}), documents.time_field, said, all_there,
            lambda query: f"df = {made}({'' if query is None else query})", index=index, zone=index.timezone,
            documents=documents,
        )  # fmt: skip
    total = index._count()
    table = index.to_arrow(limit=limit)
    name = time_field or next((name for name in TIMES if time_path(table, name)), "")
    if time_field and not time_path(table, time_field):
        raise UsageError(
            f"the documents have no field {time_field!r}",
            hint=f"fields: {', '.join(table.column_names)}",
        )

    def code(where: str | None) -> str:
        read = f"df = {made}(limit={limit})"
        return f"{read}\n# where {where}" if where else read

    whole = len(table) >= total
    said = number_of(len(table), "document")
    if not whole:
        said += f" of {total:,}, not the newest: without limit= all are looked at, where they are"
    return Source(
        title,
        table.replace_schema_metadata(None),
        name,
        said + shortfalls,
        whole and not shortfalls,
        code,
        index=index,
        zone=index.timezone,
    )
