"""Ask groups' coordinators in another process: librdkafka's calls can end the one that asks.

The other process is `labkit.kafka.groups_child`. Committed offsets could also be asked with
`Consumer.committed` of a consumer with the group's id, which never joins. It lives too, but it must
be told which partitions to ask for, says -1001 for "not known now" as for "no commit", and takes a
client for each group. Measured with 1,000 groups of 4 partitions: 44 s one after the other, 7 s
with 16 threads; this way 1.5 s, and 0.5 s the next time, as long as the admin client takes in this
process.
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
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError

from labkit.errors import AccessError, DeadlineError, LabkitError, NotFoundError
from labkit.kafka.connection import Connection
from labkit.kafka.errors import Action, Operation

NOWHERE = 2_000_000_000  # a partition no topic has: what is asked of it changes nothing
_CHILD = Path(__file__).with_name("groups_child.py")

Offsets = dict[tuple[str, int], int]
"""(topic, partition) to committed offset; partitions without a commit are absent."""


@dataclass(frozen=True)
class Member:
    """One consumer of a group.

    Attributes
    ----------
    member_id : str
        The broker's name for it, another after each restart.
    instance_id : str
        Its ``group.instance.id``; empty when it is no static member.
    """

    client_id: str
    host: str
    assigned: frozenset[tuple[str, int]]
    member_id: str = ""
    instance_id: str = ""

    @property
    def name(self) -> str:
        """What it calls itself, most exactly; when that is nothing, the broker's name for it."""
        return self.instance_id or self.client_id or self.member_id


@dataclass(frozen=True)
class Description:
    """What a coordinator tells of a consumer group.

    Attributes
    ----------
    state, kind : str
        In lower case: ``stable``, ``empty``, ``dead`` (no such group) …; ``classic`` or
        ``consumer``.
    operations : frozenset of str or None
        What this principal may do with it, where that was asked: ``READ``, ``DESCRIBE`` …
    """

    state: str
    kind: str
    members: tuple[Member, ...]
    operations: frozenset[str] | None


