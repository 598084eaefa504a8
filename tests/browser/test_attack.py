"""A hostile topic in a real JupyterLab: every chart, widget and display, hovered and clicked.

Nothing of it runs, nothing is fetched, nothing breaks out, and no formula is made of it; BEHAVIOURS
43, 67, 68, 69.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit.kafka.cluster import Cluster
from labkit.notebook import rerun
from labkit.profile.fields import quote_name
from labkit.stack.state import State
from support.jupyter import Server, open_notebook, run_all_cells, write_notebook

pytestmark = pytest.mark.browser

SHOTS = Path(__file__).parents[2] / "test-output"
SLOW_MS = 240_000  # the machines of CI are small
ATTACKS = [
    'x" onerror="window.hacked=1',
    "/canary.png?<img src=x onerror='window.hacked=2'>",
    "<img src=/canary.png onerror='window.hacked=3'>",
    "</script><script>window.hacked=4</script>",
    "</td></table></div><svg onload=window.hacked=5>",
    "#kafka<iframe src='javascript:parent.hacked=6'>",
    "[x](javascript:window.hacked=7) ![y](/canary.png)",
    "\x1b[2J\x1b]0;owned\x07\u202eevil\u2028\x9b31m",
    "costs $5 and $6, $$x^2$$ \\(y\\)",
    "constructor", "__proto__", "toString", "if",
]  # fmt: skip
FIELDS = [
    "nick",
    "channel",
    "image",
    "title",
    "constructor",
    "__proto__",
    ATTACKS[2],
    ATTACKS[4],
    ATTACKS[8],
]
ERROR = '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]'
START = 1_456_790_400_000


def value(number: int) -> bytes:
    text = ATTACKS[number % len(ATTACKS)]
    after = ATTACKS[(number + 1) % len(ATTACKS)]
    return json.dumps({
        **dict.fromkeys(FIELDS, text), "message": f"{after}: {text}", "number": number, "amount": "$5 and $6",
        "geo_location": {"lat": number % 50, "lon": number % 90}, "geo_city": text, "geo_country_name": text,
    }).encode()  # fmt: skip


VALUES = [value(number) for number in range(130)]
HEADERS: list[Any] = [[(text, text.encode())] for text in ATTACKS] * 10
KEYS: list[bytes | None] = [text.encode() for text in ATTACKS] * 10

CHARTS = [
    'charts.top(r, "nick")',
    'charts.top(r, "image")',
    'charts.top(r, "title")',
    'charts.top(r, "constructor")',
    f"charts.top(r, {ATTACKS[2]!r})",
    'charts.timeline(r, by="image")',
    'charts.timeline(r, by="title", table=True)',
    'charts.distribution(r, "number", by="image", bins=5)',
    f"charts.distribution(r, {ATTACKS[4]!r})",
    "charts.heatmap(r)",
    "charts.conversation(r)",
    'charts.conversation(r, sender="image", form="matrix")',
    "charts.map(r)",
    "charts.board(lab.lag(samples=2, every='200ms'))",
    "charts.comparison(lab.compare(r, half, key='number', latency=False))",
    'charts.top(load.index, "image")',
]
DISPLAYS = [
    "lab",
    "w",
    "r",
    "r.receipt",
    "r.to_pandas()",
    "r.to_pandas()[['nick', 'amount']].head(13)",
    "load",
    "load.index",
    "load.index.to_pandas().head(3)",
    "lab.groups()",
    "lab.offsets()",
    "proof",
    "lab.compare(r, half, key='nick', latency=False)",
    "widgets.tail(lab, topic, last=20)",
    "widgets.lag_board(lab, every='1s', limit='20s')",
    "inspector = widgets.inspect(r)\ninspector",
    "widgets.pick_window(lab, topic)",
    "widgets.scratch(lab)",
    "lab.window(topic).read(progress=False).sql('select * from replay limit 13')",
]


def cells(topic: str) -> list[str]:
    """Return a notebook's cells: one for each chart and display.

    The last one is an error with an attack in it.
    """
    begin = f"""
import json, labkit
from labkit import charts, widgets
topic, lab = {topic!r}, labkit.connect()
w = lab.window(topic)
with lab.guard() as proof:
    r = w.read(progress=False)
