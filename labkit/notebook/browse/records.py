"""The records that are looked at, and the answers to what is clicked.

They are rows, histogram, fields, values and one record. All is asked of one Arrow table in memory,
newest first; what the table does not hold is noted beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.checks.suggest import did_you_mean
from labkit.decode.filter import Where
from labkit.decode.pipeline import FIRST, LAST
from labkit.errors import UsageError
from labkit.notebook.browse.browsed import (
    SHOWN,
    Browsed,
    Field,
    Id,
    Line,
    Span,
    as_datetime,
    bin_length,
    numbers_answer,
    whole_ms,
    zoom,
)
from labkit.notebook.browse.columns import Columns, join_plain, plain_type, time_path
from labkit.notebook.browse.filters import Filter, condition
from labkit.notebook.browse.masks import fast_mask
from labkit.profile.fields import kind_of, parts_of, quote_name, walk
from labkit.profile.origins import NO_TIME, times_of
from labkit.profile.sketches import count_in_bins
from labkit.tables.arrow import is_text
from labkit.tables.sql_text import plain

TOP = 12
MOST_FIELDS = 500
MOST_SERIES = 6
_NUMBERS = ("integer", "number", "decimal")
_NEWEST = 20  # records
_ID_NAMES = (("_topic", "_partition", "_offset"), ("_index", "_id"))
_MOST_MASKS = 32  # of a million records one is a megabyte
_MOST_GROWN = 8  # that are taken over by more records


class Records(Browsed):
    """A table of records, newest first, and what it answers.

    Parameters
    ----------
    table : pyarrow.Table
        As `Replay.table`, or with the documents of an index.
    time_field : str
        The column that says when.
    zone : tzinfo
        In which times are shown.
    before : Records, optional
        The first of these records: what was asked of them is not asked again.
    """

    def __init__(
        self,
        table: pa.Table,
        time_field: str,
        zone: tzinfo = UTC,
        before: Records | None = None,
    ) -> None:
        self.table = table
        self.time_field = time_field
        self.zone = zone
        self.time_path = time_path(table, time_field)
        self.columns: Columns = Columns(table, None if before is None else before.columns)
        self.times = self._times()
        kind = self.columns[self.time_path].type if self.time_path else None
        self.told_as = ""
        if kind is not None and not pa.types.is_timestamp(kind):
            self.told_as = "text" if is_text(kind) else "number"
        self._whole = _bin_times(self.times)
        self.order = (
            np.argsort(-self.times, kind="stable") if len(self.times) else np.empty(0, np.int64)
        )
        self.own = [name for name in table.column_names if name not in {*FIRST, *LAST}]
        self._id_names = next(
            (names for names in _ID_NAMES if {*names} <= {*table.column_names}), ()
        )
        fresh = None
        if before is not None:
            fresh = Records(table.slice(len(before.table)), time_field, zone)
        self.fields = self._list_fields(before, fresh)
        self.rows = self.order
        self.condition: str | None = None
        self._kept_masks: dict[str, tuple[Filter, np.ndarray]] = {}
        if before is not None and fresh is not None:
            self._keep_masks_of(before, fresh)

    def _times(self) -> np.ndarray:
        if not self.time_path:
            return np.full(len(self.table), NO_TIME)
        return _as_times(self.columns[self.time_path])

    def _list_fields(self, before: Records | None, fresh: Records | None) -> list[Field]:
        """Return the fields; where more records have the same ones, by what both parts have."""
        if (
            before
            and fresh
            and [*map(_without_share, before.fields)] == [*map(_without_share, fresh.fields)]
        ):
            part = len(fresh.table) / max(1, len(self.table))
            return [
                replace(new, present=old.present * (1 - part) + new.present * part)
                for old, new in zip(before.fields, fresh.fields, strict=True)
            ]
        fields: list[Field] = []
        bare = () if self.own else ("_value",)  # no field says what a record is
        meta = [
            name
            for name in (*bare, "_key", "_partition", "_error")
            if name in self.table.column_names
        ]
        count = max(1, len(self.table))
        for name in [*self.own, *meta]:
            for path, leaf in _leaves(name, self.table[name]):
                parts, items, within = parts_of(path)
                if within or len(fields) >= MOST_FIELDS:
                    continue  # within the items of a list: shown in the record
                fields.append(
                    Field(
                        parts,
                        path,
                        kind_of(plain_type(leaf.type)),
                        (len(leaf) - leaf.null_count) / count,
                        items,
                    )
                )
        return fields

    @property
    def texts(self) -> list[tuple[str, ...]]:
        """The fields that hold texts, for a search in all of them.

        In an order of their own: that of the fields depends on which records came first, and the
        same window read again must have the same condition.
        """
        return sorted(
            field.path
            for field in self.fields
            if field.kind == "text" and not field.items and field.label != "_error"
        )

    # asking ----------------------------------------------------------------------------------------------

    @property
    def there(self) -> int:
        """How many records there are."""
        return len(self.table)

    @property
    def count(self) -> int:
        """How many are picked."""
        return len(self.rows)

    def condition_of(self, filters: Iterable[Filter]) -> str | None:
        """Return the condition of all filters that are switched on; None without any."""
        return condition(filters, self.texts)

    def choose(self, filters: Sequence[Filter]) -> None:
        """Keep the rows that fulfil all filters.

        Raises
        ------
        UsageError
            When a condition cannot be asked.
        """
        wanted_condition = self.condition_of(filters)
        if wanted_condition == self.condition:
            return
        rows = self.order
        if wanted_condition is not None:
            mask = np.ones(len(self.table), bool)
            for chip in filters:
                if chip.on:
                    part = self._mask_of(replace(chip, negated=False))
                    mask &= ~part if chip.negated else part
            rows = rows[mask[rows]]
        self.rows, self.condition = rows, wanted_condition

    def _mask_of(self, chip: Filter) -> np.ndarray:
        """Return which records fulfil one condition.

        Kept, for most clicks add, turn around or take away another.
        """
        sql = chip.sql(self.texts)
        _, mask = self._kept_masks.pop(sql, (chip, None))
        if mask is None:
            mask = fast_mask(self, chip)
            mask = self._mask_of_sql(sql) if mask is None else mask
        self._kept_masks[sql] = chip, mask  # the last one used is the last one to go
        while len(self._kept_masks) > _MOST_MASKS:
            del self._kept_masks[next(iter(self._kept_masks))]
        return mask

    def _keep_masks_of(self, before: Records, fresh: Records) -> None:
        """Take over what the last clicks asked of the first of these records."""
        for sql, (chip, mask) in list(before._kept_masks.items())[-_MOST_GROWN:]:
            if chip.sql(self.texts) == sql:
                with suppress(UsageError):  # whoever asks it is told why it cannot be
                    self._kept_masks[sql] = chip, np.append(mask, fresh._mask_of(chip))

    def _mask_of_sql(self, sql: str) -> np.ndarray:
        where = Where(sql)
        self._check(where)
        mask = np.zeros(len(self.table), bool)
        mask[where.rows(self.table)] = True
        return mask

    def _check(self, where: Where) -> None:
        """Refuse a condition on a field that no record has.

        It would pick nothing, as if there were no such value.
        """
        column_names = {name.lower() for name in self.table.column_names}
        for name in sorted(where.columns):
            if name.lower() not in column_names:
                near = did_you_mean(name, self.table.column_names)
                raise UsageError(
                    f"no record has a field {name!r}",
                    hint=near or f"fields: {', '.join(self.own[:20])}",
                )

    def histogram(self, by: Sequence[str] = (), span: Span = (None, None)) -> dict[str, Any]:
        """Return how many of the rows there are in each bin of time, by the values of a field.

        Parameters
        ----------
        by : sequence of str
            The field's path; empty for none.
        span : tuple
            Of the time that is shown; all where no record is within.

        Returns
        -------
        dict
            ``edges`` (milliseconds, one more than bins), ``all`` (of every record, whatever the
            filters), ``series`` (label and counts), ``undated`` (rows without a time).
        """
        bins, edges = self._whole if span == (None, None) else _bin_times(self.times, span)
        if not len(edges):
            return {"edges": [], "all": [], "series": [], "undated": len(self.rows)}
        mine = bins[self.rows]
        series = [
            {
                "label": label,
                "counts": _counts(mine if mask is None else mine[mask], len(edges) - 1).tolist(),
            }
            for label, mask in self._masks(tuple(by))
        ]
        undated = int(np.count_nonzero(self.times[self.rows] == NO_TIME))
        return {
            "edges": edges.tolist(),
            "all": _counts(bins, len(edges) - 1).tolist(),
            "series": series,
            "undated": undated,
        }

    def _masks(self, by: tuple[str, ...]) -> list[tuple[str, np.ndarray | None]]:
        """Return the rows of each of a field's most frequent values, and of all others."""
        if not by:
            return [("", None)]
        coded = self.columns.code(by)
        places = coded.places[self.rows]
        counts = _counts(places, len(coded.values))
        best = most_frequent(counts, MOST_SERIES)
        masks = [(self.cell(coded.values[code].as_py(), most=40), places == code) for code in best]
        rest = ~np.isin(places, best)
        return [*masks, ("(others)", rest)] if rest.any() else [*masks]

    def values(self, label: str) -> dict[str, Any]:
        """Return a field's most frequent values among the rows, and the numbers' histogram."""
        field = self.field(label)
        answer: dict[str, Any] = {
            "field": list(field.path), "label": label, "kind": field.kind, "items": field.items,
            "rows": len(self.rows), "present": 0, "top": [], "numbers": None, "distinct": None,
        }  # fmt: skip
        if field.kind in ("object", "list", "map", "null"):
            valid = np.asarray(pc.is_valid(self.columns.joined(field.path)))
            return answer | {"present": int(np.count_nonzero(valid[self.rows]))}
        coded = self.columns.code(field.path, items=field.items)
        places = (
            coded.places[self.rows]
            if coded.owners is None
            else coded.places[self._mask()[coded.owners]]
        )
        places = places[places >= 0]
        counts = _counts(places, len(coded.values))
        best = most_frequent(counts, TOP)
        # a filter asks the items of lists; a map's values are only shown
        kept_in_map = field.items and pa.types.is_map(self.columns[field.path].type)
        answer |= {"present": len(places), "distinct": int(np.count_nonzero(counts))}
        answer["top"] = []
        for code in best:
            value = coded.values[code].as_py()
            answer["top"].append(
                {
                    "shown": self.cell(value, most=SHOWN),
                    "value": None if kept_in_map else plain(value),
                    "count": int(counts[code]),
                }
            )
        if field.kind in _NUMBERS and len(places):
            numbers = pc.cast(coded.values, pa.float64(), safe=False).to_numpy(
                zero_copy_only=False
            )[places]
            numbers = numbers[np.isfinite(numbers)]
            counted = count_in_bins(numbers, 24) if len(numbers) else (numbers, numbers)
            bars, edges = ([*map(float, part)] for part in counted)
            answer["numbers"] = numbers_answer([*map(int, bars)], edges, field.kind)
        return answer

    def count_values(self) -> None:
        """Do beforehand what `values` would wait for: a million texts take a while."""
        for field in self.fields:
            if field.kind in (*_NUMBERS, "text", "boolean", "time"):
                with suppress(pa.ArrowException):  # the click itself says what is wrong
                    self.columns.code(field.path, items=field.items)

    def tells_time(self, field: Field) -> bool:
        """Whether a field only repeats the records' times, by the newest of them."""
        if field.kind not in ("text", "time") or field.items:
            return False
        column = self.columns[field.path]
        newest = self.order[:_NEWEST].tolist()
        same = [whole_ms(column[row].as_py()) == self.times[row] for row in newest]
        return super().tells_time(field) or (bool(same) and all(same))

    def _mask(self) -> np.ndarray:
        mask = np.zeros(len(self.table), bool)
        mask[self.rows] = True
        return mask

    def list_lines(self, start: int, count: int, labels: Sequence[str]) -> list[Line]:
        """Return some of the picked: each one's id, and its cells."""
        rows = self.rows[max(0, start) : max(0, start) + min(max(0, count), 500)].tolist()
        columns: list[list[str]] = [[self.time_of(row) for row in rows]]
        for label in labels:
            # row by row: `take` would join all of its chunks
            path = self.field(label).path
            column = self.table[path[0]]
            cells = pa.array([column[row].as_py() for row in rows], plain_type(column.type))
            array = Columns(pa.table({path[0]: cells})).joined(path)
            columns.append(
                [self.cell(value, array.type, most=SHOWN) for value in array.to_pylist()]
            )
        cells_of_rows = map(list, zip(*columns, strict=True))
        return list(zip(map(self.id_of, rows), cells_of_rows, strict=True))

    def id_of(self, row: int) -> Id:
        """Return what a record is found by when more of them are here, or others are picked."""
        return [self.table[name][row].as_py() for name in self._id_names] or [row]

    def row_of(self, record_id: Id) -> int:
        """Return the row of the record with an id; -1 where it is not here."""
        if not self._id_names:
            return int(record_id[0])
        columns = [self.table[name] for name in self._id_names]
        same = [
            pc.equal(column, pa.scalar(value, column.type))
            for column, value in zip(columns, record_id, strict=True)
        ]
        return int(pc.index(reduce(pc.and_, same), True).as_py())

    def place_of(self, record_id: Id) -> int | None:
        """Return a record's place among those picked; None for any other record."""
        places = np.flatnonzero(self.rows == self.row_of(record_id))
        return int(places[0]) if len(places) else None

    def time_of(self, row: int) -> str:
        """Return when a record was, in the zone."""
        ms = int(self.times[row])
        return self.moment(None if ms == NO_TIME else ms)

    @property
    def newest(self) -> datetime | None:
        """The newest record's time; None without any."""
        return as_datetime(int(self.times[self.order[0]])) if len(self.order) else None

    def picked_rows(self) -> Callable[[], pa.Table]:
        """Return what gives the rows that are picked now, newest first."""
        table, rows = self.table, pa.array(self.rows)
        return lambda: table.take(rows)


