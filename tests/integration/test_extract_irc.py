"""The IRC extractor, a real ngircd and a real broker.

What ngircd never says comes from a small socket server.
"""

from __future__ import annotations

import base64
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from confluent_kafka import Message

from labkit.errors import AccessError, ConfigError, UnavailableError
from labkit.pipelines.irc import session, wire
from labkit.stack.process import free_port
from labkit.stack.state import State
from support.irc import Running, Talker, read, sequence
from support.waiting import until


@pytest.fixture
def topic(make_topic: Callable[..., str]) -> str:
    return make_topic(3)


def values(messages: list[Message], command: str = "PRIVMSG") -> list[str]:
    rows = [orjson.loads(message.value()) for message in messages]
    return [row["message"] for row in rows if row["command"] == command]


def test_a_thousand_messages_in_order_with_old_bytes(stack: State, topic: str, ngircd: Any) -> None:
    server = ngircd()
    running = Running(stack, topic, server.port)
    running.hears("in #lab as labkit")
    ann = Talker(server.port, b"ann")
    spoken = [
        b"%d caf\xe9 na\xc3\xafve" % n if n % 2 else b"%d na\xc3\xafve" % n for n in range(1000)
    ]
    for start in range(0, 1000, 100):
        ann.send(*[b"PRIVMSG #lab :" + item for item in spoken[start : start + 100]])
        ann.settle()
    report = running.end()  # at once: what is under way still counts

    messages = read(stack, topic)
    assert report.counts.sent == report.counts.delivered == report.records == len(messages)
    assert [sequence(message) for message in messages] == [*range(1, len(messages) + 1)]
    lines = [dict(message.headers())["irc.line"] for message in messages]
    said = [line for line in lines if b" PRIVMSG " in line]
    assert said == [b":ann!~talk@127.0.0.1 PRIVMSG #lab :" + item for item in spoken]
    assert values(messages)[:3] == ["0 naïve", "1 café naÃ¯ve", "2 naïve"]
    in_partition = [m.offset() for m in messages if m.key() == b"#lab"]
    assert in_partition == sorted(in_partition)
    row = orjson.loads(messages[-1].value())
    assert (row["nick"], row["user"], row["host"], row["ip"]) == (
        "ann",
        "~talk",
        "127.0.0.1",
        "127.0.0.1",
    )


def test_everything_that_happens_in_a_channel(stack: State, topic: str, ngircd: Any) -> None:
    server = ngircd()
    ann = Talker(server.port, b"ann")  # first in: operator
    running = Running(stack, topic, server.port)
    running.hears("in #lab")
    bob = Talker(server.port, b"bob")
    ann.send(
        b"PRIVMSG #lab :\x01ACTION waves\x01",
        b"NOTICE #lab :note",
        b"TOPIC #lab :news",
        b"KICK #lab bob :out",
    )
    ann.send(b"PRIVMSG labkit :private", b"NICK anna", b"PART #lab :bye")
    ann.settle()
    bob.wait(b"KICK")
    bob.send(b"JOIN #lab")
    bob.wait(b" 366 ")
    bob.send(b"QUIT :gone")
    bob.wait(b"ERROR")
    running.end()
    rows = [orjson.loads(message.value()) for message in read(stack, topic)]
    seen = [(row["command"], row["nick"], row["channel"], row["message"]) for row in rows]
    assert seen == [
        ("JOIN", "labkit", "#lab", None),
        ("JOIN", "bob", "#lab", None),
        ("ACTION", "ann", "#lab", "waves"),
        ("NOTICE", "ann", "#lab", "note"),
        ("TOPIC", "ann", "#lab", "news"),
        ("KICK", "ann", "#lab", "bob out"),
        ("NICK", "ann", None, "anna"),
        ("PART", "anna", "#lab", "bye"),
        ("JOIN", "bob", "#lab", None),
        ("QUIT", "bob", None, '"gone"'),
    ]


@pytest.mark.chaos
def test_kill_9_of_the_server_and_back(stack: State, topic: str, ngircd: Any) -> None:
    server = ngircd()
    running = Running(stack, topic, server.port)
    running.hears("in #lab")
    ann = Talker(server.port, b"ann")
    ann.send(b"PRIVMSG #lab :before")
    ann.settle()
    server.kill()
    running.hears("lost")
    running.hears("cannot connect")
    server.start()
    running.hears("in #lab", times=2)
    ann = Talker(server.port, b"ann")
    ann.send(b"PRIVMSG #lab :after")
    ann.settle()
    report = running.end()
    messages = read(stack, topic)
    assert values(messages) == ["before", "after"]
    assert [sequence(message) for message in messages] == [*range(1, len(messages) + 1)]
    assert (report.connections, report.losses) == (2, 1)
    assert report.counts.delivered == len(messages)


