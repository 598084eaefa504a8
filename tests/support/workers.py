"""Tests beside one another: how many workers, which tests stay together, on which stack.

It also reports which tests needed a rerun. Most of the time a test waits for a server, so there are
more workers than processors. All workers share one stack, `shared`. A test that looks at everything
on its cluster (all groups, the guard, a cluster made read-only) is marked `alone`: such tests run
one after the other, on a second stack that nobody else uses.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.stack import LABKIT, STACKS, new_state_dir

MOST_RERUNS = int(os.environ.get("LABKIT_TEST_RERUNS", "3"))
BYTES_PER_WORKER = 1_000_000_000
BYTES_FOR_SERVERS = 6_000_000_000
LONGEST_ID = 100
LONGEST_REASON = 300
# tests with one of these fixtures share a server of their own, so one worker runs them all; the
# longest first
SHARED_FIXTURES = ("mortal", "three", "secure", "browser")


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of workers for ``-n auto``: two a processor, one where memory is short."""
    processors = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    room = (psutil.virtual_memory().available - BYTES_FOR_SERVERS) // BYTES_PER_WORKER
    return int(max(processors, min(2 * processors, room)))


def is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    if not is_worker(config):
        os.environ[STACKS] = str(new_state_dir())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the stacks of this run, once all workers have ended."""
    if is_worker(config):
        return
    folder = Path(os.environ.pop(STACKS))
    for state in folder.iterdir():
        command = [*LABKIT, "down", "--purge"]
        subprocess.run(
            command,
            env={**os.environ, "LABKIT_STATE": str(state)},
            stdout=subprocess.DEVNULL,
            check=False,
        )
    shutil.rmtree(folder, ignore_errors=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("alone") and "stack" in metafunc.fixturenames:
        metafunc.parametrize("stack", ["alone"], indirect=True, ids=[pytest.HIDDEN_PARAM])


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a long text by its length.

    Each worker sends all ids to the others' runner, which keeps them.
    """
    return (
        f"{argname} of {len(val)}"
        if isinstance(val, str | bytes) and len(val) > LONGEST_ID
        else None
    )


def _group(item: pytest.Item) -> str:
    """Return which tests this one stays together with.

    They are those on its stack, else those of its module.
    """
    if item.get_closest_marker("alone"):
        return "alone"
    names = getattr(item, "fixturenames", ())
    together = next((name for name in SHARED_FIXTURES if name in names), "")
    return together or item.nodeid.partition("::")[0]


def _turn(group: str) -> int:
    """Return when a group's turn is: what takes long begins first, so that no worker ends late.

    Modules of unit tests are short, and fill what is left at the end.
    """
    turns = ["alone", *SHARED_FIXTURES]
    if group in turns:
        return turns.index(group)
    return len(turns) + (1 if "tests/unit/" in group else 0)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("numprocesses", None) and not is_worker(config):
        return
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(_group(item)))
        groups.setdefault(str(item.get_closest_marker("xdist_group").args[0]), []).append(item)
    order = sorted(groups, key=_turn)
    items[:] = [item for name in order for item in groups[name]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Stop the servers of a group's own once its last test is over: idle ones cost time too."""
    yield
    # without workers the tests of a group do not follow each other; and a test may be tried again
    if not is_worker(item.config) or getattr(item, "_finalizers_suspended", False):
        return
    names, next_names = (getattr(one, "fixturenames", ()) for one in (item, nextitem))
    for name in SHARED_FIXTURES:
        if name in names and name not in next_names:
            _finish(item, name)


def _finish(item: pytest.Item, name: str) -> None:
    """Tear a fixture down, and what depends on it; it is set up again when it is asked for."""
    manager = item.session._fixturemanager
    for definition in manager.getfixturedefs(name, item) or ():
        definition.finish(item._request)  # type: ignore[attr-defined]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Check that xdist has the groups.

    It adds them to the ids, and pytest 9.2 ignores what xdist 3.8 adds.
    """
    lost = [item.nodeid for item in session.items if "@" not in item.nodeid]
    if is_worker(session.config) and session.config.getoption("loadgroup", False) and lost:
        raise pytest.UsageError(
            f"pytest-xdist lost the groups of {len(lost)} tests, such as {lost[0]}"
        )


def _reruns(reporter: pytest.TerminalReporter) -> dict[str, str]:
    """Return the tests that failed once and were tried again, and where and why they failed.

    Their ids are without xdist's groups.
    """
    reports = sorted(reporter.stats.get("rerun", []), key=lambda report: str(report.nodeid))
    return {re.sub(r"@[^@\]]*$", "", report.nodeid): _why(report) for report in reports}


def _why(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return ""
    first_lines = " ".join(crash.message.splitlines()[:3])
    return f"{os.path.relpath(crash.path)}:{crash.lineno}: {first_lines[:LONGEST_REASON]}"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI, end as failed when more tests needed a rerun than a busy machine explains."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if (
        reporter
        and not is_worker(session.config)
        and os.environ.get("CI")
        and len(_reruns(reporter)) > MOST_RERUNS
    ):
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    yield
    reruns = _reruns(terminalreporter)
    if not terminalreporter.config.getoption("reruns", None):
        return
    many = f": more than {MOST_RERUNS}, which fails in CI" if len(reruns) > MOST_RERUNS else ""
    terminalreporter.section(f"{len(reruns)} tests needed a rerun{many}")
    for name, why in reruns.items():
        terminalreporter.line(name)
        terminalreporter.line(f"    {why}")
