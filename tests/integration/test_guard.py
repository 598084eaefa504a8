"""The guard in every receipt: differences that are real, and what is known of who made them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ListConsumerGroupsResult,
    ResourcePatternType,
    ResourceType,
)

from labkit.errors import DeadlineError, NotFoundError, ServerError, UsageError
from labkit.groups.guard import Guard
from labkit.groups.offsets import list_groups
from labkit.kafka.cluster import Cluster
from labkit.kafka.groups import Groups
from labkit.lab import Lab, connect
from labkit.replay.receipt import Receipt
from labkit.stack.state import State
from labkit.text import html
from support.waiting import until

pytestmark = pytest.mark.alone


@pytest.fixture
def commit(admin: Cluster) -> Iterator[Callable[[str, str, int], None]]:
    """Commit as a group; the groups are gone after the test."""
    groups: set[str] = set()

    def move(group: str, topic: str, offset: int) -> None:
        groups.add(group)
        consumer = admin.consumer(group=group, client_id="its-own-reader")
        consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
        consumer.close()

    yield move
    admin.ask_each(
        lambda client, some: client.delete_consumer_groups(some), sorted(groups), what="delete"
    )


def moved_while_read(lab: Lab, topic: str, move: Callable[[], None]) -> Receipt:
    reading = lab.window(topic).reading()
    for _ in reading.batches():
        move()
    return reading.receipt()


def test_a_receipt_tells_that_foreign_groups_are_the_same(
    lab: Lab, group: str, commit: Any, make_topic: Any, produce: Any
) -> None:
    topic = make_topic()
    produce(topic, [b"{}"] * 5)
    commit(group, topic, 3)
    receipt = lab.window(topic).read(progress=False).receipt
    assert receipt.guard["untouched"] is True
    assert receipt.guard["groups"] >= 1
    assert "the same before and after" in str(receipt)
    assert "the same before and after" in receipt._repr_html_()
    assert Receipt.from_dict(receipt.to_dict()) == receipt


def test_a_commit_meanwhile_is_told_with_what_the_broker_would_have_refused(
    lab: Lab, group: str, commit: Any, make_topic: Any, produce: Any
) -> None:
    topic = make_topic()
    produce(topic, [b"{}"] * 5)
    commit(group, topic, 1)
    receipt = moved_while_read(lab, topic, lambda: commit(group, topic, 4))
    mine = [change for change in receipt.guard["changes"] if change["group"] == group]
    assert mine == [{"group": group, "what": f"{topic}[0]", "before": "1", "after": "4"}]
    assert (receipt.guard["untouched"], receipt.guard["refused"]) == (False, True)
    assert "the broker refuses User:lab to join, commit to or delete any of them" in str(receipt)
    assert "no member bore labkit's client id" in str(receipt)


def test_the_verdict_says_who_moved_the_groups_and_its_colour_says_the_same(
    lab: Lab, admin: Cluster, group: str, commit: Any, make_topic: Any, produce: Any
) -> None:
    """BEHAVIOURS 58: the bar's colour agrees with its words.

    "changed while the block ran" stood beside a green bar, under "Nobody noticed".
    """
    topic = make_topic()
    produce(topic, [b"{}"] * 5)
    consumer = admin.consumer(group=group, client_id="its-own-reader")
    consumer.subscribe([topic])
    while not consumer.assignment():
        consumer.poll(0.1)
    try:
        with lab.guard() as proof:
            consumer.commit(offsets=[TopicPartition(topic, 0, 3)], asynchronous=False)
        # other tests' groups may move
        proof.changes = [change for change in proof.changes if change.group == group]
        first = proof.report().splitlines()[0]
        assert first.startswith("labkit touched nothing; 1 group moved by its own consumers, of ")
        assert html.GREEN in proof._repr_html_()
        assert proof.summary()["text"].startswith(
            "guard: labkit touched nothing; 1 group moved by its own consumers"
        )
        assert not proof.untouched
        with connect(role="admin").guard() as may:
            consumer.commit(offsets=[TopicPartition(topic, 0, 4)], asynchronous=False)
        # the broker would have let it: no proof by its rules
        assert html.AMBER in may._repr_html_()
        assert "labkit touched nothing; " not in may.report()
    finally:
        consumer.close()
        admin.admin.delete_consumer_groups([group])[group].exception(15)


def test_a_group_without_members_is_changed_by_others(
    lab: Lab, group: str, commit: Any, make_topic: Any, produce: Any
) -> None:
    """BEHAVIOURS 58: an administrator who resets a group is no consumer of its own."""
    topic = make_topic()
    produce(topic, [b"{}"] * 5)
    commit(group, topic, 1)
    with lab.guard() as proof:
        commit(group, topic, 4)
    proof.changes = [change for change in proof.changes if change.group == group]
    assert proof.report().startswith("labkit touched nothing; 1 group changed by others, of ")
    with lab.guard() as proof:
        commit(f"{group}.new", topic, 1)
    proof.changes = [change for change in proof.changes if change.group.startswith(group)]
    # it is none of those that were there
    assert proof.report().splitlines()[0].endswith(" and 1 new one:")
    assert " and 1 new one" in proof.summary()["text"]


def test_a_guard_that_was_not_started_cannot_be_stopped(lab: Lab) -> None:
    """BEHAVIOURS 58: without a first look every group looked as if it were new."""
    with pytest.raises(UsageError, match="this guard was not started"):
        lab.guard().stop()
    assert lab.guard().report() == "the guarded block has not begun yet"


def test_who_may_commit_has_no_proof(
    group: str, commit: Any, make_topic: Any, produce: Any, stack: State
) -> None:
    topic = make_topic()
    produce(topic, [b"{}"] * 5)
    commit(group, topic, 1)
    receipt = moved_while_read(connect(role="admin"), topic, lambda: commit(group, topic, 4))
    assert receipt.guard["refused"] is False
    assert f"would let User:admin commit to {group}" in str(receipt)


def test_a_member_with_our_client_id_is_named(
    lab: Lab, admin: Cluster, group: str, make_topic: Any
) -> None:
    """`labkit index` is such a one: production by labkit itself."""
    topic = make_topic()
    with lab.guard() as proof:
        consumer = admin.consumer(group=group)
        consumer.subscribe([topic])
        while not consumer.assignment():
            consumer.poll(0.1)
    try:
        assert group in proof.ours
        assert f"members with labkit's client id {admin.client_id!r}: in" in proof.report()
    finally:
        consumer.close()
        admin.admin.delete_consumer_groups([group])[group].exception(15)


def test_a_member_that_joins_anew_is_seen(
    lab: Lab, admin: Cluster, group: str, make_topic: Any
) -> None:
    """The same client, the same partitions, but another member of another generation."""
    topic = make_topic()

    def joined() -> Any:
        consumer = admin.consumer(group=group, client_id="its-own-reader")
        consumer.subscribe([topic])
        while not consumer.assignment():
            consumer.poll(0.1)
        return consumer

    consumer = joined()
    with lab.guard() as proof:
        consumer.close()
        consumer = joined()
    try:
        (change,) = [change for change in proof.changes if change.group == group]
        assert (change.what, change.after) == ("members", "its-own-reader (joined anew)")
    finally:
        consumer.close()
        admin.admin.delete_consumer_groups([group])[group].exception(15)


def test_a_load_and_a_parquet_file_are_guarded_and_it_can_be_left_out(
    lab: Lab, make_topic: Any, produce: Any, tmp_path: Any
) -> None:
    topic = make_topic()
    produce(topic, [b"{}"] * 5)
    window = lab.window(topic)
    load = window.to_scratch(f"guarded-{uuid.uuid4().hex[:6]}", progress=False)
    load.index.drop()
    assert load.receipt.guard["text"].startswith("guard: ")
    assert window.to_parquet(tmp_path / "x.parquet", progress=False).guard
    assert window.to_parquet(tmp_path / "y.parquet", guard=False, progress=False).guard == {}
    assert window.read(guard=False, progress=False).receipt.guard == {}
    assert sum(batch.num_rows for batch in window.batches(guard=False)) == 5


def test_who_sees_no_group_reads_all_the_same(
    group: str, commit: Any, make_topic: Any, produce: Any, stack: State, lab: Lab
) -> None:
    topic = make_topic()
    produce(topic, [b"{}"] * 5)
    commit(group, topic, 3)
    indexer = connect(role="indexer")  # sees groups named indexer.* only
    with Guard(indexer.cluster) as proof:
        commit(group, topic, 4)
    assert group not in proof.watched
    assert group not in {change.group for change in proof.changes}
    with Guard(connect(role="extractor").cluster) as proof:
        pass
    assert proof.report() == "untouched: User:extractor sees no foreign group"
    receipt = lab.window(topic).read(guard=False).receipt
    silent = replace(receipt, guard=proof.summary())
    assert "foreign group" in silent.guard["text"]
    assert "foreign group" not in f"{silent}{silent._repr_html_()}"
    away = replace(receipt, guard=Guard(lab.cluster, note="no answer").summary())
    assert "guard: not looked at: no answer" in str(away)
    assert "guard: not looked at: no answer" in away._repr_html_()


@pytest.fixture
def lists_all(admin: Cluster) -> Iterator[Lab]:
    """A lab that may list all groups (Describe on the cluster).

    It may describe only its own groups and those named indexer.*.
    """
    literal, prefixed = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED
    may = [
        (ResourceType.BROKER, "kafka-cluster", literal, AclOperation.DESCRIBE),
        (ResourceType.TOPIC, "*", literal, AclOperation.DESCRIBE_CONFIGS),
        (ResourceType.GROUP, "labkit.", prefixed, AclOperation.DESCRIBE),
    ]
    rules = [
        (*what, "User:indexer", "*", operation, AclPermissionType.ALLOW) for *what, operation in may
    ]
    admin.ask(
        lambda client: client.create_acls([AclBinding(*rule) for rule in rules]), what="create ACLs"
    )
    try:
        yield connect(role="indexer")
    finally:
        admin.ask(
            lambda client: client.delete_acls([AclBindingFilter(*rule) for rule in rules]),
            what="delete ACLs",
        )


def test_what_may_not_be_looked_at_is_named_and_not_certified(
    lists_all: Lab, group: str, commit: Any, make_topic: Any, produce: Any
) -> None:
    topic = make_topic()
    produce(topic, [b"{}"] * 5)
    commit(group, topic, 1)
    until(lambda: group in {group_info.name for group_info in list_groups(lists_all.cluster)})
    receipt = moved_while_read(lists_all, topic, lambda: commit(group, topic, 4))
    assert receipt.complete
    assert receipt.guard["untouched"] is False
    assert receipt.guard["unseen"] >= 1
    assert "could not be looked at (not allowed): " in str(receipt)
    with lists_all.guard() as proof:
        commit(group, topic, 5)
    assert (proof.untouched, proof.unseen[group]) == (False, "not allowed")
    assert group not in proof.watched
    assert proof.report().startswith("no proof for all: ")
    assert "could not be looked at (not allowed): " in proof.report()


def answered(
    monkeypatch: pytest.MonkeyPatch, group: str, error: Exception, *, described: bool = True
) -> None:
    """Have the broker answer with an error for a group's committed offsets.

    It does so for its description too, unless told.
    """

    def answering(method: Any) -> Any:
        def answer(self: Groups, groups: Any, **options: Any) -> Any:
            return method(self, groups, **options) | ({group: error} if group in groups else {})

        return answer

    monkeypatch.setattr(Groups, "committed", answering(Groups.committed))
    if described:
        monkeypatch.setattr(Groups, "describe", answering(Groups.describe))


def test_a_group_deleted_between_the_list_and_the_look_is_gone(
    lab: Lab, group: str, commit: Any, make_topic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(group, make_topic(), 0)
    answered(monkeypatch, group, NotFoundError("no group"), described=False)
    assert group not in {group_info.name for group_info in list_groups(lab.cluster)}
    with lab.guard() as proof:
        pass
    assert group not in proof.watched
    assert group not in proof.unseen


def test_a_coordinator_that_gives_no_answer_at_one_look_is_no_change(
    lab: Lab, group: str, commit: Any, make_topic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(group, make_topic(), 0)
    with lab.guard() as proof:
        answered(monkeypatch, group, ServerError("the coordinator is not available"))
    assert not [change for change in proof.changes if change.group == group]
    assert (proof.untouched, proof.unseen[group]) == (False, "no answer")
    assert "could not be looked at (no answer): " in proof.report()
    assert lab.groups().set_index("group").loc[group, "state"] == "no answer"


def test_a_broker_still_loading_its_groups_is_asked_again(
    lab: Lab, group: str, commit: Any, make_topic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(group, make_topic(), 0)
    answers = [ListConsumerGroupsResult([], [KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS)])]
    ask = AdminClient.list_consumer_groups
    monkeypatch.setattr(
        AdminClient,
        "list_consumer_groups",
        lambda *a, **k: answers.pop() if answers else ask(*a, **k),
    )
    assert group in {group_info.name for group_info in list_groups(lab.cluster)}
    assert not answers


def test_groups_that_do_not_answer_yet_hinder_no_read(
    lab: Lab, make_topic: Any, produce: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group's coordinator is still loading for a while after the broker was started.

    The records are there.
    """
    topic = make_topic()
    produce(topic, [b'{"n":1}'])

    def silent(*_: Any, **_options: Any) -> Any:
        raise DeadlineError("no answer from Kafka to list the groups' offsets", hint="wait")

    monkeypatch.setattr("labkit.groups.guard.list_groups", silent)
    receipt = lab.window(topic).read(cache=False).receipt
    assert receipt.complete
    assert (
        receipt.guard["text"]
        == "guard: not looked at: no answer from Kafka to list the groups' offsets"
    )


