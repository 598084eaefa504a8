"""Two of three real brokers are gone for a while, or one by one: what was begun ends whole."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from confluent_kafka.admin import NewTopic
from elasticsearch.helpers import scan

from labkit.config.profiles import Profile
from labkit.config.secrets import seal
from labkit.errors import LabkitError, NotFoundError
from labkit.lab import Lab, connect
from labkit.replay.reader import LOOK_S
from labkit.stack.state import State, write_private
from support.cluster import ThreeBrokers
from support.indexing import Indexing, expected_ids
from support.stack import LABKIT
from support.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.hard, pytest.mark.timeout(900)]
RECORDS = 60_000
AWAY_S = 10.0  # longer than the brokers' session: the one that is left has noticed


@pytest.fixture(autouse=True)
def _whole(three: ThreeBrokers) -> None:
    three.heal()


@pytest.fixture(scope="module")
def topic(three: ThreeBrokers) -> str:
    """A topic that is only read: 60 MB that do not compress, more than a client's queue."""
    name = three.make_topic(f"irc-outage-{uuid.uuid4().hex[:8]}")
    three.produce(name, RECORDS, size=1_000)
    return name


@pytest.fixture
def index(stack: State) -> Iterator[str]:
    name = f"irc-outage-{uuid.uuid4().hex[:8]}"
    yield name
    connect(role="admin").target().client.indices.delete(index=name, ignore_unavailable=True)


def take_two_away(three: ThreeBrokers, meanwhile: Callable[[], Any] = lambda: None) -> None:
    """Kill two of three, one of them the leader of every third partition; bring them back."""
    three.kill(1)
    three.kill(2)
    meanwhile()
    time.sleep(AWAY_S)
    three.start(1, wait=False)
    three.start(2, wait=False)


def count(index: str) -> int:
    client = connect(role="admin").target().client.options(ignore_status=[404, 503])
    client.indices.refresh(index=index)
    return int(dict(client.count(index=index)).get("count", 0))


def ids(index: str) -> set[str]:
    client = connect(role="admin").target().client
    client.indices.refresh(index=index)
    return {hit["_id"] for hit in scan(client, index=index, _source=False, size=10_000)}


def test_a_file_is_whole_after_two_of_three_were_gone(
    three: ThreeBrokers, topic: str, tmp_path: Path
) -> None:
    """The receipt says what was waited for."""
    begun, go_on = threading.Event(), threading.Event()
    decoded_at = time.monotonic()

    def decode(value: bytes) -> Any:  # holds the reading back until the brokers are gone
        nonlocal decoded_at
        begun.set()
        assert go_on.wait(60)
        decoded_at = time.monotonic()
        return orjson.loads(value)

    def read_what_is_left() -> None:
        go_on.set()
        until(lambda: time.monotonic() - decoded_at > 3 * LOOK_S, timeout_s=120)

    path = tmp_path / "x.parquet"
    window = three.lab().window(topic)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(window.to_parquet, path, decode=decode, progress=False)
        try:
            assert begun.wait(60)
            take_two_away(three, read_what_is_left)
        finally:
            go_on.set()
        receipt = writing.result(300)
    assert receipt.complete, receipt
    assert any(note.startswith("waited for Kafka: ") for note in receipt.notes), receipt.notes
    assert sorted(pq.read_table(path)["n"].to_pylist()) == list(range(RECORDS))


def test_a_scratch_index_is_whole_after_two_of_three_were_gone(
    three: ThreeBrokers, topic: str, stack: State
) -> None:
    targets = {"default": seal(stack.credentials("lab")["elasticsearch"])}
    lab = Lab(
        Profile(
            "three",
            "lab",
            seal(three.state.credentials("lab")["kafka"]),
            targets,
            {},
            source="the test",
        )
    )
    window, name = lab.window(topic), f"outage-{uuid.uuid4().hex[:8]}"
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(window.to_scratch, name, ttl="1h", progress=False)
        until(lambda: loading.done() or count(f"scratch-*-{name}") > 0)
        assert not loading.done(), "it was over before a broker died"
        take_two_away(three)
        load = loading.result(300)
    try:
        assert load.receipt.complete, load.receipt
        assert load.counts == {
            "sent": RECORDS,
            "indexed": RECORDS,
            "existing": 0,
            "rejected": 0,
            "unsent": 0,
        }
        assert ids(load.index.name) == expected_ids(three.cluster("admin"), topic)
    finally:
        load.index.drop()


