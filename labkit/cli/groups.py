"""Commands about consumer groups and who may do what: groups, offsets, acl."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from labkit.acl import FORMS
from labkit.checks.options import Parser
from labkit.cli.common import (
    OK,
    Commands,
    command,
    delete_each,
    json_option,
    names_command,
    open_lab,
    profile_options,
    share_options,
    table_command,
)
from labkit.cli.terminal import out, print_table, say
from labkit.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


def register(commands: Commands) -> None:
    """Add the family's commands."""
    _group_commands(commands)
    names_command(
        commands,
        "offsets",
        lambda lab, *patterns: worst_first(lab.offsets(*patterns)),
        "list each group's offsets and lag, the largest lag first",
        "indexer.*",
        view=_offsets_view,
    )
    acl = command(commands, "acl", _acl, "print what an administrator must grant for a lab")
    acl.add_argument("--principal", help="such as User:alice; needless for an elasticsearch-role")
    roles = ("lab", "indexer", "extractor")
    acl.add_argument(
        "--role",
        choices=roles,
        default="lab",
        help="for `labkit index`, `labkit extract` (default: lab)",
    )
    acl.add_argument(
        "--topic", help="the topic, or a prefix: 'irc*' (default: all; the extractor must name it)"
    )
    acl.add_argument(
        "--indices", default="irc*", help="the indices it may read or write (default: irc*)"
    )
    acl.add_argument(
        "--format", choices=FORMS, help="only this (default: the commands, and how to set the role)"
    )


def _group_commands(commands: Commands) -> None:
    groups = table_command(
        commands,
        "groups",
        lambda lab: lab.groups(),
        "list the consumer groups, the worst first, or change one",
    )
    kinds = groups.add_subparsers(
        dest="kind", metavar="PATTERN… | reset | delete", parser_class=Parser
    )
    text = "list the groups; `labkit groups PATTERN…` does it too"
    listed = names_command(
        kinds,
        "list",
        lambda lab, *patterns: worst_first(lab.groups(*patterns)),
        text,
        "indexer.*",
        view=_groups_view,
    )
    groups.implied = "list"
    reset = command(kinds, "reset", _reset, "move the commits of a group without members")
    reset.add_argument("group", metavar="GROUP")
    reset.add_argument("--topic", required=True)
    reset.add_argument(
        "--to",
        required=True,
        metavar="WHERE",
        help="earliest, latest, a time (UTC), or 0:100,1:250",
    )
    reset.add_argument(
        "--execute", "--yes", action="store_true", help="do it; without it the plan is shown"
    )
    reset.add_argument(
        "--i-own-this-group", action="store_true", help="also a group that is not named labkit.*"
    )
    delete = command(kinds, "delete", _delete, "delete groups named labkit.* with their commits")
    delete.add_argument("groups", nargs="+", metavar="GROUP")
    for parser in (reset, delete):
        json_option(profile_options(parser, "lab"))
    share_options(listed, reset, delete)


def worst_first(rows: pd.DataFrame) -> pd.DataFrame:
    """Return groups or partitions by verdict, the worst first, then by lag, the largest first."""
    from labkit.groups.lag import VERDICTS

    rank = rows["verdict"].map(VERDICTS.index) if "verdict" in rows else 0
    ordered = rows.assign(_rank=rank).sort_values(
        ["_rank", "lag"], ascending=[True, False], na_position="last", kind="stable"
    )
    return ordered.drop(columns="_rank").reset_index(drop=True)


def _groups_view(groups: pd.DataFrame) -> pd.DataFrame:
    shown = groups[["group", "verdict", "lag", "members", "state", "topics", "protocol"]]
    return shown.assign(topics=shown["topics"].replace("", None))


def _offsets_view(rows: pd.DataFrame) -> pd.DataFrame:
    shown = rows[["group", "topic", "partition", "lag", "flag", "committed", "log_end", "member"]]
    shown = shown.assign(
        flag=shown["flag"].replace("", None), member=shown["member"].replace("", None)
    )
    return shown.rename(columns={"partition": "part"})


def _reset(options: argparse.Namespace) -> int:
    text = options.to
    to = _offsets(text) if re.fullmatch(r"\d+:\d+(,\d+:\d+)*", text) else text
    plan = open_lab(options).reset(
        options.group,
        options.topic,
        to,
        execute=options.execute,
        i_own_this_group=options.i_own_this_group,
    )
    print_table(plan, options)
    say(
        f"{options.group} is reset" if options.execute else "nothing was changed: --execute does it"
    )
    return OK


def _offsets(text: str) -> dict[int, int]:
    pairs = [pair.split(":") for pair in text.split(",")]
    offsets = {int(partition): int(offset) for partition, offset in pairs}
    if len(offsets) < len(pairs):
        raise UsageError(f"{text!r} names a partition twice", hint="write such as 0:100,1:250")
    return offsets


def _delete(options: argparse.Namespace) -> int:
    lab = open_lab(options)

    def delete(group: str) -> str:
        lab.delete_group(group)
        return group

    delete_each(options, options.groups, delete)
    return OK


def _acl(options: argparse.Namespace) -> None:
    from labkit.acl import recipe

    out(
        recipe(
            options.principal, role=options.role, topic=options.topic, indices=options.indices, form=options.format
        )
    )  # fmt: skip
