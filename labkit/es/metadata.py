"""Where a document came from: ``_kafka``, with the record's place, times, key and headers.

The key and the headers' values are text where they are UTF-8, else base64. A header that comes more
than once has the list of its values. Headers are one field of Elasticsearch's (``flattened``), so
that new names of theirs add none to the mapping; each can be searched all the same:
``_kafka.headers.trace-id``.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.es import json_text
from labkit.es.column_types import FLAT
from labkit.es.json_append import Fragments
from labkit.tables.dataframe import only_dates
from labkit.tables.nested import list_owners

NAME = "_kafka"
_KEYWORD: dict[str, Any] = {"type": "keyword", "ignore_above": 1024}
PROPERTIES: dict[str, Any] = {
    NAME: {
        "properties": {
            "topic": _KEYWORD,
            "partition": {"type": "integer"},
            "offset": {"type": "long"},
            "timestamp": {"type": "date"},
            "timestamp_type": _KEYWORD,
            "key": _KEYWORD,
            "headers": FLAT,
        }
    }
}


def metadata(batch: pa.RecordBatch) -> Fragments:
    """Return what raw records' documents say of their origin."""
    columns = {name: batch.column(name) for name in ("topic", "partition", "offset")}
    columns["timestamp"] = only_dates(batch.column("timestamp"))
    columns["timestamp_type"] = batch.column("timestamp_type")
    columns["key"] = readable(batch.column("key"))
    texts = {name: json_text.json(column) for name, column in columns.items()}
    texts["headers"] = _headers(batch.column("headers"))
    inside = json_text.wrap(json_text.members(list(texts), list(texts.values()), len(batch)))
    return Fragments([NAME], json_text.members([NAME], [inside], len(batch)).cast(pa.binary()))


def readable(column: pa.BinaryArray) -> pa.StringArray:
    """Return bytes as text where they are UTF-8, else as base64."""
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:  # pyarrow does not say which values
        return pa.array(
            [None if value is None else _text(value) for value in column.to_pylist()], pa.string()
        )


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return b64encode(value).decode()


def _headers(column: pa.ListArray) -> pa.StringArray:
    """Return each record's headers as an object; null where it has none."""
    entries = column.flatten()
    if not len(entries):
        return pa.nulls(len(column), pa.string())
    rows = list_owners(column)
    names = entries.field("key")
    encoded = names.dictionary_encode()
    # equal names of a record side by side, in their order
    places = rows.astype(np.int64) * len(encoded.dictionary) + encoded.indices.to_numpy()
    order = np.argsort(places, kind="stable")
    starts = np.flatnonzero(np.concatenate(([True], np.diff(places[order]) != 0)))
    counts = np.diff(np.append(starts, len(order)))
    values = pc.fill_null(json_text.json(readable(entries.field("value"))), "null").take(
        pa.array(order)
    )
    values = json_text.join_by_comma(values, counts)
    values = pc.if_else(pa.array(counts > 1), json_text.between("[", values, "]"), values)
    first = pa.array(order[starts])
    pairs = pc.binary_join_element_wise(json_text.json(names.take(first)), values, ":")
    sizes = np.bincount(rows[order[starts]], minlength=len(column))
    objects = json_text.between("{", json_text.join_by_comma(pairs, sizes), "}")
    return pc.if_else(pa.array(sizes > 0), objects, pa.scalar(None, pa.string()))
