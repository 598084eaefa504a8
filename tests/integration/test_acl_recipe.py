"""`labkit acl`: what it prints, applied to real servers, is exactly what a lab needs."""

from __future__ import annotations

import inspect
import json
import shlex
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import elasticsearch
import pytest
from confluent_kafka import KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from labkit import cli
from labkit.acl import kafka_grants, recipe
from labkit.errors import AccessError
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from support.secure_stack import SecureStack
from support.waiting import until

PRODUCTION = "indexer.production"
SECONDS = 15
DENIED = "TOPIC_AUTHORIZATION_FAILED"


@dataclass
class Granted:
    """A fresh principal after the recipe: its lab, and the topics and index of others."""

    lab: Lab
    topic: str
    other: str
    index: str


def printed(capsys: Any, *arguments: str) -> str:
    assert cli.main(["acl", *arguments]) == 0
    return str(capsys.readouterr().out)


def apply_kafka(
    secure: SecureStack,
    commands: str,
    kinds: tuple[str, ...] = ("--topic", "--group"),
    count: int = 4,
) -> None:
    """Run the printed commands through the distribution's own class."""
    lines = [
        shlex.split(line) for line in commands.splitlines() if line.startswith("kafka-acls.sh")
    ]
    assert len(lines) == count
    for words in lines:
        assert words[1:5] == [
            "--bootstrap-server",
            "BROKER:9092",
            "--command-config",
            "admin.properties",
        ]
        if set(kinds) & set(words):
            assert "Adding ACLs for resource" in secure.run_acls(words[5:])


@pytest.fixture(scope="module")
def granted(secure: SecureStack, tmp_path_factory: Any) -> Iterator[Granted]:
    """A principal who may do nothing, then what ``labkit acl --topic`` prints."""
    topic, other_topic, index = (
        secure.new_topic(),
        secure.new_topic(),
        f"irc-test-{uuid.uuid4().hex[:8]}",
    )
    name, password = secure.new_user("alice")
    consumer = secure.admin.consumer(group=PRODUCTION)
    consumer.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
    consumer.close()
    secure.es_admin.index(index=index, id="1", document={"n": 1}, refresh=True)
    apply_kafka(secure, recipe(f"User:{name}", topic=topic, form="kafka-acls"))
    role = json.loads(recipe(f"User:{name}", topic=topic, form="elasticsearch-role"))
    lab = secure.lab(secure.kafka(name, password), default=secure.new_es_user(role))
    until(lambda: list(lab.topics()["topic"]) == [topic])
    yield Granted(lab, topic, other_topic, index)
    secure.es_admin.indices.delete(index=index)


# it is enough --------------------------------------------------------------------------------------------


def windows(it: Granted, folder: Path) -> None:
    window = it.lab.window(it.topic)
    assert window.read().receipt.complete
    assert sum(batch.num_rows for batch in window.batches()) == 2
    assert window.estimate()
    assert window.to_parquet(folder / "x.parquet").complete
    copy = window.to_topic(f"acl-{uuid.uuid4().hex[:8]}", ttl="1h")
    assert copy.counts == {"read": 2, "written": 2, "failed": 0}
    assert len(copy.window().read()) == 2
    copy.drop()


def scratch(it: Granted) -> None:
    load = it.lab.window(it.topic).to_scratch(f"acl-{uuid.uuid4().hex[:8]}", ttl="1h")
    assert load.counts["indexed"] == 2
    handle = it.lab.scratch_index(load.index.name)
    assert handle.count() == 2
    assert handle.name in set(it.lab.scratch()["index"])
    it.lab.delete_scratch(handle.name)


def attached(it: Granted) -> None:
    with it.lab.attach(it.topic, name=f"acl-{uuid.uuid4().hex[:8]}", start="earliest") as group:
        assert len(group.read(2)) == 2
        group.seek("earliest")
        assert group.commit()
        assert len(group.lag()) == 1
    group.close(delete=True)


def guarded(it: Granted) -> None:
    with it.lab.guard() as proof:
        it.lab.window(it.topic).read()
    assert proof.untouched
    assert PRODUCTION in proof.report()


