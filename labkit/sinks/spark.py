"""A window as a Spark DataFrame: Spark's own Kafka source with the frozen offsets.

Spark's driver and executors connect for themselves, with Kafka's Java client, whose settings have
other names than librdkafka's. Those of the login and of TLS are translated, or refused where there
is no counterpart; certificates travel as text, so no file need lie on an executor. librdkafka's
tuning is left out. The password stands in the source's option ``kafka.sasl.jaas.config``: it
travels to the executors, in plain bytes unless ``spark.network.crypto`` or ``spark.ssl`` is on.
Spark shows no options of a Kafka source in its plans, its web page or event log, and hides the
password where it logs them; Python's and Java's objects of the session hold it.

Options: https://spark.apache.org/docs/4.2.0/streaming/structured-streaming-kafka-integration.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.checks import names
from labkit.checks.validation import whole_number
from labkit.config.oauth_token import mechanism_of
from labkit.errors import ConfigError, IncompleteError, UsageError
from labkit.kafka.cluster import Cluster
from labkit.read_spec import ReadSpec
from labkit.replay.plan import Plan

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_PACKAGE = "org.apache.spark:spark-sql-kafka-0-10_2.13"
_PACKAGED = {"4.2": "4.2.0"}  # Maven Central has it for no other 4.2, and 4.2.1 works with it
_LOGIN = "org.apache.kafka.common.security"
_MODULES = {
    "PLAIN": f"{_LOGIN}.plain.PlainLoginModule",
    "SCRAM-SHA-256": f"{_LOGIN}.scram.ScramLoginModule",
    "SCRAM-SHA-512": f"{_LOGIN}.scram.ScramLoginModule",
}
_SECURITY = re.compile(r"(security|sasl|ssl|enable\.ssl|enable\.sasl)\.")
_DONE = {"sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password", "security.protocol"}
# taken under the same name: what a broker may ask of every client
_SAME = {"client.id", "client.rack", "client.dns.lookup"}


def to_spark(
    cluster: Cluster, plan: Plan, spark: SparkSession, spec: ReadSpec, slice_records: int | None
) -> DataFrame:
    """Return a window's records as a lazy Spark DataFrame; see `Window.to_spark`."""
    if not hasattr(spark, "read"):
        raise UsageError(
            f"spark must be a SparkSession, not {type(spark).__name__}",
            hint="from pyspark.sql import SparkSession; spark = SparkSession.builder.getOrCreate()",
        )
    spec.reading(cluster, plan).check()
    if spec.isolation == "read_committed":
        _check_transactions(cluster, plan)
    ranges = {span.partition: span for span in plan.ranges if span.size}
    if not ranges:  # Spark wants a partition to read; one without a record is filtered out again
        ranges = {span.partition: span for span in plan.ranges}
    options = {
        **java_options(cluster.settings),
        "assign": json.dumps({plan.topic: sorted(ranges)}),
        "startingOffsets": json.dumps(
            {plan.topic: {str(partition): ranges[partition].start for partition in sorted(ranges)}}
        ),
        "endingOffsets": json.dumps(
            {plan.topic: {str(partition): ranges[partition].end for partition in sorted(ranges)}}
        ),
        "failOnDataLoss": "true",
        "includeHeaders": "true",
        "groupIdPrefix": f"{names.GROUP_PREFIX}{names.user()}.spark",
        "kafka.isolation.level": spec.isolation,
    }
    if slice_records is not None:
        most = whole_number(slice_records, "slice_records", "how many records? 1 or more", low=1)
        options["maxRecordsPerPartition"] = str(most)
    return _raw(_load(spark, options), plan)


def _check_transactions(cluster: Cluster, plan: Plan) -> None:
    """Raise where an open transaction hides the window's end.

    Spark would wait for it, then fail.
    """
    stable = cluster.bounds(plan.topic, [span.partition for span in plan.ranges], "stable")
    hidden = {
        span.partition: stable[span.partition]
        for span in plan.ranges
        if stable[span.partition] < span.end
    }
    if hidden:
        where = ", ".join(
            f"{partition}@{offset:,}" for partition, offset in sorted(hidden.items())[:8]
        )
        raise IncompleteError(
            f"an open transaction hides a part of the window (partition@offset {where})",
            hint='wait until it ends, make a window that ends before it, or isolation="read_uncommitted"',
            hidden=hidden,
        )


def _load(spark: SparkSession, options: Mapping[str, str]) -> DataFrame:
    try:
        return spark.read.format("kafka").options(**options).load()
    except Exception as error:  # pyspark's and py4j's: only their texts differ
        if "kafka" not in str(error).lower() or "find" not in str(error).lower():
            raise
        package = f"{_PACKAGE}:{_PACKAGED.get(spark.version.rpartition('.')[0], spark.version)}"
        raise ConfigError(
            "this Spark has no Kafka source",
            hint=f'SparkSession.builder.config("spark.jars.packages", "{package}"), before the session is there: '
            "stop the one that is",
            package=package,
        ) from error


