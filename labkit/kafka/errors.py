"""What librdkafka complains of, as one of labkit's errors with the remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from confluent_kafka import KafkaError

from labkit import acl
from labkit.checks.suggest import did_you_mean, look_closer, way
from labkit.config.oauth_token import TokenCallback, mechanism_of
from labkit.errors import (
    AccessError,
    ConfigError,
    DeadlineError,
    LabkitError,
    NotFoundError,
    ServerError,
    UnavailableError,
)

ACCESS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}
LOGIN = {KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._AUTHENTICATION}
WIRE = {KafkaError._SSL, KafkaError._BAD_MSG}
AWAY = {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE}
TIMEOUT = {
    KafkaError._TIMED_OUT,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._PARTIAL,  # of several brokers one gave no answer
    KafkaError._DESTROY,  # another thread has thrown the client away, for it got no answer
}
PASSING = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.NOT_CONTROLLER,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError._DESTROY_BROKER,  # the client has just heard that a broker is elsewhere, or gone
    KafkaError._NOENT,  # none of the partitions has a leader, as right after they were made
}
# errors that a consumer gets over by itself: librdkafka asks or joins again
FETCHED_AGAIN = {
    *(PASSING | AWAY | TIMEOUT),
    KafkaError.UNKNOWN,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.KAFKA_STORAGE_ERROR,
    KafkaError._WAIT_COORD,
    KafkaError._WAIT_CACHE,
}
MISSING = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.GROUP_ID_NOT_FOUND,
}

_NO_REFUSAL = re.compile(
    "not valid in current SASL state|failed: Local: (?:Broker transport failure|Timed out)"
)

_LACKS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "group",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "cluster",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "transactional id",
}
# a text of librdkafka's, what it means (empty: that there is no answer), what to do
_TOLD = (
    (
        "PLAINTEXT broker listener",
        "that port does not speak TLS",
        "set security.protocol without SSL, or the TLS port",
    ),
    (
        "certificate verify failed",
        "the broker's certificate is not trusted",
        "is it of the CA in ssl.ca.location, for this host name, and not expired? {doctor}",
    ),
    (
        "alert bad certificate",
        "the broker wants a client certificate",
        "set ssl.certificate.location and ssl.key.location",
    ),
    (
        "alert certificate required",
        "the broker wants a client certificate",
        "set ssl.certificate.location",
    ),
    (
        "alert unknown ca",
        "the broker does not trust the client certificate",
        "is it signed by the CA the broker knows?",
    ),
    (
        "Failed to resolve",
        "{address} does not resolve",
        "check the name and the DNS of this machine",
    ),
    (
        "Connection refused",
        "no server listens there",
        "is it running? `labkit status` (local stack); else check the port",
    ),
    ("Invalid response size", "what answers there is not Kafka", "check host and port"),
    ("timed out", "", "is a firewall in between? {doctor}"),
)
# the address, and its broker's id where that is known, with which a text of librdkafka's begins
_SERVER = re.compile(r"(?:\w+://)?([^/\s]+:\d+)/(\d+|bootstrap): ")


class Operation(StrEnum):
    """What an ACL of Kafka's allows, as ``kafka-acls`` writes it."""

    ALTER = "Alter"
    ALTER_CONFIGS = "AlterConfigs"
    CREATE = "Create"
    DELETE = "Delete"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"
    READ = "Read"
    WRITE = "Write"

    def to(self, what: str, *, topic: str = "", group: str = "") -> Action:
        """Return something to be done that needs this operation on a topic, a group, or both.

        Such as ``Operation.READ.to("read topic 'irc'", topic="irc")``; without a name, on several.
        """
        return Action(what, self, topic, group)


class Action(str):
    """What a server is asked to do, in words for an error; the operation it needs, and on what."""

    operation: Operation
    topic: str
    group: str

    def __new__(cls, what: str, operation: Operation, topic: str = "", group: str = "") -> Action:
        """Return the words with the operation and the names of what it is done to."""
        action = super().__new__(cls, what)
        action.operation, action.topic, action.group = operation, topic, group
        return action

    def name_of(self, kind: str) -> str:
        """Return the name of what it is done to; empty when that is not one thing of this kind."""
        return {"topic": self.topic, "group": self.group}.get(kind, "")


