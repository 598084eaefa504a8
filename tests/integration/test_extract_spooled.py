"""The extractor as a process, a real ngircd, and a broker that dies.

Nothing is lost, and what is doubled is marked.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from typing import Any

import pytest

from support.irc import say, together
from support.spooling import Feed, spooled
from support.stack import kill_9, run_labkit
from support.waiting import until

pytestmark = pytest.mark.chaos


def hold_together(records: list[dict[str, Any]], said: range) -> None:
    """Check that nothing is missing and what is there twice is marked.

    The numbers of the spool have no gap.
    """
    times_said = Counter(record["said"] for record in records)
    assert set(times_said) == {f"number {number}" for number in said}
    for record in records:
        if times_said[record["said"]] > 1:
            twice = [record_ for record_ in records if record_["said"] == record["said"]]
            assert sum("labkit.resent" not in record_ for record_ in twice) <= 1
            assert (
                len(
                    {
                        (record_["labkit.spool"], record_["labkit.spool_sequence"])
                        for record_ in twice
                    }
                )
                == 1
            )
    assert len({record["labkit.spool"] for record in records}) == 1
    first = {record["said"]: int(record["labkit.spool_sequence"]) for record in records}
    order = [first[f"number {number}"] for number in said]
    assert order == sorted(order)


def test_broker_and_extractor_killed_nothing_is_lost_and_what_is_doubled_is_marked(
    feed: Feed,
) -> None:
    first, talker = feed.first, feed.talker
    say(talker, range(300))
    kill_9(feed.state, "kafka")
    say(talker, range(300, 600))
    spooled(feed, 600)
    first.process.kill()
    first.process.wait()

    second = feed.extractor()  # Kafka is still away
    second.hears("of a former run are in")
    second.hears("records wait in")
    together(talker, b"labkit")
    say(talker, range(600, 900))
    spooled(feed, 900)
    run_labkit(feed.state, "up")
    second.hears("Kafka answers")
    until(
        lambda: len({record["said"] for record in feed.records()}) == 900, "all in the topic", 120
    )
    report = second.stop()
    assert "0 rejected" in report
    hold_together(feed.records(), range(900))


@pytest.mark.hard
def test_stopped_while_kafka_is_away_the_next_run_sends_the_rest(
    feed: Feed,
) -> None:
    first, talker = feed.first, feed.talker
    kill_9(feed.state, "kafka")
    say(talker, range(50))
    spooled(feed, 50)
    first.process.send_signal(signal.SIGTERM)
    first.hears("the next run sends them")
    first.process.wait(60)
    run_labkit(feed.state, "up")
    second = feed.extractor()
    until(lambda: len(feed.records()) >= 50, "all in the topic", 60)
    delivered, _, sent, *_ = second.stop().split()
    assert delivered == sent  # the former run's among them
    hold_together(feed.records(), range(50))


def test_a_flood_is_taken_as_it_comes(
    feed: Feed,
) -> None:
    """20,000 messages as fast as ngircd hands them on.

    The rate is written beside the other tests' output.
    """
    one, talker, count = feed.first, feed.talker, 20_000
    began = time.monotonic()
    for first in range(0, count, 500):
        say(talker, range(first, first + 500))
    seconds = time.monotonic() - began
    until(lambda: len(feed.records()) >= count, "all in the topic", 120)
    drained = time.monotonic() - began
    one.stop()
    hold_together(feed.records(), range(count))
    print(f"{count / seconds:,.0f} messages/s said, {count / drained:,.0f}/s in the topic")
