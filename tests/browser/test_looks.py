"""All that labkit shows can be read and named, in light and dark, on a wide and a narrow page.

Pictures are kept in test-output.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labkit.lab import Lab
from support.jupyter import Server, open_notebook, run_all_cells, write_notebook
from support.looks import (
    each_look,
    list_nameless_controls,
    list_pale_texts,
    list_ringless_controls,
)

pytestmark = pytest.mark.browser

SHOTS = Path(__file__).parents[2] / "test-output"
CELLS = (
    "import labkit\nfrom labkit import widgets\nlab = labkit.connect()\nw = lab.window({topic!r})\nw",
    "w.profile()",
    "w.profile().compare(lab.window({topic!r}, last=20).profile())",
    "r = w.read()\nr",
    "lab.trace({topic!r}, 0, 3)",
    "lab.trace({topic!r}, 0, 99_999)",
    "w.find('lag')",
    "lab.compare(w, lab.window({topic!r}, last=20))",
    "lab.doctor(topic={topic!r})",
    "widgets.pick_window(lab, {topic!r})",
    "widgets.tail(lab, {topic!r}, last=5)",
    "widgets.inspect(r)",
    "widgets.lag_board(lab)",
    "widgets.scratch(lab)",
    "widgets.browse(lab, {topic!r})",
)
OURS = ".jp-Cell-outputArea > .jp-OutputArea-child > .jp-OutputArea-output"


@pytest.mark.timeout(600)
def test_what_is_shown_can_be_read_in_each_theme_and_width(
    page: Any, server: Server, lab: Lab, make_topic: Any, produce: Any
) -> None:
    topic = str(make_topic(2))
    values = [
        {"nick": f"n{n % 3}", "said": "lag" if n % 5 else None, "at": {"n": n}} for n in range(60)
    ]
    times = [1_790_000_000_000 + 60_000 * n for n in range(60)]
    produce(
        topic, [b"no json", *(json.dumps(value).encode() for value in values[1:])], timestamps=times
    )
    lab.window(topic).to_scratch("looks", progress=False)
    SHOTS.mkdir(exist_ok=True)
    write_notebook(server.notebooks / "looks.ipynb", [cell.format(topic=topic) for cell in CELLS])
    page.set_viewport_size({"width": 1300, "height": 6_000})
    open_notebook(page, server, "looks.ipynb")
    run_all_cells(page)
    page.wait_for_selector(".lk-browse .lk-row >> nth=5")
    page.click(".lk-browse .lk-row >> nth=2")
    page.wait_for_selector(".lk-browse .lk-tree")
    page.wait_for_selector(".jupyter-widgets >> text=/records seen/")
    for look in each_look(page, SHOTS / "looks", 6_000):
        assert list_pale_texts(page, OURS) == [], look
        assert list_ringless_controls(page, OURS) == [], look
    page.locator(".noUi-handle").first.focus()
    picker = page.locator(".jp-OutputArea:has(.noUi-handle)").first
    picker.screenshot(path=SHOTS / "looks-focus.png")
    assert list_nameless_controls(page, OURS) == []
