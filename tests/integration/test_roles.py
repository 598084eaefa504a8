"""What each role may do, as Kafka and Elasticsearch themselves enforce it.

labkit's own rules are not asked.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import elasticsearch
import psutil
import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
)

from labkit.elastic import Target
from labkit.errors import AccessError, UnavailableError
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab, connect
from labkit.pipelines.indexer.indexer import Indexer
from labkit.stack.ownership import service_account
from labkit.stack.state import ROLES, State, local_profile
from support.waiting import until

TOPIC_DENIED = KafkaError.TOPIC_AUTHORIZATION_FAILED
GROUP_DENIED = KafkaError.GROUP_AUTHORIZATION_FAILED
PRODUCTION = "indexer.logstash-es"
SECONDS = 15
QUIET = logging.getLogger("labkit.tests")
QUIET.propagate = False


@pytest.fixture
def kafka(stack: State) -> Callable[..., dict[str, Any]]:
    """A role's librdkafka properties."""

    def settings(role: str, **extra: Any) -> dict[str, Any]:
        return {
            **stack.credentials(role)["kafka"],
            **{key.replace("_", "."): value for key, value in extra.items()},
        }

    return settings


@pytest.fixture
def asks(kafka: Any) -> Callable[[str], AdminClient]:
    """Kafka's admin client as a role; kept, for a client that is gone answers no future."""
    clients: list[AdminClient] = []

    def make(role: str) -> AdminClient:
        clients.append(AdminClient(kafka(role)))
        return clients[-1]

    return make


@pytest.fixture
def client(stack: State) -> Callable[[str], elasticsearch.Elasticsearch]:
    """Elasticsearch as a role, the plain client."""

    def make(role: str) -> elasticsearch.Elasticsearch:
        settings = stack.credentials(role)["elasticsearch"]
        return elasticsearch.Elasticsearch(
            settings["hosts"], basic_auth=tuple(settings["basic_auth"]), max_retries=0
        )

    return make


@pytest.fixture
def made_index(client: Any) -> Iterator[str]:
    """An index of production, with one document."""
    name = f"irc-test-{uuid.uuid4().hex[:8]}"
    client("admin").index(index=name, id="1", document={"n": 1}, refresh=True)
    yield name
    client("admin").indices.delete(index=name)


@pytest.fixture
def group_of(
    admin: Cluster, produce: Any, make_topic: Any
) -> Iterator[Callable[[str], tuple[str, str]]]:
    """A function that makes a group: ``group_of(name) -> (group, topic)``.

    The group has committed offset 1 of a topic of two records.
    """
    names: list[str] = []

    def make(prefix: str) -> tuple[str, str]:
        topic, group = make_topic(), f"{prefix}{uuid.uuid4().hex[:8]}"
        produce(topic, [b"{}", b"{}"])
        consumer = admin.consumer(group=group)
        consumer.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
        consumer.close()
        names.append(group)
        return group, topic

    yield make
    for future in admin.admin.delete_consumer_groups(names).values() if names else []:
        future.exception(SECONDS)


def refusal(answer: dict[Any, Future[Any]]) -> int | None:
    """Return the code of what the broker says no with; None when it says yes."""
    (future,) = answer.values()
    error = future.exception(SECONDS)
    return error.args[0].code() if error else None


def produced(settings: dict[str, Any], topic: str) -> int | None:
    """Return the code the broker refuses a record with; None when it takes it."""
    producer, errors = Producer({**settings, "message.timeout.ms": SECONDS * 1000}), []
    producer.produce(topic, b"{}", on_delivery=lambda error, _message: errors.append(error))
    assert producer.flush(SECONDS) == 0
    return errors[0].code() if errors[0] else None