@pytest.fixture
def profiles(three: ThreeBrokers, stack: State, tmp_path: Path) -> dict[str, str]:
    """An environment with a profile for each role: these brokers, and the stack's Elasticsearch."""
    lines: list[str] = []
    for role in ("extractor", "indexer", "lab"):
        kafka = {**three.state.credentials(role)["kafka"], "session.timeout.ms": "6000"}
        lines += [f"[profiles.{role}.kafka]"]
        lines += [f"{json.dumps(key)} = {json.dumps(str(value))}" for key, value in kafka.items()]
        target = stack.credentials(role)["elasticsearch"]
        lines += [f"[profiles.{role}.elasticsearch.default]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in target.items()]
    write_private(tmp_path / "labkit.toml", "\n".join(lines))
    return {"LABKIT_CONFIG": str(tmp_path / "labkit.toml"), "LABKIT_STATE": str(stack.root)}


def test_lines_are_in_kafka_once_after_two_of_three_were_gone(
    three: ThreeBrokers, profiles: dict[str, str]
) -> None:
    """The half that is sent without a quorum waits; `min.insync.replicas` is 2."""
    topic = three.make_topic(f"irc-outage-{uuid.uuid4().hex[:8]}")
    command = [*LABKIT, "extract", "files", "-", "--topic", topic, "--profile", "extractor"]
    running = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **profiles},
    )
    assert running.stdin is not None

    def send(first: int, last: int) -> None:
        assert running.stdin is not None
        for number in range(first, last):
            running.stdin.write(b'{"n": %d, "channel": "#%d"}\n' % (number, number))
        running.stdin.flush()

    try:
        send(0, RECORDS // 2)
        until(lambda: len(three.numbers(topic)) > 0)
        take_two_away(three, lambda: send(RECORDS // 2, RECORDS))
        out, errors = running.communicate(timeout=300)
    finally:
        running.kill()
    assert running.returncode == 0, errors.decode()
    assert f"{RECORDS}" in out.decode().replace(",", ""), out
    assert three.numbers(topic) == list(range(RECORDS))


def start_index(topic: str, index: str, profiles: dict[str, str]) -> Indexing:
    arguments = [
        topic,
        index,
        "--group",
        f"indexer.{index}",
        "--profile",
        "indexer",
        "--every",
        "1s",
    ]
    return Indexing([*arguments, "--from", "earliest"], profiles)


def test_an_index_is_whole_after_two_of_three_were_gone(
    three: ThreeBrokers, topic: str, index: str, profiles: dict[str, str]
) -> None:
    run = start_index(topic, index, profiles)
    try:
        until(lambda: count(index) > 0)
        take_two_away(three, lambda: run.until_said("waiting for Kafka: ", 60))
        until(lambda: count(index) == RECORDS or run.process.poll() is not None, timeout_s=240)
        assert run.stop() == 0, run.said
    finally:
        run.end_soon()
    assert ids(index) == expected_ids(three.cluster("admin"), topic)
    assert run.ledger["rejected"] == run.ledger["unsent"] == 0


def test_two_indexers_and_a_kill_in_a_rolling_restart(
    three: ThreeBrokers, index: str, profiles: dict[str, str]
) -> None:
    """Brokers restart while records come; one indexer is killed and another takes its place."""
    topic, over, written = three.make_topic(index), threading.Event(), [0]

    def write() -> None:
        while not over.is_set():
            three.produce(topic, 300, first=written[0])
            written[0] += 300
            over.wait(0.3)

    runs = [start_index(topic, index, profiles) for _ in range(2)]
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            until(lambda: count(index) > 0)
            for number in (1, 2, 3):
                three.stop(number)
                if number == 2:
                    runs[0].kill()
                    runs.append(start_index(topic, index, profiles))
                three.start(number)
            over.set()
            writing.result(60)
            living = runs[1:]
            until(lambda: count(index) == written[0] or any(run.process.poll() is not None for run in living),
                  timeout_s=240)  # fmt: skip
            assert [run.stop() for run in living] == [0, 0], [run.said for run in living]
        finally:
            over.set()
            for run in runs:
                run.end_soon()
    assert three.numbers(topic) == list(range(written[0]))
    assert ids(index) == expected_ids(three.cluster("admin"), topic)
    assert not any(run.ledger["rejected"] or run.ledger["unsent"] for run in living)


def test_a_reader_of_followers_goes_on_when_its_follower_dies(three: ThreeBrokers) -> None:
    """With `client.rack` records come from that rack's broker, which leads no partition."""
    topic = f"irc-outage-{uuid.uuid4().hex[:8]}"
    new_topic = NewTopic(
        topic,
        3,
        replica_assignment=[[1, 2, 3], [2, 1, 3], [1, 2, 3]],
        config={"retention.ms": "-1"},
    )
    three.witness.create_topics([new_topic])[topic].result(30)
    until(lambda: len(three.leaders(topic)) == 3)
    three.produce(topic, RECORDS, size=1_000, partitions=3)
    settings = {
        **three.state.credentials("lab")["kafka"],
        "client.rack": "rack-3",
        "debug": "fetch",
    }
    messages: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler, logger = Kept(), logging.getLogger("labkit.librdkafka")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        window = Lab(Profile("three", "lab", seal(settings), {}, {}, source="the test")).window(
            topic
        )
        reading = window.reading(guard=False)
        batches = reading.batches()
        records = next(batches).num_rows
        three.kill(3)
        records += sum(batch.num_rows for batch in batches)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert any("preferred replica" in line.lower() for line in messages), [
        line for line in messages if "replica" in line
    ][:5]
    assert (records, reading.receipt().complete) == (RECORDS, True)
    assert reading.receipt().gaps == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_the_first_contact_is_made_while_one_of_three_dies(
    three: ThreeBrokers, how: signal.Signals
) -> None:
    """A command that began as a broker died ended with 'no answer from broker 2'."""
    over, ids_seen, errors = threading.Event(), set[str](), list[LabkitError]()

    def contact() -> None:
        while not over.is_set():
            try:
                ids_seen.add(three.cluster().cluster_id)
            except LabkitError as error:
                errors.append(error)

    with ThreadPoolExecutor(4) as pool:
        contacts = [pool.submit(contact) for _ in range(4)]
        try:
            until(lambda: ids_seen)
            three.signal(2, how)
            time.sleep(AWAY_S)
        finally:
            over.set()
            if how == signal.SIGSTOP:
                three.signal(2, signal.SIGCONT)
        for attempt in contacts:
            attempt.result(60)
    assert errors == []
    assert len(ids_seen) == 1


def test_an_ad_hoc_group_goes_on_when_its_coordinator_dies(three: ThreeBrokers) -> None:
    """BEHAVIOURS 86: each record comes once, and what is committed is what was read."""
    topic, records = three.make_topic(f"irc-outage-{uuid.uuid4().hex[:8]}"), 3_000
    three.produce(topic, records)
    with three.lab().attach(
        topic, name=f"outage-{uuid.uuid4().hex[:8]}", start="earliest"
    ) as group:
        numbers = list(group.read(1_000)["n"])
        group.commit()
        three.kill(three.coordinator(group.group))
        until(
            lambda: (
                numbers.extend(group.read(1_000, timeout="5s").get("n", ()))
                or len(numbers) >= records
            ),
            timeout_s=120,
        )
        assert sum(group.commit().values()) == records
        three.produce(topic, 600, first=records)
        until(
            lambda: numbers.extend(group.tail(2).get("n", ())) or len(numbers) >= records + 600,
            timeout_s=60,
        )
        assert sorted(numbers) == list(range(records + 600))
        committed = three.cluster("admin").groups.committed([group.group])[group.group]
        assert isinstance(committed, dict)
        assert sum(committed.values()) == records
    three.heal()
    group.close(delete=True)


def test_an_ad_hoc_group_is_deleted_though_its_coordinator_dies_as_it_leaves(
    three: ThreeBrokers,
) -> None:
    """The new coordinator has not heard of it, and said "the group is not empty"."""
    topic = three.make_topic(f"irc-outage-{uuid.uuid4().hex[:8]}")
    three.produce(topic, 60)
    group = three.lab().attach(topic, name=f"outage-{uuid.uuid4().hex[:8]}", start="earliest")
    assert len(group.read(60)) == 60
    group.commit()
    coordinator = three.coordinator(group.group)
    three.signal(coordinator, signal.SIGSTOP)  # it takes the farewell, and never reads it
    killing = threading.Timer(1, three.kill, (coordinator,))
    killing.start()
    # of the coordinator that is dead, or of the new one: which has the word depends on the moment
    with pytest.warns(UserWarning, match=r"no answer from Kafka|has not heard that you left"):
        group.close(delete=True)
    killing.join()
    described = three.cluster("admin").groups.describe([group.group])[group.group]
    assert isinstance(described, NotFoundError) or described.state == "dead"


def test_a_tail_goes_on_when_a_leader_dies(three: ThreeBrokers, profiles: dict[str, str]) -> None:
    topic = three.make_topic(f"irc-outage-{uuid.uuid4().hex[:8]}")
    three.produce(topic, 6)
    command = [*LABKIT, "tail", topic, "--json", "--last", "6", "--limit", "606"]
    running = subprocess.Popen(
        [*command, "--profile", "lab"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **profiles},
    )
    try:
        assert running.stdout is not None
        lines = [running.stdout.readline() for _ in range(6)]
        three.kill(three.leaders(topic)[0])
        three.produce(topic, 600, first=6)
        out, errors = running.communicate(timeout=120)
    finally:
        running.kill()
    assert running.returncode == 0, errors
    values = [json.loads(line)["value"] for line in [*lines, *out.splitlines()]]
    assert sorted(
        orjson.loads(value)["n"] if isinstance(value, str) else value["n"] for value in values
    ) == list(range(606))
