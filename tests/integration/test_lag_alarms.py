"""`labkit lag --watch --metrics --alert` on a real group that stops and goes on.

The group has a name that would do harm.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from labkit import cli
from labkit.kafka.cluster import Cluster
from labkit.stack.state import State
from support.stack import LABKIT
from support.waiting import until

KEEP = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"
EVERY = ("--every", "200ms")


class Stopped:
    """A group without members that left records unread; its topic and its name."""

    def __init__(self, admin: Cluster, topic: str, folder: Path) -> None:
        self.admin, self.topic = admin, topic
        self.group = f'alarms-{uuid.uuid4().hex[:8]} "$(touch {folder}/harm)`;\\'

    def commit(self, offset: int) -> None:
        consumer = self.admin.consumer(group=self.group)

        def done() -> bool:
            with suppress(KafkaException):  # a young broker loads its coordinators
                consumer.commit(offsets=[TopicPartition(self.topic, 0, offset)], asynchronous=False)
                return True
            return False

        until(done, "the commit")
        consumer.close()


@pytest.fixture
def stopped(
    admin: Cluster, make_topic: Callable[..., str], produce: Callable[..., None], tmp_path: Path
) -> Iterator[Stopped]:
    topic = make_topic()
    produce(topic, [b"{}"] * 20)
    consumer = Stopped(admin, topic, tmp_path)
    consumer.commit(4)
    yield consumer
    admin.ask_each(
        lambda client, some: client.delete_consumer_groups(some), [consumer.group], what="delete"
    )


class Metrics(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """Name and labels, but the empty ones and the cluster's, to each value."""

    def __init__(self, text: str) -> None:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = {
                    item for item in sample.labels.items() if item[1] and item[0] != "cluster_name"
                }
                self[sample.name, frozenset(labels)] = sample.value

    def of(self, name: str, **labels: str) -> float:
        return self[name, frozenset(labels.items())]


def scrape(url: str, **headers: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return str(answer.read().decode())


def watch(stack: State, *arguments: str) -> subprocess.Popen[str]:
    command = [*LABKIT, "lag", "--watch", *EVERY, *arguments]
    environment = {**os.environ, "LABKIT_STATE": str(stack.root)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def test_a_group_that_stops_and_goes_on_is_told_once_each(
    stack: State, stopped: Stopped, tmp_path: Path
) -> None:
    file = tmp_path / "calls"
    file.touch()
    alert = shlex.join([sys.executable, "-c", KEEP, str(file)])
    process = watch(stack, stopped.group, "--metrics", "0", "--alert", alert)

    def calls() -> list[dict[str, Any]]:
        return [json.loads(line) for line in file.read_text().splitlines()]

    try:
        assert process.stderr is not None
        url = re.fullmatch(
            r"metrics: (http://127\.0\.0\.1:\d+/metrics)\n", process.stderr.readline()
        )[1]  # type: ignore[index]
        (first,) = until(calls, "a call")
        assert (first["group"], first["verdict"], first["lag"]) == (stopped.group, "stopped", 16)
        assert (first["cluster"], first["alarm"], first["was"]) == ("local", True, None)
        metrics = Metrics(scrape(url))
        group, log = {"group": stopped.group}, {"topic": stopped.topic, "partition": "0"}
        assert metrics.of("labkit_lag_up") == 1
        assert metrics.of("kafka_consumergroup_group_lag", **group, **log) == 16
        assert metrics.of("kafka_consumergroup_group_offset", **group, **log) == 4
        assert metrics.of("kafka_consumergroup_group_lag_seconds", **group, **log) > 0
        assert metrics.of("kafka_consumergroup_group_sum_lag", **group) == 16
        assert (
            metrics.of("kafka_consumergroup_group_topic_sum_lag", **group, topic=stopped.topic)
            == 16
        )
        assert metrics.of("kafka_partition_latest_offset", **log) == 20
        assert metrics.of("labkit_consumergroup_verdict", **group, verdict="stopped") == 1
        assert metrics.of("labkit_consumergroup_verdict", **group, verdict="ok") == 0
        with pytest.raises(urllib.error.HTTPError, match="403"):
            scrape(url, Host="attacker.example")
        stopped.commit(20)
        until(lambda: len(calls()) == 2, "the second call")
        until(
            lambda: Metrics(scrape(url)).of("kafka_consumergroup_group_sum_lag", **group) == 0,
            "a new look",
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
    assert [(call["was"], call["verdict"], call["alarm"]) for call in calls()] == [
        (None, "stopped", True),
        ("stopped", "ok", False),
    ]
    assert not (tmp_path / "harm").exists()


def test_metrics_in_a_file_are_those_of_the_last_look(
    stack: State, stopped: Stopped, tmp_path: Path
) -> None:
    file = tmp_path / "lag.prom"
    assert (
        cli.main(
            ["lag", "--watch", *EVERY, "--samples", "3", "--metrics", str(file), stopped.group]
        )
        == 0
    )
    metrics = Metrics(file.read_text())
    assert metrics.of("kafka_consumergroup_group_max_lag", group=stopped.group) == 16
    assert metrics.of("labkit_consumergroup_verdict", group=stopped.group, verdict="stopped") == 1
    assert metrics.of("labkit_lag_last_look_timestamp_seconds") == pytest.approx(
        file.stat().st_mtime, abs=5
    )
    assert [path.name for path in tmp_path.iterdir()] == ["lag.prom"]


def test_metrics_that_cannot_be_written_end_no_watch(
    stack: State, stopped: Stopped, tmp_path: Path
) -> None:
    """The disk is full, or the folder is gone, for a while: it is said once."""
    file = tmp_path / "node_exporter" / "lag.prom"
    file.parent.mkdir()
    process = watch(stack, stopped.group, "--metrics", str(file))
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == f"metrics: {file}\n"
        until(lambda: "_sum_lag{" in file.read_text(), "the first look")
        shutil.rmtree(file.parent)
        line = process.stderr.readline()
        assert line == f"--metrics {file}: the file cannot be written: No such file or directory\n"
        time.sleep(1)  # some looks
        file.parent.mkdir()
        until(file.exists, "the file")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--metrics", "0"], "--metrics goes with --watch"),
        (["--alert", "true"], "--alert goes with --watch"),
        (["--watch", "--metrics", "99999"], "cannot be served"),
        (["--watch", "--metrics", "nowhere.example:9308"], "cannot be served"),
        (["--watch", "--metrics", "no/such/folder/x.prom"], "cannot be written"),
        (["--watch", "--alert", "no-such-program"], "no such program"),
    ],
    ids=["no-watch", "alert-no-watch", "port", "host", "folder", "program"],
)
@pytest.mark.usefixtures("stack")
def test_what_cannot_be_is_a_usage_error(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["lag", *arguments]) == 2
    error_text = capsys.readouterr().err
    assert text in error_text
    assert "Hint:" in error_text
