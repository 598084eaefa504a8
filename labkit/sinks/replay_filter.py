"""A condition asked of a replay that is there as a whole, and what its receipt says then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from labkit.checks.user_line import warn
from labkit.decode import find_decoders
from labkit.decode.table import spread
from labkit.read_spec import ReadSpec
from labkit.replay.content_hash import Content
from labkit.replay.receipt import PartitionReceipt, Receipt
from labkit.replay.records import RAW_SCHEMA

if TYPE_CHECKING:
    from labkit.decode.filter import Where
    from labkit.sinks.replay import Replay


def filter_as_read(replay: Replay, where: Where | None, spec: ReadSpec) -> Replay:
    """Apply a condition to a cached replay, as if it was read: each record by its own types."""
    if where is None:
        return replay
    from labkit.decode.each_record import EachRecord

    each, raw = EachRecord(where), raw_batches(replay.table)
    decoder, _, _ = find_decoders(
        spec.decode,
        spec.key_decode,
        types=spec.types,
        registry=replay.registry,
        sample=lambda: spread(raw),
    )
    starts = np.cumsum([0, *(batch.num_rows for batch in raw)])
    rows = [np.empty(0, np.int64)]
    for start, batch in zip(starts, raw, strict=False):
        part, places = each.narrow(batch, decoder)
        rows.append(start + places[each.rows(part, decoder)[0]])
    each.check()
    filtered = filter_rows(replay, where, np.concatenate(rows))
    for note in each.notes:
        warn(note)
    return replace(filtered, receipt=filtered.receipt.with_notes(*each.notes))


def filter_rows(replay: Replay, where: Where, rows: np.ndarray) -> Replay:
    """Return some rows of a replay that is there as a whole: those that fulfil a condition."""
    mask = np.zeros(len(replay), bool)
    mask[rows] = True
    # `take` joins a column's chunks: no more than 2 GiB of bytes
    table = replay.table.filter(pa.array(mask))
    where.check(replay.receipt)
    receipt = recount(replay.receipt, table)
    receipt = where.with_condition(receipt, Content.of(raw_batches(table)))
    return replace(replay, table=table, receipt=receipt)


def raw_batches(table: pa.Table) -> list[pa.RecordBatch]:
    """Return a decoded table's records as batches of `RAW_SCHEMA`."""
    batches: list[pa.RecordBatch] = as_in_topic(table).to_batches()
    return batches


def as_in_topic(table: pa.Table) -> pa.Table:
    """Return the records of a decoded table as they were in the topic, of `RAW_SCHEMA`."""
    names = RAW_SCHEMA.names
    return table.select([f"_{name}" for name in names]).rename_columns(names)


def recount(receipt: Receipt, table: pa.Table, *, content: Content | None = None) -> Receipt:
    """Return a reading's receipt for the records of `table`: others that were read are filtered.

    Its hash is that of `content`, where records were left out.
    """
    size = 1 + max((row.partition for row in receipt.partitions), default=0)
    owners, bad = table["_partition"].to_numpy(), table["_error"].is_valid().to_numpy()
    left = np.bincount(owners, minlength=size).tolist()
    errors = np.bincount(owners[bad], minlength=size).tolist()

    def counted(row: PartitionReceipt) -> PartitionReceipt:
        read = left[row.partition]
        filtered = row.filtered + row.read - read
        return replace(row, read=read, filtered=filtered, undecodable=errors[row.partition])

    hash_ = receipt.hash if content is None else content.hash
    return replace(receipt, partitions=tuple(map(counted, receipt.partitions)), hash=hash_)


def with_undecodable(receipt: Receipt, errors: Mapping[int, int]) -> Receipt:
    """Return the receipt with so many undecodable records in each partition."""
    partitions = (
        replace(row, undecodable=errors.get(row.partition, 0)) for row in receipt.partitions
    )
    return replace(receipt, partitions=tuple(partitions))
