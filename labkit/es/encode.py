"""Any decoder's records as documents: their columns as JSON, their mapping from the columns' types.

Values of JSON are not decoded: they go as the bytes they are (`labkit.es.documents`). Of any other
format a record becomes the object of its decoded fields, named as in a frame; decoded keys are
``_key_<field>``. A tombstone is tagged as it is of JSON. A record that cannot be decoded has no
document but a reject, with the reason; its source is what could be read of it, else the value's
bytes as ``{"base64": …}``.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from labkit import decode as decoding
from labkit.decode.decoder import Decoder
from labkit.decode.json_shape import Shape
from labkit.decode.keys import Both
from labkit.decode.merge import without_way
from labkit.decode.pipeline import FIRST, Batch, Decoding, decoded_table, rows_of
from labkit.enrich.chain import Chain
from labkit.errors import LabkitError
from labkit.es import json_text, metadata
from labkit.es.documents import Documents, Reject, as_stored, documents
from labkit.es.form import PLAIN, Form
from labkit.es.json_append import Fragments
from labkit.es.learned_fields import LearnedFields
from labkit.es.mappings import IndexName
from labkit.registry import Registry
from labkit.replay.notes import NoteSource, notes_about
from labkit.replay.records import RAW_SCHEMA
from labkit.waiting.interrupt import Cancelled

if TYPE_CHECKING:
    from labkit.decode.each_record import EachRecord
    from labkit.decode.filter import Where

LOOKED_AT = 100  # records at each end of a batch of JSON, for the types that fields need


@dataclass
class Encoder:
    """Makes documents of raw records, in one form; what it has seen of their types stays.

    Parameters
    ----------
    form : Form
        Settled.
    registry : Registry, optional
    chain : Chain
        What to add to the documents.
    name : IndexName, optional
        As `documents` takes it.
    where : Where, optional
        Which of the records given to `of_raw` become documents. What cannot be decoded is a reject
        whatever it says.
    """

    form: Form = PLAIN
    registry: Registry | None = None
    chain: Chain = field(default_factory=lambda: Chain([]))
    name: IndexName | None = None
    where: Where | None = None
    _learned: LearnedFields = field(default_factory=LearnedFields, init=False)

    def __post_init__(self) -> None:
        self.renew()
        self._plain = self.form.plain and not self.chain.changes
        self._as_is = self.form.decode == "json" and not self.chain.changes
        self._has_keys = self.form.key_decode != "raw"
        self._schemas: tuple[list[Any], list[Any]] = ([], [])
        self._each: EachRecord | None = None
        if self.where is not None:
            from labkit.decode.each_record import EachRecord  # DuckDB, as in `condition`

            self._each = EachRecord(self.where)
        for schema in self.form.seen:
            parts = schema if self._has_keys else (schema,)
            if self._as_is:
                self._learned.learn_json(parts[0])
            parts = [part.uncounted() if isinstance(part, Shape) else part for part in parts]
            self._schema(tuple(parts) if self._has_keys else parts[0])

    def renew(self) -> None:
        """Take a new decoder, that asks the registry anew what it could not have before."""
        self.decoder, _, _ = decoding.find_decoders(
            self.form.decode, self.form.key_decode, registry=self.registry, sample=list
        )

    @property
    def trouble(self) -> LabkitError | None:
        """What kept the registry from answering; `renew` forgets it."""
        return self.decoder.trouble

    @property
    def fields(self) -> dict[str, Any]:
        """How the index must map the records' own fields, by the records so far."""
        return self._learned.rules

    @property
    def properties(self) -> dict[str, Any]:
        """How the index is to map what is added to the records' own fields."""
        return {**(metadata.PROPERTIES if self.form.metadata else {}), **self.chain.properties}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the receipt should tell."""
        texts = map(without_way, decoding.notes(self.told_by))
        own_notes = notes_about(NoteSource.DECODING, texts)
        return (*self.form.notes, *own_notes, *self.chain.notes())

    @property
    def told_by(self) -> Decoder:
        """What has notes about the documents: JSON keeps its own types in them, and has none."""
        if self.form.decode != "json":
            return self.decoder
        silent = decoding.plain("raw")
        return Both(silent, self.decoder.parts[1]) if self._has_keys else silent

    def documents(self, records: Decoding, cancelled: Cancelled) -> Iterator[Documents]:
        """Yield the documents of a reading's records, until it is cancelled."""
        if self._plain:
            yield from (self.of_raw(batch) for batch in records.raw(cancelled))
        else:
            yield from (
                self._of_decoded(batch)
                for batch in records.batches(cancelled)
                if batch.raw.num_rows
            )

    def of_raw(self, raw: pa.RecordBatch) -> Documents:
        """Return the documents of raw records."""
        if self._plain and self.where is None:
            last = raw.slice(max(LOOKED_AT, raw.num_rows - LOOKED_AT))
            for part in (raw.slice(0, LOOKED_AT), last):
                values = part.column("value")
                self._learned.learn_json(decoding.plain("json").parse(values).schema)
            return self._of_json(raw)
        parsed = self.decoder.parse_batch(raw)
        if self._plain:
            self._learned.learn_json(parsed.schema)
        batch, rejects = self._chosen(Batch(raw, parsed, parsed.schema))
        docs = self._of_json(batch.raw) if self._plain else self._of_decoded(batch)
        return replace(docs, rejects=[*rejects, *docs.rejects]) if rejects else docs

    def _chosen(self, batch: Batch) -> tuple[Batch, list[Reject]]:
        """Return the records that fulfil the condition, and rejects of which it cannot be asked.

        Raises
        ------
        UsageError
            When it could be asked of none of many records.
        """
        if self._each is None:
            return batch, []
        raw, decoder = batch.raw, self.decoder
        rows, failures = self._each.rows(raw, decoder)
        kept = () if self._plain else self._undecodable(batch.parsed)
        for row in kept:
            failures.pop(row, None)
        rejects = [_reject(raw, raw, row, why, "where") for row, why in failures.items()]
        return rows_of(batch, decoder, np.union1d(rows, np.fromiter(kept, np.int64))), rejects

    def _of_json(self, raw: pa.RecordBatch) -> Documents:
        more = [metadata.metadata(raw)] if self.form.metadata else []
        docs = documents(raw, self.chain, self.name, more=more)
        return replace(docs, fields=self.fields)

    def _undecodable(self, parsed: Any) -> dict[int, str]:
        """Return the rows that have no document, with the reason.

        A value that is no JSON has a stand-in.
        """
        if self._as_is:
            return {row: f"key: {why}" for row, why in parsed.key.errors.items()}
        return dict(parsed.errors)

    def _schema(self, schema: Any) -> Any:
        """Take in one batch's schema; return that of all so far."""
        parts = schema if self._has_keys else (schema,)
        decoders = self.decoder.parts
        for schemas, part in zip(self._schemas, parts, strict=False):
            schemas[:] = decoding.gather_schemas(schemas, part)
        unified = tuple(
            decoder.unify(schemas)
            for decoder, schemas in zip(decoders, self._schemas, strict=False)
        )
        return unified if self._has_keys else unified[0]

    def _of_decoded(self, batch: Batch) -> Documents:
        decoded = decoded_table(batch.raw, batch.parsed, self.decoder, self._schema(batch.schema))
        table = self.chain.change_fields(decoded)
        errors = self._errors(batch.parsed, table)
        raw, more = self._encode(batch, decoded, table)
        rejects = [_reject(batch.raw, raw, row, reason) for row, reason in errors.items()]
        if rejects:
            keep = np.ones(len(raw), bool)
            keep[list(errors)] = False
            rows = pa.array(keep)
            raw, table = raw.filter(rows), table.filter(rows)
            more = [Fragments(fragments.names, fragments.texts.filter(rows)) for fragments in more]
        docs = documents(raw, self.chain, self.name, more=more, columns=lambda _: table)
        return replace(docs, rejects=[*rejects, *docs.rejects], fields=self.fields)

    def _errors(self, parsed: Any, table: pa.Table) -> dict[int, str]:
        """Return the rows that have no document, with the reason; enrichers find some, too."""
        errors, reasons = self._undecodable(parsed), table.column("_error")
        if self._as_is or reasons.null_count == len(reasons):
            return errors
        numbered = enumerate(reasons.to_pylist())
        return errors | {row: reason for row, reason in numbered if reason is not None}

    def _encode(
        self, batch: Batch, decoded: pa.Table, table: pa.Table
    ) -> tuple[pa.RecordBatch, list[Fragments]]:
        """Return the records with values of JSON, and what else each document gets.

        `decoded` has the columns as they came, `table` what enrichers made of them.
        """
        fields, keys = own_columns(table)
        if self._as_is:
            self._learned.learn_json(batch.schema[0])
            self._learned.learn_columns(keys.schema)
        else:
            self._learned.learn_columns(pa.schema([*fields.schema, *keys.schema]))
        raw, more = _append_fields(batch.raw, fields, keys, self.form, as_is=self._as_is)
        if self.form.decode == "json" and not self._as_is:
            raw = self._with_own_types(batch, raw, own_columns(decoded)[0].column_names)
        return raw, more

    def _with_own_types(
        self, batch: Batch, encoded: pa.RecordBatch, names: list[str]
    ) -> pa.RecordBatch:
        """Return JSON records written anew, each by the types of its own values.

        Beside one text a field's numbers and objects are texts in a table; in JSON they are not.
        """
        original, kinds = batch.raw, self.decoder.kinds(batch.parsed, names)
        if self.chain.opens_texts(batch.schema):
            values = self.chain.open_texts(original.column("value"))
            place = original.schema.get_field_index("value")
            original, decoder = original.set_column(place, "value", values), self.decoder.anew()
            kinds = decoder.kinds(decoder.parse_batch(original), names)
            kinds = np.zeros(len(original), np.int64) if kinds is None else kinds
        if kinds is None:
            return encoded
        numbers, counts = np.unique(kinds, return_counts=True)
        places, objects = [], []
        for number in numbers[np.argsort(counts, kind="stable")]:  # the last one's are mapped
            rows = np.flatnonzero(kinds == number)
            part, decoder = original.take(pa.array(rows)), self.decoder.anew()
            parsed: Any = decoder.parse_batch(part)
            table = decoded_table(part, parsed, decoder, decoder.unify([parsed.schema]))
            fields, keys = own_columns(self.chain.change_fields(table))
            self._learned.learn_columns(fields.schema)
            written, _ = _append_fields(part, fields, keys, self.form, as_is=False)
            places.append(rows)
            objects.append(written.column("value"))
        order = pa.array(np.argsort(np.concatenate(places)))
        values = pa.concat_arrays(objects).take(order)
        return encoded.set_column(encoded.schema.get_field_index("value"), "value", values)


