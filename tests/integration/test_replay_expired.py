"""A window whose records are gone, or whose topic was made again.

It is an error, or says what is left.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic

from labkit import Window
from labkit.errors import ServerError, WindowError, WindowExpiredError
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.replay import reader
from support.records import number_records
from support.replays import balanced, offsets
from support.waiting import until

T0 = 1_456_790_400_000  # 2016-03-01T00:00:00Z
Produce = Callable[..., None]
MakeTopic = Callable[..., str]


def delete_before(admin: Cluster, topic: str, offset: int, partition: int = 0) -> None:
    admin.ask(
        lambda client: client.delete_records([TopicPartition(topic, partition, offset)]),
        what="delete records",
    )


def remake(admin: Cluster, topic: str) -> None:
    """Delete the topic and make it again under its name."""
    admin.ask(lambda client: client.delete_topics([topic]), what="delete it")
    until(lambda: topic not in admin.topics())

    def made() -> bool:
        try:
            admin.ask(lambda client: client.create_topics([NewTopic(topic, 1, 1)]), what="make it")
        except ServerError:  # the deletion is under way
            return False
        return True

    until(made)
    until(lambda: topic in admin.topics())


@pytest.fixture
def expired(lab: Lab, admin: Cluster, make_topic: MakeTopic, produce: Produce) -> Window:
    """A window of ten records, of which the first four are gone since."""
    topic = make_topic(retention_ms="-1")
    produce(topic, number_records(10), timestamps=[T0 + 1000 * number for number in range(10)])
    window = lab.window(topic)
    delete_before(admin, topic, 4)
    return window


def test_an_expired_start_makes_no_scratch_index(expired: Window, lab: Lab) -> None:
    name = f"expired-{uuid.uuid4().hex[:8]}"
    with pytest.raises(WindowExpiredError):
        expired.to_scratch(name)
    assert not [row for row in lab.scratch()["index"].dropna() if row.endswith(name)]


def test_an_expired_start_is_an_error_that_names_what_is_left(expired: Window):
    with pytest.raises(
        WindowExpiredError, match=r"first available is 4 .2016-03-01T00:00:04"
    ) as caught:
        expired.read()
    assert caught.value.first_offset == 4
    assert caught.value.first_timestamp_ms == T0 + 4000
    assert "clamp" in (caught.value.hint or "")


def test_clamp_reads_what_is_left_and_says_so(expired: Window):
    replay = expired.read(on_expired="clamp")
    assert offsets(replay.table) == [4, 5, 6, 7, 8, 9]
    receipt = balanced(replay.receipt)
    assert not receipt.complete
    assert receipt.reasons == {"expired": [0]}
    assert (receipt.planned, receipt.read, receipt.unread) == (10, 6, 4)
    assert "4 offsets are gone" in str(receipt)


def test_clamp_of_a_window_that_is_gone_altogether_reads_nothing(expired: Window, admin: Cluster):
    delete_before(admin, expired.topic, 10)
    replay = expired.read(on_expired="clamp")
    assert len(replay) == 0
    assert balanced(replay.receipt).unread == 10
    assert replay.receipt.reasons == {"expired": [0]}
    with pytest.raises(WindowExpiredError, match="first available is 10"):
        expired.read()


def test_an_expired_window_leaves_no_parquet_file(expired: Window, tmp_path: Any):
    with pytest.raises(WindowExpiredError):
        expired.to_parquet(tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []


def test_records_that_expire_after_the_check_end_the_read_as_expired(
    expired: Window, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reader, "check_log", lambda *_, **__: [])
    replay = expired.read(deadline="20s")
    assert replay.receipt.reasons == {"expired": [0]}
    assert balanced(replay.receipt).unread == 10


def test_offsets_beyond_the_end_are_refused_when_the_window_is_made(
    lab: Lab, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic()
    produce(topic, number_records(5))
    with pytest.raises(WindowError, match=r"ends at offset 5, \[100, 200\)") as caught:
        lab.window(topic, offsets={0: (100, 200)})
    assert "made again" in (caught.value.hint or "")


def test_a_window_beyond_the_end_of_a_topic_made_again_is_an_error(
    lab: Lab, admin: Cluster, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic()
    produce(topic, number_records(5))
    window = lab.window(topic)
    remake(admin, topic)
    produce(topic, number_records(2))
    with pytest.raises(WindowError, match=r"made again|ends at 2"):
        window.read()


def test_a_window_of_a_topic_made_again_is_an_error_even_where_its_offsets_exist(
    lab: Lab, admin: Cluster, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic()
    produce(topic, number_records(5))
    window = lab.window(topic)
    remake(admin, topic)
    produce(topic, number_records(50, 1000))
    with pytest.raises(WindowError, match="made again"):
        window.read()