half = lab.window(topic, last=60).read(progress=False)
load = w.to_scratch("attack", ttl="1h")
"""
    return [begin, *CHARTS, *DISPLAYS, f"lab.window({ATTACKS[2]!r})"]


VIEWS = [
    "w.profile()",
    "r.profile()",
    "r.profile().compare(half.profile())",
    "widgets.browse(lab, topic)",
]


@pytest.fixture
def topic(
    make_topic: Callable[..., str], produce: Callable[..., None], request: pytest.FixtureRequest
) -> str:
    request.node.name = "attack"
    name = make_topic()
    produce(
        name,
        VALUES,
        keys=KEYS,
        headers=HEADERS,
        timestamps=[START + 1_800_000 * n for n in range(len(VALUES))],
    )
    return name


@pytest.fixture
def group(stack: State, admin: Cluster, topic: str) -> Iterator[str]:
    """A foreign group whose id and client id are attacks, with a member and a commit."""
    from confluent_kafka import Consumer

    name = f"<img src=/canary.png onerror='window.hacked=8'> $5 and $6 \u202e {topic}"
    settings = {**stack.credentials("admin")["kafka"], "group.id": name, "client.id": ATTACKS[2]}
    consumer = Consumer({**settings, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe([topic])
    assert consumer.consume(10, 60)
    consumer.commit(asynchronous=False)
    yield name
    consumer.close()
    admin.ask(lambda client: client.delete_consumer_groups([name]), what="delete it")


@pytest.fixture
def page(page: Any) -> Any:
    """A page that notes what it asks for, and what it complains of."""
    SHOTS.mkdir(exist_ok=True)
    page.set_viewport_size({"width": 1300, "height": 1400})
    page.set_default_timeout(SLOW_MS)
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    return page


def hold(page: Any, what: str, origin: str) -> None:
    """Nothing ran, nothing of the records was fetched, nothing was typeset."""
    assert page.evaluate("window.hacked") is None, what
    # JupyterLab makes links of paths in plain text, and asks its own server which of them there are
    urls = [url for url in page.asked if not url.startswith(f"{origin}/api/resolvePath?")]
    strange = [
        url for url in urls if "canary" in url or not url.startswith((origin, "data:", "blob:"))
    ]
    assert not strange, (what, strange)
    assert (
        page.evaluate(
            "document.querySelectorAll('mjx-container, .MathJax, .MathJax_Display').length"
        )
        == 0
    ), what
    assert (
        page.locator(
            "iframe[src^=javascript], .jp-OutputArea img[src*=canary], svg[onload]"
        ).count()
        == 0
    ), what


@pytest.mark.timeout(1_200)
def test_nothing_of_a_hostile_topic_runs_in_jupyterlab(
    me: str, page: Any, server: Server, topic: str, group: str
) -> None:
    origin = f"http://127.0.0.1:{server.port}"
    write_notebook(server.notebooks / "attack.ipynb", cells(topic))
    open_notebook(page, server, "attack.ipynb")
    run_all_cells(page)
    try:
        page.wait_for_selector(ERROR)
        assert [error.inner_text().split("\n")[0] for error in page.locator(ERROR).all()] == [
            f"UsageError: {ATTACKS[2]!r} is not a topic name"
        ]
        charts = charts_of(page)
        assert len(charts) == len(CHARTS)
        titles: set[str] = set()
        for number, chart in enumerate(charts):
            titles |= hover(page, chart, number)
            hold(page, CHARTS[number], origin)
        assert {"nick", "constructor\u2060", "image\u2060", "title\u2060"} <= titles
        assert not {"image", "title"} & titles
        use_widgets(page)
        hold(page, "widgets", origin)
        assert "$5 and $6" in page.locator(".jp-Notebook").inner_text()
        assert "Javascript Error" not in page.locator(".jp-Notebook").inner_text()
    finally:
        page.screenshot(path=SHOTS / "attack.png")


def charts_of(page: Any) -> list[Any]:
    """Scroll through the notebook, so that all of it is drawn, and return the charts' drawings."""
    for cell in page.locator(".jp-CodeCell").all():
        cell.scroll_into_view_if_needed()
    page.wait_for_function(
        f"document.querySelectorAll('.chart-wrapper > svg.marks').length >= {len(CHARTS)}"
    )
    return list(page.locator(".chart-wrapper > svg.marks").all())


def hover(page: Any, chart: Any, number: int) -> set[str]:
    """Move the mouse over a chart and click; return the titles of the rows of its tooltips."""
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box["width"] > 100
    names: set[str] = set()
    page.screenshot(path=SHOTS / f"attack-{number:02}.png")
    for down in range(1, 16):
        for across in (0.23, 0.4, 0.6):
            page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * down / 16)
            tooltip = page.evaluate(
                "(document.getElementById('vg-tooltip-element') || {}).innerHTML || ''"
            )
            assert "<img" not in tooltip, tooltip
            assert "<h2" not in tooltip, tooltip
            names |= set(re.findall(r'<td class="key">(.*?):</td>', tooltip))
    page.mouse.click(box["x"] + box["width"] * 0.3, box["y"] + box["height"] / 2)
    assert names, f"no tooltip of {CHARTS[number]}"
    return names


