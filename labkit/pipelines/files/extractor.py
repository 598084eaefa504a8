"""Files of JSON lines into a topic, each line's bytes as they are."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from labkit.errors import LabkitError, UsageError
from labkit.kafka.cluster import Cluster
from labkit.pipelines.delivery import MarkedSink, kafka_ms
from labkit.pipelines.files.envelope import HINT, Envelope, open_envelope
from labkit.pipelines.files.journal import Begun, Head, Journal
from labkit.pipelines.files.lines import STDIN, check, lines, open_file
from labkit.pipelines.topic_sink import TopicSink
from labkit.text.counts import number_of
from labkit.times import iso

_BLOCK = 5_000
_PROGRESS_S = 0.5


@dataclass(frozen=True)
class Progress:
    """How far one file is. ``size_bytes`` is None where it cannot be known (standard input)."""

    path: str
    read_bytes: int
    size_bytes: int | None
    lines: int


@dataclass(frozen=True)
class FilesReport:
    """What became of the lines.

    ``lines = skipped + blank + sent``, and ``sent = delivered + rejected``.

    Attributes
    ----------
    files : int
        Files read to their end.
    lines : int
        Lines read.
    skipped : int
        Lines a former run had in Kafka already, known from the journal.
    blank : int
        Lines with nothing in them; not sent.
    sent, delivered, rejected : int
        Records given to Kafka, those it acknowledged, those it refused for what they are.
    malformed : int
        Sent, though not a JSON object.
    without_timestamp : int
        Sent though the timestamp field asked for is missing or is not ISO 8601, with the time of
        the line before (Kafka's own for the first lines); or with Kafka's own because it refused
        theirs.
    without_key : int
        Sent though the key field is missing, or is neither a text nor a whole number.
    first_ms, last_ms : int or None
        The earliest and latest timestamp sent, milliseconds since the epoch.
    rejections : tuple of str
        The first rejected records: file, line and reason.
    """

    files: int = 0
    lines: int = 0
    skipped: int = 0
    blank: int = 0
    sent: int = 0
    delivered: int = 0
    rejected: int = 0
    malformed: int = 0
    without_timestamp: int = 0
    without_key: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    rejections: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        span = f", {iso(self.first_ms)} to {iso(self.last_ms)}" if self.first_ms is not None else ""
        numbers = ", ".join(
            f"{getattr(self, name):,} {name.replace('_', ' ')}"
            for name in ("skipped", "blank", "malformed", "without_timestamp", "rejected")
            if getattr(self, name)
        )
        return (
            f"{self.delivered:,} of {self.lines:,} lines from {number_of(self.files, 'file')} delivered{span}"
            f"{' (' + numbers + ')' if numbers else ''}"
        )


@dataclass
class _Tally:
    """What is counted while a run goes on."""

    files: int = 0
    lines: int = 0
    skipped: int = 0
    blank: int = 0
    malformed: int = 0
    without_timestamp: int = 0
    without_key: int = 0
    first_ms: int | None = None
    last_ms: int | None = None

    def report(self, sink: MarkedSink) -> FilesReport:
        counts = sink.counts
        report = FilesReport(
            **vars(self), sent=counts.sent, delivered=counts.delivered, rejected=counts.rejected
        )
        untimed = self.without_timestamp + counts.retimed
        return replace(report, without_timestamp=untimed, rejections=tuple(sink.rejections))


def extract_files(
    cluster: Cluster,
    paths: Iterable[str | Path],
    topic: str,
    *,
    timestamp_field: str | None = None,
    key_field: str | None = "channel",
    envelope: bool = False,
    journal: Path | None = None,
    again: bool = False,
    progress: Callable[[Progress], None] | None = None,
    sink: MarkedSink | None = None,
    place: str | None = None,
) -> FilesReport:
    r"""Send each line of the files to `topic`.

    The value is the line's bytes as they are, valid JSON or not.

    Parameters
    ----------
    cluster : Cluster
        As a principal that may write to `topic`.
    paths : iterable of str or Path
        Plain, gzip, zstd, bzip2 or xz, recognised by their first bytes; ``-`` is standard input.
        Read in this order.
    timestamp_field : str, optional
        The field with the record's time, ISO 8601 text; without a zone it is UTC. A number is not
        taken for a time: its unit would be a guess. Without a usable one the record gets the time
        of the line before, so that times stay in order, and is counted; the first lines get Kafka's
        own.
    key_field : str, optional
        The field whose text, or whole number as text, is the record's key; any other record has
        none, and is counted.
    envelope : bool
        The lines are records as ``to_jsonl(path, envelope=True)`` writes them: each is sent with
        its key, value, headers and time, and no header of labkit's. Any other line is an
        error; those before it are sent.
    journal : Path, optional
        Remembers per file how many lines Kafka has acknowledged, so that the same command run again
        goes on after them, in a file that has grown too. One that begins otherwise now is another
        file. Standard input and pipes are never remembered.
    again : bool
        Send every line, whatever the journal says.
    progress : callable, optional
        Called with a `Progress` about twice a second.
    sink, place : MarkedSink and str, optional
        Another place for the records than the topic, and what the journal is to call it.

    Returns
    -------
    FilesReport

    Raises
    ------
    LabkitError
        A file that is missing, a folder or unreadable (before anything is sent), or damaged; the
        topic cannot be written to. What was read before is sent; the error's ``report`` counts it.

    Notes
    -----
    Headers: ``labkit.file`` (base name) and ``labkit.line`` (from 1). Blank lines are not sent, and
    a trailing ``\r`` is not part of the line.

    At least once, not exactly once: the journal is written every few seconds, so a run ended by
    SIGKILL or a power cut leaves lines in Kafka that it does not know of, and the next run sends
    those again.
    """
    names = [STDIN if str(path) == STDIN else os.fspath(path) for path in _list_paths(paths)]
    for name in names:
        # the writer of a pipe gets an error when its reader goes
        if name != STDIN and not Path(name).is_fifo():
            with open_file(name) as file:
                check(file, name)  # better now than after an hour of the files before it
    tally = _Tally()
    with sink or TopicSink(cluster, topic) as opened_sink:
        # a topic made again under its name has seen none of the lines
        place = place or f"{cluster.cluster_id}/{cluster.topic_id(topic)}"
        book = Journal(journal, cluster_id=place, topic=topic)
        run = _Run(opened_sink, tally, book, again, timestamp_field, key_field, envelope, progress)
        try:
            for name in names:
                run.file(name)
        except LabkitError as error:
            error.add_facts(report=tally.report(opened_sink))
            raise
    return tally.report(opened_sink)


def _list_paths(paths: Iterable[str | Path]) -> list[str | Path]:
    listed: list[str | Path] = [paths] if isinstance(paths, str | Path) else list(paths)
    if not listed:
        raise UsageError("no file is named", hint="name one or more, or - for standard input")
    return listed


@dataclass
class _Run:
    """One call of `extract_files`."""

    sink: MarkedSink
    tally: _Tally
    journal: Journal
    again: bool
    timestamp_field: str | None
    key_field: str | None
    envelope: bool
    progress: Callable[[Progress], None] | None
    last_stamp: int | None = None
    marks: dict[int, Begun] = field(default_factory=dict)

    def file(self, path: str) -> None:
        """Send one file; whatever ends it, what was read is flushed and the journal knows."""
        # a pipe cannot be read on from where it was
        remembered = path != STDIN and Path(path).is_file()
        key = self.journal.key(Path(path)) if remembered else None
        # line numbers are per file, and so are the sink's marks: none of the last file may count
        # for this one
        self.sink.begin(None if path == STDIN else Path(path).resolve())
        self.marks.clear()
        self._mark(Head())
        patience_s: float | None = 10  # after an error; else as long as the sink has
        try:
            with open_file(path) as file:
                self._lines(file, path, key)
            self.tally.files += 1
            patience_s = None
        finally:
            try:
                self.sink.flush(patience_s)
            finally:
                self._note(key, now=True)

    def _mark(self, head: Head) -> None:
        self.sink.mark(head.lines)
        self.marks[head.lines] = head.begun

    def _note(self, key: str | None, *, now: bool = False) -> None:
        acknowledged = self.sink.acknowledged
        begun = self.marks.get(acknowledged)
        if key is not None and begun is not None and begun.lines:
            self.journal.note(key, begun, now=now)
        for label in [mark for mark in self.marks if mark < acknowledged]:
            del self.marks[label]

    def _lines(self, file: BinaryIO, path: str, key: str | None) -> None:
        begun = Begun() if key is None or self.again else self.journal.begun(key)
        for begun_before in (begun, begun.without_last, Begun()):
            left = self._read(file, path)
            head = Head.of(begun_before, left)
            if head.lines == begun_before.lines:
                break
            file.seek(0)  # it begins otherwise now
        name = Path(path).name if path != STDIN else "stdin"
        source = ("labkit.file", name.encode(errors="surrogateescape"))
        self.tally.skipped += head.lines
        self.last_stamp = self._stamp(head.last)
        try:
            for line in left:
                if not line or line.isspace():
                    self.tally.blank += 1
                else:
                    self._send(line, head.lines + 1, path, source)
                head.add(line)
                if head.lines % _BLOCK == 0:
                    self._mark(head)
                    self._note(key)
        finally:
            self.tally.lines += head.lines  # not the line an error or Ctrl-C came in the middle of
            self._mark(head)

    def _read(self, file: BinaryIO, path: str) -> Iterator[bytes]:
        """Yield the file's lines, and tell how far it is."""
        size = None if path == STDIN else os.fstat(file.fileno()).st_size
        said_at, number = 0.0, 0
        for number, line in enumerate(lines(file, path), start=1):
            yield line
            if number % _BLOCK == 0 and self.progress and time.monotonic() - said_at > _PROGRESS_S:
                said_at = time.monotonic()
                self.progress(Progress(path, _position(file), size, number))
        if self.progress:
            self.progress(Progress(path, _position(file), size, number))

    def _send(self, line: bytes, number: int, path: str, source: tuple[str, bytes]) -> None:
        if self.envelope:
            record = self._open_line(line, number, path)
            stamp = self._book_time(record.stamp)
            self.sink.send(record.key, record.value, record.headers, stamp)
            return
        key, stamp, malformed = self._fields(line)
        self.tally.malformed += malformed
        self.tally.without_key += key is None and self.key_field is not None
        self.sink.send(key, line, [source, ("labkit.line", b"%d" % number)], self._book_time(stamp))

    def _open_line(self, line: bytes, number: int, path: str) -> Envelope:
        try:
            return open_envelope(line)
        except ValueError as error:
            raise UsageError(
                f"{path}, line {number} is not an envelope: {error}", hint=HINT
            ) from error

    def _book_time(self, stamp: int | None) -> int | None:
        """Book a record's time; return the one it is sent with."""
        tally = self.tally
        if stamp is not None:
            self.last_stamp = stamp
            tally.first_ms = stamp if tally.first_ms is None else min(stamp, tally.first_ms)
            tally.last_ms = stamp if tally.last_ms is None else max(stamp, tally.last_ms)
        elif self.timestamp_field is not None or self.envelope:
            tally.without_timestamp += 1
        # a time of now amid older ones would mislead Kafka's time index: later windows would end
        # before it
        return self.last_stamp if stamp is None else stamp

    def _stamp(self, line: bytes) -> int | None:
        """Return the time of a line sent earlier, empty for none."""
        if not self.envelope:
            return self._fields(line)[1]
        try:
            return open_envelope(line).stamp
        except ValueError:
            return None

    def _fields(self, line: bytes) -> tuple[bytes | None, int | None, bool]:
        """Return a line's key and time, where it has them, and whether it is no JSON object."""
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError:
            fields = None
        if not isinstance(fields, dict):
            return None, None, True
        key = _key(fields.get(self.key_field)) if self.key_field is not None else None
        stamp = (
            timestamp_ms(fields.get(self.timestamp_field))
            if self.timestamp_field is not None
            else None
        )
        return key, stamp, False


def _key(value: Any) -> bytes | None:
    """Return a field's text or whole number as a key, None for anything else."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value).encode() if is_number or isinstance(value, str) else None


def timestamp_ms(value: Any) -> int | None:
    """Return a field's ISO 8601 text as milliseconds since the epoch, None for anything else."""
    if not isinstance(value, str) or value[4:5] != "-":  # "20160301" could as well be a number
        return None
    return kafka_ms(value)


def _position(file: BinaryIO) -> int:
    try:
        return file.tell()
    except OSError:
        return 0
