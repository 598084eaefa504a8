"""The options of a read are checked in one place, and travel to other processes."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest

from labkit import enrich
from labkit.errors import UsageError
from labkit.read_spec import ReadSpec


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            {"isolation": "committed"},
            "isolation must be 'read_committed' or 'read_uncommitted', not 'committed'",
        ),
        ({"on_expired": None}, "on_expired must be 'error' or 'clamp', not None"),
        ({"on_interrupt": ["keep"]}, "on_interrupt must be 'raise' or 'keep', not ['keep']"),
        ({"max_bytes": 0}, "max_bytes must be 1 or more, not 0"),
        ({"deadline": "soon"}, "'soon'"),
        ({"enrich": [len]}, "enrich must be enrichers"),
        ({"enrich": "geoip:ip"}, "enrich must be enrichers, not 'geoip:ip'"),
    ],
    ids=["isolation", "on_expired", "on_interrupt", "max_bytes", "deadline", "enrich", "a text"],
)
def test_what_an_option_cannot_be_is_refused_with_what_it_must_be(
    option: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as error:
        ReadSpec(**option)
    assert message in str(error.value)


def test_a_spec_travels_and_is_changed_without_losing_an_enricher() -> None:
    chain = (
        one for one in [enrich.parse("message", r"(?P<word>\w+)")]
    )  # may be iterated over once
    spec = ReadSpec(decode="text", enrich=chain, deadline="2m", max_bytes=10)
    copy: ReadSpec = pickle.loads(pickle.dumps(replace(spec, guard=False)))
    assert (copy.decode, copy.deadline_s, copy.max_bytes, copy.guard) == (
        "text",
        120.0,
        10,
        False,
    )
    assert [enricher.field for enricher in copy.chain.enrichers] == ["message"]
