"""`labkit run` keeps all of a run together, whatever becomes of it.

It keeps parameters, windows, receipts, versions and output.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit.cli import main
from labkit.errors import ServerError
from labkit.lab import Lab
from labkit.notebook import bundled, rerun, runs
from labkit.replay import read_log
from labkit.window import Window
from support.stack import LABKIT
from support.waiting import until

Notebook = Callable[..., Path]
READ = "import labkit\nw = labkit.Window.from_json(window)\nr = w.read(decode='raw')\nprint(len(r), 'records')"


@pytest.fixture
def notebook(tmp_path: Path) -> Notebook:
    def write(name: str, *sources: str) -> Path:
        first = nbformat.v4.new_code_cell("window, n = None, 1", metadata={"tags": ["parameters"]})
        kernel = {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        }
        cells = [first, *map(nbformat.v4.new_code_cell, sources)]
        path = tmp_path / f"{name}.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
        return path

    return write


@pytest.fixture
def window(lab: Lab, make_topic: Callable[..., str], produce: Callable[..., None]) -> Window:
    topic = make_topic(2)
    for partition in (0, 1):
        produce(topic, [b'{"n":%d}' % number for number in range(150)], partition=partition)
    return lab.window(topic, last=200)


def saved(run: runs.Run) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run.folder / "run.json").read_text())
    return record


def test_a_run_is_a_folder_with_all_of_it_and_a_rerun_has_the_same_records(
    notebook: Notebook, window: Window, tmp_path: Path
) -> None:
    path = notebook("both", READ, "w.to_parquet('out.parquet')\nnext(w.batches())\nr.receipt")
    arguments = {"window": window.to_json(), "n": 3}
    first = rerun.run(path, arguments, folder=tmp_path / "runs")
    assert sorted(path.name for path in first.folder.iterdir()) == [
        "notebook.ipynb",
        "page.html",
        "run.json",
    ]
    assert "200 records" in first.notebook.read_text()
    assert "200 records" in first.html.read_text()
    record = saved(first)
    assert (record["outcome"], record["error"], record["notebook"]) == ("ok", None, "both.ipynb")
    assert record["parameters"] == {"window": window.to_json(), "n": 3}
    assert record["elapsed_s"] > 0
    assert {"python", "labkit", "pyarrow", "confluent-kafka", "pandas"} <= set(record["versions"])
    assert [read_entry["how"] for read_entry in record["reads"]] == [
        "read",
        "to_parquet",
        "batches",
    ]
    assert all(
        read_entry["window"] == json.loads(window.to_json()) for read_entry in record["reads"]
    )
    hashes = [read_entry["receipt"]["hash"] for read_entry in record["reads"][:2]]
    assert set(hashes) == {window.read().receipt.hash}
    assert record["reads"][2]["receipt"]["complete"] is False  # the notebook took one batch only
    second = rerun.run(path, arguments, folder=tmp_path / "runs")
    assert second.folder != first.folder
    assert [read_entry["receipt"]["hash"] for read_entry in saved(second)["reads"][:2]] == hashes


def test_a_parameter_with_an_annotation_is_not_called_unknown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """papermill does not understand `q: int | None = None`, and said so beside the right value."""
    first = nbformat.v4.new_code_cell("q: int | None = None", metadata={"tags": ["parameters"]})
    cells = [first, nbformat.v4.new_code_cell("print('q is', q)")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    run = rerun.run(tmp_path / "a.ipynb", {"q": 5}, folder=tmp_path / "runs")
    assert "q is 5" in run.notebook.read_text()
    assert not [record for record in caplog.records if record.name == "papermill"]


def test_the_kernel_s_sockets_are_not_beside_the_notebook_and_nobody_else_s(
    notebook: Notebook, tmp_path: Path
) -> None:
    look = "import os\nfrom ipykernel.kernelapp import IPKernelApp\nprint(os.listdir(), IPKernelApp.instance().ip)"
    run = rerun.run(notebook("sockets", look), folder=tmp_path / "runs")
    said = nbformat.read(run.notebook, as_version=4).cells[-1].outputs[0].text
    assert "['" in said
    assert "kernel-ipc" not in said
    prefix = Path(said.split()[-1])
    assert prefix.name.startswith("labkit-")
    assert prefix.parent.stat().st_mode & 0o077 == 0
    assert not list(prefix.parent.glob(f"{prefix.name}-*"))  # gone with the kernel


def test_the_first_kernel_of_a_machine_starts(
    notebook: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jupyter's runtime folder is not there before anything of Jupyter has run."""
    # a long path has no room for sockets: they would be TCP
    with tempfile.TemporaryDirectory() as short:
        folder = Path(short, "share", "runtime")
        monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
        assert (
            saved(rerun.run(notebook("first", "n + 1"), folder=tmp_path / "runs"))["outcome"]
            == "ok"
        )
        assert folder.stat().st_mode & 0o077 == 0


