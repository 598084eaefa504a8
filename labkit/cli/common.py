"""What all families of commands share: the parser, options, output, connections."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.checks.names import plain_names, without_match
from labkit.checks.options import window_options
from labkit.cli.terminal import out, print_table, say, tell
from labkit.errors import LabkitError

if TYPE_CHECKING:
    import pandas as pd

    from labkit.lab import Lab
    from labkit.window import Window

WINDOW = "window:"  # before the name of a file; a topic has no colon
OK, ERROR, USAGE, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130
Commands = Any  # argparse's own type of it is private
View = Callable[["pd.DataFrame"], "pd.DataFrame"]
"""Returns the columns of a table that a terminal shows."""


def command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], Any], text: str
) -> Any:
    """Add a command that calls `run`, and return its parser."""
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def table_command(
    commands: Commands,
    name: str,
    table: Callable[[Lab], pd.DataFrame],
    text: str,
    view: View | None = None,
    *,
    why_empty: Callable[[Lab], str] = lambda _: "",
) -> Any:
    """Add a command that prints a DataFrame of the lab's, and return its parser.

    `why_empty` returns what it means that there is no row, and what to do next.
    """

    def run(options: argparse.Namespace) -> None:
        lab = open_lab(options)
        frame = table(lab)
        print_table(frame, options, view, why_empty(lab) if frame.empty else "")

    return json_option(profile_options(command(commands, name, run, text), "lab"))


def names_command(
    commands: Commands,
    name: str,
    table: Callable[..., pd.DataFrame],
    text: str,
    example: str,
    *,
    view: View | None = None,
) -> Any:
    """Add a command that prints a DataFrame of what some patterns match, and return its parser.

    The command ends with 1 when a name, not a pattern, has no row; the lab's own warning says why.
    """

    def run(options: argparse.Namespace) -> int:
        lab = open_lab(options)
        frame = table(lab, *options.patterns)
        print_table(frame, options, view)
        missing = without_match(frame.iloc[:, 0].unique(), options.patterns)
        return ERROR if plain_names(missing) else OK

    parser = json_option(profile_options(command(commands, name, run, text), "lab"))
    parser.add_argument(
        "patterns",
        nargs="*",
        metavar="PATTERN",
        help=f"only these, such as {example!r} (default: all)",
    )
    return parser


def json_option(parser: Any) -> Any:
    """Let the command take ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def profile_options(parser: Any, role: str | None = None) -> Any:
    """Let the command take ``--profile`` and, with a default, ``--role``."""
    parser.add_argument(
        "--profile", help="a profile of labkit.toml (default: LABKIT_PROFILE, else the local stack)"
    )
    if role:
        parser.add_argument(
            "--role", default=role, help=f"role on the local stack (default: {role})"
        )
    return parser


def share_options(*parsers: Any) -> None:
    """Let ``--profile``, ``--role``, ``--json`` stand before or after a second word."""
    for option in (option for parser in parsers for option in parser._actions):
        if option.dest in ("profile", "role", "json"):
            option.default = argparse.SUPPRESS


def source_options(parser: Any) -> Any:
    """Let the command take what it reads: a topic and its bounds, or a file of a window."""
    return window_options(
        profile_options(parser, "lab"),
        f"a topic, or {WINDOW}FILE: what `labkit window --json` printed",
    )


def decode_option(parser: Any) -> None:
    """Let the command take ``--decode``."""
    parser.add_argument(
        "--decode",
        metavar="NAME",
        help="as `labkit replay --decode` (default: as labkit.toml says, or json)",
    )


def key_decode_option(parser: Any) -> None:
    """Let the command take ``--key-decode``."""
    parser.add_argument("--key-decode", metavar="NAME", help="the same for keys (default: raw)")


def where_option(parser: Any) -> None:
    """Let the command take ``--where``."""
    parser.add_argument(
        "--where", metavar="SQL", help="only records that fulfil this: \"channel = '#kafka'\""
    )


def enrich_options(parser: Any) -> None:
    """Let the command take ``--enrich`` and ``--transform``."""
    parser.add_argument(
        "--enrich", action="append", default=[], metavar="KIND:FIELD…",
        help="add or change fields: geoip:FIELD[=PREFIX], parse:FIELD:REGEX, unwrap:debezium, rename:OLD=NEW,…, "
        "drop:FIELD,…; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--transform", action="append", default=[], metavar="MODULE:FUNCTION",
        help="add the columns that a function of yours returns for a batch; may be given again",
    )  # fmt: skip


def metadata_option(parser: Any) -> None:
    """Let the command take ``--metadata``."""
    parser.add_argument(
        "--metadata", action="store_true",
        help="add _kafka to each document: topic, partition, offset, timestamp, key, headers",
    )  # fmt: skip


def enrich_chain(options: argparse.Namespace) -> Any:
    """Return the chain that ``--enrich`` and ``--transform`` name, in that order."""
    import warnings

    from labkit.enrich import Chain, apply, named
    from labkit.enrich.functions import load_function

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        enrichers = [named(text) for text in options.enrich]
    for warning in caught:
        say(f"warning: {warning.message}")
    return Chain([*enrichers, *(apply(load_function(text)) for text in options.transform)])


def window_of(lab: Lab, file: str) -> Window:
    """Return the window in a file that ``labkit window --json`` printed."""
    from labkit.errors import UsageError
    from labkit.window import Window

    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{file!r} cannot be read: {error}",
            hint="write it with `labkit window TOPIC --json > FILE`",
        ) from error
    return Window.from_json(text, lab)


def delete_each(
    options: argparse.Namespace, names: Sequence[str], delete: Callable[[str], str]
) -> None:
    """Delete what each name is of, and say at once that it is gone.

    One that cannot be deleted keeps the others from nothing: the first error is raised at the end,
    with the others as its notes.
    """
    gone: list[str] = []
    errors: list[LabkitError] = []
    try:
        for name in names:
            try:
                gone.append(delete(name))
            except LabkitError as error:
                errors.append(error)
                continue
            if not options.json:
                tell(f"deleted {gone[-1]}")
    finally:  # also when it is stopped
        if options.json:
            out(json.dumps(gone))
    if errors:
        for other in errors[1:]:
            errors[0].add_note(f"also: {other.message}")
        raise errors[0]


def open_lab(options: argparse.Namespace, *, role: str | None = None) -> Lab:
    """Return the lab of the profile, as the role asked for.

    `role` is the one that the command needs, by default the profile's: an error about a missing
    right names it.
    """
    from labkit.lab import Lab

    return Lab(open_profile(options), role=role)


def open_profile(options: argparse.Namespace) -> Any:
    """Return the profile asked for; print what its owner should know."""
    from labkit.lab import find_profile

    profile = find_profile(options.profile, role=options.role)
    for warning in profile.warnings:
        say(f"labkit: warning: {warning}")
    return profile
