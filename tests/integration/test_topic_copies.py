"""A window as a scratch topic, on a real broker that refuses the lab all other topics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from confluent_kafka.admin import NewTopic

from labkit import Window, acl, widgets
from labkit.checks import names
from labkit.cli import main
from labkit.errors import (
    AccessError,
    IncompleteWarning,
    NotFoundError,
    RefusedError,
    Stopped,
    UsageError,
)
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.replay.follow import Follower
from labkit.sinks import topic as topic_module
from labkit.sinks.paced import pace_records
from labkit.stack.state import State
from support import kafka_tools
from support.terminal import on_a_terminal
from support.waiting import until

START_MS = 1_456_790_400_000  # of 2016: older than any retention
Make, Produce = Callable[..., str], Callable[..., None]
STOPPED = "its copy goes on, was stopped, or could not write some records"
KEPT = ["_partition", "_timestamp", "_key", "_value", "_headers"]


@pytest.fixture
def mine(me: str, admin: Cluster) -> Iterator[str]:
    """A user of the test's own, whose scratch topics are gone after it."""
    yield me
    left = [name for name in admin.topics() if name.startswith(f"labkit.{me}.")]
    if left:
        admin.ask(lambda client: client.delete_topics(left), what="delete them")


@pytest.fixture
def source(make_topic: Make, produce: Produce) -> str:
    # one record is of 2096
    topic = make_topic(3, message_timestamp_after_max_ms=topic_module.FOR_EVER)
    produce(topic, [b'{"n": 1}', None, b"", b"\xff\x00"], keys=[b"a", b"a", None, b"\xfe"], partition=2,
            timestamps=[START_MS, START_MS + 5, START_MS - 9_000, 4_000_000_000_000],
            headers=[[("h", b"1"), ("h", None), ("x", b"\xff")], None, [], [("h", b"2")]])  # fmt: skip
    produce(
        topic,
        [b'{"n": %d}' % n for n in range(30_000)],
        timestamps=[START_MS + n for n in range(30_000)],
    )
    return topic


def test_copied_records_are_as_they_were(lab: Lab, admin: Cluster, source: str, mine: str) -> None:
    window = lab.window(source)
    copy = window.to_topic("retry", ttl="1h")
    assert copy.topic == f"labkit.{mine}.retry"
    assert copy.counts == {"read": 30_004, "written": 30_004, "failed": 0}
    assert copy.complete
    assert copy.receipt.planned == copy.receipt.read + copy.receipt.filtered + copy.receipt.gaps
    again, before = copy.window().read(cache=False), window.read(cache=False)
    assert again.receipt.complete
    assert again.table.select(KEPT).to_pylist() == before.table.select(KEPT).to_pylist()
    assert len(admin.partitions(copy.topic)) == 3
    assert "30,004 read = 30,004 written + 0 failed" in str(copy)
    assert copy.topic in copy._repr_html_()
    with pytest.raises(UsageError, match="there already"):
        window.to_topic("retry")
    copy.drop()
    until(lambda: copy.topic not in admin.topics(), "the topic is gone")


def test_a_condition_copies_some_of_the_records(lab: Lab, source: str, mine: str) -> None:
    copy = lab.window(source).to_topic("some", where="n < 10")
    assert copy.counts == {"read": 11, "written": 11, "failed": 0}
    assert copy.receipt.filtered == 30_004 - 11
    assert sorted(copy.window().read().table["n"].to_pylist()) == sorted([1, *range(10)])


def test_gc_deletes_only_what_has_expired_and_is_ones_own(
    lab: Lab, admin: Cluster, source: str, mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = lab.window(source, offsets={2: (0, 1)})
    copy = window.to_topic("kept", ttl="1h")
    gone = window.to_topic("gone", ttl="0s")
    by_hand = f"labkit.{mine}.by-hand"  # made by another tool: nothing says that it expires
    admin.ask(lambda client: client.create_topics([NewTopic(by_hand, 1, 1)]), what="make it")
    until(lambda: by_hand in admin.topics(), "the topic")
    monkeypatch.setenv("LABKIT_USER", "somebody_else")
    assert gone.topic not in lab.gc()
    monkeypatch.setenv("LABKIT_USER", mine)
    assert gone.topic in lab.gc()
    until(lambda: gone.topic not in admin.topics(), "the topic is gone")
    assert {copy.topic, by_hand} <= set(admin.topics())


def test_names_that_are_not_the_labs_are_refused_before_a_server_is_asked(
    lab: Lab, source: str, mine: str
) -> None:
    window = lab.window(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cluster, "ask", None)  # asking would fail
        for odd in ("", "a b", "../irc", "x" * 101, "labkit.bob.retry", "x.incomplete", 5):
            with pytest.raises(UsageError, match="not a scratch topic's name"):
                window.to_topic(odd)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="not a length of time"):
            window.to_topic("retry", ttl="soon")
        with pytest.raises(RefusedError, match="not the lab's to write"):
            topic_module.drop(lab.cluster, "irc")
    assert names.scratch_topic(f"labkit.{mine}.retry") == f"labkit.{mine}.retry"


