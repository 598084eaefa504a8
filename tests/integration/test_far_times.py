"""Records of times that no date can hold are read and indexed.

Microseconds given as milliseconds are such times.
"""

from __future__ import annotations

from typing import Any

import pytest

from labkit import Lab
from labkit.sinks.scratch import Load
from support.indexing import Bench

NEAR, FAR, FARTHEST = 1_456_790_400_000, 1_700_000_000_000_000, 9_000_000_000_000_000_000
VALUES = [b'{"n":0}', b'{"n":1}', None, b"no json", None, b'{"n":5}']
TIMES = [NEAR, FAR, FAR, FAR, FARTHEST, NEAR]


@pytest.fixture
def topic(make_topic: Any, produce: Any) -> str:
    name = str(make_topic(message_timestamp_after_max_ms=str(2**63 - 1)))
    produce(name, VALUES, timestamps=TIMES)
    return name


def test_the_indexer_passes_them_and_they_are_undated(bench: Bench, topic: str) -> None:
    pattern, plain = f"{bench.index}-%Y.%m", bench.index
    bench.index = pattern
    try:
        run = bench.once(topic)
    finally:
        bench.index = plain
    try:
        assert run.ledger["indexed"] == len(VALUES)
        client = bench.client
        client.indices.refresh(index=f"{plain}-*")
        result = {
            name: client.count(index=name)["count"]
            for name in client.indices.get_mapping(index=f"{plain}-*")
        }
        assert result == {f"{plain}-2016.03": 2, f"{plain}-undated": 4}
        tombstone = client.get(index=f"{plain}-undated", id=f"{topic}-0-2")["_source"]
        assert tombstone["tags"] == ["_tombstone"]
        assert "@timestamp" not in tombstone
    finally:
        bench.client.indices.delete(index=[f"{plain}-2016.03", f"{plain}-undated"])


def test_a_load_and_a_frame_have_them(lab: Lab, topic: str, me: str) -> None:
    window = lab.window(topic)
    load: Load = window.to_scratch("far")
    assert (load.complete, load.counts["indexed"]) == (True, len(VALUES))
    replay = window.read()
    assert f"to {FARTHEST} ms" in str(replay)
    assert f"{FARTHEST} ms" in replay._repr_html_()
    assert "no date can hold them" in str(replay.receipt)
    frame = replay.to_pandas()
    assert frame["_timestamp"].notna().tolist() == [moment == NEAR for moment in TIMES]
    assert "2016-03-01" in repr(frame[["_timestamp"]])
    assert replay.table.column("_timestamp").cast("int64").to_pylist() == TIMES
