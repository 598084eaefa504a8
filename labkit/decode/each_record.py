"""Ask a condition of records of any kind, of which some have a value that it cannot be asked of.

One rule, however records are batched: each is asked by the types of its own values. A field has one
type in a batch (beside one text its numbers are texts, and DuckDB compares those with no number), so
records of different types are asked apart, and what fails is halved until it is one record alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from labkit.decode.decoder import Decoder
from labkit.decode.filter import Where, is_about_types
from labkit.decode.json import Json
from labkit.decode.pipeline import decoded_table
from labkit.errors import UsageError

MOST_FAILED = 100  # records it cannot be asked of, when it could be of no other
MOST_ALONE = 10  # records of a kind that are asked alone, for the reason of each
_NOT_ASKED = "the condition cannot be asked of it, as of others of its type"


@dataclass
class EachRecord:
    """A condition, and of how many records it could be asked so far.

    Attributes
    ----------
    first : UsageError or None
        Why it could not be asked of the first such record.
    place : str
        Where that record is: ``partition:offset``.
    """

    where: Where
    asked: int = 0
    failed: int = 0
    first: UsageError | None = None
    place: str = ""

    def narrow(self, raw: pa.RecordBatch, decoder: Decoder) -> tuple[pa.RecordBatch, np.ndarray]:
        """Return the records, and their rows, of which the condition must still be asked.

        The others do not fulfil it, and count as asked.
        """
        everything, needles = np.arange(raw.num_rows), self.where.needles
        is_json = type(decoder.parts[0]) is Json
        if needles is None or not (is_json and self.asked and self.where.is_settled):
            return raw, everything
        rows = np.flatnonzero(needles.may_match(raw.column("value")))
        return (raw, everything) if len(rows) == raw.num_rows else (raw.take(pa.array(rows)), rows)

    def rows(
        self, raw: pa.RecordBatch, decoder: Decoder, parsed: Any = None
    ) -> tuple[np.ndarray, dict[int, str]]:
        """Return the rows that fulfil the condition, and why it cannot be asked of others.

        Parameters
        ----------
        raw : RecordBatch
        decoder : Decoder
        parsed : Parsed, optional
            The batch as the decoder parsed it.

        Raises
        ------
        UsageError
            When it could be asked of none of many records.
        """
        if not raw.num_rows:
            return np.empty(0, np.int64), {}
        parsed = decoder.parse_batch(raw) if parsed is None else parsed
        kinds = decoder.kinds(parsed, self.where.names)
        if kinds is None:
            return self._alike(raw, decoder, _table(raw, decoder, parsed))
        matching = [np.empty(0, np.int64)]
        failures: dict[int, str] = {}
        refused = []
        for kind in np.unique(kinds):
            places = np.flatnonzero(kinds == kind)
            part, own = raw.take(pa.array(places)), decoder.anew()
            table = _table(part, own)
            try:
                matching.append(places[self._together(table)])
            except UsageError as error:  # later: whether it can be asked of any is known then
                refused.append((places, partial(self._refused, part, own, table, error)))
        for places, ask_apart in refused:
            rows, reasons = ask_apart()
            matching.append(places[rows])
            failures |= {int(places[row]): reason for row, reason in reasons.items()}
        return np.sort(np.concatenate(matching)), failures

    def _together(self, table: pa.Table) -> np.ndarray:
        rows: np.ndarray = self.where.rows(table)
        self.asked += len(table)
        return rows

    def _alike(
        self, raw: pa.RecordBatch, decoder: Decoder, table: pa.Table
    ) -> tuple[np.ndarray, dict[int, str]]:
        """Return the rows and reasons of records that have the same types."""
        try:
            return self._together(table), {}
        except UsageError as error:
            return self._refused(raw, decoder, table, error)

    def _refused(
        self, raw: pa.RecordBatch, decoder: Decoder, table: pa.Table, error: UsageError
    ) -> tuple[np.ndarray, dict[int, str]]:
        """Return the rows and reasons of records that it cannot be asked of together."""
        if raw.num_rows > 1 and not is_about_types(error):
            return self._apart(raw, decoder, table)
        if self.first is None:
            partition, offset = (raw.column(name)[0] for name in ("partition", "offset"))
            self.first, self.place = error, f"{partition}:{offset}"
        self._count_failed(raw.num_rows, error)
        return np.empty(0, np.int64), dict.fromkeys(range(raw.num_rows), error.message)

    def _count_failed(self, count: int, error: UsageError | None) -> None:
        """Raise when it could be asked of none of many records."""
        self.failed += count
        if error is not None and not self.asked and self.failed >= MOST_FAILED:
            raise error

    def _apart(
        self, raw: pa.RecordBatch, decoder: Decoder, table: pa.Table
    ) -> tuple[np.ndarray, dict[int, str]]:
        """Return the rows and reasons of records of which some cannot be asked.

        Many are not asked one after the other: where it can be of none of the first `MOST_ALONE`,
        the others have no reason of their own.
        """
        try:
            matching, failed = self.where.rows_apart(table)
        except UsageError:  # of all together, or of none
            return self._halves(raw, decoder)
        self.asked += raw.num_rows - len(failed)
        first, others = failed[:MOST_ALONE], failed[MOST_ALONE:]
        parts = [self._part(raw.slice(row, 1), decoder) for row in first.tolist()]
        matching = np.concatenate([matching, first[[bool(len(rows)) for rows, _ in parts]]])
        failures = {
            row: reasons[0]
            for row, (_, reasons) in zip(first.tolist(), parts, strict=True)
            if reasons
        }
        if len(failures) == len(first):
            self._count_failed(len(others), self.first)
            failures |= dict.fromkeys(others.tolist(), _NOT_ASKED)
        elif len(others):  # alone it could be asked of some
            rows, reasons = self._part(raw.take(pa.array(others)), decoder)
            matching = np.concatenate([matching, others[rows]])
            failures |= {int(others[row]): reason for row, reason in reasons.items()}
        return np.sort(matching), failures

    def _halves(self, raw: pa.RecordBatch, decoder: Decoder) -> tuple[np.ndarray, dict[int, str]]:
        half = raw.num_rows // 2
        rows, failures = self._part(raw.slice(0, half), decoder)
        later, later_failures = self._part(raw.slice(half), decoder)
        failures |= {half + row: reason for row, reason in later_failures.items()}
        return np.concatenate([rows, half + later]), failures

    def _part(self, raw: pa.RecordBatch, decoder: Decoder) -> tuple[np.ndarray, dict[int, str]]:
        return self._alike(raw, decoder, _table(raw, decoder))

    def check(self) -> None:
        """Raise when it could be asked of no record at all."""
        if self.first is not None and not self.asked:
            raise self.first

    @property
    def notes(self) -> list[str]:
        """What a receipt should say."""
        if self.first is None:
            return []
        count = "1 record is" if self.failed == 1 else f"{self.failed:,} records are"
        return [
            f"{count} left out unasked, the first at {self.place}: {self.first.message} ({self.first.hint})"
        ]


def _table(raw: pa.RecordBatch, decoder: Decoder, parsed: Any = None) -> pa.Table:
    parsed = decoder.parse_batch(raw) if parsed is None else parsed
    return decoded_table(raw, parsed, decoder, decoder.unify([parsed.schema]))
