"""Apache Kafka as a local process: one node, KRaft, SASL/PLAIN, access control on."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from labkit.errors import StackError
from labkit.stack import process
from labkit.stack.artefacts import KAFKA_VERSION, kafka_class_path
from labkit.stack.java import find_java
from labkit.stack.state import HOST, Service, State, write_private

HEAP = "-Xmx512m"
LOG = "kafka.log"
_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
ONE_NODE = {
    "broker.session.timeout.ms": "6000",  # a killed broker is let in again no sooner
    "broker.heartbeat.interval.ms": "1000",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}
_LOG4J = """\
<Configuration status="WARN">
  <Appenders><Console name="out"><PatternLayout pattern="%d %p %m (%c{1})%n"/></Console></Appenders>
  <Loggers><Root level="WARN"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""


def start(state: State, say: Callable[[str], None]) -> Service:
    """Start Kafka, or join it when it runs.

    Raises
    ------
    StackError
        When it cannot be started; the message says why, the hint holds the log's tail.
    """
    service = state.services.get("kafka")
    if service and process.running(service):
        say(f"Kafka {service.version} is running on {HOST}:{service.port}")
        return service
    folder = state.root / "kafka"
    command = java_command(folder, state.run_id, say)
    service = service or Service("kafka", KAFKA_VERSION, process.free_port(), process.free_port())
    process.require_port(service.port, "Kafka")
    process.require_port(service.controller_port, "Kafka's controller")
    state.services["kafka"] = service
    state.save()

    _configure(folder, service, state)
    launch(service, command, folder, say)
    state.save()
    process.wait_ready(service, lambda: _listens(service.port), log=folder / LOG)
    return service


def java_command(folder: Path, run_id: str, say: Callable[[str], None]) -> list[str]:
    """Return the command that runs a class of Kafka's distribution, all but the class's name."""
    java, jars = find_java(17, say), kafka_class_path(say)
    command = [str(java / "bin" / "java"), HEAP, "-Xms128m", "-XX:+UseG1GC", f"-Dlabkit.run={run_id}"]
    command += [f"-Dlog4j2.configurationFile={folder / 'log4j2.xml'}", f"-Djava.io.tmpdir={folder / 'tmp'}"]
    return [*command, "-cp", os.pathsep.join(map(str, jars))]


def launch(
    service: Service, command: Sequence[str], folder: Path, say: Callable[[str], None], *, options: Sequence[str] = ()
) -> None:
    """Start the node that ``server.properties`` in `folder` describes; `options` are StorageTool's, the first time."""
    if not (folder / "data" / "meta.properties").exists():
        _format(command, folder, options)
    process.give(folder)
    say(f"starting Kafka {service.version} on {HOST}:{service.port}")
    main = [*command, "kafka.Kafka", str(folder / "server.properties")]
    process.start(service, main, env=_environment(), cwd=folder, log=folder / LOG, user=process.service_user())


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"}


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex((HOST, port)) == 0


def _configure(folder: Path, service: Service, state: State) -> None:
    users = " ".join(f'user_{role}="{password}"' for role, password in sorted(state.passwords.items()))
    admin = f'{_LOGIN} username="admin" password="{state.passwords["admin"]}"'
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": f"{HOST}:{service.controller_port}",
        "listeners": f"CLIENT://{HOST}:{service.port},CONTROLLER://{HOST}:{service.controller_port}",
        "advertised.listeners": f"CLIENT://{HOST}:{service.port},CONTROLLER://{HOST}:{service.controller_port}",
        "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
        "inter.broker.listener.name": "CLIENT",
        "controller.listener.names": "CONTROLLER",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.client.plain.sasl.jaas.config": f"{admin} {users};",
        "listener.name.controller.plain.sasl.jaas.config": f'{admin} user_admin="{state.passwords["admin"]}";',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": "User:admin",
        "log.dirs": str(folder / "data"),
        "auto.create.topics.enable": "false",
        **ONE_NODE,
    }
    write_settings(folder, settings)


def write_settings(folder: Path, settings: Mapping[str, str]) -> None:
    """Write ``server.properties`` and make the folders beside it."""
    for name in ("data", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    lines = [f"{key}={value}" for key, value in settings.items()]
    write_private(folder / "server.properties", "\n".join(lines) + "\n")
    write_private(folder / "log4j2.xml", _LOG4J)


def _format(command: Sequence[str], folder: Path, options: Sequence[str]) -> None:
    cluster_id = "-"
    while cluster_id.startswith("-"):  # would be taken for an option
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    arguments = [
        "format",
        "--cluster-id",
        cluster_id,
        "--standalone",
        "--config",
        str(folder / "server.properties"),
        *options,
    ]
    done = subprocess.run(
        [*command, "kafka.tools.StorageTool", *arguments],
        env=_environment(), cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise StackError(
            "Kafka's data folder could not be formatted",
            hint=f"StorageTool said: {(done.stderr or done.stdout)[-600:]}",
        )
