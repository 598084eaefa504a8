"""Statistics of a column in bounded memory, built by batches; each says whether it is exact.

A field may have more distinct values than memory has room for. Then the number of distinct values
is estimated by a HyperLogLog with 16,384 registers (standard error 0.8 %), top values are counted
with a bound on the error (the "lossy counting" of Manku and Motwani, 2002), and quantiles come from
a uniform sample.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from labkit.decode import merge

REGISTER_BITS = 14
KEPT_VALUES = 20_000  # distinct values counted exactly, for each field
SAMPLED_NUMBERS = 20_000
MOST_WAITING = 100  # batches that are not added up yet: each takes 4 KB, however few its values
_REST_BITS = np.uint64(64 - REGISTER_BITS)


@dataclass
class Distinct:
    """How many distinct values there are, about; of hashes of 64 bits."""

    registers: np.ndarray = field(default_factory=lambda: np.zeros(1 << REGISTER_BITS, np.uint8))

    def add(self, hashes: np.ndarray) -> None:
        """Add values by their hashes."""
        places = (hashes >> _REST_BITS).astype(np.int64)
        rest = (hashes << np.uint64(REGISTER_BITS)) | np.uint64(1 << (REGISTER_BITS - 1))
        # the position of the first 1 bit: 64 bits do not fit a float, the upper 53 are enough for
        # it
        ranks = (64 - np.frexp((rest >> np.uint64(11)).astype(np.float64))[1] - 11 + 1).astype(
            np.uint8
        )
        np.maximum.at(self.registers, places, ranks)

    def estimate(self) -> int:
        """Return the estimated number of distinct values.

        It is by Flajolet et al. (2007), with linear counting for small numbers.
        """
        size = len(self.registers)
        raw = (
            0.7213
            / (1 + 1.079 / size)
            * size**2
            / np.sum(np.exp2(-self.registers.astype(np.float64)))
        )
        empty = int(np.count_nonzero(self.registers == 0))
        if raw <= 2.5 * size and empty:
            return round(size * float(np.log(size / empty)))
        return round(float(raw))


@dataclass
class TopValues:
    """The most frequent values; exact until more than `KEPT_VALUES` distinct ones were seen."""

    kind: pa.DataType
    _error: int = 0
    _counted: pa.Table | None = None
    _waiting: list[pa.Table] = field(default_factory=list)
    _rows: int = 0

    def count(self, values: pa.Array | pa.ChunkedArray) -> pa.Array:
        """Add values, none of them null; return the distinct ones."""
        counts = pc.value_counts(values)
        self.add(counts.field("values"), counts.field("counts"))
        return counts.field("values")

    def add(self, values: pa.Array, counts: pa.Array) -> None:
        """Add distinct values with how often each came."""
        self._waiting.append(pa.table({"value": values, "count": counts.cast(pa.int64())}))
        self._rows += len(values)
        if self._rows > 2 * KEPT_VALUES or len(self._waiting) > MOST_WAITING:
            self._merge()

    def _merge(self) -> None:
        parts = [self._counted] if self._counted is not None else []
        if self._waiting:
            joined = _join([*parts, *self._waiting])
            self._counted = (
                joined.group_by("value")
                .aggregate([("count", "sum")])
                .rename_columns(["value", "count"])
            )
            self._waiting, self._rows = [], 0
        if self._counted is not None and len(self._counted) > KEPT_VALUES:
            # of equal counts any are kept, but the same whatever came first
            ranked = self._counted.append_column("hash", pa.array(hashes(self._counted["value"])))
            keys = [("count", "descending"), ("hash", "ascending")]
            order = pc.sort_indices(ranked, sort_keys=keys)
            dropped = self._counted["count"][order[KEPT_VALUES].as_py()].as_py()
            self._error += int(dropped)
            self._counted = self._counted.take(order[:KEPT_VALUES])

    @property
    def error(self) -> int:
        """How much a count may be too small; 0 as long as all is exact."""
        self._merge()
        return self._error

    @property
    def distinct(self) -> int:
        """How many values are counted: all there are, as long as `error` is 0."""
        self._merge()
        return 0 if self._counted is None else len(self._counted)

    def top(self, number: int) -> list[tuple[Any, int]]:
        """Return the most frequent values and their counts; equal counts in the values' order."""
        self._merge()
        if self._counted is None:
            return []
        keys = [("count", "descending"), ("value", "ascending")]
        best = self._counted.take(pc.sort_indices(self._counted, sort_keys=keys)[:number])
        return list(zip(best["value"].to_pylist(), best["count"].to_pylist(), strict=True))

    def table(self) -> pa.Table:
        """Return all values that are counted: columns value and count."""
        self._merge()
        return (
            pa.table({"value": pa.array([], self.kind), "count": pa.array([], pa.int64())})
            if (self._counted is None)
            else self._counted
        )


