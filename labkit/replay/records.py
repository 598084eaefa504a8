"""Kafka messages as Arrow record batches: the unit that flows through labkit."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from labkit.waiting.interrupt import show_interrupts

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
_HEADERS = RAW_SCHEMA.field("headers").type
TIMESTAMP_TYPES = ["NotAvailable", "CreateTime", "LogAppendTime"]


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep the garbage collector out while thousands of messages are made.

    It would walk them again and again.
    """
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
        The messages it had fetched are lost, so go on from the last one delivered.
    """
    with show_interrupts():
        messages: list[Message] = consumer.consume(count, timeout_s)
    return messages


def member_offsets(consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
    """Return a member's committed offsets, below zero without a commit.

    Raises
    ------
    KafkaException
        When one of them is not known: while a coordinator moves the client gives -1001 for it, as
        for no commit.
    """
    committed: list[TopicPartition] = (
        consumer.committed(partitions, timeout=10) if partitions else []
    )
    for place in committed:
        if place.error is not None:
            raise KafkaException(place.error)
    return committed


def sort_out(messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """Return the records, and what else librdkafka tells by way of messages.

    That is errors and ends of partitions.
    """
    errors = list(map(Message.error, messages))
    if not any(errors):
        return messages, []
    pairs = list(zip(messages, errors, strict=True))
    return [message for message, error in pairs if error is None], [
        message for message, error in pairs if error is not None
    ]


def is_end(message: Message) -> bool:
    """Tell whether a message is the signal of a partition's end."""
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


@dataclass(frozen=True)
class Portion:
    """The fields of some messages, in the order they came.

    The messages can go: they hold librdkafka's memory.

    Attributes
    ----------
    partitions, offsets, times, kinds : numpy.ndarray
        A timestamp is -1 where the record has none; `kinds` are librdkafka's numbers of timestamp
        types.
    keys, headers : pyarrow.Array or None
        None when no record has any.
    values : pyarrow.BinaryArray
    """

    partitions: np.ndarray
    offsets: np.ndarray
    times: np.ndarray
    kinds: np.ndarray
    keys: pa.BinaryArray | None
    values: pa.BinaryArray
    headers: pa.ListArray | None

    @property
    def bytes(self) -> int:
        """How many bytes the keys and values have."""
        return len(join_bytes(self.values)) + (
            0 if self.keys is None else len(join_bytes(self.keys))
        )


def portion(messages: list[Message]) -> Portion:
    """Take the fields out of messages, none of them an error."""
    count = len(messages)
    stamps = np.fromiter(chain.from_iterable(map(Message.timestamp, messages)), np.int64, 2 * count)
    keys = list(map(Message.key, messages))
    return Portion(
        partitions=np.fromiter(map(Message.partition, messages), np.int32, count),
        offsets=np.fromiter(map(Message.offset, messages), np.int64, count),
        times=stamps[1::2],
        kinds=stamps[0::2],
        keys=pa.array(keys, pa.binary()) if keys.count(None) < count else None,
        values=pa.array(list(map(Message.value, messages)), pa.binary()),
        headers=_headers(messages),
    )


def _headers(messages: list[Message]) -> pa.ListArray | None:
    rows = list(map(Message.headers, messages))
    if not any(rows):
        return None
    sizes = np.fromiter((len(row) if row else 0 for row in rows), np.int32, len(rows))
    flat = list(chain.from_iterable(row for row in rows if row))
    keys = pa.array([pair[0] for pair in flat], pa.string())
    values = pa.array([pair[1] for pair in flat], pa.binary())
    ends = np.concatenate(([0], np.cumsum(sizes))).astype(np.int32)
    entries = pa.StructArray.from_arrays([keys, values], fields=list(_HEADERS.value_type))
    missing = pa.array([not row for row in rows])
    return pa.ListArray.from_arrays(pa.array(ends), entries, type=_HEADERS, mask=missing)


def message_batch(topic: str, portions: list[Portion]) -> pa.RecordBatch:
    """Return messages of one topic as one batch of `RAW_SCHEMA`.

    It is ordered by partition, then as they came. Each value is copied once, from its portion to
    its place.
    """
    pieces = [
        (partition, number, first, last)
        for number, portion in enumerate(portions)
        for partition, first, last in runs(portion.partitions)
    ]
    pieces.sort()  # within a partition the portions follow one another

    def numbers(name: str) -> np.ndarray:
        return np.concatenate(
            [getattr(portions[number], name)[first:last] for _, number, first, last in pieces]
        )

    def arrays(name: str, kind: pa.DataType) -> pa.Array:
        columns = [getattr(portion, name) for portion in portions]
        if all(column is None for column in columns):
            return pa.nulls(count, kind)
        filled = [
            pa.nulls(len(portion.offsets), kind) if col is None else col
            for portion, col in zip(portions, columns, strict=True)
        ]
        return pa.concat_arrays(
            [filled[number].slice(first, last - first) for _, number, first, last in pieces]
        )

    count = sum(len(portion.offsets) for portion in portions)
    kinds, times = numbers("kinds"), numbers("times")
    return pa.record_batch(
        [
            pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([topic])),
            pa.array(numbers("partitions")),
            pa.array(numbers("offsets")),
            pa.array(times, RAW_SCHEMA.field("timestamp").type, mask=(kinds == 0) | (times < 0)),
            pa.DictionaryArray.from_arrays(
                pa.array(kinds.astype(np.int32)), pa.array(TIMESTAMP_TYPES)
            ),
            arrays("keys", pa.binary()),
            arrays("values", pa.binary()),
            arrays("headers", _HEADERS),
        ],
        schema=RAW_SCHEMA,
    )


def payload_bytes(batch: pa.RecordBatch) -> int:
    """Return how many bytes the keys and values have."""
    return sum(len(join_bytes(batch.column(name))) for name in ("key", "value"))


def join_bytes(column: pa.BinaryArray) -> memoryview:
    """Return all of a binary column's bytes, one value behind the other, without copying them."""
    own, data = edges(column), column.buffers()[2]
    return memoryview(b"") if data is None else memoryview(data)[own[0] : own[-1]]


def replace_rows(column: pa.BinaryArray, new: Mapping[int, bytes | None]) -> pa.BinaryArray:
    """Return a binary column with the values of some rows replaced; None leaves one as it is."""
    values: list[bytes | None] = [None] * len(column)
    for row, value in new.items():
        values[row] = value
    return pc.coalesce(pa.array(values, pa.binary()), column) if new else column


def edges(column: pa.BinaryArray) -> np.ndarray:
    """Return where each value of a binary column begins in its data, and where the last ends."""
    if not len(column):
        return np.zeros(1, np.int32)
    return np.frombuffer(column.buffers()[1], np.int32)[
        column.offset : column.offset + len(column) + 1
    ]


def runs(partitions: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Yield partition, first row and end row (exclusive) of each run of equal partitions."""
    begins = np.flatnonzero(partitions[1:] != partitions[:-1]) + 1
    edges = [0, *begins.tolist(), len(partitions)]
    for first, last in pairwise(edges):
        if last > first:
            yield int(partitions[first]), first, last
