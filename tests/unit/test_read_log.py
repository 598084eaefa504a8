"""The list of what a run read: a line for each, from several processes.

What is torn or closed hinders nobody.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from labkit.replay import read_log
from labkit.replay.receipt import Receipt
from support.replays import PLAN, RECEIPT


def test_without_a_list_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(read_log.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    read_log.record(PLAN, RECEIPT, "read")
    assert list(tmp_path.iterdir()) == []
    assert read_log.entries(tmp_path / "none") == []


def test_a_read_comes_back_whole_and_a_torn_line_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "reads"
    monkeypatch.setenv(read_log.VARIABLE, str(path))
    read_log.record(PLAN, RECEIPT, "read")
    with path.open("a") as file:
        file.write('{"how": "rea\n7\n{"how": "torn')  # the disk was full
    read_log.record(PLAN, RECEIPT, "to_parquet")
    entries = read_log.entries(path)
    assert [entry["how"] for entry in entries] == ["read", "to_parquet"]
    assert Receipt.from_dict(entries[0]["receipt"]) == RECEIPT
    assert path.stat().st_mode & 0o077 == 0


def test_a_list_that_cannot_be_written_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(read_log.VARIABLE, str(tmp_path / "gone" / "reads"))
    with pytest.warns(UserWarning, match=r"this read is missing in .*No such file"):
        read_log.record(PLAN, RECEIPT, "read")


def test_processes_do_not_write_into_each_others_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "reads"
    monkeypatch.setenv(read_log.VARIABLE, str(path))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\nfrom labkit.replay import read_log\n"
        "from support.replays import PLAN, RECEIPT\n"
        "from dataclasses import replace\nlong = replace(RECEIPT, notes=('x' * 9000,))\n"
        "for _ in range(200): read_log.record(PLAN, long, 'read')"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parents[1])]
    for process in [subprocess.Popen(command) for _ in range(3)]:
        assert process.wait(60) == 0
    lines = [line for line in path.read_text().splitlines() if line]
    assert len(read_log.entries(path)) == len(lines) == 600
