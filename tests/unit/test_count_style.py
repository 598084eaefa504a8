"""`make style`: what .ci/count_style.py counts, on code written for it."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / ".ci" / "count_style.py"))

CLEAR = '''
def name_topics(topics: list[str]) -> list[str]:
    """Return names."""
    return [topic.lower() for topic in topics]
'''
UNCLEAR = (
    "found = [one for one in range(3)]\n"
    "for told, topic in []:\n"
    "    pass\n"
    "rows = [\n    [cell for cell in row]\n    for row in found\n]\n"
    f"text = '{'x' * 100}'\n"
    "def _told():\n    pass\n"
    "def long_function():\n" + "    text = ''\n" * 51
)


def counts(code: str, folder: Path) -> dict[str, int]:
    path = folder / "module.py"
    path.write_text(code, encoding="utf-8")
    figures: dict[str, Any] = SCRIPT["count_style"]([path])[0]
    return {name: len(figure.places) for name, figure in figures.items()}


@pytest.mark.parametrize(
    ("code", "expected"),
    [(CLEAR, (0, 0, 0, 0, 0)), (UNCLEAR, (3, 1, 1, 1, 1))],
    ids=["clear", "unclear"],
)
def test_it_counts_what_is_slow_to_read(
    code: str, expected: tuple[int, ...], tmp_path: Path
) -> None:
    assert tuple(counts(code, tmp_path).values()) == expected


@pytest.mark.parametrize(("code", "status"), [(CLEAR, 0), (UNCLEAR, 1)], ids=["clear", "unclear"])
def test_it_fails_above_a_limit(
    code: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "module.py"
    path.write_text(code, encoding="utf-8")
    assert SCRIPT["main"]([str(path)]) == status
    assert "vague names" in capsys.readouterr().out
