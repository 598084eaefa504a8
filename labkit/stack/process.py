"""The life of one process: start it apart from the caller, wait for its protocol, stop it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from labkit.errors import StackError
from labkit.stack.ownership import as_service, open_log
from labkit.stack.state import HOST, Service, State

STOP_TIMEOUT_S = 60.0
_LONGEST_START_S = 900.0
_PORTS = range(20_000, 30_000)
_TOGETHER_TIMEOUT_S = 15.0  # a broker left without a quorum never ends by itself


def free_port() -> int:
    """Return a port of the loopback interface that nothing uses now.

    It is below the ports that systems lend to outgoing connections (from 32768 on Linux, from
    49152 elsewhere): a stopped service keeps its port, and a client could be lent it meanwhile.
    """
    for port in random.sample(_PORTS, 100):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind((HOST, port))
            return port
    raise StackError(f"no free port of {HOST} between {_PORTS.start} and {_PORTS.stop - 1}")


def require_port(port: int, service: str) -> None:
    """Raise StackError when another process listens on `port`."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
        except OSError as error:
            raise StackError(
                f"port {port}, kept for {service}, is taken by another process",
                hint=f"end it (`ss -ltnp | grep {port}` names it), or `labkit down --purge` to choose new ports",
                port=port,
            ) from error


def reserve(state: State, name: str, version: str, title: str) -> Service:
    """Return a service that does not run; its port, chosen at the first start, must be free."""
    service = state.services.get(name) or Service(name, version, free_port())
    require_port(service.port, title)
    state.services[name] = service
    state.save()
    return service


def base_environment() -> dict[str, str]:
    """Return the variables that each process of the stack has: none of the caller's but PATH."""
    return {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"}


def run_tool(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, failure: str, **options: Any
) -> None:
    """Run a tool of a server to its end; `options` are those of `subprocess.run`.

    Raises
    ------
    StackError
        `failure`, with the end of what the tool said, when it fails.
    """
    tool = subprocess.run(
        command, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        umask=0o077, **options,
    )  # fmt: skip
    if tool.returncode:
        raise StackError(failure, hint=f"it said: {(tool.stderr or tool.stdout)[-600:]}")


def start(
    service: Service,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    as_caller: bool = False,
) -> None:
    """Start `command` in a session of its own: the caller's Ctrl-C does not reach it.

    It runs as the servers' user, or, `as_caller`, as who calls this: a command of labkit's own,
    which the servers' user could not even read where it is installed in root's home.
    """
    with os.fdopen(open_log(log), "ab") as output:
        process = subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
            **({} if as_caller else as_service()),
        )
    service.pid = process.pid
    service.started = born(psutil.Process(process.pid))


def born(process: psutil.Process) -> float:
    """Return how long after the machine's start a process began.

    No setting of the clock changes it.
    """
    return float(process.create_time() - psutil.boot_time())


def running(service: Service) -> psutil.Process | None:
    """Return the service's process if it lives.

    The creation time tells it from a later one with its pid.
    """
    if not service.pid:
        return None
    try:
        process = psutil.Process(service.pid)
        alive = (
            abs(born(process) - service.started) < 1 and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return None
    return process if alive else None


def ask(port: int, path: str, authorization: str = "") -> Any:
    """Return what a server of this machine answers over HTTP, as JSON; None without an answer."""
    headers = {"Authorization": authorization} if authorization else {}
    request = urllib.request.Request(f"http://{HOST}:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=3) as answer:  # noqa: S310  # http, on this machine
            return json.load(answer)
    except (OSError, ValueError):  # urllib's errors are OSErrors
        return None


def wait_ready(
    service: Service, answers: Callable[[], bool], *, log: Path, timeout_s: float = 120
) -> None:
    """Wait until the service answers in its own protocol.

    Parameters
    ----------
    service : Service
    answers : callable
        Asks it once.
    log : Path
        What the service writes. While it grows the service is starting, however slow the machine
        is.
    timeout_s : float
        How long to wait since the log has last grown.

    Raises
    ------
    StackError
        When it died or did not answer in time, with the tail of its log.
    """
    started = grown = time.monotonic()
    size = -1
    while (now := time.monotonic()) - grown < timeout_s and now - started < _LONGEST_START_S:
        if running(service) is None:
            raise StackError(
                f"{service.name} died while starting",
                hint=f"the end of {log}:\n{tail(log)}",
                log=str(log),
            )
        if answers():
            return
        with contextlib.suppress(OSError):
            if log.stat().st_size != size:
                size, grown = log.stat().st_size, now
        time.sleep(0.2)
    stop(service)
    raise StackError(
        f"{service.name} did not answer in {time.monotonic() - started:.0f} s",
        hint=f"the end of {log}:\n{tail(log)}",
        log=str(log),
    )


def stop(service: Service) -> bool:
    """Stop the service and its children; return whether it was running."""
    return bool(stop_together([service]))


def stop_together(services: Sequence[Service]) -> list[Service]:
    """Stop services and their children at the same time; return those that were running.

    Brokers of one cluster stop together: the last one would wait for a controller that is gone.
    """
    stopped, family = [], []
    for service in services:
        if (process := running(service)) is not None:
            family += [*process.children(recursive=True), process]
            process.terminate()
            stopped.append(service)
    alive = _wait_ended(family, STOP_TIMEOUT_S if len(stopped) < 2 else _TOGETHER_TIMEOUT_S)
    for member in alive:
        member.kill()
    _wait_ended(alive, 10)
    for service in services:
        service.pid = 0
    return stopped


def end_strays(root: Path, known: Iterable[Service] = ()) -> None:
    """End servers of the state folder `root` that are not among the `known`.

    The folder's path is in their command lines.
    """
    kept_pids = set()
    for service in known:
        if process := running(service):
            kept_pids |= {member.pid for member in [process, *process.children(recursive=True)]}
    strays = []
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or ())
        if process.pid not in kept_pids and "-Dlabkit.run=" in command and f"{root}/" in command:
            strays.append(process)
    for process in strays:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    alive = _wait_ended(strays, STOP_TIMEOUT_S)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _wait_ended(alive, 10)


def _wait_ended(processes: Sequence[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait until processes have ended; return those that have not.

    A zombie has ended: it stays until its parent asks, which may be a notebook's kernel, or a
    container's first process that never does.
    """
    ends = time.monotonic() + timeout_s
    while (
        alive := [process for process in processes if _works(process)]
    ) and time.monotonic() < ends:
        time.sleep(0.05)
    ended = [process for process in processes if process not in alive]
    psutil.wait_procs(ended, timeout=0)  # collects those that are our own children
    return alive


def _works(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of `log`."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return "(no log)"
    return "\n".join(text.expandtabs(4).splitlines()[-lines:])
