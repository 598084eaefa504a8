"""Raw batches as one decoded table, ordered by partition, then offset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from labkit.decode import Spec, find_decoders
from labkit.decode.decoder import Decoder
from labkit.decode.field_order import arrange
from labkit.decode.pipeline import decoded_table
from labkit.replay.records import RAW_SCHEMA, runs
from labkit.tables.nested import without_offsets

if TYPE_CHECKING:
    from labkit.registry import Registry

SAMPLE_RECORDS = 400


def spread(raw: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Return records from all over what is there."""
    if not raw:
        return []
    table = pa.Table.from_batches(raw)
    rows = np.unique(np.linspace(0, max(0, len(table) - 1), SAMPLE_RECORDS).astype(np.int64))
    batches: list[pa.RecordBatch] = pa.concat_tables(
        [table.slice(row, 1) for row in rows[: len(table)]]
    ).to_batches()
    return batches


def from_batches(
    raw: list[pa.RecordBatch],
    decode: Spec,
    *,
    key_decode: Spec = "raw",
    registry: Registry | None = None,
) -> pa.Table:
    """Return raw batches as one decoded table, as `Replay.table` describes it."""
    decoder, _, _ = find_decoders(decode, key_decode, registry=registry, sample=lambda: spread(raw))
    return assemble(raw, [decoder.parse_batch(batch) for batch in raw], decoder)


def assemble(
    raw: list[pa.RecordBatch], parsed: list[Any], decoder: Decoder, schema: Any = None
) -> pa.Table:
    """Join all batches under one schema, by partition and offset, without copying the rows."""
    if schema is None:
        schema = decoder.unify(
            [batch.schema for batch in parsed] or [_empty_batch(decoder)[1].schema]
        )
    schema = arrange(schema, raw, decoder)
    if not any(batch.num_rows for batch in raw):
        return empty_table(decoder, schema)
    tables = [
        decoded_table(batch, batch_values, decoder, schema)
        for batch, batch_values in zip(raw, parsed, strict=True)
    ]
    pieces = sorted(
        (partition, number, first, last)
        for number, batch in enumerate(raw)
        for partition, first, last in runs(batch.column("partition").to_numpy())
    )
    ordered = pa.concat_tables(
        [tables[number].slice(first, last - first) for _, number, first, last in pieces]
    )
    many = len(pieces) > 64 and len(ordered) < 500 * len(pieces)
    return ordered.combine_chunks() if many else without_offsets(ordered)


def empty_table(decoder: Decoder, schema: Any) -> pa.Table:
    """Return the table of no record under a decoder's schema."""
    return decoded_table(*_empty_batch(decoder), decoder, schema)


def _empty_batch(decoder: Decoder) -> tuple[pa.RecordBatch, Any]:
    """Return a batch without a record, and as its decoder parses it."""
    batch = pa.RecordBatch.from_pylist([], schema=RAW_SCHEMA)
    return batch, decoder.parse_batch(batch)
