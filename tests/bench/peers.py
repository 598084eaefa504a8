"""One way each of getting a topic into a DataFrame, timed in a process of its own.

``python peers.py NAME TOPIC CREDENTIALS.json`` prints one line of JSON: seconds, processor seconds,
records and peak memory of the first call in a new process; `WARM` ways are called a second time,
for ``warm_seconds``, of the same lab as a notebook's next cell. The time is from the call to the
finished frame, connections included, imports not.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from memory import peak_mb

if TYPE_CHECKING:
    from labkit.lab import Lab

PARTITIONS = 4
STALL_S = 30.0


def _settings(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        return dict(json.load(file)["kafka"])


@cache
def _lab() -> Lab:
    import labkit

    return labkit.connect()


def labkit_pandas(topic: str, path: str) -> int:
    return len(_lab().window(topic).read(cache=False).to_pandas())


def labkit_cached(topic: str, path: str) -> int:
    return len(_lab().window(topic).read().to_pandas())


def labkit_batches(topic: str, path: str) -> int:
    return sum(batch.num_rows for batch in _lab().window(topic).batches())


def labkit_parquet(topic: str, path: str) -> int:
    return _lab().window(topic).to_parquet("/tmp/labkit-bench.parquet").read


def labkit_needle(topic: str, path: str) -> int:
    """About ten records of all."""
    window, condition = _needle(topic)
    return len(window.read(cache=False, where=condition).to_pandas())


def labkit_raw_needle(topic: str, path: str) -> int:
    """The same, as raw batches: what cannot match is not decoded."""
    window, condition = _needle(topic)
    return sum(batch.num_rows for batch in window.batches(where=condition))


def _needle(topic: str) -> tuple[Any, str]:
    every = len(window := _lab().window(topic)) // 10
    return window, " or ".join(f"n = {every * number + 7}" for number in range(10))


def labkit_newest(topic: str, path: str) -> int:
    return len(_lab().window(topic, last=100).read(cache=False).to_pandas())


def labkit_newest_unguarded(topic: str, path: str) -> int:
    return len(_lab().window(topic, last=100).read(cache=False, guard=False).to_pandas())


def expert(topic: str, path: str) -> int:
    """What an expert in the libraries writes for one topic.

    It uses consume(), and pyarrow.json under the known schema, and returns columns.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.json
    from confluent_kafka import Message

    consumer, total = _confluent(topic, path, **{"fetch.queue.backoff.ms": 10})
    plain, realistic = _types()
    schema = pa.schema(realistic if "realistic" in topic else plain)
    options = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    tables, count = [], 0
    while count < total:
        messages = [one for one in consumer.consume(10_000, 0.2) if one.error() is None]
        if not messages:
            continue
        data = b"\n".join(map(Message.value, messages)) + b"\n"
        blocks = pa.json.ReadOptions(block_size=len(data) + 1, use_threads=False)
        table = pa.json.read_json(pa.BufferReader(data), read_options=blocks, parse_options=options)
        for name, of in (("_partition", Message.partition), ("_offset", Message.offset)):
            table = table.append_column(
                name, pa.array(np.fromiter(map(of, messages), np.int64, len(messages)))
            )
        stamps = np.fromiter(
            (message.timestamp()[1] for message in messages), np.int64, len(messages)
        )
        tables.append(
            table.append_column("_timestamp", pa.array(stamps, pa.timestamp("ms", "UTC")))
        )
        count += len(messages)
    return len(_frame(pa.concat_tables(tables)))


def _frame(table: Any) -> Any:
    import pandas as pd

    return table.to_pandas(types_mapper=pd.ArrowDtype)


def kafkarrow(topic: str, path: str) -> int:
    """Raw Arrow batches by a client in Rust: nothing is decoded."""
    from kafkarrow import ConsumerManager, SourceTopic

    _, total = _confluent(topic, path)
    manager = ConsumerManager(config=_settings(path), topics=[SourceTopic.from_earliest(topic)])
    count, stall = 0, Stall()
    while count < total:
        count += manager.poll(timeout_ms=200).num_rows
        stall.check(count)
    return count


def _confluent(topic: str, path: str, **more: Any) -> tuple[Any, int]:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {**_settings(path), "group.id": "labkit.bench", "enable.auto.commit": False, **more}
    )
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
            rows.append(
                _row(message.value(), message.partition(), message.offset(), message.timestamp()[1])
            )
    return len(pd.DataFrame(rows))


def _row(value: bytes, partition: int, offset: int, timestamp: int) -> dict[str, Any]:
    """What labkit's frame has of each record, too (and less: no key, no headers, no bytes)."""
    return {
        **json.loads(value),
        "_partition": partition,
        "_offset": offset,
        "_timestamp": timestamp,
    }


