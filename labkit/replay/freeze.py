"""A part of a topic, asked for in a user's words, becomes frozen offsets."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, date, timedelta, tzinfo
from typing import Any

from labkit import times
from labkit.checks import names
from labkit.checks.suggest import typed
from labkit.checks.user_line import warn
from labkit.checks.validation import newest_count, offset_ranges, partition_numbers
from labkit.errors import AccessError, IncompleteWarning, UsageError, WindowError
from labkit.kafka.cluster import Cluster
from labkit.replay import plan
from labkit.text.visible import first_few

_FEW = 8  # partitions that are named in words


def freeze(
    cluster: Cluster,
    topic: str,
    *,
    start: Any = None,
    end: Any = None,
    last: str | timedelta | int | None = None,
    on: str | date | None = None,
    offsets: Mapping[int, tuple[int, int]] | None = None,
    partitions: Iterable[int] | int | None = None,
    slack: str = "1m",
    zone: tzinfo = UTC,
) -> plan.Plan:
    """Ask the broker for the offsets of the asked bounds.

    `labkit.lab.Lab.window` says what they may be.
    """
    bounds_given = [
        start is not None or end is not None,
        last is not None,
        on is not None,
        offsets is not None,
    ]
    if offsets is not None and partitions is not None:
        raise UsageError("offsets name their partitions already", hint="leave partitions out")
    if sum(bounds_given) > 1:
        raise UsageError(
            "give one of start/end, last, on, offsets",
            hint=typed('such as lab.window("irc", last="6h")', "such as --last 6h"),
        )
    present = cluster.partitions(topic)
    numbers = present if partitions is None else _present_partitions(partitions, present)
    warn_when_incomplete(cluster, topic)
    kind = _timestamp_type(cluster, topic)
    slack_ms = 0 if kind == "LogAppendTime" else times.length_ms(slack)
    now = times.now_ms()

    def bounds(at: str | int) -> Mapping[int, int]:
        return cluster.bounds(topic, numbers, at)

    if offsets is not None:
        spans = offset_ranges(offsets)
        resolved, words = plan.by_offsets(bounds, spans), "the given offsets"
    elif last is not None and (count := newest_count(last)) is not None:
        resolved = newest_records(cluster, topic, numbers, count)
        words = f"the newest {count:,} records"
    elif last is not None:
        resolved = plan.by_last_time(bounds, _last_ms(last), now, slack_ms)
        words = f"the last {times.length_text(last)}"
    elif on is not None:
        resolved = plan.by_time(bounds, *times.day_span(on, zone), slack_ms)
        words = f"on {on} (from {times.iso(resolved.start_ms, zone)} to {times.iso(resolved.end_ms, zone)})"
    else:
        resolved = plan.by_time(bounds, start, end, slack_ms, zone)
        first = _echo_bound(start, resolved.start_ms, zone)
        last = _echo_bound(end, resolved.end_ms, zone, "latest")
        words = f"from {first} to {last}"
    return plan.Plan(
        topic=topic,
        cluster_id=cluster.cluster_id,
        topic_id=cluster.topic_id(topic),
        ranges=resolved.ranges,
        start_ms=resolved.start_ms,
        end_ms=resolved.end_ms,
        timestamp_type=kind,
        asked=words + _of_partitions([span.partition for span in resolved.ranges], present),
        frozen_ms=now,
    )


def _last_ms(last: Any) -> int:
    try:
        return times.length_ms(last)
    except UsageError as error:
        hint = error.hint
        with suppress(UsageError):
            times.day_span(last)
            day = typed(f"on={last!r}", f"--on {shlex.quote(str(last))}")
            hint = f"the whole day, week or month is {day}"
        raise UsageError(error.message, hint=hint) from error


def warn_when_incomplete(cluster: Cluster, topic: str) -> None:
    """Warn of a scratch topic that has not all of the window that is copied into it."""
    if topic.startswith(names.TOPIC_PREFIX) and (why := names.shortfall(topic, cluster.topics())):
        warn(f"{topic!r} has not all of its window: {why}", IncompleteWarning)


def newest_records(
    cluster: Cluster,
    topic: str,
    partitions: Collection[int],
    count: int,
    bounds: plan.Bounds | None = None,
) -> plan.Resolved:
    """Return where the newest `count` records of these partitions are, by time.

    `bounds` has them of a part of the log; by default of all of it.
    """
    newest = _newest_time(cluster, topic, partitions) or times.now_ms()
    bounds = bounds or (lambda at: cluster.bounds(topic, partitions, at))
    return plan.by_last_records(bounds, count, newest)


def _newest_time(cluster: Cluster, topic: str, partitions: Iterable[int]) -> int | None:
    """Return the newest time of a record; None where no broker tells one."""
    answers = cluster.newest_times((topic, partition) for partition in partitions)
    return max((time for time in answers.values() if isinstance(time, int)), default=None)


def _echo_bound(asked_time: Any, ms: int | None, zone: tzinfo, without: str = "earliest") -> str:
    """Return a bound as it was asked for.

    The moment that it means follows where its words do not say that.
    """
    words = str(asked_time or without)
    plain = zone is UTC and re.match(r"\s*\d{4}-?\d", words)
    return words if ms is None or plain else f"{words} ({times.iso(ms, zone)})"


def _timestamp_type(cluster: Cluster, topic: str) -> str:
    try:
        return cluster.topic_settings([topic])[topic].get("message.timestamp.type", "CreateTime")
    except AccessError:
        warn(
            f"cannot read message.timestamp.type of {topic!r} (needs DescribeConfigs); assuming CreateTime"
        )
        return "CreateTime"


def _of_partitions(numbers: list[int], present: list[int]) -> str:
    """Return which of the topic's partitions are asked for; empty for all of them."""
    if numbers == present:
        return ""
    noun = "partition" if len(numbers) == 1 else "partitions"
    named = first_few([str(number) for number in numbers], _FEW)
    return f", {noun} {named} of {len(present):,}"


def _present_partitions(partitions: Iterable[int] | int, present: list[int]) -> list[int]:
    numbers = partition_numbers(partitions)
    if unknown := set(numbers) - set(present):
        raise WindowError(
            f"there is no partition {min(unknown)}; the topic has {len(present)}",
            hint="partitions count from 0",
        )
    return numbers
