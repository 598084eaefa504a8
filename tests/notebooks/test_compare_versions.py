"""The notebook that compares two versions, on both of them.

The real indexer wrote its production index.
"""

from __future__ import annotations

import ast
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit import cli
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab, connect
from labkit.notebook import rerun
from labkit.sinks.scratch_index import list_indices
from labkit.stack.state import State
from support.records import read_sample

ROOT = Path(__file__).parents[2]
T0 = 1_456_790_400_000
RECORDS = 4_000


@pytest.fixture
def production(
    both: Lab,
    admin: Cluster,
    make_topic: Callable[..., str],
    produce: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """A topic and an index of the same name: the topic's records, by `labkit index`."""
    user, topic = f"test_{uuid.uuid4().hex[:8]}", make_topic(2)
    monkeypatch.setenv("LABKIT_USER", user)
    values = read_sample(RECORDS)
    for partition in (0, 1):
        mine = values[partition::2]
        produce(
            topic, mine, partition=partition, timestamps=[T0 + 12_000 * n for n in range(len(mine))]
        )
    assert (
        cli.main(
            ["index", topic, topic, "--group", f"indexer.{topic}", "--from", "earliest", "--once"]
        )
        == 0
    )
    yield topic
    connect(role="admin").target().client.indices.delete(index=topic)
    admin.admin.delete_consumer_groups([f"indexer.{topic}"])[f"indexer.{topic}"].result(15)
    for row in (row for target in both.targets.values() for row in list_indices(target)):
        both.target(row["target"]).client.indices.delete(index=row["index"])


@pytest.mark.timeout(300)
def test_the_notebook_compares_versions_and_production(
    production: str, tmp_path: Path, stack: State
) -> None:
    arguments = {"topic": production, "production": production, "last": 3_000, "scratch": "nb"}
    result = rerun.run(ROOT / "notebooks" / "03-compare-versions.ipynb", arguments, folder=tmp_path)
    cells = nbformat.read(result.notebook, as_version=4).cells
    summary: dict[str, Any] = ast.literal_eval(cells[-1].outputs[-1]["data"]["text/plain"])
    assert summary["records"] == 3_000
    assert set(summary["versions"]) == {"default", "es-9.5.3"}
    assert summary["versions"]["es-9.5.3"] == "9.5.3"
    assert summary["versions_identical"] is True
    assert summary["versions_counts"]["same"] == 3_000
    assert summary["production_counts"]["same"] == summary["production_counts"]["right"] == 3_000
    assert summary["latency_queries"] >= 5
    assert summary["mapping_differences"] == 0
    difference = summary["difference_counts"]
    assert summary["lost"] > 20
    assert difference["only_right"] >= summary["lost"]
    assert difference["same"] + difference["changed"] == 3_000 - difference["only_right"]
    assert "nick" in summary["fields_changed"]
    assert difference["changed"] > 0
    assert summary["left_after_ignoring"] < difference["changed"]

    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
    assert "time to answer, medians" in str(outputs)
    text = result.notebook.read_text() + result.html.read_text()
    assert not [role for role, password in stack.passwords.items() if password in text]
