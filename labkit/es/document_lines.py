"""Documents as lines of JSON: the text that Elasticsearch keeps of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from labkit.files.jsonl_file import JsonlFile
from labkit.files.whole_file import Account

_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")  # between the parts of an object: no text has them


def sources_file(path: Path, _schema: pa.Schema, _receipt: Account) -> JsonlFile:
    """Open a file for documents."""
    return JsonlFile(path, _sources)


def envelopes_file(path: Path, _schema: pa.Schema, _receipt: Account) -> JsonlFile:
    """Open a file for documents, each with its index and id."""
    return JsonlFile(path, _envelopes)


def _sources(table: pa.Table) -> Iterator[str]:
    for source in table.column("_source").to_pylist():
        yield source.translate(_ONE_LINE).decode()


def _envelopes(table: pa.Table) -> Iterator[str]:
    places = table.select(["_index", "_id"]).to_pylist()
    for place, source in zip(places, _sources(table), strict=True):
        yield f'{json.dumps(place, ensure_ascii=False)[:-1]}, "_source": {source}}}'
