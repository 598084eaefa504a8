"""`notebooks/02-enrich.ipynb` beside a production indexer that runs."""

from __future__ import annotations

import ast
import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit.lab import connect
from labkit.notebook import rerun
from labkit.stack.state import State
from support.records import read_sample
from support.stack import LABKIT
from support.waiting import until

ROOT = Path(__file__).parents[2]
RECORDS = 4_000


@pytest.mark.alone  # its guard looks at all groups
@pytest.mark.timeout(600)
def test_a_second_load_with_geoip_beside_production(
    stack: State,
    make_topic: Callable[..., str],
    produce: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LABKIT_USER", f"test_{uuid.uuid4().hex[:8]}")
    values = read_sample(RECORDS)
    topic, index = make_topic(2), f"irc-test-{uuid.uuid4().hex[:8]}"
    produce(topic, values[::2], partition=0)
    produce(topic, values[1::2], partition=1)
    command = [*LABKIT, "index", topic, index, "--group", f"indexer.{index}"]
    production = subprocess.Popen(command, env={**os.environ, "LABKIT_STATE": str(stack.root)})
    client = connect(role="admin").target().client
    try:

        def count_documents() -> int:
            client.options(ignore_status=404).indices.refresh(index=index)
            return int(
                dict(client.options(ignore_status=[404, 503]).count(index=index)).get("count", 0)
            )

        until(lambda: count_documents() >= RECORDS, "the index of all records", 120)
        run = rerun.run(
            ROOT / "notebooks" / "02-enrich.ipynb",
            {"topic": topic, "production": index, "scratch": "enrich"},
            folder=tmp_path / "runs",
        )
        assert production.poll() is None
    finally:
        production.terminate()
        production.wait(60)
        client.options(ignore_status=404).indices.delete(index=index)
        for row in connect().scratch()["index"]:
            client.indices.delete(index=row)
    check(run.notebook)


def check(notebook: Path) -> None:
    cells = nbformat.read(notebook, as_version=4).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    summary: dict[str, Any] = ast.literal_eval(cells[-1].outputs[-1]["data"]["text/plain"])
    assert (
        summary["records_planned"]
        == summary["records_replayed"]
        == summary["scratch_documents"]
        == RECORDS
    )
    assert summary["scratch_counts"]["indexed"] == RECORDS
    assert 1_000 < summary["located"] < RECORDS
    assert summary["production_located"] == 0
    assert summary["receipt_complete"] is summary["untouched"] is True
    assert "GeoLite2-City of 2018-07-03" in str(outputs)
