"""Scratch indices of topics that are not JSON, by a real registry.

It tests documents, mapping, counts and rejects.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from confluent_kafka.serialization import MessageField
from distributed import Client

from labkit import enrich
from labkit.cli import main
from labkit.errors import UsageError
from labkit.lab import Lab
from labkit.sinks.scratch import Load
from support.registry import avro_schema as schema
from support.registry import avro_values as avro
from support.registry import registry_client
from support.replays import balance_load

MakeTopic = Callable[..., str]
Produce = Callable[..., None]
AT = datetime(2016, 3, 1, 12, 0, 0, 123000, UTC)
AT_MS = int(AT.timestamp() * 1000)
ADDRESS = {"type": "record", "name": "Address", "fields": [
    {"name": "city", "type": "string"}, {"name": "since", "type": {"type": "int", "logicalType": "date"}},
]}  # fmt: skip
FIELDS = {
    "id": "long",
    "name": ["null", "string"],
    "score": "double",
    "paid": "boolean",
    "total": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2},
    "day": {"type": "int", "logicalType": "date"},
    "at": {"type": "long", "logicalType": "timestamp-millis"},
    "fine": {"type": "long", "logicalType": "timestamp-micros"},
    "clock": {"type": "int", "logicalType": "time-millis"},
    "blob": "bytes",
    "labels": {"type": "map", "values": "string"},
    "address": ["null", ADDRESS],
    "words": {"type": "array", "items": "string"},
}
ORDER = {
    "id": 2**53 + 1, "name": 'a "quoted"\nname', "score": 2.0, "paid": True, "total": Decimal("123456789012345678.90"),
    "day": date(2016, 3, 1), "at": AT, "fine": AT.replace(microsecond=123456), "clock": time(12, 30, 1, 5000),
    "blob": b"\xff\x00", "labels": {"de": "ja", "a.b": "x"}, "address": {"city": "Wien", "since": date(2000, 1, 2)},
    "words": ["a", "b"],
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("me", "registry_url")


def document(load: Load, name: str) -> dict[str, Any]:
    return dict(load.index.target.client.get(index=load.index.name, id=name)["_source"])


def kinds(load: Load) -> dict[str, Any]:
    (mapping,) = load.index.mapping().values()
    return {name: rule.get("type", "object") for name, rule in mapping["properties"].items()}


def test_each_type_of_avro_becomes_a_document_and_its_mapping(
    registry_lab: Lab, make_topic: MakeTopic, produce: Produce
) -> None:
    topic = make_topic()
    produce(
        topic,
        avro(
            topic, schema(**FIELDS), ORDER, {**ORDER, "name": None, "address": None, "labels": {}}
        ),
    )
    load = registry_lab.window(topic).to_scratch("orders", decode="avro")
    assert balance_load(load) == {
        "sent": 2,
        "indexed": 2,
        "existing": 0,
        "rejected": 0,
        "unsent": 0,
    }
    assert document(load, f"{topic}-0-0") == {
        "id": 2**53 + 1, "name": 'a "quoted"\nname', "score": 2.0, "paid": True, "total": "123456789012345678.90",
        "day": "2016-03-01", "at": "2016-03-01T12:00:00.123Z", "fine": "2016-03-01T12:00:00.123456000Z",
        "clock": "12:30:01.005", "blob": "/wA=", "labels": {"de": "ja", "a.b": "x"},
        "address": {"city": "Wien", "since": "2000-01-02"}, "words": ["a", "b"],
    }  # fmt: skip
    assert "name" not in document(load, f"{topic}-0-1")
    kinds_ = kinds(load)
    assert {name: kinds_[name] for name in FIELDS} == {
        "id": "long", "name": "text", "score": "double", "paid": "boolean", "total": "double", "day": "date",
        "at": "date", "fine": "date", "clock": "keyword", "blob": "binary", "labels": "flattened", "address": "object",
        "words": "text",
    }  # fmt: skip
    for query in (
        {"range": {"total": {"gt": 1e17}}}, {"term": {"total.keyword": "123456789012345678.90"}},
        {"term": {"day": "2016-03-01"}}, {"range": {"fine": {"gte": "2016-03-01T12:00:00.123Z"}}},
    ):  # fmt: skip
        assert load.index.count(query) == 2, query
    assert load.index.count({"term": {"labels.de": "ja"}}) == 1
    assert load.index.count({"range": {"address.since": {"lt": "2001-01-01"}}}) == 1
    assert any("schema ids" in note for note in load.receipt.notes)
    again = registry_lab.window(topic).to_scratch("orders", decode="avro")
    assert balance_load(again)["existing"] == 2


def test_a_schema_that_evolves_has_one_mapping_for_all(
    registry_lab: Lab, make_topic: MakeTopic, produce: Produce
) -> None:
    topic = make_topic()
    produce(
        topic, avro(topic, schema(id="long", n="int"), *({"id": i, "n": i} for i in range(100)))
    )
    later = schema(id="long", n="double", more={"type": "map", "values": "long"})
    client = registry_client()
    client.set_compatibility(f"{topic}-value", "NONE")
    produce(
        topic,
        avro(
            topic, later, *({"id": i, "n": i / 2, "more": {f"k{i}": i}} for i in range(100, 3000))
        ),
    )
    load = registry_lab.window(topic).to_scratch("evolving", decode="avro")
    assert balance_load(load)["indexed"] == 3000
    assert (kinds(load)["n"], kinds(load)["more"]) == ("double", "flattened")
    assert load.index.count({"range": {"n": {"gt": 60.4, "lt": 60.6}}}) == 1
    assert load.index.count({"term": {"more.k2999": "2999"}}) == 1


def test_what_cannot_be_decoded_is_a_reject_with_its_origin_and_reason(
    registry_lab: Lab, make_topic: MakeTopic, produce: Produce
) -> None:
    topic = make_topic()
    good = avro(
        topic, schema(id="long", name="string"), {"id": 1, "name": "a"}, {"id": 2, "name": "b"}
    )
    produce(topic, [good[0], b"\xff\x01", good[1][:-1], None, good[1], b"{}"])
    load = registry_lab.window(topic).to_scratch("broken", decode="avro")
    assert balance_load(load) == {
        "sent": 6,
        "indexed": 3,
        "existing": 0,
        "rejected": 3,
        "unsent": 0,
    }
    assert sum(part.undecodable for part in load.receipt.partitions) == 3
    rejects = load.rejects
    assert rejects["offset"].tolist() == [1, 2, 5]
    assert set(rejects["type"]) == {"decode"}
    assert "wire format" in rejects["reason"][0]
    assert json.loads(rejects["source"][0]) == {"base64": base64.b64encode(b"\xff\x01").decode()}
    assert document(load, f"{topic}-0-3") == {
        "tags": ["_tombstone"],
        "@timestamp": document(load, f"{topic}-0-3")["@timestamp"],
        "labkit": {"topic": topic, "partition": 0, "offset": 3},
    }
    mended = rejects.assign(source=['{"id": 7}', '{"id": 8}', '{"id": 9}'])
    assert load.resend(mended)["indexed"] == 3
    assert load.index.count() == 6


def test_one_value_without_a_meaning_leaves_the_rest_in_the_reject(
    registry_lab: Lab, make_topic: MakeTopic, produce: Produce
) -> None:
    topic = make_topic()
    plain = schema(id="long", day="int")
    (value,) = avro(topic, plain, {"id": 1, "day": 2**31 - 1})
    produce(
        topic, [avro(topic, schema(id="long", day=FIELDS["day"]), {"id": 2, "day": AT.date()})[0]]
    )
    produce(
        topic,
        [
            avro(topic, schema(id="long", day=FIELDS["day"]), {"id": 3, "day": AT.date()})[0][:5]
            + value[5:]
        ],
    )
    load = registry_lab.window(topic).to_scratch("day", decode="avro")
    assert balance_load(load)["rejected"] == 1
    assert json.loads(load.rejects["source"][0]) == {"id": 1}
    assert "day" in load.rejects["reason"][0]


def test_conditions_enrichers_and_keys_work_on_decoded_columns(
    registry_lab: Lab, make_topic: MakeTopic, produce: Produce
) -> None:
    topic = make_topic()
    values = avro(
        topic,
        schema(**FIELDS, ip="string"),
        *({**ORDER, "id": i, "ip": "8.8.8.8"} for i in range(50)),
    )
    keys = avro(
        topic, schema(number="long"), *({"number": i} for i in range(50)), of=MessageField.KEY
    )
    produce(topic, [*values, None], keys=[*keys, keys[0]])

    def later(frame: Any) -> Any:
        if (frame["id"] == 41).any():
            raise ValueError("41")
        return {"next": frame["at"] + (frame["at"] - frame["at"]), "twice": frame["total"] * 2}

    load = registry_lab.window(topic).to_scratch(
        "some", decode="avro", key_decode="avro", where="id >= 40 or _key_number = 0",
        enrich=[enrich.parse("address.city", "(?P<first>.)"), enrich.apply(later)],
    )  # fmt: skip
    assert balance_load(load) == {
        "sent": 12,
        "indexed": 11,
        "existing": 0,
        "rejected": 1,
        "unsent": 0,
    }
    assert load.receipt.filtered == 39
    assert (load.rejects["offset"].tolist(), load.rejects["type"].tolist()) == ([41], ["enrich"])
    document_ = document(load, f"{topic}-0-42")
    assert (document_["_key_number"], document_["first"], document_["twice"]) == (
        42,
        "W",
        "246913578024691357.80",
    )
    assert document_["next"] == document_["at"]
    assert document(load, f"{topic}-0-50")["_key_number"] == 0  # a tombstone says whose


@pytest.mark.parametrize(
    ("decode", "hint"), [("raw", "metadata"), ("avroo", "avro"), (7, "function")]
)
def test_what_makes_no_document_is_refused_before_anything_is_read(
    registry_lab: Lab, make_topic: MakeTopic, decode: Any, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        registry_lab.window(make_topic()).to_scratch("none", decode=decode)
    assert hint in (caught.value.hint or "")


def test_text_and_functions_make_documents_too(
    registry_lab: Lab, make_topic: MakeTopic, produce: Produce
) -> None:
    topic = make_topic()
    produce(topic, [b"1;a", b"2;b"])
    load = registry_lab.window(topic).to_scratch("text", decode="text")
    assert document(load, f"{topic}-0-1") == {"text": "2;b"}
    own = registry_lab.window(topic).to_scratch(
        "own", decode=lambda value: dict(zip(("n", "s"), value.decode().split(";"), strict=True))
    )
    assert document(own, f"{topic}-0-0") == {"n": "1", "s": "a"}
    load_ = registry_lab.window(topic).to_scratch("auto", decode="auto")
    assert document(load_, f"{topic}-0-0") == {"text": "1;a"}
    assert any(note.startswith("auto chose text") for note in load_.receipt.notes)


# where a document came from --------------------------------------------------------------------------------

HEADERS = [
    [("trace-id", b"abc"), ("a.b", b"1"), ("trace-id", None), ("raw", b"\xff"), ("", b'"')],
    [("trace-id", b"def")],
    [],
    [(f"h{i}", b"x") for i in range(300)],
]


@pytest.mark.parametrize("target", ["default", "es-9.5.3"])
def test_metadata_is_appended_to_json_and_can_be_searched(
    both: Lab, make_topic: MakeTopic, produce: Produce, target: str
) -> None:
    topic = make_topic()
    values = [b'{"a": 1.50}', b'{"_kafka": {"offset": 7}}', b"no json", None]
    produce(
        topic,
        values,
        keys=[b"k", b"\xff\x00", None, b"gone"],
        headers=HEADERS,
        timestamps=[AT_MS] * 4,
    )
    load = both.window(topic).to_scratch("meta", metadata=True, target=target)
    assert balance_load(load) == {
        "sent": 4,
        "indexed": 4,
        "existing": 0,
        "rejected": 0,
        "unsent": 0,
    }
    at = {
        "topic": topic,
        "partition": 0,
        "timestamp": "2016-03-01T12:00:00.123Z",
        "timestamp_type": "CreateTime",
    }
    first, second, third, last = (document(load, f"{topic}-0-{offset}") for offset in range(4))
    headers = {"trace-id": ["abc", None], "a.b": "1", "raw": "/w==", "": '"'}
    assert first == {"a": 1.5, "_kafka": {**at, "offset": 0, "key": "k", "headers": headers}}
    assert second == {
        "_kafka": {"offset": 7},
        "_kafka_": {**at, "offset": 1, "key": "/wA=", "headers": {"trace-id": "def"}},
    }
    assert third["message"] == "no json"
    assert third["_kafka"] == {**at, "offset": 2}
    assert last["tags"] == ["_tombstone"]
    assert (last["_kafka"]["key"], len(last["_kafka"]["headers"])) == ("gone", 300)
    for query, count in (
        ({"term": {"_kafka.headers.trace-id": "abc"}}, 1), ({"term": {"_kafka.headers.a.b": "1"}}, 1),
        ("_kafka.headers.h299:x", 1), ({"exists": {"field": "_kafka.headers.trace-id"}}, 1),
        ({"range": {"_kafka.timestamp": {"gte": "2016-03-01T12:00:00.123Z"}}}, 3), ("_kafka.key:gone", 1),
    ):  # fmt: skip
        assert load.index.count(query) == count, query
    assert not any(name.startswith("_kafka.headers.") for name in load.index.fields())
    assert len(load.index.fields()) < 60


def test_metadata_goes_with_any_decoder_and_with_keys(
    registry_lab: Lab, make_topic: MakeTopic, produce: Produce
) -> None:
    topic = make_topic()
    values = avro(topic, schema(id="long"), {"id": 1}, {"id": 2})
    produce(
        topic,
        [*values, None, b"odd"],
        keys=[b"a", None, b"c", b"d"],
        headers=HEADERS,
        timestamps=[AT_MS] * 4,
    )
    window = registry_lab.window(topic)
    load = window.to_scratch("meta", decode="avro", key_decode="text", metadata=True)
    assert balance_load(load)["rejected"] == 1
    document_ = document(load, f"{topic}-0-0")
    assert (document_["id"], document_["_key_text"], document_["_kafka"]["key"]) == (1, "a", "a")
    assert document_["_kafka"]["headers"]["trace-id"] == ["abc", None]
    gone = document(load, f"{topic}-0-2")
    assert (gone["tags"], gone["_key_text"], gone["_kafka"]["offset"]) == (["_tombstone"], "c", 2)
    raw = window.to_scratch("raw", decode="raw", metadata=True)
    assert balance_load(raw)["indexed"] == 4
    assert list(document(raw, f"{topic}-0-3")) == ["_kafka"]


def test_json_as_it_is_beside_decoded_keys(
    registry_lab: Lab, make_topic: MakeTopic, produce: Produce
) -> None:
    topic = make_topic()
    keys = avro(topic, schema(id="long"), {"id": 1}, {"id": 2}, of=MessageField.KEY)
    produce(topic, [b'{"n": 1e2 }', b"odd", b'{"n": []}'], keys=[*keys, b"x"])
    load = registry_lab.window(topic).to_scratch("keys", key_decode="avro")
    assert balance_load(load)["rejected"] == 1
    assert load.rejects["reason"][0].startswith("key: ")
    assert document(load, f"{topic}-0-0") == {"n": 100.0, "_key_id": 1}
    assert document(load, f"{topic}-0-1")["message"] == "odd"
    assert document(load, f"{topic}-0-1")["_key_id"] == 2
    # of values that go as they are none became text
    assert [note[:21] for note in load.receipt.notes if " → text" in note or "keys" in note] == [
        "keys: decoded as avro"
    ]


def test_the_command_line_loads_avro_with_its_origin(
    registry_lab: Lab, make_topic: MakeTopic, produce: Produce, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = make_topic()
    produce(topic, [*avro(topic, schema(id="long"), {"id": 1}), b"odd"], keys=[b"k", b"l"])
    command = [
        "replay",
        topic,
        "--start",
        "earliest",
        "--end",
        "latest",
        "--scratch",
        "cli",
        "--json",
    ]
    # one cannot be decoded
    assert main([*command, "--decode", "avro", "--key-decode", "text", "--metadata"]) == 3
    ledger = json.loads(capsys.readouterr().out)
    assert ledger["counts"] == {"sent": 2, "indexed": 1, "existing": 0, "rejected": 1, "unsent": 0}
    document_ = dict(
        registry_lab.target().client.get(index=ledger["index"], id=f"{topic}-0-0")["_source"]
    )
    assert (document_["id"], document_["_key_text"], document_["_kafka"]["key"]) == (1, "k", "k")


def test_workers_make_the_documents_that_one_process_makes(
    registry_lab: Lab, make_topic: MakeTopic, produce: Produce
) -> None:
    topic = make_topic(2)
    for partition, more in ((0, {}), (1, {"n": "int"}), (1, {"n": "double"})):
        values = ({"id": i, "total": Decimal(i) / 4, "n": i} for i in range(200))
        text = schema(id="long", total=FIELDS["total"], **more)
        if more:
            registry_client().set_compatibility(f"{topic}-value", "NONE")
        produce(topic, [*avro(topic, text, *values), b"odd"], partition=partition)
    window = registry_lab.window(topic)
    alone = window.to_scratch("alone", decode="auto", metadata=True)
    with Client(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as client:
        load = window.to_scratch(
            "dask", client=client, slice_records=150, decode="auto", metadata=True
        )
    assert balance_load(load) == balance_load(alone) == {
        "sent": 603, "indexed": 600, "existing": 0, "rejected": 3, "unsent": 0
    }  # fmt: skip
    assert kinds(load) == kinds(alone)
    assert registry_lab.compare(alone, load).same == 600
    assert sorted(load.rejects["reason"]) == sorted(alone.rejects["reason"])