@pytest.mark.chaos
def test_who_is_thrown_out_joins_again(stack: State, topic: str, ngircd: Any) -> None:
    server = ngircd()
    ann = Talker(server.port, b"ann")
    running = Running(stack, topic, server.port)
    running.hears("in #lab")
    ann.send(b"KICK #lab labkit :no bots")
    running.hears("ann threw us out: no bots")
    running.hears("in #lab", times=2)
    running.end()


def test_a_taken_nick_and_one_too_long(stack: State, topic: str, ngircd: Any) -> None:
    server = ngircd()
    namesake = Talker(server.port, b"labkit")
    running = Running(stack, topic, server.port)
    running.hears("in #lab as labkit_")
    longer = Running(stack, topic, server.port, nick="abcdefghijklmnop")
    longer.hears("in #lab as abcdefghi")
    namesake.settle()
    running.end()
    longer.end()


def test_limits_end_a_run(stack: State, topic: str, ngircd: Any) -> None:
    server = ngircd()
    running = Running(stack, topic, server.port, max_records=5)
    running.hears("in #lab")
    ann = Talker(server.port, b"ann")
    ann.send(*[b"PRIVMSG #lab :%d" % n for n in range(50)])
    assert running.ended().records == 5
    assert len(read(stack, topic)) == 5
    assert Running(stack, topic, server.port, max_seconds=1).ended().connections == 1


def test_a_server_password_is_sent_and_a_wrong_one_ends_the_run(
    stack: State, topic: str, ngircd: Any
) -> None:
    server = ngircd(password="opensesame")
    running = Running(stack, topic, server.port, password="opensesame")
    running.hears("unencrypted")
    running.hears("in #lab")
    running.end()
    for wrong in ("guess", None):
        with pytest.raises(AccessError) as raised:
            Running(stack, topic, server.port, password=wrong).ended()
        assert "password" in raised.value.message
        assert "guess" not in str(raised.value)


def test_tls_is_verified(stack: State, topic: str, ngircd: Any) -> None:
    server = ngircd(tls=True)
    options: dict[str, Any] = {"server": "localhost", "tls": True}
    with pytest.raises(ConfigError, match="is not trusted"):
        Running(stack, topic, server.port, **options).ended()
    running = Running(stack, topic, server.port, tls_ca=server.folder / "cert.pem", **options)
    running.hears("in #lab")
    assert running.end().records == 1
    with pytest.raises(ConfigError, match="is not trusted"):
        Running(
            stack,
            topic,
            server.port,
            **{**options, "server": "127.0.0.1"},
            tls_ca=server.folder / "cert.pem",
        ).ended()


def test_tls_where_there_is_none(
    stack: State, topic: str, ngircd: Any, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "CONNECT_TIMEOUT_S", 1.0)
    running = Running(stack, topic, ngircd().port, tls=True)  # waits for the end of the line
    running.hears("does this port speak TLS?")
    running.end()
    running = Running(stack, topic, script.port, tls=True)
    script.meet(welcome=False)
    script.say(b":irc.test NOTICE * :*** Looking up your hostname")
    with pytest.raises(ConfigError, match="does not speak TLS"):
        running.ended()


def test_a_server_that_is_not_there_is_tried_again_and_a_wrong_name_refused(
    stack: State, topic: str
) -> None:
    running = Running(stack, topic, free_port())
    running.hears("cannot connect", times=2)
    assert all("trying again in" in line for line in running.said)
    assert running.end().connections == 0
    with pytest.raises(UnavailableError, match="cannot be resolved"):
        Running(stack, topic, 6667, server="no-such-host.invalid").ended()
    with pytest.raises(UnavailableError, match="cannot be resolved"):
        Running(stack, topic, 6667, server="a..b").ended()


