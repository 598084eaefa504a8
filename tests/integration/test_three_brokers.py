"""Three real brokers, one of which dies.

No window lies, no process dies, and one dead broker costs little.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pandas as pd
import pytest
from elasticsearch import ApiError

from labkit.errors import DeadlineError, LabkitError, ServerError, UnavailableError
from labkit.lab import Lab, connect
from labkit.pipelines.indexer.indexer import Indexer
from labkit.stack.state import State
from support.cluster import ThreeBrokers
from support.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
RECORDS = 12_000
TIMEOUT_S = 120.0


@pytest.fixture(autouse=True)
def _whole(three: ThreeBrokers) -> None:
    """Begin with three brokers, whatever the test before has killed."""
    three.heal()


@pytest.fixture(scope="module")
def topic(three: ThreeBrokers) -> str:
    """A topic of six partitions with data that does not compress."""
    name = three.make_topic(f"irc-three-{uuid.uuid4().hex[:8]}")
    three.produce(name, RECORDS)
    return name


@contextmanager
def in_a_loop(act: Callable[[], Any]) -> Iterator[list[tuple[float, float, Any]]]:
    """Act again and again in a thread.

    Yield what came of it: when each began, how long it took, result or error.
    """
    results: list[tuple[float, float, Any]] = []
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            began = time.monotonic()
            try:
                result: Any = act()
            except LabkitError as error:
                result = error
            results.append((began, time.monotonic() - began, result))
            over.wait(0.1)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield results
    finally:
        over.set()
        thread.join(120)
        assert not thread.is_alive()


def test_each_window_is_whole_or_an_error_while_a_leader_dies(
    three: ThreeBrokers, topic: str
) -> None:
    """BEHAVIOURS 83: right after a leader's death the client answers -1001 for its partitions.

    That is no offset.
    """
    lab, fresh = three.lab(), three.lab
    with (
        in_a_loop(lambda: len(lab.window(topic))) as old,
        in_a_loop(lambda: len(fresh().window(topic))) as new,
    ):
        until(lambda: len(old) > 3 and len(new) > 3)
        three.kill(three.leaders(topic)[0])
        led = three.wait_led(topic)

        def moved() -> bool:
            last = [results[-1] for results in (old, new)]
            return all(began > led and size == RECORDS for began, _, size in last)

        until(moved, "windows by the new leaders", TIMEOUT_S)
    # a new lab may have no answer to its first question, which is not about the topic
    for results, subjects in ((old, [topic]), (new, [topic, "describe the cluster"])):
        sizes = [size for _, _, size in results if not isinstance(size, LabkitError)]
        assert set(sizes) == {RECORDS}
        errors = [error for _, _, error in results if isinstance(error, LabkitError)]
        odd = [
            error
            for error in errors
            if not isinstance(error, UnavailableError | ServerError)
            or not any(subject in str(error) for subject in subjects)
        ]
        assert odd == []


@pytest.fixture(scope="module")
def groups(three: ThreeBrokers, topic: str) -> dict[str, int]:
    """Eight groups at rest, over all coordinators: name to the sum of its commits."""
    sums: dict[str, int] = {}
    for number in range(8):
        offsets = {partition: 10 * number + partition for partition in range(6)}
        name = f"prod-{topic}-{number}"
        three.commit(name, topic, offsets)
        sums[name] = sum(offsets.values())
    three.heal()  # a test before may have left all coordinators on two brokers
    until(
        lambda: len({three.coordinator(name) for name in sums}) == 3,
        "coordinators on three brokers",
        60,
    )
    return sums


def test_groups_and_guard_are_whole_or_say_so_when_their_coordinator_dies(
    three: ThreeBrokers, topic: str, groups: dict[str, int]
) -> None:
    """BEHAVIOURS 84, 85, 87: no group is missing or without its commits.

    A guard that cannot look notes it.
    """
    lab = three.lab()

    def look() -> dict[str, int | None]:
        frame = lab.groups()
        return {
            row.group: None if row.lag is pd.NA else row.lag
            for row in frame.itertuples()
            if row.group in groups
        }

    def guard() -> Any:
        with lab.guard() as proof:
            pass
        return proof

    expected = {name: RECORDS - committed for name, committed in groups.items()}
    with in_a_loop(look) as looks, in_a_loop(guard) as proofs:
        until(lambda: len(looks) > 2 and len(proofs) > 2)
        three.kill(three.coordinator(next(iter(groups))))
        led = three.wait_led("__consumer_offsets")

        def moved() -> bool:
            is_late = all(results[-1][0] > led for results in (looks, proofs))
            return is_late and looks[-1][2] == expected and proofs[-1][2].untouched

        until(moved, "the groups of the new coordinators", TIMEOUT_S)
    for _, _, lags in looks:
        if isinstance(lags, LabkitError):
            assert isinstance(lags, DeadlineError | UnavailableError), lags
        else:  # that a lag is not known is said, by a missing value
            known = {name: lag for name, lag in lags.items() if lag is not None}
            assert lags.keys() == expected.keys()
            assert known.items() <= expected.items()
    for _, _, proof in proofs:
        assert not proof.changes, proof.report()
        assert proof.untouched or proof.note or set(proof.unseen.values()) <= {"no answer"}, (
            proof.report()
        )
    assert set(groups) <= set(proofs[-1][2].watched)


READS = """
import json, sys, time
from labkit.config.profiles import Profile
from labkit.lab import Lab
from labkit.config.secrets import seal
settings, topic, records = json.loads(sys.stdin.read())
lab = Lab(Profile("three", "lab", seal(settings), {}, {}, source="the test"))
while True:
    time.sleep(0.5)
    began = time.monotonic()
    replay = lab.window(topic, last=records).read(progress=False, cache=False)
    guard = replay.receipt.guard
    print(json.dumps({"read": len(replay.table), "complete": replay.receipt.complete, "text": guard["text"],
                      "changes": guard["changes"], "seconds": time.monotonic() - began}), flush=True)
