"""Bounds become offsets: held against a simple log in memory that answers as Kafka does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labkit.errors import UsageError, WindowError
from labkit.replay.plan import (
    Plan,
    Range,
    Resolved,
    by_last_records,
    by_last_time,
    by_offsets,
    by_time,
)

NOW = 1_456_790_400_000  # 2016-03-01T00:00:00Z


@dataclass
class Log:
    """One topic's log.

    It has, for each partition, the log's start and the timestamps of the records from there on.
    """

    partitions: dict[int, tuple[int, list[int]]]
    asked: int = 0

    def bounds(self, at: str | int) -> dict[int, int]:
        self.asked += 1
        return {number: self._bound(*log, at) for number, log in self.partitions.items()}

    @staticmethod
    def _bound(start: int, stamps: list[int], at: str | int) -> int:
        if at == "earliest":
            return start
        if at == "latest":
            return start + len(stamps)
        assert isinstance(at, int)
        assert at >= 0, "Kafka takes negative times for magic offsets"
        return next((start + index for index, stamp in enumerate(stamps) if stamp >= at), -1)

    def stamps(self, resolved: Resolved) -> list[int]:
        """Return the timestamps of the records in the resolved offsets."""
        stamps_ = []
        for span in resolved.ranges:
            start, stamps = self.partitions[span.partition]
            stamps_ += stamps[span.start - start : span.end - start]
        return stamps_

    def all_stamps(self) -> list[int]:
        return [stamp for _, stamps in self.partitions.values() for stamp in stamps]


def at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def logs(stamps: st.SearchStrategy[list[int]]) -> st.SearchStrategy[Log]:
    partition = st.tuples(st.integers(0, 1000), stamps)
    return st.lists(partition, min_size=1, max_size=3).map(lambda logs: Log(dict(enumerate(logs))))


moments = st.integers(NOW - 50, NOW) | st.integers(NOW - 40_000_000, NOW)
in_order = logs(st.lists(moments, max_size=12).map(sorted))
any_order = logs(st.lists(moments, max_size=12))
edges = st.tuples(moments, moments).map(sorted)


def sound(log: Log, resolved: Resolved) -> None:
    """Check that the offsets are within the log and name each partition once, in order."""
    latest, earliest = log.bounds("latest"), log.bounds("earliest")
    assert [range_.partition for range_ in resolved.ranges] == sorted(log.partitions)
    for span in resolved.ranges:
        assert earliest[span.partition] <= span.start <= span.end <= latest[span.partition]
        assert span.log_end == latest[span.partition]


# by time ---------------------------------------------------------------------------------------------------


@given(in_order, edges)
def test_by_time_is_exact_where_time_goes_forward(log: Log, edge: list[int]):
    start, end = edge
    resolved = by_time(log.bounds, at(start), at(end), 0)
    sound(log, resolved)
    assert log.stamps(resolved) == [stamp for stamp in log.all_stamps() if start <= stamp < end]
    assert (resolved.start_ms, resolved.end_ms) == (start, end)


@given(any_order, edges)
def test_by_time_holds_every_record_of_the_time_when_the_slack_covers_the_disorder(
    log: Log, edge: list[int]
):
    start, end = edge
    worst = 0
    for _, stamps in log.partitions.values():
        worst = max(
            [worst, *(max(stamps[:index]) - stamps[index] for index in range(1, len(stamps)))]
        )
    resolved = by_time(log.bounds, at(start), at(end), worst)
    sound(log, resolved)
    inside = [stamp for stamp in log.stamps(resolved) if start <= stamp < end]
    assert sorted(inside) == sorted(stamp for stamp in log.all_stamps() if start <= stamp < end)


@given(any_order, edges, st.integers(0, 100_000))
def test_by_time_is_within_the_log_whatever_the_slack(log: Log, edge: list[int], slack: int):
    sound(log, by_time(log.bounds, at(edge[0]), at(edge[1]), slack))


@given(any_order)
def test_earliest_and_latest_are_the_whole_log(log: Log):
    for start, end in ((None, None), ("earliest", "latest")):
        resolved = by_time(log.bounds, start, end, 60_000)
        sound(log, resolved)
        assert log.stamps(resolved) == log.all_stamps()
        assert (resolved.start_ms, resolved.end_ms) == (None, None)


def test_the_example_of_records_out_of_time_order():
    log = Log({0: (0, [NOW + ms for ms in (0, 1000, 5000, 2000, 3000, 9000)])})
    start, end = at(NOW + 2500), at(NOW + 4000)
    assert by_time(log.bounds, start, end, 0).ranges == (Range(0, 2, 2, 6),)
    assert by_time(log.bounds, start, end, 3000).ranges == (Range(0, 0, 5, 6),)


def test_a_time_after_the_last_record_is_the_end_and_never_minus_one():
    log = Log({0: (5, [NOW]), 1: (7, [])})
    assert by_time(log.bounds, at(NOW + 1), None, 0).ranges == (
        Range(0, 6, 6, 6),
        Range(1, 7, 7, 7),
    )
    assert by_time(log.bounds, None, at(NOW + 1), 0).ranges == (
        Range(0, 5, 6, 6),
        Range(1, 7, 7, 7),
    )


def test_a_log_that_grows_between_the_questions_stays_within_its_frozen_end():
    grown = {"latest": {0: 10}, "earliest": {0: 0}}
    assert by_time(lambda bound: grown.get(bound, {0: 15}), at(NOW), None, 0).ranges == (
        Range(0, 10, 10, 10),
    )
    assert by_time(lambda bound: grown.get(bound, {0: 15}), None, at(NOW), 0).ranges == (
        Range(0, 0, 10, 10),
    )


def test_an_end_before_the_start_is_an_error():
    with pytest.raises(WindowError, match="before the start"):
        by_time(Log({0: (0, [])}).bounds, at(NOW), at(NOW - 1), 0)


@pytest.mark.parametrize(
    "start", [datetime(1970, 1, 1), datetime(1960, 1, 1), "1970-01-01T00:00:59.999"]
)
def test_no_negative_time_is_asked(start: Any):
    log = Log({0: (0, [0, 1, NOW])})
    sound(log, by_time(log.bounds, start, at(NOW + 1), 60_000))
    sound(log, by_last_time(log.bounds, 2 * NOW, NOW, 60_000))


@given(in_order, st.integers(0, 100_000_000))
def test_the_last_hours_reach_from_then_to_the_end(log: Log, length: int):
    resolved = by_last_time(log.bounds, length, NOW, 0)
    sound(log, resolved)
    assert log.stamps(resolved) == [stamp for stamp in log.all_stamps() if stamp >= NOW - length]
    assert resolved.start_ms == NOW - length


# the newest records ----------------------------------------------------------------------------------------


@given(in_order, st.integers(0, 40), st.just(NOW) | moments)
def test_the_newest_records_are_so_many_and_the_newest(log: Log, count: int, begin: int):
    resolved = by_last_records(log.bounds, count, begin)
    sound(log, resolved)
    every = sorted(log.all_stamps())
    assert sorted(log.stamps(resolved)) == every[max(0, len(every) - count) :]


@given(any_order, st.integers(0, 40))
def test_the_newest_records_are_at_least_so_many_when_time_goes_back(log: Log, count: int):
    resolved = by_last_records(log.bounds, count, NOW)
    sound(log, resolved)
    assert len(log.stamps(resolved)) >= min(count, len(log.all_stamps()))


in_the_future = logs(
    st.lists(moments | st.integers(NOW, NOW + 10_000_000), max_size=12).map(sorted)
)


@example(Log({0: (0, [NOW, NOW + 5000]), 1: (0, [NOW + 6000])}), 1)
@given(in_the_future, st.integers(0, 40))
def test_the_newest_records_are_found_too_when_a_clock_is_ahead(log: Log, count: int):
    resolved = by_last_records(log.bounds, count, NOW)
    sound(log, resolved)
    every = sorted(log.all_stamps())
    assert sorted(log.stamps(resolved)) == every[max(0, len(every) - count) :]


@given(in_order, st.integers(0, 40))
def test_the_search_asks_a_bounded_number_of_times(log: Log, count: int):
    log.asked = 0
    by_last_records(log.bounds, count, NOW)
    assert log.asked < 100


@pytest.mark.parametrize(("gap_ms", "most_questions"), [(0, 4), (1, 16), (22_000, 20)])
def test_the_newest_records_take_few_questions(gap_ms: int, most_questions: int):
    log = Log({0: (0, [NOW - gap_ms * number for number in reversed(range(1_000))])})
    assert sum(span.size for span in by_last_records(log.bounds, 100, NOW).ranges) == 100
    assert log.asked <= most_questions


def test_records_of_one_moment_are_cut_to_the_count():
    log = Log({0: (0, [NOW] * 50), 1: (10, [NOW] * 50)})
    assert sum(span.size for span in by_last_records(log.bounds, 30, NOW).ranges) == 30


def test_a_negative_count_is_refused():
    with pytest.raises(UsageError, match="last must be 0 or more, not -1"):
        by_last_records(Log({0: (0, [])}).bounds, -1, NOW)


# by offsets ------------------------------------------------------------------------------------------------


@given(any_order, st.data())
def test_offsets_within_the_log_are_taken_as_they_are(log: Log, data: st.DataObject):
    expected = {
        number: tuple(sorted(data.draw(st.tuples(*[st.integers(0, start + len(stamps))] * 2))))
        for number, (start, stamps) in log.partitions.items()
    }
    resolved = by_offsets(log.bounds, expected)
    assert {span.partition: (span.start, span.end) for span in resolved.ranges} == expected
    assert (resolved.start_ms, resolved.end_ms) == (None, None)


@pytest.mark.parametrize(
    ("offsets", "error"),
    [
        ({0: (0, 11)}, WindowError),
        ({0: (100, 200)}, WindowError),
        ({1: (0, 1)}, WindowError),
        ({0: (5, 4)}, UsageError),
        ({0: (-1, 4)}, UsageError),
        ({0: (-2, -1)}, UsageError),
    ],
)
def test_offsets_that_cannot_be_are_refused(offsets: Any, error: type[Exception]):
    with pytest.raises(error) as caught:
        by_offsets(Log({0: (0, [NOW] * 10)}).bounds, offsets)
    assert caught.value.hint


# kept as text ----------------------------------------------------------------------------------------------

ranges = st.lists(
    st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=4
).map(lambda rows: tuple(Range(number, *sorted(row)) for number, row in enumerate(rows)))
plans = st.builds(
    Plan,
    topic=st.just("irc"),
    cluster_id=st.text(),
    topic_id=st.text(),
    ranges=ranges,
    start_ms=st.none() | moments,
    end_ms=st.none() | moments,
    timestamp_type=st.sampled_from(["CreateTime", "LogAppendTime"]),
    asked=st.text(),
    frozen_ms=moments,
)


@given(plans)
def test_a_plan_kept_as_json_is_the_same_plan(plan: Plan):
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.hash == plan.hash
    assert "\n" not in plan.to_json()
    assert plan.size == sum(span.end - span.start for span in plan.ranges)


def plan_of(**changed: Any) -> Plan:
    arguments = {
        "topic": "irc",
        "cluster_id": "c",
        "topic_id": "t",
        "ranges": (Range(0, 1, 2, 3),),
        "start_ms": None,
        "end_ms": None,
        "timestamp_type": "CreateTime",
        "asked": "",
        "frozen_ms": 0,
    }
    return Plan(**{**arguments, **changed})


def test_the_hash_names_the_records_and_not_the_words_they_were_asked_in():
    same = [
        plan_of(),
        plan_of(asked="all"),
        plan_of(frozen_ms=1),
        plan_of(ranges=(*plan_of().ranges, Range(1, 5, 5, 5))),
    ]
    other_plans = [
        plan_of(topic="irc2"),
        plan_of(cluster_id="d"),
        plan_of(topic_id="u"),
        plan_of(ranges=(Range(0, 1, 3, 3),)),
        plan_of(start_ms=0),
        plan_of(end_ms=0),
    ]
    assert len({plan.hash for plan in same}) == 1
    assert len({plan.hash for plan in [plan_of(), *other_plans]}) == 1 + len(other_plans)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "{}",
        "[]",
        "not JSON",
        plan_of().to_json().replace('"labkit_window": 1', '"labkit_window": 2'),
        plan_of().to_json().replace('"irc"', '"no/topic"'),
        plan_of().to_json().replace('"asked"', '"odd"'),
        plan_of().to_json().replace("[[0, 1, 2, 3]]", "[[0, 2, 1, 3]]"),
        plan_of().to_json().replace("[[0, 1, 2, 3]]", "[[0, -1, 2, 3]]"),
        plan_of().to_json().replace("[[0, 1, 2, 3]]", "[[0, 1]]"),
    ],
)
def test_text_that_is_no_window_is_refused(text: str):
    with pytest.raises(UsageError) as caught:
        Plan.from_json(text)
    assert caught.value.hint
