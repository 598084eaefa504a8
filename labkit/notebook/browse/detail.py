"""One record in full, and its neighbours in time among all records.

What is long is cut, and says so.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from labkit.decode.cells import cell
from labkit.decode.merge import maps_as_dicts
from labkit.errors import UsageError
from labkit.files.csv_file import readable
from labkit.notebook.browse.browsed import DETAIL, NEAR, SHOWN, json_answer, one_line
from labkit.notebook.browse.records import Records
from labkit.notebook.browse.tree import Filters
from labkit.notebook.inspector import dump
from labkit.tables.sql_text import plain


def describe(records: Records, row: int) -> dict[str, Any]:
    """Return one record: its place, key, headers, size, neighbours; its value as tree, JSON, bytes.

    Parameters
    ----------
    row : int
        Of the table.

    Raises
    ------
    UsageError
        When there is no such row.
    """
    if not 0 <= row < len(records.table):
        raise UsageError(f"there is no record {row}: there are {len(records.table):,}")
    record_id = records.id_of(row)
    part = records.table.slice(row, 1)
    record = part.to_pylist()[0]
    answer: dict[str, Any] = {
        "time": records.time_of(row), "facts": [], "headers": [],
        "id": record_id, "place": records.place_of(record_id), "near": neighbours(records, row),
    }  # fmt: skip
    for name in ("_topic", "_partition", "_offset", "_index", "_id", "_timestamp_type"):
        if name in record:
            answer["facts"].append([name.removeprefix("_"), cell(record[name])])
    if "_key" in record:
        answer["facts"].append(["key", cell(record["_key"], most=1_000)])
    if "_value" in record:
        size = (
            "none: a tombstone" if record["_value"] is None else f"{len(record['_value']):,} bytes"
        )
        answer["facts"].append(["value", size])
        answer["bytes"] = dump(record["_value"])
    if record.get("_error"):
        answer["facts"].append(["error", cell(record["_error"], most=1_000)])
    for entry in record.get("_headers") or []:
        answer["headers"].append([cell(entry["key"]), cell(entry["value"], most=1_000)])
    return answer | _value(records, record, part)


def filters_of(records: Records, record: dict[str, Any]) -> Filters:
    """Return what gives the filter of a value of a record."""
    known = {
        (field.path, field.items)
        for field in records.fields
        if field.kind not in ("object", "list", "map")
    }

    def filter_of(path: tuple[str, ...], place: int | None) -> dict[str, Any] | None:
        if (path, place is not None) not in known:
            return None
        value: Any = record
        for name in path:
            value = value[name]
        if place is not None:
            value = value[place]
        asked = plain(value)
        if asked is None and value is not None:
            return None
        return {"field": list(path), "value": asked, "items": place is not None}

    return filter_of


def neighbours(records: Records, row: int) -> list[dict[str, Any]]:
    """Return a record and its neighbours in time, the newest first.

    They are those just before and after it, whatever the filters.
    """
    place = int(np.flatnonzero(records.order == row)[0])
    near = records.order[max(0, place - NEAR) : place + NEAR + 1]
    return [
        {
            "id": records.id_of(int(neighbour)),
            "time": records.time_of(int(neighbour)),
            "text": _line(records, int(neighbour)),
            "here": int(neighbour) == row,
        }
        for neighbour in near
    ]


def _line(records: Records, row: int) -> str:
    record = records.table.slice(row, 1)
    value = record["_value"][0].as_py() if "_value" in record.column_names else None
    if value is not None and not records.own:
        return cell(value, most=80)
    shown = (cell(record[name][0].as_py(), record[name].type, most=80) for name in records.own[:8])
    return cell(one_line(shown) or value, most=100)


def _value(records: Records, record: dict[str, Any], row: pa.Table) -> dict[str, Any]:
    """Return the value as JSON, and as a tree where it has fields."""
    raw = record.get("_value")
    filters = filters_of(records, record)
    if raw is not None:
        try:
            return json_answer(json.loads(raw), filters)
        except (ValueError, RecursionError):
            pass
    own = [name for name in records.own if record[name] is not None]
    if not own:
        return {"value": cell(raw, most=DETAIL), "tree": None}
    shown = {name: readable(maps_as_dicts(record[name], row[name].type)) for name in own}
    return json_answer(shown, filters, lambda value: records.cell(value, most=SHOWN))
