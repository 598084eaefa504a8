"""The rules that judge a consumer by several looks, one by one.

And Burrow's false alarms, which they do not give.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import NotFoundError, UnavailableError, UsageError
from labkit.groups import judgement, sampling
from labkit.groups import lag as rules
from labkit.groups.history import MANY, SCHEMA, History, read_history, samples_of, to_frame
from labkit.groups.lag import judge, judge_all, worst
from labkit.groups.looks import MEMBERS_UNSEEN, UNSEEN, Sample
from labkit.groups.states import Verdict
from labkit.groups.verdicts import judge_groups
from labkit.notebook import lag_board

FIRST = Sample(
    group="g", topic="t", partition=0, committed=0, log_start=0, log_end=0, lag=0, flag="", member="reader",
    host="127.0.0.1", at_ms=1_000_000, state="stable", members=1,
)  # fmt: skip


def looks(
    committed: list[int | None],
    ends: list[int] | int,
    *,
    every_s: float = 2.0,
    start: int = 0,
    **changes: object,
) -> list[Sample]:
    """Looks at one partition; `changes` holds for all of them."""
    ends = [ends] * len(committed) if isinstance(ends, int) else ends
    samples = []
    for number, (offset, end) in enumerate(zip(committed, ends, strict=True)):
        lag = None if offset is None else max(0, end - max(offset, start))
        flag = "no commit" if offset is None else "beyond end" if offset > end else ""
        at_ms = FIRST.at_ms + round(number * every_s * 1000)
        sample = replace(
            FIRST,
            at_ms=at_ms,
            committed=offset,
            log_start=start,
            log_end=end,
            lag=lag,
            flag=flag,
            next="record",
        )
        samples.append(replace(sample, **changes))  # type: ignore[arg-type]
    return samples


NOBODY = {"member": "", "host": "", "members": 0, "state": "empty"}


@pytest.mark.parametrize(
    ("samples", "verdict", "doing"),
    [
        (looks([10, 20, 30, 40, 50], [12, 22, 32, 42, 52]), "ok", "reading"),
        (looks([10] * 5, 10), "ok", "idle"),
        (looks([10] * 5, 10, **NOBODY), "ok", "offline"),
        (looks([5] * 5, 10), "stalled", "stuck"),
        (looks([5] * 5, 10, **NOBODY), "stopped", "offline"),
        (looks([50, 40, 41, 42, 43], 60), "rewound", "reading"),
        (looks([10, 11, 12, 13, 14], [50, 60, 70, 80, 90]), "slow", "reading"),
        (looks([10, 20, 30, 40, 50], 1000), "ok", "reading"),  # behind, and catching up
        (looks([None] * 5, 0), "idle", "idle"),
        (looks([None] * 5, [0, 1, 2, 3, 4]), "unknown", "unknown"),
        (looks([5, 5], 10), "unknown", "unknown"),
        (looks([20] * 5, 10), "unknown", "unknown"),
        (looks([5] * 5, [10, 10, 3, 10, 10]), "unknown", "unknown"),
        (
            looks([5] * 5, 10, **{**NOBODY, "state": "preparing_rebalancing", "members": 1}),
            "unknown",
            "unknown",
        ),
        (
            looks([5] * 5, 10, **{**NOBODY, "state": "rebalancing", "members": 2}),
            "unknown",
            "unknown",
        ),
    ],
)
def test_each_behaviour_has_its_verdict(samples: list[Sample], verdict: str, doing: str) -> None:
    judgement = judge(samples)
    assert (judgement.verdict, judgement.doing) == (verdict, doing), judgement.why


def test_a_held_partition_without_a_commit_is_unknown_where_records_wait() -> None:
    """BEHAVIOURS 41: it was idle, lag 0.

    A consumer that began at the end looks the same, so it is not stalled.
    """
    judgement = judge(looks([None] * 5, 10))
    assert (judgement.verdict, judgement.lag) == ("unknown", None)
    assert "nothing committed, up to 10 to read" in judgement.why
    assert "up to 4 to read" in judge(looks([None] * 5, [0, 1, 2, 3, 4])).why
    expired = judge(looks([None] * 5, 10, start=10))
    assert (expired.verdict, expired.why) == ("idle", "nothing committed, nothing to read")


def test_an_alarm_of_a_partition_without_a_commit_gives_its_reason() -> None:
    """It came with the reason of another partition: that more looks are needed."""
    behind = looks([5], 1_000, partition=1)
    (group,) = judge_groups(judge_all([*looks([None], 10), *behind]))
    assert group.uncommitted
    assert "nothing committed, up to 10 to read" in group.why


def test_a_lag_that_is_not_known_is_not_counted_as_0() -> None:
    """BEHAVIOURS 41: in sums, whatever the reason.

    A partition with nothing to read is 0, with a commit or without.
    """
    unread, at_end = looks([None] * 5, 10), looks([5] * 5, 5, partition=1)
    (group,) = judge_groups(judge_all([*unread, *at_end]))
    assert (group.lag, group.unknown, group.known_lag, group.uncommitted) == (None, 1, 0, True)
    assert str(group).startswith("g: unknown, lag 0 or more, ")
    (group,) = judge_groups(judge_all(unread))
    assert str(group).startswith("g: unknown, lag not known, ")
    (group,) = judge_groups(judge_all([*looks([None] * 5, 10, start=10), *at_end]))
    assert (group.lag, group.unknown, group.uncommitted) == (0, 0, False)
    dark = looks([5] * 5, 10, flag="no leader", log_start=None, log_end=None, lag=None)
    (group,) = judge_groups(judge_all([*dark, *at_end]))
    assert (group.lag, group.unknown) == (None, 1)


def test_who_has_members_nobody_can_see_is_judged_by_its_commits() -> None:
    """BEHAVIOURS 42: a hidden group is judged by its commits.

    A group of Kafka Streams' own kind is not stopped because no member of it is shown.
    """
    unseen = {**NOBODY, "state": MEMBERS_UNSEEN}
    assert judge(looks([5] * 5, 10, **unseen)).verdict == "stalled"
    assert judge(looks([10, 20, 30, 40, 50], [12, 22, 32, 42, 52], **unseen)).verdict == "ok"


def test_lag_0_is_ok_whatever_the_age_of_the_commit() -> None:
    a_week = looks([10] * 5, 10, every_s=100_000)
    assert judge(a_week).verdict == judge(a_week[:1]).verdict == "ok"  # one look is enough for that


def test_a_lag_of_markers_only_is_ok() -> None:
    judgement = judge(looks([10] * 5, 11, next="nothing"))
    assert (judgement.verdict, judgement.lag) == ("ok", 1)
    assert "markers" in judgement.why


def test_an_open_transaction_is_named() -> None:
    assert "open transaction" in judge(looks([10] * 5, 15, next="open transaction")).why


def test_too_few_samples_are_unknown() -> None:
    for count in (1, 2):
        assert judge(looks([1] * count, 9)).verdict == "unknown"
    assert judge(looks([1] * 3, 9, every_s=4)).verdict == "stalled"


def test_a_consumer_between_two_commits_is_not_stalled() -> None:
    """Consumers commit every 5 s: a shorter standstill says nothing, and more looks would tell."""
    judgement = judge(looks([5] * 5, [10, 11, 12, 13, 14], every_s=1))
    assert (judgement.verdict, judgement.longer) == ("unknown", True)


def test_who_commits_each_minute_takes_patience() -> None:
    """Such as sinks of Connect, Flink and Spark.

    The latter two read by assign(), without membership.
    """
    ends = list(range(100, 200, 10))
    for holder in ({}, NOBODY):
        minute = looks([50] * 4 + [120] * 6, ends, every_s=10, **holder)
        assert judge(minute[4:], 65).verdict == "unknown"
        assert judge(minute[4:], 65).longer
        assert judge(minute, 65).verdict == "ok"
    still = looks([50] * 8, 100, every_s=10)
    assert (judge(still, 65).verdict, judge(still, 75).verdict) == ("stalled", "unknown")
    gone = looks([50] * 8, 100, every_s=10, **NOBODY)
    assert (judge(gone, 65).verdict, judge(gone, 75).verdict, judge(gone[:3]).verdict) == (
        "stopped",
        "unknown",
        "stopped",
    )


def test_a_watch_begins_anew_after_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker was away for ten minutes, and its consumers with it.

    Their standstill is not theirs.
    """
    now_ms = 0

    def pass_by(*_: object) -> None:
        nonlocal now_ms
        now_ms += 10_000

    class Away:
        def look(self) -> list[Sample]:
            if 30_000 < now_ms < 630_000:
                raise UnavailableError("no answer")
            return [replace(FIRST, at_ms=now_ms, committed=5, log_end=9, lag=4)]

    monkeypatch.setattr(sampling, "_uptime_ms", lambda: now_ms)
    monkeypatch.setattr(sampling, "wait", pass_by)
    verdicts = [judged[0] for judged in sampling.watch(Away(), 10, lambda: now_ms > 650_000)]  # type: ignore[arg-type]
    assert [entry.verdict for entry in verdicts] == [
        "unknown",
        "unknown",
        "stalled",
        "stalled",
        "unknown",
        "unknown",
        "stalled",
    ]
    assert [entry.samples for entry in verdicts] == [1, 2, 3, 4, 1, 2, 3]


