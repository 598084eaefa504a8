"""BEHAVIOURS 59, issue 22.5: a real topic as CSV, lines of JSON and Arrow.

Other programs read the files back equal.
"""

from __future__ import annotations

import base64
import csv
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from labkit import Window
from labkit.cli import main
from labkit.errors import IncompleteWarning, Stopped, UsageError
from labkit.lab import Lab
from labkit.replay import read_log
from support.records import ODD_TEXTS

T0 = 1_456_790_400_000  # 2016-03-01T00:00:00Z
VALUES = [
    *(json.dumps({"t": text, "n": n}).encode() for n, text in enumerate(ODD_TEXTS)),
    b'{"n":1.5,"o":{"a":[1,{"b":null}]}}', b"no json", b"\xff\x00", b"", None,
]  # fmt: skip
KEYS = [b"k", None, b"", b"\xff", *[b"k"] * (len(VALUES) - 4)]
read_excel = partial(pd.read_excel, engine="calamine")
HEADERS = [[("h", b"1"), ("h", None), ("g", b"\xff"), ("e", b"")], *[None] * (len(VALUES) - 1)]


@pytest.fixture
def odd(lab: Lab, make_topic: Callable[..., str], produce: Callable[..., None]) -> Window:
    """A window of 2 × all of `VALUES`."""
    topic = make_topic(2, retention_ms="-1")
    for partition in (0, 1):
        times = [T0 + n for n in range(len(VALUES))]
        produce(topic, VALUES, partition=partition, keys=KEYS, headers=HEADERS, timestamps=times)
    return lab.window(topic)


def by_origin(rows: list[dict[str, Any]], partition: str, offset: str) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (int(row[partition]), int(row[offset])))


def test_csv_is_read_back_equal(odd: Window, tmp_path: Path) -> None:
    """The csv module and pandas read every record once, with its origin.

    Every text is as it was.
    """
    path = tmp_path / "x.csv"
    receipt = odd.to_csv(path)
    table = odd.read().table
    assert receipt.complete
    assert receipt.counts == odd.read().receipt.counts
    with path.open(newline="", encoding="utf-8") as file:
        rows = by_origin(list(csv.DictReader(file)), "_partition", "_offset")
    assert len(rows) == len(table) == receipt.read == 2 * len(VALUES)
    assert list(rows[0])[:3] == ["t", "n", "o"]
    assert [row["t"] for row in rows] == [text or "" for text in table["t"].to_pylist()]
    assert [row["n"] for row in rows[:13]] == [str(n) for n in range(12)] + ["1.5"]
    assert json.loads(rows[12]["o"]) == table["o"].to_pylist()[12]
    keys = [base64.b64decode(row["_key"][7:]) if row["_key"].startswith("base64:") else row["_key"].encode()
            for row in rows]  # fmt: skip
    assert keys == [key or b"" for key in table["_key"].to_pylist()]
    assert [bool(row["_error"]) for row in rows] == [
        bool(error) for error in table["_error"].to_pylist()
    ]
    frame = pd.read_csv(path, dtype={"t": str}, keep_default_na=False).sort_values(
        ["_partition", "_offset"]
    )
    assert frame["t"].tolist() == [row["t"] for row in rows]
    assert pd.to_datetime(frame["_timestamp"]).tolist() == table["_timestamp"].to_pandas().tolist()


def test_envelopes_have_every_byte_of_the_topic(odd: Window, tmp_path: Path) -> None:
    """Keys, values, headers with their order, duplicates and nulls.

    A tombstone is null and an empty value is not.
    """

    def back(value: Any) -> bytes | None:
        packed = value["base64"] if isinstance(value, dict) else None
        return base64.b64decode(packed) if packed else None if value is None else value.encode()

    receipt = odd.to_jsonl(tmp_path / "x.jsonl", envelope=True)
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_bytes().splitlines()]
    rows = by_origin(pa.Table.from_batches(odd.batches()).to_pylist(), "partition", "offset")
    assert receipt.complete
    assert len(lines) == receipt.read == len(rows)
    for line, row in zip(by_origin(lines, "partition", "offset"), rows, strict=True):
        assert (line["topic"], line["timestamp_type"]) == (odd.topic, "CreateTime")
        assert pd.Timestamp(line["timestamp"]) == pd.Timestamp(row["timestamp"])
        assert (back(line["key"]), back(line["value"])) == (row["key"], row["value"])
        headers = [
            {"key": header["key"], "value": back(header["value"])} for header in line["headers"]
        ]
        assert headers == (row["headers"] or [])
    assert {type(line["value"]).__name__ for line in lines} == {"str", "dict", "NoneType"}


