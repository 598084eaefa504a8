"""One way each of getting a topic into an Elasticsearch index, timed in a process of its own.

``python index_peers.py NAME TOPIC INDEX RECORDS CREDENTIALS.json`` prints one line of JSON:
seconds, CPU seconds of the client and its peak memory. The time is from the first call until the
last document is acknowledged; imports and the making of the index are not in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from memory import peak_mb

from labkit.elastic import Target
from labkit.es.bulk import IN_FLIGHT, REQUEST_BYTES
from labkit.es.mappings import ensure, mapping
from labkit.kafka.cluster import Cluster

warnings.filterwarnings("ignore", "GeoIP database")


class Way:
    """What each way is given."""

    def __init__(self, topic: str, index: str, records: int, path: str) -> None:
        self.topic, self.index, self.records = topic, index, records
        self.credentials = json.loads(Path(path).read_text())
        self.target = Target("default", self.credentials["elasticsearch"])
        self.cluster = Cluster(self.credentials["kafka"])

    def indexer(self, *enrichers: Any, decode: str = "json") -> None:
        from labkit.enrich import Chain
        from labkit.lab import connect
        from labkit.pipelines.indexer.indexer import Indexer

        group = f"indexer.bench-{uuid.uuid4().hex[:8]}"
        result = Indexer(
            self.cluster, self.target, self.topic, self.index, group, once=True, enrich=Chain(enrichers),
            say=lambda _text: None, decode=decode, registry=connect(role="admin").registry,
        ).run()  # fmt: skip
        assert result["indexed"] == self.records, result

    def scratch(self, decode: str = "json") -> None:
        from labkit.lab import connect

        os.environ["LABKIT_USER"] = "bench"
        load = (
            connect(role="admin")
            .window(self.topic)
            .to_scratch("bench", decode=decode, guard=False, progress=False)
        )
        assert load.counts["indexed"] == self.records, load.counts

    def consumer(self) -> Any:
        from confluent_kafka import Consumer

        consumer = Consumer(
            {**self.credentials["kafka"], "group.id": f"indexer.bench-{uuid.uuid4().hex[:8]}",
             "auto.offset.reset": "earliest", "enable.auto.commit": False}
        )  # fmt: skip
        consumer.subscribe([self.topic])
        return consumer

    def actions(self, consumer: Any) -> Iterator[dict[str, Any]]:
        """What people write: poll(), json.loads, an action for each record."""
        left = self.records
        while left:
            message = consumer.poll(1.0)
            if message is not None and not message.error():
                left -= 1
                name = f"{message.topic()}-{message.partition()}-{message.offset()}"
                yield {"_index": self.index, "_id": name, "_source": json.loads(message.value())}

    def helpers_bulk(self) -> None:
        from elasticsearch import helpers

        consumer = self.consumer()
        helpers.bulk(self.target.client, self.actions(consumer))
        consumer.commit(asynchronous=False)
        consumer.close()

    def parallel_bulk(self) -> None:
        from elasticsearch import helpers

        consumer = self.consumer()
        for _ in helpers.parallel_bulk(self.target.client, self.actions(consumer)):
            pass
        consumer.commit(asynchronous=False)
        consumer.close()

    def count(self) -> int:
        self.target.client.indices.refresh(index=self.index)
        return int(self.target.client.count(index=self.index)["count"])

    def prepare(self, *enrichers: Any) -> list[bytes]:
        """Read the topic and make the requests."""
        from labkit.enrich import Chain
        from labkit.es.documents import documents
        from labkit.lab import connect

        chain = Chain(enrichers)
        docs = (
            documents(batch, chain) for batch in connect(role="admin").window(self.topic).batches()
        )
        return [chunk.body() for doc in docs for chunk in doc.chunks(REQUEST_BYTES)]

    def limit(self, bodies: list[bytes]) -> None:
        def send(body: bytes) -> None:
            self.target.client.bulk(
                index=self.index, operations=[body], filter_path="items.*.status,items.*.error"
            )

        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            list(pool.map(send, bodies))


RSYSLOG = """
module(load="imkafka") module(load="omelasticsearch")
global(workDirectory="{folder}")
main_queue(queue.type="FixedArray" queue.size="60000" queue.dequeueBatchSize="5000" queue.workerThreads="2"
           queue.workerThreadMinimumMessages="5000")
template(name="raw" type="string" string="%msg%")
ruleset(name="out" queue.type="FixedArray" queue.size="60000" queue.dequeueBatchSize="5000" queue.workerThreads="2"
        queue.workerThreadMinimumMessages="5000") {{
  action(type="omelasticsearch" server="{server}" uid="{user}" pwd="{password}" searchIndex="{index}" searchType=""
         bulkmode="on" maxbytes="4m" template="raw" esVersion.major="8")
}}
input(type="imkafka" topic="{topic}" broker=["{broker}"] consumergroup="{group}" ruleset="out" parseHostname="off"
      confParam=["auto.offset.reset=earliest", {settings}])
