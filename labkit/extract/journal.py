"""How far each file got, so that the same command run again goes on instead of doubling."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path

import filelock

from labkit.errors import ConfigError

EVERY_S = 3.0


class Journal:
    """Lines acknowledged per file, cluster and topic, in a small JSON file; without a path nothing is remembered.

    A file is known by its absolute path, size and time of change: a changed file is another file.
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
        """Return what `file` as it is now, sent to this topic, is filed under."""
        stat = file.stat()
        known = f"{file.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\0{self._target}"
        return hashlib.sha256(known.encode(errors="surrogateescape")).hexdigest()

    def lines(self, key: str) -> int:
        """Return how many lines Kafka has acknowledged."""
        return self._read().get(key, 0)

    def note(self, key: str, lines: int, *, now: bool = False) -> None:
        """Write down that `lines` lines are acknowledged; at most every few seconds unless `now`."""
        if self._path is None or (not now and time.monotonic() - self._written_at < EVERY_S):
            return
        self._written_at = time.monotonic()
        part = self._path.with_name(f"{self._path.name}.part")
        try:
            # another extractor may share the journal: nobody writes between the reading and the writing
            with filelock.FileLock(f"{self._path}.lock", mode=0o600):
                entries = self._read() | {key: lines}
                with part.open("w", encoding="utf-8") as file:
                    json.dump(entries, file, indent=1)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise _unwritable(self._path, error) from error

    def _read(self) -> dict[str, int]:
        if self._path is None:
            return {}
        try:
            return {str(key): int(lines) for key, lines in json.loads(self._path.read_text(encoding="utf-8")).items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"the journal {self._path} cannot be read: {error}",
                hint="delete it to send the files from their first line",
            ) from error


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"the journal {path} cannot be written: {error.strerror}", hint="name another file for it")
