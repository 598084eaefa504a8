"""What records and documents have in common in a browser: fields, and how values are shown."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pyarrow as pa

from labkit.decode.cells import cell
from labkit.decode.json_shape import EXACT
from labkit.errors import UsageError
from labkit.times import has_date, iso

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BINS = 120  # of time, at most
SHOWN = 200  # characters of a cell
DETAIL = 20_000  # characters of one record in full
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


def shorten(text: str) -> str:
    """Cut what is longer than a page shows, and say so."""
    return text if len(text) <= DETAIL else f"{text[:DETAIL]}\n… ({len(text):,} characters)"
