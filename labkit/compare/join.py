"""Both sides spilled to disk as they come, then joined by DuckDB within a memory limit: their size does not matter."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labkit.compare import rules
from labkit.compare.sides import SCHEMA, Side
from labkit.errors import LabkitError, ServerError, UsageError

MEMORY_MB = 256
BATCH_BYTES = 8_000_000
_SPILLED = pa.schema([("key", pa.string()), *SCHEMA])
# two ways to write the same time: as text, or as a number of milliseconds
_STAMP = """coalesce(stamp, epoch_ms(try_cast(try(json_extract_string(source, $time)) as timestamptz)),
                     try_cast(try(json_extract_string(source, $time)) as bigint))"""
_JOIN = f"""
    with l as (select * replace ({_STAMP} as stamp) from read_parquet($left) where key is not null),
         r as (select * replace ({_STAMP} as stamp) from read_parquet($right) where key is not null)
    select coalesce(l.key, r.key) key, l.id left_id, r.id right_id, l.source left_source,
           case when l.source = r.source then null else r.source end right_source,
           coalesce(l.source = r.source, false) same, coalesce(l.stamp, r.stamp) stamp
    from l full outer join r on l.key = r.key
"""
_TWICE = """
    create table twice as select key, sum(l)::bigint "left", sum(r)::bigint "right"
    from (select key, 1 l, 0 r from read_parquet($left) union all select key, 0, 1 from read_parquet($right))
    where key is not null group by key having sum(l) > 1 or sum(r) > 1
"""


class Spill:
    """A folder with both sides as Parquet files; gone when the block ends.

    Parameters
    ----------
    keys : sequence of str
        Fields whose values pair documents; empty: by origin.
    time : str
        The field that says when.
    """

    def __init__(self, keys: Sequence[str], time: str) -> None:
        self._keys = [tuple(key.split(".")) for key in keys]
        self._time = "$" + "".join(f'."{part}"' for part in ([time] if time.startswith("@") else time.split(".")))
        with _disk():
            self._folder = tempfile.TemporaryDirectory(prefix="labkit-compare-", ignore_cleanup_errors=True)
            self._paths = [Path(self._folder.name) / name for name in ("left.parquet", "right.parquet")]
            self._writers = [pq.ParquetWriter(path, _SPILLED, compression="zstd") for path in self._paths]
        self._rows, self._bytes = 0, 0
        self.keyless = [0, 0]

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()
        self._folder.cleanup()

    def close(self) -> None:
        """End the files."""
        for writer in self._writers:
            writer.close()

    def add(self, number: int, batch: pa.RecordBatch) -> None:
        """Write a batch of a side: 0 left, 1 right."""
        key = self._key(batch.column("source")) if self._keys else batch.column("id")
        self.keyless[number] += key.null_count
        table = pa.RecordBatch.from_arrays([key, *batch.columns], schema=_SPILLED)
        self._rows, self._bytes = self._rows + len(batch), self._bytes + batch.nbytes
        with _disk():
            self._writers[number].write_batch(table)

    def _key(self, sources: pa.StringArray) -> pa.StringArray:
        """Return each document's key as JSON, written so that equal values are equal texts."""
        documents = map(rules.loads, sources.to_pylist(), rules.long_numbers(sources).to_pylist())
        return pa.array([_key_of(document, self._keys) for document in documents], pa.string())

    @contextmanager
    def joined(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, Callable[[], Iterator[pa.RecordBatch]]]]:
        """Yield a connection that knows the table ``twice``, and a function that returns the pairs in batches."""
        self.close()
        with _disk(), duckdb.connect(config={"temp_directory": str(Path(self._folder.name) / "duckdb")}) as connection:
            connection.execute("set timezone = 'UTC'; set preserve_insertion_order = false; set threads = 2")
            connection.execute("set enable_progress_bar = false")  # it writes to standard output
            connection.execute(f"set memory_limit = '{MEMORY_MB}MB'")
            files = {"left": str(self._paths[0]), "right": str(self._paths[1])}
            connection.execute(_TWICE, files)
            yield connection, lambda: self._pairs(connection, {**files, "time": self._time})

    def _pairs(self, connection: duckdb.DuckDBPyConnection, parameters: dict[str, Any]) -> Iterator[pa.RecordBatch]:
        rows = max(1, min(8192, BATCH_BYTES * self._rows // max(1, self._bytes)))
        some = connection.sql("select count(*) from twice").fetchall()[0][0]
        where = "where coalesce(l.key, r.key) not in (select key from twice)" if some else ""
        with _disk():
            yield from connection.sql(_JOIN + where, params=parameters).to_arrow_reader(rows)


def _key_of(document: Any, paths: Sequence[tuple[str, ...]]) -> str | None:
    found = []
    for path in paths:
        value = document.get(".".join(path)) if isinstance(document, dict) else None
        if value is None:
            value = document
            for name in path:
                value = value.get(name) if isinstance(value, dict) else None
        if rules.nothing(value):
            return None
        found.append(rules.canonical(value))
    return rules.dumps(found)


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


def read_both(spill: Spill, sides: tuple[Side, Side], stop: Callable[[], bool], advance: Any) -> None:
    """Read both sides, a batch of each in turn, so that both are read at about the same time."""
    streams = {number: side.batches(stop) for number, side in enumerate(sides)}
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
                    advance(len(batch), pc.sum(pc.binary_length(batch.column("source"))).as_py() or 0)
    finally:
        for stream in streams.values():
            stream.close()  # type: ignore[attr-defined]