def _without_share(field: Field) -> Field:
    return replace(field, present=0.0)


def _leaves(name: str, column: pa.ChunkedArray) -> Iterator[tuple[str, Any]]:
    """Yield a column and what is within it, each with its path."""
    if not pa.types.is_nested(column.type):
        yield quote_name(name), column  # as it is: to join a million texts takes a while
        return
    for path, leaf, _ in walk(quote_name(name), join_plain(column), np.arange(len(column))):
        yield path, leaf


def _bin_times(times: np.ndarray, span: Span = (None, None)) -> tuple[np.ndarray, np.ndarray]:
    """Return each time's bin, −1 for none, and the bins' edges; no edges without any time."""
    dated = times != NO_TIME
    if not dated.any():
        return np.full(len(times), -1), np.empty(0, np.int64)
    low, high = zoom(int(times[dated].min()), int(times.max()) + 1, span)
    step = bin_length(low, high)
    edges = low + step * np.arange(-(-(high - low) // step) + 1)
    within = (times >= low) & (times < high)  # NO_TIME is before any
    return np.where(within, (np.where(within, times, low) - low) // step, -1), edges


def _counts(places: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(places[places >= 0], minlength=size)


def most_frequent(counts: np.ndarray, count: int) -> list[int]:
    """Return the places of the largest counts, the largest first.

    Of equal ones the first place first.
    """
    if len(counts) > 4 * count:  # a field of a million distinct values: do not sort them all
        least = np.partition(counts, len(counts) - count)[len(counts) - count]
        places = np.concatenate(
            [np.flatnonzero(counts > least), np.flatnonzero(counts == least)[:count]]
        )
    else:
        places = np.arange(len(counts))
    best = places[np.lexsort((places, -counts[places]))][:count]
    return [int(place) for place in best if counts[place]]


def _as_times(column: Any) -> np.ndarray:
    if pa.types.is_timestamp(column.type):
        return times_of(column.cast(pa.timestamp("ms", column.type.tz), safe=False))
    import pandas as pd

    if is_text(column.type):
        parsed = pd.to_datetime(
            pd.Series(column.to_pylist(), dtype="object"),
            utc=True,
            errors="coerce",
            format="ISO8601",
        )
    else:
        parsed = pd.to_datetime(pd.Series(column.to_pylist()), unit="ms", utc=True, errors="coerce")
    return times_of(pa.array(parsed.dt.as_unit("ms")).cast(pa.timestamp("ms", "UTC")))
