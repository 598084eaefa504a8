"""``labkit index`` as a process.

It runs on the tests' stack (`bench`), or on one whose servers may be killed (`hospital`).
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import elasticsearch
import orjson
import pytest
from confluent_kafka.admin import NewTopic
from elasticsearch.helpers import scan

from labkit.cli import main
from labkit.cli.terminal import say
from labkit.elastic import Target
from labkit.groups.offsets import list_groups
from labkit.kafka.cluster import Cluster
from labkit.stack.state import State, write_private
from support.stack import LABKIT
from support.waiting import until

RECORDS = 30_000


class Printed:
    """What ``labkit index`` printed: its metrics, and what it said."""

    def __init__(self) -> None:
        self.metrics: list[dict[str, Any]] = []
        self.said: list[str] = []

    def sent(self) -> int:
        return self.metrics[-1]["sent"] if self.metrics else 0

    @property
    def ledger(self) -> dict[str, int]:
        """The counts of the last line printed."""
        return {
            name: self.metrics[-1][name]
            for name in ("sent", "indexed", "existing", "rejected", "unsent")
        }


class Indexing(Printed):
    """One running ``labkit index``, with what it has printed so far."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        super().__init__()
        self.process = subprocess.Popen(
            [*LABKIT, "index", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
        )  # fmt: skip
        self._readers = [
            threading.Thread(target=self._metrics, daemon=True),
            threading.Thread(target=self._said, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _metrics(self) -> None:
        for line in self.process.stdout or []:
            self.metrics.append(json.loads(line))

    def _said(self) -> None:
        for line in self.process.stderr or []:
            self.said.append(line.rstrip("\n"))

    def until_said(self, text: str, timeout_s: float = 120) -> None:
        def met() -> bool:
            hit = any(text in line for line in self.said)
            assert hit or self.process.poll() is None, self.said
            return hit

        until(met, f"{text!r} of {self.said}", timeout_s)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def end_soon(self) -> None:
        """End it in the good way.

        A killed member is missed by the broker for 6 s, and until then its group cannot be deleted.
        """
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.ended()

    def ended(self, timeout_s: float = 180) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(timeout_s)
        for reader in self._readers:
            reader.join(10)
        return code

    def stop(self) -> int:
        """Ask it to end, as a service manager does; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended(90)


def run_here(arguments: list[str], environment: dict[str, str], code: int) -> Printed:
    """Run ``labkit index`` to its end in this process, which saves the imports of another."""
    out, err, printed = io.StringIO(), io.StringIO(), Printed()
    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        warnings.simplefilter("default")
        patch.setattr(warnings, "showwarning", lambda text, *_, **__: say(f"warning: {text}"))
        for name, value in environment.items():
            patch.setenv(name, value)
        ended = main(["index", *arguments])
    # other threads of this process, such as a Dask client's, write there too
    lines = [line for line in out.getvalue().splitlines() if line.startswith("{")]
    printed.metrics += map(json.loads, lines)
    printed.said += err.getvalue().splitlines()
    assert ended == code, printed.said
    return printed


class Bench:
    """A stack, and what one test makes on it."""

    def __init__(self, state: State, folder: Path) -> None:
        state = State.load(state.root)  # with what was started since, such as the registry
        self.admin = Cluster(state.credentials("admin")["kafka"])
        settings = state.credentials("admin")["elasticsearch"]
        self.client: elasticsearch.Elasticsearch = Target("default", settings).client
        label = uuid.uuid4().hex[:8]
        self.index, self.group = f"irc-test-{label}", f"indexer.test-{label}"
        self.runs: list[Indexing] = []
        self._environment = {
            "LABKIT_STATE": str(state.root),
            "LABKIT_CONFIG": str(self._profile(state, folder)),
        }

    @staticmethod
    def _profile(state: State, folder: Path) -> Path:
        """Write a profile whose killed members the broker misses after 6 s.

        Librdkafka's default is 45 s.
        """
        credentials = state.credentials("indexer")
        kafka = {**credentials["kafka"], "session.timeout.ms": "6000"}
        lines = [
            "[profiles.fast.kafka]",
            *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in kafka.items()),
        ]
        lines += ["[profiles.fast.elasticsearch.default]"]
        lines += [
            f"{key} = {json.dumps(value)}" for key, value in credentials["elasticsearch"].items()
        ]
        if credentials["registry"]:
            lines += ["[profiles.fast.registry]"]
            lines += [
                f"{json.dumps(key)} = {json.dumps(value)}"
                for key, value in credentials["registry"].items()
            ]
        path = folder / "labkit.toml"
        write_private(path, "\n".join(lines))
        return path

    def _arguments(self, topic: str, options: Sequence[str], profile: str = "fast") -> list[str]:
        known = ["--group", self.group, "--profile", profile, "--every", "1ms"]
        return [topic, self.index, *known, *options]

    def start(self, topic: str, *options: str, profile: str = "fast") -> Indexing:
        """Start a process of its own."""
        self.runs.append(Indexing(self._arguments(topic, options, profile), self._environment))
        return self.runs[-1]

    def once(self, topic: str, *options: str, code: int = 0) -> Printed:
        """Run to the topic's end."""
        return run_here(self._arguments(topic, ["--once", *options]), self._environment, code)

    def count(self) -> int:
        """Return how many documents there are, asked of the server."""
        client = self.client.options(ignore_status=[404, 503])
        client.indices.refresh(index=self.index)
        return int(dict(client.count(index=self.index)).get("count", 0))

    def ids(self) -> set[str]:
        self.client.indices.refresh(index=self.index)
        return {
            hit["_id"] for hit in scan(self.client, index=self.index, _source=False, size=10_000)
        }

    def document(self, topic: str, offset: int) -> dict[str, Any]:
        self.client.indices.refresh(index=self.index)
        return dict(self.client.get(index=self.index, id=f"{topic}-0-{offset}")["_source"])

    def committed(self) -> dict[int, int]:
        (group,) = list_groups(self.admin, [self.group])
        return {partition: offset for (_topic, partition), offset in group.committed.items()}

    def owners(self) -> list[int]:
        """Return how many partitions each member holds."""
        (group,) = list_groups(self.admin, [self.group])
        return sorted(len(member.assigned) for member in group.members)

    def close(self) -> None:
        for run in self.runs:
            run.end_soon()
        self.client.options(ignore_status=404).indices.delete(index=self.index)
        until(self._group_deleted, "the group's deletion", 90)

    def _group_deleted(self) -> bool:
        error = self.admin.admin.delete_consumer_groups([self.group])[self.group].exception(10)
        return error is None or error.args[0].name() == "GROUP_ID_NOT_FOUND"


@pytest.fixture
def bench(stack: State, tmp_path: Path) -> Iterator[Bench]:
    new_bench = Bench(stack, tmp_path)
    yield new_bench
    new_bench.close()


def expected_ids(admin: Cluster, topic: str) -> set[str]:
    """Return the id of each offset the topic has."""
    ends = admin.bounds(topic, admin.partitions(topic), "latest")
    return {
        f"{topic}-{partition}-{offset}" for partition, end in ends.items() for offset in range(end)
    }


def messages(count: int) -> list[bytes | None]:
    return [orjson.dumps({"@timestamp": "2016-03-01T00:00:00Z", "nick": f"n{i % 97}", "message": "x" * 80, "i": i})
            for i in range(count)]  # fmt: skip


@pytest.fixture
def filled(make_topic: Any, produce: Any) -> Callable[..., str]:
    """Make a topic of so many records, spread evenly over its partitions."""

    def make(count: int, partitions: int = 1) -> str:
        topic = make_topic(partitions)
        for partition in range(partitions):
            produce(topic, messages(count // partitions), partition=partition)
        return topic

    return make


@pytest.fixture
def hospital(mortal: Path, tmp_path: Path) -> Iterator[Bench]:
    new_bench = Bench(State.load(mortal), tmp_path)
    yield new_bench
    new_bench.close()


@pytest.fixture
def second_opinion(mortal: Path, tmp_path: Path) -> Iterator[Bench]:
    new_bench = Bench(State.load(mortal), tmp_path)
    yield new_bench
    new_bench.close()


def fill(bench: Bench, topic: str, count: int, partitions: int) -> None:
    producer = bench.admin.producer(linger_ms=5)
    for number, value in enumerate(messages(count)):
        producer.produce(topic, value, partition=number % partitions)
        producer.poll(0)
    assert producer.flush(30) == 0


@pytest.fixture
def wide(hospital: Bench) -> str:
    """A topic of `RECORDS` in two partitions, on the mortal stack."""
    topic = f"irc-test-{uuid.uuid4().hex[:8]}"
    hospital.admin.ask(lambda client: client.create_topics([NewTopic(topic, 2, 1)]), what="make it")
    fill(hospital, topic, RECORDS, 2)
    return topic


def goes_on(bench: Bench, run: Indexing, topic: str, total: int) -> None:
    """The run catches up by itself, commits, and ends well; the index is the topic."""
    until(
        lambda: run.process.poll() is not None or sum(bench.committed().values()) == total,
        "all commits",
        180,
    )
    assert run.process.poll() is None, run.said
    assert run.stop() == 0
    assert bench.count() == total
    assert bench.ids() == expected_ids(bench.admin, topic)
    assert run.ledger["unsent"] == run.ledger["rejected"] == 0
