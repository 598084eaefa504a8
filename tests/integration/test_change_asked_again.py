"""A change whose answer does not come is asked for again, and is then there already."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from labkit.errors import NotFoundError, ServerError
from labkit.kafka.cluster import Cluster


def first_answer_lost(change: Callable[[AdminClient], dict[str, Any]]) -> Callable[..., Any]:
    """Return a call that makes its change at the server and whose first answer does not come."""
    is_first = True

    def call(client: AdminClient) -> Any:
        nonlocal is_first
        futures = change(client)
        if is_first:
            is_first = False
            for future in futures.values():
                future.result(15)
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return futures

    return call


def test_a_topic_made_or_deleted_by_an_attempt_without_answer_is_no_error(admin: Cluster) -> None:
    topic = f"irc-test-again-{uuid.uuid4().hex[:8]}"

    def create(client: AdminClient) -> dict[str, Any]:
        return client.create_topics([NewTopic(topic, 1, 1)])

    def delete(client: AdminClient) -> dict[str, Any]:
        return client.delete_topics([topic])

    exists = KafkaError.TOPIC_ALREADY_EXISTS
    admin.ask(first_answer_lost(create), what="make it", done_already=exists)
    with pytest.raises(ServerError, match="already exists"):
        admin.ask(create, what="make it", done_already=exists)
    gone = KafkaError.UNKNOWN_TOPIC_OR_PART
    admin.ask(first_answer_lost(delete), what="delete it", done_already=gone)
    with pytest.raises(NotFoundError):
        admin.ask(delete, what="delete it", done_already=gone)
