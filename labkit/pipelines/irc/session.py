"""One run of the IRC extractor, over as many connections as it takes."""

from __future__ import annotations

import random
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from labkit.errors import AccessError, ConfigError, UnavailableError, UsageError
from labkit.pipelines.delivery import Counts, Sink
from labkit.pipelines.irc.casemapping import CaseMapping
from labkit.pipelines.irc.channels import Channels
from labkit.pipelines.irc.login import Login
from labkit.pipelines.irc.record import UNPARSED, parse, record, text
from labkit.pipelines.irc.wire import Connection, Dialer, Reactor, ServerConnectionError
from labkit.times import now_ms
from labkit.waiting.notice import WaitNotice

PING_AFTER_S = 25.0
DEAD_AFTER_S = 60.0
_TURN_S = 0.2
_GOODBYE_S = 2.0
_STEADY_S = 10.0
_KAFKA_SLOW_S = 30.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0


@dataclass(frozen=True)
class Server:
    """Where to connect and as whom."""

    host: str
    port: int
    nick: str
    channels: dict[str, str] = field(repr=False)  # a channel's key is a secret too
    dial: Dialer = field(repr=False)
    password: str | None = field(repr=False, default=None)
    sasl: tuple[str, str] | None = field(repr=False, default=None)


@dataclass(frozen=True)
class IrcReport:
    """What a run of the extractor did.

    Attributes
    ----------
    lines : int
        Lines the server sent.
    records : int
        Those about a channel, sent to the topic; the last sequence number too.
    unparsed : int
        Records among them whose line could not be parsed.
    connections, losses : int
        Times we were let in, and times a connection was lost.
    counts : Counts
        Where the records are.
    rejections : tuple of str
        The first records Kafka refused, and why.
    """

    lines: int
    records: int
    unparsed: int
    connections: int
    losses: int
    counts: Counts
    rejections: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.counts.delivered:,} of {self.counts.sent:,} records delivered ({self.unparsed:,} unparsed, "
            f"{self.counts.rejected:,} rejected), {self.connections} connections, {self.losses} lost"
        )


