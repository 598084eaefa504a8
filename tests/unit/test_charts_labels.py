"""Texts that mean something to Vega, its tooltips or JavaScript are drawn as themselves.

See BEHAVIOURS 40, 67, 68.
"""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import charts
from labkit.charts import show
from labkit.charts.labels import LONGEST, all_shown, shorten_label, tooltips
from labkit.groups.lag import Judged

OWNED = (
    "constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString", "valueOf",
    "__proto__", "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__", "if", "length", "name",
    "image", "title", "undefined", "null", "datum", "item", "__count__", "return",
)  # fmt: skip
START = datetime(2024, 1, 1, tzinfo=UTC)
Chart = Callable[[pa.Table, str], Any]


def records(nicks: tuple[str, ...] = OWNED, **columns: list[Any]) -> pa.Table:
    """Two records of each nick, each addressing the next one."""
    twice = [*nicks, *nicks]
    after = [*nicks[1:], nicks[0]] * 2
    return pa.table({
        "_timestamp": pa.array([START + timedelta(minutes=n) for n in range(len(twice))], pa.timestamp("ms", "UTC")),
        "nick": twice,
        "message": [f"{nick}: hello" for nick in after],
        "number": list(range(len(twice))),
        **columns,
    })  # fmt: skip


def lag_frame(names: tuple[str, ...]) -> pd.DataFrame:
    rows = [
        {
            "group": name, "topic": "irc", "partition": 0, "at": START + timedelta(seconds=second), "lag": second,
            "behind_ms": 1, "committed": second, "log_end": 2 * second,
        }
        for name in names for second in range(3)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame.assign(at=pd.to_datetime(frame["at"], utc=True))


def judged(names: tuple[str, ...]) -> pd.DataFrame:
    colours = {
        "topic": "irc",
        "partition": 0,
        "verdict": "ok",
        "doing": "reading",
        "why": "",
        "lag": 1,
        "seconds": 2.0,
    }
    fields = {*Judged.__slots__}  # type: ignore[attr-defined]
    assert {*colours, "group", "member"} <= fields
    return pd.DataFrame([{**colours, "group": name, "member": name} for name in names])


ALL: dict[str, Chart] = {
    "top": lambda data, field: charts.top(data, field, 40),
    "timeline": lambda data, field: charts.timeline(data, field, top=20),
    "timeline with a table": lambda data, field: charts.timeline(data, field, top=20, table=True),
    "distribution": lambda data, field: charts.distribution(data, "number", field, top=20),
    "matrix": lambda data, field: charts.conversation(data, sender=field, top=40, form="matrix"),
    "graph": lambda data, field: charts.conversation(data, sender=field, top=20, form="graph"),
    "lag": lambda data, field: charts.lag(
        lag_frame(tuple(dict.fromkeys(data[field].to_pylist()))[:12])
    ),
    "board": lambda data, field: charts.board(
        judged(tuple(dict.fromkeys(data[field].to_pylist())))
    ),
}


def drawn(chart: Any) -> set[str]:
    """Return the texts of a chart's picture."""
    out = io.StringIO()
    chart.save(out, format="svg")
    return {unescape(text) for text in re.findall(r">([^<>]+)</text>", out.getvalue())}


def words(texts: set[str]) -> set[str]:
    """Return labels without what charts append: ``name: 2 records``."""
    return {re.sub(r"(: .*|\u2060)$", "", text) for text in texts}


@pytest.mark.parametrize("kind", ALL)
def test_every_name_that_javascript_owns_is_drawn_as_itself(kind: str) -> None:
    """BEHAVIOURS 68: as a value that a chart groups, sorts, colours and facets by."""
    nicks = OWNED[:12] if kind == "lag" else OWNED[:20] if kind != "top" else OWNED
    assert {*nicks} <= words(drawn(ALL[kind](records(nicks), "nick")))


@pytest.mark.parametrize("name", OWNED)
def test_a_field_of_such_a_name_is_charted(name: str) -> None:
    """BEHAVIOURS 67, 68: the field's name stands at the axis and in the title.

    No tooltip takes it for its own.
    """
    chart = charts.top(records(("a", "b"), **{name: ["x", "y", "x", "y"]}), name)
    texts = drawn(chart)
    assert {"x", "y"} <= texts
    assert name in words(texts)
    assert f"Records by {name}" in texts
    assert not {"image", "title", *OWNED[:12]} & {*rows_of_tooltips(chart)}


def rows_of_tooltips(chart: Any) -> Iterator[str]:
    """Yield the titles of the rows of all tooltips, out of the Vega that a notebook gets."""
    vega = show.compiled(chart.to_dict())

    def signals(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "tooltip":
                    yield from re.findall(r'"signal": "((?:[^"\\]|\\.)*)"', json.dumps(value))
                else:
                    yield from signals(value)
        elif isinstance(node, list):
            for value in node:
                yield from signals(value)

    tooltip_rows = [json.loads(f'"{text}"') for text in signals(vega)]
    assert tooltip_rows, "a chart without a tooltip"
    for expression in tooltip_rows:
        yield from re.findall(r'[{,] ?"((?:[^"\\]|\\.)*)": ', expression)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("name", ["image", "title"])
def test_no_tooltip_has_a_row_that_is_a_picture_or_a_heading(kind: str, name: str) -> None:
    """BEHAVIOURS 67: no row is titled ``image``.

    vega-tooltip fetches such a row, and writes it into an attribute as it is.
    """
    data = records(("a", "b"), **{name: ["x", "y", "x", "y"]})
    data = data.set_column(2, "message", pa.array(["y: hi", "x: hi", "y: hi", "x: hi"]))
    rows = [*rows_of_tooltips(ALL[kind](data, name))]
    assert rows
    assert not {"image", "title"} & {*rows}


def test_all_tooltips_are_made_in_one_place() -> None:
    """BEHAVIOURS 67: no chart passes rows of its own."""
    folder = Path(charts.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "tooltip":
                made = node.value.func if isinstance(node.value, ast.Call) else node.value
                assert isinstance(made, ast.Name), f"{path.name}:{node.value.lineno}"
                assert made.id in {"tooltips", "person"}, f"{path.name}:{node.value.lineno}"
            if isinstance(node, ast.Attribute) and node.attr == "Tooltip":
                assert path.name == "labels.py", f"{path.name}:{node.lineno}"


def test_a_field_that_is_called_as_a_count_of_labkit_has_a_row_of_its_own() -> None:
    """Two rows of one title are one, with the count in place of the value."""
    chart = charts.top(records(("a", "b"), records=["x", "y", "x", "y"]), "records")
    assert [*rows_of_tooltips(chart)][:2] == ['\\"records\\"', "records"]
    titles = [row.to_dict().get("title") for row in tooltips(("a:N", {"title": "b"}), "b:Q")]
    assert titles == ['"b"', None]


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind not in ("lag", "board")])
def test_long_texts_are_cut_and_say_so(kind: str) -> None:
    """BEHAVIOURS 40: one value of 15 MB made a chart of 45 MB."""
    nicks = (*(letter * 1_000_000 for letter in "abc"), "a" * 999_999 + "!")
    chart = ALL[kind](records(nicks), "nick")
    assert len(json.dumps(chart.to_dict())) < 300_000
    texts = drawn(chart)
    assert any("a" * 20 in text for text in texts)
    values = {
        value for name in ("value", "sender") if name in chart.data for value in chart.data[name]
    }
    assert all("(1,000,000 characters)" in value for value in values)
    assert len(values) == 4


@given(st.lists(st.text(max_size=200), max_size=30, unique=True))
@settings(deadline=None)
def test_each_value_is_called_in_its_own_way(values: list[str]) -> None:
    names = all_shown(values)
    assert len({*names}) == len(values)
    for name in names:
        assert name.strip()
        assert name.replace("\u200c", "").replace("\u200d", "").isprintable()
        assert len(name) < 12 * LONGEST


def test_what_turns_text_around_is_shown_and_what_joins_it_stays() -> None:
    """BEHAVIOURS 72: controls, C1, marks of direction, and spaces that look like others."""
    assert (
        shorten_label("a\u202eb\x1b\x9b\u200f\ufeff\xa0")
        == "a<U+202E>b␛<U+009B><U+200F><U+FEFF><U+00A0>"
    )
    assert shorten_label("👩\u200d👧") == "👩\u200d👧"
