"""The spool: order, numbers that never come twice, one process, its bounds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.errors import ConfigError, UsageError
from labkit.pipelines.spool import Row, Spool

HEADERS = [("irc.line", b"\xff\x00caf\xc3\xa9"), ("twice", b"1"), ("twice", None), ("", b"")]


def rows(first: int, last: int, size: int = 10) -> list[Row]:
    return [
        Row(n, n, None if n % 2 else b"\xfe", b"x" * size, list(HEADERS))
        for n in range(first, last + 1)
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "spool.sqlite"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    spool_ = Spool(path, 2_000_000)
    yield spool_
    spool_.close()


def test_records_come_back_as_they_are_and_in_order(spool: Spool) -> None:
    assert spool.put(rows(1, 5))
    assert spool.put(rows(6, 9))
    assert spool.take(0, 100) == rows(1, 9)
    assert spool.take(3, 2) == rows(4, 5)
    assert spool.forget(6)
    assert spool.take(0, 100) == rows(7, 9)


def test_numbers_go_on_after_it_was_emptied_and_opened_again(path: Path) -> None:
    first = Spool(path, 2_000_000)
    assert first.last == 0
    first.put(rows(1, 7))
    first.forget(7)
    first.close()
    again = Spool(path, 2_000_000)
    assert (again.last, len(again), again.id) == (7, 0, first.id)
    again.close()


def test_what_a_run_dropped_is_known_to_the_next(path: Path) -> None:
    """Else the next run would use the lost records' numbers again.

    Nothing would tell of them.
    """
    first = Spool(path, 2_000_000)
    first.put(rows(1, 7))
    assert first.note_dropped(12, 5)
    first.close()
    again = Spool(path, 2_000_000)
    assert (again.last, again.next, again.untold) == (7, 13, 5)
    assert again.put(rows(13, 14))
    assert again.note_dropped(13, 0)
    again.close()
    third = Spool(path, 2_000_000)
    assert (third.last, third.next, third.untold) == (14, 15, 0)
    third.close()


def test_only_its_owner_reads_it_and_one_process_writes(path: Path, spool: Spool) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="in use") as caught:
        Spool(path, 2_000_000)
    assert caught.value.hint


def test_full_it_takes_no_more_until_there_is_room(spool: Spool) -> None:
    count_taken = 0
    while spool.put(rows(count_taken + 1, count_taken + 100, 1_000)):
        count_taken += 100
        assert count_taken < 5_000
    assert spool.bytes >= 2_000_000
    assert len(spool) == count_taken
    spool.forget(count_taken - 100)
    assert spool.bytes < 1_000_000
    assert spool.put(rows(count_taken + 101, count_taken + 200))


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from labkit.pipelines.spool import Row, Spool
spool = Spool(Path(sys.argv[1]), 10**9)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
taken = 0
while spool.put([Row(n, 0, None, b"x" * 1000, []) for n in range(taken + 1, taken + 51)]):
    taken += 50
assert len(spool.take(0, 10**6)) == taken
print(taken)
"""


@pytest.mark.chaos
def test_a_full_disk_is_no_loss_of_what_was_taken(path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    count_taken = int(result.stdout)
    assert count_taken >= 50
    again = Spool(path, 10**9)
    assert [row.seq for row in again.take(0, 10**6)] == list(range(1, count_taken + 1))
    assert again.forget(count_taken)
    again.close()
    assert path.stat().st_size < 100_000, "an empty spool stays a small file"


def test_what_cannot_be_a_spool_says_so(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no database, and must not be written over")
    for path in (tmp_path / "text", tmp_path, Path("/proc/spool/x")):
        with pytest.raises(ConfigError) as caught:
            Spool(path, 2_000_000)
        assert caught.value.hint
    assert (tmp_path / "text").read_text().startswith("this is")
    with pytest.raises(UsageError):
        Spool(tmp_path / "small", 10)
