"""The end of the lab's own groups: deleted by the last member, or by `lab.gc()`."""

from __future__ import annotations

import time
from collections.abc import Iterator

from labkit.checks import names
from labkit.checks.user_line import warn
from labkit.errors import LabkitError, NotFoundError
from labkit.groups.offsets import Group, list_groups, must_be_seen
from labkit.kafka.cluster import Cluster
from labkit.kafka.connection import AGAIN_S, MOVING_S, NOTICE_S
from labkit.waiting.notice import WaitNotice


def wait_until_left(cluster: Cluster, group: str, member_id: str | None, session_s: float) -> None:
    """Wait until the coordinator counts a member no more that has left.

    One that took over meanwhile does not know of it, and counts it until its session ends.
    """
    deadline = time.monotonic() + MOVING_S + session_s
    notice = WaitNotice(warn, quiet_s=NOTICE_S)
    while time.monotonic() < deadline:
        described = cluster.groups.describe([group])[group]
        if isinstance(described, NotFoundError):
            return
        if not isinstance(described, LabkitError) and member_id not in {
            member.member_id for member in described.members
        }:
            return
        notice.wait("Kafka", f"the coordinator of group {group!r} has not heard that you left")
        time.sleep(AGAIN_S)


def delete_group(cluster: Cluster, group: str) -> None:
    """Delete one of the lab's own groups.

    One that never committed is not there, which is as well.
    """
    names.lab_group(group)
    try:
        cluster.groups.delete(group)
    except NotFoundError:
        return


def collect_groups(cluster: Cluster) -> Iterator[str]:
    """Delete this user's ad hoc groups that have no member; yield the name of each that is gone.

    One that could not be looked at is an error, once the others are gone.
    """
    groups = list_own_groups(cluster)
    for group in groups:
        if group.error is None and group.shows_members and not group.members:
            delete_group(cluster, group.name)
            yield group.name
    for group in groups:
        must_be_seen(group, cluster)


def list_own_groups(cluster: Cluster) -> list[Group]:
    """Return this user's ad hoc groups."""
    mine = names.adhoc_group("x").removesuffix("x")
    return [group for group in list_groups(cluster) if group.name.startswith(mine)]
