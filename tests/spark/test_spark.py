"""A window on a real Spark, local[2], with its own Kafka source: the same records as `read()`.

`make test-spark` runs it in an environment of its own, `.venv-spark`; `make test` does not.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from confluent_kafka import TopicPartition
from pyspark.sql import SparkSession

from labkit.acl import kafka_grants
from labkit.errors import IncompleteError, UsageError, WindowExpiredError
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.replay.records import RAW_SCHEMA
from support.secure_stack import SecureStack
from support.waiting import until

pytestmark = pytest.mark.timeout(280)
PACKAGE = "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0"


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("events")


@pytest.fixture(scope="module")
def spark(events: Path) -> Iterator[SparkSession]:
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.jars.packages", PACKAGE)
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.driver.host", "127.0.0.1")
        # what is shown must not depend on it
        .config("spark.sql.session.timeZone", "America/New_York")
        .config("spark.eventLog.enabled", "true")
        .config("spark.eventLog.compress", "false")
        .config("spark.eventLog.dir", str(events))
        .getOrCreate()
    )
    yield session
    session.stop()


def rows(frame: Any) -> list[dict[str, Any]]:
    """Return Spark's rows as the raw schema has them, in its order."""
    table = frame.orderBy("partition", "offset").toArrow()
    stamps = (
        table["timestamp"].cast(pa.timestamp("us", tz="UTC")).cast(pa.timestamp("ms", tz="UTC"))
    )
    table = table.set_column(table.column_names.index("timestamp"), "timestamp", stamps)
    rows_: list[dict[str, Any]] = table.cast(_plain(), safe=True).to_pylist()
    return rows_


def _plain() -> pa.Schema:
    fields = [
        one.with_type(pa.string()) if pa.types.is_dictionary(one.type) else one
        for one in RAW_SCHEMA
    ]
    return pa.schema(fields)


def read(window: Any, **options: Any) -> list[dict[str, Any]]:
    table = window.read(decode="raw", **options).table
    rows_: list[dict[str, Any]] = (
        table.select([f"_{name}" for name in RAW_SCHEMA.names])
        .rename_columns(RAW_SCHEMA.names)
        .to_pylist()
    )
    return rows_


