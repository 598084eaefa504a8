"""Hold a plan's frozen offsets against what the log has now, before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from confluent_kafka import TopicPartition

from labkit.checks.suggest import typed
from labkit.errors import WindowError, WindowExpiredError
from labkit.kafka.cluster import Cluster, replay_group
from labkit.kafka.connection import MOVING_S
from labkit.replay.account import Account, peek_end
from labkit.replay.plan import Plan
from labkit.replay.receipt import StopReason
from labkit.times import iso


def log_bounds(
    cluster: Cluster, plan: Plan, at: str, *, patience_s: float = MOVING_S
) -> dict[int, int]:
    """Return where the log of each partition of the plan begins, ends or is stable."""
    partitions = [span.partition for span in plan.ranges]
    return cluster.bounds(plan.topic, partitions, at, patience_s=patience_s)


def check_log(
    cluster: Cluster, plan: Plan, accounts: Mapping[int, Account], *, clamp: bool
) -> list[str]:
    """Compare offsets and ids, and return what to note; an account of which nothing is left ends.

    Raises
    ------
    WindowError
        When the topic is not the one the window was made of, or ends earlier than it did.
    WindowExpiredError
        When records are gone, unless `clamp` allows to read what is left.
    """
    _check_topic(cluster, plan)
    earliest, latest = log_bounds(cluster, plan, "earliest"), log_bounds(cluster, plan, "latest")
    check = _Check(cluster, plan, clamp)
    notes = []
    for partition, account in accounts.items():
        start, end = account.range.start, account.range.end
        if not account.range.size and not earliest[partition] <= end < peek_end(account, plan):
            account.stop_reason = StopReason.END
        elif end > latest[partition]:
            notes.append(check.cut_back(account, latest[partition]))
        elif start < earliest[partition]:
            notes.append(check.take_expired(account, earliest[partition]))
    return notes


def _check_topic(cluster: Cluster, plan: Plan) -> None:
    if plan.cluster_id != cluster.cluster_id:
        raise WindowError(
            f"this window was made on cluster {plan.cluster_id}, this is {cluster.cluster_id}",
            hint="connect to the cluster it was made on, or make a new window",
        )
    partitions = cluster.partitions(plan.topic)
    if cluster.topic_id(plan.topic) != plan.topic_id:
        raise _recreated_error(plan.topic, "is not the one this window was made of")
    if any(span.partition not in partitions for span in plan.ranges):
        raise _recreated_error(plan.topic, "has fewer partitions than the window")


def _recreated_error(topic: str, how: str) -> WindowError:
    return WindowError(
        f"topic {topic!r} {how}",
        hint="it was made again since, or this is another cluster; make a new window",
    )


@dataclass(frozen=True)
class _Check:
    """What becomes of a partition that lacks records of its frozen range: refused, or clamped."""

    cluster: Cluster
    plan: Plan
    clamp: bool

    def cut_back(self, account: Account, log_end: int) -> str:
        """Take what is left of a log that ends earlier than it did; the topic is the very same."""
        partition, end = account.range.partition, account.range.end
        text = (
            f"partition {partition} of {self.plan.topic!r} was cut back: "
            f"it ends at {log_end:,}, the window at {end:,}"
        )
        if not self.clamp:
            raise WindowError(
                text,
                hint="an unclean leader election loses records; make a new window, or read what is there with "
                + _clamp(),
                partition=partition,
                log_end=log_end,
            )
        account.range = replace(
            account.range, end=max(account.range.start, log_end), log_end=log_end
        )
        account.cut = end - account.range.end
        if not account.range.size:
            account.stop_reason = StopReason.TRUNCATED
        return text

    def take_expired(self, account: Account, available: int) -> str:
        """Take what is left of a log whose first records are deleted."""
        partition = account.range.partition
        missing = min(available, account.range.end) - account.range.start
        if not self.clamp:
            first_ms = _first_available_ms(self.cluster, self.plan, partition)
            raise WindowExpiredError(
                f"{missing:,} offsets of partition {partition} of {self.plan.topic!r} are gone: "
                f"the first available is {available} ({iso(first_ms) or 'no record'}), "
                f"the window starts at {account.range.start}",
                hint=f"make a new window, or read what is left with {_clamp()}",
                partition=partition,
                first_offset=available,
                first_timestamp_ms=first_ms,
            )
        account.position = available
        if available >= account.range.end:
            account.position, account.stop_reason = account.range.start, StopReason.EXPIRED
        else:
            account.range = replace(account.range, start=available)
        return f"partition {partition}: {missing:,} offsets are gone, read from {available}"


def _first_available_ms(cluster: Cluster, plan: Plan, partition: int) -> int | None:
    """Return the timestamp of the partition's first record."""
    consumer = cluster.consumer(group=replay_group(), enable_partition_eof=True)
    try:
        start = log_bounds(cluster, plan, "earliest")[partition]
        consumer.assign([TopicPartition(plan.topic, partition, start)])
        message = consumer.poll(5)
        stamp = -1 if message is None or message.error() else int(message.timestamp()[1])
        return None if stamp < 0 else stamp
    finally:
        consumer.close()


def _clamp() -> str:
    return typed('on_expired="clamp"', "`labkit replay --on-expired clamp`")
