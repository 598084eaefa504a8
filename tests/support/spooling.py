"""``labkit extract irc --spool`` as a process, beside a Kafka that may be killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka.admin import NewTopic

from labkit.config.profiles import Profile
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.stack.state import State, write_private
from support.irc import Ngircd, Talker
from support.stack import LABKIT
from support.waiting import until


class Extractor:
    """One running ``labkit extract irc``."""

    def __init__(self, folder: Path, topic: str, port: int) -> None:
        command = [
            *LABKIT, "extract", "irc", "--profile", "feed", "--topic", topic,
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
            hit = any(text in line for line in self.said)
            assert hit or self.process.poll() is None, self.said
            return hit

        until(met, f"hearing {text!r} in {self.said}", 120)

    def stop(self) -> str:
        """Ask it to end; return its last words."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, self.said
        return str(out)


class Feed:
    """A topic on a stack that may be killed, and an extractor that fills it.

    The extractor follows a channel, in which a user talks.
    """

    def __init__(self, mortal: Path, folder: Path, port: int) -> None:
        self.port = port
        self.state, self.folder, self.topic = mortal, folder, f"irc-spooled-{uuid.uuid4().hex[:8]}"
        admin = Cluster(State.load(mortal).credentials("admin")["kafka"])
        admin.ask(lambda client: client.create_topics([NewTopic(self.topic, 3, 1)]), what="make it")
        until(lambda: self.topic in admin.topics(), "the topic")
        kafka = State.load(mortal).credentials("extractor")["kafka"]
        lines = [
            "[profiles.feed.kafka]",
            *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in kafka.items()),
        ]
        write_private(folder / "labkit.toml", "\n".join(lines))
        self.first = self.extractor()
        self.talker = Talker(port, b"talker")

    def extractor(self) -> Extractor:
        """Start another one."""
        extractor_ = Extractor(self.folder, self.topic, self.port)
        extractor_.hears("connected to")
        return extractor_

    def records(self) -> list[dict[str, Any]]:
        """Return what the topic has of what was said, with its headers."""
        credentials = State.load(self.state).credentials("lab")
        lab = Lab(
            Profile("local", "lab", credentials["kafka"], credentials["elasticsearch_targets"])
        )
        rows = (
            lab.window(self.topic)
            .read(cache=False, decode="raw")
            .table.select(["_value", "_headers"])
            .to_pylist()
        )
        records = []
        for row in rows:
            value = orjson.loads(row["_value"])
            if value["command"] == "PRIVMSG":
                records.append(
                    {
                        "said": value["message"],
                        **{header["key"]: header["value"] for header in row["_headers"]},
                    }
                )
        return records


@pytest.fixture
def feed(mortal: Path, tmp_path: Path, ngircd: Callable[..., Ngircd]) -> Feed:
    return Feed(mortal, tmp_path, ngircd().port)


def spooled(feed: Feed, at_least: int) -> None:
    """Wait until so many records were put into the spool, ever."""

    def count() -> int:
        with closing(sqlite3.connect(f"file:{feed.folder}/spool.sqlite?mode=ro", uri=True)) as disk:
            return int(
                (disk.execute("select max(seq) from sqlite_sequence").fetchone() or [0])[0] or 0
            )

    until(lambda: count() >= at_least, f"{at_least} records in the spool", 60)
