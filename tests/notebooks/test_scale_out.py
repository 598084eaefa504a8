"""`notebooks/07-scale-out.ipynb` on two processes.

All records are counted and loaded, and no password is in its output.
"""

from __future__ import annotations

import ast
import uuid
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from labkit.notebook import rerun
from labkit.stack.state import State
from support.records import read_sample

ROOT = Path(__file__).parents[2]
RECORDS = 6_000


@pytest.mark.timeout(240)
def test_it_counts_and_loads_every_record(
    stack: State,
    make_topic: Callable[..., str],
    produce: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LABKIT_USER", f"test_{uuid.uuid4().hex[:8]}")
    values = read_sample(RECORDS)
    topic = make_topic(2)
    produce(topic, values[:4_000], partition=0)
    produce(topic, values[4_000:], partition=1)
    run = rerun.run(
        ROOT / "notebooks" / "07-scale-out.ipynb",
        {"topic": topic, "slice_records": 1_000},
        folder=tmp_path / "runs",
    )
    cells = [
        cell for cell in nbformat.read(run.notebook, as_version=4).cells if cell.cell_type == "code"
    ]
    outputs = [output for cell in cells for output in cell.outputs]
    summary = ast.literal_eval(outputs[-1]["data"]["text/plain"])
    assert (summary["planned"], summary["read"], summary["complete"], summary["tasks"]) == (
        RECORDS,
        RECORDS,
        True,
        6,
    )
    assert 0 < summary["counted"] <= RECORDS
    assert summary["loaded"] == {
        "sent": RECORDS,
        "indexed": RECORDS,
        "existing": 0,
        "rejected": 0,
        "unsent": 0,
    }
    assert summary["documents"] == RECORDS
    assert sum("image/png" in entry.get("data", {}) for entry in outputs) == 1
    text = run.notebook.read_text() + run.html.read_text()
    assert not [role for role, password in stack.passwords.items() if password in text]
