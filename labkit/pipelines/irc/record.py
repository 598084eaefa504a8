"""One line of IRC as the record an extractor writes. Pure.

The line is taken apart as bytes and each field decoded on its own, so one field in an old encoding
does not garble the others. The grammar is https://modern.ircdocs.horse/#message-format.
"""

from __future__ import annotations

import codecs
import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple

import orjson

from labkit.pipelines.delivery import kafka_ms
from labkit.times import iso

UNPARSED = "UNPARSED"

# cp1252 leaves five bytes undefined; there latin-1's control characters stand in, so that every
# byte has a character
_CP1252 = "".join(
    chr(byte) if byte in {0x81, 0x8D, 0x8F, 0x90, 0x9D} else bytes([byte]).decode("cp1252")
    for byte in range(256)
)
_LINE = re.compile(
    rb"(?:@(?P<tags>[^ ]*) +)?(?::(?P<source>[^ ]+) +)?(?P<command>[A-Za-z]+|[0-9]{3})(?: (?P<rest>.*))?",
    re.DOTALL,
)
_SOURCE = re.compile(rb"(?P<nick>[^!@]*)(?:!(?P<user>[^@]*))?(?:@(?P<host>.*))?", re.DOTALL)
_CHANNEL = re.compile(rb"[@%&~]*\+?(?=[#&+!])")  # "@#a" is a message to the operators of #a
_ACTION = re.compile(rb"\x01ACTION(?: ([^\x01]*))?\x01?", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.?)", re.DOTALL)
_ESCAPES = {b":": b";", b"s": b" ", b"r": b"\r", b"n": b"\n"}

# how many parameters a command needs before it says anything
_NEEDED = {
    b"PRIVMSG": 2,
    b"NOTICE": 2,
    b"JOIN": 1,
    b"PART": 1,
    b"QUIT": 0,
    b"TOPIC": 1,
    b"NICK": 1,
    b"KICK": 2,
}
# these are about somebody, and say nothing without the source
_PERSONAL = {b"JOIN", b"PART", b"QUIT", b"NICK"}


class Line(NamedTuple):
    """One line of IRC, taken apart, not yet decoded."""

    tags: dict[bytes, bytes]
    nick: bytes | None
    user: bytes | None
    host: bytes | None
    command: bytes
    params: list[bytes]


class Record(NamedTuple):
    """What is sent to Kafka."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    timestamp_ms: int
    command: str


def text(raw: bytes) -> str:
    """Return `raw` as text: UTF-8 when it is, else cp1252, which is what old clients send.

    Never fails.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return codecs.charmap_decode(raw, "strict", _CP1252)[0]


def parse(line: bytes) -> Line | None:
    """Take a line apart; None when it is not IRC's grammar."""
    parts = _LINE.fullmatch(line)
    if parts is None:
        return None
    nick, user, host = _source(parts["source"])
    return Line(
        _tags(parts["tags"]), nick, user, host, parts["command"].upper(), _params(parts["rest"])
    )


def _params(rest: bytes | None) -> list[bytes]:
    rest = (rest or b"").lstrip(b" ")
    if rest.startswith(b":"):
        return [rest[1:]]
    middle, colon, trailing = rest.partition(b" :")
    params = [item for item in middle.split(b" ") if item]
    return [*params, trailing] if colon else params


def _source(source: bytes | None) -> tuple[bytes | None, bytes | None, bytes | None]:
    if source is None:
        return None, None, None
    parts = _SOURCE.fullmatch(source)
    nick, user, host = parts.groups() if parts else (source, None, None)
    if user is None and host is None and b"." in nick:
        return None, None, nick  # a nick has no dot in it: a server speaks
    return nick or None, user, host


def _tags(raw: bytes | None) -> dict[bytes, bytes]:
    tags = {}
    for item in (raw or b"").split(b";"):
        name, _, value = item.partition(b"=")
        tags[name] = _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]), value)
    return tags


def ip(host: str | None) -> str | None:
    """Return `host` when it is an IP address, written the usual way.

    ``::ffff:a.b.c.d`` gives ``a.b.c.d``.
    """
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        # through int: a zone ("%eth0") is no part of an address that another machine could use
        return str(address.ipv4_mapped or ipaddress.IPv6Address(int(address)))
    return str(address)


def time_of(line: Line, received_ms: int) -> int:
    """Return when the line was said.

    It is the server's ``time`` tag when that is sound, else when the line came.
    """
    tag = line.tags.get(b"time")
    return (kafka_ms(text(tag)) if tag is not None else None) or received_ms


