"""Servers and processes that fail in the middle.

Each story ends with the index equal to the topic, asked of both. ``LABKIT_TEST_KILLS`` says how
often the indexer is killed (6).
"""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka.admin import NewTopic
from elasticsearch.helpers import scan

from labkit.lab import Lab, connect
from labkit.sinks.scratch import Load
from labkit.stack.state import State
from support.indexing import Bench, expected_ids, goes_on
from support.stack import kill_9, run_labkit
from support.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]
KILLS = int(os.environ.get("LABKIT_TEST_KILLS", "6"))
RECORDS = 30_000


@pytest.fixture
def me(monkeypatch: pytest.MonkeyPatch) -> str:
    user = f"test_{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("LABKIT_USER", user)
    return user


def loaded_ids(load: Load) -> set[str]:
    client = load.index.target.client
    client.indices.refresh(index=load.index.name)
    return {hit["_id"] for hit in scan(client, index=load.index.name, _source=False, size=10_000)}


# the indexer is killed -----------------------------------------------------------------------------------


def test_the_indexer_killed_at_random_moments_ends_with_the_topic(
    bench: Bench, filled: Any
) -> None:
    topic, rng = filled(90_000, 3), random.Random(os.environ.get("LABKIT_TEST_SEED", "7"))
    for number in range(KILLS):
        run = bench.start(topic)
        if number % 2:
            run.until_said("assigned partitions")
        try:
            run.process.wait(rng.uniform(0, 2.5))
        except subprocess.TimeoutExpired:
            run.kill()
        committed = sum(max(0, offset) for offset in bench.committed().values())
        assert committed <= bench.count()  # never committed what is not there
    bench.once(topic)
    assert bench.ids() == expected_ids(bench.admin, topic)
    assert bench.count() == sum(bench.committed().values()) == 90_000


# the servers are killed during a scratch load ------------------------------------------------------------


@pytest.fixture
def mortal_lab(mortal: Path, monkeypatch: pytest.MonkeyPatch, me: str) -> Iterator[Lab]:
    monkeypatch.setenv("LABKIT_STATE", str(mortal))
    lab = connect()
    yield lab
    for row in lab.scratch()["index"]:
        lab.target().client.indices.delete(index=row)


