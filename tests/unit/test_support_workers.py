"""The tests' own runner.

What needed a rerun is listed and counted, and what must stay together does.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

MOST_RERUNS = 3
FLAKY = """
import pytest

tries = {}

@pytest.mark.parametrize("number", range(NUMBER))
def test_flaky(number):
    tries[number] = tries.get(number, 0) + 1
    assert tries[number] > 1
"""
TOGETHER = """
import os
import pytest

@pytest.mark.parametrize("number", range(6))
@pytest.mark.MARK
def test_it(number, tmp_path):
    with open(os.environ["SEEN"], "a") as seen:
        seen.write(f"{os.environ['PYTEST_XDIST_WORKER']} MARK\\n")
"""


# those alone: what else is installed costs each of these processes a second
PLUGINS = (
    "-p",
    "xdist",
    "-p",
    "pytest_rerunfailures",
    "-p",
    "support.workers",
    "-p",
    "no:cacheprovider",
)


def run(folder: Path, *options: str, **environment: str) -> tuple[int, str]:
    """Run pytest on a folder of tests with the plugin of these tests.

    Return its exit code and output.
    """
    command = [
        sys.executable,
        "-m",
        "pytest",
        *PLUGINS,
        "-q",
        *options,
    ]
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "LABKIT_", "CI"))
    }
    kept |= {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment = {**kept, **environment}
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  alone\n  browser\n")
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("number", "environment", "code"),
    [
        (MOST_RERUNS, {"CI": "true"}, 0),
        (MOST_RERUNS + 1, {"CI": "true"}, 1),
        (MOST_RERUNS + 1, {}, 0),
    ],
)
def test_reruns_are_listed_and_more_than_three_fail_in_ci(
    tmp_path: Path, number: int, environment: dict[str, str], code: int
) -> None:
    (tmp_path / "test_flaky.py").write_text(FLAKY.replace("NUMBER", str(number)))
    ended, output = run(tmp_path, "-n", "1", "--dist", "loadgroup", "--reruns", "1", **environment)
    assert ended == code, output
    _, rest, listed = output.partition(f" {number} tests needed a rerun")
    assert rest, output
    assert re.findall(r"^test_flaky.py::test_flaky\[(\d+)\]$", listed, re.M) == [
        str(n) for n in range(number)
    ]
    assert listed.count("test_flaky.py:9: assert 1 > 1") == number  # why each failed


def test_what_fails_twice_has_failed(tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text("def test_it():\n    assert False\n")
    assert run(tmp_path, "-n", "1", "--dist", "loadgroup", "--reruns", "1")[0] == 1


def test_tests_that_must_be_alone_share_a_worker_and_come_first(tmp_path: Path) -> None:
    for name, mark in (("a", "skipif(False, reason='')"), ("b", "alone"), ("c", "alone")):
        (tmp_path / f"test_{name}.py").write_text(TOGETHER.replace("MARK", mark))
    record = tmp_path / "seen"
    options = ["-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder"]
    code, output = run(tmp_path, *options, SEEN=str(record))
    assert code == 0, output
    lines = [line.split(" ", 1) for line in record.read_text().splitlines()]
    assert len(lines) == 18
    (alone,) = {worker for worker, mark in lines if mark == "alone"}
    assert next(mark for worker, mark in lines if worker == alone) == "alone"
