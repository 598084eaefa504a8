"""`make bench`: what an analyst asks first of a topic of 120,000 records, with a stop-watch.

Each task is a cell or two in a real kernel, which has run ``lab = labkit.connect()`` before, as a
notebook begins. A cell's time is from sending it until the kernel is idle again, what it shows
among it. Writes ``docs/figures/bench-tasks.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from confluent_kafka.admin import NewTopic
from jupyter_client import KernelManager
from jupyter_client.manager import start_new_kernel

from labkit.kafka.cluster import Cluster
from labkit.stack import local

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import figures  # noqa: E402

from support.records import read_sample  # noqa: E402

TOPIC, RECORDS, PARTITIONS = "irc-bench-tasks", 120_000, 4
BEGIN = f"""
import labkit
from labkit import charts, widgets
lab = labkit.connect()
w = lab.window({TOPIC!r})
"""
TASKS = {
    "one person's messages with a word": [
        """w.read(where="nick = 'kavya_w' and message like '%lag%'").to_pandas()"""
    ],
    "a text, anywhere": ["w.find('consumer lag').to_pandas()"],
    "the 20 newest": [f"lab.window({TOPIC!r}, last=20).to_pandas()"],
    "one record with its headers": ["widgets.inspect(w.around(2, 4711, before=0, after=0))"],
    "which fields": ["w.profile()"],
    "did volume drop on Tuesday": ["r = w.read()", 'charts.timeline(r, every="1d")'],
    "this week against last": ["r = w.read()", 'charts.timeline(r, against="1w")'],
    "records a day, as a table": [
        'w.sql("select _timestamp::date as day, count(*) n from replay group by 1 order by 1")'
    ],
    "export: CSV": ['w.to_csv("tasks.csv")'],
    "export: Parquet": ['w.to_parquet("tasks.parquet")'],
    "look around": [f"widgets.browse(lab, {TOPIC!r})"],
}


def fill(admin: Cluster) -> None:
    """Write the sample log, each record at its own time, once."""
    if TOPIC in admin.topics():
        return
    new = NewTopic(TOPIC, PARTITIONS, 1, config={"retention.ms": "-1"})
    admin.ask(lambda client: client.create_topics([new]), what="make the topic")
    producer = admin.producer(linger_ms=50)
    for number, line in enumerate(read_sample(RECORDS)):
        while True:
            try:
                producer.produce(
                    TOPIC, line, partition=number % PARTITIONS, timestamp=_time_of(line),
                    headers=[("n", str(number).encode())],
                )  # fmt: skip
                break
            except BufferError:
                producer.poll(0.5)
    producer.flush()


def _time_of(line: bytes) -> int:
    from labkit.times import to_ms

    try:
        return to_ms(json.loads(line)["@timestamp"])
    except (ValueError, KeyError, TypeError):
        return 1_790_000_000_000  # some lines are no JSON


def seconds(client: Any, cells: list[str]) -> float:
    """Return how long cells take; one that fails ends the bench."""
    took = 0.0
    for cell in cells:
        began = time.perf_counter()
        reply = client.execute_interactive(cell, timeout=120, output_hook=lambda message: None)
        took += time.perf_counter() - began
        content = reply["content"]
        assert content["status"] == "ok", f"{cell}: {content['ename']}: {content['evalue']}"
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    state = local.up(say=print)
    fill(Cluster(state.credentials("admin")["kafka"]))
    folder = tempfile.TemporaryDirectory()  # what is exported goes into it
    kernel: KernelManager
    kernel, client = start_new_kernel(kernel_name="python3", cwd=folder.name)
    try:
        seconds(client, [BEGIN])
        rows = []
        for task, cells in TASKS.items():
            times = [
                seconds(client, [BEGIN.splitlines()[-1], *cells]) for _ in range(options.rounds + 1)
            ]
            rows.append(
                {
                    "task": task,
                    "cells": len(cells),
                    "the first time, s": times[0],
                    "then, s": statistics.median(times[1:]),
                }
            )
            print(f"{task:<40}{times[0]:7.2f} s, then {rows[-1]['then, s']:.2f} s", flush=True)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
        folder.cleanup()
    title = f"What an analyst asks first, on {RECORDS:,} records, in a notebook's kernel"
    print(figures.keep("tasks", title, options.rounds, rows))


if __name__ == "__main__":
    main()