def test_lines_of_fields_are_those_of_the_frame(odd: Window, tmp_path: Path) -> None:
    odd.to_jsonl(tmp_path / "x.jsonl", key_decode="text")
    table = odd.read(key_decode="text").table
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text("utf-8").splitlines()]
    assert len(lines) == len(table)
    names = ["t", "n", "_key_text", "_error"]
    expected = [{name: value for name, value in row.items() if value is not None}
                for row in table.select(names).to_pylist()]  # fmt: skip
    rows = [{name: line[name] for name in names if name in line} for line in lines]
    assert sorted(map(json.dumps, rows)) == sorted(map(json.dumps, expected))
    assert sum("_value" in line for line in lines) == 2  # the tombstones


def test_arrow_holds_the_table(odd: Window, tmp_path: Path) -> None:
    odd.to_arrow(tmp_path / "x.feather")
    table = pa.ipc.open_file(tmp_path / "x.feather").read_all()
    assert table.sort_by([("_partition", "ascending"), ("_offset", "ascending")]).equals(
        odd.read().table
    )
    assert json.loads(table.schema.metadata[b"labkit"])["topic"] == odd.topic
    assert len(pd.read_feather(tmp_path / "x.feather")) == len(table)


def place(row: dict[str, str]) -> tuple[int, int]:
    """Return where a row's record is: two files may have the partitions in another order."""
    return int(row["_partition"]), int(row["_offset"])


