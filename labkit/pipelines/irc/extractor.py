"""Following the channels of an IRC server, each line into a topic as it came."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from labkit.errors import LabkitError, UsageError
from labkit.kafka.cluster import Cluster
from labkit.pipelines.delivery import Sink
from labkit.pipelines.irc.channels import check_channels
from labkit.pipelines.irc.login import check_nick
from labkit.pipelines.irc.session import IrcReport, Server, Session
from labkit.pipelines.irc.wire import Dialer
from labkit.pipelines.spool import Spool
from labkit.pipelines.spooled import SpooledSink
from labkit.pipelines.topic_sink import TopicSink

_log = logging.getLogger(__name__)
SPOOL_BYTES = 1_000_000_000


class IrcExtractor:
    """Follow channels of one IRC server and write each line about them to a topic.

    Parameters
    ----------
    cluster : Cluster
        As a principal that may write to `topic`.
    topic : str
    server : str
        Host name or address; also what the records call it.
    nick : str
        When it is taken, ``_`` is appended.
    channels : iterable of str
        ``"#name"``, or ``"#name key"``.
    port : int, optional
        6697 with TLS, else 6667.
    tls : bool
        The certificate is always verified.
    tls_ca : Path, optional
        Certificates to trust instead of the system's.
    password : str, optional
        The server's password.
    sasl : tuple of str, optional
        User and password for SASL PLAIN.
    say : callable, optional
        Takes one line of text for each thing a person would want to know; logged otherwise.
    spool : Path, optional
        A file in which records wait while Kafka is away; without one they wait in memory.
        See `labkit.pipelines.spooled`.
    spool_bytes : int
        How large it may grow; what comes then is dropped, and counted.
    sink : callable, optional
        Makes another place for the records than the topic, given what tells it to give up.

    Attributes
    ----------
    joined : threading.Event
        Set while a run is in all of the channels.

    Raises
    ------
    UsageError, ConfigError
        For an argument that cannot be right.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        *,
        server: str,
        nick: str,
        channels: Iterable[str],
        port: int | None = None,
        tls: bool = False,
        tls_ca: Path | None = None,
        password: str | None = None,
        sasl: tuple[str, str] | None = None,
        say: Callable[[str], None] = _log.info,
        spool: Path | None = None,
        spool_bytes: int = SPOOL_BYTES,
        sink: Callable[[Callable[[], bool]], Sink] | None = None,
    ) -> None:
        self.cluster = cluster
        self.topic = topic
        self.say = say
        self.joined = threading.Event()
        self._sink = sink or self._topic_sink
        self._spool = None if spool is None else (spool, spool_bytes)
        port = (6697 if tls else 6667) if port is None else port
        for secret in (password, *(sasl or ())):
            if secret is not None and (
                not 0 < len(secret.encode()) <= 400 or any(c in secret for c in "\r\n\0")
            ):
                raise UsageError(
                    "a password and a user must have 1 to 400 bytes and no line break",
                    hint="check the server password and the SASL user and password",
                )
        dial = Dialer(server, port, tls=tls, tls_ca=tls_ca)
        self.server = Server(
            server, port, check_nick(nick), check_channels(channels), dial, password, sasl
        )
        if (password or sasl) and not tls:
            say("the password goes over the network unencrypted; --tls would protect it")

    def _topic_sink(self, give_up: Callable[[], bool]) -> Sink:
        make = partial(TopicSink, self.cluster, self.topic, patience_s=0, give_up=give_up)
        return make() if self._spool is None else SpooledSink(Spool(*self._spool), make, self.say)

    def __repr__(self) -> str:
        return f"IrcExtractor({self.server}, channels={list(self.server.channels)}, topic={self.topic!r})"

    def run(
        self,
        stop: threading.Event | None = None,
        *,
        max_records: int | None = None,
        max_seconds: float | None = None,
    ) -> IrcReport:
        """Follow the channels until cancelled; come back after every loss.

        Parameters
        ----------
        stop : threading.Event, optional
            Set it to end the run: QUIT is sent, what still arrives is recorded and all records are
            flushed. A signal's handler may set it.
        max_records, max_seconds : optional
            End by itself after as many records or seconds.

        Raises
        ------
        AccessError
            The server does not let us in (the first time; later it is tried again).
        UnavailableError
            There is no such host; Kafka did not take the last records. Its ``report`` counts them.
        LabkitError
            The topic cannot be written to.
        """
        stop = stop or threading.Event()
        with self._sink(stop.is_set) as sink:
            session = Session(
                self.server,
                self.say,
                sink,
                stop,
                joined=self.joined,
                max_records=max_records,
                max_seconds=max_seconds,
            )
            try:
                session.follow()
                sink.close()
            except LabkitError as error:
                error.add_facts(report=session.report())
                raise
        return session.report()
