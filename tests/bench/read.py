"""`make bench`: how fast a topic becomes a DataFrame, side by side in one run.

The ways take turns, so a machine that slows down slows all; medians and ratios are printed,
absolute times are of this machine. What takes longer than `SLOW_S` is measured once. Writes
``test-output/bench-read.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json
from confluent_kafka.admin import NewTopic

from labkit.decode.json import Json
from labkit.kafka.cluster import Cluster
from labkit.lab import connect
from labkit.replay.records import join_bytes
from labkit.stack import local
from labkit.stack.state import State

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import figures  # noqa: E402
from peers import PARTITIONS, WAYS  # noqa: E402

SPARK = "Spark local[2], from_json, toPandas, warm"  # its fields are those of plain records
OURS = "labkit: read() + to_pandas()"
PEER_PACKAGES = [
    "aiokafka[lz4]>=0.12",
    "kafka-python[lz4]>=2.2",
    "pandas>=3",
    "confluent-kafka>=2.16,!=2.16.1",
    "pyarrow>=20",
    "ray[data]>=2.50",
    "pyspark==4.2.0",
    "kafkarrow>=0.1.1",
]
QUESTIONS = ("labkit: where", "labkit: 100 newest")  # which return few of the records
TURNS = 7  # of decoding alone
SLOW_S = 15.0  # what takes longer, or fails, is measured once
SCALED = (OURS, "labkit: batches()", "labkit: to_parquet()")
PEERS = ("kafkarrow", "aiokafka", "kafka-python", "Ray", "Spark")
WORDS = [
    "window",
    "replay",
    "offset",
    "topic",
    "record",
    "group",
    "lag",
    "index",
    "shard",
    "mapping",
    "query",
    "bulk",
]


def fill(
    admin: Cluster, topic: str, records: int, make: Callable[[int, random.Random], dict[str, Any]]
) -> None:
    """Write JSON records of about 280 bytes, once."""
    made = topic in admin.topics() and sum(
        admin.bounds(topic, range(PARTITIONS), "latest").values()
    )
    if made == records:
        return
    if topic in admin.topics():
        admin.ask(lambda client: client.delete_topics([topic]), what="delete the topic")
    new = NewTopic(topic, PARTITIONS, 1, config={"retention.ms": "-1"})
    admin.ask(lambda client: client.create_topics([new]), what="make the topic")
    producer, rng = admin.producer(linger_ms=50, compression_type="lz4"), random.Random(7)
    for number in range(records):
        value = json.dumps(make(number, rng))
        while True:
            try:
                producer.produce(topic, value, partition=number % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.5)
    producer.flush()


def _time(number: int) -> str:
    return f"2026-11-{1 + number % 28:02d}T{number % 24:02d}:{number % 60:02d}:00.000Z"


def plain(number: int, rng: random.Random) -> dict[str, Any]:
    """Return a record whose fields are always the same seven."""
    return {
        "@timestamp": _time(number), "channel": f"#c{number % 8}", "nick": f"nick{number % 350}",
        "host": f"10.{number % 250}.{number % 199}.7", "n": number, "score": number / 7,
        "message": " ".join(rng.choices(WORDS, k=14)),
    }  # fmt: skip


def realistic(number: int, rng: random.Random) -> dict[str, Any]:
    """Return a record with optional fields, objects, lists, escapes, its fields in any order."""
    user = {
        "id": rng.randrange(10**6),
        "name": f'Jörg "{number % 99}"',
        "tags": rng.sample(WORDS, rng.randrange(4)),
    }
    value: dict[str, Any] = {
        "id": f"{rng.getrandbits(64):016x}", "at": _time(number), "kind": rng.choice(["view", "click", "order"]),
        "ok": rng.random() < 0.9, "n": number, "user": user,
        "message": f"{' '.join(rng.choices(WORDS, k=8))}\n\tat {rng.choice(WORDS)}",
    }  # fmt: skip
    if rng.random() < 0.5:
        value["price"] = round(rng.random() * 100, 2)
    if rng.random() < 0.4:
        value["items"] = [
            {
                "sku": f"A{rng.randrange(999)}",
                "count": rng.randrange(9),
                "price": rng.choice([1.5, 2.25, None]),
            }
            for _ in range(rng.randrange(4))
        ]
    if rng.random() < 0.3:
        value["geo"] = {"lat": rng.random() * 90, "lon": rng.random() * 180}
    if rng.random() < 0.2:
        value["ref"] = None
    return dict(rng.sample(list(value.items()), len(value)))


RECORDS = {"plain": plain, "realistic": realistic}


def peers_python() -> str:
    """Return the Python of an environment with the peers."""
    folder = HERE.parents[1] / ".venv-bench"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)
    return str(python)


def measure(name: str, topic: str, credentials: str, state: State) -> dict[str, Any]:
    """Run one way once; `error` says why one could not."""
    python = peers_python() if name.startswith(PEERS) else sys.executable
    env = {**os.environ, "LABKIT_STATE": str(state.root)}
    result = subprocess.run(
        [python, HERE / "peers.py", name, topic, credentials],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if result.returncode:
        run_lines = [
            line
            for line in result.stderr.splitlines()
            if re.match(r"[\w.]+(Error|Exception|Exit)\b", line)
        ]
        return {"error": (run_lines or result.stderr.splitlines() or ["no reason given"])[-1]}
    return dict(json.loads(result.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="beginnings of the names of the ways to run")
    parser.add_argument("--keep", action="store_true", help="in docs/figures, though not of all")
    parser.add_argument(
        "--scale",
        type=int,
        nargs="*",
        default=[],
        help="then labkit alone with so many records each",
    )
    parser.add_argument(
        "--kinds", nargs="*", choices=RECORDS, default=list(RECORDS), help="of records"
    )
    options = parser.parse_args()
    state = local.up(say=print)
    ways = [name for name in WAYS if not options.only or name.startswith(tuple(options.only))]
    kinds = options.kinds
    result = {
        f"{options.records:,} {kind}": race(state, options.records, kind, ways, options.rounds)
        for kind in kinds
    }
    for records in options.scale:
        result[f"{records:,} plain"] = race(
            state, records, "plain", [name for name in SCALED if name in WAYS], 1
        )
    for case, runs in result.items():
        rows = report(runs, case)
        count, kind = case.split()
        if count == f"{options.records:,}" and rows and (options.keep or not options.only):
            title = f"{case} JSON records into a DataFrame"
            figures.keep(f"read-{kind}", title, options.rounds, rows)
    folder = HERE.parents[1] / "test-output"
    folder.mkdir(exist_ok=True)
    decoded = {kind: decoding(RECORDS[kind], kind) for kind in kinds}
    if options.keep or not options.only:
        rows = [
            {"way": f"{name}, {kind} records", "µs a record": microseconds}
            for kind, medians in decoded.items()
            for name, microseconds in medians.items()
        ]
        figures.keep("decode", "JSON into Arrow columns, one thread, types known", TURNS, rows)
    kept = {"runs": result, "decode_us": decoded, "window_s": freezing(state)}
    (folder / "bench-read.json").write_text(json.dumps(kept, indent=2))
    print(f"\nall runs: {folder / 'bench-read.json'}")


def race(
    state: State, records: int, kind: str, ways: list[str], rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """Let the ways take turns; return each way's runs."""
    topic = f"irc-bench-{kind}-{records}"
    ways = [name for name in ways if kind == "plain" or name != SPARK]
    fill(Cluster(state.credentials("admin")["kafka"]), topic, records, RECORDS[kind])
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    once = set[str]()
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(state.credentials("lab"), file)
        file.flush()
        for turn in range(rounds + 1):
            for name in ways:
                if name in once:
                    continue
                run = measure(name, topic, file.name, state)
                if not turn and run.get("seconds", SLOW_S) >= SLOW_S:
                    once.add(name)
                if turn or name in once:  # else it has warmed the broker's page cache
                    runs[name].append(run)
                line = (
                    f"{run['seconds']:7.2f} s"
                    if "seconds" in run
                    else f"failed: {run['error'][:90]}"
                )
                print(
                    f"{kind} {'warm-up' if not turn else f'round {turn}'}  {name:<48}{line}",
                    flush=True,
                )
    return runs


