"""Three real brokers that lose something.

It is a partition's only replica, records of an unclean election, or the quorum. And one that loses
half a minute: it is frozen, and goes on.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import uuid
import warnings
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic

from labkit.errors import ServerError, WindowError
from labkit.groups.kinds import list_all
from labkit.replay.follow import Follower
from support.cluster import ThreeBrokers
from support.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.hard, pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def _whole(three: ThreeBrokers) -> None:
    three.heal()


def make(three: ThreeBrokers, replicas: list[list[int]], **config: str) -> str:
    """Make a topic whose partitions have these replicas, the first of which leads."""
    name = f"irc-lose-{uuid.uuid4().hex[:8]}"
    settings = {"retention.ms": "-1"} | {
        key.replace("_", "."): value for key, value in config.items()
    }
    topic = NewTopic(name, len(replicas), replica_assignment=replicas, config=settings)
    three.witness.create_topics([topic])[name].result(30)
    until(lambda: len(three.leaders(name)) == len(replicas))
    return name


def test_a_partition_without_a_leader_is_named_at_once(three: ThreeBrokers) -> None:
    """BEHAVIOURS 91: by window, read and doctor, with what can be read without it."""
    topic = make(three, [[1], [2], [3]])
    three.produce(topic, 300, partitions=3)
    lab = three.lab()
    window = lab.window(topic)
    three.kill(2)
    until(lambda: sorted(three.leaders(topic)) == [0, 2], timeout_s=120)
    message = rf"partition 1 of topic '{topic}' has no leader"
    for act in (lambda: lab.window(topic), lambda: window.read(progress=False), window.estimate):
        began = time.monotonic()
        with pytest.raises(ServerError, match=message) as caught:
            act()
        assert caught.value.hint == "its brokers are down; without it: partitions=[0, 2]"
        assert time.monotonic() - began < 10
    assert "has no leader" in str(lab.doctor(topic=topic))
    assert len(lab.window(topic, partitions=caught.value.live).read(progress=False).table) == 200
    topics = lab.topics().set_index("topic")
    # of two partitions they would be wrong
    assert topics.loc[topic, ["records", "newest"]].isna().all()
    assert topics.loc[topic, "partitions"] == 3
    three.heal()
    assert len(window.read(progress=False).table) == 300


def test_an_ad_hoc_group_begins_when_its_partitions_have_leaders_again(three: ThreeBrokers) -> None:
    """It kept waiting for partitions that the group had given it, and that it had not begun."""
    topic = make(three, [[1], [2], [3]])
    three.produce(topic, 300, partitions=3)
    three.kill(2)
    until(lambda: sorted(three.leaders(topic)) == [0, 2], timeout_s=120)
    group = three.lab().attach(topic, name=f"lose-{uuid.uuid4().hex[:8]}", start="earliest")
    with pytest.raises(ServerError, match=rf"partition 1 of topic '{topic}' has no leader"):
        group.read(300)
    three.heal()
    numbers: list[int] = []
    until(lambda: numbers.extend(group.read(300)["n"]) or len(numbers) >= 300, timeout_s=60)
    assert sorted(numbers) == list(range(300))
    group.close(delete=True)


def test_a_log_cut_back_by_an_unclean_election_is_told_as_that(three: ThreeBrokers) -> None:
    """BEHAVIOURS 92: the topic's id is the same, so it was not made again.

    Clamp reads what is there. Who follows the end is told that the log went back.
    """
    topic = make(three, [[1, 2]], min_insync_replicas="1", unclean_leader_election_enable="true")
    three.produce(topic, 100, partitions=1)
    three.kill(2)
    until(
        lambda: len(three.witness.list_topics(topic).topics[topic].partitions[0].isrs) == 1,
        timeout_s=120,
    )
    three.produce(topic, 50, partitions=1)
    lab = three.lab()
    window = lab.window(topic)
    assert len(window) == 150
    follower = Follower(lab.cluster, topic, last=150)
    until(lambda: follower.take() is not None and follower.seen == 150)
    assert not follower.notes
    three.kill(1)
    three.start(2, wait=False)
    until(lambda: three.leaders(topic) == {0: 2}, "the unclean leader", 240)
    three.start(1, wait=False)
    three.wait_healthy()
    with pytest.raises(
        WindowError, match="was cut back: it ends at 100, the window at 150"
    ) as caught:
        window.read(progress=False)
    assert "made again" not in str(caught.value)
    replay = window.read(progress=False, on_expired="clamp")
    (partition,) = replay.receipt.partitions
    assert (partition.read, partition.unread, partition.stop_reason) == (100, 50, "truncated")
    assert not replay.receipt.complete
    three.produce(topic, 20, first=100, partitions=1)
    until(lambda: follower.take() is not None and follower.seen >= 170, timeout_s=60)
    assert (follower.seen, "from offset 150 to 100" in follower.notes[0]) == (170, True)
    follower.close()


def test_a_read_without_two_of_three_waits_says_so_and_ends_whole(three: ThreeBrokers) -> None:
    """BEHAVIOURS 88: the receipt says what is waited for.

    The records are those that were written.
    """
    topic = three.make_topic(f"irc-lose-{uuid.uuid4().hex[:8]}")
    three.produce(topic, 60_000, size=1_000)
    window = three.lab().window(topic)
    reading = window.reading(guard=False)
    batches = reading.batches()
    count = next(batches).num_rows
    three.kill(1)
    three.kill(2)
    three.start(1, wait=False)
    three.start(2, wait=False)
    count += sum(batch.num_rows for batch in batches)
    receipt = reading.receipt()
    assert (count, receipt.complete) == (60_000, True)
    assert any(note.startswith("waited for Kafka: ") for note in receipt.notes), receipt.notes


WATCHES = """
import json, sys, time
from labkit.config.profiles import Profile
from labkit.errors import LabkitError
from labkit.lab import Lab
from labkit.config.secrets import seal
settings, group, topic = json.loads(sys.stdin.read())
lab = Lab(Profile("three", "lab", seal(settings), {}, {}, source="the test"))
while True:
    try:
        rows = lab.offsets()
        found = int((rows["group"] == group).sum())
    except LabkitError as error:
        found = error.message
    print(json.dumps(found), flush=True)
    time.sleep(0.2)