def test_a_board_looks_again_while_the_broker_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        without_partitions: ClassVar = {}

        def __init__(self, *_: object) -> None:
            self.answers = iter([None, "no answer", None])

        def check(self) -> None: ...

        def look(self) -> list[Sample]:
            if why := next(self.answers):
                raise UnavailableError(why)
            return [FIRST]

    monkeypatch.setattr(lag_board, "Sampler", Away)
    board = lag_board.LagBoard(
        SimpleNamespace(cluster=None), None, every="2s", limit="1m", patience="65s"
    )  # type: ignore[arg-type]
    values_seen = []
    for _ in range(3):
        board._step()
        values_seen.append((board.state.value, len(board.judged)))
    assert [("no answer; looking again" in state, count) for state, count in values_seen] == [
        (False, 1),
        (True, 1),
        (False, 1),
    ]
    assert board._recent.looks.maxlen == 35


def test_a_board_of_many_groups_turns_pages_the_worst_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Many:
        without_partitions: ClassVar = {}

        def __init__(self, *_: object) -> None: ...

        def check(self) -> None: ...

        def look(self) -> list[Sample]:
            behind = [
                replace(
                    FIRST, group="z.behind", committed=0, lag=9, members=0, member="", state="empty"
                )
            ]
            return [
                replace(FIRST, group=f"g{n:03d}", committed=FIRST.log_end, lag=0)
                for n in range(100)
            ] + behind

    monkeypatch.setattr(lag_board, "Sampler", Many)
    board = lag_board.LagBoard(
        SimpleNamespace(cluster=None), None, every="2s", limit="1m", patience="0s"
    )  # type: ignore[arg-type]
    for _ in range(3):
        board._step()
    assert board.shown.value == "groups 1 to 40 of 101, the worst first"
    assert board.view.value.count("<tr>") == 41
    assert (
        board.view.value.index("z.behind")
        < board.view.value.index("g000")
        < board.view.value.index("g038")
    )
    assert (board._pages.layout.display, board._back.disabled, board._on.disabled) == (
        "flex",
        True,
        False,
    )
    for _ in range(3):
        board._on.click()
    assert (board.page, board.shown.value) == (2, "groups 81 to 101 of 101, the worst first")
    assert "g099" in board.view.value
    board._step()  # a look leaves the page
    assert board.page == 2
    assert "groups 81 to 101" in board.picture()


