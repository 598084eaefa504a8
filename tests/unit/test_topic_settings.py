"""A topic's decoders in labkit.toml.

The first match holds, what is given wins, and what is wrong is named.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit import decode
from labkit.config.profiles import load_profile, local_topics
from labkit.decode.topics import topic_decoders
from labkit.errors import ConfigError

KAFKA = '[profiles.prod.kafka]\n"bootstrap.servers" = "kafka:9092"\n'
TOPICS = """
[profiles.prod.topics."orders.raw"]
value = "raw"
[profiles.prod.topics."orders.*"]
value = "avro:order.avsc"
key = "text"
[profiles.prod.topics."*"]
key = "json"
"""
Config = Callable[[str], Path]


def names_of(topic: str) -> list[str]:
    """Return the names of a topic's decoders and where they come from."""
    decoders = topic_decoders(load_profile("prod").topics, topic)
    return [getattr(entry, "name", entry) for entry in decoders]


def test_the_first_pattern_in_the_files_order_holds(config: Config) -> None:
    config(KAFKA + TOPICS)
    assert names_of("orders.raw") == ["raw", "raw"]
    assert names_of("orders.eu") == ["avro:order.avsc", "text"]
    assert names_of("orders") == ["json", "json"]
    assert topic_decoders((), "orders") == ("json", "raw")


def test_what_is_given_wins_and_the_file_is_relative_to_the_toml(
    config: Config, tmp_path: Path
) -> None:
    path = config(KAFKA + TOPICS)
    topics = load_profile("prod").topics
    assert topic_decoders(topics, "orders.eu", "text", "raw") == ("text", "raw")
    value, key = topic_decoders(topics, "orders.eu")
    with pytest.raises(
        ConfigError,
        match=r'\[profiles.prod.topics."orders.\*"\] in .*: value: the schema .* cannot be read',
    ):
        decode.open_named(value)
    schema = {"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}]}
    (tmp_path / "order.avsc").write_text(json.dumps(schema))
    assert decode.open_named(value) == decode.avro(tmp_path / "order.avsc")
    place = f'[profiles.prod.topics."orders.*"] in {path}'
    assert decode.describe_source(value, key) == [
        f'value = "avro:order.avsc", by {place}',
        f'key = "text", by {place}',
    ]
    assert decode.describe_source("json", "raw") == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            '[profiles.prod.topics."a*"]\nvalu = "avro"',
            """topics."a*"] in {}: unknown key 'valu'\nHint: did you mean 'value'?""",
        ),
        (
            '[profiles.prod.topics."a*"]\nvalue = "arvo"',
            """: value must be a decoder, not 'arvo'\nHint: did you mean 'avro'?""",
        ),
        ('[profiles.prod.topics."a*"]\nkey = 5', ": key must be a decoder, not 5"),
        ("[profiles.prod.topics]\na = 5", '[profiles.prod.topics."a"] in {} must be a table'),
        ('[profiles.prod]\ntopics = "avro"', "topics must be a table"),
    ],
)
def test_what_is_wrong_names_the_file_and_the_key(config: Config, lines: str, message: str) -> None:
    path = config(
        KAFKA + lines if not lines.startswith("[profiles.prod]\n") else f"{lines}\n{KAFKA}"
    )
    with pytest.raises(ConfigError) as caught:
        load_profile("prod")
    assert message.format(path) in str(caught.value)
    assert str(path) in caught.value.message


def test_the_local_stacks_topics_may_be_told_and_nothing_else_of_it(config: Config) -> None:
    config('[profiles.local.topics."orders.*"]\nvalue = "text"\n')
    assert [local_topic.value for local_topic in local_topics()] == ["text"]
    config(
        '[profiles.local.topics.orders]\nvalue = "text"\n[profiles.local.kafka]\n"bootstrap.servers" = "x"\n'
    )
    with pytest.raises(ConfigError, match="has the name of the local stack"):
        local_topics()