def while_loading(
    load: Callable[[], Load], fault: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> Load:
    """Load, and have `fault` happen once some batches are read."""
    begun, struck = threading.Event(), threading.Event()
    batches: list[int] = []

    def advance(records: int, _size: int) -> None:
        batches.append(records)
        if len(batches) == 5:
            begun.set()

    @contextmanager
    def bar(*_: Any) -> Iterator[Callable[[int, int], None]]:
        yield advance

    def strike() -> None:
        begun.wait(240)
        fault()
        struck.set()

    monkeypatch.setattr("labkit.waiting.progress.bar", bar)
    striker = threading.Thread(target=strike)
    striker.start()
    load_ = load()
    striker.join(240)
    assert struck.is_set()
    return load_


@pytest.mark.parametrize("service", ["elasticsearch", "kafka"])
def test_a_server_killed_during_a_scratch_load_is_waited_for(
    service: str,
    hospital: Bench,
    mortal: Path,
    mortal_lab: Lab,
    me: str,
    wide: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("labkit.replay.reader.STALL_TIMEOUT_S", 240.0)
    monkeypatch.setattr("labkit.replay.reader.BATCH_RECORDS", 1000)
    window = mortal_lab.window(wide)

    def fault() -> None:
        kill_9(mortal, service)
        run_labkit(mortal, "up")

    expected = (
        pytest.warns(UserWarning, match="waiting for Elasticsearch")
        if service == "elasticsearch"
        else nullcontext()
    )
    with expected:
        load = while_loading(lambda: window.to_scratch("killed", patience="4m"), fault, monkeypatch)
    assert load.complete, load
    counts = load.counts
    assert counts["indexed"] + counts["existing"] == counts["sent"] == RECORDS
    assert loaded_ids(load) == expected_ids(hospital.admin, wide)


# an index that takes nothing -----------------------------------------------------------------------------


def test_a_read_only_index_is_waited_for(bench: Bench, filled: Any, produce: Any) -> None:
    topic = filled(1_000)
    run = bench.start(topic)
    until(lambda: bench.count() == 1_000, "the first documents")
    bench.client.indices.put_settings(index=bench.index, settings={"index.blocks.write": True})
    produce(topic, [orjson.dumps({"i": n}) for n in range(500)])
    run.until_said("waiting for Elasticsearch: the index is blocked")
    assert bench.committed() == {0: 1_000}
    bench.client.indices.put_settings(index=bench.index, settings={"index.blocks.write": False})
    run.until_said("Elasticsearch answers again")
    goes_on(bench, run, topic, 1_500)


def test_a_load_into_a_read_only_index_gives_up_says_so_and_can_be_gone_on_with(
    lab: Lab,
    filled: Any,
    bench: Bench,
    me: str,
) -> None:
    topic = filled(30_000)
    window = lab.window(topic)
    index = lab.window(topic, offsets={0: (0, 10)}).to_scratch("blocked").index
    block = {"index.blocks.write": True}
    bench.client.indices.put_settings(index=index.name, settings=block)
    with pytest.warns(UserWarning, match="the index is blocked"):
        load = window.to_scratch("blocked", patience="5s")
    counts = load.counts
    assert counts["sent"] == counts["unsent"] == load.receipt.read
    assert load.receipt.reasons == {"sink": [0]}
    assert not load.complete
    assert "blocked" in str(load)
    bench.client.indices.put_settings(index=index.name, settings={"index.blocks.write": False})
    again = window.to_scratch("blocked")
    assert again.counts == {
        "sent": 30_000,
        "indexed": 29_990,
        "existing": 10,
        "rejected": 0,
        "unsent": 0,
    }
    assert loaded_ids(again) == expected_ids(bench.admin, topic)
    index.drop()


def test_a_full_mapping_puts_records_aside_and_they_come_back_once_there_is_room(
    bench: Bench,
    make_topic: Any,
    produce: Any,
    tmp_path: Path,
) -> None:
    topic, letters = make_topic(), tmp_path / "dead.jsonl"
    bench.client.indices.create(
        index=bench.index, settings={"index.mapping.total_fields.limit": 60}
    )
    produce(topic, [orjson.dumps({f"field{n}": n}) for n in range(200)])
    run = bench.once(topic, "--dead-letter", str(letters), code=3)
    dead = {
        f"{topic}-0-{orjson.loads(line)['offset']}" for line in letters.read_bytes().splitlines()
    }
    assert run.ledger["rejected"] == len(dead) > 100
    assert bench.ids() | dead == expected_ids(bench.admin, topic)
    assert not bench.ids() & dead
    bench.client.indices.put_settings(
        index=bench.index, settings={"index.mapping.total_fields.limit": 1000}
    )
    again = bench.once(topic, "--from", "earliest", "--dead-letter", str(letters))
    # a request that is answered too late is sent again, and finds its own documents
    assert (again.ledger["rejected"], again.ledger["indexed"] + again.ledger["existing"]) == (
        0,
        200,
    )
    assert bench.ids() == expected_ids(bench.admin, topic)


# no room for a request -----------------------------------------------------------------------------------


@pytest.mark.hard
def test_a_cluster_with_a_tiny_queue_gets_all_in_smaller_requests(
    hospital: Bench,
    mortal: Path,
    mortal_lab: Lab,
    wide: str,
) -> None:
    """The cluster has room for 300 kB of requests at once.

    Those of 4 MB are answered with 429 until they are smaller.
    """
    extra = mortal / "elasticsearch" / "extra.yml"
    extra.write_text(
        "indexing_pressure.memory.limit: 300kb\nthread_pool.write.size: 1\nthread_pool.write.queue_size: 1\n"
    )
    restart(mortal)
    try:
        run = hospital.start(wide)
        run.until_said("waiting for Elasticsearch: Elasticsearch answered 429")
        with pytest.warns(UserWarning, match="429"):
            load = mortal_lab.window(wide).to_scratch("tiny", patience="5m")
        assert load.complete, load
        assert loaded_ids(load) == expected_ids(hospital.admin, wide)
        goes_on(hospital, run, wide, RECORDS)
    finally:
        extra.unlink()
        restart(mortal)


@pytest.fixture(scope="module")
def limits(mortal: Path) -> Iterator[Callable[[str], None]]:
    """Start the cluster anew with another limit of a request's size; without one at the end."""
    extra = mortal / "elasticsearch" / "extra.yml"

    def limit(size: str) -> None:
        line = f"http.max_content_length: {size}\n"
        if not extra.exists() or extra.read_text() != line:
            extra.write_text(line)
            restart(mortal)

    yield limit
    extra.unlink(missing_ok=True)
    restart(mortal)


@pytest.mark.parametrize(("limit", "kept"), [("300kb", 100_000), ("50kb", 1_000)])
def test_a_record_too_large_for_a_request_is_put_aside_in_an_index_with_its_source_cut(
    limit: str, kept: int, hospital: Bench, limits: Callable[[str], None]
) -> None:
    """Its dead letter would be too large as well.

    The run would end at that record each time.
    """
    limits(limit)
    topic, letters = f"irc-test-{uuid.uuid4().hex[:8]}", f"{hospital.index}-dead"
    hospital.admin.ask(lambda client: client.create_topics([NewTopic(topic, 1, 1)]), what="make it")
    large = orjson.dumps({"message": "x" * 500_000})
    producer = hospital.admin.producer(linger_ms=5)
    for value in (b'{"n":1}', large, b'{"n":3}'):
        producer.produce(topic, value, partition=0)
    assert producer.flush(30) == 0
    try:
        run = hospital.once(topic, "--dead-letter", f"index:{letters}", code=3)
        assert run.ledger == {"sent": 3, "indexed": 2, "existing": 0, "rejected": 1, "unsent": 0}
        assert hospital.committed() == {0: 3}
        hospital.client.indices.refresh(index=letters)
        document = hospital.client.get(index=letters, id=f"{topic}-0-1")["_source"]
        assert (
            document["topic"],
            document["partition"],
            document["offset"],
            document["status"],
        ) == (
            topic,
            0,
            1,
            413,
        )
        assert document["source"] == large[:kept].decode()
        assert document["reason"].endswith(
            f"source cut to its first {kept:,} of {len(large):,} characters"
        )
        assert hospital.once(topic).ledger["sent"] == 0
    finally:
        hospital.client.options(ignore_status=404).indices.delete(index=letters)


def restart(state: Path) -> None:
    kill_9(state, "elasticsearch")
    run_labkit(state, "up")
    assert State.load(state).services["elasticsearch"]


def test_records_are_not_read_faster_than_they_can_be_written(bench: Bench, filled: Any) -> None:
    """The indexer's memory stays as it is while it cannot write.

    It does so whatever the topic holds.
    """
    import psutil

    topic = filled(120_000, 2)
    bench.client.indices.create(index=bench.index, settings={"index.blocks.write": True})
    run = bench.start(topic)
    run.until_said("waiting for Elasticsearch: the index is blocked")
    process = psutil.Process(run.process.pid)
    before = process.memory_info().rss
    deadline = time.monotonic() + 5
    until(lambda: time.monotonic() > deadline, "five seconds of waiting")
    assert process.memory_info().rss - before < 60_000_000
    assert bench.committed().get(0, 0) <= 0
    bench.client.indices.put_settings(index=bench.index, settings={"index.blocks.write": False})
    goes_on(bench, run, topic, 120_000)
