"""The formats of files, by the end of their names: Parquet, Arrow, CSV, Excel, lines of JSON."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from labkit.decode.pipeline import RESERVED
from labkit.errors import UsageError
from labkit.files.whole_file import Account


@dataclass(frozen=True)
class Format:
    """A format of files: its suffixes, and the method that writes it.

    A Window and a Replay have that method.
    """

    name: str
    suffixes: tuple[str, ...]
    method: str


PARQUET = Format("Parquet", (".parquet", ".pq"), "to_parquet")
CSV = Format("CSV", (".csv",), "to_csv")
JSONL = Format("lines of JSON", (".jsonl", ".ndjson"), "to_jsonl")
ARROW = Format("Arrow", (".arrow", ".feather", ".ipc"), "to_arrow")
EXCEL = Format("Excel", (".xlsx",), "to_excel")
FORMATS = (PARQUET, CSV, JSONL, ARROW, EXCEL)
_OTHERS = frozenset({
    ".7z", ".avro", ".br", ".bz2", ".db", ".duckdb", ".gz", ".json", ".log", ".lz4", ".orc", ".pickle", ".pkl",
    ".snappy", ".sqlite", ".tar", ".tgz", ".tsv", ".txt", ".xls", ".xml", ".xz", ".yaml", ".yml", ".zip",
    ".zst",
})  # fmt: skip


def format_of(path: str | os.PathLike[str]) -> Format:
    """Return the format that a file's name says; refuse a name that says none of these."""
    suffix = Path(path).suffix.lower()
    chosen_format = next(
        (file_format for file_format in FORMATS if suffix in file_format.suffixes), None
    )
    if chosen_format is None:
        raise UsageError(
            f"{path} must end in .parquet, .csv, .xlsx, .jsonl or .arrow: the end of a file's name says its format",
            hint="for anything else, `labkit replay TOPIC --decode json` writes lines of JSON to standard output",
        )
    return chosen_format


def check_name(path: str | os.PathLike[str], wanted: Format) -> None:
    """Refuse the name of another format: a file's name says what is in it."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes and suffixes[-1] in wanted.suffixes:
        return
    by_suffix = {
        suffix: file_format
        for file_format in FORMATS
        if file_format is not wanted
        for suffix in file_format.suffixes
    }
    if extensions := [
        suffix for suffix in reversed(suffixes) if suffix in by_suffix or suffix in _OTHERS
    ]:
        other_format = by_suffix.get(extensions[0])
        raise UsageError(
            f"{path} must end in {wanted.suffixes[0]}: that is the format of the file, and {extensions[0]} is another",
            hint=f"{other_format.method}() writes {other_format.name}"
            if other_format
            else "to_csv, to_excel, to_jsonl, to_arrow and to_parquet write .csv, .xlsx, .jsonl, "
            ".arrow and .parquet; nothing is compressed around them",
        )


class ParquetFile:
    """A Parquet file; its metadata has the receipt, under ``labkit``."""

    notes = ()

    def __init__(self, path: Path, schema: pa.Schema, _receipt: Account) -> None:
        import pyarrow.parquet as pq

        self._file = path.open("xb")  # Arrow takes no path that is not UTF-8
        self._writer = pq.ParquetWriter(self._file, schema, compression="zstd")

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def finish(self, receipt: Account) -> None:
        self._writer.add_key_value_metadata({"labkit": receipt.to_json()})

    def close(self) -> None:
        with self._file:
            self._writer.close()


class ArrowFile:
    """An Arrow file, also known as Feather.

    Its schema's metadata has the receipt, without the enrichers' notes.
    """

    notes = ()

    def __init__(self, path: Path, schema: pa.Schema, receipt: Account) -> None:
        # the format allows a column one dictionary, and each batch may bring one of its own
        plain = [
            column.with_type(column.type.value_type)
            if pa.types.is_dictionary(column.type) and column.name not in RESERVED
            else column
            for column in schema
        ]
        metadata = {**(schema.metadata or {}), b"labkit": receipt.to_json().encode()}
        self._schema = pa.schema(plain, metadata)
        self._file = path.open("xb")
        options = pa.ipc.IpcWriteOptions(compression="lz4")  # which every reader of Feather knows
        self._writer = pa.ipc.new_file(self._file, self._schema, options=options)

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table.cast(self._schema))

    def finish(self, _receipt: Account) -> None:
        """Write nothing: what was read stands in the schema."""

    def close(self) -> None:
        with self._file:
            self._writer.close()
