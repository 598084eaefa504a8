"""Make a topic."""

from __future__ import annotations

import time

from confluent_kafka import KafkaError
from confluent_kafka.admin import NewTopic

from labkit.checks import names
from labkit.errors import DeadlineError
from labkit.kafka.cluster import TIMEOUT_S, Cluster
from labkit.kafka.errors import Operation

MOST_PARTITIONS = 10_000


def create_topic(cluster: Cluster, topic: NewTopic, why: str = "") -> None:
    """Make a topic, or raise why it cannot be made."""
    cluster.ask(
        lambda admin: admin.create_topics([topic], request_timeout=TIMEOUT_S),
        what=Operation.CREATE.to(f"make topic {topic.topic!r}{why}", topic=topic.topic),
        done_already=KafkaError.TOPIC_ALREADY_EXISTS,
    )


def ensure_topic(cluster: Cluster, name: str, partitions: int, **settings: str) -> bool:
    """Make a topic where there is none, and wait until it can be written to.

    Settings that are not given are the broker's; ``_`` stands for a dot. Return whether it was made.
    """
    names.topic(name)
    if name in cluster.topics():
        return False
    config = {key.replace("_", "."): value for key, value in settings.items()}
    create_topic(cluster, NewTopic(name, partitions, config=config))
    deadline = time.monotonic() + TIMEOUT_S
    while -1 in cluster.leaders().get(name, {0: -1}).values():
        if time.monotonic() > deadline:
            raise DeadlineError(
                f"topic {name!r} was made, and not all of its partitions have a leader yet",
                hint="try again in a moment",
            )
        time.sleep(0.1)
    return True
