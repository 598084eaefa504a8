"""BEHAVIOURS 55: Stop ends the run.

What was read until then is there for those who ask; no part passes for a whole.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import labkit
from labkit import Window, charts, widgets
from labkit.cli import main
from labkit.errors import IncompleteWarning, LabkitError, Stopped, UsageError
from labkit.lab import Lab
from labkit.replay.receipt import Receipt
from labkit.sinks import replay as sink
from labkit.waiting import interrupt

pytestmark = pytest.mark.chaos
RECORDS = 60_000
STOPPED = r"stopped at \d\d? %: [\d,]+ of 60,000"


@pytest.fixture
def many(lab: Lab, make_topic: Callable[..., str], produce: Callable[..., None]) -> Window:
    topic = make_topic(2)
    for partition in (0, 1):
        produce(
            topic,
            [b'{"n":%d,"t":"%s"}' % (n, b"x" * 40) for n in range(RECORDS // 2)],
            partition=partition,
        )
    return lab.window(topic)


@pytest.fixture
def pressed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Press Ctrl-C when the fourth batch has come; what was pressed is in the list."""
    calls: list[int] = []

    def advance(*_: int) -> None:
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)

    @contextmanager
    def bar(*_: Any) -> Iterator[Callable[..., None]]:
        yield advance

    monkeypatch.setattr("labkit.waiting.progress.bar", bar)
    monkeypatch.setattr("labkit.replay.reader.BATCH_RECORDS", 1000)
    return calls


def test_a_stopped_read_raises_says_how_far_it_got_and_keeps_the_part(
    many: Window, pressed: list[int]
) -> None:
    with pytest.raises(Stopped, match=STOPPED) as stop:
        many.to_pandas()
    replay = stop.value.replay
    assert 0 < len(replay) < RECORDS
    assert f"{len(replay):,} of 60,000" in stop.value.message
    assert labkit.stopped() is replay
    assert "labkit.stopped()" in (stop.value.hint or "")
    assert replay.receipt.reasons == {"interrupt": [0, 1]} or replay.receipt.reasons
    assert issubclass(Stopped, KeyboardInterrupt)  # neither of these lets a loop go on
    assert not issubclass(Stopped, LabkitError | Exception)
    with pytest.warns(
        IncompleteWarning,
        match=r"this Replay of 'irc-test.*' is incomplete at \d+ %: .* interrupted",
    ):
        replay.to_pandas()


