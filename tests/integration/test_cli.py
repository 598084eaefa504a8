"""The `labkit` command on real servers: tables as JSON, exit codes, one line per error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from confluent_kafka.admin import NewTopic

from labkit import cli
from labkit.elastic import Target
from labkit.kafka.cluster import Cluster
from labkit.stack.state import State
from support.stack import LABKIT

RECORDS = 60_000
pytestmark = pytest.mark.usefixtures("stack")


@pytest.fixture(scope="module")
def topic(admin: Cluster) -> Iterator[str]:
    """A topic of more records than one poll returns, over two partitions."""
    name = f"irc-test-cli-{uuid.uuid4().hex[:8]}"
    admin.ask(lambda client: client.create_topics([NewTopic(name, 2, 1)]), what="make it")
    producer = admin.producer(linger_ms=20, queue_buffering_max_messages=RECORDS + 1)
    for number in range(RECORDS):
        producer.produce(name, b'{"i":%d}' % number, partition=number % 2)
    assert producer.flush(30) == 0
    yield name
    admin.ask(lambda client: client.delete_topics([name]), what="delete it")
    admin.admin.delete_consumer_groups(["indexer.x"])["indexer.x"].exception(15)
    client = Target("default", State.load().credentials("admin")["elasticsearch"]).client
    client.options(ignore_status=404).indices.delete(index="irc-test-x")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with files to be wrong about."""
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "torn.gz").write_bytes(b"\x1f\x8b\x08\x00torn")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_line_and_a_hint(err: str) -> bool:
    lines = err.splitlines()
    return (
        1 <= len(lines) <= 2
        and lines[0].startswith("labkit: ")
        and len(lines[0]) > len("labkit: ")
        and all(line.startswith("Hint: ") for line in lines[1:])
    )


