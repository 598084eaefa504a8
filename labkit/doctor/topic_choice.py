"""Which topic the doctor looks at where none is named: one whose records may be read, if any."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from confluent_kafka import TopicCollection
from confluent_kafka.admin import AclOperation

from labkit.checks.names import TOPIC_PREFIX
from labkit.errors import LabkitError
from labkit.kafka.cluster import Cluster
from labkit.kafka.errors import Operation

_FEW = 50  # topics among which one is chosen
_ASK_S = 3.0


def visible_topics(metadata: Any) -> list[str]:
    """Return the topics that can be seen, by name, the lab's own last; none of Kafka's own."""
    visible = [
        name
        for name, topic in metadata.topics.items()
        if not name.startswith("__") and not topic.error
    ]
    return sorted(visible, key=lambda name: (name.startswith(TOPIC_PREFIX), name))


def choose_topic(cluster: Cluster, metadata: Any) -> str:
    """Return the first visible topic that may be read and has records, of the first `_FEW`.

    Without one, the first that may be read, else the first of all; "" without any.
    """
    topics = visible_topics(metadata)[:_FEW]
    with suppress(LabkitError):
        allowed = allowed_operations(cluster, topics)
        filled = _with_records(cluster, metadata, topics)
        # false comes first, and the order by name is kept
        topics.sort(key=lambda name: ("READ" not in allowed.get(name, ()), name not in filled))
    return topics[0] if topics else ""


def _with_records(cluster: Cluster, metadata: Any, topics: Iterable[str]) -> set[str]:
    partitions: list[tuple[str, int]] = []
    for topic in topics:
        there = metadata.topics[topic].partitions.items()
        partitions += [(topic, number) for number, partition in there if partition.leader >= 0]
    return {
        topic
        for (topic, _), bounds in cluster.log_bounds(partitions).items()
        if not isinstance(bounds, LabkitError) and bounds[1] > bounds[0]
    }


def allowed_operations(cluster: Cluster, topics: Iterable[str]) -> dict[str, set[str]]:
    """Ask which operations the broker would let this principal do to each topic."""
    collection = TopicCollection(list(topics))
    descriptions = cluster.ask(
        lambda admin: admin.describe_topics(
            collection, include_authorized_operations=True, request_timeout=_ASK_S
        ),
        what=Operation.DESCRIBE.to("describe the topics"),
    )
    allowed: dict[str, set[str]] = {}
    for topic, description in descriptions.items():
        numbers = description.authorized_operations or ()
        allowed[topic] = {AclOperation(number).name for number in numbers}
    return allowed
