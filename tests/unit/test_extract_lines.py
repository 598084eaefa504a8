"""Lines of plain and packed files, the journal, timestamps.

Wrong arguments are refused before any connection.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import ConfigError, LabkitError, NotFoundError, UsageError
from labkit.kafka.cluster import Cluster
from labkit.pipelines.files.extractor import extract_files, timestamp_ms
from labkit.pipelines.files.journal import Begun, Head, Journal
from labkit.pipelines.files.lines import lines, open_file
from labkit.pipelines.irc.channels import check_channels
from labkit.pipelines.irc.extractor import IrcExtractor

NOWHERE = Cluster({"bootstrap.servers": "127.0.0.1:1"})


def read(raw: bytes) -> list[bytes]:
    return list(lines(io.BytesIO(raw), "test"))


def keep(source: Iterator[bytes], found: list[bytes]) -> None:
    for line in source:  # not extend(): it drops what came before an error
        found.append(line)


def packings(raw: bytes) -> list[bytes]:
    half = len(raw) // 2
    zstd = zstandard.ZstdCompressor()
    return [
        raw,
        gzip.compress(raw),
        gzip.compress(raw[:half]) + gzip.compress(raw[half:]) + bytes(512),
        zstd.compress(raw),
        zstd.compress(raw[:half])
        + b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
        + zstd.compress(raw[half:]),
        bz2.compress(raw[:half]) + bz2.compress(raw[half:]),
        lzma.compress(raw[:half]) + lzma.compress(raw[half:]) + bytes(8),
    ]


@given(st.binary(max_size=400).map(lambda raw: b"x" + raw.replace(b"\0", b"0")))
def test_every_packing_gives_the_lines_as_they_are(raw: bytes) -> None:
    expected = [line.removesuffix(b"\r") for line in raw.split(b"\n")]
    if raw.endswith(b"\n") or not raw:
        expected.pop()
    for packed in packings(raw):
        assert read(packed) == expected


def tarred(raw: bytes) -> bytes:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w") as archive:
        entry = tarfile.TarInfo("a.jsonl")
        entry.size = len(raw)
        archive.addfile(entry, io.BytesIO(raw))
    return into.getvalue()


def zipped(raw: bytes) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as archive:
        archive.writestr("a.jsonl", raw)
    return into.getvalue()


def parquet() -> bytes:
    into = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2]}), into)
    return into.getvalue()


def arrow() -> bytes:
    into = io.BytesIO()
    table = pa.table({"a": [1, 2]})
    with pa.ipc.new_file(into, table.schema) as writer:
        writer.write(table)
    return into.getvalue()


LINES = '{"nick":"é"}\n{"nick":"b"}\n'
PRETTY = json.dumps([{"a": 1}, {"a": 2}], indent=2).encode()
FOREIGN = [
    *((LINES.encode(name), "UTF-16", "iconv") for name in ("utf-16", "utf-16-le", "utf-16-be")),
    *((LINES.encode(name), "UTF-32", "iconv") for name in ("utf-32", "utf-32-le", "utf-32-be")),
    (codecs.BOM_UTF16_BE + LINES.encode("utf-16-be"), "UTF-16", "iconv"),
    (zipped(LINES.encode()), "a zip archive", "unzip -p"),
    (tarred(LINES.encode()), "a tar archive", "tar -xOf"),
    (parquet(), "Parquet", "duckdb"),
    (arrow(), "an Arrow file", "polars"),
    (b"Obj\x01\x04\x14avro.codec", "an Avro file", "avro-tools"),
    (gzip.compress(LINES.encode(), mtime=0), "packed twice", "gzip -dc"),
    (b"\x7fELF\x02\x01\x01\x00\x00", "zero bytes", "UTF-8"),
    (PRETTY, "one JSON array", "jq -c '.[]'"),
    (b"  \n" + PRETTY, "one JSON array", "jq -c '.[]'"),
    (b'[{"a":1},{"a":2}]\n', "one JSON array", "jq -c '.[]'"),
    (b'[{"a":1},\n{"a":2}]\n', "one JSON array", "jq -c '.[]'"),
    (json.dumps({"a": 1}, indent=1).encode(), "JSON over several lines", "jq -c ."),
    (codecs.BOM_UTF8 + PRETTY, "one JSON array", "jq -c '.[]'"),
]


@pytest.mark.parametrize(
    ("raw", "what", "hint"), FOREIGN, ids=lambda one: "" if isinstance(one, bytes) else one
)
def test_what_is_no_file_of_lines_is_refused_before_anything_is_sent(
    tmp_path: Path, raw: bytes, what: str, hint: str
) -> None:
    """BEHAVIOURS 51: UTF-16 and archives were sent line by line as garbage; packed ones too."""
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad"
    good.write_bytes(LINES.encode())
    for packed in (
        (raw, gzip.compress(raw), lzma.compress(raw))
        if what != "packed twice"
        else (gzip.compress(raw),)
    ):
        bad.write_bytes(packed)
        with pytest.raises(UsageError, match=what) as refused:
            extract_files(
                NOWHERE, [good, bad], "irc"
            )  # no server listens there: it is refused before
        assert hint in refused.value.hint
        with pytest.raises(UsageError, match=what):
            read(packed)


@pytest.mark.parametrize(
    "raw",
    [
        b"[1,2]\n[3]\n",
        b'[{"a":1}]\n[{"a":2}]\n',
        b"[2016-03-01 10:00] hello\n",
        b"not json\n",
        b"{broken\n",
        b"\n\n{}\n",
        b"",
    ],
)
def test_lines_that_merely_look_odd_are_sent(raw: bytes) -> None:
    assert read(raw) == raw.splitlines()


def test_a_utf_8_mark_is_dropped() -> None:
    """BEHAVIOURS 51: also within gzip, and when a pipe brings it byte by byte."""
    for packed in packings(codecs.BOM_UTF8 + LINES.encode()):
        assert read(packed) == LINES.encode().splitlines()


class _ByteByByte(io.RawIOBase):
    def __init__(self, raw: bytes) -> None:
        self._raw = io.BytesIO(raw)

    def read(self, size: int = -1) -> bytes:
        return self._raw.read(1)


def test_a_pipe_that_brings_single_bytes_is_known_for_what_it_is() -> None:
    """BEHAVIOURS 51."""
    for packed in packings(codecs.BOM_UTF8 + LINES.encode()):
        assert list(lines(_ByteByByte(packed), "test")) == LINES.encode().splitlines()  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="UTF-16"):
        list(lines(_ByteByByte(LINES.encode("utf-16")), "test"))  # type: ignore[arg-type]


def test_lines_longer_than_a_chunk() -> None:
    raw = b"a" * 3_000_000 + b"\n" + b"b" * 40 + b"\r\n" + os.urandom(70_000).replace(b"\n", b"")
    for packed in packings(raw):
        assert [len(line) for line in read(packed)] == [3_000_000, 40, len(raw) - 3_000_043]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_a_truncated_file_gives_its_whole_lines_and_then_says_so(pack: object) -> None:
    raw = b"".join(b"%d %s\n" % (number, os.urandom(40).hex().encode()) for number in range(5_000))
    packed = pack(raw)  # type: ignore[operator]
    lines_, halved = [], lines(io.BytesIO(packed[: len(packed) // 2]), "x.gz")
    with pytest.raises(ConfigError, match="ends in the middle") as raised:
        keep(halved, lines_)
    assert raised.value.hint
    assert len(lines_) > 1000
    assert lines_ == raw.split(b"\n")[: len(lines_)]


def test_a_corrupt_gzip_is_damaged() -> None:
    packed = bytearray(gzip.compress(os.urandom(50_000).hex().encode()))
    packed[25_000] ^= 0xFF
    with pytest.raises(ConfigError, match="damaged"):
        read(bytes(packed))


def test_a_pipe_gives_its_first_line_before_it_is_closed() -> None:
    reader, writer = os.pipe()
    os.write(writer, b'{"a":1}\n')
    with os.fdopen(reader, "rb") as file:
        assert next(lines(file, "-")) == b'{"a":1}'
        os.close(writer)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    for path, kind in (
        (tmp_path, UsageError),
        (tmp_path / "none", NotFoundError),
        ("a\0b", LabkitError),
    ):
        with pytest.raises(kind) as raised, open_file(str(path)):
            pass
        assert raised.value.hint


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2016-03-01T12:00:00.123Z", 1_456_833_600_123),
        ("2016-03-01T13:00:00.123+01:00", 1_456_833_600_123),
        ("2016-03-01 12:00:00", 1_456_833_600_000),
        ("2016-03-01", 1_456_790_400_000),
        (1_456_833_600_123, None),
        ("1456833600123", None),
        ("20160301", None),
        ("1970-01-01T00:00:00Z", None),  # Kafka's client takes 0 for "now"
        ("1950-01-01", None),
        ("2016-02-30", None),
        ("", None),
        (None, None),
        ({}, None),
        (True, None),
        ("9999-12-31T23:59:59.9999Z", None),
    ],
)
def test_timestamps_are_never_guessed(value: object, expected: int | None) -> None:
    assert timestamp_ms(value) == expected


@given(st.text() | st.datetimes().map(str) | st.integers() | st.none())
def test_no_value_as_a_timestamp_raises(value: object) -> None:
    assert (timestamp_ms(value) or 1) > 0


def test_the_journal_knows_a_file_by_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("{}\n")
    path = tmp_path / "deep" / "journal.json"
    journal = Journal(path, cluster_id="c", topic="irc")
    key = journal.key(file)
    assert journal.begun(key) == Begun()
    journal.note(key, Begun(5, "ab"), now=True)
    journal.note(key, Begun(9, "cd"))  # too soon after the last: not written
    assert Journal(path, cluster_id="c", topic="irc").begun(key) == Begun(5, "ab")
    assert Journal(path, cluster_id="c", topic="other").key(file) != key
    assert Journal(path, cluster_id="d", topic="irc").key(file) != key
    assert {sibling.name for sibling in path.parent.iterdir()} <= {path.name, f"{path.name}.lock"}


def test_the_head_of_a_file_is_what_is_acknowledged_or_nothing() -> None:
    head = Head()
    for line in (b"a", b"b"):
        head.add(line)
    assert Head.of(head.begun, [b"a", b"b", b"c"]).begun == head.begun
    for other in ([b"a"], [b"a", b"B", b"c"], [b"ab"], [b"a\nb"], []):
        assert Head.of(head.begun, other).begun == Head().begun
    assert Head.of(Begun(), [b"a"]).begun == Head().begun


def test_entries_of_another_version_are_of_no_use_and_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    path.write_text('{"a": 5, "b": [7, "ab"]}')
    journal = Journal(path, cluster_id="c", topic="irc")
    assert (journal.begun("a"), journal.begun("b")) == (Begun(), Begun(7, "ab"))


@pytest.mark.parametrize("content", ["{", "[]", '{"a": "x"}', '{"a": null}'])
def test_a_damaged_journal_is_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "journal.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="cannot be read") as raised:
        Journal(path, cluster_id="c", topic="irc")
    assert raised.value.hint


def test_without_a_path_nothing_is_remembered(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.touch()
    journal = Journal(None, cluster_id="c", topic="irc")
    journal.note(journal.key(file), Begun(5, "ab"), now=True)
    assert journal.begun(journal.key(file)) == Begun()
    assert json.dumps([item.name for item in tmp_path.iterdir()]) == '["a"]'


@pytest.mark.parametrize(
    "channel", ["lab", "", "#a,#b", "#a\r\nQUIT", "#", "#a key\nQUIT", "#a b c"]
)
def test_what_is_not_a_channel(channel: str) -> None:
    with pytest.raises(UsageError) as raised:
        check_channels([channel])
    assert raised.value.hint


def test_a_channel_may_come_with_a_key_and_one_must_be_named() -> None:
    assert check_channels(["#a", "&b key"]) == {"#a": "", "&b": "key"}
    with pytest.raises(UsageError):
        check_channels([])


@pytest.mark.parametrize(
    "wrong",
    [
        {"nick": "9lives"},
        {"nick": "a b"},
        {"nick": "a\r\nQUIT"},
        {"port": 0},
        {"port": 70_000},
        {"server": ""},
        {"server": "a b"},
        {"password": "x\nQUIT"},
        {"sasl": ("", "x")},
        {"tls": True, "tls_ca": Path("/nonexistent.pem")},
    ],
)
def test_arguments_that_cannot_be_right(wrong: dict[str, object]) -> None:
    options: dict[str, object] = {
        "server": "irc.example.org",
        "nick": "lab",
        "channels": ["#a"],
        **wrong,
    }
    with pytest.raises((UsageError, ConfigError)) as raised:
        IrcExtractor(NOWHERE, "irc", **options)  # type: ignore[arg-type]
    assert raised.value.hint


def test_no_secret_in_a_repr() -> None:
    extractor = IrcExtractor(
        NOWHERE,
        "irc",
        server="irc.example.org",
        nick="lab",
        channels=["#a k3y"],
        password="s3cret",
        sasl=("ann", "t0psecret"),
    )
    for shown in (repr(extractor), repr(extractor.server), str(vars(extractor))):
        assert "#a" in shown or "Server(" in shown
        assert not any(secret in shown for secret in ("s3cret", "t0psecret", "k3y"))
