"""A window or a table as one file, in constant memory; the file appears when it is whole."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias, TypeVar

import pyarrow as pa

from labkit.decode import gather_schemas, notes
from labkit.decode.field_order import FirstRecords
from labkit.decode.pipeline import Decoding, ahead
from labkit.errors import LabkitError, UsageError
from labkit.read_spec import ReadSource
from labkit.replay.receipt import Receipt
from labkit.replay.records import RAW_SCHEMA
from labkit.replay.sample import explain_empty
from labkit.sinks.second_pass import Place, SecondPass, place_of
from labkit.waiting import interrupt

# batches waiting decoded while the next is: two take 20 MB more and no less time, measured
PENDING = 1
KEPT_BYTES = 32_000_000  # of a window that is decoded once: raw records, before compression
_ROWS = 20_000  # of a table that is in memory, written at a time


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

    def finish(self, receipt: Receipt) -> None:
        """Write what comes after the last row; only called when all rows were written."""

    def close(self) -> None:
        """Close the file, whole or not."""


W = TypeVar("W", bound=Writer)
Open: TypeAlias = "Callable[[Path, pa.Schema, Receipt], Writer]"


def write_window(source: ReadSource, path: str | os.PathLike[str], open_file: Open) -> Receipt:
    """Write a window's records to `path`, with the columns of `Replay.table`, ordered as they came.

    The records land raw in a nameless file on the same disk first, while the fields' types are
    found out; the second pass, over that file, decodes under the one schema that holds for all.
    Of a small window what was parsed is kept from the first pass to the second.
    After an interrupt `path` stays what it was, unless ``on_interrupt`` is "keep".
    """
    with part_of(path) as (part, target):
        decoding, decoder_notes = source.decoding(most=PENDING)
        decoder, chain = decoding.decoder, source.spec.chain
        odd: Sequence[str] = ()
        with tempfile.TemporaryFile(dir=target.parent) as raw:
            second = SecondPass(decoder, *spool(decoding, raw), chain)
            read = explain_empty(source.reading.cluster, decoding.final_receipt())

            def receipt() -> Receipt:
                return second.receipt(read).with_notes(
                    *decoder_notes, *notes(decoder), *chain.notes()
                )

            if not source.reading.was_cancelled or source.spec.on_interrupt == "keep":
                second.look_ahead(read_spooled(raw))
                odd = _decode_file(raw, part, second.table, receipt, open_file)
                part.replace(target)
    return _with_notes(receipt(), odd)


def write_table(
    table: pa.Table, receipt: Receipt, path: str | os.PathLike[str], open_file: Open
) -> Receipt:
    """Write a table that is in memory to `path`; return its receipt."""
    with part_of(path) as (part, target):
        schema = settle_columns(table.schema)
        with closing_whole(open_file(part, schema, receipt), lambda: receipt) as writer:
            for start in range(0, len(table), _ROWS):
                writer.write(table.slice(start, _ROWS).cast(schema))
        part.replace(target)
    return _with_notes(receipt, writer.notes)


def _with_notes(receipt: Receipt, notes: Sequence[str]) -> Receipt:
    return replace(receipt, notes=(*receipt.notes, *notes)) if notes else receipt


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


def spool(decoding: Decoding, raw: IO[bytes]) -> tuple[Any, dict[Place, Any]]:
    """Write the window's raw records as an Arrow file.

    Return the fields' types, in order, and the batches of a small window as they were parsed.
    """
    first, parsed, size = FirstRecords(), dict[Place, Any](), 0
    schemas: list[Any] = []
    with (
        interrupt.listen() as cancelled,
        pa.ipc.new_file(
            raw, RAW_SCHEMA, options=pa.ipc.IpcWriteOptions(compression="zstd")
        ) as writer,
    ):
        decoding.decoder.heed(cancelled)
        for batch in decoding.batches(cancelled):
            # unified once, at the end: a field null so far is no text yet
            schemas = gather_schemas(schemas, batch.schema)
            first.add(batch.raw)
            writer.write_batch(batch.raw)
            size += batch.raw.nbytes
            if size <= KEPT_BYTES:
                parsed[place_of(batch.raw)] = batch.parsed
            else:
                parsed.clear()
    return first.arrange(decoding.decoder.unify(schemas), decoding.decoder), parsed


def read_spooled(raw: IO[bytes]) -> Iterator[pa.RecordBatch]:
    """Yield the batches of an Arrow file, one at a time in memory.

    An empty one where it has none.
    """
    reader = pa.ipc.open_file(raw)
    if not reader.num_record_batches:
        yield pa.RecordBatch.from_pylist([], schema=RAW_SCHEMA)
    yield from map(reader.get_batch, range(reader.num_record_batches))


def _decode_file(
    raw: IO[bytes],
    part: Path,
    decode_batch: Callable[[pa.RecordBatch], pa.Table],
    receipt: Callable[[], Receipt],
    open_file: Open,
) -> Sequence[str]:
    """Decode the raw records into the file; return what it holds otherwise than they."""
    tables: Iterable[pa.Table] = ahead(read_spooled(raw), decode_batch, most=PENDING)
    tables = iter(tables)
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
