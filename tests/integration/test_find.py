"""Finding in real topics: the hits of a full read, newest first.

A receipt says how far the search went.
"""

from __future__ import annotations

import json
import os
import re
import signal
from typing import Any

import pytest

from labkit.cli import main
from labkit.errors import UsageError
from labkit.find import slices
from labkit.kafka.client import Clients
from labkit.lab import Lab
from labkit.replay import reader

COUNT = 60_000


@pytest.fixture(scope="module")
def topic(admin: Any) -> str:
    """Two partitions, written in turn.

    One record in a thousand is a needle, all before the newest 10,000.
    """
    import uuid

    from confluent_kafka.admin import NewTopic

    name = f"irc-test-find-{uuid.uuid4().hex[:8]}"
    config = {"retention.ms": "-1"}
    admin.ask(
        lambda client: client.create_topics([NewTopic(name, 2, 1, config=config)]), what="make it"
    )
    producer = admin.producer(linger_ms=5, queue_buffering_max_messages=200_000)
    for n in range(COUNT):
        text = f"needle {n}" if n % 1000 == 0 and n < COUNT - 10_000 else f"hay {n}"
        value = json.dumps({"n": n, "text": text, "who": {"nick": f"u{n % 7}"}})
        producer.produce(
            name,
            value.encode(),
            key=f"k{n}",
            partition=n % 2,
            timestamp=1_790_000_000_000 + n * 1000,
        )
    assert producer.flush(60) == 0
    return name


def test_the_newest_hits_come_first_and_no_more_is_read_than_that_takes(
    lab: Lab, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    window = lab.window(topic)
    hits = window.find("needle", limit=5)
    assert hits.table["n"].to_pylist() == [49_000, 48_000, 47_000, 46_000, 45_000]
    receipt = hits.receipt
    assert receipt.complete
    assert receipt.read == 5
    assert 15_000 <= receipt.planned < COUNT
    assert receipt.planned == receipt.read + receipt.filtered + receipt.gaps
    hits_read = window.read(where="n in (49000, 48000, 47000, 46000, 45000)", cache=False)
    assert receipt.hash == hits_read.receipt.hash
    assert "were not looked at" in str(receipt)
    hits_all = window.find("needle", limit=100)
    assert hits_all.receipt.planned == COUNT
    assert hits_all.table["n"].to_pylist() == list(range(49_000, -1, -1_000))
    assert "50 hits in all 60,000 records" in str(hits_all.receipt)
    case = "; upper and lower case differ: re.compile('NEEDLE', re.I) takes both"
    assert f"0 hits in all 60,000 records{case}" in str(window.find("NEEDLE").receipt)
    assert "upper and lower" not in str(window.find("5-").receipt)
    assert main(["find", topic, "NEEDLE", "--ignore-case", "--limit", "1"]) == 0
    assert "needle" in capsys.readouterr().out


def test_the_oldest_first_and_the_last_few_at_once(lab: Lab, topic: str) -> None:
    window = lab.window(topic)
    oldest = window.find("needle", limit=3, newest=False)
    assert oldest.table["n"].to_pylist() == [0, 1_000, 2_000]
    assert oldest.receipt.planned < COUNT / 2
    last = window.find(f"hay {COUNT - 1}")
    assert last.table["n"].to_pylist() == [COUNT - 1]


def test_texts_are_found_by_pattern_in_a_field_or_a_key(lab: Lab, topic: str) -> None:
    window = lab.window(topic)
    assert (
        window.find(re.compile(r"needle 4\d000$"), field="text", limit=4).table["n"].to_pylist()[0]
        == 49_000
    )
    assert window.find("u3", field="who.nick", limit=2).table["n"].to_pylist() == [59_993, 59_986]
    assert window.find("k59998", in_=("key",)).table["n"].to_pylist() == [59_998]
    assert len(window.find("no such text anywhere")) == 0
    with pytest.raises(UsageError, match="no record has a field 'txt'") as caught:
        window.find("needle", field="txt")
    assert "did you mean 'text'" in str(caught.value.hint)


def test_of_undecodable_hits_those_shown_are_counted(
    lab: Lab, make_topic: Any, produce: Any
) -> None:
    name = make_topic()
    produce(name, [b"a needle, not JSON"] * 5)
    receipt = lab.window(name).find("needle", limit=2, decode="json").receipt
    assert (receipt.read, receipt.undecodable, receipt.filtered) == (2, 2, 3)


def test_a_stop_gives_what_was_found_and_says_so(lab: Lab, topic: str) -> None:
    hits = lab.window(topic).find("needle", deadline="0.001s", limit=50)
    assert not hits.receipt.complete
    assert "deadline" in hits.receipt.reasons


@pytest.mark.parametrize(
    "command", ["find TOPIC hay --limit 100000", "latest TOPIC", "profile TOPIC"]
)
def test_a_command_that_is_stopped_prints_what_it_has(
    topic: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It printed nothing, and JSON that cannot be read; `labkit replay` kept its part."""
    real, calls = reader.Reading._select, list[int]()

    def select(reading: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return real(reading, *arguments)

    monkeypatch.setattr(reader, "BATCH_RECORDS", 500)
    monkeypatch.setattr(reader.Reading, "_select", select)
    assert main([*command.replace("TOPIC", topic).split(), "--json"]) == 3
    written = capsys.readouterr()
    content = json.loads(written.out)
    if "profile" in command:
        assert content["complete"] is False
        assert 0 < content["records"] < content["planned"]
    else:
        assert content["receipt"]["complete"] is False
        assert content["records"]
        assert written.err.splitlines()[-1].startswith("INCOMPLETE: ")


@pytest.fixture
def consumers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the consumers that are made from now on."""
    made: list[Any] = []
    make = Clients.consumer

    def consumer(self: Clients, **settings: Any) -> Any:
        made.append(make(self, **settings))
        return made[-1]

    monkeypatch.setattr(Clients, "consumer", consumer)
    return made


def test_one_consumer_reads_one_slice_after_the_other(
    lab: Lab, topic: str, consumers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each made its own, with a login, and a second's wait where a function gives the tokens."""
    monkeypatch.setattr(slices, "LARGEST", slices.FIRST)
    window = lab.window(topic)
    hits = window.find("needle", limit=100)
    assert hits.table["n"].to_pylist() == list(range(49_000, -1, -1_000))
    assert hits.receipt.complete
    for offset in (0, 10_000, 29_999):
        around = window.around(1, offset, before=0, after=0)
        assert around.table["n"].to_pylist() == [2 * offset + 1]
    assert len(consumers) == 1
    assert "readers' own" not in str(hits.receipt)


def test_a_consumer_is_kept_only_for_its_topic_and_when_it_has_ended_well(
    lab: Lab, topic: str, consumers: list[Any]
) -> None:
    window = lab.window(topic)
    ended = window.read(max_bytes=1_000, cache=False)
    assert not ended.receipt.complete
    consumers.clear()
    whole = window.read(cache=False)
    assert whole.receipt.complete
    assert sorted(whole.table["n"].to_pylist()) == list(range(COUNT))
    assert len(consumers) == 1
    assert window.read(isolation="read_uncommitted", cache=False).receipt.complete
    assert len(consumers) == 2
    for partition in (0, 1, 0):  # each with the records that are its own
        part = lab.window(topic, partitions=[partition])
        own = part.read(isolation="read_uncommitted", cache=False)
        assert own.table["n"].to_pylist() == list(range(partition, COUNT, 2))
    assert len(consumers) == 2