def of_table(table: pa.Table, form: Form) -> Documents:
    """Return decoded records as an index of that form holds them, those with ``_error`` too."""
    (raw,) = table.select(
        [f"_{name}" for name in RAW_SCHEMA.names]
    ).combine_chunks().to_batches() or [None]
    fields, keys = own_columns(table)
    raw, more = _append_fields(
        raw.rename_columns(RAW_SCHEMA.names), fields, keys, form, as_is=form.decode == "json"
    )
    return as_stored(raw, more)


def own_columns(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return the records' fields and the decoded keys of a decoded table."""
    names = table.column_names
    fields = names[len(FIRST) : names.index("_timestamp_type")]
    return table.select(fields), table.select(
        names[names.index("_key") + 1 : names.index("_headers")]
    )


def _append_fields(
    raw: pa.RecordBatch, fields: pa.Table, keys: pa.Table, form: Form, *, as_is: bool
) -> tuple[pa.RecordBatch, list[Fragments]]:
    """Return raw records whose values are JSON, and what else each document gets.

    A tombstone stays null.
    """
    more = [metadata.metadata(raw)] if form.metadata else []
    if form.key_decode != "raw" and keys.num_columns:
        more.append(Fragments(keys.column_names, json_text.fields(keys).cast(pa.binary())))
    if as_is:
        return raw, more
    objects = pc.if_else(
        raw.column("value").is_valid(), json_text.objects(fields), pa.scalar(None, pa.binary())
    )
    return raw.set_column(raw.schema.get_field_index("value"), "value", objects), more


def _reject(
    raw: pa.RecordBatch, encoded: pa.RecordBatch, row: int, reason: str, kind: str = "decode"
) -> Reject:
    """Return the reject of a record that could not be decoded, or not all of it."""
    origin = raw.slice(row, 1).select(["topic", "partition", "offset"]).to_pylist()[0]
    value, stored = (batch.column("value")[row].as_py() for batch in (raw, encoded))
    source = "null" if value is None else (stored or b"{}").decode("utf-8", "replace")
    if source == "{}":
        source = orjson.dumps({"base64": b64encode(value).decode()}).decode()
    return Reject(**origin, status=0, type=kind, reason=reason, source=source)