def test_the_broker_refuses_the_lab_all_other_topics(lab: Lab, source: str, mine: str) -> None:
    for call in (
        lambda client: client.create_topics([NewTopic("irc-not-the-labs", 1, 1)]),
        lambda client: client.create_topics([NewTopic("labkitten", 1, 1)]),
        lambda client: client.delete_topics([source]),
    ):
        with pytest.raises(AccessError):
            lab.cluster.ask(call, what="try it")
    producer, errors = lab.cluster.producer(), []
    producer.produce(source, b"x", on_delivery=lambda error, _: errors.append(error))
    producer.flush(20)
    assert [error.name() for error in errors] == ["TOPIC_AUTHORIZATION_FAILED"]


def test_what_fails_is_counted(lab: Lab, admin: Cluster, make_topic: Make, mine: str) -> None:
    """A record larger than the client takes."""
    topic = make_topic(max_message_bytes="3000000")
    producer = admin.producer(message_max_bytes=3_000_000)
    for size in (10, 2_000_000, 20):
        producer.produce(topic, b"x" * size, partition=0)
    assert producer.flush(30) == 0
    copy = lab.window(topic).to_topic("large")
    assert copy.counts == {"read": 3, "written": 2, "failed": 1}
    assert not copy.complete
    assert "1 records failed: " in str(copy)


def test_the_recipe_grants_the_same() -> None:
    text = acl.recipe("User:ann")
    (line,) = [line for line in text.splitlines() if "--topic 'labkit.'" in line]
    for operation in ("Create", "Delete", "Write", "Read", "Describe"):
        assert f"--operation {operation} " in line
    assert line.endswith("--resource-pattern-type prefixed")
    body: dict[str, Any] = json.loads(acl.recipe("User:ann", form="elasticsearch-role"))
    assert body["indices"][0]["names"] == ["scratch-*"]


def test_partitions_anew_are_those_of_javas_client(
    lab: Lab, admin: Cluster, stack: State, make_topic: Make, produce: Produce, mine: str
) -> None:
    keys = [f"key-{n}".encode() for n in range(60)] + ["ä😀".encode(), b" ", b"x" * 300]
    topic, javas_topic = make_topic(2), make_topic(5)
    produce(topic, [b"v"] * len(keys), keys=keys, partition=1)
    produce(topic, [b"no key"] * 200, partition=0)
    lines = b"".join(key + b"\tv\n" for key in keys)
    options = ("--topic", javas_topic, "--reader-property", "parse.key=true")
    with kafka_tools.tool(stack, "org.apache.kafka.tools.ConsoleProducer", *options) as command:
        subprocess.run(command, input=lines, capture_output=True, timeout=60, check=True)
    copy = lab.window(topic).to_topic("anew", partitions=5)
    assert copy.counts == {"read": 263, "written": 263, "failed": 0}

    def places(window: Window) -> dict[bytes, int]:
        rows = pa.Table.from_batches(window.batches()).select(["key", "partition"]).to_pylist()
        assert len(window) >= len(keys)
        return {row["key"]: row["partition"] for row in rows if row["key"] is not None}

    assert places(copy.window()) == places(lab.window(javas_topic))
    assert len(set(places(copy.window()).values())) == 5
    spread = pa.Table.from_batches(copy.window().batches()).filter(pc.field("key").is_null())[
        "partition"
    ]
    assert len(spread.unique()) == 5
    for odd in (0, -1, "many", True, 1.5):
        with pytest.raises(UsageError, match="partitions"):
            lab.window(topic).to_topic("odd", partitions=odd)  # type: ignore[arg-type]


