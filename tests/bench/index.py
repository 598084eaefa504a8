"""`make bench`, second part: how fast a topic gets into an Elasticsearch index.

The ways take turns, so a machine that slows down slows all; medians and ratios are printed,
absolute times are of this machine, whose processors client, Kafka and Elasticsearch share.
Writes ``test-output/bench-index.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from confluent_kafka.admin import NewTopic

from labkit.kafka.cluster import Cluster
from labkit.stack import local
from labkit.stack.state import State

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import figures  # noqa: E402
from index_peers import AVRO_INDEX, AVRO_SCRATCH, LIMIT, LIMIT_GEO, WAYS  # noqa: E402
from read import PARTITIONS, WORDS  # noqa: E402

# what labkit's indexer aims at, against the others
GOALS = {WAYS[3]: "2", WAYS[5]: "1.1", LIMIT: "0.9", WAYS[1]: "0.85 (GeoIP)"}
ADDRESSES = 20_000


def records_of(count: int) -> Iterator[dict[str, Any]]:
    """Yield records of about 280 bytes of JSON, from public addresses."""
    rng = random.Random(7)
    hosts = [".".join(str(rng.randrange(1, 223)) for _ in range(4)) for _ in range(ADDRESSES)]
    for number in range(count):
        yield {
            "@timestamp": f"2026-11-{1 + number % 28:02d}T{number % 24:02d}:{number % 60:02d}:00.000Z",
            "channel": f"#c{number % 8}", "nick": f"nick{number % 350}", "host": rng.choice(hosts),
            "count": number, "score": number / 7, "message": " ".join(rng.choices(WORDS, k=14)),
        }  # fmt: skip


def fill(
    admin: Cluster, topic: str, records: int, encode: Callable[[dict[str, Any]], bytes]
) -> None:
    """Write the records, once."""
    if topic in admin.topics():
        if sum(admin.bounds(topic, range(PARTITIONS), "latest").values()) == records:
            return
        admin.ask(lambda client: client.delete_topics([topic]), what="delete the topic")
    new = NewTopic(topic, PARTITIONS, 1, config={"retention.ms": "-1"})
    admin.ask(lambda client: client.create_topics([new]), what="make the topic")
    producer = admin.producer(linger_ms=50, compression_type="lz4")
    for number, value in enumerate(records_of(records)):
        while True:
            try:
                producer.produce(topic, encode(value), partition=number % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.5)
    producer.flush()


def avro_encoder(state: State, topic: str) -> Callable[[dict[str, Any]], bytes]:
    """Return what writes a record as Avro in Confluent's wire format; its schema is registered."""
    import io

    import fastavro
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

    kinds = {
        "@timestamp": {"type": "long", "logicalType": "timestamp-millis"},
        "count": "long",
        "score": "double",
    }
    names = next(records_of(1))
    # Avro's names have no @: the field is called when
    fields = [
        {"name": name.replace("@timestamp", "when"), "type": kinds.get(name, "string")}
        for name in names
    ]
    schema = {"type": "record", "name": "Message", "fields": fields}
    client = SchemaRegistryClient(state.credentials("admin")["registry"])
    number = client.register_schema(f"{topic}-value", Schema(json.dumps(schema), "AVRO"))
    head, parsed = b"\0" + number.to_bytes(4, "big"), fastavro.parse_schema(schema)

    def encode(value: dict[str, Any]) -> bytes:
        out = io.BytesIO(head)
        out.seek(len(head))
        when = datetime.fromisoformat(value["@timestamp"])
        fastavro.schemaless_writer(out, parsed, {**value, "when": when})
        return out.getvalue()

    return encode


