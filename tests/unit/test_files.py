"""BEHAVIOURS 59: what a file's name says is what is in it.

What was written is read back equal.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labkit.decode.merge import maps_as_dicts, text
from labkit.decode.pipeline import RESERVED
from labkit.decode.table import from_batches
from labkit.errors import UsageError
from labkit.files import whole_file as files
from labkit.files.csv_file import CsvFile, cells, csv_file, readable
from labkit.files.formats import CSV, PARQUET, check_name, format_of
from labkit.files.json_cells import can_join
from labkit.replay.receipt import Receipt
from labkit.replay.records import RAW_SCHEMA
from labkit.sinks.jsonl import envelopes
from labkit.sinks.replay import Replay

T0 = datetime(2016, 3, 1, tzinfo=UTC)
RECEIPT = Receipt("irc", "c", "w", "read_committed", (), 0, 0.0, "labkit.x")
TEXTS = st.lists(st.text(), min_size=1, max_size=5)
NASTY = [
    "a\rb",
    "\r",
    "\n",
    "a\r\nb",
    '"',
    '","',
    "",
    " ",
    "null",
    "NA",
    "=1+1",
    "\ufeff",
    "\u2028",
    "ä😀",
    "\\",
    "'",
]


def raw(*records: dict[str, Any]) -> pa.RecordBatch:
    rows = [
        {
            "topic": "irc", "partition": 0, "offset": offset, "timestamp": T0, "timestamp_type": "CreateTime",
            "key": None, "value": None, "headers": [], **record,
        }
        for offset, record in enumerate(records)
    ]  # fmt: skip
    return pa.RecordBatch.from_pylist(rows, schema=RAW_SCHEMA)


def replay(*records: dict[str, Any]) -> Replay:
    return Replay(from_batches([raw(*records)], "json"), RECEIPT)


def as_csv(table: pa.Table, path: Path, **options: Any) -> str:
    file = CsvFile(path, table.schema, **{"metadata": True, "formula_safe": False, **options})
    file.write(table)
    file.close()
    return path.read_bytes().decode()


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@given(TEXTS, st.text().filter(lambda name: name not in {"n", *RESERVED}))
@example(NASTY, '"\r\n')
def test_any_text_comes_back_from_csv_as_the_csv_module_reads_it(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], name: str
) -> None:
    """BEHAVIOURS 59: any text comes back from CSV.

    It may have a lone carriage return, a newline or quotes, in a value or in a field's name.
    """
    path = tmp_path_factory.getbasetemp() / "any.csv"
    written = as_csv(pa.table({name: texts, "n": range(len(texts))}), path)
    header, *rows = csv.reader(io.StringIO(written, newline=""))
    assert header == [name, "n"]
    assert rows == [[value, str(n)] for n, value in enumerate(texts)]


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        min_size=1,
        max_size=5,
    )
)
@example(NASTY)
def test_any_text_comes_back_from_csv_as_pandas_reads_it(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    """BEHAVIOURS 59. pandas itself ends a text at a NUL."""
    path = tmp_path_factory.getbasetemp() / "pandas.csv"
    as_csv(pa.table({"t": texts, "n": range(len(texts))}), path)
    frame = pd.read_csv(path, dtype={"t": str}, keep_default_na=False)
    assert frame["t"].tolist() == texts


@given(TEXTS)
@example(["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "a=1", "1-2"])
def test_a_formula_is_disarmed_where_that_is_asked_for(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "safe.csv"
    table = pa.table({"t": texts, "n": pa.array([-1] * len(texts))})
    for value, row in zip(texts, rows_of(as_csv(table, path, formula_safe=True)), strict=True):
        assert row["t"] in (value, f"'{value}")
        assert row["t"] != value or not value.lstrip(" ").startswith(
            ("=", "+", "-", "@", "\t", "\r", "＝")
        )
        assert row["n"] == "-1"  # a number is no formula


NESTED = st.recursive(
    st.one_of(
        st.just(pa.string()),
        st.just(pa.large_string()),
        st.just(pa.bool_()),
        st.sampled_from([pa.int64(), pa.uint64()]),
        st.just(pa.float64()),
        st.just(pa.binary()),
        st.just(pa.timestamp("ms", "UTC")),
    ),
    lambda inner: st.one_of(
        inner.map(pa.list_),
        st.lists(inner, max_size=3).map(
            lambda kinds: pa.struct(list(zip('a"c', kinds, strict=False)))
        ),
    ),
    max_leaves=4,
).filter(pa.types.is_nested)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_objects_and_lists_are_the_json_that_each_value_is(data: st.DataObject) -> None:
    kind = data.draw(NESTED)
    values = data.draw(st.lists(values_of(kind), max_size=5))
    column = pa.chunked_array([pa.array([None, *values], kind)[1:], pa.array(values, kind)])
    assert can_join(kind)
    assert cells(column).to_pylist() == [
        None if value is None else text(readable(maps_as_dicts(value, kind)))
        for value in values * 2
    ]


def test_each_character_within_an_object_is_as_json_has_it() -> None:
    texts = [*map(chr, range(256)), "\u2028", "😀", "a\\b", *NASTY]
    objects = pa.chunked_array([pa.array([{"t": character} for character in texts])])
    assert cells(objects).to_pylist() == [
        json.dumps({"t": character}, ensure_ascii=False) for character in texts
    ]


def values_of(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_struct(kind):
        return st.none() | st.fixed_dictionaries(
            {field_.name: values_of(field_.type) for field_ in kind}
        )
    if pa.types.is_list(kind):
        return st.none() | st.lists(values_of(kind.value_type), max_size=3)
    if pa.types.is_binary(kind):
        return st.none() | st.sampled_from([b"", b"\xff", "é".encode()])
    if pa.types.is_floating(kind):
        return st.none() | st.floats()
    if pa.types.is_boolean(kind):
        return st.none() | st.booleans()
    if pa.types.is_integer(kind):
        low, high = (0, 2**64) if kind.equals(pa.uint64()) else (-(2**63), 2**63)
        return st.none() | st.integers(low, high - 1)
    times = st.just(datetime(2026, 3, 1, tzinfo=UTC))
    texts = st.text(max_size=3) | st.text('a"\\/\n\x1f\x7f\x85\u2028', max_size=3)
    return st.none() | (times if pa.types.is_timestamp(kind) else texts)


def test_csv_has_fields_first_and_nested_values_as_json(tmp_path: Path) -> None:
    """BEHAVIOURS 59: fields first, no b'…', nested as JSON, null apart from an empty text."""
    frame = replay(
        {
            "key": b"k",
            "value": b'{"t":"","o":{"a":[1,null,"x"]},"n":-1}',
            "headers": [{"key": "h", "value": b"\xff"}],
        },
        {"key": b"\xff\0", "value": b'{"t":null,"n":1.5}'},
        {"value": None},
    )
    assert frame.to_csv(tmp_path / "x.csv") is frame.receipt
    text = (tmp_path / "x.csv").read_text()
    first, second, third = rows_of(text)
    assert list(first) == [
        "t", "o", "n", "_topic", "_partition", "_offset", "_timestamp", "_timestamp_type", "_key", "_headers", "_value",
        "_error",
    ]  # fmt: skip
    assert json.loads(first["o"]) == {"a": ["1", None, "x"]}
    assert (first["_key"], second["_key"], third["_key"]) == ("k", "base64:/wA=", "")
    assert json.loads(first["_headers"]) == [{"key": "h", "value": "base64:/w=="}]
    assert first["_timestamp"] == "2016-03-01 00:00:00.000Z"
    lines = text.splitlines()
    assert lines[1].startswith('"",')
    assert lines[2].startswith(",,")
    assert "b'" not in text
    frame.to_csv(tmp_path / "x.csv", metadata=False)
    assert (tmp_path / "x.csv").read_text().splitlines()[0] == '"t","o","n"'


def test_each_type_has_a_text(tmp_path: Path) -> None:
    table = pa.table({
        "d": [Decimal("-1.50")], "b": [True], "day": [date(2016, 3, 1)], "f": [float("inf")], "none": pa.nulls(1),
        "m": pa.array([[("a", b"\xff")]], pa.map_(pa.string(), pa.binary())), "big": pa.array([2**64 - 1], pa.uint64()),
        "c": pa.array(["x"]).dictionary_encode(), "l": pa.array([90_000], pa.duration("ms")),
        "prices": pa.array([[Decimal("0E-8")]], pa.list_(pa.decimal128(20, 8))),
        "price": pa.array([{"eur": Decimal("1E-8")}], pa.struct([("eur", pa.decimal128(20, 8))])),
    })  # fmt: skip
    (row,) = rows_of(as_csv(table, tmp_path / "x.csv"))
    assert row == {
        "d": "-1.50", "b": "true", "day": "2016-03-01", "f": "inf", "none": "", "m": '{"a": "base64:/w=="}',
        "big": "18446744073709551615", "c": "x", "l": "90s", "prices": '["0.00000000"]',
        "price": '{"eur": "0.00000001"}',
    }  # fmt: skip


def test_fields_that_are_not_there_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="metadata=False leaves no column"):
        replay({"value": None}).to_csv(tmp_path / "x.csv", metadata=False)
    assert not list(tmp_path.iterdir())


@given(
    st.lists(
        st.fixed_dictionaries({"key": st.none() | st.binary(), "value": st.none() | st.binary()}),
        max_size=4,
    ),
    st.lists(st.tuples(st.text(), st.none() | st.binary()), max_size=3),
)
def test_an_envelope_has_all_that_the_topic_has(
    records: list[dict[str, Any]], pairs: list[tuple[str, Any]]
) -> None:
    """BEHAVIOURS 59: any bytes come back.

    Null, empty, and text that looks like base64 are told apart.
    """

    def back(value: Any) -> bytes | None:
        if isinstance(value, dict):
            (packed,) = value.values()
            return base64.b64decode(packed, validate=True)
        return None if value is None else value.encode()

    headers = [{"key": key, "value": value} for key, value in pairs]
    batch = raw(*({**record, "headers": headers} for record in records))
    for row, line in zip(batch.to_pylist(), map(json.loads, envelopes(batch)), strict=True):
        assert set(line) == set(row) == set(RAW_SCHEMA.names)
        assert (back(line["key"]), back(line["value"])) == (row["key"], row["value"])
        assert [(header["key"], back(header["value"])) for header in line["headers"]] == pairs
        assert datetime.fromisoformat(line["timestamp"]) == row["timestamp"]


def test_lines_survive_readers_that_split_at_unicode_s_line_ends(tmp_path: Path) -> None:
    value = json.dumps({"t": "a\u2028b\u2029c\x85d\re\nf"}).encode()
    for envelope in (False, True):
        replay({"value": value}, {"value": value}).to_jsonl(tmp_path / "x.jsonl", envelope=envelope)
        lines = (tmp_path / "x.jsonl").read_text().splitlines()
        assert len(lines) == 2
        record = json.loads(lines[0])
        assert (json.loads(record["value"]) if envelope else record) == json.loads(value)


def test_a_replay_comes_back_equal_from_arrow_and_parquet(tmp_path: Path) -> None:
    frame = replay(
        {"value": b'{"a":{"b":[1]}}', "key": b"\xff"}, {"value": b"no json"}, {"value": None}
    )
    frame.to_arrow(tmp_path / "x.feather")
    frame.to_parquet(tmp_path / "x.parquet")
    with pa.OSFile(str(tmp_path / "x.feather")) as source:
        table = pa.ipc.open_file(source).read_all()
    assert table.equals(frame.table)
    assert pq.read_table(tmp_path / "x.parquet").equals(frame.table)
    for metadata in (table.schema.metadata, pq.read_metadata(tmp_path / "x.parquet").metadata):
        assert Receipt.from_dict(json.loads(metadata[b"labkit"])) == frame.receipt
    assert pd.read_feather(tmp_path / "x.feather")["_offset"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("batches", [1, 3])
def test_categories_of_each_batch_go_into_one_arrow_file(tmp_path: Path, batches: int) -> None:
    """An enricher's categories may be others in each batch.

    The format takes one dictionary for a column.
    """
    parts = [pa.table({"c": pa.array([f"x{n}"]).dictionary_encode()}) for n in range(batches)]
    joined = Replay(pa.concat_tables(parts), RECEIPT)
    joined.to_arrow(tmp_path / "x.arrow")
    assert pd.read_feather(tmp_path / "x.arrow")["c"].tolist() == [f"x{n}" for n in range(batches)]


def test_a_failed_write_leaves_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"of last week")
    monkeypatch.setattr(files, "_ROWS", 1)
    written: list[int] = []

    def failing(*given: Any) -> CsvFile:
        file = csv_file()(*given)
        write = file.write

        def second_fails(table: pa.Table) -> None:
            written.append(1)
            if len(written) == 2:
                raise OSError(28, "No space left on device")
            write(table)

        monkeypatch.setattr(file, "write", second_fails)
        return file

    frame = replay({"value": b"{}"}, {"value": b"{}"})
    with pytest.raises(UsageError, match=r"x\.csv cannot be written: No space left on device"):
        files.write_table(frame.table, frame.receipt, path, failing)
    assert path.read_bytes() == b"of last week"
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.parametrize(
    ("name", "method"),
    [("x.PARQUET", "to_parquet"), ("x.pq", "to_parquet"), ("a.parquet.csv", "to_csv"), ("x.ndjson", "to_jsonl"),
     ("x.feather", "to_arrow")],
)  # fmt: skip
def test_the_end_of_a_name_says_the_format(name: str, method: str) -> None:
    """BEHAVIOURS 59."""
    assert format_of(name).method == method


@pytest.mark.parametrize("name", ["x", "x.csv.gz", "x.xls", "x.json", "parquet", ".csv"])
def test_a_name_that_says_no_format_is_refused(name: str) -> None:
    """BEHAVIOURS 59."""
    with pytest.raises(
        UsageError, match=r"must end in \.parquet, \.csv, \.xlsx, \.jsonl or \.arrow"
    ):
        format_of(name)


@pytest.mark.parametrize(
    "write", [Replay.to_csv, Replay.to_excel, Replay.to_jsonl, Replay.to_arrow, Replay.to_parquet]
)
def test_a_method_refuses_another_format_s_name(tmp_path: Path, write: Callable[..., Any]) -> None:
    """BEHAVIOURS 59."""
    frame = replay({"value": b"{}"})
    own = write.__name__.removeprefix("to_").replace("excel", "xlsx")
    for name in {"x.csv", "x.jsonl", "x.arrow", "x.parquet", f"x.{own}.gz"} - {f"x.{own}"}:
        with pytest.raises(
            UsageError, match=rf"must end in \.{own}: that is the format of the file"
        ):
            write(frame, tmp_path / name)
    assert not list(tmp_path.iterdir())
    check_name(tmp_path / "x", PARQUET)  # a name that says nothing says nothing false
    check_name(tmp_path / "2016.03.01", CSV)


@pytest.mark.parametrize(
    "write", [Replay.to_csv, Replay.to_excel, Replay.to_jsonl, Replay.to_arrow, Replay.to_parquet]
)
def test_a_name_that_is_not_utf_8_is_a_file_and_one_with_a_null_is_refused(
    tmp_path: Path, write: Callable[..., Any]
) -> None:
    """A file's name is bytes: one from an old disk ended in a UnicodeEncodeError."""
    frame = replay({"value": b"{}"})
    write(frame, tmp_path / "\udcff")
    assert [path.name for path in tmp_path.iterdir()] == ["\udcff"]
    with pytest.raises(UsageError, match="cannot be written"):
        write(frame, tmp_path / "a\0b")