def record(
    line: bytes, *, received_ms: int, server: str, sequence: int, fold: Callable[[str], str]
) -> Record | None:
    """Return the record for one line of IRC, or None for a line that is not about a channel.

    Parameters
    ----------
    line : bytes
        As received, without its line end.
    received_ms : int
        When it was received, milliseconds since the epoch.
    server : str
        The server's name as given to the extractor.
    sequence : int
        The record's number within one run of the extractor.
    fold : callable
        Gives names that the server takes for the same one the same text, see
        `labkit.pipelines.irc.casemapping`.

    Returns
    -------
    Record or None
        ``value`` is one JSON object with the keys ``@timestamp, command, channel, nick, user, host,
        ip, server, message``, null where there is nothing to say. ``message`` is the new nick for
        NICK, the victim and the reason for KICK, and the line itself for a line that cannot be
        parsed (``command`` is then ``UNPARSED``). A CTCP ACTION is a command of its own; any other
        CTCP stays a PRIVMSG or NOTICE with its ``\\x01`` marks. The untouched bytes are in the
        header ``irc.line``.

    Notes
    -----
    ``key`` is the channel, folded as the server compares names, so that a channel's records keep
    their order. QUIT and NICK concern every channel the person is in; their key is the server, not
    the nick: a chain of renames (a → b, b → c, c quits) can only be followed when it is in one
    partition, in order, and a nick as key would scatter it. UNPARSED lines go there too. Between
    keys, ``labkit.sequence`` gives the order.

    None for what is sent to the extractor alone (private messages, server notices, numerics, PING):
    a private message is not for a topic that others read.
    """
    line_parts = parse(line)
    is_whole = line_parts is not None and _is_whole(line_parts)
    if line_parts is not None and not is_whole and line_parts.command not in _NEEDED:
        return None
    if line_parts is None or not is_whole:
        fields = _fields(line_parts, command=UNPARSED, channel=None, message=line)
    else:
        parts = _channel_fields(line_parts)
        if parts is None:
            return None
        command, channel, message = parts
        fields = _fields(line_parts, command=command, channel=channel, message=message)
    stamp = time_of(line_parts, received_ms) if line_parts is not None else received_ms
    value = {
        "@timestamp": iso(stamp),
        **{name: fields[name] for name in ("command", "channel", "nick", "user", "host", "ip")},
        "server": server,
        "message": fields["message"],
    }
    headers = [
        ("irc.line", line),
        ("labkit.received", str(iso(received_ms)).encode()),
        ("labkit.server", server.encode()),
        ("labkit.sequence", str(sequence).encode()),
    ]
    channel_name = fields["channel"]
    key = (server.lower() if channel_name is None else fold(channel_name)).encode()
    return Record(key, orjson.dumps(value), headers, stamp, str(fields["command"]))


def _is_whole(line: Line) -> bool:
    """Tell whether a line we keep has all it needs."""
    if line.command not in _NEEDED or len(line.params) < _NEEDED[line.command]:
        return False
    return line.nick is not None or line.command not in _PERSONAL


def _channel_fields(line: Line) -> tuple[str, bytes | None, bytes | None] | None:
    """Return command, channel and message of a line about channels, None for any other."""
    command, params = line.command, line.params
    if command == b"QUIT":
        return "QUIT", None, params[0] if params else None
    if command == b"NICK":
        return "NICK", None, params[0]
    prefix = _CHANNEL.match(params[0])
    if prefix is None:
        return None
    channel = params[0][prefix.end() :]
    if command == b"JOIN":  # with extended-join an account and a real name follow
        return "JOIN", channel, None
    if command == b"PRIVMSG" and (action := _ACTION.fullmatch(params[1])):
        return "ACTION", channel, action[1] or b""
    return command.decode(), channel, b" ".join(params[1:]) if len(params) > 1 else None


def _fields(
    line: Line | None, *, command: str, channel: bytes | None, message: bytes | None
) -> dict[str, str | None]:
    """Decode what a record holds."""
    raw = {"channel": channel, "message": message, "nick": None, "user": None, "host": None}
    if line is not None:
        raw |= {"nick": line.nick, "user": line.user, "host": line.host}
    fields: dict[str, str | None] = {
        name: None if item is None else text(item) for name, item in raw.items()
    }
    return {**fields, "command": command, "ip": ip(fields["host"])}