def passes(error: LabkitError) -> bool:
    """Tell whether the same question may be answered in a moment.

    That is so while a leader or coordinator moves, or a broker dies.
    """
    if isinstance(error, UnavailableError | DeadlineError):
        return True
    return error.facts.get("number") in PASSING or bool(error.facts.get("unsure"))


def is_outage(error: LabkitError) -> bool:
    """Tell whether the cluster cannot be asked at all now, though it could before.

    A login that is refused is one too: the endpoint of its tokens may be away.
    """
    return isinstance(error, UnavailableError | DeadlineError) or bool(error.facts.get("login"))


def rank(error: KafkaError) -> int:
    """Return how much `error` tells of the cause: "all brokers down" only follows from one."""
    code = error.code()
    if code in LOGIN:
        return 4
    if code in WIRE:
        return 3
    return 1 if code == KafkaError._ALL_BROKERS_DOWN else 2


def map_error(
    error: KafkaError,
    noted: KafkaError | None,
    what: str,
    *,
    principal: str,
    settings: Mapping[str, Any],
    token: TokenCallback | None = None,
    role: str = "lab",
) -> LabkitError:
    """Return labkit's error.

    Parameters
    ----------
    error : KafkaError
        What the call was answered with.
    noted : KafkaError or None
        What the error callback heard last: there, and often only there, stands why no broker
        answers.
    what : str
        What was done; an `Action` knows the operation of the ACL that lacks.
    principal : str
        Who did it.
    settings : mapping
        The client's properties.
    token : TokenCallback, optional
        The function of the profile's that gives the tokens.
    role : str
        Which of labkit's roles the principal works as: that which lacks a right is named in the
        hint.
    """
    address = str(settings.get("bootstrap.servers", ""))
    if error.code() in TIMEOUT | AWAY and noted is not None and noted.code() in LOGIN | WIRE | AWAY:
        error = noted
    code, text = error.code(), error.str()
    if code in LOGIN:
        return _login(text, address, principal, settings, token)
    if code in ACCESS:
        return _refusal(_LACKS[code], text, what, principal=principal, address=address, role=role)
    if code in AWAY | WIRE | TIMEOUT:
        kind = UnavailableError if code in AWAY | WIRE or noted is not None else DeadlineError
        why, hint = _away(text, code, settings)
        server = (
            f"Kafka at {address}"
            if code == KafkaError._ALL_BROKERS_DOWN
            else _broker_named(text, address)
        )
        message = f"no answer from {server} to {what}{why}"
        return kind(message, hint=hint, address=address, unresolved=_address_unresolved(text))
    if code in MISSING:
        return NotFoundError(
            f"cannot {what}: {text}",
            hint=f"{way('topics')} and {way('groups')} list what there is",
            number=code,
        )
    return ServerError(
        f"cannot {what}: {text or error.name()}",
        hint="it has members: stop its consumers first"
        if code == KafkaError.NON_EMPTY_GROUP
        else f"Kafka's error is {error.name()}",
        number=code,
    )


def is_no_refusal(error: KafkaError) -> bool:
    """Tell whether a login failed only for this connection: the client then makes another.

    The broker refuses a connection's next login as too early or too late; or the connection broke
    while it logged in, such as when its broker died.
    """
    return error.code() in LOGIN and bool(_NO_REFUSAL.search(error.str()))


