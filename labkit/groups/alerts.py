"""Call a command of the user's when a group's verdict changes, once for each change.

Only changes that concern somebody: into an alarm, from one alarm to another, and out of it. A
verdict that is unknown because there are too few looks yet, or a rebalance, changes nothing. That a
group cannot be seen is an alarm when the next look agrees.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from labkit.errors import LabkitError, UsageError
from labkit.groups.lag import BAD
from labkit.groups.states import Verdict
from labkit.groups.verdicts import GroupVerdict
from labkit.text.counts import number_of

TIMEOUT_S = 30.0
GONE = "gone"
_STANDARD_ERROR = 2


def is_alarm(verdict: GroupVerdict, named: Iterable[str] = (), max_lag: int | None = None) -> bool:
    """Tell whether a group's verdict is an alarm.

    It is when the group is bad or over the limit, its topic was made again, or a named group could
    not be seen. A group without a partition is over no limit.
    """
    blind = (verdict.unseen or verdict.uncommitted) and verdict.group in named
    lag, limited = verdict.lag, verdict.partitions and verdict.verdict != Verdict.IDLE
    over = max_lag is not None and limited and (lag is None or lag > max_lag)
    return bool(verdict.verdict in BAD or verdict.remade or blind or over)


def facts(verdict: GroupVerdict) -> dict[str, Any]:
    """Return what a program wants to know of a group's verdict."""
    values = {
        name: getattr(verdict, name)
        for name in ("group", "verdict", "why", "partitions", "lag", "unknown")
    }
    since = verdict.behind_since
    return values | {"behind_since": None if since is None else f"{since:%Y-%m-%dT%H:%M:%SZ}"}


class Alerts:
    """Remembers each group's verdict, and calls a command when it changes.

    Parameters
    ----------
    command : str
        A program and its arguments, split as a shell would, but run without one: what is foreign,
        such as a group's name, comes as JSON on standard input and nowhere else.
    say : callable
        Called when the command fails.
    """

    def __init__(
        self,
        command: str,
        cluster: str,
        *,
        named: Iterable[str] = (),
        max_lag: int | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._command = _split(command)
        self._cluster = cluster
        self._named = frozenset(named)
        self._max_lag = max_lag
        self._say = say
        self._before: dict[str, tuple[str, bool]] = {}
        self._away = False
        self._unseen: set[str] = set()
        # one after the other, so that they arrive in order; beside the looks, so that a slow one
        # delays none
        self._calls = ThreadPoolExecutor(1, thread_name_prefix="labkit-alert")
        self._pending: set[Future[None]] = set()

    def update(self, verdicts: Iterable[GroupVerdict], at: str) -> None:
        """Call the command for each group whose verdict changed since the last time."""
        if self._away:
            self._away = False
            self._call({"at": at, "group": None, "verdict": Verdict.OK, "was": Verdict.UNKNOWN, "alarm": False,
                        "why": "the cluster answers again"})  # fmt: skip
        present = set()
        for verdict in verdicts:
            present.add(verdict.group)
            alarm = is_alarm(verdict, self._named, self._max_lag)
            if verdict.verdict != Verdict.UNKNOWN:
                self._unseen.discard(verdict.group)
            # a coordinator that has just moved shows nothing
            elif not alarm or verdict.group not in self._unseen:
                self._unseen.add(verdict.group)
                continue
            self._change({"at": at, **facts(verdict), "alarm": alarm})
        for group in self._before.keys() - present:
            why = "there is no such group any more"
            self._change({"at": at, "group": group, "verdict": GONE, "why": why, "alarm": False})
            del self._before[group]

    def away(self, error: LabkitError, at: str) -> None:
        """Call the command once while the cluster does not answer: groups are not watched then."""
        if not self._away:
            self._away = True
            self._call({"at": at, "group": None, "verdict": Verdict.UNKNOWN, "was": None, "alarm": True,
                        "why": error.message})  # fmt: skip

    def _change(self, now: dict[str, Any]) -> None:
        was, alarmed = self._before.get(now["group"], (None, False))
        self._before[now["group"]] = now["verdict"], now["alarm"]
        if (now["verdict"], now["alarm"]) != (was, alarmed) and (now["alarm"] or alarmed):
            self._call({**now, "was": was})

    def _call(self, event: dict[str, Any]) -> None:
        text = json.dumps({"cluster": self._cluster, **event}) + "\n"
        call = self._calls.submit(self._run, text)
        self._pending.add(call)
        call.add_done_callback(self._pending.discard)

    def _run(self, event: str) -> None:
        program = self._command[0]
        try:
            # a session of its own: Ctrl-C at the watch ends no call halfway. Standard output is the
            # watch's own, for its lines of JSON
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=_STANDARD_ERROR,
                text=True,
                start_new_session=True,
            )
        except OSError as error:
            self._say(f"--alert: {program} cannot be run: {error.strerror}")
            return
        try:
            process.communicate(event, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # also what a script has started
            process.communicate()
            waiting = number_of(len(self._pending) - 1, "call")
            self._say(
                f"--alert: {program} did not end in {TIMEOUT_S:g} s and was killed; {waiting} waiting"
            )
        else:
            if process.returncode:
                self._say(f"--alert: {program} ended with {process.returncode}")

    def close(self) -> None:
        """Wait for the calls that are under way, or wait: no longer than one may take."""
        _, unfinished = wait(set(self._pending), TIMEOUT_S)
        dropped = [call for call in unfinished if call.cancel()]
        self._calls.shutdown(wait=True)
        if dropped:
            self._say(
                f"--alert: {number_of(len(dropped), 'call')} were not made: the watch has ended"
            )


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--alert {command!r}: {error}", hint="quote it as for a shell") from error
    if not words or shutil.which(words[0]) is None:
        raise UsageError(
            f"--alert {command!r}: there is no such program",
            hint="write a program and its arguments; pipes and redirections go in a script",
        )
    return words
