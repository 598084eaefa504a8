"""Ctrl-C wherever it may come: a process of its own each time, a real SIGINT.

The servers are asked what is left.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from labkit.errors import NotFoundError
from labkit.groups.offsets import list_groups
from labkit.groups.own import delete_group
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from support.stack import LABKIT, nothing_left
from support.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.alone]
RECORDS = 40_000
# it had done all; it says that not all is done; it did nothing; the same, as Python itself ends (a
# shell shows 130)
ENDS = (0, 3, 130, -signal.SIGINT)


@pytest.fixture(scope="module")
def topic(lab: Lab, admin: Cluster) -> Iterator[str]:
    """A topic that takes a while to read: two partitions of numbered records."""
    from confluent_kafka.admin import NewTopic

    name = f"irc-test-interrupts-{uuid.uuid4().hex[:8]}"
    admin.ask(lambda client: client.create_topics([NewTopic(name, 2, 1)]), what="make it")
    producer = admin.producer(linger_ms=5)
    for number in range(RECORDS):
        producer.produce(name, b'{"n":%d,"text":"%s"}' % (number, b"x" * 300), partition=number % 2)
        producer.poll(0)
    assert producer.flush(60) == 0
    yield name
    admin.ask(lambda client: client.delete_topics([name]), what="delete it")


class Child:
    """A Python process that is interrupted.

    It says when it is at work, and prints what it has as JSON.
    """

    def __init__(self, program: str, *arguments: str) -> None:
        begin = """
            import json, signal, sys, time
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
            import labkit
            from labkit.replay import reader
            reader.BATCH_RECORDS = 500
        """
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(begin) + textwrap.dedent(program), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def at_work(self) -> None:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line == "at work\n", (line, self.process.communicate(timeout=30))

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> Any:
        """Return what it printed last."""
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        assert "Traceback" not in err
        return json.loads(out.splitlines()[-1])


def test_batches_end_with_the_interrupt_and_what_came_is_a_beginning(
    topic: str, lab: Lab, admin: Cluster, me: str
) -> None:
    """The records that came are each partition's first ones, without a gap; no group is left."""
    program = """
        seen = {0: [], 1: []}
        try:
            for count, batch in enumerate(labkit.connect().window(sys.argv[1]).batches()):
                for partition, offset in zip(batch["partition"].to_pylist(), batch["offset"].to_pylist()):
                    seen[partition].append(offset)
                if count == 3:
                    print("at work", flush=True)
                time.sleep(0.01)
        except KeyboardInterrupt:
            print(json.dumps([[len(one), one == list(range(len(one)))] for one in seen.values()]))
    """
    with nothing_left(admin, "irc-none"):
        child = Child(program, topic)
        child.at_work()
        child.interrupt()
        rows = child.end()
    assert all(complete for _, complete in rows)
    assert 0 < sum(count for count, _ in rows) < RECORDS


