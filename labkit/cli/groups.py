"""Commands about consumer groups and who may do what: groups, offsets, acl."""

from __future__ import annotations

import argparse

from labkit.cli.common import Commands, command, table_command


def register(commands: Commands) -> None:
    """Add the family's commands."""
    table_command(commands, "groups", lambda lab: lab.groups(), "list the consumer groups")
    table_command(commands, "offsets", lambda lab: lab.offsets(), "list each group's offsets and lag")
    acl = command(commands, "acl", _acl, "print what an administrator must grant for a lab")
    acl.add_argument("--principal", default="User:alice", help="such as User:alice")
    acl.add_argument("--topic", default="*", help="the topic it may read, or a prefix: 'irc*' (default: all)")
    acl.add_argument("--indices", default="irc*", help="the indices it may read (default: irc*)")
    formats = ("kafka-acls", "terraform", "elasticsearch-role")
    acl.add_argument("--format", choices=formats, help="only this (default: the commands, and how to set the role)")


def _acl(options: argparse.Namespace) -> None:
    from labkit.acl import recipe

    print(recipe(options.principal, topic=options.topic, indices=options.indices, form=options.format))
