"""Stacks of the tests' own: folders, commands run on them, servers killed, what is missing.

It imports labkit where it is used: `support.workers` does without, and so do the runs of pytest
that test it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from support.waiting import until

if TYPE_CHECKING:
    from labkit.kafka.cluster import Cluster

LABKIT = (sys.executable, "-m", "labkit")
MORTAL = pytest.StashKey[Path | None]()  # the stack whose servers tests may kill
STACKS = "LABKIT_TEST_STACKS"  # the folder of the stacks that this run of pytest starts and stops


def missing(service: str, why: object) -> Any:
    """End the test for want of a service: a failure in CI, a named skip elsewhere."""
    text = f"{service} is missing: {why}"
    return pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)


def stack_folder(name: str) -> Path:
    """Return the folder of the stack `shared` or `alone`.

    ``LABKIT_TEST_STATE`` names a stack that runs already and is left alone; without workers it is
    both.
    """
    state_folder = os.environ.get("LABKIT_TEST_STATE")
    if state_folder and (name == "shared" or "PYTEST_XDIST_WORKER" not in os.environ):
        return Path(state_folder)
    folder = Path(os.environ[STACKS]) / name
    folder.mkdir(mode=0o711, exist_ok=True)
    return folder


@contextmanager
def nothing_left(admin: Cluster, topics: str) -> Iterator[None]:
    """Hold that a block leaves no consumer group, and no topic whose name begins so.

    A coordinator that moves is asked again.
    """
    from labkit.errors import DeadlineError
    from labkit.groups.offsets import list_groups

    def made() -> set[str]:
        groups = {
            group_info.name
            for group_info in list_groups(admin)
            if group_info.name.startswith(("indexer.", "labkit."))
        }
        return groups | {name for name in admin.topics() if name.startswith(topics)}

    def left() -> bool:
        try:
            return bool(made() - before)
        except DeadlineError:
            return True

    before = made()
    yield
    until(lambda: not left(), f"the end of all that was made, beyond {sorted(before)},")


def new_state_dir() -> Path:
    """Return a folder for a stack that the servers' own user can pass through.

    pytest's tmp_path is closed.
    """
    folder = Path(tempfile.mkdtemp(prefix="labkit-test-"))
    folder.chmod(0o711)
    return folder


def run_labkit(state: Path, *arguments: str) -> None:
    """Run a command on a stack of the test's own; it must succeed."""
    environment = {**os.environ, "LABKIT_STATE": str(state)}
    command = [*LABKIT, *arguments]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert result.returncode == 0, result.stderr


def heal(state: Path) -> None:
    """Start what does not run of a stack whose servers tests may kill."""
    from labkit.stack import process
    from labkit.stack.state import State

    if not all(process.running(service) for service in State.load(state).services.values()):
        run_labkit(state, "up")


def kill_9(state: Path, service: str) -> None:
    """Kill a server and its children as the system does when memory is short."""
    from labkit.stack.state import State

    main = psutil.Process(State.load(state).services[service].pid)
    family = [*main.children(recursive=True), main]
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=20)
