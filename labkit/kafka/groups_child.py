"""Ask groups' coordinators in a process that may die, for `labkit.kafka.groups`.

It imports nothing of labkit, unless the login has a function that gives its tokens. Two faults of
librdkafka (2.12 to 2.16) end the process, for every admin call that goes to a group's coordinator:

* A call that timed out while its coordinator could not be reached is sent when it can be again, though it was freed
  meanwhile: an assertion fails (``eonce->refcnt > 0``). A broker frozen for some seconds does it.
* A coordinator moves while a group's offsets are asked: `rd_kafka_handle_OffsetFetch` tells the client's consumer group
  to look for its coordinator, and an admin client has none (`rd_kafka_cgrp_op` of a null pointer:
  signal 11).

It reads pickles from standard input: first where modules are found, then the client's settings,
then for each question the name of a call, the groups, the call's arguments and the seconds to wait.
For each group it writes a pickle: ``(group, "answer" or "error", result)``; also ``(None, "note",
error)`` for what the client tells of its connections, and ``(None, "token", problem)`` when it
fetched a token: empty, or why there is none. Results are plain values: confluent_kafka's
cannot be pickled.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

Futures = dict[str, Any]
POLL_S = 0.1
_writing = threading.Lock()  # librdkafka fetches tokens in a thread of its own


def main() -> None:
    """Answer until standard input ends, as it does with the parent."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # that it dies is nothing to keep
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent
    questions = sys.stdin.buffer
    with contextlib.suppress(EOFError):
        sys.path[:] = pickle.load(questions)  # noqa: S301  the parent's own
        settings = pickle.load(questions)  # noqa: S301
        client = AdminClient(_with_token(settings) | {"error_cb": _note}, logger=_silent())
        while True:
            call, groups, arguments, timeout_s = pickle.load(questions)  # noqa: S301
            _answer(client, call, groups, arguments, timeout_s)


def _with_token(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with the function that gives the tokens, where they name one."""
    if "oauth_cb" not in settings:
        return settings
    from labkit.config.oauth_token import token_callback  # for this login alone

    sys.stdout = sys.stderr  # what the user's function prints is no answer
    token = token_callback(settings)
    assert token is not None  # noqa: S101

    def fetch(config: str) -> tuple[Any, ...]:
        try:
            return token(config)
        finally:
            _write(None, "token", token.problem)  # confluent_kafka does not say why it failed

    fetch(str(settings.get("sasl.oauthbearer.config", "")))
    return {**settings, "oauth_cb": fetch}


def _silent() -> logging.Logger:
    logger = logging.getLogger("labkit.librdkafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


def _write(group: str | None, kind: str, result: Any) -> None:
    assert sys.__stdout__ is not None  # noqa: S101
    with _writing:
        pickle.dump((group, kind, result), sys.__stdout__.buffer)
        sys.__stdout__.flush()  # what was answered is kept when this process dies of the next


def _note(error: KafkaError) -> None:
    _write(None, "note", _plain(error))


def _plain(error: KafkaError) -> tuple[int, str]:
    return error.code(), error.str()


def _answer(
    client: AdminClient, call: str, groups: list[str], arguments: dict[str, Any], timeout_s: float
) -> None:
    """Ask for all of the groups at once, and write each answer as it comes."""
    begin, read = _CALLS[call]
    try:
        futures = begin(client, groups, request_timeout=timeout_s, **arguments)
    except (KafkaException, TypeError, ValueError) as error:  # nothing was sent
        for group in groups:
            _write(group, "error", (KafkaError._INVALID_ARG, str(error)))
        return
    deadline = time.monotonic() + timeout_s + 1
    for group, future in futures.items():
        _write(group, *_result(client, future, read, deadline))


def _result(
    client: AdminClient, future: Any, read: Callable[[Any], Any], deadline: float
) -> tuple[str, Any]:
    while True:
        client.poll(0)  # calls `_note`
        try:
            return "answer", read(future.result(POLL_S))
        except KafkaException as error:
            return "error", _plain(error.args[0])
        except TimeoutError:
            if time.monotonic() > deadline:
                return "error", (KafkaError._TIMED_OUT, "no answer in time")


# each call: how it is begun, and its result as plain values ----------------------------------------------------------


def _begin_offsets(client: AdminClient, groups: list[str], **options: Any) -> Futures:
    """Each request is for one group; the answers come in together."""
    requests = [ConsumerGroupTopicPartitions(group) for group in groups]
    return {
        request.group_id: client.list_consumer_group_offsets([request], **options)[request.group_id]
        for request in requests
    }


def _read_offsets(result: Any) -> list[tuple[str, int, int]]:
    for place in result.topic_partitions:
        if place.error is not None:
            raise KafkaException(place.error)
    return [
        (row.topic, row.partition, row.offset) for row in result.topic_partitions if row.offset >= 0
    ]


def _begin_describe(
    client: AdminClient, groups: list[str], *, operations: bool, **options: Any
) -> Futures:
    return dict(
        client.describe_consumer_groups(groups, include_authorized_operations=operations, **options)
    )


def _read_described(result: Any) -> tuple[Any, ...]:
    members = []
    for member in result.members:
        assigned = [(at.topic, at.partition) for at in member.assignment.topic_partitions]
        instance_id = member.group_instance_id or ""
        members.append((member.client_id, member.host, assigned, member.member_id, instance_id))
    allowed = result.authorized_operations
    return (
        result.state.name,
        getattr(result.type, "name", ""),
        members,
        allowed and [operation.name for operation in allowed],
    )


def _begin_delete(client: AdminClient, groups: list[str], **options: Any) -> Futures:
    return dict(client.delete_consumer_groups(groups, **options))


def _begin_commit(
    client: AdminClient, groups: list[str], *, topic: str, offsets: dict[int, int], **options: Any
) -> Futures:
    targets = [TopicPartition(topic, *target) for target in offsets.items()]
    requests = [ConsumerGroupTopicPartitions(group, targets) for group in groups]
    futures: Futures = {}
    for request in requests:
        futures |= client.alter_consumer_group_offsets([request], **options)
    return futures


def _read_refused(result: Any) -> dict[int, tuple[int, str]]:
    """Return the partitions that were refused: the broker answers for each, the call succeeds."""
    return {
        place.partition: _plain(place.error)
        for place in result.topic_partitions
        if place.error is not None
    }


_CALLS: dict[str, tuple[Callable[..., Futures], Callable[[Any], Any]]] = {
    "offsets": (_begin_offsets, _read_offsets),
    "describe": (_begin_describe, _read_described),
    "delete": (_begin_delete, lambda _: None),
    "commit": (_begin_commit, _read_refused),
}


if __name__ == "__main__":
    main()
