"""The runs of notebooks in Python, on real records.

They tell the newest run of a notebook, and the window that it read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import labkit
from labkit.errors import UsageError
from labkit.lab import Lab
from labkit.notebook.runs import Run
from labkit.replay.read_log import VARIABLE
from labkit.window import Window


@pytest.fixture
def window(lab: Lab, make_topic: Callable[..., str], produce: Callable[..., None]) -> Window:
    topic = make_topic()
    produce(topic, [b'{"n": 1}', b'{"n": 2}', b'{"n": 3}'])
    return lab.window(topic)


def run_of(
    folder: Path, notebook: str, windows: list[Window], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Do what `labkit run` does around a notebook that reads these windows."""
    run = Run.begin(folder, Path(notebook), {})
    monkeypatch.setenv(VARIABLE, str(run.receipts))
    for window in windows:
        window.read()
    monkeypatch.delenv(VARIABLE)
    run.end("ok", None, 1.0)
    return run


def test_the_newest_run_gives_its_window(
    lab: Lab, window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    part = lab.window(window.topic, offsets={0: (1, 2)})
    first = run_of(tmp_path / "runs", "01-discover.ipynb", [window, part, window], monkeypatch)
    run_of(tmp_path / "runs", "02-groups.ipynb", [], monkeypatch)
    newest = run_of(tmp_path / "runs", "01-discover.ipynb", [part], monkeypatch)
    runs = labkit.runs()
    assert len(runs) == 3
    assert next(run.folder.name for run in runs) == first.folder.name
    other_window = runs.last("01-discover").window
    assert other_window.plan == part.plan
    assert other_window.read().table["n"].to_pylist() == [2]
    assert (
        runs.last("01-discover.ipynb").folder.name == newest.folder.name == runs.last().folder.name
    )
    assert [window.plan for window in runs[first.folder.name].windows] == [window.plan, part.plan]
    assert runs.to_pandas()["reads"].tolist() == [3, 0, 1]
    assert "01-discover" in repr(runs)
    assert "02-groups" in runs._repr_html_()
    with pytest.raises(UsageError, match=r"02-groups.*\(ok\) read no window"):
        runs.last("02-groups").window  # noqa: B018
    with pytest.raises(UsageError, match="no run of the notebook '01-discovr'") as caught:
        runs.last("01-discovr")
    assert "did you mean '01-discover'" in str(caught.value.hint)


def test_no_runs_are_said_and_a_damaged_one_is_listed(tmp_path: Path) -> None:
    runs = labkit.runs(tmp_path)
    assert len(runs) == 0
    assert repr(runs) == f"no runs in {tmp_path}"
    with pytest.raises(UsageError, match="has no run"):
        runs.last()
    (tmp_path / "x-1").mkdir()
    (tmp_path / "x-1" / "run.json").write_text("{")
    assert runs.to_pandas()["outcome"].tolist() == ["unreadable"]
    with pytest.raises(UsageError, match="cannot be read"):
        runs.last().window  # noqa: B018
