"""Lines of a file as bytes, in constant memory.

Plain, gzip, zstd, bzip2 and xz are recognised by their first bytes. What is unpacked is bounded
piece by piece, and in all: a few kilobytes can unpack to gigabytes.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import zstandard

from labkit.errors import ConfigError, NotFoundError, UsageError
from labkit.pipelines.files.formats import BZIP2, GZIP, HEAD, XZ, ZSTD, check_text

STDIN = "-"
_CHUNK = 1 << 20
_PACKED_CHUNK = 1 << 14
# a block of 4 bytes may unpack to 128 KiB, and zstandard cannot stop in between: 32 MiB
_ZSTD_PIECE = 1 << 10
_WINDOW = 1 << 27  # the memory a file may claim; zstd's own limit without --long=31
_LONGEST = 1 << 28
_MOST = 2000  # bytes out for each byte in; the most that gzip can do is 1,032
_ALWAYS = 1 << 27  # bytes out, however few come in


@contextmanager
def open_file(path: str) -> Iterator[BinaryIO]:
    """Open `path` for reading bytes; ``-`` is standard input. Fails with a hint."""
    if path == STDIN:
        yield sys.stdin.buffer
        return
    if Path(path).is_dir():
        raise UsageError(
            f"{path} is a folder", hint=f"name the files in it: {path.rstrip('/')}/*.jsonl"
        )
    try:
        file = Path(path).open("rb")  # noqa: SIM115  closed below; only the opening may fail this way
    except FileNotFoundError as error:
        raise NotFoundError(
            f"there is no file {path}", hint="check the path; `ls` shows what there is"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{path} cannot be read: {reason}", hint="check its permissions with `ls -l`"
        ) from error
    with file:
        yield file


def lines(file: BinaryIO, path: str) -> Iterator[bytes]:
    r"""Yield each line without its ``\n`` or ``\r\n``; a last line without an end counts too.

    Raises
    ------
    ConfigError
        The file is damaged or ends too early. Every whole line before that has been given out; a
        line cut by it is not a line.
    UsageError
        It is no text of lines; nothing has been given out. Or a line, or what is unpacked, is far
        too long.
    """
    parts: list[bytes] = []
    length = 0
    for chunk in check_text(_unpack(file, path), path):
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


def check(file: BinaryIO, path: str) -> None:
    """Raise when a file's beginning is no text of lines."""
    next(check_text(_unpack(file, path), path), b"")


def _unpack(file: BinaryIO, path: str) -> Iterator[bytes]:
    head = _read_some(file, _PACKED_CHUNK)
    while 0 < len(head) < HEAD and b"\n" not in head and (more := _read_some(file, _PACKED_CHUNK)):
        head += more
    if head.startswith(GZIP):
        return _bound(_members(file, head, path, "gzip", _Gzip), path)
    if head.startswith(ZSTD):
        return _bound(_members(file, head, path, "zstd", _Zstd), path)
    if head.startswith(BZIP2) and head[3:4].isdigit():
        return _bound(
            _members(file, head, path, "bzip2", lambda: _Stream(bz2.BZ2Decompressor())), path
        )
    if head.startswith(XZ):
        limited = partial(lzma.LZMADecompressor, memlimit=_WINDOW)
        return _bound(_members(file, head, path, "xz", lambda: _Stream(limited())), path)
    return _plain(file, head)


def _plain(file: BinaryIO, head: bytes) -> Iterator[bytes]:
    while head:
        yield head
        head = _read_some(file, _CHUNK)


def _read_some(file: BinaryIO, size: int) -> bytes:
    """Read what there is: a pipe's lines go on at once, not when a whole chunk has come."""
    read: Callable[[int], bytes] = getattr(file, "read1", file.read)
    return read(size)