def joined(settings: dict[str, Any], topic: str) -> int | None:
    """Return the code a member is refused with; None when it is in and reads."""
    consumer = Consumer({**settings, "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    try:
        message = consumer.poll(SECONDS)
        assert message is not None
        return message.error().code() if message.error() else None
    finally:
        consumer.close()


def committed(settings: dict[str, Any], topic: str) -> int | None:
    """Return the code a commit is refused with; None when it is taken."""
    consumer = Consumer({**settings, "enable.auto.commit": False})
    try:
        consumer.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
    except KafkaException as error:
        return int(error.args[0].code())
    finally:
        consumer.close()
    return None


def fetched(settings: dict[str, Any], topic: str) -> int | None:
    """Return the code with which a read of a group's offsets is refused.

    It is None when a record comes.
    """
    consumer = Consumer({**settings, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        while True:
            message = consumer.poll(SECONDS)
            assert message is not None
            code = message.error().code() if message.error() else None
            if code != GROUP_DENIED:  # also told, though no group is asked for anything
                return code
    finally:
        consumer.close()


def forbidden(call: Callable[[], Any]) -> bool:
    """Tell whether Elasticsearch answers 403."""
    try:
        call()
    except elasticsearch.AuthorizationException:
        return True
    return False


# the lab, on Kafka ---------------------------------------------------------------------------------------


def test_lab_may_not_produce_to_irc(kafka: Any, admin: Cluster) -> None:
    partitions = admin.partitions("irc")
    before = admin.bounds("irc", partitions, "latest")
    assert produced(kafka("lab"), "irc") == TOPIC_DENIED
    assert admin.bounds("irc", partitions, "latest") == before


def test_lab_may_not_join_the_production_group(kafka: Any) -> None:
    assert joined(kafka("lab", group_id=PRODUCTION), "irc") == GROUP_DENIED


def test_lab_may_not_commit_to_the_production_group(kafka: Any) -> None:
    assert committed(kafka("lab", group_id=PRODUCTION), "irc") == GROUP_DENIED


def test_lab_may_not_reset_a_production_group(asks: Any, admin: Cluster, group_of: Any) -> None:
    group, topic = group_of("indexer.test-")
    offsets_to_commit = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 0)])]
    try:
        (answer,) = asks("lab").alter_consumer_group_offsets(offsets_to_commit).values()
        errors = [part.error.code() for part in answer.result(SECONDS).topic_partitions]
    except KafkaException as error:
        errors = [error.args[0].code()]
    assert errors == [GROUP_DENIED]
    found = admin.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[
        group
    ].result(SECONDS)
    assert [part.offset for part in found.topic_partitions] == [1]


def test_lab_may_not_delete_a_production_group(asks: Any, group_of: Any) -> None:
    group, _topic = group_of("indexer.test-")
    assert refusal(asks("lab").delete_consumer_groups([group])) == GROUP_DENIED


@pytest.mark.parametrize("role", ["lab", "indexer", "extractor"])
def test_no_role_but_admin_may_delete_a_topic(
    role: str, asks: Any, make_topic: Any, admin: Cluster
) -> None:
    topic = make_topic()
    assert refusal(asks(role).delete_topics([topic])) == TOPIC_DENIED
    assert topic in admin.topics()


@pytest.mark.parametrize("role", ["lab", "indexer", "extractor"])
def test_no_role_but_admin_may_alter_retention(
    role: str, asks: Any, make_topic: Any, admin: Cluster
) -> None:
    topic = make_topic(retention_ms="7776000000")
    change = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[change])
    assert refusal(asks(role).incremental_alter_configs([resource])) == TOPIC_DENIED
    assert admin.topic_settings([topic])[topic]["retention.ms"] == "7776000000"


@pytest.mark.parametrize("role", ["lab", "indexer", "extractor"])
def test_no_role_but_admin_may_delete_records(
    role: str, asks: Any, make_topic: Any, produce: Any
) -> None:
    topic = make_topic()
    produce(topic, [b"{}", b"{}"])
    assert refusal(asks(role).delete_records([TopicPartition(topic, 0, 1)])) == TOPIC_DENIED


@pytest.mark.parametrize("role", ["lab", "indexer"])
def test_readers_may_not_make_topics(role: str, asks: Any) -> None:
    name = f"irc-test-{uuid.uuid4().hex[:8]}"
    assert refusal(asks(role).create_topics([NewTopic(name, 1, 1)])) == TOPIC_DENIED


