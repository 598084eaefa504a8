"""Which groups there are: a list that is whole, or an error, never a part of it.

Each broker lists the groups it coordinates, and says nothing of those it is about to: on three
brokers, 87 of 102 lists of a rolling restart lacked groups without any error. So a list counts when

* every broker of the metadata has answered,
* every coordinator is at work: each partition of ``__consumer_offsets`` has a leader, and that describes a group that
  would be there (a coordinator that loads or moves refuses),
* nothing of that has changed meanwhile, and
* a second list agrees, but for groups that their coordinator says are gone: the older request, which also names the
  groups that are not consumer groups.

A cluster that never had a group has no ``__consumer_offsets``. Of several brokers one may not have heard of it yet, so
that it is missing is asked for twice, by two clients.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

from labkit.errors import AccessError, DeadlineError, LabkitError, NotFoundError, ServerError
from labkit.groups.kinds import OtherGroup, list_all, other_groups
from labkit.kafka.cluster import Cluster
from labkit.kafka.connection import AGAIN_S, MOVING_S
from labkit.kafka.errors import ACCESS, MISSING, PASSING, Operation

OFFSETS_TOPIC = "__consumer_offsets"
WHAT = Operation.DESCRIBE.to("list the groups")
_DEAD = "dead"


@dataclass(frozen=True)
class _Coordinators:
    """Which brokers there are, and which leads each partition of `OFFSETS_TOPIC`.

    `leaders` is None where this principal may not see the topic, empty where there is none.
    """

    brokers: frozenset[int]
    leaders: tuple[int, ...] | None


@dataclass(frozen=True)
class Listing:
    """Every group but the one with the empty id.

    That is of consumers without group.id, and the client cannot ask for it.

    Attributes
    ----------
    consumers : dict
        Name to librdkafka's listing of a consumer group.
    others : dict
        Name to a group of another kind.
    """

    consumers: dict[str, Any]
    others: dict[str, OtherGroup]


class _NotWholeError(Exception):
    """Why a list may lack groups."""


def list_whole(cluster: Cluster, *, patience_s: float = MOVING_S) -> Listing:
    """Return every group, as soon as the list of them is whole.

    Raises
    ------
    DeadlineError
        When it was not whole within `patience_s`; the message says why.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return _list_twice(cluster)
        except _NotWholeError as error:
            if time.monotonic() > deadline:
                raise DeadlineError(
                    f"the list of groups is incomplete: {error}",
                    hint="a broker may be down or still load its groups: try again in a moment; `labkit doctor`",
                ) from error
        time.sleep(AGAIN_S)


def _list_twice(cluster: Cluster) -> Listing:
    before = _coordinators(cluster)
    _require_at_work(cluster, before)
    consumers = {group.group_id: group for group in _list(cluster)}
    groups = list_all(cluster)
    consumers_again = {
        group.id for group in groups if group.id and group.protocol_type == "consumer"
    }
    missing = sorted(
        (consumers.keys() - {group.id for group in groups}) | (consumers_again - consumers.keys())
    )
    if missing and not _are_gone(cluster, missing):
        raise _NotWholeError("two lists of it differ")
    if before.leaders == () and len(before.brokers) > 1:
        time.sleep(AGAIN_S)
        cluster.renew()  # a new client may ask another broker
    if _coordinators(cluster) != before:
        raise _NotWholeError("coordinators move")
    return Listing(consumers, other_groups(groups, consumers))


def _coordinators(cluster: Cluster) -> _Coordinators:
    metadata = cluster.ask_blocking(
        lambda admin, timeout_s: admin.list_topics(OFFSETS_TOPIC, timeout=timeout_s), what=WHAT
    )
    brokers, topic = frozenset(metadata.brokers), metadata.topics[OFFSETS_TOPIC]
    if topic.error is not None:
        if topic.error.code() in ACCESS:
            return _Coordinators(brokers, None)
        if topic.error.code() not in MISSING:
            raise _NotWholeError(topic.error.str())
    leaders = tuple(topic.partitions[number].leader for number in sorted(topic.partitions))
    away = [number for number, leader in enumerate(leaders) if leader not in brokers]
    if away:
        raise _NotWholeError(
            f"no broker coordinates the groups in {OFFSETS_TOPIC} {', '.join(map(str, away))}"
        )
    return _Coordinators(brokers, leaders)


def _require_at_work(cluster: Cluster, coordinators: _Coordinators) -> None:
    """Raise unless every coordinator answers for its groups.

    Those this principal may not describe cannot tell.
    """
    if not coordinators.leaders:
        return
    answers = cluster.groups.describe(list(_probes(len(coordinators.leaders))))
    for name, answer in answers.items():
        if isinstance(answer, LabkitError) and not isinstance(answer, AccessError | NotFoundError):
            number = partition_of(name, len(coordinators.leaders))
            broker = coordinators.leaders[number]
            raise _NotWholeError(
                f"broker {broker} does not answer for its groups ({answer.message})"
            )


def _are_gone(cluster: Cluster, names: list[str]) -> bool:
    """Tell whether the coordinators say that none of the groups is there any more."""
    return all(
        isinstance(answer, NotFoundError)
        or (not isinstance(answer, LabkitError) and answer.state == _DEAD)
        for answer in cluster.groups.describe(names).values()
    )


def _list(cluster: Cluster) -> list[Any]:
    """Return what the brokers list, each of which must answer."""
    action, timeout_s = WHAT, cluster.request_timeout_s
    answer = cluster.ask(
        lambda admin: admin.list_consumer_groups(request_timeout=timeout_s), what=action
    )
    for error in answer.errors or []:
        failure = cluster.error(error, action)
        if error.code() not in PASSING and isinstance(failure, ServerError | AccessError):
            raise failure
        cluster.renew()  # it would ask a broker that is dead as long as it lives
        raise _NotWholeError(error.str())
    return [group for group in answer.valid if group.group_id]


@cache
def _probes(partitions: int) -> tuple[str, ...]:
    """Return a group's name for each partition of `OFFSETS_TOPIC`.

    None of these groups is there.
    """
    names: dict[int, str] = {}
    for number in count():
        name = f"labkit-probe-{number}"
        names.setdefault(partition_of(name, partitions), name)
        if len(names) == partitions:
            return tuple(names.values())
    raise AssertionError


def partition_of(group: str, partitions: int) -> int:
    """Return the partition of `OFFSETS_TOPIC` that holds a group.

    It follows from Java's ``String.hashCode`` of the group's name.
    """
    code = 0
    for unit in memoryview(group.encode("utf-16-le")).cast("H"):
        code = (31 * code + unit) & 0xFFFFFFFF
    return (code & 0x7FFFFFFF) % partitions