def consume_dropped(topic: str, path: str) -> int:
    """The limit: consume() and nothing else."""
    consumer, total = _confluent(topic, path)
    count = 0
    while count < total:
        count += len(consumer.consume(10_000, 1.0))
    return count


def consume_dropped_tuned(topic: str, path: str) -> int:
    """The limit, with two settings tuned.

    It looks again at once when its queue was full, and takes portions that fit the processor's
    cache.
    """
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
    frame = read_kafka(
        topic, bootstrap_servers=settings["bootstrap.servers"], trigger="once",
        start_offset="earliest", end_offset="latest", kafka_auth_config=auth,
    ).to_pandas()  # fmt: skip
    metadata = zip(
        frame["value"], frame["partition"], frame["offset"], frame["timestamp"], strict=True
    )
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
    fields = "`@timestamp` string, channel string, nick string, host string, n bigint, score double, message string"
    columns = ("v.*", "partition", "offset", "timestamp")

    def once() -> int:
        decoded = reader.load().withColumn("v", f.from_json(f.col("value").cast("string"), fields))
        return len(decoded.select(*columns).toPandas())

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


def _types() -> tuple[list[Any], list[Any]]:
    import pyarrow as pa

    text, integer, number = pa.string(), pa.int64(), pa.float64()
    plain = [
        ("@timestamp", text), ("channel", text), ("nick", text), ("host", text), ("n", integer), ("score", number),
        ("message", text),
    ]  # fmt: skip
    user = pa.struct([("id", integer), ("name", text), ("tags", pa.list_(text))])
    items = pa.list_(pa.struct([("sku", text), ("count", integer), ("price", number)]))
    geo = pa.struct([("lat", number), ("lon", number)])
    realistic = [
        ("id", text), ("at", text), ("kind", text), ("ok", pa.bool_()), ("n", integer), ("user", user),
        ("message", text), ("price", number), ("items", items), ("geo", geo), ("ref", text),
    ]  # fmt: skip
    return plain, realistic


WAYS = {
    "labkit: read() + to_pandas()": labkit_pandas,
    "labkit: the same, from the cache": labkit_cached,
    "labkit: batches()": labkit_batches,
    "labkit: to_parquet()": labkit_parquet,
    "labkit: where=, 10 of all, + to_pandas()": labkit_needle,
    "labkit: where=, 10 of all, batches()": labkit_raw_needle,
    "labkit: 100 newest": labkit_newest,
    "labkit: 100 newest, guard off": labkit_newest_unguarded,
    "expert: consume() + pyarrow.json, schema known": expert,
    "confluent poll() + json + DataFrame": confluent_poll,
    "kafkarrow: raw batches": kafkarrow,
    "aiokafka + json + DataFrame": aiokafka,
    "kafka-python + json + DataFrame": kafka_python,
    "Ray Data read_kafka + json + DataFrame": ray_data,
    "Spark local[2], from_json, toPandas, warm": spark_local,
    "limit: consume(), dropped": consume_dropped,
    "limit: consume(), dropped, tuned": consume_dropped_tuned,
    "limit: kcat -f ''": kcat,
}
WARM = (
    "labkit: read",
    "labkit: batches",
    "labkit: 100",
    "expert",
    "limit: consume(), dropped, tuned",
)
IMPORTS = {
    "expert": "confluent_kafka, numpy, pyarrow.json, pandas",
    "kafkarrow": "confluent_kafka, kafkarrow",
    "labkit: where": "labkit.decode.each_record",  # DuckDB
    "labkit": "labkit.lab, labkit.sinks.replay, labkit.decode.json, labkit.replay.sample, pandas",
    "aiokafka": "aiokafka, pandas",
    "kafka-python": "kafka, pandas",
}


if __name__ == "__main__":
    name, topic, path = sys.argv[1:]
    for prefix, modules in IMPORTS.items():
        if name.startswith(prefix):
            for module in modules.split(", "):
                __import__(module)
    began, busy = time.perf_counter(), time.process_time()
    records = WAYS[name](topic, path)
    seconds = warm_s or time.perf_counter() - began
    cpu = time.process_time() - busy
    peak_first = peak_mb()
    warm = {}
    if name.startswith(WARM):
        began, busy = time.perf_counter(), time.process_time()
        WAYS[name](topic, path)
        warm = {
            "warm_seconds": time.perf_counter() - began,
            "warm_cpu_seconds": time.process_time() - busy,
        }
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    peak = children if name.startswith("limit: kcat") else peak_first
    told = {"seconds": seconds, "cpu_seconds": cpu, "records": records, "peak_mb": peak}
    print(json.dumps(told | warm))
