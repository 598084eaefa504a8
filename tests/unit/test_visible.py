"""Whatever is in a text, it stays in its place: on a terminal, in HTML, in a cell.

BEHAVIOURS 39, 40, 43, 69, 72.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
from contextlib import redirect_stdout
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import labkit
from labkit.cli import terminal
from labkit.decode import cells
from labkit.errors import LabkitError
from labkit.groups.guard import Change
from labkit.groups.verdicts import GroupVerdict
from labkit.text import html
from labkit.text.visible import LONGEST, text_table, visible

ATTACKS = (
    "\x1b[2J\x1b]0;owned\x07", "\x9b31m", "\x9d0;owned\x9c", "\u202eevil\u202c", "\u2066evil", "a\nb",
    "a\r\nb", "a\x0bb", "a\x85b", "a\u2028b", "\x08\x08\x7f", "\ufeff",
    "\u200f", "\ud800", "\x00", "</td><script>window.hacked=1</script>",
)  # fmt: skip
CHARS = st.sampled_from("\x1b\x9b\n\r\x7f\u202e\u2028<>&\"'$\\,\t")
TEXTS = st.text(st.characters() | CHARS, max_size=300)
# a frame holds no half of a pair
WHOLE = st.text(st.characters(exclude_categories=["Cs"]) | CHARS, max_size=300)
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]"
)


@given(TEXTS)
@example("".join(ATTACKS))
def test_any_text_is_one_line_that_controls_nothing(text: str) -> None:
    shown = visible(text)
    assert len(shown.splitlines()) <= 1
    assert not CONTROLS.search(shown)
    shown.encode()  # half a surrogate pair would end what writes it
    # JSON stays JSON
    assert json.loads(f'"{visible(json.dumps(text, ensure_ascii=False)[1:-1])}"') == text


@given(TEXTS, st.one_of(st.none(), st.binary(max_size=300), TEXTS))
@settings(deadline=None)
def test_any_text_stays_in_its_cell_of_html(name: str, value: Any) -> None:
    shown = html.show_html(html.table([name, "b"], [[cells.html_cell(value), "end"]]))
    assert len(re.findall(r"<td[ >]", shown)) == 2
    assert len(re.findall(r"<th[ >]", shown)) == 2
    tags = set(re.findall(r"<(/?\w+)", shown))
    assert {tag.removeprefix("/") for tag in tags} <= {
        "div",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "i",
    }
    assert not CONTROLS.search(shown)


def piped(frame: pd.DataFrame) -> str:
    with redirect_stdout(io.StringIO()) as pipe:
        terminal.print_table(frame, argparse.Namespace(json=False))
    return pipe.getvalue().removesuffix("\n")


@given(WHOLE, WHOLE)
@settings(deadline=None)
def test_any_text_stays_in_its_row_of_a_table(name: str, value: str) -> None:
    for table in (
        text_table([name], [[value], ["end"]]),
        piped(pd.DataFrame({name: [value, "end"]})),
    ):
        lines = table.split("\n")
        assert len(lines) == len(table.splitlines()) == 3
        assert lines[-1].strip() == "end"
        assert not CONTROLS.search(table.replace("\n", ""))


def test_what_a_click_opens_stays_in_its_cell() -> None:
    hostile = "</summary></details></td><script>window.hacked=1</script>"
    values: list[Any] = [hostile * 90, hostile.encode() * 90, {hostile: [hostile] * 90}]
    for value in values:
        shown = cells.folded_cell(value)
        assert re.findall(r"<(\w+)", shown) == ["details", "summary", "div"]
        assert len(re.findall("window.hacked=1", shown)) > 2


def test_null_empty_and_the_text_null_look_different() -> None:
    """BEHAVIOURS 39: in every cell, of texts and of bytes, as text and as HTML."""
    values: list[Any] = [None, "", "null", '"null"', " ", "x"]
    for render in (cells.cell, cells.html_cell):
        assert len({render(value) for value in values}) == len(values)
        raw = [value if value is None else value.encode() for value in values]
        assert [render(value) for value in raw] == [render(value) for value in values]
    assert [cells.cell(value, null="-") for value in (None, "-", "null")] == ["-", '"-"', "null"]
    assert cells.cell(b"\xff\x00") == "base64:/wA="
    assert cells.cell("base64:/wA=") == '"base64:/wA="'


def test_maps_are_objects_and_bytes_are_base64() -> None:
    """BEHAVIOURS 40."""
    kind = pa.map_(pa.string(), pa.binary())
    assert cells.cell([("a", b"\xff"), ("b", None)], kind) == '{"a": "/w==", "b": null}'
    frame = pd.DataFrame({"m": pd.array([[("a", b"x")]], pd.ArrowDtype(kind))})
    assert list(cells.rows(frame)) == [('{"a": "eA=="}',)]


@pytest.mark.parametrize(
    "value", ["x" * 15_000_000, b"x" * 15_000_000, b"\xff" * 15_000_000, "é" * 15_000_000]
)
def test_a_long_value_is_cut_and_says_so(value: Any) -> None:
    """BEHAVIOURS 40."""
    shown = cells.cell(value)
    assert len(shown) < 2 * LONGEST
    assert "15,000,000" in shown
    assert cells.cell("é".encode() * 1_000).startswith("é" * LONGEST)


@pytest.mark.parametrize("attack", ATTACKS)
def test_one_group_is_one_line(attack: str, capsys: pytest.CaptureFixture[str]) -> None:
    """BEHAVIOURS 43, 72: one group is one line in every view.

    Its name stands in verdicts, changes, errors and tables.

    It has ids and hosts in verdicts, changes, errors and tables.
    """
    verdict = GroupVerdict(group=attack, verdict="ok", why=attack, partitions=1, lag=0)
    error = LabkitError(f"no group {attack}", hint=attack.replace("\n", " "))
    lines = [str(verdict), str(Change(attack, "members", attack, attack)), error.message]
    whole = attack.encode("utf-8", "replace").decode()
    terminal.print_table(
        pd.DataFrame({"group": [whole], "host": [whole]}), argparse.Namespace(json=False)
    )
    lines += capsys.readouterr().out.rstrip("\n").split("\n")[1:]
    assert len(lines) == 4
    for line in lines:
        assert len(line.splitlines()) == 1, line
        assert not CONTROLS.search(line)
    terminal.out(attack)
    terminal.say(attack)
    written = "".join(capsys.readouterr())
    assert not CONTROLS.search(written)
    terminal.print_table(pd.DataFrame({"group": [whole]}), argparse.Namespace(json=True))
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text)[0]["group"] == whole


def test_only_one_module_of_the_commands_prints() -> None:
    """BEHAVIOURS 72: what goes to a terminal goes through `labkit.cli.terminal`."""
    for path in (Path(labkit.__file__).parent / "cli").glob("*.py"):
        if path.name == "terminal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) != "print", f"{path.name}:{node.lineno}"
                assert not re.search(
                    r"sys\.std(out|err)(\.buffer)?\.write", ast.unparse(node.func)
                ), path.name


def test_every_display_shows_records_as_they_are() -> None:
    """BEHAVIOURS 69: MathJax leaves them alone, for each is made by `html.view`.

    Tested in a browser, too.
    """
    count = 0
    for path in Path(labkit.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name == "_repr_html_":
                count += 1
                assert [ast.unparse(one) for one in node.decorator_list] == ["html.view"], (
                    f"{path}:{node.lineno}"
                )
            assert not (isinstance(node, ast.Attribute) and node.attr == "to_html"), (
                f"{path}: html.table makes tables"
            )
    assert count >= 9


def test_html_of_a_display_keeps_what_it_was() -> None:
    class Shown:
        @html.view
        def _repr_html_(self) -> str:
            return "<p>\na\u202eb$5</p>"

    shown = Shown()._repr_html_()
    assert shown == f'<div class="{html.AS_IT_IS}"><p>\na\\u202eb$5</p></div>'
    assert unescape(shown) == shown
