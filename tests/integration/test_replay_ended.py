"""A read that ends early, by Ctrl-C, a deadline or a cap, keeps what it has and says so.

Memory has a bound.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from labkit import Window
from labkit.lab import Lab
from support.replays import balanced, offsets

Produce = Callable[..., None]
MakeTopic = Callable[..., str]


@pytest.fixture
def many(lab: Lab, make_topic: MakeTopic, produce: Produce) -> Window:
    """A window of 150,000 records in two partitions."""
    topic = make_topic(2)
    for partition in (0, 1):
        produce(
            topic,
            [b'{"n":%d,"text":"%s"}' % (number, b"x" * 50) for number in range(75_000)],
            partition=partition,
        )
    return lab.window(topic)


@contextmanager
def interrupted(when: threading.Event) -> Iterator[None]:
    """Press Ctrl-C from another thread once `when` is set."""

    def press() -> None:
        assert when.wait(60)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    try:
        yield
    finally:
        when.set()
        thread.join(60)


def after_each_batch(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Call `act` whenever the progress bar would advance."""

    @contextmanager
    def bar(*_: Any) -> Iterator[Callable[[int, int], None]]:
        yield lambda records, size: act()

    monkeypatch.setattr("labkit.waiting.progress.bar", bar)
    monkeypatch.setattr("labkit.replay.reader.BATCH_RECORDS", 1000)


@pytest.mark.chaos
def test_an_interrupt_returns_what_was_read(many: Window, monkeypatch: pytest.MonkeyPatch):
    read: list[int] = []
    event = threading.Event()
    after_each_batch(monkeypatch, lambda: (read.append(1), event.set() if len(read) > 3 else None))
    with interrupted(event):
        replay = many.read(on_interrupt="keep")
    receipt = balanced(replay.receipt)
    assert not receipt.complete
    assert "interrupt" in receipt.reasons
    assert 0 < len(replay) < 150_000
    assert receipt.unread > 0
    for part in receipt.partitions:
        offset_rows = offsets(
            replay.table.filter(pa.compute.equal(replay.table["_partition"], part.partition))
        )
        assert offset_rows == list(range(len(offset_rows)))


@pytest.mark.chaos
def test_an_interrupt_between_booking_and_handing_over_loses_no_record(
    many: Window, monkeypatch: pytest.MonkeyPatch
):
    read: list[int] = []

    def press() -> None:
        read.append(1)
        if len(read) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    after_each_batch(monkeypatch, press)
    replay = many.read(on_interrupt="keep")
    assert replay.receipt.reasons
    assert len(replay) == balanced(replay.receipt).read


@pytest.mark.chaos
def test_an_interrupt_is_seen_while_nothing_comes(many: Window, stalled: threading.Event):
    with interrupted(stalled):
        replay = many.read(on_interrupt="keep")
    assert len(replay) == 0
    assert balanced(replay.receipt).reasons == {"interrupt": [0, 1]}
    assert replay.receipt.unread == 150_000


def test_a_deadline_ends_a_read_to_which_nothing_comes(many: Window, stalled: threading.Event):
    receipt = many.read(deadline="1s").receipt
    assert balanced(receipt).reasons == {"deadline": [0, 1]}
    assert not receipt.complete


@pytest.fixture
def stalled(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Make each consumer pause what it is assigned, as if the broker had nothing to say.

    Set once it waits.
    """
    import labkit.kafka.client

    event = threading.Event()

    class Paused(labkit.kafka.client._Consumer):  # type: ignore[misc]
        def assign(self, positions: Any) -> None:
            super().assign(positions)
            self.pause(positions)
            event.set()

    monkeypatch.setattr(labkit.kafka.client, "_Consumer", Paused)
    return event


def test_a_cap_ends_early_and_says_so(many: Window):
    replay = many.read(max_bytes=1_000_000)
    receipt = balanced(replay.receipt)
    assert not receipt.complete
    assert set(receipt.reasons) == {"cap"}
    assert receipt.bytes >= 1_000_000
    assert 0 < len(replay) == receipt.read < 150_000
    assert "max_bytes was reached" in str(receipt)


def test_a_cap_that_is_not_reached_changes_nothing(many: Window):
    assert many.read(max_bytes=1_000_000_000).receipt.complete


PEAK = """
import json, re, sys
from labkit import Window
window = Window.from_json(sys.argv[1])
if sys.argv[2] == "batches":
    rows = sum(batch.num_rows for batch in window.batches())
else:
    rows = window.to_parquet(sys.argv[2]).read
peak = re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]
print(json.dumps([rows, int(peak)]))
"""


def peak_mb(window: Window, how: str) -> float:
    """Read the window in a process of its own and return the most memory it held, in MB."""
    command = [sys.executable, "-c", PEAK, window.to_json(), how]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    rows, kilobytes = json.loads(result.stdout)
    assert rows == len(window)
    return kilobytes / 1000


@pytest.fixture
def large(lab: Lab, make_topic: MakeTopic, produce: Produce) -> tuple[Window, Window]:
    """Windows of 60 MB, more than any buffer holds, and 180 MB; of records of 100 kB."""
    topic = make_topic()
    text = os.urandom(50_000).hex().encode()
    produce(topic, [b'{"text":"%s"}' % text] * 1800)
    return lab.window(topic, offsets={0: (0, 600)}), lab.window(topic)


def test_batches_stay_flat_in_memory(large: tuple[Window, Window]):
    few, many = (peak_mb(window, "batches") for window in large)
    assert many - few < 60, f"{few} MB for a window of 60 MB, {many} MB for one of 180 MB"


def test_a_parquet_file_is_written_flat_in_memory(large: tuple[Window, Window], tmp_path: Path):
    few, many = (peak_mb(window, str(tmp_path / "x.parquet")) for window in large)
    assert many - few < 60, f"{few} MB for a window of 60 MB, {many} MB for one of 180 MB"


def test_a_cap_holds_for_large_records_too(large: tuple[Window, Window]):
    replay = large[1].read(max_bytes=1_000_000, decode="raw")
    assert replay.receipt.bytes < 40_000_000
    assert set(balanced(replay.receipt).reasons) == {"cap"}
