"""A window as a Parquet file, in constant memory."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from labkit import interrupt
from labkit.decode import Spec, both, gathered, heed, notes, parse
from labkit.decode.ahead import ahead
from labkit.decode.pipeline import Decoding, condition, decoded
from labkit.enrich import Chain
from labkit.errors import LabkitError, UsageError
from labkit.replay.reader import Reading
from labkit.replay.receipt import Receipt
from labkit.replay.records import RAW_SCHEMA
from labkit.replay.sample import explained, sample

if TYPE_CHECKING:
    from labkit.registry import Registry

_SUFFIXES = frozenset({".parquet", ".pq"})
_OTHER_FORMATS = frozenset({
    ".arrow", ".avro", ".csv", ".db", ".duckdb", ".feather", ".ipc", ".json", ".jsonl", ".log", ".ndjson", ".orc",
    ".pickle", ".pkl", ".sqlite", ".tsv", ".txt", ".xls", ".xlsx", ".xml", ".yaml", ".yml",
})  # fmt: skip
_PENDING = 1  # batches waiting decoded while the next is: two take 20 MB more and no less time, measured


def check_name(path: Path) -> None:
    """Refuse the name of another format: a file's name says what is in it."""
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if suffixes & _OTHER_FORMATS and path.suffix.lower() not in _SUFFIXES:
        raise UsageError(
            f"{path} must end in .parquet: that is the format of the file, and {path.suffix} is another",
            hint="for lines of JSON: `labkit replay TOPIC --decode json > x.jsonl`; else read().to_pandas().to_csv(…)",
        )


def to_parquet(
    reading: Reading,
    path: str | os.PathLike[str],
    *,
    decode: Spec = "json",
    key_decode: Spec = "raw",
    types: Mapping[str, Any] | None = None,
    where: str | None = None,
    enrich: Chain | None = None,
    registry: Registry | None = None,
    keep_part: bool = False,
) -> Receipt:
    """Write the window's records to `path`, with the columns of `Replay.table`, ordered as they came.

    The records land raw in a nameless file on the same disk first, while the fields' types are found out; the second
    pass, over that file, decodes under the one schema that holds for all. `path` appears when it is whole; after an
    interrupt it stays what it was, unless `keep_part`. The file's metadata has the receipt, under ``labkit``.

    Returns
    -------
    Receipt
    """
    target = Path(path)
    check_name(target)
    if target.is_dir() or not target.parent.is_dir():
        raise UsageError(f"{target} cannot be written", hint="give a file's path in a folder that exists")
    asked = condition(where)
    module, said, _ = both(
        decode, key_decode, types=types, registry=registry, sample=lambda: sample(reading.cluster, reading.plan)
    )  # fmt: skip
    chain, decoding = enrich or Chain([]), Decoding(reading, module, asked, most=_PENDING)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        with tempfile.TemporaryFile(dir=target.parent) as raw:
            schema = _read(decoding, raw)
            read = explained(reading.cluster, decoding.whole())

            def table(one: pa.RecordBatch) -> pa.Table:
                return chain.table(decoded(one, parse(module, one), module, schema))

            def receipt() -> Receipt:
                return replace(read, notes=(*read.notes, *said, *notes(module), *chain.notes()))

            if not reading.interrupted() or keep_part:
                _decode_file(raw, part, table, receipt)
                part.replace(target)
    except LabkitError:  # Kafka's are OSErrors too
        raise
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written: {error.strerror or error}", hint="check the space and the rights"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return receipt()


def _read(decoding: Decoding, raw: IO[bytes]) -> Any:
    """Write the window's raw records as an Arrow file; return the fields' types."""
    schemas: list[Any] = []
    with (
        interrupt.asked() as decoding.reading.interrupted,
        pa.ipc.new_file(raw, RAW_SCHEMA, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer,
    ):
        heed(decoding.module, decoding.reading.interrupted)
        for batch in decoding:
            schemas = gathered(schemas, batch.schema)  # unified once, at the end: a field null so far is no text yet
            writer.write_batch(batch.raw)
    return decoding.module.unify(schemas)


def _batches(raw: IO[bytes]) -> Iterator[pa.RecordBatch]:
    """Yield the batches of an Arrow file, one at a time in memory."""
    reader = pa.ipc.open_file(raw)
    yield from map(reader.get_batch, range(reader.num_record_batches))


def _decode_file(
    raw: IO[bytes], part: Path, decode_batch: Callable[[pa.RecordBatch], pa.Table], receipt: Callable[[], Receipt]
) -> None:
    writer: pq.ParquetWriter | None = None
    try:
        for table in ahead(_batches(raw), decode_batch, most=_PENDING):
            if writer is None:
                untyped = [one.name for one in table.schema if pa.types.is_null(one.type)]
                layout = _settled(table.schema)
                writer = pq.ParquetWriter(part, layout, compression="zstd")
            writer.write_table(_cast(table, layout, untyped))
        if writer is None:
            empty = decode_batch(pa.RecordBatch.from_pylist([], schema=RAW_SCHEMA))
            writer = pq.ParquetWriter(part, empty.schema, compression="zstd")
        writer.add_key_value_metadata({"labkit": receipt().to_json()})
    finally:
        if writer is not None:
            writer.close()


def _settled(schema: pa.Schema) -> pa.Schema:
    """Make text of columns whose type the first batch does not show."""
    return pa.schema([one.with_type(pa.string()) if pa.types.is_null(one.type) else one for one in schema])


def _cast(table: pa.Table, layout: pa.Schema, untyped: list[str]) -> pa.Table:
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
