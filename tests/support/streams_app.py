"""A real Kafka Streams application, in one process.

A compiler from Maven, which a JRE runs, compiles it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labkit.stack.artefacts import KAFKA_VERSION, Artefact, fetch, kafka_class_path
from labkit.stack.java import find_java
from labkit.stack.state import State, write_private
from support.java_compiler import compile_java

_STREAMS = Artefact(
    service="streams",
    group="org.apache.kafka",
    name="kafka-streams",
    version=KAFKA_VERSION,
    packaging="jar",
    sha256="6e06548a119adf213121ad2e4fefff6ab4263875b4f761425ace8ea4f5ba04a6",
    bytes=2446342,
)
_SOURCE = """
import java.io.FileReader;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;

/** An application for each file of settings: it copies a topic into another, until standard input ends. */
public class Copies {
    public static void main(String[] files) throws Exception {
        List<KafkaStreams> running = new ArrayList<>();
        for (String file : files) {
            Properties settings = new Properties();
            settings.load(new FileReader(file));
            StreamsBuilder builder = new StreamsBuilder();
            builder.stream((String) settings.remove("from")).to((String) settings.remove("to"));
            running.add(new KafkaStreams(builder.build(), settings));
        }
        running.forEach(KafkaStreams::start);
        while (System.in.read() >= 0) { }
        CloseOptions leaving = CloseOptions.groupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP);
        running.forEach(one -> one.close(leaving)); // else its members stay for 45 s
    }
}
"""


@contextmanager
def streams_applications(
    state: State, folder: Path, protocols: dict[str, str], topic: str, copy: str
) -> Iterator[subprocess.Popen[str]]:
    """Run applications that copy `topic` into `copy`, while the block runs.

    They run as the stack's administrator.

    Parameters
    ----------
    protocols : dict
        Application id, which is the group's name, to ``group.protocol``: ``classic`` or
        ``streams``.
    """
    jars = [*kafka_class_path(lambda _text: None), *fetch([_STREAMS], lambda _text: None)]
    java = str(find_java(17) / "bin" / "java")
    path = compile_java(folder, "Copies", _SOURCE, jars)
    files = [_write_settings(state, folder, *item, topic, copy) for item in protocols.items()]
    command = [java, "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", path, "Copies", *files]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True
        )
        try:
            yield process
            process.stdin.close()
            assert process.wait(30) == 0, (folder / "log").read_text()
        finally:
            process.kill()
            process.wait()


def _write_settings(
    state: State, folder: Path, name: str, protocol: str, topic: str, copy: str
) -> Path:
    cluster = state.credentials("admin")["kafka"]
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    settings = {
        "bootstrap.servers": cluster["bootstrap.servers"],
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.jaas.config": f'{login} username="admin" password="{cluster["sasl.password"]}";',
        "application.id": name,
        "group.protocol": protocol,
        "auto.offset.reset": "earliest",
        "commit.interval.ms": "100",
        "state.dir": folder / "state",
        "default.key.serde": "org.apache.kafka.common.serialization.Serdes$ByteArraySerde",
        "default.value.serde": "org.apache.kafka.common.serialization.Serdes$ByteArraySerde",
        "from": topic,
        "to": copy,
    }
    path = folder / f"{name}.properties"
    write_private(path, "".join(f"{key}={value}\n" for key, value in settings.items()))
    return path
