"""A wait is told once, its end once, in the same words everywhere."""

from __future__ import annotations

import time

from labkit.waiting.notice import WaitNotice


def test_a_wait_and_its_end_are_told_once_each() -> None:
    messages: list[str] = []
    notice = WaitNotice(messages.append)
    assert not notice.end("Kafka")
    notice.wait("Kafka", "no answer from a:1")
    notice.wait("Kafka", "no answer from b:1")
    assert not notice.end("Elasticsearch")  # it is not the one that is waited for
    assert notice.end("Kafka")
    assert not notice.end("Kafka")
    notice.wait("Kafka", "partition 3 has no leader")
    notice.wait("Elasticsearch", "it is busy")
    assert messages == [
        "waiting for Kafka: no answer from a:1",
        "Kafka answers again",
        "waiting for Kafka: partition 3 has no leader",
        "waiting for Elasticsearch: it is busy",
    ]


def test_a_short_wait_is_not_worth_a_word() -> None:
    messages: list[str] = []
    notice = WaitNotice(messages.append, quiet_s=0.05)
    notice.wait("Kafka", "no answer from a:1")
    assert messages == []
    time.sleep(0.06)
    notice.wait("Kafka", "no answer from a:1")
    notice.wait("Kafka", "no answer from a:1")
    assert messages == ["waiting for Kafka: no answer from a:1"]