def reset(it: Granted) -> None:
    """Plan and carry out for a group of the lab's own, then remove it."""
    group = it.lab.attach(it.topic, name=f"acl-{uuid.uuid4().hex[:8]}", start="earliest")
    group.read(2)
    group.commit()
    group.close()
    assert len(it.lab.reset(group.group, it.topic, "earliest", execute=True)) == 1
    it.lab.delete_group(group.group)
    assert group.group not in set(it.lab.groups()["group"])


def compared(it: Granted) -> None:
    load = it.lab.window(it.topic).to_scratch(f"acl-{uuid.uuid4().hex[:8]}", ttl="1h")
    assert it.lab.compare(it.lab.window(it.topic).read(), load.index).same == 2
    assert it.lab.index(it.index).name == it.index
    load.index.drop()


def lagging(it: Granted, folder: Path) -> None:
    assert len(it.lab.lag(PRODUCTION, samples=2, every="1s", record=folder / "lag.parquet")) == 1
    assert len(it.lab.lag_history(folder / "lag.parquet")) == 2


METHODS: dict[str, Callable[[Granted, Path], Any]] = {
    "window": windows,
    "profile": lambda it, _: it.lab.profile(it.topic).complete,
    "indices": lambda it, _: it.lab.indices(it.index)["documents"].tolist() == [1],
    "sql": lambda it, _: (
        it.lab.sql("select count(*) n from a", a=it.lab.window(it.topic))["n"].tolist() == [2]
    ),
    "trace": lambda it, _: (
        {
            step.state
            for step in it.lab.trace(it.topic, 0, 0, index=it.index, group=PRODUCTION).steps
        }
        == {"yes", "no"}
    ),
    "decoders": lambda it, _: it.lab.decoders(it.topic) == ("json", "raw"),
    "topics": lambda it, _: list(it.lab.topics()["topic"]) == [it.topic],
    "groups": lambda it, _: PRODUCTION in set(it.lab.groups()["group"]),
    "offsets": lambda it, _: PRODUCTION in set(it.lab.offsets()["group"]),
    "lag": lagging,
    "lag_history": lagging,
    "reset": lambda it, _: reset(it),
    "delete_group": lambda it, _: reset(it),
    "index": lambda it, _: compared(it),
    "compare": lambda it, _: compared(it),
    "retention": lambda it, _: it.lab.retention(it.topic) > 0,
    "guard": lambda it, _: guarded(it),
    "attach": lambda it, _: attached(it),
    "scratch": lambda it, _: scratch(it),
    "scratch_index": lambda it, _: scratch(it),
    "delete_scratch": lambda it, _: scratch(it),
    "gc": lambda it, _: isinstance(it.lab.gc(), list),
    "target": lambda it, _: it.lab.target().count(it.index) == 1,
    "doctor": lambda it, _: (
        {check.status for check in it.lab.doctor(topic=it.topic).checks} == {"ok"}
    ),
}


def test_every_public_method_of_a_lab_is_tried() -> None:
    public = {
        name for name, _ in inspect.getmembers(Lab, inspect.isfunction) if not name.startswith("_")
    }
    assert public == set(METHODS), "a new method needs its line in METHODS, and perhaps more rights"


@pytest.mark.parametrize("method", METHODS)
def test_the_recipe_is_enough_for(method: str, granted: Granted, tmp_path: Path) -> None:
    assert METHODS[method](granted, tmp_path) in (True, None)


# and no more ---------------------------------------------------------------------------------------------


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(KafkaException) as caught:
        call()
    return str(caught.value.args[0].name())


def result(futures: dict[Any, Any]) -> Any:
    (future,) = futures.values()
    return future.result(SECONDS)


def test_it_may_not_look_at_another_topic(granted: Granted) -> None:
    admin = granted.lab.cluster.admin
    described = admin.describe_topics(TopicCollection([granted.other]))
    assert code_of(lambda: result(described)) == DENIED
    configs = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, granted.other)])
    assert code_of(lambda: result(configs)) == DENIED


def test_it_may_not_write_to_the_topic(granted: Granted) -> None:
    errors: list[Any] = []
    producer = Producer({**granted.lab.cluster.settings, "message.timeout.ms": SECONDS * 1000})
    producer.produce(granted.topic, b"{}", on_delivery=lambda error, _message: errors.append(error))
    assert producer.flush(SECONDS) == 0
    assert errors[0].name() == DENIED


