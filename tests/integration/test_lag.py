"""Every verdict by a real consumer that behaves so.

The history, killed while it is written; the command line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic

from labkit import cli
from labkit.errors import NotFoundError, UsageError
from labkit.groups.history import read_history
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.stack.state import State
from support.kafka_tools import SHARE_CONSUMER, tool
from support.stack import LABKIT
from support.waiting import until

pytestmark = pytest.mark.alone

RUN = uuid.uuid4().hex[:8]


def name(kind: str) -> str:
    return f"estate-{RUN}.{kind}"


class Estate:
    """Consumers of all kinds, each with a topic of its own.

    Threads write to the topics and read them until it ends.
    """

    def __init__(self, admin: Cluster) -> None:
        self.admin, self.stop = admin, threading.Event()
        self.threads: list[threading.Thread] = []
        self.topics: list[str] = []
        self.groups: list[str] = []

    def topic(self, kind: str, partitions: int = 1) -> str:
        topic = f"irc-test-estate-{RUN}-{kind}"
        self.topics.append(topic)
        self.admin.ask(
            lambda client: client.create_topics([NewTopic(topic, partitions, 1)]), what="make it"
        )
        until(lambda: topic in self.admin.topics(), "the topic")
        self.groups.append(name(kind))
        return topic

    def write(self, topic: str, count: int) -> None:
        producer = self.admin.producer()
        for number in range(count):
            producer.produce(topic, b"%d" % number, partition=0)
        assert producer.flush(30) == 0

    def commit(self, kind: str, topic: str, offset: int) -> None:
        consumer = self.admin.consumer(group=name(kind))
        consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
        consumer.close()

    def run(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.threads.append(thread)

    def keep_writing(self, topic: str, pause_s: float = 0.05) -> None:
        def work() -> None:
            producer = self.admin.producer(linger_ms=0)
            while not self.stop.is_set():
                producer.produce(topic, b"{}", partition=0)
                producer.flush(10)
                self.stop.wait(pause_s)

        self.run(work)

    def read(
        self,
        kind: str,
        topic: str,
        *,
        pause_s: float = 0.0,
        each_commit: int | None = 1,
        **settings: Any,
    ) -> None:
        """Read record by record; commit after so many, or never again after the first."""
        ready = threading.Event()

        def work() -> None:
            consumer = self.admin.consumer(
                group=name(kind),
                auto_offset_reset="earliest",
                client_id=f"reader-{kind}",
                **settings,
            )
            consumer.subscribe([topic])
            count = 0
            while not self.stop.is_set():
                message = consumer.poll(0.1)
                if consumer.assignment():
                    ready.set()
                if message is not None and message.error() is None:
                    count += 1
                    if count == 1 or (each_commit and count % each_commit == 0):
                        consumer.commit(message, asynchronous=False)
                    self.stop.wait(pause_s)
            consumer.close()

        self.run(work)
        assert ready.wait(60), f"{kind} got no partition"

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(30)
        self.admin.ask(lambda client: client.delete_topics(self.topics), what="delete the topics")
        self.admin.ask_each(
            lambda client, some: client.delete_consumer_groups(some), self.groups, what="delete"
        )


@pytest.fixture(scope="module")
def estate(admin: Cluster) -> Iterator[Estate]:
    new_estate = Estate(admin)
    try:
        for kind, protocol in (("reading", "classic"), ("kip848", "consumer")):
            topic = new_estate.topic(kind)
            new_estate.write(topic, 5)
            new_estate.keep_writing(topic)
            new_estate.read(kind, topic, group_protocol=protocol)
        topic = new_estate.topic("rested")
        new_estate.write(topic, 5)
        new_estate.read("rested", topic)
        new_estate.read("idle", new_estate.topic("idle"))
        topic = new_estate.topic("slow")
        new_estate.write(topic, 200)
        new_estate.keep_writing(topic, 0.02)
        new_estate.read("slow", topic, pause_s=0.4)
        topic = new_estate.topic("stalled")
        new_estate.write(topic, 5)
        new_estate.keep_writing(topic, 0.2)
        new_estate.read("stalled", topic, each_commit=None)
        topic = new_estate.topic("stopped")
        new_estate.write(topic, 20)
        new_estate.commit("stopped", topic, 4)
        topic = new_estate.topic("rewound")
        new_estate.write(topic, 20)
        new_estate.commit("rewound", topic, 18)
        topic = new_estate.topic("markers")
        producer = admin.producer(transactional_id=f"estate-{RUN}")
        producer.init_transactions(30)
        producer.begin_transaction()
        for _ in range(3):
            producer.produce(topic, b"{}", partition=0)
        producer.commit_transaction(30)
        new_estate.commit("markers", topic, 3)
        yield new_estate
    finally:
        new_estate.end()


def _go_back(made: Estate, topic: str) -> None:
    """Commit further back and further back, as long as it is looked at."""

    def work() -> None:
        for offset in range(17, 0, -1):
            made.commit("rewound", topic, offset)
            if made.stop.wait(1):
                return

    made.run(work)


@pytest.fixture(scope="module")
def judged(estate: Estate, lab: Lab) -> pd.DataFrame:
    _go_back(estate, f"irc-test-estate-{RUN}-rewound")
    lags = lab.lag(estate.groups, samples=4, every="1500ms")
    return lags.set_index("group")


@pytest.mark.parametrize(
    ("kind", "verdict", "doing"),
    [
        ("reading", "ok", "reading"),
        ("kip848", "ok", "reading"),
        ("rested", "ok", "idle"),
        ("idle", "idle", "idle"),
        ("slow", "slow", "reading"),
        ("stalled", "stalled", "stuck"),
        ("stopped", "stopped", "offline"),
        ("rewound", "rewound", "reading"),
        ("markers", "ok", "offline"),
    ],
)
def test_a_consumer_that_behaves_so_has_its_verdict(
    judged: pd.DataFrame, kind: str, verdict: str, doing: str
) -> None:
    row = judged.loc[name(kind)]
    assert (row["verdict"], row["doing"]) == (verdict, doing), row["why"]
    assert judged.attrs["verdict"][name(kind)] == verdict


def test_rates_eta_and_time_lag_are_those_of_the_records(judged: pd.DataFrame) -> None:
    slow, rested, stopped, idle = (
        judged.loc[name(kind)] for kind in ("slow", "rested", "stopped", "idle")
    )
    assert 0 < slow["read_per_s"] < slow["written_per_s"]
    assert pd.isna(slow["eta_s"])
    assert (rested["lag"], rested["behind_s"], rested["eta_s"]) == (0, 0, 0)
    assert stopped["behind_s"] > stopped["seconds"]  # its record was written before the first look
    assert pd.isna(idle["lag"])


def test_a_standstill_is_looked_at_long_enough(judged: pd.DataFrame) -> None:
    assert judged.loc[name("stalled")]["seconds"] >= 5.5


def test_patience_is_how_long_commits_may_stand_still(estate: Estate, lab: Lab) -> None:
    often = {"samples": 3, "every": "400ms"}
    assert lab.lag(name("stalled"), patience="1s", **often).attrs["verdict"] == "stalled"
    lags = lab.lag(name("stalled"), patience="8s", **often)
    assert lags.attrs["verdict"] == "stalled"
    assert lags["seconds"].min() >= 8
    with pytest.raises(UsageError, match="not a length of time"):
        lab.lag(name("stalled"), patience="soon")
    assert (
        cli.main(
            [
                "lag",
                "--check",
                name("stalled"),
                "--samples",
                "3",
                "--every",
                "400ms",
                "--patience",
                "1s",
            ]
        )
        == 3
    )


def test_markers_after_the_commit_are_lag_1_with_nothing_to_read(judged: pd.DataFrame) -> None:
    row = judged.loc[name("markers")]
    assert row["lag"] == 1
    assert "markers" in row["why"]


def test_protocols_are_told_in_the_list(estate: Estate, lab: Lab) -> None:
    table = lab.groups().set_index("group")
    assert table.loc[name("kip848"), "protocol"] == "consumer"
    assert table.loc[name("reading"), "protocol"] == "classic"
    assert table.loc[name("kip848"), ["state", "members"]].tolist() == ["stable", 1]


def test_a_share_group_is_not_taken_for_a_consumer_group(
    estate: Estate, admin: Cluster, lab: Lab, stack: State
) -> None:
    """BEHAVIOURS 42: it is listed as what it is; there are no offsets of it, and no verdict."""
    share, topic = name("share"), estate.topics[0]
    with tool(stack, SHARE_CONSUMER, "--topic", topic, "--group", share) as command:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: share in set(lab.groups()["group"]), "the share group")
            assert lab.groups().set_index("group").loc[share, "protocol"] == "streams or share"
            assert share not in set(lab.offsets()["group"])
            assert lab.lag(share, samples=1).attrs["verdict"] == "unknown"
        finally:
            process.terminate()
            process.wait(30)
    until(
        lambda: admin.admin.delete_consumer_groups([share])[share].exception(15) is None, "its end"
    )


def test_a_group_that_is_not_there_is_an_error(lab: Lab) -> None:
    with pytest.raises(NotFoundError, match="no consumer group"):
        lab.lag("nobody.at-all")
    with pytest.raises(UsageError):
        lab.lag("x", samples=0)
    with pytest.raises(UsageError):
        lab.lag("x", every="1ms")


def test_few_looks_are_unknown_and_lag_0_is_ok(estate: Estate, lab: Lab) -> None:
    assert lab.lag(name("stalled"), samples=2, every="200ms").attrs["verdict"] == "unknown"
    assert lab.lag(name("rested"), samples=1).attrs["verdict"] == "ok"


# the history ---------------------------------------------------------------------------------------------


def test_what_was_recorded_is_judged_alike(estate: Estate, lab: Lab, tmp_path: Path) -> None:
    groups = [name("stopped"), name("rested")]
    now = lab.lag(groups, samples=3, every="200ms", record=tmp_path / "history")
    history = lab.lag_history(tmp_path / "history")
    assert len(history) == 3 * len(groups)
    later = lab.lag(history)
    assert later["verdict"].tolist() == now["verdict"].tolist() == ["ok", "stopped"]


def _watching(stack: State, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [*LABKIT, "lag", "--watch", "--every", "100ms", "--record", str(folder)]
    env = {**os.environ, "LABKIT_STATE": str(stack.root)}
    return subprocess.Popen([*command, *arguments], env=env, stdout=subprocess.PIPE, text=True)


@pytest.mark.chaos
def test_a_history_killed_at_any_moment_is_whole(
    estate: Estate, stack: State, lab: Lab, tmp_path: Path
) -> None:
    rows = 0
    for _ in range(3):
        process = _watching(stack, tmp_path)
        assert process.stdout is not None
        # some looks, then in the middle of whatever it does
        for _ in range(3 * len(estate.groups)):
            assert process.stdout.readline()
        process.kill()
        process.wait(30)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a torn file would be told
            table = read_history(tmp_path)
        assert len(table) > rows
        rows = len(table)
    assert len(table.group_by(["at", "group", "topic", "partition"]).aggregate([])) == rows


@pytest.mark.chaos
def test_watch_ends_well_when_it_is_asked_to(estate: Estate, stack: State, tmp_path: Path) -> None:
    process = _watching(stack, tmp_path, name("rested"), "--json")
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    assert (line["group"], line["verdict"], line["lag"]) == (name("rested"), "ok", 0)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0


# the command line ----------------------------------------------------------------------------------------


def test_check_fails_for_those_who_need_somebody(
    estate: Estate, capsys: pytest.CaptureFixture[str]
) -> None:
    often = ["--samples", "3", "--every", "200ms"]
    assert cli.main(["lag", "--check", name("rested"), *often]) == 0
    assert capsys.readouterr().out.startswith(f"ok    {name('rested')}: ok, lag 0, ")
    assert cli.main(["lag", "--check", name("stopped"), name("rested"), *often]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"ALARM {name('stopped')}: stopped, lag 16, ")
    assert len(lines) == 2
    assert cli.main(["lag", "--check", name("markers"), "--max-lag", "0", *often]) == 3
    assert cli.main(["lag", "--check", name("markers"), "--max-lag", "1", "--json", *often]) == 0
    assert json.loads(capsys.readouterr().out.split("\n", 1)[1])[0]["alarm"] is False
    assert cli.main(["lag", "--check", "nobody.at-all"]) == 1
    assert cli.main(["lag", name("rested"), "--max-lag", "1"]) == 2


def test_a_check_of_too_few_looks_is_not_ok(
    estate: Estate, capsys: pytest.CaptureFixture[str]
) -> None:
    """A group at the end is ok at one look; what one look cannot tell was printed as ok too."""
    once = ["--check", "--samples", "1"]
    assert cli.main(["lag", name("rested"), *once]) == 0
    capsys.readouterr()
    assert cli.main(["lag", name("stopped"), name("rested"), *once]) == 3
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0].startswith(f"?     {name('stopped')}: unknown, lag 16, ")
    assert lines[1].startswith(f"ok    {name('rested')}: ok, lag 0, ")
    assert "not checked: 1 group; a verdict takes 3 looks" in shown.err
    assert cli.main(["lag", name("stopped"), *once, "--max-lag", "16"]) == 0
    assert cli.main(["lag", name("stopped"), *once, "--max-lag", "15"]) == 3


def test_lag_prints_a_table_and_the_groups_verdict(
    estate: Estate, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["lag", name("stopped"), "--samples", "3", "--every", "200ms"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "written_per_s" in out[0]
    assert out[-1].startswith(f"{name('stopped')}: stopped, lag 16")


@pytest.mark.chaos
def test_an_interrupt_keeps_what_was_seen(estate: Estate, stack: State) -> None:
    command = [*LABKIT, "lag", name("rested"), "--samples", "100000", "--every", "100ms"]
    process = subprocess.Popen(
        [*command, "--record", str(stack.root / f"history-{RUN}")],
        env={**os.environ, "LABKIT_STATE": str(stack.root)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(
        lambda: list((stack.root / f"history-{RUN}").glob("lag-*.parquet")), "a part of the history"
    )
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert f"{name('rested')}: ok, lag 0" in out
    assert "interrupted" in err
