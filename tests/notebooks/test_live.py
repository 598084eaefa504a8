"""`notebooks/05-live.ipynb`: a real feed is followed, read by a group, watched and frozen.

It ends by itself.
"""

from __future__ import annotations

import ast
import re
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

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "05-live.ipynb"


@pytest.fixture(autouse=True)
def _nothing_is_left(admin: Cluster, stack: State) -> Iterator[None]:
    with nothing_left(admin, "irc-live-"):
        yield


def test_it_follows_reads_watches_and_freezes_and_nothing_is_left(
    stack: State, tmp_path: Path
) -> None:
    result = rerun.run(NOTEBOOK, {"seconds": 2}, folder=tmp_path)
    cells = [
        cell
        for cell in nbformat.read(result.notebook, as_version=4).cells
        if cell.cell_type == "code"
    ]
    outputs: list[Any] = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    texts = [output.get("data", {}).get("text/plain", "") for output in outputs]
    # the tail, as text
    assert [text for text in texts if re.match(r"the newest 8 records of irc-live-\w{6}\n", text)]
    # the board
    assert [
        text for text in texts if text.count("indexer.slow-") == text.count("indexer.prompt-") == 2
    ]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
    summary = ast.literal_eval(texts[-1])
    assert summary["heard"] > 0
    assert summary["earlier"] == 200
    assert summary["committed"] > 0
    assert summary["verdicts"]["prompt"] in ("ok", "idle")
    assert summary["verdicts"]["slow"] == "slow"
    assert (summary["complete"], summary["groups_left"], summary["topic_left"]) == (True, [], False)
    assert [read_entry["receipt"]["hash"] for read_entry in result.record["reads"]][-1] == summary[
        "hash"
    ]
    text = result.notebook.read_text()
    assert not [role for role, password in stack.passwords.items() if password in text]


def test_a_cell_that_fails_leaves_nothing(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    begun = next(
        n for n, cell in enumerate(notebook.cells) if "the feed did not come up" in cell.source
    )
    notebook.cells[begun + 1 :] = [nbformat.v4.new_code_cell("1 / 0")]
    nbformat.write(notebook, tmp_path / "fails.ipynb")
    with pytest.raises(ServerError, match="ZeroDivisionError"):
        rerun.run(tmp_path / "fails.ipynb", folder=tmp_path)