def freezing(state: State, partitions: int = 200, rounds: int = 5) -> dict[str, list[float]]:
    """Return how many seconds it takes to freeze a window in a notebook's kernel.

    Its topic has many partitions.
    """
    topic = f"irc-bench-{partitions}-partitions"
    admin = Cluster(state.credentials("admin")["kafka"])
    if topic not in admin.topics():
        admin.ask(
            lambda client: client.create_topics([NewTopic(topic, partitions, 1)]),
            what="make the topic",
        )
        producer = admin.producer()
        for number in range(20 * partitions):
            producer.produce(topic, b'{"n":%d}' % number, partition=number % partitions)
        producer.flush()
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        lab = connect()  # a notebook's first window connects
        for name, asked in (
            ("the first, all", {}),
            ("then last 1 h", {"last": "1h"}),
            ("last 1,000", {"last": 1000}),
        ):
            began = time.perf_counter()
            lab.window(topic, **asked)
            found.setdefault(name, []).append(time.perf_counter() - began)
    print(f"\nlab.window() on {partitions} partitions")
    for name, seconds in found.items():
        print(f"{name:<44}{statistics.median(seconds):>10.3f} s")
    return found


def decoding(
    make: Callable[[int, random.Random], dict[str, Any]], kind: str, count: int = 100_000
) -> dict[str, float]:
    """Return the processor's microseconds a record of labkit's decoder, and of what it stands on.

    One thread each; the types are known, as they are after the first batch of a read.
    """
    rng, portion = random.Random(7), 20_000
    values = [json.dumps(make(number, rng)).encode() for number in range(count)]
    batches = [
        pa.array(values[first : first + portion], pa.binary()) for first in range(0, count, portion)
    ]
    decoder = Json()
    schema = decoder.unify([decoder.parse(batch).schema for batch in batches])
    explicit = pa.json.ParseOptions(
        explicit_schema=pa.schema(list(schema.struct)), unexpected_field_behavior="error"
    )

    def parse_alone(batch: pa.BinaryArray) -> None:
        data = join_bytes(batch)
        blocks = pa.json.ReadOptions(use_threads=False, block_size=len(data) + 1)
        pa.json.read_json(pa.BufferReader(data), read_options=blocks, parse_options=explicit)

    def parse(batch: pa.BinaryArray) -> None:
        parsed = decoder.parse(batch)
        decoder.columns(parsed, schema)

    ways = {"labkit's decoder": parse, "pyarrow.json, explicit schema": parse_alone}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(TURNS):
        for name, way in ways.items():
            began = time.thread_time()
            for batch in batches:
                way(batch)
            times[name].append((time.thread_time() - began) / count * 1e6)
    medians = {name: statistics.median(found) for name, found in times.items()}
    ours, theirs = medians.values()
    print(f"\ndecode {kind} records, one thread: {ours / theirs:.2f} x pyarrow.json")
    for name, microseconds in medians.items():
        print(f"{name:<44}{microseconds:>10.2f} µs a record")
    return medians


