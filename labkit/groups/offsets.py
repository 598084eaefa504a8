"""Every consumer group's members, committed offsets and lag, asked of the broker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from labkit.errors import AccessError, NotFoundError
from labkit.kafka import TIMEOUT_S, Cluster


@dataclass(frozen=True)
class Member:
    """One consumer of a group."""

    client_id: str
    host: str
    assigned: frozenset[tuple[str, int]]


@dataclass(frozen=True)
class Group:
    """One consumer group as the broker describes it.

    Attributes
    ----------
    committed : dict
        (topic, partition) to committed offset; partitions without a commit are absent.
    """

    name: str
    state: str
    protocol: str
    members: tuple[Member, ...]
    committed: dict[tuple[str, int], int]


@dataclass(frozen=True)
class PartitionLag:
    """One partition of one group.

    Attributes
    ----------
    committed : int or None
        None when the group has committed nothing: that is not offset 0.
    lag : int or None
        Records-to-come by offsets, from no earlier than the log's start; None without a commit.
    flag : str
        ``""``, ``no commit``, ``expired`` (committed before the log's start), ``beyond end`` (topic re-created?).
    """

    group: str
    topic: str
    partition: int
    committed: int | None
    log_start: int
    log_end: int
    lag: int | None
    flag: str
    member: str
    host: str


def list_groups(cluster: Cluster, names: Iterable[str] | None = None) -> list[Group]:
    """Return the groups with their members and committed offsets, by name.

    Parameters
    ----------
    names : iterable of str, optional
        Only these; all by default.
    """
    if names is None:
        found = cluster.ask(lambda admin: admin.list_consumer_groups(request_timeout=TIMEOUT_S), what="list the groups")
        names = [one.group_id for one in found.valid]
    wanted = sorted(set(names))
    if not wanted:
        return []
    described = cluster.ask(
        lambda admin: admin.describe_consumer_groups(wanted, request_timeout=TIMEOUT_S), what="describe the groups"
    )
    committed = _committed(cluster, wanted)
    return [_group(name, described[name], committed[name]) for name in wanted]


def _committed(cluster: Cluster, wanted: list[str]) -> dict[str, dict[tuple[str, int], int]]:
    """Ask all groups' offsets at once: each request is for one group, the answers come in together."""

    def ask(admin: AdminClient) -> dict[str, object]:
        return {
            name: admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)], request_timeout=TIMEOUT_S)[
                name
            ]
            for name in wanted
        }

    answers = cluster.ask(ask, what="list the groups' offsets")
    return {
        name: {(one.topic, one.partition): one.offset for one in answer.topic_partitions if one.offset >= 0}
        for name, answer in answers.items()
    }


def _group(name: str, found: object, committed: dict[tuple[str, int], int]) -> Group:
    members = tuple(
        Member(
            client_id=one.client_id,
            host=str(one.host).lstrip("/"),
            assigned=frozenset((tp.topic, tp.partition) for tp in one.assignment.topic_partitions),
        )
        for one in found.members  # type: ignore[attr-defined]
    )
    kind = getattr(found, "type", None)
    protocol = getattr(kind, "name", "") or ""
    state = found.state.name  # type: ignore[attr-defined]
    return Group(name, state.lower(), protocol.lower(), tuple(sorted(members, key=lambda m: m.client_id)), committed)


def lags(cluster: Cluster, groups: Iterable[Group]) -> list[PartitionLag]:
    """Return one row per group and partition it has committed to or is assigned."""
    rows, groups = [], list(groups)
    owners = {(group.name, where): member for group in groups for member in group.members for where in member.assigned}
    wanted = {where for group in groups for where in group.committed} | {where for _, where in owners}
    starts, ends = _log_bounds(cluster, wanted)
    for group in groups:
        mine = set(group.committed) | {where for name, where in owners if name == group.name}
        for topic, partition in sorted(mine & set(ends)):
            where = (topic, partition)
            committed, start, end = group.committed.get(where), starts[where], ends[where]
            lag, flag = partition_lag(committed, start, end)
            member = owners.get((group.name, where))
            rows.append(
                PartitionLag(
                    group.name, topic, partition, committed, start, end, lag, flag,
                    member.client_id if member else "", member.host if member else "",
                )
            )  # fmt: skip
    return rows


def partition_lag(committed: int | None, log_start: int, log_end: int) -> tuple[int | None, str]:
    """Return the lag in offsets and what is odd about it."""
    if committed is None:
        return None, "no commit"
    if committed < log_start:
        return log_end - log_start, "expired"
    if committed > log_end:
        return 0, "beyond end"
    return log_end - committed, ""


def _log_bounds(
    cluster: Cluster, wanted: set[tuple[str, int]]
) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], int]]:
    by_topic: dict[str, list[int]] = {}
    for topic, partition in wanted:
        by_topic.setdefault(topic, []).append(partition)
    starts: dict[tuple[str, int], int] = {}
    ends: dict[tuple[str, int], int] = {}
    for topic, partitions in by_topic.items():
        try:
            starts |= {(topic, p): offset for p, offset in cluster.bounds(topic, partitions, "earliest").items()}
            ends |= {(topic, p): offset for p, offset in cluster.bounds(topic, partitions, "latest").items()}
        except (NotFoundError, AccessError):  # a group may outlive its topic, or read one the lab may not see
            continue
    return starts, ends
