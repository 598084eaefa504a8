"""What an IRC line becomes.

The lines are shaped like those of ngircd, InspIRCd and the IRCv3 examples.
"""

from __future__ import annotations

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labkit.pipelines.irc.casemapping import CaseMapping
from labkit.pipelines.irc.record import Record, ip, parse, record, text

KEYS = ["@timestamp", "command", "channel", "nick", "user", "host", "ip", "server", "message"]
RECEIVED = 1_456_833_600_123  # 2016-03-01T12:00:00.123Z


def made(line: bytes) -> Record | None:
    return record(
        line, received_ms=RECEIVED, server="irc.example.org", sequence=7, fold=CaseMapping().fold
    )


def fields(line: bytes) -> dict[str, str | None]:
    message = made(line)
    assert message is not None
    return orjson.loads(message.value)


def test_a_message_has_every_field_in_order() -> None:
    message = made(b":ann!~a@192.0.2.7 PRIVMSG #Lab :hello  there :)")
    assert message is not None
    value = orjson.loads(message.value)
    assert list(value) == KEYS
    assert value == {
        "@timestamp": "2016-03-01T12:00:00.123Z",
        "command": "PRIVMSG",
        "channel": "#Lab",
        "nick": "ann",
        "user": "~a",
        "host": "192.0.2.7",
        "ip": "192.0.2.7",
        "server": "irc.example.org",
        "message": "hello  there :)",
    }
    assert message.key == b"#lab"
    assert message.timestamp_ms == RECEIVED
    assert message.headers == [
        ("irc.line", b":ann!~a@192.0.2.7 PRIVMSG #Lab :hello  there :)"),
        ("labkit.received", b"2016-03-01T12:00:00.123Z"),
        ("labkit.server", b"irc.example.org"),
        ("labkit.sequence", b"7"),
    ]


@pytest.mark.parametrize(
    ("line", "command", "channel", "message"),
    [
        (b":a!u@h NOTICE #c :psst", "NOTICE", "#c", "psst"),
        (b":a!u@h PRIVMSG #c :\x01ACTION waves\x01", "ACTION", "#c", "waves"),
        (b":a!u@h PRIVMSG #c :\x01ACTION waves", "ACTION", "#c", "waves"),
        (b":a!u@h PRIVMSG #c :\x01VERSION\x01", "PRIVMSG", "#c", "\x01VERSION\x01"),
        (b":a!u@h PRIVMSG #c word", "PRIVMSG", "#c", "word"),
        (b":a!u@h PRIVMSG #c :", "PRIVMSG", "#c", ""),
        (b":a!u@h PRIVMSG @#c :ops only", "PRIVMSG", "#c", "ops only"),
        (b":a!u@h PRIVMSG +plus :modeless", "PRIVMSG", "+plus", "modeless"),
        (b":a!u@h JOIN :#c", "JOIN", "#c", None),
        (b":a!u@h JOIN #c account :Real Name", "JOIN", "#c", None),
        (b":a!u@h PART #c", "PART", "#c", None),
        (b":a!u@h PART #c :so long", "PART", "#c", "so long"),
        (b":a!u@h QUIT :Ping timeout", "QUIT", None, "Ping timeout"),
        (b":a!u@h QUIT", "QUIT", None, None),
        (b":a!u@h NICK :b", "NICK", None, "b"),
        (b":a!u@h TOPIC #c :new topic", "TOPIC", "#c", "new topic"),
        (b":a!u@h KICK #c bob :be nice", "KICK", "#c", "bob be nice"),
        (b":a!u@h privmsg #c :lower case command", "PRIVMSG", "#c", "lower case command"),
    ],
)
def test_each_command_has_its_channel_and_message(
    line: bytes, command: str, channel: str | None, message: str | None
) -> None:
    value = fields(line)
    assert (value["command"], value["channel"], value["message"]) == (command, channel, message)
    assert (value["nick"], value["user"], value["host"]) == ("a", "u", "h")


@pytest.mark.parametrize(
    "line",
    [
        b"PING :irc.example.org",
        b":irc.example.org 332 me #c :the topic as it is",
        b":a!u@h PRIVMSG me :for your eyes only",
        b":irc.example.org NOTICE * :*** Looking up your hostname",
        b":a!u@h MODE #c +o b",
        b":a!u@h TAGMSG #c",
        b"ERROR :Closing connection",
    ],
)
def test_what_is_not_about_a_channel_is_no_record(line: bytes) -> None:
    assert made(line) is None


