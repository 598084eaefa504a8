"""Notebooks on a topic that is still empty.

A new user of a real cluster may well start with one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from labkit.lab import connect
from labkit.notebook import rerun
from labkit.stack.state import State

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.mark.parametrize("name", ["00-tour", "01-discover", "02-enrich", "07-scale-out"])
def test_it_runs_and_shows_that_there_is_nothing(
    stack: State,
    make_topic: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setenv("LABKIT_USER", f"test_{uuid.uuid4().hex[:8]}")
    admin, production = connect(role="admin").target().client, f"irc-test-{uuid.uuid4().hex[:8]}"
    parameters = {
        "topic": make_topic(2),
        **({"production": production} if name == "02-enrich" else {}),
    }
    admin.indices.create(index=production)
    try:
        run = rerun.run(NOTEBOOKS / f"{name}.ipynb", parameters, folder=tmp_path / "runs")
    finally:
        admin.indices.delete(index=production)
        for row in connect().scratch()["index"]:
            admin.indices.delete(index=row)
    cells = nbformat.read(run.notebook, as_version=4).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    text = "".join(str(output.get("data", {}).get("text/plain", "")) for output in outputs)
    assert "0 in 0 of its 2 partitions" in text
