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

from memory import peak_mb

PARTITIONS = 4
STALL_S = 30.0


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


def _confluent(topic: str, path: str, **more: Any) -> tuple[Any, int]:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({**_settings(path), "group.id": "labkit.bench", "enable.auto.commit": False, **more})
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
            rows.append(_row(message.value(), message.partition(), message.offset(), message.timestamp()[1]))
    return len(pd.DataFrame(rows))


def _row(value: bytes, partition: int, offset: int, timestamp: int) -> dict[str, Any]:
    """What labkit's frame has of each record, too (and less: no key, no headers, no bytes)."""
    return {**json.loads(value), "_partition": partition, "_offset": offset, "_timestamp": timestamp}


def consume_dropped(topic: str, path: str) -> int:
    """The limit: consume() and nothing else."""
    consumer, total = _confluent(topic, path)
    count = 0
    while count < total:
        count += len(consumer.consume(10_000, 1.0))
    return count


def consume_dropped_tuned(topic: str, path: str) -> int:
    """The limit, told to look again at once when its queue was full, and in portions the processor's cache holds."""
    consumer, total = _confluent(topic, path, **{"fetch.queue.backoff.ms": 10})
    count = 0
    while count < total:
        count += len(consumer.consume(1_000, 1.0))
    return count


def ray_data(topic: str, path: str) -> int:
    """Ray Data on both cores; its rows hold bytes, which json then reads."""
    import pandas as pd
    import ray
    from ray.data import KafkaAuthConfig, read_kafka

    settings = _settings(path)
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    auth = KafkaAuthConfig(
        security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN",
        sasl_plain_username=settings["sasl.username"], sasl_plain_password=settings["sasl.password"],
    )  # fmt: skip
    found = read_kafka(
        topic, bootstrap_servers=settings["bootstrap.servers"], trigger="once",
        start_offset="earliest", end_offset="latest", kafka_auth_config=auth,
    ).to_pandas()  # fmt: skip
    metadata = zip(found["value"], found["partition"], found["offset"], found["timestamp"], strict=True)
    return len(pd.DataFrame([_row(*one) for one in metadata]))


def spark_local(topic: str, path: str) -> int:
    """Spark on both cores, the second time in one session: warm."""
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as f

    settings = _settings(path)
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.jars.packages", "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0")
        .config("spark.driver.memory", "3g").config("spark.driver.maxResultSize", "3g")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .config("spark.ui.enabled", "false").config("spark.log.level", "ERROR").getOrCreate()
    )  # fmt: skip
    login = f'username="{settings["sasl.username"]}" password="{settings["sasl.password"]}"'
    reader = session.read.format("kafka").options(**{
        "kafka.bootstrap.servers": settings["bootstrap.servers"], "subscribe": topic, "startingOffsets": "earliest",
        "kafka.security.protocol": "SASL_PLAINTEXT", "kafka.sasl.mechanism": "PLAIN",
        "kafka.sasl.jaas.config": f"org.apache.kafka.common.security.plain.PlainLoginModule required {login};",
    })  # fmt: skip
    fields = "`@timestamp` string, channel string, nick string, host string, count bigint, score double, message string"
    chosen = ("v.*", "partition", "offset", "timestamp")

    def once() -> int:
        decoded = reader.load().withColumn("v", f.from_json(f.col("value").cast("string"), fields))
        return len(decoded.select(*chosen).toPandas())

    once()
    began = time.perf_counter()
    count = once()
    global warm_s  # noqa: PLW0603
    warm_s = time.perf_counter() - began
    return count


warm_s: float | None = None


class Stall:
    """Ends a way to which nothing has come for a while: a client without a codec waits for ever."""

    def __init__(self) -> None:
        self.count, self.moved = 0, time.monotonic()

    def check(self, count: int) -> None:
        if count > self.count:
            self.count, self.moved = count, time.monotonic()
        elif time.monotonic() - self.moved > STALL_S:
            raise SystemExit(f"StallError: {count:,} records, and no more in {STALL_S:.0f} s")


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
        stall = Stall()
        while len(rows) < total:
            for messages in (await consumer.getmany(timeout_ms=1000)).values():
                rows += [_row(m.value, m.partition, m.offset, m.timestamp) for m in messages]
            stall.check(len(rows))
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
    stall = Stall()
    while len(rows) < total:
        for messages in consumer.poll(1000).values():
            rows += [_row(m.value, m.partition, m.offset, m.timestamp) for m in messages]
        stall.check(len(rows))
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
    "Ray Data read_kafka + json + DataFrame": ray_data,
    "Spark local[2], from_json, toPandas, warm": spark_local,
    "limit: consume(), dropped": consume_dropped,
    "limit: consume(), dropped, tuned": consume_dropped_tuned,
    "limit: kcat -f ''": kcat,
}
IMPORTS = {
    "labkit": "labkit.lab, labkit.sinks.replay, labkit.decode.json, labkit.replay.sample, pandas",
    "aiokafka": "aiokafka, pandas",
    "kafka": "kafka, pandas",
}


if __name__ == "__main__":
    name, topic, path = sys.argv[1:]
    for prefix, modules in IMPORTS.items():
        if name.startswith(prefix):
            for module in modules.split(", "):
                __import__(module)
    began = time.perf_counter()
    records = WAYS[name](topic, path)
    seconds = warm_s or time.perf_counter() - began
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    peak = children if name.startswith("limit: kcat") else peak_mb()
    print(json.dumps({"seconds": seconds, "records": records, "peak_mb": peak}))
