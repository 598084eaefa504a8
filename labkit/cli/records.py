"""Records as lines, and as JSON; on a terminal no line wraps."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from labkit.text.columns import cut_around, cut_end, width_of

if TYPE_CHECKING:
    import pyarrow as pa

MOST = 2_000  # characters of a value, where no terminal cuts it


def fields_asked_for(table: pa.Table, options: argparse.Namespace) -> list[str] | None:
    """Return each record's decoded fields as JSON.

    None without ``--decode`` and ``--key-decode``: then the value is shown as it is.
    """
    from labkit.sinks.jsonl import fields

    return list(fields(table)) if options.decode or options.key_decode else None


def record_objects(
    records: pa.Table | pa.RecordBatch, values: Iterable[str] | None
) -> Iterator[str]:
    """Yield all that the topic has of each record as JSON; decoded fields beside the value."""
    from labkit.sinks.jsonl import envelopes

    if values is None:
        yield from envelopes(records)
        return
    for envelope, fields in zip(envelopes(records), values, strict=True):
        yield f'{envelope[:-1]}, "fields": {fields}}}'


def record_lines(
    records: pa.Table | pa.RecordBatch,
    values: Iterable[str] | None = None,
    place_of: Callable[[str], int] = lambda value: 0,
) -> Iterator[str]:
    """Yield a line for each record.

    Parameters
    ----------
    records : pyarrow.Table or pyarrow.RecordBatch
        As the reader gives them, without the underscores of a Replay's columns.
    values : iterable of str, optional
        What is shown of each; None is its value.
    place_of : callable
        Tells which place of a value's text must be in sight on a terminal.
    """
    from labkit.decode.cells import cell

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if values is None:
        show = cell if width is None else _whole
        values = (show(value, most=MOST) for value in records["value"].to_pylist())
    columns = [records[name].to_pylist() for name in ("timestamp", "partition", "offset", "key")]
    for time, partition, offset, key, value in zip(*columns, values, strict=True):
        # on a terminal without the zone: it is UTC
        when = cell(time)[:-6] if width and time is not None else cell(time)
        head = f"{when}  {partition}@{offset}  {cell(key, most=24 if width else 200)}  "
        if width is None:
            yield head + value
        else:
            room = max(0, width - width_of(head))
            yield cut_end(head + cut_around(value, room, place_of(value)), width)


def _whole(value: bytes | None, *, most: int) -> str:
    """Return a value's text in full, for what must be in sight; of bytes that are none a part."""
    from labkit.decode.cells import as_json_text, cell

    try:
        text = None if value is None else value.decode()
    except UnicodeDecodeError:
        text = None
    return cell(value, most=most) if text is None else as_json_text(text, most=sys.maxsize)
