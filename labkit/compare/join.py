"""Join two sides that are larger than memory: spilled to disk in parts by key, joined by DuckDB.

Equal keys are in the same part, so a part of each side is all that is in memory: their size does
not matter.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from labkit.compare import rules
from labkit.compare.inputs import SCHEMA, Side
from labkit.config.working_folder import working_folder
from labkit.errors import LabkitError, ServerError, UsageError
from labkit.tables.duckdb_sql import connect, duckdb
from labkit.waiting.interrupt import Cancelled

PARTS = 64
# parts are joined together up to this size; one that alone is larger, DuckDB puts on disk
JOIN_BYTES = 32_000_000
# split among the parts at once: smaller batches cost more, to write and to join
HELD_BYTES = 16_000_000
MEMORY_MB = 256
BATCH_BYTES = 8_000_000
# its place among its side's rows
_SPILLED = pa.schema([("key", pa.string()), *SCHEMA, ("place", pa.int64())])
# two ways to write the same time: as text, or as a number of milliseconds
_STAMP = """coalesce(stamp, epoch_ms(try_cast(try(json_extract_string(source, $time)) as timestamptz)),
                     try_cast(try(json_extract_string(source, $time)) as bigint))"""
_JOIN = f"""
    with l as (select * replace ({_STAMP} as stamp) from left_side),
         r as (select * replace ({_STAMP} as stamp) from right_side)
    select coalesce(l.key, r.key) key, l.id left_id, r.id right_id, l.source left_source,
           case when l.source = r.source then null else r.source end right_source,
           coalesce(l.source = r.source, false) same, coalesce(l.stamp, r.stamp) stamp
    from l full outer join r on l.key = r.key {{where}}
    order by coalesce(l.place, r.place), l.place is null
"""
_TWICE = """
    insert into twice select key, sum(l)::bigint, sum(r)::bigint
    from (select key, 1 l, 0 r from left_side union all select key, 0, 1 from right_side)
    group by key having sum(l) > 1 or sum(r) > 1
