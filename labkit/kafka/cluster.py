"""What a Kafka cluster tells of its topics, their partitions and offsets."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from itertools import groupby
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AclOperation,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
)

from labkit.checks import names
from labkit.checks.suggest import did_you_mean, look_closer, typed, way
from labkit.errors import LabkitError, NotFoundError, ServerError, UnavailableError
from labkit.kafka.connection import MOVING_S, TIMEOUT_S, Connection, in_threads
from labkit.kafka.errors import MISSING, Action, Operation
from labkit.kafka.groups import Groups

__all__ = ["TIMEOUT_S", "Cluster", "Where", "replay_group"]

Where = tuple[str, int]  # topic, partition
TIMES_IN_FLIGHT = 50
OFFSETS_IN_FLIGHT = 1_000  # librdkafka looks through all of a request for each: more take longer
SETTLE_S = 1.0  # a partition without a leader for so long will not have one in a moment


class Cluster(Connection):
    """One Kafka cluster, seen as one principal: what it tells of its topics.

    Parameters
    ----------
    settings : mapping
        librdkafka properties.
    role : {"lab", "indexer", "extractor"}
        Which of labkit's roles it works as.

    Notes
    -----
    Making one opens no connection.
    """

    @cached_property
    def groups(self) -> Groups:
        """Asks groups' coordinators."""
        return Groups(self)

    def topics(self) -> dict[str, list[int]]:
        """Return each topic's partitions, internal topics left out."""
        return {name: list(leaders) for name, leaders in self.leaders().items()}

    def leaders(self) -> dict[str, dict[int, int]]:
        """Return the broker that leads each partition of each topic, -1 for none.

        Internal topics left out.
        """
        metadata = self.ask_blocking(
            lambda admin, timeout_s: admin.list_topics(timeout=timeout_s),
            what=Operation.DESCRIBE.to("list the topics"),
        )
        leaders = {}
        for name, meta in sorted(metadata.topics.items()):
            if not name.startswith("__") and meta.error is None:
                partitions = sorted(meta.partitions.items())
                leaders[name] = {number: partition.leader for number, partition in partitions}
        return leaders

    def partitions(self, topic: str) -> list[int]:
        """Return the partitions of `topic`.

        Raises
        ------
        NotFoundError
            When there is no such topic or this principal may not see it; Kafka does not tell which.
        """
        names.topic(topic)
        metadata = self.ask_blocking(
            lambda admin, timeout_s: admin.list_topics(topic, timeout=timeout_s),
            what=Operation.DESCRIBE.to(f"describe topic {topic!r}", topic=topic),
        )
        meta = metadata.topics[topic]
        if meta.error is not None:
            if meta.error.code() in MISSING:
                raise NotFoundError(
                    f"there is no topic {topic!r} on {self.address}, or {self.principal} may not see it",
                    hint=f"{self._near(topic)}{way('topics')} lists those you may see",
                    topic=topic,
                )
            raise self.error(
                meta.error, Operation.DESCRIBE.to(f"describe topic {topic!r}", topic=topic)
            )
        return sorted(meta.partitions)

    def _near(self, topic: str) -> str:
        """Return which topic may have been meant by one that is not there."""
        with suppress(LabkitError):
            return did_you_mean(topic, self.topics())
        return ""

    def bounds(
        self,
        topic: str,
        partitions: Iterable[int],
        at: str | int,
        *,
        patience_s: float = MOVING_S,
    ) -> dict[int, int]:
        """Return an offset for each partition, in one request for all.

        Parameters
        ----------
        at : "earliest", "latest", "stable" or int
            The log's start, its end (high watermark), the last stable offset (the first one an open
            transaction may still change), or the first record at or after a time in milliseconds;
            for that, -1 means none.
        patience_s : float
            How long a leader that moves is waited for.
        """
        level = IsolationLevel.READ_COMMITTED if at == "stable" else IsolationLevel.READ_UNCOMMITTED
        spec = {
            "earliest": OffsetSpec.earliest,
            "latest": OffsetSpec.latest,
            "stable": OffsetSpec.latest,
        }.get(str(at), lambda: OffsetSpec.for_timestamp(int(at)))()
        answers = self._offsets(
            {(topic, partition): spec for partition in partitions},
            level=level,
            by_time=isinstance(at, int),
            patience_s=patience_s,
        )
        self._require_all(topic, answers)
        return {partition: answer.offset for (_, partition), answer in answers.items()}

    def starts_and_ends(
        self, topic: str, partitions: Collection[int]
    ) -> tuple[dict[int, int], dict[int, int]]:
        """Return the log's start and its end (high watermark) of each partition."""
        return self.bounds(topic, partitions, "earliest"), self.bounds(topic, partitions, "latest")

    def offsets_from(
        self, topic: str, partitions: Collection[int], place: str | int
    ) -> dict[int, int]:
        """Return where a consumer begins at a place: "earliest", "latest" or a time in ms.

        Where no record is as late as that, it is the log's end.
        """
        offsets = self.bounds(topic, partitions, place)
        if not isinstance(place, int):
            return offsets
        ends = self.bounds(topic, partitions, "latest")
        return {number: ends[number] if at < 0 else at for number, at in offsets.items()}

    def offsets_at(
        self, topic: str, partitions: Sequence[int], times_ms: Sequence[int]
    ) -> list[list[int]]:
        """Return, for each of many times, the first offset at or after it by partition.

        It is -1 without such a record. Requests of some times are under way at once, so that a
        hundred take little longer than one.
        """

        def call(admin: AdminClient, some: list[tuple[int, int]]) -> dict[tuple[int, int], Any]:
            futures: dict[tuple[int, int], Any] = {}
            for ms, pairs in groupby(some, key=lambda one: one[0]):
                spec = OffsetSpec.for_timestamp(ms)
                specs = {TopicPartition(topic, partition): spec for _, partition in pairs}
                answers = admin.list_offsets(specs, request_timeout=TIMEOUT_S)
                futures |= {(ms, where.partition): future for where, future in answers.items()}
            return futures

        answers = self.ask_each(
            call,
            sorted({(ms, partition) for ms in times_ms for partition in partitions}),
            what=Operation.DESCRIBE.to(f"list the offsets of topic {topic!r} by time", topic=topic),
            in_flight=TIMES_IN_FLIGHT * max(1, len(partitions)),
            check=lambda _, answer: _require_offset(answer.offset, by_time=True),
        )
        self._require_all(
            topic, {(topic, partition): answer for (_, partition), answer in answers.items()}
        )
        return [[int(answers[ms, partition].offset) for partition in partitions] for ms in times_ms]

    def span(self, topic: str, partitions: Sequence[int]) -> tuple[int, int] | None:
        """Return the time of the first record by offset, and the newest time, in ms.

        It is None when no record has a time.
        """
        edges: list[list[int]] = []
        for spec in (OffsetSpec.for_timestamp(0), OffsetSpec.max_timestamp()):
            answers = self._offsets(
                {(topic, partition): spec for partition in partitions}, by_time=True
            )
            self._require_all(topic, answers)
            edges.append(
                [
                    info.timestamp
                    for info in answers.values()
                    if info.offset >= 0 and info.timestamp >= 0
                ]
            )
        return (min(edges[0]), max(edges[1])) if all(edges) else None

    def log_bounds(
        self, partitions: Iterable[Where], dark: Mapping[Where, LabkitError] | None = None
    ) -> dict[Where, tuple[int, int] | LabkitError]:
        """Return the log's start and end (high watermark) of partitions of any topics.

        It takes a few requests for all. A partition that is gone, has no leader, or that this
        principal may not see, has the error in their place.

        Parameters
        ----------
        dark : mapping, optional
            The errors of the partitions that have no broker to ask, where that is known.
        """
        places = sorted(set(partitions))
        bounds: dict[Where, tuple[int, int] | LabkitError] = {
            **(self.leaderless(places) if dark is None else dark)
        }
        reachable = [where for where in places if where not in bounds]
        specs = (OffsetSpec.earliest(), OffsetSpec.latest())
        starts, ends = in_threads(
            *(partial(self._offsets, dict.fromkeys(reachable, spec)) for spec in specs)
        )
        for where in reachable:
            error = next(
                (
                    answer
                    for answer in (starts[where], ends[where])
                    if isinstance(answer, LabkitError)
                ),
                None,
            )
            bounds[where] = error or (starts[where].offset, ends[where].offset)
        return bounds

    def newest_times(self, partitions: Iterable[Where]) -> dict[Where, int | LabkitError | None]:
        """Return the newest time of a record of each partition, in ms.

        It is None without records, or where none has a time. The brokers keep it beside each
        segment of the log (KIP-734, Kafka 3.0); older ones answer with an error.
        """
        answers = self._offsets(dict.fromkeys(partitions, OffsetSpec.max_timestamp()), by_time=True)
        times: dict[Where, int | LabkitError | None] = {}
        for where, answer in answers.items():
            if isinstance(answer, LabkitError):
                times[where] = answer
            else:
                times[where] = answer.timestamp if answer.timestamp >= 0 else None
        return times

    def _offsets(
        self,
        asked: Mapping[Where, OffsetSpec],
        *,
        level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
        by_time: bool = False,
        patience_s: float = MOVING_S,
    ) -> dict[Where, Any]:
        """Return librdkafka's answer for each partition, or the error that stands for it.

        An offset is never below zero. A leader that has just died is asked for until it has moved.
        A partition without a leader is an error at once.
        """
        since: dict[Where, float] = {}

        def call(admin: AdminClient, some: list[Where]) -> dict[Where, Any]:
            specs = {TopicPartition(*where): asked[where] for where in some}
            answers = admin.list_offsets(specs, isolation_level=level, request_timeout=TIMEOUT_S)
            return {(where.topic, where.partition): future for where, future in answers.items()}

        def settle(some: list[Where]) -> dict[Where, LabkitError]:
            without_leader = self.leaderless(some)
            for where in without_leader:
                since.setdefault(where, time.monotonic())
            return {
                where: error
                for where, error in without_leader.items()
                if time.monotonic() - since[where] >= SETTLE_S
            }

        return self.ask_each(
            call,
            sorted(asked),
            what=_of_topics(
                Operation.DESCRIBE, "list the offsets of", {topic for topic, _ in asked}
            ),
            in_flight=OFFSETS_IN_FLIGHT,
            check=lambda _, answer: _require_offset(answer.offset, by_time=by_time),
            settle=settle,
            patience_s=patience_s,
        )

    def _require_all(self, topic: str, answers: Mapping[Where, Any]) -> None:
        """Raise the first partition's error, and name all partitions without a leader."""
        errors = {
            where[1]: answer for where, answer in answers.items() if isinstance(answer, LabkitError)
        }
        if not errors:
            return
        dark = sorted(
            partition for partition, error in errors.items() if error.facts.get("leaderless")
        )
        if not dark:
            partition, error = min(errors.items())
            if error.facts.get("unsure"):
                raise UnavailableError(
                    f"the leader of partition {partition} of topic {topic!r} does not answer",
                    hint=f"{error.message}; is one of the brokers down? {look_closer()}",
                    partition=partition,
                ) from error
            raise error
        live = sorted(where[1] for where in answers if where[1] not in errors)
        raise no_leader(topic, dark, live)

    def leaderless(self, partitions: Sequence[Where]) -> dict[Where, LabkitError]:
        """Return the partitions that cannot be asked, with their errors.

        librdkafka says of all of them only that they do not exist.
        """
        topics = sorted({topic for topic, _ in partitions})
        described = self.ask_each(
            lambda admin, some: admin.describe_topics(
                TopicCollection(some), request_timeout=TIMEOUT_S
            ),
            topics,
            what=_of_topics(Operation.DESCRIBE, "describe", topics),
        )
        leaders: dict[Where, Any] = {}
        for topic, answer in described.items():
            if not isinstance(answer, LabkitError):
                leaders |= {(topic, part.id): part.leader for part in answer.partitions}
        errors: dict[Where, LabkitError] = {}
        for where in partitions:
            if isinstance(described[where[0]], LabkitError):
                errors[where] = described[where[0]]
            elif where not in leaders:
                errors[where] = NotFoundError(f"topic {where[0]!r} has no partition {where[1]}")
            elif leaders[where] is None:
                errors[where] = no_leader(where[0], [where[1]])
        return errors

    def topic_settings(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return each topic's configuration."""
        settings_by_topic: dict[str, dict[str, str]] = {}
        for topic, settings in self.each_topic_settings(topics).items():
            if isinstance(settings, LabkitError):
                raise settings
            settings_by_topic[topic] = settings
        return settings_by_topic

    def each_topic_settings(self, topics: Iterable[str]) -> dict[str, dict[str, str] | LabkitError]:
        """Return each topic's configuration, or the error when it is gone or may not be read."""
        listed = list(topics)
        answers = self.ask_each(
            lambda admin, some: admin.describe_configs(some, request_timeout=TIMEOUT_S),
            [ConfigResource(ConfigResource.Type.TOPIC, name) for name in listed],
            what=_of_topics(Operation.DESCRIBE_CONFIGS, "read the configuration of", listed),
        )
        settings: dict[str, dict[str, str] | LabkitError] = {}
        for topic, answer in answers.items():
            if isinstance(answer, LabkitError):
                settings[topic.name] = answer
            else:
                settings[topic.name] = {key: entry.value for key, entry in answer.items()}
        return settings

    def topic_id(self, topic: str) -> str:
        """Return the topic's own id: a topic made again under the same name has another."""
        collection = TopicCollection([topic])
        descriptions = self.ask(
            lambda admin: admin.describe_topics(collection, request_timeout=TIMEOUT_S),
            what=Operation.DESCRIBE.to(f"describe topic {topic!r}", topic=topic),
        )
        return str(descriptions[topic].topic_id)

    def require_write(self, topic: str) -> None:
        """Raise an AccessError when the broker says that this principal may not write to the topic.

        To ask is needed: a principal that may write to any topic gets an idempotent producer, and
        hears only with the first record that it is not for this one (KIP-679).
        """
        collection = TopicCollection([topic])
        description = self.ask(
            lambda admin: admin.describe_topics(
                collection, include_authorized_operations=True, request_timeout=TIMEOUT_S
            ),
            what=Operation.DESCRIBE.to(f"describe topic {topic!r}", topic=topic),
        )[topic]
        allowed = {AclOperation(operation) for operation in description.authorized_operations or ()}
        if allowed and not allowed & {AclOperation.WRITE, AclOperation.ALL}:
            raise self.error(
                KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED),
                Operation.WRITE.to(f"write to topic {topic!r}", topic=topic),
            )

    def alter_topic(self, topic: str, settings: Mapping[str, str]) -> None:
        """Set some of the topic's configuration, and wait until the broker tells it.

        The rest stays.
        """
        resource = ConfigResource(
            ConfigResource.Type.TOPIC,
            topic,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in settings.items()
            ],
        )
        self.ask(
            lambda admin: admin.incremental_alter_configs([resource], request_timeout=TIMEOUT_S),
            what=Operation.ALTER_CONFIGS.to(f"alter topic {topic!r}", topic=topic),
        )
        deadline = time.monotonic() + SETTLE_S
        while (
            time.monotonic() < deadline
            and not settings.items() <= self.topic_settings([topic])[topic].items()
        ):
            time.sleep(0.05)  # the broker that is asked hears of it a moment later