@pytest.mark.parametrize("role", ["lab", "indexer", "extractor"])
def test_no_role_but_admin_may_grant_itself_more(role: str, asks: Any) -> None:
    more = AclBinding(
        ResourceType.TOPIC, "irc", ResourcePatternType.LITERAL, f"User:{role}", "*",
        AclOperation.ALL, AclPermissionType.ALLOW,
    )  # fmt: skip
    assert refusal(asks(role).create_acls([more])) == KafkaError.CLUSTER_AUTHORIZATION_FAILED


def test_lab_may_describe_topics_groups_and_retention(asks: Any, group_of: Any) -> None:
    group, topic = group_of("indexer.test-")
    lab = asks("lab")
    assert lab.describe_topics(TopicCollection([topic]))[topic].result(SECONDS).name == topic
    assert lab.describe_consumer_groups([group])[group].result(SECONDS).group_id == group
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    assert "retention.ms" in lab.describe_configs([resource])[resource].result(SECONDS)
    offsets = lab.list_offsets({TopicPartition(topic, 0): OffsetSpec.latest()})[
        TopicPartition(topic, 0)
    ]
    assert offsets.result(SECONDS).offset == 2


def test_lab_may_read_a_topic_without_joining(kafka: Any, make_topic: Any, produce: Any) -> None:
    topic = make_topic()
    produce(topic, [b"{}"])
    assert fetched(kafka("lab", group_id="labkit.test.replay"), topic) is None


def test_lab_may_see_internal_topics_but_not_read_them(kafka: Any, asks: Any) -> None:
    """BEHAVIOURS 80: what others committed, and their transactions, are no records of anybody's."""
    assert "__consumer_offsets" in asks("lab").list_topics("__consumer_offsets", timeout=30).topics
    consumer = Consumer(
        kafka("lab", group_id="labkit.test", enable_auto_commit=False, auto_offset_reset="earliest")
    )
    try:
        consumer.assign([TopicPartition("__consumer_offsets", 0, 0)])
        message = until(lambda: consumer.poll(0.2), "an answer")
        assert message.error().code() == TOPIC_DENIED
    finally:
        consumer.close()


def test_lab_may_join_commit_to_and_delete_its_own_groups(
    kafka: Any, asks: Any, make_topic: Any, produce: Any
) -> None:
    topic, group = make_topic(), f"labkit.test.{uuid.uuid4().hex[:8]}"
    produce(topic, [b"{}"])
    assert joined(kafka("lab", group_id=group), topic) is None
    assert committed(kafka("lab", group_id=group), topic) is None
    assert refusal(asks("lab").delete_consumer_groups([group])) is None


# the indexer and the extractor, on Kafka -----------------------------------------------------------------


def test_indexer_may_read_as_its_groups(
    kafka: Any, make_topic: Any, produce: Any, group_of: Any
) -> None:
    group, topic = group_of("indexer.test-")
    assert joined(kafka("indexer", group_id=group), topic) is None
    assert committed(kafka("indexer", group_id=group), topic) is None


@pytest.mark.parametrize("group", ["other.group", "labkit.alice.explore", "indexer"])
def test_indexer_may_not_join_groups_of_others(group: str, kafka: Any) -> None:
    assert joined(kafka("indexer", group_id=group), "irc") == GROUP_DENIED


def test_indexer_may_not_delete_groups(asks: Any, group_of: Any) -> None:
    group, _topic = group_of("indexer.test-")
    assert refusal(asks("indexer").delete_consumer_groups([group])) == GROUP_DENIED


def test_indexer_may_not_produce(kafka: Any, make_topic: Any) -> None:
    assert produced(kafka("indexer"), make_topic()) == TOPIC_DENIED


def test_extractor_may_produce_to_topics_named_irc(kafka: Any, make_topic: Any) -> None:
    assert produced(kafka("extractor", enable_idempotence=True), make_topic()) is None


def test_extractor_may_make_topics_named_irc_and_no_others(asks: Any, admin: Cluster) -> None:
    extractor, tail = asks("extractor"), uuid.uuid4().hex[:8]
    assert refusal(extractor.create_topics([NewTopic(f"other-{tail}", 1, 1)])) == TOPIC_DENIED
    assert refusal(extractor.create_topics([NewTopic(f"irc-test-{tail}", 1, 1)])) is None
    assert refusal(admin.admin.delete_topics([f"irc-test-{tail}"])) is None


