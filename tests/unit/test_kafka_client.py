"""Kafka's clients as a connection keeps them."""

from __future__ import annotations

import gc
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from confluent_kafka import KafkaError

from labkit.errors import AccessError, DeadlineError, UnavailableError
from labkit.kafka import connection
from labkit.kafka.cluster import Cluster
from labkit.kafka.errors import passes

NOBODY = "127.0.0.1:1"  # no server listens there, and none is needed for a client's threads
UNUSED_CLUSTERS = 5


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a port that takes connections and never answers; labkit waits 3 s for it."""
    monkeypatch.setattr(connection, "TIMEOUT_S", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("count", [1, 2])
def test_that_nobody_answers_is_said_once(silent: str, count: int) -> None:
    addresses = ",".join([silent] * count)
    with pytest.raises(DeadlineError) as raised:
        Cluster({"bootstrap.servers": addresses}).topics()
    assert raised.value.message == f"no answer from Kafka at {addresses} to describe the cluster"


def test_a_cause_names_the_one_server_it_is_of(silent: str) -> None:
    with pytest.raises(UnavailableError) as raised:
        Cluster({"bootstrap.servers": f"{silent},{NOBODY}"}).topics()
    assert raised.value.message.endswith(f": no server listens there ({NOBODY})")


def test_a_clusters_threads_end_with_it_and_not_when_garbage_is_collected() -> None:
    def count_threads() -> int:
        return psutil.Process().num_threads()

    before = count_threads()
    gc.disable()
    try:
        for _ in range(UNUSED_CLUSTERS):
            cluster = Cluster({"bootstrap.servers": NOBODY})
            assert cluster.admin is not None
            consumer = cluster.consumer(group="labkit.test.threads")
            assert count_threads() > before
            del cluster, consumer
        deadline = time.monotonic() + 5
        while count_threads() > before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert count_threads() <= before
    finally:
        gc.enable()


def test_a_question_of_another_thread_hides_no_refused_login() -> None:
    cluster = Cluster({"bootstrap.servers": NOBODY})
    refused = KafkaError(KafkaError._AUTHENTICATION)

    def ask_beside() -> bool:
        with cluster.errors("ask beside it"):
            return cluster.is_hopeless(0, 10)

    with cluster.errors("ask"):
        cluster.note_error(refused)
        with ThreadPoolExecutor(1) as pool:
            assert not pool.submit(ask_beside).result(), "it was told before that one began"
        assert cluster.is_hopeless(0, 10)
        assert isinstance(cluster.error(KafkaError(KafkaError._TIMED_OUT), "ask"), AccessError)
    with cluster.errors("ask again"):
        assert not cluster.is_hopeless(0, 10)


def test_the_cause_of_what_is_told_counts_and_not_what_follows_from_it() -> None:
    cluster = Cluster({"bootstrap.servers": NOBODY})
    with cluster.errors("ask"):
        for code in (
            KafkaError._AUTHENTICATION,
            KafkaError._TRANSPORT,
            KafkaError._ALL_BROKERS_DOWN,
        ):
            cluster.note_error(KafkaError(code))
        assert isinstance(cluster.error(KafkaError(KafkaError._TIMED_OUT), "ask"), AccessError)


def test_an_answer_lost_as_the_client_drops_a_broker_is_waited_for() -> None:
    """A restarted broker was seen to do it; a read ended with "cannot describe topic"."""
    cluster = Cluster({"bootstrap.servers": NOBODY})
    assert passes(cluster.error(KafkaError(KafkaError._DESTROY_BROKER), "describe it"))


def test_threads_that_make_and_throw_away_clients_at_once_get_one_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Topics were asked for while a broker died, by two threads: one ended with a KeyError."""
    cluster = Cluster({"bootstrap.servers": NOBODY})

    class Client:
        def __del__(self) -> None:  # its end lets other threads run: one throws the client away
            cluster._admins.pop(os.getpid(), None)

    def make(*_: object, **__: object) -> Client:
        cluster._admins[os.getpid()] = Client()  # another thread was faster
        return Client()

    monkeypatch.setattr(cluster, "_make", make)
    assert isinstance(cluster.admin, Client)


def test_an_interrupt_in_a_callback_is_one_and_no_fault_of_the_client() -> None:
    """confluent-kafka 2.16 raises what its callbacks leave as a SystemError."""
    cluster = Cluster({"bootstrap.servers": NOBODY})
    with pytest.raises(KeyboardInterrupt), cluster.errors("describe the cluster"):
        raise SystemError("returned a result with an exception set") from KeyboardInterrupt()
