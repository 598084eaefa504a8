"""A window as a Dask DataFrame: one task for each slice of its frozen offsets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import dask
import dask.dataframe as dd
import pyarrow as pa
from dask.dataframe.extensions import make_array_nonempty

from labkit import decode as decoding
from labkit.checks.validation import check_choice
from labkit.decode.decoder import Decoder
from labkit.decode.field_order import arrange
from labkit.decode.fixed_schema import Fixed, conform
from labkit.decode.table import empty_table, from_batches
from labkit.enrich import Chain
from labkit.errors import IncompleteError
from labkit.read_spec import ReadSource, ReadSpec
from labkit.replay.plan import Plan
from labkit.replay.reader import Reading
from labkit.replay.receipt import Receipt, StopReason
from labkit.replay.records import TIMESTAMP_TYPES
from labkit.replay.sample import sample
from labkit.replay.slices import cut
from labkit.sinks import replay
from labkit.sinks.dask.access import (
    Access,
    Slices,
    listen,
    movable,
    slice_size,
    tell,
    wait_for_brokers,
)
from labkit.sinks.replay_filter import recount
from labkit.tables.dataframe import to_pandas
from labkit.tables.decimal_pandas import DecimalArray, DecimalDtype
from labkit.tables.nested_pandas import NestedArray, NestedDtype

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client


Schema = Literal["sample", "all"]


@make_array_nonempty.register(NestedDtype)  # type: ignore[untyped-decorator]  # Dask has no types
def _make_two_nested(dtype: NestedDtype) -> NestedArray:
    """Return two values of a nested type, on which Dask tries its operations.

    Dask itself makes values of pandas' types alone.
    """
    return NestedArray(pa.chunked_array([pa.nulls(2, dtype.pyarrow_dtype)]))


@make_array_nonempty.register(DecimalDtype)  # type: ignore[untyped-decorator]
def _make_two_decimals(dtype: DecimalDtype) -> DecimalArray:
    return DecimalArray(pa.chunked_array([pa.array([0, None], dtype.pyarrow_dtype)]))


class Frame(dd.DataFrame):  # type: ignore[misc]  # Dask has no types
    """A Dask DataFrame of a window's records, with a receipt.

    It is lazy: each computation reads Kafka anew, unless it is persisted. What is derived from it
    is a plain Dask DataFrame; the receipt is asked of this one.
    """

    def receipt(self) -> Receipt:
        """Return what was planned and what came of it, as far as the slices were computed.

        ``planned = read + filtered + gaps + unread``. Slices not computed yet are unread for the
        reason ``pending``. A slice that was computed more than once, or again because its worker
        was lost, counts once.
        """
        receipt: Receipt = self._labkit_slices.receipt()
        return receipt


@dataclass(frozen=True)
class How:
    """How a slice is read and decoded; it travels in the tasks."""

    access: Access
    spec: ReadSpec

    def reading(self, plan: Plan) -> Reading:
        """Return one pass over a slice."""
        return self.spec.reading(self.access.connection().cluster, plan)

    def decoder(self) -> Decoder:
        """Return a new decoder of values and keys."""
        registry = self.access.connection().registry
        return decoding.find_decoders(
            self.spec.decode, self.spec.key_decode, registry=registry, sample=list
        )[0]

    def enrich_slice(self, table: pa.Table) -> pa.Table:
        """Return a slice's table with the added columns."""
        return Chain(self.spec.enrich).table(table)

    def check(self, receipt: Receipt) -> None:
        """Raise when a slice was not read to its end: a frame has no place to say so."""
        allowed = {StopReason.EXPIRED} if self.spec.on_expired == "clamp" else set()
        if reasons := set(receipt.reasons) - allowed:
            raise IncompleteError(
                f"a slice of topic {receipt.topic!r} was not read to its end: {', '.join(sorted(reasons))}",
                hint="its receipt (.receipt of this error) says where; for an open transaction wait, or read with "
                'isolation="read_uncommitted"',
                receipt=receipt,
            )


