"""The answer of a query as a file; the end of its name says the format, as for records."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from labkit.decode.merge import maps_as_dicts, text
from labkit.files.formats import (
    ARROW,
    CSV,
    EXCEL,
    JSONL,
    PARQUET,
    ArrowFile,
    ParquetFile,
    format_of,
)
from labkit.files.jsonl_file import JsonlFile
from labkit.files.whole_file import Account, Open, write_table
from labkit.replay.receipt import Receipt
from labkit.tables.dataframe import from_frame

if TYPE_CHECKING:
    import pandas as pd


def write_answer(answer: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write what `Window.sql` returned: its rows and columns as they are.

    Raises
    ------
    UsageError
        When the name says no format, or the file cannot be written.
    """
    file_format = format_of(path)
    if file_format is EXCEL:
        from labkit.files.excel_file import to_excel

        to_excel(answer, path)
        return
    from labkit.files.csv_file import csv_file

    opened: dict[str, Open] = {
        PARQUET.name: ParquetFile, ARROW.name: ArrowFile, CSV.name: csv_file(), JSONL.name: _lines_file,
    }  # fmt: skip
    receipt = Receipt.from_dict(answer.attrs["receipts"]["replay"])
    write_table(
        from_frame(answer).replace_schema_metadata(None), receipt, path, opened[file_format.name]
    )


def _lines_file(path: Path, _schema: pa.Schema, _receipt: Account) -> JsonlFile:
    return JsonlFile(path, _rows)


def _rows(table: pa.Table) -> Iterator[str]:
    kinds = {column.name: column.type for column in table.schema}
    for row in table.to_pylist():
        yield text({name: maps_as_dicts(value, kinds[name]) for name, value in row.items()})
