"""A window as one file, in constant memory; the file appears when it is whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import IO, Any

import pyarrow as pa

from labkit.decode import gather_schemas, notes
from labkit.decode.field_order import FirstRecords
from labkit.decode.pipeline import Decoding
from labkit.files.whole_file import PENDING, Open, part_of, read_spooled, write_batches
from labkit.read_spec import ReadSource
from labkit.replay.receipt import Receipt
from labkit.replay.records import RAW_SCHEMA
from labkit.replay.sample import explain_empty
from labkit.sinks.second_pass import Place, SecondPass, place_of
from labkit.waiting import interrupt

KEPT_BYTES = 32_000_000  # of a window that is decoded once: raw records, before compression


def write_window(source: ReadSource, path: str | os.PathLike[str], open_file: Open) -> Receipt:
    """Write a window's records to `path`, with the columns of `Replay.table`, ordered as they came.

    The records land raw in a nameless file on the same disk first, while the fields' types are
    found out; the second pass, over that file, decodes under the one schema that holds for all.
    Of a small window what was parsed is kept from the first pass to the second.
    After an interrupt `path` stays what it was, unless ``on_interrupt`` is "keep".
    """
    with part_of(path) as (part, target):
        decoding, decoder_notes = source.decoding(most=PENDING)
        decoder, chain = decoding.decoder, source.spec.chain
        odd: Sequence[str] = ()
        with tempfile.TemporaryFile(dir=target.parent) as raw:
            second = SecondPass(decoder, *spool(decoding, raw), chain)
            read = explain_empty(source.reading.cluster, decoding.final_receipt())

            def receipt() -> Receipt:
                return second.receipt(read).with_notes(
                    *decoder_notes, *notes(decoder), *chain.notes()
                )

            if not source.reading.was_cancelled or source.spec.on_interrupt == "keep":
                second.look_ahead(read_spooled(raw))
                odd = write_batches(read_spooled(raw), second.table, receipt, part, open_file)
                part.replace(target)
    return receipt().with_notes(*odd)


def spool(decoding: Decoding, raw: IO[bytes]) -> tuple[Any, dict[Place, Any]]:
    """Write the window's raw records as an Arrow file.

    Return the fields' types, in order, and the batches of a small window as they were parsed.
    """
    first, parsed, size = FirstRecords(), dict[Place, Any](), 0
    schemas: list[Any] = []
    with (
        interrupt.listen() as cancelled,
        pa.ipc.new_file(
            raw, RAW_SCHEMA, options=pa.ipc.IpcWriteOptions(compression="zstd")
        ) as writer,
    ):
        decoding.decoder.heed(cancelled)
        for batch in decoding.batches(cancelled):
            # unified once, at the end: a field null so far is no text yet
            schemas = gather_schemas(schemas, batch.schema)
            first.add(batch.raw)
            writer.write_batch(batch.raw)
            size += batch.raw.nbytes
            if size <= KEPT_BYTES:
                parsed[place_of(batch.raw)] = batch.parsed
            else:
                parsed.clear()
    return first.arrange(decoding.decoder.unify(schemas), decoding.decoder), parsed
