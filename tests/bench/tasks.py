"""`make bench`: what an analyst asks first of 120,000 records, with a stop-watch.

They are a topic of JSON, one of nested JSON, one of Avro with a schema from a file, and a scratch
index of the first. Each task is a cell or two in a real kernel, which has run ``lab =
labkit.connect()`` before, as a notebook begins. A cell's time is from sending it until the kernel
is idle again, what it shows among it. Writes ``docs/figures/bench-tasks.json``.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka.admin import NewTopic
from jupyter_client import KernelManager
from jupyter_client.manager import start_new_kernel

from labkit.kafka.cluster import Cluster
from labkit.lab import connect
from labkit.stack import local

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import figures  # noqa: E402

from support.records import read_sample  # noqa: E402

TOPIC, RECORDS, PARTITIONS = "irc-bench-tasks", 120_000, 4
TEXTS = ("command", "channel", "nick", "message")
SCHEMA = {
    "type": "record", "name": "Line", "fields": [
        {"name": name, "type": ["null", "string"], "default": None} for name in ("@timestamp", *TEXTS)
    ],
}  # fmt: skip
BEGIN = """
import labkit
from labkit import charts, widgets
lab = labkit.connect()
avro = labkit.decode.avro("line.avsc")
"""


def of_window(topic: str, options: str = "", within: str = "") -> dict[str, list[str]]:
    """Return the cells of each task on the window ``w`` of a topic.

    Parameters
    ----------
    options : str
        Of each call that decodes, such as ``decode=avro``.
    within : str
        The object that has the fields, with a dot.
    """
    where = f"{within}nick = 'kavya_w' and {within}message like '%lag%'"
    more = f", {options}" if options else ""
    day = "select _timestamp::date as day, count(*) n from replay group by 1 order by 1"
    return {
        "one person's messages with a word": [f'w.read(where="{where}"{more}).to_pandas()'],
        "a text, anywhere": [f"w.find('consumer lag'{more}).to_pandas()"],
        "the 20 newest": [f"lab.window({topic!r}, last=20).read({options}).to_pandas()"],
        "one record with its headers": [
            f"widgets.inspect(w.around(2, 4711, before=0, after=0{more}))"
        ],
        "which fields": [f"w.profile({options})"],
        "did volume drop on Tuesday": [
            f"r = w.read({options})",
            'charts.timeline(r, every="1d")',
        ],
        "this week against last": [
            f"r = w.read({options})",
            'charts.timeline(r, against="1w")',
        ],
        "records a day, as a table": [f'w.sql("{day}"{more})'],
        "export: CSV": [f'w.to_csv("tasks.csv"{more})'],
        "export: Parquet": [f'w.to_parquet("tasks.parquet"{more})'],
        "look around": [f"widgets.browse(lab, w{more})"],
    }


OF_INDEX = {
    "one person's messages with a word": ['index.to_pandas("nick:kavya_w AND message:lag")'],
    "a text, anywhere": ["index.to_pandas('\"consumer lag\"', limit=20)"],
    "the 20 newest": ['index.search(size=20, sort=[{"@timestamp": "desc"}])'],
    "one record with its headers": [
        f'index.to_pandas({{"ids": {{"values": ["{TOPIC}-2-4711"]}}}})["_kafka"].iloc[0]'
    ],
    "which fields": ["index.profile()"],
    "did volume drop on Tuesday": ['charts.timeline(index, every="1d")'],
    "this week against last": ['charts.timeline(index, against="1w")'],
    "records a day, as a table": ['charts.timeline(index, every="1d").data'],
    "export: CSV": ['index.to_csv("tasks.csv")'],
    "export: Parquet": ['index.to_parquet("tasks.parquet")'],
    "look around": ["widgets.browse(lab, index)"],
}
TOPICS = {"JSON": TOPIC, "nested JSON": f"{TOPIC}-nested", "Avro": f"{TOPIC}-avro"}
TASKS = {
    "JSON": of_window(TOPICS["JSON"]),
    "nested JSON": of_window(TOPICS["nested JSON"], within="event."),
    "Avro": of_window(TOPICS["Avro"], "decode=avro"),
    "index": OF_INDEX,
}


def nest(line: bytes) -> bytes:
    """Return a line's fields within an object; what is no JSON as it is."""
    try:
        return json.dumps({"event": json.loads(line), "source": {"line": len(line)}}).encode()
    except ValueError:
        return line


def pack(line: bytes) -> bytes:
    """Return a line as Avro."""
    try:
        document = json.loads(line)
    except ValueError:
        document = {}
    written = io.BytesIO()
    texts = {name: text for name, text in document.items() if isinstance(text, str)}
    fastavro.schemaless_writer(written, fastavro.parse_schema(SCHEMA), texts)
    return written.getvalue()


def fill(admin: Cluster, topic: str, change: Callable[[bytes], bytes]) -> None:
    """Write the sample log, each record at its own time, once."""
    if topic in admin.topics():
        return
    new = NewTopic(topic, PARTITIONS, 1, config={"retention.ms": "-1"})
    admin.ask(lambda client: client.create_topics([new]), what="make the topic")
    producer = admin.producer(linger_ms=50)
    for number, line in enumerate(read_sample(RECORDS)):
        while True:
            try:
                producer.produce(
                    topic, change(line), partition=number % PARTITIONS, timestamp=_time_of(line),
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
    admin = Cluster(state.credentials("admin")["kafka"])
    for topic, change in zip(TOPICS.values(), (bytes, nest, pack), strict=True):
        fill(admin, topic, change)
    index = connect().window(TOPIC).to_scratch("bench-tasks", metadata=True, ttl="1d").index
    folder = tempfile.TemporaryDirectory()  # what is exported goes into it
    (Path(folder.name) / "line.avsc").write_text(json.dumps(SCHEMA))
    kernel: KernelManager
    kernel, client = start_new_kernel(kernel_name="python3", cwd=folder.name)
    openings = {source: f"w = lab.window({topic!r})\n" for source, topic in TOPICS.items()}
    openings["index"] = f"index = lab.index({index.name!r})\n"
    rows = []
    try:
        seconds(client, [BEGIN])
        for task in OF_INDEX:
            row: dict[str, Any] = {"task": task}
            for source, tasks in TASKS.items():
                first, *others = tasks[task]
                cells = [openings[source] + first, *others]
                times = [seconds(client, cells) for _ in range(options.rounds + 1)]
                row[f"{source}, s"] = statistics.median(times[1:])
                if source == "JSON":
                    row |= {"cells": len(cells), "the first time, s": times[0]}
            print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
            rows.append(row)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
        folder.cleanup()
        index.drop()
    title = f"What an analyst asks first, on {RECORDS:,} records, in a notebook's kernel"
    print(figures.keep("tasks", title, options.rounds, rows))


if __name__ == "__main__":
    main()
