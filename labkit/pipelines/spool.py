"""Records on disk until Kafka has them, in a small SQLite database.

Every record goes through it, not only those that come while Kafka is away: so there is one path,
its order is the numbers' order, and what a killed extractor held is known. Records are committed in
groups, ten times a second at most; a commit reaches the disk (``synchronous=FULL``), so it outlives
a SIGKILL and a power cut. What was received since the last commit, some tenths of a second, does
not: IRC has no acknowledgements to wait for.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import orjson

from labkit.config.private import make_private_folder
from labkit.errors import ConfigError, UsageError

_TABLES = """
    create table if not exists records(
        seq integer primary key autoincrement, ms integer not null, key blob, value blob, headers blob not null);
    create table if not exists spool(id text not null);
    create table if not exists dropped(row integer primary key, upto integer not null, untold integer not null);
"""


class Row(NamedTuple):
    """One record, and its number in the spool; numbers never come twice."""

    seq: int
    ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class Spool:
    """A file of records that are not yet known to be in Kafka.

    Parameters
    ----------
    path : Path
        Made when it is missing, readable by its owner only. Another process that has it open is an
        error.
    max_bytes : int
        How large it may grow.

    Attributes
    ----------
    id : str
        Of this file: with a record's number it names the record for ever.
    last : int
        The number of the last record ever put in.
    next : int
        The number of the next one; those between were dropped for want of room.
    untold : int
        How many were dropped by a former run of which no record tells yet.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        if max_bytes < 1_000_000:
            raise UsageError(
                f"a spool must hold 1 MB or more, not {max_bytes:,} bytes",
                hint="--spool-max says how large it may grow",
            )
        self.path, self.max_bytes = path, max_bytes
        self._lock = filelock.FileLock(path.with_name(path.name + ".lock"), mode=0o600)
        try:
            if not path.parent.exists():
                make_private_folder(path.parent)
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise UsageError(
                f"the spool {path} is in use",
                hint="another extractor writes to it; --spool names one of your own",
            ) from error
        except OSError as error:
            raise _unusable(path, error.strerror or str(error)) from error
        try:
            path.touch(mode=0o600)
            self._open()
        except (OSError, sqlite3.Error) as error:
            self._lock.release()
            raise _unusable(path, str(error)) from error

    def _open(self) -> None:
        self._disk = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        for setting in (
            "journal_mode = wal",
            "synchronous = full",
            f"journal_size_limit = {2**22}",
        ):
            self._disk.execute(f"pragma {setting}")
        self._disk.executescript(_TABLES)
        with self._transaction():
            self._disk.execute(
                "insert into spool select ? where not exists (select * from spool)",
                [uuid.uuid4().hex],
            )
        self.id: str = self._disk.execute("select id from spool").fetchone()[0]
        row = self._disk.execute(
            "select seq from sqlite_sequence where name = 'records'"
        ).fetchone()
        lost = self._disk.execute("select upto, untold from dropped").fetchone() or (0, 0)
        self.last: int = row[0] if row else 0
        self.next: int = max(self.last, lost[0]) + 1
        self.untold: int = lost[1]

    def __len__(self) -> int:
        return int(self._disk.execute("select count(*) from records").fetchone()[0])

    @property
    def bytes(self) -> int:
        """How much of the file is in use."""
        pages, free, size = (
            self._disk.execute(f"pragma {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def put(self, rows: Sequence[Row]) -> bool:
        """Append records, whose numbers follow `last`.

        Tell whether they are on the disk: no when there is no room.
        """
        if self.bytes >= self.max_bytes:
            return False
        values = [(row.seq, row.ms, row.key, row.value, _pack(row.headers)) for row in rows]
        if not self._write("insert into records values (?, ?, ?, ?, ?)", values):
            return False
        self.last = rows[-1].seq
        return True

    def take(self, after: int, most: int) -> list[Row]:
        """Return the next records after a number, in order; they stay."""
        rows = self._disk.execute(
            "select * from records where seq > ? order by seq limit ?", [after, most]
        ).fetchall()
        return [Row(seq, ms, key, value, _unpack(headers)) for seq, ms, key, value, headers in rows]

    def forget(self, upto: int) -> bool:
        """Delete the records up to a number: Kafka has them.

        Tell whether they are gone: not on a full disk.
        """
        return self._write("delete from records where seq <= ?", [[upto]])

    def note_dropped(self, upto: int, untold: int) -> bool:
        """Write down up to which number records came, and how many of them are lost.

        Tell whether it is on the disk.
        """
        return self._write("insert or replace into dropped values (1, ?, ?)", [[upto, untold]])

    def close(self) -> None:
        """End it; an empty one stays a small file, for its numbers go on."""
        with suppress(sqlite3.Error):
            if not len(self):
                self._disk.execute("vacuum")
        self._disk.close()
        self._lock.release()

    def _write(self, sql: str, values: Sequence[Sequence[Any]]) -> bool:
        try:
            with self._transaction():
                self._disk.executemany(sql, values)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE):
                return False
            raise _unusable(self.path, str(error)) from error
        return True

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._disk.execute("begin immediate")
        try:
            yield
            self._disk.execute("commit")
        except BaseException:
            if self._disk.in_transaction:
                self._disk.execute("rollback")
            raise


def _pack(headers: Sequence[tuple[str, bytes | None]]) -> bytes:
    return orjson.dumps(
        [[name, None if value is None else value.decode("latin-1")] for name, value in headers]
    )


def _unpack(packed: bytes) -> list[tuple[str, bytes | None]]:
    return [
        (name, None if value is None else value.encode("latin-1"))
        for name, value in orjson.loads(packed)
    ]


def _unusable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"the spool {path} cannot be used: {why}",
        hint="--spool names another file, on a disk with room",
    )
