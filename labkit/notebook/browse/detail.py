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
from labkit.notebook.browse.browsed import DETAIL, NEAR, SHOWN, one_line, shorten
from labkit.notebook.browse.records import Records
from labkit.sinks.csv_file import readable


def describe(records: Records, row: int) -> dict[str, Any]:
    """Return one record: its place, key, headers, size, value as JSON, neighbours.

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
    part = records.table.slice(row, 1)
    record = part.to_pylist()[0]
    place = np.flatnonzero(records.rows == row)
    answer: dict[str, Any] = {
        "time": records.time_of(row), "facts": [], "headers": [],
        "row": row, "place": int(place[0]) if len(place) else None, "near": neighbours(records, row),
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
    if record.get("_error"):
        answer["facts"].append(["error", cell(record["_error"], most=1_000)])
    for entry in record.get("_headers") or []:
        answer["headers"].append([cell(entry["key"]), cell(entry["value"], most=1_000)])
    answer["value"] = _value(records, record, part)
    return answer


def neighbours(records: Records, row: int) -> list[dict[str, Any]]:
    """Return a record and its neighbours in time, the newest first.

    They are those just before and after it, whatever the filters.
    """
    place = int(np.flatnonzero(records.order == row)[0])
    near = records.order[max(0, place - NEAR) : place + NEAR + 1]
    return [
        {
            "row": int(neighbour),
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


def _value(records: Records, record: dict[str, Any], row: pa.Table) -> str:
    raw = record.get("_value")
    if raw is not None:
        try:
            return shorten(json.dumps(json.loads(raw), indent=2, ensure_ascii=False))
        except (ValueError, RecursionError):
            pass
        if not records.own:
            return shorten(cell(raw, most=DETAIL))
    own = [name for name in records.own if record[name] is not None]
    if not own:
        return cell(raw, most=DETAIL)
    shown = {name: readable(maps_as_dicts(record[name], row[name].type)) for name in own}
    return shorten(
        json.dumps(
            shown,
            indent=2,
            ensure_ascii=False,
            default=lambda value: records.cell(value, most=SHOWN),
        )
    )
