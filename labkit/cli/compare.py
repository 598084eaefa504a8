"""The command that compares two downstreams: compare."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from labkit.cli.common import (
    INCOMPLETE,
    OK,
    WINDOW,
    Commands,
    command,
    json_option,
    open_lab,
    profile_options,
    window_of,
)
from labkit.cli.terminal import answer

if TYPE_CHECKING:
    from labkit.lab import Lab

_EPILOG = "Exit codes: 0 the same, 3 different or incomplete, 1 error, 2 usage."


def register(commands: Commands) -> None:
    """Add the command."""
    compare = command(
        commands,
        "compare",
        _compare,
        "compare two indices, or an index and a window, record by record",
    )
    json_option(profile_options(compare, "lab"))
    compare.epilog = _EPILOG
    side = "an index, INDEX@TARGET, or window:FILE with what `labkit window --json` printed"
    compare.add_argument("left", metavar="A", help=side)
    compare.add_argument("right", metavar="B", help="the same")
    compare.add_argument(
        "--key", action="append", metavar="FIELD", help="pairs documents (default: their origin)"
    )
    compare.add_argument(
        "--ignore", action="append", default=[], metavar="FIELD", help="leave it out; * is any text"
    )
    compare.add_argument(
        "--only", action="append", default=[], metavar="FIELD", help="compare it and no other"
    )
    near = "0.01, 1%% or 5s; or FIELD=one of these"
    compare.add_argument("--tolerance", action="append", default=[], metavar="[FIELD=]N", help=near)
    compare.add_argument(
        "--target", default="default", help="the Elasticsearch cluster of names without one"
    )
    compare.add_argument(
        "--within", metavar="FILE", help="only the records of the window in this file"
    )
    compare.add_argument(
        "--keep", type=int, default=10_000, metavar="N", help="keep so many differences to show"
    )
    compare.add_argument(
        "--no-latency", action="store_true", help="do not measure how long both take to answer"
    )


def _compare(options: argparse.Namespace) -> int:
    tolerance = _tolerance(options.tolerance)
    lab = open_lab(options)
    comparison = lab.compare(
        _side(lab, options.left),
        _side(lab, options.right),
        key=options.key,
        ignore=options.ignore,
        only=options.only,
        tolerance=tolerance,
        target=options.target,
        within=window_of(lab, options.within) if options.within else None,
        keep=options.keep,
        latency=not options.no_latency,
        on_interrupt="keep",
    )
    answer(options, lambda: json.dumps(comparison.to_dict(), indent=2), comparison)
    return OK if comparison.identical else INCOMPLETE


def _side(lab: Lab, text: str) -> Any:
    return window_of(lab, text.removeprefix(WINDOW)) if text.startswith(WINDOW) else text


def _tolerance(texts: list[str]) -> dict[str, Any]:
    pairs = (text.rpartition("=")[::2] for text in texts)
    return {name or "*": _number(value) for name, value in pairs}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
