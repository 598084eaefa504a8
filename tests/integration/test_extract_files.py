"""Files into a real topic: every line once, as it is, and what failed is told."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import NewTopic

from labkit import cli
from labkit.errors import (
    AccessError,
    ConfigError,
    LabkitError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from labkit.kafka.cluster import Cluster, replay_group
from labkit.pipelines import TopicSink, extract_files
from labkit.pipelines.files.extractor import Progress
from labkit.stack.state import State
from support.waiting import until

_number = itertools.count()


def cluster(stack: State, role: str) -> Cluster:
    return Cluster(stack.credentials(role)["kafka"])


@pytest.fixture
def writer(stack: State) -> Cluster:
    return cluster(stack, "extractor")


@pytest.fixture
def make_topic(stack: State) -> Iterator[Callable[..., str]]:
    admin, names = cluster(stack, "admin"), []

    def make(partitions: int = 3, **config: str) -> str:
        name = f"irc-test-files-{os.getpid()}-{time.time_ns()}-{next(_number)}"
        topic = NewTopic(
            name,
            partitions,
            1,
            config={key.replace("_", "."): value for key, value in config.items()},
        )
        admin.ask(lambda client: client.create_topics([topic]), what="create a topic")
        names.append(name)
        until(lambda: name in admin.topics(), "the topic")
        return name

    yield make
    admin.ask(
        lambda client: client.delete_topics(names), what="delete the topics"
    ) if names else None


@pytest.fixture
def topic(make_topic: Callable[..., str]) -> str:
    return make_topic()


def read(stack: State, topic: str) -> list[Message]:
    """Return every record of the topic, by partition and offset."""
    lab = cluster(stack, "lab")
    partitions = lab.partitions(topic)
    ends = lab.bounds(topic, partitions, "latest")
    consumer = lab.consumer(group=replay_group(), enable_partition_eof=True)
    consumer.assign(
        [TopicPartition(topic, partition, 0) for partition in partitions if ends[partition]]
    )
    left, messages, deadline = {p for p in partitions if ends[p]}, [], time.monotonic() + 60
    while left:
        assert time.monotonic() < deadline
        for message in consumer.consume(1000, 0.2):
            if message.error():
                left.discard(message.partition())
            else:
                messages.append(message)
    consumer.close()
    return sorted(messages, key=lambda message: (message.partition(), message.offset()))


def place(message: Message) -> tuple[str, int]:
    headers = dict(message.headers())
    return headers["labkit.file"].decode(), int(headers["labkit.line"])


def send_for_ever(sink: TopicSink) -> None:
    while True:
        sink.send(None, b"x")


def line(number: int, **extra: Any) -> bytes:
    stamp = f"2016-03-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}.{number % 1000:03}Z"
    return json.dumps(
        {"@timestamp": stamp, "channel": f"#c{number % 5}", "message": f"m{number}", **extra}
    ).encode()


def test_every_line_is_a_record_as_it_is(
    stack: State, writer: Cluster, topic: str, tmp_path: Path
) -> None:
    plain = [line(n) for n in range(2000)] + [b"{broken", b"caf\xe9 \xff", b"[1, 2]", b"  "]
    packed = [line(n) for n in range(2000, 3000)]
    numbers = [
        b'{"@timestamp": 1456833600123, "channel": 7}',
        b'{"@timestamp": "soon"}',
        b'{"spaced" :  1}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\r\n".join([*plain, b""]))
    (tmp_path / "named-wrongly.txt").write_bytes(gzip.compress(b"\n".join(packed)))
    (tmp_path / "c.gz").write_bytes(
        zstandard.ZstdCompressor().compress(b"\n\n" + b"\n".join(numbers))
    )
    values_seen: list[Progress] = []

    paths = [tmp_path / name for name in ("a.jsonl", "named-wrongly.txt", "c.gz")]
    report = extract_files(
        writer, paths, topic, timestamp_field="@timestamp", progress=values_seen.append
    )

    assert (report.files, report.lines, report.blank, report.skipped) == (3, 3009, 3, 0)
    assert (report.sent, report.delivered, report.rejected) == (3006, 3006, 0)
    assert (report.malformed, report.without_timestamp, report.without_key) == (3, 6, 5)
    assert (report.first_ms, report.last_ms) == (1_456_790_400_000, 1_456_790_400_000 + 2_999_999)
    assert {item.path for item in values_seen} == {str(path) for path in paths}

    messages = read(stack, topic)
    by_place = {place(message): message for message in messages}
    assert len(by_place) == len(messages) == 3006
    for number, value in [*enumerate(plain[:-1], 1)]:
        assert by_place["a.jsonl", number].value() == value
    for number, value in enumerate(packed, 1):
        assert by_place["named-wrongly.txt", number].value() == value
    assert [by_place["c.gz", number].value() for number in (3, 4, 5)] == numbers
    assert by_place["a.jsonl", 8].key() == b"#c2"
    assert by_place["a.jsonl", 8].timestamp()[1] == 1_456_790_400_000 + 7_007
    assert by_place["a.jsonl", 2001].key() is None
    assert by_place["c.gz", 3].key() == b"7"  # a whole number, as text
    assert by_place["c.gz", 4].key() is None
    assert by_place["c.gz", 3].timestamp()[1] > 1_700_000_000_000
    for key in {message.key() for message in messages if message.key()}:  # in order within a key
        of_key = [place(message) for message in messages if message.key() == key]
        assert of_key == sorted(
            of_key,
            key=lambda it: ("a.jsonl", "named-wrongly.txt", "c.gz").index(it[0]) * 9999 + it[1],
        )


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        ([], ""),
        (["--key-field", "id"], "2 records without a key: no text and no whole number in 'id'"),
        (["--key-field", "ID"], "3 records without a key: no text and no whole number in 'ID'"),
    ],
    ids=["default", "some", "misspelt"],
)
def test_a_key_field_that_is_named_and_not_there_is_warned_of(
    topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], warning: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": 7}\n{"id": true}\n{"id": null}\n')
    assert cli.main(["extract", "files", str(path), "--topic", topic, *options]) == 0
    said = capsys.readouterr()
    assert "3 of 3 lines from 1 file delivered\n" in said.out + said.err
    assert [line for line in said.err.splitlines() if "without a key" in line] == (
        [f"warning: {warning}"] if warning else []
    )


def test_a_topic_that_is_not_there_is_made_when_that_is_asked_for(
    admin: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, name = tmp_path / "a.jsonl", f"irc-test-made-{next(_number)}"
    path.write_bytes(b'{"id": 7}\n{"id": 8}\n')
    send = ["extract", "files", str(path), "--again", "--topic"]

    def refused(*options: str) -> str:
        assert cli.main([*send, *options]) != 0
        return capsys.readouterr().err

    assert "--create 3 makes one" in refused(name)
    assert "--create must be 1 to 10,000, not 0" in refused(name, "--create", "0")
    assert "--create must be a whole number" in refused(name, "--create", "few")
    assert "User:extractor may not make topic 'other-made'" in refused(
        "other-made", "--create", "3"
    )
    assert name not in admin.topics()
    try:
        assert cli.main([*send, name, "--create", "3"]) == 0
        assert f"made topic {name}: 3 partitions\n" in capsys.readouterr().err
        assert cli.main([*send, name, "--create", "5"]) == 0
        assert "made topic" not in capsys.readouterr().err
        assert admin.partitions(name) == [0, 1, 2]
        assert sum(admin.bounds(name, range(3), "latest").values()) == 4
    finally:
        admin.ask(lambda client: client.delete_topics([name]), what="delete the topic")


def test_lines_of_standard_input_are_extracted(stack: State, topic: str) -> None:
    script = (
        "import sys; from labkit.pipelines import extract_files; from labkit.kafka.cluster import Cluster\n"
        "from labkit.stack.state import State; from pathlib import Path\n"
        f"c = Cluster(State.load(Path({str(stack.root)!r})).credentials('extractor')['kafka'])\n"
        f"print(extract_files(c, ['-'], {topic!r}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], input=b'{"a":1}\nx\n', capture_output=True, check=True
    )
    assert b"2 of 2 lines from 1 file delivered (1 malformed)" in ran.stdout
    assert sorted(place(message) for message in read(stack, topic)) == [("stdin", 1), ("stdin", 2)]


def test_one_refused_record_does_not_take_its_batch_along(
    stack: State,
    writer: Cluster,
    make_topic: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone, produce = [], TopicSink._produce

    def spy(sink: TopicSink, sent: Any) -> None:
        alone.append(sent.alone)
        produce(sink, sent)

    monkeypatch.setattr(TopicSink, "_produce", spy)
    topic = make_topic(1, max_message_bytes="20000")
    values = [line(n) for n in range(3000)]
    values[1500] = (
        b'{"@timestamp": "2016-03-01", "noise": "%s"}' % os.urandom(60_000).hex().encode()
    )
    values[700] = line(700, **{"@timestamp": "2999-01-01T00:00:00Z"})
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(values))

    report = extract_files(writer, [tmp_path / "x.jsonl"], topic, timestamp_field="@timestamp")

    assert (report.sent, report.delivered, report.rejected, report.without_timestamp) == (
        3000,
        2999,
        1,
        1,
    )
    assert len(report.rejections) == 1
    assert "file x.jsonl, line 1501: 120," in report.rejections[0]
    assert sum(alone) < 12  # each with a neighbour, and one with another time: not 3,000
    by_place = {place(message)[1]: message for message in read(stack, topic)}
    assert {number: message.value() for number, message in by_place.items()} == {
        number: value for number, value in enumerate(values, 1) if number != 1501
    }
    assert by_place[701].timestamp()[1] < time.time() * 1000 + 60_000


def test_a_truncated_gzip_sends_what_was_read(
    stack: State, writer: Cluster, topic: str, tmp_path: Path
) -> None:
    values = [line(n, noise=os.urandom(20).hex()) for n in range(5000)]
    path, journal = tmp_path / "cut.jsonl.gz", tmp_path / "journal.json"
    path.write_bytes(gzip.compress(b"\n".join(values))[:-5000])
    with pytest.raises(ConfigError, match="ends in the middle") as raised:
        extract_files(writer, [path], topic, journal=journal)
    report = raised.value.report
    assert 1000 < report.delivered == report.lines < 5000
    assert sorted(place(m)[1] for m in read(stack, topic)) == [*range(1, report.lines + 1)]
    with pytest.raises(ConfigError) as raised:  # the same again: nothing doubled
        extract_files(writer, [path], topic, journal=journal)
    assert (raised.value.report.sent, raised.value.report.skipped) == (0, report.lines)


def test_nothing_is_sent_when_a_file_cannot_be_read(
    stack: State, writer: Cluster, topic: str, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(line(1))
    for wrong, kind in ((tmp_path / "none", NotFoundError), (tmp_path, UsageError)):
        with pytest.raises(kind) as raised:
            extract_files(writer, [tmp_path / "a", wrong], topic)
        assert raised.value.hint
    with pytest.raises(UsageError):
        extract_files(writer, [], topic)
    assert read(stack, topic) == []


def test_the_journal_keeps_a_rerun_from_doubling(
    stack: State, writer: Cluster, topic: str, tmp_path: Path
) -> None:
    path, journal = tmp_path / "a.jsonl", tmp_path / "journal.json"
    path.write_bytes(b"\n".join(line(n) for n in range(300)))
    assert extract_files(writer, [path], topic, journal=journal).sent == 300
    second = extract_files(writer, [path], topic, journal=journal)
    assert (second.sent, second.skipped, second.lines) == (0, 300, 300)
    assert len(read(stack, topic)) == 300
    assert extract_files(writer, [path], topic, journal=journal, again=True).sent == 300
    assert len(read(stack, topic)) == 600


def test_a_file_that_has_grown_is_gone_on_with_and_one_that_begins_otherwise_goes_as_a_whole(
    stack: State, writer: Cluster, topic: str, tmp_path: Path
) -> None:
    path, journal = tmp_path / "a.jsonl", tmp_path / "journal.json"

    def sent(numbers: range, end: bytes = b"\n") -> tuple[int, int]:
        path.write_bytes(b"\n".join(line(n) for n in numbers) + end)
        report = extract_files(writer, [path], topic, journal=journal)
        return report.skipped, report.sent

    assert sent(range(7_000)) == (0, 7_000)
    assert sent(range(7_000)) == (7_000, 0)  # touched, and the same
    assert sent(range(12_001), end=b"") == (7_000, 5_001)
    assert sent(range(12_003)) == (12_001, 2)
    assert len(read(stack, topic)) == 12_003
    assert sent(range(1, 12_004)) == (0, 12_003)  # as many lines, and others
    assert sent(range(1, 50)) == (0, 49)  # cut: these may be new


def test_a_pipe_is_read_once_from_its_first_line(
    stack: State, writer: Cluster, topic: str, tmp_path: Path
) -> None:
    """Opened twice, it would lose what its writer had to say."""
    pipe, journal = tmp_path / "pipe", tmp_path / "journal.json"
    os.mkfifo(pipe)
    for numbers in (range(7_000), range(9_000)):
        text = b"\n".join(line(n) for n in numbers)
        says = threading.Thread(target=pipe.write_bytes, args=(text,))
        says.start()
        report = extract_files(writer, [pipe], topic, journal=journal)
        says.join()
        assert (report.skipped, report.sent) == (0, len(numbers))
    assert not journal.exists()


def test_kill_9_and_again_loses_nothing(stack: State, topic: str, tmp_path: Path) -> None:
    path, journal = tmp_path / "a.jsonl", tmp_path / "journal.json"
    path.write_bytes(b"\n".join(line(n) for n in range(150_000)))
    script = (
        "import sys, labkit.pipelines.files.journal as j; j.EVERY_S = 0.1\n"
        "from labkit.pipelines import extract_files; from labkit.kafka.cluster import Cluster\n"
        "from labkit.stack.state import State; from pathlib import Path\n"
        f"c = Cluster(State.load(Path({str(stack.root)!r})).credentials('extractor')['kafka'])\n"
        f"r = extract_files(c, [{str(path)!r}], {topic!r}, journal=Path({str(journal)!r}))\n"
        "print(r.skipped, r.sent)"
    )
    first = subprocess.Popen([sys.executable, "-c", script])
    while not journal.exists():
        assert first.poll() is None
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    ((acknowledged, _hash, _before),) = json.loads(journal.read_text()).values()
    assert 0 < acknowledged < 150_000
    second = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    skipped, sent = map(int, second.stdout.split())
    assert skipped >= acknowledged
    assert skipped + sent == 150_000
    numbers = [place(message)[1] for message in read(stack, topic)]
    assert set(numbers) == set(range(1, 150_001))
    assert len(numbers) <= 150_000 + 110_000  # doubled at most what was on its way


def test_what_cannot_be_written_to(
    stack: State, writer: Cluster, topic: str, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(line(1))

    def attempt(where: Cluster, name: str) -> LabkitError:
        started = time.monotonic()
        with pytest.raises(LabkitError) as raised:
            extract_files(where, [tmp_path / "a"], name)
        assert time.monotonic() - started < 20
        assert raised.value.hint
        return raised.value

    assert isinstance(attempt(writer, "irc-test-there-is-none"), NotFoundError)
    assert isinstance(attempt(writer, "not a topic"), UsageError)
    assert isinstance(attempt(cluster(stack, "lab"), topic), AccessError)
    with (
        pytest.raises(AccessError, match="may not write to topic"),
        TopicSink(cluster(stack, "lab"), topic) as sink,
    ):
        send_for_ever(sink)
    wrong = {**stack.credentials("extractor")["kafka"], "sasl.password": "wrong"}
    refused = attempt(Cluster(wrong), topic)
    assert isinstance(refused, AccessError)
    assert "wrong" not in str(refused)
    assert isinstance(
        attempt(Cluster({"bootstrap.servers": "127.0.0.1:1"}), topic), UnavailableError
    )


def test_a_sink_says_where_each_record_is(stack: State, writer: Cluster, topic: str) -> None:
    with TopicSink(writer, topic) as sink:
        for number in range(250_000):  # more than the local queue holds
            sink.send(None, b"%d" % number)
            if number % 1000 == 999:
                sink.mark(number + 1)
            if number % 50_000 == 0:
                counts = sink.counts
                assert (
                    counts.sent == counts.delivered + counts.failed + counts.waiting == number + 1
                )
        sink.flush()
        assert sink.acknowledged == 250_000
    assert sink.counts.delivered == 250_000
    assert {int(message.value()) for message in read(stack, topic)} == set(range(250_000))


ODD_ENVELOPES = {
    "no JSON": ("nope", "it is not JSON"),
    "no envelope": ('{"n": 1}', "must be an object with key, value, headers and timestamp"),
    "a number": ('{"key":null,"value":5,"headers":[],"timestamp":null}', "value must be text"),
    "headers": (
        '{"key":null,"value":"","headers":{"a":1},"timestamp":null}',
        "headers must be a list of",
    ),
    "base64": (
        '{"key":{"base64":"!"},"value":"","headers":[],"timestamp":null}',
        "key is not base64",
    ),
    "time": (
        '{"key":null,"value":"","headers":[],"timestamp":5}',
        "timestamp must be ISO 8601 text or null, not 5",
    ),
}


def test_a_line_that_is_no_envelope_is_an_error_with_its_number(
    writer: Cluster, topic: str, stack: State, tmp_path: Path
) -> None:
    path = tmp_path / "x.jsonl"
    good = '{"key":"k","value":"v","headers":[],"timestamp":"2016-03-01T00:00:00.000Z","topic":"x"}'
    for number, (line, reason) in enumerate(ODD_ENVELOPES.values(), start=1):
        path.write_text(f"{good}\n{line}\n{good}\n")
        with pytest.raises(
            UsageError, match=f"x.jsonl, line 2 is not an envelope: .*{reason}"
        ) as caught:
            extract_files(writer, [path], topic, envelope=True)
        assert caught.value.report.delivered == 1
        assert "leave --envelope out" in str(caught.value)
        ends = cluster(stack, "admin").bounds(topic, [0, 1, 2], "latest")
        assert sum(ends.values()) == number
