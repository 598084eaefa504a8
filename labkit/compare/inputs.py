"""What can be compared, as one stream: JSON documents, each with its id and its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from labkit.checks import names
from labkit.decode import find_decoder
from labkit.decode.pipeline import RESERVED, Decoding, condition
from labkit.elastic import Target
from labkit.errors import UsageError
from labkit.es import json_text
from labkit.es.documents import Documents, as_stored
from labkit.es.encode import Encoder, of_table, own_columns
from labkit.es.form import OWN, PLAIN, Form
from labkit.es.index import Index, condition_of, notes_kept, shortfall_notes
from labkit.es.metadata import metadata
from labkit.es.point_in_time import origins
from labkit.read_spec import ReadSource, ReadSpec
from labkit.reads import WindowReads
from labkit.replay import read_log
from labkit.replay.sample import sample
from labkit.sinks.replay import Replay
from labkit.sinks.replay_filter import filter_as_read
from labkit.sinks.scratch import Load
from labkit.sinks.scratch_index import ScratchIndex
from labkit.text.counts import number_of
from labkit.text.visible import a_type_of
from labkit.waiting.interrupt import Cancelled

if TYPE_CHECKING:
    from labkit.window import Window

ROWS = 5_000
MOST_IDS = 50_000  # asked for in one query
# an id is topic-partition-offset, or null where a row has none; the time is in ms since the epoch,
# UTC
SCHEMA = pa.schema([("id", pa.string()), ("source", pa.string()), ("stamp", pa.int64())])
_WHAT = "a Replay, a Window, a Load, a ScratchIndex, the name of an index, a DataFrame or an Arrow table"


@dataclass
class Side:
    """One of the two.

    Attributes
    ----------
    name : str
        What it is called.
    batches : callable
        Returns its documents, in batches of `SCHEMA`.
    documents, outside, nameless : int
        How many it read; how many more were left out: of other offsets, or because they do not name
        theirs.
    total : callable
        How many there are to read, or None when that is not known.
    index : Index or None
        Where it can be asked again.
    reasons, notes : list of str
        Why it is not all there is; what else to tell.
    """

    name: str
    batches: Callable[[Cancelled], Iterator[pa.RecordBatch]]
    total: Callable[[], int | None]
    index: Index | None = None
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    documents: int = 0
    outside: int = 0
    nameless: int = 0

    def note_shortfall(self, shortfall: str) -> None:
        """Note why it is not all there is; an empty text says that it is all."""
        if shortfall:
            self.reasons.append(shortfall)


def only_within(side: Side, window: Window, *, by_origin: bool) -> None:
    """Leave out the side's documents whose origin is not among the window's frozen offsets.

    Where documents are paired by origin, a small part of an index is asked for by its ids.
    """
    if by_origin and side.index is not None and _is_small_part(window, side.index):
        _ask_by_ids(side, side.index, window)
    else:
        _leave_out(side, window)


def _is_small_part(window: Window, index: Index) -> bool:
    size = window.plan.size
    return size <= MOST_IDS and 2 * size < index._count()


def _ask_by_ids(side: Side, index: Index, window: Window) -> None:
    """Read the documents of the window's records, and count the others."""
    topic, ranges = window.plan.topic, window.plan.ranges
    ids = [
        f"{topic}-{span.partition}-{offset}"
        for span in ranges
        for offset in range(span.start, span.end)
    ]
    every = Side(side.name, side.batches, side.total)

    def batches(cancelled: Cancelled) -> Iterator[pa.RecordBatch]:
        total, count = index._count(), 0
        for batch in index.batches({"ids": {"values": ids}}, cancelled=cancelled):
            count += batch.num_rows
            yield _batch(batch.column("_id"), batch.column("_source"))
        side.outside += total - count
        if not count:  # perhaps no document tells which record it was
            side.outside = 0
            _leave_out(every, window)
            yield from every.batches(cancelled)
            side.outside, side.nameless = every.outside, every.nameless

    side.batches, side.total = batches, lambda: len(ids)


def _leave_out(side: Side, window: Window) -> None:
    """Read all of the side's documents, and drop those of other records."""
    plan, all_batches = window.plan, side.batches
    size = 1 + max((span.partition for span in plan.ranges), default=0)
    # the last place is for partitions that are not in it
    bounds = np.zeros((2, size + 1), np.int64)
    for span in plan.ranges:
        bounds[:, span.partition] = span.start, span.end

    def batches(cancelled: Cancelled) -> Iterator[pa.RecordBatch]:
        for batch in all_batches(cancelled):
            places = origins(batch.column("id"))
            partition = np.minimum(places["_partition"].fill_null(size).to_numpy(False), size)
            offset = places["_offset"].fill_null(-1).to_numpy(False)
            mine = pc.fill_null(pc.equal(places["_topic"], plan.topic), False).to_numpy(False)
            inside = mine & (bounds[0][partition] <= offset) & (offset < bounds[1][partition])
            nameless = places["_offset"].null_count
            side.nameless += nameless
            side.outside += len(inside) - int(inside.sum()) - nameless
            yield batch.filter(pa.array(inside))

    side.batches = batches


