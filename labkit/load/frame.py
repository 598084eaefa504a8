"""One table of a window's records: the Replay."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from labkit import interrupt
from labkit.decode import decoder
from labkit.enrich import Chain, Enricher
from labkit.errors import UsageError
from labkit.load import cache
from labkit.load.where import Where
from labkit.replay.reader import Reading
from labkit.replay.receipt import Receipt
from labkit.replay.records import RAW_SCHEMA, runs

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

FIRST = ("_topic", "_partition", "_offset", "_timestamp")
LAST = ("_timestamp_type", "_key", "_headers", "_value", "_error")
RESERVED = frozenset(FIRST + LAST)
_PENDING = 4  # batches waiting to be decoded while Kafka is read


@dataclass(frozen=True, repr=False)
class Replay:
    """The records of a window.

    Attributes
    ----------
    table : pyarrow.Table
        One row per record, ordered by partition, then offset. Columns ``_topic _partition _offset _timestamp``, the
        records' own fields, then ``_timestamp_type _key _headers _value _error``. A field that bears one of these
        names has ``_`` appended.
    receipt : Receipt
        What was planned and what came of it.
    """

    table: pa.Table
    receipt: Receipt

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame with the table's columns.

        Integers with nulls stay integers (Arrow-backed), times are ``datetime64[ms, UTC]``, texts are pandas strings.
        """
        return to_pandas(self.table)

    def to_polars(self) -> pl.DataFrame:
        """Return a polars DataFrame with the table's columns."""
        import polars as pl

        frame = pl.from_arrow(self.table)
        if not isinstance(frame, pl.DataFrame):
            raise TypeError("a table becomes a DataFrame")
        return frame

    def sql(self, query: str) -> pd.DataFrame:
        """Ask DuckDB; the records are the table ``replay``.

        Examples
        --------
        >>> r.sql("select nick, count(*) n from replay group by 1 order by n desc")  # doctest: +SKIP
        """
        import duckdb

        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            connection.register("replay", self.table)
            try:
                answer = connection.sql(query)
                found = pa.table({}) if answer is None else answer.to_arrow_table()
            except duckdb.Error as error:
                columns = ", ".join(self.table.column_names)
                raise UsageError(f"DuckDB refused this: {error}", hint=f"the table is `replay`: {columns}") from error
        return to_pandas(found)

    def enrich(self, *enrichers: Enricher) -> Replay:
        """Return this replay with the columns that `enrichers` add, without reading again."""
        return _enriched(self, Chain(enrichers))

    def decode(self, decode: str) -> Replay:
        """Decode the same bytes another way, without reading Kafka again."""
        batches = self.table.select([f"_{name}" for name in RAW_SCHEMA.names]).to_batches()
        raw = [batch.rename_columns(RAW_SCHEMA.names) for batch in batches]
        return Replay(from_batches(raw, decode), self.receipt)

    def __repr__(self) -> str:
        return f"Replay of {len(self):,} records, {self.table.num_columns} columns\n{self.receipt}"

    def _repr_html_(self) -> str:
        shown = min(len(self), 5)
        head = to_pandas(self.table.slice(0, shown).drop_columns(["_headers", "_value"]))
        note = f"<p>the first {shown} of {len(self):,} records: <code>.to_pandas()</code> has all</p>"
        return self.receipt._repr_html_() + head.to_html(index=False, notebook=True, max_cols=12) + note


def read(
    reading: Reading,
    *,
    decode: str = "json",
    where: str | None = None,
    enrich: Chain | None = None,
    cached: bool = True,
) -> Replay:
    """Read all of a window into one Replay; an interrupt returns what was read so far, marked so in the receipt."""
    replay = _kept_or_read(reading, decode, where, cached=cached)
    return _enriched(replay, enrich) if enrich else replay


def _enriched(replay: Replay, chain: Chain) -> Replay:
    """Add an enricher's columns: to the finished table, for types and distinct values hold for all of it."""
    return Replay(chain.table(replay.table), replace(replay.receipt, notes=(*replay.receipt.notes, *chain.notes())))


def _kept_or_read(reading: Reading, decode: str, where: str | None, *, cached: bool) -> Replay:
    condition = None if where is None else Where(where)
    kept = cache.load(reading.plan, reading.isolation, decode) if cached else None
    if kept is not None:
        return _filtered(Replay(*kept), condition)
    replay = _read(reading, decode, condition)
    if cached and condition is None:
        cache.store(reading.plan, reading.isolation, decode, replay.table, replay.receipt)
    return replay


