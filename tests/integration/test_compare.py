"""Downstreams compared on real servers: two versions, windows, replays.

What differs, and what goes wrong.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import psutil
import pyarrow as pa
import pytest
from confluent_kafka import TopicPartition

from labkit import charts, cli
from labkit.checks import suggest
from labkit.compare import inputs, join
from labkit.elastic import Target
from labkit.errors import (
    AccessError,
    ConfigError,
    NotFoundError,
    Stopped,
    UnavailableError,
    UsageError,
)
from labkit.es.index import Index
from labkit.es.mappings import SETTINGS
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab, connect
from labkit.sinks.scratch import Load
from labkit.sinks.scratch_index import ScratchIndex
from labkit.stack.state import State
from labkit.window import Window

NINE = "9.5.3"
OTHER = f"es-{NINE}"
T0 = 1_456_790_400_000
MakeTopic, Produce = Callable[..., str], Callable[..., None]


pytestmark = pytest.mark.usefixtures("me")


def change(index: Index, documents: dict[str, Any]) -> None:
    """Replace documents, or delete those that are None."""
    client = index.target.client
    for name, document in documents.items():
        if document is None:
            client.delete(index=index.name, id=name)
        else:
            body = document if isinstance(document, bytes) else orjson.dumps(document)
            answer = client.bulk(
                index=index.name,
                operations=[b'{"index":{"_id":"%s"}}\n%s\n' % (name.encode(), body)],
            )
            assert not answer["errors"], answer
    client.indices.refresh(index=index.name)


def contexts(index: Index) -> int:
    stats = (
        connect(role="admin")
        .target(index.target.name)
        .client.indices.stats(index=index.name, metric="search")
    )
    return int(stats["indices"][index.name]["total"]["search"]["open_contexts"])


def balanced(found: Any) -> Any:
    n = found.counts
    for side in ("left", "right"):
        parts = ("same", "changed", f"only_{side}", f"{side}_duplicates", f"{side}_keyless")
        assert n[side] == sum(n[part] for part in parts), n
    return found


DOCUMENTS: list[Any] = [
    {
        "@timestamp": "2016-03-01T00:00:00.000Z",
        "n": 1,
        "text": "żółć 🎉",
        "objects": [{"a": 1}, {"b": None}],
        "geo": {"lat": 1.5},
    },
    {
        "@timestamp": "2016-03-01T01:00:00.000Z",
        "n": 2,
        "text": "b",
        "list": [1, 2],
        "geo": {"lat": 2},
    },
    {"@timestamp": "2016-03-01T02:00:00.000Z", "n": 3, "none": None},
    b'{"@timestamp":"2016-03-01T03:00:00.000Z","n":4,"list":[],"id":"12345678901234567890123"}',
    b"not json",
    None,
]


@pytest.fixture
def topic(make_topic: MakeTopic, produce: Produce) -> str:
    name = make_topic(2)
    values = [
        document if isinstance(document, bytes | None) else orjson.dumps(document)
        for document in DOCUMENTS
    ]
    produce(name, values, timestamps=[T0 + n for n in range(6)])
    produce(name, [b'{"n":5}'], partition=1)
    return name


# the same --------------------------------------------------------------------------------------------------


def test_two_versions_the_window_and_the_replay_are_the_same(both: Lab, topic: str) -> None:
    window = both.window(topic)
    eight, nine = window.to_scratch("eight"), window.to_scratch("nine", target=OTHER)
    replay = window.read()
    sides: list[Any] = [
        eight,
        nine.index,
        f"{nine.index.name}@{OTHER}",
        eight.index.name,
        window,
        replay,
    ]
    for side in sides:
        comparison = balanced(both.compare(eight.index, side, latency=False))
        assert comparison.identical, str(comparison)
        assert comparison.same == 7
    comparison = both.compare(eight, nine)
    assert comparison.left == f"{eight.index.name}@default"
    assert comparison.latency is not None
    assert {"count all", "the newest 100", "documents a day", "one by its _id"} <= set(
        comparison.latency["query"]
    )
    assert (comparison.latency[["left_ms", "right_ms", "ratio"]] > 0).all(axis=None)
    assert comparison.mappings is not None
    assert len(comparison.mappings) == 0
    assert "time to answer" in str(comparison)
    assert both.target().version.startswith("8.")
    assert both.target(OTHER).version == NINE
    assert (contexts(eight.index), contexts(nine.index)) == (0, 0)
    assert both.compare(window, replay).mappings is None


def test_an_index_and_a_frame_of_it_are_the_same(both: Lab, topic: str) -> None:
    load = both.window(topic).to_scratch("frame")
    frame = load.index.to_pandas()
    assert balanced(both.compare(frame, load)).identical
    assert balanced(both.compare(load.index.to_arrow(), load)).identical
    comparison = both.compare(frame.assign(n=frame["n"] + 1), load)
    assert comparison.fields.set_index("field").loc["n", "changed"] == 5


# differences -----------------------------------------------------------------------------------------------


def test_each_kind_of_difference_is_found(both: Lab, topic: str) -> None:
    window = both.window(topic)
    left, right = window.to_scratch("left").index, window.to_scratch("right", target=OTHER).index
    document = dict(DOCUMENTS[0])
    change(
        right,
        {
            f"{topic}-0-0": {
                **document,
                "text": "żółc 🎉",
                "objects": [{"a": 2}, {}],
                "geo": {"lat": 1.5, "lon": 1},
            },
            f"{topic}-0-1": {**DOCUMENTS[1], "n": 2.0, "geo": {"lat": 2.0}, "list": [2, 1]},
            f"{topic}-0-2": {
                "n": 3,
                "@timestamp": "2016-03-01T02:00:00.000Z",
                "also": {"none": None},
            },
            f"{topic}-0-3": b'{"@timestamp":"2016-03-01T03:00:00.000Z","n":4,"id":12345678901234567890123}',
            f"{topic}-1-0": None,
            f"{topic}-1-77": {"n": 77},
        },
    )
    comparison = balanced(both.compare(left, right, latency=False))
    assert {name: comparison.counts[name] for name in ("same", "changed", "only_left", "only_right")} == {
        "same": 3, "changed": 3, "only_left": 1, "only_right": 1,
    }  # fmt: skip
    rows = comparison.changed[["_partition", "_offset", "field", "kind", "left", "right"]].astype(
        object
    )
    assert rows.where(rows.notna(), None).values.tolist() == [
        [0, 0, "geo.lon", "only right", None, "1"],
        [0, 0, "objects", "changed", '[{"a":1},{"b":null}]', '[{"a":2},{}]'],
        [0, 0, "text", "changed", '"żółć 🎉"', '"żółc 🎉"'],
        [0, 1, "list", "changed", "[1,2]", "[2,1]"],
        [0, 3, "id", "changed", '"12345678901234567890123"', "12345678901234567890123"],
        [0, 3, "list", "only left", "[]", None],
    ]
    assert comparison.only_left[["_topic", "_partition", "_offset", "n"]].values.tolist() == [
        [topic, 1, 0, 5]
    ]
    assert comparison.only_right[["_topic", "_partition", "_offset", "n"]].values.tolist() == [
        [topic, 1, 77, 77]
    ]
    assert comparison.mappings is not None
    assert "geo.lon" in comparison.mappings["field"].tolist()
    assert "different" in comparison._repr_html_()
    assert charts.comparison(comparison).to_dict()["vconcat"]
    near = both.compare(
        left, right, ignore=["text", "objects", "list", "geo.lon", "id"], latency=False
    )
    assert (near.counts["changed"], near.verdict) == (0, "different")


def test_mappings_are_compared(both: Lab, topic: str) -> None:
    client, prefix = both.target().client, f"scratch-{os.environ['LABKIT_USER']}"
    client.indices.create(
        index=f"{prefix}-a", mappings={"properties": {"n": {"type": "long"}, "t": {"type": "text"}}}
    )
    fields = {"k": {"type": "keyword"}}
    client.indices.create(
        index=f"{prefix}-b",
        mappings={
            "dynamic": "strict",
            "properties": {"n": {"type": "double"}, "t": {"type": "text", "fields": fields}},
        },
    )
    comparison = both.compare(f"{prefix}-a", f"{prefix}-b")
    assert comparison.identical
    assert comparison.mappings is not None
    rows = comparison.mappings.astype(object)
    assert rows.where(rows.notna(), None).values.tolist() == [
        ["(dynamic)", None, "strict"],
        ["n", "long", "double"],
        ["t.k", None, "keyword"],
    ]
    assert "3 fields are mapped differently" in str(comparison)


def test_duplicates_on_a_key_are_apart(both: Lab, make_topic: MakeTopic, produce: Produce) -> None:
    first, second = make_topic(), make_topic()
    produce(first, [b'{"id":%d,"v":1}' % n for n in (1, 2, 2, 3, 4)])
    produce(second, [b'{"v":1,"id":%d.0}' % n for n in (4, 3, 2, 1, 5)])
    a, b = (both.window(name).to_scratch(f"k{n}") for n, name in enumerate((first, second)))
    comparison = balanced(both.compare(a, b, key="id", latency=False))
    assert comparison.duplicates.values.tolist() == [[2, 2, 1]]
    assert (comparison.same, comparison.counts["only_left"], comparison.counts["only_right"]) == (
        3,
        0,
        1,
    )
    assert both.compare(a, b, latency=False).counts["only_left"] == 5
    with pytest.raises(UsageError, match="has the fields nope"):
        both.compare(a, b, key="nope")


@pytest.mark.parametrize("most_ids", [0, 50_000])
def test_production_is_compared_for_the_window_alone(
    both: Lab, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_ids: int
) -> None:
    """It is all read, or asked for by its ids."""
    monkeypatch.setattr(inputs, "MOST_IDS", most_ids)
    load = both.window(topic).to_scratch("production")
    change(
        load.index,
        {"an-id-of-another-kind": {"n": 1}, f"{topic}-x-0-1": {"n": 1}, f"{topic}-9-1": {"n": 1}},
    )
    window = both.window(topic, offsets={0: (1, 4)})
    part = window.to_scratch("part")
    comparison = balanced(both.compare(part, load, latency=False))
    assert (comparison.same, comparison.counts["only_right"]) == (3, 7)
    assert f"within=w leaves out what {load.index.name}@default has" in str(comparison)
    with suggest.for_a_shell():
        assert "--within FILE leaves out what" in str(both.compare(part, load, latency=False))
    comparison = balanced(both.compare(part, load, within=window, latency=False))
    assert "within=w" not in str(comparison)
    assert comparison.identical, str(comparison)
    assert comparison.same == 3
    assert f"7 documents of {load.index.name}@default are outside of the window" in str(comparison)
    file = tmp_path / "window.json"
    file.write_text(window.to_json())
    assert (
        cli.main(
            ["compare", part.index.name, load.index.name, "--within", str(file), "--no-latency"]
        )
        == 0
    )


# incomplete ------------------------------------------------------------------------------------------------


def test_what_a_load_lacks_is_said(both: Lab, make_topic: MakeTopic, produce: Produce) -> None:
    topic = make_topic()
    produce(topic, [b'{"user":{"nick":"a"}}', b'{"user":"b"}'])
    window = both.window(topic)
    load = window.to_scratch("refused")
    comparison = balanced(both.compare(load, window))
    assert (comparison.same, comparison.counts["only_right"], comparison.complete) == (1, 1, False)
    assert "1 record was refused" in str(comparison)
    assert both.compare(load.index, window).complete, "an index alone knows nothing of it"


def test_what_a_replay_lacks_is_said(both: Lab, topic: str, admin: Cluster) -> None:
    window = both.window(topic)
    load = window.to_scratch("capped")
    admin.ask(
        lambda client: client.delete_records([TopicPartition(topic, 0, 2)]), what="delete records"
    )
    comparison = balanced(both.compare(window.read(on_expired="clamp"), load))
    assert (comparison.same, comparison.counts["only_right"]) == (5, 2)
    assert not comparison.complete
    assert comparison.verdict == "incomplete"
    why = comparison.reasons[0].partition(": ")[2]
    assert why.startswith("incomplete at 71 %: 5 of 7")
    assert why.endswith("(the topic no longer has these records)")


@pytest.mark.chaos
def test_an_interrupt_compares_what_was_read_and_closes(
    both: Lab, make_topic: MakeTopic, produce: Produce, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = make_topic()
    produce(topic, [b'{"n":%d,"text":"%s"}' % (n, b"x" * 1000) for n in range(12_000)])
    load = both.window(topic).to_scratch("interrupted")
    real = join.Spill.add
    calls: list[int] = []

    def add(self: join.Spill, number: int, batch: pa.RecordBatch) -> None:
        real(self, number, batch)
        calls.append(number)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(join.Spill, "add", add)
    comparison = balanced(both.compare(load.index, load.index, on_interrupt="keep"))
    assert not comparison.complete
    assert 0 < comparison.same < 12_000
    assert "interrupted while reading" in str(comparison)
    assert contexts(load.index) == 0


@pytest.mark.chaos
@pytest.mark.parametrize("what", ["an interrupt", "a refusal"])
def test_what_stands_in_the_way_at_the_end_leaves_the_comparison(
    both: Lab, topic: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    load = both.window(topic).to_scratch("end")
    real = Index.search

    def search(self: Index, **body: Any) -> dict[str, Any]:
        if what == "an interrupt":
            signal.raise_signal(signal.SIGINT)
        return real(Index("other", self.target), **body)

    monkeypatch.setattr(Index, "search", search)
    # BEHAVIOURS 55: the comparison is there, and the cell ends all the same
    if what == "an interrupt":
        with pytest.raises(Stopped, match="all documents were compared, latency not") as stop:
            both.compare(load, load)
        assert stop.value.comparison.identical
    comparison = both.compare(load, load, on_interrupt="keep")
    assert comparison.identical
    assert comparison.latency is None
    assert ("interrupted: latency" if what == "an interrupt" else "may not") in str(comparison)


# what goes wrong -------------------------------------------------------------------------------------------


def test_an_index_that_is_not_there_or_not_to_be_seen(both: Lab, topic: str) -> None:
    load = both.window(topic).to_scratch("here")
    for name in ("irc-test-none", f"irc-test-none@{OTHER}"):
        with pytest.raises(NotFoundError, match="irc-test-none"):
            both.compare(load, name)
    with pytest.raises(AccessError, match="may not"):
        both.compare(load, "other")
    with pytest.raises(ConfigError, match="nowhere"):
        both.compare(load, "irc@nowhere")
    for case in ("Not a name", "", 5):
        with pytest.raises(UsageError):
            both.compare(load, case)
    wrong = {"basic_auth": ["lab", "not-the-password"]}
    stranger = Index(
        load.index.name, Target("default", {"hosts": [both.target().address], **wrong})
    )
    with pytest.raises(AccessError, match="refused the login") as caught:
        both.compare(load, stranger)
    assert "not-the-password" not in str(caught.value)
    away = Index(load.index.name, Target("away", {"hosts": ["http://127.0.0.1:9"], **wrong}))
    with pytest.raises(UnavailableError):
        both.compare(load, away)
    assert contexts(load.index) == 0


def test_an_index_that_vanishes_in_the_middle(
    both: Lab, make_topic: MakeTopic, produce: Produce, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = make_topic()
    produce(topic, [b'{"n":%d,"text":"%s"}' % (n, b"x" * 2000) for n in range(8_000)])
    window = both.window(topic)
    left, right = window.to_scratch("stays").index, window.to_scratch("goes").index
    real, gone = join.Spill.add, threading.Event()

    def add(self: join.Spill, number: int, batch: pa.RecordBatch) -> None:
        real(self, number, batch)
        if number and not gone.is_set():
            gone.set()
            right.drop()

    monkeypatch.setattr(join.Spill, "add", add)
    with pytest.raises(NotFoundError, match="vanished while it was read"):
        both.compare(left, right)
    assert contexts(left) == 0


# size ------------------------------------------------------------------------------------------------------

MEASURED = """
import sys, psutil, labkit
lab = labkit.connect()
lab.compare(sys.argv[1], sys.argv[1], latency=False, progress=False)
small = psutil.Process().memory_info().rss
found = lab.compare(sys.argv[2], sys.argv[2], latency=False, progress=False)
with open("/proc/self/status") as file:  # getrusage would tell of the process that started this one, too
    peak = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
