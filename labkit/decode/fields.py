"""A few fields of JSON values, as text, without making columns of the rest."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from labkit.replay.records import join_bytes

_PIECE = 1000


def texts(values: pa.BinaryArray, fields: Iterable[str]) -> dict[str, pa.StringArray]:
    """Return a column of text for each field, one row a value; null where the record has none.

    Parameters
    ----------
    values : pyarrow.BinaryArray
        A value that is not a JSON object has null in every field.
    fields : iterable of str
        ``client.ip`` is the field ``client.ip``, or else ``ip`` of the object ``client``. A number,
        object or list is its JSON, with spaces as Python writes it.
    """
    names = list(dict.fromkeys(fields))
    if not len(values):
        return {name: pa.array([], pa.string()) for name in names}
    if any("." in name for name in names):
        return _one_by_one(values, names)
    return _at_once(values, names) or _in_pieces(values, names)


def names(values: pa.BinaryArray, limit: int = 1000) -> list[str]:
    """Return the fields of the first `limit` records."""
    names: dict[str, None] = {}
    for value in values.slice(0, limit).to_pylist():
        names |= dict.fromkeys(_load_record(value))
    return list(names)


def _at_once(values: pa.BinaryArray, names: list[str]) -> dict[str, pa.StringArray] | None:
    """Let polars read them; None when a record stands in the way."""
    import polars as pl  # an indexer that enriches nothing does without

    missing = pc.fill_null(pc.equal(pc.binary_length(values), 0), True)
    lines = pc.if_else(missing, pa.scalar(b"{}", pa.binary()), values)
    ended = pc.binary_join_element_wise(
        lines, pa.scalar(b"", pa.binary()), pa.scalar(b"\n", pa.binary())
    )
    try:
        frame = pl.read_ndjson(
            io.BytesIO(join_bytes(ended)), schema=dict.fromkeys(names, pl.String)
        )
    except pl.exceptions.PolarsError:
        return None
    if frame.height != len(values):
        return None
    return {
        name: frame[name].to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())
        for name in names
    }


def _in_pieces(values: pa.BinaryArray, names: list[str]) -> dict[str, pa.StringArray]:
    """Read piece by piece, so that one bad record among thousands costs little."""
    pieces = [values.slice(first, _PIECE) for first in range(0, len(values), _PIECE)]
    tables = [_at_once(piece, names) or _one_by_one(piece, names) for piece in pieces]
    return {name: pa.concat_arrays([columns[name] for columns in tables]) for name in names}


def _one_by_one(values: pa.BinaryArray, names: list[str]) -> dict[str, pa.StringArray]:
    rows = [_load_record(value) for value in values.to_pylist()]
    return {name: pa.array([_text(_at(row, name)) for row in rows], pa.string()) for name in names}


def _load_record(value: bytes | None) -> dict[str, Any]:
    try:
        record = orjson.loads(value or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return record if isinstance(record, dict) else {}


def _at(row: dict[str, Any], name: str) -> Any:
    if name in row or "." not in name:
        return row.get(name)
    value: Any = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str | None:
    return (
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )
