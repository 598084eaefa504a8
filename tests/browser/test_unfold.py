"""What profiles, hits, records and traces show more of, opened by mouse and by keyboard.

In a live notebook, one that is opened again without a kernel, and the page of a run. Pictures are
kept in test-output.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labkit.elastic import Target
from labkit.lab import Lab
from labkit.notebook import rerun
from labkit.stack.state import State
from support.jupyter import Server, open_notebook, run_all_cells, write_notebook
from support.looks import each_look, list_pale_texts

pytestmark = pytest.mark.browser

SHOTS = Path(__file__).parents[2] / "test-output"
LONG = "a long text that goes on " * 20
NOTE = 'some words in "quotes" & more of them, seventy-five characters, not folded'
CELLS = (
    "import labkit\nlab = labkit.connect()\nw = lab.window({topic!r})",
    "w.profile()",
    "w.find('needle')",
    "lab.trace({topic!r}, 0, 3, index={index!r})",
    "w.latest()",
)
PROFILE, FIND, TRACE, LATEST = range(1, len(CELLS))
RING = """(place) => {
  const style = getComputedStyle(place);
  return place.matches(":focus-visible") && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
}"""

ON_PAGE = """(body) => {  // without scrolling to the right
  body.scrollIntoView({block: "center"});
  const page = body.closest(".jp-OutputArea-output").getBoundingClientRect();
  const here = body.getBoundingClientRect();
  const at = document.elementFromPoint(here.right - 2, here.top + 4);
  return here.width > 200 && here.right <= page.right && body.contains(at);
}"""

# cells of which no part can be read: those that are cut, where no click and no rest of the mouse shows all
LOST = """(shown) => [...shown.querySelectorAll("table.dataframe > tbody > tr > td")]
  .filter((cell) => cell.scrollWidth > cell.clientWidth && !cell.querySelector("details"))
  .filter((cell) => cell.title !== cell.textContent)
  .map((cell) => cell.textContent)"""

ONE_LINE = """(cell) => {
  const range = document.createRange();
  range.selectNodeContents(cell);
  return range.getClientRects().length === 1;
}"""


@pytest.fixture
def cells(lab: Lab, stack: State, make_topic: Any, produce: Any) -> list[str]:
    """Records with a long text; a document of one of them was changed."""
    topic = str(make_topic(1))
    values = [
        {
            "nick": f"n{n % 12}",
            "number": n,
            "said": f"{LONG}needle {n}" if n % 5 == 3 else "hello",
            "note": NOTE,
        }
        for n in range(60)
    ]
    produce(
        topic, [json.dumps(value).encode() for value in values], keys=[b"k%d" % (n % 6) for n in range(60)],
        headers=[[("trace-id", b"t%d" % n)] for n in range(60)],
        timestamps=[1_790_000_000_000 + 60_000 * n for n in range(60)],
    )  # fmt: skip
    index = lab.window(topic).to_scratch("unfold", progress=False).index
    elastic = Target("default", stack.credentials("admin")["elasticsearch"]).client
    elastic.update(index=index.name, id=f"{topic}-0-3", doc={"nick": "other"}, refresh=True)
    return [cell.format(topic=topic, index=index.name) for cell in CELLS]


def output(page: Any, place: int) -> Any:
    return page.locator(".jp-CodeCell").nth(place).locator(".jp-OutputArea-output:has(details)")


def summary(shown: Any, text: str) -> Any:
    return shown.locator(f"summary:has-text('{text}')").first


def opens(page: Any, shown: Any, text: str, more: str) -> None:
    """A click opens it, Enter closes it and Space opens it, with a ring around."""
    head, body = summary(shown, text), shown.locator(f"details > div:has-text('{more}')").first
    assert not body.is_visible()
    head.click()
    body.wait_for(state="visible")
    page.keyboard.press("Tab")  # JupyterLab may take the focus itself, so it is given back
    head.focus()
    assert head.evaluate(RING), text
    page.keyboard.press("Enter")
    body.wait_for(state="hidden")
    page.keyboard.press("Space")
    body.wait_for(state="visible")


def all_open(page: Any, outputs: list[Any]) -> None:
    profile, find, trace, latest = outputs
    opens(page, profile, "nick", "n10")  # the table has five of twelve values
    opens(page, profile, "number", "25%: 14.75")
    opens(page, profile, "said", "(509 characters)")
    assert "first seen 2026-09-21T14:13:20" in profile.inner_text()
    assert find.locator("table.dataframe > tbody > tr").count() == 12  # all that were found
    opens(page, find, "a long text", "needle 58")
    opens(page, trace, "there, of 2026-09-21", "header trace-id: t3")
    assert "key: k3" in trace.inner_text()
    opens(page, trace, "other than in the record: nick", "nick: n3 in the record, other in the doc")
    opens(page, latest, "a long text", "needle 58")


@pytest.mark.timeout(600)
def test_a_click_or_a_key_shows_more_in_a_notebook(
    page: Any, server: Server, cells: list[str]
) -> None:
    SHOTS.mkdir(exist_ok=True)
    write_notebook(server.notebooks / "unfold.ipynb", cells)
    page.set_viewport_size({"width": 1300, "height": 2_400})
    open_notebook(page, server, "unfold.ipynb")
    run_all_cells(page)
    output(page, LATEST).locator("table.dataframe").first.wait_for()
    page.wait_for_selector("#jp-main-statusbar >> text=| Idle")
    outputs = [output(page, place) for place in (PROFILE, FIND, TRACE, LATEST)]
    all_open(page, outputs)
    for theme, width in each_look(page, SHOTS / "unfold", 2_400):
        assert list_pale_texts(page, ".jp-CodeCell .jp-OutputArea-output") == []
        outputs[0].screenshot(path=SHOTS / f"unfold-profile-{theme}-{width}.png")
        for shown in outputs:  # what is opened is not cut
            cut = "(body) => body.scrollWidth > body.clientWidth + 1"
            bodies = shown.locator("details[open] > div")
            assert not any(body.evaluate(cut) for body in bodies.all()), (theme, width)
        for shown in (outputs[1], outputs[3]):  # hits, and the newest of each key
            cells = shown.locator("table.dataframe > tbody > tr > td")
            widths = cells.evaluate_all("(cells) => cells.map((cell) => cell.clientWidth)")
            assert max(widths) <= 0.3 * width + 40, (theme, width)
            assert shown.evaluate(LOST) == [], (theme, width)
            shown.screenshot(path=SHOTS / f"unfold-hits-{theme}-{width}.png")
        assert page.locator("td[title^='some words']").count() > 10
        for body in outputs[0].locator("td details[open] > div").all():
            assert body.evaluate(ON_PAGE), (theme, width, body.inner_text())
        for count in outputs[0].locator("td details[open] tr > :nth-child(2)").all():
            assert count.evaluate(ONE_LINE), (theme, width, count.inner_text())
    page.keyboard.press("Control+s")
    page.wait_for_selector(".jp-DirtyIndicator, .jp-mod-dirty", state="detached")
    server.end_kernels()
    page.set_viewport_size({"width": 1300, "height": 2_400})
    open_notebook(page, server, "unfold.ipynb")
    all_open(page, [output(page, place) for place in (PROFILE, FIND, TRACE, LATEST)])
    page.wait_for_timeout(4_000)  # a widget without its model says so after a while
    page.screenshot(path=SHOTS / "unfold-reopened.png")
    assert "widget" not in page.inner_text(".jp-Notebook")


@pytest.mark.timeout(600)
def test_a_click_or_a_key_shows_more_in_a_page_of_a_run(
    page: Any, me: str, cells: list[str], tmp_path: Path
) -> None:
    SHOTS.mkdir(exist_ok=True)
    write_notebook(tmp_path / "unfold.ipynb", cells)
    result = rerun.run(tmp_path / "unfold.ipynb", folder=tmp_path / "runs")
    page.goto(result.html.as_uri())
    shown = page.locator(".jp-OutputArea-output:has(details)")
    all_open(page, list(shown.all()))
    page.screenshot(path=SHOTS / "unfold-page.png", full_page=True)
