"""How far each file got, so that the same command run again goes on instead of doubling.

A file is known by its absolute path, and by the hash of the lines that were acknowledged: one that
has grown is gone on with, one that begins otherwise now is another file. The last line may be
another: it was half written then.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import filelock
import xxhash

from labkit.checks.validation import check_fields, read_json
from labkit.errors import ConfigError

EVERY_S = 3.0


@dataclass
class Begun:
    """How much of a file is acknowledged.

    Attributes
    ----------
    lines : int
    hash : str
        Of these lines.
    before : str
        The hash without the last of them, which may have been half written then.
    """

    lines: int = 0
    hash: str = ""
    before: str = ""

    @property
    def without_last(self) -> Begun:
        """The same without the last line."""
        return Begun(max(0, self.lines - 1), self.before)


@dataclass
class Head:
    """The lines of a file up to here: how many, the last of them, and their running hash."""

    lines: int = 0
    last: bytes = b""
    _before: Any = field(default_factory=xxhash.xxh3_128, repr=False)

    def add(self, line: bytes) -> None:
        """Go on by a line."""
        if self.lines:
            self._before.update(self.last + b"\n")
        self.lines, self.last = self.lines + 1, line

    @property
    def begun(self) -> Begun:
        """What the journal notes once all of it is acknowledged."""
        total = self._before.copy()
        if self.lines:
            total.update(self.last + b"\n")
        return Begun(self.lines, total.hexdigest(), self._before.hexdigest())

    @classmethod
    def of(cls, begun: Begun, lines: Iterable[bytes]) -> Head:
        """Take from `lines` those that are acknowledged, and return them.

        It is empty when the file begins otherwise now.
        """
        journal = cls()
        for line in islice(lines, begun.lines):
            journal.add(line)
        return (
            journal if (journal.lines, journal.begun.hash) == (begun.lines, begun.hash) else cls()
        )


class Journal:
    """What is acknowledged per file, cluster and topic, in a small JSON file.

    Without a path nothing is remembered.
    """

    def __init__(self, path: Path | None, *, cluster_id: str, topic: str) -> None:
        self._path = path
        self._target = f"{cluster_id}\0{topic}"
        self._written_at = time.monotonic()
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _unwritable(path, error) from error
            self._read()  # a damaged journal is better known before anything is sent

    def key(self, file: Path) -> str:
        """Return what `file`, sent to this topic, is filed under."""
        identity = f"{file.resolve()}\0{self._target}"
        return hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()

    def begun(self, key: str) -> Begun:
        """Return what Kafka has acknowledged."""
        return Begun(*self._read().get(key, ()))

    def note(self, key: str, begun: Begun, *, now: bool = False) -> None:
        """Write down what is acknowledged; at most every few seconds unless `now`."""
        if self._path is None or (not now and time.monotonic() - self._written_at < EVERY_S):
            return
        self._written_at = time.monotonic()
        part = self._path.with_name(f"{self._path.name}.part")
        try:
            # another extractor may share the journal: no other process writes between the reading and the
            # writing
            with filelock.FileLock(f"{self._path}.lock", mode=0o600):
                entries = self._read() | {key: (begun.lines, begun.hash, begun.before)}
                with part.open("w", encoding="utf-8") as file:
                    json.dump(entries, file, indent=1)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise _unwritable(self._path, error) from error

    def _read(self) -> dict[str, tuple[int, str, str]]:
        if self._path is None:
            return {}
        try:
            content = read_json(self._path.read_text(encoding="utf-8"))
            # as once: of no use
            pairs = {key: entry for key, entry in content.items() if not isinstance(entry, int)}
            for lines, *hashes in pairs.values():
                check_fields({"lines": lines, "hash": hashes[0]}, {"lines": int, "hash": str})
            return {
                key: (max(0, lines), digest, "".join(before))
                for key, (lines, digest, *before) in pairs.items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, TypeError, IndexError) as error:
            raise ConfigError(
                f"the journal {self._path} cannot be read: {error}",
                hint="delete it to send the files from their first line",
            ) from error


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the journal {path} cannot be written: {error.strerror}", hint="name another file for it"
    )
