"""Where and when the records of a batch were written: what a profile needs beside their fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

NO_TIME = np.iinfo(np.int64).min
_STEP = np.uint64(0x9E3779B97F4A7C15)  # 2^64 by the golden ratio: its multiples are spread evenly


@dataclass(frozen=True)
class Origins:
    """The records of a batch, an entry for each.

    Partitions answer in any order, so what is chosen among records is chosen by their places.

    Attributes
    ----------
    times : numpy array
        Timestamps in milliseconds, `NO_TIME` for null.
    partitions : numpy array
    keys : numpy array
        A random number for each record, the same whenever it is read.
    """

    times: np.ndarray
    partitions: np.ndarray
    keys: np.ndarray

    @classmethod
    def of(cls, times: np.ndarray, partitions: np.ndarray, offsets: np.ndarray) -> Origins:
        """Return the origins of records by their times and places."""
        places = pl.DataFrame({"partition": partitions, "offset": offsets})
        return cls(times, partitions, places.hash_rows(seed=7).to_numpy())

    @classmethod
    def of_raw(cls, raw: pa.RecordBatch | pa.Table) -> Origins:
        """Return the origins of raw records."""
        partitions, offsets = (raw[name].to_numpy() for name in ("partition", "offset"))
        return cls.of(times_of(raw["timestamp"]), partitions, offsets)

    @classmethod
    def of_rows(cls, start: int, count: int) -> Origins:
        """Return the origins of rows that have no place of Kafka, by their numbers."""
        numbers = np.arange(start, start + count)
        return cls.of(np.full(count, NO_TIME), np.zeros(count, np.int64), numbers)

    def keys_of_values(self, records: np.ndarray) -> np.ndarray:
        """Return a random number for each value, by its record and its place among its values.

        Parameters
        ----------
        records : numpy array
            Each value's record in the batch, ascending.
        """
        places = np.arange(len(records)) - np.searchsorted(records, records)
        keys: np.ndarray = self.keys[records] + places.astype(np.uint64) * _STEP
        return keys


def times_of(column: Any) -> np.ndarray:
    """Return a column of timestamps as milliseconds, `NO_TIME` for null."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(pc.fill_null(array.cast(pa.int64()), NO_TIME))