def test_extractor_may_not_produce_to_other_topics(kafka: Any, admin: Cluster) -> None:
    name = f"other-{uuid.uuid4().hex[:8]}"
    assert refusal(admin.admin.create_topics([NewTopic(name, 1, 1)])) is None
    try:
        assert produced(kafka("extractor"), name) == TOPIC_DENIED
    finally:
        assert refusal(admin.admin.delete_topics([name])) is None


def test_extractor_may_not_read(kafka: Any, make_topic: Any, produce: Any) -> None:
    topic = make_topic()
    produce(topic, [b"{}"])
    assert fetched(kafka("extractor", group_id="x"), topic) == TOPIC_DENIED


@pytest.mark.parametrize("group", [PRODUCTION, "labkit.alice.explore"])
def test_extractor_may_not_join_groups(group: str, kafka: Any) -> None:
    assert joined(kafka("extractor", group_id=group), "irc") == GROUP_DENIED


# Elasticsearch -------------------------------------------------------------------------------------------


def test_lab_may_not_write_index_irc(client: Any) -> None:
    lab = client("lab")
    assert forbidden(lambda: lab.index(index="irc", document={}))
    items = lab.bulk(operations=[{"create": {"_index": "irc"}}, {}])["items"]
    assert [item["create"]["status"] for item in items] == [403]


def test_lab_may_not_change_what_is_in_an_index_of_production(client: Any, made_index: str) -> None:
    lab = client("lab")
    assert forbidden(lambda: lab.index(index=made_index, document={}))
    assert forbidden(lambda: lab.delete(index=made_index, id="1"))
    assert forbidden(lambda: lab.update(index=made_index, id="1", doc={"n": 2}))


def test_lab_may_not_delete_or_alter_an_index_of_production(client: Any, made_index: str) -> None:
    lab = client("lab").indices
    assert forbidden(lambda: lab.delete(index=made_index))
    assert forbidden(lambda: lab.put_mapping(index=made_index, properties={"x": {"type": "long"}}))
    assert forbidden(
        lambda: lab.put_settings(index=made_index, settings={"index.blocks.write": True})
    )
    assert forbidden(lambda: lab.close(index=made_index))
    assert client("admin").count(index=made_index)["count"] == 1


def test_lab_may_not_slip_a_scratch_index_under_a_name_of_production(client: Any) -> None:
    lab, name = client("lab"), f"scratch-test-{uuid.uuid4().hex[:8]}"
    lab.indices.create(index=name)
    try:
        assert forbidden(lambda: lab.indices.put_alias(index=name, name="irc-test-alias"))
        template = {"index_patterns": ["irc-test-never-*"]}
        assert forbidden(lambda: lab.indices.put_index_template(name="test", **template))
    finally:
        lab.indices.delete(index=name)


def test_lab_may_read_production_and_do_all_with_scratch(client: Any, made_index: str) -> None:
    lab, name = client("lab"), f"scratch-test-{uuid.uuid4().hex[:8]}"
    assert lab.search(index=made_index)["hits"]["total"]["value"] == 1
    lab.index(index=name, document={"n": 1}, refresh=True)
    assert lab.count(index=name)["count"] == 1
    lab.indices.delete(index=name)


def test_indexer_may_make_and_write_indices_named_irc_and_not_delete_them(
    client: Any, made_index: str
) -> None:
    """Any warning of Elasticsearch's about a right that it will take away is an error here."""
    indexer, name = client("indexer"), f"irc-test-{uuid.uuid4().hex[:8]}"
    indexer.indices.create(index=name)
    try:
        indexer.indices.put_mapping(index=name, properties={"n": {"type": "long"}})
        assert indexer.create(index=name, id="1", document={"n": 1})["result"] == "created"
        assert forbidden(lambda: indexer.indices.delete(index=name))
        assert forbidden(lambda: indexer.delete(index=made_index, id="1"))
    finally:
        client("admin").indices.delete(index=name)


