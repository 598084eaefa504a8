"""The browser of records, driven with mouse and keyboard in JupyterLab.

Pictures are kept in test-output.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.jupyter import Server, open_notebook, run_cell, write_notebook
from support.looks import choose_theme, list_nameless_controls, list_pale_texts
from support.records import read_sample

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "test-output"
COUNT = 6_000
HOSTILE = "<img src=x onerror=window.evil=1>"


@pytest.fixture
def topic(make_topic: Any, produce: Any) -> str:
    """The sample log with nested objects, a hostile text and field name among it."""
    name = str(make_topic(2))
    for partition in (0, 1):
        own = []
        for n, line in enumerate(read_sample(2 * COUNT)[partition:COUNT:2]):
            try:
                document = json.loads(line)
            except ValueError:
                continue
            document |= {
                "who": {"nick": document.get("nick"), "level": n % 9},
                "tags": ["a", "b"][: n % 3],
                "n": n,
            }
            document |= {HOSTILE: HOSTILE} if n % 10 == 0 else {}
            own.append(json.dumps(document).encode())
        times = [1_790_000_000_000 + 60_000 * n for n in range(len(own))]
        headers = [[("trace-id", b"t%d" % n)] for n in range(len(own))]
        produce(name, own, partition=partition, timestamps=times, headers=headers)
    return name


@pytest.fixture
def page(page: Any, server: Server, topic: str) -> Iterator[Any]:
    """JupyterLab with a notebook that browses the topic."""
    cells = [
        f"import labkit\nfrom labkit import widgets\nb = widgets.browse(labkit.connect(), {topic!r})\nb",
        "print(b.where, len(b.replay), b.replay.receipt.complete)",
    ]
    write_notebook(server.notebooks / "browse.ipynb", cells)
    SHOTS.mkdir(exist_ok=True)
    open_notebook(page, server, "browse.ipynb")
    run_cell(page, 0)
    page.wait_for_selector(".lk-browse .lk-row >> nth=5")
    page.wait_for_selector(".lk-browse .lk-part", state="detached")  # the older ones are read
    yield page
    assert page.evaluate("window.evil") is None


def picked(page: Any) -> str:
    return str(page.inner_text(".lk-browse [role=status]"))


@pytest.mark.timeout(600)
def test_mouse_and_keyboard_find_a_record(page: Any) -> None:
    page.screenshot(path=str(SHOTS / "browse.png"))
    assert page.locator(".lk-browse .lk-time rect").count() > 50

    page.click(".lk-browse .lk-field button:has-text('channel')")
    page.click(".lk-browse [aria-label='only #kafka']")
    page.wait_for_selector(".lk-browse .lk-chip:has-text('channel = #kafka')")
    page.wait_for_function(
        "document.querySelector('.lk-browse [role=status]').textContent.includes('picked')"
    )
    only = picked(page)
    page.wait_for_selector(".lk-browse .lk-row .lk-cell:nth-child(4) >> nth=5")
    assert set(page.locator(".lk-browse .lk-row .lk-cell:nth-child(4)").all_inner_texts()) == {
        "#kafka"
    }

    page.click(".lk-browse [aria-label='turn around: channel = #kafka']")
    page.wait_for_function(
        f"document.querySelector('.lk-browse [role=status]').textContent !== {only!r}"
    )
    page.click(".lk-browse [aria-label='remove: not channel = #kafka']")
    page.wait_for_function("document.querySelector('.lk-browse [role=status]').textContent === ''")

    page.focus(".lk-browse .lk-rows")
    page.keyboard.press("/")
    page.keyboard.type("lag")
    page.keyboard.press("Enter")
    page.wait_for_selector(".lk-browse .lk-chip:has-text('lag')")
    page.wait_for_function(
        "document.querySelector('.lk-browse [role=status]').textContent.includes('picked')"
    )

    before = picked(page)
    all_of_time = page.inner_text(".lk-browse .lk-axis")
    box = page.locator(".lk-browse .lk-time").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 20, steps=4)
    page.mouse.up()
    page.wait_for_selector(".lk-browse .lk-chip:has-text('_timestamp')")
    page.wait_for_function(
        f"document.querySelector('.lk-browse [role=status]').textContent !== {before!r}"
    )
    assert page.inner_text(".lk-browse .lk-axis") != all_of_time  # it zooms to what was brushed

    page.focus(".lk-browse .lk-rows")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector(".lk-browse .lk-tree:has-text('lag')")
    first = page.inner_text(".lk-browse .lk-detail .lk-bar b")
    page.keyboard.press("ArrowDown")
    page.wait_for_function(
        f"document.querySelector('.lk-detail .lk-bar b').textContent !== {first!r}"
    )
    page.click(".lk-browse .lk-headers summary")
    page.wait_for_selector(".lk-browse .lk-detail dt:has-text('trace-id')")
    page.screenshot(path=str(SHOTS / "browse-record.png"))
    page.focus(".lk-browse .lk-rows")
    page.keyboard.press("Escape")
    page.wait_for_selector(".lk-browse .lk-detail", state="hidden")

    count = int(picked(page).split()[0].replace(",", ""))
    page.click(".jp-Notebook .jp-Cell >> nth=1")
    page.keyboard.press("Shift+Enter")
    page.wait_for_selector(f".jp-OutputArea-output:has-text(' {count} True')")
    assert "(?i)lag" in page.inner_text(".lk-browse .lk-code pre")
    buttons_do_what_they_say(page, count)


def press(page: Any, action: str) -> str:
    """Press a button below the records; return what it says once it is done."""
    page.click(f".lk-browse [data-action={action}]")
    page.wait_for_function(
        "(action) => !document.querySelector(`.lk-browse [data-action=${action}]`).disabled"
        " && !document.querySelector('.lk-result').textContent.endsWith('…')", arg=action,
    )  # fmt: skip
    assert page.locator(".lk-result.lk-error").count() == 0, page.inner_text(".lk-result")
    return str(page.inner_text(".lk-result"))


def buttons_do_what_they_say(page: Any, count: int) -> None:
    texts = {name: press(page, name) for name in ("df", "csv", "parquet", "view")}
    press(page, "df")  # its own df, not df2
    texts["scratch"] = press(page, "scratch")
    assert texts["df"].startswith(f"df: a DataFrame of {count:,} rows")
    assert f"{count:,} indexed" in texts["scratch"]
    files = {name: texts[name].split(": ", 1)[0] for name in ("csv", "parquet", "view")}
    index = texts["scratch"].split(":", 1)[0]
    page.screenshot(path=str(SHOTS / "browse-buttons.png"))
    check = (
        f"import pandas\nlab = labkit.connect()\nc = widgets.browse(lab, view={files['view']!r})\n"
        f"print('all', len(df), len(pandas.read_csv({files['csv']!r})), len(pandas.read_parquet({files['parquet']!r})),"
        f" lab.index({index!r}).count(), len(c.replay), c.where == b.where, 'df2' in globals())\n"
        f"labkit.ScratchIndex({index!r}, lab.index({index!r}).target).drop()"
    )
    page.click(".jp-Notebook .jp-Cell >> nth=1 >> .cm-content")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(check)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(
        ".jp-Notebook .jp-Cell >> nth=1 >> .jp-OutputArea-output:is(:has-text('all '), :has-text('Error'))"
    )
    said_by_cell = page.inner_text(".jp-Notebook .jp-Cell >> nth=1 >> .jp-OutputArea")
    assert f"all {' '.join([str(count)] * 5)} True False" in said_by_cell
    press(page, "cell")
    added = page.locator(".jp-Notebook .jp-Cell >> nth=1").locator(".cm-content").inner_text()
    assert added.replace("\n", "") == page.inner_text(".lk-browse .lk-code pre").replace("\n", "")


@pytest.mark.timeout(600)
def test_a_click_counts_where_rows_are_drawn_anew_meanwhile(page: Any) -> None:
    """The row of the press was gone at the release: while records came, clicks were lost."""
    for place in (3, 0):
        row = page.locator(".lk-browse .lk-row").nth(place)
        time = row.locator(".lk-cell:not(:text-is('…'))").first.inner_text()  # once it is there
        row.hover()
        page.mouse.down()
        page.evaluate("document.querySelector('.lk-rows').dispatchEvent(new Event('scroll'))")
        page.mouse.up()
        page.wait_for_selector(
            f".lk-browse .lk-detail .lk-bar b:has-text('{time}')", timeout=60_000
        )
        assert row.evaluate("row => row.classList.contains('lk-here')")
    page.click(".lk-browse .lk-head")
    assert page.locator(".lk-browse .lk-row").first.evaluate("row => row.matches('.lk-here')")


@pytest.mark.timeout(600)
def test_scrolling_columns_and_narrow_or_dark_pages(page: Any) -> None:
    page.wait_for_function(  # to the end, which moves once while the older records come
        "() => { document.querySelector('.lk-rows').scrollTop = 1e9;"
        " return document.querySelector('.lk-row:last-child')?.textContent.includes('2026-09-21 14:13:20') }"
    )
    page.wait_for_function(
        "[...document.querySelectorAll('.lk-row')].some((row) => row.children.length > 2)"
    )
    page.wait_for_selector(".lk-browse .lk-row:last-child .lk-cell:has-text('2026-09-21 14:13:20')")
    page.check(".lk-browse [aria-label='show who.level as a column']")
    page.wait_for_selector(".lk-browse .lk-head .lk-cell:has-text('who.level')")
    page.select_option(".lk-browse select", "command")
    page.wait_for_selector(".lk-browse .lk-legend span:has-text('PRIVMSG')")
    page.click(".lk-browse .lk-field button:has-text('who.level')")
    bars = page.locator(".lk-browse .lk-numbers [role=button]")
    bars.nth(2).hover()
    page.mouse.down()
    bars.nth(5).hover()
    page.screenshot(path=str(SHOTS / "browse-numbers.png"))
    page.mouse.up()
    chip = page.wait_for_selector(".lk-browse .lk-chip:has-text('who.level: ')").inner_text()
    low, high = (float(end) for end in chip.split("who.level: ")[1].split("\n")[0].split(" … "))
    assert (low > 0, 1 < high - low < 2) == (True, True), chip  # four of 24 bars of 0 to 8
    page.click(".lk-browse .lk-chip [title=remove]")
    page.wait_for_function("document.querySelector('.lk-browse [role=status]').textContent === ''")
    bars.nth(23).focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".lk-browse .lk-chip:has-text('who.level: 7.6')")
    page.click(".lk-browse .lk-chip [title=remove]")
    page.wait_for_function("document.querySelector('.lk-browse [role=status]').textContent === ''")
    page.set_viewport_size({"width": 800, "height": 1000})
    choose_theme(page, "JupyterLab Dark")
    page.screenshot(path=str(SHOTS / "browse-dark.png"))
    page.locator(".lk-browse .lk-row").nth(1).locator(".lk-cell").first.click()
    page.wait_for_selector(".lk-browse .lk-tree:has-text('command')")
    page.screenshot(path=str(SHOTS / "browse-narrow.png"))
    assert page.locator(".lk-browse .lk-detail").bounding_box()["width"] > 300
    assert list_pale_texts(page, ".lk-browse") == []
    assert page.evaluate(
        "document.querySelector('.lk-browse').scrollWidth <= document.querySelector('.lk-browse').clientWidth + 1"
    )
    assert list_nameless_controls(page, ".lk-browse") == []


@pytest.mark.timeout(600)
def test_a_wrong_condition_is_told_and_what_comes_is_followed(
    page: Any, topic: str, produce: Any
) -> None:
    page.fill(".lk-browse .lk-find", "= nikc = 'ann'")
    page.press(".lk-browse .lk-find", "Enter")
    page.wait_for_selector(".lk-browse .lk-error:has-text('nikc')")
    page.click(".lk-browse .lk-chip [title=remove]")
    page.wait_for_function("document.querySelector('.lk-browse .lk-error').textContent === ''")
    page.wait_for_selector(".lk-browse .lk-row >> nth=5")

    page.click(".lk-browse .lk-row >> nth=2")
    page.wait_for_selector(".lk-browse .lk-tree:has-text('command')")
    record = page.inner_text(".lk-browse .lk-detail .lk-bar b")
    page.click(".lk-browse .lk-live")
    page.wait_for_selector(".lk-browse .lk-pace:has-text('following: 0 new')")
    late = 1_790_900_000_000
    produce(
        topic,
        [b'{"nick": "late", "added": 1}'] * 30,
        partition=0,
        timestamps=[late + n for n in range(30)],
    )
    page.wait_for_selector(".lk-browse .lk-pace:has-text('30 new')")
    page.wait_for_selector(".lk-browse .lk-fields button:has-text('added')")
    assert page.inner_text(".lk-browse .lk-detail .lk-bar b") == record  # it stays where one looks
    page.wait_for_function(  # a row is drawn before its cells are there
        "record => record.includes(document.querySelector('.lk-row.lk-here .lk-cell')?.textContent)",
        arg=record,
    )
    page.screenshot(path=str(SHOTS / "browse-live.png"))
    page.click(".lk-browse .lk-live")
    page.wait_for_selector(".lk-browse .lk-pace:has-text('paused: 30 new')")
    produce(topic, [b'{"nick": "unseen"}'], partition=0, timestamps=[late + 40])
    page.click(".jp-Notebook .jp-Cell >> nth=1 >> .cm-content")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(
        "exec(b.code, {**globals(), 'lab': labkit.connect()}, out := {})\n"
        "print('followed', len(b.replay), len(out['r']), b.replay.receipt.complete)"
    )
    page.keyboard.press("Control+Enter")
    count = int(
        page.inner_text(".lk-browse .lk-bar >> nth=0")
        .split(" records")[0]
        .split()[-1]
        .replace(",", "")
    )
    page.wait_for_selector(f".jp-OutputArea-output:has-text('followed {count} {count} True')")


def type_and_run(page: Any, code: str, answer: str) -> None:
    """Run code in the second cell until it has printed the answer."""
    page.click(".jp-Notebook .jp-Cell >> nth=1 >> .cm-content")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(code)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(f".jp-OutputArea-output:has-text('{answer}')")


@pytest.mark.timeout(600)
def test_a_click_while_records_come_shows_that_record(page: Any, topic: str, produce: Any) -> None:
    """Rows that come move the clicked one: its details were not shown then."""

    def come(first_ms: int, pace: str) -> None:
        times = [first_ms + n for n in range(30)]
        produce(topic, [b'{"nick": "late"}'] * 30, partition=0, timestamps=times)
        page.wait_for_selector(f".lk-browse .lk-pace:has-text('{pace}')")

    def is_shown(time: str) -> None:
        page.wait_for_selector(
            f".lk-browse .lk-detail .lk-bar b:has-text('{time}')", timeout=60_000
        )
        page.wait_for_selector(f".lk-row.lk-here .lk-cell:first-child:text-is('{time}')")

    page.click(".lk-browse .lk-live")
    page.wait_for_selector(".lk-browse .lk-pace:has-text('following: 0 new')")
    type_and_run(
        page,
        "import time\nquery = b._answers['query']\n"
        "b._answers['query'] = lambda asked: (time.sleep(3), query(asked))[1]\nprint('sl' + 'ow')",
        "slow",
    )
    row = page.locator(".lk-browse .lk-row").nth(4)
    time = row.locator(".lk-cell").first.inner_text()
    come(1_790_900_000_000, "30 new")
    row.click()  # the page asks for the new rows and has no answer yet
    is_shown(time)

    pressed = page.locator(".lk-browse .lk-row.lk-here + .lk-row + .lk-row")
    time = pressed.locator(".lk-cell").first.inner_text()
    place = int(pressed.get_attribute("data-n"))
    pressed.hover()
    page.mouse.down()
    come(1_790_900_100_000, "60 new")
    page.wait_for_selector(f".lk-browse .lk-row[data-n='{place + 30}']")  # where it was
    page.mouse.up()
    is_shown(time)
    page.click(".lk-browse [aria-label='the newer record']")
    page.wait_for_selector(f".lk-browse .lk-row.lk-here[data-n='{place + 29}']")


@pytest.mark.timeout(600)
def test_what_is_looked_at_stays_where_records_come_among_the_others(
    page: Any, topic: str, produce: Any
) -> None:
    """Records older than the open one moved its mark to another."""
    rows = page.locator(".lk-browse .lk-row")
    here = page.locator(".lk-browse .lk-row.lk-here")
    newest = 1_790_000_000_000 + 60_000 * (COUNT // 2)

    def come(pace: str, *times: int) -> None:
        before = page.inner_text(".lk-browse .lk-bar >> nth=0")
        produce(topic, [b'{"nick": "late"}'] * len(times), partition=1, timestamps=[*times])
        page.wait_for_selector(f".lk-browse .lk-pace:has-text('{pace}')")
        page.wait_for_function(
            "before => document.querySelector('.lk-browse .lk-bar').innerText !== before",
            arg=before,
        )

    def read(row: Any) -> tuple[str, float]:
        row.locator(".lk-cell").nth(2).wait_for()
        return row.inner_text(), row.bounding_box()["y"]

    page.click(".lk-browse .lk-live")
    page.wait_for_selector(".lk-browse .lk-pace:has-text('following: 0 new')")
    rows.nth(6).click()
    page.wait_for_selector(".lk-browse .lk-tree:has-text('command')")
    opened = read(here)
    facts = page.inner_text(".lk-browse .lk-detail dl >> nth=0")
    assert opened == read(rows.nth(6))
    come("5 new", newest, newest + 1, 1_790_000_000_001, 1_790_000_000_002, 1_790_000_000_003)
    page.wait_for_selector(".lk-browse .lk-row.lk-here[data-n='8']")
    assert read(here) == opened
    assert page.inner_text(".lk-browse .lk-detail dl >> nth=0") == facts
    page.screenshot(path=str(SHOTS / "browse-late.png"))

    page.focus(".lk-browse .lk-rows")
    page.keyboard.press("Escape")
    here.wait_for(state="detached")
    page.evaluate("document.querySelector('.lk-rows').scrollTop = 24 * 50 + 7")
    looked_at = page.locator(".lk-browse .lk-row[data-n='50']")
    before = read(looked_at)
    come("8 new", newest + 2, 1_790_000_000_004, 1_790_000_000_005)
    moved = page.locator(".lk-browse .lk-row[data-n='51']")
    moved.wait_for()
    assert read(moved) == before
