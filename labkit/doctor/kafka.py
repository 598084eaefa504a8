"""What a lab needs of Kafka, from the bootstrap server's name to the last ACL.

Nothing foreign is touched.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import confluent_kafka
from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka.admin import OffsetSpec

from labkit import acl, times
from labkit.checks import names
from labkit.checks.suggest import typed
from labkit.config.oauth_token import SETTING
from labkit.doctor import network
from labkit.doctor.check_runner import Examination
from labkit.doctor.diagnosis import Finding, Status, fail, ok, warn
from labkit.doctor.topic_choice import allowed_operations, choose_topic, visible_topics
from labkit.errors import AccessError, LabkitError, NotFoundError, UnavailableError
from labkit.groups.listing import list_whole
from labkit.kafka.cluster import Cluster, replay_group
from labkit.kafka.errors import Operation
from labkit.kafka.groups import NOWHERE
from labkit.text.counts import number_of

LOGIN_S, ASK_S = 4.0, 3.0
CLOCK_S = 5
_PORT = 9092
_PORTS = {"https": 443, "http": 80}
_LARGEST = 2_147_483_647  # of receive.message.max.bytes
# how much is asked for at once, with librdkafka's defaults
_FETCHES = {
    "fetch.message.max.bytes": 1_048_576,
    "max.partition.fetch.bytes": 1_048_576,
    "fetch.max.bytes": 52_428_800,
}
_MORE = {"WRITE", "DELETE", "ALTER", "ALTER_CONFIGS", "CREATE"}


def examine(cluster: Cluster, topic: str | None, deadline: float) -> Examination:
    """Look at `cluster`, and read `topic`; None: the first that has records and may be read."""
    look, looks = Examination("kafka", deadline), KafkaLooks(cluster, topic)
    look.look("settings", looks.settings)
    look.look("DNS", looks.dns, needs=["settings"])
    look.look("TCP", looks.tcp, needs=["DNS"])
    if looks.tls:
        look.look("TLS", looks.certificates, needs=["TCP"])
    way = ["TLS" if looks.tls else "TCP"]
    if looks.bears_token:
        look.look("token", looks.token, needs=["settings"], timeout_s=LOGIN_S + 3)
        way.append("token")
    look.look("login", looks.login, needs=way, timeout_s=LOGIN_S + 3)
    look.look("advertised listeners", looks.listeners, needs=["login"], timeout_s=6)
    on = ["advertised listeners"]
    look.look("describe topic", looks.describe_topic, needs=on)
    on_topic = ["describe topic"]
    look.look("read topic", looks.read_topic, needs=on_topic, timeout_s=5)
    look.look("list offsets", looks.list_offsets, needs=on_topic)
    look.look("describe configs", looks.describe_configs, needs=on_topic)
    look.look("message size", looks.message_size, needs=["describe configs"])
    look.look("describe groups", looks.describe_groups, needs=on, timeout_s=5)
    look.look("read groups labkit.*", looks.read_groups, needs=on_topic, timeout_s=5)
    look.look("delete groups labkit.*", looks.delete_groups, needs=on, timeout_s=5)
    look.look("no more than needed", looks.no_more, needs=on_topic)
    look.look("clock", looks.clock, needs=["list offsets"])
    return look


def _takes_any_certificate(settings: Mapping[str, Any]) -> bool:
    """Tell whether a profile takes any certificate."""
    return str(settings.get("enable.ssl.certificate.verification", "true")).lower() == "false"


class KafkaLooks:
    """The single looks; each returns a finding or raises."""

    def __init__(self, cluster: Cluster, topic: str | None) -> None:
        self.cluster = cluster
        self.wanted = topic
        self.config = cluster.settings
        self.protocol = str(self.config.get("security.protocol", "PLAINTEXT")).upper()
        self.tls = self.protocol.endswith("SSL")

    @cached_property
    def addresses(self) -> list[network.Address]:
        return [
            network.address_of(host, _PORT)
            for host in self.cluster.address.split(",")
            if host.strip()
        ]

    # the way there -----------------------------------------------------------------------------------

    def settings(self) -> Finding:
        if not self.addresses:
            return fail(
                "bootstrap.servers is not set",
                'write "bootstrap.servers" = "HOST:PORT" in the profile',
            )
        # librdkafka has looked at every setting when it has made the client
        self.cluster.admin.poll(0)
        text = f"{self.protocol} as {self.cluster.principal}, librdkafka {confluent_kafka.libversion()[0]}"
        if self.tls and _takes_any_certificate(self.config):
            return warn(
                f"{text}; certificates are not checked",
                "remove enable.ssl.certificate.verification",
            )
        if self.tls and not network.tls_of_librdkafka(self.config).check_host:
            return warn(
                f"{text}; host names are not checked",
                "remove ssl.endpoint.identification.algorithm",
            )
        if self.protocol == "SASL_PLAINTEXT" and not network.is_loopback(self.addresses):
            return warn(
                f"{text}; password and records are sent unencrypted",
                "use a SASL_SSL listener",
            )
        return ok(text)

    def dns(self) -> Finding:
        return network.resolve(self.addresses)

    def tcp(self) -> Finding:
        return network.connect(self.addresses)

    def certificates(self) -> Finding:
        if _takes_any_certificate(self.config):
            return ok("not checked: the profile trusts any")
        if self.config.get("ssl.certificate.pem"):
            return ok(
                "not looked at: the client certificate stands in the profile itself, the login tries it"
            )
        return network.certificates(self.addresses, network.tls_of_librdkafka(self.config))

    @property
    def bears_token(self) -> bool:
        """Whether the login is by a token that something else than librdkafka itself must make."""
        endpoint = self.config.get("sasl.oauthbearer.token.endpoint.url")
        return self.protocol.startswith("SASL") and bool(self.config.get(SETTING) or endpoint)

    def token(self) -> Finding:
        """Have the profile's function make a token, or reach the endpoint that gives them."""
        if (callback := self.cluster.token) is not None:
            callback(str(self.config.get("sasl.oauthbearer.config", "")))
            valid = f"valid for {callback.expires_in_s:,.0f} s"
            if callback.problem:
                return warn(f"the last one is {valid}; {callback.problem}", "have it give tokens")
            return ok(f"{callback.name} gave one that is {valid}")
        endpoint = urlsplit(str(self.config["sasl.oauthbearer.token.endpoint.url"]))
        if endpoint.scheme not in _PORTS or not endpoint.hostname:
            fix = 'write "sasl.oauthbearer.token.endpoint.url" = "https://HOST/PATH"'
            return fail("sasl.oauthbearer.token.endpoint.url must be an http or https address", fix)
        address = (endpoint.hostname, endpoint.port or _PORTS[endpoint.scheme])
        for look in (network.resolve, network.connect):
            finding = look([address])
            if finding.status is not Status.OK:
                return fail(
                    f"the token endpoint {finding.text}",
                    "check sasl.oauthbearer.token.endpoint.url",
                )
        if endpoint.scheme == "http" and not network.is_loopback([address]):
            return warn("the client's secret is sent unencrypted", "use an https:// token endpoint")
        return ok(
            f"the token endpoint {network.host_port(address)} answers; the login asks it for one"
        )

    def login(self) -> Finding:
        try:
            brokers = number_of(len(self.advertised), "broker")
            return ok(f"{self.cluster.principal} is let in; {brokers}")
        except UnavailableError:
            if not self.tls and any(map(network.speaks_tls, self.addresses)):
                fix = "set security.protocol to SASL_SSL (or SSL)"
                return fail(f"that port speaks TLS, the profile says {self.protocol}", fix)
            raise

    @cached_property
    def metadata(self) -> Any:
        return self.cluster.metadata(LOGIN_S)

    @cached_property
    def advertised(self) -> list[network.Address]:
        """Where the brokers say they are.

        librdkafka takes their names from its first answer and may leave the bootstrap server for
        them at once: a name it cannot resolve, and was not given, is one that came after the
        login.
        """
        try:
            return [(broker.host, broker.port) for broker in self.metadata.brokers.values()]
        except UnavailableError as error:
            unresolved = error.facts.get("unresolved")
            address = network.address_of(unresolved, _PORT) if unresolved else None
            if address is None or address in self.addresses:
                raise
            return [address]

    def listeners(self) -> Finding:
        """Reach every broker at the address it advertises.

        The bootstrap server only hands those addresses out.
        """
        addresses = self.advertised
        for look in (network.resolve, network.connect):
            finding = look(addresses)
            if finding.status is not Status.OK:
                fix = "the brokers' advertised.listeners must be names this machine can resolve and reach"
                return fail(f"a broker advertises {finding.text}", fix)
        if self.tls:
            finding = network.certificates(addresses, network.tls_of_librdkafka(self.config))
            if finding.status is not Status.OK:
                return fail(f"a broker advertises {finding.text}", finding.fix)
        return ok(", ".join(map(network.host_port, addresses)))

    # topics ------------------------------------------------------------------------------------------

    @cached_property
    def topic(self) -> str:
        return self.wanted or choose_topic(self.cluster, self.metadata)

    @cached_property
    def partitions(self) -> list[int]:
        return self.cluster.partitions(self.topic)

    def describe_topic(self) -> Finding:
        if not self.topic:
            return self._lacking("no topic can be seen", "TOPIC", "*", "DESCRIBE")
        try:
            return ok(f"{self.topic}, {number_of(len(self.partitions), 'partition')}{self._chosen}")
        except AccessError as error:
            return self._lacking(error.message, "TOPIC", self.topic, "DESCRIBE")
        except NotFoundError as error:
            return fail(
                error.message,
                f"is the name right? else: {self._grant('TOPIC', self.topic, 'DESCRIBE')}",
            )

    @property
    def _chosen(self) -> str:
        """What else could be tried in the place of a topic that was not named."""
        others = len(visible_topics(self.metadata)) - 1
        if self.wanted or not others:
            return ""
        another = typed("topic=", "--topic")
        return f"; of {number_of(others, 'other topic')}, {another} tries another"

    def read_topic(self) -> Finding:
        """Fetch the newest record of a partition, or learn that there is none.

        The broker checks READ for both.
        """
        try:
            return ok(self._read_one())
        except AccessError as error:
            return self._lacking(error.message, "TOPIC", self.topic, "READ")

    def _read_one(self) -> str:
        starts, ends = self.cluster.starts_and_ends(self.topic, self.partitions)
        filled = (number for number in self.partitions if ends[number] > starts[number])
        partition = next(filled, self.partitions[0])
        first, end = starts[partition], ends[partition]
        consumer = self.cluster.consumer(group=replay_group(), enable_partition_eof=True)
        deadline = time.monotonic() + 4
        try:
            consumer.assign([TopicPartition(self.topic, partition, max(first, end - 1))])
            while time.monotonic() < deadline:
                message = consumer.poll(0.2)
                error = message.error() if message else None
                if message is None or (
                    error and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
                ):
                    continue  # the group is only a name here: nothing is asked of it
                if error and error.code() != KafkaError._PARTITION_EOF:
                    raise self.cluster.error(
                        error, Operation.READ.to(f"read topic {self.topic!r}", topic=self.topic)
                    )
                return (
                    f"{self.topic}[{partition}]: nothing to read"
                    if error
                    else f"a record of {len(message)} bytes"
                )
        finally:
            consumer.close()
        raise UnavailableError(
            f"no record of {self.topic!r} came in 4 s", hint="is the partition's leader there?"
        )

    def list_offsets(self) -> Finding:
        ends = self.cluster.bounds(self.topic, self.partitions, "latest")
        return ok(
            f"{self.topic} ends at {sum(ends.values()):,} in {number_of(len(ends), 'partition')}"
        )

    @cached_property
    def topic_settings(self) -> dict[str, str]:
        return self.cluster.topic_settings([self.topic])[self.topic]

    def describe_configs(self) -> Finding:
        try:
            return ok(f"retention.ms {self.topic_settings['retention.ms']}")
        except AccessError as error:
            return self._lacking(error.message, "TOPIC", self.topic, "DESCRIBE_CONFIGS")

    def message_size(self) -> Finding:
        """Compare the largest batch the topic takes with what this client takes."""
        largest = int(self.topic_settings["max.message.bytes"])
        receive = int(self.config.get("receive.message.max.bytes", 100_000_000))
        if largest + 512 > receive:
            return fail(
                f"{self.topic} takes batches of {largest:,} bytes, this client takes answers of {receive:,}",
                f"set receive.message.max.bytes to {min(largest + 1_000_000, _LARGEST)} in the profile",
            )
        fetches = {
            name: int(self.config[name])
            for name, default in _FETCHES.items()
            if int(self.config.get(name, default)) < min(largest, default)
        }
        if fetches:
            return warn(
                f"{self.topic} takes batches of {largest:,} bytes, this client asks for "
                f"{min(fetches.values()):,} at once: slow",
                f"remove {' and '.join(fetches)} from the profile",
            )
        return ok(f"{self.topic} takes batches of {largest:,} bytes, this client {receive:,}")

    @cached_property
    def group(self) -> str:
        """A group of ours that is not there, whatever ad hoc groups the user has."""
        return names.adhoc_group(f"doctor-{uuid.uuid4().hex[:8]}")

    # groups ------------------------------------------------------------------------------------------

    def describe_groups(self) -> Finding:
        """Describe groups that are not the lab's: one there is, and one there is not."""
        listing = list_whole(self.cluster, patience_s=ASK_S)
        consumers, others = _foreign(listing.consumers), _foreign(listing.others)
        # not named labkit.*: as foreign as those of production
        groups = sorted({*consumers[:1], "labkit-doctor"})
        for answer in self.cluster.groups.describe(groups).values():
            if isinstance(answer, AccessError):
                return self._lacking(answer.message, "GROUP", "*", "DESCRIBE")
            if isinstance(answer, LabkitError) and not isinstance(answer, NotFoundError):
                raise answer
        count = len(consumers) + len(others)
        return ok(f"{number_of(count, 'group')} of others can be seen")

    def read_groups(self) -> Finding:
        """Commit to a partition that does not exist, for a group of the lab's.

        The broker refuses it for want of READ, else for want of the partition.
        """
        group, action = (
            self.group,
            Operation.READ.to(f"read as group {self.group!r}", group=self.group),
        )
        try:
            for error in self.cluster.groups.commit(
                group, self.topic, {NOWHERE: 0}, what=action
            ).values():
                if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                    raise self.cluster.error(error, action)
        except AccessError as error:
            return self._lacking(error.message, "GROUP", names.GROUP_PREFIX, "READ")
        except NotFoundError:
            pass
        return ok(f"groups named {names.GROUP_PREFIX}* may read and commit")

    def delete_groups(self) -> Finding:
        """Delete a group of the lab's that does not exist.

        The broker refuses it for want of DELETE, else for want of the group.
        """
        try:
            self.cluster.groups.delete(self.group)
        except AccessError as error:
            return self._lacking(error.message, "GROUP", names.GROUP_PREFIX, "DELETE")
        except NotFoundError:
            pass
        return ok(f"groups named {names.GROUP_PREFIX}* may be deleted")

    # rights and time ---------------------------------------------------------------------------------

    def no_more(self) -> Finding:
        """Ask which operations the broker would let this principal do to the topic."""
        more = sorted(allowed_operations(self.cluster, [self.topic])[self.topic] & _MORE)
        if more:
            return warn(
                f"{self.cluster.principal} may also {', '.join(more)} {self.topic}: a lab needs none of it",
                "use a principal that may only read; `labkit acl` prints its rights",
            )
        return ok(f"{self.cluster.principal} may not alter {self.topic}")

    def clock(self) -> Finding:
        """Compare this clock with the newest record's time: Kafka tells no time of its own."""
        specs = {
            TopicPartition(self.topic, partition): OffsetSpec.max_timestamp()
            for partition in self.partitions
        }
        answers = self.cluster.ask(
            lambda admin: admin.list_offsets(specs, request_timeout=ASK_S),
            what=Operation.DESCRIBE.to("find the newest record"),
        )
        newest = max(
            (answer.timestamp for answer in answers.values() if answer.offset >= 0), default=-1
        )
        ahead_s = (newest - times.now_ms()) / 1000
        if ahead_s > CLOCK_S:
            return warn(
                f"the newest record of {self.topic} is {ahead_s:.0f} s in the future",
                "this machine's clock is behind, or a producer's is ahead: is NTP on?",
            )
        return ok(f"no record of {self.topic} is in the future; Kafka tells no more of its clock")

    # fixes -------------------------------------------------------------------------------------------

    def _lacking(self, text: str, kind: str, name: str, operation: str) -> Finding:
        return fail(text, self._grant(kind, name, operation))

    def _grant(self, kind: str, name: str, operation: str) -> str:
        principal = (
            self.cluster.principal if self.cluster.principal.startswith("User:") else "User:NAME"
        )
        grant = acl.Grant(kind, name, name == names.GROUP_PREFIX, (operation,))
        return "an administrator runs: " + acl.kafka_acls(
            principal, grant, bootstrap=self.cluster.address
        )


def _foreign(groups: Iterable[str]) -> list[str]:
    return [name for name in groups if not name.startswith(names.GROUP_PREFIX)]
