"""`notebooks/00-tour.ipynb` without a browser.

It begins with a profile, widgets are text, and the summary adds up.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from labkit.lab import connect
from labkit.notebook import rerun
from labkit.stack.state import State
from support.records import read_sample

ROOT = Path(__file__).parents[2]
RECORDS = 2_000


@pytest.mark.alone  # its guard looks at all groups
@pytest.mark.timeout(600)
def test_the_tour_runs_headless_and_again_on_a_frozen_window(
    stack: State, make_topic: Callable[..., str], produce: Callable[..., None], tmp_path: Path
) -> None:
    values = read_sample(RECORDS)
    topic = make_topic(2)
    produce(topic, values[::2], partition=0)
    produce(topic, values[1::2], partition=1)
    window = connect().window(topic, last=500)
    for parameters, records in (
        ({"topic": topic}, RECORDS),
        ({"topic": topic, "window": window.to_json()}, 500),
    ):
        result = rerun.run(ROOT / "notebooks" / "00-tour.ipynb", parameters, folder=tmp_path)
        cells = nbformat.read(result.notebook, as_version=4).cells
        shown = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
        assert sum("image/png" in output.get("data", {}) for output in shown) == 1
        texts = [output["data"].get("text/plain", "") for output in shown if "data" in output]
        profile = next(
            number
            for number, text in enumerate(texts)
            if f"{RECORDS:,} records, all of them" in text
        )
        assert all(field in texts[profile] for field in ("channel", "nick", "message"))
        assert f"{RECORDS:,} of {RECORDS:,} picked" in texts[profile + 1]
        assert "window picker on" in texts[profile + 2]
        assert "widget-view" not in str(shown)
        summary = ast.literal_eval(cells[-1].outputs[-1]["data"]["text/plain"])
        assert (summary["records"], summary["complete"], summary["untouched"]) == (
            records,
            True,
            True,
        )
    assert summary["window"] == window.plan.hash
