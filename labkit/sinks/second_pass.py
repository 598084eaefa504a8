"""Decode a window's records again, from the file they landed in, under one layout.

An envelope's row may be a JSON text (MongoDB's always are), and what is in it is known only once it
is unwrapped. Then the batches are decoded once more than else, to find the columns of all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from labkit.decode import merge
from labkit.decode.decoder import Decoder
from labkit.decode.pipeline import LAST, by_partition, decoded_table
from labkit.enrich.chain import Chain
from labkit.replay.receipt import Receipt
from labkit.sinks.replay_filter import with_undecodable
from labkit.tables.arrow import join_chunks

Place: TypeAlias = "tuple[str, int, int] | None"  # of a batch's first record


@dataclass
class SecondPass:
    """How spooled batches become tables.

    Parameters
    ----------
    decoder : Decoder
    schema : Any
        Of all batches, as `Decoder.unify` returned it.
    parsed : dict
        Batches that need not be parsed again, by their places.
    chain : Chain
    """

    decoder: Decoder
    schema: Any
    parsed: dict[Place, Any]
    chain: Chain
    _kinds: dict[str, pa.DataType] = field(default_factory=dict, init=False)
    _errors: Counter[int] = field(default_factory=Counter, init=False)

    def look_ahead(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Find the columns that all batches have together, where the schema does not tell them."""
        if not self.chain.opens_texts(self.schema):
            return
        kinds: dict[str, pa.DataType] = {}
        without_values: dict[str, pa.DataType] = {}
        for batch in batches:
            table = self._decode(batch)
            without_values |= dict(zip(table.column_names, table.schema.types, strict=True))
            types = map(_type_of_values, map(join_chunks, table.columns))
            kinds = merge.merge_fields(kinds, dict(zip(table.column_names, types, strict=True)))
            has_error = np.asarray(join_chunks(table.column("_error")).is_valid())
            self._errors += by_partition(batch.column("partition").to_numpy()[has_error])
        own = [name for name in kinds if name not in LAST]
        self._kinds = {
            name: without_values[name]
            if name in LAST or pa.types.is_null(kinds[name])
            else merge.settle_type(kinds[name])
            for name in (*own, *LAST)
        }

    def table(self, batch: pa.RecordBatch) -> pa.Table:
        """Return a batch's columns, with those of the enrichers."""
        table = self._decode(batch)
        if not self._kinds:
            return table
        columns = set(table.column_names)
        return pa.table(
            {
                name: merge.cast(join_chunks(table.column(name)), kind)
                if name in columns
                else pa.nulls(len(table), kind)
                for name, kind in self._kinds.items()
            }
        )

    def _decode(self, batch: pa.RecordBatch) -> pa.Table:
        parsed = self.parsed.get(place_of(batch))
        parsed = self.decoder.parse_batch(batch) if parsed is None else parsed
        return self.chain.table(decoded_table(batch, parsed, self.decoder, self.schema))

    def receipt(self, read: Receipt) -> Receipt:
        """Return a read's receipt with the records whose envelopes could not be unwrapped."""
        return with_undecodable(read, self._errors) if self._kinds else read


def place_of(batch: pa.RecordBatch) -> Place:
    """Return the topic, partition and offset of a batch's first record; None without a record."""
    if not batch.num_rows:
        return None
    topic, partition, offset = (
        batch.column(name)[0].as_py() for name in ("topic", "partition", "offset")
    )
    return topic, partition, offset


def _type_of_values(array: pa.Array) -> pa.DataType:
    """Return the type that a column's values have: null where there is none, within objects too."""
    kind = array.type
    if array.null_count == len(array):
        return pa.null()
    if pa.types.is_struct(kind):
        parts = zip(kind, array.flatten(), strict=True)
        return pa.struct([(part.name, _type_of_values(column)) for part, column in parts])
    return pa.large_list(_type_of_values(array.flatten())) if pa.types.is_large_list(kind) else kind