def test_stop_counts_although_all_was_read_when_it_came(
    many: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop also counts while the last batches are decoded.

    Nothing is read any more then: a complete Replay came back, and Run All went on.
    """
    assemble = sink.assemble

    def assembled(*given: Any, **named: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return assemble(*given, **named)

    monkeypatch.setattr(sink, "assemble", assembled)
    with pytest.raises(Stopped, match="stopped at 100 %: 60,000 of 60,000") as stop:
        many.read()
    assert stop.value.replay.receipt.complete


@pytest.mark.parametrize(
    ("method", "arguments"), [("profile", ()), ("find", ("x",)), ("latest", ()), ("around", (0, 5))]
)
def test_stop_before_the_first_record_is_one_line(
    many: Window, monkeypatch: pytest.MonkeyPatch, method: str, arguments: tuple[Any, ...]
) -> None:
    """A cell had 14,000 characters of traceback, and so it had for a second press."""

    def press(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("labkit.read_spec.ReadSpec.choose_decoder", press)
    with pytest.raises(Stopped, match="nothing is kept"):
        getattr(many, method)(*arguments)


@pytest.mark.parametrize(
    ("place", "ask"),
    [
        ("labkit.replay.sample.estimate", lambda window: window.estimate()),
        ("labkit.lab.Lab.window", lambda window: window.lab.profile(window.topic)),
        ("labkit.lab.Lab.window", lambda window: widgets.browse(window.lab, window.topic)),
    ],
    ids=["estimate", "lab.profile", "browse"],
)
def test_stop_before_anything_is_read_is_one_line(
    many: Window, monkeypatch: pytest.MonkeyPatch, place: str, ask: Callable[[Window], Any]
) -> None:
    """Stop in what looks at a topic before it reads was a traceback of the library."""
    monkeypatch.setattr(place, lambda *_, **__: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Stopped, match="nothing is kept"):
        ask(many)


def test_those_who_want_to_go_on_say_so(many: Window, pressed: list[int]) -> None:
    with pytest.raises(UsageError, match="on_interrupt must be 'raise' or 'keep', not 'go on'"):
        many.read(on_interrupt="go on")  # type: ignore[arg-type]
    assert not pressed
    replay = many.read(on_interrupt="keep")
    assert 0 < len(replay) < RECORDS
    with pytest.warns(IncompleteWarning, match="incomplete at"):
        polars = replay.to_polars()
    assert len(polars) == len(replay)
    with pytest.warns(IncompleteWarning, match="incomplete at"):
        replay.header("trace")
    with pytest.warns(IncompleteWarning, match="incomplete at"):
        widgets.inspect(replay)
    with pytest.warns(IncompleteWarning) as caught:
        (count,) = replay.sql("select count(*) n from replay")["n"]
    assert count == len(replay)
    assert caught[0].filename == __file__  # the line that a person can look at is his own
    with pytest.warns(IncompleteWarning):
        chart = charts.timeline(replay)
    assert f"(INCOMPLETE, {replay.receipt.reached})" in str(chart.to_dict()["title"]["text"])


def test_an_interrupted_to_parquet_leaves_the_earlier_file(
    many: Window, pressed: list[int], tmp_path: Path
) -> None:
    """BEHAVIOURS 55: the earlier file stays.

    Nothing lies beside it.
    """
    path = tmp_path / "out.parquet"
    path.write_bytes(b"of last week")
    with pytest.raises(Stopped, match=STOPPED + r": '.*out\.parquet' was not written") as stop:
        many.to_parquet(path)
    assert path.read_bytes() == b"of last week"
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]
    assert not stop.value.receipt.complete
    pressed.clear()
    with pytest.warns(IncompleteWarning, match=r"'.*out\.parquet' is incomplete at"):
        receipt = many.to_parquet(path, on_interrupt="keep")
    file = pq.ParquetFile(path)
    assert 0 < file.metadata.num_rows == receipt.read < RECORDS
    # the file itself says so
    assert Receipt.from_dict(json.loads(file.metadata.metadata[b"labkit"])) == receipt


def test_the_part_of_a_read_that_a_limit_ended_says_so_too(many: Window) -> None:
    with pytest.warns(IncompleteWarning, match=r"incomplete at .*max_bytes was reached"):
        many.to_pandas(max_bytes=100_000)


def test_the_command_leaves_the_earlier_file_and_ends_with_130(
    many: Window, pressed: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.parquet"
    path.write_bytes(b"of last week")
    assert main(["replay", many.topic, "-o", str(path)]) == 130
    assert path.read_bytes() == b"of last week"
    assert "labkit: stopped at" in capsys.readouterr().err


def test_a_script_ends_before_its_next_line(many: Window, tmp_path: Path) -> None:
    """A real process gets a real Ctrl-C, in the shell's way.

    What follows the read is not reached.
    """
    script = tmp_path / "report.py"
    script.write_text(
        textwrap.dedent("""
            import signal, sys, time
            signal.signal(signal.SIGINT, signal.default_int_handler)
            import labkit
            def slow(value):
                if not told:
                    print("at work", flush=True)
                told.append(1)
                time.sleep(0.001)
                return {"n": 1}
            told = []
            try:
                frame = labkit.Window.from_json(sys.argv[1]).read(decode=slow).to_pandas()
            except Exception:  # a script that goes on whatever comes
                frame = ()
            print("the report says", len(frame))
        """)
    )
    process = subprocess.Popen(
        [sys.executable, str(script), many.to_json()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "at work\n"
    pressed_at = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - pressed_at < 10
    assert process.returncode != 0
    assert "the report says" not in out
    assert "Stopped: stopped at" in err


def test_a_stop_that_leaves_nothing_forgets_the_part_of_an_earlier_one() -> None:
    interrupt.stop_error("stopped", replay="a part")
    assert labkit.stopped() == "a part"
    with pytest.raises(Stopped, match="nothing is kept"), interrupt.quiet_stop("nothing is kept"):
        raise KeyboardInterrupt
    assert labkit.stopped() is None


def test_a_thread_s_read_is_not_stopped_by_the_main_thread_s_signal(many: Window) -> None:
    """`interrupt.listen` can install its handler in the main thread alone."""
    rows: list[Any] = []
    thread = threading.Thread(target=lambda: rows.append(many.read(progress=False)))
    thread.start()
    thread.join(60)
    assert len(rows[0]) == RECORDS
    assert interrupt.last_part() is not rows[0]
