"""Who may do what on the local stack's Kafka: four roles, the least each needs; and the topic ``irc``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from labkit.errors import StackError
from labkit.kafka import TIMEOUT_S, Cluster

TOPIC = "irc"
PARTITIONS = 4
RETENTION_MS = 7_776_000_000  # 90 days


@dataclass(frozen=True)
class Grant:
    """What one role may do on one kind of resource."""

    role: str
    kind: str
    name: str
    prefixed: bool
    operations: tuple[str, ...]


GRANTS = (
    Grant("extractor", "TOPIC", "irc", True, ("CREATE", "DESCRIBE", "WRITE")),
    Grant("indexer", "TOPIC", "*", False, ("DESCRIBE", "READ")),
    Grant("indexer", "GROUP", "indexer.", True, ("DESCRIBE", "READ")),
    Grant("lab", "TOPIC", "*", False, ("DESCRIBE", "DESCRIBE_CONFIGS", "READ")),
    Grant("lab", "GROUP", "*", False, ("DESCRIBE",)),
    Grant("lab", "GROUP", "labkit.", True, ("DELETE", "DESCRIBE", "READ")),
)


def bindings(grant: Grant) -> list[AclBinding]:
    """Return the ACLs of `grant`."""
    pattern = ResourcePatternType.PREFIXED if grant.prefixed else ResourcePatternType.LITERAL
    return [
        AclBinding(
            ResourceType[grant.kind],
            grant.name,
            pattern,
            f"User:{grant.role}",
            "*",
            AclOperation[operation],
            AclPermissionType.ALLOW,
        )
        for operation in grant.operations
    ]


def ensure(admin: Cluster, timeout_s: float = 30) -> None:
    """Make the roles' ACLs and the topic, and wait until the broker knows them.

    An ACL takes effect a moment after ``create_acls`` returns, so the broker is asked until it does.
    """
    wanted = [acl for grant in GRANTS for acl in bindings(grant)]
    missing = [acl for acl in wanted if acl not in _known(admin)]
    if missing:
        admin.ask(lambda client: client.create_acls(missing, request_timeout=TIMEOUT_S), what="create ACLs")
    if TOPIC not in admin.topics():
        topic = NewTopic(TOPIC, PARTITIONS, 1, config={"retention.ms": str(RETENTION_MS)})
        admin.ask(lambda client: client.create_topics([topic]), what=f"create topic {TOPIC!r}")
    deadline = time.monotonic() + timeout_s
    while not (set(wanted) <= _known(admin) and TOPIC in admin.topics()):
        if time.monotonic() > deadline:
            raise StackError("Kafka did not take the access rules in time", hint="run `labkit up` again")
        time.sleep(0.1)


def _known(admin: Cluster) -> set[Any]:
    every = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    return set(admin.ask(lambda client: client.describe_acls(every, request_timeout=TIMEOUT_S), what="describe ACLs"))
