"""What a user asks for, in times, counts or offsets, becomes the right offsets.

And a window can be kept as text.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest

from labkit import Window
from labkit.config.profiles import Profile
from labkit.errors import (
    AccessError,
    LabkitError,
    NotFoundError,
    UnavailableError,
    UsageError,
    WindowError,
)
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.replay.records import consume
from labkit.stack.state import State
from labkit.times import to_ms
from support.records import number_records
from support.replays import balanced, offsets

T0 = 1_456_790_400_000  # 2016-03-01T00:00:00Z
DAY = 86_400_000
Produce = Callable[..., None]
MakeTopic = Callable[..., str]


def read_offsets(window: Window) -> list[int]:
    replay = window.read()
    assert balanced(replay.receipt).complete
    return offsets(replay.table)


def at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


@pytest.fixture
def daily(make_topic: MakeTopic, produce: Produce) -> str:
    """A topic with a record on each of ten days from 2016-03-01, at midnight."""
    topic = make_topic(retention_ms="-1")
    produce(topic, number_records(10), timestamps=[T0 + DAY * number for number in range(10)])
    return topic


# [start, end) (11) -----------------------------------------------------------------------------------------

SECOND_DAY: dict[str, Any] = {
    "text": "2016-03-02",
    "text with Z": "2016-03-02T00:00:00Z",
    "text with zone": "2016-03-02T05:30:00+05:30",
    "date": date(2016, 3, 2),
    "naive": datetime(2016, 3, 2),
    "aware": datetime(2016, 3, 2, tzinfo=UTC),
    "other zone": datetime(2016, 3, 1, 16, tzinfo=timezone(timedelta(hours=-8))),
    "pandas": pd.Timestamp("2016-03-02"),
    "pandas aware": pd.Timestamp("2016-03-02", tz="Europe/Berlin")
    .tz_localize(None)
    .tz_localize("UTC"),
    "pandas from ns": pd.Timestamp(1_456_876_800_000_000_000, unit="ns"),
    "pandas from s": pd.Timestamp(1_456_876_800, unit="s"),
    "numpy D": np.datetime64("2016-03-02"),
    "numpy s": np.datetime64("2016-03-02T00:00:00", "s"),
    "numpy ms": np.datetime64(1_456_876_800_000, "ms"),
    "numpy us": np.datetime64(1_456_876_800_000_000, "us"),
    "numpy ns": np.datetime64(1_456_876_800_000_000_000, "ns"),
}


def test_a_window_is_half_open_whatever_a_time_is_written_as(lab: Lab, daily: str):
    for how, when in SECOND_DAY.items():
        window = lab.window(daily, start=when, end=pd.Timestamp("2016-03-04"))
        assert (window.plan.start_ms, window.plan.end_ms) == (T0 + DAY, T0 + 3 * DAY), how
    assert read_offsets(window) == [1, 2]
    assert "[2016-03-02T00:00:00.000Z, 2016-03-04T00:00:00.000Z) UTC by CreateTime" in repr(window)


def test_a_nanosecond_decides_at_both_bounds(lab: Lab, daily: str):
    midnight = np.datetime64("2016-03-02T00:00:00", "ns")
    after = np.datetime64("2016-03-02T00:00:00.000000001", "ns")
    assert read_offsets(lab.window(daily, start=midnight, end=after)) == [1]
    assert read_offsets(lab.window(daily, start=after, end="2016-03-03")) == []
    assert read_offsets(lab.window(daily, start="2016-03-01", end=midnight)) == [0]


def test_a_bare_number_is_refused_since_its_unit_would_be_a_guess(lab: Lab, daily: str):
    for number in (1_456_876_800, 1_456_876_800_000, 1.5e18, np.int64(5)):
        with pytest.raises(UsageError) as caught:
            lab.window(daily, start=number)
        assert caught.value.hint


def test_a_time_at_or_before_the_epoch_is_a_time_like_another(lab: Lab, daily: str):
    for start in ("1970-01-01", "1969-12-31T23:59:59.999Z", "1960-01-01"):
        assert read_offsets(lab.window(daily, start=start, end="2016-03-03")) == [0, 1]
        assert read_offsets(lab.window(daily, start=start, end="1970-01-01", slack="0s")) == []
    assert len(lab.window(daily, last="100000d").read()) == 10


def test_an_end_before_the_start_is_refused(lab: Lab, daily: str):
    with pytest.raises(WindowError, match="before the start"):
        lab.window(daily, start="2016-03-04", end="2016-03-02")
    assert read_offsets(lab.window(daily, start="2016-03-02", end="2016-03-02")) == []


def test_earliest_and_latest_are_the_whole_log(lab: Lab, daily: str):
    assert (
        lab.window(daily, start="earliest", end="latest").offsets
        == lab.window(daily).offsets
        == {0: (0, 10)}
    )


def test_two_kinds_of_bounds_at_once_are_refused(lab: Lab, daily: str):
    with pytest.raises(UsageError, match="one of"):
        lab.window(daily, start="2016-03-02", last=5)
    with pytest.raises(UsageError, match="one of"):
        lab.window(daily, last="1h", offsets={0: (0, 1)})


# beyond the records (8) ------------------------------------------------------------------------------------


def test_a_start_after_the_last_record_is_an_empty_window(lab: Lab, daily: str):
    window = lab.window(daily, start="2020-01-01")
    assert window.offsets == {0: (10, 10)}
    assert read_offsets(window) == []


def test_an_end_after_the_last_record_is_the_frozen_end(lab: Lab, daily: str):
    window = lab.window(daily, start="2016-03-09", end="2020-01-01", slack="0s")
    assert window.offsets == {0: (8, 10)}
    assert read_offsets(window) == [8, 9]


def test_records_written_after_the_freeze_do_not_make_a_window_by_time_incomplete(
    lab: Lab, daily: str, produce: Produce
):
    window = lab.window(daily, start="2016-03-09", end="2020-01-01", slack="0s")
    produce(daily, [b"{}"], timestamps=[T0 + 12 * DAY])
    assert read_offsets(window) == [8, 9]


def test_empty_partitions_are_read_to_their_end_at_once(
    lab: Lab, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic(3, retention_ms="-1")
    produce(topic, number_records(3), partition=1, timestamps=[T0, T0 + DAY, T0 + 2 * DAY])
    for bounds in (
        {},
        {"start": "2016-03-02"},
        {"end": "2016-03-02"},
        {"last": 2},
        {"start": "earliest"},
    ):
        window = lab.window(topic, **bounds)
        replay = window.read(deadline="20s")
        assert balanced(replay.receipt).complete
        assert set(replay.table["_partition"].to_pylist()) == {1}
        assert [pair for number, pair in window.offsets.items() if number != 1] == [(0, 0), (0, 0)]


def test_a_window_says_which_partitions_of_how_many_it_has(
    lab: Lab, make_topic: MakeTopic, produce: Produce
) -> None:
    topic = make_topic(12)
    produce(topic, number_records(3), partition=3)
    some = str(lab.window(topic, last=pd.Timedelta("6h"), partitions=[3]))
    assert "the last 6h, partition 3 of 12\n" in some
    assert "3 in 1 partition\n" in some
    two = str(lab.window(topic, partitions=[3, 5]))
    assert "from earliest to latest, partitions 3, 5 of 12\n" in two
    assert "3 in 1 of its 2 partitions\n" in two
    assert "the given offsets, partition 3 of 12\n" in str(lab.window(topic, offsets={3: (0, 2)}))
    whole = str(lab.window(topic))
    assert "from earliest to latest\n" in whole
    assert "3 in 1 of its 12 partitions\n" in whole


def test_a_topic_of_200_partitions_is_read_whole(lab: Lab, admin: Cluster, make_topic: MakeTopic):
    topic = make_topic(200)
    producer = admin.producer()
    for number in range(1_000):
        producer.produce(
            topic, b'{"n":%d}' % number, partition=number % 199, timestamp=1_000_000 + number
        )
    assert producer.flush(60) == 0
    replay = lab.window(topic).read()
    assert balanced(replay.receipt).complete
    assert len(replay.receipt.partitions) == 200
    assert sorted(replay.table["n"].to_pylist()) == list(range(1_000))
    newest = lab.window(topic, last=37)
    assert sorted(newest.read().table["n"].to_pylist()) == list(range(1_000 - 37, 1_000))


def test_an_empty_topic_gives_an_empty_table_with_the_metadata_columns(
    lab: Lab, make_topic: MakeTopic
):
    replay = lab.window(make_topic(2), start="2016-03-01", end="2016-03-02").read()
    assert replay.receipt.complete
    assert replay.table.column_names[:4] == ["_topic", "_partition", "_offset", "_timestamp"]
    assert len(replay.to_pandas()) == len(replay) == 0


# time order and timestamp types (9, 10) --------------------------------------------------------------------


@pytest.fixture
def shuffled(make_topic: MakeTopic, produce: Produce) -> str:
    """The example of behaviour 9: offset 4 is within [2500, 4000), though offset 2 is after it."""
    topic = make_topic(retention_ms="-1")
    produce(
        topic, number_records(6), timestamps=[T0 + ms for ms in (0, 1000, 5000, 2000, 3000, 9000)]
    )
    return topic


def test_slack_finds_the_record_that_kafkas_time_index_does_not(lab: Lab, shuffled: str):
    inside = {"start": at(T0 + 2500), "end": at(T0 + 4000)}
    assert lab.window(shuffled, **inside, slack="0s").offsets == {0: (2, 2)}
    replay = lab.window(shuffled, **inside).read()
    assert offsets(replay.table) == [4]
    assert (balanced(replay.receipt).planned, replay.receipt.filtered) == (6, 5)


def test_disorder_is_reported_with_a_slack_that_covers_it(lab: Lab, shuffled: str):
    receipt = lab.window(shuffled).read().receipt
    assert [(part.out_of_order, part.max_inversion_ms) for part in receipt.partitions] == [
        (2, 3000)
    ]
    assert "2 records out of time order, by up to 3,000 ms: a slack of '3s' covers it" in str(
        receipt
    )


def test_too_little_slack_makes_the_read_incomplete(lab: Lab, shuffled: str):
    receipt = balanced(
        lab.window(shuffled, start=at(T0 + 2500), end=at(T0 + 4000), slack="0s").read().receipt
    )
    assert not receipt.complete
    assert receipt.reasons == {"disorder": [0]}
    assert receipt.partitions[0].beyond == 1
    assert "clock that ran ahead" in str(receipt)


def test_disorder_is_reported_too_where_the_time_filter_hides_it(lab: Lab, shuffled: str):
    receipt = lab.window(shuffled, start=at(T0 + 2500), end=at(T0 + 4000)).read().receipt
    assert receipt.partitions[0].max_inversion_ms == 3000


def test_the_proposed_slack_gives_every_record_of_the_window(lab: Lab, shuffled: str):
    window = lab.window(shuffled, start=at(T0 + 2500), end=at(T0 + 4000), slack="3s")
    assert read_offsets(window) == [4]


def test_log_append_time_is_named_and_needs_no_slack(
    lab: Lab, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic(message_timestamp_type="LogAppendTime")
    produce(topic, number_records(3), timestamps=[T0, T0, T0])
    window = lab.window(topic, start="2020-01-01")
    table = window.read().table
    assert window.plan.timestamp_type == "LogAppendTime"
    assert table["_timestamp_type"].to_pylist() == ["LogAppendTime"] * 3
    assert min(table["_timestamp"].to_pylist()) > datetime.now(UTC) - timedelta(hours=1)
    create = make_topic(retention_ms="-1")
    produce(create, number_records(1), timestamps=[T0])
    table = lab.window(create).read().table
    assert table["_timestamp_type"].to_pylist() == ["CreateTime"]
    assert table["_timestamp"].to_pylist() == [at(T0)]


def test_a_missing_timestamp_is_null(lab: Lab, make_topic: MakeTopic, produce: Produce):
    topic = make_topic(retention_ms="-1")
    produce(topic, number_records(3), timestamps=[T0, -1, T0 + 5])
    replay = lab.window(topic).read()
    assert replay.table["_timestamp"].to_pylist() == [at(T0), None, at(T0 + 5)]
    assert str(replay.to_pandas()["_timestamp"][1]) == "NaT"
    receipt = balanced(replay.receipt)
    assert (receipt.span_ms, receipt.partitions[0].out_of_order) == ((T0, T0 + 5), 0)
    by_time = lab.window(topic, start="2000-01-01", end="2020-01-01").read()
    assert offsets(by_time.table) == [0, 2]
    assert balanced(by_time.receipt).filtered == 1


# the newest records ----------------------------------------------------------------------------------------


def test_last_n_is_the_newest_n_of_all_partitions(
    lab: Lab, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic(2, retention_ms="-1")
    produce(topic, number_records(10), partition=0, timestamps=[T0 + 10 * n for n in range(10)])
    produce(
        topic, number_records(10, 100), partition=1, timestamps=[T0 + 10 * n + 5 for n in range(10)]
    )
    table = lab.window(topic, last=5).read().table
    assert sorted(table["n"].to_pylist()) == [8, 9, 107, 108, 109]
    assert len(lab.window(topic, last=0).read()) == 0
    assert len(lab.window(topic, last=500).read()) == 20
    assert len(lab.window(topic, last=1)) == 1


def test_the_newest_records_of_an_old_log_take_few_questions(
    lab: Lab, daily: str, monkeypatch: pytest.MonkeyPatch
):
    """They were searched for from now on back: 60 questions, one after the other."""
    asked: list[int | str] = []
    ask = Cluster.bounds

    def bounds(cluster: Cluster, topic: str, partitions: Any, at: int | str) -> dict[int, int]:
        asked.append(at)
        return ask(cluster, topic, partitions, at)

    monkeypatch.setattr(Cluster, "bounds", bounds)
    assert lab.window(daily, last=1).ranges[0].start == 9
    assert len(asked) < 20


def test_a_small_read_waits_for_nothing_after_its_last_record(
    lab: Lab, make_topic: MakeTopic, produce: Produce, monkeypatch: pytest.MonkeyPatch
):
    """A partition is done when its position reaches the end.

    A call of consume() that finds nothing is a wait.
    """
    topic = make_topic(partitions=4)
    for partition in range(4):
        produce(topic, [b"{}"] * 50, partition=partition)
    came: list[tuple[int, int]] = []

    def noted(consumer: Any, count: int, timeout_s: float) -> list[Any]:
        messages = consume(consumer, count, timeout_s)
        came.append((count, len(messages)))
        return messages

    monkeypatch.setattr("labkit.replay.reader.consume", noted)
    receipt = lab.window(topic, last=100).read(cache=False, guard=False).receipt
    assert (receipt.complete, receipt.read) == (True, 100)
    waits = [pair for number, pair in enumerate(came) if any(rows for _, rows in came[:number])]
    assert all(rows for _, rows in waits), came
    assert max(count for count, _ in came) <= 100


def test_last_n_of_records_of_one_moment_is_n(lab: Lab, make_topic: MakeTopic, produce: Produce):
    topic = make_topic(2, retention_ms="-1")
    for partition in (0, 1):
        produce(topic, number_records(50), partition=partition, timestamps=[T0] * 50)
    assert len(lab.window(topic, last=30).read()) == 30


def test_last_hours_are_counted_from_now(lab: Lab, make_topic: MakeTopic, produce: Produce):
    topic = make_topic()
    now = int(time.time() * 1000)
    produce(topic, number_records(3), timestamps=[now - 3 * 3_600_000, now - 1_800_000, now - 1000])
    assert read_offsets(lab.window(topic, last="1h")) == [1, 2]
    assert read_offsets(lab.window(topic, last="4h")) == [0, 1, 2]


def test_a_nonsense_count_or_length_is_refused(lab: Lab, daily: str):
    for last in (-1, "soon", "5 parsecs", True):
        with pytest.raises(UsageError):
            lab.window(daily, last=last)


# kept as text ----------------------------------------------------------------------------------------------


def test_a_window_kept_as_json_reads_the_same_records_after_more_were_written(
    lab: Lab, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic(2, retention_ms="-1")
    stamps = [T0 + 1000 * number for number in range(20)]
    for partition in (0, 1):
        produce(topic, number_records(20), partition=partition, timestamps=stamps)
    windows = [
        lab.window(topic),
        lab.window(topic, start=at(T0 + 5000), end=at(T0 + 9000)),
        lab.window(topic, last=7),
    ]
    before = [window.read().table for window in windows]
    for partition in (0, 1):
        produce(topic, number_records(20, 50), partition=partition, timestamps=stamps)
    again = [Window.from_json(window.to_json(), lab) for window in windows]
    assert again == windows
    assert [
        window.read().table.equals(table) for window, table in zip(again, before, strict=True)
    ] == [True] * 3
    assert [table.num_rows for table in before] == [40, 8, 7]


def test_a_window_from_json_connects_by_itself(lab: Lab, daily: str):
    window = lab.window(daily)
    assert len(Window.from_json(window.to_json()).read()) == 10


def test_a_window_as_json_holds_no_secret(lab: Lab, daily: str, stack: State):
    text = lab.window(daily).to_json()
    assert str(stack.credentials("lab")["kafka"]["sasl.password"]) not in text
    assert "password" not in text


def test_a_window_of_another_cluster_is_an_error(lab: Lab, daily: str):
    plan = lab.window(daily).to_json()
    foreign = plan.replace(lab.cluster.cluster_id, "AnotherClusterAltogether")
    with pytest.raises(WindowError, match="AnotherCluster"):
        Window.from_json(foreign, lab).read()


# what cannot be (18, in part) ------------------------------------------------------------------------------


def test_a_missing_topic_is_named_at_once(lab: Lab):
    began = time.monotonic()
    with pytest.raises(NotFoundError, match="irc-test-nowhere") as caught:
        lab.window("irc-test-nowhere")
    assert time.monotonic() - began < 8
    assert caught.value.hint


def test_a_partition_that_is_not_there_is_named(lab: Lab, daily: str):
    with pytest.raises(WindowError, match="no partition 7"):
        lab.window(daily, offsets={7: (0, 1)})


def lab_with(stack: State, **changed: str) -> Lab:
    settings = dict(stack.credentials("lab")["kafka"])
    settings |= {key.replace("_", "."): value for key, value in changed.items()}
    return Lab(Profile("test", "", settings, {}))


def fails_fast(error: type[LabkitError], call: Callable[[], Any], *secrets: str) -> str:
    """Check that `call` raises `error` within seconds, with a hint and without a secret.

    Return its text.
    """
    began = time.monotonic()
    with pytest.raises(error) as caught:
        call()
    assert time.monotonic() - began < 8
    texts = [
        str(caught.value),
        repr(caught.value),
        str(caught.value.__cause__),
        repr(caught.value.facts),
    ]
    assert caught.value.hint
    assert "Hint:" in texts[0]
    assert not [secret for secret in secrets if secret in "".join(texts)]
    return texts[0]


def test_a_wrong_password_fails_within_seconds_and_is_not_shown(stack: State, lab: Lab, daily: str):
    wrong, right = "not-the-password-1234", str(stack.credentials("lab")["kafka"]["sasl.password"])
    stranger = lab_with(stack, sasl_password=wrong)
    text = fails_fast(AccessError, lambda: stranger.window(daily), wrong, right)
    assert "refused the login of User:lab" in text
    again = Window.from_json(lab.window(daily).to_json(), lab_with(stack, sasl_password=wrong))
    fails_fast(AccessError, again.read, wrong, right)
    assert wrong not in repr(stranger) + repr(stranger.connection) + repr(stranger.cluster)


def test_an_unreachable_broker_fails_within_seconds_with_its_address(
    stack: State, lab: Lab, daily: str
):
    away = lab_with(stack, bootstrap_servers="127.0.0.1:9")
    assert "127.0.0.1:9" in fails_fast(UnavailableError, lambda: away.window(daily))
    nowhere = lab_with(stack, bootstrap_servers="no-such-host.invalid:9092")
    window = Window.from_json(lab.window(daily).to_json(), nowhere)
    assert "no-such-host.invalid:9092" in fails_fast(UnavailableError, window.read)


def test_a_topic_one_may_not_see_is_an_access_error_or_not_found(
    stack: State, admin: Cluster, daily: str
):
    extractor = Lab(Profile("test", "", stack.credentials("extractor")["kafka"], {}))
    with pytest.raises((AccessError, NotFoundError)) as caught:
        extractor.window(daily).read()
    assert "User:extractor" in str(caught.value)
    assert caught.value.hint


def test_times_as_people_say_them_are_frozen_and_echoed(
    lab: Lab, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic()
    now = int(time.time() * 1000)
    produce(topic, number_records(3), timestamps=[now - 3 * 3_600_000, now - 1_800_000, now - 1000])
    window = lab.window(topic, start="2h ago", end="now")
    assert window.read().table["n"].to_pylist() == [1, 2]
    assert window.plan.start_ms is not None
    assert abs(window.plan.start_ms - (now - 7_200_000)) < 60_000
    assert "from 2h ago (20" in window.plan.asked
    assert "to now (20" in window.plan.asked
    again = Window.from_json(window.to_json(), lab)
    assert (again.plan.start_ms, again.plan.end_ms) == (window.plan.start_ms, window.plan.end_ms)
    assert "to 00:00 (20" in lab.window(topic, end="00:00").plan.asked


def test_a_day_a_week_and_a_month_are_windows(lab: Lab, make_topic: MakeTopic, produce: Produce):
    topic = make_topic()
    moments = [
        "2016-02-28T23:59:59.999",
        "2016-02-29T00:00",
        "2016-02-29T23:59:59.999",
        "2016-03-01T00:00",
        "2016-04-01",
    ]
    produce(topic, number_records(5), timestamps=[to_ms(moment) for moment in moments])
    expected = {
        "2016-02-29": [1, 2],
        "2016-W09": [1, 2, 3],
        "2016-02": [0, 1, 2],
        "2016-03": [3],
        "yesterday": [],
    }
    for day, numbers in expected.items():
        window = lab.window(topic, on=day)
        table = window.read().table
        assert (table["n"].to_pylist() if numbers else []) == numbers, day
        assert table.num_rows == len(numbers)
        assert window.plan.asked.startswith(f"on {day} (from 20")
    with pytest.raises(UsageError, match="give one of start/end, last, on, offsets"):
        lab.window(topic, on="yesterday", last="1 day")
    with pytest.raises(UsageError, match="is not a day"):
        lab.window(topic, on="2h ago")
