"""Documents, as batches of `BATCH_SCHEMA`, become a table: ids, where they came from, fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

from labkit.decode import find_decoder
from labkit.decode.decoder import Decoder
from labkit.decode.pipeline import own_names
from labkit.es.point_in_time import BATCH_SCHEMA

FIRST = ("_id", "_topic", "_partition", "_offset")
RESERVED = frozenset({*FIRST, "_error"})  # no document has a field _id: Elasticsearch refuses it


def decode_batches(
    batches: Iterable[pa.RecordBatch], tell: Callable[[str], object] = str
) -> pa.Table:
    """Return documents as one table, and tell which fields are text since their values disagree."""
    decoder = find_decoder("json")
    parsed_batches = [(batch, decoder.parse(batch.column("_source"))) for batch in batches]
    schema = decoder.unify(parsed.schema for _, parsed in parsed_batches)
    for note in notes_of(decoder, schema):
        tell(note)
    if not parsed_batches:
        layout = pa.schema([*(BATCH_SCHEMA.field(name) for name in FIRST), ("_error", pa.string())])
        return layout.empty_table()
    return pa.concat_tables(
        decoded_table(batch, parsed, decoder, schema) for batch, parsed in parsed_batches
    )


def notes_of(decoder: Decoder, schema: Any) -> list[str]:
    """Return what is to be said of the columns of all documents."""
    return [*decoder.notes, *schema.disagreements(hint=False).values()]


def decoded_table(batch: pa.RecordBatch, parsed: Any, decoder: Decoder, schema: Any) -> pa.Table:
    """Return one batch's ids, origins and fields as a table."""
    fields = decoder.columns(parsed, schema)
    errors = pa.array([parsed.errors.get(row) for row in range(batch.num_rows)], pa.string())
    arrays = {name: batch.column(name) for name in FIRST}
    arrays |= dict(zip(own_names(fields.column_names), fields.columns, strict=True))
    return pa.table(arrays | {"_error": errors})
