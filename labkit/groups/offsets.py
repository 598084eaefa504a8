"""Every consumer group's members, committed offsets and lag, asked of the broker."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from confluent_kafka import ConsumerGroupState, KafkaError

from labkit.checks.names import check_patterns, choose
from labkit.checks.suggest import did_you_mean
from labkit.errors import AccessError, LabkitError, NotFoundError
from labkit.groups.kinds import NEWER, STREAMS, OtherGroup
from labkit.groups.lag import total_lag
from labkit.groups.listing import Listing, list_whole
from labkit.groups.looks import UNSEEN, PartitionLag
from labkit.groups.states import Flag, Verdict
from labkit.groups.verdicts import judge_without_partitions
from labkit.kafka.cluster import Cluster, Where
from labkit.kafka.errors import Operation
from labkit.kafka.groups import Description, Member

if TYPE_CHECKING:
    import pandas as pd

WITH_COMMIT = "group with a commit"
REFUSED, MISSED, GONE = Flag.NOT_ALLOWED, Flag.NO_ANSWER, "dead"


@dataclass(frozen=True)
class Group:
    """One consumer group as the broker describes it.

    Attributes
    ----------
    state : str
        ``stable``, ``empty``, ``rebalancing`` (KIP-848), …; ``not allowed`` when this principal may
        not describe it, ``no answer`` when its coordinator gave none.
    protocol : str
        ``classic`` or ``consumer`` (KIP-848); of groups that are not consumer groups their kind:
        ``connect``, ``schema registry``, ``streams`` (KIP-1071), or ``streams or share`` where the
        client cannot tell.
    committed : dict
        (topic, partition) to committed offset; partitions without a commit are absent.
    shows_members : bool
        Whether the client can see members: not of Kafka Streams' own kind and of share groups.
    error : LabkitError or None
        Why it could not be looked at: then that it has no member and no commit says nothing.
    """

    name: str
    state: str
    protocol: str
    members: tuple[Member, ...]
    committed: dict[tuple[str, int], int]
    error: LabkitError | None = None
    shows_members: bool = True

    @property
    def hidden(self) -> bool:
        """Whether nothing but its name can be seen.

        That is so for a share group, which commits no offsets.
        """
        return not (self.shows_members or self.committed)

    @property
    def gone(self) -> bool:
        """Whether there is no such group, or not any more."""
        return self.state == GONE and not self.committed


def list_groups(
    cluster: Cluster, names: Iterable[str] | None = None, *, listing: Listing | None = None
) -> list[Group]:
    """Return the groups with their members and committed offsets, by name.

    Groups that are not consumer groups are among them.

    Parameters
    ----------
    names : iterable of str, optional
        Only these, also when they are not there (state ``dead``); all by default.
    listing : Listing, optional
        All that there are, when that was asked already.

    Raises
    ------
    DeadlineError
        When a list of all cannot be had whole, see `labkit.groups.listing`.
    """
    kinds: dict[str, str] = {}
    other_groups_by_name: dict[str, OtherGroup] = {}
    if names is None:
        cluster.groups.prepare()
        listing = listing or list_whole(cluster)
        kinds = {name: _word(group.type) for name, group in listing.consumers.items()}
        other_groups_by_name = listing.others
        chosen_names = sorted({*kinds, *other_groups_by_name})
        # a group without a member has nothing to describe: with many at rest that is half of the
        # work
        busy = sorted(
            name
            for name, group in listing.consumers.items()
            if group.state != ConsumerGroupState.EMPTY
        )
    else:
        chosen_names = busy = sorted(set(names))
    described = cluster.groups.describe(busy)
    if names is not None and any(_may_be_of_another_kind(answer) for answer in described.values()):
        other_groups_by_name = list_whole(cluster).others
    committed = cluster.groups.committed(chosen_names)
    groups = [
        _other_group(other_groups_by_name[name], committed[name])
        if name in other_groups_by_name
        else _group(name, described.get(name), committed[name], kinds.get(name, ""))
        for name in chosen_names
    ]
    return [group for group in groups if not group.gone] if names is None else groups


def must_be_seen(group: Group, cluster: Cluster) -> None:
    """Raise why a group could not be looked at, if so."""
    if group.state == REFUSED:
        action = Operation.DESCRIBE.to(f"describe group {group.name!r}", group=group.name)
        raise cluster.error(
            KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED), action
        ) from group.error
    if group.error is not None:
        raise group.error


def names_by_members(listing: Listing) -> dict[str, bool]:
    """Return the groups' names, and whether each has members, or may have."""
    consumers = {
        name: group.state != ConsumerGroupState.EMPTY for name, group in listing.consumers.items()
    }
    return consumers | {
        name: bool(group.members) or not group.shows_members
        for name, group in listing.others.items()
    }


