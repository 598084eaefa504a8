"""The account of one read: what was planned, what came of it, and why it ended. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import timedelta
from html import escape
from operator import attrgetter
from typing import Any

from labkit.text import html
from labkit.text.counts import number_of
from labkit.text.plain_enum import PlainEnum
from labkit.text.visible import visible
from labkit.times import has_date, iso

_COUNTS = ("planned", "read", "filtered", "gaps", "unread", "undecodable")


class StopReason(PlainEnum):
    """Why the reading of a partition ended."""

    END = "end"
    OPEN_TRANSACTION = "open_transaction"
    EXPIRED = "expired"
    TRUNCATED = "truncated"
    DELETED = "deleted"
    DISORDER = "disorder"
    CAP = "cap"
    INTERRUPT = "interrupt"
    SINK = "sink"
    DEADLINE = "deadline"
    PENDING = "pending"


_OF_THE_LOG = {
    StopReason.OPEN_TRANSACTION, StopReason.EXPIRED, StopReason.TRUNCATED, StopReason.DISORDER,
}  # fmt: skip
_WHY = {
    StopReason.END: "the frozen end was reached",
    StopReason.OPEN_TRANSACTION: "an open transaction hides what follows (read_committed)",
    StopReason.EXPIRED: "the topic no longer has these records",
    StopReason.TRUNCATED: "the log was cut back: it now ends before the frozen end",
    StopReason.DELETED: "the topic was deleted, or made again, while it was read",
    StopReason.DISORDER: "records of the asked time follow the frozen end, behind one from a clock that ran ahead "
    "by more than the slack: leave the end out and filter, or give offsets",
    StopReason.CAP: "max_bytes was reached",
    StopReason.INTERRUPT: "it was interrupted",
    StopReason.SINK: "what it was written to was away or too busy for too long",
    StopReason.DEADLINE: "the deadline passed, or the broker was away too long",
    StopReason.PENDING: "these slices were not computed yet: compute the frame, then look again",
}
_LABELS = {"read": "read", "filtered": "filtered out", "gaps": "gaps", "unread": "not reached"}
GAPS_NOTE = (
    "gaps are offsets that delivered no record: transaction markers, aborted or compacted records; "
    "a client cannot tell which"
)

UNDATED_NOTE = (
    "timestamps beyond the years 1 to 9999 (microseconds, given as milliseconds?): no date can hold them, so they are "
    "missing in a DataFrame, and undated in an index"
)


@dataclass(frozen=True)
class PartitionReceipt:
    """The account of one partition. ``planned = read + filtered + gaps + unread``, always.

    Attributes
    ----------
    start, end : int
        The frozen offsets [start, end).
    read, filtered, gaps, unread, undecodable : int
        Records delivered; records outside the asked time or left out by ``where``; offsets without
        a record; offsets not reached; records among the read ones that could not be decoded.
    first_offset, last_offset, first_timestamp_ms, last_timestamp_ms : int or None
        Of the records delivered.
    out_of_order : int
        Records with a timestamp before that of an earlier offset.
    max_inversion_ms : int
        The largest such step back.
    beyond : int
        Records of the asked time seen just after the frozen end; they are not in the window.
    stop_reason : StopReason
        end | open_transaction | expired | truncated | deleted | disorder | cap | interrupt | sink |
        deadline | pending
    stop_offset : int
        The first offset not looked at.
    """

    partition: int
    start: int
    end: int
    read: int = 0
    filtered: int = 0
    gaps: int = 0
    unread: int = 0
    undecodable: int = 0
    first_offset: int | None = None
    last_offset: int | None = None
    first_timestamp_ms: int | None = None
    last_timestamp_ms: int | None = None
    out_of_order: int = 0
    max_inversion_ms: int = 0
    beyond: int = 0
    stop_reason: StopReason = StopReason.END
    stop_offset: int = 0

    @property
    def planned(self) -> int:
        """Offsets asked for."""
        return self.end - self.start


@dataclass(frozen=True)
class Receipt:
    """The account of one read.

    Attributes
    ----------
    topic, cluster_id, window : str
        What was read; `window` is the hash of the frozen offsets.
    isolation : str
        ``read_committed`` or ``read_uncommitted``.
    partitions : tuple of PartitionReceipt
        By partition.
    bytes : int
        Bytes of keys and values read.
    elapsed_s : float
        From the first request to the last record.
    group : str
        The consumer's group id; nothing was committed under it.
    versions : dict
        Of labkit and the client libraries.
    notes : tuple of str
        What else the reader should know.
    hash : str
        Of the records delivered (`labkit.replay.content_hash.Content`): the same window read again,
        in whatever batches and through whatever sink, has the same hash; a `where` that leaves
        records out has another. Empty where several workers read (Dask, Spark), for a sample, and
        in receipts written before there was one.
    guard : dict
        What was seen of the groups that are not the lab's, before and after
        (`labkit.groups.guard.Guard.summary`); empty without a guard. Where it saw no such group,
        the receipt shows no line of it.
    """

    topic: str
    cluster_id: str
    window: str
    isolation: str
    partitions: tuple[PartitionReceipt, ...]
    bytes: int
    elapsed_s: float
    group: str
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    hash: str = ""
    guard: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def planned(self) -> int:
        """Offsets asked for, in all partitions."""
        return sum(partition.planned for partition in self.partitions)

    @property
    def read(self) -> int:
        """Records delivered."""
        return sum(partition.read for partition in self.partitions)

    @property
    def filtered(self) -> int:
        """Records outside the asked time, or left out by ``where``."""
        return sum(partition.filtered for partition in self.partitions)

    @property
    def gaps(self) -> int:
        """Offsets without a record."""
        return sum(partition.gaps for partition in self.partitions)

    @property
    def unread(self) -> int:
        """Offsets not reached."""
        return sum(partition.unread for partition in self.partitions)

    @property
    def undecodable(self) -> int:
        """Records among those read that could not be decoded."""
        return sum(partition.undecodable for partition in self.partitions)

    @property
    def complete(self) -> bool:
        """Whether every partition was read to its frozen end."""
        return all(partition.stop_reason == StopReason.END for partition in self.partitions)

    @property
    def reasons(self) -> dict[StopReason, list[int]]:
        """Why partitions ended early: reason to partitions; empty when complete."""
        partitions_of: dict[StopReason, list[int]] = {}
        for partition in self.partitions:
            if partition.stop_reason != StopReason.END:
                partitions_of.setdefault(partition.stop_reason, []).append(partition.partition)
        return partitions_of

    @property
    def was_ended(self) -> bool:
        """Whether the reading was ended; what the log hides or lacks does not end it elsewhere."""
        return not self.reasons.keys() <= _OF_THE_LOG

    @property
    def counts(self) -> dict[str, int]:
        """The totals: planned = read + filtered + gaps + unread; undecodable is part of read."""
        return {name: getattr(self, name) for name in _COUNTS}

    @property
    def reached(self) -> str:
        """How far the read got, in words: ``22 %: 440,100 of 2,022,252``."""
        planned, looked = self.planned, self.planned - self.unread
        undecoded = f", {self.undecodable:,} of them not decoded" if self.undecodable else ""
        return f"{100 * looked // max(1, planned)} %: {looked:,} of {planned:,}{undecoded}"

    @property
    def shortfall(self) -> str:
        """Why this is not the whole window, in one line; empty when it is."""
        why = "; ".join(_WHY[reason] for reason in self.reasons)
        return f"incomplete at {self.reached} ({why})" if why else ""

    def with_notes(self, *notes: str) -> Receipt:
        """Return this receipt with more notes."""
        return replace(self, notes=(*self.notes, *notes)) if notes else self

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        own = asdict(self)
        own["notes"] = tuple(map(str, self.notes))  # Dask's msgpack takes no subclass of a text
        for values in own["partitions"]:
            values["stop_reason"] = str(values["stop_reason"])
        return {"complete": self.complete, **self.counts, **own}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Receipt:
        """Return the receipt that `to_dict` took apart."""
        own = {
            spec.name: raw[spec.name] for spec in fields(cls) if spec.name in raw
        }  # written before a field was added
        partitions = tuple(_partition(values) for values in own.pop("partitions"))
        return cls(**{**own, "partitions": partitions, "notes": tuple(own["notes"])})

    def to_json(self) -> str:
        """Return everything as JSON."""
        return json.dumps(self.to_dict())

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        head = "complete" if self.complete else "INCOMPLETE"
        counts = self.counts
        lines = [
            f"{head}: {counts['read']:,} records read of {counts['planned']:,} offsets planned in topic {self.topic!r}",
            f"  {counts['planned']:,} planned = {counts['read']:,} read + {counts['filtered']:,} filtered out"
            f" + {counts['gaps']:,} gaps + {counts['unread']:,} not reached",
        ]
        if counts["undecodable"]:
            lines.append(
                f"  {counts['undecodable']:,} of the read could not be decoded; their rows have _error set"
            )
        for reason, partitions in self.reasons.items():
            where = ", ".join(
                f"{partition}@{self._stop(partition):,}" for partition in partitions[:8]
            )
            lines.append(
                f"  why: {_WHY[reason]} (partition@offset {where}{' …' if len(partitions) > 8 else ''})"
            )
        first, last = self.span_ms
        if first is not None:
            lines.append(
                f"  from {iso(first)} to {iso(last)}, {self.bytes / 1e6:.1f} MB in {self.elapsed_s:.2f} s"
            )
        lines.append(
            f"  {self.isolation}, window {self.window}, group {self.group}: nothing committed"
        )
        if self.hash:
            lines.append(f"  content {self.hash}")
        lines += [f"  {text}" for text in self._guard_texts]
        lines += [f"  note: {visible(note)}" for note in self.all_notes]
        return "\n".join(lines)

    @property
    def _guard_texts(self) -> list[str]:
        """What the guard has to say; nothing where it looked and there was no foreign group."""
        saw_none = self.guard.get("untouched") and not self.guard.get("groups")
        return [self.guard["text"]] if self.guard and not saw_none else []

    def _stop(self, partition: int) -> int:
        return next(
            receipt.stop_offset for receipt in self.partitions if receipt.partition == partition
        )

    @property
    def span_ms(self) -> tuple[int | None, int | None]:
        """The first and last timestamp read, in milliseconds; None when nothing was."""
        first = least(partition.first_timestamp_ms for partition in self.partitions)
        return first, most(partition.last_timestamp_ms for partition in self.partitions)

    @property
    def all_notes(self) -> list[str]:
        """The notes, with those the counts call for."""
        notes = list(self.notes)
        worst = max((partition.max_inversion_ms for partition in self.partitions), default=0)
        count = sum(partition.out_of_order for partition in self.partitions)
        if count:
            notes.append(
                f"{number_of(count, 'record')} out of time order, by up to {_length(worst)}: "
                f"a slack of '{_slack(worst)}' covers it"
            )
        if self.gaps:
            notes.append(GAPS_NOTE)
        if any(ms is not None and not has_date(ms) for ms in self.span_ms):
            notes.append(UNDATED_NOTE)
        return notes

    @html.view
    def _repr_html_(self) -> str:
        counts, colour = self.counts, html.GREEN if self.complete else html.RED
        word = "complete" if self.complete else "incomplete"
        summary = " + ".join(f"<b>{counts[key]:,}</b> {label}" for key, label in _LABELS.items())
        extra = [*(f"why: {_WHY[reason]}" for reason in self.reasons), *self.all_notes]
        extra += self._guard_texts
        if counts["undecodable"]:
            extra.insert(0, f"{counts['undecodable']:,} could not be decoded: rows with _error set")
        notes = "".join(f"<li>{escape(note)}</li>" for note in extra)
        first, last = self.span_ms
        span = f"{iso(first)} … {iso(last)} (UTC)" if first is not None else "no records"
        body = (
            f"{html.word(colour, word)} · topic <code>{escape(self.topic)}</code> · {span}"
            f"<br><b>{counts['planned']:,}</b> planned = {summary}"
            f'<br><span style="opacity:.7">{self.bytes / 1e6:.1f} MB in {self.elapsed_s:.2f} s'
            f" · {escape(self.isolation)} · window <code>{self.window}</code> · nothing committed"
            f"{f' · content <code>{self.hash[:12]}…</code>' if self.hash else ''}</span>"
            f"{'<ul style=margin:0>' + notes + '</ul>' if notes else ''}"
            f"<details><summary>{number_of(len(self.partitions), 'partition')}</summary>"
            f"{_html_table(self.partitions)}</details>"
        )
        return html.box(colour, body)


def least(values: Iterable[int | None]) -> int | None:
    """Return the smallest of the values that are known; None without any."""
    return min((value for value in values if value is not None), default=None)


def most(values: Iterable[int | None]) -> int | None:
    """Return the largest of the values that are known; None without any."""
    return max((value for value in values if value is not None), default=None)


def versions() -> dict[str, str]:
    """Return what a read was done with."""
    from importlib.metadata import version

    return {name: version(name) for name in ("labkit", "confluent-kafka", "pyarrow")}


def _partition(values: dict[str, Any]) -> PartitionReceipt:
    return PartitionReceipt(**{**values, "stop_reason": StopReason(values["stop_reason"])})


def _length(ms: int) -> str:
    """Return a length of time to be read: days are not counted in milliseconds."""
    if ms < 60_000:
        return f"{ms:,} ms"
    days, seconds = divmod(ms // 1000, 86_400)  # a timedelta ends at 999,999,999 days
    hours = str(timedelta(seconds=seconds))
    return f"{number_of(days, 'day')}, {hours}" if days else hours


def _slack(ms: int) -> str:
    """Return the shortest round length of time that covers `ms`."""
    unit, size = next(
        (pair for pair in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000)) if ms > pair[1]),
        ("s", 1000),
    )
    return f"{-(-ms // size)}{unit}"


def _html_table(partitions: Iterable[PartitionReceipt]) -> str:
    columns = (
        "partition",
        "start",
        "end",
        "read",
        "filtered",
        "gaps",
        "unread",
        "undecodable",
        "stop_reason",
    )
    head = "".join(f"<th>{name}</th>" for name in columns)
    cells = attrgetter(*columns)
    rows = "".join(_html_row(cells(partition)) for partition in partitions)
    return f"<table><tr>{head}</tr>{rows}</table>"


def _html_row(cells: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