def test_excel_is_read_back_equal(odd: Window, tmp_path: Path) -> None:
    """Issue 22.5: the cells are those of the CSV file, and times are times.

    The second sheet is the receipt.
    """
    odd.to_csv(tmp_path / "x.csv")
    receipt = odd.to_excel(tmp_path / "x.xlsx")
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        expected = sorted(csv.DictReader(file), key=place)
    frame = read_excel(tmp_path / "x.xlsx", dtype=object, keep_default_na=False)
    frame = frame.sort_values(["_partition", "_offset"], ignore_index=True)
    assert list(frame) == list(expected[0])
    assert pd.to_datetime(frame.pop("_timestamp")).dt.round("ms").tolist() == [
        pd.Timestamp(row.pop("_timestamp")).tz_localize(None) for row in expected
    ]
    assert frame.map(str).to_dict("records") == expected
    assert (
        receipt.counts
        == odd.read().to_excel(tmp_path / "y.xlsx").counts
        == odd.read().receipt.counts
    )
    shown = read_excel(tmp_path / "y.xlsx", sheet_name="receipt", header=None)[0].str.cat()
    assert f"complete: {2 * len(VALUES)} records read" in shown


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.arrow", "x.parquet", "x.xlsx"])
def test_the_command_writes_what_the_name_says(
    odd: Window, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """BEHAVIOURS 59: `-o x.csv` wrote Parquet, exit 0."""
    path = tmp_path / name
    assert main(["replay", odd.topic, "-o", str(path), "--where", "n < 5", "--json"]) == 0
    receipt = json.loads(capsys.readouterr().out)
    assert receipt["complete"]
    read: dict[str, Callable[[Path], pd.DataFrame]] = {
        ".csv": pd.read_csv, ".arrow": pd.read_feather, ".parquet": pd.read_parquet, ".xlsx": read_excel,
        ".jsonl": lambda path: pd.read_json(path, lines=True),
    }  # fmt: skip
    frame = read[path.suffix](path)
    assert sorted(frame["n"]) == sorted([0, 1, 1.5, 2, 3, 4] * 2)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_command_s_options_go_with_their_format(
    odd: Window, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", odd.topic, "-o", str(tmp_path / "x.csv"), "--envelope"]) == 2
    error = "labkit: --envelope changes nothing here\nHint: it goes with -o FILE.jsonl\n"
    assert capsys.readouterr().err == error
    assert main(["replay", odd.topic, "--formula-safe"]) == 2
    assert main(["replay", odd.topic, "-o", str(tmp_path / "x.jsonl"), "--envelope"]) == 0
    assert b'"headers"' in (tmp_path / "x.jsonl").read_bytes()
    assert main(["replay", odd.topic, "-o", str(tmp_path / "x.csv"), "--formula-safe"]) == 0
    assert "'=1+1" in (tmp_path / "x.csv").read_text()
    with pytest.raises(UsageError, match="decode changes nothing with envelope=True"):
        odd.to_jsonl(tmp_path / "x.jsonl", envelope=True, decode="text")


def test_a_condition_filters_envelopes_too(odd: Window, tmp_path: Path) -> None:
    receipt = odd.to_jsonl(tmp_path / "x.jsonl", envelope=True, where="t = ''")
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text("utf-8").splitlines()]
    assert [json.loads(line["value"])["t"] for line in lines] == ["", ""]
    assert (receipt.read, receipt.filtered, receipt.complete) == (2, 2 * len(VALUES) - 2, True)


@pytest.mark.parametrize("where", [None, "n >= 5"])
def test_a_small_window_is_decoded_once_and_a_large_one_alike(
    odd: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str | None
) -> None:
    calls: list[bytes] = []

    def decode(value: bytes) -> Any:
        calls.append(value)
        return json.loads(value)

    def write(kept_bytes: int) -> tuple[list[dict[str, Any]], int]:
        """Return the file's rows, and how many values were decoded for it."""
        monkeypatch.setattr("labkit.sinks.files.KEPT_BYTES", kept_bytes)
        calls.clear()
        odd.to_arrow(tmp_path / "x.arrow", decode=decode, where=where)
        table = pa.ipc.open_file(tmp_path / "x.arrow").read_all()
        return by_origin(table.to_pylist(), "_partition", "_offset"), len(calls)

    (small, calls_of_small), (large, calls_of_large) = write(10**6), write(0)
    table = odd.read(decode=decode, where=where).table
    assert small == large == by_origin(table.to_pylist(), "_partition", "_offset")
    again = [value for value in VALUES if value is not None]
    assert calls_of_large - calls_of_small == 2 * len(again if where is None else VALUES[5:12])


def test_an_empty_window_is_a_file_too(
    lab: Lab, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    window = lab.window(make_topic())
    for envelope in (False, True):
        assert window.to_jsonl(tmp_path / "x.jsonl", envelope=envelope).complete
        assert (tmp_path / "x.jsonl").read_bytes() == b""
    window.to_csv(tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text().count("\n") == 1
    window.to_arrow(tmp_path / "x.arrow")
    assert pa.ipc.open_file(tmp_path / "x.arrow").read_all().num_rows == 0
    assert window.to_excel(tmp_path / "x.xlsx").complete
    assert read_excel(tmp_path / "x.xlsx").empty


WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    "CSV": ("to_csv", {}),
    "Arrow": ("to_arrow", {}),
    "Excel": ("to_excel", {}),
    "fields": ("to_jsonl", {}),
    "envelopes": ("to_jsonl", {"envelope": True}),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_stopped_write_leaves_the_earlier_file(
    lab: Lab, make_topic: Callable[..., str], produce: Callable[..., None], tmp_path: Path, kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """BEHAVIOURS 55: as `to_parquet` does.

    "keep" puts the part there, and the receipt says that it is one.
    """
    topic, calls = make_topic(2), []
    for partition in (0, 1):
        produce(
            topic,
            [b'{"n":%d,"t":"%s"}' % (n, b"x" * 40) for n in range(10_000)],
            partition=partition,
        )
    window = lab.window(topic)

    @contextmanager
    def bar(*_: Any) -> Iterator[Callable[..., None]]:
        def advance(*_: int) -> None:
            calls.append(1)
            if len(calls) == 4:
                os.kill(os.getpid(), signal.SIGINT)

        yield advance

    monkeypatch.setattr("labkit.waiting.progress.bar", bar)
    monkeypatch.setattr("labkit.replay.reader.BATCH_RECORDS", 1000)
    monkeypatch.setenv(read_log.VARIABLE, str(tmp_path / "reads"))
    (tmp_path / "out").mkdir()
    method, options = WRITERS[kind]
    path = tmp_path / "out" / "x"
    path.write_bytes(b"of last week")
    with pytest.raises(Stopped, match=r"stopped at .* of 20,000: '.*x' was not written"):
        getattr(window, method)(path, **options)
    assert path.read_bytes() == b"of last week"
    assert [path_.name for path_ in path.parent.iterdir()] == ["x"]
    calls.clear()
    with pytest.warns(IncompleteWarning, match=r"x' is incomplete at"):
        receipt = getattr(window, method)(path, on_interrupt="keep", **options)
    if kind == "Arrow":
        count = pa.ipc.open_file(path).read_all().num_rows
    else:
        count = len(read_excel(path)) if kind == "Excel" else path.read_bytes().count(b"\n")
    assert 0 < receipt.read == count - (kind == "CSV") < 20_000
    assert [entry["how"] for entry in read_log.entries(tmp_path / "reads")] == [method, method]
