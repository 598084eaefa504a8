"""A window's records as lines of JSON, in constant memory.

They are decoded fields, or records as they are, in an envelope. The envelope is an object of topic,
partition, offset, timestamp (ISO 8601, UTC), timestamp_type, key, headers (a list of key and value,
in their order) and value. A key or value is text where it is UTF-8, else ``{"base64": "…"}``; null
is null, so a tombstone is no empty text.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from labkit.decode import gather_schemas, notes
from labkit.decode.merge import maps_as_dicts, text
from labkit.decode.pipeline import FIRST, LAST, decoded_table
from labkit.files.jsonl_file import JsonlFile
from labkit.files.whole_file import PENDING, Account, part_of
from labkit.read_spec import ReadSource
from labkit.replay.receipt import Receipt
from labkit.replay.sample import explain_empty
from labkit.sinks.replay_filter import as_in_topic
from labkit.waiting import interrupt
from labkit.waiting.interrupt import Cancelled, never

_META = {*FIRST, *LAST} - {"_error"}


def lines(
    source: ReadSource, cancelled: Cancelled = never
) -> tuple[Iterator[str], Callable[[], Receipt]]:
    """Return the lines, and what gives the receipt after the last of them.

    Each line is an object of the record's fields that are not null, decoded keys as
    ``_key_<field>`` among them, and ``_error`` where it could not be decoded. A tombstone has
    ``"_value": null``. A field has the type it has in its batch.
    """
    decoding, decoder_notes = source.decoding()
    decoder = decoding.decoder
    schemas: list[Any] = []

    def write() -> Iterator[str]:
        for batch in decoding.batches(cancelled):
            schemas[:] = gather_schemas(schemas, batch.schema)
            table = decoded_table(batch.raw, batch.parsed, decoder, decoder.unify([batch.schema]))
            yield from fields(table)

    def receipt() -> Receipt:
        account = decoding.final_receipt()
        if schemas:
            decoder.unify(schemas)  # it notes which fields disagree
        return account.with_notes(*decoder_notes, *notes(decoder))

    return write(), receipt


def fields(table: pa.Table) -> Iterator[str]:
    """Yield each record's decoded fields as JSON."""
    gone = table.column("_value").is_null().to_pylist()
    table = table.drop_columns([name for name in table.column_names if name in _META])
    kinds = {column.name: column.type for column in table.schema}
    for row, tombstone in zip(table.to_pylist(), gone, strict=True):
        present: dict[str, Any] = {
            name: maps_as_dicts(value, kinds[name])
            for name, value in row.items()
            if value is not None
        }
        yield text({**present, "_value": None} if tombstone else present)


def fields_file(path: Path, _schema: pa.Schema, _receipt: Account) -> JsonlFile:
    """Open a file for the decoded fields of records."""
    return JsonlFile(path, fields)


def envelope_file(path: Path, _schema: pa.Schema, _receipt: Account) -> JsonlFile:
    """Open a file for the records of a decoded table as they were in the topic."""
    return JsonlFile(path, lambda table: envelopes(as_in_topic(table)))


def write_envelopes(source: ReadSource, path: str | os.PathLike[str]) -> Receipt:
    """Write a window's records to `path` in their envelopes, in one pass.

    They are decoded only for a condition. After an interrupt `path` stays what it was, unless
    ``on_interrupt`` is "keep".
    """
    reading, spec = source.reading, source.spec
    with part_of(path) as (part, target):
        decoding, decoder_notes = source.decoding(most=PENDING)
        with interrupt.listen() as cancelled, closing(JsonlFile(part, envelopes)) as file:
            decoding.decoder.heed(cancelled)
            for batch in decoding.raw(cancelled):
                file.write(batch)
        receipt = explain_empty(reading.cluster, decoding.final_receipt())
        if not reading.was_cancelled or spec.on_interrupt == "keep":
            part.replace(target)
    # what was decoded for the condition is not in the file
    condition_notes = [] if spec.where is None else decoder_notes
    return receipt.with_notes(*condition_notes)


def envelopes(records: pa.RecordBatch | pa.Table) -> Iterator[str]:
    """Yield raw records, of `RAW_SCHEMA`, as JSON with all that the topic has of them."""
    place = records.schema.get_field_index("timestamp")
    times = pc.replace_substring(records.column("timestamp").cast(pa.string()), " ", "T")
    for row in records.set_column(place, "timestamp", times).to_pylist():
        headers = [
            {"key": header["key"], "value": readable(header["value"])}
            for header in row["headers"] or ()
        ]
        parts = {"key": readable(row["key"]), "headers": headers, "value": readable(row["value"])}
        yield json.dumps({**row, **parts}, ensure_ascii=False)


def readable(value: bytes | None) -> str | dict[str, str] | None:
    """Return bytes as text where they are UTF-8, else marked as base64."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
