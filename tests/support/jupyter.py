"""A real JupyterLab on a free port, and its notebooks in a real browser."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any

import nbformat

from support.chrome import chromium
from support.waiting import until

# as `python -m jupyterlab`, without the second that a grammar of jsonschema costs
JUPYTERLAB = (
    "from labkit.jsonschema_import import import_jsonschema; import_jsonschema();"
    " from jupyterlab.labapp import main; main()"
)
SLOW_MS = 90_000  # the machines of CI are small


@dataclass(frozen=True)
class Server:
    """A JupyterLab that answers."""

    port: int
    token: str

    def page(self, notebook: str) -> str:
        """Return the address of a notebook, in a workspace of its own."""
        return f"http://127.0.0.1:{self.port}/lab/workspaces/test/tree/{notebook}?reset&token={self.token}"


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
def browser_page(*, height: int = 1100, timeout_ms: int = SLOW_MS) -> Iterator[Any]:
    """Open a page of a browser; ``page.errors`` is what its console complained of."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1300, "height": height})
        page.set_default_timeout(timeout_ms)
        page.errors = []

        def note(message: Any) -> None:
            if message.type == "error":
                page.errors.append(message.text)

        page.on("console", note)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        yield page


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
    with closing(socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(port, secrets.token_hex(16))
    folders = {
        f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")
    }
    settings = {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    command = [
        sys.executable, "-c", JUPYTERLAB, "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--port-retries=0",
        f"--notebook-dir={root}", "--allow-root",
    ]  # fmt: skip
    quiet = (
        home
        / "settings"
        / "@jupyterlab"
        / "apputils-extension"
        / "notification.jupyterlab-settings"
    )
    quiet.parent.mkdir(parents=True, exist_ok=True)
    quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')
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
            urllib.request.urlopen(
                f"http://127.0.0.1:{server.port}/api?token={server.token}", timeout=5
            ).close()
        except OSError:
            return False
        return True

    until(answers, f"JupyterLab's answer (its log is {log})", 120)
