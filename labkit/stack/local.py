"""Start, stop and describe the local stack."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from labkit.checks.extras import needs_extra
from labkit.config.folders import JOURNAL, SPOOL, state_dir
from labkit.errors import LabkitError, StackError
from labkit.kafka.cluster import Cluster
from labkit.stack import access, elasticsearch, kafka, process, registry
from labkit.stack.artefacts import ELASTICSEARCH_VERSIONS, check_version
from labkit.stack.state import HOST, State, lock_stack

_MINIMUM_FREE_BYTES = 500_000_000


def up(
    versions: Sequence[str] = (),
    say: Callable[[str], None] = print,
    *,
    with_registry: bool = False,
    brokers: int | None = None,
) -> State:
    """Start Kafka and Elasticsearch, or join what runs already.

    Parameters
    ----------
    versions : sequence of str
        Elasticsearch versions to run side by side. The first one ever started is the target
        ``default``, others are ``es-<version>``. Empty: those of the last time, else the first
        pinned one.
    say : callable
        Takes one line of progress.
    with_registry : bool
        Start the schema registry too; once asked for, it is started each time.
    brokers : {1, 3}, optional
        How many Kafka brokers; chosen at the first start and kept.
    """
    for version in versions:
        check_version(version)
    _require_libraries()
    root = state_dir()
    with lock_stack(root):
        state = State.load(root)
        state.ensure_secrets()
        _require_space(root)
        # a command that was killed had no time to write down the server it had just started
        process.end_strays(root, state.services.values())
        used_versions = [service.version for service in state.targets.values()]
        try:
            kafka.start(state, say, brokers=brokers)
            access.ensure(Cluster(state.credentials("admin")["kafka"]))
            for version in versions or used_versions or ELASTICSEARCH_VERSIONS[:1]:
                elasticsearch.start(state, version, say)
            if with_registry or registry.NAME in state.services:
                registry.start(state, say)
        except LabkitError:  # some are OSErrors too
            raise
        except OSError as error:
            raise StackError(
                f"the stack could not be started: {error.strerror or error}",
                hint=f"check the space and the rights of {root}, or set LABKIT_STATE to another folder",
            ) from error
        finally:
            state.save()
        return state


def _require_libraries() -> None:
    with needs_extra("stack", "the local stack"):
        for name in ("bcrypt", "cryptography", "jgo"):
            import_module(name)


def _require_space(root: Path) -> None:
    free = shutil.disk_usage(root).free
    if free < _MINIMUM_FREE_BYTES:
        raise StackError(
            f"{free / 1e6:.0f} MB are free in {root}, {_MINIMUM_FREE_BYTES / 1e6:.0f} MB are needed",
            hint="free some space, or set LABKIT_STATE to another disk",
        )


_KEPT = {"lock", SPOOL, JOURNAL, f"{JOURNAL}.lock"}


def down(*, purge: bool = False, say: Callable[[str], None] = print) -> None:
    """Stop everything the stack started; with `purge` remove its data, ports and passwords too."""
    root = state_dir()
    if not root.is_dir():
        say("there is no local stack")
        return
    with lock_stack(root):
        try:
            state = State.load(root)
        except StackError:
            if not purge:
                raise
            state = State(root)
            process.end_strays(root)
        _stop_services(state, say)
        if purge:
            _remove_data(root, say)
        else:
            state.save()


def _stop_services(state: State, say: Callable[[str], None]) -> None:
    # what reads and writes goes before the servers it talks to
    others = [service for service in state.services.values() if service not in state.brokers]
    for service in sorted(others, key=lambda other: other.port > 0):
        if process.stop(service):
            say(f"stopped {service.name}")
    for service in process.stop_together(state.brokers):
        say(f"stopped {service.name}")


def _remove_data(root: Path, say: Callable[[str], None]) -> None:
    for item in root.iterdir():
        if item.name not in _KEPT:
            shutil.rmtree(item) if item.is_dir() else item.unlink()
    remaining = [name for name in (SPOOL, JOURNAL) if (root / name).exists()]
    but = f", but not an extractor's {' and '.join(remaining)}" if remaining else ""
    say(f"removed what was in {root}{but}")


def status() -> list[dict[str, Any]]:
    """Return one row per service: service, version, address, running, pid, memory_mb."""
    rows = []
    for service in State.load().services.values():
        alive = process.running(service)
        family = [alive, *alive.children(recursive=True)] if alive else []
        rows.append(
            {
                "service": service.name,
                "version": service.version,
                "address": f"{HOST}:{service.port}" if service.port else "",
                "running": alive is not None,
                "pid": service.pid if alive else None,
                "memory_mb": round(sum(process.memory_info().rss for process in family) / 1e6),
            }
        )
    return rows
