"""Two Elasticsearch nodes of which one dies: a load is whole, a search answers or says why not."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from elasticsearch.helpers import scan

from labkit.config.profiles import Profile
from labkit.config.secrets import seal
from labkit.errors import LabkitError, ServerError, UnavailableError
from labkit.lab import Lab
from labkit.sinks.scratch import Load
from labkit.stack.state import State
from support.elastic_pair import NAMES, ElasticPair, elastic_pair
from support.indexing import messages
from support.stack import new_state_dir
from support.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.hard, pytest.mark.timeout(900)]
RECORDS = 40_000
AWAY_S = 3.0


@pytest.fixture(scope="module")
def pair() -> Iterator[ElasticPair]:
    with elastic_pair(new_state_dir()) as nodes:
        yield nodes


@pytest.fixture(autouse=True)
def _whole(pair: ElasticPair) -> None:
    pair.heal()


@pytest.fixture
def lab(stack: State, pair: ElasticPair) -> Lab:
    targets = {"default": seal(pair.settings("lab"))}
    kafka = seal(stack.credentials("lab")["kafka"])
    return Lab(Profile("pair", "lab", kafka, targets, {}, source="the test"))


@pytest.fixture
def topic(make_topic: Any, produce: Any) -> str:
    name: str = make_topic()
    produce(name, messages(RECORDS))
    return name


def indexed(pair: ElasticPair, pattern: str) -> int:
    """Return how many documents an index of this name has taken."""
    stats = pair.client(NAMES[0]).indices.stats(index=pattern, metric="indexing")
    return int(stats["_all"]["primaries"].get("indexing", {}).get("index_total", 0))


def make_on(pair: ElasticPair, node: str) -> None:
    """New shards go to this node."""
    where = {"cluster.routing.allocation.require._name": node}
    pair.client(NAMES[0]).cluster.put_settings(persistent=where)


@pytest.mark.parametrize("node", NAMES)
def test_a_load_waits_for_the_node_of_its_shard(
    node: str, pair: ElasticPair, lab: Lab, topic: str
) -> None:
    """Both the master's death and that of a data node; each document is there once."""
    make_on(pair, node)
    name = f"pair-{uuid.uuid4().hex[:8]}"
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(lab.window(topic).to_scratch, name, ttl="1h", progress=False)
        until(lambda: loading.done() or indexed(pair, f"scratch-*-{name}") > 0)
        assert not loading.done(), "it was over before the node died"
        assert pair.holder(f"scratch-*-{name}") == node
        pair.kill(node)
        time.sleep(AWAY_S)
        pair.start(node)
        load = loading.result(300)
    is_whole(load, pair, topic)


@pytest.mark.parametrize("node", NAMES)
def test_a_load_that_begins_while_a_node_is_gone_waits_for_it(
    node: str, pair: ElasticPair, lab: Lab, topic: str
) -> None:
    make_on(pair, node)
    name = f"pair-{uuid.uuid4().hex[:8]}"
    pair.kill(node)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(lab.window(topic).to_scratch, name, ttl="1h", progress=False)
        time.sleep(AWAY_S)
        assert not loading.done(), loading.exception()
        pair.start(node)
        load = loading.result(300)
    is_whole(load, pair, topic)


def is_whole(load: Load, pair: ElasticPair, topic: str) -> None:
    """Hold that each document is there once; then delete the index."""
    pair.wait_whole()
    assert load.receipt.complete, load.receipt
    assert load.counts["rejected"] == load.counts["unsent"] == 0
    assert load.counts["indexed"] + load.counts["existing"] == RECORDS
    client = pair.client(NAMES[0])
    client.indices.refresh(index=load.index.name)
    found = {hit["_id"] for hit in scan(client, index=load.index.name, _source=False, size=10_000)}
    assert found == {f"{topic}-0-{offset}" for offset in range(RECORDS)}
    load.index.drop()


@pytest.mark.parametrize("node", NAMES)
def test_a_count_is_whole_or_an_error_while_a_node_is_gone(
    node: str, pair: ElasticPair, lab: Lab, topic: str
) -> None:
    """It is asked all the time: Elasticsearch may refuse, or answer once the node is back."""
    make_on(pair, node)
    load = lab.window(topic).to_scratch(f"pair-{uuid.uuid4().hex[:8]}", ttl="1h", progress=False)
    answers: list[int | LabkitError] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            try:
                answers.append(load.index.count())
                answers.append(len(load.index.to_pandas(limit=100)) - 100 + RECORDS)
            except LabkitError as error:
                answers.append(error)
            over.wait(0.1)

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            until(lambda: len(answers) > 4)
            pair.kill(node)
            time.sleep(AWAY_S)
            pair.start(node)
            pair.wait_whole()
            count = len(answers)
            until(lambda: answers[-1] == RECORDS and len(answers) > count + 4, timeout_s=120)
        finally:
            over.set()
        looking.result(60)
    errors = [answer for answer in answers if isinstance(answer, LabkitError)]
    assert {answer for answer in answers if isinstance(answer, int)} == {RECORDS}
    assert all(
        isinstance(error, ServerError | UnavailableError) and error.hint for error in errors
    ), errors
    load.index.drop()
