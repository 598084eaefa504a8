"""A principal's Kafka clients; only this module makes them."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ParamSpec

from confluent_kafka import Consumer as _Consumer
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Producer as _Producer
from confluent_kafka.admin import AdminClient

from labkit.checks import names
from labkit.config.oauth_token import SETTING, TokenCallback, mechanism_of, token_callback
from labkit.config.secrets import seal
from labkit.kafka.errors import is_no_refusal, setting_error
from labkit.text.masking import without_login
from labkit.waiting.interrupt import show_interrupts

# new partitions are read after so long; librdkafka would look every five minutes
PARTITIONS_SEEN_MS = 20_000
SPARE_S = 60.0  # an unused consumer is taken again for so long
_KEPT = 1_000  # errors; a client tells several a second while its brokers are away
_CLASSIC = {"session_timeout_ms", "partition_assignment_strategy", "heartbeat_interval_ms"}
_CERTIFICATES = ("certificate.location", "certificate.pem", "keystore.location")

Arguments = ParamSpec("Arguments")

_quiet = logging.getLogger("labkit.librdkafka")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


def weakly(method: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Return a callback that does not keep its object alive: a client holds its callbacks.

    In a circle of both, the client's threads would run on, unused.
    """
    reference = weakref.WeakMethod(method)

    def call(*arguments: Arguments.args, **options: Arguments.kwargs) -> None:
        if (bound_method := reference()) is not None:
            bound_method(*arguments, **options)

    return call


def _setting(name: str) -> str:
    """Return the name of a property that was given as a keyword; callbacks are named so."""
    return name if name.endswith("_cb") else name.replace("_", ".")


@dataclass
class LentConsumer:
    """A consumer that one reading after the other takes.

    Attributes
    ----------
    use : hashable
        What it reads, and how.
    good_until : float
        Until when an unused one is taken again, on `time.monotonic`.
    """

    consumer: _Consumer
    group: str
    use: Hashable
    good_until: float = 0.0


class Clients:
    """The Kafka clients of one principal.

    Parameters
    ----------
    settings : mapping
        librdkafka properties.
    role : {"lab", "indexer", "extractor"}
        Which of labkit's roles it works as: an error about a missing right names what to grant.

    Notes
    -----
    Making one opens no connection.
    """

    def __init__(self, settings: Mapping[str, Any], *, role: str = "lab") -> None:
        self.role = role
        self._settings = seal(settings)
        # with when each was told: several threads may ask, each of which looks at those since it began
        self._told: deque[tuple[float, KafkaError]] = deque(maxlen=_KEPT)
        # by process; a parent's is kept, and never freed, in its child
        self._admins: dict[int, AdminClient] = {}
        self._spares: dict[int, LentConsumer] = {}  # by process, likewise

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r}, principal={self.principal!r})"

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
        """Who asks, as the broker sees it.

        Which name it gives a certificate or token, only the broker knows.
        """
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
            # a frozen broker is left after it, and nothing is read meanwhile: a minute by default,
            # as long as a whole reading waits
            "socket.timeout.ms": 20_000,
            "reconnect.backoff.max.ms": 2_000,
            **self._settings,
            **{_setting(name): value for name, value in extra.items()},
            "error_cb": weakly(self.note_error),
        }

    def note_error(self, error: KafkaError) -> None:
        """Keep what a client tells of its connections: it says why an answer does not come."""
        if is_no_refusal(error):
            return
        self._told.append((time.monotonic(), error))

    def client_settings(self) -> dict[str, Any]:
        """Return what another process needs to make a client: `oauth_cb` by its name."""
        settings = self._client_settings(allow_auto_create_topics=False)
        return {name: value for name, value in settings.items() if name != "error_cb"}

    def _make(self, kind: Callable[..., Any], **settings: Any) -> Any:
        """Return a client of `kind`.

        What librdkafka does not take of its settings becomes labkit's error.
        """
        settings = self._client_settings(**settings)
        if self.token is not None:
            # confluent_kafka does not say why it failed
            self.token(str(settings.get("sasl.oauthbearer.config", "")))
            settings[SETTING] = self.token
        try:
            with show_interrupts():  # while it waits for a token, a second or more
                return kind(settings, logger=_quiet)
        except KafkaException as error:
            raise setting_error(error.args[0]) from error

    @cached_property
    def token(self) -> TokenCallback | None:
        """The function that gives the login's tokens, where the profile names one."""
        return token_callback(self._settings)

    @property
    def token_problem(self) -> str:
        """Why there is no token to log in with; empty while there is one, or none is needed."""
        if self.token is None or not self.token.problem or self.token.expires_in_s:
            return ""
        return f"no OAUTHBEARER token: {self.token.problem}"

    def note_token_problem(self, problem: str) -> None:
        """Keep why another process has no token; empty when it got one."""
        if self.token is not None:
            self.token.problem = problem

    @property
    def admin(self) -> AdminClient:
        """The admin client of this cluster.

        One for each process, for librdkafka's threads do not survive a fork.
        """
        if self.token_problem:
            self.renew()  # this one would ask for a token in ten seconds, a new one asks at once
        process = os.getpid()
        client = self._admins.get(process)
        if client is None:  # another thread may make one too, or throw it away at any time
            # without the setting a misspelt name would make a topic
            client = self._make(AdminClient, allow_auto_create_topics=False)
            client = self._admins.setdefault(process, client)
        return client

    def renew(self) -> None:
        """Throw the admin client away: after a time-out it goes on asking dead brokers."""
        old = self._admins.pop(os.getpid(), None)
        if old is not None:  # its end waits for its threads: not here
            threading.Thread(target=[old].clear, daemon=True).start()

    def consumer(self, *, group: str, **settings: Any) -> _Consumer:
        """Return a new consumer that commits nothing by itself."""
        defaults = {
            "enable_auto_commit": False,
            "auto_offset_reset": "error",
            # by default librdkafka waits a second when its queue is full: 8 times slower
            "fetch_queue_backoff_ms": 10,
            "topic_metadata_refresh_interval_ms": PARTITIONS_SEEN_MS,
        }
        names.group(group)
        # there the broker has these settings
        if self._settings.get("group.protocol") == "consumer":
            settings = {name: value for name, value in settings.items() if name not in _CLASSIC}
        return self._make(_Consumer, group_id=group, **{**defaults, **settings})  # type: ignore[no-any-return]

    def lend_consumer(self, use: Hashable, *, group: str, **settings: Any) -> LentConsumer:
        """Return the spare consumer where it had the same use, else a new one.

        A new one costs a login, and a second where a function gives the tokens.
        """
        spare = self._spares.pop(os.getpid(), None)  # of two threads one gets it
        if spare is not None:
            if spare.use == use and time.monotonic() < spare.good_until:
                return spare
            spare.consumer.close()
        return LentConsumer(self.consumer(group=group, **settings), group, use)

    def keep_consumer(self, lent: LentConsumer) -> None:
        """Keep a consumer that is in order as the spare one, for the next reading of its kind."""
        lent.consumer.unassign()
        lent.good_until = time.monotonic() + SPARE_S
        before = self._spares.pop(os.getpid(), None)
        self._spares[os.getpid()] = lent
        if before is not None:
            before.consumer.close()

    def producer(self, **settings: Any) -> _Producer:
        """Return a new idempotent producer, ``acks=all``."""
        defaults = {"enable_idempotence": True, "acks": "all"}
        return self._make(_Producer, **{**defaults, **settings})  # type: ignore[no-any-return]
