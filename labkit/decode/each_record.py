"""Ask a condition of records of any kind, of which some have a value that it cannot be asked of.

A field has one type in a batch: beside one text its numbers are texts, and DuckDB compares those
with no number. So a batch that cannot be asked is halved until what fails is one record alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from labkit.decode.decoder import Decoder
from labkit.decode.filter import Where
from labkit.decode.pipeline import decoded_table
from labkit.errors import UsageError

MOST_FAILED = 100  # records it cannot be asked of, when it could be of no other


@dataclass
class EachRecord:
    """A condition, and of how many records it could be asked so far."""

    where: Where
    asked: int = 0
    failed: int = 0

    def rows(self, raw: pa.RecordBatch, module: Decoder) -> tuple[np.ndarray, dict[int, str]]:
        """Return the rows that fulfil the condition, and why it cannot be asked of others.

        Raises
        ------
        UsageError
            When it could be asked of none of many records.
        """
        if not raw.num_rows:
            return np.empty(0, np.int64), {}
        parsed: Any = module.parse_batch(raw)
        table = decoded_table(raw, parsed, module, module.unify([parsed.schema]))
        try:
            rows = self.where.rows(table)
        except UsageError as error:
            if raw.num_rows > 1:
                return self._halves(raw, module)
            self.failed += 1
            if not self.asked and self.failed >= MOST_FAILED:
                raise
            return np.empty(0, np.int64), {0: error.message}
        self.asked += raw.num_rows
        return rows, {}

    def _halves(self, raw: pa.RecordBatch, module: Decoder) -> tuple[np.ndarray, dict[int, str]]:
        half = raw.num_rows // 2
        rows, failures = self.rows(raw.slice(0, half), module)
        later, later_failures = self.rows(raw.slice(half), module)
        failures |= {half + row: reason for row, reason in later_failures.items()}
        return np.concatenate([rows, half + later]), failures
