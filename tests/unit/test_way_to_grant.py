"""What the hint of a missing right says.

It is the role that has it, or the one command when no role has it.
"""

from __future__ import annotations

import pytest

from labkit.acl import Right, recipe, way_to_grant

WAYS = {
    "read a topic": (Right("topic", "irc", "READ"), "lab", "", "--role lab --topic irc"),
    "look at it as an indexer": (Right("topic", "irc", "DESCRIBE"), "indexer", "", "--role indexer --topic irc"),
    "look at it as an extractor": (Right("topic", "irc", "DESCRIBE"), "extractor", "", "--role extractor --topic irc"),
    "write to it": (Right("topic", "irc", "WRITE"), "lab", "", "--role extractor --topic irc"),
    "make a topic of the lab's": (Right("topic", "labkit.me.x", "CREATE"), "lab", "", "--role lab --topic 'labkit.*'"),
    "look at a copy as an indexer": (
        Right("topic", "labkit.me.x", "DESCRIBE"), "indexer", "", "--role indexer --topic labkit.me.x"
    ),
    "read its settings as an indexer": (
        Right("topic", "irc", "DESCRIBE_CONFIGS"), "indexer", "", "--role lab --topic irc"
    ),
    "read as an indexer's group": (
        Right("group", "indexer.es", "READ"), "indexer", "irc", "--role indexer --topic irc"
    ),
    "read as a lab's group": (Right("group", "labkit.me.x", "READ"), "lab", "irc", "--role lab --topic irc"),
    "look at any group": (Right("group", "prod", "DESCRIBE"), "lab", "", "--role lab"),
    "look at several groups": (Right("group", "", "DESCRIBE"), "indexer", "", "--role lab"),
}  # fmt: skip


@pytest.mark.parametrize("what", WAYS)
def test_the_role_that_has_the_right_is_named(what: str) -> None:
    right, role, topic, arguments = WAYS[what]
    way = way_to_grant("User:eve", right, role, topic=topic)
    assert way == f"`labkit acl --principal User:eve {arguments}` prints what to grant"


def test_what_no_role_has_is_one_command() -> None:
    way = way_to_grant(
        "User:eve", Right("group", "prod", "READ"), "indexer", topic="irc", bootstrap="a:1"
    )
    assert way == (
        "labkit's roles do not include it; an administrator runs: kafka-acls.sh --bootstrap-server a:1 "
        "--command-config admin.properties --add --allow-principal 'User:eve' --operation Read --group 'prod' "
        "--resource-pattern-type literal"
    )
    assert "--operation AlterConfigs --topic 'irc'" in way_to_grant(
        "User:e", Right("topic", "irc", "ALTER_CONFIGS")
    )
    assert (
        way_to_grant("User:eve", Right("cluster", "", "DESCRIBE"))
        == "labkit's roles do not include it"
    )


def test_an_extractors_role_in_elasticsearch_needs_no_topic() -> None:
    assert "create_doc" in recipe("User:eve", role="extractor", form="elasticsearch-role")