class _Gzip:
    """One member, unpacked a piece at a time."""

    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        """Whether the member is whole."""
        return self._unpacker.eof

    @property
    def unused(self) -> bytes:
        """What follows the member."""
        return self._unpacker.unused_data.lstrip(b"\0")

    def pieces(self, packed: bytes) -> Iterator[bytes]:
        """Yield what `packed` unpacks to."""
        while not self._unpacker.eof:
            data = self._unpacker.decompress(packed, _CHUNK)
            yield data
            packed = self._unpacker.unconsumed_tail
            if not packed and len(data) < _CHUNK:
                return


class _Zstd:
    """One frame, unpacked a piece at a time.

    zstandard's stream_reader takes a truncated file for a finished one; ``eof`` of a decompressobj
    does not.
    """

    def __init__(self) -> None:
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
        self.unused = b""

    @property
    def eof(self) -> bool:
        """Whether the frame is whole."""
        return bool(self._unpacker.eof)

    def pieces(self, packed: bytes) -> Iterator[bytes]:
        """Yield what `packed` unpacks to."""
        for start in range(0, len(packed), _ZSTD_PIECE):
            data = self._unpacker.decompress(packed[start : start + _ZSTD_PIECE])
            for first in range(0, len(data), _CHUNK):
                yield data[first : first + _CHUNK]
            if self._unpacker.eof:
                self.unused = self._unpacker.unused_data + packed[start + _ZSTD_PIECE :]
                return


class _Stream:
    """One stream of bzip2 or xz, unpacked a piece at a time."""

    def __init__(self, unpacker: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._unpacker = unpacker

    @property
    def eof(self) -> bool:
        """Whether the stream is whole."""
        return self._unpacker.eof

    @property
    def unused(self) -> bytes:
        """What follows the stream."""
        return self._unpacker.unused_data.lstrip(b"\0")

    def pieces(self, packed: bytes) -> Iterator[bytes]:
        """Yield what `packed` unpacks to."""
        yield self._unpacker.decompress(packed, _CHUNK)
        while not self._unpacker.eof and not self._unpacker.needs_input:
            yield self._unpacker.decompress(b"", _CHUNK)


def _members(
    file: BinaryIO, head: bytes, path: str, kind: str, new: Callable[[], _Gzip | _Zstd | _Stream]
) -> Iterator[tuple[int, bytes]]:
    """Unpack one member after the other, for all these formats may be concatenated.

    Yield bytes read and data.
    """
    unpacker, chunk, packed = new(), head, len(head)
    while chunk:
        try:
            for data in unpacker.pieces(chunk):
                yield packed, data
        except (zlib.error, zstandard.ZstdError, lzma.LZMAError, OSError) as error:
            raise _damage_error(path, kind, str(error)) from error
        chunk = unpacker.unused if unpacker.eof else b""
        while not chunk and (more := file.read(_PACKED_CHUNK)):
            packed += len(more)
            # zeros at the end are padding (tapes, block devices)
            chunk = more.lstrip(b"\0") if unpacker.eof else more
        if chunk and unpacker.eof:
            unpacker = new()
    if not unpacker.eof:
        raise _damage_error(path, kind, "it ends in the middle")


def _bound(pieces: Iterator[tuple[int, bytes]], path: str) -> Iterator[bytes]:
    """Pass data on until it is more than its file can mean."""
    total = 0
    for packed, data in pieces:
        total += len(data)
        if total > _ALWAYS + _MOST * packed:
            raise UsageError(
                f"{path} unpacks to more than {_MOST:,} times its size: {total >> 20} MB after {packed:,} bytes",
                hint=f"if it is no attack, unpack it yourself: zcat, bzcat, xzcat or zstdcat {path} | "
                "labkit extract files -",
            )
        if data:
            yield data


def _damage_error(path: str, kind: str, why: str) -> ConfigError:
    if "memory" in why or "window" in why.lower():
        return ConfigError(
            f"{path} needs more than {_WINDOW >> 20} MB of memory to unpack ({why})",
            hint=f"unpack it yourself: zstd -dc --long=31 (or xz -dc) {path} | labkit extract files -",
        )
    return ConfigError(
        f"{path} is damaged: {why}",
        hint=f"fetch it again (`{kind} -t` checks it); the lines before the damage are in the topic",
    )
