"""A window on a real Dask cluster of two processes.

It equals `read()`, its receipts add up, and its workers are killed.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import pandas as pd
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic
from distributed import Client, Future, LocalCluster, as_completed
from distributed.utils import get_mp_context
from elasticsearch.helpers import scan

import labkit
from labkit import enrich
from labkit.errors import (
    AccessError,
    ConfigError,
    IncompleteError,
    NotFoundError,
    UnavailableError,
    UsageError,
    WindowExpiredError,
)
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.replay import read_log
from labkit.stack.state import State

pytestmark = pytest.mark.timeout(240)
SIZES = (1_000, 0, 60, 140)


@pytest.fixture(scope="module", autouse=True)
def _imported_once() -> Iterator[None]:
    """Fork the workers from one process that has imported labkit.

    Each alone takes seconds of CPU to import it.
    """
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        get_mp_context().set_forkserver_preload(
            ["labkit.sinks.dask.frame", "labkit.sinks.dask.scratch"]
        )
        yield


@contextmanager
def running(workers: int = 2) -> Iterator[Client]:
    """Worker processes behind TLS, as the docs advise.

    Their profile is the local stack's, by LABKIT_STATE.
    """
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", security=True
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client(stack: State) -> Iterator[Client]:
    with running() as client:
        yield client


@pytest.fixture(scope="module")
def mortal_client(stack: State) -> Iterator[Client]:
    """Workers that three tests may kill: one is left even if no nanny starts another."""
    with running(4) as client:
        yield client


def line(number: int) -> bytes:
    return json.dumps(
        {"n": number, "nick": f"nick{number % 7}", "score": number / 4, "ip": "8.8.8.8"}
    ).encode()


@pytest.fixture
def topic(make_topic: Callable[..., str], produce: Callable[..., None]) -> str:
    name = make_topic(len(SIZES))
    for partition, size in enumerate(SIZES):
        keys = [f"k{n}".encode() if n % 3 else None for n in range(size)]
        produce(
            name,
            [line(n) if n % 50 else None for n in range(1, size + 1)],
            partition=partition,
            keys=keys,
        )
    return name


def at(ms: int) -> pd.Timestamp:
    return pd.Timestamp(ms, unit="ms", tz="UTC")


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found.reset_index(drop=True), expected.reset_index(drop=True))


@pytest.mark.parametrize("decode", ["raw", "json"])
def test_it_equals_read_one_partition_in_several_slices(
    lab: Lab, client: Client, topic: str, decode: str
) -> None:
    window = lab.window(topic)
    expected = window.read(decode=decode, key_decode="text")
    frame = window.to_dask(client, decode=decode, key_decode="text", slice_records=200)
    assert frame.npartitions == 6  # five of partition 0, one of all the others
    assert dict(frame.dtypes) == dict(expected.to_pandas(text_keys=False).dtypes)
    before = frame.receipt()
    assert (before.planned, before.unread, before.complete) == (1_200, 1_200, False)
    assert before.reasons == {"pending": [0, 2, 3]}
    same(frame.compute(), expected.to_pandas(text_keys=False))
    receipt = frame.receipt()
    assert receipt.complete
    assert receipt.counts == expected.receipt.counts
    assert receipt.bytes == expected.receipt.bytes
    assert receipt.window == expected.receipt.window
    assert [(part.start, part.end, part.read) for part in receipt.partitions] == [
        (0, size, size) for size in SIZES
    ]
    if decode == "json":
        by_nick = frame.groupby("nick").n.sum().compute().sort_index()
        assert by_nick.to_dict() == expected.to_pandas().groupby("nick").n.sum().to_dict()
        assert "computed more than once" in str(frame.receipt())
        assert frame.receipt().counts == expected.receipt.counts
        assert len(frame.head(3)) == 3


def test_columns_are_added_slice_by_slice(lab: Lab, client: Client, topic: str) -> None:
    def double(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"twice": frame["n"].astype("Int64") * 2})

    adds = [enrich.parse("nick", r"(?P<digit>\d)$"), enrich.apply(double)]
    window = lab.window(topic)
    frame = window.to_dask(client, enrich=adds, slice_records=200)
    expected = window.read(enrich=adds).to_pandas(text_keys=False)
    assert dict(frame.dtypes) == dict(expected.dtypes)
    same(frame.compute(), expected)
    assert frame.receipt().complete


def test_without_a_cluster_threads_read_it(lab: Lab, topic: str) -> None:
    frame = lab.window(topic).to_dask(slice_records=400)
    with dask.config.set(scheduler="threads"):
        assert len(frame) == 1_200
    assert frame.receipt().complete


def test_a_window_by_time_is_the_same_and_cuts_are_no_ends(
    lab: Lab, client: Client, make_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    name, base = make_topic(1), 1_760_000_000_000
    stamps = [base + 10 * n - (50 if n % 10 == 0 else 0) for n in range(1_000)]
    produce(name, [line(n) for n in range(1_000)], timestamps=stamps)
    window = lab.window(name, start=at(base + 2_000), end=at(base + 8_000), slack="1s")
    expected = window.read()
    frame = window.to_dask(client, slice_records=100)
    same(frame.compute(), expected.to_pandas(text_keys=False))
    assert frame.receipt().complete
    assert frame.receipt().counts == expected.receipt.counts
    assert frame.receipt().filtered > 0
    empty = lab.window(name, start=at(base - 9_000_000), end=at(base - 8_000_000))
    assert len(empty.to_dask(client).compute()) == 0


def test_a_field_of_a_later_slice_is_not_lost(
    lab: Lab, client: Client, make_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    name = make_topic(1)
    values = [line(n) for n in range(400)]
    values[150] = b'{"n": "many", "nick": "odd", "late": 5}'
    values[151] = b'{"n": 7.0, "nick": "whole"}'
    values[152] = b"no json"
    produce(name, values)
    window = lab.window(name)
    frame = window.to_dask(client, slice_records=100)
    computed = frame.compute()
    assert str(computed.dtypes["n"]) == "Int64"
    assert "late" not in computed.columns
    odd, whole_row, broken = (computed.iloc[row] for row in (150, 151, 152))
    assert pd.isna(odd["n"])
    assert odd["nick"] == "odd"
    assert "'n'" in odd["_error"]
    assert odd["_value"] == values[150]
    assert (whole_row["n"], pd.isna(whole_row["_error"])) == (7, True)
    assert not pd.isna(broken["_error"])
    receipt = frame.receipt()
    assert (receipt.complete, receipt.read, receipt.undecodable) == (True, 400, 2)
    assert "late (1 record)" in str(receipt)
    same(
        window.to_dask(client, slice_records=100, schema="all").compute(),
        window.to_pandas(text_keys=False),
    )


# decoders of one's own -----------------------------------------------------------------------------------


def test_a_function_travels_and_one_that_cannot_says_so(
    lab: Lab, client: Client, topic: str
) -> None:
    window, factor = lab.window(topic), 3
    frame = window.to_dask(
        client, decode=lambda value: {"tripled": factor * json.loads(value)["n"]}
    )
    assert frame.tripled.sum().compute() == window.read().to_pandas()["n"].sum() * 3
    lock = threading.Lock()

    def locked(value: bytes) -> Any:
        with lock:
            return json.loads(value)

    with pytest.raises(UsageError, match="cannot travel to a worker"):
        window.to_dask(client, decode=locked)
    with pytest.raises(UsageError, match="slice_records"):
        window.to_dask(client, slice_records=0)
    with pytest.raises(UsageError, match="client"):
        window.to_dask("tcp://127.0.0.1:8786")


# errors and secrets --------------------------------------------------------------------------------------


def test_a_worker_s_error_is_labkit_s(lab: Lab, client: Client, topic: str, me: str) -> None:
    elsewhere = Lab(
        lab.connection
    )  # the window is made with the right settings, the workers have others
    window = elsewhere.window(topic)
    elsewhere.connection = other(lab, **{"sasl.password": "wrong"})
    with pytest.raises(AccessError, match="refused the login"):
        window.to_dask(client, send_profile=True).compute()
    with pytest.raises(AccessError, match="refused the login"):
        window.to_scratch("refused", client=client, send_profile=True)
    elsewhere.connection = other(lab)
    with pytest.raises(ConfigError, match="on a worker: there is no profile 'by-hand'") as raised:
        window.to_dask(client).compute()
    assert "send_profile=True" in (raised.value.hint or "")
    with pytest.raises(ConfigError, match="no Elasticsearch target 'nowhere'"):
        lab.window(topic).to_scratch("nowhere", client=client, target="nowhere")


def test_a_topic_that_is_gone_is_an_error(
    lab: Lab, client: Client, admin: Cluster, produce: Callable[..., None]
) -> None:
    name = f"irc-test-gone-{uuid.uuid4().hex[:8]}"
    admin.ask(lambda one: one.create_topics([NewTopic(name, 1, 1)]), what="make it")
    produce(name, [line(1)])
    window = lab.window(name)
    frame = window.to_dask(client)
    admin.ask(lambda one: one.delete_topics([name]), what="delete it")
    with pytest.raises(NotFoundError, match="there is no topic"):
        frame.compute()
    with pytest.raises(NotFoundError, match="there is no topic"):
        window.to_dask(client)


def other(lab: Lab, **kafka: str) -> Any:
    """Return the lab's profile under a name that no worker knows."""
    return replace(lab.connection, name="by-hand", kafka={**lab.connection.kafka, **kafka})


