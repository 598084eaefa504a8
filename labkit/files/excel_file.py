"""A table as an Excel workbook, in constant memory.

What Excel cannot hold is text, or cut, and the notes say so. Fields come first, then where a record
came from. A sheet has 1,048,576 rows, so more records go on in another sheet; the last sheet,
``receipt``, says what was read, and the notes. Text is never a formula. Times are UTC, to the
millisecond, and show a ``Z``. Numbers have 15 digits in Excel: integers and decimals with more are
text, fractions are rounded to 16. Bytes, objects, lists, maps and durations are the text that CSV
has.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.checks.extras import needs_extra
from labkit.checks.suggest import typed
from labkit.checks.user_line import warn
from labkit.decode.pipeline import RESERVED
from labkit.errors import UsageError
from labkit.files.csv_file import cells, chosen_columns, no_column
from labkit.files.formats import EXCEL, check_name
from labkit.files.json_cells import TEXT
from labkit.files.whole_file import Account, closing_whole, part_of, settle_columns
from labkit.replay.receipt import Receipt
from labkit.tables.arrow import decimal_texts
from labkit.tables.dataframe import from_frame

ROWS, COLUMNS, CHARACTERS = 1_048_576, 16_384, 32_767
_DIGITS = 15
# days of Excel: 1970-01-01, 1900-03-01, 10000-01-01
_EPOCH, _LEAP_BUG, _END = 25_569, 61, 2_958_466
_DAY_MS = 86_400_000
_TICKS = {"s": 1, "ms": 1, "us": 1_000, "ns": 1_000_000}  # of a unit, in what a cell can tell apart
# what Excel would take for a formula once such a cell is edited
_FORMULA = ("=", "+", "-", "@", "'", "\t", "\r", "\n")
_FORMATS = {"moment": 'yyyy-mm-dd hh:mm:ss.000"Z"', "local": "yyyy-mm-dd hh:mm:ss.000", "date": "yyyy-mm-dd",
            "time": "hh:mm:ss.000"}  # fmt: skip
_WIDE, _NARROW, _LOOKED = 60, 9, 200  # a column's width in characters, by its first values
# why a cell is not what the record has, in the notes' words: one value, several
_LONG, _BIG = (
    f"texts cut to Excel's {CHARACTERS:,} characters",
    f"numbers of more than {_DIGITS} digits written as text",
)
_NOT_FINITE = "NaN or infinite numbers written as text"
_NO_DATE = "times outside 1900 to 9999 written as text"
_FINER = "times cut to the millisecond"


class ExcelFile:
    """A workbook, and in `notes` what it holds otherwise than the records."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        from xlsxwriter import Workbook

        self._columns = columns
        if len(self._columns) > COLUMNS:
            raise UsageError(
                f"{len(self._columns):,} columns are more than the {COLUMNS:,} of Excel",
                hint="leave some out with enrich.drop([…]), or write .csv or .parquet",
            )
        self._file = path.open("xb")
        self._folder = tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent)
        options = {"constant_memory": True, "tmpdir": self._folder.name}
        self._book = Workbook(self._file, options)
        self._formats = {
            name: self._book.add_format({"num_format": text}) for name, text in _FORMATS.items()
        }
        self._head = self._book.add_format({"bold": True})
        self._quoted = self._book.add_format({"quote_prefix": True})
        self._sheet: Any = None
        self._sheets = self._row = self._records = 0
        self._odd: Counter[tuple[str, str]] = Counter()

    @property
    def notes(self) -> list[str]:
        """What the sheets hold otherwise than the records."""
        columns: dict[str, list[str]] = {}
        for (name, why), count in self._odd.items():
            columns.setdefault(why, []).append(f"{name} {count:,}")
        notes = [f"Excel: {why}: {', '.join(counts)}" for why, counts in columns.items()]
        if self._sheets > 1:
            more = f"Excel: {self._records:,} records are on {self._sheets} sheets: one has {ROWS:,} rows"
            return [*notes, more]
        return notes

    def write(self, table: pa.Table) -> None:
        """Append rows, on one more sheet where this one is full."""
        if not self._columns and len(table):
            raise no_column()
        table = table.select(self._columns)
        columns = [
            self._cells(name, column)
            for name, column in zip(table.column_names, table.columns, strict=True)
        ]
        if self._sheet is None:
            self._begin([values[:_LOOKED] for values, _ in columns], [form for _, form in columns])
        formats = [None if form is None else self._formats[form] for _, form in columns]
        for row in zip(*(values for values, _ in columns), strict=True):
            if self._row == ROWS:
                self._end_sheet()
                self._begin(
                    [values[:_LOOKED] for values, _ in columns], [form for _, form in columns]
                )
            self._put(row, formats)
        self._records += len(table)

    def finish(self, receipt: Account | str) -> None:
        """Write the sheet of the receipt, and put the workbook together.

        Without a receipt, the sheet has what else is known of the read.
        """
        from xlsxwriter.exceptions import FileCreateError, FileSizeError

        self._end_sheet()
        sheet = self._book.add_worksheet("receipt")
        sheet.set_column(0, 0, 120)
        times = "times are UTC; an empty cell is null; what begins with = is text, not a formula"
        for row, line in enumerate([*str(receipt).splitlines(), *self.notes, times]):
            sheet.write_string(row, 0, line[:CHARACTERS], self._quoted)
        try:
            self._book.close()
        except FileCreateError as error:  # of the disk
            raise OSError(*getattr(error.args[0], "args", error.args)) from error
        except FileSizeError as error:
            raise UsageError(
                "the records take more than the 4 GB that a workbook can have",
                hint=typed(
                    "choose fewer with where=, fewer columns with metadata=False, or write .csv or .parquet",
                    "choose fewer with --where, or write .csv or .parquet",
                ),
            ) from error

    def close(self) -> None:
        """Close the file and remove what it was put together from."""
        with self._folder, self._file:
            for sheet in self._book.worksheets():
                if sheet.row_data_fh is not None:
                    sheet.row_data_fh.close()

    def _begin(self, samples: list[list[Any]], forms: list[str | None]) -> None:
        """Begin a sheet: its head, which stays in view, and widths that suit its first values."""
        self._sheets += 1
        self._sheet = self._book.add_worksheet(
            "records" if self._sheets == 1 else f"records {self._sheets}"
        )
        self._sheet.freeze_panes(1, 0)
        for place, (name, values, form) in enumerate(
            zip(self._columns, samples, forms, strict=True)
        ):
            longest = (
                len(_FORMATS[form])
                if form
                else max((len(str(value)) for value in values), default=0)
            )
            self._sheet.set_column(
                place, place, min(_WIDE, max(_NARROW, len(name) + 3, longest + 1))
            )
            self._sheet.write_string(0, place, name[:CHARACTERS], self._head)
        self._row = 1

    def _end_sheet(self) -> None:
        if self._sheet is None:
            self._begin([[] for _ in self._columns], [None for _ in self._columns])
        if self._columns:
            self._sheet.autofilter(0, 0, self._row - 1, len(self._columns) - 1)

    def _put(self, row: tuple[Any, ...], formats: list[Any]) -> None:
        sheet, number = self._sheet, self._row
        for place, value in enumerate(row):
            if value is None:
                continue
            if isinstance(value, str):
                sheet.write_string(
                    number, place, value, self._quoted if value.startswith(_FORMULA) else None
                )
            elif isinstance(value, bool):
                sheet.write_boolean(number, place, value)
            else:
                sheet.write_number(number, place, value, formats[place])
        self._row += 1

    # one column's values as Excel has them: numbers, booleans, texts; and the format of its
    # numbers --------------

    def _cells(self, name: str, column: pa.ChunkedArray) -> tuple[list[Any], str | None]:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        for is_kind, convert, form in _CONVERTERS:
            if is_kind(column.type):
                return convert(self, name, column), form
        return self._texts(name, cells(column).cast(TEXT)), None

    def _integers(self, name: str, column: pa.ChunkedArray) -> list[Any]:
        values: list[Any] = column.to_pylist()
        most = 10**_DIGITS
        span = pc.min_max(column).as_py()
        if span["min"] is None or (span["min"] > -most and span["max"] < most):
            return values
        return [
            self._count_change(name, _BIG, str(n)) if n is not None and abs(n) >= most else n
            for n in values
        ]

    def _fractions(self, name: str, column: pa.ChunkedArray) -> list[Any]:
        if not column.type.equals(pa.float64()):  # 0.1 of 32 bits is 0.1, not 0.10000000149
            column = column.cast(pa.float32()).cast(pa.string()).cast(pa.float64())
        values: list[Any] = column.to_pylist()
        if pc.all(pc.is_finite(column)).as_py() in (True, None):
            return values
        return [
            self._count_change(name, _NOT_FINITE, str(number))
            if number is not None and not np.isfinite(number)
            else number
            for number in values
        ]

    def _decimals(self, name: str, column: pa.ChunkedArray) -> list[Any]:
        values: list[Any] = []
        for number, text in zip(column.to_pylist(), decimal_texts(column).to_pylist(), strict=True):
            fits = number is None or len(number.normalize().as_tuple().digits) <= _DIGITS
            values.append(
                number
                if number is None
                else float(number)
                if fits
                else self._count_change(name, _BIG, text)
            )
        return values

    def _times(self, name: str, column: pa.ChunkedArray) -> list[Any]:
        """Return days since Excel's beginning; Excel believes that 1900 had a 29 February."""
        moments = column.cast(pa.timestamp("ms")) if pa.types.is_date(column.type) else column
        ticks = pc.fill_null(moments.cast(pa.int64()), 0).to_numpy()
        missing = moments.is_null().to_numpy()
        ms, rest = np.divmod(ticks, _TICKS[moments.type.unit])
        days = ms / (86_400 if moments.type.unit == "s" else _DAY_MS) + _EPOCH
        days = np.where(days < _LEAP_BUG, days - 1, days)
        held = (days >= 1) & (days < _END)
        self._count_change(name, _FINER, None, int(((rest != 0) & held & ~missing).sum()))
        values: list[Any] = [
            None if gone else day for day, gone in zip(days.tolist(), missing.tolist(), strict=True)
        ]
        odd = np.flatnonzero(~held & ~missing).tolist()
        for row in odd:
            text = column.slice(row, 1).cast(TEXT).to_pylist()[0]
            values[row] = self._count_change(name, _NO_DATE, text)
        return values

    def _hours(self, name: str, column: pa.ChunkedArray) -> list[Any]:
        """Return times of day as parts of a day."""
        nanoseconds = column.cast(pa.time64("ns")).cast(pa.int64())
        values = nanoseconds.to_pylist()
        finer = sum(1 for ns in values if ns is not None and ns % 1_000_000)
        self._count_change(name, _FINER, None, finer)
        return [None if ns is None else ns // 1_000_000 / _DAY_MS for ns in values]

    def _texts(self, name: str, column: pa.ChunkedArray) -> list[Any]:
        values: list[Any] = column.to_pylist()
        longest = pc.max(pc.binary_length(column)).as_py()
        if longest is None or longest <= CHARACTERS:  # in UTF-8, so in UTF-16 too
            return values
        return [
            text if text is None or _fits(text) else self._count_change(name, _LONG, _cut(text))
            for text in values
        ]

    def _count_change(self, name: str, why: str, value: Any, count: int = 1) -> Any:
        """Count a value that the sheet holds otherwise, and return it."""
        if count:
            self._odd[name, why] += count
        return value


# how the values of a type become cells, and the format of their numbers; all others are text
_CONVERTERS: tuple[
    tuple[Callable[[pa.DataType], bool], Callable[[ExcelFile, str, Any], list[Any]], str | None],
    ...,
] = (
    (
        lambda kind: pa.types.is_boolean(kind) or pa.types.is_null(kind),
        lambda _, name, column: column.to_pylist(),
        None,
    ),
    (pa.types.is_integer, ExcelFile._integers, None),
    (pa.types.is_floating, ExcelFile._fractions, None),
    (pa.types.is_decimal, ExcelFile._decimals, None),
    (pa.types.is_date, ExcelFile._times, "date"),
    (pa.types.is_time, ExcelFile._hours, "time"),
    (lambda kind: pa.types.is_timestamp(kind) and kind.tz is None, ExcelFile._times, "local"),
    (pa.types.is_timestamp, ExcelFile._times, "moment"),
)


def excel_file(
    *, metadata: bool = True, reserved: Collection[str] = RESERVED
) -> Callable[[Path, pa.Schema, Account], ExcelFile]:
    """Return what opens a workbook; say how to get the library before anything is read."""
    _require_library()
    return lambda path, schema, _receipt: ExcelFile(
        path, chosen_columns(schema, metadata, reserved)
    )


def to_excel(frame: Any, path: str | os.PathLike[str]) -> None:
    """Write a DataFrame to an Excel workbook, as `Window.to_excel` does.

    It may be the answer of `Window.sql`. pandas' own ``to_excel`` refuses times with a zone, and
    rounds integers of more than 15 digits without a word. What Excel cannot hold is reported in a
    warning, and on the sheet ``receipt``, with the receipts of a query.

    Parameters
    ----------
    frame : pandas or polars DataFrame, or Arrow table
        An index that has a name, or is no range, comes as columns in front.
    path : str or path
        It ends in ``.xlsx``.

    Raises
    ------
    ConfigError
        When the extra ``excel`` is not installed.
    UsageError
        When a column holds values of several kinds, a name is there twice, or the file cannot be
        written.

    Examples
    --------
    >>> labkit.to_excel(w.sql("select nick, count(*) n from replay group by 1"), "nicks.xlsx")  # doctest: +SKIP
    """
    check_name(path, EXCEL)
    _require_library()
    table = from_frame(frame)
    table = table.cast(settle_columns(table.schema))
    receipts = getattr(frame, "attrs", {}).get("receipts", {})
    text = "\n".join(f"{name}: {Receipt.from_dict(receipt)}" for name, receipt in receipts.items())
    with part_of(path) as (part, target):
        with closing_whole(ExcelFile(part, table.column_names), lambda: text) as writer:
            writer.write(table)
        part.replace(target)
    for note in writer.notes:
        warn(f"{os.fspath(path)!r}: {note}", UserWarning)


def _require_library() -> None:
    with needs_extra("excel", "Excel"):
        import xlsxwriter  # noqa: F401


def _fits(text: str) -> bool:
    return len(text.encode("utf-16-le")) <= 2 * CHARACTERS


def _cut(text: str) -> str:
    """Return a text's beginning, with how long it was.

    Excel counts a character beyond the first 65,536 as two.
    """
    end = f"… ({len(text):,} characters)"
    cut = text.encode("utf-16-le")[: 2 * (CHARACTERS - len(end))]
    return cut.decode("utf-16-le", "ignore") + end
