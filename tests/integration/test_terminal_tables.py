"""BEHAVIOURS 66: tables and `labkit tail` on a terminal, in a pipe, and as JSON."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from labkit import cli
from labkit.kafka.cluster import Cluster
from labkit.lab import connect
from labkit.stack.state import State
from labkit.text.columns import width_of
from support.stack import LABKIT
from support.terminal import on_a_terminal, terminal
from support.waiting import until

pytestmark = pytest.mark.usefixtures("stack")
COLOUR = re.compile(r"\x1b\[\d+m")


@pytest.fixture
def groups(
    admin: Cluster, make_topic: Callable[..., str], produce: Callable[..., None]
) -> Iterator[list[str]]:
    """Groups of long names: at the end, behind, further behind."""
    topic = make_topic()
    produce(topic, [b"{}"] * 20)
    run = uuid.uuid4().hex[:8]
    names = [
        f"tables-{run}.a-name-that-is-as-long-as-those-of-real-clusters-may-be.{number}"
        for number in range(3)
    ]
    for name, offset in zip(names, (20, 12, 4), strict=True):
        commit = ConsumerGroupTopicPartitions(name, [TopicPartition(topic, 0, offset)])

        def call(client: object, commit: ConsumerGroupTopicPartitions = commit) -> object:
            return client.alter_consumer_group_offsets([commit])  # type: ignore[attr-defined]

        admin.ask(call, what="commit")
    yield names
    admin.ask_each(lambda client, some: client.delete_consumer_groups(some), names, what="delete")


def test_a_terminal_has_the_worst_first_and_no_line_that_wraps(groups: list[str]) -> None:
    pattern = groups[0].split(".")[0] + ".*"
    looks = ["--samples", "3", "--every", "100ms"]
    for command in (["groups", pattern], ["lag", *groups, *looks], ["offsets"], ["topics"]):
        code, written = on_a_terminal(*command)
        table = written.split("\n\n")[0].splitlines()
        # a topic that another test deletes meanwhile is warned of
        rows = [line for line in table if not re.match(r"(tables-.*|warning): ", line)]
        assert code == 0
        assert [line for line in rows if width_of(line) > 80] == [], command
        assert "\x1b" not in written
    code, written = on_a_terminal("groups", pattern)
    lines = written.splitlines()
    assert [re.search(r"(\d)  ", line)[1] for line in lines[1:4]] == ["2", "1", "0"]  # type: ignore[index]
    assert "…" in lines[1]
    assert [line.split()[1:3] for line in lines[1:4]] == [
        ["stopped", "16"],
        ["stopped", "8"],
        ["ok", "0"],
    ]


def test_verdicts_have_colours_on_a_terminal_unless_no_color(groups: list[str]) -> None:
    pattern = groups[0].split(".")[0] + ".*"
    code, written = on_a_terminal("groups", pattern, colour=True)
    assert code == 0
    assert "\x1b[31mstopped" in written
    assert "\x1b[32mok" in written
    assert "\x1b" not in COLOUR.sub("", written)
    code, written = on_a_terminal("lag", *groups, "--samples", "1", columns=20, colour=True)
    assert code == 0, "no room for the column with colours"
    assert "more columns" in written


def test_force_color_colours_a_pipe_too_and_no_color_wins(
    groups: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pattern = groups[0].split(".")[0] + ".*"
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "dumb")

    def list_groups(*options: str) -> str:
        assert cli.main(["groups", pattern, *options]) == 0
        return capsys.readouterr().out

    monkeypatch.setenv("FORCE_COLOR", "")
    plain = list_groups()
    assert "\x1b" not in plain
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = list_groups()
    assert (coloured.count("\x1b[31mstopped"), coloured.count("\x1b[32mok")) == (2, 1)
    assert COLOUR.sub("", coloured) == plain
    json.loads(list_groups("--json"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert list_groups() == plain


def test_lag_as_json_has_the_rows_of_python_each_on_a_line(
    groups: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    looks = ["--samples", "3", "--every", "100ms"]
    assert cli.main(["lag", *groups, *looks, "--json"]) == 0
    written = capsys.readouterr().out
    rows = json.loads(written)
    frame = connect().lag(groups, samples=3, every="100ms")
    assert list(rows[0]) == list(frame.columns)
    steady = [
        "group",
        "verdict",
        "lag",
        "committed",
        "log_end",
        "read_per_s",
        "written_per_s",
        "since_by",
    ]
    in_python = frame[steady].astype(object).where(frame[steady].notna(), None).iloc[::-1]
    assert [{name: row[name] for name in steady} for row in rows] == in_python.to_dict("records")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", rows[0]["behind_since"])
    assert len(written.splitlines()) == len(groups)


@pytest.mark.parametrize("letter", ["g", "群"])
def test_the_longest_names_are_cut_in_their_middle_and_whole_in_a_pipe(
    admin: Cluster, make_topic: Callable[..., str], letter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of more than 200 characters a terminal showed `ggg…aracters)`, a pipe not the end."""
    topic, begin = make_topic(), f"tables-{uuid.uuid4().hex[:8]}"
    name = f"{begin}{letter * (249 - len(begin) - 4)}-end"
    commit = ConsumerGroupTopicPartitions(name, [TopicPartition(topic, 0, 0)])
    admin.ask(lambda client: client.alter_consumer_group_offsets([commit]), what="commit")
    until(lambda: name in set(connect().groups()["group"]), "the group")
    code, written = on_a_terminal("groups", f"{begin}*")
    (row,) = (line for line in written.splitlines() if line.startswith("tables-"))
    assert code == 0
    assert width_of(row) <= 80
    assert re.match(rf"tables-\S*…{letter}+-end ", row), row
    assert cli.main(["groups", f"{begin}*"]) == 0
    assert name in capsys.readouterr().out
    admin.ask_each(lambda client, some: client.delete_consumer_groups(some), [name], what="delete")


