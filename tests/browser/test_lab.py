"""JupyterLab as a person sees it: the tour runs, the picker takes the mouse, the chart is drawn."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.stack.state import State
from support.jupyter import Server, open_notebook, write_notebook
from support.looks import each_look, list_pale_texts, list_ringless_controls
from support.records import read_sample

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "test-output"
RECORDS = 3_000
RECORDS_OF_LAST = (
    "+(/'records': (\\d+)/.exec(document.querySelector('.jp-Notebook').innerText) || [0, 0])[1]"
)
# the picker's line; the browser of records above it has one too
CODE = ".jupyter-widgets pre:not(.lk-browse pre)"
# what cells show, without Vega's menu
OURS = ".jp-OutputArea-output:not(.jp-RenderedVegaCommon5)"


@pytest.fixture
def topic(
    stack: State,
    make_topic: Callable[..., str],
    produce: Callable[..., None],
    admin: Cluster,
    request: pytest.FixtureRequest,
) -> Iterator[str]:
    """Some of the sample log, a minute between two messages, and a group that read of it."""
    values = read_sample(RECORDS)
    request.node.name = "tour"  # the topic is named after the test, and stands in the pictures
    name = make_topic(2)
    for partition in (0, 1):
        own = values[partition::2]
        times = [1_456_790_400_000 + 120_000 * number for number in range(len(own))]
        produce(name, own, partition=partition, timestamps=times)
    group = f"indexer.{name}"
    settings = {**stack.credentials("admin")["kafka"], "group.id": group}
    with closing(Consumer(settings)) as consumer:
        consumer.commit(offsets=[TopicPartition(name, 0, 10)], asynchronous=False)
    yield name
    admin.ask(lambda client: client.delete_consumer_groups([group]), what="delete it")


@pytest.fixture
def page(page: Any) -> Any:
    SHOTS.mkdir(exist_ok=True)
    page.set_viewport_size({"width": 1300, "height": 1400})
    return page


@pytest.mark.timeout(600)
def test_the_tour_runs_the_picker_takes_the_mouse_and_the_chart_is_drawn(
    page: Any, server: Server, topic: str
) -> None:
    put_tour(server, topic)
    try:
        open_notebook(page, server, "00-tour.ipynb")
        run(page, "Run All Cells")
        assert page.evaluate(RECORDS_OF_LAST) == RECORDS

        code = page.locator(CODE).first
        code.wait_for()
        before = code.inner_text()
        assert re.fullmatch(r'w = lab.window\("irc-test-[^"]+"\)', before)
        drag(page)
        page.wait_for_function(
            "([selector, text]) => document.querySelector(selector).innerText !== text",
            arg=[CODE, before],
        )
        picked = code.inner_text()
        assert 'start="2016-03-0' in picked
        # the code is drawn anew
        page.locator(".jupyter-widgets .noUi-handle").first.scroll_into_view_if_needed()
        page.screenshot(path=SHOTS / "picker.png")

        page.locator(".jp-CodeCell >> text=picker.window").first.click()
        run(page, "Run Selected Cell and All Below")  # with what the mouse picked
        page.wait_for_function(RECORDS_OF_LAST + f" < {RECORDS}")
        assert 0 < page.evaluate(RECORDS_OF_LAST) < RECORDS
        chart = page.locator(".vega-embed canvas, .vega-embed svg").first
        chart.wait_for()
        chart.scroll_into_view_if_needed()
        box = chart.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 100
        page.screenshot(path=SHOTS / "chart.png")
        assert page.locator('[data-mime-type="application/vnd.jupyter.stderr"]').count() == 0
    finally:
        page.screenshot(path=SHOTS / "end.png")


def put_tour(server: Server, topic: str) -> None:
    """Put the tour of a topic where the test has its notebooks."""
    text = (ROOT / "notebooks" / "00-tour.ipynb").read_text()
    assert 'topic = \\"irc\\"' in text
    text = text.replace('topic = \\"irc\\"', f'topic = \\"{topic}\\"')
    (server.notebooks / "00-tour.ipynb").write_text(text)


@pytest.mark.timeout(600)
def test_the_tour_is_walked_by_mouse_in_each_theme_and_width(
    page: Any, server: Server, topic: str
) -> None:
    """Each of its widgets is used, and all it shows can be read; a picture of each look is kept."""
    put_tour(server, topic)
    page.set_viewport_size({"width": 1300, "height": 6_600})
    open_notebook(page, server, "00-tour.ipynb")
    run(page, "Run All Cells")
    page.click("summary:has-text('command')")  # of the profile
    page.wait_for_selector("details[open] td:has-text('QUIT')")
    page.click(".lk-browse .lk-row >> nth=4")
    page.wait_for_selector(".lk-browse .lk-tree:has-text('command')")
    drag(page)
    page.wait_for_selector(f"{CODE}:has-text('start=')")
    page.get_by_role("button", name="begin anew").click()
    page.wait_for_function(f"!document.querySelector('{CODE}').innerText.includes('start=')")
    page.fill("input[type=number]:visible", "7")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"b:has-text('{topic}[0]@7')")
    page.click("summary:has-text('2 partitions') >> visible=true >> nth=-1")  # of the receipt
    for look in each_look(page, SHOTS / "tour", 6_600):
        assert list_pale_texts(page, OURS) == [], look
        assert list_ringless_controls(page, OURS) == [], look


@pytest.mark.timeout(600)
def test_live_widgets_follow_pause_filter_and_stop(
    page: Any, server: Server, topic: str, produce: Callable[..., None]
) -> None:
    cells = [
        f"import labkit\nfrom labkit import widgets\n\nlab, topic = labkit.connect(), {topic!r}",
        "widgets.tail(lab, topic, last=6)",
        "widgets.lag_board(lab, every='500ms')",
        "widgets.inspect(lab.window(topic, last=50).read(progress=False))",
        "from pathlib import Path\n\nturns = 0\nwhile not Path('seen').exists():\n    turns += 1",
    ]
    write_notebook(server.notebooks / "live.ipynb", cells)
    try:
        open_notebook(page, server, "live.ipynb")
        run(
            page,
            "Run All Cells",
            "document.querySelectorAll('.jupyter-widgets details').length > 0",
        )
        busy = page.locator(".jp-CodeCell").last.locator(".jp-InputPrompt")  # until a file is there
        page.wait_for_selector(".jp-CodeCell >> nth=-1 >> .jp-InputPrompt:has-text('[*]')")
        rows = page.locator(".jupyter-widgets").first.locator("tbody tr")
        page.wait_for_selector(".jupyter-widgets >> text=6 records seen")
        produce(
            topic,
            [b'{"nick": "heron", "message": "a <b>new</b> one"}'],
            timestamps=[1_457_000_000_000],
        )
        page.wait_for_selector(".jupyter-widgets >> text=7 records seen")
        looks = page.locator(".jupyter-widgets >> text=/by the last .* looks/")
        before = looks.inner_text()
        page.wait_for_function(
            "before => !document.querySelector('.jp-Notebook').innerText.includes(before)",
            arg=before,
        )
        assert busy.inner_text() == "[*]:"  # all of that while a cell computes
        (server.notebooks / "seen").touch()
        page.wait_for_selector("#jp-main-statusbar >> text=| Idle")
        assert "heron" in rows.first.inner_text()
        assert "a <b>new</b> one" in rows.first.inner_text()
        page.get_by_placeholder("show only records").fill("HERON")
        page.wait_for_function(
            "document.querySelectorAll('.jupyter-widgets tbody')[0].rows.length === 1"
        )
        page.screenshot(path=SHOTS / "live.png")
        page.get_by_role("button", name="pause").click()
        page.wait_for_selector(".jupyter-widgets >> text=paused; 7 records seen")
        for button in page.locator('.jupyter-widgets button:has-text("stop")').all():
            button.click()
        page.wait_for_function(
            "document.querySelector('.jp-Notebook').innerText.match(/ended: stopped/g)?.length === 2"
        )
        assert page.locator('[data-mime-type="application/vnd.jupyter.stderr"]').count() == 0
    finally:
        page.screenshot(path=SHOTS / "live-end.png")


@pytest.mark.timeout(600)
def test_the_scratch_manager_asks_before_it_deletes(
    me: str, page: Any, server: Server, lab: Lab, topic: str
) -> None:
    for name in ("one", "two"):
        lab.window(topic, last=50).to_scratch(name)
    write_notebook(
        server.notebooks / "scratch.ipynb",
        ["from labkit import widgets", "widgets.scratch()"],
    )
    try:
        open_notebook(page, server, "scratch.ipynb")
        box = "document.querySelectorAll('.jupyter-widgets input[type=checkbox]')"
        run(page, "Run All Cells", f"{box}.length === 3")
        page.get_by_role("checkbox", name=f"scratch-{me}-one").check()
        page.get_by_role("button", name="delete …").click()
        page.wait_for_selector(
            f".jupyter-widgets >> text=Delete scratch-{me}-one with 50 documents?"
        )
        assert len(lab.scratch()) == 2
        page.screenshot(path=SHOTS / "scratch.png")
        page.locator(".jupyter-widgets button.mod-danger").click()
        page.wait_for_selector(f".jupyter-widgets >> text=deleted scratch-{me}-one")
        assert list(lab.scratch()["index"]) == [f"scratch-{me}-two"]
        assert page.locator('[data-mime-type="application/vnd.jupyter.stderr"]').count() == 0
    finally:
        page.screenshot(path=SHOTS / "scratch-end.png")


@pytest.mark.timeout(600)
def test_stop_ends_run_all_and_the_part_is_kept(page: Any, server: Server, topic: str) -> None:
    """BEHAVIOURS 55: the stopped cell says in red how far it got.

    The cells after it do not run, and the part is there.
    """
    cells = [
        f"import labkit, time\nw = labkit.connect().window({topic!r})\n\n"
        "def slow(value):\n    time.sleep(0.03)\n    return {'n': 1}",
        "print('at ' + 'work')\ndf = w.read(decode=slow).to_pandas()",
        "print('the report' + ' says', len(df))",
    ]
    write_notebook(server.notebooks / "stopped.ipynb", cells)
    try:
        open_notebook(page, server, "stopped.ipynb")
        run(
            page,
            "Run All Cells",
            "/at work/.test(document.querySelector('.jp-Notebook').innerText)",
        )
        page.wait_for_timeout(10_000)  # libraries are imported first
        page.locator('.jp-NotebookPanel-toolbar [data-jp-item-name="interrupt"]').click()
        error = page.locator(
            '[data-mime-type="application/vnd.jupyter.stderr"], [data-mime-type*="error"]'
        )
        page.wait_for_selector(
            "text=/Stopped: stopped at \\d+ %: [\\d,]+ of 3,000, [\\d,]+ of them not decoded/"
        )
        page.wait_for_selector("#jp-main-statusbar >> text=| Idle")
        page.wait_for_timeout(1_000)
        text = page.locator(".jp-Notebook").inner_text()
        assert "the report says" not in text
        assert "part = labkit.stopped()" in text
        assert "Traceback" not in text
        page.screenshot(path=SHOTS / "stopped.png")
        assert error.count() >= 1
        page.locator(".jp-CodeCell").nth(2).locator(".cm-content").click()
        page.keyboard.press("Control+a")
        page.keyboard.type(
            "part = labkit.stopped()\nprint(type(part).__name__, len(part) < 3000 or part.receipt)"
        )
        page.keyboard.press("Shift+Enter")
        page.wait_for_selector("text=/Replay (True|INCOMPLETE|complete)/")
    finally:
        page.screenshot(path=SHOTS / "stopped-end.png")


def run(page: Any, what: str, done: str = RECORDS_OF_LAST + " > 0") -> None:
    """Run cells through the menu, and wait until `done`.

    A kernel that is not there yet is chosen as a person would.
    """
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text(what, exact=True).click()
    page.wait_for_function(
        f"document.querySelector('.jp-Dialog .jp-mod-accept') !== null || {done}"
    )
    if page.locator(".jp-Dialog").count():
        page.locator(".jp-Dialog .jp-mod-accept").click()
    page.wait_for_function(done)


def drag(page: Any) -> None:
    """Drag the slider's left handle to the right."""
    handle = page.locator(".jupyter-widgets .noUi-handle").first
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 300, y, steps=10)
    page.mouse.up()
