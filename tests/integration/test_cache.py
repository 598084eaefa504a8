"""The cache of frozen windows, the filter, and the estimate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from labkit.errors import ConfigError, UsageError, WindowExpiredError
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.replay.reader import Reading
from labkit.replay.receipt import StopReason
from labkit.sinks import cache
from labkit.window import Window

Produce = Callable[..., None]


@pytest.fixture
def window(lab: Lab, make_topic: Callable[..., str], produce: Produce) -> Window:
    topic = make_topic(2)
    values = [b'{"n":%d,"nick":"%s"}' % (number, b"ab"[number % 2 :][:1]) for number in range(500)]
    produce(topic, [*values, b"{broken"])
    produce(topic, values, partition=1)
    return lab.window(topic)


def test_a_second_read_comes_from_the_cache_and_says_so(window: Window, kept: Path) -> None:
    first, second = window.read(), window.read()
    assert second.table.equals(first.table)
    assert second.receipt.counts == first.receipt.counts
    assert not any("cache" in note for note in first.receipt.notes)
    assert any("from the local cache" in note for note in second.receipt.notes)
    assert not any("cache" in note for note in window.read(cache=False).receipt.notes)
    assert kept.stat().st_mode & 0o077 == 0


def test_a_kept_window_does_not_go_beyond_the_cap(window: Window, kept: Path) -> None:
    whole = window.read().receipt
    capped = window.read(max_bytes=whole.bytes // 2).receipt
    assert StopReason.CAP in capped.reasons
    assert 0 < capped.read < whole.read
    roomy = window.read(max_bytes=2 * whole.bytes).receipt
    assert roomy.complete
    assert any("from the local cache" in note for note in roomy.notes)


def test_a_kept_window_is_read_though_the_topic_has_lost_it(
    window: Window, admin: Cluster, kept: Path
) -> None:
    window.read()
    gone = [TopicPartition(window.topic, 0, 100)]
    admin.ask(lambda client: client.delete_records(gone), what="delete records")
    assert len(window.read()) == 1001
    with pytest.raises(WindowExpiredError):
        window.read(cache=False)


def test_a_condition_chooses_the_same_records_from_the_cache(
    lab: Lab, make_topic: Callable[..., str], produce: Produce, kept: Path
) -> None:
    """Of a cached window the types of the whole decided: '10' was less than '5' beside a text."""
    topic = make_topic()
    produce(topic, [b'{"n":10}', b'{"n":7}', b'{"n":"x"}', b'{"n":{"a":1}}', b'{"n":"10"}'])
    window = lab.window(topic)
    conditions = {"n > '5'": [0, 1, 2], "n > 5": [0, 1], "n.a = 1": [3]}
    for _ in range(2):
        for condition, offsets in conditions.items():
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                replay = window.read(where=condition)
            assert replay.table["_offset"].to_pylist() == offsets, condition
            left_out = [str(one.message) for one in told if "left out unasked" in str(one.message)]
            assert len(left_out) == 1
            assert left_out[0] in replay.receipt.notes
        window.read()


@pytest.mark.chaos
def test_a_torn_file_is_read_anew_and_an_incomplete_read_is_not_kept(
    window: Window, kept: Path
) -> None:
    window.read(max_bytes=1)
    assert list(kept.iterdir()) == []
    window.read()
    (file,) = kept.iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    assert len(window.read()) == 1001
    assert len(window.read()) == 1001


def test_the_oldest_goes_once_the_bound_is_reached(
    window: Window, lab: Lab, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window.read()
    (size,) = (entry["bytes"] for entry in cache.entries())
    monkeypatch.setenv("LABKIT_CACHE_GB", str(size * 1.5 / 1e9))
    other_window = lab.window(window.topic, offsets={0: (0, 501), 1: (0, 499)})
    other_window.read()
    (left,) = cache.entries()
    assert other_window.plan.hash in left["file"]
    monkeypatch.setenv("LABKIT_CACHE_GB", "0")
    window.read()
    assert cache.entries() == [left]
    assert cache.clear() == 1


def test_a_wrong_setting_fails_before_anything_is_read(
    window: Window, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_CACHE_GB", "10GB")
    monkeypatch.setattr("labkit.replay.reader.Reading.batches", None)  # reading would fail
    with pytest.raises(ConfigError, match="LABKIT_CACHE_GB='10GB' is not a number"):
        window.read()


def test_a_folder_that_others_may_change_keeps_nothing_and_says_so(
    window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    monkeypatch.setenv("LABKIT_CACHE", str(open_to_all / "cache"))
    monkeypatch.setenv("LABKIT_CACHE_GB", "1")
    with pytest.warns(UserWarning, match="the window is not kept: .*open"):
        assert len(window.read()) == len(window)


@pytest.mark.chaos
def test_notebooks_that_share_a_cache_and_are_killed_all_read_what_is_there(
    window: Window, lab: Lab, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read is whole and right, from the cache or not, while files come, go and are emptied.

    Its bound holds.
    """
    window.read()
    (size,) = (entry["bytes"] for entry in cache.entries())
    monkeypatch.setenv("LABKIT_CACHE_GB", str(size * 2.5 / 1e9))  # two of the four windows fit
    windows = [lab.window(window.topic, offsets={0: (0, 501 - n), 1: (0, 500)}) for n in range(4)]
    texts = [window.to_json() for window in windows]
    killed, *survivors = (
        subprocess.Popen([sys.executable, "-c", SHARING, *texts], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    )
    assert killed.stdout
    assert killed.stdout.readline()
    killed.kill()
    killed.communicate()
    torn = kept / "torn.part"
    torn.write_bytes(b"half")
    os.utime(torn, (0, 0))
    cached = 0
    for process in survivors:
        lines = process.communicate(timeout=120)[0].splitlines()
        assert process.returncode == 0
        assert len(lines) == 40
        for line in lines:
            number, complete, count, distinct, from_cache = json.loads(line)
            assert (complete, count, distinct) == (True, 1001 - number, 1001 - number)
            cached += from_cache
    assert 0 < cached < 80
    window.read()
    assert not torn.exists()
    assert sum(entry["bytes"] for entry in cache.entries()) <= cache.bound_bytes()


SHARING = """
import json, random, sys
from labkit import Window, connect
from labkit.sinks import cache
lab, rng = connect(), random.Random(0)
for turn in range(40):
    number = rng.randrange(4)
    replay = Window.from_json(sys.argv[1 + number], lab).read()
    rows = set(zip(replay.table["_partition"].to_pylist(), replay.table["_offset"].to_pylist()))
    from_cache = any("cache" in note for note in replay.receipt.notes)
    print(json.dumps([number, replay.receipt.complete, len(replay), len(rows), from_cache]), flush=True)
    if turn == 20:
        cache.clear()
"""


@pytest.mark.parametrize("cached", [False, True])
def test_where_keeps_some_and_counts_the_others_as_filtered(
    window: Window, kept: Path, cached: bool
) -> None:
    if cached:
        window.read()
    replay = window.read(where="nick = 'a' and n < 10", cache=cached)
    assert replay.table["n"].to_pylist() == [0, 2, 4, 6, 8] * 2
    receipt = replay.receipt
    assert (receipt.planned, receipt.read, receipt.filtered, receipt.undecodable) == (
        1001,
        10,
        991,
        0,
    )
    assert receipt.complete


def test_what_a_filter_left_out_is_booked_by_the_thread_that_reads(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads that count in one account lose counts now and then."""
    threads, booked = set(), Reading.drop

    def drop(self: Reading, left_out: Mapping[int, int]) -> None:
        threads.add(threading.get_ident())
        booked(self, left_out)

    monkeypatch.setattr(Reading, "drop", drop)
    assert window.read(where="n < 10", cache=False).receipt.filtered > 900
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize(
    "condition", ["nope = 1", "n =", "1; select 2", "count(*) > 1", "", "n < 'x'"]
)
def test_what_is_no_condition_is_refused_with_a_hint(window: Window, condition: str) -> None:
    with pytest.raises(UsageError) as caught:
        window.read(where=condition)
    assert caught.value.hint


def test_an_estimate_comes_close(window: Window) -> None:
    receipt, estimate = window.read().receipt, window.estimate()
    assert estimate.records == receipt.read
    assert estimate.bytes == pytest.approx(receipt.bytes, rel=0.1)
    assert 0 < estimate.seconds < 30
