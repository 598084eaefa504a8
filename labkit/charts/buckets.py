"""Time buckets and the words for them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo

import numpy as np

from labkit.charts.clock import moments, offset, offsets
from labkit.errors import UsageError
from labkit.text.counts import number_of
from labkit.times import length_ms

SECOND, MINUTE, HOUR, DAY, WEEK = 1000, 60_000, 3_600_000, 86_400_000, 604_800_000
MONDAY = 4 * DAY  # the epoch was a Thursday; whole weeks begin on Monday
MOST_BUCKETS = 200
MOST_ROWS = 5000  # altair's own limit
# Steps of at most 3.3, so that a span of more than a minute has 60 to 200 buckets.
_LADDER = (
    *(SECOND * n for n in (1, 2, 5, 15, 30)),
    *(MINUTE * n for n in (1, 2, 5, 15, 30)),
    *(HOUR * n for n in (1, 3, 6, 12)),
    *(DAY * n for n in (1, 3)),
    *(WEEK * n for n in (1, 2, 4, 13, 26, 52)),
)
_UNITS = (
    (WEEK, "weeks", "week"),
    (DAY, "days", "day"),
    (HOUR, "h", "hour"),
    (MINUTE, "min", "minute"),
    (SECOND, "s", "second"),
    (1, "ms", "ms"),
)


@dataclass(frozen=True)
class Grid:
    """Buckets of one length by a zone's clock, without a gap; each [its start, the next one's).

    Attributes
    ----------
    start_ms : int
        The first bucket's start.
    every_ms : int
        Their length.
    count : int
        How many.
    zone : tzinfo
        Whose clock: days begin at its midnight, whole weeks on its Monday.
    edges : tuple of int
        Where each begins, and the last one ends, when clocks are set between: a day may have 23 or
        25 hours. Else empty.
    """

    start_ms: int
    every_ms: int
    count: int
    zone: tzinfo = UTC
    edges: tuple[int, ...] = ()

    @property
    def offset_ms(self) -> int:
        """Where buckets begin, counted from the epoch."""
        return self.start_ms % self.every_ms

    @property
    def end_ms(self) -> int:
        """The end of the last bucket, exclusive."""
        return self.edges[-1] if self.edges else self.start_ms + self.count * self.every_ms

    @property
    def starts(self) -> Sequence[int]:
        """The start of each bucket."""
        return self.edges[:-1] if self.edges else range(self.start_ms, self.end_ms, self.every_ms)

    def parts(self, most: int) -> Iterator[Grid]:
        """Yield it in parts of at most `most` buckets."""
        for first in range(0, self.count, most):
            count = min(most, self.count - first)
            edges = self.edges[first : first + count + 1]
            yield Grid(self.starts[first], self.every_ms, count, self.zone, edges)


def grid(first_ms: int, last_ms: int, every_ms: int, zone: tzinfo = UTC) -> Grid:
    """Return the buckets from the one that holds `first_ms` to the one that holds `last_ms`."""
    if zone is UTC:
        start, last = (_floor(at, every_ms) for at in (first_ms, last_ms))
        return Grid(start, every_ms, (last - start) // every_ms + 1)
    start, last = (_floor(at + offset(at, zone), every_ms) for at in (first_ms, last_ms))
    margin = every_ms if every_ms > DAY else DAY  # clocks may be set back between
    clock = np.arange(
        start - margin // every_ms * every_ms,
        last + margin + every_ms + 1,
        every_ms,
        dtype=np.int64,
    )
    edges = moments(clock, zone, both=every_ms <= HOUR)
    low, high = np.searchsorted(edges, (first_ms, last_ms), side="right")
    return _between(edges[low - 1 : high + 1], every_ms, zone)


def _between(edges: np.ndarray, every_ms: int, zone: tzinfo) -> Grid:
    """Return the buckets between moments, which are kept where one has another length."""
    regular = bool((np.diff(edges) == every_ms).all())
    moments_ms = () if regular else tuple(int(edge) for edge in edges)
    return Grid(int(edges[0]), every_ms, len(edges) - 1, zone, moments_ms)


def _floor(clock: int, every_ms: int) -> int:
    begin = MONDAY if every_ms % WEEK == 0 else 0
    return (clock - begin) // every_ms * every_ms + begin


def earlier(buckets: Grid, by_ms: int) -> Grid:
    """Return the buckets that lie `by_ms` before these.

    Whole days are counted by the clock of the zone, so each bucket has its own distance then.
    """
    edges = np.array([*buckets.starts, buckets.end_ms], np.int64)
    before = edges - by_ms
    if buckets.zone is not UTC and by_ms % DAY == 0:
        then = moments(before + offsets(edges, buckets.zone), buckets.zone, both=False)
        before = then if len(then) == len(edges) else before  # an hour is there twice, or left out
    return _between(before, buckets.every_ms, buckets.zone)


def fitting(
    first_ms: int, last_ms: int, every: str | timedelta | None, series: int, zone: tzinfo = UTC
) -> Grid:
    """Return the buckets for `every`; without it, those of a usual length that fits.

    That is the shortest usual length that makes at most `MOST_BUCKETS` buckets.

    Raises
    ------
    UsageError
        When `every` makes more rows than a chart can hold.
    """
    usual_grid = _choose_grid(first_ms, last_ms, zone)
    if every is None:
        return usual_grid
    every_ms = length_ms(every)
    if every_ms < 1:
        raise UsageError(
            f"every must be a length of time, not {every!r}", hint="such as every='1h'"
        )
    # in UTC: to know how many there are, before each is looked for
    wanted_grid = grid(first_ms, last_ms, every_ms)
    if wanted_grid.count * series > MOST_ROWS:
        lines = f" of {series} series" if series > 1 else ""
        raise UsageError(
            f"every={every!r} makes {wanted_grid.count:,} buckets{lines}; a chart holds {MOST_ROWS:,} rows",
            hint=f"leave it out for a bar per {length(usual_grid.every_ms)}, or chart a shorter window",
        )
    return wanted_grid if zone is UTC else grid(first_ms, last_ms, every_ms, zone)


def _choose_grid(first_ms: int, last_ms: int, zone: tzinfo) -> Grid:
    for every_ms in _LADDER:
        candidate = grid(first_ms, last_ms, every_ms)
        if candidate.count <= MOST_BUCKETS:
            return grid(first_ms, last_ms, every_ms, zone)
    years = -(-(last_ms - first_ms) // (_LADDER[-1] * (MOST_BUCKETS - 1)))
    return grid(first_ms, last_ms, _LADDER[-1] * years, zone)


def length(ms: int) -> str:
    """Return a length of time in words, to follow "per": ``6 h``, ``day``."""
    size, unit, word = next(scale for scale in _UNITS if ms % scale[0] == 0)
    return f"{ms // size:,} {unit}" if ms != size else word


def period(first_ms: int, last_ms: int, zone: tzinfo = UTC) -> str:
    """Return when records were: days, or minutes or seconds when there are few."""
    long = last_ms - first_ms
    first_ms, last_ms = (at + offset(at, zone) for at in (first_ms, last_ms))
    clock_digits = (
        0 if long >= 3 * DAY else 5 if long >= 3 * MINUTE else 8 if long >= 3 * SECOND else 12
    )
    (first_day, first), (last_day, last) = (
        _day_and_clock(ms, clock_digits) for ms in (first_ms, last_ms)
    )
    if (first_day, first) == (last_day, last):
        return f"{first_day} {first}".strip()
    until = last if first_day == last_day else f"{last_day} {last}"
    return f"{first_day} {first}".strip() + f" to {until}".rstrip()


def _day_and_clock(ms: int, kept: int) -> tuple[str, str]:
    # years beyond 9999 too: timestamps may be nonsense
    day, _, clock = str(np.datetime64(ms, "ms")).partition("T")
    return day, clock[:kept]


def count_in_words(records: int) -> str:
    """Return a number of records in words."""
    return number_of(records, "record")


def share(part: int, whole: int) -> str:
    """Return a part of a whole as a percentage that is 0 or 100 only when it is exactly that."""
    percent = 100 * part / whole if whole else 0
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.1f} %"


def plural(field: str) -> str:
    """Return a field's name as the word for its values: ``nicks``, ``values of _key``."""
    plain = field.isascii() and field.isalpha() and field[-1] not in "sxyzh"
    return f"{field}s" if plain else f"values of {field}"
