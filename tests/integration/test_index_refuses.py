"""An index, or a whole cluster, that takes nothing.

No record is put aside for what is not its fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from labkit import Lab
from labkit.errors import UnavailableError
from support.indexing import Bench, goes_on
from support.waiting import until

pytestmark = pytest.mark.chaos


def closed(bench: Bench) -> None:
    bench.client.indices.create(index=bench.index)
    bench.client.indices.close(index=bench.index)


def alias_without_write_index(bench: Bench) -> None:
    for number in (1, 2):
        bench.client.indices.create(index=f"{bench.index}-{number}", aliases={bench.index: {}})


def missing_pipeline(bench: Bench) -> None:
    bench.client.indices.create(
        index=bench.index, settings={"index.default_pipeline": "nobody-made-it"}
    )


def required_routing(bench: Bench) -> None:
    bench.client.indices.create(index=bench.index, mappings={"_routing": {"required": True}})


@pytest.mark.parametrize(
    "make", [closed, alias_without_write_index, missing_pipeline, required_routing]
)
def test_an_index_that_takes_nothing_ends_the_run_and_nothing_is_put_aside(
    make: Callable[[Bench], None],
    bench: Bench,
    filled: Any,
    tmp_path: Path,
) -> None:
    make(bench)
    letters = tmp_path / "dead.jsonl"
    try:
        run = bench.once(filled(200), "--dead-letter", str(letters), code=1)
        assert any(f"index '{bench.index}' takes no documents" in line for line in run.said), (
            run.said
        )
        assert run.said[-1].startswith("Hint: is it closed")
        assert not letters.read_bytes()
        assert bench.committed().get(0, 0) <= 0
    finally:
        bench.client.options(ignore_status=404).indices.delete(
            index=[f"{bench.index}-1", f"{bench.index}-2"]
        )


@contextmanager
def read_only(bench: Bench) -> Iterator[None]:
    block = "cluster.blocks.read_only"
    bench.client.cluster.put_settings(persistent={block: True})
    try:
        yield
    finally:
        bench.client.cluster.put_settings(persistent={block: None})


@pytest.mark.alone
def test_a_read_only_cluster_is_waited_for(bench: Bench, filled: Any, produce: Any) -> None:
    topic = filled(1_000)
    run = bench.start(topic)
    until(lambda: bench.count() == 1_000, "the first documents")
    with read_only(bench):
        produce(topic, [orjson.dumps({"i": n}) for n in range(500)])
        run.until_said("waiting for Elasticsearch: the cluster is blocked")
        assert bench.committed() == {0: 1_000}
    run.until_said("Elasticsearch answers again")
    goes_on(bench, run, topic, 1_500)


@pytest.mark.alone
def test_an_index_that_a_read_only_cluster_does_not_make_is_not_a_matter_of_rights(
    bench: Bench,
    filled: Any,
    lab: Lab,
    me: str,
) -> None:
    topic = filled(10)
    with read_only(bench):
        run = bench.once(topic, code=1)
        with pytest.raises(UnavailableError, match="blocked by"):
            lab.window(topic).to_scratch("blocked")
    assert run.said[-1].startswith("Hint: it is read-only for now"), run.said
    assert bench.once(topic).ledger["indexed"] == 10
