"""Real IRC servers, people who talk there, and an extractor that listens."""

from __future__ import annotations

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

from labkit.errors import LabkitError
from labkit.kafka.cluster import Cluster, replay_group
from labkit.pipelines import IrcExtractor
from labkit.pipelines.irc.session import IrcReport
from labkit.stack.process import free_port
from labkit.stack.state import State
from support.stack import missing
from support.waiting import until

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


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Ngircd:
    """A real IRC server that can be killed and started again on its port."""

    def __init__(
        self,
        folder: Path,
        *,
        password: str = "",
        tls: bool = False,
        name: str = "irc.labkit.test",
        link: str = "",
    ) -> None:
        self.port = free_port()
        self.folder = folder
        ports, ssl = f"Ports = {self.port}", ""
        if tls:
            self.certificate()
            ports = ""
            ssl = f"[SSL]\nPorts = {self.port}\nCertFile = {folder}/cert.pem\nKeyFile = {folder}/key.pem"
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
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        until(lambda: listens(self.port), "ngircd listening")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


PROGRAM = shutil.which("ngircd") or shutil.which("ngircd", path="/usr/sbin")


@pytest.fixture
def ngircd(tmp_path: Path) -> Iterator[Callable[..., Ngircd]]:
    if PROGRAM is None:
        missing("ngircd", "no ngircd on the PATH; `apt-get install ngircd`")
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
        names_reply = talker.wait(b" 353 ")
        talker.wait(b" 366 ")
        return all(nick in names_reply for nick in nicks)

    until(met, f"{nicks} in the channel", timeout_s)


def read(stack: State, topic: str) -> list[Message]:
    """Return every record of the topic by sequence number."""
    lab = Cluster(stack.credentials("lab")["kafka"])
    ends = {p: end for p, end in lab.bounds(topic, lab.partitions(topic), "latest").items() if end}
    consumer = lab.consumer(group=replay_group(), enable_partition_eof=True)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
    left, messages, deadline = set(ends), [], time.monotonic() + 60
    while left:
        assert time.monotonic() < deadline
        for message in consumer.consume(1000, 0.2):
            if message.error():
                left.discard(message.partition())
            else:
                messages.append(message)
    consumer.close()
    return sorted(messages, key=sequence)


def sequence(message: Message) -> int:
    return int(dict(message.headers())["labkit.sequence"])


def numbers_in(stack: State, topic: str) -> list[int]:
    """Return the numbers that were said, in the extractor's order."""
    values = [orjson.loads(message.value()) for message in read(stack, topic)]
    return [int(value["message"].split()[1]) for value in values if value["command"] == "PRIVMSG"]


class Running:
    """An extractor at work in a thread, as the command runs it."""

    def __init__(self, stack: State, topic: str, port: int, **options: Any) -> None:
        self.said: list[str] = []
        self.stop = threading.Event()
        self.report: IrcReport | None = None
        self.error: BaseException | None = None
        limits = {
            name: options.pop(name) for name in ("max_records", "max_seconds") if name in options
        }
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
        until(
            lambda: self.error or sum(text in line for line in self.said) >= times,
            f"hearing {text!r}",
        )
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