def _word(kind: Any) -> str:
    return str(getattr(kind, "name", "") or "").lower()


def _may_be_of_another_kind(described: Description | LabkitError) -> bool:
    """Tell whether a description may be of a group that is not a consumer group."""
    if isinstance(described, LabkitError):
        return described.facts.get("number") == KafkaError._INVALID_ARG or isinstance(
            described, NotFoundError
        )
    return bool(described.state == GONE)


def _other_group(other: OtherGroup, answer: dict[tuple[str, int], int] | LabkitError) -> Group:
    members = tuple(
        Member(client, host, frozenset(), member) for client, member, host in other.members
    )
    if isinstance(answer, LabkitError):
        state = REFUSED if isinstance(answer, AccessError) else MISSED
        return Group(other.name, state, other.kind, members, {}, answer, other.shows_members)
    kind = STREAMS if other.kind == NEWER and answer else other.kind
    return Group(other.name, other.state, kind, members, answer, None, other.shows_members)


def _group(
    name: str,
    found: Description | LabkitError | None,
    answer: dict[tuple[str, int], int] | LabkitError,
    kind: str,
) -> Group:
    errors = [result for result in (found, answer) if isinstance(result, LabkitError)]
    if any(isinstance(error, NotFoundError) for error in errors):
        return Group(name, GONE, kind, (), {})
    if isinstance(found, LabkitError) or isinstance(answer, LabkitError):
        refused = any(isinstance(error, AccessError) for error in errors)
        return Group(name, REFUSED if refused else MISSED, kind, (), {}, errors[0])
    if found is None:
        return Group(name, "empty", kind, (), answer)
    ordered = tuple(sorted(found.members, key=lambda one: (one.client_id, one.member_id)))
    kind = kind or found.kind
    return Group(name, _state(found.state, kind), kind, ordered, answer)


def _state(state: str, kind: str) -> str:
    """Return the state.

    Librdkafka has no word for those KIP-848 adds, and both are of a rebalance.
    """
    return "rebalancing" if (state, kind) == ("unknown", "consumer") else state


def lags(cluster: Cluster, groups: Iterable[Group]) -> list[PartitionLag]:
    """Return one row per group and partition it has committed to or is assigned.

    Those of topics that are gone not.
    """
    groups = list(groups)
    owned: dict[str, dict[Where, Member]] = {group.name: {} for group in groups}
    for group in groups:
        for member in group.members:
            owned[group.name] |= dict.fromkeys(member.assigned, member)
    places = {where for group in groups for where in group.committed}.union(*owned.values())
    # a group may outlive its topic, or read one the lab may not see
    bounds = cluster.log_bounds(places)
    gone = {where for where, answer in bounds.items() if isinstance(answer, NotFoundError)}
    rows = []
    for group in groups:
        members = owned[group.name]
        present = (group.committed.keys() | members.keys()) - gone
        rows += [_row(group, where, bounds[where], members.get(where)) for where in sorted(present)]
    return rows


def _row(
    group: Group,
    where: tuple[str, int],
    bounds: tuple[int, int] | LabkitError,
    member: Member | None,
) -> PartitionLag:
    committed = group.committed.get(where)
    client, host = (member.name, member.host) if member else ("", "")
    if isinstance(bounds, LabkitError):
        return PartitionLag(
            group.name, *where, committed, None, None, None, _unseen(bounds), client, host
        )
    lag, flag = partition_lag(committed, *bounds)
    return PartitionLag(group.name, *where, committed, *bounds, lag, flag, client, host)


