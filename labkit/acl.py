"""The least each role needs, and the recipe an administrator of a real cluster can paste. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from labkit import names
from labkit.errors import UsageError

# write documents, make indices and add fields to their mapping, look at what is there; not change or delete documents
_WRITE = [
    "create_index",
    "auto_configure",
    "index",
    "create_doc",
    "read",
    "view_index_metadata",
    "maintenance",
    "monitor",
]


@dataclass(frozen=True)
class Grant:
    """What a principal may do on one kind of Kafka resource; ``*`` is any name."""

    kind: str
    name: str
    prefixed: bool
    operations: tuple[str, ...]


def kafka_grants(role: str, topic: str) -> tuple[Grant, ...]:
    """Return the Kafka rights of `role`; `topic` is a name, or a prefix of names for the extractor."""
    return {
        "extractor": (Grant("TOPIC", topic, True, ("CREATE", "DESCRIBE", "DESCRIBE_CONFIGS", "WRITE")),),
        "indexer": (
            Grant("TOPIC", topic, False, ("DESCRIBE", "READ")),
            Grant("GROUP", "indexer.", True, ("DESCRIBE", "READ")),
        ),
        "lab": (
            Grant("TOPIC", topic, False, ("DESCRIBE", "DESCRIBE_CONFIGS", "READ")),
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
        "cluster": ["monitor"] if rights else [],
        "indices": [{"names": [name], "privileges": privileges} for name, privileges in rights],
    }


def recipe(principal: str, *, topic: str = "*", indices: str = "irc*", bootstrap: str = "BROKER:9092") -> str:
    """Return the commands that let `principal` use a lab, and do nothing else."""
    if not re.fullmatch(r"User:[^\s'\"\\]+", principal):
        raise UsageError(f"{principal!r} is not a principal", hint="write User:NAME")
    if topic != "*":
        names.topic(topic)
    if not re.fullmatch(r"[a-z0-9][a-z0-9._*-]*|\*", indices):
        raise UsageError(f"{indices!r} is not a pattern of index names", hint="write such as irc*")
    lines = ["# Kafka: read and describe, join only groups named labkit.*"]
    for grant in kafka_grants("lab", topic):
        pattern = "prefixed" if grant.prefixed else "literal"
        operations = " ".join(f"--operation {_words(one)}" for one in grant.operations)
        lines.append(
            f"kafka-acls.sh --bootstrap-server {bootstrap} --command-config admin.properties --add "
            f"--allow-principal '{principal}' {operations} "
            f"--{grant.kind.lower()} '{grant.name}' --resource-pattern-type {pattern}"
        )
    body = json.dumps(elasticsearch_role("lab", indices))
    lines += [
        "",
        "# Elasticsearch: write only indices named scratch-*, read what is named",
        "curl -u admin -X PUT https://ELASTICSEARCH:9200/_security/role/labkit_lab \\",
        f"  -H 'content-type: application/json' -d '{body}'",
    ]
    return "\n".join(lines)


def _words(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))
