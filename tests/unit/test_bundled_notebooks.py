"""`labkit new` copies the notebooks that come with labkit, and overwrites nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.cli import main
from labkit.notebook import bundled

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def test_the_template_is_copied_and_nothing_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "question.ipynb"
    assert main(["new", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    assert target.read_bytes() == (NOTEBOOKS / bundled.TEMPLATE).read_bytes()
    target.write_text("mine")
    assert main(["new", str(target)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert target.read_text() == "mine"
    link = tmp_path / "link.ipynb"
    link.symlink_to(tmp_path / "nowhere")
    assert main(["new", str(link)]) == 2
    assert not (tmp_path / "nowhere").exists()


def test_the_course_is_copied_whole_or_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
    assert main(["new", "--course", str(tmp_path / "a" / "b")]) == 0
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == names
    copy = tmp_path / "c"
    copy.mkdir()
    (copy / names[-1]).write_text("mine")
    assert main(["new", "--course", str(copy)]) == 2
    assert [path.name for path in copy.iterdir()] == [names[-1]]
    (tmp_path / "file").write_text("")
    assert main(["new", "--course", str(tmp_path / "file")]) == 2
    assert "cannot be made" in capsys.readouterr().err
