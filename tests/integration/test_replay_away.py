"""A broker that goes away in mid-read.

The read waits and goes on, or ends incomplete at its deadline.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import NewTopic

from labkit.config.profiles import Profile
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.stack.state import State
from labkit.window import Window
from support.stack import kill_9, run_labkit
from support.waiting import until

pytestmark = pytest.mark.chaos

TOPIC, RECORDS, PARTITIONS = "irc-away", 60_000, 3


@pytest.fixture(scope="module")
def window(mortal: Path) -> Window:
    """A window of `RECORDS` numbered records."""
    admin = Cluster(State.load(mortal).credentials("admin")["kafka"])
    admin.ask(lambda client: client.create_topics([NewTopic(TOPIC, PARTITIONS, 1)]), what="make it")
    until(lambda: TOPIC in admin.topics(), "the topic")
    producer = admin.producer(linger_ms=20)
    for number in range(RECORDS):
        producer.produce(
            TOPIC, b'{"n":%d,"pad":"%s"}' % (number, b"x" * 200), partition=number % PARTITIONS
        )
        producer.poll(0)
    assert producer.flush(60) == 0
    credentials = State.load(mortal).credentials("lab")
    lab = Lab(Profile("local", "lab", credentials["kafka"], credentials["elasticsearch_targets"]))
    return lab.window(TOPIC)


def read_and_kill(
    window: Window, state: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Any:
    """Read the window in small batches; after the third the broker is killed."""
    monkeypatch.setattr("labkit.replay.reader.BATCH_RECORDS", 500)
    reading = window.reading(**options)
    numbers: list[int] = []
    for count, batch in enumerate(reading.batches()):
        numbers += [int(value.split(b",")[0][5:]) for value in batch.column("value").to_pylist()]
        if count == 2:
            kill_9(state, "kafka")
            if "deadline" not in options:
                threading.Thread(target=run_labkit, args=(state, "up")).start()
    return numbers, reading.receipt()


def test_a_read_waits_for_a_broker_that_was_killed_and_goes_on_where_it_was(
    window: Window, mortal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers, receipt = read_and_kill(window, mortal, monkeypatch)
    assert receipt.complete
    assert sorted(numbers) == list(range(RECORDS))
    assert receipt.read == receipt.planned == RECORDS


@pytest.mark.hard
def test_a_read_ends_incomplete_at_its_deadline_when_the_broker_stays_away(
    window: Window, mortal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_labkit(mortal, "up")
    began = time.monotonic()
    numbers, receipt = read_and_kill(window, mortal, monkeypatch, deadline="6s")
    try:
        assert time.monotonic() - began < 40
        assert list(receipt.reasons) == ["deadline"]
        assert 0 < receipt.read == len(set(numbers)) == len(numbers) < RECORDS
        assert receipt.planned == receipt.read + receipt.filtered + receipt.gaps + receipt.unread
    finally:
        run_labkit(mortal, "up")
    assert sorted(value["n"] for value in window.read().table.select(["n"]).to_pylist()) == list(
        range(RECORDS)
    )
