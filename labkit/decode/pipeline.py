"""Decode a reading's records in a thread beside it: all, or those that fulfil a condition."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from labkit.checks.user_line import warn
from labkit.decode import plain
from labkit.decode.decoder import Decoder
from labkit.replay.content_hash import Content
from labkit.replay.reader import Reading
from labkit.replay.receipt import Receipt
from labkit.replay.sample import sample
from labkit.waiting.interrupt import Cancelled, never

if TYPE_CHECKING:
    from labkit.decode.each_record import EachRecord
    from labkit.decode.filter import Where

FIRST = ("_topic", "_partition", "_offset", "_timestamp")
LAST = ("_timestamp_type", "_key", "_headers", "_value", "_error")
RESERVED = frozenset(FIRST + LAST)
CHECKED_RECORDS = 50_000  # a window of more is sampled before a condition is asked of all of it


Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    items: Iterable[Item], work: Callable[[Item], Result], *, most: int, threads: int = 1
) -> Iterator[Result]:
    """Yield ``work(item)`` for each item, in order.

    At most `most` items wait for it or for the caller. `items` is iterated over in the caller's
    thread; with more threads than one `work` must be safe for them.
    """
    with ThreadPoolExecutor(threads, "labkit-work") as pool:
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > most:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


@dataclass(frozen=True)
class Batch:
    """Some records, decoded.

    Attributes
    ----------
    raw : RecordBatch
        The records, of `RAW_SCHEMA`.
    parsed : Parsed
        Their values, as the decoder took them apart.
    schema : Any
        The fields' types, in the decoder's terms: also of records that a condition left out.
    """

    raw: pa.RecordBatch
    parsed: Any
    schema: Any


@dataclass
class Decoding:
    """The decoded records of one reading that fulfil the condition.

    The reading's account has the others as filtered.

    Parameters
    ----------
    reading : Reading
    decoder : Decoder
        By default that of JSON, new for this reading.
    where : Where, optional
    most : int
        Batches waiting to be decoded while Kafka is read.
    threads : int
        How many may decode, with a decoder that is ready for it; a condition is asked by one alone.
    """

    reading: Reading
    decoder: Decoder = field(default_factory=lambda: plain("json"))
    where: Where | None = None
    most: int = 1
    threads: int = 1
    _content: Content = field(default_factory=Content, init=False)
    _each: EachRecord | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.where is not None:
            from labkit.decode.each_record import EachRecord

            self._each = EachRecord(self.where)

    def batches(self, cancelled: Cancelled = never, *, narrowed: bool = False) -> Iterator[Batch]:
        """Yield the records decoded; the reading ends early once `cancelled` says so.

        Parameters
        ----------
        narrowed : bool
            Decode only what may fulfil the condition: no ``schema`` has the fields of the others.
        """
        work = partial(self._work, narrowed=narrowed)
        threads = self.threads if self.where is None and self.decoder.parallel else 1
        batches = ((batch, self.decoder.ready()) for batch in self.reading.batches(cancelled))
        with self._checking_fields() as check:
            for batch, left_out in ahead(batches, work, most=self.most, threads=threads):
                check()
                note_errors(self.reading, batch.raw, batch.parsed.errors)
                if self.where is not None:
                    self.reading.drop(left_out)
                    self._content.add(batch.raw)
                yield batch
            check()

    @contextmanager
    def _checking_fields(self) -> Iterator[Callable[[], object]]:
        """Yield what refuses a condition with a misspelt field, by a sample of a long read.

        The sample waits for Kafka, and the reading begins beside it. A short read tells it at its
        end.
        """
        decoder = plain("json")
        if (
            self.where is None
            or self.reading.plan.size < CHECKED_RECORDS
            or type(self.decoder.parts[0]) is not type(decoder)
        ):
            yield lambda: None
            return
        with ThreadPoolExecutor(1, "labkit-sample") as pool:
            yield pool.submit(self._check_fields, self.where, decoder).result

    def _check_fields(self, where: Where, decoder: Decoder) -> None:
        names = set(RESERVED)
        for batch in sample(self.reading.cluster, self.reading.plan):
            parsed = decoder.parse_batch(batch)
            names.update(
                decoded_table(batch, parsed, decoder, decoder.unify([parsed.schema])).column_names
            )
        where.check_fields(names)

    def _work(
        self, job: tuple[pa.RecordBatch, Callable[[pa.RecordBatch], Any]], *, narrowed: bool
    ) -> tuple[Batch, Counter[int]]:
        raw, parse_raw = job
        part = self._each.narrow(raw, self.decoder)[0] if self._each and narrowed else raw
        parsed = parse_raw(part)
        batch = Batch(part, parsed, parsed.schema)
        if self._each is None:
            return batch, Counter()
        rows, _ = self._each.rows(part, self.decoder, parsed)
        matching = rows_of(batch, self.decoder, rows)
        if matching.raw is raw:
            return matching, Counter()
        before, after = (
            by_partition(batch.column("partition").to_numpy()) for batch in (raw, matching.raw)
        )
        return matching, before - after

    def raw(self, cancelled: Cancelled = never) -> Iterator[pa.RecordBatch]:
        """Yield the records as they are; decoded only where a condition is asked of them."""
        if self.where is None:
            yield from self.reading.batches(cancelled)
        else:
            batches = self.batches(cancelled, narrowed=True)
            yield from (batch.raw for batch in batches if batch.raw.num_rows)

    def receipt(self) -> Receipt:
        """Return the reading's account so far."""
        receipt = self.reading.receipt()
        if self.where is None or self._each is None:
            return receipt
        return self.where.with_condition(receipt, self._content).with_notes(*self._each.notes)

    def final_receipt(self) -> Receipt:
        """Return the reading's account at its end.

        Raises
        ------
        UsageError
            When the condition names a column that no record has.
        """
        receipt = self.receipt()
        self.check(receipt)
        return receipt

    def check(self, receipt: Receipt) -> None:
        """Raise when the condition names a column that no record of a whole reading has."""
        if self.where is not None and self._each is not None:
            self.where.check(receipt)
            self._each.check()
            for note in self._each.notes:
                warn(note)


