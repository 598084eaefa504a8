"""Records without a time, Kafka's timestamp -1: in no window of a time, near no other, and counted.

BEHAVIOURS 10, 82.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from labkit.lab import Lab

START = 1_700_000_000_000  # 2023-11-14T22:13:20Z
MINUTE = 60_000
COUNT = 12  # in partition 0, of which each third has no time
UNTIMED = 4  # all of partition 1


@pytest.fixture(scope="module")
def topic(admin: Any) -> str:
    import uuid

    from confluent_kafka.admin import NewTopic

    name = f"irc-test-untimed-{uuid.uuid4().hex[:8]}"
    config = {"retention.ms": "-1"}
    admin.ask(
        lambda client: client.create_topics([NewTopic(name, 2, config=config)]), what="make it"
    )
    producer = admin.producer()
    for n in range(COUNT):
        at = START + n * MINUTE if n % 3 else -1
        producer.produce(name, b'{"n":%d}' % n, partition=0, timestamp=at)
    for n in range(UNTIMED):
        producer.produce(name, b'{"n":%d}' % (100 + n), partition=1, timestamp=-1)
    assert producer.flush(60) == 0
    return name


def numbers(replay: Any) -> list[int]:
    return list(replay.table["n"].to_pylist())


@pytest.mark.parametrize(
    ("bounds", "expected", "left_out"),
    [
        ({"start": "2023-11-14T22:15:20"}, [2, 4, 5, 7, 8, 10, 11], 3),
        ({"end": "2023-11-14T22:19:20"}, [1, 2, 4, 5], 7),
        ({"start": "2023-11-14T22:15:20", "end": "2023-11-14T22:19:20"}, [2, 4, 5], 2),
        ({"start": "1960-01-01", "end": "2023-11-14T22:19:20"}, [1, 2, 4, 5], 2),
    ],
)
def test_a_window_of_a_time_has_none_of_them_and_says_so(
    lab: Lab, topic: str, bounds: dict[str, str], expected: list[int], left_out: int
) -> None:
    """They were within each window that only has an end, as if of 1969.

    Those behind that end made the read incomplete.
    """
    replay = lab.window(topic, **bounds, slack="0s").read()
    assert numbers(replay) == expected
    receipt = replay.receipt
    assert receipt.complete, receipt.reasons
    notes = [note for note in receipt.notes if "without a time" in note]
    assert notes == [f"records without a time are in no window of a time: {left_out} left out"]


def test_all_of_a_topic_has_them_and_its_profile_counts_them(lab: Lab, topic: str) -> None:
    window = lab.window(topic)
    replay = window.read()
    assert len(replay) == COUNT + UNTIMED
    assert not any("without a time" in note for note in replay.receipt.notes)
    for profile in (window.profile(), replay.profile()):
        shown = repr(profile)
        assert (
            "from 2023-11-14T22:14:20.000Z to 2023-11-14T22:24:20.000Z; 8 without a time" in shown
        )
        assert "8 without a time" in profile._repr_html_()
        assert profile.records.untimed + profile.volume()["records"].sum() == len(profile)
    dated = lab.window(topic, offsets={0: (1, 3)}).profile()
    assert "without a time" not in repr(dated)


def test_none_of_another_partition_is_near_a_record_with_a_time(lab: Lab, topic: str) -> None:
    """They counted as neighbours, and took the places of real ones."""
    window = lab.window(topic)
    around = window.around(0, 4, 2)
    assert numbers(around) == [1, 2, 4, 5, 7]
    assert any("records without a time are left out" in note for note in around.receipt.notes)
    assert numbers(window.around(time="2023-11-14T22:17:00", n=2)) == [1, 2, 4, 5]


def test_a_record_without_a_time_has_the_neighbours_of_its_offset(lab: Lab, topic: str) -> None:
    """Those with a time came in another order, and only on one side."""
    window = lab.window(topic)
    assert numbers(window.around(0, 6, 2)) == [4, 5, 6, 7, 8]
    assert numbers(window.around(1, 1, 1)) == [100, 101, 102]


def test_a_copy_has_them_without_a_time(
    lab: Lab, topic: str, make_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    """They got the time of the writing."""
    copy = lab.window(topic).to_topic("untimed", ttl="1h")
    try:
        assert copy.notes == ()
        stamps = [
            r.table["_timestamp"].to_pylist()
            for r in (lab.window(topic).read(), copy.window().read())
        ]
        assert stamps[0] == stamps[1]
    finally:
        copy.drop()
    epoch = make_topic()
    produce(epoch, [b"{}", b"{}"], timestamps=[START, -1])
    paced = lab.window(epoch).to_topic("untimed", ttl="1h", speed="1000x")
    try:
        assert paced.window().read().table["_timestamp"].null_count == 1
    finally:
        paced.drop()
