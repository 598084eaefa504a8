"""The IRC extractor, a real ngircd and a real broker; what ngircd never says comes from a small socket server."""

from __future__ import annotations

import base64
import itertools
import logging
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import NewTopic

from labkit.errors import AccessError, ConfigError, LabkitError, UnavailableError
from labkit.extract import IrcExtractor, session, wire
from labkit.extract.session import IrcReport
from labkit.kafka import Cluster, replay_group
from labkit.stack.state import State

_number = itertools.count()
CONFIG = """
[Global]
Name = {name}
Listen = 127.0.0.1
{ports}
MotdPhrase = welcome
{password}
[Limits]
MaxConnectionsIP = 0
MaxPenaltyTime = 0
MaxNickLength = 12
[Options]
PAM = no
Ident = no
DNS = no
ConnectRetry = 5
{ssl}
{link}
"""


def until(met: Callable[[], Any], what: str, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not met():
        assert time.monotonic() < deadline, f"{what} did not happen in {timeout_s:g} s"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Ngircd:
    """A real IRC server that can be killed and started again on its port."""

    def __init__(
        self, folder: Path, *, password: str = "", tls: bool = False, name: str = "irc.labkit.test", link: str = ""
    ) -> None:
        self.port = free_port()
        self.folder = folder
        ports, ssl = f"Ports = {self.port}", ""
        if tls:
            self.certificate()
            ports, ssl = "", f"[SSL]\nPorts = {self.port}\nCertFile = {folder}/cert.pem\nKeyFile = {folder}/key.pem"
        words = f"Password = {password}" if password else ""
        text = CONFIG.format(name=name, ports=ports, password=words, ssl=ssl, link=link)
        (folder / "ngircd.conf").write_text(text)
        self.start()

    def certificate(self) -> None:
        command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
        names = ["-addext", "subjectAltName=DNS:localhost"]
        subprocess.run([*command.split(), *names], cwd=self.folder, check=True, capture_output=True)
        (self.folder / "key.pem").chmod(0o644)

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            command = [PROGRAM or "", "-n", "-f", str(self.folder / "ngircd.conf")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until(lambda: listens(self.port), "ngircd listening")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


PROGRAM = shutil.which("ngircd") or shutil.which("ngircd", path="/usr/sbin")


@pytest.fixture
def ngircd(tmp_path: Path) -> Iterator[Callable[..., Ngircd]]:
    if PROGRAM is None:
        message = "ngircd is not installed: `apt-get install ngircd`"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    started: list[Ngircd] = []

    def make(**options: Any) -> Ngircd:
        folder = tmp_path / f"ngircd-{len(started)}"
        folder.mkdir()
        started.append(Ngircd(folder, **options))
        return started[-1]

    yield make
    for server in started:
        server.kill()


class Talker:
    """Somebody in the channel, speaking bytes."""

    def __init__(self, port: int, nick: bytes, channel: bytes = b"#lab") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.file = self.socket.makefile("rb")
        self.send(b"NICK " + nick, b"USER talk 0 * :Talker", b"JOIN " + channel)
        self.wait(b" 366 ")

    def send(self, *lines: bytes) -> None:
        self.socket.sendall(b"".join(line + b"\r\n" for line in lines))

    def wait(self, part: bytes) -> bytes:
        for line in self.file:
            if part in line:
                return line
        raise AssertionError(f"{part!r} was never said")

    def settle(self) -> None:
        """Return once the server has handled everything sent."""
        self.send(b"PING :settled")
        self.wait(b"PONG")


def say(talker: Talker, numbers: range) -> None:
    """Say these numbers; return once the server has handled them."""
    talker.send(*(b"PRIVMSG #lab :number %d" % number for number in numbers))
    talker.settle()


def together(talker: Talker, *nicks: bytes, timeout_s: float = 60) -> None:
    """Wait until these are in #lab, as `talker` is told."""

    def met() -> bool:
        talker.send(b"NAMES #lab")
        found = talker.wait(b" 353 ")
        talker.wait(b" 366 ")
        return all(nick in found for nick in nicks)

    until(met, f"{nicks} in the channel", timeout_s)


@pytest.fixture
def topic(stack: State) -> Iterator[str]:
    admin = Cluster(stack.credentials("admin")["kafka"])
    name = f"irc-test-irc-{os.getpid()}-{time.time_ns()}-{next(_number)}"
    admin.ask(lambda client: client.create_topics([NewTopic(name, 3, 1)]), what="create a topic")
    until(lambda: name in admin.topics(), "the topic")
    yield name
    admin.ask(lambda client: client.delete_topics([name]), what="delete the topic")


def read(stack: State, topic: str) -> list[Message]:
    """Return every record of the topic by sequence number."""
    lab = Cluster(stack.credentials("lab")["kafka"])
    ends = {p: end for p, end in lab.bounds(topic, lab.partitions(topic), "latest").items() if end}
    consumer = lab.consumer(group=replay_group(), enable_partition_eof=True)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
    left, found, deadline = set(ends), [], time.monotonic() + 60
    while left:
        assert time.monotonic() < deadline
        for message in consumer.consume(1000, 0.2):
            if message.error():
                left.discard(message.partition())
            else:
                found.append(message)
    consumer.close()
    return sorted(found, key=sequence)


def sequence(message: Message) -> int:
    return int(dict(message.headers())["labkit.sequence"])


def numbers_in(stack: State, topic: str) -> list[int]:
    """Return the numbers that were said, in the extractor's order."""
    values = [orjson.loads(message.value()) for message in read(stack, topic)]
    return [int(one["message"].split()[1]) for one in values if one["command"] == "PRIVMSG"]


class Running:
    """An extractor at work in a thread, as the command runs it."""

    def __init__(self, stack: State, topic: str, port: int, **options: Any) -> None:
        self.said: list[str] = []
        self.stop = threading.Event()
        self.report: IrcReport | None = None
        self.error: BaseException | None = None
        limits = {name: options.pop(name) for name in ("max_records", "max_seconds") if name in options}
        options = {"server": "127.0.0.1", "nick": "labkit", "channels": ["#lab"], **options}
        cluster = Cluster(stack.credentials("extractor")["kafka"])
        self.extractor = IrcExtractor(cluster, topic, port=port, say=self.said.append, **options)
        self.thread = threading.Thread(target=self._run, kwargs=limits, daemon=True)
        self.thread.start()

    def _run(self, **limits: Any) -> None:
        try:
            self.report = self.extractor.run(self.stop, **limits)
        except LabkitError as error:
            self.error = error

    def hears(self, text: str, times: int = 1) -> None:
        until(lambda: self.error or sum(text in line for line in self.said) >= times, f"hearing {text!r}")
        assert self.error is None, self.said

    def end(self) -> IrcReport:
        self.stop.set()
        return self.ended()

    def ended(self) -> IrcReport:
        self.thread.join(45)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error
        assert self.report is not None
        return self.report


def values(messages: list[Message], command: str = "PRIVMSG") -> list[str]:
    rows = [orjson.loads(message.value()) for message in messages]
    return [row["message"] for row in rows if row["command"] == command]


def test_a_thousand_messages_in_order_with_old_bytes(stack: State, topic: str, ngircd: Any) -> None:
    server = ngircd()
    running = Running(stack, topic, server.port)
    running.hears("in #lab as labkit")
    ann = Talker(server.port, b"ann")
    spoken = [b"%d caf\xe9 na\xc3\xafve" % n if n % 2 else b"%d na\xc3\xafve" % n for n in range(1000)]
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
    assert (row["nick"], row["user"], row["host"], row["ip"]) == ("ann", "~talk", "127.0.0.1", "127.0.0.1")


def test_everything_that_happens_in_a_channel(stack: State, topic: str, ngircd: Any) -> None:
    server = ngircd()
    ann = Talker(server.port, b"ann")  # first in: operator
    running = Running(stack, topic, server.port)
    running.hears("in #lab")
    bob = Talker(server.port, b"bob")
    ann.send(b"PRIVMSG #lab :\x01ACTION waves\x01", b"NOTICE #lab :note", b"TOPIC #lab :news", b"KICK #lab bob :out")
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
def test_thrown_out_and_back(stack: State, topic: str, ngircd: Any) -> None:
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
    other = Talker(server.port, b"labkit")
    running = Running(stack, topic, server.port)
    running.hears("in #lab as labkit_")
    longer = Running(stack, topic, server.port, nick="abcdefghijklmnop")
    longer.hears("in #lab as abcdefghi")
    other.settle()
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


def test_a_server_password(stack: State, topic: str, ngircd: Any) -> None:
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
    with pytest.raises(ConfigError, match="not to be trusted"):
        Running(stack, topic, server.port, **options).ended()
    running = Running(stack, topic, server.port, tls_ca=server.folder / "cert.pem", **options)
    running.hears("in #lab")
    assert running.end().records == 1
    with pytest.raises(ConfigError, match="not to be trusted"):
        Running(
            stack, topic, server.port, **{**options, "server": "127.0.0.1"}, tls_ca=server.folder / "cert.pem"
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


def test_nobody_there(stack: State, topic: str) -> None:
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


def test_malformed_lines_neither_end_it_nor_are_lost(stack: State, topic: str, script: Script) -> None:
    running = Running(stack, topic, script.port)
    script.meet()
    bad = [b"QUIT", b":a!u@h PRIVMSG #lab", b":", b"NICK :x", b"JOIN", b"@", b"\xff\xfe\xfd", b":a!u@h NICK", b" "]
    quiet = [b"PING", b":irc.test 001", b"005", b":irc.test 005 x PREFIX=(", b"CAP", b"\x00", b"ERROR", b"433", b"MODE"]
    script.say(*bad, *quiet, b"@time=2020-01-02T03:04:05.678Z :a!u@h PRIVMSG #lab :still here")
    script.say(b":a!u@h PRIVMSG #lab :half"[:-2])  # ends in the line's middle
    script.say(b"PING :there")
    assert script.wait(b"PONG") == b"PONG there"
    report = running.end()
    messages = read(stack, topic)
    assert values(messages) == ["still here", "ha"]
    unparsed = [dict(m.headers())["irc.line"] for m in messages if orjson.loads(m.value())["command"] == "UNPARSED"]
    assert unparsed == [*bad, b"\x00"]
    assert report.unparsed == len(unparsed)
    tagged = next(message for message in messages if b"still here" in message.value())
    assert tagged.timestamp()[1] == 1_577_934_245_678
    assert orjson.loads(tagged.value())["@timestamp"] == "2020-01-02T03:04:05.678Z"


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


def test_sasl(stack: State, topic: str, script: Script, caplog: pytest.LogCaptureFixture) -> None:
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
        [b":irc.test CAP * ACK :sasl", b"AUTHENTICATE +", b":irc.test 904 * :SASL authentication failed"],
    ],
)
def test_sasl_refused(stack: State, topic: str, script: Script, answers: list[bytes]) -> None:
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
