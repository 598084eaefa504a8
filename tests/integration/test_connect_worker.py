"""A real worker of Kafka Connect and its sink, looked at through its whole life."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from labkit import cli
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.stack.state import State
from support.connect_worker import connect_worker
from support.waiting import until

pytestmark = [pytest.mark.alone, pytest.mark.slow]
OFTEN = {"samples": 3, "every": "300ms"}


@pytest.fixture
def names(admin: Cluster) -> Any:
    """The names of the workers' group and of a connector, whose group is ``connect-NAME``."""
    number = uuid.uuid4().hex[:8]
    workers, sink = f"connect-workers-{number}", f"sink-{number}"
    yield workers, sink
    for group in (workers, f"connect-{sink}"):
        admin.admin.delete_consumer_groups([group])[group].exception(15)
    topics = [f"{workers}-{kind}" for kind in ("configs", "offsets", "status")]
    for future in admin.admin.delete_topics(topics).values():
        future.exception(15)


def test_a_worker_and_its_sink_run_pause_fail_stop_and_die(
    lab: Lab,
    stack: State,
    make_topic: Any,
    produce: Any,
    tmp_path: Path,
    names: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The worker's own group shows its members; the sink's is a consumer group, with commits."""
    workers, sink = names
    sinks = f"connect-{sink}"
    topic = make_topic(2)
    produce(topic, [b"a"] * 10)
    columns = ["state", "protocol", "members", "topics", "lag", "verdict"]

    def rows() -> dict[str, str]:
        table = lab.groups(workers, sinks).set_index("group")[columns]
        return {name: " ".join(map(str, table.loc[name])) for name in table.index}

    def verdicts() -> dict[str, str]:
        return dict(lab.lag([workers, sinks], **OFTEN).attrs["verdict"])

    with connect_worker(stack, tmp_path, workers) as worker:
        file = worker.make_sink(sink, topic, **{"tasks.max": "2"})
        running = {
            workers: "stable connect 1  <NA> idle",
            sinks: f"stable classic 2 {topic} 0 ok",
        }
        until(lambda: rows() == running, f"{running}", 60)
        assert file.read_text().split() == ["a"] * 10
        assert verdicts() == {workers: "idle", sinks: "ok"}
        assert set(lab.offsets(f"connect-*{sink[-8:]}")["group"]) == {sinks}
        with lab.guard() as beside:
            assert len(lab.window(topic).read(progress=False)) == 10
        assert {workers, sinks} <= set(beside.watched)
        assert not {workers, sinks} & {change.group for change in beside.changes}

        worker.ask("PUT", f"connectors/{sink}/pause")
        until(lambda: worker.state(sink) == ["PAUSED"] * 3, timeout_s=30)
        produce(topic, [b"b"] * 4)
        assert verdicts() == {workers: "idle", sinks: "stalled"}  # held, and nothing is committed
        assert cli.main(["lag", "--check", workers, sinks]) == 3
        alarms = [line for line in capsys.readouterr().out.splitlines() if line[:5] == "ALARM"]
        assert [line.split()[1] for line in alarms] == [f"{sinks}:"]
        worker.ask("PUT", f"connectors/{sink}/resume")
        until(lambda: rows() == running, f"{running}", 30)

        with lab.guard() as moved:
            produce(topic, [b"fail"])  # the task that reads it ends, and the other takes over
            until(lambda: "FAILED" in worker.state(sink), timeout_s=30)
        assert sinks in {change.group for change in moved.changes}
        until(lambda: rows()[sinks] == f"empty classic 0 {topic} 1 stopped", timeout_s=30)
        assert verdicts() == {workers: "idle", sinks: "stopped"}

        worker.process.terminate()
        worker.process.wait(30)
        until(lambda: rows()[workers] == "empty connect 0  <NA> unknown", timeout_s=30)
        assert cli.main(["lag", "--check", workers, "--samples", "1"]) == 3
        assert f"{workers}: unknown, lag not known, no members; " in capsys.readouterr().out