def _join(tables: list[pa.Table]) -> pa.Table:
    """Return tables of values as one, also where a later schema gave the field another type."""
    kind = reduce(merge.merge, (table["value"].type for table in tables))
    return pa.concat_tables(
        table.set_column(0, "value", merge.cast(table["value"], kind)) for table in tables
    )


class Sample:
    """A uniform sample of numbers: those with the smallest random keys, so that batches add up."""

    def __init__(self, most: int = SAMPLED_NUMBERS) -> None:
        self._most = most
        self._keys = np.empty(0, np.uint64)
        self._numbers = np.empty(0)
        self.seen = 0

    def add(self, numbers: np.ndarray, keys: np.ndarray) -> None:
        """Add numbers with their random keys, as `Origins` gives them; NaN is left out."""
        is_finite = np.isfinite(numbers)
        numbers, keys = numbers[is_finite], keys[is_finite]
        self.seen += len(numbers)
        if len(self._keys) == self._most:
            small = keys < self._keys.max()
            keys, numbers = keys[small], numbers[small]
        self._keys, self._numbers = (
            np.concatenate([self._keys, keys]),
            np.concatenate([self._numbers, numbers]),
        )
        if len(self._keys) > self._most:
            smallest = np.argpartition(self._keys, self._most)[: self._most]
            self._keys, self._numbers = self._keys[smallest], self._numbers[smallest]

    @property
    def exact(self) -> bool:
        """Whether all numbers are in the sample."""
        return self.seen == len(self._numbers)

    def quantiles(self, shares: tuple[float, ...]) -> list[float | None]:
        """Return the quantiles; None without a number."""
        if not len(self._numbers):
            return [None] * len(shares)
        return [float(number) for number in np.quantile(self._numbers, shares)]

    def distance(self, other: Sample) -> tuple[float, float]:
        """Return the largest difference of the cumulative shares, and what chance explains.

        Both are 0 to 1; chance exceeds the second in 5 of 100 cases. It is the test of Kolmogorov
        and Smirnov for two samples.
        """
        numbers = np.sort(np.concatenate([self._numbers, other._numbers]))
        shares = [
            np.searchsorted(np.sort(sketch._numbers), numbers, "right") / len(sketch._numbers)
            for sketch in (self, other)
        ]
        sizes = [len(sketch._numbers) for sketch in (self, other)]
        chance = 1.358 * float(np.sqrt(sum(sizes) / (sizes[0] * sizes[1])))
        return float(np.abs(shares[0] - shares[1]).max()), chance

    def histogram(self, bins: int) -> tuple[list[float], list[float]]:
        """Return the shares in each bin, and the bins' edges."""
        if not len(self._numbers):
            return [], []
        counts, edges = count_in_bins(self._numbers, bins)
        return (counts / counts.sum()).tolist(), edges.tolist()


def count_in_bins(numbers: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how many finite numbers are in each bin, and the bins' edges.

    Fewer bins where a fraction of 64 bits knows no more numbers between the smallest and the
    largest: ids of 19 digits are 256 apart.
    """
    low, high = float(numbers.min()), float(numbers.max())
    if not np.isfinite(high - low):
        counts, edges = np.histogram(numbers / 4, bins)
        return counts, np.clip(edges * 4, low, high)
    edges = np.unique(np.linspace(low, high, bins + 1)) if low < high else np.array([low, low])
    if low < high and len(edges) > bins:
        return np.histogram(numbers, bins)
    counts = np.bincount(np.searchsorted(edges[1:-1], numbers, "right"), minlength=len(edges) - 1)
    return counts, edges


def hashes(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return a hash of 64 bits for each value, the same in all batches of this process."""
    series = pl.from_arrow(values)
    if not isinstance(series, pl.Series):
        raise TypeError("an array becomes a Series")
    hashed: np.ndarray = series.hash(seed=11).to_numpy()
    return hashed
