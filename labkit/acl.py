"""The least each role needs, and the recipe an administrator of a real cluster can paste. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from labkit.checks import names
from labkit.checks.suggest import must_be_one_of
from labkit.errors import UsageError

# write documents, make indices and add fields to their mapping, look at what is there; not change
# or delete documents
_WRITE = [
    "create_index",
    "auto_configure",
    "index",
    "create_doc",
    "read",
    "view_index_metadata",
    "maintenance",
    "monitor",
    # `index` and `create_doc` still imply it, which Elasticsearch deprecates; of the named
    # privileges only `manage` would say it too, and that may delete the index
    "indices:admin/mapping/put",
]


FORMS = ("kafka-acls", "terraform", "elasticsearch-role")
_SAYS = {  # of each role: in Kafka, in Elasticsearch
    "lab": (
        "read and describe, but no internal topics; write topics and join groups only named labkit.*",
        "write only indices named scratch-*, read what is named",
    ),
    "indexer": (
        "read as groups named indexer.*",
        "write what is named, and make it; delete nothing",
    ),
    "extractor": (
        "write the topic, and make it",
        "add documents to what is named, without Kafka (--to-index)",
    ),
}


@dataclass(frozen=True)
class Grant:
    """What a principal may do on one kind of Kafka resource, or is denied to; ``*`` is any name."""

    kind: str
    name: str
    prefixed: bool
    operations: tuple[str, ...]
    denied: bool = False


# these topics hold what others committed
_INTERNAL = Grant("TOPIC", "__", True, ("READ",), denied=True)


def kafka_grants(role: str, topic: str) -> tuple[Grant, ...]:
    """Return the Kafka rights of `role`.

    `topic` is a name, or a prefix of names for the extractor.
    """
    return {
        "extractor": (
            Grant("TOPIC", topic, True, ("CREATE", "DESCRIBE", "DESCRIBE_CONFIGS", "WRITE")),
        ),
        "indexer": (
            Grant("TOPIC", topic, False, ("DESCRIBE", "READ")),
            Grant("GROUP", "indexer.", True, ("DESCRIBE", "READ")),
        ),
        "lab": (
            Grant("TOPIC", topic, False, ("DESCRIBE", "DESCRIBE_CONFIGS", "READ")),
            *([_INTERNAL] if topic == "*" else []),
            Grant(
                "TOPIC",
                "labkit.",
                True,
                ("CREATE", "DELETE", "DESCRIBE", "DESCRIBE_CONFIGS", "READ", "WRITE"),
            ),
            Grant("GROUP", "*", False, ("DESCRIBE",)),
            Grant("GROUP", "labkit.", True, ("DELETE", "DESCRIBE", "READ")),
        ),
    }[role]


def elasticsearch_role(role: str, indices: str = "irc*") -> dict[str, Any]:
    """Return the Elasticsearch role of `role`, as the security API takes it."""
    rights = {
        "extractor": [
            (indices, ["create_index", "auto_configure", "create_doc", "view_index_metadata"])
        ],  # for the direct form
        "indexer": [(indices, _WRITE)],
        "lab": [("scratch-*", ["all"]), (indices, ["read", "view_index_metadata", "monitor"])],
    }[role]
    return {
        "cluster": ["monitor"],
        "indices": [{"names": [name], "privileges": privileges} for name, privileges in rights],
    }


def recipe(
    principal: str | None,
    *,
    role: str = "lab",
    topic: str | None = None,
    indices: str = "irc*",
    bootstrap: str = "BROKER:9092",
    form: str | None = None,
) -> str:
    """Return what lets `principal` use a lab, or be another of labkit's roles, and do nothing else.

    Parameters
    ----------
    principal : str, optional
        ``User:NAME`` as the broker sees it; of a client certificate often its whole subject. An
        Elasticsearch role alone names none.
    role : {"lab", "indexer", "extractor"}
    topic : str, optional
        The topic to read, or of the extractor to write; ``irc*`` for all whose names start so,
        ``*`` for all, which who only reads has by default. Who writes must name one: the least is
        granted, not all topics.
    indices : str
        The Elasticsearch indices to read, or to write, a pattern.
    form : {"kafka-acls", "terraform", "elasticsearch-role"}, optional
        Commands of Kafka's distribution, ``kafka_acl`` resources of the Terraform provider
        Mongey/kafka, or the body for Elasticsearch's security API. Left out: the commands, and how
        to send the body.
    """
    if principal is None:
        if form != "elasticsearch-role":
            raise UsageError("the principal is not named", hint="such as --principal User:alice")
        principal = "User:NAME"
    if not re.fullmatch(r"User:[^'\"\\\x00-\x1f]+", principal) or principal.endswith(" "):
        raise UsageError(f"{principal!r} is not a principal", hint="write User:NAME")
    if role not in _SAYS:
        raise must_be_one_of("role", role, _SAYS)
    if topic is None and role == "extractor" and form != "elasticsearch-role":
        raise UsageError(
            "the topic that the extractor may write is not named",
            hint="such as --topic irc, or --topic 'irc*' for all that start so",
        )
    topic = "*" if topic is None else topic
    if topic != "*":
        names.topic(topic.removesuffix("*"))
    if not re.fullmatch(r"[a-z0-9][a-z0-9._*-]*|\*", indices):
        raise UsageError(f"{indices!r} is not a pattern of index names", hint="write such as irc*")
    if form not in (None, *FORMS):
        hint = "leave it out for the commands and how to set the role"
        raise must_be_one_of("format", form, FORMS, hint)
    grants = [_by_pattern(grant, topic) for grant in kafka_grants(role, topic)]
    body = json.dumps(elasticsearch_role(role, indices), indent=2 if form else None)
    kafka, elasticsearch = _SAYS[role]
    if form == "terraform":
        head = f"# Kafka: {kafka}; for the provider Mongey/kafka"
        return "\n\n".join(
            [head, *(_resource(principal, *rule) for rule in _each_operation(grants))]
        )
    if form == "elasticsearch-role":
        return body
    lines = [kafka_acls(principal, grant, bootstrap=bootstrap) for grant in grants]
    if form == "kafka-acls":
        return "\n".join(lines)
    return "\n".join(
        [
            f"# Kafka: {kafka}",
            *lines,
            "",
            f"# Elasticsearch: {elasticsearch}",
            f"curl -u admin -X PUT https://ELASTICSEARCH:9200/_security/role/labkit_{role} \\",
            f"  -H 'content-type: application/json' -d '{body}'",
        ]
    )


def kafka_acls(principal: str, grant: Grant, *, bootstrap: str = "BROKER:9092") -> str:
    """Return the command of Kafka's distribution that grants it, or denies it."""
    permission = "deny" if grant.denied else "allow"
    operations = " ".join(f"--operation {_words(operation)}" for operation in grant.operations)
    return (
        f"kafka-acls.sh --bootstrap-server {bootstrap} --command-config admin.properties --add "
        f"--{permission}-principal '{principal}' {operations} "
        f"--{grant.kind.lower()} '{grant.name}' --resource-pattern-type {_pattern(grant)}"
    )


