"""Where an IP address is: country, city and a point, or why they are unknown."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labkit.checks.user_line import warn
from labkit.enrich.database import OLD_DAYS, Database, find_database
from labkit.errors import UsageError

REASONS = ("hit", "private", "reserved", "not_found", "invalid")
_HIT, _PRIVATE, _RESERVED, _NOT_FOUND, _INVALID = range(5)
# addresses that mean something only inside somebody's network: RFC 1918, 6598, 4193, 3927, loopback
_PRIVATE_NETS = [
    ipaddress.ip_network(net)
    for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
                "fc00::/7", "fe80::/10", "::1/128")
]  # fmt: skip
# https://www.iana.org/assignments/iana-ipv4-special-registry, and multicast
_RESERVED_NETS = [
    ipaddress.ip_network(net)
    for net in ("0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
                "224.0.0.0/4", "240.0.0.0/4")
]  # fmt: skip
_REMEMBERED = 200_000  # addresses; they come again and again
_POINT = pa.struct([("lat", pa.float64()), ("lon", pa.float64())])


@dataclass(frozen=True)
class GeoIP:
    """See `geoip`."""

    field: str
    prefix: str
    database: Database = dataclasses.field(repr=False)

    @property
    def properties(self) -> dict[str, Any]:
        """How Elasticsearch is to index the columns."""
        names = ("reason", "country", "country_name", "city")
        keywords = {f"{self.prefix}_{name}": {"type": "keyword"} for name in names}
        return keywords | {f"{self.prefix}_location": {"type": "geo_point"}}

    def add(self, table: pa.Table) -> pa.Table:
        """Return the columns for a column of addresses."""
        texts: list[str | None] = table.column(self.field).to_pylist()
        rows, codes = self._find(texts)
        reason = pa.DictionaryArray.from_arrays(
            pa.array(codes.astype(np.int8), mask=pc.is_null(table.column(self.field)).to_numpy()),
            pa.array(REASONS),
        ).cast(pa.string())
        indices = pa.array(rows, pa.int64(), mask=rows < 0)
        country, name, city, lat, lon = (column.take(indices) for column in self.database.columns)
        nowhere = pc.or_(pc.is_null(lat), pc.is_null(lon))
        point = pa.StructArray.from_arrays([lat, lon], fields=list(_POINT), mask=nowhere)
        columns = {
            "reason": reason,
            "country": country,
            "country_name": name,
            "city": city,
            "location": point,
        }
        return pa.table({f"{self.prefix}_{name}": column for name, column in columns.items()})

    def _find(self, texts: list[str | None]) -> tuple[Any, Any]:
        """Return each text's row of places (-1: none) and the code of the reason.

        Those seen before are remembered.
        """
        cache = self.database.known
        entries = list(map(cache.get, texts))
        new = [number for number, entry in enumerate(entries) if entry is None]
        if new:
            rows, codes = self._look_up([texts[number] for number in new])
            for number, entry in zip(
                new, zip(rows.tolist(), codes.tolist(), strict=True), strict=True
            ):
                entries[number] = entry
            if len(cache) > _REMEMBERED:
                cache.clear()
            cache.update((texts[number], entries[number]) for number in new)  # type: ignore[misc]
        pairs = np.array(entries, np.int64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def _look_up(self, texts: list[str | None]) -> tuple[Any, Any]:
        rows, codes = np.full(len(texts), -1, np.int64), np.full(len(texts), _INVALID, np.int8)
        packed: dict[int, tuple[list[int], list[bytes]]] = {4: ([], []), 16: ([], [])}
        for row, text in enumerate(texts):
            if text is not None and (packed_address := address(text)) is not None:
                packed[len(packed_address)][0].append(row)
                packed[len(packed_address)][1].append(packed_address)
        for width, (owners, parts) in packed.items():
            if not owners:
                continue
            addresses = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, width)
            looked_up = self.database.find(addresses)
            rows[owners] = looked_up
            missed = np.flatnonzero(looked_up < 0).tolist()
            codes[owners] = _HIT
            kinds = (
                _kinds(addresses[missed]) if width == 4 else [_kind(parts[part]) for part in missed]
            )
            codes[np.array(owners, np.int64)[missed]] = kinds
        return rows, codes

    def notes(self) -> tuple[str, ...]:
        """Return the database's name, date and licence."""
        return self.database.notes()


def address(text: str) -> bytes | None:
    """Return an address's 4 or 16 bytes, None for any other text.

    An IPv4 address within IPv6 is its 4 bytes.
    """
    try:
        if ":" not in text:
            return socket.inet_pton(socket.AF_INET, text)
        packed = socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
    except (OSError, ValueError):
        return None
    return packed[12:] if packed[:12] == b"\0" * 10 + b"\xff\xff" else packed


def _kinds(addresses: Any) -> Any:
    """Say why the database does not know IPv4 addresses.

    All are looked at together: most lines may be of one's own network.
    """
    numbers = addresses.astype(np.uint32) @ np.array([1 << 24, 1 << 16, 1 << 8, 1], np.uint32)
    kinds = np.full(len(numbers), _NOT_FOUND, np.int8)
    for kind, nets in ((_RESERVED, _RESERVED_NETS), (_PRIVATE, _PRIVATE_NETS)):
        for net in nets:
            if net.version == 4:
                kinds[(numbers & int(net.netmask)) == int(net.network_address)] = kind
    return kinds


def _kind(packed: bytes) -> int:
    """Say why the database does not know an IPv6 address."""
    parsed = ipaddress.ip_address(packed)
    if any(parsed in net for net in _PRIVATE_NETS if net.version == parsed.version):
        return _PRIVATE
    return _NOT_FOUND if parsed.is_global and not parsed.is_multicast else _RESERVED


@cache
def _warn_once(message: str) -> None:
    """Warn the first time; the message counts the days, so that of a new day is another."""
    warn(message)


def geoip(
    field: str, *, prefix: str = "geoip", database: str | os.PathLike[str] | None = None
) -> GeoIP:
    """Locate the addresses of `field`.

    Parameters
    ----------
    field : str
        Holds IPv4 or IPv6 addresses as text; ``client.ip`` is ``ip`` of the object ``client``.
    prefix : str
        Of the new columns: ``geoip_reason`` (hit | private | reserved | not_found | invalid; null
        where there is no value), ``geoip_country`` (ISO code), ``geoip_country_name``,
        ``geoip_city``, ``geoip_location`` (lat, lon; a geo_point in Elasticsearch).
    database : path, optional
        A MaxMind ``.mmdb`` file; by default that of ``LABKIT_GEOIP_DB``, else GeoLite2 City of July
        2018, which comes with labkit (CC BY-SA 4.0). Its date is in the receipt.

    Warns
    -----
    UserWarning
        When the database is over 60 days old; once in a process and day. Each receipt says it.
    """
    if not isinstance(field, str) or not field:
        raise UsageError(
            f"geoip takes the name of the field of addresses, not {field!r}",
            hint="such as geoip('ip')",
        )
    if not re.fullmatch(r"[A-Za-z@_][\w@-]*", prefix):
        raise UsageError(
            f"{prefix!r} is not a prefix of geoip", hint="use letters, digits, _ and -"
        )
    opened = find_database(database)
    if opened.age_days > OLD_DAYS:
        _warn_once(f"{opened.notes()[0]}. LABKIT_GEOIP_DB names a newer one.")
    return GeoIP(field, prefix, opened)