def test_pipes_and_json_have_all(groups: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    pattern = groups[0].split(".")[0] + ".*"
    assert cli.main(["groups", pattern]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == groups[::-1]
    assert cli.main(["groups", pattern, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["group"], row["lag"], row["verdict"]) for row in rows] == [
        (groups[2], 16, "stopped"),
        (groups[1], 8, "stopped"),
        (groups[0], 0, "ok"),
    ]


@pytest.fixture
def topic(make_topic: Callable[..., str], produce: Callable[..., None]) -> str:
    name = make_topic()
    values = [b'{"n": 1, "who": "ada"}', b'{"n": 2, "who": "bob"}', None]
    produce(name, values, keys=[b"k"] * 3, headers=[[("h", b"1"), ("h", None)]] * 3)
    return name


def test_tail_json_has_all_of_each_record(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tail", topic, "--limit", "3", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["offset"], row["key"]) for row in rows] == [(0, "k"), (1, "k"), (2, "k")]
    assert rows[0]["headers"] == [{"key": "h", "value": "1"}, {"key": "h", "value": None}]
    assert rows[2]["value"] is None
    assert rows[0]["timestamp"].endswith("Z")
    assert (
        cli.main(["tail", topic, "--limit", "1", "--json", "--decode", "json", "--where", "n = 2"])
        == 0
    )
    captured = capsys.readouterr()
    (row,) = [json.loads(line) for line in captured.out.splitlines()]
    assert (row["offset"], row["fields"]) == (1, {"n": 2, "who": "bob"})
    assert captured.err == f"1 record of {topic} fulfil the condition, of 3\n"


def test_tail_begins_with_the_newest_of_all_partitions(
    make_topic: Callable[..., str],
    produce: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It began with one of each partition at least, partition by partition."""
    name = make_topic(4)
    for number in range(8):
        produce(name, [b"%d" % number], partition=3 - number % 4, timestamps=[1_000_000 + number])
    for last, newest in (("3", "567"), ("6", "234567")):
        assert cli.main(["tail", name, "--last", last, "--limit", last, "--json"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert "".join(json.loads(line)["value"] for line in lines) == newest


def test_tail_on_a_terminal_cuts_lines(
    make_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    name = make_topic()
    produce(name, [b"x" * 500, b"short"])
    code, written = on_a_terminal("tail", name, "--limit", "2")
    long, short = written.splitlines()[:2]
    assert code == 0
    assert (width_of(long), long[-1]) == (80, "…")
    assert short.endswith("0@1  null  short")


@pytest.mark.parametrize(
    "command",
    [
        ("find", "needle"),
        ("find", "n[e]{2}dle", "--regex"),
        ("find", "needle", "--oldest", "--limit", "1"),
    ],
)
def test_find_on_a_terminal_shows_the_part_around_the_hit(
    make_topic: Callable[..., str], produce: Callable[..., None], command: tuple[str, ...]
) -> None:
    name = make_topic()
    produce(name, [b'{"text": "%s needle %s"}' % (b"hay " * 400, b"straw " * 100)])
    code, written = on_a_terminal(command[0], name, *command[1:])
    line = written.splitlines()[0]
    assert code == 0
    assert width_of(line) <= 80
    assert " …" in line
    assert " needle straw" in line


def test_neighbours_on_a_terminal_take_a_line_each(
    topic: str, produce: Callable[..., None]
) -> None:
    produce(topic, [b"x" * 500], keys=[b"new"])
    for command in (("around", topic, "0:1"), ("latest", topic)):
        code, written = on_a_terminal(*command)
        records = [line for line in written.splitlines() if "0@" in line]
        assert code == 0
        assert records
        assert all(width_of(line) <= 80 for line in records)


def test_sentences_end_their_lines_between_words(topic: str, tmp_path: Path) -> None:
    file = str(tmp_path / "records.csv")
    commands = (
        (("replay", topic, "-o", file), "nothing committed"),
        (("replay", topic, "-o", f"{file}.foo"), "says its format"),
        (("find", topic, "ada", "--field", "name" * 15), "no record has a field"),
        (("trace", topic, "0:1", "--group", "no-such-group"), "no-such-group"),
        (("window", topic, "--on", "2016-03-01"), "nothing there"),
    )
    with terminal() as shell:
        for command, words in commands:
            _, written = shell.run(*command)
            assert words in " ".join(written.split())
            wide = [line for line in written.splitlines() if width_of(line) > 80]
            assert [line for line in wide if len(line.split()) > 1] == []
            _, unbroken = shell.run(*command, columns=400)
            assert len(unbroken.splitlines()) < len(written.splitlines())


def test_tail_follows_until_ctrl_c(stack: State, topic: str, produce: Callable[..., None]) -> None:
    command = [*LABKIT, "tail", topic, "--last", "1"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "LABKIT_STATE": str(stack.root)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline().rstrip().endswith("0@2  k  null")
        produce(topic, [b"new"])
        assert process.stdout.readline().rstrip().endswith("0@3  null  new")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", f"2 records of {topic}\n")


def test_a_tail_that_waits_for_a_field_that_no_record_has_says_so(
    stack: State, make_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    """A shell took the quotes of nick='alice', and it waited for ever in silence."""
    topic = make_topic()
    produce(topic, [b'{"nick": "alice", "n": 1}'])
    process = subprocess.Popen(
        [*LABKIT, "tail", topic, "--last", "1", "--where", "nick=alice"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "LABKIT_STATE": str(stack.root)},
    )  # fmt: skip
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("no record so far has alice; there is: _error,")
        produce(topic, [b'{"nick": "bob", "alice": "bob"}'])
        assert process.stdout is not None
        assert "bob" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert err == f"1 record of {topic} fulfil the condition, of 2\n"


def test_what_tail_cannot_do_is_told_at_once(
    topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong, text in (
        (["--last", "-1"], "--last must be 0 or more, not -1"),
        (["--limit", "0"], "--limit must be 1 or more, not 0"),
        (["--decode", "jsno"], "jsno"),
        (["--where", "n ="], "where="),
        (["--limit", "1", "--where", "whoo = 'ada'"], "whoo"),
    ):
        assert cli.main(["tail", topic, *wrong]) == 2, wrong
        assert text in capsys.readouterr().err
    assert cli.main(["tail", "no-such-topic"]) == 1