class Script:
    """A server that says what it is told to: what ngircd cannot do, or never would."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        self.port = self.listener.getsockname()[1]

    def meet(self, *, welcome: bool = True) -> None:
        self.socket, _ = self.listener.accept()
        self.socket.settimeout(20)
        self.file = self.socket.makefile("rb")
        if welcome:
            self.wait(b"USER ")
            self.say(b":irc.test 001 labkit :hello", b":labkit!u@h JOIN #lab")

    def say(self, *lines: bytes) -> None:
        self.socket.sendall(b"".join(line + b"\r\n" for line in lines))

    def wait(self, start: bytes) -> bytes:
        for line in self.file:
            if line.startswith(start):
                return line.rstrip()
        raise AssertionError(f"{start!r} was never sent")


@pytest.fixture
def script() -> Iterator[Script]:
    server = Script()
    yield server
    server.listener.close()


def test_malformed_lines_neither_end_it_nor_are_lost(
    stack: State, topic: str, script: Script
) -> None:
    running = Running(stack, topic, script.port)
    script.meet()
    bad = [
        b"QUIT",
        b":a!u@h PRIVMSG #lab",
        b":",
        b"NICK :x",
        b"JOIN",
        b"@",
        b"\xff\xfe\xfd",
        b":a!u@h NICK",
        b" ",
    ]
    quiet = [
        b"PING",
        b":irc.test 001",
        b"005",
        b":irc.test 005 x PREFIX=(",
        b"CAP",
        b"\x00",
        b"ERROR",
        b"433",
        b"MODE",
    ]
    script.say(*bad, *quiet, b"@time=2020-01-02T03:04:05.678Z :a!u@h PRIVMSG #lab :still here")
    script.say(b":a!u@h PRIVMSG #lab :half"[:-2])  # ends in the line's middle
    script.say(b"PING :there")
    assert script.wait(b"PONG") == b"PONG there"
    report = running.end()
    messages = read(stack, topic)
    assert values(messages) == ["still here", "ha"]
    unparsed = [
        dict(m.headers())["irc.line"]
        for m in messages
        if orjson.loads(m.value())["command"] == "UNPARSED"
    ]
    assert unparsed == [*bad, b"\x00"]
    assert report.unparsed == len(unparsed)
    tagged = next(message for message in messages if b"still here" in message.value())
    assert tagged.timestamp()[1] == 1_577_934_245_678
    assert orjson.loads(tagged.value())["@timestamp"] == "2020-01-02T03:04:05.678Z"


def test_joined_is_set_while_it_is_in_all_channels(
    stack: State, topic: str, script: Script
) -> None:
    """BEHAVIOURS 54: what starts an extractor waits for it, not for a server's list of names."""
    running = Running(stack, topic, script.port, channels=["#lab", "#more"])
    joined = running.extractor.joined
    script.meet()
    script.wait(b"JOIN #more")
    assert not joined.wait(0.5)
    script.say(b":labkit!u@h JOIN #more")
    assert joined.wait(20)
    script.say(b":ann!u@h KICK #more labkit :no bots")
    until(lambda: not joined.is_set(), "joined cleared by the KICK")
    script.say(b":labkit!u@h JOIN #more")
    assert joined.wait(20)
    script.file.close()
    script.socket.close()
    until(lambda: not joined.is_set(), "joined cleared by the loss")
    running.end()
    assert not joined.is_set()


@pytest.mark.chaos
def test_a_dead_connection_is_noticed(
    stack: State, topic: str, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert session.DEAD_AFTER_S <= 60
    monkeypatch.setattr(session, "PING_AFTER_S", 1.0)
    monkeypatch.setattr(session, "DEAD_AFTER_S", 4.0)
    running = Running(stack, topic, script.port)
    script.meet()
    script.wait(b"PING")
    script.say(b":irc.test PONG irc.test :labkit")
    script.wait(b"PING")
    running.hears("nothing heard for")
    script.meet()
    running.hears("in #lab", times=2)
    assert running.end().losses == 1


def test_a_sasl_login_in_parts_is_done_before_the_welcome(
    stack: State, topic: str, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    password = "pässword" * 40
    running = Running(stack, topic, script.port, sasl=("ann", password), password=": of the server")
    script.meet(welcome=False)
    assert script.wait(b"") == b"CAP REQ sasl"
    assert script.wait(b"") == b"PASS :: of the server"
    script.wait(b"USER")
    script.say(b":irc.test CAP * ACK :sasl ")
    script.wait(b"AUTHENTICATE PLAIN")
    script.say(b"AUTHENTICATE +")
    first, second = script.wait(b"AUTHENTICATE").split()[1], script.wait(b"AUTHENTICATE").split()[1]
    assert len(first) == 400
    assert base64.b64decode(first + second) == f"\0ann\0{password}".encode()
    script.say(b":irc.test 903 * :ok")
    script.wait(b"CAP END")
    script.say(b":irc.test 001 labkit :hello", b":labkit!u@h JOIN #lab")
    running.hears("in #lab")
    running.end()


@pytest.mark.parametrize(
    "answers",
    [
        [b":irc.test CAP * NAK :sasl"],
        [b":irc.test 421 * CAP :Unknown command"],
        [b":irc.test 001 labkit :hello"],
        [
            b":irc.test CAP * ACK :sasl",
            b"AUTHENTICATE +",
            b":irc.test 904 * :SASL authentication failed",
        ],
    ],
)
def test_a_refused_sasl_login_ends_with_a_hint_and_no_password(
    stack: State, topic: str, script: Script, answers: list[bytes]
) -> None:
    running = Running(stack, topic, script.port, sasl=("ann", "secret"))
    script.meet(welcome=False)
    script.wait(b"USER")
    script.say(*answers)
    with pytest.raises(AccessError) as raised:
        running.ended()
    assert raised.value.hint
    assert "secret" not in str(raised.value)


def test_sasl_is_not_there_on_ngircd(stack: State, topic: str, ngircd: Any) -> None:
    with pytest.raises(AccessError, match="does not know SASL"):
        Running(stack, topic, ngircd().port, sasl=("ann", "secret")).ended()
