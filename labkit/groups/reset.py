"""Move a group's committed offsets, or delete a group: plan first, refuse where it does harm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError

from labkit import times
from labkit.checks import names
from labkit.checks.suggest import typed, way
from labkit.checks.validation import offsets_by_partition
from labkit.errors import AccessError, NotFoundError, RefusedError, ServerError, UsageError
from labkit.groups.offsets import Group, list_groups, must_be_seen, near_group
from labkit.kafka.cluster import Cluster
from labkit.kafka.errors import Operation
from labkit.text.counts import number_of

if TYPE_CHECKING:
    import pandas as pd

_TO_HINT = '"earliest", "latest", a point in time (UTC), or {partition: offset}'


@dataclass(frozen=True)
class Move:
    """One partition: where its commit is and where it shall be."""

    partition: int
    committed: int | None
    target: int
    log_start: int
    log_end: int

    @property
    def moves(self) -> str:
        """Return in words what the move does."""
        if self.committed is None:
            return "first commit"
        step = self.target - self.committed
        return "stays" if not step else f"{abs(step):,} {'on' if step > 0 else 'back'}"


@dataclass(frozen=True)
class Plan:
    """What a reset would do; `execute` does it."""

    cluster: Cluster
    group: str
    topic: str
    moves: tuple[Move, ...]

    def execute(self) -> None:
        """Commit the targets for the group.

        Raises
        ------
        AccessError, ServerError
            When the broker refuses a partition; the message tells which, and which were set all the
            same.
        """
        action = Operation.READ.to(f"reset group {self.group!r}", group=self.group)
        targets = {move.partition: move.target for move in self.moves}
        if refused := self.cluster.groups.commit(self.group, self.topic, targets, what=action):
            raise self._refusal(refused, action)

    def _refusal(self, refused: dict[int, KafkaError], what: str) -> Exception:
        first = next(iter(refused.values()))
        moved = sorted({move.partition for move in self.moves} - refused.keys())
        cause = self.cluster.error(first, what)
        hint = cause.hint
        if first.code() in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.NON_EMPTY_GROUP):
            hint = "a consumer has joined it: stop it first"
        kind: type[AccessError | ServerError] = ServerError
        if isinstance(cause, AccessError):
            kind = AccessError
            hint = "it takes a principal that may READ this group: another role or profile"
        reasons: dict[str, list[int]] = {}
        for partition, error in refused.items():
            reasons.setdefault(error.str(), []).append(partition)
        where = "; ".join(
            f"{reason} (partition {', '.join(map(str, partitions))})"
            for reason, partitions in reasons.items()
        )
        text = (
            f"partitions {', '.join(map(str, moved))} were set" if moved else "nothing was changed"
        )
        return kind(
            f"{self.cluster.principal} could not reset group {self.group!r}: {where}; {text}",
            hint=hint,
            refused=list(refused),
            done=moved,
        )

    def frame(self, **facts: Any) -> pd.DataFrame:
        """Return the plan, one row per partition.

        Its columns: topic, partition, committed, target, moves, log_start, log_end.
        """
        import pandas as pd

        columns = ["topic", "partition", "committed", "target", "moves", "log_start", "log_end"]
        rows = [
            (
                self.topic,
                move.partition,
                move.committed,
                move.target,
                move.moves,
                move.log_start,
                move.log_end,
            )
            for move in self.moves
        ]
        frame = pd.DataFrame(rows, columns=columns).astype({"committed": "Int64"})
        frame.attrs.update(group=self.group, **facts)
        return frame


def plan_reset(
    cluster: Cluster,
    group: str,
    topic: str,
    to: str | Any | Mapping[int, int],
    *,
    i_own_this_group: bool = False,
    zone: tzinfo = UTC,
) -> Plan:
    """Return where a reset would move the group's commits in `topic`.

    A time without a zone is in `zone`.

    Raises
    ------
    RefusedError
        For a group that is not the lab's, unless `i_own_this_group`.
    NotFoundError
        When there is no such group or topic.
    ServerError
        While the group has members: they would go on where they are and commit over it.
    UsageError
        For offsets the log does not have.
    """
    names.group(group)
    if not i_own_this_group and not group.startswith(names.GROUP_PREFIX):
        raise RefusedError(
            f"group {group!r} is not the lab's to reset",
            hint=f"the lab only resets groups whose id starts with {names.GROUP_PREFIX!r}; a group of your own: "
            f"{typed('i_own_this_group=True', '--i-own-this-group')}",
            group=group,
        )
    if not isinstance(to, Mapping) and to not in ("earliest", "latest"):
        to = times.to_ms(to, zone)  # a wrong time fails before anything is asked
    partitions = cluster.partitions(topic)
    group_now = _resting(cluster, group)
    starts, ends = cluster.starts_and_ends(topic, partitions)
    moves = tuple(
        Move(p, group_now.committed.get((topic, p)), target, starts[p], ends[p])
        for p, target in sorted(_targets(cluster, topic, to, partitions).items())
    )
    outside = [move for move in moves if not move.log_start <= move.target <= move.log_end]
    if outside:
        where = ", ".join(
            f"{move.partition} has {move.log_start:,} to {move.log_end:,}" for move in outside[:8]
        )
        raise UsageError(f"offsets beyond the log of topic {topic!r}", hint=f"partition {where}")
    return Plan(cluster, group, topic, moves)


def _resting(cluster: Cluster, name: str) -> Group:
    """Return the group, which is there and has no members."""
    (group,) = list_groups(cluster, [name])
    must_be_seen(group, cluster)
    if group.members:
        members = ", ".join(f"{member.name} on {member.host}" for member in group.members[:5])
        raise ServerError(
            f"group {name!r} has {number_of(len(group.members), 'member')}: {members}",
            hint="stop its consumers first, then try again",
        )
    if not group.shows_members:
        raise ServerError(
            f"group {name!r} is not a consumer group ({group.protocol}): whether it has members cannot be seen",
            hint="stop it, then use Kafka's own tools: kafka-streams-groups or kafka-share-groups",
        )
    if group.gone:
        raise NotFoundError(
            f"there is no consumer group {name!r}",
            hint=f"{near_group(cluster, name)}{way('groups')} lists those you may see",
        )
    return group


def _targets(
    cluster: Cluster,
    topic: str,
    to: str | Any | Mapping[int, int],
    partitions: list[int],
) -> dict[int, int]:
    if isinstance(to, Mapping):
        targets = offsets_by_partition(to)
        unknown = set(targets) - set(partitions)
        if unknown or not to:
            numbers = ", ".join(map(str, sorted(unknown)))
            raise UsageError(
                f"topic {topic!r} has no partition {numbers}" if numbers else "no offset is given",
                hint=f"it has {len(partitions)}: {{0: 100}}",
            )
        return targets
    return cluster.offsets_from(topic, partitions, to)


def delete(cluster: Cluster, group: str) -> None:
    """Delete one of the lab's own groups with its commits.

    Raises
    ------
    RefusedError
        For any other group.
    NotFoundError, ServerError
        When it is not there; while it has members.
    """
    names.lab_group(group)
    _resting(cluster, group)
    cluster.groups.delete(group)
