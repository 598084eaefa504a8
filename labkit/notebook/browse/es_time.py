"""The time of documents: which field says when, and its span in bins. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from labkit.checks.suggest import unknown_field
from labkit.errors import UsageError
from labkit.es.fields import Fields, is_date, known_fields, types
from labkit.notebook.browse.browsed import bin_length

TIMES = ("@timestamp", "timestamp", "time", "_kafka.timestamp")  # fields of documents that say when


@dataclass(frozen=True)
class TimeAxis:
    """From the first document's time to the last one's, in bins of one length.

    Attributes
    ----------
    field : str
        Empty where no field says when.
    is_number : bool
        Whether it is a number of milliseconds; else it is a date.
    low_ms, high_ms : int
        The bins are from here, and end before or at there.
    step_ms : int
        How long a bin is; 0 where no document has a time.
    """

    field: str
    is_number: bool = False
    low_ms: int = 0
    high_ms: int = 0
    step_ms: int = 0

    @property
    def size(self) -> int:
        """How many bins there are."""
        return -(-(self.high_ms - self.low_ms) // self.step_ms) if self.step_ms else 0

    @property
    def edges(self) -> list[int]:
        """The bins' edges, one more than there are bins."""
        return (
            [self.low_ms + self.step_ms * place for place in range(self.size + 1)]
            if self.size
            else []
        )

    def spanning(self, low_ms: int, high_ms: int) -> TimeAxis:
        """Return the bins of another span; of none where it is empty."""
        if high_ms <= low_ms:
            return TimeAxis(self.field, self.is_number)
        step = bin_length(low_ms, high_ms)
        return TimeAxis(self.field, self.is_number, low_ms, high_ms, step)

    def aggregation(self) -> dict[str, Any]:
        """Return what counts the documents of each bin."""
        offset = self.low_ms % self.step_ms
        if self.is_number:
            return {
                "histogram": {
                    "field": self.field,
                    "interval": self.step_ms,
                    "offset": offset,
                    "min_doc_count": 1,
                }
            }
        interval = {"fixed_interval": f"{self.step_ms}ms", "offset": f"{offset}ms"}
        return {"date_histogram": {"field": self.field, **interval, "min_doc_count": 1}}

    def counts(self, buckets: Iterable[Mapping[str, Any]]) -> list[int]:
        """Return the count of each bin, of the answer's buckets.

        A document with several times has buckets outside, too.
        """
        counts = [0] * self.size
        for bucket in buckets:
            place = (int(bucket["key"]) - self.low_ms) // self.step_ms
            if 0 <= place < self.size:
                counts[place] += bucket["doc_count"]
        return counts

    def between(self, low_ms: int | None, high_ms: int | None) -> dict[str, Any]:
        """Return the query for the documents of a time; the end is not in it."""
        ends = {name: ms for name, ms in (("gte", low_ms), ("lt", high_ms)) if ms is not None}
        return {
            "range": {self.field: ends if self.is_number else {**ends, "format": "epoch_millis"}}
        }

    def sort(self, order: str = "desc") -> list[dict[str, Any]]:
        """Return the order by time; documents without one are at the old end."""
        place = {"_shard_doc": {"order": "asc" if order == "desc" else "desc"}}
        if not self.field:
            return [place]
        how = {
            "order": order,
            "missing": "_last" if order == "desc" else "_first",
            "unmapped_type": "date",
        }
        return [{self.field: how if self.is_number else {**how, "numeric_type": "date"}}, place]


def time_axis(fields: Fields, name: str, present: Container[str]) -> TimeAxis:
    """Return the axis of a field, without a span yet; by default of the first of `TIMES`.

    Parameters
    ----------
    present : container of str
        The fields that documents have: some are only mapped.

    Raises
    ------
    UsageError
        When there is no such field, or it cannot say when.
    """
    if name and name not in fields:
        raise unknown_field(name, known_fields(fields), where="in the documents ")
    if name and not _says_when(fields, name):
        raise UsageError(
            f"{name} is {'/'.join(sorted(types(fields, name)))}, not a date: it cannot say when",
            hint="map it as a date; or limit=10_000 reads so many documents, and takes texts for times",
        )
    name = name or next((one for one in TIMES if one in present and _says_when(fields, one)), "")
    return TimeAxis(name, bool(name) and not is_date(fields, name))


def _says_when(fields: Fields, name: str) -> bool:
    return is_date(fields, name) or types(fields, name) == {"long"}
