"""Kafka's clients as a connection keeps them."""

from __future__ import annotations

import gc
import time

import psutil

from labkit.kafka.cluster import Cluster

NOBODY = "127.0.0.1:1"  # no server listens there, and none is needed for a client's threads
UNUSED_CLUSTERS = 5


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