def _raw(frame: DataFrame, plan: Plan) -> DataFrame:
    """Name and type the columns as `labkit.replay.records.RAW_SCHEMA` does.

    Leave out what is not of the asked time.
    """
    from pyspark.sql import functions as f

    stamp, kind = f.col("timestamp"), f.col("timestampType")
    epoch = f.timestamp_millis(f.lit(0))
    none = (kind < 0) | (stamp < epoch)  # Kafka's -1: NoTimestampType
    if plan.is_by_time:
        frame = frame.where(~none)
    if plan.start_ms is not None:
        frame = frame.where(stamp >= f.timestamp_millis(f.lit(plan.start_ms)))
    if plan.end_ms is not None:
        frame = frame.where(stamp < f.timestamp_millis(f.lit(plan.end_ms)))
    kind_name = (
        f.when(kind == 0, "CreateTime").when(kind == 1, "LogAppendTime").otherwise("NotAvailable")
    )
    return frame.select(
        "topic", "partition", "offset", f.when(~none, stamp).alias("timestamp"), kind_name.alias("timestamp_type"),
        "key", "value", "headers",
    )  # fmt: skip


# settings ------------------------------------------------------------------------------------------------


def java_options(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return librdkafka's settings as options of Spark's Kafka source, for Kafka's Java client.

    Raises
    ------
    ConfigError
        When one of the login or TLS has no counterpart there.
    """
    texts = {key: str(value) for key, value in settings.items()}
    options = {
        "bootstrap.servers": texts.get("bootstrap.servers") or texts.get("metadata.broker.list", "")
    }
    options["security.protocol"] = texts.get("security.protocol", "PLAINTEXT").upper()
    if options["security.protocol"].startswith("SASL"):
        options |= _login(texts)
    for key, value in texts.items():
        if key in _SAME:
            options[key] = value
        elif key in _TLS:
            options |= _TLS[key](value)
        elif _SECURITY.match(key) and key not in _DONE:
            raise _none(key)
    return {f"kafka.{key}": value for key, value in options.items()}


def _login(settings: Mapping[str, str]) -> dict[str, str]:
    mechanism = mechanism_of(settings)
    if mechanism not in _MODULES:
        raise _none("sasl.mechanism", f"{mechanism}: of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512")
    user, password = (_quote(settings.get(f"sasl.{name}", "")) for name in ("username", "password"))
    login = f"{_MODULES[mechanism]} required username={user} password={password};"
    return {"sasl.mechanism": mechanism, "sasl.jaas.config": login}


def _quote(text: str) -> str:
    """Return a JAAS value, as the class Configuration has them.

    See https://docs.oracle.com/en/java/javase/17/docs/api/java.base/javax/security/auth/login/Configuration.html
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _none(key: str, why: str = "") -> ConfigError:
    return ConfigError(
        f"the profile's {key} has no counterpart in Spark's Kafka source{': ' if why else ''}{why}",
        hint="w.to_dask() and w.read() use librdkafka and take it; or read with options of your own",
        setting=key,
    )


def _pem(text: str, option: str, kind: str = "CERTIFICATE") -> dict[str, str]:
    """Return a PEM text's blocks of one kind: a file may hold key and certificates."""
    blocks = re.findall(rf"-----BEGIN ({kind})-----(.*?)-----END \1-----", text, re.DOTALL)
    if not blocks:
        raise ConfigError(
            f"{option}: there is no {kind.lower()} in PEM",
            hint="see what the profile's ssl.* settings name",
        )
    return {
        option: "\n".join(
            f"-----BEGIN {name}-----{body}-----END {name}-----" for name, body in blocks
        )
    }


def _file(value: str) -> str:
    try:
        return Path(value).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{value} cannot be read as PEM: {error}", hint="Spark is given what is in it"
        ) from error


def _trust(text: str) -> dict[str, str]:
    return {"ssl.truststore.type": "PEM", **_pem(text, "ssl.truststore.certificates")}


def _chain(text: str) -> dict[str, str]:
    return {"ssl.keystore.type": "PEM", **_pem(text, "ssl.keystore.certificate.chain")}


def _key(text: str) -> dict[str, str]:
    if re.search(r"BEGIN (RSA|EC|DSA) PRIVATE KEY", text):
        raise ConfigError(
            "the client certificate's key is not in PKCS#8, which is all that Kafka's Java client reads",
            hint="openssl pkcs8 -topk8 -nocrypt -in KEY -out NEW, and name the new file in the profile",
        )
    return _pem(text, "ssl.keystore.key", "PRIVATE KEY|ENCRYPTED PRIVATE KEY")


def _host_name(value: str) -> dict[str, str]:
    return {"ssl.endpoint.identification.algorithm": "" if value == "none" else value}


def _verification(value: str) -> dict[str, str]:
    if value.lower() not in ("true", "1"):
        raise _none(
            "enable.ssl.certificate.verification", "the Java client always checks certificates"
        )
    return {}


_TLS: dict[str, Callable[[str], dict[str, str]]] = {
    "ssl.ca.location": lambda value: _trust(_file(value)),
    "ssl.ca.pem": _trust,
    "ssl.certificate.location": lambda value: _chain(_file(value)),
    "ssl.certificate.pem": _chain,
    "ssl.key.location": lambda value: _key(_file(value)),
    "ssl.key.pem": _key,
    "ssl.key.password": lambda value: {"ssl.key.password": value},
    "ssl.endpoint.identification.algorithm": _host_name,
    "enable.ssl.certificate.verification": _verification,
}
