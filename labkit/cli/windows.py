"""Commands that freeze and read windows: window, replay."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from typing import TYPE_CHECKING, Any

from labkit.checks.options import window_bounds
from labkit.cli.common import (
    INCOMPLETE,
    OK,
    WINDOW,
    Commands,
    command,
    enrich_chain,
    enrich_options,
    json_option,
    key_decode_option,
    metadata_option,
    open_lab,
    source_options,
    where_option,
    window_of,
)
from labkit.cli.terminal import answer, out, say, write_lines, write_values
from labkit.errors import IncompleteWarning, UsageError
from labkit.waiting import interrupt

if TYPE_CHECKING:
    from labkit.window import Window


def register(commands: Commands) -> None:
    """Add the family's commands."""
    window = command(commands, "window", _window, "freeze a window and show it")
    replay = command(
        commands,
        "replay",
        _replay,
        "read a window: values or decoded fields to standard output, or a file",
    )
    for parser in (window, replay):
        source_options(parser)
    json_option(window)
    replay.add_argument(
        "--json", action="store_true", help="print the receipt, or counts, as JSON and no record"
    )
    where = replay.add_mutually_exclusive_group()
    where.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write a file; .parquet, .csv, .xlsx, .jsonl or .arrow says its format",
    )
    where.add_argument("--scratch", metavar="NAME", help="load a scratch index")
    where.add_argument(
        "--to-topic",
        metavar="NAME",
        help="copy the records into a scratch topic: labkit.<user>.NAME",
    )
    replay.add_argument(
        "--into",
        type=int,
        metavar="N",
        help="into so many partitions, anew by key (default: as they were)",
    )
    replay.add_argument(
        "--speed",
        metavar="SPEED",
        help="into a topic at the records' own pace: original, or 10x as fast",
    )
    replay.add_argument(
        "--envelope",
        action="store_true",
        help="into a .jsonl: topic, key, headers … with each value",
    )
    replay.add_argument(
        "--formula-safe", action="store_true", help="into a .csv: disarm what looks like a formula"
    )
    replay.add_argument(
        "--ttl", metavar="TIME", help="when the scratch index or topic expires (default: 2d)"
    )
    replay.add_argument(
        "--target", metavar="NAME", help="the Elasticsearch cluster (default: default)"
    )
    metadata_option(replay)
    decoders = "json, text, raw, avro, protobuf, jsonschema, auto, avro:FILE.avsc or protobuf:FILE.proto#MESSAGE"
    replay.add_argument(
        "--decode",
        metavar="NAME",
        help=f"{decoders} (into a file or an index: as labkit.toml says, or json; else as they are)",
    )
    key_decode_option(replay)
    where_option(replay)
    enrich_options(replay)
    replay.add_argument(
        "--isolation", default="read_committed", choices=("read_committed", "read_uncommitted")
    )
    replay.add_argument("--on-expired", default="error", choices=("error", "clamp"))
    replay.add_argument("--deadline", metavar="TIME", help="end, incomplete, after so long")


def window_from(options: argparse.Namespace) -> Window:
    """Return the window that a topic and its bounds, or a file, name."""
    bounds = window_bounds(options)  # a misspelt bound fails first, with or without a cluster
    if not options.topic.startswith(WINDOW):
        return open_lab(options).window(options.topic, **bounds)
    if bounds:
        raise UsageError(
            f"--{next(iter(bounds))} changes nothing: {options.topic} is frozen",
            hint="leave it out",
        )
    return window_of(open_lab(options), options.topic.removeprefix(WINDOW))


def _window(options: argparse.Namespace) -> None:
    from labkit.replay.sample import where_records_are

    window = window_from(options)
    answer(options, window.to_json, window)
    if not window.plan.size:
        say(where_records_are(window.lab.cluster, window.plan.topic))


