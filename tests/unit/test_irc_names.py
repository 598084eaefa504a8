"""Which IRC names are the same, and what a server says of channels it does not let us into."""

from __future__ import annotations

from typing import Any

import pytest

from labkit.pipelines.irc import channels as module
from labkit.pipelines.irc.casemapping import CaseMapping
from labkit.pipelines.irc.channels import Channels
from labkit.pipelines.irc.record import Line, parse, record


def line(raw: str) -> Line:
    message = parse(raw.encode())
    assert message is not None
    return message


@pytest.mark.parametrize(
    ("mapping", "one", "other", "same"),
    [
        ("rfc1459", "#Foo[x]", "#foo{x}", True),
        ("rfc1459", "a\\^B", "A|~b", True),  # the capital of ^ is ~
        ("rfc1459", "a~", "a^", True),
        ("rfc1459", "#É", "#é", False),
        ("rfc1459-strict", "a~", "a^", False),
        ("rfc1459-strict", "[\\]", "{|}", True),
        ("ascii", "#Foo[x]", "#foo{x}", False),
        ("ascii", "#FOO", "#foo", True),
        ("ascii", "#İ", "#i̇", False),
        ("rfc8265", "#É", "#é", True),
    ],
)
def test_names_are_the_same_as_the_server_says(
    mapping: str, one: str, other: str, same: bool
) -> None:
    """BEHAVIOURS 53: they were compared as Unicode compares them, by every server's mapping."""
    case = CaseMapping(mapping)
    assert (case.fold(one) == case.fold(other)) is same


def test_the_mapping_is_the_one_the_server_tells() -> None:
    """BEHAVIOURS 53: in 005; rfc1459 until then."""
    case = CaseMapping()
    assert case.name == "rfc1459"
    assert (
        case.told_by(line(":s 005 me CHANTYPES=# CASEMAPPING=ascii NICKLEN=30 :are supported")).name
        == "ascii"
    )
    assert (
        case.told_by(line(":s 005 me CHANTYPES=# :CASEMAPPING=ascii")) is case
    )  # the last is a text
    assert case.told_by(line(":s 372 me CASEMAPPING=ascii :x")) is case


@pytest.mark.parametrize(("mapping", "key"), [("rfc1459", b"#foo{x}"), ("ascii", b"#foo[x]")])
def test_a_records_key_is_the_channel_as_the_server_compares_it(mapping: str, key: bytes) -> None:
    """BEHAVIOURS 53: #Foo[x] and #foo{x} went to two partitions, #É and #é to one."""
    message = record(
        b":a!u@h PRIVMSG #Foo[x] :hi",
        received_ms=1,
        server="S",
        sequence=1,
        fold=CaseMapping(mapping).fold,
    )
    assert message is not None
    assert message.key == key


class Joins:
    """Takes down what would be asked of the server."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def join(self, name: str, _key: str) -> None:
        self.names.append(name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


class Room:
    """Channels on a server that answers as the test says."""

    def __init__(self, clock: list[float], *wanted: str) -> None:
        self.said: list[str] = []
        self.joins = Joins()
        self.channels = Channels(dict.fromkeys(wanted, ""), say=self.said.append)
        self.clock = clock

    def hears(self, raw: str) -> None:
        self.channels.handle(line(raw), "Me[1]")

    def minutes(self, count: int, answer: str | None = None) -> None:
        for _ in range(count):
            self.channels.join(self.joins)  # type: ignore[arg-type]
            if answer is not None:
                self.hears(answer)
            self.clock[0] += 61


@pytest.mark.parametrize(
    "answer",
    [
        ":s 480 me #lab :Cannot join channel (throttled)",
        ":s 485 me #lab :Cannot join channel (quarantined)",
        ":s 520 me #lab :Cannot join channel (IRCops only)",
        ":s 403 me #LAB :No such channel",
        ":s FAIL JOIN CHANNEL_RENAMED #lab :it has another name",
    ],
)
def test_any_refusal_of_a_wanted_channel_is_said_once(clock: Any, answer: str) -> None:
    """BEHAVIOURS 53: every refusal is said once.

    Those of numbers that were not in a list were silent, and JOIN was sent each minute.
    """
    room = Room(clock, "#lab")
    room.minutes(5, answer)
    assert len(room.said) == 1
    assert room.said[0].startswith("cannot join #lab: ")
    assert room.joins.names == ["#lab"] * 5


def test_a_server_that_does_not_answer_is_said_once(clock: Any) -> None:
    """BEHAVIOURS 53: no silent JOIN each minute."""
    room = Room(clock, "#lab")
    room.minutes(1)
    assert room.said == []
    room.minutes(4)
    assert room.said == ["cannot join #lab: the server does not answer; trying again every 60 s"]
    room.hears(":Me[1]!u@h JOIN #lab")
    room.minutes(3)
    assert room.said[1:] == ["in #lab as Me[1]"]
    assert room.joins.names == ["#lab"] * 5


def test_who_is_forwarded_is_told_where_to_and_stays(clock: Any) -> None:
    """BEHAVIOURS 53: 470 names the new channel.

    The JOIN of the old one was sent again each minute.
    """
    room = Room(clock, "#old")
    room.minutes(1, ":s 470 me #old ##new :Forwarding to another channel")
    room.hears(":Me[1]!u@h JOIN ##new")
    room.minutes(3)
    assert room.joins.names == ["#old"]
    assert room.said == [
        "cannot join #old: Forwarding to another channel (##new); trying again every 60 s",
        "in ##new as Me[1], instead of #old",
    ]
    room.hears(":op!u@h KICK ##new Me[1] :out")
    clock[0] += 6
    room.minutes(1)
    assert room.joins.names == ["#old", "#old"]


def test_being_in_a_channel_is_known_by_the_servers_names(clock: Any) -> None:
    """BEHAVIOURS 53: a server may answer #Foo[x] with #foo{x}; our nick may come back so, too."""
    room = Room(clock, "#Foo[x]")
    room.minutes(1)
    room.hears(":me{1}!u@h JOIN #foo{x}")
    room.minutes(3)
    assert room.joins.names == ["#Foo[x]"]
    room.hears(":s 482 me #Foo[x] :You're not channel operator")
    assert room.said == ["in #foo{x} as Me[1]"]
    room.hears(":op!u@h KICK #FOO[X] me{1} :out")
    clock[0] += 6
    room.minutes(1)
    assert room.joins.names == ["#Foo[x]"] * 2


def test_two_channels_that_only_unicode_takes_for_one_are_two(clock: Any) -> None:
    """BEHAVIOURS 53: #É and #é; being in one, the other was never joined."""
    room = Room(clock, "#É", "#é")
    room.minutes(1)
    room.hears(":Me[1]!u@h JOIN #É")
    room.minutes(1)
    assert room.joins.names == ["#É", "#é", "#é"]


def test_all_are_joined_whatever_the_case_of_their_names(clock: Any) -> None:
    """BEHAVIOURS 53: with a capital in a channel's name it never was so."""
    room = Room(clock, "#Lab", "#Foo[x]", "#foo{X}")
    room.hears(":Me[1]!u@h JOIN #Lab")
    assert not room.channels.joined_all
    room.hears(":Me[1]!u@h JOIN #foo{x}")
    assert room.channels.joined_all
    room.hears(":op!u@h KICK #lab Me[1] :out")
    assert not room.channels.joined_all
