"""What a topic lacks when records neither come nor go: a leader, a broker, replicas, or itself."""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import orjson
from confluent_kafka import KafkaException, TopicCollection

from labkit.kafka.client import weakly
from labkit.kafka.connection import Connection
from labkit.kafka.errors import MISSING

_ANSWER_S = 1.5  # it is asked between two polls, and an interrupt waits as long
_CONNECT_S = 0.3
_STATISTICS_MS = 3_000
# a broker may want a new login on a connection that is there, as of one whose token has expired
_CONNECTED = ("UP", "REAUTH", "AUTH_HANDSHAKE", "AUTH_REQ")
_SILENT_S = 3.0  # without an answer to what was asked: half a second is what a fetch may wait


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


class LeaderWatch:
    """What a consumer waits for while nothing comes, by the client's own statistics.

    It asks nobody: a consumer that runs for months must not knock at brokers.

    Parameters
    ----------
    connection : Connection
        Its settings say how long a broker may wait with an answer to a fetch.
    topic : str
    is_member : bool
        Whether the consumer is a member of its group, so that it needs the group's coordinator.

    Attributes
    ----------
    text : str
        Such as "partition 3 has no leader"; empty while all leaders are in reach.
    """

    def __init__(self, connection: Connection, topic: str, *, is_member: bool = False) -> None:
        self.topic, self.is_member = topic, is_member
        fetch_wait_ms = float(connection.settings.get("fetch.wait.max.ms", 0))
        self._silent_us = 1e6 * _SILENT_S + 1e3 * fetch_wait_ms
        self.text = ""
        self._is_second = False

    @property
    def settings(self) -> dict[str, Any]:
        """What the consumer needs to be made with; it tells while it is polled."""
        return {"statistics_interval_ms": _STATISTICS_MS, "stats_cb": weakly(self._look)}

    def _look(self, statistics: str) -> None:
        told = orjson.loads(statistics)
        text = _out_of_reach(told, self.topic, self._silent_us)
        if not text and self.is_member and told.get("cgrp", {}).get("state") != "up":
            text = "the broker that coordinates the group does not answer"
        # seen twice: a connection that is just being made is no trouble
        self.text = text if self._is_second else ""
        self._is_second = bool(text)


def _out_of_reach(statistics: dict[str, Any], topic: str, silent_us: float) -> str:
    """Return which leader of the partitions that are fetched does not answer."""
    brokers = {broker["nodeid"]: broker for broker in statistics["brokers"].values()}
    partitions_of = defaultdict[int, list[int]](list)
    for partition in statistics["topics"].get(topic, {}).get("partitions", {}).values():
        if partition["fetch_state"] == "active":
            partitions_of[partition["leader"]].append(partition["partition"])
    for number, led in sorted(partitions_of.items()):
        if number < 0:
            return f"{_name_partitions(led)} no leader"
        broker = brokers.get(number, {"state": "", "nodename": "an unknown address"})
        # a frozen one has a connection, and what was asked on it has no answer
        is_frozen = broker.get("waitresp_cnt", 0) > 0 and broker.get("rxidle", 0) > silent_us
        if broker["state"] not in _CONNECTED or is_frozen:
            return _name_silent(number, str(broker["nodename"]), led)
    return ""


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
            return _name_silent(number, f"{node.host}:{node.port}", led)
    return ""


def _out_of_sync(partitions: list[Any]) -> str:
    for partition in partitions:
        if len(partition.isr) < len(partition.replicas):
            return f"partition {partition.id} has {len(partition.isr)} of {len(partition.replicas)} replicas in sync"
    return ""


def _name_silent(broker: int, address: str, led: list[int]) -> str:
    return f"broker {broker} at {address}, which leads {_list_partitions(led)}, does not answer"


def _list_partitions(numbers: list[int]) -> str:
    return f"partition{'s'[: len(numbers) - 1]} {', '.join(map(str, numbers))}"


def _name_partitions(numbers: list[int]) -> str:
    return f"{_list_partitions(numbers)} {'has' if len(numbers) == 1 else 'have'}"
