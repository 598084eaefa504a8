"""The browser of records by keys alone, and what else of it is clicked, in JupyterLab.

Pictures are kept in test-output.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.jupyter import Server, open_notebook, run_cell, write_notebook
from support.looks import each_look, list_nameless_controls, list_pale_texts, list_ringless_controls
from support.waiting import until

pytestmark = pytest.mark.browser

SHOTS = Path(__file__).parents[2] / "test-output"
COUNT = 400
FIRST = 1_790_000_000_000
MENU = ".lk-browse .lk-times .lk-menu > div"
NAME = """() => {
  const control = document.activeElement;
  return control.closest(".lk-browse") && (control.getAttribute("aria-label") || control.textContent);
}"""


@pytest.fixture
def topic(make_topic: Any, produce: Any) -> str:
    """Records of 400 minutes by turns in two partitions."""
    name = str(make_topic(2))
    for partition in (0, 1):
        numbers = range(partition, COUNT, 2)
        values = [{"n": n, "nick": f"u{n % 4}", "at": {"level": n % 9}} for n in numbers]
        produce(
            name, [json.dumps(value).encode() for value in values], partition=partition,
            headers=[[("trace-id", b"t%d" % n)] for n in numbers],
            timestamps=[FIRST + 60_000 * n for n in numbers],
        )  # fmt: skip
    return name


@pytest.fixture
def page(page: Any, server: Server, topic: str) -> Any:
    """JupyterLab with a notebook that browses the topic."""
    browse = f"b = widgets.browse(labkit.connect(), {topic!r}, anew=True)\nb"
    write_notebook(
        server.notebooks / "keys.ipynb", [f"import labkit\nfrom labkit import widgets\n{browse}"]
    )
    SHOTS.mkdir(exist_ok=True)
    open_notebook(page, server, "keys.ipynb")
    run_cell(page, 0)
    page.wait_for_selector(".lk-browse .lk-row >> nth=5")
    return page


def reach(page: Any, name: str, key: str = "Tab") -> None:
    """Press Tab until a control has the focus whose name begins so."""
    for _ in range(90):
        if (page.evaluate(NAME) or "").startswith(name):
            return
        page.keyboard.press(key)
    raise AssertionError(f"Tab does not reach {name!r}")


def picked(page: Any, count: int) -> None:
    text = "" if count == COUNT else f"{count} picked"
    page.wait_for_function(
        "text => document.querySelector('.lk-browse [role=status]').textContent === text", arg=text
    )


def open_place(page: Any, place: int) -> None:
    """Wait until the record at a place is open and marked."""
    page.wait_for_selector(f".lk-browse .lk-row.lk-here[data-n='{place}']")
    page.wait_for_selector(
        f".lk-tree .lk-leaf:has(b:text-is('n')) span:text-is('{COUNT - 1 - place}')"
    )


@pytest.mark.timeout(600)
def test_keys_alone_find_open_and_keep_records(page: Any, topic: str, produce: Any) -> None:
    page.focus(".lk-browse .lk-rows")
    a_condition_is_typed_and_its_chip_changed(page)
    times_are_typed_and_chosen(page)
    fields_become_columns_and_filters(page)
    records_are_read(page)
    a_part_is_chosen(page)
    reach(page, "keep as df")
    page.keyboard.press("Enter")
    page.wait_for_selector(".lk-result:has-text('df: a DataFrame of 100 rows')")
    reach(page, "follow", "Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".lk-pace:has-text('following')")
    reach(page, "pause")
    produce(topic, [b'{"n": 400}'] * 3, partition=1, timestamps=[FIRST + 60_000 * COUNT] * 3)
    page.wait_for_selector(".lk-pace:has-text('3 new')")
    page.keyboard.press("Space")
    page.wait_for_selector(".lk-pace:has-text('paused')")


def a_condition_is_typed_and_its_chip_changed(page: Any) -> None:
    page.keyboard.press("/")
    page.keyboard.type("= n >= 300")
    page.keyboard.press("Enter")
    picked(page, 100)
    reach(page, "use: n >= 300")
    page.keyboard.press("Space")
    picked(page, COUNT)
    page.keyboard.press("Space")  # the focus is still on it
    picked(page, 100)
    reach(page, "turn around: n >= 300")
    page.keyboard.press("Enter")
    picked(page, 300)
    assert page.evaluate(NAME) == "turn around: not n >= 300"
    page.keyboard.press("Enter")
    picked(page, 100)
    reach(page, "change: n >= 300", "Shift+Tab")
    page.keyboard.press("Enter")
    page.keyboard.type("n < 10 and nick = 'u1'")
    page.keyboard.press("Enter")
    picked(page, 3)
    reach(page, "remove: ")
    page.keyboard.press("Enter")
    picked(page, COUNT)
    assert str(page.evaluate(NAME)).startswith("find a text")


def times_are_typed_and_chosen(page: Any) -> None:
    reach(page, "a time (UTC)")
    page.keyboard.type("2026-09-21 15:00 to 2026-09-21 16:00")
    page.keyboard.press("Enter")
    picked(page, 60)
    reach(page, "times")
    page.keyboard.press("Enter")
    reach(page, "yesterday")
    page.keyboard.press("Enter")
    picked(page, 0)  # in place of the other time
    assert page.evaluate(NAME) == "times"
    reach(page, "remove: _timestamp")
    page.keyboard.press("Enter")
    picked(page, COUNT)


def fields_become_columns_and_filters(page: Any) -> None:
    reach(page, "search the fields")
    page.keyboard.type("level")
    reach(page, "show at.level as a column")
    for shown in (False, True):
        page.keyboard.press("Space")
        head = page.locator(".lk-browse .lk-head .lk-cell:has-text('at.level')")
        head.wait_for(state="visible" if shown else "detached")
    reach(page, "at.level")
    page.keyboard.press("Enter")
    page.wait_for_selector(".lk-browse .lk-values")
    reach(page, "only 8")
    page.keyboard.press("Enter")
    picked(page, 44)
    assert page.evaluate(NAME) == "only 8"
    reach(page, "remove: at.level", "Shift+Tab")
    page.keyboard.press("Enter")
    picked(page, COUNT)


def records_are_read(page: Any) -> None:
    reach(page, "records, newest first")
    page.keyboard.press("End")
    open_place(page, COUNT - 1)
    page.keyboard.press("Home")
    open_place(page, 0)
    page.keyboard.press("PageDown")
    page.wait_for_selector(".lk-browse .lk-row.lk-here:not([data-n='0'])")
    page.keyboard.press("PageUp")
    open_place(page, 0)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    open_place(page, 2)
    reach(page, "the older record")
    page.keyboard.press("Enter")
    open_place(page, 3)
    page.keyboard.press("Enter")
    open_place(page, 4)
    reach(page, "1 header")
    page.keyboard.press("Enter")
    page.wait_for_selector(".lk-browse .lk-detail dt:has-text('trace-id')")
    reach(page, 'only "u3"')
    page.keyboard.press("Enter")
    picked(page, 100)
    assert page.evaluate(NAME) == 'only "u3"'
    page.keyboard.press("Escape")
    page.wait_for_selector(".lk-browse .lk-detail", state="hidden")
    assert page.evaluate(NAME) == "records, newest first"


def a_part_is_chosen(page: Any) -> None:
    reach(page, "all of 2 partitions", "Shift+Tab")
    page.keyboard.press("Enter")
    reach(page, "partition 0")
    page.keyboard.press("Space")
    page.wait_for_selector(".lk-browse .lk-partitions:has-text('1 of 2 partitions')")
    assert page.evaluate(NAME) == "partition 0"
    reach(page, "how many of the newest records", "Shift+Tab")
    page.wait_for_selector(".lk-browse .lk-partitions:not([open])", state="attached")
    page.keyboard.type("100")
    page.keyboard.press("Enter")
    page.wait_for_selector(".lk-browse .lk-part:has-text('the newest 100 of 200 records')")
    picked(page, 50)
    reach(page, "remove: nick")
    page.keyboard.press("Enter")


@pytest.mark.timeout(600)
def test_times_parts_and_bytes_are_clicked(page: Any) -> None:
    title = page.locator(".lk-browse .lk-menu summary:text-is('times')")
    for theme, width in each_look(page, SHOTS / "browse-times", 1_100):
        page.press(".lk-browse .lk-find", "Escape")  # the focus that goes there closes the menu
        page.wait_for_selector(MENU, state="hidden")
        title.click()
        page.screenshot(path=str(SHOTS / f"browse-times-{theme}-{width}.png"))
        menu, whole = (page.locator(name).bounding_box() for name in (MENU, ".lk-browse"))
        assert whole["x"] <= menu["x"], (theme, width)
        assert menu["x"] + menu["width"] <= whole["x"] + whole["width"], (theme, width)
        assert list_pale_texts(page, ".lk-browse") == [], (theme, width)
        assert list_ringless_controls(page, ".lk-browse") == [], (theme, width)
    assert list_nameless_controls(page, ".lk-browse") == []
    title.click()
    page.click(".lk-browse .lk-menu button:text-is('last 7 days')")
    page.wait_for_selector(".lk-browse .lk-chip:has-text('_timestamp')")
    picked(page, 0)
    page.click(".lk-browse .lk-chip [title='use it']")
    picked(page, COUNT)
    page.click(".lk-browse .lk-chip [title=remove]")
    page.wait_for_selector(".lk-browse .lk-chip", state="detached")

    page.set_viewport_size({"width": 1300, "height": 1_100})
    page.hover(".lk-browse .lk-rows")
    row = page.locator(".lk-browse .lk-row[data-n='202']")
    shown = row.locator(".lk-cell:text-is('197')")

    def wheel_down() -> bool:  # an answer on its way shows the table from its top once more
        page.mouse.wheel(0, -24 * COUNT)
        page.mouse.wheel(0, 24 * 200)
        page.wait_for_timeout(1_000)
        return bool(shown.is_visible())

    until(wheel_down, "row 202")
    row.click()
    open_place(page, 202)
    page.click(".lk-browse .lk-bytes summary")
    page.wait_for_selector(".lk-browse .lk-bytes pre:has-text('7b 22 6e')")
    page.click(".lk-browse button:text-is('copy JSON')")
    page.wait_for_selector(".lk-browse .lk-detail button:text-is('copied')")
    page.screenshot(path=str(SHOTS / "browse-bytes.png"))

    page.click(".lk-browse .lk-partitions summary")
    page.click(".lk-browse [aria-label='partition 1']")
    page.wait_for_selector(".lk-browse .lk-partitions:has-text('1 of 2 partitions')")
    page.wait_for_selector(".lk-browse .lk-detail", state="hidden")
    page.wait_for_selector(".lk-browse .lk-row[data-n='0'] .lk-cell:text-is('398')")
