"""The folder for what does not fit into memory: deleted at the end, and after a killed process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from labkit.config.working_folder import working_folder

_WORK = """
from labkit.config.working_folder import working_folder
with working_folder() as folder:
    (folder / "records").write_bytes(b"of production")
    print(folder, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def start_work() -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", _WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    folder = Path(process.stdout.readline().strip())
    os.utime(folder, (0, 0))  # as if it had been made long ago
    return process, folder


def test_the_folder_of_a_killed_process_is_deleted_by_the_next_and_a_living_ones_stays(
    temporary: Path,
) -> None:
    killed, left = start_work()
    living, used = start_work()
    killed.kill()
    killed.communicate()
    assert (left / "records").exists()
    with working_folder() as folder:
        assert {*temporary.iterdir()} == {folder, used}
        assert folder.stat().st_mode & 0o777 == 0o700
    living.communicate("\n")
    assert not list(temporary.iterdir())


def test_a_folder_that_was_just_made_stays(temporary: Path) -> None:
    """Its process may not have locked it yet."""
    new = temporary / "labkit-work-new"
    new.mkdir()
    with working_folder():
        assert new.exists()