def test_what_came_a_moment_ago_is_no_stall() -> None:
    judgement = judge(looks([10] * 10, [10] * 8 + [15, 15]))
    assert judgement.verdict == "ok"
    # but that stands since long
    assert judge(looks([10] * 10, [10] * 2 + [15] * 8)).verdict == "stalled"


def test_a_healthy_consumer_seems_to_fall_behind_between_commits() -> None:
    """The lag goes up and down, and the reader keeps pace.

    100 a second are written, with a commit every 5 s and a look every 2 s.
    """
    ends = [200 * number for number in range(10)]
    commits = [(200 * number) // 500 * 500 for number in range(10)]
    for first in range(6):
        judgement = judge(
            looks(
                [max(0, commit) for commit in commits[first : first + 5]], ends[first : first + 5]
            )
        )
        assert judgement.verdict != "slow", (first, judgement.why)


def test_a_slow_consumer_is_found_behind_its_commits() -> None:
    """Right after each commit the lag is larger than before.

    100 a second are written and 50 read, with a commit every 5 s.
    """
    ends = [1000 + 200 * number for number in range(10)]
    commits = [(2 * number // 5) * 250 for number in range(10)]
    assert judge(looks(list(commits), ends)).verdict == "slow"


def test_rates_are_shown_where_looks_are_too_few_to_call_it_slow() -> None:
    judgement = judge(looks([1000, 1002, 1002], [1000, 1010, 1020]))
    assert judgement.verdict == "ok"
    assert "keeps pace" not in judgement.why
    assert "reads 0.5/s of 5.0/s written so far" in judgement.why


def test_a_rewind_from_the_end_is_found() -> None:
    """Burrow skips all rules once the lag was 0."""
    assert judge(looks([10, 10, 3, 3, 3], 10)).verdict == "rewound"
    judgement = judge(looks([10, 3, 6, 9, 10], 10))
    assert judgement.verdict == "ok"  # it has caught up again
    assert "went back by 7" in judgement.why


def test_the_last_member_that_left_has_stopped_though_commits_moved() -> None:
    samples = looks([10, 20, 30, 40, 50], 100)
    samples[-1] = replace(samples[-1], **NOBODY)  # type: ignore[arg-type]
    assert judge(samples).verdict == "stopped"


def test_who_reads_by_assign_is_not_stopped() -> None:
    assert judge(looks([10, 20, 30, 40, 50], 100, **NOBODY)).verdict == "ok"
    assert judge(looks([10, 20, 20, 20, 20, 20, 20], 100, **NOBODY)).verdict == "stopped"


def test_rates_are_between_looks_and_an_eta_needs_a_shrinking_lag() -> None:
    judgement = judge(looks([100, 300, 500], [1000, 1100, 1200]))
    assert (judgement.read_per_s, judgement.written_per_s) == (100, 50)
    assert judgement.eta_s == 14  # 700 to go, 50 a second less
    assert judge(looks([100, 110, 120], [1000, 1100, 1200])).eta_s is None
    assert judge(looks([1200] * 3, 1200)).eta_s == 0


def test_a_commit_before_the_logs_start_is_flagged_and_judged() -> None:
    samples = looks([2] * 5, 10, start=6, flag="expired")
    assert (judge(samples).lag, judge(samples).verdict, judge(samples).flag) == (
        4,
        "stalled",
        "expired",
    )


offsets = st.one_of(st.none(), st.integers(0, 50))


@given(st.lists(st.tuples(offsets, st.integers(0, 50), st.booleans()), min_size=1, max_size=12))
def test_any_looks_have_a_verdict_and_lag_0_is_never_bad(
    rows: list[tuple[int | None, int, bool]],
) -> None:
    samples = looks([row[0] for row in rows], [row[1] for row in rows])
    samples = [
        replace(sample, member="" if row[2] else "x", members=0 if row[2] else 1)
        for sample, row in zip(samples, rows, strict=True)
    ]
    judgement = judge(samples)
    assert judgement.verdict in {"ok", "idle", "slow", "stalled", "stopped", "rewound", "unknown"}
    assert judgement.why
    if samples[-1].lag == 0:
        assert judgement.verdict in {"ok", "unknown"}
    if judgement.verdict in rules.BAD:
        assert len(samples) >= rules.MIN_SAMPLES


def test_what_could_not_be_looked_at_is_unknown_and_says_why() -> None:
    unknown = {"log_start": None, "log_end": None, "lag": None, "next": ""}
    for flag, why in UNSEEN.items():
        judgement = judge([*looks([10] * 4, 10), *looks([10], 10, flag=flag, **unknown)])
        assert (judgement.verdict, judgement.why, judgement.flag, judgement.log_end) == (
            "unknown",
            why,
            flag,
            None,
        )
    dark = looks([5] * 5, 10)
    dark[2] = replace(dark[2], flag="no answer", **unknown)  # type: ignore[arg-type]
    judgement = judge(dark)
    assert (judgement.verdict, judgement.samples) == (
        "stalled",
        4,
    )  # one look that failed changes nothing


def test_a_group_tells_what_is_odd_about_its_partitions() -> None:
    dark = looks([5] * 5, 10, flag="no leader", log_start=None, log_end=None, lag=None)
    again = looks([5] * 5, [9, 10, 3, 10, 10], group="h")
    first, second, third = judge_groups(
        judge_all([*looks([10] * 5, 10, partition=1), *dark, *again]),
        dict.fromkeys("gk", (Verdict.UNKNOWN, "no member")),
    )
    assert (first.verdict, first.unseen, first.remade) == ("unknown", True, False)
    assert "t[0]: the partition has no leader" in first.why
    assert (second.verdict, second.unseen, second.remade) == ("unknown", False, True)
    assert (third.group, third.verdict, third.partitions, third.unseen) == ("k", "unknown", 0, True)
    assert third.why == "no member"
    (beyond,) = judge_groups(judge_all(looks([20] * 5, 10)))
    assert beyond.remade


def test_a_group_is_as_its_worst_partition() -> None:
    parts = judge_all(
        [*looks([10] * 5, 10), *looks([5] * 5, 10, partition=1), *looks([None] * 5, 0, partition=2)]
    )
    (group,) = judge_groups(parts)
    assert (group.verdict, group.lag, group.partitions) == ("stalled", 5, 3)
    assert "t[1]" in str(group)
    assert worst([]) == "unknown"
    assert worst(["idle", "ok"]) == "ok"


# the history ---------------------------------------------------------------------------------------------


def test_a_history_gives_back_what_was_kept(tmp_path: Path) -> None:
    samples = looks([5, 6, None, 8], 10)
    history = History(tmp_path / "new" / "folder")
    for sample in samples:
        history.append([sample])
    frame = to_frame(read_history(history.folder))
    assert samples_of(frame) == samples
    assert frame["committed"].isna().sum() == 1
    assert str(frame["at"].dtype) == "datetime64[ms, UTC]"
    assert [one.at_ms for one in samples_of(frame, last=2)] == [
        sample_.at_ms for sample_ in samples[2:]
    ]


@pytest.mark.parametrize(
    ("times", "left"),
    [
        ([0, 2, 4, 6, 8], 5),
        ([0, 2, 4, 6, 600], 1),  # recording began again just now: one look tells nothing
        ([0, 2, 600, 602, 604], 3),
        ([0, 600, 602, 1200, 1202], 5),  # no rhythm
        ([0.0, 0.1, 10.0, 10.1, 20.0], 5),  # two record in turn
        ([7], 1),
    ],
)
def test_a_history_is_judged_by_what_came_after_a_gap(times: list[float], left: int) -> None:
    table = pa.Table.from_pylist(
        [{"at": round(1000 * at), "group": "g", "topic": "t", "partition": 0} for at in times],
        schema=SCHEMA,
    )
    assert [one.at_ms for one in samples_of(table, last=5)] == [
        round(1000 * at) for at in times[-left:]
    ]


def test_many_looks_become_few_files(tmp_path: Path) -> None:
    history, count = History(tmp_path), 3 * MANY + 5
    for number in range(count):
        history.append([replace(FIRST, at_ms=number, partition=p) for p in range(3)])
    assert len(list(tmp_path.iterdir())) < MANY
    table = read_history(tmp_path)
    assert len(table) == 3 * count
    assert len(table.group_by(["at", "partition"]).aggregate([])) == 3 * count


def test_a_kill_while_joining_leaves_each_row_once(tmp_path: Path) -> None:
    history = History(tmp_path)
    for number in range(10):
        history.append([replace(FIRST, at_ms=number)])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    history._join(0)
    for path, content in before.items():  # as if it had been killed before the small files went
        path.write_bytes(content)
    (tmp_path / ".lag-0-0000000000001-x.parquet.part").write_bytes(b"torn")
    assert read_history(tmp_path).column("at").cast("int64").to_pylist() == list(range(10))


def test_a_foreign_file_is_told_and_left_out(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.append([FIRST])
    (tmp_path / "lag-0-0000000000001-deadbeef.parquet").write_bytes(b"no parquet")
    with pytest.warns(UserWarning, match="is left out"):
        assert len(read_history(tmp_path)) == 1


def test_a_path_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be a history"):
        History(tmp_path / "file")
    with pytest.raises(NotFoundError):
        read_history(tmp_path / "nothing")
    assert len(read_history(History(tmp_path / "empty").folder)) == 0
    with pytest.raises(UsageError, match="lacks"):
        samples_of(pd.DataFrame({"a": [1]}))


def test_behind_since_is_the_time_of_the_oldest_record_that_waits() -> None:
    judged = judge(looks([5] * 5, 10, behind_ms=49 * 60_000))
    assert judged.since_by == "record"
    assert judged.behind_since == datetime(1970, 1, 1, 0, 16, 48, tzinfo=UTC) - timedelta(
        minutes=49
    )
    assert judged.since == "1969-12-31 23:27 (49 min)"
    (group,) = judge_groups([judged])
    assert "behind since 1969-12-31 23:27 UTC (49 min)" in str(group)


def test_behind_since_goes_by_looks_where_no_record_tells_and_is_never_guessed() -> None:
    judgement = judge(looks([10, 10, 10, 10], [10, 10, 15, 15]))
    assert (judgement.since_by, judgement.behind_since) == (
        "looks",
        datetime(1970, 1, 1, 0, 16, 44, tzinfo=UTC),
    )
    for unknown in (
        looks([5] * 5, 10),
        looks([10] * 5, 10),
        looks([None] * 5, 10),
        looks([5] * 5, 10, behind_ms=0),
    ):
        assert (judge(unknown).since_by, judge(unknown).behind_since, judge(unknown).since) == (
            "",
            None,
            "",
        )


def test_a_history_tells_since_when_beyond_the_looks_that_judge(tmp_path: Path) -> None:
    history = History(tmp_path)
    for look in looks([10] * 30, [10] * 5 + [15] * 25):
        history.append([look])
    frame = judgement.lag_frame(
        None,
        to_frame(read_history(tmp_path)),
        samples=5,
        every="2s",
        record=None,
        patience="5.5s",
        on_interrupt="raise",
    )  # type: ignore[arg-type]
    (row,) = frame.to_dict("records")
    assert (row["since_by"], row["behind_since"]) == (
        "looks",
        pd.Timestamp(1_010_000, unit="ms", tz="UTC"),
    )
    assert row["since"] == "00:16 (48 s)"


@pytest.mark.parametrize(
    ("minutes", "text"),
    [
        (49, "19:12 (49 min)"),
        (24 * 60, "28 Nov 20:01 (24.0 h)"),
        (400 * 24 * 60, "2025-10-25 20:01 (400 days)"),
    ],
)
def test_a_time_is_shown_with_the_date_it_needs(minutes: int, text: str) -> None:
    now = datetime(2026, 11, 29, 20, 1, tzinfo=UTC)
    assert rules.since_text(now - timedelta(minutes=minutes), now) == text
