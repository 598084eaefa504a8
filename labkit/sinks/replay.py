"""One table of a window's records: the Replay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.checks.habits import is_of_a_frame, no_attribute, no_rows
from labkit.checks.suggest import must_be_one_of, unknown_field
from labkit.checks.user_line import warn
from labkit.decode import Spec, cache_name, cells, describe_source, find_decoders, notes, open_named
from labkit.decode.decoder import Decoder
from labkit.decode.pipeline import Decoding, condition, fields_first
from labkit.decode.table import assemble, spread
from labkit.enrich import Chain, Enricher
from labkit.errors import IncompleteWarning, UsageError
from labkit.read_spec import ReadSource
from labkit.replay.notes import NoteSource, notes_without
from labkit.replay.reader import Reading
from labkit.replay.receipt import Receipt
from labkit.replay.sample import explain_empty
from labkit.sinks import cache
from labkit.sinks.replay_files import ReplayFiles
from labkit.sinks.replay_filter import filter_as_read, filter_rows, raw_batches, recount
from labkit.tables.dataframe import in_zone, records_frame, to_pandas, wide_type, with_text_keys
from labkit.tables.nested import field_column, field_names
from labkit.text import html
from labkit.text.counts import number_of
from labkit.waiting import interrupt

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from labkit.decode.filter import Where
    from labkit.profile.result import Profile
    from labkit.registry import Registry

_ALL, _SHOWN, _COLUMNS = 20, 5, 12  # of a replay as HTML: some hits in full, of many a few
_PENDING = 4  # batches waiting to be decoded while Kafka is read
_THREADS = 2  # that decode; measured


Order = Literal["partition", "time"]
# Arrow's take joins a column's chunks: they must stay below 2 GiB
_TAKES_BYTES, _TAKES_ROWS = 1 << 30, 50_000


def check_order(order: str) -> None:
    """Refuse what `order` cannot be, before anything is read."""
    if order not in ("partition", "time"):
        raise must_be_one_of(
            "order", order, ("partition", "time"), "'time' puts the newest records last"
        )


@dataclass(frozen=True, repr=False)
class Replay(ReplayFiles):
    """The records of a window.

    Attributes
    ----------
    table : pyarrow.Table
        One row per record, ordered by partition, then offset. Columns ``_topic _partition _offset
        _timestamp``, the records' own fields, then ``_timestamp_type _key _headers _value _error``.
        A field that bears one of these names has ``_`` appended. Decoded keys are ``_key_<field>``,
        behind ``_key``.
    receipt : Receipt
        What was planned and what came of it.
    registry : Registry, optional
        The profile's schema registry, for `decode`.
    enriched : bool
        Whether the table has columns of enrichers.
    timezone : tzinfo
        In which displays and DataFrames have their times: the lab's.
    """

    table: pa.Table
    receipt: Receipt
    registry: Registry | None = field(default=None, compare=False)
    enriched: bool = field(default=False, compare=False, repr=False)
    timezone: tzinfo = field(default=UTC, compare=False, repr=False)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is such a column, as a frame does."""
        return name in self.table.column_names

    def __getitem__(self, name: str | list[str]) -> Any:
        """Return a column as a pandas Series, several as a DataFrame.

        ``r["nick"]`` is a Series, ``r[["nick", "message"]]`` a DataFrame, ``r["user.name"]`` a field
        within an object.
        """
        names = (
            [name]
            if isinstance(name, str)
            else list(name)
            if isinstance(name, list | tuple)
            else None
        )
        if names is None or not all(isinstance(column_name, str) for column_name in names):
            raise UsageError(
                f"a Replay takes a column's name or a list of names, not {type(name).__name__}",
                hint="""choose rows with r.to_pandas()[…], or r.where("nick = 'alice'")""",
            )
        shown = self._shown
        columns = [field_column(shown, column_name) for column_name in names]
        for column_name, column in zip(names, columns, strict=True):
            if column is None:
                raise unknown_field(column_name, field_names(shown.schema))
        self.warn_when_incomplete()
        frame = to_pandas(pa.table(columns, names))
        frame = in_zone(frame, self.timezone)
        return frame[name] if isinstance(name, str) else frame

    if not TYPE_CHECKING:  # a misspelt name is an error of the type checker, too

        def __getattr__(self, name):
            """Point those who know pandas to the frame and its columns."""
            column = "table" in vars(self) and name in self.table.column_names
            if column and not is_of_a_frame(name):
                raise AttributeError(f"a Replay has no .{name}, but a column: r[{name!r}]")
            raise no_attribute(
                self, name, "a Replay has no .{name}, its frame has", "r.to_pandas()"
            )

        def __iter__(self):
            """Point those who make a frame of it to its own."""
            raise no_rows("a Replay", "r.to_pandas()")

    def header(self, key: str) -> pd.Series:
        """Return each record's value of a header as text.

        It is bytes where it is not UTF-8, and missing where a record has no such header. Of a
        header that is there more than once the last counts. In SQL and in ``where`` it is
        ``header('trace-id')``.
        """
        import pandas as pd

        self.warn_when_incomplete()
        texts = [_header_text(headers, key) for headers in self.table["_headers"].to_pylist()]
        return pd.Series(texts, name=key, dtype=object)

    def head(self, n: int = 5) -> pd.DataFrame:
        """Return the first `n` records as a DataFrame, in the table's order."""
        self.warn_when_incomplete()
        return in_zone(to_pandas(self._shown.slice(0, n)), self.timezone)

    def tail(self, n: int = 5) -> pd.DataFrame:
        """Return the newest `n` records as a DataFrame, by time, the newest last.

        The table's order does not matter.
        """
        self.warn_when_incomplete()
        return in_zone(to_pandas(_by_time(self._shown, n)), self.timezone)

    def in_zone(self, zone: tzinfo) -> Replay:
        """Return this replay with times shown, and given to pandas, in another zone.

        ``.table`` stays in UTC.
        """
        return replace(self, timezone=zone)

    def ordered(self, order: Order) -> Replay:
        """Return this replay with its rows by "partition", then offset, or by "time"."""
        check_order(order)
        keys = (
            ("_timestamp", "_partition", "_offset")
            if order == "time"
            else ("_partition", "_offset")
        )
        rows = _sorted_rows(self.table, keys)
        if np.array_equal(rows.to_numpy(), np.arange(len(rows))):  # as it is already
            return self
        return replace(self, table=take_rows(self.table, rows))

    @cached_property
    def _shown(self) -> pa.Table:
        """The table with keys as text, where all of them are: a part has them as the whole does."""
        return with_text_keys(self.table)

    def to_pandas(self, *, text_keys: bool = True) -> pd.DataFrame:
        """Return a DataFrame with the table's columns.

        Integers are pandas' own that may be missing (``Int64``), as are booleans; fractions are
        ``float64``, times ``datetime64[ms, UTC]`` (in the zone of ``labkit.connect(timezone=)``),
        texts pandas strings, bytes and nested values Arrow-backed.

        Parameters
        ----------
        text_keys : bool
            Make ``_key`` text where every key of the replay is UTF-8 without NUL, as ``r["_key"]``,
            `head` and `tail` do. With False it stays bytes, whatever the keys are; ``.table`` has
            bytes always.
        """
        self.warn_when_incomplete()
        return in_zone(records_frame(self.table, text_keys=text_keys), self.timezone)

    def warn_when_incomplete(self) -> None:
        """Warn the caller when this is only a part of the window.

        A frame or a chart would not show it.
        """
        if shortfall := self.receipt.shortfall:
            warn(f"this Replay of {self.receipt.topic!r} is {shortfall}", IncompleteWarning)

    def to_polars(self) -> pl.DataFrame:
        """Return a polars DataFrame with the table's columns."""
        import polars as pl

        self.warn_when_incomplete()

        frame = pl.from_arrow(self.table)
        if not isinstance(frame, pl.DataFrame):
            raise TypeError("a table becomes a DataFrame")
        return frame

    def sql(self, query: str, **tables: Any) -> pd.DataFrame:
        """Ask DuckDB; the records are the table ``replay``.

        Sums of integers are integers, or fractions where 64 bits do not hold them; differences of
        times are lengths, exact to the microsecond, and texts where one has months. A query runs as
        you: it may read and write your files (``from 'teams.parquet'``). It reaches no network and
        loads no extension.

        Parameters
        ----------
        query : str
        **tables : DataFrame or Arrow table
            More tables, under these names.

        Examples
        --------
        >>> r.sql("select nick, count(*) n from replay group by 1 order by n desc")  # doctest: +SKIP
        >>> r.sql("select team, count(*) from replay join teams using (nick) group by 1", teams=df)  # doctest: +SKIP
        """
        from labkit.sinks.sql import ask

        self.warn_when_incomplete()
        return ask(query, {"replay": self.table}, tables)

    def enrich(self, *enrichers: Enricher | Iterable[Enricher]) -> Replay:
        """Return this replay with the columns that `enrichers` add, without reading again.

        A list will do too.
        """
        return _enrich(self, Chain(enrichers))

    def decode(
        self, decode: Spec, *, key_decode: Spec = "raw", types: Mapping[str, Any] | None = None
    ) -> Replay:
        """Decode the same bytes another way, without reading Kafka again.

        Where it was enriched, `enrich` the result anew.

        Parameters
        ----------
        decode, key_decode : str, callable or Decoder
        types : dict, optional
            As `Window.read` takes them.
        """
        raw = raw_batches(self.table)
        decoder, decoder_notes, _ = find_decoders(
            decode, key_decode, types=types, registry=self.registry, sample=lambda: spread(raw)
        )
        table = assemble(raw, [decoder.parse_batch(batch) for batch in raw], decoder)
        of_the_read = notes_without(
            self.receipt.notes, (NoteSource.DECODING, NoteSource.ENRICHMENT)
        )
        receipt = replace(self.receipt, notes=(*of_the_read, *decoder_notes, *notes(decoder)))
        return replace(self, table=table, receipt=recount(receipt, table), enriched=False)

    def where(self, condition_sql: str) -> Replay:
        """Return the records that fulfil a condition in DuckDB's SQL, without reading again.

        It is asked of this table's columns: a field whose values disagree is text here, while
        ``Window.read(where=)`` asks each record by the types of its own values.
        """
        where = condition(condition_sql)
        return self if where is None else filter_rows(self, where, where.rows(self.table))

    def profile(self) -> Profile:
        """Return what is in the records: every field, its types, values and shares.

        See `Window.profile`.
        """
        from labkit.profile.collect import of_table

        return of_table(self.table, self.receipt, f"a replay of {self.receipt.topic}")

    def __repr__(self) -> str:
        return f"Replay of {number_of(len(self), 'record')}, {self.table.num_columns} columns\n{self.receipt}"

    @html.view
    def _repr_html_(self) -> str:
        if not len(self):
            return f"{self.receipt._repr_html_()}<p>no records</p>"
        most = len(self) if len(self) <= _ALL else _SHOWN
        newest = fields_first(_by_time(self.table.drop_columns(["_headers"]), most))
        head = in_zone(to_pandas(newest), self.timezone).iloc[::-1]
        head = head.drop(columns="_value") if cells.tells_all(head) else head
        shown = head.iloc[:, :_COLUMNS]
        left = (
            f", and {number_of(len(head.columns) - _COLUMNS, 'more column')}"
            if len(head.columns) > _COLUMNS
            else ""
        )
        note = f"<p>the newest {len(head)} of {len(self):,} records: <code>.to_pandas()</code> has all{left}</p>"
        table = html.table(
            [str(name) for name in shown], cells.rows(shown, cells.folded_cell), one_line=True
        )
        return self.receipt._repr_html_() + table + note