def _unseen(error: LabkitError) -> Flag:
    if isinstance(error, AccessError):
        return REFUSED
    return Flag.NO_LEADER if error.facts.get("leaderless") else MISSED


def partition_lag(committed: int | None, log_start: int, log_end: int) -> tuple[int | None, Flag]:
    """Return the lag in offsets and what is odd about it."""
    if committed is None:
        return None, Flag.NO_COMMIT
    if committed < log_start:
        return log_end - log_start, Flag.EXPIRED
    if committed > log_end:
        return 0, Flag.BEYOND_END
    return log_end - committed, Flag.NONE


def offsets_frame(cluster: Cluster, patterns: Iterable[str] = ()) -> pd.DataFrame:
    """Return one row per partition of the groups that a pattern matches, as `PartitionLag` is."""
    import pandas as pd

    columns, patterns = list(PartitionLag.__dataclass_fields__), list(patterns)
    rows = lags(cluster, matching_groups(cluster, patterns))
    listed = {row.group for row in rows}
    cluster.warn_of_missing(WITH_COMMIT, listed, patterns, partial(near_group, cluster))
    frame = pd.DataFrame(map(attrgetter(*columns), rows), columns=columns)
    return frame.astype(dict.fromkeys(("committed", "log_start", "log_end", "lag"), "Int64"))


def groups_frame(cluster: Cluster, patterns: Iterable[str] = ()) -> pd.DataFrame:
    """Return one row per group that a pattern matches, with the verdict of one look.

    See `labkit.lab.Lab.groups`.
    """
    import pandas as pd

    patterns = list(patterns)
    groups = matching_groups(cluster, patterns)
    listed = [group.name for group in groups]
    cluster.warn_of_missing("group", listed, patterns, partial(near_group, cluster))
    by_group: dict[str, list[PartitionLag]] = {group.name: [] for group in groups}
    for row in lags(cluster, groups):
        by_group[row.group].append(row)
    rows = []
    for group in groups:
        mine = by_group[group.name]
        lag, _ = total_lag(mine)
        topics = ", ".join(sorted({row.topic for row in mine}))
        rows.append(
            (
                group.name,
                group.state,
                group.protocol,
                len(group.members) if group.shows_members else None,
                topics,
                lag,
                one_look(group, mine, lag),
            )
        )
    frame = pd.DataFrame(
        rows, columns=["group", "state", "protocol", "members", "topics", "lag", "verdict"]
    )
    return frame.astype({"members": "Int64", "lag": "Int64"})


def matching_groups(cluster: Cluster, patterns: Iterable[str]) -> list[Group]:
    """Return the groups that a pattern matches, or all, with their commits and members."""
    patterns = check_patterns(patterns)
    cluster.groups.prepare()
    listing = list_whole(cluster)
    consumers = {name: listing.consumers[name] for name in choose(listing.consumers, patterns)}
    others = {name: listing.others[name] for name in choose(listing.others, patterns)}
    return list_groups(cluster, listing=Listing(consumers, others))


def one_look(group: Group, rows: list[PartitionLag], lag: int | None) -> Verdict:
    """Return the verdict of one look at a group.

    It is ``ok`` (lag 0), ``stopped`` (no reader, records left), ``idle`` (workers that read nothing
    by it), else ``unknown``.
    """
    if not rows and group.error is None:
        return judge_without_partitions(group)[0]
    if lag is None or any(row.flag == Flag.BEYOND_END or row.flag in UNSEEN for row in rows):
        return Verdict.UNKNOWN
    if lag == 0:
        return Verdict.OK
    return Verdict.UNKNOWN if group.members or not group.shows_members else Verdict.STOPPED


def near_group(cluster: Cluster, name: str) -> str:
    """Return which group may have been meant by one that is not there."""
    with suppress(LabkitError):
        return did_you_mean(name, names_by_members(list_whole(cluster)))
    return ""
