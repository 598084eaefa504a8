"""Commands that freeze and read windows: window, replay."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from labkit import interrupt
from labkit.cli.common import INCOMPLETE, OK, Commands, command, json_option, open_lab, profile_options, say
from labkit.options import window_bounds, window_options

if TYPE_CHECKING:
    from labkit.window import Window


def register(commands: Commands) -> None:
    """Add the family's commands."""
    window = command(commands, "window", _window, "freeze a window and show it")
    replay = command(
        commands, "replay", _replay, "read a window: values or decoded fields to standard output, or a file"
    )
    for parser in (window, replay):
        json_option(profile_options(parser, "lab"))
        window_options(parser)
    replay.add_argument("-o", "--output", metavar="FILE", help="write a Parquet file")
    replay.add_argument("--scratch", metavar="NAME", help="load a scratch index")
    replay.add_argument("--ttl", default="2d", help="when the scratch index expires (default: 2d)")
    replay.add_argument("--target", default="default", help="the Elasticsearch cluster")
    decoders = "json, text, raw, avro, protobuf, jsonschema or auto"
    replay.add_argument("--decode", metavar="NAME", help=f"{decoders} (Parquet: json; else the values as they are)")
    replay.add_argument("--key-decode", metavar="NAME", default="raw", help="the same for keys (default: raw)")
    replay.add_argument("--isolation", default="read_committed", choices=("read_committed", "read_uncommitted"))
    replay.add_argument("--on-expired", default="error", choices=("error", "clamp"))
    replay.add_argument("--deadline", metavar="TIME", help="end, incomplete, after so long")


def _asked_window(options: argparse.Namespace) -> Window:
    return open_lab(options).window(options.topic, **window_bounds(options))


def _window(options: argparse.Namespace) -> None:
    window = _asked_window(options)
    print(window.to_json() if options.json else window)


def _replay(options: argparse.Namespace) -> int:
    window = _asked_window(options)
    common = {"isolation": options.isolation, "on_expired": options.on_expired, "deadline": options.deadline}
    if options.scratch:
        load = window.to_scratch(options.scratch, ttl=options.ttl, target=options.target, **common)
        ledger = {"index": load.index.name, "counts": load.counts, "receipt": load.receipt.to_dict()}
        print(json.dumps(ledger) if options.json else load)
        return OK if load.complete else INCOMPLETE
    if options.output:
        decode = options.decode or "json"
        receipt = window.to_parquet(options.output, decode=decode, key_decode=options.key_decode, **common)
    elif options.decode or options.key_decode != "raw":
        receipt = _decoded(window, options, **common)
    else:
        receipt = _values(window, quiet=options.json, **common)
    if options.json:
        print(receipt.to_json())
    else:
        say(str(receipt))
    return OK if receipt.complete else INCOMPLETE


def _values(window: Window, *, quiet: bool, **common: Any) -> Any:
    """Write each value on a line of standard output."""
    reading = window.reading(**common)
    with interrupt.asked() as reading.interrupted:
        for batch in reading.batches():
            if not quiet:
                sys.stdout.buffer.writelines((value or b"") + b"\n" for value in batch.column("value").to_pylist())
        sys.stdout.flush()
    return reading.receipt()


def _decoded(window: Window, options: argparse.Namespace, **common: Any) -> Any:
    """Write each record's decoded fields as a line of JSON."""
    from labkit.load.lines import lines

    reading = window.reading(**common)
    written, receipt = lines(
        reading, decode=options.decode or "json", key_decode=options.key_decode, registry=window.lab.registry
    )
    with interrupt.asked() as reading.interrupted:
        for line in written:
            if not options.json:
                sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return receipt()
