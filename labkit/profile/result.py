"""A profile, as text, as a table in a notebook and as a DataFrame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.checks.habits import no_attribute, no_rows
from labkit.checks.suggest import did_you_mean
from labkit.errors import UsageError
from labkit.profile.fields import FieldStats, value_cell
from labkit.profile.records import RecordStats
from labkit.replay.receipt import Receipt
from labkit.text import html
from labkit.text.visible import brief
from labkit.times import iso

if TYPE_CHECKING:
    import pandas as pd

    from labkit.profile.compare import ProfileComparison

TOP = 10
QUANTILES = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}


@dataclass(frozen=True, repr=False)
class Profile:
    """What is in some records: every field, its types, values and shares.

    It also has keys, headers, sizes, and the volume over time.

    Attributes
    ----------
    name, what : str
        The topic or index, and the bounds in words.
    fields : tuple of FieldStats
        In the order of the columns of a read; members of objects and items of lists too.
    left_out : int
        Fields beyond the 2,000 that are looked at: the deepest, of equally deep ones the last by
        name.
    records : RecordStats
        Of an index: only how many there are.
    receipt : Receipt or None
        Of the read; None for an index.
    planned : int
        Offsets of the window, or documents of the index: more than were read of a sample.
    sampled : bool
        Whether only a part of the records was looked at.
    notes : tuple of str
    """

    name: str
    what: str
    fields: tuple[FieldStats, ...]
    left_out: int
    records: RecordStats
    receipt: Receipt | None
    planned: int
    sampled: bool
    notes: tuple[str, ...] = ()

    if not TYPE_CHECKING:  # a misspelt name is an error of the type checker, too

        def __getattr__(self, name):
            """Point those who know pandas to the frame of the fields."""
            thing = "a Profile has no .{name}, its frame, a row for each field, has"
            raise no_attribute(self, name, thing, "profile.to_pandas()")

        def __iter__(self):
            """Point those who make a frame of it to its own."""
            raise no_rows("a Profile", "profile.to_pandas()")

    def __len__(self) -> int:
        return self.records.records

    def __getitem__(self, path: str) -> FieldStats:
        """Return one field's account by its path, such as ``"author.name"`` or ``"tags[]"``."""
        for field in self.fields:
            if field.path == path:
                return field
        near = did_you_mean(path, [field.path for field in self.fields])
        raise KeyError(f"there is no field {path!r}. {near}".strip())

    @property
    def complete(self) -> bool:
        """Whether all records of the window were looked at."""
        return not self.sampled and (self.receipt is None or self.receipt.complete)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per field.

        Returns
        -------
        DataFrame
            Columns: ``field`` (path); ``type`` (of most values); ``types`` (dict of each type's
            share, where values disagree; else of one); ``present`` (share of the records that have
            a value); ``distinct`` (values; see ``about``); ``about`` (whether ``distinct``, the
            counts of ``top`` and the quantiles are estimates); ``min``, ``max`` (of the values of
            ``type``; of a list its number of items); ``p05`` … ``p95`` (of numbers); ``top`` (list
            of (value, count), the most frequent first); ``example`` (the first value of the lowest
            partition that has one); ``first``,
            ``last`` (times of the first and last record that has the field, UTC).
        """
        import pandas as pd

        rows = [self._row(field) for field in self.fields]
        names = ["field", "type", "types", "present", "distinct", "about", "min", "max", *QUANTILES]
        names += ["top", "example", "first", "last"]
        frame = pd.DataFrame(rows, columns=names)
        frame["distinct"] = frame["distinct"].astype("Int64")
        for name in QUANTILES:
            frame[name] = frame[name].astype("float64")
        for name in ("first", "last"):
            frame[name] = pd.to_datetime(frame[name], unit="ms", utc=True, errors="coerce")
        return frame

    def _row(self, field: FieldStats) -> dict[str, Any]:
        kind = main_kind(field)
        quantiles = field.numbers.quantiles(tuple(QUANTILES.values()))
        return {
            "field": field.path,
            "type": kind,
            "types": shares(field),
            "present": field.present / max(1, len(self)),
            "distinct": field.distinct,
            "about": self.sampled or not (field.exact and field.numbers.exact),
            "min": low(field),
            "max": high(field),
            **dict(zip(QUANTILES, quantiles, strict=True)),
            "top": field.top(TOP),
            "example": field.example,
            "first": field.first_ms,
            "last": field.last_ms,
        }

    def to_json(self) -> str:
        """Return the fields as a list of JSON objects, with the columns of `to_pandas`.

        Values as views show them.
        """
        import json

        rows = []
        for field in self.fields:
            row = self._row(field)
            row |= {
                name: None if row[name] is None else value_cell(row[name])
                for name in ("min", "max", "example")
            }
            row["top"] = [[value_cell(value), count] for value, count in row["top"]]
            row |= {name: iso(row[name]) for name in ("first", "last")}
            rows.append(row)
        head = {
            "what": self.what,
            "records": len(self),
            "planned": self.planned,
            "sampled": self.sampled,
        }
        return json.dumps(
            {**head, "complete": self.complete, "notes": self.notes, "fields": rows},
            ensure_ascii=False,
        )

    def volume(self) -> pd.DataFrame:
        """Return the records over time: columns ``time`` (start of a bin, UTC) and ``records``.

        Empty bins too.
        """
        import pandas as pd

        stats = self.records
        if not stats.volume:
            return pd.DataFrame(
                {"time": pd.to_datetime([], utc=True), "records": np.array([], np.int64)}
            )
        starts = sorted(stats.volume)
        width = stats.bin_ms
        while (starts[-1] - starts[0]) // width > 4 * len(stats.volume) + 400:
            width *= 2  # a few records of long ago: no million empty bins for them
        edges = np.arange(starts[0] // width * width, starts[-1] + 1, width)
        counts = np.zeros(len(edges), np.int64)
        np.add.at(
            counts,
            [(start - int(edges[0])) // width for start in starts],
            [stats.volume[start] for start in starts],
        )
        return pd.DataFrame(
            {"time": pd.to_datetime(edges, unit="ms", utc=True, errors="coerce"), "records": counts}
        )

    def compare(self, other: Profile) -> ProfileComparison:
        """Return what is different in `other`, the largest difference first.

        Fields, types, shares, distributions and volume are compared.

        Examples
        --------
        >>> last_week.profile().compare(this_week.profile())  # doctest: +SKIP
        """
        from labkit.profile.compare import compare

        if not isinstance(other, Profile):
            raise UsageError(
                f"a Profile is compared with a Profile, not with {brief(repr(other), 60)}",
                hint="such as p.compare(w.profile())",
            )
        return compare(self, other)

    def __repr__(self) -> str:
        from labkit.profile.text import as_text

        return as_text(self)

    @html.view
    def _repr_html_(self) -> str:
        from labkit.profile.page import as_html

        return as_html(self)


def shares(field: FieldStats) -> dict[str, float]:
    """Return the share of each type among a field's values, the largest first.

    Integers beside numbers are numbers.
    """
    kinds = dict(sorted(field.kinds.items(), key=lambda pair: (-pair[1], pair[0])))
    if set(kinds) == {"integer", "number"}:
        kinds = {"number": field.values}
    return {kind: count / max(1, field.values) for kind, count in kinds.items()}


def main_kind(field: FieldStats) -> str:
    """Return the type of most values; ``null`` for a field without one."""
    return next(iter(shares(field)), "null")


def low(field: FieldStats) -> Any:
    """Return the smallest value of a field's main type."""
    return _bound(field, field.low, min)


def high(field: FieldStats) -> Any:
    """Return the largest value of a field's main type."""
    return _bound(field, field.high, max)


def _bound(field: FieldStats, bounds: dict[str, Any], choose: Any) -> Any:
    kind = main_kind(field)
    if kind == "number":
        numbers = [bounds[name] for name in ("integer", "number") if name in bounds]
        return choose(numbers) if numbers else None
    return bounds.get(kind)
