"""What a window stands for: for each partition, the offsets [start, end), frozen. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, tzinfo
from functools import cache
from types import NoneType
from typing import Any

from labkit import times
from labkit.checks import names
from labkit.checks.suggest import typed
from labkit.checks.validation import check_fields, read_json
from labkit.errors import UsageError, WindowError

FORMAT = 1
_TIME = (int, NoneType)
_KINDS: dict[str, type | tuple[type, ...]] = {
    "topic": str, "cluster_id": str, "topic_id": str, "ranges": list, "start_ms": _TIME, "end_ms": _TIME,
    "timestamp_type": str, "asked": str, "frozen_ms": int,
}  # fmt: skip
_RANGE = dict.fromkeys(("partition", "start", "end", "log_end"), int)
Bounds = Callable[[str | int], Mapping[int, int]]
"""Asks the broker: "earliest", "latest" or a time in milliseconds to an offset for each partition.
"""


@dataclass(frozen=True, order=True)
class Range:
    """The offsets [start, end) of one partition, and the log's end when they were frozen."""

    partition: int
    start: int
    end: int
    log_end: int

    @property
    def size(self) -> int:
        """How many offsets there are; compaction and transactions leave some without a record."""
        return self.end - self.start


@dataclass(frozen=True)
class Plan:
    """Frozen offsets of one topic.

    Attributes
    ----------
    topic, cluster_id, topic_id : str
        Where the offsets mean something. A topic made again under its name has another id.
    ranges : tuple of Range
        One for each partition, by partition; empty ones too.
    start_ms, end_ms : int or None
        The asked time [start, end): records outside of it, or without a time, are filtered out.
    timestamp_type : str
        ``CreateTime`` or ``LogAppendTime``, as the topic is configured.
    asked : str
        The bounds in the user's words.
    frozen_ms : int
        When the offsets were frozen.
    """

    topic: str
    cluster_id: str
    topic_id: str
    ranges: tuple[Range, ...]
    start_ms: int | None
    end_ms: int | None
    timestamp_type: str
    asked: str
    frozen_ms: int

    @property
    def size(self) -> int:
        """Offsets planned."""
        return sum(span.size for span in self.ranges)

    @property
    def is_by_time(self) -> bool:
        """Whether it is of an asked time, and not of offsets alone."""
        return self.start_ms is not None or self.end_ms is not None

    @property
    def hash(self) -> str:
        """Name of these very records: the same for the same offsets and times of the same topic."""
        same = [self.cluster_id, self.topic, self.topic_id, self.start_ms, self.end_ms]
        ranges = [[span.partition, span.start, span.end] for span in self.ranges if span.size]
        return hashlib.sha256(json.dumps([*same, ranges]).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Return the plan as one line of JSON."""
        raw = asdict(self)
        raw["ranges"] = [
            [span.partition, span.start, span.end, span.log_end] for span in self.ranges
        ]
        return json.dumps({"labkit_window": FORMAT, **raw})

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what `to_json` wrote.

        Raises
        ------
        UsageError
            When it is something else.
        """
        try:
            raw = read_json(text)
            if raw.pop("labkit_window") != FORMAT:
                raise ValueError("another format")
            check_fields(raw, _KINDS)
            ranges = tuple(_range(numbers) for numbers in raw.pop("ranges"))
            plan = cls(ranges=ranges, **raw)
            names.topic(plan.topic)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(
                f"this is not a window: {str(text)[:60]!r}",
                hint=_what_to_pass(),
            ) from error
        twice = len({span.partition for span in ranges}) < len(ranges)
        if twice or any(
            not 0 <= span.start <= span.end <= span.log_end or not 0 <= span.partition < 2**31
            for span in ranges
        ):
            raise UsageError("this window's offsets are damaged", hint=_what_to_pass())
        return plan


def _range(numbers: Any) -> Range:
    """Return the range that `Plan.to_json` wrote as four numbers."""
    values = dict(zip(_RANGE, numbers, strict=True))
    check_fields(values, _RANGE)
    return Range(**values)


@dataclass(frozen=True)
class Resolved:
    """Offsets for each partition and the times they were asked with."""

    ranges: tuple[Range, ...]
    start_ms: int | None = None
    end_ms: int | None = None


def by_time(bounds: Bounds, start: Any, end: Any, slack_ms: int, zone: tzinfo = UTC) -> Resolved:
    """Resolve ``[start, end)`` given as times or as "earliest" / "latest".

    Kafka finds the first offset whose timestamp is at or after the asked time. Producers set
    CreateTime, so records may lie out of order: `slack_ms` widens the offsets on both sides, and
    reading checks each timestamp again. Kafka answers -1 for a time after the last record: that is
    the end of the log.
    """
    start_ms = None if start in (None, "earliest") else times.to_ms(start, zone)
    end_ms = None if end in (None, "latest") else times.to_ms(end, zone)
    if start_ms is not None and end_ms is not None and end_ms < start_ms:
        raise WindowError(
            f"the end {times.iso(end_ms, zone)} is before the start {times.iso(start_ms, zone)}",
            hint="swap them",
        )
    latest = bounds("latest")
    first = bounds("earliest" if start_ms is None else max(0, start_ms - slack_ms))
    last = latest if end_ms is None else bounds(max(0, end_ms + slack_ms))
    return Resolved(_ranges(first, last, latest), start_ms, end_ms)


def by_last_time(bounds: Bounds, length_ms: int, now_ms: int, slack_ms: int) -> Resolved:
    """Resolve the last `length_ms` milliseconds before now."""
    start_ms, latest = now_ms - length_ms, bounds("latest")
    return Resolved(_ranges(bounds(max(0, start_ms - slack_ms)), latest, latest), start_ms, None)


def _ranges(
    first: Mapping[int, int], last: Mapping[int, int], latest: Mapping[int, int]
) -> tuple[Range, ...]:
    ranges = []
    for partition in sorted(latest):
        end = latest[partition] if last[partition] < 0 else min(last[partition], latest[partition])
        start = end if first[partition] < 0 else min(first[partition], end)
        ranges.append(Range(partition, start, end, latest[partition]))
    return tuple(ranges)


def by_offsets(bounds: Bounds, offsets: Mapping[int, tuple[int, int]]) -> Resolved:
    """Resolve ranges given as ``{partition: (start, end)}``, held against what the log has.

    Raises
    ------
    WindowError
        For a partition the topic lacks, or offsets beyond the log's end: a re-created topic or
        another cluster.
    """
    latest = bounds("latest")
    ranges = []
    for partition, (start, end) in sorted(offsets.items()):
        if partition not in latest:
            raise WindowError(
                f"there is no partition {partition}; the topic has {len(latest)}",
                hint="partitions count from 0",
            )
        if not 0 <= start <= end:
            raise UsageError(
                f"offsets of partition {partition} must be 0 <= start <= end, not ({start}, {end})",
                hint="the first offset, and the one after the last",
            )
        if end > latest[partition]:
            raise WindowError(
                f"partition {partition} ends at offset {latest[partition]}, [{start}, {end}) was asked",
                hint="was the topic made again or cut back, or is this another cluster?",
                partition=partition,
                log_end=latest[partition],
            )
        ranges.append(Range(partition, start, end, latest[partition]))
    return Resolved(tuple(ranges))


def by_last_records(bounds: Bounds, count: int, newest_ms: int) -> Resolved:
    """Resolve the newest `count` offsets of the whole topic, found by searching Kafka's time index.

    The search begins at `newest_ms`: the nearer to the newest record, the fewer questions. The
    newest time T with at least `count` offsets at or after it is searched for; of the offsets
    at T itself, the surplus is left out from the lowest partitions. Exact where timestamps do not
    go backwards.
    """
    if count < 0:
        raise UsageError(
            f"last must be 0 or more, not {count:,}", hint="the number of newest records"
        )
    latest, earliest = dict(bounds("latest")), dict(bounds("earliest"))

    @cache
    def since(ms: int) -> dict[int, int]:
        offsets = bounds(ms)
        return {
            p: latest[p] if offsets[p] < 0 else min(max(offsets[p], earliest[p]), latest[p])
            for p in latest
        }

    def size(starts: Mapping[int, int]) -> int:
        return sum(latest[p] - starts[p] for p in latest)

    if size(earliest) <= count:
        return Resolved(tuple(Range(p, earliest[p], latest[p], latest[p]) for p in sorted(latest)))
    step, low, high = 1, newest_ms, newest_ms
    while low > 0 and size(since(low)) < count:
        low, high, step = max(0, low - step), low, step * 8
    # a compacted log: its first offsets have no record, and so no time
    if size(since(low)) < count:
        return _without_surplus(earliest, since(low), latest, count)
    step = 1
    while size(since(high)) >= max(1, count):  # a clock may be ahead
        low, high, step = high, high + step, step * 8
    # now size(since(low)) >= count > size(since(high)), or count is 0
    while high - low > 1 and size(since(low)) > count:
        middle = (low + high) // 2
        low, high = (middle, high) if size(since(middle)) >= count else (low, middle)
    return _without_surplus(since(low), since(high), latest, count)


def _without_surplus(
    starts: Mapping[int, int], later: Mapping[int, int], latest: Mapping[int, int], count: int
) -> Resolved:
    """Resolve what begins at `starts`, with what is more than `count` left out before `later`."""
    surplus, ranges = sum(latest[p] - starts[p] for p in latest) - count, []
    for partition in sorted(latest):
        drop = min(surplus, max(0, later[partition] - starts[partition]))
        ranges.append(
            Range(partition, starts[partition] + drop, latest[partition], latest[partition])
        )
        surplus -= drop
    return Resolved(tuple(ranges))


def _what_to_pass() -> str:
    return f"pass what {typed('Window.to_json() returned', '`labkit window TOPIC --json` printed')}"
