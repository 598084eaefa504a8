"""The browser of records on nested JSON, on Avro and on an index.

It shows them in a zone, in the night when clocks are set back.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest

from support.jupyter import Server, open_notebook, run_cell, write_notebook
from support.registry import avro_values

pytestmark = pytest.mark.browser

SHOTS = Path(__file__).parents[2] / "test-output"
FIRST = 1_792_872_000_000  # 2026-10-24T20:00Z, in Vienna 22:00; clocks are set back at 01:00Z
QUARTER = 900_000
CUSTOMER = {"type": "record", "name": "Customer", "fields": [{"name": "city", "type": "string"}]}
SCHEMA = {
    "type": "record", "name": "Order",
    "fields": [
        {"name": "id", "type": "int"}, {"name": "state", "type": "string"},
        {"name": "customer", "type": CUSTOMER},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
    ],
}  # fmt: skip
ORDERS = [
    {
        "id": n,
        "state": "paid" if n % 4 else "open",
        "customer": {"city": ("Wien", "Graz")[n % 2]},
        "tags": ["a", "b"][: n % 3],
    }
    for n in range(48)
]


def avro(order: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), order)
    return out.getvalue()


def cell(page: Any, place: int) -> Any:
    """Run a cell; return its browser once it has rows."""
    run_cell(page, place)
    shown = page.locator(".jp-CodeCell").nth(place).locator(".lk-browse")
    shown.locator(".lk-row").nth(5).wait_for()
    shown.scroll_into_view_if_needed()
    return shown


def picked(shown: Any, count: int) -> None:
    shown.locator(f"[role=status]:has-text('{count} picked')").first.wait_for()


@pytest.mark.timeout(600)
def test_nested_avro_and_index_answer_the_same_clicks(
    page: Any, server: Server, make_topic: Any, produce: Any, registry_url: str
) -> None:
    nested, packed, named = (str(make_topic(1)) for _ in range(3))
    times = [FIRST + n * QUARTER for n in range(len(ORDERS))]
    headers = [[("trace-id", b"t%d" % n)] for n in range(len(ORDERS))]
    for topic, values in (
        (nested, [json.dumps(order).encode() for order in ORDERS]),
        (packed, [avro(order) for order in ORDERS]),
        (named, avro_values(named, json.dumps(SCHEMA), *ORDERS)),
    ):
        produce(topic, values, timestamps=times, headers=headers)
    (server.notebooks / "order.avsc").write_text(json.dumps(SCHEMA))
    cells = [
        "import labkit\nfrom labkit import widgets\nlab = labkit.connect(timezone='Europe/Vienna')\n"
        f"b = widgets.browse(lab, {nested!r})\nb",
        f"widgets.browse(lab, lab.window({packed!r}), decode=labkit.decode.avro('order.avsc'))",
        f"load = lab.window({nested!r}).to_scratch('browse-{nested[-6:]}', metadata=True, progress=False)\n"
        "widgets.browse(lab, load.index)",
        f"widgets.browse(lab, {named!r})",  # by a sample, with the registry
        "print('printed', b.where, len(b.replay), list(b.box.widths))\nload.index.drop()",
    ]
    write_notebook(server.notebooks / "sources.ipynb", cells)
    SHOTS.mkdir(exist_ok=True)
    open_notebook(page, server, "sources.ipynb")
    shown = cell(page, 0)
    times_are_the_zones(shown)
    a_time_is_typed_and_chips_are_edited(page, shown)
    columns_are_sized(page, shown)
    neighbours_are_shown(shown)
    page.screenshot(path=SHOTS / "browse-zone.png")
    for place, tags in ((1, "tags[]"), (2, "tags"), (3, "tags[]")):  # an index knows no lists
        a_click_filters(cell(page, place), tags)
        page.screenshot(path=SHOTS / f"browse-source-{place}.png")
    run_cell(page, 4)
    page.wait_for_selector(".jp-OutputArea-output:has-text('printed ')")
    said = page.inner_text(".jp-CodeCell >> nth=4 >> .jp-OutputArea")
    assert "timestamptz '2026-10-24T23:00:00.000Z'" in said  # UTC in the code
    assert "2026-10-25T03:00:00.000Z" in said
    assert " 16 ['state']" in said


def times_are_the_zones(shown: Any) -> None:
    assert shown.locator(".lk-head .lk-cell").first.inner_text() == "time (Europe/Vienna)"
    assert shown.locator(".lk-row .lk-cell").first.inner_text() == "2026-10-25 08:45:00.000 +01:00"
    assert shown.locator(".lk-axis span").first.inner_text() == "2026-10-24 22:00:00 Europe/Vienna"


def a_time_is_typed_and_chips_are_edited(page: Any, shown: Any) -> None:
    field = shown.locator(".lk-when")
    field.fill("some time")
    field.press("Enter")
    shown.locator(".lk-late:has-text('14:00–15:00')").wait_for()
    assert field.get_attribute("aria-invalid") == "true"
    field.fill("2:15-3:00")  # there twice
    field.press("Enter")
    shown.locator(".lk-late:has-text('exists twice in Europe/Vienna')").wait_for()
    field.fill("1:00–5:00")
    field.press("Enter")
    picked(shown, 20)  # five hours of the clock's four
    assert shown.locator(".lk-late").inner_text() == ""
    chip = shown.locator(".lk-chip .lk-word")
    assert chip.inner_text() == "_timestamp: 2026-10-25 01:00:00 … 2026-10-25 05:00:00"
    chip.click()
    edit = shown.locator(".lk-edit")
    assert edit.input_value() == "2026-10-25 01:00:00+02:00 … 2026-10-25 05:00:00+01:00"
    edit.fill("1:00 to 99:00")
    edit.press("Enter")
    shown.locator(".lk-error[role=alert]:has-text('99:00')").first.wait_for()
    edit.fill("1:00 to 4:00")
    edit.press("Enter")
    picked(shown, 16)
    page.wait_for_function("document.activeElement.textContent.includes('04:00:00')")
    page.keyboard.press("Enter")
    shown.locator(".lk-edit").press("Escape")
    assert chip.inner_text().endswith("04:00:00")


def columns_are_sized(page: Any, shown: Any) -> None:
    edge = shown.get_by_role("separator", name="width of state")
    head = shown.locator(".lk-head .lk-cell:has-text('state')")
    before = head.bounding_box()["width"]
    box = edge.bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 63, box["y"] + 5, steps=3)
    page.mouse.up()
    assert abs(head.bounding_box()["width"] - (before + 60)) <= 2
    edge.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert abs(head.bounding_box()["width"] - (before + 92)) <= 2
    assert edge.get_attribute("aria-valuenow") == str(round(head.bounding_box()["width"]))
    place = shown.locator(".lk-head .lk-cell").all_inner_texts().index("state")
    assert (
        abs(
            shown.locator(".lk-row").first.locator(".lk-cell").nth(place).bounding_box()["width"]
            - (before + 92)
        )
        <= 2
    )


def neighbours_are_shown(shown: Any) -> None:
    shown.locator(".lk-row").first.click()
    near = shown.locator(".lk-near button")
    near.nth(6).wait_for()
    shown.locator(
        ".lk-detail b:has-text('2026-10-25 03:45:00.000 +01:00 Europe/Vienna')"
    ).wait_for()
    near.nth(2).click()  # the next one in time, which is not picked
    shown.locator(".lk-detail b:has-text('2026-10-25 04:00:00.000 +01:00')").wait_for()
    shown.locator(".lk-detail :text('not among the picked')").wait_for()
    near.nth(4).click()
    shown.locator(".lk-row.lk-here").wait_for()


def a_click_filters(shown: Any, tags: str) -> None:
    shown.locator(".lk-when").fill("1:00–5:00")
    shown.locator(".lk-when").press("Enter")
    picked(shown, 20)
    shown.locator(".lk-chip [title=remove]").click()
    shown.locator(".lk-field button:has-text('customer.city')").click()
    shown.locator("[aria-label='only Graz']").click()
    picked(shown, 24)
    shown.locator(f".lk-field button:has-text('{tags}')").click()
    shown.locator("[aria-label='only b']").click()
    picked(shown, 8)
    shown.locator(".lk-row").first.click()
    shown.locator(".lk-tree:has-text('Graz')").wait_for()
    assert shown.locator(".lk-axis span").first.inner_text() == "2026-10-24 22:00:00 Europe/Vienna"
    a_record_is_read_and_filters(shown)
    a_text_is_found_in_any_case(shown)


def remove_chips(shown: Any) -> None:
    for _ in range(shown.locator(".lk-chip").count()):
        shown.locator(".lk-chip [title=remove]").first.click()
    shown.locator("[role=status]:not(.lk-result):text-is('')").first.wait_for(state="attached")


def a_record_is_read_and_filters(shown: Any) -> None:
    """Its fields are a tree, its headers are there; a value of it is a filter by a click."""
    shown.locator(".lk-headers summary").click()
    order = int(shown.locator(".lk-tree > .lk-leaf:has(b:text-is('id')) span").inner_text())
    assert shown.locator(".lk-headers dd").inner_text() == f"t{order}"
    remove_chips(shown)
    shown.locator(".lk-row").nth(2).click()
    customer = shown.locator(".lk-tree details:has(> summary b:text-is('customer'))")
    city = customer.locator(".lk-leaf:has(b:text-is('city'))")
    city.wait_for()
    name = city.locator("span").inner_text()
    mark = shown.locator(".lk-row.lk-here")
    row = read_row(mark)
    city.get_by_label(f"only {name}", exact=True).click()
    picked(shown, 24)
    assert read_row(mark) == row  # the record stays open, and marked
    assert mark.get_attribute("data-n") == "1"
    shown.get_by_label("the older record").click()
    shown.locator(".lk-row.lk-here[data-n='2']").wait_for()
    shown.get_by_label("the newer record").click()
    shown.locator(".lk-row.lk-here[data-n='1']").wait_for()
    shown.locator(".lk-chip [title='turn it around']").click()
    shown.locator(".lk-detail :text('not among the picked')").wait_for()
    assert mark.count() == 0
    picked(shown, 24)
    other = {'"Wien"': "Graz", '"Graz"': "Wien"}[name]
    shown.locator(f".lk-row .lk-cell:text-is('{other}')").first.wait_for()
    assert shown.locator(f".lk-row .lk-cell:text-is({name})").count() == 0
    remove_chips(shown)
    assert read_row(mark) == row


def read_row(row: Any) -> str:
    """Return a row's text, once the kernel has answered with its cells."""
    row.locator(".lk-cell").nth(2).wait_for()
    return str(row.inner_text())


def a_text_is_found_in_any_case(shown: Any) -> None:
    for text, count in (("WIEN", 24), ("oPe", 12)):  # "oPe" among these
        shown.locator(".lk-find").fill(text)
        shown.locator(".lk-find").press("Enter")
        picked(shown, count)
    remove_chips(shown)