def test_the_settings_travel_only_when_told_to_and_are_never_shown(
    lab: Lab, client: Client, topic: str
) -> None:
    password = lab.connection.kafka["sasl.password"]
    window = Lab(other(lab)).window(topic)
    sent = window.to_dask(client, send_profile=True)
    assert len(sent) == 1_200
    with_settings = lab.window(topic).to_dask(client)
    assert password.encode() in cloudpickle.dumps(sent.expr)
    assert password.encode() not in cloudpickle.dumps(with_settings.expr)
    for frame_ in (sent, with_settings):
        shown = [
            repr(frame_),
            str(frame_.expr),
            repr(dict(frame_.dask)),
            repr(frame_.receipt()),
            frame_._repr_html_(),
        ]
        assert not [text for text in shown if password in text]


def test_expired_records_and_an_open_transaction_are_errors(
    lab: Lab,
    client: Client,
    admin: Cluster,
    make_topic: Callable[..., str],
    produce: Callable[..., None],
) -> None:
    name = make_topic(1)
    produce(name, [line(n) for n in range(100)])
    window = lab.window(name)
    frame = window.to_dask(client, slice_records=10)
    admin.ask(lambda one: one.delete_records([TopicPartition(name, 0, 50)]), what="delete records")
    with pytest.raises(WindowExpiredError):
        frame.compute()
    with pytest.raises(WindowExpiredError):
        window.to_dask(client)
    clamped = window.to_dask(client, slice_records=10, on_expired="clamp")
    assert len(clamped) == 50
    assert (clamped.receipt().complete, clamped.receipt().unread) == (False, 50)
    producer = admin.producer(**{"transactional.id": f"{name}-open"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(name, line(100))
    producer.flush(30)
    try:
        with pytest.raises(IncompleteError, match="open_transaction"):
            lab.window(name, offsets={0: (60, 101)}).to_dask(client).compute()
    finally:
        producer.abort_transaction(30)


# loads and lost workers ----------------------------------------------------------------------------------


def ids(load: Any) -> list[str]:
    client = load.index.target.client
    return sorted(
        hit["_id"] for hit in scan(client, index=load.index.name, _source=False, size=5_000)
    )


def test_workers_load_one_index_and_counts_add_up(
    lab: Lab, client: Client, topic: str, me: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(read_log.VARIABLE, str(tmp_path / "reads.jsonl"))
    window = lab.window(topic)
    with pytest.warns(UserWarning, match="GeoIP"):
        chain = [labkit.enrich.geoip("ip")]
    load = window.to_scratch("dask", client=client, slice_records=200, enrich=chain)
    assert load.complete
    assert load.counts == {
        "sent": 1_200,
        "indexed": 1_200,
        "existing": 0,
        "rejected": 0,
        "unsent": 0,
    }
    assert load.receipt.counts["read"] == 1_200
    assert "foreign group" in load.receipt.guard["text"]
    assert load.index.count({"term": {"geoip_country": "US"}}) == 1_200 - sum(
        size // 50 for size in SIZES
    )
    entries = read_log.entries(tmp_path / "reads.jsonl")
    assert [(one["how"], one["receipt"]["read"]) for one in entries] == [("to_scratch", 1_200)]
    again = window.to_scratch("dask", client=client, enrich=chain)
    assert again.counts == {
        "sent": 1_200,
        "indexed": 0,
        "existing": 1_200,
        "rejected": 0,
        "unsent": 0,
    }
    assert len(ids(load)) == 1_200
    with pytest.raises(UsageError, match="no record has a value in 'address'"):
        window.to_scratch(
            "dask", client=client, enrich=[labkit.enrich.parse("address", r"(?P<a>.)")]
        )


def test_workers_load_what_fulfils_a_condition(
    lab: Lab, client: Client, topic: str, me: str
) -> None:
    # two of four slices have such records
    window, where = lab.window(topic), "n > 120 and nick = 'nick3'"
    expected = window.read(where=where)
    load = window.to_scratch("some", client=client, slice_records=300, where=where)
    assert load.complete
    assert (load.counts["indexed"], load.receipt.read, load.receipt.filtered) == (
        len(expected),
        expected.receipt.read,
        expected.receipt.filtered,
    )
    numbers = expected.table.select(["_partition", "_offset"]).to_pylist()
    assert ids(load) == sorted(f"{topic}-{row['_partition']}-{row['_offset']}" for row in numbers)
    assert sum(where in note for note in load.receipt.notes) == 1
    with pytest.raises(UsageError, match="no record has nikc"):
        window.to_scratch("typo", client=client, where="nikc = 'a'")


@pytest.fixture
def large(make_topic: Callable[..., str], produce: Callable[..., None]) -> str:
    name = make_topic(2)
    for partition in range(2):
        produce(name, [line(n) for n in range(6_000)], partition=partition)
    return name


def kill_a_worker(client: Client) -> None:
    """Kill a busy worker process as the system does when memory is short.

    Its nanny starts another.
    """
    busy = next(iter(name for name, tasks in client.processing().items() if tasks))
    os.kill(client.run(os.getpid, workers=[busy])[busy], signal.SIGKILL)


def at_the_first_slice(monkeypatch: pytest.MonkeyPatch, strike: Callable[[], None]) -> None:
    """Have `strike` called once, in the midst of a load."""
    left = [strike]

    @contextmanager
    def bar(*_: Any) -> Iterator[Callable[[int, int], None]]:
        yield lambda *_: left.pop()() if left else None

    monkeypatch.setattr("labkit.waiting.progress.bar", bar)


@pytest.mark.chaos
def test_a_worker_killed_in_mid_read_changes_nothing(
    lab: Lab, mortal_client: Client, large: str
) -> None:
    window = lab.window(large)
    expected = window.to_pandas(text_keys=False)
    frame = window.to_dask(mortal_client, slice_records=600)
    begun = frame._labkit_slices.begun

    def strike() -> None:
        deadline = time.monotonic() + 60
        while sum(begun.values()) < 4 and time.monotonic() < deadline:
            time.sleep(0.005)
        kill_a_worker(mortal_client)

    thread = threading.Thread(target=strike)
    thread.start()
    result = frame.compute()
    thread.join(60)
    same(result, expected)
    receipt = frame.receipt()
    assert sum(begun.values()) > 20  # some were computed again
    assert receipt.complete
    assert receipt.counts["read"] == 12_000
    assert "computed more than once" in str(receipt)


@pytest.mark.chaos
def test_a_worker_killed_in_mid_load_doubles_nothing(
    lab: Lab, mortal_client: Client, large: str, me: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_the_first_slice(monkeypatch, lambda: kill_a_worker(mortal_client))
    load = lab.window(large).to_scratch("killed", client=mortal_client, slice_records=300)
    assert load.complete, load
    counts = load.counts
    assert counts["sent"] == counts["indexed"] + counts["existing"] == 12_000
    assert "computed more than once" in str(load.receipt)
    assert ids(load) == sorted(f"{large}-{p}-{n}" for p in range(2) for n in range(6_000))


@pytest.mark.chaos
def test_a_slice_lost_after_it_was_done_is_loaded_again(
    lab: Lab, mortal_client: Client, topic: str, me: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[str] = []

    class Late(as_completed):
        def next_batch(self, block: bool = True) -> list[Future]:
            batch: list[Future] = super().next_batch(block)
            if batch and not killed:
                killed.extend(*mortal_client.who_has(batch[:1]).values())
                os.kill(mortal_client.run(os.getpid, workers=killed)[killed[0]], signal.SIGKILL)
                deadline = time.monotonic() + 30
                while batch[0].status == "finished" and time.monotonic() < deadline:
                    time.sleep(0.001)
            return batch

    monkeypatch.setattr("labkit.sinks.dask.scratch.as_completed", Late)
    load = lab.window(topic, offsets={2: (0, 60)}).to_scratch(
        "lost", client=mortal_client, slice_records=20
    )
    assert len(killed) == 1
    assert load.complete
    assert load.counts["sent"] == 60
    assert 0 < load.counts["existing"] <= 60
    assert len(ids(load)) == 60


@pytest.mark.chaos
def test_a_slice_that_kills_its_workers_is_given_up(lab: Lab, topic: str, me: str) -> None:
    deadly = labkit.enrich.apply(lambda frame: os._exit(1), frame="arrow")
    window = lab.window(topic, offsets={2: (0, 60)})
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        running(1) as client,
        pytest.raises(UnavailableError, match="the workers that had it were lost") as raised,
    ):
        window.to_scratch("deadly", client=client, enrich=deadly)
    assert "out of memory" in (raised.value.hint or "")


@pytest.mark.chaos
def test_an_interrupt_ends_the_load_and_what_was_done_counts(
    lab: Lab, client: Client, large: str, me: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_the_first_slice(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGINT))
    load = lab.window(large).to_scratch(
        "stopped", client=client, slice_records=400, on_interrupt="keep"
    )
    assert not load.complete
    assert "interrupt" in load.receipt.reasons
    assert 0 < load.receipt.read < 12_000
    assert load.receipt.read + load.receipt.unread == 12_000
    assert load.counts["sent"] == load.receipt.read
    assert len(ids(load)) == load.counts["indexed"]
