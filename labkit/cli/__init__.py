"""The ``labkit`` command: it parses, calls and prints.

Exit codes: 0 ok, 1 error, 2 usage, 3 incomplete (or different). Each family of commands has a
module; each command imports what it needs, so that ``labkit --help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from labkit.checks.options import Parser
from labkit.checks.suggest import for_a_shell
from labkit.cli import (
    ask,
    compare,
    completion,
    discover,
    doctor,
    groups,
    lag,
    lists,
    notebooks,
    pipelines,
    stack,
    tail,
    windows,
)
from labkit.cli.common import ERROR, INTERRUPTED, OK, USAGE
from labkit.cli.terminal import out, say, take_any_text
from labkit.errors import LabkitError, Stopped, UsageError

FAMILIES = (
    stack,
    pipelines,
    lists,
    groups,
    lag,
    tail,
    windows,
    discover,
    ask,
    compare,
    notebooks,
    doctor,
    completion,
)
SECTIONS = {
    "a topic": ("topics", "profile", "find", "tail", "around", "latest", "trace"),
    "a window of it": ("window", "replay", "sql", "compare"),
    "consumer groups": ("groups", "offsets", "lag"),
    "indices": ("indices", "scratch", "gc"),
    "notebooks": ("run", "runs", "new"),
    "pipelines": ("extract", "index"),
    "the local stack": ("demo", "up", "down", "status", "credentials"),
    "access and this machine": ("doctor", "profiles", "allow", "acl", "retention", "cache", "completion"),
}  # fmt: skip
"""The commands as ``labkit --help`` lists them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    take_any_text()
    parser = build_parser()
    try:
        with for_a_shell():
            try:
                options = parser.parse_args(arguments)
            finally:
                # --help leaves by SystemExit: a reader that is gone shows here, not after the end
                sys.stdout.flush()
            return int(options.run(options) or OK)
    except LabkitError as error:
        _complain(error.message, error.hint)
        for note in getattr(error, "__notes__", ()):
            say(note)
        return USAGE if isinstance(error, UsageError) else ERROR
    except Stopped as stop:
        _complain(stop.message)
        return INTERRUPTED
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        _complain(
            f"cannot write or read: {error.strerror or error}",
            "is the disk full, or the file closed to you?",
        )
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR


def _complain(message: str, hint: str | None = None) -> None:
    say(f"labkit: {message}")
    if hint:
        say(f"Hint: {hint}")


class _CommandParser(Parser):
    """Lists its commands by section."""

    def format_help(self) -> str:
        """Return the usage, the commands by section and the options."""
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        (commands,) = (action for action in self._actions if action.dest == "command")
        lines = {line.dest: line for line in commands._get_subactions()}  # type: ignore[attr-defined]
        for title, names in {**SECTIONS, "options": ()}.items():
            formatter.start_section(title)
            formatter.add_arguments(
                [lines[name] for name in names] or self._optionals._group_actions
            )
            formatter.end_section()
        return formatter.format_help()


def build_parser() -> Parser:
    """Return the parser of all commands."""
    parser = _CommandParser(
        prog="labkit", description="Replay any window of a Kafka topic without touching production."
    )
    parser.add_argument(
        "--version", action=_ShowVersion, help="show the program's version and exit"
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=Parser
    )
    for family in FAMILIES:
        family.register(commands)
    return parser


class _ShowVersion(argparse.Action):
    """Print the version, and look it up only when it is asked for.

    The look-up takes a quarter of the time of ``--help``.
    """

    def __init__(self, option_strings: Sequence[str], dest: str, **settings: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **settings)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        out(_version())
        parser.exit()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"labkit {version('labkit')}"
    except PackageNotFoundError:
        return "labkit (not installed)"