class Session:
    """One run of an extractor, over as many connections as it takes."""

    def __init__(
        self,
        server: Server,
        say: Callable[[str], None],
        sink: Sink,
        stop: threading.Event,
        *,
        joined: threading.Event,
        max_records: int | None = None,
        max_seconds: float | None = None,
    ) -> None:
        self.server = server
        self.say = say
        self.sink = sink
        self.stop = stop
        self.joined = joined
        self.max_records = max_records
        self.ends_at = None if max_seconds is None else time.monotonic() + max_seconds
        self.leaving = False
        self.lines = self.records = self.unparsed = self.connections = self.losses = 0
        self.reactor = Reactor(on_connect=self._on_socket)
        self.connection: Connection = self.reactor.server()
        self.connection.on_line = self._on_line
        self.case = CaseMapping()
        self.channels = Channels(server.channels, say=say)
        self.login = self._new_login()
        self.pinged_at = self.turned_at = 0.0
        self.kafka = _KafkaWatch(sink, say)

    def report(self) -> IrcReport:
        counts, rejections = self.sink.counts, tuple(self.sink.rejections)
        numbers = (self.lines, self.records, self.unparsed, self.connections, self.losses)
        return IrcReport(*numbers, counts=counts, rejections=rejections)

    def ended(self) -> bool:
        full = self.max_records is not None and self.records >= self.max_records
        return (
            full
            or self.stop.is_set()
            or (self.ends_at is not None and time.monotonic() >= self.ends_at)
        )

    def follow(self) -> None:
        wait_s = _FIRST_WAIT_S
        try:
            while not self.ended():
                started = time.monotonic()
                why = self._one_connection()
                if self.ended():
                    break
                if self.login.welcome and time.monotonic() - started > _STEADY_S:
                    wait_s = _FIRST_WAIT_S
                # jitter: a thousand clients of a restarted server must not all come back in the
                # same second
                jitter = random.uniform(0.75, 1.25)  # noqa: S311
                pause_s = min(max(wait_s * jitter, _FIRST_WAIT_S), _LONGEST_WAIT_S)
                self.say(f"{why}; trying again in {pause_s:.1f} s")
                self._pause(pause_s)
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
        finally:
            self._goodbye()

    def _one_connection(self) -> str:
        """Connect and follow until the connection is lost; return why."""
        where = f"{self.server.host}:{self.server.port}"
        self.login = self._new_login()
        self._leave_channels()
        self.connection.why_lost = ""
        self.connection.heard_at = self.pinged_at = time.monotonic()
        try:
            self._connect()
        except ServerConnectionError as error:
            cause = error.__cause__
            if self.connections == 0 and isinstance(cause, OSError):
                _hopeless(cause, where)
            return f"cannot connect to {where}: {cause or error}"
        try:
            while self.connection.connected and not self.ended():
                self.reactor.process_once(_TURN_S)
                self._turn()
        except (AccessError, UsageError) as error:
            if self.connections == 0 or error is self.sink.error:
                raise
            self.connection.disconnect(error.message)
        if self.login.welcome and not self.connection.connected:
            self.losses += 1
            self._leave_channels()
        return f"connection to {where} lost: {self.connection.why_lost}"

    def _connect(self) -> None:
        self.connection.connect(
            self.server.host,
            self.server.port,
            self.server.nick,
            password=self.server.password,
            username="labkit",
            ircname="labkit extractor",
            connect_factory=self.server.dial,
        )

    def _new_login(self) -> Login:
        return Login(self.connection, nick=self.server.nick, sasl=self.server.sasl, say=self.say)

    def _on_socket(self, _socket: socket.socket) -> None:
        self.login.begin()  # the library calls this after connecting and before NICK and USER

    def _on_line(self, line: bytes) -> None:
        received_ms = now_ms()
        self.lines += 1
        if self.max_records is None or self.records < self.max_records:
            self._record(line, received_ms)
        self.connection.understand(line)
        if self.leaving or (parsed := parse(line)) is None:
            return
        self.case = self.channels.case = self.case.told_by(parsed)
        if parsed.command == b"ERROR":
            self.connection.why_lost = (
                text(parsed.params[-1]) if parsed.params else "the server said ERROR"
            )
        was_welcome = self.login.welcome
        self.login.handle(parsed)
        if self.login.welcome and not was_welcome:
            self._welcome()
        self.channels.handle(parsed, str(self.connection.real_nickname))
        if self.channels.joined_all:
            self.joined.set()
        else:
            self.joined.clear()

    def _leave_channels(self) -> None:
        self.channels.forget_all()
        self.joined.clear()

    def _record(self, line: bytes, received_ms: int) -> None:
        message = record(
            line,
            received_ms=received_ms,
            server=self.server.host,
            sequence=self.records + 1,
            fold=self.case.fold,
        )
        if message is None:
            return
        self.records += 1
        self.unparsed += message.command == UNPARSED
        self.sink.send(message.key, message.value, message.headers, message.timestamp_ms)

    def _welcome(self) -> None:
        self.connections += 1
        self.say(f"connected to {self.server.host} as {self.connection.real_nickname}")
        # after the welcome, so that a server without CAP loses nothing but an error line; one
        # request each, for a server refuses a request as a whole
        self.connection.cap("REQ", "server-time")
        self.connection.cap("REQ", "message-tags")
        self.channels.join(self.connection)

    def _turn(self) -> None:
        """Do what is due: the sink's work each time, the rest about once a second."""
        self.sink.serve()
        now = time.monotonic()
        if now - self.turned_at < 1:
            return
        self.turned_at = now
        self.kafka.look()
        if not self.connection.connected:
            return
        if self.login.welcome:
            self.channels.join(self.connection)
        silent_s = now - self.connection.heard_at
        if silent_s > DEAD_AFTER_S:
            self.connection.disconnect(f"nothing heard for {silent_s:.0f} s")
        elif silent_s > PING_AFTER_S and now - self.pinged_at > PING_AFTER_S:
            self.pinged_at = now
            self.connection.ping("labkit")

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.ended() and (left := until - time.monotonic()) > 0:
            self.stop.wait(min(left, _TURN_S))
            self.sink.serve()
            self.kafka.look()

    def _goodbye(self) -> None:
        """Send QUIT and record what was already under way."""
        self.leaving = True
        self.joined.clear()
        if self.connection.connected and self.sink.error is None:
            self.connection.quit("the extractor stops")
            until = time.monotonic() + _GOODBYE_S
            while self.connection.connected and time.monotonic() < until:
                self.reactor.process_once(_TURN_S)
        self.connection.disconnect()


class _KafkaWatch:
    """Say when Kafka takes nothing, and when it does again."""

    def __init__(self, sink: Sink, say: Callable[[str], None]) -> None:
        self._sink = sink
        self._notice = WaitNotice(say)
        self._delivered = 0
        self._since = time.monotonic()

    def look(self) -> None:
        counts, now = self._sink.counts, time.monotonic()
        if counts.delivered > self._delivered or not counts.waiting:
            self._notice.end("Kafka")
            self._delivered, self._since = counts.delivered, now
        elif now - self._since > _KAFKA_SLOW_S:
            taken = f"it has taken nothing for {_KAFKA_SLOW_S:.0f} s"
            self._notice.wait("Kafka", f"{taken}; {counts.waiting:,} records wait")


def _hopeless(cause: OSError, where: str) -> None:
    """Raise for what waiting does not mend; the first connection tells a mistake from an outage."""
    if isinstance(cause, socket.gaierror):
        raise UnavailableError(
            f"the name of {where} cannot be resolved: {cause.strerror}",
            hint="check --server, and the network's DNS",
        ) from cause
    if isinstance(cause, ssl.SSLCertVerificationError):
        raise ConfigError(
            f"the certificate of {where} is not trusted: {cause.verify_message}",
            hint="check the name; for a CA of your own: --tls-ca FILE",
        ) from cause
    if isinstance(cause, ssl.SSLError):
        raise ConfigError(
            f"{where} does not speak TLS: {cause.reason}",
            hint="IRC with TLS is mostly on port 6697",
        ) from cause
