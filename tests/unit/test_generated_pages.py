"""What the site's pages take from the code.

They take chart options from docstrings, and figures from what the benches wrote.
"""

from __future__ import annotations

import inspect
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from labkit import charts

ROOT = Path(__file__).parents[2]


def load(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(path.parent))
    spec = spec_from_file_location(path.stem, path)
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    return module


def test_every_option_of_a_chart_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    page = load(ROOT / "docs/generated_pages.py", monkeypatch).describe_charts()
    sections = dict(part.split("\n", 1) for part in page.split("\n## ")[1:])
    assert set(sections) == set(charts.__all__)
    for name, section in sections.items():
        rows = {line.split("`")[1]: line for line in section.splitlines() if line.startswith("| `")}
        assert set(rows) == set(inspect.signature(getattr(charts, name)).parameters)
        assert [
            option for option, line in rows.items() if line.rstrip(" |").endswith(("`", "needed"))
        ] == []


def test_the_page_shows_what_the_bench_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pages = load(ROOT / "docs/generated_pages.py", monkeypatch)
    figures = load(ROOT / "tests/bench/figures.py", monkeypatch)
    monkeypatch.setattr(pages, "FIGURES", tmp_path)
    assert "make bench" in pages.describe_figures()
    figures.keep(
        "read",
        "1,000 records",
        3,
        [{"way": "labkit: read()", "records/s": 431_234.5, "seconds": 2.318}],
        folder=tmp_path,
    )
    shown = pages.describe_figures()
    assert "## 1,000 records" in shown
    assert "| way | records/s | seconds |" in shown
    assert "| labkit: read() | 431,234 | 2.32 |" in shown
