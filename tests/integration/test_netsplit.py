"""A netsplit: two real IRC servers that are linked, and the link's far end dies and comes back."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from labkit.stack.state import State
from support.irc import Ngircd, Running, Talker, numbers_in, read, say, together
from support.waiting import until

pytestmark = pytest.mark.chaos
LINK = """
[Server]
Name = {name}
Host = 127.0.0.1
{port}
MyPassword = link
PeerPassword = link
{passive}
"""


@pytest.fixture
def topic(make_topic: Callable[..., str]) -> str:
    return make_topic(3)


def test_the_other_half_quits_and_joins_again_and_nothing_is_lost(
    stack: State,
    topic: str,
    ngircd: Callable[..., Ngircd],
) -> None:
    """The extractor's own connection holds during a netsplit.

    Each message said on its side is there once and in order, before, during and after the split,
    those of the other side before and after; each user there quits once, and joins again once.
    """
    near = ngircd(
        name="near.labkit.test",
        link=LINK.format(name="far.labkit.test", port="", passive="Passive = yes"),
    )
    link = LINK.format(name="near.labkit.test", port=f"Port = {near.port}", passive="")
    far = ngircd(name="far.labkit.test", link=link)
    extractor = Running(stack, topic, near.port)
    extractor.hears("connected to")
    near_talker = Talker(near.port, b"here")
    users = [b"there1", b"there2"]
    far_talkers = [Talker(far.port, user) for user in users]
    together(near_talker, b"labkit", *users)
    say(near_talker, range(20))
    say(far_talkers[0], range(100, 120))
    near_talker.wait(b":number 119")
    far.kill()
    for _ in users:
        near_talker.wait(b" QUIT ")
    say(near_talker, range(20, 40))
    far.start()
    far_talkers = [Talker(far.port, user) for user in users]
    together(near_talker, b"labkit", *users)
    say(near_talker, range(40, 60))
    say(far_talkers[1], range(120, 140))
    near_talker.wait(b":number 139")
    expected = [*range(60)], [*range(100, 140)]
    until(lambda: numbers(stack, topic) == expected, "all in the topic, in order")
    report = extractor.end()
    assert (report.connections, report.losses) == (1, 0)

    lines = [orjson.loads(message.value()) for message in read(stack, topic)]
    happened = [
        (line["command"], line["nick"])
        for line in lines
        if line.get("nick", "").startswith("there")
    ]
    for user in ("there1", "there2"):
        assert [what for what, nick in happened if nick == user and what != "PRIVMSG"] == [
            "JOIN",
            "QUIT",
            "JOIN",
        ]


def numbers(stack: State, topic: str) -> tuple[list[int], list[int]]:
    """Return what was said on this side, and on the other, in the extractor's order."""
    numbers_read = numbers_in(stack, topic)
    return [entry for entry in numbers_read if entry < 100], [
        entry for entry in numbers_read if entry >= 100
    ]
