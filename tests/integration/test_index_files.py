"""A real index as files: other programs read what another client reads of it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from elasticsearch.helpers import scan

from labkit import stopped, widgets
from labkit.errors import IncompleteWarning, NotFoundError, Stopped, UsageError
from labkit.es import document_spool, point_in_time
from labkit.es.index import Index
from labkit.lab import Lab
from labkit.notebook.browse import actions
from support.records import ODD_TEXTS

Make = Callable[..., Index]
DOCUMENTS: list[dict[str, Any]] = [
    *({"t": text, "n": n} for n, text in enumerate(ODD_TEXTS)),
    {"t": None, "n": -1, "o": {"a": [1, {"b": None}], 'q"': "ü\\"}, "tags": ["x", 'y"', "z\n"]},
    {"n": 9_007_199_254_740_993, "at": "2016-03-01T00:00:00.123Z", "yes": True, "f": 1.5},
    {"n": 12_345_678_901_234_567_890, "mixed": "1"},
    {"mixed": 2, "_topic_": "own", "o": {}},
    {},
]
METHODS = ("to_csv", "to_parquet", "to_jsonl", "to_excel")
SUFFIXES = {"to_csv": "csv", "to_parquet": "parquet", "to_jsonl": "jsonl", "to_excel": "xlsx"}


@pytest.fixture
def make(lab: Lab) -> Iterator[Make]:
    """Make an index of documents, whose fields are as they come."""
    names: list[str] = []
    client = lab.target("default").client

    def build(documents: list[Any]) -> Index:
        name = f"scratch-test-files-{uuid.uuid4().hex[:8]}"
        names.append(name)
        client.indices.create(
            index=name,
            settings={"number_of_shards": 2, "number_of_replicas": 0},
            mappings={"dynamic": False, "properties": {"n": {"type": "double"}}},
        )
        lines: list[Any] = []
        for number, document in enumerate(documents):
            lines += [{"index": {"_id": f"irc-0-{number}"}}, document]
        if lines:
            answer = client.bulk(index=name, operations=lines, refresh=True)
            assert not answer["errors"], answer
        return Index(name, lab.target("default"))

    yield build
    for name in names:
        client.options(ignore_status=404).indices.delete(index=name)


def documents_of(index: Index) -> dict[str, Any]:
    """Return the documents by their ids, as the Elasticsearch client reads them."""
    hits = scan(index.target.client, index=index.name)
    return {hit["_id"]: hit["_source"] for hit in hits}


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row["_id"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("kept_bytes", [0, document_spool.KEPT_BYTES])
def test_csv_is_read_back_equal(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_bytes: int
) -> None:
    """Every document is there once, and every value as another client reads it.

    The same where the documents are parsed again for the second pass.
    """
    monkeypatch.setattr(document_spool, "KEPT_BYTES", kept_bytes)
    monkeypatch.setattr(point_in_time, "FIRST_PAGE", 3)
    monkeypatch.setattr(point_in_time, "MOST_HITS", 5)
    index = make(DOCUMENTS)
    receipt = index.to_csv(tmp_path / "x.csv")
    rows, documents = rows_of(tmp_path / "x.csv"), documents_of(index)
    assert rows.keys() == documents.keys()
    assert receipt.read == len(rows) == len(DOCUMENTS)
    for name, document in documents.items():
        row, number = rows[name], int(name.rpartition("-")[2])
        assert document == DOCUMENTS[number]
        assert row["t"] == (document.get("t") or "")
        assert row["n"] == str(document.get("n", ""))
        assert row["mixed"] == str(document.get("mixed", ""))
        assert row["yes"] == ("true" if "yes" in document else "")
        assert row["at"] == document.get("at", "")
        assert row["f"] == str(document.get("f", ""))
        assert json.loads(row["tags"] or "null") == document.get("tags")
        assert (row["_topic"], row["_partition"], row["_offset"]) == ("irc", "0", str(number))
        assert row["_topic_"] == document.get("_topic_", "")
    odd = json.loads(rows["irc-0-12"]["o"])
    assert (json.loads(odd["a"][1]) if isinstance(odd["a"][1], str) else odd["a"][1]) == {"b": None}
    assert odd['q"'] == "ü\\"
    assert any("mixed: 1 number, 1 text → text" in note for note in receipt.notes)
    frame = pd.read_csv(tmp_path / "x.csv", keep_default_na=False, dtype=str).set_index("_id")
    assert frame["t"].to_dict() == {name: row["t"] for name, row in rows.items()}
    assert list(frame)[-4:] == ["_topic", "_partition", "_offset", "_error"]


def test_parquet_is_the_arrow_table_and_has_the_receipt(make: Make, tmp_path: Path) -> None:
    index = make(DOCUMENTS)
    receipt = index.to_parquet(tmp_path / "x.parquet")
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        table = index.to_arrow().replace_schema_metadata(None)
    written = pq.read_table(tmp_path / "x.parquet").replace_schema_metadata(None)
    assert written.sort_by("_id").to_pylist() == table.sort_by("_id").to_pylist()
    assert written.schema.names == table.schema.names
    kept = json.loads(pq.read_metadata(tmp_path / "x.parquet").metadata[b"labkit"])
    assert kept == json.loads(receipt.to_json())
    assert (kept["index"], kept["read"], kept["complete"]) == (index.name, len(DOCUMENTS), True)
    shown = f"complete: {len(DOCUMENTS)} documents read of index '{index.name}' on default"
    assert str(receipt).startswith(shown)
    assert "mixed" in receipt._repr_html_()


def test_lines_are_the_documents_that_elasticsearch_keeps(make: Make, tmp_path: Path) -> None:
    """A document may have been sent on several lines, and with digits that no float has."""
    pretty = b'{ "n": 1.50,\n "big": 123456789012345678901234567890,\r\n "t": "a\xe2\x80\xa8b", "no": null }'
    index = make(DOCUMENTS)
    index.target.client.perform_request(
        "PUT", f"/{index.name}/_doc/pretty", params={"refresh": "true"}, body=pretty,
        headers={"content-type": "application/json", "accept": "application/json"},
    )  # fmt: skip
    index.to_jsonl(tmp_path / "x.jsonl")
    index.to_jsonl(tmp_path / "y.jsonl", envelope=True)
    lines = (tmp_path / "x.jsonl").read_text("utf-8").splitlines()
    envelopes = [json.loads(line) for line in (tmp_path / "y.jsonl").read_bytes().splitlines()]
    documents = documents_of(index)
    assert {line["_id"]: line["_source"] for line in envelopes} == documents
    assert {line["_index"] for line in envelopes} == {index.name}
    assert [json.loads(line) for line in lines] == [line["_source"] for line in envelopes]
    assert any('"n": 1.50' in line and "123456789012345678901234567890" in line for line in lines)


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_index_is_a_file_without_rows(make: Make, tmp_path: Path, method: str) -> None:
    path = tmp_path / f"x.{SUFFIXES[method]}"
    receipt = getattr(make([]), method)(path)
    assert (receipt.read, receipt.complete) == (0, True)
    if method == "to_csv":
        names = ("_id", "_topic", "_partition", "_offset", "_error")
        assert path.read_text("utf-8") == ",".join(f'"{name}"' for name in names) + "\n"
    elif method == "to_parquet":
        assert pq.read_metadata(path).num_rows == 0
    elif method == "to_jsonl":
        assert path.read_bytes() == b""
    else:
        assert len(pd.read_excel(path, engine="calamine")) == 0


def test_a_query_fields_a_limit_and_no_metadata(make: Make, tmp_path: Path) -> None:
    index = make([{"n": n, "t": f"t{n}"} for n in range(30)])
    path = tmp_path / "x.csv"
    receipt = index.to_csv(
        path, {"range": {"n": {"lt": 20}}}, fields=["n"], limit=7, metadata=False
    )
    assert receipt.read == 7
    lines = path.read_text("utf-8").splitlines()
    assert lines[0] == '"n"'
    assert len(lines) == 8
    assert {int(line) for line in lines[1:]} < set(range(20))
    index.to_csv(path, "n:5", metadata=False, formula_safe=True)
    assert path.read_text("utf-8") == '"n","t"\n5,"t5"\n'
    index.to_excel(tmp_path / "x.xlsx", "n:5", metadata=False)
    sheet = pd.read_excel(tmp_path / "x.xlsx", engine="calamine")
    assert sheet.to_dict("records") == [{"n": 5, "t": "t5"}]


def test_what_is_asked_wrong_is_refused_before_anything_is_read(make: Make, tmp_path: Path) -> None:
    index = make([{"n": 1}])
    with pytest.raises(UsageError, match=r"must end in \.csv"):
        index.to_csv(tmp_path / "x.parquet")
    with pytest.raises(UsageError, match="on_interrupt must be"):
        index.to_csv(tmp_path / "x.csv", on_interrupt="stop")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cannot be written"):
        index.to_parquet(tmp_path / "no folder" / "x.parquet")
    with pytest.raises(UsageError, match="there is no field 'N'"):
        index.to_csv(tmp_path / "x.csv", "N:1")
    with pytest.raises(NotFoundError, match="no such index"):
        Index("scratch-test-files-none", index.target).to_csv(tmp_path / "x.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", METHODS)
def test_an_index_deleted_in_the_middle_leaves_the_earlier_file(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(point_in_time, "FIRST_PAGE", 10)
    monkeypatch.setattr(point_in_time, "MOST_HITS", 10)
    index = make([{"n": n} for n in range(100)])
    path = tmp_path / f"x.{SUFFIXES[method]}"
    getattr(index, method)(path)
    before, real = path.read_bytes(), point_in_time._batch

    def batch(hits: Any, name: str) -> Any:
        index.target.client.options(ignore_status=404).indices.delete(index=index.name)
        return real(hits, name)

    monkeypatch.setattr(point_in_time, "_batch", batch)
    with pytest.raises(NotFoundError, match="vanished while it was read, after 10 documents"):
        getattr(index, method)(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupt_keeps_the_earlier_file_or_writes_the_part(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(point_in_time, "FIRST_PAGE", 10)
    index = make([{"n": n} for n in range(100)])
    path, real = tmp_path / f"x.{SUFFIXES[method]}", point_in_time._batch
    path.write_text("earlier")

    def batch(hits: Any, name: str) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return real(hits, name)

    monkeypatch.setattr(point_in_time, "_batch", batch)
    words = f"10 documents of '{index.name}' were read, not all"
    with pytest.raises(Stopped, match=rf"{words} .*'{path}' was not written") as stop:
        getattr(index, method)(path)
    assert stopped() is stop.value.receipt
    assert (stop.value.receipt.read, stop.value.receipt.complete) == (10, False)
    assert path.read_text() == "earlier"
    with pytest.warns(IncompleteWarning, match=f"'{path}' is incomplete: {words}"):
        receipt = getattr(index, method)(path, on_interrupt="keep")
    assert not receipt.complete
    assert path.read_bytes() != b"earlier"
    if method == "to_csv":
        assert len(rows_of(path)) == 10
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_without_room_leaves_the_earlier_file(make: Make, tmp_path: Path) -> None:
    index, path = make([{"t": uuid.uuid4().hex * 20} for _ in range(100)]), tmp_path / "x.csv"
    index.to_csv(path, limit=3)
    program = """
import resource, sys, labkit
index = labkit.connect().index(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, resource.RLIM_INFINITY))
try:
    index.to_csv(sys.argv[2])
except labkit.errors.UsageError as error:
    print(error.message)
"""
    command = [sys.executable, "-c", program, index.name, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.stdout.startswith(f"{path} cannot be written: File too large"), result.stderr
    assert len(rows_of(path)) == 3
    assert list(tmp_path.iterdir()) == [path]


def test_the_buttons_of_browse_write_the_same_files(
    lab: Lab, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    index = make(DOCUMENTS)
    browse = widgets.browse(lab, index, anew=True)
    browse.box.filters = [{"op": "between", "field": ["n"], "value": [3, 7]}]
    for extension in ("csv", "parquet"):
        assert ": 4 records, " in actions.prepare(browse, extension)()
    (table,) = tmp_path.glob("*.csv")
    index.to_csv(tmp_path / "own.csv", browse.where)
    assert table.read_bytes() == (tmp_path / "own.csv").read_bytes()
    assert {row["t"] for row in rows_of(table).values()} == set(ODD_TEXTS[3:7])
    (parquet,) = tmp_path.glob("*.parquet")
    assert json.loads(pq.read_metadata(parquet).metadata[b"labkit"])["read"] == 4