"""


def rsyslog(way: Way) -> tuple[float, float, float]:
    """Run rsyslogd until all documents are there; return seconds, CPU seconds and peak MB of it."""
    kafka = dict(way.credentials["kafka"])
    user, password = way.credentials["elasticsearch"]["basic_auth"]
    broker = kafka.pop("bootstrap.servers")
    with tempfile.TemporaryDirectory() as folder:
        text = RSYSLOG.format(
            folder=folder, server=way.credentials["elasticsearch"]["hosts"][0], user=user, password=password,
            index=way.index, topic=way.topic, broker=broker, group=f"indexer.bench-{uuid.uuid4().hex[:8]}",
            settings=", ".join(f'"{key}={value}"' for key, value in kafka.items()),
        )  # fmt: skip
        (Path(folder) / "rsyslog.conf").write_text(text)
        Path(folder, "rsyslog.conf").chmod(0o600)
        began = time.perf_counter()
        command = ["rsyslogd", "-n", "-f", f"{folder}/rsyslog.conf", "-i", f"{folder}/pid"]
        process = subprocess.Popen(
            command, env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"}
        )
        process_, peak = psutil.Process(process.pid), 0.0
        try:
            while way.count() < way.records:
                peak = max(peak, process_.memory_info().rss)
                if process.poll() is not None or time.perf_counter() - began > 280:
                    raise SystemExit(f"rsyslogd ended or hangs at {way.count()} documents")
                time.sleep(0.2)
            times = process_.cpu_times()
            return time.perf_counter() - began, times.user + times.system, peak / 1e6
        finally:
            process.kill()
            process.wait()


LIMIT = "limit: prepared requests, two in flight, no Kafka"
LIMIT_GEO = "limit: the same, documents located before"
# the same records as Avro
AVRO_INDEX, AVRO_SCRATCH = "labkit index --decode avro", "labkit scratch load, decode=avro"
WAYS = [
    "labkit index",
    "labkit index --enrich geoip:host",
    "labkit scratch load",
    "helpers.bulk over poll()",
    "parallel_bulk over poll()",
    "rsyslog imkafka -> omelasticsearch",
    LIMIT,
    LIMIT_GEO,
    AVRO_INDEX,
    AVRO_SCRATCH,
]


def run(name: str, way: Way) -> dict[str, float]:
    """Run one way; return what it took."""
    if name.startswith("rsyslog"):
        seconds, cpu, peak = rsyslog(way)
        return {"seconds": seconds, "cpu_s": cpu, "peak_mb": peak}
    import elasticsearch.helpers  # noqa: F401

    import labkit.lab
    import labkit.pipelines.indexer.indexer
    import labkit.sinks.scratch  # noqa: F401
    from labkit import enrich

    calls: dict[str, Any] = {
        WAYS[0]: way.indexer, WAYS[2]: way.scratch, WAYS[3]: way.helpers_bulk, WAYS[4]: way.parallel_bulk,
    }  # fmt: skip
    calls[AVRO_INDEX], calls[AVRO_SCRATCH] = (
        partial(way.indexer, decode="avro"),
        partial(way.scratch, "avro"),
    )
    if name == LIMIT:
        bodies = way.prepare()
        calls[LIMIT] = lambda: way.limit(bodies)
    if name in (WAYS[1], LIMIT_GEO):
        enricher = enrich.geoip("host")
        ensure(way.target, way.index, mapping(properties=enricher.properties))
    if name == WAYS[1]:
        calls[name] = lambda: way.indexer(enricher)
    if name == LIMIT_GEO:
        located = way.prepare(enricher)
        calls[name] = lambda: way.limit(located)
    own = psutil.Process()
    before, began = own.cpu_times(), time.perf_counter()
    calls[name]()
    seconds, after = time.perf_counter() - began, own.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    return {"seconds": seconds, "cpu_s": cpu, "peak_mb": peak_mb()}


if __name__ == "__main__":
    name, topic, index, records, path = sys.argv[1:]
    way = Way(topic, index, int(records), path)
    way.target.client.options(ignore_status=404).indices.delete(index=index)
    if "scratch" not in name:
        ensure(way.target, index, mapping())
    else:
        index = way.index = f"scratch-{os.environ['LABKIT_USER']}-bench"
        way.target.client.options(ignore_status=404).indices.delete(index=index)
    found = run(name, way)
    assert way.count() == way.records, f"{way.count()} documents of {way.records}"
    way.target.client.indices.delete(index=way.index)
    print(json.dumps(found))
