"""Groups that are not consumer groups: Connect, schema registries, Kafka Streams, share groups.

librdkafka's `list_consumer_groups` leaves them out, and `describe_consumer_groups` refuses them or
calls them dead. Its older `list_groups` names every group there is, with members and protocol type
of those that use the classic protocol. Of newer kinds (KIP-1071 Streams, KIP-932 share groups) it
tells the name alone: only that a group has committed offsets shows that it is no share group.
"""

from __future__ import annotations

import warnings
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

from labkit.kafka.cluster import Cluster
from labkit.kafka.errors import Operation

STREAMS, NEWER = "streams", "streams or share"
CONNECT, REGISTRY = "connect", "schema registry"
WORKERS = (CONNECT, REGISTRY)
"""Their members share work by the group, and keep their offsets elsewhere or have none."""
_WORDS = {"sr": REGISTRY}
_DEAD = "dead"


@dataclass(frozen=True)
class OtherGroup:
    """A group of another kind.

    Attributes
    ----------
    kind : str
        ``connect``, ``schema registry`` or the protocol type that the members use; `NEWER` where
        the client cannot tell more.
    members : tuple of (client id, member id, host)
        Empty where the client cannot see them, see `shows_members`.
    """

    name: str
    kind: str
    state: str
    members: tuple[tuple[str, str, str], ...]

    @property
    def shows_members(self) -> bool:
        """Whether the client can see who its members are."""
        return self.kind != NEWER


def list_all(cluster: Cluster) -> list[Any]:
    """Return the client's older list of every group: id, state, protocol type, members."""

    def call(admin: Any, timeout_s: float) -> list[Any]:
        with warnings.catch_warnings():
            # what replaces it names consumer groups only
            warnings.simplefilter("ignore", DeprecationWarning)
            return list(admin.list_groups(timeout=timeout_s))

    return cluster.ask_blocking(call, what=Operation.DESCRIBE.to("list the groups"))


def other_groups(
    listed: Iterable[Any], consumer_groups: Container[str] = ()
) -> dict[str, OtherGroup]:
    """Return every group of `list_all` that is not among `consumer_groups`, by name."""
    candidates = (group for group in listed if group.id and group.id not in consumer_groups)
    return {
        group.id: other_group
        for group in candidates
        if (other_group := _other_group(group)) is not None
    }


def _other_group(listed: Any) -> OtherGroup | None:
    """Return what the client tells of one group.

    It is None for a consumer group that came after the others were listed.
    """
    if listed.protocol_type == "consumer":
        return None
    state = _snake_case(listed.state)
    if not listed.protocol_type:
        return OtherGroup(listed.id, NEWER, "unknown", ()) if state == _DEAD else None
    members = tuple(
        sorted(
            (member.client_id, member.id, member.client_host.lstrip("/"))
            for member in listed.members
        )
    )
    return OtherGroup(
        listed.id, _WORDS.get(listed.protocol_type, listed.protocol_type), state, members
    )


def _snake_case(state: str) -> str:
    """Return such as ``preparing_rebalance`` for PreparingRebalance."""
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in state).lstrip("_")
