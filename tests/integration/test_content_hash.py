"""The hash in a receipt of records that a real topic delivered.

It is the same through every sink and on every read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.lab import Lab
from labkit.replay import read_log
from labkit.replay.content_hash import Content
from labkit.replay.reader import Reading
from labkit.window import Window

Produce = Callable[..., None]


@pytest.fixture
def window(lab: Lab, make_topic: Callable[..., str], produce: Produce) -> Window:
    topic = make_topic(3)
    values = [b'{"n":%d,"nick":"%s"}' % (number, b"ab"[number % 2 :][:1]) for number in range(700)]
    keys = [b"k%d" % number if number % 3 else None for number in range(700)]
    headers = [[("h", b"1"), ("h", None)] if number % 5 == 0 else None for number in range(700)]
    produce(topic, [*values, None, b"{broken", b""])
    produce(topic, values, partition=1, keys=keys, headers=headers)
    return lab.window(topic)


def test_every_sink_and_every_size_of_batch_has_the_same_hash(
    window: Window, me: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = window.read().receipt
    assert len(receipt.hash) == 32
    assert receipt.hash in str(receipt)
    assert Content.of(window.batches()).hash == receipt.hash
    assert window.to_parquet(tmp_path / "w.parquet").hash == receipt.hash
    assert window.to_scratch("hash").receipt.hash == receipt.hash
    monkeypatch.setattr(Reading, "_batch_records", lambda _: 37)
    again = Window.from_json(window.to_json()).read(decode="raw")
    assert again.receipt.hash == receipt.hash
    assert again.decode("json").receipt.hash == receipt.hash
    part = window.lab.window(window.topic, offsets={0: (0, 703), 1: (0, 699)})
    assert part.read().receipt.hash != receipt.hash


def test_from_the_cache_it_is_the_same_and_a_filter_has_its_own(
    window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, filtered = window.read().receipt.hash, window.read(where="nick = 'a'").receipt.hash
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("LABKIT_CACHE_GB", "1")
    window.read()
    cached = window.read()
    assert any("from the local cache" in note for note in cached.receipt.notes)
    assert cached.receipt.hash == fresh
    replay = window.read(where="nick = 'a'")
    assert any("from the local cache" in note for note in replay.receipt.notes)
    assert replay.receipt.hash == filtered != fresh
    assert window.read(where="true").receipt.hash == fresh


def test_every_read_is_listed_where_a_run_asks_for_it(
    window: Window, me: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(read_log.VARIABLE, str(tmp_path / "reads"))
    replay = window.read()
    assert len(list(window.batches())) > 0
    window.to_parquet(tmp_path / "w.parquet")
    window.to_scratch("listed")
    assert window.lab.compare(window, replay, latency=False).complete
    entries = read_log.entries(tmp_path / "reads")
    assert [entry["how"] for entry in entries] == [
        "read",
        "batches",
        "to_parquet",
        "to_scratch",
        "compare",
    ]
    assert {entry["receipt"]["hash"] for entry in entries} == {replay.receipt.hash}
    assert {entry["receipt"]["window"] for entry in entries} == {window.plan.hash}
