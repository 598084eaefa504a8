"""What a failed test leaves is removed, and what it stopped is started again.

So its neighbours on the same servers do not fail because of it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.stack import MORTAL, heal, stack_folder

_FAILED = pytest.StashKey[bool]()
_GROUPS = pytest.StashKey[set[str]]()  # that were there before the test


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[_FAILED] = False
    if item.get_closest_marker("alone"):
        item.stash[_GROUPS] = groups()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Start what the test killed, tear down, and remove the groups that a failed test left."""
    folder = item.config.stash.get(MORTAL, None)
    if folder and "mortal" in getattr(item, "fixturenames", ()):
        heal(folder)
    is_clean = False
    try:
        result = yield
        is_clean = not item.stash[_FAILED]
        return result
    finally:
        if not is_clean and _GROUPS in item.stash:
            remove_groups(groups() - item.stash[_GROUPS])


@functools.cache
def _admin(folder: Path) -> Any:
    """Return a client of the stack of tests marked `alone`; None as long as it does not run."""
    from confluent_kafka.admin import AdminClient

    from labkit.stack import process
    from labkit.stack.state import State

    state = State.load(folder)
    kafka = state.services.get("kafka")
    if kafka is None or process.running(kafka) is None:
        return None
    return AdminClient(state.credentials("admin")["kafka"])


def groups() -> set[str]:
    """Return the groups of all kinds on the stack of tests marked `alone`."""
    folder = stack_folder("alone")
    if _admin(folder) is None:
        _admin.cache_clear()
        return set()
    return {group.id for group in _admin(folder).list_groups(timeout=30)}


def remove_groups(names: set[str]) -> None:
    """Delete what groups can be; one that still has members stays."""
    if names:
        found = _admin(stack_folder("alone")).delete_consumer_groups(sorted(names))
        for name, future in found.items():
            if error := future.exception(30):
                print(f"the group {name} is left: {error}")
