"""What records and documents have in common in a browser: fields, and how values are shown."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pyarrow as pa

from labkit.decode.cells import cell
from labkit.decode.json_shape import EXACT
from labkit.errors import UsageError
from labkit.notebook.browse.tree import Filters, branches
from labkit.notebook.inspector import shorten
from labkit.times import has_date, iso

Span = tuple[int | None, int | None]  # of time, in milliseconds: [start, end)
Id = list[Any]  # what a record is found by, whatever comes before it
Line = tuple[Id, list[str]]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BINS = 120  # of time, at most
SHOWN = 200  # characters of a cell
DETAIL = 20_000  # characters of a record without fields
_COPIED = 1_000_000  # characters of a record's JSON that goes to the page to be copied
NEAR = 3  # neighbours on each side


@dataclass(frozen=True)
class Field:
    """One field of the records: where it is, and what one sees of it in the list."""

    path: tuple[str, ...]
    label: str
    kind: str
    present: float
    items: bool = False


class Browsed:
    """What is looked at, in the times of a zone."""

    fields: list[Field]
    zone: tzinfo
    time_path: tuple[str, ...]
    finds = "a part of any text field, upper and lower case alike"

    def list_lines(self, start: int, count: int, labels: Sequence[str]) -> list[Line]:
        """Return some of the picked: each one's id, and its cells."""
        raise NotImplementedError

    def page(self, start: int, count: int, labels: Sequence[str]) -> list[list[str]]:
        """Return the cells of some rows: time, then the fields asked for.

        Each one line, cut where it is long.
        """
        return [cells for _, cells in self.list_lines(start, count, labels)]

    def tells_time(self, field: Field) -> bool:
        """Whether a field only repeats the times that are shown first."""
        return field.path == self.time_path

    def field(self, label: str) -> Field:
        """Return a field by its label.

        Raises
        ------
        UsageError
            When there is none.
        """
        for field in self.fields:
            if field.label == label:
                return field
        raise UsageError(f"there is no field {label!r}")

    def cell(self, value: Any, kind: pa.DataType | None = None, *, most: int) -> str:
        """Return one line for a value; a moment in the zone."""
        if isinstance(value, datetime) and value.tzinfo is not None and self.zone is not UTC:
            value = value.astimezone(self.zone)
        return cell(value, kind, most=most)

    def moment(self, ms: int | None) -> str:
        """Return a time in the zone; in another than UTC with its distance from it."""
        if ms is None:
            return ""
        shown = (iso(ms, self.zone) or "").replace("T", " ").replace("Z", "")
        return shown if self.zone is UTC else f"{shown[:-6]} {shown[-6:]}"


def zoom(low: int, high: int, span: Span) -> tuple[int, int]:
    """Return the part [low, high) of a time that is within a span; all where none is."""
    start, end = span
    inner = max(low, low if start is None else start), min(high, high if end is None else end)
    return inner if inner[0] < inner[1] else (low, high)


def bin_length(low: int, high: int) -> int:
    """Return how long a bin of time is: whole milliseconds, so that `BINS` hold all of a span."""
    return max(1, -(-(high - low) // BINS))


def numbers_answer(counts: list[int], edges: list[float], kind: str) -> dict[str, Any]:
    """Return the histogram of a field's finite numbers, as the browser draws it.

    ``end`` is what the last bar ends below: without one it would pick NaN and infinity, which SQL
    holds to be larger than any number.
    """
    end: float | None = None
    if edges and kind == "integer" and abs(edges[-1]) < EXACT:
        end = int(edges[-1]) + 1
    elif edges and math.isfinite(above := math.nextafter(edges[-1], math.inf)):
        end = above
    return {"counts": counts, "edges": edges, "end": end}


def as_datetime(ms: int) -> datetime | None:
    """Return a time in UTC; None for a value that is not a date."""
    return datetime.fromtimestamp(ms / 1000, UTC) if has_date(ms) else None


def whole_ms(value: Any) -> int | None:
    """Return a moment, or a text that is one, in milliseconds; None where they are not whole."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None
    if not isinstance(moment, datetime) or moment.tzinfo is None or moment.microsecond % 1000:
        return None
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def one_line(texts: Iterable[str]) -> str:
    """Return the cells of one record, those that are not null, beside one another."""
    return " · ".join(text for text in texts if text != "null")


def json_answer(
    value: Any, filters: Filters, default: Callable[[Any], Any] | None = None
) -> dict[str, Any]:
    """Return a record's value as JSON, and as a tree that is cut where it is long.

    Parameters
    ----------
    filters : callable
        As `branches` takes it.
    default : callable, optional
        Of values that JSON does not have, as `json.dumps` takes it.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, default=default)
    if not isinstance(value, dict | list) or not value:
        return {"value": text, "tree": None}
    tree = branches(shorten(json.loads(text)), filters)
    return {"value": text if len(text) <= _COPIED else "", "tree": tree}
