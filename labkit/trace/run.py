"""Ask each place in turn about one record."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from labkit.trace import places
from labkit.trace.places import Question
from labkit.trace.result import Code, State, Step, Trace
from labkit.trace.verdict import verdict

if TYPE_CHECKING:
    from labkit.kafka.cluster import Cluster
    from labkit.window import Window


def trace(cluster: Cluster, window: Callable[..., Window], question: Question) -> Trace:
    """Look at each place; see `labkit.lab.Lab.trace`."""
    topic_step, record = places.look_in_topic(cluster, window, question)
    steps = [topic_step]
    if record is not None:
        steps += places.check_conditions(question, record)
    if question.group is not None:
        steps.append(
            places.look_if_possible("group", lambda: places.look_at_group(cluster, question))
        )
    if (index := question.index) is not None:
        steps.append(
            places.look_if_possible(
                "index", lambda: places.look_in_index(question, index, record, window)
            )
        )
    if question.dead_letters is not None:
        steps.append(
            places.look_if_possible("dead letters", lambda: places.look_in_dead_letters(question))
        )
    return Trace(
        question.topic, question.partition, question.offset, tuple(steps), verdict(question, steps), record
    )  # fmt: skip


def without_record(topic: str, key: str) -> Trace:
    """Return the trace of a key that no record has."""
    text = f"no record of the topic has the key {key!r}: it was never written, is deleted or compacted, or "
    text += "its transaction was aborted or is open"
    return Trace(topic, None, None, (Step("topic", State.NO, Code.MISSING, text),), text)
