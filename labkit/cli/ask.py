"""Commands that ask a window for some records or numbers: sql, latest, around."""

from __future__ import annotations

import argparse

from labkit.cli.common import (
    Commands,
    command,
    json_option,
    key_decode_option,
    source_options,
)
from labkit.cli.discover import record_place, show_records
from labkit.cli.terminal import print_table, say
from labkit.cli.windows import window_from
from labkit.text.counts import number_of


def register(commands: Commands) -> None:
    """Add the family's commands."""
    sql = command(commands, "sql", _sql, "ask a window in SQL (DuckDB's), in constant memory")
    latest = command(
        commands, "latest", _latest, "show the newest record of each key; deleted keys are left out"
    )
    around = command(
        commands, "around", _around, "show a record's neighbours in time, in all partitions"
    )
    for parser in (sql, latest, around):
        source_options(parser)
        parser.add_argument("--decode", metavar="NAME", help="as `labkit replay --decode`")
        json_option(parser)
    sql.add_argument(
        "query", metavar="SQL", help='"select nick, count(*) n from replay group by 1"'
    )
    sql.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write a file; .parquet, .csv, .xlsx, .jsonl or .arrow says its format",
    )
    key_decode_option(sql)
    key_decode_option(around)
    sql.add_argument("--where", metavar="CONDITION", help="leave other records out while reading")
    latest.add_argument(
        "--key",
        "--key-decode",
        dest="key_decode",
        metavar="NAME",
        help="which keys are the same, by a decoder (default: by their bytes)",
    )
    around.add_argument("place", metavar="PARTITION:OFFSET", help="the record, such as 2:4711")
    around.add_argument(
        "--before", type=int, default=10, metavar="N", help="how many before it (default: 10)"
    )
    around.add_argument(
        "--after", type=int, default=10, metavar="N", help="how many after it (default: 10)"
    )


def _sql(options: argparse.Namespace) -> None:
    if options.output:
        from labkit.files.formats import format_of

        format_of(options.output)  # a name that says no format is refused before anything is read
    answer = window_from(options).sql(
        options.query, decode=options.decode, key_decode=options.key_decode, where=options.where
    )
    receipt = answer.attrs["receipts"]["replay"]
    if not receipt["read"] and receipt["notes"]:
        say(receipt["notes"][-1])
    if not options.output:
        print_table(answer, options, why_empty="the answer has no row")
        return
    from labkit.sinks.answer import write_answer

    write_answer(answer, options.output)
    rows, columns = number_of(len(answer), "row"), number_of(len(answer.columns), "column")
    say(f"{options.output}: {rows}, {columns}")


def _latest(options: argparse.Namespace) -> int:
    window = window_from(options)
    replay = window.latest(options.key_decode, decode=options.decode, on_interrupt="keep")
    return show_records(replay, options)


def _around(options: argparse.Namespace) -> int:
    partition, offset = record_place(options.place)
    replay = window_from(options).around(
        partition,
        offset,
        before=options.before,
        after=options.after,
        decode=options.decode,
        key_decode=options.key_decode,
        on_interrupt="keep",
    )
    return show_records(replay, options)
