"""A MaxMind database, looked up for many addresses at once.

The search tree is walked column-wise, one level for all addresses at a time; maxminddb then decodes
each place that was found once. A ``get`` for each address would decode the whole place each time
(measured: 43 µs in a city database). The file is copied once, so that a newer one put in its place
meanwhile cannot mix one file's tree with another's data. Format:
https://maxmind.github.io/MaxMind-DB/
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import tempfile
import time
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import maxminddb
import numpy as np
import pyarrow as pa

from labkit.checks.extras import needs_extra
from labkit.errors import ConfigError
from labkit.times import iso

OLD_DAYS = 60
_SAMPLED_ENTRIES = 500
Place = tuple[str | None, str | None, str | None, float | None, float | None]
_KINDS = (pa.string(), pa.string(), pa.string(), pa.float64(), pa.float64())


@dataclass
class Database:
    """One ``.mmdb`` file.

    Parameters
    ----------
    path : Path
    bundled : bool
        Whether it is the one that comes with labkit.
    checksum : int, optional
        That of the file it must be: on a Dask worker that of the notebook's.

    Attributes
    ----------
    places : list of Place
        Those found so far.
    known : dict
        Text of an address to its row of `places` and the code of the reason: rows mean nothing
        without the places.

    Raises
    ------
    ConfigError
        When it is missing, no such file, one without places, or another one than `checksum` says.
    """

    path: Path
    bundled: bool = False
    checksum: int | None = None
    places: list[Place] = field(default_factory=list, init=False, repr=False)
    known: dict[str | None, tuple[int, int]] = field(default_factory=dict, init=False, repr=False)
    _rows: dict[int, int] = field(default_factory=dict, init=False, repr=False)
    _columns: list[pa.Array] = field(
        default_factory=lambda: [pa.array([], kind) for kind in _KINDS], init=False, repr=False
    )

    def __post_init__(self) -> None:
        self._opened = str(self.path)
        try:
            self._open()
            entry = self._entry_without_place()
        except (OSError, maxminddb.InvalidDatabaseError) as error:
            reason = str(error).replace(self._opened, str(self.path))
            raise ConfigError(
                f"GeoIP database {self.path}: {reason}",
                hint="LABKIT_GEOIP_DB names a MaxMind .mmdb file",
            ) from error
        if entry is not None:
            raise ConfigError(
                f"GeoIP database {self.path} ({self.metadata.database_type}) has no places, only {', '.join(entry)}",
                hint="use a database of cities or countries, such as GeoLite2-City.mmdb",
            )
        self._check(zlib.crc32(self._content.data))

    def _open(self) -> None:
        """Map the file, or a copy of one that somebody may write over.

        The copy has no name any more then.
        """
        with tempfile.NamedTemporaryFile(prefix="labkit-geoip-") as copy:
            if not self.bundled:
                with self.path.open("rb") as source:
                    shutil.copyfileobj(source, copy, 1 << 20)
                copy.flush()
                self._opened = copy.name
            self.reader = maxminddb.open_database(self._opened)
            self._content = np.memmap(self._opened, np.uint8, "r")
        self.metadata = self.reader.metadata()

    def _check(self, checksum: int) -> None:
        if self.checksum not in (None, checksum):
            raise ConfigError(
                f"GeoIP database {self.path} here is another file than where the work was planned",
                hint="put the same file on all machines, or connect again after it was replaced",
            )
        self.checksum = checksum

    def _entry_without_place(self) -> list[str] | None:
        """Return what an entry has instead of a place.

        It is None when one of the first entries has a place, or there are no entries.
        """
        entries = [entry for _, entry in itertools.islice(self.reader, _SAMPLED_ENTRIES)]
        if not entries or any(value is not None for entry in entries for value in _place(entry)):
            return None
        return sorted(entries[0]) if isinstance(entries[0], dict) else [type(entries[0]).__name__]

    def __reduce__(self) -> tuple[Any, ...]:
        # elsewhere the file is opened anew
        return Database, (self.path, self.bundled, self.checksum)

    @property
    def columns(self) -> list[pa.Array]:
        """The places as columns: country, its name, city, latitude, longitude."""
        new = self.places[len(self._columns[0]) :]
        if new:
            fresh = map(pa.array, zip(*new, strict=True), _KINDS)
            self._columns = [
                pa.concat_arrays(pair) for pair in zip(self._columns, fresh, strict=True)
            ]
        return self._columns

    @property
    def age_days(self) -> int:
        """How many days ago it was built."""
        return int((time.time() - self.metadata.build_epoch) / 86_400)

    def notes(self) -> tuple[str, ...]:
        """Return its name, date and licence, for the receipt."""
        date = (iso(self.metadata.build_epoch * 1000) or "")[:10]
        old = (
            f": {self.age_days:,} days old, addresses have moved since"
            if self.age_days > OLD_DAYS
            else ""
        )
        text = f"GeoIP database {self.metadata.database_type} of {date}{old}"
        if self.bundled:
            text += "; GeoLite2 data created by MaxMind (https://www.maxmind.com), CC BY-SA 4.0"
        return (text,)

    @cached_property
    def _tree(self) -> Any:
        size = self.metadata.record_size // 4
        return self._content[: self.metadata.node_count * size].reshape(-1, size)

    @cached_property
    def _ipv4_start(self) -> int:
        """Return the node below which the IPv4 addresses are."""
        node = 0
        if self.metadata.ip_version == 6:
            for _ in range(96):
                if node >= self.metadata.node_count:
                    break
                node = int(self._next(np.array([node]), np.array([False]))[0])
        return node

    def _next(self, nodes: Any, right: Any) -> Any:
        """Return the node or pointer each node's left or right half leads to."""
        rows = self._tree[nodes].astype(np.uint32)
        half = self.metadata.record_size // 8
        if self.metadata.record_size == 28:
            high = np.where(right, rows[:, 3] & 0x0F, rows[:, 3] >> 4) << 24
            first = np.where(right, 4, 0)
        else:
            high, first = np.zeros(len(rows), np.uint32), np.where(right, half, 0)
        values, picks = high, np.arange(len(rows))
        count = 3 if self.metadata.record_size == 28 else half
        for byte in range(count):
            values = values | (rows[picks, first + byte] << (8 * (count - 1 - byte)))
        return values.astype(np.int64)

    def find(self, addresses: Any) -> Any:
        """Return the row of `places` for each address, -1 where the database has none.

        Parameters
        ----------
        addresses : numpy array of uint8, shape (n, 4) or (n, 16)
            IPv4 or IPv6, most significant byte first.
        """
        count, width = addresses.shape
        if width == 16 and self.metadata.ip_version == 4:
            return np.full(count, -1, np.int64)
        bits = np.unpackbits(addresses, axis=1).astype(bool)
        nodes = np.full(count, self._ipv4_start if width == 4 else 0, np.int64)
        walking = np.flatnonzero(nodes < self.metadata.node_count)
        for level in range(width * 8):
            if not len(walking):
                break
            nodes[walking] = self._next(nodes[walking], bits[walking, level])
            walking = walking[nodes[walking] < self.metadata.node_count]
        rows = np.full(count, -1, np.int64)
        pointers, first, inverse = np.unique(nodes, return_index=True, return_inverse=True)
        known_rows = [
            self._row(pointer, addresses[row]) if pointer > self.metadata.node_count else -1
            for pointer, row in zip(pointers.tolist(), first.tolist(), strict=True)
        ]
        if count:
            rows = np.array(known_rows, np.int64)[inverse]
        return rows

    def _row(self, pointer: int, address: Any) -> int:
        row = self._rows.get(pointer)
        if row is None:
            row = self._rows[pointer] = len(self.places)
            family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
            self.places.append(_place(self.reader.get(socket.inet_ntop(family, address.tobytes()))))
        return row


def _place(found: Any) -> Place:
    entry: dict[str, Any] = found if isinstance(found, dict) else {}
    country, city, location = (_parts(entry.get(name)) for name in ("country", "city", "location"))
    return (
        country.get("iso_code"),
        _parts(country.get("names")).get("en"),
        _parts(city.get("names")).get("en"),
        location.get("latitude"),
        location.get("longitude"),
    )


def _parts(found: Any) -> dict[str, Any]:
    """Return a part of an entry in MaxMind's layout.

    Of another's a text alone is taken for a country's code.
    """
    if isinstance(found, str):
        return {"iso_code": found, "names": {"en": found}}
    return found if isinstance(found, dict) else {}


def find_database(path: str | os.PathLike[str] | None = None) -> Database:
    """Return the database at `path`, else that of ``LABKIT_GEOIP_DB``, else the bundled one."""
    given_path = path or os.environ.get("LABKIT_GEOIP_DB")
    if given_path:
        return Database(Path(given_path).expanduser())
    with needs_extra("geoip", "GeoIP without a database of your own"):
        from _maxminddb_geolite2 import geolite2_database

    return Database(Path(geolite2_database()), bundled=True)
