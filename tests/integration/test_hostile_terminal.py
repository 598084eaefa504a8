"""A hostile topic and group through the commands, on a terminal.

Nothing controls the terminal, and one group is one line. BEHAVIOURS 43, 72.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.stack.state import State
from support.indexing import Bench
from support.terminal import Terminal, terminal

ATTACK = "\x1b[2J\x1b]0;owned\x07\x9b31m\x9d\u202eevil\u2066\u200f\r\nforged: ok\u2028\x08\x7f"
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
VALUE = json.dumps({"nick": ATTACK, ATTACK: 1}, ensure_ascii=False).encode()


@pytest.fixture
def topic(make_topic: Callable[..., str], produce: Callable[..., None]) -> str:
    name = make_topic()
    produce(name, [VALUE, ATTACK.encode(), b"\xff" + ATTACK.encode()], keys=[ATTACK.encode()] * 3)
    return name


@pytest.fixture
def group(stack: State, admin: Cluster, topic: str) -> Iterator[str]:
    """A foreign group whose id and client id are the attack, with a member and a commit."""
    from confluent_kafka import Consumer

    name = f"{ATTACK}{topic}"
    settings: dict[str, Any] = {
        **stack.credentials("admin")["kafka"],
        "group.id": name,
        "client.id": ATTACK,
    }
    consumer = Consumer({**settings, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe([topic])
    assert consumer.consume(3, 60)
    consumer.commit(asynchronous=False)
    yield name
    consumer.close()
    admin.ask(lambda client: client.delete_consumer_groups([name]), what="delete it")


def run_uncontrolled(shown: Terminal, command: list[str], *, columns: int = 80) -> tuple[int, str]:
    """Run a command on a terminal.

    Nothing it writes controls the terminal, or is a line of the attack's own.
    """
    code, written = shown.run(*command, columns=columns)
    match = CONTROLS.search(written)
    assert not match, (command, written[max(0, match.start() - 80) : match.end() + 20])
    assert "Traceback" not in written, written
    assert "\nforged: ok" not in written, command
    return code, written


def test_no_command_lets_a_record_or_a_group_control_the_terminal(
    topic: str, group: str, lab: Lab
) -> None:
    commands = [
        ["groups"],
        ["offsets"],
        ["lag", "--samples", "2", "--every", "100ms"],
        ["lag", "--check", "--samples", "2", "--every", "100ms"],
        ["replay", topic],
        ["replay", topic, "--decode", "json"],
        ["tail", topic, "--limit", "3"],
        ["tail", topic, "--limit", "3", "--decode", "json", "--json"],
        ["replay", topic, "--decode", "text", "--where", f"nick = '{ATTACK}'"],
        ["window", ATTACK],
        ["groups", "delete", group],
    ]
    with terminal() as shown:
        for command in commands:
            code, written = run_uncontrolled(shown, command)
            if command[0] == "replay" and "--where" not in command:
                assert code == 0
                lines = [line for line in written.split("\n") if "evil" in line]
                assert len(lines) == (1 if "--decode" in command else 3)  # the others are no JSON
            if command[0] in ("groups", "offsets", "lag") and "delete" not in command:
                _, written = run_uncontrolled(
                    shown, command, columns=1_000
                )  # so wide that no name is cut
                lines = [line for line in written.split("\n") if topic in line and "evil" in line]
                assert lines, command
    report = str(lab.lag([group], samples=2, every="100ms").attrs) + repr(lab.guard())
    assert not CONTROLS.search(report)


def test_no_view_of_records_or_indices_lets_them_control_the_terminal(
    topic: str, group: str, lab: Lab, me: str, bench: Bench, tmp_path: Path
) -> None:
    load = lab.window(topic).to_scratch("hostile", progress=False)
    frozen = tmp_path / "window.json"
    frozen.write_text(lab.window(topic).to_json())
    dead = str(tmp_path / "dead.jsonl")
    parameters = nbformat.v4.new_code_cell("nick = 'a'", metadata={"tags": ["parameters"]})
    failing = nbformat.v4.new_code_cell("print(nick)\nraise ValueError(nick)")
    nbformat.write(
        nbformat.v4.new_notebook(cells=[parameters, failing]), tmp_path / "hostile.ipynb"
    )
    runs = ["--output", str(tmp_path / "runs")]
    indexer = ["index", topic, bench.index, "--group", bench.group, "--once"]
    scratch = f"{load.index.name}@default"
    commands: list[tuple[list[str], int, str]] = [
        (["topics"], 0, topic),
        (["profile", topic], 0, "owned"),
        (["profile", topic, "--decode", "text"], 0, "owned"),
        (["find", topic, "evil"], 0, "owned"),
        (["find", topic, "evil", "--in", "key"], 0, "owned"),
        (["find", topic, ATTACK, "--decode", "text"], 0, "owned"),
        (["doctor", "--topic", topic], 0, topic),
        (["scratch"], 0, "hostile"),
        ([*indexer, "--dead-letter", dead], 0, '"indexed": 3'),
        (["compare", scratch, bench.index], 0, "same"),
        (["compare", scratch, f"window:{frozen}"], 0, ""),
        (["compare", scratch, bench.index, "--key", "nick"], 3, "2 without a key"),
        (["run", str(tmp_path / "hostile.ipynb"), "-p", "nick", ATTACK, *runs], 1, "owned"),
        (["runs", *runs], 0, "owned"),
    ]
    with terminal() as shown:
        for command, expected, part in commands:
            if command[0] in ("topics", "scratch"):
                run_uncontrolled(shown, command)
            code, written = run_uncontrolled(
                shown, command, columns=1_000
            )  # so wide that no name is cut
            assert (code, part in written) == (expected, True), (command, written)


def test_what_shows_itself_in_python_lets_no_record_control_the_terminal(
    topic: str, lab: Lab, me: str, produce: Callable[..., None]
) -> None:
    """A reason of Elasticsearch's quotes the value that it refused."""
    produce(topic, [b'{"number": 1}', json.dumps({"number": ATTACK}).encode()])
    window = lab.window(topic)
    replay, load = window.read(progress=False), window.to_scratch("hostile", progress=False)
    assert ATTACK[:4] in load.rejects["reason"].str.cat()
    shown = [load, lab.compare(replay, load, key=ATTACK), lab.compare(replay, load), replay, window]
    shown += [window.profile(), load.index, lab.trace(topic, 0, 4, index=load.index.name), lab]
    for view in shown:
        lines = repr(view)
        assert "evil" in lines or view not in shown[:2]
        assert not CONTROLS.search(lines), lines
