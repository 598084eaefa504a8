"""The six pipelines of the story at once, on one topic, on real servers.

The servers are IRC, Kafka, Elasticsearch 8 and 9.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import elasticsearch
import pytest
from confluent_kafka.admin import NewTopic

from labkit.kafka.cluster import Cluster
from labkit.lab import Lab, connect
from labkit.stack.state import State
from support.irc import Ngircd, Talker
from support.stack import LABKIT, run_labkit
from support.waiting import until

pytestmark = [pytest.mark.alone, pytest.mark.slow]

SAID = 400


@pytest.fixture
def both(stack: State, both: Lab) -> State:
    """The stack with Elasticsearch 8 and 9."""
    return State.load(stack.root)


class Pipelines:
    """Commands that run, each with a log of its own."""

    def __init__(self, state: State, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "LABKIT_STATE": str(state.root)}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [*LABKIT, *arguments]
            self.running[name] = subprocess.Popen(
                command, stdout=log, stderr=log, env=self.environment
            )

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def wait(self, name: str, text: str) -> None:
        until(
            lambda: text in self.said(name) or self.running[name].poll() is not None,
            f"{text!r} of {name}",
        )
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
    fixture = Pipelines(both, tmp_path)
    yield fixture
    fixture.end()


def clients(state: State) -> tuple[elasticsearch.Elasticsearch, elasticsearch.Elasticsearch]:
    lab = connect(role="admin")
    clients_ = [target.client for _, target in sorted(lab.targets.items())]  # default, es-9.5.3
    assert len(clients_) == 2
    return clients_[0], clients_[1]


def count(client: elasticsearch.Elasticsearch, index: str) -> int:
    patient = client.options(ignore_status=[404, 503])
    patient.indices.refresh(index=index)
    return int(dict(patient.count(index=index)).get("count", 0))


@pytest.mark.timeout(900)
def test_all_six_at_once_and_their_counts_agree(
    both: State,
    pipelines: Pipelines,
    ngircd: Callable[..., Ngircd],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LABKIT_STATE", str(both.root))
    monkeypatch.setenv("LABKIT_USER", f"test_{uuid.uuid4().hex[:8]}")
    server = ngircd()
    admin = Cluster(both.credentials("admin")["kafka"])
    label = uuid.uuid4().hex[:8]
    topic = f"irc-story-{label}"

    def name(pipeline: str) -> str:
        return f"irc-{label}-{pipeline}"

    def group(pipeline: str) -> str:
        return f"indexer.{label}-{pipeline}"

    old, new = clients(both)
    new_topic = NewTopic(topic, 2, 1, config={"retention.ms": "-1"})
    admin.ask(lambda client: client.create_topics([new_topic]), what="make the topic")
    run_labkit(both.root, "extract", "files", str(seed(pipelines.folder)), "--topic", topic)

    where = ["--server", "127.0.0.1", "--port", str(server.port), "--channel", "#lab"]
    pipelines.start("a", "extract", "irc", *where, "--nick", "tokafka", "--topic", topic)
    pipelines.start("d", "extract", "irc", *where, "--nick", "direct", "--to-index", name("d"))
    index = ["--every", "1s", "--dead-letter", f"index:{name('dead')}"]
    pipelines.start("b", "index", topic, name("b"), "--group", group("b"), *index)
    pipelines.start(
        "c", "index", topic, name("c"), "--group", group("c"), "--enrich", "geoip:host", *index
    )
    pipelines.start("e", "index", topic, name("e"), "--group", group("e"), *index)
    pipelines.start(
        "f", "index", topic, name("f"), "--group", group("f"), "--target", "es-9.5.3", *index
    )
    for label_ in "ad":
        pipelines.wait(label_, "in #lab as")
    for label_ in "bcef":
        pipelines.wait(label_, "assigned partitions")

    talker = Talker(server.port, b"talker")
    talk(talker, 0, SAID // 2)
    until(lambda: count(old, name("e")) > 100, "some documents of e")
    pipelines.stop("e")  # e: stopped, and gone on with where it was; f goes on meanwhile
    talk(talker, SAID // 2, SAID)
    pipelines.start("e", "index", topic, name("e"), "--group", group("e"), *index)
    pipelines.start(
        "again",
        "index",
        topic,
        name("again"),
        "--group",
        group("again"),
        "--from",
        "earliest",
        *index,
    )

    until(lambda: said(old, name("b")) == SAID, "all that was said, in b")
    total = sum(admin.bounds(topic, admin.partitions(topic), "latest").values())
    places = [
        (old, name("b")),
        (old, name("c")),
        (old, name("e")),
        (old, name("again")),
        (new, name("f")),
    ]
    for client, index_name in places:
        count_now = partial(count, client, index_name)
        until(lambda found=count_now: found() >= total, f"{total} documents in {index_name}")
    until(lambda: said(old, name("d")) == SAID, "all that was said, in d")

    with connect().guard() as proof:  # the lab looks on, and nobody notices
        load = connect().window(topic).to_scratch("story", target="es-9.5.3")
    assert proof.untouched
    for label_ in list(pipelines.running):
        pipelines.stop(label_)
    total = sum(admin.bounds(topic, admin.partitions(topic), "latest").values())
    for label_ in "bce":
        labkit_once(both, topic, name(label_), group(label_), enrich=label_ == "c")
    labkit_once(both, topic, name("again"), group("again"))
    labkit_once(both, topic, name("f"), group("f"), target="es-9.5.3")
    assert [count(client, one) for client, one in places] == [total] * len(places)
    assert said(old, name("d")) == said(old, name("c")) == said(new, name("f")) == SAID
    assert load.complete
    located = old.count(index=name("c"), query={"exists": {"field": "geoip_location"}})["count"]
    assert located == 50
    assert count(old, name("dead")) == count(new, name("dead")) == 0
    load.index.drop()
    for client in (old, new):
        counts = [
            one
            for one in client.indices.get(index=f"irc-{label}-*")
            if one.startswith(f"irc-{label}-")
        ]
        client.indices.delete(index=counts)


def seed(folder: Path) -> Path:
    path = folder / "seed.jsonl"
    rows = ({"host": "81.2.69.142", "message": f"before {n}", "command": "SEED"} for n in range(50))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def talk(talker: Talker, first: int, last: int) -> None:
    for begin in range(first, last, 50):
        talker.send(
            *(
                b"PRIVMSG #lab :message %d" % number
                for number in range(begin, min(begin + 50, last))
            )
        )
        talker.settle()


def said(client: elasticsearch.Elasticsearch, index: str) -> int:
    patient = client.options(ignore_status=[404, 503])
    patient.indices.refresh(index=index)
    query = {"match_phrase_prefix": {"message": "message"}}
    return int(dict(patient.count(index=index, query=query)).get("count", 0))


def labkit_once(
    state: State, topic: str, index: str, group: str, *, enrich: bool = False, target: str = ""
) -> None:
    more = [
        *(["--enrich", "geoip:host"] if enrich else []),
        *(["--target", target] if target else []),
    ]
    run_labkit(state.root, "index", topic, index, "--group", group, "--once", *more)