def open_side(what: Any, target: Callable[[str], Target], default: str, beside: Any = None) -> Side:
    """Return `what` as a side of a comparison.

    Records become the documents that the other side has, `beside`: an index keeps how its own were
    made.

    Raises
    ------
    UsageError
        When it is nothing that can be compared.
    """
    if (index := _index(what, target, default)) is not None:
        index_side = _of_index(index)
        if isinstance(what, Load):
            index_side.note_shortfall(what.shortfall)
        else:  # perhaps of another window than the one that is compared
            index_side.notes += shortfall_notes(index)
        return index_side
    if isinstance(what, Replay):
        return _of_replay(what, *_how_made(_index(beside, target, default)))
    if isinstance(what, WindowReads):
        return _of_window(what, *_how_made(_index(beside, target, default)))
    return _of_table(what)


def _index(what: Any, target: Callable[[str], Target], default: str) -> Index | None:
    """Return the index that `what` names or is; None for anything else."""
    if isinstance(what, str):
        name, _, where = what.partition("@")
        # what was just written counts
        kind = ScratchIndex if name.startswith(names.SCRATCH_PREFIX) else Index
        return kind(names.index_pattern(name), target(where or default))
    if isinstance(what, Load):
        return what.index
    return what if isinstance(what, Index) else None


def _how_made(index: Index | None) -> tuple[Form, str | None]:
    """Return how an index's documents were made, and the condition that left records out.

    An index says it in its mapping, as far as it says it. Of JSON as it is, it says nothing.
    """
    index_notes = [] if index is None else notes_kept(index)
    return Form.of_meta(index_notes[0]) if index_notes else PLAIN, condition_of(index_notes)


def _of_index(index: Index) -> Side:
    def batches(cancelled: Cancelled) -> Iterator[pa.RecordBatch]:
        for batch in index.batches(cancelled=cancelled):
            yield _batch(batch.column("_id"), batch.column("_source"))

    return Side(f"{index.name}@{index.target.name}", batches, index._count, index)


def _of_replay(replay: Replay, form: Form, where: str | None) -> Side:
    name, notes = f"replay of {replay.receipt.topic}", []
    fields, keys = own_columns(replay.table)
    # it was read another way than the index
    if OWN not in (form.decode, form.key_decode) and not form.plain:
        if not fields.num_columns or (form.key_decode != "raw" and not keys.num_columns):
            replay = replay.decode(form.decode, key_decode=form.key_decode)
    elif form.decode == "json" and not _holds_json(replay):
        form = replace(form, decode=OWN)
    what = "the JSON" if form.decode == "json" else "what was decoded"
    if where is not None:
        records, replay = len(replay), _fulfilling(replay, form, where)
        notes += _left_out_notes(records - len(replay), where)

    def batches(cancelled: Cancelled) -> Iterator[pa.RecordBatch]:
        for first in range(0, len(replay), ROWS):
            if cancelled():
                return
            yield _of_documents(of_table(replay.table.slice(first, ROWS), form))

    if replay.enriched:
        notes.append(
            f"{what} of {name} is compared, without the columns of enrichers: .to_pandas() has these"
        )
    side = Side(name, batches, lambda: len(replay), notes=notes)
    side.note_shortfall(replay.receipt.shortfall)
    return side


def _fulfilling(replay: Replay, form: Form, where: str) -> Replay:
    """Return the records that fulfil an index's condition, asked as the index's were."""
    if OWN in (form.decode, form.key_decode):
        return replay.where(where)
    return filter_as_read(replay, condition(where), ReadSpec(form.decode, form.key_decode))


def _holds_json(replay: Replay) -> bool:
    """Tell whether values are JSON by themselves.

    Where none is, and fields were decoded all the same, they are not.
    """
    values = replay.table.column("_value").slice(0, ROWS).combine_chunks()
    errors = find_decoder("json").parse(values).errors
    return (
        len(errors) < len(values) - values.null_count
        or not own_columns(replay.table)[0].num_columns
    )


def _left_out_notes(count: int, where: str) -> list[str]:
    """Return what to say of records that an index's condition leaves out: they are not missing."""
    return (
        [f"{count:,} records do not fulfil {where}, the condition that the index was made with"]
        if count
        else []
    )