def report(runs: dict[str, list[dict[str, Any]]], what: str) -> list[dict[str, Any]]:
    """Print the medians, and how many times as long as labkit each way takes; return them."""
    rows = []
    good = {name: [entry for entry in run if "seconds" in entry] for name, run in runs.items()}
    medians = {
        name: statistics.median(entry["seconds"] for entry in found)
        for name, found in good.items()
        if found
    }
    ours = medians.get(OURS)
    head = f"{'records/s':>12}{'seconds':>9}{'warm':>8}{'cpu s':>8}{'warm':>8}{'peak MB':>9}{'takes':>9}"
    print(
        f"\n{what} records, each in a new process (warm: the second time in it)\n{'way':<48}{head}"
    )
    for name in runs:
        if name not in medians:
            print(f"{name:<48}{'failed':>12}")
            continue
        found, seconds = good[name], medians[name]
        records, peak = (
            max(entry["records"] for entry in found),
            max(entry["peak_mb"] for entry in found),
        )
        cpu = statistics.median(entry["cpu_seconds"] for entry in found)
        warm, busy = (
            [entry[key] for entry in found if key in entry]
            for key in ("warm_seconds", "warm_cpu_seconds")
        )
        rate = "" if name.startswith(QUESTIONS) or records < 1 else f"{records / seconds:,.0f}"
        second, again = (f"{statistics.median(some):.2f}" if some else "" for some in (warm, busy))
        ratio = f"{seconds / ours:.2f} x" if ours else ""
        print(
            f"{name:<48}{rate:>12}{seconds:>9.2f}{second:>8}{cpu:>8.2f}{again:>8}{peak:>9,.0f}{ratio:>9}"
        )
        rows.append(
            {
                "way": name,
                "records/s": rate,
                "seconds": seconds,
                "the second time": statistics.median(warm) if warm else "",
                "CPU s": cpu,
                "peak MB": peak,
                "takes, × the first": seconds / ours if ours else "",
            }
        )
    return rows


if __name__ == "__main__":
    main()
