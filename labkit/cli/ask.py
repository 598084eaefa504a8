"""Commands that ask a window for some records or numbers: sql, latest, around."""

from __future__ import annotations

import argparse
import json
import re
from typing import TYPE_CHECKING

from labkit.cli.common import INCOMPLETE, OK, WINDOW, Commands, command, json_option, profile_options
from labkit.cli.discover import record_lines, records_as_json
from labkit.cli.terminal import out, print_table, say
from labkit.cli.windows import asked_window
from labkit.errors import UsageError
from labkit.options import window_options

if TYPE_CHECKING:
    from labkit.sinks.replay import Replay


def register(commands: Commands) -> None:
    """Add the family's commands."""
    sql = command(commands, "sql", _sql, "ask a window in SQL (DuckDB's), in constant memory")
    latest = command(commands, "latest", _latest, "show the newest record of each key; deleted keys are left out")
    around = command(commands, "around", _around, "show a record's neighbours in time, in all partitions")
    for parser in (sql, latest, around):
        window_options(profile_options(parser, "lab"), f"a topic, or {WINDOW}FILE: what `labkit window --json` printed")
        parser.add_argument("--decode", metavar="NAME", help="as `labkit replay --decode`")
        json_option(parser)
    sql.add_argument("query", metavar="SQL", help='"select nick, count(*) n from replay group by 1"')
    sql.add_argument("--key-decode", metavar="NAME", help="the same for keys (default: raw)")
    sql.add_argument("--where", metavar="CONDITION", help="leave other records out while reading")
    latest.add_argument("--key", metavar="NAME", help="which keys are the same, by a decoder (default: by their bytes)")
    around.add_argument("place", metavar="PARTITION:OFFSET", help="the record, such as 2:4711")
    around.add_argument("--before", type=int, default=10, metavar="N", help="how many before it (default: 10)")
    around.add_argument("--after", type=int, default=10, metavar="N", help="how many after it (default: 10)")


def _sql(options: argparse.Namespace) -> None:
    found = asked_window(options).sql(
        options.query, decode=options.decode, key_decode=options.key_decode, where=options.where
    )
    print_table(found, options)


def _latest(options: argparse.Namespace) -> int:
    return _show(asked_window(options).latest(options.key, decode=options.decode), options)


def _around(options: argparse.Namespace) -> int:
    place = re.fullmatch(r"(\d+):(\d+)", options.place)
    if place is None:
        raise UsageError(f"{options.place!r} is not a record's place", hint="write PARTITION:OFFSET, such as 2:4711")
    found = asked_window(options).around(
        int(place[1]), int(place[2]), before=options.before, after=options.after, decode=options.decode
    )
    return _show(found, options)


def _show(found: Replay, options: argparse.Namespace) -> int:
    if options.json:
        out(json.dumps(records_as_json(found), ensure_ascii=False))
    else:
        for line in record_lines(found.table):
            out(line)
        if found.receipt.notes:
            say(found.receipt.notes[-1])
    return OK if found.receipt.complete else INCOMPLETE