@pytest.mark.parametrize(
    "line",
    [
        b":a!u@h PRIVMSG #c",
        b"QUIT",
        b":",
        b"@tags-only",
        b":a!u@h",
        b" PRIVMSG #c :x",
        b"\xff\xfe",
        b"JOIN #c",
    ],
)
def test_lines_that_cannot_be_parsed_are_kept(line: bytes) -> None:
    value = fields(line)
    assert (value["command"], value["channel"], value["message"]) == ("UNPARSED", None, text(line))


def test_quits_and_renames_of_a_server_stay_in_order() -> None:
    chain = [made(line) for line in (b":a!u@h NICK b", b":b!u@h NICK c", b":c!u@h QUIT")]
    assert {found.key for found in chain if found} == {b"irc.example.org"}


def test_bytes_that_are_not_utf8_stay_readable_field_by_field() -> None:
    value = fields(b":b\xf6rje!u@h PRIVMSG #caf\xc3\xa9 :na\xefve \x93quoted\x94 \x80 5 \x81")
    assert value["nick"] == "börje"
    assert value["channel"] == "#café"
    assert value["message"] == "naïve “quoted” € 5 \x81"


def test_the_servers_time_wins_and_an_unsound_one_does_not() -> None:
    message = made(b"@msgid=x;time=2011-10-19T16:40:51.620Z :a!u@h PRIVMSG #c :hi")
    assert message is not None
    assert orjson.loads(message.value)["@timestamp"] == "2011-10-19T16:40:51.620Z"
    assert message.timestamp_ms == 1_319_042_451_620
    assert message.headers[1] == ("labkit.received", b"2016-03-01T12:00:00.123Z")
    for unsound in (
        b"yesterday",
        b"",
        b"1319042451",
        b"1969-12-31T00:00:00Z",
        b"0001-01-01T00:00:00+23:00",
    ):
        message = made(b"@time=" + unsound + b" :a!u@h PRIVMSG #c :hi")
        assert message is not None
        assert message.timestamp_ms == RECEIVED


def test_tags_are_unescaped() -> None:
    line = parse(rb"@a=x\:y\sz\\;b;c=tr\ail\ PING x")
    assert line is not None
    assert line.tags == {b"a": b"x;y z\\", b"b": b"", b"c": b"trail"}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("0::1", "::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("host.example.org", None),
        ("user/ann", None),
        ("192.0.2", None),
        (None, None),
    ],
)
def test_a_host_that_is_an_address_is_the_ip(host: str | None, expected: str | None) -> None:
    assert ip(host) == expected


def test_a_server_speaks_without_a_nick() -> None:
    value = fields(b":irc.example.org NOTICE #c :going down")
    assert (value["nick"], value["host"]) == (None, "irc.example.org")


word = st.binary(max_size=12)
shaped = st.builds(
    lambda tags, source, command, rest: b"@" + tags + b" :" + source + b" " + command + b" " + rest,
    word | word.map(lambda value: b"time=" + value),
    word | st.tuples(word, word, word).map(lambda it: b"%b!%b@%b" % it),
    st.sampled_from(
        [b"PRIVMSG", b"NOTICE", b"JOIN", b"PART", b"QUIT", b"TOPIC", b"NICK", b"KICK", b"001"]
    ),
    word | st.tuples(word, word).map(lambda it: b"#%b :%b" % it),
)


@given(st.binary(max_size=200) | shaped)
@example(b":a QUIT\x00")
@example(b"@time=9999-12-31T23:59:59.9999 :a!u@h PRIVMSG #c :x")
def test_no_bytes_raise_and_the_line_is_untouched(line: bytes) -> None:
    message = made(line)
    if message is None:
        assert parse(line) is not None  # only what was understood is left out
        return
    value = orjson.loads(message.value)
    assert list(value) == KEYS
    assert message.headers[0] == ("irc.line", line)
    assert message.timestamp_ms > 0
    assert message.command == value["command"]


@given(st.binary())
def test_text_takes_any_bytes_and_loses_none(raw: bytes) -> None:
    shown = text(raw)
    shown.encode()  # no lone surrogates: JSON can hold it
    assert len(shown) <= len(raw)


@given(st.text())
def test_text_of_utf8_is_the_text(value: str) -> None:
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        return
    assert text(raw) == value
