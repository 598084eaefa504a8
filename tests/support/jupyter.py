"""A real JupyterLab on a free port."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket

from support.waiting import until


@dataclass(frozen=True)
class Server:
    """A JupyterLab that answers."""

    port: int
    token: str

    def page(self, notebook: str) -> str:
        """Return the address of a notebook, in a workspace of its own."""
        return f"http://127.0.0.1:{self.port}/lab/workspaces/test/tree/{notebook}?reset&token={self.token}"


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
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--port-retries=0",
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
