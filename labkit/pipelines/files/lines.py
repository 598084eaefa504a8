"""Lines of a file as bytes: plain, gzip or zstd, told apart by their first bytes, in constant memory."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from labkit.errors import ConfigError, NotFoundError, UsageError

STDIN = "-"
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_CHUNK = 1 << 20
_PACKED_CHUNK = 1 << 14  # what it unpacks to may be a thousand times as much
_LONGEST = 1 << 28


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Open `path` for reading bytes; ``-`` is standard input. Fails with a hint."""
    if path == STDIN:
        yield sys.stdin.buffer
        return
    if Path(path).is_dir():
        raise UsageError(f"{path} is a folder", hint=f"name the files in it: {path.rstrip('/')}/*.jsonl")
    try:
        file = Path(path).open("rb")  # noqa: SIM115  closed below; only the opening may fail this way
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}", hint="check the path; `ls` shows what there is") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path} cannot be read: {reason}", hint="check its permissions with `ls -l`") from error
    with file:
        yield file


def lines(file: BinaryIO, path: str) -> Iterator[bytes]:
    r"""Yield each line without its ``\n`` or ``\r\n``; a last line without an end counts too.

    Raises
    ------
    ConfigError
        The file is damaged or ends too early. Every whole line before that has been given out; a line cut by it is
        not a line.
    """
    parts: list[bytes] = []
    length = 0
    for chunk in _unpacked(file, path):
        first, *rest = chunk.split(b"\n")
        parts.append(first)
        length += len(first)
        if length > _LONGEST:
            raise UsageError(
                f"{path} has a line of more than {_LONGEST >> 20} MB",
                hint="one JSON object per line is expected; `jq -c '.[]'` turns an array into lines",
            )
        if not rest:
            continue
        yield b"".join(parts).removesuffix(b"\r")
        for line in rest[:-1]:
            yield line[:-1] if line.endswith(b"\r") else line
        parts, length = [rest[-1]], len(rest[-1])
    if length:
        yield b"".join(parts).removesuffix(b"\r")


def _unpacked(file: BinaryIO, path: str) -> Iterator[bytes]:
    head = _some(file, _PACKED_CHUNK)
    while 0 < len(head) < len(_ZSTD) and (more := _some(file, _PACKED_CHUNK)):
        head += more
    if head.startswith(_GZIP):
        return _members(file, head, path, "gzip", lambda: zlib.decompressobj(wbits=31))
    if head.startswith(_ZSTD):
        unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        return _members(file, head, path, "zstd", unpacker.decompressobj)
    return _plain(file, head)


def _plain(file: BinaryIO, head: bytes) -> Iterator[bytes]:
    while head:
        yield head
        head = _some(file, _CHUNK)


def _some(file: BinaryIO, size: int) -> bytes:
    """Read what there is: a pipe's lines go on at once, not when a whole chunk has come."""
    read: Callable[[int], bytes] = getattr(file, "read1", file.read)
    return read(size)


def _members(file: BinaryIO, head: bytes, path: str, kind: str, new: Callable[[], Any]) -> Iterator[bytes]:
    """Unpack one member after the other: both formats may be concatenated.

    zstandard's stream_reader takes a truncated file for a finished one; ``eof`` of a decompressobj does not.
    """
    unpacker, chunk = new(), head
    while chunk:
        try:
            data = unpacker.decompress(chunk)
        except (zlib.error, zstandard.ZstdError) as error:
            raise _damaged(path, kind, str(error)) from error
        if data:
            yield data
        if unpacker.eof:
            chunk = unpacker.unused_data.lstrip(b"\0") if kind == "gzip" else unpacker.unused_data
            # zeros after the last gzip member are padding (tapes, block devices)
            chunk = chunk or file.read(_PACKED_CHUNK)
            if not chunk.strip(b"\0"):
                continue
            unpacker = new()
        else:
            chunk = file.read(_PACKED_CHUNK)
    if not unpacker.eof:
        raise _damaged(path, kind, "it ends in the middle")


def _damaged(path: str, kind: str, why: str) -> ConfigError:
    return ConfigError(
        f"{path} is damaged: {why}",
        hint=f"fetch it again (`{kind} -t` checks it); the lines before the damage are in the topic",
    )
