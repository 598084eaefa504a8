"""Records as documents: which go through as they are, and which need a document of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labkit import decode
from labkit.decode.schema_files import SchemaFile
from labkit.enrich import rename
from labkit.enrich.chain import Chain
from labkit.es.documents import as_stored, documents
from labkit.es.encode import Encoder
from labkit.es.form import OWN, PLAIN, Form
from labkit.es.mappings import IndexName
from support.records import raw_batch


def stands_in(source: bytes) -> bool:
    return "_jsonparsefailure" in orjson.loads(source).get("tags", [])


TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("\ufeff\ufffe\uffff\xfe\xff\u0000"),
    )
)


@example([{"a": "x\ufeffy"}, {"\ufeff": "\u00ff\u00fe\uffff"}])
@settings(deadline=None)
@given(st.lists(st.dictionaries(TEXTS, TEXTS), min_size=1))
def test_a_json_object_in_utf_8_goes_through_whatever_its_text(
    objects: list[dict[str, Any]],
) -> None:
    values = [json.dumps(document, ensure_ascii=False).encode() for document in objects]
    assert documents(raw_batch(values)).sources.to_pylist() == values


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"]
)
def test_any_other_encoding_gets_a_document_of_its_own(encoding: str) -> None:
    text = '{"message": "caf\xe9 \ufeff"}'
    for source in (b'{"a":1}', '{"a":"\ufeff"}'.encode(), b"\xff"):
        sources = documents(
            raw_batch([source, text.encode(encoding), text.encode()])
        ).sources.to_pylist()
        assert [stands_in(source_) for source_ in sources] == [source == b"\xff", True, False]
        assert sources[2] == text.encode()


def test_half_a_surrogate_pair_is_compared_as_the_document_that_elasticsearch_took() -> None:
    """It takes them; what was compared was a stand-in, so a window differed from its own index."""
    halves = [rb'{"a":"\ud800"}', rb'{"\uDFFF":"\\ud800"}']
    sources = as_stored(raw_batch([*halves, rb'{"a":"\ud800"'])).sources.to_pylist()
    assert sources[:2] == halves
    assert stands_in(sources[2])


# how fields are to be mapped ---------------------------------------------------------------------------------


def test_what_comes_later_is_taken_into_the_mapping_and_names_that_are_data_are_not() -> None:
    encoder = Encoder(PLAIN)
    first = encoder.of_raw(raw_batch([b'{"a":1,"o":{"b":1}}'])).fields
    assert first == {}
    second = encoder.of_raw(raw_batch([b'{"a":2.5,"o":{"b":1}}'])).fields
    third = encoder.of_raw(raw_batch([b'{"o":{"b":0.5}}', b"no JSON", None])).fields
    double = {"type": "double"}
    assert (second, third) == ({"a": double}, {"a": double, "o": {"properties": {"b": double}}})
    assert encoder.of_raw(raw_batch([b'{"a":2.5}'])).fields is third  # nothing new to map
    many = [json.dumps({f"k{n}": 0.5 for n in range(at, at + 600)}) for at in range(0, 6000, 600)]
    for text in many:
        encoder.of_raw(raw_batch([text.encode()]))
    assert len(encoder.fields) < 2000


@pytest.mark.parametrize("kind", ["avro", "protobuf"])
def test_an_index_keeps_the_schema_of_a_file_and_no_path(kind: str, tmp_path: Path) -> None:
    (tmp_path / "s.avsc").write_text('{"type":"record","name":"R","fields":[]}')
    (tmp_path / "s.proto").write_text('syntax = "proto3"; message R { int64 id = 1; }')
    schema = (
        decode.avro(tmp_path / "s.avsc")
        if kind == "avro"
        else decode.protobuf(tmp_path / "s.proto")
    )
    meta = json.loads(json.dumps(Form(schema).meta))
    assert str(tmp_path) not in json.dumps(meta)
    kept = Form.of_meta(meta).decode
    assert isinstance(kept, SchemaFile)
    assert (kept.cache_name, kept.path) == (
        schema.cache_name,
        f"s.{'avsc' if kind == 'avro' else 'proto'}",
    )
    for odd in ({**meta["decode"], "texts": ["x"], "descriptors": "x"}, {}, "avro:/etc/passwd"):
        assert Form.of_meta({"decode": odd}).decode == OWN


# times that no date can hold -------------------------------------------------------------------------------

FAR = [253_402_300_800_000, 1_700_000_000_000_000, 1_700_000_000_000_000_000, 2**63 - 1]


@pytest.mark.parametrize("stamp", FAR)
def test_a_record_of_a_time_that_no_date_can_hold_is_undated(stamp: int) -> None:
    """Microseconds, given as milliseconds: the record is as good as any."""
    name = IndexName("irc-%Y.%m")
    docs = documents(raw_batch([None, b"\xff", b'{"a":1}'], stamp), name=name)
    assert docs.indices is not None
    assert docs.indices.to_pylist() == ["irc-undated"] * 3
    assert [orjson.loads(source).get("@timestamp") for source in docs.sources.to_pylist()] == [
        None
    ] * 3
    last = documents(raw_batch([None], FAR[0] - 1), name=name)
    assert last.indices is not None
    assert last.indices.to_pylist() == ["irc-9999.12"]
    assert orjson.loads(last.sources[0].as_py())["@timestamp"] == "9999-12-31T23:59:59.999Z"


@pytest.mark.parametrize("sample", [[b'{"n":5}'], [b'{"n":5}', b'{"n":"x"}']])
def test_a_renamed_document_depends_on_its_own_record_alone(sample: list[bytes]) -> None:
    form = Form().settle(lambda: [raw_batch(sample)], None)
    encoder = Encoder(form, chain=Chain([rename({"n": "count"})]))
    numbers = encoder.of_raw(raw_batch([b'{"n":5}', b'{"n":7}']))
    assert numbers.sources.to_pylist() == [b'{"count":5}', b'{"count":7}']
    texts = encoder.of_raw(raw_batch([b'{"n":"x"}', b'{"n":6}']))
    assert texts.sources.to_pylist() == [b'{"count":"x"}', b'{"count":6}']
    again = encoder.of_raw(raw_batch([b'{"n":8}']))
    assert again.sources.to_pylist() == [b'{"count":8}']


def test_the_types_of_most_records_are_mapped() -> None:
    encoder = Encoder(Form(), chain=Chain([rename({"n": "count"})]))
    encoder.of_raw(raw_batch([b'{"n":1.5}', b'{"n":2.5}', b'{"n":{"a":3.5}}']))
    assert encoder.fields["count"] == {"type": "double"}
