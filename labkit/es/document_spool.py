"""Documents land raw in a file while the types of their fields are found out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from labkit.decode import find_decoder, gather_schemas
from labkit.decode.pipeline import ahead
from labkit.es.index_receipt import IndexReceipt
from labkit.es.point_in_time import BATCH_SCHEMA
from labkit.es.table import decoded_table, notes_of
from labkit.files.whole_file import PENDING, Open, read_spooled, write_batches

# of an index whose documents are parsed once: with the metadata of their records they are twice
# as large as the records
KEPT_BYTES = 64_000_000


class DocumentSpool:
    """Documents of one read, in a nameless file.

    The second pass, over that file, writes them under the one schema that holds for all. Of a
    small index what was parsed is kept from the first pass to the second.

    Parameters
    ----------
    raw : file
    decoded : bool
        Whether columns are written, or the documents as they are.

    Attributes
    ----------
    counts : dict
        Documents read, those among them that could not be decoded, bytes of their JSON.
    notes : list of str
        What is to be said of the columns.
    """

    def __init__(self, raw: IO[bytes], *, decoded: bool) -> None:
        self._raw, self._decoder = raw, find_decoder("json") if decoded else None
        self._schema: Any = None
        self._parsed: list[Any] = []
        self.counts = {"read": 0, "undecodable": 0, "bytes": 0}
        self.notes: list[str] = []

    def fill(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Take the documents in."""
        size = 0
        schemas: list[Any] = []
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_file(self._raw, BATCH_SCHEMA, options=options) as file:
            for batch, parsed in ahead(batches, self._parse, most=PENDING):
                file.write_batch(batch)
                self.counts["read"] += batch.num_rows
                self.counts["bytes"] += pc.sum(pc.binary_length(batch.column("_source"))).as_py()
                if parsed is None:
                    continue
                self.counts["undecodable"] += len(parsed.errors)
                schemas = gather_schemas(schemas, parsed.schema)
                size += batch.nbytes
                if size <= KEPT_BYTES:
                    self._parsed.append(parsed)
                else:
                    self._parsed.clear()
        if self._decoder is not None:
            self._schema = self._decoder.unify(schemas)
            self.notes = notes_of(self._decoder, self._schema)

    def _parse(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Any]:
        return batch, self._decoder and self._decoder.parse(batch.column("_source"))

    def write(self, part: Path, open_file: Open, receipt: IndexReceipt) -> Sequence[str]:
        """Write the file; return what it holds otherwise than the documents."""
        return write_batches(self._read(), self._table, lambda: receipt, part, open_file)

    def _read(self) -> Iterator[tuple[pa.RecordBatch, Any]]:
        kept = iter(self._parsed)
        yield from ((batch, next(kept, None)) for batch in read_spooled(self._raw))

    def _table(self, document_batch: tuple[pa.RecordBatch, Any]) -> pa.Table:
        batch, parsed = document_batch
        if self._decoder is None:
            return pa.Table.from_batches([batch])
        parsed = self._decoder.parse(batch.column("_source")) if parsed is None else parsed
        return decoded_table(batch, parsed, self._decoder, self._schema)