def use_widgets(page: Any) -> None:
    """Go through the records of the inspector, open what opens, click in the tables."""
    place = page.locator(".jupyter-widgets input[type=number]").first
    place.scroll_into_view_if_needed()
    for row in range(len(ATTACKS)):
        place.fill(str(row))
        place.press("Enter")
        # headers, bytes
        for summary in page.locator(".jupyter-widgets summary:visible").all()[-2:]:
            summary.click()
    for table in page.locator(".jp-OutputArea table.dataframe:visible").all():
        table.scroll_into_view_if_needed()
        table.locator("td").first.click()
    page.screenshot(path=SHOTS / "attack-widgets.png")


def use_browser(page: Any, check: Callable[[str], None]) -> None:
    """Open each field's values in the browser of records, choose a value of each, open a record."""
    browser = page.locator(".lk-browse")
    browser.locator(".lk-row .lk-cell >> nth=5").wait_for()
    for number, name in enumerate(FIELDS):
        row = browser.locator(".lk-fields > div > div").filter(
            has=page.get_by_label(f"show {quote_name(name)} as a column", exact=True)
        )
        row.locator(".lk-field button").click()
        row.locator("[aria-label^='only ']").nth(number).click()
        chip = browser.locator(".lk-chip")
        chip.wait_for()
        assert chip.inner_text().startswith(f"{name} = "), name
        browser.get_by_role("status").get_by_text("10 picked").wait_for()
        check(f"browse: {chip.inner_text()}")
        chip.get_by_title("remove", exact=True).click()
        chip.wait_for(state="detached")
        browser.locator("[role=status]:not(.lk-result):text-is('')").wait_for(state="attached")
    for name in FIELDS[2:]:
        browser.get_by_label(f"show {quote_name(name)} as a column", exact=True).check()
    browser.get_by_label("stack the histogram by").select_option(quote_name(ATTACKS[2]))
    browser.locator(".lk-legend span").nth(3).wait_for()
    browser.locator(".lk-rows").focus()
    for _ in ATTACKS:
        page.keyboard.press("ArrowDown")
    browser.locator(".lk-headers summary").click()
    browser.locator(".lk-headers dt").first.wait_for()
    page.screenshot(path=SHOTS / "attack-browse.png")
    check("browse: columns, histogram and a record")


@pytest.mark.timeout(900)
def test_nothing_of_it_runs_in_profiles_and_the_browser_of_records(
    page: Any, server: Server, topic: str
) -> None:
    """Profiles, two compared, and the browser: fields opened, values chosen, a record opened.

    BEHAVIOURS 43, 67, 69.
    """
    begin = cells(topic)[0].partition("load = ")[0]
    write_notebook(server.notebooks / "views.ipynb", [begin, *VIEWS])
    origin = f"http://127.0.0.1:{server.port}"
    open_notebook(page, server, "views.ipynb")
    run_all_cells(page)
    try:
        page.wait_for_selector(".lk-browse .lk-row >> nth=5")
        assert page.locator(ERROR).count() == 0
        text = page.locator(".jp-Notebook").inner_text()
        assert "$5 and $6" in text
        assert "window.hacked=3" in text
        for part in page.locator(".jp-OutputArea-output summary:visible").all():
            part.click()
            if part.evaluate("part => part.parentElement.matches('.lk-menu')"):
                page.keyboard.press("Escape")  # what is open covers others
        hold(page, "profiles", origin)
        page.screenshot(path=SHOTS / "attack-profiles.png")
        use_browser(page, lambda what: hold(page, what, origin))
    finally:
        page.screenshot(path=SHOTS / "attack-views.png")


@pytest.mark.timeout(900)
def test_nothing_of_it_runs_in_a_page_of_a_run(
    page: Any, topic: str, group: str, me: str, tmp_path: Path
) -> None:
    """The page is whole in itself.

    It asks for nothing at all, neither libraries nor what records name.
    """
    write_notebook(tmp_path / "attack.ipynb", cells(topic)[:-1])
    result = rerun.run(tmp_path / "attack.ipynb", folder=tmp_path / "runs")
    page.goto(result.html.as_uri())
    text = page.inner_text("body")
    assert "$5 and $6" in text
    assert "window.hacked" in text
    assert page.locator("img").count() >= len(CHARTS)
    for output in page.locator(".jp-OutputArea-output").all():
        output.hover()
    hold(page, "page", result.html.as_uri())
    page.screenshot(path=SHOTS / "attack-page.png")
