"""What a person is told: near names, where records are, in which order rows come.

Nothing misleads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from labkit import charts
from labkit.checks import suggest
from labkit.cli import main
from labkit.errors import ConfigError, NotFoundError, UsageError
from labkit.lab import Lab

T0 = 1_456_790_400_000  # 2016-03-01


@pytest.fixture
def topic(make_topic: Callable[..., str], produce: Callable[..., None]) -> str:
    """Two partitions; the newest record is in the first."""
    name = make_topic(2)
    for partition, times in ((0, [T0, T0 + 9_000_000]), (1, [T0 + 1_000, T0 + 2_000])):
        values = [json.dumps({"nick": f"n{partition}{row}", "n": row}).encode() for row in range(2)]
        headers = [
            [("trace-id", b"old"), ("trace-id", f"t{row}".encode())] if partition else None
            for row in range(2)
        ]
        keys: list[bytes | None] = [f"k{partition}{row}".encode() for row in range(2)]
        produce(name, values, partition=partition, timestamps=times, keys=keys, headers=headers)
    return name


def test_a_misspelt_topic_is_told_with_the_near_one(
    lab: Lab, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """BEHAVIOURS 61: and the way to list them is Python's in Python, a command in a shell."""
    wrong = topic.replace("test", "tset")
    with pytest.raises(NotFoundError) as caught:
        lab.window(wrong)
    assert caught.value.hint == f"did you mean {topic!r}? `lab.topics()` lists those you may see"
    assert main(["window", wrong]) == 1
    assert (
        f"Hint: did you mean {topic!r}? `labkit topics` lists those you may see"
        in capsys.readouterr().err
    )


def test_a_misspelt_group_is_told_with_the_near_one(lab: Lab, admin: Any, topic: str) -> None:
    """BEHAVIOURS 61."""
    from confluent_kafka import TopicPartition

    group = f"other.{topic}"
    consumer = admin.consumer(group=group)
    consumer.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
    consumer.close()
    try:
        for ask in (
            lambda: lab.lag(group[:-1], samples=1),
            lambda: lab.reset(group[:-1], topic, "earliest"),
        ):
            with pytest.raises((NotFoundError, UsageError)) as caught:
                ask()
            if isinstance(caught.value, NotFoundError):
                assert f"did you mean {group!r}? " in (caught.value.hint or "")
    finally:
        admin.ask_each(
            lambda client, some: client.delete_consumer_groups(some), [group], what="delete"
        )


def test_a_misspelt_field_is_told_with_the_near_one(lab: Lab, topic: str) -> None:
    """BEHAVIOURS 61: in a condition, a column, a chart."""
    replay = lab.window(topic).read()
    with pytest.raises(UsageError, match="no record has nik") as caught:
        lab.window(topic).read(where="nik = 'n00'")
    assert "did you mean 'nick'? " in (caught.value.hint or "")
    for ask in (lambda: replay["nik"], lambda: charts.top(replay, "nik")):
        with pytest.raises(UsageError, match="there is no field 'nik'") as caught:
            ask()
        assert "did you mean 'nick'? " in (caught.value.hint or "")


