"""A real distributed worker of Kafka Connect, with a sink that writes values into a file."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from labkit.stack.artefacts import Artefact, fetch, kafka_class_path
from labkit.stack.java import find_java
from labkit.stack.process import free_port
from labkit.stack.state import HOST, State, write_private
from support.java_compiler import compile_java
from support.waiting import until

_JARS = Path(__file__).with_name("connect_jars.txt")
_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_READY_S = 120.0
# Kafka's own file connectors are not in Maven for each version of Kafka
_SOURCE = """
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.Task;
import org.apache.kafka.connect.errors.ConnectException;
import org.apache.kafka.connect.sink.*;

/** Appends each value to a file; the value "fail" fails the task. */
public class FileSink extends SinkConnector {
    private Map<String, String> settings;
    public String version() { return "1"; }
    public void start(Map<String, String> settings) { this.settings = settings; }
    public void stop() { }
    public Class<? extends Task> taskClass() { return Writer.class; }
    public List<Map<String, String>> taskConfigs(int most) { return Collections.nCopies(most, settings); }
    public ConfigDef config() { return new ConfigDef(); }

    public static class Writer extends SinkTask {
        private Path file;
        public String version() { return "1"; }
        public void start(Map<String, String> settings) { file = Paths.get(settings.get("file")); }
        public void stop() { }
        public void put(Collection<SinkRecord> records) {
            StringBuilder lines = new StringBuilder();
            for (SinkRecord record : records) {
                if ("fail".equals(record.value())) throw new ConnectException("told to fail");
                lines.append(record.value()).append('\\n');
            }
            try {
                Files.write(file, lines.toString().getBytes(StandardCharsets.UTF_8),
                    StandardOpenOption.CREATE, StandardOpenOption.APPEND);
            } catch (java.io.IOException error) {
                throw new ConnectException(error);
            }
        }
    }
}
"""


@dataclass
class ConnectWorker:
    """A running worker, asked by its REST interface."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        """Return the worker's answer, None when it has no content."""
        request = urllib.request.Request(
            f"http://{HOST}:{self.port}/{path}",
            method=method,
            data=None if content is None else json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def answers(self) -> bool:
        """Tell whether it answers yet."""
        try:
            return bool(self.ask("GET", "connectors") is not None)
        except (OSError, HTTPError):
            assert self.process.poll() is None, (self.folder / "log").read_text()
            return False

    def make_sink(self, name: str, topic: str, **settings: str) -> Path:
        """Make a connector whose tasks write a topic's values into a file, which is returned."""
        file = self.folder / f"{name}.txt"
        sink = {
            "connector.class": "FileSink",
            "topics": topic,
            "file": str(file),
            "consumer.override.auto.offset.reset": "earliest",
        }
        self.ask("PUT", f"connectors/{name}/config", sink | settings)
        return file

    def state(self, name: str) -> list[str]:
        """Return the states of a connector and its tasks: RUNNING, PAUSED, FAILED …."""
        try:
            status = self.ask("GET", f"connectors/{name}/status")
        except HTTPError:
            return []
        return [status["connector"]["state"], *(task["state"] for task in status["tasks"])]


@contextmanager
def connect_worker(state: State, folder: Path, group: str) -> Iterator[ConnectWorker]:
    """Run a worker of the worker group `group`, as the stack's administrator."""
    jars = [*kafka_class_path(_silent), *fetch(_pinned_jars(), _silent)]
    path = compile_java(folder, "FileSink", _SOURCE, jars)
    port = free_port()
    command = [
        str(find_java(17) / "bin" / "java"),
        "-Xmx256m",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        path,
        "org.apache.kafka.connect.cli.ConnectDistributed",
        str(_write_settings(state, folder, group, port)),
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        worker = ConnectWorker(process, port, folder)
        until(worker.answers, "the worker's answer", _READY_S)
        yield worker
    finally:
        process.kill()
        process.wait()


def _pinned_jars() -> list[Artefact]:
    """Return what a worker needs beside a broker's jars."""
    jars = []
    for line in _JARS.read_text().splitlines():
        coordinates, size, sha256 = line.split()
        group, name, version = coordinates.split(":")
        jars.append(Artefact("connect", group, name, version, "jar", sha256, int(size)))
    return jars


def _write_settings(state: State, folder: Path, group: str, port: int) -> Path:
    kafka = state.credentials("admin")["kafka"]
    login = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.jaas.config": f'{_LOGIN} username="admin" password="{kafka["sasl.password"]}";',
    }
    settings = {
        "bootstrap.servers": kafka["bootstrap.servers"],
        "group.id": group,
        "listeners": f"http://{HOST}:{port}",
        "config.storage.topic": f"{group}-configs",
        "offset.storage.topic": f"{group}-offsets",
        "offset.storage.partitions": "1",
        "status.storage.topic": f"{group}-status",
        "status.storage.partitions": "1",
        **{f"{name}.storage.replication.factor": "1" for name in ("config", "offset", "status")},
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
        "offset.flush.interval.ms": "500",
        "plugin.discovery": "hybrid_warn",
        **login,
        **{f"consumer.{name}": value for name, value in login.items()},
        **{f"producer.{name}": value for name, value in login.items()},
    }
    path = folder / "worker.properties"
    write_private(path, "".join(f"{name}={value}\n" for name, value in settings.items()))
    return path


def _silent(_text: str) -> None:
    return
