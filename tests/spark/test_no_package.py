"""A Spark without the Kafka package: the hint is the line that mends it.

Apart: a Java process has one session.
"""

from __future__ import annotations

import subprocess
import sys

from labkit.kafka.cluster import Cluster

_SCRIPT = """
import labkit
from pyspark.sql import SparkSession
from labkit.errors import ConfigError
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
try:
    labkit.connect().window("TOPIC").to_spark(spark)
except ConfigError as error:
    print(error)
"""


def test_the_hint_names_package_and_version(make_topic: object, admin: Cluster) -> None:
    topic = make_topic(1)  # type: ignore[operator]
    script = _SCRIPT.replace("TOPIC", topic)
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert "this Spark has no Kafka source" in result.stdout, result.stderr
    assert (
        '"spark.jars.packages", "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0"' in result.stdout
    )