def labkit(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    return subprocess.run(
        [*LABKIT, *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=20, check=False,
        errors="surrogateescape",
    )  # fmt: skip


# garbage -------------------------------------------------------------------------------------------------

IRC = "extract irc --server 127.0.0.1 --nick a --channel #a --max-seconds 2"
GARBAGE = """
topics --role nope
topics --profile nope
topics --profile=
groups --role nope
groups --profile nope
offsets --role nope
offsets --profile nope
scratch --role nope
scratch --profile nope
scratch --role extractor
gc --role nope
gc --profile nope
gc --role extractor
credentials nope
credentials LAB
retention nope
retention bad!topic
retention TOPIC soon
retention TOPIC -1d
retention TOPIC=
retention TOPIC 90d
retention TOPIC 99999999999999999999d --role admin
retention TOPIC --role nope
retention TOPIC --role indexer
window nope
window bad!topic
window .
window TOPIC --profile nope
window TOPIC --role nope
window TOPIC --start yesteryear
window TOPIC --start 5
window TOPIC --start 1456790400000
window TOPIC --start=
window TOPIC --start 2016-13-01
window TOPIC --start 2020-01-02 --end 2020-01-01
window TOPIC --start 0001-01-01T00:00:00+14:00
window TOPIC --start earliest --last 5
window TOPIC --last=-5
window TOPIC --last=
window TOPIC --last soon
window TOPIC --last 1.5
window TOPIC --last 999999999d
window TOPIC --last 5 --offsets 0:1-2
window TOPIC --offsets 0
window TOPIC --offsets 9:0-1
window TOPIC --offsets 0:5-1
window TOPIC --offsets 0:0-999999999
window TOPIC --offsets 0:0-99999999999999999999999
window TOPIC --offsets 0:1-2,0:3-4
replay nope
replay bad!topic
replay TOPIC --start yesteryear
replay TOPIC --offsets 0:5-1
replay TOPIC --last 5 --deadline soon
replay TOPIC --last 5 --deadline 5
replay TOPIC --last 5 -o a.parquet --decode nope
replay TOPIC --last 5 -o a.parquet --scratch a
replay TOPIC --last 5 --ttl 2d
replay TOPIC --last 5 --target default -o a.parquet
replay TOPIC --last 5 --metadata
replay TOPIC --last 5 --scratch a --decode raw
replay TOPIC --last 5 --enrich geoip:ip
replay TOPIC --last 5 -o a.parquet --enrich geoip
replay TOPIC --last 5 --partitions 9
replay TOPIC --last 5 --partitions 0,,1
replay TOPIC --offsets 0:0-1 --partitions 0
replay TOPIC --last 5 --slack soon
replay TOPIC --last 5 --nope
window TOPIC --start 1711121012345
replay TOPIC --last 5 -o nowhere/a.parquet
replay TOPIC --last 5 -o folder
replay TOPIC --last 5 -o /proc/a.parquet
replay TOPIC --last 5 --scratch BAD
replay TOPIC --last 5 --scratch a/b
replay TOPIC --last 5 --scratch=*
replay TOPIC --last 5 --scratch a --ttl soon
replay TOPIC --last 5 --scratch a --target nope
replay TOPIC --last 5 --scratch a --role indexer
replay TOPIC --last 5 --role extractor
compare irc-nope irc-nope
compare irc-nope@nope irc-nope
compare A irc-nope
compare irc-nope@ irc-nope
compare @ @
window window:nowhere.json
replay window:a.jsonl
replay window:
replay window:nowhere.json --last 5
compare window:nowhere.json irc-nope
compare window:a.jsonl irc-nope
compare window: irc-nope
compare irc-nope irc-nope --tolerance soon
compare irc-nope irc-nope --tolerance=-1
compare irc-nope irc-nope --tolerance nan
compare irc-nope irc-nope --key=
compare irc-nope irc-nope --ignore=
compare irc-nope irc-nope --keep=-1
compare irc-nope irc-nope --role extractor
compare irc-nope irc-nope --profile nope
index nope irc-test-x --group indexer.x --once
index bad!topic irc-test-x --group indexer.x --once
index TOPIC BAD --group indexer.x --once
index TOPIC other-index --group indexer.x --once
index TOPIC irc-test-x --group labkit.x --once
index TOPIC irc-test-x --group other.x --once
index TOPIC irc-test-x --group indexer.x --once --every soon
index TOPIC irc-test-x --group indexer.x --once --target nope
index TOPIC irc-test-x --group indexer.x --once --role nope
index TOPIC irc-test-x --group indexer.x --once --role lab
index TOPIC irc-test-x --group indexer.x --once --role extractor
index TOPIC irc-test-x --group indexer.x --once --profile nope
extract files nowhere.jsonl --topic TOPIC
extract files folder --topic TOPIC
extract files torn.gz --topic TOPIC
extract files a.jsonl nowhere.jsonl --topic TOPIC
extract files a.jsonl --topic nope
extract files a.jsonl --topic irc-test-nope
extract files a.jsonl --topic bad!topic
extract files a.jsonl --topic TOPIC --role lab
extract files a.jsonl --topic TOPIC --role nope
extract files a.jsonl --topic TOPIC --profile nope
IRC --topic nope
IRC --topic bad!topic
IRC --topic TOPIC --port 99999
IRC --topic TOPIC --port=-1
IRC --topic TOPIC --nick a,b
IRC --topic TOPIC --channel nohash
IRC --topic TOPIC --server=
IRC --topic TOPIC --server a..b
IRC --topic TOPIC --server nope.invalid
IRC --topic TOPIC --tls --tls-ca nowhere.pem
IRC --topic TOPIC --tls --tls-ca a.jsonl
IRC --topic TOPIC --role lab
run nowhere.ipynb
run folder
run a.jsonl
up --elasticsearch 7.0
window TOPIC --last 99999999999999999999d
replay TOPIC --last 5 --scratch a --ttl 99999999999999d
window TOPIC --offsets=
up --elasticsearch=
""".strip().splitlines()


@pytest.mark.timeout(10, func_only=True)
@pytest.mark.parametrize("line", GARBAGE)
def test_garbage_is_one_line_and_a_hint(
    line: str, topic: str, files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = line.replace("IRC", IRC).replace("TOPIC", topic).split(" ")
    code = cli.main(words)
    err = capfd.readouterr().err
    # said before, of what was under way, and after, of what else failed
    progress = ("Kafka 4.4.0 is running on", "cannot connect to", "also: ")
    err = "".join(one for one in err.splitlines(keepends=True) if not one.startswith(progress))
    assert code in (1, 2), err
    assert one_line_and_a_hint(err), err


# what may end Python itself, and bytes that are not UTF-8, in a process of their own
VIOLENT = {
    "a group with a line break": ["index", "TOPIC", "irc-test-x", "--group", "a\nb", "--once"],
    "an index that is not UTF-8": [
        "index",
        "TOPIC",
        "irc-\udcff",
        "--group",
        "indexer.x",
        "--once",
    ],
    "an index with a control character": [
        "index",
        "TOPIC",
        "irc-\x1b[31m",
        "--group",
        "indexer.x",
        "--once",
    ],
    "a scratch index that is not UTF-8": ["replay", "TOPIC", "--last", "5", "--scratch", "a\udcff"],
    "a topic with a control character": ["replay", "a\x1b]0;owned\x07"],
    "an output that is not UTF-8": ["replay", "TOPIC", "--last", "5", "-o", "\udcff/a.parquet"],
    "a command that is not UTF-8": ["\udcff"],
}


ABORTS = [
    pytest.param(
        ["index", "TOPIC", "irc-test-x", "--group", group, "--once"],
        id=f"a group {group!a}",
    )
    for group in ("", "indexer.\udcff")
]


@pytest.mark.parametrize(
    "arguments", [*(pytest.param(v, id=k) for k, v in VIOLENT.items()), *ABORTS]
)
def test_control_characters_and_bytes_that_are_not_utf_8_are_one_line(
    arguments: list[str], topic: str, files: Path
) -> None:
    result = labkit(*[topic if argument == "TOPIC" else argument for argument in arguments])
    assert result.returncode in (1, 2), result.stderr
    assert one_line_and_a_hint(result.stderr), result.stderr
    assert not any(c < " " and c != "\n" for c in result.stderr)


# no stack ------------------------------------------------------------------------------------------------

NEEDING_A_STACK = [
    *(
        "topics",
        "groups",
        "offsets",
        "scratch",
        "gc",
        "retention irc",
        "window irc",
        "replay irc --last 5",
    ),
    *(
        "credentials lab",
        "index irc irc --group indexer.x",
        "extract files a.jsonl --topic irc",
        f"{IRC} --topic irc",
    ),
]


@pytest.mark.parametrize("line", NEEDING_A_STACK)
def test_without_a_stack_every_command_says_so(
    line: str, files: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LABKIT_STATE", str(files / "state"))
    assert cli.main(line.split()) == 1
    err = capfd.readouterr().err
    assert err.splitlines()[0] == "labkit: there is no local stack yet"
    assert "labkit up" in err.splitlines()[1]
    assert one_line_and_a_hint(err)


@pytest.mark.parametrize(("command", "code"), [("status", 3), ("down", 0), ("down --purge", 0)])
def test_without_a_stack_there_is_nothing_to_show_or_stop(
    command: str,
    code: int,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LABKIT_STATE", str(files / "state"))
    assert cli.main(command.split()) == code
    out, err = capfd.readouterr()
    assert out.startswith("there is no local stack")
    assert (len(out.splitlines()), err) == (1, "")


def test_a_stopped_stack_is_one_line_within_seconds(
    stack: State, files: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The state of a stack whose servers are gone: nobody listens on its ports."""
    raw = json.loads((stack.root / "stack.json").read_text())
    for number, service in enumerate(raw["services"].values()):
        service.update(port=number + 1, controller_port=0, pid=0)
    (files / "state").mkdir()
    (files / "state" / "stack.json").write_text(json.dumps(raw))
    monkeypatch.setenv("LABKIT_STATE", str(files / "state"))
    for command in ("topics", "scratch"):
        assert cli.main([command]) == 1
        err = capfd.readouterr().err
        assert one_line_and_a_hint(err), err
        assert "127.0.0.1:" in err
        assert "labkit status" in err


# tables --------------------------------------------------------------------------------------------------

TABLES = {
    "topics": {"topic", "partitions", "records", "retention_ms"},
    "groups": {"group", "state", "members", "lag", "verdict"},
    "offsets": {"group", "topic", "partition", "committed", "lag", "flag"},
    "scratch": {"index", "target", "documents", "expires"},
    "status": {"service", "address", "running", "pid"},
}


@pytest.fixture
def something(topic: str, admin: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A group, and a scratch index of this test's own user, so that no table is empty."""
    from confluent_kafka import TopicPartition

    from labkit.lab import connect

    monkeypatch.setenv("LABKIT_USER", f"u{uuid.uuid4().hex[:8]}")
    group = f"other.{uuid.uuid4().hex[:8]}"
    consumer = admin.consumer(group=group)
    consumer.commit(offsets=[TopicPartition(topic, 0, 5)], asynchronous=False)
    consumer.close()
    load = connect().window(topic, last=5).to_scratch("table", progress=False)
    yield group
    load.index.drop()
    admin.admin.delete_consumer_groups([group])[group].result(15)


def identity(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what tells a table's row from its others."""
    return tuple(row.get(name) for name in ("topic", "group", "partition", "index", "service"))


@pytest.mark.parametrize("table", TABLES)
def test_every_table_is_json_too(
    table: str, something: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([table, "--json"]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert rows
    assert all(TABLES[table] <= set(row) for row in rows)
    assert cli.main([table]) == 0
    text = capfd.readouterr().out
    # other tests' topics and groups come and go meanwhile
    assert cli.main([table, "--json"]) == 0
    later = json.loads(capfd.readouterr().out)
    stayed = {identity(row) for row in rows} & {identity(row) for row in later}
    assert len(text.splitlines()) >= len(stayed) > 0


def test_json_keeps_missing_apart_from_zero(
    something: str, capfd: pytest.CaptureFixture[str]
) -> None:
    cli.main(["offsets", "--json"])
    (row,) = [entry for entry in json.loads(capfd.readouterr().out) if entry["group"] == something]
    assert (row["committed"], row["lag"]) == (5, RECORDS // 2 - 5)


def test_an_empty_table_is_an_empty_list(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LABKIT_USER", f"u{uuid.uuid4().hex[:8]}")
    assert cli.main(["scratch", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == []
    assert cli.main(["gc", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == []


def test_retention_is_set_and_told_in_days(topic: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["retention", topic, "36h", "--role", "admin", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"topic": topic, "days": 1.5}
    assert cli.main(["retention", topic]) == 0
    assert capfd.readouterr().out == f"{topic} keeps records for 1.5 days\n"


def test_a_window_as_json_is_frozen_offsets(topic: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["window", topic, "--offsets", "0:10-20,1:0-5", "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["topic"] == topic
    assert [span[:3] for span in answer["ranges"]] == [[0, 10, 20], [1, 0, 5]]


def test_a_window_in_a_file_is_replayed_as_it_was_frozen(
    make_topic: Callable[..., str],
    produce: Callable[..., None],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    topic = make_topic(2)
    produce(topic, [b"%d" % number for number in range(20)])
    assert cli.main(["window", topic, "--last", "7", "--json"]) == 0
    file = tmp_path / "w.json"
    file.write_text(capfd.readouterr().out)
    assert cli.main(["replay", f"window:{file}"]) == 0
    first = capfd.readouterr().out
    assert len(first.splitlines()) == 7
    produce(topic, [b"later"])
    assert cli.main(["replay", f"window:{file}"]) == 0
    assert capfd.readouterr().out == first
    assert cli.main(["window", f"window:{file}", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == json.loads(file.read_text())
    assert cli.main(["replay", f"window:{file}", "--last", "5"]) == 2
    assert "--last changes nothing" in capfd.readouterr().err


@pytest.mark.parametrize("role", ["admin", "extractor", "indexer", "lab"])
def test_credentials_are_what_the_contract_says(
    role: str, stack: State, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["credentials", role]) == 0
    answer = json.loads(capfd.readouterr().out)
    services = {"registry"} if "registry" in State.load(stack.root).services else set()
    assert set(answer) == {"kafka", "elasticsearch"} | services
    assert set(answer["elasticsearch"]) == {"hosts", "basic_auth"}
    assert answer["kafka"]["sasl.username"] == answer["elasticsearch"]["basic_auth"][0] == role
    assert Cluster(answer["kafka"]).cluster_id
    assert Target("default", answer["elasticsearch"]).address.startswith("http://127.0.0.1:")


# replay --------------------------------------------------------------------------------------------------


def test_values_go_to_standard_output_and_the_receipt_to_standard_error(topic: str) -> None:
    result = labkit("replay", topic, "--offsets", "0:0-3")
    assert result.returncode == 0
    assert result.stdout == '{"i":0}\n{"i":2}\n{"i":4}\n'
    assert "complete" in result.stderr


def test_a_whole_topic_is_replayed_in_full(topic: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["replay", topic, "--json"]) == 0
    receipt = json.loads(capfd.readouterr().out)
    assert receipt["complete"] is True
    assert sum(part["read"] for part in receipt["partitions"]) == RECORDS


def test_a_deadline_that_passes_is_incomplete(
    topic: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["replay", topic, "--deadline", "1ms", "--json"]) == 3
    receipt = json.loads(capfd.readouterr().out)
    assert receipt["complete"] is False
    assert "deadline" in {part["stop_reason"] for part in receipt["partitions"]}


def test_a_parquet_file_is_written(
    topic: str, files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["replay", topic, "--last", "100", "-o", "a.parquet", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["complete"] is True
    assert pq.read_metadata("a.parquet").num_rows == 100
    assert [path.name for path in files.iterdir() if "parquet" in path.name] == ["a.parquet"]


def test_a_scratch_index_is_loaded_and_collected(
    topic: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    user = f"u{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("LABKIT_USER", user)
    assert (
        cli.main(["replay", topic, "--last", "100", "--scratch", "a", "--ttl", "1ms", "--json"])
        == 0
    )
    answer = json.loads(capfd.readouterr().out)
    assert answer["index"] == f"scratch-{user}-a"
    assert answer["counts"] == {
        "sent": 100,
        "indexed": 100,
        "existing": 0,
        "rejected": 0,
        "unsent": 0,
    }
    assert cli.main(["gc", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == [f"scratch-{user}-a"]
    assert cli.main(["scratch"]) == 0
    shown = capfd.readouterr()
    assert shown.out == "none\n"
    assert shown.err.startswith(
        f"no scratch index or topic of {user}: `labkit replay TOPIC --scratch"
    )


@pytest.mark.parametrize("command", ["topics", "groups", "indices"])
def test_an_empty_list_says_which_right_may_be_missing(
    command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Kafka and Elasticsearch leave out in silence what a principal may not see."""
    with pytest.warns(
        UserWarning, match=r"named 'nothing-\*' is there, or .* may not see it \(right "
    ):
        assert cli.main([command, "nothing-*"]) == 0
    assert capfd.readouterr().out == "none\n"


def test_a_misspelt_name_among_others_is_named(
    topic: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It was left out of the list in silence; a pattern may match nothing."""
    with pytest.warns(UserWarning, match=r"no topic named 'nothing-\*' is there"):
        assert cli.main(["topics", topic[:-1] + "*", "nothing-*", "--json"]) == 0
    assert topic in {row["topic"] for row in json.loads(capfd.readouterr().out)}
    meant = rf"no topic named '{topic}x' is there, or .*: did you mean '{topic}'\?"
    with pytest.warns(UserWarning, match=meant):
        assert cli.main(["topics", topic, f"{topic}x", "--json"]) == 1
    assert [row["topic"] for row in json.loads(capfd.readouterr().out)] == [topic]


@pytest.mark.parametrize("command", ["offsets", "lag", "lag --check", "groups"])
def test_no_group_says_what_it_may_mean(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The role extractor may see no group: a bare `none` looked like a cluster without any."""
    grant = "`labkit acl --principal User:extractor --role lab` prints what to grant"
    with pytest.warns(
        UserWarning, match="^no group.* User:extractor may not see .*Describe"
    ) as caught:
        assert cli.main([*command.split(), "--role", "extractor"]) == 0
    assert str(caught[0].message).endswith(grant)
    assert capfd.readouterr().out == "none\n"


def test_lag_without_a_group_answers_after_one_look() -> None:
    began = time.monotonic()
    with pytest.warns(UserWarning, match="^no group with a commit is there, or .* may not see it"):
        assert cli.main(["lag", "--role", "extractor", "--samples", "2", "--every", "30s"]) == 0
    assert time.monotonic() - began < 25


# pipes ---------------------------------------------------------------------------------------------------


def test_a_reader_that_has_seen_enough_ends_a_replay_quietly(topic: str) -> None:
    replay = subprocess.Popen(
        [*LABKIT, "replay", topic],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert replay.stdout
    assert replay.stderr
    assert replay.stdout.readline().startswith(b'{"i":')
    replay.stdout.close()
    assert replay.stderr.read() == b""
    assert replay.wait(10) == 0


@pytest.mark.parametrize(
    "command",
    [
        "topics",
        "topics --json",
        "window TOPIC",
        "status",
        "acl --principal User:alice",
        "credentials lab",
        "--help",
    ],
)
def test_a_reader_that_is_gone_already_is_no_error(command: str, topic: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(
        [*LABKIT, *command.replace("TOPIC", topic).split()],
        stdout=writing, stderr=subprocess.PIPE, text=True, timeout=20, check=False,
    )  # fmt: skip
    os.close(writing)
    assert result.stderr == ""
    assert result.returncode == 0


@pytest.mark.chaos
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("command", ["topics", "replay TOPIC --last 10"])
def test_a_full_disk_behind_standard_output_is_one_line(command: str, topic: str) -> None:
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [*LABKIT, *command.replace("TOPIC", topic).split()],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=20, check=False,
        )  # fmt: skip
    assert result.returncode == 1
    assert one_line_and_a_hint(result.stderr), result.stderr


def run_until(command: list[str], number: int) -> tuple[int, str]:
    """Start a command and send it a signal once it writes."""
    process = subprocess.Popen(
        [*LABKIT, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline()
    process.send_signal(number)
    process.stdout.read()
    assert process.stderr
    return process.wait(10), process.stderr.read()


@pytest.mark.chaos
def test_ctrl_c_in_a_replay_is_no_traceback(topic: str) -> None:
    code, err = run_until(["replay", topic], signal.SIGINT)
    assert code in (0, 3, 130)  # 0: all had been read
    assert "Traceback" not in err


def test_python_m_labkit_and_the_command_are_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    command = Path(sys.executable).with_name("labkit")
    if not command.exists():
        pytest.skip("labkit is not installed beside this Python")
    result = subprocess.run(
        [str(command), "--version"], capture_output=True, text=True, check=False
    )
    assert result.stdout == labkit("--version").stdout


def test_no_command_leaves_a_group_behind(
    topic: str, admin: Cluster, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[Any]
) -> None:
    from labkit.groups.offsets import list_groups

    user = f"u{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("LABKIT_USER", user)
    for line in (
        "topics",
        "groups",
        "offsets",
        f"window {topic} --last 10",
        f"replay {topic} --last 10",
    ):
        assert cli.main(line.split()) == 0
    assert not [group_info.name for group_info in list_groups(admin) if user in group_info.name]
