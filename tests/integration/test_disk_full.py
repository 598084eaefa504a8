"""Disks without room: what was taken is kept, what was not is counted, and nothing torn is left.

A process's limit on file sizes stands for the full disk (``RLIMIT_FSIZE``: a write ends short, then
fails with EFBIG). That works for any user, for one process at a time, and can be lifted while it
runs, as when somebody makes room.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import orjson
import psutil
import pyarrow.parquet as pq
import pytest

from labkit.lab import Lab
from support.indexing import Bench, expected_ids
from support.irc import say
from support.spooling import Feed, spooled
from support.stack import kill_9, run_labkit
from support.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]
RECORDS = 5_000


@contextmanager
def full_disk(pid: int, bytes_left: int) -> Iterator[None]:
    """Let no file of a running process grow beyond so many bytes."""
    process = psutil.Process(pid)
    process.rlimit(psutil.RLIMIT_FSIZE, (bytes_left, psutil.RLIM_INFINITY))
    yield
    with suppress(psutil.NoSuchProcess):
        process.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))


def without_room(program: str, *arguments: str) -> list[str]:
    """Run a program of which no file may be larger than 5 kB; return the lines it prints."""
    begin = (
        "import json, resource, sys\nimport labkit\nwindow = labkit.connect().window(sys.argv[1])\n"
    )
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, resource.RLIM_INFINITY))\n"
    command = [sys.executable, "-c", begin + limit + program, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.fixture
def topic(make_topic: Callable[..., str], produce: Callable[..., None]) -> str:
    new_topic = make_topic(2)
    for partition in (0, 1):
        produce(
            new_topic,
            [b'{"n":%d,"text":"%s"}' % (n, b"x" * 300) for n in range(RECORDS // 2)],
            partition=partition,
        )
    return new_topic


def test_a_window_for_which_the_cache_has_no_room_is_read_whole(
    topic: str, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The read has all records, twice; nothing is kept, and nothing torn lies in the cache.

    With room it is kept.
    """
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("LABKIT_CACHE_GB", "1")
    program = "for _ in range(2): r = window.read(); print(json.dumps([r.receipt.complete, len(r), r.receipt.notes]))"
    for line in without_room(program, topic):
        complete, count, notes = json.loads(line)
        assert (complete, count) == (True, RECORDS)
        assert not any("cache" in note for note in notes)
    assert list((tmp_path / "windows").iterdir()) == []
    lab.window(topic).read()
    assert len(list((tmp_path / "windows").iterdir())) == 1


def test_a_parquet_file_for_which_there_is_no_room_leaves_the_old_one(
    topic: str, lab: Lab, tmp_path: Path
) -> None:
    """The error names the file and the cause.

    The file that was there is as it was; nothing else is left.
    """
    path = tmp_path / "out.parquet"
    lab.window(topic, offsets={0: (0, 3), 1: (0, 3)}).to_parquet(path)
    program = """
try:
    window.to_parquet(sys.argv[2])
except labkit.errors.LabkitError as error:
    print(error.message)
    print(error.hint)
"""
    message, hint = without_room(program, topic, str(path))
    assert message.startswith(f"{path} cannot be written: ")
    assert "File too large" in message
    assert "space" in hint
    assert pq.read_metadata(path).num_rows == 6
    assert list(tmp_path.iterdir()) == [path]


def test_dead_letters_without_room_end_the_run_and_come_once_there_is(
    bench: Bench,
    make_topic: Callable[..., str],
    produce: Callable[..., None],
    tmp_path: Path,
) -> None:
    """Nothing is committed that is neither in the index nor a whole line of the file.

    The next run puts the rest.
    """
    topic, letters = make_topic(), tmp_path / "dead.jsonl"
    bench.client.indices.create(
        index=bench.index, settings={"index.mapping.total_fields.limit": 60}
    )
    run = bench.start(topic, "--dead-letter", str(letters))
    run.until_said("assigned partitions")
    with full_disk(run.process.pid, 100):  # within the first line
        produce(topic, [orjson.dumps({f"field{n}": n}) for n in range(200)])
        assert run.ended() == 1
        assert "cannot write" in run.said[-2], run.said
    committed = bench.committed().get(0, 0)
    assert max(0, committed) <= bench.count() + len(whole_lines(letters))
    bench.once(topic, "--dead-letter", str(letters), code=3)
    dead = {f"{topic}-0-{whole_line['offset']}" for whole_line in whole_lines(letters)}
    assert bench.ids() | dead == expected_ids(bench.admin, topic)
    assert not bench.ids() & dead


def whole_lines(path: Path) -> list[dict[str, int]]:
    """Return a file's lines; one at most may be torn, that of the write that found no room."""
    entries, torn = [], 0
    for line in path.read_bytes().splitlines():
        try:
            entries.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            torn += 1
    assert torn <= 1
    return entries


def test_a_spool_without_room_counts_what_it_drops_and_the_topic_tells(feed: Feed) -> None:
    """Said = in the topic + dropped.

    A record's header has the number dropped before it; the numbers' gap is it.
    """
    first, talker = feed.first, feed.talker
    say(talker, range(100))
    spooled(feed, 100)
    until(lambda: len(feed.records()) == 100, "the first in the topic", 60)
    kill_9(feed.state, "kafka")
    with full_disk(first.process.pid, 400_000):
        sent_count = 100
        while not any("records are dropped" in line for line in first.said):
            assert sent_count < 20_000
            say(talker, range(sent_count, sent_count + 100))
            sent_count += 100
        say(talker, range(sent_count, sent_count + 100))
        sent_count += 100
    say(talker, range(sent_count, sent_count + 100))
    first.hears("the spool has room again")
    sent_count += 100
    say(talker, range(sent_count, sent_count + 100))
    sent_count += 100
    run_labkit(feed.state, "up")
    until(
        lambda: any(record["said"] == f"number {sent_count - 1}" for record in feed.records()),
        "the last in the topic",
        120,
    )
    first.stop()

    records = sorted(feed.records(), key=lambda record: int(record["labkit.spool_sequence"]))
    assert max(Counter(record["said"] for record in records).values()) == 1
    dropped = [int(record.get("labkit.dropped", b"0")) for record in records]
    assert sum(dropped) == sent_count - len(records) > 0
    numbers = [int(record["labkit.spool_sequence"]) for record in records]
    gaps = [after - before - 1 for before, after in pairwise(numbers)]
    assert gaps == dropped[1:]
