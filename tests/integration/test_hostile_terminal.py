"""A hostile topic and group through the commands, on a terminal: nothing controls it, one group is one line.

BEHAVIOURS 43, 72.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from labkit.kafka import Cluster
from labkit.lab import Lab
from labkit.stack.state import State
from support.terminal import on_a_terminal

ATTACK = "\x1b[2J\x1b]0;owned\x07\x9b31m\x9d\u202eevil\u2066\u200f\r\nforged: ok\u2028\x08\x7f"
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
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
    settings: dict[str, Any] = {**stack.credentials("admin")["kafka"], "group.id": name, "client.id": ATTACK}
    consumer = Consumer({**settings, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe([topic])
    assert consumer.consume(3, 60)
    consumer.commit(asynchronous=False)
    yield name
    consumer.close()
    admin.ask(lambda client: client.delete_consumer_groups([name]), what="delete it")


def test_no_command_lets_a_record_or_a_group_control_the_terminal(topic: str, group: str, lab: Lab) -> None:
    commands = [
        ["groups"],
        ["offsets"],
        ["lag", "--samples", "2", "--every", "100ms"],
        ["lag", "--check", "--samples", "2", "--every", "100ms"],
        ["replay", topic],
        ["replay", topic, "--decode", "json"],
        ["replay", topic, "--decode", "text", "--where", f"nick = '{ATTACK}'"],
        ["window", ATTACK],
        ["groups", "delete", group],
    ]
    for command in commands:
        code, written = on_a_terminal(*command)
        found = CONTROLS.search(written)
        assert not found, (command, written[max(0, found.start() - 80) : found.end() + 20])
        assert "Traceback" not in written
        assert "\nforged: ok" not in written, command
        if command[0] == "replay" and "--where" not in command:
            assert code == 0
            lines = [line for line in written.split("\n") if "evil" in line]
            assert len(lines) == (1 if "--decode" in command else 3)  # the others are no JSON
        if command[0] in ("groups", "offsets", "lag") and "delete" not in command:
            lines = [line for line in written.split("\n") if topic in line and "evil" in line]
            assert lines, command
    report = str(lab.lag([group], samples=2, every="100ms").attrs) + repr(lab.guard())
    assert not CONTROLS.search(report)
