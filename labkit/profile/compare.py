"""What is different between two profiles: fields, types, shares, distributions and volume."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from labkit.profile.fields import FieldStats, value_cell
from labkit.profile.result import Profile, shares
from labkit.text import html
from labkit.text.counts import number_of

if TYPE_CHECKING:
    import pandas as pd

SMALL = 0.02  # a difference of shares or of distributions below it does not matter
_ORDER = ("only right", "only left", "type", "present", "values", "same")


@dataclass(frozen=True)
class FieldChange:
    """One field in both profiles.

    Attributes
    ----------
    field : str
    change : str
        ``only left``, ``only right``, ``type``, ``present``, ``values`` or ``same``: the gravest
        that holds.
    size : float
        0 (none) to 1: the difference of the type's shares, of the shares present, or of the
        distributions.
    detail : str
        The change in words.
    """

    field: str
    change: str
    size: float
    detail: str


@dataclass(frozen=True, repr=False)
class ProfileComparison:
    """Two profiles, field by field, the gravest change first."""

    left: Profile
    right: Profile
    changes: tuple[FieldChange, ...]

    @property
    def different(self) -> list[FieldChange]:
        """The fields that changed."""
        return [change for change in self.changes if change.change != "same"]

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per field that differs.

        Its columns: field, change, size, detail, and present and distinct on both sides.
        """
        import pandas as pd

        frame = pd.DataFrame(
            [vars(change) for change in self.changes], columns=["field", "change", "size", "detail"]
        )
        for side, profile in (("left", self.left), ("right", self.right)):
            fields = {field.path: field for field in profile.fields}
            profiled = [fields.get(name) for name in frame["field"]]
            frame[f"present_{side}"] = [
                0.0 if known_field is None else known_field.present / max(1, len(profile))
                for known_field in profiled
            ]
            frame[f"distinct_{side}"] = pd.array(
                [None if known_field is None else known_field.distinct for known_field in profiled],
                "Int64",
            )
        return frame

    def _head(self) -> list[str]:
        sampled = " (from samples)" if self.left.sampled or self.right.sampled else ""
        sides = (("left", self.left), ("right", self.right))
        lines = [
            f"{side}: {profile.what}: {number_of(len(profile), 'record')}"
            for side, profile in sides
        ]
        count = len(self.different)
        summary = (
            f"{count} of {len(self.changes)} fields are different"
            if count
            else "no field is different"
        )
        return [
            *lines,
            f"{summary}{sampled}; a difference below {SMALL:.0%} counts as none".replace("%", " %"),
        ]

    def __repr__(self) -> str:
        from labkit.text.visible import visible

        rows = [
            f"  {change.change:<10}  {visible(change.field)}: {change.detail}"
            for change in self.different
        ]
        return "\n".join([*map(visible, self._head()), *rows])

    @html.view
    def _repr_html_(self) -> str:
        rows = [
            (
                html.word(_colour(change), escape(change.change)),
                f"<code>{escape(change.field)}</code>",
                escape(change.detail),
            )
            for change in self.different
        ]
        head = "<br>".join(map(escape, self._head()))
        table = html.table(("change", "field", "what"), rows) if rows else ""
        return html.box(html.AMBER if rows else html.GREEN, head) + table


def _colour(change: FieldChange) -> str:
    return html.RED if change.change in ("only left", "only right", "type") else html.AMBER


def compare(left: Profile, right: Profile) -> ProfileComparison:
    """Compare two profiles field by field."""
    fields = [{field.path: field for field in profile.fields} for profile in (left, right)]
    names = list(dict.fromkeys([*fields[0], *fields[1]]))
    changes = [
        _change(name, fields[0].get(name), fields[1].get(name), len(left), len(right))
        for name in names
    ]
    changes.sort(key=lambda change: (_ORDER.index(change.change), -change.size))
    return ProfileComparison(left, right, tuple(changes))


def _change(
    name: str, left: FieldStats | None, right: FieldStats | None, before: int, after: int
) -> FieldChange:
    from labkit.profile.words import kind_words, percent

    if left is None or right is None:
        side, field, count = (
            ("only right", right, after) if left is None else ("only left", left, before)
        )
        share = field.present / max(1, count) if field else 0.0
        return FieldChange(
            name,
            side,
            share,
            f"in {percent(share)} of records, {kind_words(field) if field else ''}",
        )
    kinds = [shares(side_field) for side_field in (left, right)]
    moved = (
        sum(abs(kinds[0].get(kind, 0) - kinds[1].get(kind, 0)) for kind in {*kinds[0], *kinds[1]})
        / 2
    )
    if moved >= SMALL:
        return FieldChange(name, "type", moved, f"{kind_words(left)} -> {kind_words(right)}")
    present = [left.present / max(1, before), right.present / max(1, after)]
    if abs(present[1] - present[0]) >= SMALL:
        detail = f"{percent(present[0])} -> {percent(present[1])} of records"
        return FieldChange(name, "present", abs(present[1] - present[0]), detail)
    distance, detail = _distance(left, right)
    return FieldChange(name, "values" if distance >= SMALL else "same", distance, detail)


def _distance(left: FieldStats, right: FieldStats) -> tuple[float, str]:
    """Return how far two distributions are apart, 0 to 1, and the largest part of it in words.

    Of numbers it is the largest difference of the cumulative shares (Kolmogorov and Smirnov), of
    other values half the sum of the differences of their shares (the total variation); each less
    what chance alone makes of it.
    """
    from labkit.profile.words import number, percent

    if left.numbers.seen and right.numbers.seen:
        middles = [side_field.numbers.quantiles((0.5,))[0] for side_field in (left, right)]
        distance, chance = left.numbers.distance(right.numbers)
        return max(0.0, distance - chance), f"median {number(middles[0])} -> {number(middles[1])}"
    if left.distinct is None or right.distinct is None or not (left.exact and right.exact):
        return 0.0, "too many distinct values to compare" if left.distinct is not None else ""
    counts = [side_field.counts_by_value() for side_field in (left, right)]
    values = list({*counts[0], *counts[1]})
    parts = []
    for side_field, own in zip((left, right), counts, strict=True):
        own_counts = np.array([own.get(value, 0) for value in values])
        parts.append(own_counts / max(1, side_field.values))
    moves = parts[1] - parts[0]
    distance = max(0.0, float(np.abs(moves).sum() / 2) - _chance(parts, left.values, right.values))
    place = int(np.abs(moves).argmax()) if values else 0
    if values and abs(moves[place]) < SMALL:  # no value stands for the difference
        only = [sum(value not in counts[1 - side] for value in counts[side]) for side in (0, 1)]
        return distance, f"{number_of(only[0], 'value')} only left, {only[1]:,} only right"
    before, after = (percent(float(part[place])) for part in parts)
    return distance, f"{value_cell(values[place], most=40)}: {before} -> {after} of values"


def _chance(parts: list[np.ndarray], before: int, after: int) -> float:
    """Return the distance to be expected of two samples of one distribution.

    With many values it is not small.
    """
    common = (parts[0] * before + parts[1] * after) / max(1, before + after)
    spread = np.sqrt(common * (1 - common) * (1 / max(1, before) + 1 / max(1, after)))
    return float(np.sqrt(2 / np.pi) * spread.sum() / 2)
