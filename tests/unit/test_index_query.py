"""Which fields a query's text names: each is held against those of the index."""

from __future__ import annotations

from typing import Any

import pytest

from labkit.es.query import fields_in


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("nick:alice AND size:[1 TO 5]", ["nick", "size"]),
        ("+nick:a -geo.city:b !op:c NOT (host:d)", ["nick", "geo.city", "op", "host"]),
        ("@timestamp:[2020-01-01T10:00:00 TO *]", ["@timestamp"]),
        ('"a:b" OR message:"c:d" OR path:/e:f/', ["message", "path"]),
        (r"url:http\://host time:12\:30", ["url", "time"]),
        ("_exists_:nick", []),
        ("alice", []),
        ({"term": {"nick": "alice"}}, ["nick"]),
        (
            {
                "bool": {
                    "must": [{"range": {"n": {"gt": 1}}}],
                    "must_not": {"exists": {"field": "x"}},
                }
            },
            ["n", "x"],
        ),
        ({"ids": {"values": ["a:b"]}}, []),
        ({"query_string": {"query": "nick:a"}}, []),
        (None, []),
    ],
)
def test_the_fields_that_a_text_names(query: Any, fields: list[str]) -> None:
    assert fields_in(query) == fields