def test_a_copy_at_the_records_own_pace(
    lab: Lab, make_topic: Make, produce: Produce, mine: str
) -> None:
    """Records of all partitions come in the order of their times.

    They are as far apart as their times say, and none comes too early.
    """
    topic = make_topic(2)
    for partition in (0, 1):
        produce(topic, [b"%d" % (10 * n + 5 * partition) for n in range(10)], partition=partition,
                timestamps=[START_MS + 1000 * n + 500 * partition for n in range(10)])  # fmt: skip
    window = lab.window(topic)
    began = time.monotonic()
    copy = window.to_topic("paced", speed="10x")
    assert time.monotonic() - began >= 0.95
    assert copy.counts == {"read": 20, "written": 20, "failed": 0}
    again, before = (
        one.read(cache=False).table.select(KEPT).to_pylist() for one in (copy.window(), window)
    )
    assert again == before
    began = time.monotonic()
    arrivals = [
        (time.monotonic() - began, record.value)
        for record in pace_records(window.batches(), 10, time.sleep, bool)
    ]
    assert [value for _, value in arrivals] == [b"%d" % (5 * n) for n in range(20)]
    first = arrivals[0][0]
    assert all(at - first >= 0.049 * n for n, (at, _) in enumerate(arrivals))
    for odd in ("fast", "0x", "-1x", "10", "1000000000x", 10):
        with pytest.raises(UsageError, match="speed must be 'original', or a factor such as '10x'"):
            window.to_topic("odd", speed=odd)  # type: ignore[arg-type]


def test_paces_keep_the_order_of_each_partition(
    lab: Lab, make_topic: Make, produce: Produce
) -> None:
    """Also of times that go back; more than a batch of records of many partitions."""
    topic = make_topic(7)
    for partition in range(7):
        produce(topic, [b"%d" % n for n in range(3000)], partition=partition,
                timestamps=[START_MS + (n * 7919 + partition) % 1000 for n in range(3000)])  # fmt: skip
    offsets: dict[int, list[int]] = {partition: [] for partition in range(7)}
    for record in pace_records(lab.window(topic).batches(), 1000, time.sleep, bool):
        offsets[record.partition].append(int(record.value or b""))
    assert offsets == {partition: list(range(3000)) for partition in range(7)}


def test_a_paced_copy_that_is_stopped_counts_what_it_did_and_is_listed_so(
    lab: Lab,
    admin: Cluster,
    make_topic: Make,
    produce: Produce,
    mine: str,
) -> None:
    topic = make_topic()
    produce(topic, [b"now", b"in an hour"], timestamps=[START_MS, START_MS + 3_600_000])
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(Stopped, match="has 1 of 2 records") as caught:
        lab.window(topic).to_topic("long", speed="original")
    copy = caught.value.copy  # type: ignore[attr-defined]
    assert copy.counts == {"read": 2, "written": 1, "failed": 1}
    assert copy.notes == ("1 records were not written: it was stopped",)
    assert not copy.complete
    (row,) = lab.scratch().to_dict("records")
    assert (row["topic"], row["shortfall"]) == (copy.topic, STOPPED)
    with pytest.warns(IncompleteWarning, match=f"has not all of its window: {STOPPED}"):
        assert len(copy.window().read()) == 1
    assert on_a_terminal("scratch")[1].splitlines()[1].split()[-2:] == ["incomplete", "-"]
    copy.drop()
    until(lambda: not [name for name in admin.topics() if name.startswith(copy.topic)])
    whole = lab.window(topic).to_topic("long")
    assert whole.complete
    assert [row["shortfall"] for row in lab.scratch().to_dict("records")] == [""]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(whole.window().read()) == 2


def test_a_copy_whose_process_is_killed_is_listed_as_incomplete(
    lab: Lab, admin: Cluster, make_topic: Make, produce: Produce, mine: str
) -> None:
    topic = make_topic()
    produce(topic, [b"now", b"in an hour"], timestamps=[START_MS, START_MS + 3_600_000])
    code = f"import labkit; labkit.connect().window({topic!r}).to_topic('dead', speed='original')"
    copying = subprocess.Popen([sys.executable, "-c", code])
    try:
        until(lambda: list(lab.scratch()["documents"]) == [1], "the first record")
    finally:
        copying.kill()
        copying.wait()
    (row,) = lab.scratch().to_dict("records")
    dead = f"labkit.{mine}.dead"
    assert (row["topic"], row["shortfall"]) == (dead, STOPPED)
    with pytest.warns(IncompleteWarning, match="has not all of its window"):
        window = lab.window(dead)
    for read_it in (
        lambda: Window.from_json(window.to_json(), lab),
        lambda: Follower(lab.cluster, dead, last=1).close(),
        lambda: lab.attach(dead, name="dead").close(delete=True),
    ):
        with pytest.warns(IncompleteWarning, match="has not all of its window"):
            read_it()
    lab.delete_scratch("dead")
    until(lambda: not [name for name in admin.topics() if name.startswith(f"labkit.{mine}.")])