def _login(
    text: str,
    address: str,
    principal: str,
    settings: Mapping[str, Any],
    token: TokenCallback | None,
) -> AccessError:
    mechanism = mechanism_of(settings)
    problem = token.problem if token else ""
    if "OAUTHBEARER token" in text or problem:
        why = problem or text.partition("token: ")[2] or text
        if "oauthbearer.config" in why:  # what follows is the setting's value
            why = "sasl.oauthbearer.config is not understood"
        return AccessError(
            f"no OAUTHBEARER token for {address}: {why}",
            hint="check the profile's oauth_cb and sasl.oauthbearer.* settings; `labkit doctor` tries them",
            login=True,
        )
    if mechanisms := re.search(r"supported mechanisms: ([A-Z0-9, -]+)", text):
        return AccessError(
            f"{address} does not support the mechanism {mechanism}",
            hint=f"set sasl.mechanism to one it supports: {mechanisms[1].strip()}",
            principal=principal,
        )
    hint = "check sasl.username, sasl.password and sasl.mechanism of the profile"
    if mechanism == "OAUTHBEARER":
        hint = (
            "is the token of the issuer, audience and scope that the broker wants, and not expired?"
        )
    return AccessError(
        f"{address} refused the login of {principal}",
        hint=hint,
        principal=principal,
        login=True,
    )


def _refusal(
    kind: str, text: str, what: str, *, principal: str, address: str, role: str
) -> AccessError:
    """Return the error for a missing right.

    It says who may not do what, the operation and the resource, and how to grant it.
    """
    action = what if isinstance(what, Action) else Action(what, Operation.DESCRIBE)
    name = action.name_of(kind)
    resource = f"{kind} {name!r}" if name else f"the {kind}"
    recipe = acl.way_to_grant(
        quote_principal(principal),
        acl.Right(kind, name, action.operation.name),
        role,
        topic=action.topic,
        bootstrap=address,
    )
    return AccessError(
        f"{principal} may not {what}: {text}",
        hint=f"the ACL {action.operation} on {resource} is missing; {recipe}",
        principal=principal,
        operation=str(action.operation),
        resource=resource,
    )


def _broker_named(text: str, address: str) -> str:
    """Return which of several brokers librdkafka complains of."""
    server = _SERVER.match(text)
    if server and server[2] != "bootstrap" and "," in address:
        return f"Kafka's broker {server[2]} at {server[1]}"
    return f"Kafka at {address}"


def _with_server(cause: str, text: str, addresses: str) -> str:
    """Return the cause, with which of several bootstrap servers librdkafka means."""
    server = _SERVER.match(text)
    if not cause or not server or server[2] != "bootstrap" or "," not in addresses:
        return cause
    return cause if server[1] in cause else f"{cause} ({server[1]})"


def _address_unresolved(text: str) -> str | None:
    """Return the address whose name librdkafka could not resolve."""
    address = re.search(r"resolve '([^']+)'", text)
    return address[1] if address else None


def _away(text: str, code: int, settings: Mapping[str, Any]) -> tuple[str, str]:
    """Return why no broker answers, to be put behind the sentence, and what to do."""
    protocol = str(settings.get("security.protocol", "PLAINTEXT")).upper()
    if code in TIMEOUT and "SASL" in protocol and mechanism_of(settings) == "OAUTHBEARER":
        return (
            ": is there a token?",
            f"set sasl.oauthbearer.method = oidc and its client and token endpoint. {look_closer()}",
        )
    for part, why, hint in _TOLD:
        if part.lower() in text.lower():
            cause = why.format(address=_address_unresolved(text) or "the address")
            cause = _with_server(cause, text, str(settings.get("bootstrap.servers", "")))
            return cause and f": {cause}", hint.format(doctor=look_closer())
    if code == KafkaError._ALL_BROKERS_DOWN:
        return (
            "",
            f"is it running (`labkit status`)? Does that port speak {protocol}, "
            f"as security.protocol says? {look_closer()}",
        )
    return (
        "",
        "is it running? `labkit status` (local stack); "
        f"else check the address, the network and TLS. {look_closer()}",
    )


def quote_principal(principal: str) -> str:
    """Return a principal as a shell takes it; ``User:NAME`` where none is known."""
    if not principal.startswith("User:"):
        return "User:NAME"
    return principal if re.fullmatch(r"[\w:.@-]+", principal) else f"'{principal}'"


# settings ------------------------------------------------------------------------------------------------


