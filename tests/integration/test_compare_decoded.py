"""Comparing topics that are not JSON with their indices.

Documents are made of records as the index says.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka.serialization import MessageField

from labkit.errors import UsageError
from labkit.lab import Lab
from support.indexing import Bench
from support.registry import avro_schema, avro_values, registry_client

MakeTopic = Callable[..., str]
Produce = Callable[..., None]
FIELDS: dict[str, Any] = {
    "id": "long",
    "name": ["null", "string"],
    "score": "double",
    "total": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2},
    "at": {"type": "long", "logicalType": "timestamp-micros"},
    "day": {"type": "int", "logicalType": "date"},
    "blob": "bytes",
    "labels": {"type": "map", "values": "double"},
    "lines": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
        {"name": "sku", "type": "string"}, {"name": "until", "type": ["null", {"type": "int", "logicalType": "date"}]},
    ]}},
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("me", "registry_url")


@pytest.fixture
def topic(make_topic: MakeTopic, produce: Produce) -> str:
    """Return an Avro topic of an evolving schema, with keys, headers and tombstones."""
    name = make_topic(2)
    keys = avro_values(
        name, avro_schema(number="long"), *({"number": n} for n in range(150)), of=MessageField.KEY
    )
    old = avro_values(name, avro_schema(**FIELDS), *map(order, range(50)))
    registry_client().set_compatibility(f"{name}-value", "NONE")
    new = avro_values(name, avro_schema(**{**FIELDS, "id": "double"}), *map(order, range(50, 100)))
    headers = [[("trace-id", b"t%d" % n), ("trace-id", b"\xff")] for n in range(150)]
    produce(name, old, partition=0, keys=keys[:50], headers=headers[:50])
    produce(name, [*new, None, None], partition=1, keys=keys[50:102], headers=headers[50:102])
    return name


def order(n: int) -> dict[str, Any]:
    return {
        "id": n, "name": None if n % 3 else f'"{n}"\n', "score": n / 7, "total": Decimal(n) / 4, "at": n * 1_000_001,
        "day": n, "blob": bytes([n, 255]), "labels": {f"k{n}": n / 2}, "lines": [{"sku": "a", "until": n or None}],
    }  # fmt: skip


@pytest.mark.parametrize("metadata", [False, True], ids=["plain", "metadata"])
@pytest.mark.parametrize("key_decode", ["raw", "avro"])
def test_a_replay_and_a_window_equal_their_index(
    registry_lab: Lab, topic: str, key_decode: str, metadata: bool
) -> None:
    window = registry_lab.window(topic)
    load = window.to_scratch("a", decode="avro", key_decode=key_decode, metadata=metadata)
    assert load.counts["indexed"] == 102
    read = [
        window.read(decode="avro", key_decode=key_decode),
        window.read(decode="avro"),
        window.read(),
    ]
    for side in (*read, window):
        comparison = registry_lab.compare(side, load, latency=False)
        assert (comparison.verdict, comparison.counts["same"], comparison.reasons) == (
            "same",
            102,
            (),
        ), comparison.summary()
    load.index.target.client.update(index=load.index.name, id=f"{topic}-0-7", doc={"total": "1.76"})
    comparison = registry_lab.compare(read[0], load, latency=False)
    changed = comparison.fields.loc[comparison.fields["changed"] > 0, "field"].tolist()
    assert (comparison.verdict, comparison.counts["changed"], changed) == (
        "different",
        1,
        ["total"],
    )


def test_what_the_indexer_wrote_equals_the_topic(
    registry_lab: Lab, topic: str, bench: Bench
) -> None:
    bench.once(topic, "--decode", "avro", "--key-decode", "avro", "--metadata")
    bench.count()  # a reader does not refresh what is others'
    comparison = registry_lab.compare(registry_lab.window(topic), bench.index, latency=False)
    assert comparison.counts["only_left"] == comparison.counts["only_right"] == 0
    assert (comparison.verdict, comparison.counts["same"]) == ("same", 102), comparison.summary()


def test_json_with_metadata_equals_its_index(
    registry_lab: Lab, make_topic: MakeTopic, produce: Produce
) -> None:
    topic = make_topic()
    produce(topic, [b'{"a": 1.50}', b"odd", None, b"[1]"], keys=[b"k", None, b"\xff", b""])
    window = registry_lab.window(topic)
    load = window.to_scratch("json", metadata=True)
    for side in (window, window.read(), window.read(decode="text")):
        comparison = registry_lab.compare(side, load, latency=False)
        assert (comparison.verdict, comparison.counts["same"]) == ("same", 4), comparison.summary()


def test_a_window_equals_the_index_that_a_schemas_file_made(
    registry_lab: Lab, make_topic: MakeTopic, produce: Produce, bench: Bench, tmp_path: Path
) -> None:
    """The index "was made by a decoder that has no name"; its file may be gone by now."""
    file = tmp_path / "order.avsc"
    file.write_text(avro_schema(id="long", total="double"))
    schema = json.loads(file.read_text())
    topic = make_topic()
    produce(topic, [avro_record(schema, {"id": n, "total": n / 4}) for n in range(5)])
    window = registry_lab.window(topic)
    load = window.to_scratch("file", decode=f"avro:{file}")
    bench.once(topic, "--decode", f"avro:{file}")
    bench.count()
    file.unlink()
    for index in (load, bench.index):
        found = registry_lab.compare(window, index, latency=False)
        assert (found.verdict, found.counts["same"]) == ("same", 5), found.summary()


def avro_record(schema: Any, record: dict[str, Any]) -> bytes:
    """Return a record without a frame."""
    written = io.BytesIO()
    fastavro.schemaless_writer(written, schema, record)
    return written.getvalue()


def test_a_decoder_of_ones_own_needs_a_replay(
    registry_lab: Lab, make_topic: MakeTopic, produce: Produce
) -> None:
    topic = make_topic()
    produce(topic, [b'{"a": 1}', b'{"a": 2}'])
    window = registry_lab.window(topic)

    def twice(value: bytes) -> Any:
        return {"text": value.decode() * 2}

    load = window.to_scratch("own", decode=twice)
    comparison = registry_lab.compare(window.read(decode=twice), load, latency=False)
    assert (comparison.verdict, comparison.counts["same"]) == ("same", 2), comparison.summary()
    with pytest.raises(UsageError, match="has no name") as caught:
        registry_lab.compare(window, load)
    assert "w.read(decode=" in (caught.value.hint or "")