@dataclass(frozen=True)
class Right:
    """An operation, as `Grant` has them, on a topic or group.

    `name` is empty for several of them.
    """

    kind: str
    name: str
    operation: str


def way_to_grant(
    principal: str,
    right: Right,
    role: str = "lab",
    *,
    topic: str = "",
    bootstrap: str = "BROKER:9092",
) -> str:
    """Return how an administrator grants a right: as part of a role, or else by itself.

    Parameters
    ----------
    role : str
        The role that the principal works as: named when the right is one of its own.
    topic : str
        The topic that the principal works with, where it is one.
    """
    topic = topic or (right.name if right.kind == "topic" else "")
    holders = [
        holder for holder in (role, *_SAYS) if holder in _SAYS and _holds(holder, right, topic)
    ]
    if not holders and right.name:
        grant = Grant(right.kind.upper(), right.name, False, (right.operation,))
        command = kafka_acls(principal, grant, bootstrap=bootstrap)
        return f"labkit's roles do not include it; an administrator runs: {command}"
    if not holders:
        return "labkit's roles do not include it"
    command = f"labkit acl --principal {principal} --role {holders[0]}"
    if holders[0] == "lab" and topic.startswith(names.TOPIC_PREFIX):
        topic = f"'{names.TOPIC_PREFIX}*'"  # whoever makes one makes others
    if topic:
        command += f" --topic {topic}"
    return f"`{command}` prints what to grant"


def _holds(role: str, right: Right, topic: str) -> bool:
    """Tell whether a role has a right, when it is granted for a topic."""
    return any(
        grant.kind == right.kind.upper()
        and not grant.denied
        and right.operation in grant.operations
        and (
            grant.name == "*"
            or (right.name.startswith(grant.name) if grant.prefixed else right.name == grant.name)
        )
        for grant in kafka_grants(role, topic or "*")
    )


def _by_pattern(grant: Grant, topic: str) -> Grant:
    """Return the grant of ``irc*`` as one on that prefix, and of ``irc`` as one on that name."""
    if grant.name == topic:
        grant = replace(grant, prefixed=False)
    if grant.name.endswith("*") and grant.name != "*":
        return replace(grant, name=grant.name[:-1], prefixed=True)
    return grant


def _pattern(grant: Grant) -> str:
    return "prefixed" if grant.prefixed else "literal"


def _words(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))


# Terraform -----------------------------------------------------------------------------------------------


def _each_operation(grants: Iterable[Grant]) -> Iterator[tuple[Grant, str]]:
    return ((grant, operation) for grant in grants for operation in grant.operations)


def _resource(principal: str, grant: Grant, operation: str) -> str:
    """Return one operation as a resource.

    Its arguments: https://registry.terraform.io/providers/Mongey/kafka.
    """
    place = "all" if grant.name == "*" else f"{grant.name}_{_pattern(grant)}"
    parts = (
        principal.partition(":")[2],
        grant.kind,
        place,
        *(["not"] if grant.denied else []),
        operation,
    )
    label = re.sub(r"[^a-z0-9]+", "_", "_".join(("labkit", *parts)).lower()).strip("_")
    values = {
        "resource_name": grant.name,
        "resource_type": grant.kind.capitalize(),
        "resource_pattern_type_filter": _pattern(grant).capitalize(),
        "acl_principal": principal.replace("${", "$${").replace("%{", "%%{"),
        "acl_host": "*",
        "acl_operation": _words(operation),
        "acl_permission_type": "Deny" if grant.denied else "Allow",
    }
    width = max(map(len, values))
    lines = [f'  {name:<{width}} = "{value}"' for name, value in values.items()]
    return "\n".join([f'resource "kafka_acl" "{label}" {{', *lines, "}"])
