"""Issue 22.5: a table as an Excel workbook, read back by another library.

What Excel cannot hold is said.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.files import excel_file as excel
from labkit.files.whole_file import write_table
from labkit.replay.receipt import Receipt

RECEIPT = Receipt("irc", "c", "w", "read_committed", (), 0, 0.0, "labkit.x")
NASTY = [
    "a\rb",
    "a\r\nb",
    "a\nb",
    "\0\x01\x1f",
    "_x0041_",
    " lead ",
    "\x7f\x85\u2028\ufeff",
    "ä😀",
    "",
    "null",
    "0123",
    "NaN",
]
FORMULAS = ["=1+1", "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "'x", "{=1}", "http://x"]


def write(table: pa.Table, path: Path, **options: Any) -> Receipt:
    path.unlink(missing_ok=True)
    receipt = write_table(table, RECEIPT, path, excel.excel_file(**options))
    assert [sibling.name for sibling in path.parent.iterdir() if path.name in sibling.name] == [
        path.name
    ]
    return receipt


def read(path: Path, sheet: str | int = 0) -> pd.DataFrame:
    return pd.read_excel(
        path,
        sheet_name=sheet,
        engine="calamine",
        keep_default_na=False,
        na_values=[""],
        dtype=object,
    )


def column(kind: pa.DataType, values: list[Any], path: Path) -> tuple[list[Any], tuple[str, ...]]:
    """Return a column's values as the workbook has them, and the notes."""
    receipt = write(pa.table({"x": pa.array(values, kind), "_offset": range(len(values))}), path)
    frame = read(path)
    assert frame["_offset"].tolist() == list(range(len(values)))
    return [None if pd.isna(value) else value for value in frame["x"]], receipt.notes


@settings(max_examples=15)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff")),
        min_size=1,
        max_size=5,
    )
)
@example([*NASTY, *FORMULAS])
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    """Control characters, line ends, what looks like an escape; and none is a formula or a link."""
    path = tmp_path_factory.getbasetemp() / "texts.xlsx"
    column_, notes = column(pa.string(), texts, path)
    assert column_ == [text or None for text in texts]
    assert notes == ()


@pytest.mark.parametrize(
    ("kind", "values", "expected", "note"),
    [
        (pa.int64(), [1, None, 10**15 - 1, 10**15, -(2**63)], [1, None, 10**15 - 1, "1000000000000000", str(-(2**63))],
         "numbers of more than 15 digits written as text: x 2"),
        (pa.uint64(), [2**64 - 1], [str(2**64 - 1)], "written as text: x 1"),
        (pa.float64(), [0.1, -0.0, 1e308, 5e-324], [0.1, 0, 1e308, 5e-324], ""),
        (pa.float64(), [1.5, float("nan"), float("-inf"), None], [1.5, "nan", "-inf", None],
         "NaN or infinite numbers written as text: x 2"),
        (pa.float32(), [0.1, None, 3], [0.1, None, 3], ""),
        (pa.decimal128(38, 2), [Decimal("1.10"), Decimal("1234567890123456.78"), None],
         [1.1, "1234567890123456.78", None],
         "more than 15 digits written as text: x 1"),
        (pa.bool_(), [True, None, False], [True, None, False], ""),
        (pa.null(), [None, None], [None, None], ""),
        (pa.binary(), [b"k", b"\xff\0", None, b"=1"], ["k", "base64:/wA=", None, "=1"], ""),
        (pa.list_(pa.struct([("a", pa.int64())])), [[{"a": 1}, None], [], None], ['[{"a": 1}, null]', "[]", None], ""),
        (pa.map_(pa.string(), pa.int64()), [[("k", 2)], None], ['{"k": 2}', None], ""),
        (pa.dictionary(pa.int32(), pa.string()), ["a", None, "a"], ["a", None, "a"], ""),
        (pa.date32(), [date(1900, 1, 1), date(2016, 2, 29), date(1899, 12, 31), date(9999, 12, 31)],
         [datetime(1900, 1, 1), datetime(2016, 2, 29), "1899-12-31", datetime(9999, 12, 31)],
         "times outside 1900 to 9999 written as text: x 1"),
        (pa.time64("us"), [time(23, 59, 59, 999_000), None], [time(23, 59, 59, 999_000), None], ""),
        (pa.timestamp("us", "UTC"), [datetime(2016, 3, 1, 0, 0, 0, 123_456, UTC)],
         [datetime(2016, 3, 1, 0, 0, 0, 123_000)],
         "times cut to the millisecond: x 1"),
        (pa.duration("us"), [timedelta(days=1, seconds=1)], ["86401s"], ""),
    ],
    ids=["int64", "uint64", "float64", "nan", "float32", "decimal", "bool", "null", "binary", "nested", "map",
         "dictionary", "date", "time", "microseconds", "duration"],
)  # fmt: skip
def test_a_column_comes_back_or_is_said(
    tmp_path: Path, kind: pa.DataType, values: list[Any], expected: list[Any], note: str
) -> None:
    sheet, notes = column(kind, values, tmp_path / "x.xlsx")
    assert sheet == expected
    assert note in "".join(notes)
    assert bool(notes) == bool(note)


