"""``labkit index --decode``: topics that are not JSON into a production index.

A real registry has their schemas.
"""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka.serialization import MessageField

from labkit.lab import Lab
from labkit.stack.process import free_port
from labkit.stack.state import write_private
from support.forwarding import forwarding
from support.indexing import Bench
from support.registry import avro_schema, avro_values, registry_client
from support.waiting import until

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
DAY = {"type": "int", "logicalType": "date"}


@pytest.fixture
def decoding(registry_url: str, bench: Bench) -> Bench:
    """A bench whose profile has the registry: that is started first."""
    return bench


def orders(topic: str, *numbers: int) -> list[bytes]:
    schema = avro_schema(
        id="long", day=DAY, labels={"type": "map", "values": "string"}, score="double"
    )
    values = ({"id": n, "day": n, "labels": {f"k{n}": "v"}, "score": 1.0 + n} for n in numbers)
    return avro_values(topic, schema, *values)


def test_avro_with_keys_metadata_and_dead_letters(
    decoding: Bench, make_topic: Any, produce: Any, tmp_path: Path
) -> None:
    topic, letters = make_topic(), tmp_path / "letters.jsonl"
    good = orders(topic, *range(100))
    keys = avro_values(
        topic, avro_schema(number="long"), *({"number": n} for n in range(100)), of=MessageField.KEY
    )
    produce(topic, good, keys=keys, headers=[[("trace-id", b"t%d" % n)] for n in range(100)])
    produce(topic, [b"odd", good[0][:-1], None], keys=[keys[0], keys[0], keys[7]])
    run = decoding.once(
        topic,
        "--decode",
        "avro",
        "--key-decode",
        "avro",
        "--metadata",
        "--dead-letter",
        str(letters),
        code=3,
    )
    assert run.ledger == {"sent": 103, "indexed": 101, "existing": 0, "rejected": 2, "unsent": 0}
    assert decoding.count() == 101
    assert decoding.committed() == {0: 103}
    document = decoding.document(topic, 42)
    assert {name: document[name] for name in ("id", "day", "labels", "score", "_key_number")} == {
        "id": 42, "day": "1970-02-12", "labels": {"k42": "v"}, "score": 43.0, "_key_number": 42
    }  # fmt: skip
    assert (document["_kafka"]["offset"], document["_kafka"]["headers"]) == (
        42,
        {"trace-id": "t42"},
    )
    gone = decoding.document(topic, 102)
    assert (gone["tags"], gone["_key_number"], gone["_kafka"]["offset"]) == (["_tombstone"], 7, 102)
    search = dict(
        decoding.client.count(
            index=decoding.index, query={"term": {"_kafka.headers.trace-id": "t42"}}
        )
    )
    assert search["count"] == 1
    (mapping,) = dict(decoding.client.indices.get_mapping(index=decoding.index)).values()
    fields = mapping["mappings"]["properties"]
    assert (fields["day"]["type"], fields["labels"]["type"], fields["score"]["type"]) == (
        "date",
        "flattened",
        "double",
    )
    aside = [json.loads(line) for line in letters.read_text().splitlines()]
    assert [(one["topic"], one["partition"], one["offset"], one["type"]) for one in aside] == [
        (topic, 0, 100, "decode"), (topic, 0, 101, "decode")
    ]  # fmt: skip
    assert json.loads(aside[0]["source"]) == {"base64": base64.b64encode(b"odd").decode()}


def test_an_index_by_date_gets_each_field_in_each_index(
    decoding: Bench, make_topic: Any, produce: Any
) -> None:
    topic, prefix = make_topic(), decoding.index
    decoding.index = f"{prefix}-%Y.%m"
    march, april = 1_456_790_400_000, 1_459_468_800_000
    produce(
        topic,
        avro_values(topic, avro_schema(id="long"), {"id": 1}, {"id": 2}),
        timestamps=[march, april],
    )
    registry_client().set_compatibility(f"{topic}-value", "NONE")
    decoding.once(topic, "--decode", "avro")
    later = avro_values(
        topic,
        avro_schema(id="long", total=DECIMAL),
        *({"id": n, "total": Decimal(1)} for n in (3, 4)),
    )
    produce(topic, later, timestamps=[march, april])
    run = decoding.once(topic, "--decode", "avro")
    assert run.ledger["indexed"] == 2
    decoding.index = f"{prefix}-*"
    mappings = dict(decoding.client.indices.get_mapping(index=decoding.index))
    assert sorted(mappings) == [f"{prefix}-2016.03", f"{prefix}-2016.04"]
    assert {entry["mappings"]["properties"]["total"]["type"] for entry in mappings.values()} == {
        "double"
    }
    assert decoding.count() == 4
    for name in mappings:
        decoding.client.indices.delete(index=name)
    decoding.index = prefix


def test_fractions_in_an_index_of_whole_numbers_are_said(
    decoding: Bench, make_topic: Any, produce: Any
) -> None:
    topic = make_topic()
    produce(topic, avro_values(topic, avro_schema(n="int"), {"n": 1}))
    registry_client().set_compatibility(f"{topic}-value", "NONE")
    decoding.once(topic, "--decode", "avro")
    produce(topic, avro_values(topic, avro_schema(n="double"), {"n": 1.5}))
    run = decoding.once(topic, "--decode", "avro")
    assert any("whole numbers in n" in line for line in run.said), run.said
    assert decoding.document(topic, 1) == {"n": 1.5}


