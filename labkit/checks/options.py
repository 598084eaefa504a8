"""Options that name a window, shared by `labkit window`, `labkit replay` and ``%window``."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from labkit.checks.suggest import did_you_mean, must_be_one_of
from labkit.errors import UsageError


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with a hint, instead of a page of usage."""

    implied: str | None = None  # the command of this parser's that a line means which names none

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse what is known of a line, as argparse does."""
        if self.implied is not None and args is not None:
            names: set[str] = set()
            for action in self._actions:
                if isinstance(action.choices, dict):
                    names |= action.choices.keys()
            args = [self.implied, *args] if {*names, "-h", "--help"}.isdisjoint(args) else args
        return super().parse_known_args(args, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:  # type: ignore[override]
        """Parse all of a line; what is left over is an error of the command it is left over of."""
        parsed: argparse.Namespace
        parsed, rest = self.parse_known_args(args, namespace)
        if rest:
            prog = " ".join([self.prog, *([parsed.command] if "command" in parsed else [])])
            raise UsageError(
                f"unrecognized arguments: {' '.join(rest)}",
                hint=f"`{prog} --help` shows what it takes",
            )
        return parsed

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Return an option's value; say of a number what it must be."""
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            if action.type not in (int, float):
                raise
            kind = "a whole number" if action.type is int else "a number"
            option = "/".join(action.option_strings) or action.metavar or action.dest
            raise UsageError(
                f"{option} must be {kind}, not {arg_string!r}",
                hint=f"`{self.prog} --help` shows what it takes",
            ) from error

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a value or a command that is not there, with the one that was meant."""
        if action.choices is None or value in action.choices:
            return
        names = [str(name) for name in action.choices]
        option = "/".join(action.option_strings) or action.metavar or action.dest
        if isinstance(action.choices, dict):
            near = did_you_mean(str(value), names)
            raise UsageError(
                f"there is no command {value!r}", hint=f"{near}`{self.prog} --help` lists them"
            )
        raise must_be_one_of(str(option), value, names, f"`{self.prog} --help` shows what it takes")

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"`{self.prog} --help` shows what it takes")


def window_options(parser: Any, topic: str | None = None) -> Any:
    """Let a parser take a topic and a window's bounds."""
    parser.add_argument("topic", metavar="TOPIC", help=topic)
    parser.add_argument(
        "--start",
        metavar="TIME",
        help="such as 2026-11-01, '2h ago' or 'yesterday 14:00', UTC without a zone; or earliest",
    )
    parser.add_argument("--end", metavar="TIME", help="exclusive; or latest")
    parser.add_argument(
        "--last", metavar="N|TIME", help="the newest N records, or a time such as 6h"
    )
    parser.add_argument(
        "--on", metavar="DAY", help="a day, week or month: yesterday, 2016-03-01, 2016-W09, 2016-03"
    )
    parser.add_argument(
        "--offsets", metavar="P:START-END,…", help="such as 0:100-200,1:0-50; ends are exclusive"
    )
    parser.add_argument("--partitions", metavar="P,…", help="only these, such as 0,2")
    parser.add_argument("--slack", metavar="TIME", help="how far out of time order (default: 1m)")
    return parser


def window_bounds(options: argparse.Namespace) -> dict[str, Any]:
    """Return the parsed bounds as `Lab.window` takes them."""
    offsets = None if options.offsets is None else _offsets(options.offsets)
    partitions = None if options.partitions is None else options.partitions.split(",")
    bounds = {"start": options.start, "end": options.end, "last": options.last, "on": options.on}
    bounds |= {"offsets": offsets, "partitions": partitions, "slack": options.slack}
    return {name: value for name, value in bounds.items() if value is not None}


def _offsets(text: str) -> dict[int, tuple[int, int]]:
    try:
        pairs = (part.split(":") for part in text.split(","))
        spans = ((partition, span.split("-")) for partition, span in pairs)
        ranges = [(int(partition), (int(start), int(end))) for partition, (start, end) in spans]
        if len(dict(ranges)) < len(ranges):
            raise ValueError("a partition is named twice")
        return dict(ranges)
    except ValueError as error:
        raise UsageError(
            f"--offsets must be PARTITION:START-END, not {text!r}", hint="such as 0:100-200,1:0-50"
        ) from error
