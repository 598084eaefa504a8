"""The main job: `labkit demo`, and what the servers say of it, asked without labkit."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import nbformat
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from labkit.errors import ServerError, UsageError
from labkit.notebook import rerun
from labkit.stack.state import State
from support.stack import LABKIT

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def demo(stack: State) -> dict[str, Any]:
    command = [*LABKIT, "demo", "--json"]
    env = {**os.environ, "LABKIT_STATE": str(stack.root)}
    result = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def _documents(state: State, index: str) -> int:
    settings = state.credentials("admin")["elasticsearch"]
    request = urllib.request.Request(f"{settings['hosts'][0]}/{index}/_count")
    request.add_header(
        "Authorization",
        "Basic " + base64.b64encode(":".join(settings["basic_auth"]).encode()).decode(),
    )
    with urllib.request.urlopen(request) as answer:
        return int(json.load(answer)["count"])


def _records(state: State, topic: str) -> int:
    admin = AdminClient(state.credentials("admin")["kafka"])
    partitions = [TopicPartition(topic, number) for number in range(4)]

    def total(spec: OffsetSpec) -> int:
        ends = admin.list_offsets(dict.fromkeys(partitions, spec))
        return sum(future.result().offset for future in ends.values())

    return total(OffsetSpec.latest()) - total(OffsetSpec.earliest())


@pytest.mark.timeout(300)
def test_the_counts_agree_as_the_servers_tell_them(demo: dict[str, Any], stack: State) -> None:
    records = _records(stack, "irc")
    assert records >= 120_000
    assert demo["records_replayed"] == demo["records_in_topic"] == records
    assert _documents(stack, "scratch-*-demo") == records
    assert _documents(stack, "irc") == records
    assert demo["receipt_complete"] is True
    assert demo["live_records"] >= 7


def test_the_production_group_is_where_it_was(demo: dict[str, Any]) -> None:
    assert demo["group_before"] == demo["group_after"]
    assert sum(demo["group_after"].values()) > 0


def test_the_executed_notebook_holds_its_pictures_and_no_error(demo: dict[str, Any]) -> None:
    cells = nbformat.read(ROOT / demo["notebook"], as_version=4).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 6
    assert not [output for output in outputs if output.output_type == "error"]
    assert "untouched: members and committed offsets" in str(outputs)
    assert (ROOT / demo["page"]).stat().st_size > 100_000


def test_no_password_is_in_the_executed_notebook(demo: dict[str, Any], stack: State) -> None:
    text = (ROOT / demo["notebook"]).read_text() + (ROOT / demo["page"]).read_text()
    assert not [role for role, password in stack.passwords.items() if password in text]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stripped_and_has_parameters(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
    assert [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]


def _notebook(path: Path, *sources: str) -> Path:
    first = nbformat.v4.new_code_cell("name = 1", metadata={"tags": ["parameters"]})
    cells = [first, *map(nbformat.v4.new_code_cell, sources)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


def test_a_failing_run_keeps_its_output_and_names_it(tmp_path: Path) -> None:
    path = _notebook(tmp_path / "fails.ipynb", "print('so far', name)", "1 / 0")
    with pytest.raises(ServerError, match="ZeroDivisionError") as raised:
        rerun.run(path, {"name": "7"}, folder=tmp_path / "runs")
    assert "so far 7" in raised.value.run.notebook.read_text()
    assert str(raised.value.run.notebook) in str(raised.value)
    assert "ZeroDivisionError" in raised.value.run.html.read_text()


def test_a_secret_is_refused_as_a_parameter(tmp_path: Path) -> None:
    path = _notebook(tmp_path / "any.ipynb")
    with pytest.raises(UsageError, match="looks like a secret"):
        rerun.run(path, {"es_password": "x"}, folder=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_papermill_itself_runs_it_as_well(tmp_path: Path) -> None:
    path = _notebook(tmp_path / "plain.ipynb", "print('name is', name)")
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(path),
        str(tmp_path / "out.ipynb"),
        "-p",
        "name",
        "5",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert "name is 5" in (tmp_path / "out.ipynb").read_text()
