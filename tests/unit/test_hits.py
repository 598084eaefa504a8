"""Documents come out of Elasticsearch's answers as the text that they are."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from labkit.text.hits import read_answer

SOURCES = [
    rb'{ "n": 1.50, "more": 0.12345678901234567890, "same": {"n" : 1E2} }',
    b'{"n": 123456789012345678901234567890,\n "text": "\xc5\xbc \\u00e9 \\/ \\n"}',
    rb'{"pair": "\ud83d\ude00", "no pair": "\\ud83d", "quote": "\\\""}',
    rb'{"half": "\ud800", "other": "\uDFFF\\\ud8ff\\ud800", "\udc00": {"\uD800": 1}}',
    b'{"name": 1, "name": 2, "empty": {}, "_source": [], "hits": {"hits": []}}',
]


@pytest.mark.parametrize("sources", [*([source] for source in SOURCES), SOURCES])
def test_documents_are_the_text_that_came(sources: list[bytes]) -> None:
    hits = b",".join(
        b'{"_index":"i","_id":"%d","_score":null,"_source":%b,"sort":[%d,0.5]}' % (row, source, row)
        for row, source in enumerate(sources)
    )
    answer = read_answer(b'{"pit_id":"p","took":3,"hits":{"max_score":null,"hits":[%b]}}' % hits)
    assert [bytes(hit.source) for hit in answer["hits"]] == sources
    assert [(hit.id, hit.sort) for hit in answer["hits"]] == [
        (str(row), [row, 0.5]) for row in range(len(sources))
    ]
    assert (answer["pit_id"], answer["took"]) == ("p", 3)


def test_a_document_without_source_and_an_error_are_read() -> None:
    answer = read_answer(b'{"hits":{"hits":[{"_index":"i","_id":"1","sort":[1]}]}}')
    assert bytes(answer["hits"][0].source) == b""
    error = b'{"error":{"type":"x","reason":"no such index"},"status":404}'
    assert read_answer(error) == json.loads(error)


@pytest.mark.parametrize("text", [b"", b"<html>", b"[1]", b'{"hits":'])
def test_what_is_no_json_object_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_answer(text)


def test_msgspec_is_imported_only_where_an_index_is_read() -> None:
    code = "import sys, labkit.lab, labkit.es.index; print('msgspec' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
