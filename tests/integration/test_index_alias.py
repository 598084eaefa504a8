"""An alias or a data stream in the place of an index.

The indexer, the direct form and dead letters write into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from labkit.elastic import Target
from labkit.pipelines.index_sink import IndexSink
from labkit.stack.state import State
from support.indexing import Bench

TWICE = "is there twice"


@pytest.fixture
def alias(bench: Bench) -> Iterator[Callable[[int], None]]:
    """Make the bench's index an alias of so many indices, of which the last is written."""
    names = []

    def make(count: int) -> None:
        for number in range(1, count + 1):
            names.append(f"{bench.index}-{number:06}")
            aliases = {bench.index: {"is_write_index": number == count}}
            bench.client.indices.create(index=names[-1], aliases=aliases)

    yield make
    if names:
        bench.client.options(ignore_status=404).indices.delete(index=names)


@pytest.fixture
def located(
    bench: Bench,
    filled: Any,
    alias: Callable[[int], None],
) -> Callable[[int], tuple[str, Any]]:
    """Index 30 records with GeoIP into an alias of so many indices.

    Return the topic and the run.
    """

    def run(count: int) -> tuple[str, Any]:
        alias(count)
        topic = filled(30)
        result = bench.once(topic, "--enrich", "geoip:nick")
        assert result.ledger["indexed"] == 30
        return topic, result

    return run


def fields(bench: Bench) -> dict[str, dict[str, Any]]:
    mappings = bench.client.indices.get_mapping(index=bench.index)
    return {name: entry["mappings"].get("properties", {}) for name, entry in mappings.items()}


def test_an_alias_of_one_index_is_written_as_an_index_is(
    bench: Bench,
    located: Callable[[int], tuple[str, Any]],
) -> None:
    topic, run = located(1)
    (fields_,) = fields(bench).values()
    assert fields_["geoip_location"] == {"type": "geo_point"}
    assert not any(TWICE in line for line in run.said)
    assert bench.once(topic, "--from", "earliest").ledger["existing"] == 30


def test_after_a_rollover_the_write_index_gets_the_fields_and_it_is_said_that_a_record_can_be_there_twice(
    bench: Bench,
    located: Callable[[int], tuple[str, Any]],
) -> None:
    _, run = located(2)
    old, new = (fields(bench)[f"{bench.index}-00000{number}"] for number in (1, 2))
    assert "geoip_location" not in old
    assert new["geoip_location"] == {"type": "geo_point"}
    warned = [line for line in run.said if TWICE in line]
    assert len(warned) == 1
    assert warned[0].startswith(f"warning: {bench.index} is an alias of 2 indices")


def test_dead_letters_may_go_into_an_alias(
    bench: Bench,
    make_topic: Any,
    produce: Any,
    alias: Callable[[int], None],
) -> None:
    alias(1)
    topic, letters, index = make_topic(), bench.index, f"{bench.index}-refusing"
    bench.client.indices.create(index=index, mappings={"properties": {"n": {"type": "long"}}})
    produce(topic, [b'{"n":1}', b'{"n":"many"}'])
    try:
        bench.index = index
        run = bench.once(topic, "--dead-letter", f"index:{letters}", code=3)
        assert run.ledger["rejected"] == 1
        bench.client.indices.refresh(index=letters)
        document = bench.client.get(index=letters, id=f"{topic}-0-1")["_source"]
        assert document["source"] == '{"n":"many"}'
    finally:
        bench.index = letters
        bench.client.indices.delete(index=index)


def test_a_record_sent_again_after_a_rollover_is_there_twice_as_is_said(
    bench: Bench,
    filled: Any,
    alias: Callable[[int], None],
) -> None:
    alias(1)
    topic = filled(30)
    bench.once(topic)
    rolled = bench.client.indices.rollover(alias=bench.index)["new_index"]
    try:
        again = bench.once(topic, "--from", "earliest")
        assert any(TWICE in line for line in again.said)
        assert again.ledger["indexed"] == 30
        assert bench.count() == 60
    finally:
        bench.client.indices.delete(index=rolled)


def test_the_direct_form_says_so_too(
    bench: Bench, alias: Callable[[int], None], stack: State
) -> None:
    alias(2)
    messages: list[str] = []
    with IndexSink(
        Target("default", stack.credentials("extractor")["elasticsearch"]),
        bench.index,
        say=messages.append,
    ):
        pass
    assert [line for line in messages if TWICE in line] == messages
    assert len(messages) == 1
