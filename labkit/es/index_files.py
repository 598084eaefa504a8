"""An index as a file, in constant memory: the part of `Index` that writes it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from labkit.checks.user_line import warn
from labkit.checks.validation import part_of
from labkit.elastic import Target
from labkit.errors import IncompleteWarning
from labkit.es.document_spool import DocumentSpool
from labkit.es.index_receipt import IndexReceipt
from labkit.es.table import RESERVED
from labkit.files import whole_file
from labkit.files.formats import CSV, EXCEL, JSONL, PARQUET, Format, ParquetFile, check_name
from labkit.files.whole_file import Open
from labkit.replay.receipt import versions
from labkit.waiting import interrupt
from labkit.waiting.interrupt import OnInterrupt

Query = str | Mapping[str, Any] | None


@part_of("Index")
class IndexFiles:
    """The part of `Index` that writes documents to a file, in constant memory.

    An earlier file stays until all is written. Each method returns the receipt, and warns when a
    scratch index has not all of its window.
    """

    name: str
    target: Target
    batches: Callable[..., Iterator[pa.RecordBatch]]
    warn_when_incomplete: Callable[[], None]

    def to_parquet(
        self,
        path: str | os.PathLike[str],
        query: Query = None,
        *,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        on_interrupt: OnInterrupt = "raise",
    ) -> IndexReceipt:
        """Write the documents to one Parquet file; its metadata has the receipt, under ``labkit``.

        It has the columns of `to_arrow`.

        Parameters
        ----------
        path : str or path
            It ends in ``.parquet``.
        query, fields, limit
            As for `batches`.
        on_interrupt : {"raise", "keep"}
            What Stop, or Ctrl-C, does: raise `Stopped`, and `path` is what it was; or put the part
            there, with a warning.
        """
        pages = partial(self.batches, query, fields=fields, limit=limit)
        return self._to_file(PARQUET, path, ParquetFile, pages, on_interrupt)

    def to_csv(
        self,
        path: str | os.PathLike[str],
        query: Query = None,
        *,
        metadata: bool = True,
        formula_safe: bool = False,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        on_interrupt: OnInterrupt = "raise",
    ) -> IndexReceipt:
        """Write the documents to one CSV file: their fields, then ids and where they came from.

        Values are written as by `Window.to_csv`.

        Parameters
        ----------
        metadata : bool
            Also the columns ``_id``, ``_topic``, ``_partition``, ``_offset``, ``_error``, behind
            the fields.
        formula_safe : bool
            As in `Window.to_csv`.
        path, query, fields, limit, on_interrupt
            As in `to_parquet`.

        Examples
        --------
        >>> lab.index("irc-*").to_csv("lag.csv", "message:lag", metadata=False)  # doctest: +SKIP
        """
        from labkit.files.csv_file import csv_file

        open_file = csv_file(metadata=metadata, formula_safe=formula_safe, reserved=RESERVED)
        pages = partial(self.batches, query, fields=fields, limit=limit)
        return self._to_file(CSV, path, open_file, pages, on_interrupt)

    def to_excel(
        self,
        path: str | os.PathLike[str],
        query: Query = None,
        *,
        metadata: bool = True,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        on_interrupt: OnInterrupt = "raise",
    ) -> IndexReceipt:
        """Write the documents to an Excel workbook; see `Window.to_excel`.

        The parameters are those of `to_csv`.
        """
        from labkit.files.excel_file import excel_file

        open_file = excel_file(metadata=metadata, reserved=RESERVED)
        pages = partial(self.batches, query, fields=fields, limit=limit)
        return self._to_file(EXCEL, path, open_file, pages, on_interrupt)

    def to_jsonl(
        self,
        path: str | os.PathLike[str],
        query: Query = None,
        *,
        envelope: bool = False,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        on_interrupt: OnInterrupt = "raise",
    ) -> IndexReceipt:
        """Write a line of JSON for each document: the text that Elasticsearch keeps of it.

        Parameters
        ----------
        envelope : bool
            With True a line is an object of ``_index``, ``_id`` and ``_source``, the document.
        path, query, fields, limit, on_interrupt
            As in `to_parquet`.
        """
        from labkit.es.document_lines import envelopes_file, sources_file

        pages = partial(self.batches, query, fields=fields, limit=limit)
        open_file = envelopes_file if envelope else sources_file
        return self._to_file(JSONL, path, open_file, pages, on_interrupt)

    def _to_file(
        self,
        file_format: Format,
        path: str | os.PathLike[str],
        open_file: Open,
        pages: Callable[..., Iterator[pa.RecordBatch]],
        on_interrupt: OnInterrupt,
    ) -> IndexReceipt:
        check_name(path, file_format)
        interrupt.check_policy(on_interrupt)
        self.warn_when_incomplete()
        outcome = f"{os.fspath(path)!r} was not written"
        with (
            interrupt.quiet_stop(f"stopped: {outcome}"),
            whole_file.part_of(path) as (part, target),
            tempfile.TemporaryFile(dir=target.parent) as raw,
        ):
            began = time.monotonic()
            spool = DocumentSpool(raw, decoded=file_format is not JSONL)
            with interrupt.listen() as cancelled:
                spool.fill(pages(cancelled=cancelled))
                complete = not cancelled()
            receipt = IndexReceipt(
                self.name, self.target.name, **spool.counts, elapsed_s=time.monotonic() - began,
                complete=complete, versions=versions(), notes=tuple(spool.notes),
            )  # fmt: skip
            if complete or on_interrupt == "keep":
                receipt = receipt.with_notes(*spool.write(part, open_file, receipt))
                part.replace(target)
        if not complete and on_interrupt == "raise":
            hint = 'a file there is what it was before; on_interrupt="keep" writes the part'
            raise interrupt.stop_error(
                f"stopped: {receipt.shortfall}; {outcome}", hint, receipt=receipt
            )
        if not complete:
            warn(f"{os.fspath(path)!r} is {receipt.shortfall}", IncompleteWarning)
        return receipt
