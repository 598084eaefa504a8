"""Groups' committed offsets, asked so that this process cannot die of it: see `labkit.kafka_offsets_child`.

`Consumer.committed` of a consumer with the group's id, which never joins, lives too, but it must be told which
partitions to ask for, says -1001 for "not known now" as for "no commit", and takes a client for each group. Measured
with 1,000 groups of 4 partitions: 44 s one after the other, 7 s with 16 threads; this way 1.5 s, and 0.5 s the next
time, as long as the admin client takes in this process.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import select
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError

from labkit.errors import AccessError, DeadlineError, LabkitError, NotFoundError
from labkit.kafka_client import AGAIN_S, IN_FLIGHT, MOVING_S, Connection
from labkit.kafka_errors import passes

_CHILD = Path(__file__).with_name("kafka_offsets_child.py")
_WHAT = "list the groups' offsets"

Offsets = dict[tuple[str, int], int]
"""(topic, partition) to committed offset; partitions without a commit are absent."""


class _Child:
    """One process that asks."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        command = [sys.executable, "-P", str(_CHILD)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._send(sys.path)
        self._send(dict(settings))

    def _send(self, value: Any) -> None:
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):  # it died: no answer will come, and that is seen
            pickle.dump(value, self._process.stdin)
            self._process.stdin.flush()

    def ask(self, names: list[str], timeout_s: float) -> Iterator[tuple[str, str, Any]]:
        """Yield name, kind and result of each group; fewer when the process dies or takes too long."""
        self._send((names, timeout_s))
        received, deadline = b"", time.monotonic() + timeout_s + 5
        missing = len(names)
        while missing and (chunk := self._receive(deadline)):
            received += chunk
            while (answer := _first_pickle(received)) is not None:
                value, size = answer
                received = received[size:]
                missing -= 1
                yield value

    def _receive(self, deadline: float) -> bytes:
        """Return what has come; nothing when the process has ended or the time is over."""
        assert self._process.stdout is not None  # noqa: S101
        descriptor = self._process.stdout.fileno()
        while time.monotonic() < deadline:
            if select.select([descriptor], [], [], 0.1)[0]:
                return os.read(descriptor, 1 << 20)
        return b""

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _first_pickle(data: bytes) -> tuple[Any, int] | None:
    """Return the first value of `data` and the bytes it takes; None when it has not come whole."""
    stream = io.BytesIO(data)
    try:
        return pickle.load(stream), stream.tell()  # noqa: S301  our own child's
    except (EOFError, pickle.UnpicklingError):
        return None


class CommittedOffsets:
    """Asks a cluster for groups' committed offsets; the processes that do it are kept for the next question.

    It may be used by several threads at once: each takes a process of its own.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._idle: dict[int, list[_Child]] = {}  # by process: a parent's pipes are not for its forked children
        self._lock = threading.Lock()
        self._end = weakref.finalize(self, _end_all, self._idle)

    def of(self, names: Iterable[str]) -> dict[str, Offsets | LabkitError]:
        """Return each group's committed offsets, or why they could not be asked.

        What passes (a coordinator that moves, a process that died) is asked again, for `MOVING_S` at most.
        """
        self._connection.cluster_id  # noqa: B018  first contact fails within seconds, and says why
        results: dict[str, Offsets | LabkitError] = {}
        waiting, deadline = sorted(set(names)), time.monotonic() + MOVING_S
        while waiting:
            now, waiting = waiting[:IN_FLIGHT], waiting[IN_FLIGHT:]
            answers = self._ask(now)
            results |= answers
            again = [name for name, answer in answers.items() if isinstance(answer, LabkitError) and passes(answer)]
            if again and time.monotonic() < deadline:
                waiting += again
                time.sleep(AGAIN_S)
        return results

    def prepare(self) -> None:
        """Start a process while other questions are asked: it takes a tenth of a second to come up."""
        self._give(self._take())

    def _ask(self, names: list[str]) -> dict[str, Offsets | LabkitError]:
        child, answers = self._take(), dict[str, Offsets | LabkitError]()
        try:
            for name, kind, found in child.ask(names, self._connection.request_timeout_s):
                if kind == "offsets":
                    answers[name] = {(topic, partition): offset for topic, partition, offset in found}
                else:
                    answers[name] = self._connection.error(KafkaError(*found), _WHAT)
        except BaseException:  # an interrupt: the rest of its answers would be taken for those of the next question
            child.end()
            raise
        whole = len(answers) == len(names)
        if whole and not any(_is_stale(answer) for answer in answers.values()):
            self._give(child)
        else:  # it died, or its client asks brokers that are dead
            child.end()
        unanswered = DeadlineError(f"no answer from Kafka to {_WHAT}", hint="a coordinator may be moving: try again")
        return {name: answers.get(name, unanswered) for name in names}

    def _take(self) -> _Child:
        with self._lock:
            idle = self._idle.setdefault(os.getpid(), [])
            if idle:
                return idle.pop()
        return _Child(self._connection.client_settings())

    def _give(self, child: _Child) -> None:
        with self._lock:
            self._idle.setdefault(os.getpid(), []).append(child)


def _is_stale(answer: Offsets | LabkitError) -> bool:
    return isinstance(answer, LabkitError) and not isinstance(answer, AccessError | NotFoundError)


def _end_all(idle: dict[int, list[_Child]]) -> None:
    for child in idle.pop(os.getpid(), []):
        child.end()