def _of_window(window: WindowReads, form: Form, where: str | None) -> Side:
    if OWN in (form.decode, form.key_decode):
        raise UsageError(
            "the index was made by a decoder that has no name, so a window cannot be read as it was",
            hint="compare a replay, in Python: lab.compare(w.read(decode=…), index)",
        )

    def batches(cancelled: Cancelled) -> Iterator[pa.RecordBatch]:
        source = ReadSource.of(window, decode="json", key_decode="raw", where=where)
        lost = 0
        for docs in _documents(source, form, cancelled):
            lost += len(docs.rejects)
            yield _of_documents(docs)
        receipt = source.reading.receipt()
        if where is not None:
            window_side.notes += _left_out_notes(receipt.filtered, where)
        read_log.record(window.plan, receipt, "compare")
        window_side.note_shortfall(receipt.shortfall)
        if lost:
            window_side.reasons.append(
                f"{number_of(lost, 'record')} could not be decoded: nothing to compare"
            )

    window_side = Side(f"window of {window.plan.topic}", batches, lambda: window.plan.size)
    return window_side


def _documents(source: ReadSource, form: Form, cancelled: Cancelled) -> Iterator[Documents]:
    """Yield a window's records, those that fulfil the condition, as documents of a form."""
    reading, registry = source.reading, source.registry
    if form.plain:
        for batch in source.without_decoding().raw(cancelled):
            yield as_stored(batch, [metadata(batch)] if form.metadata else [])
        return
    encoder = Encoder(
        form.settle(lambda: sample(reading.cluster, reading.plan), registry), registry
    )
    yield from encoder.documents(
        Decoding(reading, encoder.decoder, condition(source.spec.where)), cancelled
    )


def _of_documents(docs: Documents) -> pa.RecordBatch:
    return _batch(docs.ids, docs.sources, docs.origin.column("timestamp").cast(pa.int64()))


def _of_table(what: Any) -> Side:
    frame = _frame(what)
    fields = [name for name in frame.columns if name not in RESERVED | {"_id", "_index"}]

    def batches(cancelled: Cancelled) -> Iterator[pa.RecordBatch]:
        for part in frame.iter_slices(ROWS):
            if cancelled():
                return
            yield _batch(_ids(part), _json(part.select(_at(part, fields))), _stamps(part))

    return Side("table", batches, lambda: frame.height)


def _frame(what: Any) -> pl.DataFrame:
    import pandas as pd

    try:
        if isinstance(what, pd.DataFrame):
            what = pa.Table.from_pandas(what.rename(columns=str), preserve_index=False)
        frame = pl.DataFrame(what) if hasattr(what, "__arrow_c_stream__") else None
    except (pa.ArrowException, pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise UsageError(
            f"this DataFrame has no Arrow form: {error}",
            hint="make columns of one kind of values, under unique names",
        ) from error
    if not isinstance(frame, pl.DataFrame):
        raise UsageError(f"{a_type_of(what)} cannot be compared", hint=f"give {_WHAT}")
    return frame


def _ids(frame: pl.DataFrame) -> Any:
    """Return ``_id``, or topic-partition-offset; null where a row has neither."""
    has_id = "_id" in frame.columns
    parts = ["_id"] if has_id else ["_topic", "_partition", "_offset"]
    if not set(parts) <= set(frame.columns):
        return pa.nulls(frame.height, pa.string())
    return _texts(
        frame.select(pl.concat_str([pl.col(name).cast(pl.String) for name in parts], separator="-"))
    )


def _stamps(frame: pl.DataFrame) -> Any:
    kind = frame.schema.get("_timestamp")
    if not isinstance(kind, pl.Datetime):
        return None
    return frame["_timestamp"].dt.epoch("ms").to_arrow()


def _json(frame: pl.DataFrame) -> Any:
    """Return each row as JSON, as an index has it; NaN and infinity are texts."""
    if not frame.width:
        return pa.array(["{}"] * frame.height, pa.string())
    try:
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        return json_text.objects(table, odd=True).cast(pa.string())
    except (pa.ArrowException, UsageError) as error:
        raise UsageError(
            f"a column has no JSON form: {error}", hint="make a column of plain values first"
        ) from error


def _at(frame: pl.DataFrame, names: list[str]) -> pl.Expr:
    """Return columns by their places: to polars the names ``*`` and ``^a.*$`` are patterns."""
    return pl.nth([frame.get_column_index(name) for name in names])


def _texts(frame: pl.DataFrame) -> Any:
    return frame.to_series().to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())


def _batch(ids: Any, sources: Any, stamps: Any = None) -> pa.RecordBatch:
    stamps = pa.nulls(len(ids), pa.int64()) if stamps is None else stamps
    return pa.RecordBatch.from_arrays([ids, sources.cast(pa.string()), stamps], schema=SCHEMA)