"""


class _Parts:
    """One side's file: Arrow batches, each of rows of one part.

    Attributes
    ----------
    rows : int
        How many were added.
    sizes : ndarray
        Bytes by part, before compression; whole once the file is ended.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: list[list[int]] = [[] for _ in range(PARTS)]
        self._writer = pa.ipc.new_file(
            path, _SPILLED, options=pa.ipc.IpcWriteOptions(compression="zstd")
        )
        self._batches = 0
        self._held: list[pa.RecordBatch] = []
        self._held_bytes = 0
        self.rows, self.sizes = 0, np.zeros(PARTS, np.int64)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows, none without a key."""
        place = np.arange(self.rows, self.rows + len(batch))
        self._held.append(
            pa.RecordBatch.from_arrays([*batch.columns, pa.array(place)], schema=_SPILLED)
        )
        self._held_bytes += batch.nbytes
        self.rows += len(batch)
        if self._held_bytes >= HELD_BYTES:
            self._write()

    def _write(self) -> None:
        """Write what is held, each row to its part."""
        if not self._held:
            return
        batch = pa.concat_batches(self._held)
        self._held, self._held_bytes = [], 0
        part = (pl.from_arrow(batch.column("key")).hash() % PARTS).to_numpy()  # type: ignore[union-attr]
        order = np.argsort(part, kind="stable")
        ends = np.searchsorted(part[order], np.arange(PARTS + 1))
        batch = batch.take(pa.array(order))
        for number in np.flatnonzero(np.diff(ends)):
            rows = batch.slice(ends[number], ends[number + 1] - ends[number])
            self._writer.write_batch(rows)
            self._places[number].append(self._batches)
            self._batches += 1
            self.sizes[number] += rows.nbytes

    def end(self) -> None:
        """Write what is left; then the file can be read."""
        self._write()
        self._writer.close()

    def read(
        self, parts: Sequence[int], columns: Sequence[str] = _SPILLED.names
    ) -> pa.RecordBatchReader:
        """Return the rows of some parts, in batches."""
        options = pa.ipc.IpcReadOptions(
            included_fields=[_SPILLED.get_field_index(name) for name in columns]
        )
        schema = pa.schema([_SPILLED.field(name) for name in columns])

        def batches() -> Iterator[pa.RecordBatch]:
            with pa.OSFile(str(self._path)) as file:
                reader = pa.ipc.open_file(file, options=options)
                for part in parts:
                    yield from map(reader.get_batch, self._places[part])

        return pa.RecordBatchReader.from_batches(schema, batches())


class Spill:
    """A folder with a file for each side; gone when the block ends.

    Parameters
    ----------
    keys : sequence of str
        Fields whose values pair documents; empty: by origin.
    time_field : str
        The field that says when.
    """

    def __init__(self, keys: Sequence[str], time_field: str) -> None:
        self._keys = [tuple(key.split(".")) for key in keys]
        self._time = "$" + "".join(
            f'."{part}"'
            for part in ([time_field] if time_field.startswith("@") else time_field.split("."))
        )
        self._ending = ExitStack()
        with _disk():
            self._folder = self._ending.enter_context(working_folder())
            self._sides = [_Parts(self._folder / name) for name in ("left.arrow", "right.arrow")]
        self.keyless = [0, 0]

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def add(self, number: int, batch: pa.RecordBatch) -> None:
        """Write a batch of a side: 0 left, 1 right."""
        key = self._key(batch.column("source")) if self._keys else batch.column("id")
        self.keyless[number] += key.null_count
        keyed = batch.add_column(0, "key", key)
        with _disk():
            self._sides[number].add(keyed.filter(pc.is_valid(key)) if key.null_count else keyed)

    def _key(self, sources: pa.StringArray) -> pa.StringArray:
        """Return each document's key as JSON, written so that equal values are equal texts."""
        documents = map(
            _load_document, sources.to_pylist(), rules.long_numbers(sources).to_pylist()
        )
        return pa.array([_key_of(document, self._keys) for document in documents], pa.string())

    @contextmanager
    def join_sides(
        self,
    ) -> Iterator[tuple[duckdb.DuckDBPyConnection, Callable[[], Iterator[pa.RecordBatch]]]]:
        """Yield a connection that knows the table ``twice``, and a function.

        The function returns the pairs in batches.
        """
        with _disk():
            for side in self._sides:
                side.end()
        spilled = str(self._folder / "duckdb")
        with _disk(), connect(files=True, locked=False, temp_directory=spilled) as connection:
            connection.execute("set preserve_insertion_order = false; set threads = 2")
            connection.execute(f"set memory_limit = '{MEMORY_MB}MB'")
            connection.execute('create table twice (key text, "left" bigint, "right" bigint)')
            for parts in self._groups():
                self._show(connection, parts, ["key"])
                connection.execute(_TWICE)
            yield connection, lambda: self._pairs(connection)

    def _pairs(self, connection: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
        total = sum(side.rows for side in self._sides)
        size = int(sum(side.sizes.sum() for side in self._sides))
        rows = max(1, min(8192, BATCH_BYTES * total // max(1, size)))
        twice_count = connection.sql("select count(*) from twice").fetchall()[0][0]
        where = "where coalesce(l.key, r.key) not in (select key from twice)" if twice_count else ""
        with _disk():
            for parts in self._groups():
                self._show(connection, parts, _SPILLED.names)
                yield from connection.sql(
                    _JOIN.format(where=where), params={"time": self._time}
                ).to_arrow_reader(rows)

    def _show(
        self, connection: duckdb.DuckDBPyConnection, parts: Sequence[int], columns: Sequence[str]
    ) -> None:
        for name, side in zip(("left_side", "right_side"), self._sides, strict=True):
            connection.register(name, side.read(parts, columns))

    def _groups(self) -> list[list[int]]:
        """Return the parts that are joined together: small comparisons need one join."""
        groups: list[list[int]] = [[]]
        room = JOIN_BYTES
        for part, size in enumerate(self._sides[0].sizes + self._sides[1].sizes):
            if size > room and groups[-1]:
                groups.append([])
                room = JOIN_BYTES
            groups[-1].append(part)
            room -= size
        return groups


def _load_document(text: str, long: bool) -> Any:
    """Return a document; None when Python does not read one of its numbers.

    That is a number of too many digits; such a document has no key.
    """
    try:
        return rules.loads(text, long)
    except ValueError:
        return None


def _key_of(document: Any, paths: Sequence[tuple[str, ...]]) -> str | None:
    parts = []
    for path in paths:
        value = document.get(".".join(path)) if isinstance(document, dict) else None
        if value is None:
            value = document
            for name in path:
                value = value.get(name) if isinstance(value, dict) else None
        if rules.is_nothing(value):
            return None
        parts.append(rules.canonical(value))
    return rules.dumps(parts)


@contextmanager
def _disk() -> Iterator[None]:
    """Turn a full disk and a memory limit into errors that say what to do."""
    try:
        yield
    except LabkitError:
        raise
    except OSError as error:
        raise UsageError(
            f"the sides cannot be kept in {tempfile.gettempdir()}: {error.strerror or error}",
            hint="a comparison keeps both there while it works: free some space, or set TMPDIR to another disk",
        ) from error
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        raise ServerError(
            f"the comparison does not fit into {MEMORY_MB} MB and the disk at {tempfile.gettempdir()}: {error}",
            hint="compare a shorter window or fewer fields, free some space, or set TMPDIR to another disk",
        ) from error


def read_both(spill: Spill, sides: tuple[Side, Side], cancelled: Cancelled, advance: Any) -> None:
    """Read both sides, a batch of each in turn, so that both are read at about the same time."""
    streams = {number: side.batches(cancelled) for number, side in enumerate(sides)}
    try:
        while streams:
            for number, stream in list(streams.items()):
                batch = next(stream, None)
                if batch is None:
                    del streams[number]
                    continue
                sides[number].documents += len(batch)
                spill.add(number, batch)
                if advance:
                    advance(
                        len(batch), pc.sum(pc.binary_length(batch.column("source"))).as_py() or 0
                    )
    finally:
        for stream in streams.values():
            stream.close()  # type: ignore[attr-defined]
