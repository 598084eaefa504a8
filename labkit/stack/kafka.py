"""Apache Kafka as local processes: one broker or three, KRaft, SASL/PLAIN, access control on."""

from __future__ import annotations

import base64
import os
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from labkit.errors import UsageError
from labkit.stack import ownership, process
from labkit.stack.artefacts import KAFKA_VERSION, kafka_class_path
from labkit.stack.java import SHORT_LIVED, find_java, server_command
from labkit.stack.state import BROKERS as NAMES
from labkit.stack.state import HOST, Service, State, write_private
from labkit.text.counts import number_of

HEAP = "-Xmx512m"
LOG = "kafka.log"
_PARTS = ("data", "tmp")
BROKERS = (1, 3)  # of two, neither can be missed
_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_QUICK = {
    "broker.session.timeout.ms": "6000",  # a killed broker is let in again no sooner
    "broker.heartbeat.interval.ms": "1000",
    "group.initial.rebalance.delay.ms": "0",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
}
ONE_NODE = {
    **_QUICK,
    # twice a second by default, which is a third of what an idle broker costs
    "metadata.max.idle.interval.ms": "5000",
    "offsets.topic.num.partitions": "8",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}
THREE_NODES = {
    **_QUICK,
    "offsets.topic.num.partitions": "6",
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
    # a client that names a rack in client.rack reads from its broker, also from a follower
    "replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector",
}
_LOG4J = """\
<Configuration status="WARN">
  <Appenders><Console name="out"><PatternLayout pattern="%d %p %m (%c{1})%n"/></Console></Appenders>
  <Loggers><Root level="WARN"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""


def start(state: State, say: Callable[[str], None], *, brokers: int | None = None) -> list[Service]:
    """Start Kafka's brokers, or join those that run.

    Parameters
    ----------
    brokers : {1, 3}, optional
        How many; chosen at the first start and kept. Left out: as many as there were, at first one.

    Raises
    ------
    UsageError
        When there is a Kafka with another number of brokers.
    StackError
        When it cannot be started; the message says why, the hint holds the log's tail.
    """
    services = _choose_brokers(state, brokers, say)
    stopped = []
    for service in services:
        if process.running(service):
            say(f"Kafka {service.version} is running on {HOST}:{service.port}")
            continue
        process.require_port(service.port, "Kafka")
        process.require_port(service.controller_port, "Kafka's controller")
        stopped.append(service)
    for service in stopped:
        start_broker(state, service, say)
    # those that run too: another command, ended since, may have just started them
    for service in services:
        log = state.root / service.name / LOG
        process.wait_ready(service, lambda port=service.port: _listens(port), log=log)  # type: ignore[misc]
    return services


def start_broker(state: State, service: Service, say: Callable[[str], None]) -> None:
    """Start one broker of the state; it answers a few seconds later."""
    folder = state.root / service.name
    command = java_command(folder, state.run_id, say)
    _configure(folder, service, state)
    launch(
        service, command, folder, say, cluster_id=state.run_id if len(state.brokers) > 1 else None
    )
    state.save()


def _choose_brokers(state: State, count: int | None, say: Callable[[str], None]) -> list[Service]:
    """Return the brokers of the state; the first time, make `count` with ports of their own."""
    present = state.brokers
    if count is not None and count not in BROKERS:
        raise UsageError(
            f"the number of brokers must be 1 or 3, not {count}",
            hint="three is what a cluster needs",
        )
    if present and count not in (None, len(present)):
        raise UsageError(
            f"the local Kafka has {number_of(len(present), 'broker')}, not {count}",
            hint="`labkit down --purge` removes it with its data; then `labkit up --brokers` makes another",
        )
    if not present:
        find_java(17, say)  # without one nothing is chosen
        for name in NAMES[: count or 1]:
            state.services[name] = Service(
                name, KAFKA_VERSION, process.free_port(), process.free_port()
            )
        state.save()
    return state.brokers


def java_command(folder: Path, run_id: str, say: Callable[[str], None]) -> list[str]:
    """Return the command that runs a class of Kafka's distribution, all but the class's name."""
    java, jars = find_java(17, say), kafka_class_path(say)
    command = server_command(java, run_id, folder, HEAP, "-Xms128m", "-XX:+UseG1GC")
    logging = f"-Dlog4j2.configurationFile={folder / 'log4j2.xml'}"
    return [*command, logging, "-cp", os.pathsep.join(map(str, jars))]


def launch(
    service: Service,
    command: Sequence[str],
    folder: Path,
    say: Callable[[str], None],
    *,
    options: Sequence[str] = (),
    cluster_id: str | None = None,
) -> None:
    """Start the node that ``server.properties`` in `folder` describes.

    The first time its data folder is formatted: alone, or with the `cluster_id` that it shares with
    other brokers; `options` are StorageTool's.
    """
    ownership.prepare(folder, _PARTS)
    ownership.publish(folder)
    if not (folder / "data" / "meta.properties").exists():
        _format(command, folder, options, cluster_id)
    say(f"starting Kafka {service.version} on {HOST}:{service.port}")
    main = [*command, "kafka.Kafka", str(folder / "server.properties")]
    env = process.base_environment()
    process.start(service, main, env=env, cwd=folder, log=folder / LOG)


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex((HOST, port)) == 0


def _configure(folder: Path, service: Service, state: State) -> None:
    users = " ".join(
        f'user_{role}="{password}"' for role, password in sorted(state.passwords.items())
    )
    admin = f'{_LOGIN} username="admin" password="{state.passwords["admin"]}"'
    brokers = state.brokers
    numbers = {broker.name: number for number, broker in enumerate(brokers, 1)}
    if len(brokers) == 1:
        quorum = {"controller.quorum.bootstrap.servers": f"{HOST}:{service.controller_port}"}
    else:
        voters = ",".join(
            f"{numbers[broker.name]}@{HOST}:{broker.controller_port}" for broker in brokers
        )
        quorum = {
            "controller.quorum.voters": voters,
            "broker.rack": f"rack-{numbers[service.name]}",
        }
    settings = {
        "process.roles": "broker,controller",
        "node.id": str(numbers[service.name]),
        **quorum,
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
        **(ONE_NODE if len(brokers) == 1 else THREE_NODES),
    }
    write_settings(folder, settings)


def write_settings(folder: Path, settings: Mapping[str, str]) -> None:
    """Write ``server.properties`` and make the folders beside it."""
    ownership.prepare(folder, _PARTS)
    lines = [f"{key}={value}" for key, value in settings.items()]
    write_private(folder / "server.properties", "\n".join(lines) + "\n")
    write_private(folder / "log4j2.xml", _LOG4J)


def _cluster_id(raw: bytes) -> str:
    """Return 16 bytes as Kafka writes a cluster's id; the same for all brokers of a cluster."""
    identity = base64.urlsafe_b64encode(raw.ljust(16, b"k")[:16]).decode().rstrip("=")
    # with a hyphen in front it would be taken for an option
    return f"k{identity[1:]}" if identity.startswith("-") else identity


def _format(
    command: Sequence[str], folder: Path, options: Sequence[str], cluster_id: str | None
) -> None:
    alone = [] if cluster_id else ["--standalone"]
    identity = _cluster_id(bytes.fromhex(cluster_id) if cluster_id else uuid.uuid4().bytes)
    config = str(folder / "server.properties")
    arguments = ["format", f"--cluster-id={identity}", *alone, "--config", config, *options]
    process.run_tool(
        [*command, SHORT_LIVED, "kafka.tools.StorageTool", *arguments],
        env=process.base_environment(),
        cwd=folder,
        failure="Kafka's data folder could not be formatted",
        **ownership.as_service(),
    )