def test_scratch_topics_are_listed_and_the_command_makes_them(
    lab: Lab, source: str, mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "replay",
        source,
        "--to-topic",
        "listed",
        "--where",
        "n < 10",
        "--into",
        "4",
        "--ttl",
        "1h",
    ]
    assert main([*command, "--json"]) == 0
    ledger = json.loads(capsys.readouterr().out)
    assert (ledger["topic"], ledger["counts"]["written"]) == (f"labkit.{mine}.listed", 11)
    (row,) = lab.scratch().to_dict("records")
    assert (row["kind"], row["topic"], row["documents"]) == ("topic", f"labkit.{mine}.listed", 11)
    assert (row["expires"], row["expired"]) == (ledger["expires"], False)
    assert main(["scratch"]) == 0
    assert f"labkit.{mine}.listed" in capsys.readouterr().out
    code, written = on_a_terminal("scratch")
    head, line = (text.split() for text in written.splitlines())
    assert (code, head) == (0, ["name", "kind", "records", "MB", "expires", "state", "source"])
    assert line[1:4] == ["topic", "11", "-"]
    assert line[-2:] == ["-", "-"]  # neither incomplete nor with a source
    assert main(["replay", source, "--to-topic", "listed"]) == 2
    hint = f"Hint: take another name; `labkit scratch delete labkit.{mine}.listed` deletes it"
    assert hint in capsys.readouterr().err
    assert "labkit.widgets" not in widgets.scratch(lab).text()
    assert main(["replay", source, "--into", "4"]) == 2
    assert "--into changes nothing here" in capsys.readouterr().err


def test_one_of_them_is_deleted_by_its_name(
    lab: Lab, source: str, mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the object that made it could, or gc after its expiry."""
    window = lab.window(source, last=2)
    window.to_scratch("both", progress=False)
    window.to_scratch("index", progress=False)
    for name in ("both", "topic", "other"):
        window.to_topic(name)
    topics, index = f"labkit.{mine}.", f"scratch-{mine}-"
    with pytest.raises(UsageError, match=f"name of 2: {index}both@default, {topics}both") as caught:
        lab.delete_scratch("both")
    assert "whole name" in caught.value.hint
    assert lab.delete_scratch("topic") == f"{topics}topic"
    assert lab.delete_scratch(f"{topics}both") == f"{topics}both"
    assert lab.delete_scratch("both", target="default") == f"{index}both"
    assert main(["scratch", "delete", "index", "other", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [f"{index}index", f"{topics}other"]
    assert main(["scratch", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_of_several_names_each_that_is_gone_is_named(
    lab: Lab, source: str, mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first error ended it, and those deleted until then were not named."""
    window = lab.window(source, last=2)
    for name in ("first", "last"):
        window.to_topic(name)
    names = ["first", "nowhere", "last", "neither"]
    assert main(["scratch", "delete", *names]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [f"deleted labkit.{mine}.{name}" for name in ("first", "last")]
    assert "labkit: there is no scratch index or topic 'nowhere'" in said.err
    assert "also: there is no scratch index or topic 'neither'" in said.err
    assert lab.scratch().empty
    window.to_topic("first")
    assert main(["scratch", "delete", "nowhere", "first", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == [f"labkit.{mine}.first"]
    groups = [f"labkit.{mine}.{name}" for name in ("a", "b")]
    for group in groups:
        with lab.attach(source, name=group.rpartition(".")[2], start="earliest") as member:
            member.read(1)
            member.commit()
    assert main(["groups", "delete", groups[0], f"labkit.{mine}.none", groups[1]]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [f"deleted {group}" for group in groups]
    assert f"there is no consumer group 'labkit.{mine}.none'" in said.err


@pytest.mark.parametrize("name", ["irc", "scratch-*", "*", "", "labkit.somebody.mine", "kep"])
def test_nothing_else_is_deleted_by_a_name(
    lab: Lab, source: str, mine: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    window = lab.window(source, last=2)
    window.to_scratch("kept", progress=False)
    window.to_topic("kept-too")
    for wrong in (name, source):
        with pytest.raises(
            NotFoundError, match=r"no scratch index or topic .* nothing else"
        ) as caught:
            lab.delete_scratch(wrong)
    assert "lab.scratch()" in (caught.value.hint or "")
    if name == "kep":
        with pytest.raises(NotFoundError) as caught:
            lab.delete_scratch(name)
        assert "did you mean 'kept'?" in (caught.value.hint or "")
    rows = lab.scratch()
    assert len(rows) == 2
    monkeypatch.setenv("LABKIT_USER", "somebody_else")
    for theirs in ("kept", f"scratch-{mine}-kept", f"labkit.{mine}.kept-too"):
        with pytest.raises(NotFoundError):
            lab.delete_scratch(theirs)
    monkeypatch.setenv("LABKIT_USER", mine)
    assert lab.scratch().equals(rows)
    lab.delete_scratch("kept-too")
