"""`notebooks/04-consumers.ipynb`: an estate of real consumers, each with its verdict.

Nothing is left of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit.errors import ServerError
from labkit.kafka.cluster import Cluster
from labkit.notebook import rerun
from labkit.stack.state import State
from support.stack import nothing_left

pytestmark = pytest.mark.alone

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "04-consumers.ipynb"


@pytest.fixture(autouse=True)
def _nothing_is_left(admin: Cluster, stack: State) -> Iterator[None]:
    with nothing_left(admin, "irc-consumers-"):
        yield


def outputs(path: Path) -> list[Any]:
    cells = nbformat.read(path, as_version=4).cells
    return [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]


def test_each_consumer_has_its_verdict_and_nothing_is_left(tmp_path: Path) -> None:
    result = rerun.run(NOTEBOOK, folder=tmp_path)
    outputs_ = outputs(result.notebook)
    summary = eval(outputs_[-1]["data"]["text/plain"])  # a dict of plain values
    assert summary["verdicts"] == {
        "reading": "ok", "slow": "slow", "stuck": "stalled", "rewound": "rewound", "stopped": "stopped",
    }  # fmt: skip
    assert summary["looks"] >= 3
    assert summary["ad_hoc_records"] == 300
    assert summary["receipt_complete"] is True
    assert summary["refused_by_the_broker"] is True
    assert (summary["groups_left"], summary["topic_left"]) == ([], False)
    assert sum("image/png" in entry.get("data", {}) for entry in outputs_) == 2
    assert "the broker refuses User:lab to join" in str(outputs_)


def test_a_bad_parameter_fails_with_its_reason_and_leaves_nothing(
    tmp_path: Path, stack: State
) -> None:
    with pytest.raises(ServerError, match="UsageError") as raised:
        rerun.run(NOTEBOOK, {"every": "soon"}, folder=tmp_path)
    text = raised.value.run.notebook.read_text() + raised.value.run.html.read_text()
    assert "not a length of time" in text
    assert not [role for role, password in stack.passwords.items() if password in text]
