"""The Kafka distribution's own command line tools, for tests and benches to compare with."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labkit.stack.artefacts import KAFKA_VERSION, Artefact, fetch, kafka_class_path
from labkit.stack.java import find_java
from labkit.stack.state import State

GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
TOPICS = "org.apache.kafka.tools.TopicCommand"
SHARE_CONSUMER = "org.apache.kafka.tools.consumer.ConsoleShareConsumer"
_TOOLS = Artefact(
    service="kafka",
    group="org.apache.kafka",
    name="kafka-tools",
    version=KAFKA_VERSION,
    packaging="jar",
    sha256="4eb9a7fbfd63badfd8d1a677aa2d54b47b2b2d442ff7d68fd223972afea1954c",
    bytes=751995,
)


@contextmanager
def tool(state: State, name: str, *arguments: str) -> Iterator[list[str]]:
    """Yield the command of a tool, as the stack's administrator, good while the block runs."""
    jars = [*kafka_class_path(lambda _text: None), *fetch([_TOOLS], lambda _text: None)]
    settings = state.credentials("admin")["kafka"]
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    with tempfile.TemporaryDirectory() as folder:  # closed to others: a password is in it
        file = Path(folder) / "admin.properties"
        file.write_text(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"
            f'sasl.jaas.config={login} username="admin" password="{settings["sasl.password"]}";\n'
        )
        command = [
            str(find_java(17) / "bin" / "java"),
            "-Xmx512m",
            "-cp",
            os.pathsep.join(map(str, jars)),
            name,
        ]
        yield [
            *command,
            "--bootstrap-server",
            settings["bootstrap.servers"],
            "--command-config",
            str(file),
            *arguments,
        ]


def run(state: State, name: str, *arguments: str, timeout_s: float = 120) -> str:
    """Run a tool to its end and return what it printed."""
    with tool(state, name, *arguments) as command:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=True
        )
    return result.stdout
