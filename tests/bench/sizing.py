"""Measure what a record costs at growing numbers of records.

It is time and CPU seconds of client, Kafka and Elasticsearch. Each way runs in a process of its
own, on topics of `read.py`. The machine may be shared: CPU seconds say more than wall time. Writes
``test-output/bench-sizing.json``; docs/sizing.md does the arithmetic.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from labkit.kafka.cluster import Cluster
from labkit.stack import local
from labkit.stack.state import State

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from read import fill  # noqa: E402

_WAY = """
import json, resource, sys, time
import labkit
from memory import peak_mb
from pathlib import Path
name, topic = sys.argv[1:]
stored = []
window = labkit.connect().window(topic)
def dask(window):
    from distributed import Client, LocalCluster
    local = dict(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    with LocalCluster(**local) as cluster, Client(cluster) as client:
        global began
        window.lab.window(topic, last=1000).to_dask(client).count().compute()  # imports and connections
        began = time.perf_counter()
        return int(window.to_dask(client).channel.count().compute())
def parquet(window):
    path = Path("sizing.parquet")
    found = window.to_parquet(path).read
    stored.append(path.stat().st_size)
    path.unlink()
    return found
def scratch(window):
    load = window.to_scratch("sizing")
    shards = load.index.target.client.indices.stats(index=load.index.name, metric="store")["_all"]["primaries"]
    stored.append(shards["store"]["size_in_bytes"])
    load.index.drop()
    assert load.complete, load
    return load.counts["indexed"]
ways = {
    "batches": lambda window: sum(batch.num_rows for batch in window.batches()),
    "read": lambda window: len(window.read(cache=False)),
    "to_parquet": parquet, "to_scratch": scratch, "to_dask": dask,
}
began = time.perf_counter()
records = ways[name](window)
seconds = time.perf_counter() - began
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
cpu = sum(one.ru_utime + one.ru_stime for one in used)
print(json.dumps({"records": records, "seconds": seconds, "client_cpu_s": cpu, "peak_mb": peak_mb(),
                  "stored_bytes": sum(stored)}))
"""
WAYS = ("batches", "read", "to_parquet", "to_scratch", "to_dask")


def server_cpu(state: State, service: str) -> float:
    """Return the CPU seconds a server and its children have used."""
    main = psutil.Process(state.services[service].pid)
    return sum(sum(one.cpu_times()[:2]) for one in [main, *main.children(recursive=True)])


def network() -> int:
    """Return the bytes that went over the loopback so far: all of the machine's."""
    return int(psutil.net_io_counters(pernic=True)["lo"].bytes_sent)


def run(state: State, way: str, records: int) -> dict[str, Any]:
    """Run one way once."""
    before = {service: server_cpu(state, service) for service in ("kafka", "elasticsearch")}
    sent = network()
    env = {**os.environ, "LABKIT_STATE": str(state.root), "PYTHONPATH": str(HERE)}
    command = [sys.executable, "-c", _WAY, way, f"irc-bench-{records}"]
    result = subprocess.run(
        command, env=env, capture_output=True, text=True, check=False, cwd="/tmp"
    )
    if result.returncode:
        return {"way": way, "error": result.stderr.strip().splitlines()[-1]}
    figures = {
        "way": way,
        **json.loads(result.stdout.splitlines()[-1]),
        "loopback_bytes": network() - sent,
    }
    for service, at in before.items():
        figures[f"{service}_cpu_s"] = server_cpu(state, service) - at
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--ways", nargs="*", default=WAYS, choices=WAYS)
    options = parser.parse_args()
    local.up(say=print)
    state = local.up(say=lambda _text: None)
    folder = HERE.parents[1] / "test-output"
    folder.mkdir(exist_ok=True)
    runs: list[dict[str, Any]] = []
    heads = ("us/record", "client us", "kafka us", "es us", "peak MB")
    print(f"{'way':<12}{'records':>12}{'seconds':>9}" + "".join(f"{head:>11}" for head in heads))
    for records in options.records:
        fill(Cluster(state.credentials("admin")["kafka"]), f"irc-bench-{records}", records)
        for way in options.ways:
            result = run(state, way, records)
            runs.append({"asked": records, **result})
            if "error" in result:
                print(f"{way:<12}{records:>12,}  failed: {result['error'][:90]}", flush=True)
                continue
            costs = [
                result[f"{who}_cpu_s"] / result["records"] * 1e6
                for who in ("client", "kafka", "elasticsearch")
            ]
            print(
                f"{way:<12}{result['records']:>12,}{result['seconds']:>9.1f}"
                f"{result['seconds'] / result['records'] * 1e6:>11.2f}"
                f"{costs[0]:>11.2f}{costs[1]:>11.2f}{costs[2]:>11.2f}{result['peak_mb']:>11,.0f}",
                flush=True,
            )
            (folder / "bench-sizing.json").write_text(json.dumps(runs, indent=2))


if __name__ == "__main__":
    main()