@pytest.mark.parametrize("name", ["scratch-test-x", "other-x"])
def test_indexer_may_not_write_other_indices(name: str, client: Any) -> None:
    assert forbidden(lambda: client("indexer").index(index=name, document={}))


@pytest.mark.parametrize("name", ["irc-test-extractor", "scratch-test-x", "other-x"])
def test_extractor_may_not_overwrite_in_any_index(name: str, client: Any) -> None:
    try:
        assert forbidden(
            lambda: client("extractor").index(
                index=name, id="labkit-test-probe", document={"test": True}
            )
        )
    finally:
        client("admin").options(ignore_status=404).delete(index=name, id="labkit-test-probe")
        if name.startswith("irc-test-"):
            client("admin").options(ignore_status=404).indices.delete(index=name)


def test_extractor_may_not_read_an_index(client: Any, made_index: str) -> None:
    assert forbidden(lambda: client("extractor").search(index=made_index))


@pytest.mark.parametrize("role", ["lab", "indexer", "extractor"])
def test_no_role_but_admin_may_alter_users_roles_or_the_cluster(role: str, client: Any) -> None:
    es_client = client(role)
    assert forbidden(lambda: es_client.security.put_role(name="test", cluster=["all"]))
    assert forbidden(
        lambda: es_client.security.put_user(
            username="test", password="test-only-1", roles=["superuser"]
        )
    )
    assert forbidden(
        lambda: es_client.cluster.put_settings(
            transient={"action.destructive_requires_name": False}
        )
    )
    assert forbidden(lambda: es_client.security.create_api_key(name="test"))


# passwords -----------------------------------------------------------------------------------------------


def test_kafka_refuses_a_wrong_password(kafka: Any) -> None:
    with pytest.raises(AccessError, match=r"refused the login of User:lab"):
        Cluster(kafka("lab", sasl_password="wrong")).topics()


def test_kafka_refuses_a_client_without_a_password(stack: State) -> None:
    address = stack.credentials("lab")["kafka"]["bootstrap.servers"]
    with pytest.raises((UnavailableError, AccessError)):
        Cluster({"bootstrap.servers": address}).topics()


def test_kafkas_controller_refuses_all_but_the_admin(stack: State, kafka: Any) -> None:
    controller = f"127.0.0.1:{stack.services['kafka'].controller_port}"
    with pytest.raises(AccessError):
        Cluster(kafka("lab", bootstrap_servers=controller)).topics()
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": controller}, logger=QUIET).list_topics(timeout=3)


@pytest.mark.parametrize("auth", [("lab", "wrong"), ("nobody", "x"), None])
def test_elasticsearch_refuses_a_wrong_password_and_none(auth: Any, stack: State) -> None:
    hosts = stack.credentials("lab")["elasticsearch"]["hosts"]
    with pytest.raises(elasticsearch.AuthenticationException):
        elasticsearch.Elasticsearch(hosts, basic_auth=auth, max_retries=0).search(index="irc*")


def test_a_wrong_password_for_elasticsearch_is_one_line_without_it(stack: State) -> None:
    hosts = stack.credentials("lab")["elasticsearch"]["hosts"]
    target = Target("default", {"hosts": hosts, "basic_auth": ["lab", "wrong-password"]})
    with pytest.raises(AccessError, match="refused the login of lab") as caught:
        target.count("irc")
    assert "wrong-password" not in str(caught.value)


def servers(state: State) -> list[psutil.Process]:
    """Return the processes of the stack's servers, children too."""
    mains = [
        psutil.Process(service.pid)
        for service in state.services.values()
        if service.port and service.pid
    ]
    return [member for main in mains for member in (main, *main.children(recursive=True))]