"""


def test_a_coordinator_frozen_for_a_while_ends_no_process_that_watches(
    three: ThreeBrokers, tmp_path: Path
) -> None:
    """BEHAVIOURS 84: a frozen coordinator ends no process.

    What timed out is sent after it was freed, once the broker goes on: an assertion of librdkafka.
    With this socket.timeout.ms (its default is 60 s) 20 s are enough for an admin client to end its
    process.
    """
    topic = three.make_topic(f"irc-lose-{uuid.uuid4().hex[:8]}")
    group = f"prod-{topic}"
    three.commit(group, topic, dict.fromkeys(range(6), 0))
    settings = three.state.credentials("lab")["kafka"] | {"socket.timeout.ms": 3_000}
    output = tmp_path / "looks.jsonl"
    with output.open("wb") as file, output.with_suffix(".err").open("wb") as errors:
        command = [sys.executable, "-c", WATCHES]
        watch = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=errors)
    assert watch.stdin is not None
    watch.stdin.write(json.dumps([settings, group, topic]).encode())
    watch.stdin.close()

    def looks() -> list[object]:
        return [
            json.loads(line)
            for line in output.read_text().splitlines(keepends=True)
            if line.endswith("\n")
        ]

    frozen = three.coordinator(group)
    try:
        until(lambda: len(looks()) > 3)
        three.signal(frozen, signal.SIGSTOP)
        time.sleep(15)
        three.signal(frozen, signal.SIGCONT)
        before = len(looks())
        until(lambda: len(looks()) > before + 10 or watch.poll() is not None, timeout_s=60)
        assert watch.poll() is None, (
            watch.returncode,
            output.with_suffix(".err").read_text()[-2000:],
        )
    finally:
        three.signal(frozen, signal.SIGCONT)
        watch.kill()
        watch.wait()
    assert {look for look in looks() if isinstance(look, int)} == {6}, looks()
    assert looks()[-1] == 6


def test_a_frozen_leader_is_named_by_a_group_that_waits_for_it(three: ThreeBrokers) -> None:
    """Its connection stands, so an empty frame was all that was told."""
    topic = three.make_topic(f"irc-lose-{uuid.uuid4().hex[:8]}")
    three.produce(topic, 60)
    group = three.lab().attach(topic, name=f"lose-{uuid.uuid4().hex[:8]}", start="earliest")
    assert len(group.read(60)) == 60
    frozen = next(iter(set(three.leaders(topic).values()) - {three.coordinator(group.group)}))

    def listen() -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            group.tail(1)
        return [str(warning.message) for warning in caught]

    three.signal(frozen, signal.SIGSTOP)
    try:
        messages = until(listen, "a word about the frozen broker", 30)
    finally:
        three.signal(frozen, signal.SIGCONT)
    assert messages[0].startswith(f"waiting for Kafka: broker {frozen} at "), messages
    group.close(delete=True)


def test_a_list_that_lacks_a_frozen_brokers_groups_is_asked_for_again(three: ThreeBrokers) -> None:
    """The client calls it a partial response; groups(), the guard and lag ended with that."""
    topic = three.make_topic(f"irc-lose-{uuid.uuid4().hex[:8]}")
    names = [f"prod-{topic}-{number}" for number in range(8)]
    for name in names:
        three.commit(name, topic, {0: 0})
    cluster, frozen = three.cluster(), three.coordinator(names[0])
    assert set(names) <= {group.id for group in list_all(cluster)}
    three.signal(frozen, signal.SIGSTOP)
    try:
        assert list_all(cluster)  # of the brokers that are left: `list_whole` compares two lists
    finally:
        three.signal(frozen, signal.SIGCONT)


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_consumer_that_is_lent_again_reads_on_when_its_leader_is_away(
    three: ThreeBrokers, how: str
) -> None:
    """It knows the leaders of the reading before; those have moved meanwhile."""
    topic = three.make_topic(f"irc-lose-{uuid.uuid4().hex[:8]}")
    three.produce(topic, 3_000)
    lab = three.lab()
    window = lab.window(topic)
    before = window.read(guard=False, progress=False)
    (kept,) = lab.cluster._spares.values()
    leader = three.leaders(topic)[0]
    if how == "killed":
        three.kill(leader)
    else:
        three.signal(leader, signal.SIGSTOP)
    try:
        after = window.read(guard=False, progress=False)
    finally:
        if how == "frozen":
            three.signal(leader, signal.SIGCONT)
    assert after.receipt.complete, after.receipt
    assert after.receipt.read == 3_000
    assert after.receipt.hash == before.receipt.hash
    (kept_again,) = lab.cluster._spares.values()
    assert kept_again.consumer is kept.consumer
