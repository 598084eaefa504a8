"""The order of columns: as the fields come in each partition's first records, then by name.

Partitions answer in any order, so what a read happens to see first differs from one to the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import pyarrow as pa

from labkit.decode.decoder import Decoder
from labkit.decode.json_shape import Shape
from labkit.replay.records import runs

RECORDS = 10  # of each partition


@dataclass
class FirstRecords:
    """The first records of each partition, whichever of them answers first."""

    _counts: Counter[int] = field(default_factory=Counter, init=False)
    _batches: dict[int, list[pa.RecordBatch]] = field(default_factory=dict, init=False)

    def add(self, batch: pa.RecordBatch) -> None:
        """Keep those of a batch of raw records that are among the first."""
        for partition, start, end in runs(batch.column("partition").to_numpy()):
            count = min(end - start, RECORDS - self._counts[partition])
            if count > 0:
                self._counts[partition] += count
                # a copy: a slice would keep the whole batch in memory
                rows = batch.take(pa.array(range(start, start + count)))
                self._batches.setdefault(partition, []).append(rows)

    def arrange(self, schema: Any, decoder: Decoder) -> Any:
        """Return a schema of `decoder`, as its `unify` returned it, with the fields in order."""
        by_partition = dict(sorted(self._batches.items()))
        batches = list(chain.from_iterable(by_partition.values()))
        if not batches:
            return schema
        own, (first,) = decoder.anew(), pa.Table.from_batches(batches).combine_chunks().to_batches()
        return _arrange(schema, own.unify([own.parse_batch(first).schema]))


def arrange(schema: Any, batches: Iterable[pa.RecordBatch], decoder: Decoder) -> Any:
    """Return the schema of some raw batches with the fields in order."""
    first = FirstRecords()
    for batch in batches:
        first.add(batch)
    return first.arrange(schema, decoder)


def _arrange(schema: Any, first: Any) -> Any:
    if isinstance(schema, tuple):  # of the values and of the keys
        return tuple(map(_arrange, schema, first))
    if isinstance(schema, Shape):
        names = _names_in_order(schema.fields, first.fields)
        return replace(schema, fields={name: schema.fields[name] for name in names})
    if isinstance(schema, dict):
        return {name: schema[name] for name in _names_in_order(schema, first)}
    return schema


def _names_in_order(names: Collection[str], first: Collection[str]) -> list[str]:
    return [*(name for name in first if name in names), *sorted(set(names) - set(first))]
