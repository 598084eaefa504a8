"""Null, empty, the text "null" and long values of real records, in every view.

See BEHAVIOURS 39, 40.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from labkit.lab import Lab
from labkit.notebook.inspector import RecordInspector
from labkit.notebook.tail import Tail
from support.stack import LABKIT
from support.terminal import on_a_terminal

VALUES: list[bytes | None] = [
    None, b"", b"null", b'""', b'"null"', b"{}", b'{"a": null}', b'{"a": ""}', b'{"a": "null"}', b'{"a": "x"}',
]  # fmt: skip
KEYS: list[bytes | None] = [
    None,
    b"",
    b"null",
    b'"null"',
    b" ",
    b"x",
    b"\xff",
    b"base64:/w==",
    b"(tombstone)",
    b"-",
]


@pytest.fixture
def topic(make_topic: Callable[..., str], produce: Callable[..., None]) -> str:
    name = make_topic()
    produce(name, VALUES, keys=KEYS, headers=[[("h", key)] for key in KEYS])
    return name


def without_place(text: str) -> str:
    """Return what is shown without where the record is."""
    return re.sub(r"irc-test\S+\[0\]@\d+ .*?(</b>|\n|$)", "", text)


def test_the_inspector_shows_each_in_its_own_way(lab: Lab, topic: str) -> None:
    inspector = RecordInspector(lab.window(topic).read(progress=False))
    keys, headers, values, texts = set(), set(), set(), set()
    for row in range(len(VALUES)):
        inspector.place.value = row
        view = inspector.view.value
        keys |= set(re.findall(r"key <code>(.*?)</code>", view))
        headers |= set(re.findall(r"<code>(?:(?!<code>).)*?</code></td>", view))
        values.add(
            re.sub(r".*?</code></div>", "", without_place(view), count=1).split(" headers")[0]
        )
        texts.add(without_place(inspector.text()).split("\n", 2)[2])
    assert len(keys) == len(headers) == len(KEYS)
    assert len(values) == len(texts) == len(VALUES), (values, texts)
    inspector.place.value = 0
    assert "tombstone" in inspector.view.value
    assert "tombstone" in inspector.text()


def test_the_tail_shows_each_in_its_own_way(lab: Lab, topic: str) -> None:
    tail = Tail(lab, topic, last=20, rows=20, decode="json", limit="1h")
    rows = [re.split(r"\s{2,}", line) for line in tail.text().split("\n")[2:]]
    assert len(rows) == len(VALUES)
    assert len({tuple(row[1:-2]) for row in rows}) == len(VALUES), rows
    replay = lab.window(topic).read(progress=False)
    shown = re.findall(r"<tr>(.*?)</tr>", replay._repr_html_().split("</thead>")[-1])
    rows = {re.sub(r"<td[^>]*>[^<]*</td>", "", row, count=3) for row in shown}
    assert len(rows) == len(shown) == len(VALUES)


def test_a_terminal_shows_each_in_its_own_way(topic: str) -> None:
    code, written = on_a_terminal("replay", topic)
    assert code == 0
    lines = written.split("\n")[: len(VALUES)]
    assert len({*lines}) == len(VALUES), lines
    assert lines[:3] == ["(tombstone)", '""', "null"]


def test_lines_of_json_tell_a_tombstone_from_an_object_without_fields(topic: str) -> None:
    command = [*LABKIT, "replay", topic, "--decode", "json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert (records[0], records[5]) == ({"_value": None}, {})
    assert records[7:] == [{"a": ""}, {"a": "null"}, {"a": "x"}]
    plain = subprocess.run([*command[:-2]], capture_output=True, timeout=120, check=True).stdout
    # to a pipe they go as they are
    assert plain == b"".join((value or b"") + b"\n" for value in VALUES)


def test_long_texts_are_cut_and_say_so(
    lab: Lab, make_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    """BEHAVIOURS 40: in each view; in a terminal and a frame they are whole."""
    long = "x" * 500_000
    many: dict[str, Any] = {f"f{n}": {f"g{m}": "y" for m in range(100)} for n in range(300)}
    name = make_topic()
    produce(
        name,
        [json.dumps({"a": long}).encode(), json.dumps(many).encode(), b"\xff" * 500_000],
        keys=[b"k" * 90_000] * 3,
    )
    replay = lab.window(name).read(progress=False)
    inspector = RecordInspector(replay)
    for row, said in enumerate(["(500,000 characters)", "100 more", "(500,000 bytes)"]):
        inspector.place.value = row
        for text in (inspector.view.value, inspector.text()):
            assert len(text) < 500_000, row
            assert said in text
            assert "(90,000 bytes)" in text
    tail = Tail(lab, name, last=3, rows=3, decode="text", limit="1h").text()
    assert len(tail) < 5_000
    assert tail.count("(500,000 bytes)") == 1
    assert re.search(r"x… \(500,009 (characters|bytes)\)", tail)
    html = lab.window(name, last=1).read(decode="text", progress=False)._repr_html_()
    assert len(html) < 10_000


def test_maps_are_objects_and_bytes_base64_in_the_inspector(
    lab: Lab, make_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    """BEHAVIOURS 40: of fields as Avro's decoder gives them."""
    name = make_topic()
    produce(name, [b"not json"])
    read = lab.window(name).read(decode="raw", progress=False)
    kind = pa.map_(pa.string(), pa.binary())
    table = read.table.append_column("m", pa.array([[("k", b"\xff")]], kind)).append_column(
        "b", pa.array([b"\x00"])
    )
    inspector = RecordInspector(replace(read, table=table))
    assert json.loads(inspector.text().split("\n", 2)[2]) == {"m": {"k": "/w=="}, "b": "AA=="}
    assert "<summary><b>m</b> 1</summary>" in inspector.view.value