def test_a_kernel_that_does_not_start_is_one_error_and_a_failed_run(
    notebook: Notebook,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "ipykernel_launcher.py").write_text("raise SystemExit('broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert main(["run", str(notebook("none", "n")), "--output", str(tmp_path / "runs")]) == 1
    assert "the kernel did not start" in capsys.readouterr().err
    (row,) = runs.list_runs(tmp_path / "runs").to_dict("records")
    assert row["outcome"] == "failed"


@pytest.mark.parametrize(
    ("last", "error"),
    [
        ("raise ValueError('no such nick\\nsecond line')", "ValueError: no such nick"),
        (
            "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
            "the kernel died; was there enough memory?",
        ),
    ],
    ids=["raises", "is killed"],
)
def test_a_failing_run_keeps_its_output_and_its_receipts_so_far(
    last: str, error: str, notebook: Notebook, window: Window, tmp_path: Path
) -> None:
    path = notebook("fails", READ, last, "print('never')")
    with pytest.raises(ServerError) as raised:
        rerun.run(path, {"window": window.to_json()}, folder=tmp_path / "runs")
    run = raised.value.run
    assert error in str(raised.value)
    assert str(run.notebook) in str(raised.value)
    for page in (run.notebook, run.html):
        assert "200 records" in page.read_text()
    record = saved(run)
    assert (record["outcome"], record["error"]) == ("failed", error)
    assert [read_entry["receipt"]["read"] for read_entry in record["reads"]] == [200]
    assert not run.receipts.exists()


@pytest.mark.chaos
def test_an_interrupted_run_says_so_and_keeps_its_receipts(
    notebook: Notebook, window: Window, tmp_path: Path
) -> None:
    path, folder = notebook("slow", READ, "import time\ntime.sleep(120)"), tmp_path / "runs"
    command = [*LABKIT, "run", str(path), "--output", str(folder)]
    running = subprocess.Popen(
        [*command, "-p", "window", window.to_json()], stderr=subprocess.DEVNULL
    )
    try:
        until(
            lambda: [row["records"] for row in runs.list_runs(folder).to_dict("records")] == [200],
            "the read",
        )
        (row,) = runs.list_runs(folder).to_dict("records")
        assert row["outcome"] == "unfinished"  # while it runs, or once it was killed
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    finally:
        running.kill()
    (row,) = runs.list_runs(folder).to_dict("records")
    assert (row["outcome"], row["records"]) == ("interrupted", 200)


def test_papermill_itself_lists_what_is_read_when_it_is_told_where(
    notebook: Notebook, window: Window, tmp_path: Path
) -> None:
    path, out, reads = notebook("plain", READ), tmp_path / "out.ipynb", tmp_path / "reads.jsonl"
    arguments = ["-p", "window", window.to_json()]
    command = [sys.executable, "-m", "papermill", str(path), str(out), *arguments]
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        timeout=120,
        env={**os.environ, "LABKIT_RECEIPTS": str(reads)},
    )
    assert "200 records" in out.read_text()
    assert [entry["receipt"]["window"] for entry in read_log.entries(reads)] == [window.plan.hash]


def test_a_sweep_runs_all_and_one_that_fails_stops_none(
    notebook: Notebook, window: Window, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = notebook("swept", READ + "\n1 / n")
    values = tmp_path / "n.txt"
    folder = str(tmp_path / "runs")
    values.write_text("# n\n1\n0\n2\n")
    arguments = ["-p", "n", f"@{values}", "-p", "window", window.to_json()]
    assert main(["run", str(path), *arguments, "--output", folder]) == 1
    out, err = capsys.readouterr()
    assert "3 runs of swept.ipynb: 3 n of" in err
    assert "2 ok, 1 failed, 0 not run" in err
    assert [line.split(":")[0] for line in out.splitlines()] == [
        "[1/3] n=1",
        "[2/3] n=0",
        "[3/3] n=2",
    ]
    assert "ZeroDivisionError" in out.splitlines()[1]
    assert main(["runs", "--output", folder, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["outcome"] for row in rows] == ["ok", "failed", "ok"]
    assert [row["records"] for row in rows] == [200, 200, 200]
    assert main(["runs", rows[0]["run"], rows[2]["run"], "--output", folder, "--json"]) == 3
    facts = {row["what"]: row["same"] for row in json.loads(capsys.readouterr().out)}
    assert [fact for fact, same in facts.items() if not same] == ["parameter n"]
    assert main(["run", str(path), *arguments, "-p", "api_key", "x", "--output", folder]) == 2
    assert len(list(Path(folder).iterdir())) == 3


def test_the_template_runs_as_it_is_copied_also_on_a_topic_without_a_record(
    window: Window, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    mine = bundled.new(tmp_path / "mine.ipynb")
    result = rerun.run(mine, {"window": window.to_json(), "by": "n"}, folder=tmp_path / "runs")
    assert "image/png" in result.notebook.read_text()
    assert [read_entry["receipt"]["hash"] for read_entry in result.record["reads"]] == [
        window.read().receipt.hash
    ]
    empty = rerun.run(mine, {"topic": make_topic()}, folder=tmp_path / "runs")
    assert "no records" in empty.html.read_text()


WRITE_DOWN_INTERRUPTS = """
import pathlib, signal
kernel = get_ipython().kernel
kernel.pre_handler_hook = kernel.post_handler_hook = lambda: None  # they change the handler between cells
signal.signal(signal.SIGINT, lambda *_: pathlib.Path("interrupted").touch())
"""


def test_a_kernel_whose_cells_are_done_is_not_interrupted(
    notebook: Notebook, tmp_path: Path
) -> None:
    """A kernel that still answers prints no error at its end.

    It printed `[IPKernelApp] ERROR | KeyboardInterrupt caught in kernel.`
    """
    rerun.run(notebook("quiet", WRITE_DOWN_INTERRUPTS), folder=tmp_path / "runs")
    assert not (tmp_path / "interrupted").exists()


def test_an_interrupted_run_lets_its_cell_end(notebook: Notebook, tmp_path: Path) -> None:
    cell = "import pathlib, time\npathlib.Path('began').touch()\n"
    cell += "try:\n    time.sleep(120)\nfinally:\n    pathlib.Path('ended').touch()"
    command = [*LABKIT, "run", str(notebook("slow", cell)), "--output", str(tmp_path / "runs")]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until((tmp_path / "began").exists, "the cell at work")
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    finally:
        running.kill()
    assert (tmp_path / "ended").exists()
