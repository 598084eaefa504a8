"""Commands that show what is in a topic: profile."""

from __future__ import annotations

import argparse
import shutil
import sys

from labkit.cli.common import INCOMPLETE, OK, WINDOW, Commands, command, json_option, profile_options
from labkit.cli.windows import asked_window
from labkit.options import window_options


def register(commands: Commands) -> None:
    """Add the family's commands."""
    profile = command(commands, "profile", _profile, "show what is in a topic: fields, types, values, keys, volume")
    window_options(profile_options(profile, "lab"), f"a topic, or {WINDOW}FILE: what `labkit window --json` printed")
    profile.add_argument("--sample", metavar="N", help="look at N records only, spread evenly (default: at all)")
    profile.add_argument("--decode", default="json", metavar="NAME", help="as `labkit replay --decode` (default: json)")
    profile.add_argument("--key-decode", default="raw", metavar="NAME", help="the same for keys (default: raw)")
    profile.add_argument("--where", metavar="SQL", help="only records that fulfil this: \"channel = '#kafka'\"")
    json_option(profile)


def _profile(options: argparse.Namespace) -> int:
    from labkit.profile.text import as_text

    found = asked_window(options).profile(
        sample=options.sample, decode=options.decode, key_decode=options.key_decode, where=options.where
    )
    if options.json:
        out(found.to_json())
    else:
        print(as_text(found, shutil.get_terminal_size().columns if sys.stdout.isatty() else 80))
    return OK if found.receipt is None or found.receipt.complete else INCOMPLETE