def condition(where: str | None) -> Where | None:
    """Return a condition ready to be asked."""
    if where is None:
        return None
    from labkit.decode.filter import Where  # DuckDB: a reader without a condition starts without it

    return Where(where)


def rows_of(batch: Batch, decoder: Decoder, rows: np.ndarray) -> Batch:
    """Return some of the records."""
    if len(rows) == len(batch.raw):
        return batch
    matching = batch.raw.take(pa.array(rows))
    return Batch(matching, decoder.parse_batch(matching), batch.schema)


def by_partition(partitions: np.ndarray) -> Counter[int]:
    """Return how many records there are of each partition."""
    numbers, counts = np.unique(partitions, return_counts=True)
    return Counter(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))


def note_errors(reading: Reading, batch: pa.RecordBatch, errors: dict[int, str]) -> None:
    """Book the records that could not be decoded."""
    if errors:
        for partition, count in by_partition(
            batch.column("partition").to_numpy()[list(errors)]
        ).items():
            reading.undecodable[partition] = reading.undecodable.get(partition, 0) + count


def decoded_table(batch: pa.RecordBatch, parsed: Any, decoder: Decoder, schema: Any) -> pa.Table:
    """Return one batch's metadata and fields as a table."""
    fields = decoder.columns(parsed, schema)
    errors = pa.nulls(batch.num_rows, pa.string())
    if parsed.errors:
        texts: list[str | None] = [None] * batch.num_rows
        for row, reason in parsed.errors.items():
            texts[row] = reason
        errors = pa.array(texts, pa.string())
    metadata = {f"_{name}": batch.column(name) for name in batch.schema.names} | {"_error": errors}
    keys = decoder.key_columns(parsed, schema)
    arrays = {name: metadata[name] for name in FIRST}
    arrays |= dict(
        zip(own_names(fields.column_names, keys.column_names), fields.columns, strict=True)
    )
    for name in LAST:
        arrays[name] = metadata[name]
        if name == "_key":
            arrays |= dict(zip(keys.column_names, keys.columns, strict=True))
    return pa.table(arrays)


def own_names(fields: list[str], keys: Iterable[str] = ()) -> list[str]:
    """Return the records' field names, clear of the metadata's and the decoded keys'."""
    reserved = RESERVED | set(keys)
    used_names = {*reserved, *(name for name in fields if name not in reserved)}
    names = []
    for name in fields:
        own = name
        while own in used_names and (own != name or name in reserved):
            own += "_"
        used_names.add(own)
        names.append(own)
    return names


def fields_first(table: pa.Table) -> pa.Table:
    """Return a table with the records' own fields before the metadata."""
    own = [name for name in table.column_names if name not in RESERVED]
    return table.select([*own, *(name for name in table.column_names if name in RESERVED)])