def measure(name: str, topic: str, records: int, credentials: str, state: State) -> dict[str, Any]:
    """Run one way once."""
    env = {**os.environ, "LABKIT_STATE": str(state.root), "LABKIT_USER": "bench"}
    command = [
        sys.executable,
        HERE / "index_peers.py",
        name,
        topic,
        "irc-bench",
        str(records),
        credentials,
    ]
    result = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=600, check=False
    )
    if result.returncode:
        return {"error": (result.stderr.strip().splitlines() or ["it failed"])[-1][:120]}
    return dict(json.loads(result.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-warm-up", action="store_true")
    parser.add_argument("--only", nargs="*", help="beginnings of the names of the ways to run")
    options = parser.parse_args()
    state = local.up(say=print, with_registry=True)
    topic = f"irc-bench-index-{options.records}"
    admin = Cluster(state.credentials("admin")["kafka"])
    fill(admin, topic, options.records, lambda value: json.dumps(value).encode())
    fill(admin, f"{topic}-avro", options.records, avro_encoder(state, f"{topic}-avro"))
    ways = [name for name in WAYS if not options.only or name.startswith(tuple(options.only))]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    errors = {}
    if not shutil.which("rsyslogd", path=os.environ["PATH"] + ":/usr/sbin"):
        errors[WAYS[5]] = "not installed: apt-get install rsyslog-kafka rsyslog-elasticsearch"
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(state.credentials("admin"), file)
        file.flush()
        for turn in range(0 if not options.no_warm_up else 1, options.rounds + 1):
            for name in [way for way in ways if way not in errors]:
                of = f"{topic}-avro" if name in (AVRO_INDEX, AVRO_SCRATCH) else topic
                run = measure(name, of, options.records, file.name, state)
                if "error" in run:
                    errors[name] = run["error"]
                    continue
                if turn:  # the first round warms Elasticsearch's compiler and the page cache
                    runs[name].append(run)
                print(
                    f"{'warm-up' if not turn else f'round {turn}'}  {name:<52}{run['seconds']:7.2f} s",
                    flush=True,
                )
    rows = report(runs, errors, options.records)
    if rows and not options.only:
        figures.keep(
            "index", f"{options.records:,} JSON records into an index", options.rounds, rows
        )


def report(
    runs: dict[str, list[dict[str, Any]]], errors: dict[str, str], records: int
) -> list[dict[str, Any]]:
    """Print the medians, keep all runs as JSON, and return the medians."""
    medians = {
        name: {
            key: statistics.median(entry[key] for entry in run)
            for key in ("seconds", "cpu_s", "peak_mb")
        }
        for name, run in runs.items()
        if run
    }
    ours = medians.get(WAYS[0])
    print(
        f"\n{records:,} records\n{'way':<52}{'records/s':>11}{'client CPU s':>14}{'peak MB':>9}{'labkit is':>11}  goal"
    )
    for name in runs:
        row = medians.get(name)
        if row is None:
            print(f"{name:<52}  {errors.get(name, 'no result')}")
            continue
        ratio = f"{row['seconds'] / ours['seconds']:.2f} x" if ours else ""
        line = f"{name:<52}{records / row['seconds']:>11,.0f}{row['cpu_s']:>14.2f}{row['peak_mb']:>9,.0f}{ratio:>11}"
        print(f"{line}  {GOALS.get(name, '')}")
    if {WAYS[1], LIMIT, LIMIT_GEO} <= set(medians) and ours:
        seconds = {name: medians[name]["seconds"] for name in medians}
        print(
            f"GeoIP costs {seconds[WAYS[1]] / ours['seconds'] - 1:.0%}; Elasticsearch alone, documents located before: "
            f"{seconds[LIMIT_GEO] / seconds[LIMIT] - 1:.0%}"
        )
    for avro, plain in ((AVRO_INDEX, WAYS[0]), (AVRO_SCRATCH, WAYS[2])):
        if {avro, plain} <= set(medians):
            ratio = medians[plain]["seconds"] / medians[avro]["seconds"]
            print(f"{avro}: {ratio:.2f} of the speed of JSON as it is (goal 0.7)")
    folder = HERE.parents[1] / "test-output"
    folder.mkdir(exist_ok=True)
    figures = {"records": records, "medians": medians, "runs": runs, "errors": errors}
    (folder / "bench-index.json").write_text(json.dumps(figures, indent=2))
    return [
        {
            "way": name,
            "records/s": records / row["seconds"],
            "client CPU s": row["cpu_s"],
            "peak MB": row["peak_mb"],
        }
        for name, row in medians.items()
    ]


if __name__ == "__main__":
    main()
