"""Kafka's wire protocol, as far as members of groups need it.

They are members that no Python client can be: Connect, Streams, share.
"""

from __future__ import annotations

import socket
import struct
import uuid
from typing import Any

_JOIN_GROUP = 11
_SYNC_GROUP = 14
_LEAVE_GROUP = 13
_OFFSET_COMMIT = 8
_SASL_HANDSHAKE = 17
_SASL_AUTHENTICATE = 36
_SHARE_HEARTBEAT, _STREAMS_HEARTBEAT = 76, 88


def text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def compact(value: str | None) -> bytes:
    return b"\0" if value is None else bytes([len(value) + 1]) + value.encode()


def sized(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


class WireMember:
    """A connection to the broker that may be a member of a group of any kind.

    The group keeps it for 30 s.

    Parameters
    ----------
    settings : mapping
        librdkafka's properties of a principal that logs in by SASL/PLAIN.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        host, port = settings["bootstrap.servers"].split(",")[0].rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), 10)
        self._count = self._kind = 0
        self.group, self.member, self.generation = "", "", -1
        login = f"\0{settings['sasl.username']}\0{settings['sasl.password']}".encode()
        self._call(_SASL_HANDSHAKE, 1, text("PLAIN"))
        self._call(_SASL_AUTHENTICATE, 0, sized(login))

    def __enter__(self) -> WireMember:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _call(self, key: int, version: int, body: bytes, *, flexible: bool = False) -> bytes:
        self._count += 1
        head = (
            struct.pack(">hhi", key, version, self._count)
            + text("wire")
            + (b"\0" if flexible else b"")
        )
        self._socket.sendall(sized(head + body))
        (length,) = struct.unpack(">i", self._receive(4))
        return self._receive(length)[4:]

    def _receive(self, length: int) -> bytes:
        received = b""
        while len(received) < length:
            part = self._socket.recv(length - len(received))
            assert part, "the broker closed the connection"
            received += part
        return received

    def join_classic(self, group: str, protocol_type: str) -> None:
        """Join as workers of Kafka Connect (``connect``) or of a schema registry (``sr``) do."""
        body = text(group) + struct.pack(">ii", 30_000, 3_000) + text("") + text(protocol_type)
        answer = self._call(_JOIN_GROUP, 2, body + struct.pack(">i", 1) + text("any") + sized(b""))
        error, self.generation = struct.unpack(">hi", answer[4:10])
        assert error == 0, error
        at = 10
        for _ in range(3):  # the protocol, the leader, this member
            (length,) = struct.unpack(">h", answer[at : at + 2])
            self.member = answer[at + 2 : at + 2 + length].decode()
            at += 2 + length
        self.group = group
        identity = text(group) + struct.pack(">i", self.generation) + text(self.member)
        self._call(_SYNC_GROUP, 1, identity + struct.pack(">i", 1) + text(self.member) + sized(b""))

    def join_streams(self, group: str, topic: str) -> None:
        """Join as Kafka Streams does with ``group.protocol=streams`` (KIP-1071)."""
        self.group, self.member, self._kind = group, str(uuid.uuid4()), _STREAMS_HEARTBEAT
        identity = (
            compact(group) + compact(self.member) + struct.pack(">ii", 0, 0) + compact(None) * 2
        )
        nothing, tag = b"\1", b"\0"
        subtopology = compact("0") + b"\2" + compact(topic) + nothing * 5 + tag
        topology = b"\1" + struct.pack(">i", 1) + b"\2" + subtopology + tag
        rest = nothing * 3 + compact("process") + b"\xff" + b"\0" * 4 + tag
        answer = self._call(
            _STREAMS_HEARTBEAT,
            0,
            identity + struct.pack(">i", 30_000) + topology + rest,
            flexible=True,
        )
        (error,) = struct.unpack(">h", answer[5:7])
        assert error == 0, answer
        at = 8  # after the length of no error message
        length = answer[at] - 1
        (self.generation,) = struct.unpack(">i", answer[at + 1 + length : at + 5 + length])

    def join_share(self, group: str, topic: str) -> None:
        """Join as a share consumer does (KIP-932)."""
        self.group, self.member, self._kind = group, str(uuid.uuid4()), _SHARE_HEARTBEAT
        identity = compact(group) + compact(self.member) + struct.pack(">i", 0) + compact(None)
        answer = self._call(
            _SHARE_HEARTBEAT, 1, identity + b"\2" + compact(topic) + b"\0", flexible=True
        )
        (error,) = struct.unpack(">h", answer[5:7])
        assert error == 0, answer

    def leave(self) -> None:
        """Leave the group, whatever its kind."""
        gone = struct.pack(">i", -1)
        rest = struct.pack(">i", 0) + compact(None) * 2 + struct.pack(">i", -1)
        identity = compact(self.group) + compact(self.member)
        if self._kind == _STREAMS_HEARTBEAT:
            self._call(
                self._kind,
                0,
                identity + gone + rest + b"\xff\0\0\0\0\xff" + b"\0" * 5,
                flexible=True,
            )
        elif self._kind == _SHARE_HEARTBEAT:
            self._call(self._kind, 1, identity + gone + compact(None) + b"\0\0", flexible=True)
        elif self.group:
            self._call(_LEAVE_GROUP, 1, text(self.group) + text(self.member))

    def commit(self, topic: str, partition: int, offset: int) -> None:
        """Commit as this member."""
        identity = (
            compact(self.group)
            + struct.pack(">i", self.generation)
            + compact(self.member)
            + compact(None)
        )
        offsets = (
            compact(topic)
            + b"\2"
            + struct.pack(">iqi", partition, offset, -1)
            + compact("")
            + b"\0\0"
        )
        answer = self._call(_OFFSET_COMMIT, 9, identity + b"\2" + offsets + b"\0", flexible=True)
        (error,) = struct.unpack(">h", answer[-5:-3])
        assert error == 0, answer