def test_groups_that_cannot_be_listed_after_a_read_are_no_change(
    lab: Lab, group: str, commit: Any, make_topic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three brokers died: all groups were in the receipt as absent that nobody touched."""
    commit(group, make_topic(), 0)
    guard = lab.guard().start()
    assert group in guard.watched

    def silent(*_: Any, **_options: Any) -> Any:
        raise DeadlineError("the list of groups is incomplete")

    monkeypatch.setattr("labkit.groups.guard.list_groups", silent)
    guard.stop()
    assert (guard.summary()["changed"], guard.changes, guard.untouched) == (0, [], False)
    assert guard.report() == "not guarded: the list of groups is incomplete"


def test_a_window_from_the_cache_asks_nobody(
    lab: Lab, make_topic: Any, produce: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("LABKIT_CACHE_GB", "1")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    topic = make_topic()
    produce(topic, [b"{}"] * 5)
    window = lab.window(topic)
    assert len(window.read(progress=False)) == 5
    cut_off = type(window)(window.plan, connect())
    cut_off.lab.cluster._settings["bootstrap.servers"] = "127.0.0.1:1"  # nobody is there
    again = cut_off.read(progress=False)
    assert len(again) == 5
    assert any("from the local cache" in note for note in again.receipt.notes)


def test_of_many_groups_a_receipt_looks_at_some_and_says_so(
    lab: Lab,
    group: str,
    commit: Any,
    make_topic: Any,
    produce: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from labkit.groups import guard

    topic = make_topic()
    produce(topic, [b"{}"] * 5)
    for number in range(3):
        commit(f"aaa.{group}.{number}", topic, 1)
    monkeypatch.setattr(guard, "MOST_GROUPS", 2)
    receipt = moved_while_read(lab, topic, lambda: commit(f"aaa.{group}.0", topic, 4))
    assert receipt.guard["groups"] == 2
    assert receipt.guard["groups_there"] >= 3
    assert "those with members first" in receipt.guard["text"]
    assert {change["group"] for change in receipt.guard["changes"]} <= {f"aaa.{group}.0"}