print(found.same, small, peak)
"""


@pytest.mark.slow
def test_memory_stays_flat(both: Lab) -> None:
    """200,000 documents on both sides: far more bytes than the process may take on top."""
    user, target = os.environ["LABKIT_USER"], both.target()
    few, many = (ScratchIndex(f"scratch-{user}-{name}", target) for name in ("few", "many"))
    for index, count in ((few, 5_000), (many, 200_000)):
        settings = {**SETTINGS, "refresh_interval": -1}
        target.client.indices.create(
            index=index.name, settings=settings, mappings={"dynamic": False}
        )
        line = b'{"index":{"_id":"irc-0-%d"}}\n{"n":%d,"text":"' + b"x" * 1500 + b'"}\n'
        for first in range(0, count, 5_000):
            lines = b"".join(line % (n, n) for n in range(first, first + 5_000))
            assert not target.client.bulk(
                index=index.name, operations=[lines], filter_path="errors"
            ).get("errors")  # type: ignore[list-item]
    for index in (few, many):
        index.refresh()
    command = [sys.executable, "-c", MEASURED, few.name, many.name]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert result.returncode == 0, result.stderr
    same, small, peak = map(int, result.stdout.split())
    assert same == 200_000
    assert peak - small < 300e6, f"{(peak - small) / 1e6:.0f} MB on top for 600 MB of documents"


# the command -----------------------------------------------------------------------------------------------


def test_the_command_compares_indices_and_windows(
    both: Lab, topic: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], stack: State
) -> None:
    window: Window = both.window(topic)
    load: Load = window.to_scratch("left")
    other_index = window.to_scratch("right", target=OTHER).index
    file = tmp_path / "window.json"
    file.write_text(window.to_json())
    for side in (f"{other_index.name}@{OTHER}", f"window:{file}"):
        assert cli.main(["compare", load.index.name, side]) == 0
        assert capfd.readouterr().out.startswith(f"SAME: {load.index.name}@default and ")
    change(
        other_index,
        {f"{topic}-0-0": {**DOCUMENTS[0], "n": 7, "@timestamp": "2016-03-01T00:00:00Z"}},
    )
    words = [
        "compare",
        load.index.name,
        other_index.name,
        "--target",
        "default",
        "--json",
        "--no-latency",
    ]
    words[2] += f"@{OTHER}"
    assert cli.main(words) == 3
    answer = json.loads(capfd.readouterr().out)
    assert (answer["verdict"], answer["counts"]["changed"], answer["latency"]) == (
        "different",
        1,
        None,
    )
    assert [field_["field"] for field_ in answer["fields"] if field_["changed"]] == [
        "@timestamp",
        "n",
    ]
    assert cli.main([*words, "--ignore", "n", "--tolerance", "@timestamp=0s"]) == 0
    assert cli.main([*words, "--only", "n", "--tolerance", "n=6"]) == 0
    assert cli.main([*words, "--only", "n", "--tolerance", "5"]) == 3
    assert cli.main([*words, "--key", "n", "--keep", "0"]) == 3
    capfd.readouterr()
    assert cli.main(["compare", load.index.name, "irc-test-none"]) == 1
    assert "irc-test-none" in capfd.readouterr().err


def test_the_documents_of_any_side_are_the_users(both: Lab, topic: str) -> None:
    """What a notebook does next: a frame of what differs, in pandas."""
    window = both.window(topic)
    load = window.to_scratch("frames")
    comparison = both.compare(load, window.to_pandas())
    assert isinstance(comparison.to_pandas(), pd.DataFrame)
    assert psutil.Process().num_threads() < 100
