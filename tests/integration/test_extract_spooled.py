"""The extractor as a process, a real ngircd, and a broker that dies: nothing is lost, and what is doubled is marked."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka.admin import NewTopic
from conftest import kill_9, labkit
from test_extract_irc import Ngircd, Talker, ngircd, say, together, until  # noqa: F401  (a fixture)

from labkit.config import Profile
from labkit.kafka import Cluster
from labkit.lab import Lab
from labkit.stack.state import State, write_private

pytestmark = pytest.mark.chaos


class Extractor:
    """One running ``labkit extract irc``."""

    def __init__(self, folder: Path, topic: str, port: int) -> None:
        command = [
            sys.executable, "-m", "labkit", "extract", "irc", "--profile", "feed", "--topic", topic,
            "--server", "127.0.0.1", "--port", str(port), "--nick", "labkit", "--channel", "#lab",
            "--spool", str(folder / "spool.sqlite"),
        ]  # fmt: skip
        environment = {**os.environ, "LABKIT_CONFIG": str(folder / "labkit.toml")}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stderr or []:
            self.said.append(line.rstrip())

    def hears(self, text: str) -> None:
        def met() -> bool:
            found = any(text in line for line in self.said)
            assert found or self.process.poll() is None, self.said
            return found

        until(met, f"hearing {text!r} in {self.said}", 120)

    def stop(self) -> str:
        """Ask it to end; return its last words."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, self.said
        return str(out)


class Feed:
    """A topic on a stack that may be killed, an extractor that follows a channel, and somebody who talks in it."""

    def __init__(self, mortal: Path, folder: Path, port: int) -> None:
        self.port = port
        self.state, self.folder, self.topic = mortal, folder, f"irc-spooled-{uuid.uuid4().hex[:8]}"
        labkit(mortal, "up")
        admin = Cluster(State.load(mortal).credentials("admin")["kafka"])
        admin.ask(lambda client: client.create_topics([NewTopic(self.topic, 3, 1)]), what="make it")
        until(lambda: self.topic in admin.topics(), "the topic")
        kafka = State.load(mortal).credentials("extractor")["kafka"]
        lines = ["[profiles.feed.kafka]", *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in kafka.items())]
        write_private(folder / "labkit.toml", "\n".join(lines))
        self.first = self.extractor()
        self.talker = Talker(port, b"talker")

    def extractor(self) -> Extractor:
        """Start another one."""
        found = Extractor(self.folder, self.topic, self.port)
        found.hears("connected to")
        return found

    def records(self) -> list[dict[str, Any]]:
        """Return what the topic has of what was said, with its headers."""
        found = State.load(self.state).credentials("lab")
        lab = Lab(Profile("local", "lab", found["kafka"], found["elasticsearch_targets"]))
        rows = lab.window(self.topic).read(cache=False, decode="raw").table.select(["_value", "_headers"]).to_pylist()
        records = []
        for row in rows:
            value = orjson.loads(row["_value"])
            if value["command"] == "PRIVMSG":
                records.append({"said": value["message"], **{one["key"]: one["value"] for one in row["_headers"]}})
        return records


@pytest.fixture
def feed(mortal: Path, tmp_path: Path, ngircd: Callable[..., Ngircd]) -> Iterator[Feed]:  # noqa: F811
    yield Feed(mortal, tmp_path, ngircd().port)
    labkit(mortal, "up")


def spooled(feed: Feed, at_least: int) -> None:
    """Wait until so many records were put into the spool, ever."""

    def count() -> int:
        with closing(sqlite3.connect(f"file:{feed.folder}/spool.sqlite?mode=ro", uri=True)) as disk:
            return int((disk.execute("select max(seq) from sqlite_sequence").fetchone() or [0])[0] or 0)

    until(lambda: count() >= at_least, f"{at_least} records in the spool", 60)


def hold_together(records: list[dict[str, Any]], said: range) -> None:
    """Nothing is missing, what is there twice is marked, and the numbers of the spool have no gap."""
    found = Counter(record["said"] for record in records)
    assert set(found) == {f"number {number}" for number in said}
    for record in records:
        if found[record["said"]] > 1:
            twice = [one for one in records if one["said"] == record["said"]]
            assert sum("labkit.resent" not in one for one in twice) <= 1
            assert len({(one["labkit.spool"], one["labkit.spool_sequence"]) for one in twice}) == 1
    assert len({record["labkit.spool"] for record in records}) == 1
    first = {record["said"]: int(record["labkit.spool_sequence"]) for record in records}
    order = [first[f"number {number}"] for number in said]
    assert order == sorted(order)


def test_broker_and_extractor_killed_nothing_is_lost_and_what_is_doubled_is_marked(
    feed: Feed,
) -> None:
    one, talker = feed.first, feed.talker
    say(talker, range(300))
    kill_9(feed.state, "kafka")
    say(talker, range(300, 600))
    spooled(feed, 600)
    one.process.kill()
    one.process.wait()

    two = feed.extractor()  # Kafka is still away
    two.hears("of a former run are in")
    two.hears("records wait in")
    together(talker, b"labkit")
    say(talker, range(600, 900))
    spooled(feed, 900)
    labkit(feed.state, "up")
    two.hears("Kafka answers")
    until(lambda: len({record["said"] for record in feed.records()}) == 900, "all in the topic", 120)
    report = two.stop()
    assert "0 rejected" in report
    hold_together(feed.records(), range(900))


@pytest.mark.hard
def test_stopped_while_kafka_is_away_the_next_run_sends_the_rest(
    feed: Feed,
) -> None:
    one, talker = feed.first, feed.talker
    kill_9(feed.state, "kafka")
    say(talker, range(50))
    spooled(feed, 50)
    one.process.send_signal(signal.SIGTERM)
    one.hears("the next run sends them")
    one.process.wait(60)
    labkit(feed.state, "up")
    two = feed.extractor()
    until(lambda: len(feed.records()) >= 50, "all in the topic", 60)
    delivered, _, sent, *_ = two.stop().split()
    assert delivered == sent  # the former run's among them
    hold_together(feed.records(), range(50))


def test_a_flood_is_taken_as_it_comes(
    feed: Feed,
) -> None:
    """20,000 messages as fast as ngircd hands them on; the rate is written beside the other tests' output."""
    one, talker, count = feed.first, feed.talker, 20_000
    began = time.monotonic()
    for first in range(0, count, 500):
        say(talker, range(first, first + 500))
    seconds = time.monotonic() - began
    until(lambda: len(feed.records()) >= count, "all in the topic", 120)
    drained = time.monotonic() - began
    one.stop()
    hold_together(feed.records(), range(count))
    print(f"{count / seconds:,.0f} messages/s said, {count / drained:,.0f}/s in the topic")