def test_what_decoding_changes_is_said_once(decoding: Bench, make_topic: Any, produce: Any) -> None:
    """A receipt tells it; of an indexer nobody was told."""
    topic, schema = make_topic(), avro_schema(n=["long", "double"], id="long")
    produce(topic, avro_values(topic, schema, *({"n": 2**53 + 1, "id": n} for n in range(3))))
    registry_client().set_compatibility(f"{topic}-value", "NONE")
    produce(topic, avro_values(topic, avro_schema(n="double", id="string"), {"n": 0.5, "id": "x"}))
    run = decoding.once(topic, "--decode", "avro")
    notes = [line for line in run.said if line.startswith("note: ")]
    told = (
        "integers were rounded to fractions, which their fields hold too: such as 9007199254740993"
    )
    assert len([note for note in notes if note.endswith(told)]) == 1, run.said
    assert notes.count("note: field id: numbers and texts in its schemas → text") == 1


def test_without_a_place_for_dead_letters_the_first_is_an_error(
    decoding: Bench, make_topic: Any, produce: Any
) -> None:
    topic = make_topic()
    produce(topic, [*orders(topic, 1), b"odd"])
    run = decoding.once(topic, "--decode", "avro", code=1)
    assert any(
        f"{topic}-0-1 was refused: not Confluent's wire format" in line for line in run.said
    ), run.said
    assert decoding.committed() == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--decode", "auto"], "an indexer cannot decode by 'auto'"),
        (["--decode", "avroo"], "'avroo' is not a decoder"),
        (["--decode", "raw"], 'decode="raw" gives documents no field'),
        (["--decode", "avro", "--profile", "bare"], "needs a schema registry"),
    ],
    ids=["auto", "misspelt", "raw", "no registry"],
)
def test_what_an_indexer_cannot_do_is_said_at_once(
    decoding: Bench, make_topic: Any, tmp_path: Path, options: list[str], message: str
) -> None:
    profiles = tmp_path / "labkit.toml"
    fast, _, registry = profiles.read_text().partition("[profiles.fast.registry]")
    write_private(
        profiles,
        f"{fast}[profiles.fast.registry]{registry}\n{fast.replace('profiles.fast', 'profiles.bare')}",
    )
    run = decoding.start(make_topic(), *options)
    assert run.ended() == (1 if "bare" in options else 2)
    assert any(message in line for line in run.said), run.said


def test_a_registry_that_is_away_is_waited_for_and_no_record_is_to_blame(
    decoding: Bench, make_topic: Any, produce: Any, tmp_path: Path
) -> None:
    topic, letters, port = make_topic(), tmp_path / "letters.jsonl", free_port()
    produce(topic, orders(topic, *range(500)))
    profiles = tmp_path / "labkit.toml"
    registry = urlsplit(registry_client()._rest_client.base_urls[0])
    write_private(profiles, profiles.read_text().replace(f":{registry.port}/", f":{port}/"))
    run = decoding.start(topic, "--decode", "avro", "--dead-letter", str(letters))
    run.until_said(
        f"waiting for the schema registry: no answer from the schema registry at http://127.0.0.1:{port}"
    )
    assert decoding.count() == 0
    assert sum(decoding.committed().values()) == 0
    with forwarding(port, str(registry.hostname), int(registry.port or 0)):
        run.until_said("the schema registry answers again")
        until(lambda: decoding.committed() == {0: 500}, "all commits", 60)
    assert run.stop() == 0
    assert run.ledger == {"sent": 500, "indexed": 500, "existing": 0, "rejected": 0, "unsent": 0}
    assert not letters.exists() or not letters.read_text()


def test_a_condition_chooses_and_what_cannot_be_decoded_is_no_less_a_dead_letter(
    decoding: Bench, make_topic: Any, produce: Any, tmp_path: Path
) -> None:
    topic, letters = make_topic(), tmp_path / "letters.jsonl"
    produce(topic, [*orders(topic, *range(10)), b"odd"])
    options = ["--decode", "avro", "--dead-letter", str(letters)]
    run = decoding.start(topic, "--once", "--where", "scor > 8", *options)
    assert run.ended() == 2
    assert any("no record of a sample has scor" in line for line in run.said), run.said
    assert decoding.committed() == {}
    run = decoding.once(topic, "--where", "score > 7.5", *options, code=3)
    assert run.ledger == {"sent": 4, "indexed": 3, "existing": 0, "rejected": 1, "unsent": 0}
    assert run.metrics[-1]["filtered"] == 7
    assert decoding.ids() == {f"{topic}-0-{n}" for n in (7, 8, 9)}
    assert json.loads(letters.read_text())["offset"] == 10


def test_json_that_fulfils_a_condition_goes_as_the_bytes_it_is(
    bench: Bench, lab: Lab, make_topic: Any, produce: Any
) -> None:
    """And the index keeps the condition for `trace`, until another one fills it too."""
    topic = make_topic()
    produce(topic, [b'{ "n": 1.50 }', b'{"n": 2}', b"no json", None, b'{"n": 3}'])
    run = bench.once(topic, "--where", "n < 2 or _offset = 2", "--metadata")
    assert run.ledger["indexed"] == 2
    assert run.metrics[-1]["filtered"] == 3
    assert bench.ids() == {f"{topic}-0-0", f"{topic}-0-2"}
    assert bench.document(topic, 0)["_kafka"]["offset"] == 0
    assert bench.document(topic, 2)["tags"] == ["_jsonparsefailure"]
    left_out = lab.trace(topic, 0, 4, index=bench.index)
    assert left_out.verdict == f"It is not in index {bench.index}: the condition leaves it out."
    again = bench.once(topic, "--from", "earliest", "--where", "rare is not null")
    assert "condition" not in {
        step.place for step in lab.trace(topic, 0, 4, index=bench.index).steps
    }
    assert again.metrics[-1]["filtered"] == 5
    assert any("no record has rare" in line for line in again.said), again.said