def test_it_may_not_begin_a_transaction(granted: Granted) -> None:
    producer = Producer({**granted.lab.cluster.settings, "transactional.id": "labkit.test"})
    assert (
        code_of(lambda: producer.init_transactions(SECONDS))
        == "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"
    )


def test_it_may_not_touch_groups_of_others(granted: Granted) -> None:
    cluster = granted.lab.cluster
    consumer = Cluster(cluster.settings).consumer(group=PRODUCTION)
    commit = [TopicPartition(granted.topic, 0, 0)]
    assert (
        code_of(lambda: consumer.commit(offsets=commit, asynchronous=False))
        == "GROUP_AUTHORIZATION_FAILED"
    )
    consumer.subscribe([granted.topic])
    message = until(lambda: consumer.poll(1))
    assert message.error().name() == "GROUP_AUTHORIZATION_FAILED"
    consumer.close()
    deleted = cluster.admin.delete_consumer_groups([PRODUCTION])
    assert code_of(lambda: result(deleted)) == "GROUP_AUTHORIZATION_FAILED"
    assert PRODUCTION in set(granted.lab.groups()["group"])


def test_it_may_not_make_alter_or_delete_topics(granted: Granted) -> None:
    admin = granted.lab.cluster.admin
    change = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(
        ConfigResource.Type.TOPIC, granted.topic, incremental_configs=[change]
    )
    calls = (
        lambda: admin.create_topics([NewTopic("irc-new", 1, 1)]),
        lambda: admin.incremental_alter_configs([resource]),
        lambda: admin.delete_topics([granted.topic]),
        lambda: admin.delete_records([TopicPartition(granted.topic, 0, 1)]),
    )
    for call in calls:
        futures = call()
        assert code_of(lambda futures=futures: result(futures)) == DENIED


def test_it_may_not_write_or_drop_indices_of_production(granted: Granted) -> None:
    client = granted.lab.target().client
    calls: list[Callable[[], Any]] = [
        lambda: client.index(index=granted.index, document={"n": 2}),
        lambda: client.index(index="irc-new", document={"n": 2}),
        lambda: client.indices.delete(index=granted.index),
        lambda: client.indices.put_mapping(index=granted.index, properties={"x": {"type": "long"}}),
        lambda: client.security.put_user(username="x", password="test-only", roles=["superuser"]),
        lambda: client.cluster.put_settings(persistent={"cluster.blocks.read_only": True}),
    ]
    for call in calls:
        with pytest.raises(elasticsearch.AuthorizationException):
            call()


# other ways to print it ----------------------------------------------------------------------------------


def test_a_prefix_of_topics_is_granted_as_one(secure: SecureStack, capsys: Any) -> None:
    name, password = secure.new_user("dan")
    mine = secure.new_topic()
    apply_kafka(
        secure,
        printed(capsys, "--principal", f"User:{name}", "--topic", f"{mine}*"),
        kinds=("--topic",),
    )
    secure.grant(name, [grant for grant in kafka_grants("lab", mine) if grant.kind == "GROUP"])
    lab = secure.lab(secure.kafka(name, password))
    until(lambda: list(lab.topics()["topic"]) == [mine])
    assert until(lambda: lab.doctor(topic=mine).healthy)
    assert lab.window(mine).read().receipt.complete


def test_all_topics_are_those_that_hold_nothing_internal(secure: SecureStack, capsys: Any) -> None:
    """BEHAVIOURS 80: what others committed stands in a topic too."""
    name, password = secure.new_user("erin")
    mine = secure.new_topic()
    consumer = secure.admin.consumer(group=PRODUCTION)
    consumer.commit(offsets=[TopicPartition(mine, 0, 1)], asynchronous=False)
    consumer.close()
    printed_commands = printed(capsys, "--principal", f"User:{name}")
    apply_kafka(secure, printed_commands, kinds=("--topic",), count=5)
    secure.grant(name, [grant for grant in kafka_grants("lab", mine) if grant.kind == "GROUP"])
    lab = secure.lab(secure.kafka(name, password))
    assert until(lambda: mine in set(lab.topics()["topic"]))
    assert until(lambda: lab.window(mine).read(guard=False).receipt.complete)
    with pytest.raises(AccessError, match="__consumer_offsets"):
        lab.window("__consumer_offsets").read(guard=False)