def test_times_come_back_to_the_millisecond(tmp_path: Path) -> None:
    """Around the day that 1900 did not have, and at both ends."""
    moments = [
        datetime(1900, 1, 1), datetime(1900, 2, 28, 23, 59, 59, 999_000), datetime(1900, 3, 1),
        datetime(1969, 12, 31, 23), datetime(2016, 3, 1, 12, 34, 56, 789_000),
        datetime(9999, 12, 31, 23, 59, 59, 999_000),
    ]  # fmt: skip
    odd = [-2_208_988_800_001, 253_402_300_800_000]  # a millisecond before 1900; the year 10000
    ticks = [
        *(int((moment - datetime(1970, 1, 1)) / timedelta(milliseconds=1)) for moment in moments),
        *odd,
    ]
    sheet, notes = column(pa.timestamp("ms", "UTC"), ticks, tmp_path / "x.xlsx")
    assert [pd.Timestamp(entry).round("ms").to_pydatetime() for entry in sheet[:-2]] == moments
    assert sheet[-2:] == ["1899-12-31 23:59:59.999Z", "10000-01-01 00:00:00.000Z"]
    assert notes == ("Excel: times outside 1900 to 9999 written as text: x 2",)


def test_a_long_text_is_cut_and_says_so(tmp_path: Path) -> None:
    """Excel counts as UTF-16 does; one character more than it holds makes it repair the file."""
    texts = ["x" * 32_767, "x" * 32_768, "😀" * 16_384, "ä" * 32_767]
    sheet, notes = column(pa.string(), texts, tmp_path / "x.xlsx")
    assert (sheet[0], sheet[3]) == (texts[0], texts[3])
    assert sheet[1].startswith("x" * 32_000)
    assert sheet[1].endswith("x… (32,768 characters)")
    assert sheet[2].endswith("😀… (16,384 characters)")
    assert max(len(text.encode("utf-16-le")) for text in sheet) <= 2 * 32_767
    assert notes == ("Excel: texts cut to Excel's 32,767 characters: x 2",)


def test_more_rows_go_on_in_another_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excel, "ROWS", 101)
    path = tmp_path / "x.xlsx"
    receipt = write(pa.table({"x": range(250)}), path)
    sheets = pd.ExcelFile(path, engine="calamine").sheet_names
    assert sheets == ["records", "records 2", "records 3", "receipt"]
    assert np.concatenate([read(path, name)["x"] for name in sheets[:-1]]).tolist() == list(
        range(250)
    )
    assert receipt.notes == ("Excel: 250 records are on 3 sheets: one has 101 rows",)
    assert receipt.notes[0] in read(path, "receipt").to_string()


def test_a_sheet_has_no_more_columns_than_excel(tmp_path: Path) -> None:
    table = pa.table({f"x{n}": [n] for n in range(excel.COLUMNS + 1)})
    with pytest.raises(UsageError, match=r"16,385 columns are more than the 16,384 of Excel"):
        write(table, tmp_path / "x.xlsx")
    assert list(tmp_path.iterdir()) == []


def test_a_query_s_frame_is_written_with_its_receipts(tmp_path: Path) -> None:
    """pandas' own refuses times with a zone: "Excel does not support datetimes with timezones"."""
    last = pd.date_range("2016-03-01", periods=2, tz="UTC", unit="ms")
    frame = pd.DataFrame(
        {"_partition": [0, 1], "nick": ["a", "=b"], "last": last, "n": [1, 10**15]}
    )
    frame.attrs["receipts"] = {"replay": RECEIPT.to_dict()}
    with pytest.warns(
        UserWarning, match=r"x.xlsx': Excel: numbers of more than 15 digits written as text: n 1"
    ):
        excel.to_excel(frame, tmp_path / "x.xlsx")
    sheet = read(tmp_path / "x.xlsx")
    assert list(sheet) == ["_partition", "nick", "last", "n"]
    assert sheet["last"].tolist() == last.tz_localize(None).tolist()
    assert "replay: complete: 0 records read" in read(tmp_path / "x.xlsx", "receipt").columns[0]
    counted = frame.groupby("nick").size().to_frame("n")
    for frame_, columns in (
        (counted, ["nick", "n"]),
        (pa.table({"x": [1]}), ["x"]),
        (counted["n"].to_frame(), ["nick", "n"]),
    ):
        excel.to_excel(frame_, tmp_path / "x.xlsx")
        assert list(read(tmp_path / "x.xlsx")) == columns
    content = (tmp_path / "x.xlsx").read_bytes()
    for wrong in (
        pd.DataFrame({"x": [1, "a"]}),
        pd.DataFrame([[1, 2]], columns=["x", "x"]),
        counted["n"],
        "x",
    ):
        with pytest.raises(UsageError, match=r"no Arrow form|a DataFrame is needed"):
            excel.to_excel(wrong, tmp_path / "x.xlsx")
    with pytest.raises(UsageError, match=r"must end in \.xlsx"):
        excel.to_excel(frame, tmp_path / "x.csv")
    assert (tmp_path / "x.xlsx").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["x.xlsx"]


def test_no_rows_and_no_columns(tmp_path: Path) -> None:
    write(pa.table({"x": pa.array([], pa.int64())}), tmp_path / "x.xlsx")
    assert list(read(tmp_path / "x.xlsx")) == ["x"]
    write(pa.table({"_offset": pa.array([], pa.int64())}), tmp_path / "x.xlsx", metadata=False)
    with pytest.raises(UsageError, match="metadata=False leaves no column"):
        write(pa.table({"_offset": [1]}), tmp_path / "x.xlsx", metadata=False)
