"""A second stack, as secure as real clusters.

It has TLS from a CA of its own, SCRAM, client certificates, and OAUTHBEARER. Made of labkit's own
start of the local stack; only the settings differ.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import bcrypt
import elasticsearch as elasticsearch_client
import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization
from joserfc.jwk import RSAKey

from labkit.acl import Grant
from labkit.config.profiles import Profile
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.stack import elasticsearch, kafka, process
from labkit.stack.artefacts import KAFKA_VERSION, elasticsearch_home, fetch
from labkit.stack.java import find_java
from labkit.stack.state import HOST, Service, State, write_private
from support.kafka_tools import _TOOLS
from support.waiting import until

NAME = "localhost"  # the certificates name it, and not the address
LISTENERS = {
    "SCRAM": "SASL_SSL",
    "MTLS": "SSL",
    "OAUTH": "SASL_SSL",  # takes unsigned tokens, and asks for a new one before the old one expires
    "OIDC": "SASL_SSL",  # takes tokens signed with the key of `oidc_key`
    "EXPIRED": "SASL_SSL",  # its certificate has
    "LOST": "SASL_SSL",  # advertises a name that does not resolve
    "CLEAR": "SASL_PLAINTEXT",
}
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required"
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
_HANDLER = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
ELASTICSEARCH_VERSION = "8.19.21"


@dataclass
class SecureStack:
    """The running servers, and what a client needs to reach them."""

    state: State
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.state.root

    @property
    def ca(self) -> str:
        return str(self.root / "certificates" / "ca.pem")

    @property
    def other_ca(self) -> str:
        return str(self.root / "certificates" / "other-ca.pem")

    def certificate(self, name: str) -> str:
        """Return the file with a client's key and certificate; its common name is `name`."""
        path = self.root / "certificates" / f"{name}.pem"
        if not path.exists():
            authority = trustme.CA.from_pem(
                (self.root / "certificates" / "ca.pem").read_bytes(),
                (self.root / "certificates" / "ca.key").read_bytes(),
            )
            _write(path, authority.issue_cert(f"{name}@example.org", common_name=name))
        return str(path)

    # Kafka -------------------------------------------------------------------------------------------

    def kafka(
        self, user: str, password: str, listener: str = "SCRAM", **more: str
    ) -> dict[str, Any]:
        """Return librdkafka properties for a SCRAM user; `more` has ``_`` for its dots."""
        return {
            "bootstrap.servers": f"{NAME}:{self.ports[listener]}",
            "broker.address.family": "v4",
            "security.protocol": LISTENERS[listener],
            "ssl.ca.location": self.ca,
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": password,
            **{key.replace("_", "."): value for key, value in more.items()},
        }

    def mtls(self, name: str) -> dict[str, Any]:
        """Return librdkafka properties for the owner of a client certificate."""
        settings = self.kafka("", "", "MTLS", ssl_certificate_location=self.certificate(name))
        settings["ssl.key.location"] = self.certificate(name)
        return {key: value for key, value in settings.items() if not key.startswith("sasl.")}

    def oauth(self, name: str) -> dict[str, Any]:
        """Return librdkafka properties for an unsigned token, which this broker takes."""
        return {
            **self.bearer(),
            "enable.sasl.oauthbearer.unsecure.jwt": "true",
            "sasl.oauthbearer.config": f"principal={name}",
        }

    def bearer(self, listener: str = "OAUTH") -> dict[str, Any]:
        """Return librdkafka properties of a client whose token comes from elsewhere."""
        settings = self.kafka("", "", listener, sasl_mechanism="OAUTHBEARER")
        del settings["sasl.username"], settings["sasl.password"]
        return settings

    @property
    def oidc_key(self) -> Path:
        """The private key, as a JWK, whose tokens the listener OIDC takes."""
        return self.root / "certificates" / "oidc.json"

    @cached_property
    def admin(self) -> Cluster:
        return Cluster(self.kafka("admin", self.state.passwords["admin"]))

    def new_user(self, label: str) -> tuple[str, str]:
        """Make a SCRAM user who may do nothing; return name and password."""
        name, password = f"{label}-{uuid.uuid4().hex[:8]}", f"pw-{uuid.uuid4().hex}"
        change = UserScramCredentialUpsertion(
            name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), password.encode()
        )
        self.admin.ask(
            lambda client: client.alter_user_scram_credentials([change]), what="make a user"
        )
        until(lambda: self._may_log_in(name, password))
        return name, password

    def _may_log_in(self, name: str, password: str) -> bool:
        try:
            return bool(Cluster(self.kafka(name, password)).cluster_id)
        except PermissionError:
            return False

    def grant(self, principal: str, grants: Iterable[Grant]) -> None:
        """Give rights to ``User:principal``; they hold a moment later."""
        bindings = [
            AclBinding(
                ResourceType[grant.kind], grant.name,
                ResourcePatternType.PREFIXED if grant.prefixed else ResourcePatternType.LITERAL,
                f"User:{principal}", "*", AclOperation[operation], AclPermissionType.ALLOW,
            )
            for grant in grants
            for operation in grant.operations
        ]  # fmt: skip
        if bindings:
            self.admin.ask(lambda client: client.create_acls(bindings), what="create ACLs")

    def new_topic(self, values: Iterable[bytes] = (b'{"n": 1}', b'{"n": 2}'), **config: str) -> str:
        """Make a topic with these records and return its name."""
        name = f"irc-test-{uuid.uuid4().hex[:8]}"
        settings = {key.replace("_", "."): value for key, value in config.items()}
        self.admin.ask(
            lambda client: client.create_topics([NewTopic(name, 1, 1, config=settings)]),
            what="make it",
        )
        until(lambda: name in self.admin.topics())
        producer = self.admin.producer(message_max_bytes=20_000_000)
        for value in values:
            producer.produce(name, value)
        assert producer.flush(60) == 0
        return name

    def run_acls(self, arguments: list[str]) -> str:
        """Run the distribution's own ``kafka-acls.sh`` as its administrator.

        Return what it printed.
        """
        folder = self.root / "kafka"
        command = kafka.java_command(folder, "acls", say=lambda text: None)
        command[1:1] = ["-XX:TieredStopAtLevel=1"]  # it lives for a second
        # its tools are a jar of their own
        command[-1] += os.pathsep + str(fetch([_TOOLS], lambda text: None)[0])
        config = self.root / "certificates" / "admin.properties"
        write_private(config, _client_properties(self))
        main = "org.apache.kafka.tools.AclCommand"
        target = [
            "--bootstrap-server",
            f"{NAME}:{self.ports['SCRAM']}",
            "--command-config",
            str(config),
        ]
        result = subprocess.run(
            [*command, main, *target, *arguments], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr + result.stdout
        return result.stdout

    # Elasticsearch -----------------------------------------------------------------------------------

    @property
    def elasticsearch_address(self) -> str:
        return f"https://{NAME}:{self.state.services['elasticsearch'].port}"

    def elasticsearch(self, user: str, password: str) -> dict[str, Any]:
        """Return what ``elasticsearch.Elasticsearch`` takes."""
        return {
            "hosts": [self.elasticsearch_address],
            "basic_auth": [user, password],
            "ca_certs": self.ca,
        }

    @cached_property
    def es_admin(self) -> elasticsearch_client.Elasticsearch:
        settings = self.elasticsearch("admin", self.state.passwords["admin"])
        return elasticsearch_client.Elasticsearch(
            **{**settings, "basic_auth": tuple(settings["basic_auth"])}
        )

    def new_es_user(self, role: dict[str, Any]) -> dict[str, Any]:
        """Make a user with the rights of `role`, and return what the client takes.

        In the file realm: the minimal build lacks what its own index of users needs. Elasticsearch
        looks at the files every 5 s, each on its own; now and then it keeps what it made of one
        without the others: then another is made.
        """
        tries = (self._write_es_user(role) for _ in range(4))
        return next(user for user in tries if self._known_soon(user, role))

    def _write_es_user(self, role: dict[str, Any]) -> dict[str, Any]:
        name, password = f"test-{uuid.uuid4().hex[:8]}", f"pw-{uuid.uuid4().hex}"
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4, prefix=b"2a")).decode()
        lines = {
            "roles.yml": f"{name}: {json.dumps(role)}",
            "users": f"{name}:{hashed}",
            "users_roles": f"{name}:{name}",
        }
        for file, line in lines.items():
            with (self.root / "elasticsearch" / "config" / file).open("a", encoding="utf-8") as out:
                out.write(f"{line}\n")
        return self.elasticsearch(name, password)

    def _known_soon(self, found: dict[str, Any], role: dict[str, Any]) -> bool:
        name, password = found["basic_auth"]
        client = elasticsearch_client.Elasticsearch(**{**found, "basic_auth": (name, password)})
        deadline = time.monotonic() + 20
        while not (answer := self._knows(client, name, role)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return answer

    @staticmethod
    def _knows(client: elasticsearch_client.Elasticsearch, name: str, role: dict[str, Any]) -> bool:
        """Each file is looked at on its own: a user may be known before what its role allows is."""
        try:
            if name not in client.security.authenticate()["roles"]:
                return False
            may = client.security.get_user_privileges()
            return all(
                bool(may[kind]) == bool(role.get(of))
                for kind, of in (("indices", "indices"), ("cluster", "cluster"))
            )
        except elasticsearch_client.ApiError:
            return False

    def lab(self, kafka_settings: dict[str, Any], **targets: dict[str, Any]) -> Lab:
        return Lab(Profile("secure", "", kafka_settings, targets))


@contextmanager
def running(root: Path, *, keep: bool = False) -> Iterator[SecureStack]:
    """Start the servers, or join those that run in `root`; stop them at the end unless `keep`."""
    state = State.load(root)
    state.ensure_secrets()
    secure = SecureStack(state)
    try:
        _certificates(secure)
        _kafka(secure)
        _elasticsearch(secure)
        yield secure
    finally:
        state.save()
        for service in [] if keep else state.services.values():
            process.stop(service)


def _write(path: Path, certificate: trustme.LeafCert) -> None:
    """Write key and chain; the key as PKCS#8, for Java reads no other."""
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(
        path,
        b"".join([text, *(issuer.bytes() for issuer in certificate.cert_chain_pems)]).decode(),
    )


def _certificates(secure: SecureStack) -> None:
    folder = secure.root / "certificates"
    if (folder / "expired.pem").exists():
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o711)
    authority, now = trustme.CA(), dt.datetime.now(dt.UTC)
    write_private(folder / "ca.key", authority.private_key_pem.bytes().decode())
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other-ca.pem")
    _write(folder / "server.pem", authority.issue_cert(NAME))
    key = RSAKey.generate_key(
        2048, {"kid": "labkit-test", "alg": "RS256", "use": "sig"}, private=True
    )
    write_private(secure.oidc_key, json.dumps(key.as_dict(private=True)))
    (folder / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    past = {"not_before": now - dt.timedelta(30), "not_after": now - dt.timedelta(1)}
    _write(folder / "expired.pem", authority.issue_cert(NAME, **past))


def _kafka(secure: SecureStack) -> None:
    state, folder = secure.state, secure.root / "kafka"
    ports = secure.root / "ports.json"
    service = state.services.get("kafka")
    if service and process.running(service):
        secure.ports.update(json.loads(ports.read_text()))
        return
    secure.ports.update({name: process.free_port() for name in LISTENERS})
    ports.write_text(json.dumps(secure.ports))
    service = Service("kafka", KAFKA_VERSION, secure.ports["SCRAM"], process.free_port())
    state.services["kafka"] = service
    password = state.passwords["admin"]
    kafka.write_settings(folder, _settings(secure, service, folder, password))
    for name in ("server.pem", "expired.pem", "ca.pem", "jwks.json"):
        (folder / name).write_bytes((secure.root / "certificates" / name).read_bytes())
    command = kafka.java_command(folder, state.run_id, say=lambda text: None)
    command[1:1] = [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={_jwks(folder)}"]
    user = ["--add-scram", f"SCRAM-SHA-512=[name=admin,password={password}]"]
    kafka.launch(service, command, folder, lambda text: None, options=user)
    state.save()
    process.wait_ready(service, lambda: _answers(secure), log=folder / kafka.LOG)


def _jwks(folder: Path) -> str:
    return (folder / "jwks.json").as_uri()


def _answers(secure: SecureStack) -> bool:
    try:
        return bool(Cluster(secure.kafka("admin", secure.state.passwords["admin"])).cluster_id)
    except (PermissionError, ConnectionError, TimeoutError):
        return False


def _settings(secure: SecureStack, service: Service, folder: Path, password: str) -> dict[str, str]:
    ports = {**secure.ports, "CONTROLLER": service.controller_port}
    names = dict.fromkeys(ports, NAME) | {"CONTROLLER": HOST, "LOST": "lost.invalid"}
    admin = f'username="admin" password="{password}"'
    stores = {
        f"listener.name.{name.lower()}.ssl.{kind}": value
        for name, protocol in LISTENERS.items()
        if protocol.endswith("SSL")
        for kind, value in (
            ("keystore.type", "PEM"),
            (
                "keystore.location",
                str(folder / ("expired.pem" if name == "EXPIRED" else "server.pem")),
            ),
            ("truststore.type", "PEM"),
            ("truststore.location", str(folder / "ca.pem")),
        )
    }
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": f"{HOST}:{service.controller_port}",
        "listeners": ",".join(f"{name}://{HOST}:{port}" for name, port in ports.items()),
        "advertised.listeners": ",".join(
            f"{name}://{names[name]}:{port}" for name, port in ports.items()
        ),
        "listener.security.protocol.map": ",".join(
            f"{name}:{kind}" for name, kind in {**LISTENERS, "CONTROLLER": "SASL_PLAINTEXT"}.items()
        ),
        "inter.broker.listener.name": "CLEAR",
        "controller.listener.names": "CONTROLLER",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.controller.plain.sasl.jaas.config": f'{_PLAIN} {admin} user_admin="{password}";',
        "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.oauth.oauthbearer.sasl.jaas.config": f'{_OAUTH} unsecuredLoginStringClaim_sub="broker";',
        "listener.name.oauth.oauthbearer.connections.max.reauth.ms": "4000",
        "listener.name.oidc.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.oidc.oauthbearer.sasl.jaas.config": f"{_OAUTH};",
        "listener.name.oidc.oauthbearer.sasl.server.callback.handler.class": _HANDLER,
        "listener.name.oidc.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": _jwks(folder),
        "listener.name.oidc.oauthbearer.sasl.oauthbearer.expected.audience": "kafka",
        "listener.name.oidc.oauthbearer.sasl.oauthbearer.expected.issuer": "https://login.example.org",
        "listener.name.oidc.oauthbearer.connections.max.reauth.ms": "4000",
        **{
            f"listener.name.{name}.scram-sha-512.sasl.jaas.config": f"{_SCRAM} {admin};"
            for name in ("scram", "expired", "lost", "clear")
        },
        **stores,
        "listener.name.mtls.ssl.client.auth": "required",
        "listener.name.mtls.ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": "User:admin",
        "log.dirs": str(folder / "data"),
        "auto.create.topics.enable": "false",
        **kafka.ONE_NODE,
    }


def _client_properties(secure: SecureStack) -> str:
    login = f'{_SCRAM} username="admin" password="{secure.state.passwords["admin"]}";'
    return (
        "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n"
        f"ssl.truststore.type=PEM\nssl.truststore.location={secure.ca}\nsasl.jaas.config={login}\n"
    )


def _elasticsearch(secure: SecureStack) -> None:
    state, folder = secure.state, secure.root / "elasticsearch"
    service = state.services.get("elasticsearch")
    if service and process.running(service):
        return
    home = elasticsearch_home(ELASTICSEARCH_VERSION, lambda text: None)
    service = Service("elasticsearch", ELASTICSEARCH_VERSION, process.free_port())
    state.services["elasticsearch"] = service
    key, mark, chain = (
        (secure.root / "certificates" / "server.pem")
        .read_text()
        .partition("-----BEGIN CERTIFICATE")
    )
    elasticsearch.configure(
        folder, home, state, service,
        files={"server.key": key, "server.pem": mark + chain},
        xpack__security__http__ssl__enabled="true",
        xpack__security__http__ssl__key="server.key",
        xpack__security__http__ssl__certificate="server.pem",
        cluster__routing__allocation__disk__threshold_enabled="true",
        resource__reload__interval__high="1s",  # users are added while it runs
    )  # fmt: skip
    log = folder / "elasticsearch.log"
    elasticsearch.launch(service, folder, home, find_java(17), state.run_id, log=log)
    state.save()
    process.wait_ready(service, lambda: _healthy(secure), log=log, timeout_s=180)


def _healthy(secure: SecureStack) -> bool:
    try:
        return (
            secure.es_admin.cluster.health(wait_for_status="yellow", timeout="1s").meta.status
            == 200
        )
    except (
        elasticsearch_client.ApiError,
        elasticsearch_client.TransportError,
        ssl.SSLError,
        OSError,
    ):
        return False
