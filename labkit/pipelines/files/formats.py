"""What a file is by its first bytes, when it is no text of lines.

Then it is refused, with what makes lines of it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

import orjson

from labkit.errors import UsageError

GZIP, ZSTD, BZIP2, XZ = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\0"
HEAD = 6  # bytes that tell a format; a pipe may bring them one by one
_UNPACK = {GZIP: "gzip -dc", ZSTD: "zstd -dc", BZIP2: "bzip2 -dc", XZ: "xz -dc"}
# the first bytes of files that are not text, what they are, and a command that gives lines (FILE stands for
# the path)
_FORMATS = (
    (b"\xff\xfe\0\0", "UTF-32 text", "iconv -f UTF-32 -t UTF-8 FILE"),
    (b"\0\0\xfe\xff", "UTF-32 text", "iconv -f UTF-32 -t UTF-8 FILE"),
    (codecs.BOM_UTF16_LE, "UTF-16 text", "iconv -f UTF-16 -t UTF-8 FILE"),
    (codecs.BOM_UTF16_BE, "UTF-16 text", "iconv -f UTF-16 -t UTF-8 FILE"),
    (b"PK\3\4", "a zip archive", "unzip -p FILE"),
    (b"7z\xbc\xaf", "a 7z archive", "7z e -so FILE"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4 -dc FILE"),
    (b"\xff\x06\0\0sNaP", "snappy", "snzip -dc FILE"),
    (b"PAR1", "Parquet", "duckdb -jsonlines -c \"from 'FILE'\""),
    (
        b"ARROW1",
        "an Arrow file",
        "python -c \"import polars; print(polars.read_ipc('FILE').write_ndjson())\"",
    ),
    (b"Obj\1", "an Avro file", "avro-tools tojson FILE"),
    (b"ORC", "an ORC file", "orc-tools data FILE"),
    (b"SQLite format 3", "an SQLite database", "sqlite3 -json FILE 'select …' | jq -c '.[]'"),
)
# which of the first four bytes are zero (RFC 4627)
_WITHOUT_MARK: dict[tuple[bool, ...], tuple[str, str]] = {
    (False, True, True, True): ("UTF-32 text", "iconv -f UTF-32LE -t UTF-8 FILE"),
    (True, True, True, False): ("UTF-32 text", "iconv -f UTF-32BE -t UTF-8 FILE"),
    (False, True, False, True): ("UTF-16 text", "iconv -f UTF-16LE -t UTF-8 FILE"),
    (True, False, True, False): ("UTF-16 text", "iconv -f UTF-16BE -t UTF-8 FILE"),
}
_TAR = 257  # where a tar archive says what it is
_ARRAY = re.compile(rb"\s*\[\s*(\{|$)")


def check_text(chunks: Iterator[bytes], path: str) -> Iterator[bytes]:
    """Yield the text without a UTF-8 mark, or raise what it is instead."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= HEAD or b"\n" in head:
            break
    _refuse_other_formats(head, path)
    head = head.removeprefix(codecs.BOM_UTF8)
    _refuse_one_value(head, path)
    if head:
        yield head
    yield from chunks


def _refuse_other_formats(head: bytes, path: str) -> None:
    unmarked = _WITHOUT_MARK.get(tuple(not byte for byte in head[:4]), ("", ""))
    format_name, command = next(
        ((name, run) for first, name, run in _FORMATS if head.startswith(first)), unmarked
    )
    packed = next((first for first in _UNPACK if head.startswith(first)), None)
    if packed is not None:  # what was packed once is unpacked by now
        format_name, command = "packed twice", f"{_UNPACK[packed]} FILE | {_UNPACK[packed]}"
    if head[_TAR : _TAR + 5] == b"ustar":
        format_name, command = "a tar archive", "tar -xOf FILE"
    if not format_name and b"\0" in head.partition(b"\n")[0]:
        format_name, command = "no text: its first line has zero bytes", ""
    if format_name:
        shown = command.replace("FILE", path)
        hint = f"one JSON object per line is expected: {shown} | labkit extract files -" if command else (
            "one JSON object per line is expected, in UTF-8"
        )  # fmt: skip
        raise UsageError(f"{path} is {format_name}", hint=hint)


def _refuse_one_value(head: bytes, path: str) -> None:
    """Raise when the file is one JSON array, or one object over many lines."""
    first, _, rest = head.lstrip().partition(b"\n")
    if first.strip() == b"{":
        raise UsageError(
            f"{path} is JSON over several lines, not one object per line",
            hint=f"jq -c . {path} | labkit extract files -",
        )
    if _ARRAY.match(first.rstrip()) and not (rest.strip() and _is_json(first)):
        raise UsageError(
            f"{path} is one JSON array, not one object per line",
            hint=f"jq -c '.[]' {path} | labkit extract files -",
        )


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True
