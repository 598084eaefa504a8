"""One way each of getting a topic into a DataFrame, timed in a process of its own.

``python peers.py NAME TOPIC CREDENTIALS.json`` prints one line of JSON: seconds, records and the peak memory. The time
is from the first call to the finished frame, connections included, imports not.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from typing import Any

PARTITIONS = 4


def _settings(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        return dict(json.load(file)["kafka"])


def labkit_pandas(topic: str, path: str) -> int:
    import labkit

    return len(labkit.connect().window(topic).read(cache=False).to_pandas())


def labkit_cached(topic: str, path: str) -> int:
    import labkit

    return len(labkit.connect().window(topic).read().to_pandas())


def labkit_batches(topic: str, path: str) -> int:
    import labkit

    return sum(batch.num_rows for batch in labkit.connect().window(topic).batches())


def labkit_parquet(topic: str, path: str) -> int:
    import labkit

    return labkit.connect().window(topic).to_parquet("/tmp/labkit-bench.parquet").read


def _confluent(topic: str, path: str) -> tuple[Any, int]:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({**_settings(path), "group.id": "labkit.bench", "enable.auto.commit": False})
    parts = [TopicPartition(topic, number, 0) for number in range(PARTITIONS)]
    total = sum(consumer.get_watermark_offsets(part)[1] for part in parts)
    consumer.assign(parts)
    return consumer, total


def confluent_poll(topic: str, path: str) -> int:
    """What people write: poll(), json.loads, a list of dicts."""
    import pandas as pd

    consumer, total = _confluent(topic, path)
    rows: list[dict[str, Any]] = []
    while len(rows) < total:
        message = consumer.poll(1.0)
        if message is not None and not message.error():
            rows.append(json.loads(message.value()))
    return len(pd.DataFrame(rows))


def consume_dropped(topic: str, path: str) -> int:
    """The limit: consume() and nothing else."""
    consumer, total = _confluent(topic, path)
    count = 0
    while count < total:
        count += len(consumer.consume(10_000, 1.0))
    return count


def aiokafka(topic: str, path: str) -> int:
    import pandas as pd
    from aiokafka import AIOKafkaConsumer, TopicPartition

    settings = _settings(path)

    async def read() -> list[dict[str, Any]]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=settings["bootstrap.servers"], security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN",
            sasl_plain_username=settings["sasl.username"], sasl_plain_password=settings["sasl.password"],
            enable_auto_commit=False, max_poll_records=10_000,
        )  # fmt: skip
        await consumer.start()
        parts = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(parts)
        total = sum((await consumer.end_offsets(parts)).values())
        await consumer.seek_to_beginning(*parts)
        rows: list[dict[str, Any]] = []
        while len(rows) < total:
            for messages in (await consumer.getmany(timeout_ms=1000)).values():
                rows += [json.loads(message.value) for message in messages]
        await consumer.stop()
        return rows

    return len(pd.DataFrame(asyncio.run(read())))


def kafka_python(topic: str, path: str) -> int:
    import pandas as pd
    from kafka import KafkaConsumer, TopicPartition

    settings = _settings(path)
    consumer = KafkaConsumer(
        bootstrap_servers=settings["bootstrap.servers"], security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN",
        sasl_plain_username=settings["sasl.username"], sasl_plain_password=settings["sasl.password"],
        enable_auto_commit=False, max_poll_records=10_000,
    )  # fmt: skip
    parts = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    consumer.assign(parts)
    total = sum(consumer.end_offsets(parts).values())
    consumer.seek_to_beginning(*parts)
    rows: list[dict[str, Any]] = []
    while len(rows) < total:
        for messages in consumer.poll(1000).values():
            rows += [json.loads(message.value) for message in messages]
    return len(pd.DataFrame(rows))


def kcat(topic: str, path: str) -> int:
    """The limit in C: read all and print nothing."""
    settings = [word for key, value in _settings(path).items() for word in ("-X", f"{key}={value}")]
    command = ["kcat", "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "", *settings]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return -1


WAYS = {
    "labkit: read() + to_pandas()": labkit_pandas,
    "labkit: the same, from the cache": labkit_cached,
    "labkit: batches()": labkit_batches,
    "labkit: to_parquet()": labkit_parquet,
    "confluent poll() + json + DataFrame": confluent_poll,
    "aiokafka + json + DataFrame": aiokafka,
    "kafka-python + json + DataFrame": kafka_python,
    "limit: consume(), dropped": consume_dropped,
    "limit: kcat -f ''": kcat,
}
IMPORTS = {"labkit": "labkit.lab, labkit.load.frame, pandas", "aiokafka": "aiokafka, pandas", "kafka": "kafka, pandas"}


if __name__ == "__main__":
    name, topic, path = sys.argv[1:]
    for prefix, modules in IMPORTS.items():
        if name.startswith(prefix):
            for module in modules.split(", "):
                __import__(module)
    began = time.perf_counter()
    records = WAYS[name](topic, path)
    seconds = time.perf_counter() - began
    who = resource.RUSAGE_CHILDREN if name.startswith("limit: kcat") else resource.RUSAGE_SELF
    peak_mb = resource.getrusage(who).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "records": records, "peak_mb": peak_mb}))
