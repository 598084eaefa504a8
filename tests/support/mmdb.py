"""A MaxMind database of a few networks, written for a test.

See https://maxmind.github.io/MaxMind-DB/.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

_UINT16, _UINT32, _UINT64 = 5, 6, 9
_SEPARATOR, _MARK = b"\0" * 16, b"\xab\xcd\xefMaxMind.com"


def _head(kind: int, size: int) -> bytes:
    first, rest = (size, b"") if size < 29 else (29, bytes([size - 29]))
    return (bytes([kind << 5 | first]) if kind < 8 else bytes([first, kind - 7])) + rest


class _Sized(int):
    """An integer of one of the format's types: the metadata's have to be of theirs."""

    kind = _UINT64


def _sized(kind: int, value: int) -> _Sized:
    sized = _Sized(value)
    sized.kind = kind
    return sized


def _packed(value: Any) -> bytes:
    if isinstance(value, bool):
        return _head(14, int(value))
    if isinstance(value, str):
        return _head(2, len(value.encode())) + value.encode()
    if isinstance(value, float):
        return _head(3, 8) + struct.pack(">d", value)
    if isinstance(value, int):
        raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
        return _head(getattr(value, "kind", _UINT64), len(raw)) + raw
    if isinstance(value, dict):
        return _head(7, len(value)) + b"".join(
            _packed(part) for pair in value.items() for part in pair
        )
    return _head(11, len(value)) + b"".join(map(_packed, value))


def mmdb(networks: dict[str, Any], *, kind: str = "Test-City", built: int = 1_700_000_000) -> bytes:
    """Return a database that has these IPv4 networks' entries."""
    nodes: list[list[int | None]] = [[None, None]]
    leaves: dict[tuple[int, int], int] = {}
    data = b""
    for network, entry in networks.items():
        net = ipaddress.IPv4Network(network)
        bits = f"{int(net.network_address):032b}"[: net.prefixlen]
        node = 0
        for bit in bits[:-1]:
            if nodes[node][int(bit)] is None:
                nodes.append([None, None])
                nodes[node][int(bit)] = len(nodes) - 1
            node = nodes[node][int(bit)] or 0
        leaves[node, int(bits[-1])] = len(data)
        data += _packed(entry)
    count = len(nodes)
    tree = b""
    for number, node in enumerate(nodes):
        for side in (0, 1):
            at = leaves.get((number, side))
            pointer = (
                count + 16 + at if at is not None else count if node[side] is None else node[side]
            )
            tree += (pointer or 0).to_bytes(3, "big")
    metadata = {
        "node_count": _sized(_UINT32, count), "record_size": _sized(_UINT16, 24), "ip_version": _sized(_UINT16, 4),
        "database_type": kind, "languages": ["en"], "binary_format_major_version": _sized(_UINT16, 2),
        "binary_format_minor_version": _sized(_UINT16, 0), "build_epoch": built, "description": {"en": "for a test"},
    }  # fmt: skip
    return tree + _SEPARATOR + data + _MARK + _packed(metadata)


def place(country: str, city: str) -> dict[str, Any]:
    """Return an entry as MaxMind lays it out."""
    point = {"latitude": 1.5, "longitude": 2.5}
    return {
        "country": {"iso_code": country, "names": {"en": country}},
        "city": {"names": {"en": city}},
        "location": point,
    }
