"""Asks groups' committed offsets in a process that may die; run by `labkit.kafka_offsets`, imports none of labkit.

librdkafka 2.12 to 2.16 end the process when a coordinator moves while a group's offsets are asked of an admin client:
`rd_kafka_handle_OffsetFetch` tells the client's consumer group to look for its coordinator, and an admin client has
none (`rd_kafka_cgrp_op` of a null pointer: signal 11, or a failed assertion).

It reads pickles from standard input: first where modules are found, then the client's settings, then for each question
the groups' names and the seconds to wait. For each group it writes a pickle: the name, and its offsets or its error.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import resource
import signal
import sys
from typing import Any, BinaryIO

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient

TIMED_OUT = -185  # KafkaError._TIMED_OUT


def main() -> None:
    """Answer until standard input ends, as it does with the parent."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # that it dies is nothing to keep
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    with contextlib.suppress(EOFError):
        sys.path[:] = pickle.load(questions)  # noqa: S301  the parent's own
        client = AdminClient(pickle.load(questions), logger=_silent())  # noqa: S301
        while True:
            names, timeout_s = pickle.load(questions)  # noqa: S301
            _answer(client, names, timeout_s, answers)


def _silent() -> logging.Logger:
    logger = logging.getLogger("labkit.librdkafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


def _answer(client: AdminClient, names: list[str], timeout_s: float, answers: BinaryIO) -> None:
    """Ask for all of the groups at once: each request is for one group, the answers come in together."""
    futures = {
        name: client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)], request_timeout=timeout_s)[name]
        for name in names
    }
    for name, future in futures.items():
        pickle.dump((name, *_result(future, timeout_s)), answers)
        answers.flush()  # what was answered is kept when this process dies of the next


def _result(future: Any, timeout_s: float) -> tuple[str, Any]:
    try:
        found = future.result(timeout_s + 1).topic_partitions
    except KafkaException as error:
        return "error", (error.args[0].code(), error.args[0].str())
    except TimeoutError:
        return "error", (TIMED_OUT, "no answer in time")
    for one in found:
        if one.error is not None:
            return "error", (one.error.code(), one.error.str())
    return "offsets", [(one.topic, one.partition, one.offset) for one in found if one.offset >= 0]


if __name__ == "__main__":
    main()
