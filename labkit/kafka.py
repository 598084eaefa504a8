"""Kafka: the only module that makes confluent_kafka clients, and where their errors become labkit's."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from confluent_kafka import Consumer as _Consumer
from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka import Producer as _Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
)

from labkit import names
from labkit.errors import AccessError, LabkitError, NotFoundError, ServerError
from labkit.kafka_errors import LOGIN, MISSING, PASSING, mapped, mechanism_of, rank, setting_error
from labkit.masking import without_login
from labkit.secret import sealed

Where = tuple[str, int]  # topic, partition
TIMEOUT_S = 10.0
AWAY_TIMEOUT_S = 3.0  # when no broker at all can be reached
_CLASSIC = {"session_timeout_ms", "partition_assignment_strategy", "heartbeat_interval_ms"}
_CERTIFICATES = ("certificate.location", "certificate.pem", "keystore.location")
TIMES_IN_FLIGHT = 50
IN_FLIGHT = 500  # requests about many things: enough for a full pipe, each well within its own time

_quiet = logging.getLogger("labkit.librdkafka")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


class Cluster:
    """One Kafka cluster, seen as one principal.

    Parameters
    ----------
    settings : mapping
        librdkafka properties.

    Notes
    -----
    Making one opens no connection.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = sealed(settings)
        self._last_error: KafkaError | None = None
        self._all_away = False
        self._admins: dict[int, AdminClient] = {}  # by process; a parent's is kept, and never freed, in its child

    def __repr__(self) -> str:
        return f"Cluster({self.address!r}, principal={self.principal!r})"

    @property
    def address(self) -> str:
        """The bootstrap servers."""
        return without_login(str(self._settings.get("bootstrap.servers", "")))

    @property
    def settings(self) -> dict[str, Any]:
        """Its librdkafka properties, secrets too: for looking at, not for showing."""
        return dict(self._settings)

    @property
    def principal(self) -> str:
        """Who asks, as the broker sees it; which name it gives a certificate or token, only the broker knows."""
        if name := self._settings.get("sasl.username"):
            return f"User:{name}"
        if mechanism_of(self._settings) == "OAUTHBEARER":
            return "the token's owner"
        certificate = any(self._settings.get(f"ssl.{kind}") for kind in _CERTIFICATES)
        return "the client certificate's owner" if certificate else "User:ANONYMOUS"

    @property
    def client_id(self) -> str:
        """What all clients of this cluster call themselves; group members show it."""
        return str(self._settings.get("client.id", f"labkit.{names.user()}"))

    # clients -----------------------------------------------------------------------------------------

    def _client_settings(self, **extra: Any) -> dict[str, Any]:
        return {
            "client.id": self.client_id,
            "socket.connection.setup.timeout.ms": 10_000,
            "reconnect.backoff.max.ms": 2_000,
            **self._settings,
            **{key.replace("_", "."): value for key, value in extra.items()},
            "error_cb": self._note_error,
        }

    def _note_error(self, error: KafkaError) -> None:
        self._all_away |= error.code() == KafkaError._ALL_BROKERS_DOWN
        if rank(error) >= rank(self._last_error):
            self._last_error = error

    def _make(self, kind: Callable[..., Any], **settings: Any) -> Any:
        """Return a client of `kind`; what librdkafka does not take of its settings becomes labkit's error."""
        try:
            return kind(self._client_settings(**settings), logger=_quiet)
        except KafkaException as error:
            raise setting_error(error.args[0]) from error

    @property
    def admin(self) -> AdminClient:
        """The admin client of this cluster; one for each process, for librdkafka's threads do not survive a fork."""
        process = os.getpid()
        if process not in self._admins:
            self._admins[process] = self._make(AdminClient, allow_auto_create_topics=False)  # by a misspelt name
        return self._admins[process]

    def consumer(self, *, group: str, **settings: Any) -> _Consumer:
        """Return a new consumer that commits nothing unless told to."""
        # librdkafka stops fetching for a second when its queue is full; measured: 8 times slower than looking soon
        defaults = {"enable_auto_commit": False, "auto_offset_reset": "error", "fetch_queue_backoff_ms": 10}
        names.group(group)
        if self._settings.get("group.protocol") == "consumer":  # there the broker has these settings
            settings = {name: value for name, value in settings.items() if name not in _CLASSIC}
        return self._make(_Consumer, group_id=group, **{**defaults, **settings})  # type: ignore[no-any-return]

    def producer(self, **settings: Any) -> _Producer:
        """Return a new idempotent producer, ``acks=all``."""
        defaults = {"enable_idempotence": True, "acks": "all"}
        return self._make(_Producer, **{**defaults, **settings})  # type: ignore[no-any-return]

    # asking ------------------------------------------------------------------------------------------

    def ask(self, call: Callable[[AdminClient], Any], *, what: str, timeout_s: float = TIMEOUT_S) -> Any:
        """Run an admin call and return its result; its errors become labkit's.

        Parameters
        ----------
        call : callable
            Takes the admin client; returns a value, a future, or a dict of futures.
        what : str
            What was asked, for the message of an error.
        """
        self.cluster_id  # noqa: B018  first contact fails within seconds, and says why
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self._ask(call, what, timeout_s)
            except ServerError as error:  # a coordinator or leader that moves is there again in a moment
                if error.facts.get("number") not in PASSING or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def ask_each(
        self,
        call: Callable[[AdminClient, list[Any]], dict[Any, Any]],
        items: Iterable[Any],
        *,
        what: str,
        in_flight: int = IN_FLIGHT,
    ) -> dict[Any, Any]:
        """Run an admin call for many things, `in_flight` at once; what is refused for one is its value, not an error.

        Parameters
        ----------
        call : callable
            Takes the admin client and some of the items; returns a future for each.

        Returns
        -------
        dict
            Item to result, or to the LabkitError that stands for it. That nobody answers is raised.
        """
        self.cluster_id  # noqa: B018
        found: dict[Any, Any] = {}
        waiting, deadline = list(items), time.monotonic() + TIMEOUT_S
        while waiting:
            now, waiting = waiting[:in_flight], waiting[in_flight:]
            with self.errors(what):
                answers = call(self.admin, now)
            again = []
            for item, future in answers.items():
                try:
                    with self.errors(what):
                        found[item] = self._await(future, TIMEOUT_S)
                except (AccessError, NotFoundError, ServerError) as error:
                    passing = error.facts.get("number") in PASSING and time.monotonic() < deadline
                    if passing:
                        again.append(item)
                    else:
                        found[item] = error
            if again:
                waiting += again
                time.sleep(0.2)
        return found

    def _ask(self, call: Callable[[AdminClient], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
        with self.errors(what):
            answer = call(self.admin)
            if isinstance(answer, dict):
                return {key: self._await(item, timeout_s) for key, item in answer.items()}
            return self._await(answer, timeout_s)

    def _await(self, answer: Any, timeout_s: float) -> Any:
        """Return the future's result; give up early when the login is refused or nobody listens."""
        if not hasattr(answer, "result"):
            return answer
        start = time.monotonic()
        while True:
            try:
                return answer.result(0.1)
            except TimeoutError:
                if self._hopeless(time.monotonic() - start, timeout_s + 1):
                    raise

    def _hopeless(self, waited_s: float, timeout_s: float) -> bool:
        self.admin.poll(0)  # a refused login is told only to the error callback, and that is called here
        refused = self._last_error is not None and self._last_error.code() in LOGIN
        return waited_s > timeout_s or refused or (self._all_away and waited_s > AWAY_TIMEOUT_S)

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Turn confluent_kafka's errors into labkit's while `what` is done."""
        self._last_error, self._all_away = None, False
        try:
            yield
        except KafkaException as error:
            self.admin.poll(0)
            raise self.error(error.args[0], what) from error
        except TimeoutError as error:
            raise self.error(KafkaError(KafkaError._TIMED_OUT), what) from error

    def error(self, error: KafkaError, what: str) -> LabkitError:
        """Return labkit's error for a Kafka error."""
        return mapped(error, self._last_error, what, principal=self.principal, settings=self._settings)

    # facts -------------------------------------------------------------------------------------------

    @cached_property
    def cluster_id(self) -> str:
        """The cluster's own id."""
        found = self._ask(lambda admin: admin.describe_cluster(request_timeout=TIMEOUT_S), "describe the cluster")
        return str(found.cluster_id)

    def metadata(self, timeout_s: float = TIMEOUT_S) -> ClusterMetadata:
        """Return what a bootstrap server tells of brokers and topics; no advertised address is used."""
        start = time.monotonic()
        with self.errors("log in"):
            while True:
                self.admin.poll(0.05)  # an OAUTHBEARER token is fetched here
                try:
                    return self.admin.list_topics(timeout=0.5)
                except KafkaException:
                    if self._hopeless(time.monotonic() - start, timeout_s):
                        raise

    def topics(self) -> dict[str, list[int]]:
        """Return each topic's partitions, internal topics left out."""
        found = self.ask(lambda admin: admin.list_topics(timeout=TIMEOUT_S), what="list the topics")
        return {
            name: sorted(meta.partitions)
            for name, meta in sorted(found.topics.items())
            if not name.startswith("__") and meta.error is None
        }

    def partitions(self, topic: str) -> list[int]:
        """Return the partitions of `topic`.

        Raises
        ------
        NotFoundError
            When there is no such topic or this principal may not see it; Kafka does not tell which.
        """
        names.topic(topic)
        found = self.ask(lambda admin: admin.list_topics(topic, timeout=TIMEOUT_S), what=f"describe topic {topic!r}")
        meta = found.topics[topic]
        if meta.error is not None:
            if meta.error.code() in MISSING:
                raise NotFoundError(
                    f"there is no topic {topic!r} on {self.address}, or {self.principal} may not see it",
                    hint="`labkit topics` lists those you may see",
                    topic=topic,
                )
            raise self.error(meta.error, f"describe topic {topic!r}")
        return sorted(meta.partitions)

    def bounds(self, topic: str, partitions: Iterable[int], at: str | int) -> dict[int, int]:
        """Return an offset for each partition, in one request for all.

        Parameters
        ----------
        at : "earliest", "latest", "stable" or int
            The log's start, its end (high watermark), the last stable offset (the first one an open transaction
            may still change), or the first record at or after a time in milliseconds; for that, -1 means none.
        """
        committed = at == "stable"
        spec = {
            "earliest": OffsetSpec.earliest,
            "latest": OffsetSpec.latest,
            "stable": OffsetSpec.latest,
        }.get(str(at), lambda: OffsetSpec.for_timestamp(int(at)))()
        asked = {TopicPartition(topic, partition): spec for partition in partitions}
        if not asked:
            return {}
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        found = self.ask(
            lambda admin: admin.list_offsets(asked, isolation_level=level, request_timeout=TIMEOUT_S),
            what=f"list the offsets of topic {topic!r}",
        )
        return {item.partition: info.offset for item, info in found.items()}

    def offsets_at(self, topic: str, partitions: Sequence[int], times_ms: Sequence[int]) -> list[list[int]]:
        """Return, for each of many times, the first offset at or after it by partition; -1 for none.

        Requests of some times are under way at once, so that a hundred take little longer than one.
        """
        found: list[list[int]] = []
        for first in range(0, len(times_ms), TIMES_IN_FLIGHT):
            some = times_ms[first : first + TIMES_IN_FLIGHT]

            def call(admin: AdminClient, some: Sequence[int] = some) -> dict[tuple[int, int], Any]:
                waiting: dict[tuple[int, int], Any] = {}
                for ms in some:
                    asked = {TopicPartition(topic, one): OffsetSpec.for_timestamp(ms) for one in partitions}
                    answers = admin.list_offsets(asked, request_timeout=TIMEOUT_S)
                    waiting |= {(ms, item.partition): future for item, future in answers.items()}
                return waiting

            answers = self.ask(call, what=f"list the offsets of topic {topic!r} by time")
            found += [[int(answers[ms, one].offset) for one in partitions] for ms in some]
        return found

    def span(self, topic: str, partitions: Sequence[int]) -> tuple[int, int] | None:
        """Return the time of the first record by offset, and the newest time, in ms; None when no record has one."""
        edges: list[list[int]] = []
        for spec in (OffsetSpec.for_timestamp(0), OffsetSpec.max_timestamp()):

            def call(admin: AdminClient, spec: OffsetSpec = spec) -> Any:
                asked = {TopicPartition(topic, one): spec for one in partitions}
                return admin.list_offsets(asked, request_timeout=TIMEOUT_S)

            answers = self.ask(call, what=f"list the times of topic {topic!r}")
            edges.append([info.timestamp for info in answers.values() if info.offset >= 0 and info.timestamp >= 0])
        return (min(edges[0]), max(edges[1])) if all(edges) else None

    def log_bounds(self, partitions: Iterable[Where]) -> dict[Where, tuple[int, int] | LabkitError]:
        """Return the log's start and its end (high watermark) of partitions of any topics, in a few requests for all.

        A partition that is gone, has no leader, or that this principal may not see, has the error in their place.
        """
        wanted = sorted(set(partitions))
        found: dict[Where, tuple[int, int] | LabkitError] = {**self._leaderless(wanted)}
        asked, sides = [TopicPartition(*one) for one in wanted if one not in found], []
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):

            def call(admin: AdminClient, some: list[TopicPartition], spec: OffsetSpec = spec) -> dict[Any, Any]:
                level = IsolationLevel.READ_UNCOMMITTED
                answers = admin.list_offsets(
                    dict.fromkeys(some, spec), isolation_level=level, request_timeout=TIMEOUT_S
                )
                return dict(answers)

            sides.append(self.ask_each(call, asked, what="list the topics' offsets", in_flight=5_000))
        for one in asked:
            both = [side[one] for side in sides]
            error = next((info for info in both if isinstance(info, LabkitError)), None)
            found[one.topic, one.partition] = error or (both[0].offset, both[1].offset)
        return found

    def _leaderless(self, partitions: Sequence[Where]) -> dict[Where, LabkitError]:
        """Return which partitions nobody can be asked of, and why: librdkafka tells of all such that none is there."""
        topics = self.ask_each(
            lambda admin, some: admin.describe_topics(TopicCollection(some), request_timeout=TIMEOUT_S),
            sorted({topic for topic, _ in partitions}),
            what="describe the topics",
        )
        leaders = {
            (topic, one.id): one.leader
            for topic, answer in topics.items()
            if not isinstance(answer, LabkitError)
            for one in answer.partitions
        }
        found: dict[Where, LabkitError] = {}
        for where in partitions:
            if isinstance(topics[where[0]], LabkitError):
                found[where] = topics[where[0]]
            elif where not in leaders:
                found[where] = NotFoundError(f"topic {where[0]!r} has no partition {where[1]}")
            elif leaders[where] is None:
                text = f"partition {where[1]} of topic {where[0]!r} has no leader"
                found[where] = ServerError(text, hint="is one of its brokers down?", leaderless=True)
        return found

    def topic_settings(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return each topic's configuration."""
        found: dict[str, dict[str, str]] = {}
        for topic, settings in self.each_topic_settings(topics).items():
            if isinstance(settings, LabkitError):
                raise settings
            found[topic] = settings
        return found

    def each_topic_settings(self, topics: Iterable[str]) -> dict[str, dict[str, str] | LabkitError]:
        """Return each topic's configuration, or the error when it is gone or may not be told."""
        found = self.ask_each(
            lambda admin, some: admin.describe_configs(some, request_timeout=TIMEOUT_S),
            [ConfigResource(ConfigResource.Type.TOPIC, name) for name in topics],
            what="read the topics' configuration",
        )
        return {
            topic.name: told if isinstance(told, LabkitError) else {key: one.value for key, one in told.items()}
            for topic, told in found.items()
        }

    def topic_id(self, topic: str) -> str:
        """Return the topic's own id: a topic made again under the same name has another."""
        asked = TopicCollection([topic])
        found = self.ask(
            lambda admin: admin.describe_topics(asked, request_timeout=TIMEOUT_S), what=f"describe topic {topic!r}"
        )
        return str(found[topic].topic_id)

    def alter_topic(self, topic: str, settings: Mapping[str, str]) -> None:
        """Set some of the topic's configuration; the rest stays."""
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
            what=f"alter topic {topic!r}",
        )


def replay_group() -> str:
    """Return a group id for one read. It only names the reader: with assign() and no commit, no group is made."""
    return f"{names.GROUP_PREFIX}{names.user()}.replay-{uuid.uuid4().hex[:12]}"