def test_a_condition_s_fields_are_checked_before_a_long_read(
    lab: Lab, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BEHAVIOURS 61: the whole window was read first.

    A rare field, in double quotes, is asked for all the same.
    """
    monkeypatch.setattr("labkit.decode.pipeline.CHECKED_RECORDS", 4)
    window = lab.window(topic)
    with pytest.raises(UsageError, match="no record of a sample has nik") as caught:
        next(window.batches(where="nik = 'n00'"))
    assert "did you mean 'nick'? " in (caught.value.hint or "")
    assert len(window.read(where="nick = 'n00'")) == 1
    assert len(window.read(where="_offset = 0 and nick is not null")) == 2
    with pytest.raises(UsageError, match="no record has nik"):  # at the end: none had it
        window.read(where="\"nik\" = 'n00'")


def test_an_empty_window_says_where_records_are(
    lab: Lab, topic: str, make_topic: Callable[..., str]
) -> None:
    """BEHAVIOURS 61: "complete, no records" left the analyst to guess."""
    message = (
        f"nothing there: topic {topic!r} has records from 2016-03-01T00:00:00.000Z"
        " to 2016-03-01T02:30:00.000Z (UTC)"
    )
    for bounds in ({"start": "2030-01-01"}, {"end": "2010-01-01"}, {"last": "1h"}):
        receipt = lab.window(topic, **bounds).read().receipt
        assert message in str(receipt)
        assert message in receipt._repr_html_().replace("&#x27;", "'")
    empty = make_topic()
    assert f"nothing there: topic {empty!r} has no record now" in str(
        lab.window(empty).read().receipt
    )
    assert "none of the 4 records looked at" in str(lab.window(topic).read(where="n = 99").receipt)
    assert "nothing there" not in str(lab.window(topic).read().receipt)


def test_rows_come_by_time_where_that_is_asked_and_tail_is_the_newest(lab: Lab, topic: str) -> None:
    """BEHAVIOURS 60: by partition, the last row of a frame is not the newest record."""
    window = lab.window(topic)
    by_partition, by_time = window.read(), window.read(order="time")
    assert by_partition.to_pandas()["nick"].tolist() == ["n00", "n01", "n10", "n11"]
    assert by_time.to_pandas()["nick"].tolist() == ["n00", "n10", "n11", "n01"]
    assert by_time.receipt.hash == by_partition.receipt.hash
    assert by_time.ordered("partition").table.equals(by_partition.table)
    for replay in (by_partition, by_time):
        assert replay.tail(2)["nick"].tolist() == ["n11", "n01"]
        shown = replay._repr_html_()
        assert [shown.index(nick) for nick in ("n01", "n11", "n10", "n00")] == sorted(
            shown.index(nick) for nick in ("n01", "n11", "n10", "n00")
        )
        assert "the newest 4 of 4 records" in shown
    with pytest.raises(UsageError, match="order must be 'partition' or 'time', not 'newest'"):
        window.read(order="newest")  # type: ignore[arg-type]


def test_a_replay_is_what_a_pandas_user_tries_or_points_to_it(lab: Lab, topic: str) -> None:
    """BEHAVIOURS 65."""
    replay = lab.window(topic).read()
    assert replay.head(2)["nick"].tolist() == ["n00", "n01"]
    assert isinstance(replay["nick"], pd.Series)
    assert replay[["nick", "n"]].columns.tolist() == ["nick", "n"]
    for name in ("groupby", "describe", "value_counts", "shape", "columns", "empty", "iterrows"):
        with pytest.raises(AttributeError, match=rf"its frame has: r.to_pandas\(\).{name}"):
            getattr(replay, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing_like_it'"):
        replay.nothing_like_it  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"no \.nick, but a column: r\['nick'\]"):
        replay.nick  # noqa: B018
    for name, way in (
        ("head", r"w.read\(\).head"),
        ("groupby", r"w.read\(\).to_pandas\(\).groupby"),
    ):
        with pytest.raises(
            AttributeError, match=f"a Window has no .{name}, it holds offsets.*{way}"
        ):
            getattr(lab.window(topic), name)
    with pytest.raises(UsageError, match="takes a column's name or a list of names, not slice"):
        replay[0:2]  # type: ignore[index]
    assert ("nick" in replay, "nik" in replay) == (True, False)
    profile = replay.profile()
    with pytest.raises(AttributeError, match=r"has: profile.to_pandas\(\).columns"):
        profile.columns  # type: ignore[attr-defined]  # noqa: B018
    index = lab.index("irc")
    with pytest.raises(AttributeError, match=r"documents has: index.to_pandas\(\).head"):
        index.head  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"a window has: lab.window\(topic\).read"):
        lab.read(topic)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="reads a topic"):
        lab[topic]  # type: ignore[index]
    with pytest.raises(UsageError, match="r\\['nick'\\] is a column"):
        lab.window(topic)["nick"]  # type: ignore[index]
    with pytest.raises(UsageError, match="window takes no limit"):
        lab.window(topic, limit=3)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="where must be a text, a condition in SQL, not dict"):
        lab.window(topic).read(where={"nick": "n01"})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="in single quotes, 'zed'"):
        lab.window(topic).read(where='nick = "zed"')
    shown = replay._repr_html_()
    assert "k01" in shown
    assert "b&#x27;k01" not in shown
    assert shown.index(">nick<") < shown.index(">_partition<")


def test_what_pandas_and_altair_call_it_is_told(lab: Lab, topic: str) -> None:
    """Names of charts, options and frames that others have."""
    window = lab.window(topic)
    replay = window.read()
    for thing in (replay, window, replay.profile(), lab.index("irc")):
        with pytest.raises(UsageError, match="is not a list of rows") as caught:
            pd.DataFrame(thing)
        assert "to_pandas() returns a DataFrame" in (caught.value.hint or "")
    for name, chart in (("bar", "top"), ("hist", "distribution"), ("line", "timeline")):
        with pytest.raises(AttributeError, match=rf"no {name}: charts\.{chart} draws that"):
            getattr(charts, name)
    with pytest.raises(AttributeError, match="did you mean 'heatmap'"):
        charts.heatmp  # type: ignore[attr-defined]  # noqa: B018
    asks: list[tuple[Callable[[], Any], str]] = [
        (lambda: charts.timeline(replay, freq="1h"), "every='1h'"),  # type: ignore[call-arg]
        (lambda: charts.distribution(replay, x="n"), "after the data"),  # type: ignore[call-arg]
        (lambda: window.find("n0", case=False), "re.compile"),  # type: ignore[call-arg]
        (lambda: window.latest(5), "last=5"),  # type: ignore[arg-type]
        (lambda: window.latest(n=5), "last=5"),  # type: ignore[call-arg]
    ]
    for ask, way in asks:
        with pytest.raises(UsageError) as caught:
            ask()
        assert way in (caught.value.hint or "")


def test_a_bar_counts_the_bytes_that_the_receipt_counts(lab: Lab, topic: str) -> None:
    """The notebook's last line named other megabytes than the receipt."""
    window, sizes = lab.window(topic), []
    reading = replace(window.reading(), advance=lambda _records, size: sizes.append(size))
    for _ in reading.batches():
        pass
    assert sum(sizes) == reading.receipt().bytes > 0


def test_keys_are_text_where_all_are_utf_8(
    lab: Lab, topic: str, make_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    """BEHAVIOURS 65: all of the replay decides, so a part has the type of the whole.

    Binary numbers stay bytes.
    """
    window = lab.window(topic)
    replay = window.read()
    keys = ["k00", "k01", "k10", "k11"]
    assert (
        replay.to_pandas()["_key"].tolist()
        == replay["_key"].tolist()
        == window.to_pandas()["_key"].tolist()
        == keys
    )
    assert replay.to_pandas()["_key"].str.upper().tolist()[0] == "K00"
    assert (
        replay.to_pandas(text_keys=False)["_key"].tolist()
        == window.to_pandas(text_keys=False)["_key"].tolist()
    )
    assert replay.to_pandas(text_keys=False)["_key"].tolist() == replay.table["_key"].to_pylist()
    for odd in (b"\xff", (7).to_bytes(8, "big")):
        name = make_topic()
        produce(name, [b"{}"] * 3, keys=[b"k", None, odd])
        replay = lab.window(name).read()
        assert replay.to_pandas()["_key"].tolist() == replay["_key"].tolist() == [b"k", pd.NA, odd]
        assert replay.head(2)["_key"].tolist() == [b"k", pd.NA]


def test_a_misspelt_index_and_target_are_told_with_the_near_one(lab: Lab, topic: str) -> None:
    """BEHAVIOURS 61."""
    load = lab.window(topic).to_scratch("told-near")
    name = load.index.name
    asks: list[Callable[[], Any]] = [
        lambda: lab.index(name[:-2]).count(),
        lambda: lab.index(name[:-2]).to_pandas(),
        lambda: charts.top(lab.index(name[:-2]), "nick"),
        lambda: lab.compare(load, f"{name[:-2]}@default"),
    ]
    try:
        for ask in asks:
            with pytest.raises(NotFoundError) as caught:
                ask()
            assert (
                caught.value.hint
                == f"did you mean {name!r}? `lab.indices()` lists those you may see"
            )
        fields: list[Callable[[], Any]] = [
            lambda: load.index.to_pandas(fields=["nik"]),
            lambda: load.index.to_pandas(fields="nik"),
            lambda: load.index.agg("nik"),
            lambda: charts.top(load.index, "nik"),
        ]
        for ask in fields:
            with pytest.raises(UsageError, match="there is no field 'nik'") as misspelt:
                ask()
            assert (misspelt.value.hint or "").startswith("did you mean 'nick'? there are: ")
        assert (
            load.index.to_pandas(fields=["nick", "lab*", "labkit", "nothing_like_it"])["nick"]
            .notna()
            .all()
        )
        with pytest.raises(ConfigError) as wrong:
            lab.index(name, target="defualt").count()
        assert (wrong.value.hint or "").startswith(
            "did you mean 'default'? this profile has: default"
        )
    finally:
        load.index.drop()


def test_headers_are_there_to_choose_by_and_to_see(lab: Lab, topic: str) -> None:
    """BEHAVIOURS 65: the last of several headers of a name counts."""
    window = lab.window(topic)
    replay = window.read()
    assert replay.header("trace-id").tolist() == [None, None, "t0", "t1"]
    assert window.read(where="header('trace-id') = 't1'").to_pandas()["nick"].tolist() == ["n11"]
    frame = replay.sql(
        "select nick, header('trace-id') trace from replay where header('trace-id') is not null order by 1"
    )
    assert frame.to_dict("records") == [
        {"nick": "n10", "trace": "t0"},
        {"nick": "n11", "trace": "t1"},
    ]


def test_windows_that_share_no_record_are_not_called_different(lab: Lab, topic: str) -> None:
    """BEHAVIOURS 62: two periods have no record in common.

    "DIFFERENT, 0 same" in red said something else.
    """
    first = lab.window(topic, offsets={0: (0, 1), 1: (0, 1)})
    second = lab.window(topic, offsets={0: (1, 2), 1: (1, 2)})
    comparison = lab.compare(first, second)
    assert comparison.verdict == "share no record"
    assert comparison.summary().startswith("SHARE NO RECORD: ")
    assert "to compare periods: " in comparison.summary()
    assert 'key="FIELD" pairs copies' in comparison.summary()
    with suggest.for_a_shell():
        assert "; --key FIELD pairs copies by a field that names them" in comparison.summary()
        assert "r.sql" not in comparison.summary()
    assert "share no record" in comparison._repr_html_()
    assert not comparison.identical
    assert lab.compare(first, first).verdict == "same"
    by_key = lab.compare(first, second, key="nick")
    assert "no key is on both sides" in by_key.summary()


@pytest.mark.parametrize("name", ["x.csv.gz", "x.txt", "X.XLS"])
def test_a_file_s_name_says_its_format_or_is_refused(
    lab: Lab, topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """BEHAVIOURS 59: `-o x.csv` wrote Parquet, exit 0."""
    assert main(["replay", topic, "-o", str(tmp_path / name)]) == 2
    assert f"{name} must end in .parquet, .csv, .xlsx, .jsonl or .arrow" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"must end in \.parquet: that is the format of the file"):
        lab.window(topic).to_parquet(tmp_path / name)
    assert not list(tmp_path.iterdir())
    assert main(["replay", topic, "-o", str(tmp_path / "x.csv.parquet")]) == 0


EMPTY = ["--start", "2030-01-01"]


@pytest.mark.parametrize(
    "command",
    [
        ["window"], ["replay"], ["replay", "--decode", "json"], ["replay", "-o", "e.csv"], ["replay", "--scratch", "e"],
        ["replay", "--to-topic", "e"], ["find", "x"], ["profile"], ["latest"], ["sql", "select count(*) from replay"],
        ["sql", "select n from replay"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_window_without_a_record_says_where_there_are_some(
    lab: Lab,
    topic: str,
    me: str,
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """BEHAVIOURS 61: only files and frames did; a count of 0 says nothing."""
    monkeypatch.chdir(tmp_path)
    name, *rest = command
    assert main([name, topic, *rest, *EMPTY]) == 0
    shown = capsys.readouterr()
    told = " ".join(f"{shown.out}{shown.err}".split())
    assert ".read()" not in told
    assert "nothing there: topic" in told
    assert "has records from 2016-03-01T00:00:00.000Z to 2016-03-01T02:30:00.000Z" in told
