"""Who may do what on the local stack's Kafka: four roles, the least each needs.

And the topic ``irc``.
"""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from labkit.acl import kafka_grants
from labkit.errors import StackError
from labkit.kafka.cluster import TIMEOUT_S, Cluster
from labkit.kafka.errors import Operation
from labkit.kafka.new_topic import ensure_topic

TOPIC = "irc"
PARTITIONS = 4
RETENTION_MS = 7_776_000_000  # 90 days


_TOPICS = {"extractor": TOPIC, "indexer": "*", "lab": "*"}


def bindings() -> list[AclBinding]:
    """Return the ACLs of all roles."""
    return [
        AclBinding(
            ResourceType[grant.kind],
            grant.name,
            ResourcePatternType.PREFIXED if grant.prefixed else ResourcePatternType.LITERAL,
            f"User:{role}",
            "*",
            AclOperation[operation],
            AclPermissionType.DENY if grant.denied else AclPermissionType.ALLOW,
        )
        for role, topic in _TOPICS.items()
        for grant in kafka_grants(role, topic)
        for operation in grant.operations
    ]


def ensure(admin: Cluster, timeout_s: float = 30) -> None:
    """Make the roles' ACLs and the topic, and wait until the broker knows them.

    An ACL takes effect a moment after ``create_acls`` returns, so the broker is asked until it
    does.
    """
    bindings_wanted, present = bindings(), _known_rules(admin)
    missing = [acl for acl in bindings_wanted if acl not in present]
    if missing:
        admin.ask(
            lambda client: client.create_acls(missing, request_timeout=TIMEOUT_S),
            what=Operation.ALTER.to("create ACLs"),
        )
    ensure_topic(admin, TOPIC, PARTITIONS, retention_ms=str(RETENTION_MS))
    deadline = time.monotonic() + timeout_s
    while not set(bindings_wanted) <= _known_rules(admin):
        if time.monotonic() > deadline:
            raise StackError(
                "Kafka did not take the access rules in time", hint="run `labkit up` again"
            )
        time.sleep(0.1)


def _known_rules(admin: Cluster) -> set[Any]:
    every = AclBindingFilter(
        ResourceType.ANY,
        None,
        ResourcePatternType.ANY,
        None,
        None,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    return set(
        admin.ask(
            lambda client: client.describe_acls(every, request_timeout=TIMEOUT_S),
            what=Operation.DESCRIBE.to("describe ACLs"),
        )
    )
