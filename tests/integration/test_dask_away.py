"""A broker that is away for seconds while Dask computes: a slice waits for it, as a read does."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import NewTopic

from labkit.config.profiles import Profile
from labkit.errors import UnavailableError, UsageError
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.sinks.dask import access
from labkit.stack.state import State
from support.stack import kill_9, run_labkit
from support.waiting import until

RECORDS = 3_000


@pytest.mark.chaos
def test_a_slice_that_begins_while_the_broker_is_away_waits_for_it(mortal: Path) -> None:
    """Issue 20, item 6: UnavailableError after three seconds ended the computation."""
    admin = Cluster(State.load(mortal).credentials("admin")["kafka"])
    topic = f"irc-dask-{time.time_ns()}"
    admin.ask(lambda client: client.create_topics([NewTopic(topic, 1, 1)]), what="make it")
    until(lambda: topic in admin.topics(), "the topic")
    producer = admin.producer(linger_ms=20)
    for number in range(RECORDS):
        producer.produce(topic, b'{"n":%d}' % number, partition=0)
    assert producer.flush(60) == 0
    credentials = State.load(mortal).credentials("lab")
    window = Lab(
        Profile("local", "lab", credentials["kafka"], credentials["elasticsearch_targets"])
    ).window(topic)
    frame = window.to_dask(slice_records=1_000)
    kill_9(mortal, "kafka")
    threading.Timer(5, run_labkit, (mortal, "up")).start()
    assert sorted(frame["n"].compute(scheduler="threads")) == list(range(RECORDS))
    assert frame.receipt().complete


def test_only_a_broker_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access.time, "sleep", lambda _: None)
    answers: list[Any] = [UnavailableError("away"), UnavailableError("away"), 5]

    def read() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert access.wait_for_brokers(read) == 5
    answers[:] = [UsageError("wrong", hint="x"), 5]
    with pytest.raises(UsageError):
        access.wait_for_brokers(read)
    monkeypatch.setattr(access, "PATIENCE_S", -1)
    answers[:] = [UnavailableError("away"), 5]
    with pytest.raises(UnavailableError):
        access.wait_for_brokers(read)