class _Child:
    """One process that asks."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        command = [sys.executable, "-P", str(_CHILD)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._receive = b""
        self._send(sys.path)
        self._send(dict(settings))

    def _send(self, value: Any) -> None:
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):  # it died: no answer will come, and that is seen
            pickle.dump(value, self._process.stdin)
            self._process.stdin.flush()

    def ask(
        self, call: str, groups: list[str], arguments: Mapping[str, Any], timeout_s: float
    ) -> None:
        """Begin a call for groups; `answers` yields what comes of it."""
        self._send((call, groups, dict(arguments), timeout_s))
        self._receive = b""

    def answers(self) -> Iterator[tuple[str | None, str, Any] | None]:
        """Yield group, kind and result as they come; None while nothing comes.

        End when the process has ended.
        """
        assert self._process.stdout is not None  # noqa: S101
        descriptor = self._process.stdout.fileno()
        while True:
            if not select.select([descriptor], [], [], 0.1)[0]:
                yield None
                continue
            chunk = os.read(descriptor, 1 << 20)
            if not chunk:
                return
            self._receive += chunk
            while (answer := _first_pickle(self._receive)) is not None:
                value, size = answer
                self._receive = self._receive[size:]
                yield value

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


class Groups:
    """Asks a cluster's coordinators for groups.

    The processes that do it are kept for the next question. It may be used by several threads at
    once: each takes a process of its own.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # by process: a parent's pipes are not for its forked children
        self._idle: dict[int, list[_Child]] = {}
        self._lock = threading.Lock()
        self._end = weakref.finalize(self, _end_all, self._idle)

    def prepare(self) -> None:
        """Start a process while other questions are asked, as it takes a tenth of a second."""
        self._give(self._take())

    def committed(self, groups: Collection[str]) -> dict[str, Offsets | LabkitError]:
        """Return each group's committed offsets, or why they could not be asked."""
        answers = self._ask_each("offsets", groups, what=_of_groups("list the offsets of", groups))
        offsets: dict[str, Offsets | LabkitError] = {}
        for group, answer in answers.items():
            if isinstance(answer, LabkitError):
                offsets[group] = answer
            else:
                offsets[group] = {(topic, number): offset for topic, number, offset in answer}
        return offsets

    def describe(
        self, groups: Collection[str], *, operations: bool = False
    ) -> dict[str, Description | LabkitError]:
        """Return what the coordinators tell of consumer groups, or why they could not be asked."""
        answers = self._ask_each(
            "describe", groups, what=_of_groups("describe", groups), operations=operations
        )
        return {
            group: answer if isinstance(answer, LabkitError) else _description(*answer)
            for group, answer in answers.items()
        }

    def delete(self, group: str) -> None:
        """Delete a group that has no member, with its commits."""
        self._ask_one(
            "delete", group, what=Operation.DELETE.to(f"delete group {group!r}", group=group)
        )

    def commit(
        self, group: str, topic: str, offsets: Mapping[int, int], *, what: str
    ) -> dict[int, KafkaError]:
        """Set a group's committed offsets by partition.

        Return the error of each partition that was refused.
        """
        refused = self._ask_one("commit", group, what=what, topic=topic, offsets=dict(offsets))
        return {partition: KafkaError(*error) for partition, error in refused.items()}

    # asking ------------------------------------------------------------------------------------------

    def _ask_one(self, call: str, group: str, *, what: str, **arguments: Any) -> Any:
        answer = self._ask_each(call, [group], what=what, **arguments)[group]
        if isinstance(answer, LabkitError):
            raise answer
        return answer

    def _ask_each(
        self, call: str, groups: Iterable[str], *, what: str, **arguments: Any
    ) -> dict[str, Any]:
        """Return each group's answer or error.

        What passes, such as a process that died, is asked again.
        """
        return self._connection.ask_in_turn(
            lambda some, attempt_s: self._ask(call, some, arguments, what, attempt_s),
            sorted(set(groups)),
        )

    def _ask(
        self,
        call: str,
        groups: list[str],
        arguments: Mapping[str, Any],
        what: str,
        attempt_s: float,
    ) -> dict[str, Any]:
        child, answers = self._take(), dict[str, Any]()
        try:
            with self._connection.errors(what):
                child.ask(call, groups, arguments, self._connection.request_timeout_s)
                for group, result in self._receive(child, what, attempt_s):
                    answers[group] = result
                    if len(answers) == len(groups):
                        break
        # the rest of its answers would be taken for those of the next question
        except BaseException:
            child.end()
            raise
        if len(answers) == len(groups) and not any(
            _is_stale(answer) for answer in answers.values()
        ):
            self._give(child)
        else:  # it died, or its client asks brokers that are dead
            child.end()
            self._connection.require_token(what)
        unanswered = DeadlineError(
            f"no answer from Kafka to {what}", hint="a coordinator may be moving: try again"
        )
        return {group: answers.get(group, unanswered) for group in groups}

    def _receive(self, child: _Child, what: str, attempt_s: float) -> Iterator[tuple[str, Any]]:
        """Yield each group's answer or error, until the process ends or no more can come."""
        began, limit_s = time.monotonic(), self._connection.limit_s(attempt_s)
        for answer in child.answers():
            if answer is None:
                if self._connection.is_hopeless(time.monotonic() - began, limit_s):
                    return
                continue
            group, kind, result = answer
            if kind == "token":
                self._connection.note_token_problem(result)
            elif group is None:
                self._connection.note_error(KafkaError(*result))
            elif kind == "answer":
                yield group, result
            else:
                error = self._connection.error(KafkaError(*result), what)
                if isinstance(error, AccessError) and error.facts.get("login"):
                    raise error
                yield group, error

    def _take(self) -> _Child:
        with self._lock:
            idle = self._idle.setdefault(os.getpid(), [])
            if idle:
                return idle.pop()
        return _Child(self._connection.client_settings())

    def _give(self, child: _Child) -> None:
        with self._lock:
            self._idle.setdefault(os.getpid(), []).append(child)


def _of_groups(verb: str, groups: Collection[str]) -> Action:
    """Return what is done to some groups: one is named."""
    only = next(iter(groups)) if len(groups) == 1 else ""
    return Operation.DESCRIBE.to(
        f"{verb} group {only!r}" if only else f"{verb} the groups", group=only
    )


def _description(
    state: str, kind: str, members: list[tuple[Any, ...]], operations: list[str] | None
) -> Description:
    return Description(
        state.lower(),
        kind.lower(),
        tuple(
            Member(client_id, str(host).lstrip("/"), frozenset(assigned), member_id, instance_id)
            for client_id, host, assigned, member_id, instance_id in members
        ),
        None if operations is None else frozenset(operations),
    )


def _is_stale(answer: Any) -> bool:
    return isinstance(answer, LabkitError) and not isinstance(answer, AccessError | NotFoundError)


def _end_all(idle: dict[int, list[_Child]]) -> None:
    for child in idle.pop(os.getpid(), []):
        child.end()
