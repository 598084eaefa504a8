"""What a chart asks of its data, wherever the data is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Protocol

from labkit.charts.buckets import Grid, period

Counts = dict[int, int]
"""A bucket's start, in ms since the epoch, to how many records are in it.

Buckets without records may be missing.
"""


@dataclass(frozen=True)
class Span:
    """How many records there are and when they were.

    Attributes
    ----------
    records, timed : int
        All of them; those that have a time.
    first_ms, last_ms : int or None
        The earliest and the latest time, both inclusive; None when no record has a time.
    zone : tzinfo
        In which times are shown and days begin.
    """

    records: int
    timed: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    zone: tzinfo = UTC

    @property
    def when(self) -> list[str]:
        """The period in words, and its zone; nothing when no record has a time."""
        if self.first_ms is None or self.last_ms is None:
            return []
        return [period(self.first_ms, self.last_ms, self.zone), str(self.zone)]


@dataclass(frozen=True)
class Term:
    """One value of a field, as text, and how many records have it."""

    label: str
    records: int


@dataclass(frozen=True)
class Terms:
    """The most frequent values of a field.

    Attributes
    ----------
    top : list of Term
        By count, descending, then by value.
    distinct : int
        How many values there are, nulls not counted.
    distinct_exact : bool
        Whether `distinct` is counted rather than estimated.
    records, nulls : int
        Records asked about; those among them without a value.
    """

    top: list[Term]
    distinct: int
    distinct_exact: bool
    records: int
    nulls: int

    @property
    def rest(self) -> int:
        """Records with a value that is not among the top."""
        return max(0, self.records - self.nulls - sum(term.records for term in self.top))


class Source(Protocol):
    """Data that can be counted."""

    @property
    def name(self) -> str:
        """What it is called, or ``""``."""

    @property
    def span(self) -> Span:
        """How many records and when."""

    def histogram(self, grid: Grid) -> Counts:
        """Count the records of each bucket."""

    def terms(self, field: str, size: int, *, timed: bool) -> Terms:
        """Count the `size` most frequent values; with `timed`, of the records that have a time."""

    def split(
        self, field: str, terms: list[Term], grid: Grid
    ) -> tuple[Counts, list[Counts], Counts]:
        """Count each bucket's records: in all, with each term, and without a value."""