def _replay(options: argparse.Namespace) -> int:
    _check(options)
    window, chain = window_from(options), enrich_chain(options)
    common: dict[str, Any] = {
        "isolation": options.isolation,
        "on_expired": options.on_expired,
        "deadline": options.deadline,
    }
    if options.scratch:
        ttl, target = options.ttl or "2d", options.target or "default"
        load = window.to_scratch(
            options.scratch, ttl=ttl, target=target, where=options.where, enrich=chain.enrichers,
            decode=options.decode, key_decode=options.key_decode, metadata=options.metadata,
            on_interrupt="keep", **common,
        )  # fmt: skip
        summary = {
            "index": load.index.name,
            "counts": load.counts,
            "receipt": load.receipt.to_dict(),
        }
        answer(options, lambda: json.dumps(summary), load)
        return OK if load.complete else INCOMPLETE
    if options.to_topic:
        return _copy(window, options, **common)
    if options.output:
        receipt = _file(window, options, enrich=chain.enrichers, where=options.where, **common)
    elif options.decode or options.key_decode:
        receipt = _write_decoded(window, options, **common)
    else:
        receipt = _values(window, options, **common)
    if options.json:
        out(receipt.to_json())
    else:
        say(receipt)
    return OK if receipt.complete else INCOMPLETE


def _check(options: argparse.Namespace) -> None:
    """Refuse an option that changes nothing, and a file's name that says another format."""
    if options.output:
        from labkit.files.formats import CSV, JSONL, format_of

        file_format = format_of(options.output)
    index, topic, file = options.scratch, options.to_topic, options.output
    # each option, what it goes with, and whether that is there
    bound = [
        ("--envelope", options.envelope, "-o FILE.jsonl", file and file_format is JSONL),
        ("--formula-safe", options.formula_safe, "-o FILE.csv", file and file_format is CSV),
        ("--into", options.into is not None, "--to-topic", topic),
        ("--speed", options.speed, "--to-topic", topic),
        ("--ttl", options.ttl, "--scratch or --to-topic", index or topic),
        ("--target", options.target, "--scratch", index),
        ("--metadata", options.metadata, "--scratch", index),
        ("--enrich", options.enrich, "--scratch or -o", index or file),
        ("--transform", options.transform, "--scratch or -o", index or file),
    ]
    for name, given, partner, is_there in bound:
        if given and not is_there:
            raise UsageError(f"{name} changes nothing here", hint=f"it goes with {partner}")


def _file(window: Window, options: argparse.Namespace, **arguments: Any) -> Any:
    """Write the format that the file's name says."""
    from labkit.files.formats import format_of

    arguments |= {"decode": options.decode, "key_decode": options.key_decode}
    if options.envelope:
        arguments["envelope"] = True
    if options.formula_safe:
        arguments["formula_safe"] = True
    # the receipt is printed
    with warnings.catch_warnings(category=IncompleteWarning, action="ignore"):
        return getattr(window, format_of(options.output).method)(options.output, **arguments)


def _copy(window: Window, options: argparse.Namespace, **common: Any) -> int:
    """Copy the records into a scratch topic."""
    with warnings.catch_warnings(
        category=IncompleteWarning, action="ignore"
    ):  # the copy is printed
        copy = window.to_topic(
            options.to_topic, ttl=options.ttl or "2d", partitions=options.into, speed=options.speed,
            where=options.where, decode=options.decode, key_decode=options.key_decode, on_interrupt="keep", **common,
        )  # fmt: skip
    summary = {
        "topic": copy.topic,
        "counts": copy.counts,
        "expires": copy.expires,
        "receipt": copy.receipt.to_dict(),
    }
    answer(options, lambda: json.dumps(summary), copy)
    return OK if copy.complete else INCOMPLETE


def _values(window: Window, options: argparse.Namespace, **common: Any) -> Any:
    """Write each value on a line of standard output."""
    from labkit.read_spec import ReadSource
    from labkit.replay.sample import explain_empty

    records = ReadSource.of(window, where=options.where, **common).without_decoding()
    with interrupt.listen() as cancelled:
        for batch in records.raw(cancelled):
            if not options.json:
                write_values(batch.column("value").to_pylist())
        sys.stdout.flush()
    return explain_empty(window.lab.cluster, records.final_receipt())


def _write_decoded(window: Window, options: argparse.Namespace, **common: Any) -> Any:
    """Write each record's decoded fields as a line of JSON."""
    from labkit.read_spec import ReadSource
    from labkit.replay.sample import explain_empty
    from labkit.sinks.jsonl import lines

    source = ReadSource.of(
        window, decode=options.decode, key_decode=options.key_decode, where=options.where, **common
    )
    with interrupt.listen() as cancelled:
        written, receipt = lines(source, cancelled)
        write_lines(line for line in written if not options.json)
        sys.stdout.flush()
    return explain_empty(window.lab.cluster, receipt())
