"""Take the README's picture: a real JupyterLab in Chromium, a window picked with the mouse, read, and charted.

``make gallery`` calls it, after `labkit demo` has filled the topic; without a Chromium the picture stays as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat

from labkit.charts.show import packed

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from support.chrome import chromium, find  # noqa: E402  (the tests' own browser and JupyterLab)
from support.jupyter import Server, jupyter_lab  # noqa: E402

PICTURE = ROOT / "docs" / "tour.png"
SIZE = {"width": 1130, "height": 1150}
CELLS = (
    'from labkit import charts, connect, widgets\n\npicker = widgets.pick_window(connect(), "irc")\npicker',
    "r = picker.window.read(cache=False)\nr.receipt",
    'charts.timeline(r, by="channel")',
)


def take(page: Any, server: Server) -> None:
    """Run the cells as a person would, and take the picture."""
    page.goto(server.page("window.ipynb"))
    page.wait_for_selector("#jp-main-statusbar >> text=| Idle")
    page.keyboard.press("Control+b")  # the files' side bar away
    run(page, "Run All Cells")
    page.wait_for_selector(".vega-embed canvas, .vega-embed svg")
    drag(page, 0, 300)
    drag(page, 1, -110)
    page.locator(".jp-CodeCell >> text=picker.window").first.click()
    run(page, "Run Selected Cell and All Below")
    page.wait_for_selector("#jp-main-statusbar >> text=| Busy", timeout=5_000)
    page.wait_for_selector("#jp-main-statusbar >> text=| Idle")
    page.locator(".vega-embed canvas, .vega-embed svg").first.wait_for()
    page.mouse.move(5, 5)
    page.locator(".jp-WindowedPanel-outer").first.evaluate("panel => panel.scrollTo(0, 0)")
    PICTURE.write_bytes(packed(page.screenshot()))


def run(page: Any, what: str) -> None:
    """Choose from the menu."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text(what, exact=True).click()


def drag(page: Any, handle: int, way: int) -> None:
    """Drag one of the slider's handles by so many pixels."""
    box = page.locator(".jupyter-widgets .noUi-handle").nth(handle).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + way, y, steps=10)
    page.mouse.up()


def main() -> None:
    """Start everything, take it, and end everything."""
    if find() is None:
        print("no Chromium: the README's picture stays as it is")
        return
    with TemporaryDirectory() as folder, chromium() as browser:
        notebooks = Path(folder) / "notebooks"
        notebooks.mkdir()
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
        notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
        nbformat.write(notebook, notebooks / "window.ipynb")
        with jupyter_lab(notebooks, Path(folder)) as server:
            page = browser.new_page(viewport=SIZE, device_scale_factor=1.5)
            page.set_default_timeout(90_000)
            take(page, server)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
