"""Commands that show what is in a topic: profile, find."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from labkit.cli.common import (
    INCOMPLETE,
    OK,
    Commands,
    command,
    decode_option,
    json_option,
    key_decode_option,
    open_lab,
    profile_options,
    source_options,
    where_option,
)
from labkit.cli.records import fields_asked_for, record_lines, record_objects
from labkit.cli.terminal import answer, out, say
from labkit.cli.windows import window_from
from labkit.errors import UsageError

if TYPE_CHECKING:
    from labkit.sinks.replay import Replay


def register(commands: Commands) -> None:
    """Add the family's commands."""
    profile = command(
        commands,
        "profile",
        _profile,
        "show what is in a topic: fields, types, values, keys, volume",
    )
    source_options(profile)
    profile.add_argument(
        "--sample", metavar="N", help="look at N records only, spread evenly (default: at all)"
    )
    decode_option(profile)
    key_decode_option(profile)
    where_option(profile)
    json_option(profile)
    find = command(commands, "find", _find, "find records by a text or a pattern, the newest first")
    source_options(find)
    find.add_argument(
        "what",
        metavar="WHAT",
        help="a text that must be in it; a terminal shows the part around it, --json all",
    )
    find.add_argument(
        "--regex", action="store_true", help="WHAT is a regular expression, as Python has them"
    )
    find.add_argument(
        "--ignore-case",
        action="store_true",
        help="upper and lower case are the same",
    )
    find.add_argument(
        "--field", metavar="NAME", help="only in this field, such as message or author.name"
    )
    find.add_argument(
        "--in",
        dest="places",
        action="append",
        choices=("value", "key", "headers"),
        help="where to look (default: value); may be given again",
    )
    find.add_argument(
        "--limit", default="20", metavar="N", help="how many records at most (default: 20)"
    )
    find.add_argument("--oldest", action="store_true", help="the oldest first")
    decode_option(find)
    key_decode_option(find)
    json_option(find)
    trace = command(
        commands,
        "trace",
        _trace,
        "follow one record: in the topic, past the group, in the index, or why not",
    )
    profile_options(trace, "lab")
    trace.add_argument("topic", metavar="TOPIC")
    trace.add_argument(
        "place", nargs="?", metavar="PARTITION:OFFSET", help="the record, such as 2:4711; or --key"
    )
    trace.add_argument("--key", help="in its place: the newest record with this key")
    trace.add_argument("--index", metavar="NAME", help="the index it should be in")
    trace.add_argument("--group", metavar="GROUP", help="the group that should have read it")
    trace.add_argument("--where", metavar="SQL", help="the condition that leaves records out")
    trace.add_argument("--dead-letter", metavar="FILE|index:NAME", help="where refused records go")
    trace.add_argument(
        "--id", metavar="_ID", help="the document's _id (default: TOPIC-PARTITION-OFFSET)"
    )
    trace.add_argument(
        "--target", default="default", metavar="NAME", help="the Elasticsearch cluster"
    )
    decode_option(trace)
    key_decode_option(trace)
    json_option(trace)


def _profile(options: argparse.Namespace) -> int:
    from labkit.profile.text import as_text

    profile = window_from(options).profile(
        sample=options.sample,
        decode=options.decode,
        key_decode=options.key_decode,
        where=options.where,
        on_interrupt="keep",
    )
    if options.json:
        out(profile.to_json())
    else:
        out(as_text(profile, shutil.get_terminal_size().columns if sys.stdout.isatty() else 80))
    return OK if profile.receipt is None or profile.receipt.complete else INCOMPLETE


def _find(options: argparse.Namespace) -> int:
    what = options.what if options.regex else re.escape(options.what)
    has_pattern = options.what and (options.regex or options.ignore_case)
    needle = _pattern(what, options.ignore_case) if has_pattern else options.what
    replay = window_from(options).find(
        needle, field=options.field, limit=options.limit, newest=not options.oldest,
        in_=options.places or ("value",), decode=options.decode, key_decode=options.key_decode,
        on_interrupt="keep",
    )  # fmt: skip
    return show_records(replay, options, partial(_place_of, needle))


def _place_of(needle: str | re.Pattern[str], text: str) -> int:
    """Return where in a text it was found; 0 where it was in another, or is written otherwise."""
    if isinstance(needle, str):
        return max(0, text.find(needle))
    hit = needle.search(text)
    return 0 if hit is None else hit.start()


def show_records(
    replay: Replay, options: argparse.Namespace, place_of: Callable[[str], int] = lambda value: 0
) -> int:
    """Print records, and the last note of their receipt; return the exit code.

    `place_of` tells which place of a value must be in sight.
    """
    from labkit.sinks.replay_filter import as_in_topic

    records, values = as_in_topic(replay.table), fields_asked_for(replay.table, options)
    if options.json:
        objects = ", ".join(record_objects(records, values))
        out(f'{{"records": [{objects}], "receipt": {replay.receipt.to_json()}}}')
    else:
        for line in record_lines(records, values, place_of):
            out(line)
        if replay.receipt.notes:
            say(replay.receipt.notes[-1])
    if not replay.receipt.complete:
        say(str(replay.receipt).splitlines()[0])
    return OK if replay.receipt.complete else INCOMPLETE


def record_place(text: str) -> tuple[int, int]:
    """Return the partition and offset of ``PARTITION:OFFSET``, or of ``PARTITION@OFFSET``.

    The latter is how records are listed.
    """
    place = re.fullmatch(r"(\d+)[:@](\d+)", text)
    if place is None:
        raise UsageError(
            f"{text!r} is not a record's place", hint="write PARTITION:OFFSET, such as 2:4711"
        )
    return int(place[1]), int(place[2])


def _pattern(text: str, ignore_case: bool) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise UsageError(
            f"{text!r} is not a regular expression: {error}", hint="such as 'time ?out'"
        ) from error


def _trace(options: argparse.Namespace) -> int:
    if (options.place is None) == (options.key is None):
        raise UsageError(
            "trace takes a record's place, or its key",
            hint="`labkit trace irc 2:4711`, or `labkit trace irc --key '#kafka'`",
        )
    partition, offset = (None, None) if options.place is None else record_place(options.place)
    trace = open_lab(options).trace(
        options.topic, partition, offset, key=options.key, index=options.index, group=options.group,
        where=options.where, dead_letters=options.dead_letter, document_id=options.id, target=options.target,
        decode=options.decode, key_decode=options.key_decode,
    )  # fmt: skip
    answer(options, trace.to_json, trace)
    return OK if {step.state for step in trace.steps} <= {"yes"} else INCOMPLETE
