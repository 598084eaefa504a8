"""What is known of records themselves: keys, headers, sizes, partitions, volume, order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.profile.origins import NO_TIME, Origins
from labkit.profile.sketches import Distinct, Sample, TopValues, hashes
from labkit.tables.nested import list_owners

MOST_BINS = 4_096
MINUTE_MS = 60_000


@dataclass
class PartitionStats:
    """One partition's records, bytes of keys and values, and order of timestamps."""

    records: int = 0
    bytes: int = 0
    out_of_order: int = 0
    max_inversion_ms: int = 0
    newest_ms: int = NO_TIME


@dataclass
class RecordStats:
    """What is known of all records.

    Attributes
    ----------
    records, tombstones, empty, undecodable : int
        Records; null values; values of no bytes; values that could not be decoded.
    reasons : TopValues
        Why values could not be decoded.
    keyed : int
        Records with a key.
    headers : TopValues
        Records by the name of a header they have.
    partitions : dict
    first_ms, last_ms : int or None
    untimed : int
        Records without a time; they are not in `volume`.
    bin_ms : int
        The width of a bin of `volume`.
    volume : Counter
        Records by the start of their bin.
    """

    records: int = 0
    tombstones: int = 0
    empty: int = 0
    undecodable: int = 0
    reasons: TopValues = field(default_factory=lambda: TopValues(pa.string()))
    keyed: int = 0
    keys: TopValues = field(default_factory=lambda: TopValues(pa.binary()))
    headers: TopValues = field(default_factory=lambda: TopValues(pa.string()))
    partitions: dict[int, PartitionStats] = field(default_factory=dict)
    value_bytes: Sample = field(default_factory=Sample)
    key_bytes: Sample = field(default_factory=Sample)
    bytes: int = 0
    largest: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    untimed: int = 0
    bin_ms: int = MINUTE_MS
    volume: Counter[int] = field(default_factory=Counter)
    _distinct_keys: Distinct = field(default_factory=Distinct)

    @property
    def distinct_keys(self) -> int:
        """How many distinct keys there are; about, where `keys.error` is not 0."""
        return self._distinct_keys.estimate() if self.keys.error else self.keys.distinct

    @property
    def out_of_order(self) -> int:
        """Records with a timestamp before that of an earlier offset of their partition."""
        return sum(partition.out_of_order for partition in self.partitions.values())

    @property
    def max_inversion_ms(self) -> int:
        """The largest such step back."""
        return max(
            (partition.max_inversion_ms for partition in self.partitions.values()), default=0
        )

    def add(self, raw: pa.RecordBatch, origins: Origins, errors: list[str]) -> None:
        """Add a batch of raw records.

        `errors` says why values are no columns.
        """
        self.records += raw.num_rows
        values, keys = raw.column("value"), raw.column("key")
        sizes, has_value = _lengths(values), np.asarray(pc.is_valid(values))
        self.tombstones += values.null_count
        self.empty += int(np.count_nonzero((sizes == 0) & has_value))
        self.undecodable += len(errors)
        self.reasons.count(pa.array(errors, pa.string()))
        self.value_bytes.add(sizes[has_value].astype(float), origins.keys[has_value])
        self.largest = max(self.largest, int(sizes.max(initial=0)))
        self._add_keys(keys, origins)
        self._add_headers(raw.column("headers"))
        self._add_partitions(sizes + _lengths(keys), origins)
        is_untimed = origins.times == NO_TIME
        self.untimed += int(np.count_nonzero(is_untimed))
        self._add_times(origins.times[~is_untimed])

    def _add_keys(self, keys: pa.Array, origins: Origins) -> None:
        self.keyed += len(keys) - keys.null_count
        if len(keys) == keys.null_count:
            return
        has_key = np.asarray(pc.is_valid(keys))
        self.key_bytes.add(_lengths(keys)[has_key].astype(float), origins.keys[has_key])
        self._distinct_keys.add(hashes(self.keys.count(keys.drop_null())))

    def _add_headers(self, headers: pa.Array) -> None:
        names = headers.flatten()
        if not len(names):
            return
        pairs = pa.table({"row": list_owners(headers), "name": names.field("key")})
        distinct = pairs.group_by(["row", "name"]).aggregate([])  # a record may have a header twice
        self.headers.count(distinct["name"])

    def _add_partitions(self, sizes: np.ndarray, origins: Origins) -> None:
        self.bytes += int(sizes.sum())
        for number in np.unique(origins.partitions).tolist():
            mine = origins.partitions == number
            stats = self.partitions.setdefault(int(number), PartitionStats())
            stats.records += int(np.count_nonzero(mine))
            stats.bytes += int(sizes[mine].sum())
            own = origins.times[mine]
            own = own[own != NO_TIME]
            if not len(own):
                continue
            newest = np.maximum.accumulate(np.concatenate([[stats.newest_ms], own]))
            behind = newest[:-1] - own
            late = behind[(behind > 0) & (newest[:-1] != NO_TIME)]
            stats.out_of_order += len(late)
            stats.max_inversion_ms = max(stats.max_inversion_ms, int(late.max(initial=0)))
            stats.newest_ms = int(newest[-1])

    def _add_times(self, times: np.ndarray) -> None:
        if not len(times):
            return
        first, last = int(times.min()), int(times.max())
        self.first_ms = first if self.first_ms is None else min(self.first_ms, first)
        self.last_ms = last if self.last_ms is None else max(self.last_ms, last)
        starts, counts = np.unique(times // self.bin_ms * self.bin_ms, return_counts=True)
        self.volume.update(dict(zip(starts.tolist(), counts.tolist(), strict=True)))
        while len(self.volume) > MOST_BINS:
            self.bin_ms *= 2
            wider: Counter[int] = Counter()
            for start, count in self.volume.items():
                wider[start // self.bin_ms * self.bin_ms] += count
            self.volume = wider


def _lengths(array: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(pc.binary_length(array), 0)).astype(np.int64)