def _of_topics(operation: Operation, verb: str, topics: Collection[str]) -> Action:
    """Return what is done to some topics: one is named."""
    only = next(iter(topics)) if len(topics) == 1 else ""
    return operation.to(f"{verb} topic {only!r}" if only else f"{verb} the topics", topic=only)


def replay_group() -> str:
    """Return a group id for one read.

    It only names the reader: with assign() and no commit, no group is made.
    """
    return f"{names.GROUP_PREFIX}{names.user()}.replay-{uuid.uuid4().hex[:12]}"


def no_leader(topic: str, partitions: Sequence[int], live: Sequence[int] = ()) -> ServerError:
    """Return the error for partitions that no broker leads.

    `live` are those of the topic that can be read.
    """
    many = len(partitions) > 1
    names_ = ", ".join(map(str, partitions))
    others = typed(f"partitions={list(live)}", f"--partitions {','.join(map(str, live))}")
    rest = f"; without {'them' if many else 'it'}: {others}" if live else ""
    return ServerError(
        f"partition{'s' if many else ''} {names_} of topic {topic!r} {'have' if many else 'has'} no leader",
        hint=f"{'their' if many else 'its'} brokers are down{rest}",
        leaderless=list(partitions),
        live=list(live),
    )


def _require_offset(offset: int, *, by_time: bool) -> None:
    """Raise unless it is an offset.

    For a leader that has just died, librdkafka answers -1001 without an error. -1 stands for no
    record at or after a time.
    """
    if offset < (-1 if by_time else 0):
        raise ServerError(f"Kafka's client answered with the offset {offset}", unsure=True)
