"""Kafka messages as Arrow record batches: the unit that flows through labkit."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, pairwise

import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer, Message

RAW_SCHEMA = pa.schema(
    [
        ("topic", pa.dictionary(pa.int32(), pa.string())),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("timestamp_type", pa.dictionary(pa.int32(), pa.string())),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))),
    ]
)
_TIMESTAMP_TYPES = pa.array(["NotAvailable", "CreateTime", "LogAppendTime"])


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep the garbage collector out while thousands of messages are made: it would walk them again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def consume(consumer: Consumer, count: int, timeout_s: float) -> list[Message]:
    """Return what has come, at most `count` messages; an interrupt is raised as one.

    Raises
    ------
    KeyboardInterrupt
        Also where confluent-kafka (2.16) shows it as a SystemError; the messages it had fetched are lost, so go on from
        the last one delivered.
    """
    try:
        messages: list[Message] = consumer.consume(count, timeout_s)
    except SystemError as error:
        raise KeyboardInterrupt from error
    return messages


def message_batch(topic: str, messages: list[Message]) -> pa.RecordBatch:
    """Return messages of one topic, none of them an error, as one batch of `RAW_SCHEMA`, in the order they came."""
    count = len(messages)
    stamps = np.fromiter(chain.from_iterable(map(Message.timestamp, messages)), np.int64, 2 * count)
    kinds, times = stamps[0::2], stamps[1::2]
    return pa.record_batch(
        [
            pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([topic])),
            pa.array(np.fromiter(map(Message.partition, messages), np.int32, count)),
            pa.array(np.fromiter(map(Message.offset, messages), np.int64, count)),
            pa.array(times, pa.timestamp("ms", tz="UTC"), mask=(kinds == 0) | (times < 0)),
            pa.DictionaryArray.from_arrays(pa.array(kinds.astype(np.int32)), _TIMESTAMP_TYPES),
            pa.array(list(map(Message.key, messages)), pa.binary()),
            pa.array(list(map(Message.value, messages)), pa.binary()),
            _headers(messages),
        ],
        schema=RAW_SCHEMA,
    )


def _headers(messages: list[Message]) -> pa.Array:
    kind = RAW_SCHEMA.field("headers").type
    rows = list(map(Message.headers, messages))
    if not any(rows):
        return pa.nulls(len(rows), kind)
    sizes = np.fromiter((len(row) if row else 0 for row in rows), np.int32, len(rows))
    flat = list(chain.from_iterable(row for row in rows if row))
    keys = pa.array([pair[0] for pair in flat], pa.string())
    values = pa.array([pair[1] for pair in flat], pa.binary())
    edges = np.concatenate(([0], np.cumsum(sizes))).astype(np.int32)
    entries = pa.StructArray.from_arrays([keys, values], fields=list(kind.value_type))
    missing = pa.array([not row for row in rows])
    return pa.ListArray.from_arrays(pa.array(edges), entries, type=kind, mask=missing)


def payload_bytes(batch: pa.RecordBatch) -> int:
    """Return how many bytes the keys and values have."""
    return sum(len(joined(batch.column(name))) for name in ("key", "value"))


def joined(column: pa.BinaryArray) -> memoryview:
    """Return all of a binary column's bytes, one value behind the other, without copying them."""
    own, data = edges(column), column.buffers()[2]
    return memoryview(b"") if data is None else memoryview(data)[own[0] : own[-1]]


def edges(column: pa.BinaryArray) -> np.ndarray:
    """Return where each value of a binary column begins in its data, and where the last one ends."""
    if not len(column):
        return np.zeros(1, np.int32)
    return np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]


def runs(partitions: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Yield partition, first row and end row (exclusive) of each run of equal partitions."""
    edges = [0, *(np.flatnonzero(np.diff(partitions)) + 1).tolist(), len(partitions)]
    for first, last in pairwise(edges):
        if last > first:
            yield int(partitions[first]), first, last
