"""What ``labkit.toml`` says of a profile's topics.

It says how their values and keys are decoded without other options.

    [profiles.prod.topics."orders.*"]
    value = "avro"                            # a decoder's name, or a schema's file: "protobuf:order.proto#shop.Order"
    key = "text"

The first table, in the file's order, whose pattern matches a topic holds for it. A schema's file is
relative to the folder of the ``labkit.toml``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from labkit.checks.suggest import did_you_mean
from labkit.errors import ConfigError

DECODERS = ("json", "text", "raw", "avro", "protobuf", "jsonschema", "auto")
SCHEMA_FORMS = "avro:FILE.avsc, protobuf:FILE.proto#MESSAGE"
_FILES = ("avro:", "protobuf:")
_KEYS = ("value", "key")


@dataclass(frozen=True)
class TopicSettings:
    """One table of a profile's topics.

    Attributes
    ----------
    pattern : str
        A topic's name, or a pattern of names with ``*``, ``?`` and ``[…]``.
    value, key : str or None
        Their decoders.
    place : str
        The table and its file, for messages.
    folder : Path
        What a schema's file is relative to.
    """

    pattern: str
    value: str | None
    key: str | None
    place: str
    folder: Path


def read_topics(profile: str, tables: Any, path: str) -> tuple[TopicSettings, ...]:
    """Return the tables of a profile's topics, in the file's order.

    Raises
    ------
    ConfigError
        When a key or a decoder in one is unknown.
    """
    example = f'write [profiles.{profile}.topics."orders.*"] and value = "avro" in it'
    if not isinstance(tables, dict):
        raise ConfigError(f"profile {profile!r} in {path}: topics must be a table", hint=example)
    settings = []
    for pattern, table in tables.items():
        place = f'[profiles.{profile}.topics."{pattern}"] in {path}'
        if not isinstance(table, dict):
            raise ConfigError(f"{place} must be a table", hint=example)
        _check(table, place)
        settings.append(
            TopicSettings(pattern, table.get("value"), table.get("key"), place, Path(path).parent)
        )
    return tuple(settings)


def _check(table: Mapping[str, Any], place: str) -> None:
    for unknown in sorted(set(table) - set(_KEYS)):
        near = did_you_mean(unknown, _KEYS)
        raise ConfigError(
            f"{place}: unknown key {unknown!r}", hint=f"{near}its keys are: {', '.join(_KEYS)}"
        )
    for key in _KEYS:
        decoder = table.get(key)
        is_known = isinstance(decoder, str) and (decoder in DECODERS or decoder.startswith(_FILES))
        if key in table and not is_known:
            near = did_you_mean(str(decoder), DECODERS)
            raise ConfigError(
                f"{place}: {key} must be a decoder, not {decoder!r}",
                hint=f"{near}one of {', '.join(DECODERS)}, {SCHEMA_FORMS}",
            )


def settings_of(topics: Sequence[TopicSettings], topic: str) -> TopicSettings | None:
    """Return the first table whose pattern matches a topic."""
    return next((setting for setting in topics if fnmatchcase(topic, setting.pattern)), None)
