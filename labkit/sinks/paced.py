"""Records again at the pace of their own times, in constant memory.

A reading brings one partition after the other. So the records wait in a file for each partition,
and are merged by time; within a partition they keep their order, and one without a time, or with an
earlier one, comes with the one before it.
"""

from __future__ import annotations

import heapq
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from operator import itemgetter
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from labkit.errors import UsageError
from labkit.replay.records import RAW_SCHEMA
from labkit.waiting.interrupt import Cancelled

_LOOK_S = 0.1  # how often a wait looks whether it is over
_FASTEST = 1e6


class Record(NamedTuple):
    """What of a record is written again."""

    time_ms: int | None
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] | None


def records(batch: pa.RecordBatch) -> Iterator[Record]:
    """Yield the records of a raw batch."""
    columns = (batch.column(name).to_pylist() for name in ("partition", "key", "value", "headers"))
    times = batch.column("timestamp").cast(pa.int64()).to_pylist()
    for time_ms, partition, key, value, headers in zip(times, *columns, strict=True):
        pairs = [(header["key"], header["value"]) for header in headers] if headers else None
        yield Record(time_ms, partition, key, value, pairs)


def factor_of(speed: str) -> float:
    """Return how many times faster than written: 1 for ``"original"``, 10 for ``"10x"``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)x", speed) if isinstance(speed, str) else None
    factor = 1.0 if speed == "original" else float(match[1]) if match else 0.0
    if not 0 < factor <= _FASTEST:
        raise UsageError(
            f"speed must be 'original', or a factor such as '10x' or '0.5x', not {speed!r}",
            hint="left out, the records come as fast as they can",
        )
    return factor


def pace_records(
    batches: Iterable[pa.RecordBatch],
    factor: float,
    wait: Callable[[float], object],
    cancelled: Cancelled,
) -> Iterator[Record]:
    """Yield records when their turn comes, counted from the earliest; ends early when cancelled.

    Parameters
    ----------
    batches : iterable of RecordBatch
        Raw; all are read before the first record comes.
    factor : float
        How many times faster than they were written.
    wait : callable
        Waits for so many seconds at most.
    """
    with ExitStack() as files:
        merged = heapq.merge(
            *(_clock(file) for file in _by_partition(batches, files)), key=itemgetter(0)
        )
        began: tuple[float, int] | None = None
        for clock, record in merged:
            began = began or (time.monotonic(), clock)
            due = began[0] + (clock - began[1]) / 1000 / factor
            while not cancelled() and (left := due - time.monotonic()) > 0:
                wait(min(left, _LOOK_S))
            if cancelled():
                return
            yield record


def _by_partition(batches: Iterable[pa.RecordBatch], files: ExitStack) -> list[IO[bytes]]:
    """Write each partition's records as a nameless Arrow file."""
    open_files: dict[int, tuple[IO[bytes], Any]] = {}
    for batch in batches:
        for partition in pc.unique(batch.column("partition")).to_pylist():
            if partition not in open_files:
                file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
                files.callback(file.close)
                options = pa.ipc.IpcWriteOptions(compression="zstd", emit_dictionary_deltas=True)
                open_files[partition] = file, pa.ipc.new_stream(file, RAW_SCHEMA, options=options)
            open_files[partition][1].write_batch(
                batch.filter(pc.equal(batch.column("partition"), partition))
            )
    for written, writer in open_files.values():
        writer.close()
        written.seek(0)
    return [written for written, _ in open_files.values()]


def _clock(file: IO[bytes]) -> Iterator[tuple[int, Record]]:
    """Yield a partition's records with the latest time until then.

    Before the first time, that one.
    """
    clock: int | None = None
    waiting: list[Record] = []
    for batch in pa.ipc.open_stream(file):
        for record in records(batch):
            if record.time_ms is not None:
                clock = record.time_ms if clock is None else max(clock, record.time_ms)
            waiting.append(record)
            if clock is not None:
                yield from ((clock, earlier) for earlier in waiting)
                waiting.clear()
    yield from ((0, record) for record in waiting)  # none of them has a time: at once