"""


def test_guarded_reads_live_through_a_rolling_restart(
    three: ThreeBrokers, topic: str, groups: dict[str, int], tmp_path: Path
) -> None:
    """BEHAVIOURS 84: the admin client ends its process when a coordinator moves.

    Reads in three processes go on.
    """
    outputs = [tmp_path / f"{number}.jsonl" for number in range(2)]
    readers = []
    for output in outputs:
        with output.open("wb") as file, output.with_suffix(".err").open("wb") as errors:
            readers.append(
                subprocess.Popen(
                    [sys.executable, "-c", READS], stdin=PIPE, stdout=file, stderr=errors
                )
            )
        stdin = readers[-1].stdin
        assert stdin is not None
        stdin.write(json.dumps([three.state.credentials("lab")["kafka"], topic, 1_000]).encode())
        stdin.close()

    def lines() -> list[list[str]]:
        return [output.read_text().splitlines() for output in outputs]

    try:
        until(lambda: all(lines()))
        for number in (1, 2, 3):
            three.stop(number)
            three.start(number)
        before = [len(line) for line in lines()]
        until(
            lambda: all(len(line) > count + 1 for line, count in zip(lines(), before, strict=True)),
            timeout_s=TIMEOUT_S,
        )
        for reader, output in zip(readers, outputs, strict=True):
            assert reader.poll() is None, (
                reader.returncode,
                output.with_suffix(".err").read_text()[-2000:],
            )
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
    for line in (json.loads(line) for reader in lines() for line in reader if line.endswith("}")):
        assert (line["read"], line["complete"], line["changes"]) == (1_000, True, []), line
        assert (
            "the same before and after" in line["text"]
            or "not looked at" in line["text"]
            or ("could not be looked at" in line["text"])
        ), line


def test_one_dead_broker_costs_its_time_out_once(
    three: ThreeBrokers, topic: str, groups: dict[str, int]
) -> None:
    """BEHAVIOURS 87: one dead broker costs 5 s at most.

    It is tried on a list of groups, and on a guarded read of 1,000 records.
    """

    def time_looks(lab: Lab) -> float:
        """Return how long the list of groups and a guarded read took, the slower of the two."""
        began = time.monotonic()
        group_rows = lab.groups()
        listed = time.monotonic()
        replay = lab.window(topic, last=1_000).read(progress=False)
        assert set(groups) <= set(group_rows["group"])
        assert replay.receipt.complete
        assert replay.receipt.guard["untouched"], replay.receipt.guard["text"]
        return max(listed - began, time.monotonic() - listed)

    lab = three.lab()
    whole_s = max(time_looks(lab), time_looks(three.lab()))  # long on a busy machine
    three.kill(three.coordinator(next(iter(groups))))
    three.wait_led("__consumer_offsets")
    three.wait_led(topic)
    lab.groups()  # its time-out, once
    lab.window(topic, last=1_000).read(progress=False)
    for lab_ in (lab, lab, three.lab()):
        assert time_looks(lab_) <= 5 + 3 * whole_s


@dataclass
class Running:
    """An indexer of this process, in a thread, and what it says."""

    indexer: Indexer
    said: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    errors: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.indexer.say = self.said.append
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.indexer.run(self.stop)
        except Exception as error:
            self.errors.append(error)

    @property
    def lives(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> None:
        self.stop.set()
        self._thread.join(60)
        assert not self.lives, self.said


@pytest.fixture
def index(stack: State) -> Iterator[str]:
    name = f"irc-three-{uuid.uuid4().hex[:8]}"
    yield name
    connect(role="admin").target().client.indices.delete(index=name, ignore_unavailable=True)


def documents(index: str) -> int:
    """Return how many documents there are, asked by an administrator's client."""
    client = connect(role="admin").target().client
    try:
        client.indices.refresh(index=index, ignore_unavailable=True)
        return int(client.count(index=index, ignore_unavailable=True)["count"])
    except ApiError:  # its shard is not there yet
        return 0


def indexer_of(three: ThreeBrokers, topic: str, group: str, index: str) -> Indexer:
    target = connect(role="indexer").target()
    return Indexer(three.cluster("indexer"), target, topic, index, group, start="earliest")


def test_a_second_indexer_joins_within_a_second_of_a_brokers_death_and_both_live(
    three: ThreeBrokers, index: str
) -> None:
    """BEHAVIOURS 83, 86: no indexer ends.

    The index has each record once, those too that came meanwhile.
    """
    topic, group, written = three.make_topic(index), f"indexer.{index}", RECORDS
    three.produce(topic, RECORDS)
    runs = [Running(indexer_of(three, topic, group, index))]
    try:
        until(lambda: documents(index) > 0)
        three.kill(three.coordinator(group))
        runs.append(Running(indexer_of(three, topic, group, index)))
        three.produce(topic, 600, first=RECORDS)
        written += 600
        until(lambda: documents(index) == written, timeout_s=120)

        def shared() -> bool:
            lost = not all(run.lives for run in runs)
            return lost or all(run.indexer.member.positions for run in runs)

        until(shared, "partitions of both", timeout_s=TIMEOUT_S)
        assert all(run.lives for run in runs), [(run.said, run.errors) for run in runs]
    finally:
        for run in runs:
            run.end()
    assert not [run.errors for run in runs if run.errors]
    assert documents(index) == written
