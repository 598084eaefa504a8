"""An open transaction hides what follows it: reads end at once, searches go on before it.

BEHAVIOURS 3, 18.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer

from labkit.lab import Lab
from labkit.stack.state import State

BEFORE, HIDDEN = 9_000, 5


@pytest.fixture
def topic(
    make_topic: Callable[..., str], produce: Callable[..., None], stack: State
) -> Iterator[str]:
    """Partition 0 ends in an open transaction; partition 1 has records of no transaction."""
    name = make_topic(2)
    values = [b'{"n":%d,"s":"%s"}' % (n, b"needle" if n == 5 else b"hay") for n in range(BEFORE)]
    produce(name, values, keys=[b"k"] * BEFORE)
    produce(name, values[:10], partition=1)
    settings = {**stack.credentials("admin")["kafka"], "transactional.id": name}
    producer = Producer({**settings, "transaction.timeout.ms": 300_000})
    producer.init_transactions(30)
    producer.begin_transaction()
    for _ in range(HIDDEN):
        producer.produce(name, b'{"n":-1,"s":"hidden"}', key=b"hidden", partition=0)
    producer.flush()
    yield name
    producer.abort_transaction(30)


@pytest.mark.parametrize("others", [{}, {1: (0, 10)}])
def test_a_window_behind_its_begin_ends_at_once(
    lab: Lab, topic: str, others: dict[int, tuple[int, int]]
) -> None:
    """Kafka signals no end there: it took a minute, and was called a deadline."""
    began = time.monotonic()
    window = lab.window(topic, offsets={0: (BEFORE + 1, BEFORE + 4), **others})
    receipt = window.read().receipt
    assert time.monotonic() - began < 20
    assert receipt.reasons == {"open_transaction": [0]}
    assert (receipt.read, receipt.unread) == (len(others) * 10, 3)
    assert window.read(isolation="read_uncommitted").receipt.complete


def test_a_trace_of_a_hidden_record_takes_no_minute(lab: Lab, topic: str) -> None:
    began = time.monotonic()
    assert "its transaction is open" in str(lab.trace(topic, 0, BEFORE + 2))
    assert time.monotonic() - began < 20
    assert "is open" in str(lab.trace(topic, key="hidden"))


def test_a_search_goes_on_before_it(lab: Lab, topic: str) -> None:
    """It ended after its first slice: 0 hits in all 2,000 records."""
    hits = lab.window(topic, partitions=0).find("needle")
    assert hits.table["n"].to_pylist() == [5]
    assert not hits.receipt.complete
    assert hits.receipt.counts["unread"] == HIDDEN
    assert "1 hit in 9,000 of 9,005 records" in hits.receipt.notes


def test_neighbours_are_looked_for_before_it(lab: Lab, topic: str) -> None:
    """Where many have the time of the last one, those of the lowest offsets were taken."""
    around = lab.window(topic, partitions=0).around(0, BEFORE + 2, 3)
    assert around.table["n"].to_pylist() == [BEFORE - 3, BEFORE - 2, BEFORE - 1]
    assert f"offset {BEFORE - 1} stands for it" in " ".join(around.receipt.notes)