def test_a_parquet_file_has_what_its_receipt_says(topic: str, tmp_path: Path) -> None:
    """Planned = read + unread.

    The file has each record that was read, once; nothing else lies beside it.
    """
    program = """
        from labkit.waiting import progress
        from contextlib import contextmanager

        @contextmanager
        def bar(*_):
            def advance(*_):
                if not told:
                    print("at work", flush=True)
                told.append(1)
                time.sleep(0.01)
            yield advance

        told, progress.bar = [], bar
        receipt = labkit.connect().window(sys.argv[1]).to_parquet(sys.argv[2], on_interrupt="keep")
        print(json.dumps([receipt.complete, list(receipt.reasons), receipt.planned, receipt.read, receipt.unread]))
    """
    child = Child(program, topic, str(tmp_path / "out.parquet"))
    child.at_work()
    child.interrupt()
    complete, reasons, planned, read, unread = child.end()
    assert (complete, reasons, planned, read + unread) == (False, ["interrupt"], RECORDS, RECORDS)
    table = pq.read_table(tmp_path / "out.parquet", columns=["_partition", "_offset"])
    assert (
        len(set(zip(*(table[name].to_pylist() for name in table.column_names), strict=True)))
        == len(table)
        == read
        > 0
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_a_load_s_counts_are_the_index_s(topic: str, lab: Lab, me: str) -> None:
    """What the interrupted load counted as indexed is in the index.

    A second load adds the rest, nothing twice.
    """
    program = """
        from labkit.es import bulk

        real = bulk.Bulk.put

        def put(self, *arguments):
            real(self, *arguments)
            if not told:
                print("at work", flush=True)
            told.append(1)
            time.sleep(0.05)

        told, bulk.Bulk.put = [], put
        load = labkit.connect().window(sys.argv[1]).to_scratch("interrupted", on_interrupt="keep")
        print(json.dumps([load.complete, load.counts, load.index.count()]))
    """
    child = Child(program, topic)
    child.at_work()
    child.interrupt()
    complete, counts, document_count = child.end()
    assert not complete
    assert 0 < counts["indexed"] == document_count < RECORDS
    again = lab.window(topic).to_scratch("interrupted")
    assert again.complete
    assert (again.counts["existing"], again.counts["indexed"]) == (
        document_count,
        RECORDS - document_count,
    )
    assert again.index.count() == RECORDS


@pytest.fixture
def group(admin: Cluster, me: str) -> Iterator[str]:
    """The id of this user's group ``sigint``, gone afterwards."""
    yield f"labkit.{me}.sigint"
    delete_group(admin, f"labkit.{me}.sigint")


def without_members(admin: Cluster, group: str) -> bool:
    return not list_groups(admin, [group])[0].members


def test_a_tail_interrupted_again_and_again_loses_nothing(
    make_topic: Any, admin: Cluster, group: str
) -> None:
    """Each record is returned once, by one of the calls.

    What is committed at the end is the topic's end.
    """
    topic = make_topic(2)
    program = """
        signal.signal(signal.SIGINT, lambda *_: None)  # one that comes between two calls
        found, calls = [], 0
        with labkit.connect().attach(sys.argv[1], name="sigint", start="earliest") as group:
            group.read(1)
            group.seek("earliest")
            print("at work", flush=True)
            while sum(number < 0 for _, number in found) < 2:
                calls += 1
                try:
                    frame = group.tail(20, on_interrupt="keep")
                except KeyboardInterrupt:  # the second in one call
                    continue
                found += zip(frame["_partition"].tolist(), frame["n"].tolist()) if len(frame) else []
            end = group.commit()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a signal cuts a print that is longer than a pipe
        print(json.dumps([calls, found, end]))
    """
    child = Child(program, topic)
    over = threading.Event()

    def write() -> None:
        producer = admin.producer(linger_ms=5)
        for number in range(1_000_000):
            producer.produce(topic, b'{"n":%d}' % number, partition=number % 2)
            producer.poll(0)
            if number % 50 == 0 and over.wait(0.005):
                break
        producer.flush(30)
        for partition in (0, 1):
            producer.produce(topic, b'{"n":%d}' % (-1 - partition), partition=partition)
        producer.flush(30)

    writer, rng = threading.Thread(target=write), random.Random(7)
    writer.start()
    child.at_work()
    for _ in range(20):
        time.sleep(rng.uniform(0.02, 0.3))
        child.interrupt()
    over.set()
    writer.join()
    time.sleep(0.5)
    child.interrupt()
    calls, rows, committed = child.end()
    ends = admin.bounds(topic, [0, 1], "latest")
    assert calls > 3
    assert max(Counter(map(tuple, rows)).values()) == 1
    assert len(rows) == sum(ends.values())
    assert {int(p): at for p, at in committed.items()} == ends
    until(lambda: without_members(admin, group))


def test_an_interrupt_while_duckdb_is_imported_does_not_abort_the_process() -> None:
    """It comes as the exception it is, once DuckDB is there.

    Without that a notebook's kernel would die of it.
    """
    program = """
        import os, threading
        import labkit.replay.reader

        def press():
            while "duckdb" not in sys.modules:
                time.sleep(0.0005)
            for _ in range(30):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.001)

        thread = threading.Thread(target=press)
        thread.start()
        try:
            import labkit.decode.filter
            came = False
        except KeyboardInterrupt:
            came = True
        signal.signal(signal.SIGINT, lambda *_: None)
        thread.join()
        print(json.dumps([came, "duckdb" in sys.modules]))
    """
    assert Child(program).end() == [True, True]


# the command -----------------------------------------------------------------------------------------------

COMMANDS = [
    "topics", "groups", "offsets", "scratch", "cache", "doctor", "gc", "window TOPIC", "replay TOPIC",
    "replay TOPIC --decode json", "replay TOPIC -o FOLDER/out.parquet", "replay TOPIC --scratch cut",
    "compare INDEX INDEX", "lag --samples 100 --every 200ms", "lag --watch --every 200ms",
    "index TOPIC irc-test-sigint --group indexer.sigint-USER",
]  # fmt: skip


@pytest.mark.hard
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_soon_and_without_a_traceback_whenever_it_is_interrupted(
    command: str, topic: str, lab: Lab, admin: Cluster, tmp_path: Path, me: str
) -> None:
    """A command is interrupted at five moments of its life.

    It ends at once, with words of its own alone, no member of a group, and no torn file.
    """
    if "INDEX" in command:
        lab.window(topic).to_scratch("whole")
    for word, expected in {
        "TOPIC": topic,
        "FOLDER": str(tmp_path),
        "INDEX": f"scratch-{me}-whole",
        "USER": me,
    }.items():
        command = command.replace(word, expected)
    rng = random.Random(command)
    for _ in range(5):
        child = subprocess.Popen(
            [*LABKIT, *command.split()],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        until(lambda started=child: at_work(started))
        time.sleep(rng.uniform(0, 2))
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
        assert child.returncode in ENDS, (child.returncode, err)
        assert "Traceback" not in err
        assert "ignored" not in err
    assert {path.name for path in tmp_path.iterdir()} <= {"out.parquet"}
    until(
        lambda: (
            not [
                group_info
                for group_info in list_groups(admin)
                if me in group_info.name and group_info.members
            ]
        )
    )
    if "index" in command:
        with suppress(NotFoundError):  # it never joined
            admin.ask(
                lambda client: client.delete_consumer_groups([f"indexer.sigint-{me}"]),
                what="delete it",
            )


def at_work(child: subprocess.Popen[str]) -> bool:
    """Tell whether a process is past Python's own start, of which labkit knows nothing.

    It is when it has loaded a library.
    """
    maps = Path(f"/proc/{child.pid}/maps")
    return child.poll() is not None or "site-packages" in maps.read_text()