def test_the_same_rows_keys_headers_tombstones(
    lab: Lab, spark: SparkSession, make_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    name = make_topic(3, message_timestamp_type="CreateTime")
    values = [b"", None, b"\xff\x00", *(b"%d" % n for n in range(500))]
    headers = [
        [("a", b"1"), ("a", None), ("", b"\xff")] if n % 3 else [] for n in range(len(values))
    ]
    produce(
        name,
        values,
        keys=[b"k%d" % n if n % 2 else None for n in range(len(values))],
        headers=headers,
    )
    produce(name, [b"x"] * 50, partition=2)
    window = lab.window(name)
    frame = window.to_spark(spark, slice_records=100)
    assert frame.columns == RAW_SCHEMA.names
    assert frame.rdd.getNumPartitions() >= 6
    assert rows(frame) == read(window)
    produce(name, [b"later"])
    assert frame.count() == len(window)  # frozen
    part = lab.window(name, offsets={0: (10, 20), 1: (0, 0)})
    assert rows(part.to_spark(spark)) == read(part)
    other_window = lab.window(name, offsets={1: (0, 0)})
    assert (other_window.to_spark(spark).columns, other_window.to_spark(spark).count()) == (
        RAW_SCHEMA.names,
        0,
    )
    with pytest.raises(UsageError, match="slice_records"):
        window.to_spark(spark, slice_records=0)


def test_a_window_by_time_leaves_out_what_is_not_of_it(
    lab: Lab, spark: SparkSession, make_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    name, base = make_topic(1), 1_760_000_000_000
    stamps = [base + 10 * n - (50 if n % 10 == 0 else 0) for n in range(1_000)]
    produce(name, [b"%d" % n for n in range(1_000)], timestamps=stamps)
    bounds = {
        bound: pd.Timestamp(base + ms, unit="ms", tz="UTC")
        for bound, ms in (("start", 2_000), ("end", 8_000))
    }
    window = lab.window(name, **bounds, slack="1s")
    expected = read(window)
    assert len(expected) < len(window)
    assert rows(window.to_spark(spark)) == expected


@pytest.mark.parametrize("isolation", ["read_committed", "read_uncommitted"])
def test_transactions(
    isolation: str,
    lab: Lab,
    admin: Cluster,
    spark: SparkSession,
    make_topic: Callable[..., str],
) -> None:
    name = make_topic(1)
    producer = admin.producer(**{"transactional.id": name})
    producer.init_transactions(30)
    for number in range(6):
        producer.begin_transaction()
        for one in range(20):
            producer.produce(name, b"%d-%d" % (number, one))
        producer.flush(30)
        (producer.abort_transaction if number % 2 else producer.commit_transaction)(30)
    window = lab.window(name)
    expected = read(window, isolation=isolation)
    assert len(expected) == (60 if isolation == "read_committed" else 120)
    assert rows(window.to_spark(spark, isolation=isolation)) == expected
    producer.begin_transaction()
    producer.produce(name, b"open")
    producer.flush(30)
    try:
        open_one = lab.window(name)
        if isolation == "read_committed":
            with pytest.raises(IncompleteError, match="an open transaction"):
                open_one.to_spark(spark)
        else:
            assert open_one.to_spark(spark, isolation=isolation).count() == 121
    finally:
        producer.abort_transaction(30)


def test_records_that_are_gone_are_an_error_before_and_in_spark(
    lab: Lab,
    admin: Cluster,
    spark: SparkSession,
    make_topic: Callable[..., str],
    produce: Callable[..., None],
) -> None:
    name = make_topic(1)
    produce(name, [b"%d" % n for n in range(100)])
    window = lab.window(name)
    frame = window.to_spark(spark)
    admin.ask(lambda one: one.delete_records([TopicPartition(name, 0, 50)]), what="delete records")
    with pytest.raises(WindowExpiredError):
        window.to_spark(spark)
    with pytest.raises(
        Exception, match=r"(?i)data.?loss|some data may have been lost|OffsetOutOfRange"
    ):
        frame.count()


def test_no_group_is_left_and_no_password_is_shown(
    lab: Lab,
    admin: Cluster,
    spark: SparkSession,
    events: Path,
    make_topic: Callable[..., str],
    produce: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    name = make_topic(1)
    produce(name, [b"%d" % n for n in range(100)])
    frame = lab.window(name).to_spark(spark)
    spark.sparkContext.setLogLevel("INFO")
    try:
        assert frame.count() == 100
        frame.explain("extended")
    finally:
        spark.sparkContext.setLogLevel("WARN")
    assert not [one for one in lab.groups()["group"] if "spark" in one]
    output = capfd.readouterr()
    logged = "".join(
        path.read_text(errors="replace") for path in events.rglob("*") if path.is_file()
    )
    assert "KafkaRelation" in output.out
    assert name in logged
    password = lab.connection.kafka["sasl.password"]
    shown = [output.out, output.err, logged, frame._jdf.queryExecution().toString(), repr(frame)]
    assert not [text for text in shown if password in text]


@pytest.mark.parametrize("way", ["scram", "certificate"])
def test_behind_tls(way: str, secure: SecureStack, spark: SparkSession) -> None:
    topic = secure.new_topic([b"%d" % n for n in range(10)])
    if way == "scram":
        name, password = secure.new_user("spark")
        settings = secure.kafka(name, password)
    else:
        name = f"spark-{uuid.uuid4().hex[:8]}"
        settings = secure.mtls(name)
    secure.grant(name, kafka_grants("lab", topic))
    lab = secure.lab(settings)
    until(lambda: topic in lab.cluster.topics())
    window = lab.window(topic)
    assert rows(window.to_spark(spark)) == read(window)