def _read(reading: Reading, decode: str, condition: Where | None) -> Replay:
    module = decoder(decode)

    def work(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Any]:
        parsed = module.parse(batch.column("value"))
        if condition is None:
            return batch, parsed
        rows = condition.rows(decoded(batch, parsed, module, module.unify([parsed.schema])))
        chosen = batch.take(pa.array(rows))
        reading.drop(batch.column("partition").to_numpy(), chosen.column("partition").to_numpy())
        return chosen, module.parse(chosen.column("value"))

    with interrupt.asked() as reading.interrupted, ThreadPoolExecutor(1, "labkit-decode") as pool:
        pending: list[Future[tuple[pa.RecordBatch, Any]]] = []
        for batch in reading.batches():
            pending.append(pool.submit(work, batch))
            if len(pending) > _PENDING:
                pending[-_PENDING].result()
        done = [future.result() for future in pending]
        for batch, parsed in done:
            note_errors(reading, batch, parsed.errors)
        table = _assembled([batch for batch, _ in done], [parsed for _, parsed in done], module)
    receipt = reading.receipt()
    if condition is not None:
        condition.check()
        receipt = _noted(receipt, condition)
    return Replay(table, receipt)


def _filtered(replay: Replay, condition: Where | None) -> Replay:
    """Apply a condition to a replay that is there as a whole."""
    if condition is None:
        return replay
    chosen = replay.table.take(pa.array(condition.rows(replay.table)))
    condition.check()
    size = 1 + max(one.partition for one in replay.receipt.partitions)
    owners, bad = chosen["_partition"].to_numpy(), chosen["_error"].is_valid().to_numpy()
    left, errors = (np.bincount(some, minlength=size).tolist() for some in (owners, owners[bad]))
    partitions = tuple(
        replace(one, read=left[p], filtered=one.filtered + one.read - left[p], undecodable=errors[p])
        for p, one in ((one.partition, one) for one in replay.receipt.partitions)
    )
    return Replay(chosen, _noted(replace(replay.receipt, partitions=partitions), condition))


def _noted(receipt: Receipt, condition: Where) -> Receipt:
    note = f"only records where {condition.condition}; the others count as filtered"
    return replace(receipt, notes=(*receipt.notes, note))


def from_batches(raw: list[pa.RecordBatch], decode: str) -> pa.Table:
    """Return raw batches as one decoded table, as `Replay.table` describes it."""
    module = decoder(decode)
    return _assembled(raw, [module.parse(batch.column("value")) for batch in raw], module)


def note_errors(reading: Reading, batch: pa.RecordBatch, errors: dict[int, str]) -> None:
    """Book the records that could not be decoded."""
    if errors:
        partitions, counts = np.unique(batch.column("partition").to_numpy()[list(errors)], return_counts=True)
        for partition, count in zip(partitions.tolist(), counts.tolist(), strict=True):
            reading.undecodable[partition] = reading.undecodable.get(partition, 0) + count


def decoded(batch: pa.RecordBatch, parsed: Any, module: Any, schema: dict[str, Any]) -> pa.Table:
    """Return one batch's metadata and fields as a table."""
    fields = module.columns(parsed, schema)
    errors = pa.nulls(batch.num_rows, pa.string())
    if parsed.errors:
        texts: list[str | None] = [None] * batch.num_rows
        for row, reason in parsed.errors.items():
            texts[row] = reason
        errors = pa.array(texts, pa.string())
    metadata = {f"_{name}": batch.column(name) for name in batch.schema.names} | {"_error": errors}
    arrays = {name: metadata[name] for name in FIRST}
    arrays |= dict(zip(own_names(fields.column_names), fields.columns, strict=True))
    arrays |= {name: metadata[name] for name in LAST}
    return pa.table(arrays)


def own_names(fields: list[str]) -> list[str]:
    """Return the records' field names, clear of the metadata's."""
    taken = {*RESERVED, *(name for name in fields if name not in RESERVED)}
    found = []
    for name in fields:
        own = name
        while own in taken and (own != name or name in RESERVED):
            own += "_"
        taken.add(own)
        found.append(own)
    return found


def _assembled(raw: list[pa.RecordBatch], parsed: list[Any], module: Any) -> pa.Table:
    """Bring all batches under one schema and order the rows by partition, then offset, without copying them."""
    schema = module.unify(one.schema for one in parsed)
    tables = [decoded(batch, one, module, schema) for batch, one in zip(raw, parsed, strict=True)]
    if not any(batch.num_rows for batch in raw):
        empty = pa.RecordBatch.from_pylist([], schema=RAW_SCHEMA)
        nothing = module.parse(empty.column("value"))
        return decoded(empty, nothing, module, module.unify([nothing.schema]))
    pieces = sorted(
        (partition, number, first, last)
        for number, batch in enumerate(raw)
        for partition, first, last in runs(batch.column("partition").to_numpy())
    )
    ordered = pa.concat_tables([tables[number].slice(first, last - first) for _, number, first, last in pieces])
    many = len(pieces) > 64 and len(ordered) < 500 * len(pieces)
    return ordered.combine_chunks() if many else ordered


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return an Arrow table as a DataFrame that keeps null integers integers and times in UTC."""
    import pandas as pd

    text = pd.StringDtype("pyarrow", na_value=np.nan)

    def dtype(kind: pa.DataType) -> Any:
        if pa.types.is_timestamp(kind) or pa.types.is_dictionary(kind):
            return None
        return text if pa.types.is_string(kind) or pa.types.is_large_string(kind) else pd.ArrowDtype(kind)

    frame: pd.DataFrame = table.to_pandas(types_mapper=dtype)
    return frame
