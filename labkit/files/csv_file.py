"""A table as CSV that a spreadsheet, pandas and the csv module read as it was.

Fields come first, then where a record came from. Every text is in quotes, so that a lone ``\\r``, a
newline or a quote within it breaks no line; null is nothing between the commas, an empty text is
``""``. Bytes are their text where they are UTF-8, else ``base64:…``. Objects, lists and maps are
JSON. Times are UTC.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from labkit.decode.merge import as_json_within, maps_as_dicts, text
from labkit.decode.pipeline import RESERVED
from labkit.errors import UsageError
from labkit.files.json_cells import TEXT, as_texts, can_join, join_json
from labkit.files.whole_file import Account
from labkit.tables.arrow import is_bytes, is_text

# at the start of a cell, what makes a spreadsheet take it for a formula (OWASP, "CSV injection"),
# wide forms too
_FORMULA = r"^([\t\r\n]|\s*[=+\-@＝＋－＠])"
# the types that Arrow writes as people read them
_PLAIN = (
    pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_timestamp,
    pa.types.is_date, pa.types.is_time,
)  # fmt: skip


class CsvFile:
    """A CSV file in UTF-8, its lines end in ``\\n``."""

    notes = ()

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        *,
        metadata: bool,
        formula_safe: bool,
        reserved: Collection[str] = RESERVED,
    ) -> None:
        self._metadata, self._safe, self._reserved = metadata, formula_safe, reserved
        self._file = path.open("wb")
        self._layout = self._cells(schema.empty_table()).schema
        self._writer: Any = None
        if self._layout.names:
            self._writer = pa.csv.CSVWriter(self._file, self._layout)

    def write(self, table: pa.Table) -> None:
        if self._writer is not None:
            self._writer.write_table(self._cells(table).cast(self._layout))
        elif len(table):
            raise no_column()

    def finish(self, _receipt: Account) -> None:
        """Write nothing: a line of its own would be no record."""

    def close(self) -> None:
        with self._file:
            if self._writer is not None:
                self._writer.close()

    def _cells(self, table: pa.Table) -> pa.Table:
        table = table.select(chosen_columns(table.schema, self._metadata, self._reserved))
        columns = [cells(column) for column in table.columns]
        names = pa.array(table.column_names, TEXT)
        if self._safe:
            columns = [
                formula_safe(column) if column.type.equals(TEXT) else column for column in columns
            ]
            names = formula_safe(names)
        return pa.table(columns, names.to_pylist())


def chosen_columns(
    schema: pa.Schema, metadata: bool, reserved: Collection[str] = RESERVED
) -> list[str]:
    """Return the names of the records' fields and, with `metadata`, of where they came from."""
    fields = [name for name in schema.names if name not in reserved]
    return [*fields, *(name for name in schema.names if name in reserved and metadata)]


def no_column() -> UsageError:
    """Return the error for records of which `chosen_columns` leaves nothing to write."""
    return UsageError(
        "metadata=False leaves no column: these records have no field of their own",
        hint="leave metadata=False out, or decode the values: decode='json', 'text' …",
    )


def csv_file(
    *, metadata: bool = True, formula_safe: bool = False, reserved: Collection[str] = RESERVED
) -> Callable[[Path, pa.Schema, Account], CsvFile]:
    """Return what opens a CSV file; `reserved` are the columns that are metadata."""
    opened = partial(CsvFile, metadata=metadata, formula_safe=formula_safe, reserved=reserved)
    return lambda path, schema, _receipt: opened(path, schema)


def cells(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as CSV holds it: numbers, booleans, times as they are, all else as text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return cells(column.cast(kind.value_type))
    if is_text(kind) or is_bytes(kind):
        texts = as_texts(column)
        return _texts(column, readable) if texts is None else texts
    if any(is_plain(kind) for is_plain in _PLAIN):
        return column
    return _json(column)


def _json(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_nested(kind) and can_join(kind):
        return pa.chunked_array([join_json(chunk, _render) for chunk in column.chunks], TEXT)
    return _texts(column, lambda value: text(readable(maps_as_dicts(value, kind))))


def _render(value: Any) -> Any:
    return as_json_within(readable(value))


def readable(value: Any) -> Any:
    """Return a value, its bytes as text: UTF-8 as it is, other bytes as ``base64:…``."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return f"base64:{base64.b64encode(value).decode()}"
    if isinstance(value, dict):
        return {key: readable(item) for key, item in value.items()}
    return [readable(item) for item in value] if isinstance(value, list | tuple) else value


def formula_safe(texts: Any) -> Any:
    """Return texts with ``'`` before what a spreadsheet would take for a formula."""
    return pc.replace_substring_regex(texts, _FORMULA, r"'\1", max_replacements=1)


def _texts(column: pa.ChunkedArray, render: Callable[[Any], Any]) -> pa.ChunkedArray:
    """Return each value as text, null as null."""
    values = (value for chunk in column.chunks for value in chunk.to_pylist())
    return pa.chunked_array(
        [pa.array([None if value is None else render(value) for value in values], TEXT)]
    )
