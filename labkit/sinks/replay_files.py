"""A Replay as a file: the part of `Replay` that writes it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pyarrow as pa

from labkit.checks.validation import part_of
from labkit.files.formats import (
    ARROW,
    CSV,
    EXCEL,
    JSONL,
    PARQUET,
    ArrowFile,
    Format,
    ParquetFile,
    check_name,
)
from labkit.files.whole_file import Open, write_table
from labkit.replay.receipt import Receipt

Path = str | os.PathLike[str]


@part_of("Replay")
class ReplayFiles:
    """The part of `Replay` that writes it to a file, in the table's order.

    An earlier file stays until all is written. Each method returns the receipt, and warns when the
    Replay is a part of its window.
    """

    table: pa.Table
    receipt: Receipt
    warn_when_incomplete: Callable[[], None]

    def to_parquet(self, path: Path) -> Receipt:
        """Write the table to a Parquet file; its metadata has the receipt, under ``labkit``."""
        return self._write(PARQUET, path, ParquetFile)

    def to_arrow(self, path: Path) -> Receipt:
        """Write the table to an Arrow (Feather) file.

        Its schema's metadata has the receipt, under ``labkit``.
        """
        return self._write(ARROW, path, ArrowFile)

    def to_csv(self, path: Path, *, metadata: bool = True, formula_safe: bool = False) -> Receipt:
        """Write the table to a CSV file; the parameters are those of `Window.to_csv`."""
        from labkit.files.csv_file import csv_file

        return self._write(CSV, path, csv_file(metadata=metadata, formula_safe=formula_safe))

    def to_excel(self, path: Path, *, metadata: bool = True) -> Receipt:
        """Write the table to an Excel workbook; see `Window.to_excel`."""
        from labkit.files.excel_file import excel_file

        return self._write(EXCEL, path, excel_file(metadata=metadata))

    def to_jsonl(self, path: Path, *, envelope: bool = False) -> Receipt:
        """Write a line of JSON for each record: its fields, or all that the topic has of it.

        See `Window.to_jsonl`.
        """
        from labkit.sinks.jsonl import envelope_file, fields_file

        return self._write(JSONL, path, envelope_file if envelope else fields_file)

    def _write(self, file_format: Format, path: Path, open_file: Open) -> Receipt:
        check_name(path, file_format)
        self.warn_when_incomplete()
        return write_table(self.table, self.receipt, path, open_file)
