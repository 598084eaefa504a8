"""Records of a window, a replay or an index go through once, batch by batch.

What is known of them is a `Profile`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.decode import find_decoder, gather_schemas, notes
from labkit.decode.decoder import Decoder
from labkit.decode.field_order import FirstRecords
from labkit.decode.json_shape import HUGE, WIDE, Shape
from labkit.decode.pipeline import FIRST, LAST, Decoding, ahead, condition
from labkit.decode.table import empty_table
from labkit.kafka.cluster import Cluster
from labkit.profile.fields import Fields, quote_name
from labkit.profile.origins import Origins
from labkit.profile.records import RecordStats
from labkit.profile.result import Profile
from labkit.read_spec import ReadSpec
from labkit.replay.notes import NoteSource, source_of
from labkit.replay.plan import Plan, Range
from labkit.replay.receipt import Receipt
from labkit.replay.records import RAW_SCHEMA
from labkit.replay.sample import explain_empty
from labkit.replay.slices import merge_receipts
from labkit.waiting import interrupt

if TYPE_CHECKING:
    from labkit.registry import Registry

_TYPES = {
    "integers": "integer", WIDE: "integer", HUGE: "integer", "fractions": "number", "texts": "text",
    "booleans": "boolean", "objects": "object", "lists": "list",
}  # fmt: skip
SLICES = 20  # places of each partition that a sample is taken from
BATCH_ROWS = 50_000
_PENDING = 4
_THREADS = 2


def of_window(
    cluster: Cluster,
    plan: Plan,
    plans: Sequence[Plan],
    spec: ReadSpec,
    *,
    registry: Registry | None,
    advance: Callable[[int, int], None] | None,
) -> Profile:
    """Return the profile of a window, or of a sample of it.

    Parameters
    ----------
    plan : Plan
        The window.
    plans : sequence of Plan
        The window itself, or slices of it; read one after the other, their receipts are added up.
    """
    decoder, decoder_notes, _ = spec.choose_decoder(cluster, plan, registry)
    fields, records, where = Fields(), RecordStats(), condition(spec.where)
    receipts: dict[int, Receipt] = {}
    first = FirstRecords()
    schemas: list[Any] = []
    with interrupt.listen() as cancelled:
        decoder.heed(cancelled)
        for number, part in enumerate(plans):
            if cancelled():
                break
            reading = spec.reading(cluster, part, advance)
            decoding = Decoding(reading, decoder, where, most=_PENDING, threads=_THREADS)
            for batch in decoding.batches(cancelled):
                _add(batch.raw, batch.parsed, decoder, fields, records)
                first.add(batch.raw)
                schemas = gather_schemas(schemas, batch.schema)
            receipts[number] = decoding.receipt()
    sampled = len(plans) != 1 or plans[0] is not plan
    receipt = _receipt(plan, plans, receipts) if sampled else receipts[0]
    if schemas:
        # the decoder's notes are of all batches then, not of the last one
        fields.arrange(empty_table(decoder, first.arrange(decoder.unify(schemas), decoder)))
    if where is not None:
        where.check(receipt)
    receipt = explain_empty(cluster, receipt)
    return Profile(
        name=plan.topic,
        what=f"topic {plan.topic}, {plan.asked}",
        fields=tuple(fields.known.values()),
        left_out=len(fields.left_out),
        records=records,
        receipt=receipt,
        planned=plan.size,
        sampled=sampled,
        notes=(*receipt.all_notes, *decoder_notes, *notes(decoder)),
    )


def _receipt(plan: Plan, plans: Sequence[Plan], receipts: dict[int, Receipt]) -> Receipt:
    covered = replace(plan, ranges=tuple(_hull(plans)))
    isolation = receipts[0].isolation if receipts else "read_committed"
    return merge_receipts(covered, plans, receipts, isolation=isolation)


def _hull(plans: Sequence[Plan]) -> list[Range]:
    """Return for each partition a range as long as its slices together.

    So what they planned adds up.
    """
    ranges = sorted(
        (span for plan in plans for span in plan.ranges),
        key=lambda span: (span.partition, span.start),
    )
    hulls = []
    for _, own in groupby(ranges, key=lambda span: span.partition):
        parts = list(own)
        end = parts[0].start + sum(part.size for part in parts)
        hulls.append(replace(parts[0], end=end, log_end=max(end, parts[-1].log_end)))
    return hulls


def sample_plans(plan: Plan, size: int) -> list[Plan]:
    """Return slices of a plan that have `size` offsets together.

    They are at `SLICES` places spread evenly over it.
    """
    passed = taken = 0  # offsets; rounded down together, for a share of one slice may be none
    slices: list[list[Range]] = [[] for _ in range(SLICES)]
    for span in plan.ranges:
        edges = np.linspace(span.start, span.end, SLICES + 1).astype(np.int64).tolist()
        for number, (start, end) in enumerate(pairwise(edges)):
            passed += end - start
            length = passed * size // plan.size - taken if passed else 0
            taken += length
            if length:
                first = start + (end - start - length) // 2
                slices[number].append(
                    replace(span, start=first, end=first + length, log_end=first + length)
                )
    return [replace(plan, ranges=tuple(ranges)) for ranges in slices if ranges]


def _add(
    raw: pa.RecordBatch, parsed: Any, decoder: Decoder, fields: Fields, records: RecordStats
) -> None:
    origins = Origins.of_raw(raw)
    records.add(raw, origins, list(parsed.errors.values()))
    schema = decoder.unify([parsed.schema])
    keys = decoder.key_columns(parsed, schema)
    fields.add(decoder.columns(parsed, schema), origins, _shares(parsed))
    fields.add(keys, origins, {})


def _shares(parsed: Any, *, of_all: bool = False) -> dict[str, Counter[str]]:
    """Return how many values of each type the fields of JSON have that disagree, by path.

    With `of_all` those of other fields, too: what disagrees in a table may agree in this part.
    """
    shape = getattr(getattr(parsed, "value", parsed), "schema", None)
    if not isinstance(shape, Shape):
        return {}
    shares: dict[str, Counter[str]] = {}
    for path, inner in shape.walk():
        if inner.disagrees or (of_all and inner.kinds):
            name = ".".join(part if part == "[]" else quote_name(part) for part in path).replace(
                ".[]", "[]"
            )
            shares[name] = Counter()
            for kind, count in inner.kinds.items():
                shares[name][_TYPES[kind]] += count
    return shares


def of_table(table: pa.Table, receipt: Receipt, what: str) -> Profile:
    """Return the profile of a decoded table, as `Replay.table` is one.

    Where values of a field disagree its column is text; their types are in the records' bytes.
    """
    fields, records = Fields(), RecordStats()
    disagree = any(source_of(note) == NoteSource.DECODING for note in receipt.notes)
    own = [name for name in table.column_names if name not in {*FIRST, *LAST}]
    for start in range(0, table.num_rows, BATCH_ROWS):
        part = table.slice(start, BATCH_ROWS)
        raw = part.select([f"_{name}" for name in RAW_SCHEMA.names]).rename_columns(
            RAW_SCHEMA.names
        )
        origins = Origins.of_raw(raw)
        errors = part["_error"].drop_null().to_pylist()
        for batch in raw.combine_chunks().to_batches():
            records.add(batch, origins, errors)
        shares = _shares_of_bytes(part["_value"]) if disagree else {}
        fields.add(part.select(own), origins, shares)
    return Profile(
        name=receipt.topic, what=what, fields=tuple(fields.known.values()), left_out=len(fields.left_out),
        records=records, receipt=receipt, planned=receipt.planned, sampled=False, notes=tuple(receipt.all_notes),
    )  # fmt: skip


def _shares_of_bytes(values: pa.ChunkedArray) -> dict[str, Counter[str]]:
    """Return how many values of each type the fields of JSON have; nothing of another format."""
    array = values.combine_chunks().cast(pa.binary())
    array = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
    if not pc.any(pc.starts_with(array, b"{")).as_py():
        return {}
    return _shares(find_decoder("json").parse(array), of_all=True)


def of_documents(name: str, batches: Iterable[pa.RecordBatch], *, total: int) -> Profile:
    """Return the profile of documents.

    The batches have ``_source``, one JSON object a row, as `Index.batches` yields them.
    """
    fields, decoder, count, errors = Fields(), find_decoder("json"), 0, 0
    sources = (batch.column("_source") for batch in batches)
    for parsed in ahead(sources, decoder.parse, most=1):
        columns = decoder.columns(parsed, decoder.unify([parsed.schema]))
        fields.add(columns, Origins.of_rows(count, len(columns)), _shares(parsed))
        count, errors = count + len(columns), errors + len(parsed.errors)
    sampled = count < total
    return Profile(
        name=name, what=f"index {name}", fields=tuple(fields.known.values()), left_out=len(fields.left_out),
        records=RecordStats(records=count, undecodable=errors), receipt=None, planned=total, sampled=sampled,
        notes=(),
    )  # fmt: skip
