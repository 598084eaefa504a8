"""What is picked outlives its cell, its kernel and its server, in a real JupyterLab.

Pictures in test-output.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest

from support.jupyter import (
    browser_page,
    jupyter_lab,
    open_notebook,
    run_all_cells,
    run_cell,
    write_notebook,
)
from support.waiting import until

pytestmark = pytest.mark.browser

SHOTS = Path(__file__).parents[2] / "test-output"
COUNT = 40
LONG = "a long text that goes on " * 100


@pytest.fixture
def topic(make_topic: Callable[..., str], produce: Callable[..., None]) -> str:
    """A record an hour, with a text that is too long for a table, in each of many fields."""
    name = make_topic(1)
    values = [
        json.dumps({"nick": f"n{n % 4}", "n": n, **{f"text{k}": LONG for k in range(8)}}).encode()
        for n in range(COUNT)
    ]
    times = [1_790_000_000_000 + 3_600_000 * n for n in range(COUNT)]
    produce(name, values, timestamps=times)
    return name


@contextmanager
def opened(browser: Any, root: Path, home: Path) -> Iterator[Any]:
    """The notebook, in a JupyterLab that was just started."""
    with jupyter_lab(root, home) as server, browser_page(browser, height=3200) as page:
        open_notebook(page, server, "saved.ipynb")
        try:
            yield page
        finally:
            page.screenshot(path=SHOTS / "saved-end.png")


@pytest.mark.timeout(600)
def test_a_pick_outlives_its_cell_and_a_saved_notebook_shows_pictures_and_code(
    browser: Any, topic: str, tmp_path: Path
) -> None:
    """BEHAVIOURS 63, 64: a cell run again keeps the pick and says so.

    Without a kernel, picture and code are there.
    """
    root = tmp_path / "notebooks"
    SHOTS.mkdir(exist_ok=True)
    cells = [
        f"import labkit\nfrom labkit import widgets\nlab, topic = labkit.connect(), {topic!r}",
        "picker = widgets.pick_window(lab, topic)\npicker",
        "b = widgets.browse(lab, topic)\nb",
        "widgets.tail(lab, topic, last=20)",
        "widgets.inspect(lab.window(topic).read(progress=False), 7)",
        "widgets.lag_board(lab)",
        "widgets.scratch(lab)",
    ]
    path = root / "saved.ipynb"
    write_notebook(path, cells)

    with opened(browser, root, tmp_path) as page:
        run_all_cells(page)
        page.wait_for_selector(".jupyter-widgets >> text=20 records seen")
        page.wait_for_selector(".jupyter-widgets >> text=/scratch (index|indices)/")
        tail = page.locator(".jp-CodeCell").nth(3)
        assert tail.locator(".jupyter-widgets tbody tr").count() == 20
        # seven cut texts; uncut ones are 9,000 px
        assert tail.locator(".jupyter-widgets table").bounding_box()["width"] < 4_500
        assert page.locator("text=a picture of").locator("visible=true").count() == 0

        code = page.locator(".jp-CodeCell").nth(1).locator(".jupyter-widgets pre")
        handle = page.locator(".jupyter-widgets .noUi-handle").first
        box = handle.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + 400, box["y"] + box["height"] / 2, steps=8)
        page.mouse.up()
        page.wait_for_selector(".jupyter-widgets pre:has-text('start=')")
        page.wait_for_timeout(1_000)
        picked = code.inner_text()
        page.click(".lk-browse .lk-field button:has-text('nick')")
        page.click(".lk-browse [aria-label='only n1']")
        page.wait_for_selector(".lk-browse .lk-code pre:has-text('nick')")
        page.screenshot(path=SHOTS / "saved-live.png")

        run_cell(page, 1)
        page.wait_for_selector(".jupyter-widgets >> text=picked before, and kept")
        assert code.inner_text() == picked
        run_cell(page, 2)
        page.wait_for_selector(".lk-browse .lk-kept:has-text('as clicked before')")
        page.wait_for_selector(".lk-browse .lk-chip:has-text('nick = n1')")
        page.wait_for_timeout(7_000)  # a live widget's picture is renewed every few seconds
        page.keyboard.press("Control+s")
        until(lambda: "nick" in saved(path, 2), "the notebook is saved", 30)
        until(lambda: picked in saved(path, 1), "the pick is in the notebook", 30)

    with opened(browser, root, tmp_path) as page:
        page.wait_for_selector("text=a picture of >> nth=5")
        page.wait_for_timeout(3_000)
        page.screenshot(path=SHOTS / "saved-reopened.png")
        for place in range(1, 7):
            cell = page.locator(".jp-CodeCell").nth(place).locator(".jp-OutputArea")
            assert "a picture of" in cell.inner_text(), cells[place]  # what is hidden is not in it
            assert "Error displaying" not in cell.inner_text(), cells[place]
        assert page.locator("text=model not found").locator("visible=true").count() == 0
        shown = page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea")
        assert picked in shown.inner_text()
        assert shown.locator("svg rect").count() > 10
        assert (
            "nick = 'n1'"
            in page.locator(".jp-CodeCell").nth(2).locator(".jp-OutputArea pre").inner_text()
        )
        assert "row=7" in page.locator(".jp-CodeCell").nth(4).locator(".jp-OutputArea").inner_text()


def saved(path: Path, place: int) -> str:
    """Return the text of a cell's pictures in the notebook, as it is on disk."""
    try:
        outputs = nbformat.read(path, 4).cells[place].outputs
    except nbformat.reader.NotJSONError:  # read while it is written
        return ""
    return "\n".join(
        output.data["text/plain"] for output in outputs if "text/html" in output.get("data", {})
    )