def _by_time(table: pa.Table, n: int) -> pa.Table:
    """Return the newest `n` rows, the newest last."""
    rows = _sorted_rows(table, ("_timestamp", "_partition", "_offset"))
    return take_rows(table, rows[max(0, len(rows) - n) :])


def _sorted_rows(table: pa.Table, keys: tuple[str, ...]) -> pa.Array:
    """Return the numbers of the rows, sorted.

    Those without a time come first: they are not the newest.
    """
    return pc.sort_indices(
        table.select(keys), sort_keys=[(key, "ascending", "at_start") for key in keys]
    )


def take_rows(table: pa.Table, rows: pa.Array) -> pa.Table:
    """Return these rows of a table, in their order.

    Also of one with more than 2 GiB of texts or bytes.
    """
    if table.nbytes < _TAKES_BYTES:
        return table.take(rows)
    texts = [
        pa.large_string() if pa.types.is_string(column.type) else wide_type(column.type)
        for column in table.schema
    ]
    wide = pa.schema(
        [column.with_type(kind) for column, kind in zip(table.schema, texts, strict=True)]
    )
    source, size = table.cast(wide), _TAKES_ROWS
    return pa.concat_tables(
        [source.take(rows[at : at + size]).cast(table.schema) for at in range(0, len(rows), size)]
    )