_MECHANISM = re.compile(
    r"(?:provider for SASL mechanism|Unsupported SASL mechanism:|Unsupported hash function:) ([A-Z0-9-]+)"
)


def setting_error(error: KafkaError) -> ConfigError:
    """Return labkit's error for a client that librdkafka would not make."""
    text = " ".join(error.str().split()).removeprefix("Failed to create admin client: ")
    text = text.removeprefix("Failed to create consumer: ").removeprefix(
        "Failed to create producer: "
    )
    if property_name := re.search(r'No such configuration property: "([^"]+)"', text):
        hint = (
            did_you_mean(property_name[1], PROPERTIES)
            or "the names are librdkafka's (CONFIGURATION.md)"
        )
        return ConfigError(f"Kafka has no setting {property_name[1]!r}", hint=hint)
    if mechanism := _MECHANISM.search(text):
        built = text.partition("Current build options: ")[2].replace(
            "SASL_SCRAM", "SCRAM-SHA-256 SCRAM-SHA-512"
        )
        if mechanism[1] == "GSSAPI":
            return ConfigError(
                "this client cannot log in with Kerberos (GSSAPI): PyPI's confluent-kafka is built without it",
                hint="use conda-forge's python-confluent-kafka, or build it: docs, Log in to a cluster; "
                "or set sasl.mechanism to SCRAM-SHA-512, PLAIN or OAUTHBEARER",
            )
        mechanisms = built.split() or ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
        return ConfigError(
            f"this client has no SASL mechanism {mechanism[1]}",
            hint=did_you_mean(mechanism[1], mechanisms) or f"it has {', '.join(mechanisms)}",
        )
    if failure := re.search(r"(ssl\.[a-z.]+) failed: (.*)", text):
        return ConfigError(
            f"{failure[1]} cannot be used: {failure[2]}",
            hint="is the file there, readable, and PEM?",
        )
    return ConfigError(
        f"Kafka's settings are wrong: {text}", hint="see librdkafka's CONFIGURATION.md"
    )


# Those of librdkafka's properties a profile may hold: what a wrong name is compared with.
_PROPERTIES = """
allow.auto.create.topics api.version.request auto.offset.reset bootstrap.servers broker.address.family
broker.address.ttl check.crcs client.dns.lookup client.id client.rack compression.codec compression.type
connections.max.idle.ms debug enable.auto.commit enable.sasl.oauthbearer.unsecure.jwt
enable.ssl.certificate.verification fetch.error.backoff.ms fetch.max.bytes fetch.message.max.bytes fetch.min.bytes
fetch.queue.backoff.ms fetch.wait.max.ms group.id group.instance.id group.protocol heartbeat.interval.ms
https.ca.location isolation.level log_level max.in.flight max.partition.fetch.bytes max.poll.interval.ms
message.max.bytes metadata.broker.list metadata.max.age.ms partition.assignment.strategy queued.max.messages.kbytes
queued.min.messages receive.message.max.bytes reconnect.backoff.max.ms reconnect.backoff.ms request.timeout.ms
retry.backoff.ms sasl.kerberos.keytab sasl.kerberos.principal sasl.kerberos.service.name sasl.mechanism
sasl.mechanisms sasl.oauthbearer.client.id sasl.oauthbearer.client.secret sasl.oauthbearer.config
sasl.oauthbearer.extensions sasl.oauthbearer.method sasl.oauthbearer.scope sasl.oauthbearer.token.endpoint.url
sasl.password sasl.username security.protocol session.timeout.ms socket.connection.setup.timeout.ms
socket.keepalive.enable socket.nagle.disable socket.receive.buffer.bytes socket.send.buffer.bytes socket.timeout.ms
ssl.ca.location ssl.ca.pem ssl.certificate.location ssl.certificate.pem ssl.cipher.suites ssl.crl.location
ssl.endpoint.identification.algorithm ssl.key.location ssl.key.password ssl.key.pem ssl.keystore.location
ssl.keystore.password ssl.sigalgs.list statistics.interval.ms
"""
PROPERTIES = tuple(_PROPERTIES.split())
