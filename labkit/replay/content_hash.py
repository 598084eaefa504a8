"""The hash of the records a read delivered: the same records have the same hash, however they came.

Partitions interleave as they like and batches are cut where they happen to be, so each partition
has running hashes of its own, in offset order, one for each kind of bytes: a line of fixed width
for each record, the keys, the values, the headers. They are combined by partition at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from labkit.replay.records import edges, runs

_RECORD = np.dtype([("offset", "<i8"), ("ms", "<i8"), ("key", "<i4"), ("value", "<i4")])
_COUNT = np.dtype([("offset", "<i8"), ("headers", "<i4")])
_PAIR = np.dtype([("key", "<i4"), ("value", "<i4")])
_NO_TIME = np.iinfo(np.int64).min


@dataclass
class Content:
    """A running hash of records.

    Of each record its partition, offset, timestamp, key, value and headers count (not the
    timestamp's type); a null differs from empty bytes, no headers are the same as an empty list of
    them. The hash is XXH3 of 128 bits (https://xxhash.com): it tells what changed by accident, not
    what somebody forged. It costs about 1 % of a read; hashlib's take a tenth and more.
    """

    _streams: dict[tuple[int, str], Any] = field(default_factory=dict)

    @classmethod
    def of(cls, batches: Iterable[pa.RecordBatch]) -> Content:
        """Return the hash of all of these, each of `RAW_SCHEMA`."""
        content = cls()
        for batch in batches:
            content.add(batch)
        return content

    def add(self, batch: pa.RecordBatch) -> None:
        """Go on with a batch of `RAW_SCHEMA`.

        The records of a partition must come in offset order.
        """
        offsets = batch.column("offset").to_numpy()
        records = np.empty(batch.num_rows, _RECORD)
        records["offset"] = offsets
        records["ms"] = pc.fill_null(
            batch.column("timestamp").cast(pa.int64()), _NO_TIME
        ).to_numpy()
        bytes_of = {}
        for name in ("key", "value"):
            ends, data, records[name] = _apart(batch.column(name))
            bytes_of[name] = ends, data
        headers = batch.column("headers")
        has_headers = headers.null_count < len(headers)
        for partition, first, last in runs(batch.column("partition").to_numpy()):
            self._go_on(partition, "record", records[first:last].view(np.uint8))
            for name, (ends, data) in bytes_of.items():
                self._go_on(partition, name, data[ends[first] : ends[last]])
            if has_headers:
                self._headers(partition, offsets[first:last], headers.slice(first, last - first))

    def _headers(self, partition: int, offsets: np.ndarray, column: pa.ListArray) -> None:
        sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
        counts = np.empty(np.count_nonzero(sizes), _COUNT)
        counts["offset"], counts["headers"] = offsets[sizes > 0], sizes[sizes > 0]
        entries = column.flatten()
        pairs = np.empty(len(entries), _PAIR)
        for name, part in zip(("key", "value"), entries.flatten(), strict=True):
            ends, data, pairs[name] = _apart(part)
            self._go_on(partition, f"header {name}", data[ends[0] : ends[-1]])
        self._go_on(partition, "headers", counts.view(np.uint8))
        self._go_on(partition, "header pairs", pairs.view(np.uint8))

    def _go_on(self, partition: int, name: str, data: Any) -> None:
        if len(data):  # what never has a byte has no stream, whatever the batches
            stream = self._streams.get((partition, name))
            if stream is None:
                stream = self._streams[partition, name] = xxhash.xxh3_128()
            stream.update(data)

    @property
    def hash(self) -> str:
        """The hash of what came so far, 32 hexadecimal digits; also of no record at all."""
        total = xxhash.xxh3_128()
        for (partition, name), stream in sorted(self._streams.items()):
            total.update(f"{partition} {name} ".encode() + stream.digest())
        return str(total.hexdigest())


def _apart(column: pa.Array) -> tuple[np.ndarray, memoryview, np.ndarray]:
    """Return where values begin, the bytes they lie in, and their lengths.

    The last place is where the last value ends; a null has the length -1.
    """
    ends = edges(column)
    lengths = np.diff(ends)
    if column.null_count:
        null = column.is_null().to_numpy(zero_copy_only=False)
        if lengths[null].any():  # Arrow lets bytes lie under a null
            column = pc.fill_null(column, "" if pa.types.is_string(column.type) else b"")
            ends = edges(column)
        lengths[null] = -1
    data = column.buffers()[2]
    return ends, memoryview(b"" if data is None else data), lengths