def _header_text(headers: list[dict[str, Any]] | None, key: str) -> str | bytes | None:
    values = [header["value"] for header in headers or [] if header["key"] == key]
    if not values or values[-1] is None:
        return None
    try:
        return str(values[-1].decode())
    except UnicodeDecodeError:
        return bytes(values[-1])


def read(source: ReadSource, *, cached: bool = True) -> Replay:
    """Read all of a window into one Replay.

    An interrupt returns what was read so far, marked so in the receipt; ``reading.was_cancelled``
    tells of it.
    """
    spec = source.spec
    opened_spec = replace(
        spec, decode=open_named(spec.decode), key_decode=open_named(spec.key_decode)
    )
    replay = _read_or_cached(replace(source, spec=opened_spec), cached=cached)
    # the cache keeps no word of who named a decoder
    receipt = explain_empty(source.reading.cluster, replay.receipt)
    replay = replace(
        replay, receipt=receipt.with_notes(*describe_source(spec.decode, spec.key_decode))
    )
    return _enrich(replay, spec.chain) if spec.chain else replay


def _enrich(replay: Replay, chain: Chain) -> Replay:
    """Add an enricher's columns to the finished table.

    Its types and distinct values hold for all of the table.
    """
    table, enricher_notes = chain.table(replay.table), chain.notes()
    receipt = recount(replay.receipt, table) if chain.finds_errors else replay.receipt
    receipt = receipt.with_notes(*enricher_notes)
    return replace(replay, table=table, receipt=receipt, enriched=True)