def test_every_listener_is_bound_to_the_loopback_interface(stack: State) -> None:
    listening = [
        connection.laddr
        for process in servers(stack)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    ports = {
        connection.port
        for service in stack.services.values()
        for connection in listening
        if connection.port == service.port
    }
    assert ports == {service.port for service in stack.services.values() if service.port}
    addresses = {ipaddress.ip_address(connection.ip) for connection in listening}
    plain = {getattr(connection, "ipv4_mapped", None) or connection for connection in addresses}
    assert all(connection.is_loopback for connection in plain), plain


def test_no_password_stands_in_a_command_line(stack: State) -> None:
    lines = [" ".join(process.cmdline()) for process in servers(stack)]
    assert len(lines) >= 3  # Kafka, Elasticsearch's launcher, Elasticsearch
    assert not [
        line for line in lines if any(password in line for password in stack.passwords.values())
    ]


def test_the_credentials_file_is_its_owners_alone(stack: State) -> None:
    assert stat.S_IMODE((stack.root / "stack.json").stat().st_mode) == 0o600


def settings_and_logs(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):
        if "data" in subfolders:  # where other tests' topics come and go
            subfolders.remove("data")
        yield from (Path(folder, name) for name in names if Path(folder, name).is_file())


def test_every_file_with_a_password_in_it_is_its_owners_and_its_servers_alone(stack: State) -> None:
    secrets = [password.encode() for password in stack.passwords.values()]
    holding = [
        path
        for path in settings_and_logs(stack.root)
        if any(secret in path.read_bytes() for secret in secrets)
    ]
    assert stack.root / "stack.json" in holding
    servers_read = {stack.root / broker.name / "server.properties" for broker in stack.brokers}
    # whose group no person is in; None: servers run as who started them
    account = service_account()
    for path in holding:
        status = path.stat()
        shared = account is not None and path in servers_read
        assert oct(stat.S_IMODE(status.st_mode)) == ("0o640" if shared else "0o600"), path
        assert status.st_uid == os.geteuid(), path
        assert status.st_gid == (account.gid if account and shared else status.st_gid), path


def test_no_log_holds_a_password(stack: State) -> None:
    secrets = [password.encode() for password in stack.passwords.values()]
    logs = [
        path
        for path in settings_and_logs(stack.root)
        if path.suffix == ".log" or "logs" in path.parts
    ]
    assert {"kafka.log", "elasticsearch.log"} <= {path.name for path in logs}
    assert not [path for path in logs if any(secret in path.read_bytes() for secret in secrets)]


@pytest.mark.parametrize("role", ROLES)
def test_no_password_in_what_python_shows(role: str, stack: State) -> None:
    profile = local_profile(role)
    lab = connect(role=role)
    indexer = Indexer(lab.cluster, lab.target(), "irc", "irc", "indexer.x")
    window = lab.window("irc", last=0) if role in ("lab", "admin") else None
    shown = [
        profile,
        Cluster(profile.kafka),
        lab,
        lab.target(),
        stack,
        State.load(),
        indexer,
        window,
    ]
    texts = " ".join(f"{one!r} {one}" for one in shown) + lab._repr_html_()
    assert role in texts
    assert not [password for password in stack.passwords.values() if password in texts]


def test_no_password_in_an_error(stack: State, kafka: Any) -> None:
    with pytest.raises(AccessError) as caught:
        Cluster(kafka("lab", sasl_password="wrong-password")).topics()
    chain, error = [], caught.value
    while error is not None:
        chain.append(f"{error!r} {error} {getattr(error, 'facts', '')}")
        error = error.__cause__ or error.__context__
    assert "wrong-password" not in " ".join(chain)


def test_credentials_are_what_plain_clients_take(stack: State) -> None:
    credentials = json.loads(json.dumps(stack.credentials("lab")))
    assert (
        AdminClient(credentials["kafka"]).list_topics("irc", timeout=SECONDS).topics["irc"].error
        is None
    )
    client = elasticsearch.Elasticsearch(
        credentials["elasticsearch"]["hosts"],
        basic_auth=tuple(credentials["elasticsearch"]["basic_auth"]),
    )
    assert client.count(index="irc*", allow_no_indices=True)["count"] >= 0


def test_the_irc_topic_is_made_with_four_partitions_kept_for_ninety_days(lab: Lab) -> None:
    row = lab.topics().set_index("topic").loc["irc"]
    assert (row["partitions"], row["retention_ms"]) == (4, 7_776_000_000)
