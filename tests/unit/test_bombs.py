"""BEHAVIOURS 71: what a packed file unpacks to is bounded piece by piece, and in all."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import subprocess
import sys
from collections.abc import Callable

import pytest
import zstandard

from labkit.errors import ConfigError, UsageError
from labkit.pipelines.files.lines import lines

MB = 1 << 20


def zstd_bomb(blocks: int, byte: bytes) -> bytes:
    """Return a frame of blocks of 4 bytes that unpack to 128 KiB each: a run of one byte."""
    head = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([(27 - 10) << 3])  # no size, a window of 128 MiB
    run = struct.pack("<I", (128 << 10) << 3 | 1 << 1)[:3] + byte
    last = struct.pack("<I", (128 << 10) << 3 | 1 << 1 | 1)[:3] + byte
    return head + run * (blocks - 1) + last


def gzip_bomb(size: int, byte: bytes) -> bytes:
    once = gzip.compress(byte * size, 9)
    return once * 40


BOMBS: dict[str, Callable[[], bytes]] = {
    "zstd, one line": lambda: zstd_bomb(8000, b"a"),
    "zstd of zstd's own making": lambda: zstandard.ZstdCompressor(level=19).compress(
        b"a" * 600 * MB
    ),
    "zstd, a window of 2 GB": lambda: (
        b"\x28\xb5\x2f\xfd\x00" + bytes([(31 - 10) << 3]) + b"\x01\x00\x00" * 9
    ),
    "bzip2, one line": lambda: bz2.compress(b"a" * 900_000 * 8) * 150,
    "xz, one line": lambda: lzma.compress(b"a" * 20 * MB) * 40,
    "gzip, one line": lambda: gzip_bomb(20 * MB, b"a"),
}
CODE = """
import sys; sys.path.insert(0, "tests/unit")
import io, resource, test_bombs as tests
from labkit.errors import LabkitError
from labkit.pipelines.files.lines import lines
bomb = tests.BOMBS[sys.argv[1]]()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    for line in lines(io.BytesIO(bomb), "x"):
        pass
    print("read")
except LabkitError as error:
    print(type(error).__name__, error.message)
print(len(bomb), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_bounded_memory(name: str, request: pytest.FixtureRequest) -> None:
    """BEHAVIOURS 71: 32 KB took more than 4.6 GB and ended in a traceback."""
    result = subprocess.run(
        [sys.executable, "-c", CODE, name], cwd=request.config.rootpath, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-500:]
    verdict, figures = result.stdout.splitlines()
    size, memory_mb = map(int, figures.split())
    assert size < 2 * MB
    assert memory_mb < 700, "a line may have 256 MB, and is joined once"
    expected = (
        "needs more than 128 MB of memory"
        if "window" in name
        else "unpacks to more than 2,000 times its size"
    )
    assert expected in verdict or "has a line of more than 256 MB" in verdict


def test_a_log_of_one_line_over_and_over_is_no_bomb() -> None:
    """Real logs repeat themselves: 100 MB of one line are read, whatever packed them."""
    line = b'{"level":"INFO","message":"ok"}'
    raw = (line + b"\n") * (100 * MB // 32)
    for packed in (gzip.compress(raw, 1), zstandard.ZstdCompressor(level=3).compress(raw)):
        assert sum(1 for line_ in lines(io.BytesIO(packed), "x") if line_ == line) == 100 * MB // 32


def test_the_lines_before_the_limit_are_given_out_and_the_hint_is_a_way_on() -> None:
    packed = zstandard.ZstdCompressor().compress(b"first\n") + zstd_bomb(8000, b"a")
    lines_ = []
    with pytest.raises(UsageError, match="unpacks to more than 2,000 times its size") as caught:  # noqa: PT012
        for line in lines(io.BytesIO(packed), "x.zst"):
            lines_.append(line)
    assert lines_ == [b"first"]
    assert "zstdcat x.zst | labkit extract files -" in (caught.value.hint or "")


def test_a_window_of_more_memory_than_zstd_itself_takes_is_refused() -> None:
    packed = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=29, enable_ldm=True)
    )
    writer = packed.compressobj()
    raw = writer.compress(b"line\n" * 10) + writer.flush()
    with pytest.raises(ConfigError, match="needs more than 128 MB of memory") as caught:
        list(lines(io.BytesIO(raw), "x.zst"))
    assert "--long=31" in (caught.value.hint or "")