def _read_or_cached(source: ReadSource, *, cached: bool) -> Replay:
    reading, spec, registry = source.reading, source.spec, source.registry
    where = condition(spec.where)
    most_bytes = float("inf") if reading.max_bytes is None else reading.max_bytes
    if cached:
        cache.bound_bytes()  # a wrong setting fails before anything is read
    name = cache_name(spec.decode, spec.key_decode, registry)
    for kept_name in dict.fromkeys((name, "raw")) if cached else ():
        entry = (
            None if kept_name is None else cache.load(reading.plan, reading.isolation, kept_name)
        )
        if entry is not None and entry[1].bytes < most_bytes:
            replay = Replay(*entry, registry)
            if spec.types or kept_name != name:
                replay = replay.decode(spec.decode, key_decode=spec.key_decode, types=spec.types)
            return filter_as_read(replay, where, spec)
    decoder, decoder_notes, sure = source.choose_decoder()
    replay = _read(reading, decoder, where)
    receipt = replay.receipt.with_notes(*decoder_notes, *notes(decoder))
    replay = Replay(replay.table, receipt, registry)
    if cached and where is None and not reading.was_cancelled:
        if name is None or spec.types or not (sure and decoder.lasting):
            name, kept_as = "raw", replay.decode("raw")
        else:
            kept_as = replay
        cache.store(reading.plan, reading.isolation, name, kept_as.table, kept_as.receipt)
    return replay


def _read(reading: Reading, decoder: Decoder, where: Where | None) -> Replay:
    decoding = Decoding(reading, decoder, where, most=_PENDING, threads=_THREADS)
    with interrupt.listen() as cancelled:
        decoder.heed(cancelled)
        batches = list(decoding.batches(cancelled))
        schema = decoder.unify([batch.schema for batch in batches]) if batches else None
        table = assemble(
            [batch.raw for batch in batches], [batch.parsed for batch in batches], decoder, schema
        )
    return Replay(table, decoding.final_receipt())