@dataclass(frozen=True)
class _Read:
    """The task of one slice."""

    how: How
    known: Any = field(repr=False)
    empty: pa.Table = field(repr=False)
    layout: pa.Table = field(repr=False)  # with the added columns

    def __dask_tokenize__(self) -> tuple[str, str]:
        return "labkit", self.how.access.token

    def __call__(self, number: int, plan: Plan) -> pd.DataFrame:
        token = self.how.access.token
        tell(token, number)
        fixed = Fixed(self.how.decoder(), self.known)
        spec = replace(self.how.spec, decode=fixed, key_decode="raw", enrich=())
        result = wait_for_brokers(
            lambda: replay.read(ReadSource(self.how.reading(plan), spec), cached=False)
        )
        conformed = conform(result.table, self.empty.schema)
        unknown = conformed.unknown
        if len(conformed.table) and self.how.spec.chain:
            enriched = self.how.enrich_slice(conformed.table)
            conformed = conform(enriched, self.layout.schema)
            unknown = {**unknown, **conformed.unknown}
        receipt = recount(result.receipt, conformed.table)
        tell(token, number, receipt, unknown)
        self.how.check(receipt)
        return to_pandas(conformed.table if len(conformed.table) else self.layout)


def to_dask(
    access: Access,
    plan: Plan,
    client: Client | None,
    spec: ReadSpec,
    *,
    schema: Schema,
    slice_records: int | None,
) -> Frame:
    """Return a window's records as a lazy Dask DataFrame; see `Window.to_dask`."""
    check_choice("schema", schema, Schema, "'all' reads the window once more, for its schema alone")
    connection = access.connection()
    spec.reading(connection.cluster, plan).check()
    batches = sample(connection.cluster, plan)
    (value, key), decoder_notes, _ = decoding.choose_decoders(
        spec.decode, spec.key_decode, registry=connection.registry, sample=lambda: batches
    )
    how = How(access, replace(spec, decode=value, key_decode=key))
    functions = {"decode": value, "key_decode": key}
    movable(
        enrich=spec.chain,
        **{name: decoder for name, decoder in functions.items() if not isinstance(decoder, str)},
    )
    parts = cut(plan, slice_size(slice_records, connection.cluster, plan, batches))
    decoder = how.decoder()
    if schema == "all":
        unified = decoder.unify(_schemas(client, how, parts))
    else:
        unified = decoder.unify([decoder.parse_batch(batch).schema for batch in batches])
    unified = arrange(unified, batches, decoder)
    empty = _with_categories(empty_table(decoder, unified), plan.topic)
    layout = _enriched_meta(how, unified, empty, batches, plan.topic)
    slices = Slices(plan, parts, spec.isolation, said=(*decoder_notes, *spec.chain.notes()))
    listen(client, access.token, slices)
    task = _Read(how, unified, empty, layout)
    # texts have the type that `read()` gives them
    with dask.config.set({"dataframe.convert-string": False}):
        lazy = dd.from_map(
            task, range(len(parts)), parts, meta=to_pandas(layout), label=f"labkit-{plan.topic}"
        )
    frame = Frame(lazy.expr)
    frame._labkit_slices = slices
    return frame


def _schemas(client: Client | None, how: How, parts: list[Plan]) -> list[Any]:
    """Return the schemas of all batches, found by the workers.

    The window is read once for them alone.
    """
    tasks = [dask.delayed(_schemas_of, pure=False)(how, part) for part in parts]
    results = client.compute(tasks, sync=True) if client is not None else dask.compute(*tasks)
    return [schema for schemas in results for schema in schemas]


def _schemas_of(how: How, plan: Plan) -> list[Any]:
    return wait_for_brokers(lambda: _schemas_read(how, plan))


def _schemas_read(how: How, plan: Plan) -> list[Any]:
    reading, decoder = how.reading(plan), how.decoder()
    schemas: list[Any] = []
    for batch in reading.batches():
        schemas = decoding.gather_schemas(schemas, decoder.parse_batch(batch).schema)
    how.check(reading.receipt())
    return schemas


def _enriched_meta(
    how: How, known: Any, empty: pa.Table, batches: list[pa.RecordBatch], topic: str
) -> pa.Table:
    """Return an empty table with the columns that the sample's records get beyond their own."""
    if not how.spec.chain:
        return empty
    sampled = from_batches(batches, Fixed(how.decoder(), known))
    enriched = how.enrich_slice(conform(sampled, empty.schema).table)
    return _with_categories(enriched.slice(0, 0), topic)


def _with_categories(table: pa.Table, topic: str) -> pa.Table:
    """Give an empty table the categories that every batch has."""
    for name, words in (("_topic", [topic]), ("_timestamp_type", TIMESTAMP_TYPES)):
        column = pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array(words))
        table = table.set_column(table.column_names.index(name), name, column)
    return table
