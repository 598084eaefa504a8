"""Commands about the way to the servers: doctor, profiles."""

from __future__ import annotations

import argparse
import json

from labkit.cli.common import ERROR, OK, Commands, command, json_option, profile_options
from labkit.errors import LabkitError


def register(commands: Commands) -> None:
    """Add the family's commands."""
    doctor = command(commands, "doctor", _doctor, "try each thing a lab needs, and say how to mend what fails")
    json_option(profile_options(doctor, "lab"))
    doctor.add_argument("--topic", help="the topic to try reading (default: the first that can be seen)")
    doctor.add_argument("--indices", default="irc*", help="the indices the lab reads (default: irc*)")
    json_option(command(commands, "profiles", _profiles, "list the profiles of labkit.toml, secrets masked"))


def _doctor(options: argparse.Namespace) -> int:
    from labkit.config import default_profile
    from labkit.doctor.visit import examine, without_profile
    from labkit.lab import find_profile

    try:
        found = examine(find_profile(options.profile, role=options.role), topic=options.topic, indices=options.indices)
    except LabkitError as error:
        found = without_profile(options.profile or default_profile(), error)
    if options.json:
        print(json.dumps([vars(one) for one in found.checks], indent=2))
    else:
        print(found)
    return OK if found.healthy else ERROR


def _profiles(options: argparse.Namespace) -> None:
    from labkit.config import default_profile, list_profiles

    rows = list_profiles()
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        mark = "*" if row["profile"] == default_profile() else " "
        print(f"{mark} {row['profile']:<12} {row['kafka']}  {row['security']}  {row['user']}".rstrip())
        print(f"  {'':<12} elasticsearch {row['elasticsearch'] or 'none'}; from {row['source']}")
    if not rows:
        print("there is no profile; 'A real cluster' in the README tells how to write one")
