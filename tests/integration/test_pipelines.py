"""The six pipelines of the story at once, on one topic, on real servers: IRC, Kafka, Elasticsearch 8 and 9."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import elasticsearch
import pytest
from conftest import new_state_dir
from test_extract_irc import Ngircd, Talker, ngircd  # noqa: F401
from test_indexer import labkit, until

from labkit.kafka import Cluster
from labkit.lab import connect
from labkit.stack.state import State

SAID = 400


@pytest.fixture(scope="module")
def both() -> Iterator[State]:
    """A stack of this module's own, with Elasticsearch 8 and 9."""
    folder = new_state_dir()
    try:
        labkit(folder, "up", "--elasticsearch", "8.19.21")
        labkit(folder, "up", "--elasticsearch", "9.5.3")
        yield State.load(folder)
    finally:
        labkit(folder, "down", "--purge")
        shutil.rmtree(folder, ignore_errors=True)


class Pipelines:
    """Commands that run, each with a log of its own."""

    def __init__(self, state: State, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "LABKIT_STATE": str(state.root)}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", "labkit", *arguments]
            self.running[name] = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment)

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def wait(self, name: str, text: str) -> None:
        until(lambda: text in self.said(name) or self.running[name].poll() is not None, f"{text!r} of {name}")
        assert text in self.said(name), self.said(name)

    def stop(self, name: str) -> None:
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0, self.said(name)

    def end(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait(10)


@pytest.fixture
def pipelines(both: State, tmp_path: Path) -> Iterator[Pipelines]:
    made = Pipelines(both, tmp_path)
    yield made
    made.end()


def clients(state: State) -> tuple[elasticsearch.Elasticsearch, elasticsearch.Elasticsearch]:
    lab = connect(role="admin")
    found = [target.client for _, target in sorted(lab.targets.items())]  # default, es-9.5.3
    assert len(found) == 2
    return found[0], found[1]


def count(client: elasticsearch.Elasticsearch, index: str) -> int:
    one = client.options(ignore_status=[404, 503])
    one.indices.refresh(index=index)
    return int(dict(one.count(index=index)).get("count", 0))


@pytest.mark.timeout(900)
def test_all_six_at_once_and_their_counts_agree(
    both: State,
    pipelines: Pipelines,
    ngircd: Callable[..., Ngircd],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LABKIT_STATE", str(both.root))
    server = ngircd()
    admin = Cluster(both.credentials("admin")["kafka"])
    topic = "irc-story"
    old, new = clients(both)
    labkit(both.root, "extract", "files", str(seed(pipelines.folder)), "--topic", topic)

    where = ["--server", "127.0.0.1", "--port", str(server.port), "--channel", "#lab"]
    pipelines.start("a", "extract", "irc", *where, "--nick", "tokafka", "--topic", topic)
    pipelines.start("d", "extract", "irc", *where, "--nick", "direct", "--to-index", "irc-d")
    index = ["--every", "1s", "--dead-letter", "index:irc-dead"]
    pipelines.start("b", "index", topic, "irc-b", "--group", "indexer.b", *index)
    pipelines.start("c", "index", topic, "irc-c", "--group", "indexer.c", "--enrich", "geoip:host", *index)
    pipelines.start("e", "index", topic, "irc-e", "--group", "indexer.e", *index)
    pipelines.start("f", "index", topic, "irc-f", "--group", "indexer.f", "--target", "es-9.5.3", *index)
    for name in "ad":
        pipelines.wait(name, "connected to 127.0.0.1")
        pipelines.wait(name, "in #lab as")
    for name in "bcef":
        pipelines.wait(name, "assigned partitions")

    talker = Talker(server.port, b"talker")
    talk(talker, 0, SAID // 2)
    until(lambda: count(old, "irc-e") > 100, "some documents of e")
    pipelines.stop("e")  # e: stopped, and gone on with where it was; f goes on meanwhile
    talk(talker, SAID // 2, SAID)
    pipelines.start("e", "index", topic, "irc-e", "--group", "indexer.e", *index)
    pipelines.start("again", "index", topic, "irc-again", "--group", "indexer.again", "--from", "earliest", *index)

    until(lambda: said(old, "irc-b") == SAID, "all that was said, in b")
    total = sum(admin.bounds(topic, admin.partitions(topic), "latest").values())
    places = [(old, "irc-b"), (old, "irc-c"), (old, "irc-e"), (old, "irc-again"), (new, "irc-f")]
    for client, name in places:
        until(lambda client=client, name=name: count(client, name) >= total, f"{total} documents in {name}")
    until(lambda: said(old, "irc-d") == SAID, "all that was said, in d")

    with connect().guard() as proof:  # the lab looks on, and nobody notices
        load = connect().window(topic).to_scratch("story", target="es-9.5.3")
    assert proof.untouched
    for name in list(pipelines.running):
        pipelines.stop(name)
    total = sum(admin.bounds(topic, admin.partitions(topic), "latest").values())
    for name in "bce":
        labkit_once(both, topic, f"irc-{name}", f"indexer.{name}", enrich=name == "c")
    labkit_once(both, topic, "irc-again", "indexer.again")
    labkit_once(both, topic, "irc-f", "indexer.f", target="es-9.5.3")
    assert {name: count(client, name) for client, name in places} == {name: total for _, name in places}
    assert said(old, "irc-d") == said(old, "irc-c") == said(new, "irc-f") == SAID
    assert load.complete
    located = old.count(index="irc-c", query={"exists": {"field": "geoip_location"}})["count"]
    assert located == 50
    assert count(old, "irc-dead") == 0


def seed(folder: Path) -> Path:
    path = folder / "seed.jsonl"
    rows = ({"host": "81.2.69.142", "message": f"before {n}", "command": "SEED"} for n in range(50))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def talk(talker: Talker, first: int, last: int) -> None:
    for begin in range(first, last, 50):
        talker.send(*(b"PRIVMSG #lab :message %d" % number for number in range(begin, min(begin + 50, last))))
        talker.settle()


def said(client: elasticsearch.Elasticsearch, index: str) -> int:
    one = client.options(ignore_status=[404, 503])
    one.indices.refresh(index=index)
    query = {"match_phrase_prefix": {"message": "message"}}
    return int(dict(one.count(index=index, query=query)).get("count", 0))


def labkit_once(state: State, topic: str, index: str, group: str, *, enrich: bool = False, target: str = "") -> None:
    more = [*(["--enrich", "geoip:host"] if enrich else []), *(["--target", target] if target else [])]
    labkit(state.root, "index", topic, index, "--group", group, "--once", *more)
