"""Commands about the way to the servers: doctor, profiles, allow."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from labkit.cli.common import ERROR, OK, Commands, command, json_option, profile_options
from labkit.cli.terminal import out, tell
from labkit.errors import LabkitError

_EXAMPLE = """
[profiles.prod.kafka]
"bootstrap.servers" = "kafka-1.example.org:9092"

Then `labkit topics --profile prod` uses it; the README's "A real cluster" has logins and secrets."""


def register(commands: Commands) -> None:
    """Add the family's commands."""
    doctor = command(
        commands, "doctor", _doctor, "try each thing a lab needs, and say how to mend what fails"
    )
    json_option(profile_options(doctor, "lab"))
    doctor.add_argument(
        "--topic",
        help="the topic to try reading (default: the first that has records and may be read)",
    )
    doctor.add_argument(
        "--indices", default="irc*", help="the indices the lab reads (default: irc*)"
    )
    json_option(
        command(commands, "profiles", _profiles, "list the profiles of labkit.toml, secrets masked")
    )
    allow = command(
        commands,
        "allow",
        _allow,
        "let a labkit.toml of a project have your secrets, until it changes",
    )
    allow.add_argument(
        "path",
        nargs="?",
        type=Path,
        help="the file or its folder (default: the nearest labkit.toml)",
    )
    allow.add_argument("--revoke", action="store_true", help="take it back")


def _doctor(options: argparse.Namespace) -> int:
    from labkit.config.profiles import default_profile
    from labkit.doctor.run import examine, without_profile
    from labkit.lab import find_profile

    try:
        diagnosis = examine(
            find_profile(options.profile, role=options.role),
            topic=options.topic,
            indices=options.indices,
        )
    except LabkitError as error:
        diagnosis = without_profile(options.profile or default_profile(), error)
    if options.json:
        out(json.dumps([vars(check) for check in diagnosis.checks], indent=2))
    else:
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        out(diagnosis.text(columns))
    return OK if diagnosis.healthy else ERROR


def _profiles(options: argparse.Namespace) -> None:
    from labkit.config.files import NAME, config_folder
    from labkit.config.profiles import default_profile, list_profiles

    rows = list_profiles()
    if options.json:
        out(json.dumps(rows, indent=2))
        return
    for row in rows:
        mark = "*" if row["profile"] == default_profile() else " "
        tell(
            f"{mark} {row['profile']:<12} {row['kafka']}  {row['security']}  {row['user']}".rstrip()
        )
        tell(f"  {'':<12} elasticsearch {row['elasticsearch'] or 'none'}; source: {row['source']}")
    if not rows:
        tell(f"there is no profile; {config_folder() / NAME} may have such as:\n{_EXAMPLE}")


def _allow(options: argparse.Namespace) -> None:
    from labkit.config import files as config_files
    from labkit.config.profiles import describe_trust

    file = config_files.find_to_allow(options.path)
    if options.revoke:
        removed = config_files.revoke(file.path)
        tell(
            f"{file.path} may no longer have secrets" if removed else f"{file.path} was not allowed"
        )
        return
    rows = describe_trust(file)
    config_files.allow(file)
    tell(f"{file.path} may have, until it changes:")
    for name, places, hash_wanted in rows:
        tell(f"  {name}: {hash_wanted or 'nothing of yours'}; it connects to {places}")
