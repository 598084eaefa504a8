"""A real JupyterLab on a free port, and its notebooks in a real browser.

All browser tests of a worker share one server and one browser: to start both takes longer than most
of these tests. A test has a folder, kernels, settings and a page of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from socket import socket
from typing import Any

import nbformat
import pytest

from labkit.stack.state import State
from support.chrome import chromium
from support.waiting import until

# as `python -m jupyterlab`, without the second that a grammar of jsonschema costs
JUPYTERLAB = (
    "from labkit.charts.jsonschema_import import import_jsonschema; import_jsonschema();"
    " from jupyterlab.labapp import main; main()"
)
SLOW_MS = 90_000  # the machines of CI are small


@dataclass(frozen=True)
class Server:
    """A JupyterLab that answers.

    Attributes
    ----------
    root, home : Path
        What it shows, and where its settings are.
    folder : str
        Below `root`: where a test has its notebooks.
    """

    port: int
    token: str
    root: Path
    home: Path
    folder: str = ""

    @property
    def notebooks(self) -> Path:
        return self.root / self.folder

    def page(self, notebook: str) -> str:
        """Return the address of a notebook, in a workspace of its own."""
        place = f"{self.folder}/{notebook}" if self.folder else notebook
        return f"http://127.0.0.1:{self.port}/lab/workspaces/test/tree/{place}?reset&token={self.token}"

    def begin(self) -> None:
        """Have JupyterLab's own settings, and kernels with labkit's variables of now."""
        shutil.rmtree(self.home / "settings", ignore_errors=True)
        quiet = self.home / "settings/@jupyterlab/apputils-extension"
        _write_json(
            quiet / "notification.jupyterlab-settings",
            {"fetchNews": "false", "checkForUpdates": False},
        )
        variables = {name: os.environ[name] for name in os.environ if name.startswith("LABKIT_")}
        kernel = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        _write_json(
            self.home / "path/kernels/python3/kernel.json",
            {"argv": kernel, "display_name": "Python 3", "language": "python", "env": variables},
        )

    def end_kernels(self) -> None:
        for kernel in json.loads(self.ask("kernels")):
            self.ask(f"kernels/{kernel['id']}", method="DELETE")

    def ask(self, path: str, method: str = "GET") -> bytes:
        """Ask the server's interface for programs."""
        login = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/{path}", headers=login, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """What opens pages; what JupyterLab consists of is loaded once for all of them."""
    with chromium() as running:
        yield running.new_context()


@pytest.fixture(scope="session")
def jupyter(
    browser: Any, stack: State, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("jupyter")
    with jupyter_lab(home / "notebooks", home) as running:
        yield running


@pytest.fixture
def server(jupyter: Server, tmp_path: Path) -> Iterator[Server]:
    """JupyterLab with an empty folder for the test."""
    own = replace(jupyter, folder=tmp_path.name)
    own.notebooks.mkdir()
    own.begin()
    yield own
    own.end_kernels()


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """A page whose console has no error at the end."""
    with browser_page(browser) as shown:
        yield shown
        assert shown.errors == []


def write_notebook(path: Path, cells: Sequence[str]) -> None:
    """Write a notebook of code cells, in a folder that is made where it is missing."""
    path.parent.mkdir(exist_ok=True)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(notebook, path)


@contextmanager
def browser_page(browser: Any, *, height: int = 1100) -> Iterator[Any]:
    """Open a page of a browser; ``page.errors`` is what its console complained of."""
    page = browser.new_page()
    page.set_viewport_size({"width": 1300, "height": height})
    page.set_default_timeout(SLOW_MS)
    page.errors = []

    def note(message: Any) -> None:
        if message.type == "error":
            page.errors.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    page.close()


def open_notebook(page: Any, server: Server, notebook: str) -> None:
    """Show a notebook in a page, and wait until its kernel is ready."""
    page.goto(server.page(notebook))
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.wait_for_selector("#jp-main-statusbar >> text=| Idle")


def run_cell(page: Any, place: int) -> None:
    """Run the code cell at a place, counted from 0."""
    page.click(f".jp-Notebook .jp-CodeCell >> nth={place} >> .cm-content")
    page.keyboard.press("Shift+Enter")


def run_all_cells(page: Any) -> None:
    """Run all cells by JupyterLab's menu."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()


@contextmanager
def jupyter_lab(root: Path, home: Path) -> Iterator[Server]:
    """Run JupyterLab on `root`, with settings of its own under `home`."""
    root.mkdir(exist_ok=True)
    with closing(socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(port, secrets.token_hex(16), root, home)
    server.begin()
    folders = {
        f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")
    }
    settings = {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_PATH": str(home / "path"),
    }
    command = [
        sys.executable, "-c", JUPYTERLAB, "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--port-retries=0",
        f"--notebook-dir={root}", "--allow-root",
    ]  # fmt: skip
    environment = {**os.environ, **folders, **settings, "JUPYTER_TOKEN": server.token}
    with (home / "jupyter.log").open("w") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait(process, server, home / "jupyter.log")
            yield server
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], server: Server, log: Path) -> None:
    def answers() -> bool:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            return bool(server.ask(""))
        except OSError:
            return False

    until(answers, f"JupyterLab's answer (its log is {log})", 120)
