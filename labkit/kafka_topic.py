"""What a topic lacks when records neither come nor go: a leader, a broker, replicas, or itself."""

from __future__ import annotations

import socket
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException, TopicCollection

from labkit.kafka_connection import Connection
from labkit.kafka_errors import MISSING

_ANSWER_S = 1.5  # it is asked between two polls, and an interrupt waits as long
_CONNECT_S = 0.3


@dataclass(frozen=True)
class TopicTrouble:
    """What is wrong with a topic now.

    Attributes
    ----------
    topic_id : str or None
        Its id; None when it is not there, or when no broker answers (then `there` is True).
    text : str
        What is waited for, such as "partition 3 has no leader"; empty when nothing is seen.
    """

    topic_id: str | None
    text: str
    there: bool = True


def look_at_topic(
    connection: Connection, topic: str, partitions: Collection[int] | None = None
) -> TopicTrouble:
    """Look at a topic's partitions, all of them by default; it takes two seconds at most."""
    try:
        futures = connection.admin.describe_topics(
            TopicCollection([topic]), request_timeout=_ANSWER_S
        )
        description = futures[topic].result(_ANSWER_S + 0.5)
    except (KafkaException, TimeoutError) as error:
        if isinstance(error, KafkaException) and error.args[0].code() in MISSING:
            return TopicTrouble(None, f"topic {topic!r} is not there", there=False)
        return TopicTrouble(None, "no broker answers")
    looked_at = [
        partition
        for partition in description.partitions
        if partitions is None or partition.id in partitions
    ]
    texts = [_without_leader(looked_at), _silent_leaders(looked_at), _out_of_sync(looked_at)]
    return TopicTrouble(str(description.topic_id), next((text for text in texts if text), ""))


def _without_leader(partitions: list[Any]) -> str:
    dark = [partition.id for partition in partitions if partition.leader is None]
    return f"{_name_partitions(dark)} no leader" if dark else ""


def _silent_leaders(partitions: list[Any]) -> str:
    leaders = {partition.leader.id: partition.leader for partition in partitions}
    for number, node in sorted(leaders.items()):
        try:
            socket.create_connection((node.host, node.port), _CONNECT_S).close()
        except OSError:
            led = [partition.id for partition in partitions if partition.leader.id == number]
            return f"broker {number} at {node.host}:{node.port}, which leads {_list_partitions(led)}, does not answer"
    return ""


def _out_of_sync(partitions: list[Any]) -> str:
    for partition in partitions:
        if len(partition.isr) < len(partition.replicas):
            return f"partition {partition.id} has {len(partition.isr)} of {len(partition.replicas)} replicas in sync"
    return ""


def _list_partitions(numbers: list[int]) -> str:
    return f"partition{'s'[: len(numbers) - 1]} {', '.join(map(str, numbers))}"


def _name_partitions(numbers: list[int]) -> str:
    return f"{_list_partitions(numbers)} {'has' if len(numbers) == 1 else 'have'}"
