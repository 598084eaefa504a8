"""A table, or batches, as one file in constant memory; the file appears when it is whole."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol, Self, TypeAlias, TypeVar

import pyarrow as pa

from labkit.decode.pipeline import ahead
from labkit.errors import LabkitError, UsageError

# batches waiting decoded while the next is: two take 20 MB more and no less time, measured
PENDING = 1
_ROWS = 20_000  # of a table that is in memory, written at a time

Batch = TypeVar("Batch")


class Account(Protocol):
    """What was read, and what came of it: the receipt of a window, or of an index."""

    def to_json(self) -> str:
        """Return everything as JSON."""

    def with_notes(self, *notes: str) -> Self:
        """Return this receipt with more notes."""


A = TypeVar("A", bound=Account)


class Writer(Protocol):
    """A file of one format, being written.

    Attributes
    ----------
    notes : sequence of str
        What the file holds otherwise than the records, once all is written.
    """

    @property
    def notes(self) -> Sequence[str]: ...

    def write(self, table: pa.Table) -> None:
        """Append rows; each table has the schema the file was opened with."""

    def finish(self, receipt: Account) -> None:
        """Write what comes after the last row; only called when all rows were written."""

    def close(self) -> None:
        """Close the file, whole or not."""


W = TypeVar("W", bound=Writer)
Open: TypeAlias = "Callable[[Path, pa.Schema, Account], Writer]"


def write_table(table: pa.Table, receipt: A, path: str | os.PathLike[str], open_file: Open) -> A:
    """Write a table that is in memory to `path`; return its receipt."""
    with part_of(path) as (part, target):
        schema = settle_columns(table.schema)
        with closing_whole(open_file(part, schema, receipt), lambda: receipt) as writer:
            for start in range(0, len(table), _ROWS):
                writer.write(table.slice(start, _ROWS).cast(schema))
        part.replace(target)
    return receipt.with_notes(*writer.notes)


@contextmanager
def part_of(path: str | os.PathLike[str]) -> Iterator[tuple[Path, Path]]:
    """Yield the path of a file beside `path` that is gone at the end, and `path`.

    Raises
    ------
    UsageError
        When `path` cannot be, before anything is read, or the disk refuses it.
    """
    target = Path(path)
    if target.is_dir() or not target.parent.is_dir() or "\0" in target.name:
        raise UsageError(
            f"{target} cannot be written", hint="give a file's path in a folder that exists"
        )
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        yield part, target
    except LabkitError:  # Kafka's are OSErrors too
        raise
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written: {error.strerror or error}",
            hint="check the space and the rights",
        ) from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def closing_whole(writer: W, receipt: Callable[[], Any]) -> Iterator[W]:
    """Yield the writer; finish its file when the block ends well, and close it either way."""
    try:
        yield writer
        writer.finish(receipt())
    except BaseException:
        with suppress(OSError, pa.ArrowException):  # the first error is the one that tells
            writer.close()
        raise
    writer.close()


def read_spooled(raw: IO[bytes]) -> Iterator[pa.RecordBatch]:
    """Yield the batches of an Arrow file, one at a time in memory.

    An empty one where it has none.
    """
    reader = pa.ipc.open_file(raw)
    if not reader.num_record_batches:
        yield pa.RecordBatch.from_pylist([], schema=reader.schema)
    yield from map(reader.get_batch, range(reader.num_record_batches))


def write_batches(
    batches: Iterable[Batch],
    make_table: Callable[[Batch], pa.Table],
    receipt: Callable[[], Account],
    part: Path,
    open_file: Open,
) -> Sequence[str]:
    """Write what `make_table`, in a thread, makes of each batch; at least one batch is there.

    Return what the file holds otherwise than the records.
    """
    tables: Iterator[pa.Table] = ahead(batches, make_table, most=PENDING)
    first = next(tables)
    untyped = [column.name for column in first.schema if pa.types.is_null(column.type)]
    layout = settle_columns(first.schema)
    with closing_whole(open_file(part, layout, receipt()), receipt) as writer:
        writer.write(cast_to(first, layout, untyped))
        for table in tables:
            writer.write(cast_to(table, layout, untyped))
    return writer.notes


def settle_columns(schema: pa.Schema) -> pa.Schema:
    """Make text of columns whose type the first batch does not show."""
    return pa.schema(
        [
            column.with_type(pa.string()) if pa.types.is_null(column.type) else column
            for column in schema
        ]
    )


def cast_to(table: pa.Table, layout: pa.Schema, untyped: list[str]) -> pa.Table:
    """Bring a batch under the first one's types; only a function's own columns can differ."""
    for name in set(untyped) & set(table.column_names):
        if not (pa.types.is_null(kind := table.field(name).type) or pa.types.is_string(kind)):
            raise UsageError(
                f"enrich: column {name!r} had no value in the first batch, and is {kind} now",
                hint="have your function give it a type, such as pd.Series(found, dtype='Float64')",
            )
    try:
        return table.select(layout.names).cast(layout)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError) as error:
        raise UsageError(
            f"enrich: a function returned other columns or types than for the first batch: {error}",
            hint="return the same columns with the same types for each batch",
        ) from error
