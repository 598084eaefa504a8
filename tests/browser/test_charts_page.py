"""BEHAVIOURS 66: charts on JupyterLab's page: as wide as it, of its colour in any theme."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.jupyter import Server, open_notebook, run_all_cells, write_notebook
from support.looks import each_look, list_pale_texts

pytestmark = pytest.mark.browser

SHOTS = Path(__file__).parents[2] / "test-output"
BEGIN = """
import altair as alt, pandas as pd
from labkit import charts
hours = pd.date_range("2026-03-01", periods=2000, freq="7min", tz="UTC").as_unit("ms")
frame = pd.DataFrame({
    "_timestamp": hours, "nick": [f"somebody{n % 14}" for n in range(2000)],
    "message": [f"somebody{n % 5}: " + "word " * (n % 23) for n in range(2000)],
    "geo": [{"lat": n % 120 - 60.0, "lon": n % 300 - 150.0} for n in range(2000)],
    "latitude": [n % 120 - 60.0 for n in range(2000)], "longitude": [n % 300 - 150.0 for n in range(2000)],
})
"""
CHARTS = (
    'charts.timeline(frame, by="nick")',
    'charts.timeline(frame, by="nick", table=True)',
    "charts.timeline(frame, table=True)",
    'charts.timeline(frame, against="1d")',
    'charts.top(frame, "nick")',
    "charts.heatmap(frame)",
    'charts.distribution(frame, "message", by="nick")',
    'charts.distribution(frame, "message")',
    "charts.map(frame)",
    "charts.conversation(frame)",
    'charts.conversation(frame, form="matrix")',
)
NARROW, WIDE = 800, 1300
ROOM = """() => [...document.querySelectorAll('.jp-RenderedVegaCommon5')].map(
    (place) => [place.clientWidth, place.scrollWidth, place.querySelector('.chart-wrapper > .marks').clientWidth])"""
# what is behind a chart: of labkit's the colour, of others how opaque the first pixel is, of 255
BEHIND = """() => [...document.querySelectorAll('.chart-wrapper > .marks')].map((marks) => (marks.getContext
    ? marks.getContext('2d').getImageData(1, 1, 1, 1).data[3] : marks.style.backgroundColor))"""


def in_the_dark(server: Server) -> None:
    settings = server.home / "settings/@jupyterlab/apputils-extension"
    theme = json.dumps({"theme": "JupyterLab Dark"})
    (settings / "themes.jupyterlab-settings").write_text(theme)


def draw(page: Any, server: Server, *cells: str) -> None:
    write_notebook(server.notebooks / "charts.ipynb", [BEGIN, *cells])
    open_notebook(page, server, "charts.ipynb")
    run_all_cells(page)
    wait = f"document.querySelectorAll('.chart-wrapper > .marks').length == {len(cells)}"
    page.wait_for_function(wait)
    page.wait_for_timeout(500)  # a chart is drawn a moment after its canvas is there
    SHOTS.mkdir(exist_ok=True)


@pytest.mark.timeout(300)
def test_charts_fill_the_width_they_have_and_none_scrolls(page: Any, server: Server) -> None:
    page.set_viewport_size({"width": NARROW, "height": 4600})
    draw(page, server, *CHARTS)
    page.screenshot(path=SHOTS / "charts-narrow.png")
    for chart, (place, content, canvas) in zip(CHARTS, page.evaluate(ROOM), strict=True):
        assert content <= place < 500, chart  # beside the side bar
        assert canvas > 0.6 * place, chart
    page.set_viewport_size({"width": WIDE, "height": 4600})
    page.wait_for_timeout(1000)
    page.screenshot(path=SHOTS / "charts-wide.png")
    for chart, (place, content, canvas) in zip(CHARTS, page.evaluate(ROOM), strict=True):
        assert content <= place, chart
        assert place > 800, chart
        share = 0.4 if "conversation" in chart else 0.8  # that one never grows
        assert canvas > share * place, chart


@pytest.mark.timeout(300)
def test_a_chart_takes_what_a_closed_side_bar_leaves(page: Any, server: Server) -> None:
    page.set_viewport_size({"width": NARROW, "height": 1000})
    draw(page, server, CHARTS[0])
    ((_, _, before),) = page.evaluate(ROOM)
    page.keyboard.press("Control+b")
    page.wait_for_function(f"({ROOM})()[0][0] > 500")
    page.hover(".chart-wrapper > .marks")
    page.wait_for_function(f"({ROOM})()[0][2] > {before + 100}")


@pytest.mark.timeout(300)
def test_no_chart_is_white_in_the_dark(page: Any, server: Server) -> None:
    in_the_dark(server)
    own = 'alt.Chart(frame.head(9)).mark_bar().encode(x="latitude", y="nick")'
    chosen = '.properties(background="#fff8e0")'
    draw(page, server, CHARTS[0], CHARTS[1], own, own + chosen, CHARTS[1] + chosen)
    page.screenshot(path=SHOTS / "charts-dark.png")
    assert page.evaluate(BEHIND) == ["transparent", "transparent", 0, 255, 255]


@pytest.mark.timeout(300)
def test_texts_of_charts_can_be_read_in_each_theme_and_width(page: Any, server: Server) -> None:
    """A theme chosen later than the chart was drawn colours it, too."""
    page.set_viewport_size({"width": WIDE, "height": 5200})
    on_clear_ground = [chart for chart in CHARTS if "matrix" not in chart]
    draw(page, server, *on_clear_ground, 'charts.top(frame.head(0), "nick")')
    for look in each_look(page, SHOTS / "charts-read", 5200):
        assert page.locator(".vega-embed svg text").count() > 100
        assert list_pale_texts(page, ".vega-embed") == [], look


@pytest.mark.timeout(300)
def test_a_width_that_the_user_gave_stays(page: Any, server: Server) -> None:
    draw(page, server, f"{CHARTS[0]}.properties(width=200)")
    ((place, _, canvas),) = page.evaluate(ROOM)
    assert canvas < 0.6 * place
