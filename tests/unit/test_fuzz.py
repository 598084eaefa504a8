"""A short run of the fuzz targets; `make fuzz` runs them longer, following coverage."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import SEEDS, TARGETS, Target


def mutated(seed: bytes) -> st.SearchStrategy[bytes]:
    """Return a seed with a part of it replaced."""
    places = st.integers(0, len(seed))
    return st.builds(
        lambda first, last, middle: seed[: min(first, last)] + middle + seed[max(first, last) :],
        places,
        places,
        st.binary(max_size=20),
    )


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_crash_hang_or_cost_a_neighbour(name: str) -> None:
    """Issue 17, 3: every target takes any bytes.

    They are JSON, Avro with generated schemas, Protobuf, IRC, labkit.toml, windows, and packed
    lines.
    """
    target: Target = TARGETS[name]

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.one_of(st.binary(max_size=200), *map(mutated, SEEDS[name])))
    def held(data: bytes) -> None:
        began = time.process_time()
        target(data)
        assert time.process_time() - began < 10

    for seed in SEEDS[name]:
        target(seed)
    held()
