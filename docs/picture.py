"""Take the README's picture in a real JupyterLab in Chromium.

Records are browsed, filtered by a click, and one is shown in full. ``make gallery`` calls it, after
`labkit demo` has filled the topic; without a Chromium the picture stays as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat

from labkit.charts.show import repack_png

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from support.chrome import chromium, find  # noqa: E402  (the tests' own browser and JupyterLab)
from support.jupyter import Server, jupyter_lab  # noqa: E402

PICTURE = ROOT / "docs" / "browse.png"
SIZE = {"width": 1130, "height": 1030}
CELLS = (
    'from labkit import connect, widgets\n\nlab = connect()\nb = widgets.browse(lab, "irc")\nb',
    "b.where, len(b.replay)",
)


def take(page: Any, server: Server) -> None:
    """Look for records as a person would, and take the picture."""
    page.goto(server.page("browse.ipynb"))
    page.wait_for_selector("#jp-main-statusbar >> text=| Idle")
    page.keyboard.press("Control+b")  # the files' side bar away
    run(page, "Run Selected Cell")
    browser = page.locator(".lk-browse")
    browser.locator(".lk-row .lk-cell >> nth=5").wait_for()
    browser.locator(".lk-part", has_text="reading").wait_for(state="detached")
    browser.get_by_label("stack the histogram by").select_option("channel")
    browser.locator(".lk-legend span").nth(3).wait_for()
    field = browser.locator(".lk-fields > div > div").filter(
        has=page.get_by_label("show command as a column", exact=True)
    )
    field.locator(".lk-field button").click()
    field.locator("[aria-label^='only ']").first.click()
    browser.locator(".lk-chip").wait_for()
    browser.get_by_role("status").get_by_text("picked").wait_for()
    browser.locator(".lk-row").nth(6).click()
    browser.locator(".lk-detail").wait_for()
    page.locator(".jp-CodeCell >> text=b.where").first.click()
    run(page, "Run Selected Cell")
    page.locator(".jp-CodeCell .jp-InputPrompt", has_text="[2]:").wait_for()
    page.locator(".jp-CodeCell").nth(1).locator(
        ".jp-OutputArea-output", has_text="PRIVMSG"
    ).wait_for()
    page.wait_for_selector("#jp-main-statusbar >> text=| Idle")
    page.mouse.move(5, 5)
    page.locator(".jp-WindowedPanel-outer").first.evaluate("panel => panel.scrollTo(0, 0)")
    PICTURE.write_bytes(repack_png(page.screenshot()))


def run(page: Any, what: str) -> None:
    """Choose from the menu."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text(what, exact=True).click()


def main() -> None:
    """Start everything, take it, and end everything."""
    if find() is None:
        print("no Chromium: the README's picture stays as it is")
        return
    with TemporaryDirectory() as folder, chromium() as browser:
        notebooks = Path(folder) / "notebooks"
        notebooks.mkdir()
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS]
        )
        notebook.metadata = {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
        }
        nbformat.write(notebook, notebooks / "browse.ipynb")
        with jupyter_lab(notebooks, Path(folder)) as server:
            page = browser.new_page(viewport=SIZE, device_scale_factor=1.25)
            page.set_default_timeout(90_000)
            take(page, server)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
