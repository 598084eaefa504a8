"""Dead letters: records that Elasticsearch refuses, kept with their origin.

So the pipeline goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import orjson
import pyarrow as pa

from labkit.checks import names
from labkit.elastic import Target
from labkit.errors import ServerError, UsageError
from labkit.es import mappings
from labkit.es.bulk import Bulk
from labkit.es.documents import Documents, Reject, of_records

PREFIX = "index:"
_CUTS = (100_000, 1_000)  # characters that are kept of a source that there is no room for
_MAPPING: dict[str, Any] = {
    "dynamic": False,
    "properties": {
        "topic": {"type": "keyword"},
        "type": {"type": "keyword"},
        "partition": {"type": "integer"},
        "offset": {"type": "long"},
        "status": {"type": "short"},
        "reason": {"type": "text"},
        "source": {"type": "keyword", "index": False, "doc_values": False},
    },
}


class Letters(Protocol):
    """A place for refused records; `put` returns once they are safe there."""

    def check(self) -> None:
        """Raise when it cannot be written to."""

    def put(self, rejects: list[Reject]) -> None:
        """Put refused records aside."""

    def close(self) -> None:
        """End it."""


class NoLetters:
    """No place: the first refused record is an error, and is not passed over."""

    def check(self) -> None:
        """Nothing to check."""

    def put(self, rejects: list[Reject]) -> None:
        """Raise."""
        first = rejects[0]
        raise ServerError(
            f"{first.topic}-{first.partition}-{first.offset} was refused: {first.reason}",
            hint="give --dead-letter FILE (or index:NAME) to put such records aside and go on",
        )

    def close(self) -> None:
        """Nothing to end."""


class FileLetters:
    """A file of JSON lines: topic, partition, offset, status, type, reason, source."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def check(self) -> None:
        """Raise when the file cannot be appended to."""
        try:
            self.path.open("ab").close()
        except OSError as error:
            raise UsageError(
                f"{self.path} cannot be written: {error.strerror}", hint="give --dead-letter a file"
            ) from error

    def put(self, rejects: list[Reject]) -> None:
        """Append them, down to the disk.

        A line torn by a kill or a full disk ends first: its record comes again.
        """
        with self.path.open("ab+") as file:
            if file.tell() and file.seek(-1, os.SEEK_END) and file.read() != b"\n":
                file.write(b"\n")
            file.writelines(orjson.dumps(asdict(reject)) + b"\n" for reject in rejects)
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Nothing to end."""


class IndexLetters:
    """An index with the same fields.

    ``_id`` is that of the record, so what is refused twice is there once.
    """

    def __init__(self, target: Target, index: str, waiting: Callable[[str], None]) -> None:
        self.target = target
        self.index = names.index(index)
        self.bulk = Bulk(target, index, patience_s=None, waiting=waiting)

    def __str__(self) -> str:
        return f"index {self.index}"

    def check(self) -> None:
        """Make the index."""
        with self.target.errors(f"make index {self.index!r}"):
            mappings.ensure(self.target, self.index, _MAPPING)

    def put(self, rejects: list[Reject]) -> None:
        """Write them; return once they are acknowledged.

        A record that was too large is too large as a dead letter as well: what is refused goes
        again with its source cut. Its origin says where the whole of it is.
        """
        left = self._write_refused(rejects)
        for size in _CUTS:
            left = self._write_refused([reject for reject, _ in left], size) if left else []
        if left:
            raise ServerError(
                f"dead-letter index {self.index!r} refused a record: {left[0][1]}",
                hint="is it an index of another kind? name a new one, or a file",
            )

    def _write_refused(
        self, rejects: list[Reject], size: int | None = None
    ) -> list[tuple[Reject, str]]:
        """Write them, with at most so much of their sources.

        Return those that were refused, and why.
        """
        outcome = self.bulk.send(
            _letters(rejects if size is None else [_cut(reject, size) for reject in rejects])
        )
        by_place = {(reject.topic, reject.partition, reject.offset): reject for reject in rejects}
        return [
            (by_place[reject.topic, reject.partition, reject.offset], reject.reason)
            for reject in outcome.rejects
        ]

    def close(self) -> None:
        """End the worker threads."""
        self.bulk.close()


def _letters(rejects: list[Reject]) -> Documents:
    sources = pa.array([orjson.dumps(asdict(reject)) for reject in rejects], pa.binary())
    return of_records(
        [(reject.topic, reject.partition, reject.offset) for reject in rejects], sources
    )


def _cut(one: Reject, size: int) -> Reject:
    size_of_source = len(one.source)
    if size_of_source <= size:
        return one
    note = f"source cut to its first {size:,} of {size_of_source:,} characters"
    return replace(one, source=one.source[:size], reason=f"{one.reason}; {note}")


def find_letters(
    where: str | Path | None, target: Target, waiting: Callable[[str], None]
) -> Letters:
    """Return the place `where` names: ``index:NAME`` an index, anything else a file."""
    if where is None:
        return NoLetters()
    if isinstance(where, str) and where.startswith(PREFIX):
        return IndexLetters(target, where.removeprefix(PREFIX), waiting)
    return FileLetters(Path(where))
