"""Run a notebook again with other parameters, through papermill; keep its output, also when it fails."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labkit.errors import LabkitError, ServerError, UsageError

_SECRET = re.compile(r"password|secret|token|api_?key", re.IGNORECASE)


@dataclass(frozen=True)
class Run:
    """One executed notebook: the notebook with its output, and the same as a page."""

    notebook: Path
    html: Path


def run(
    notebook: str | os.PathLike[str],
    parameters: Mapping[str, Any] | None = None,
    *,
    folder: str | os.PathLike[str] = "runs",
    progress: bool = False,
) -> Run:
    """Execute `notebook` and write its output, and a page of it, to `folder`.

    Parameters
    ----------
    notebook : path
    parameters : mapping
        For the cell tagged ``parameters``. Texts that read as JSON numbers, booleans or null become such.
    folder : path
        Made when it is missing.

    Raises
    ------
    UsageError
        For a notebook that is not there, or a parameter that looks like a secret: parameters are saved in the output.
    ServerError
        When a cell fails; the output up to it is kept and named.
    """
    source, target = Path(notebook), Path(folder)
    if not source.is_file() or source.suffix != ".ipynb":
        raise UsageError(f"{source} is not a notebook", hint="give the path of an .ipynb file")
    _check(source)
    given = {name: _typed(value) for name, value in (parameters or {}).items()}
    for name in given:
        if _SECRET.search(name):
            raise UsageError(
                f"parameter {name!r} looks like a secret", hint="put it in a profile; parameters are saved"
            )
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{target} cannot be made: {error.strerror}", hint="choose another --output") from error
    output = target / f"{source.stem}-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"[:-3]
    done = Run(output.with_name(output.name + ".ipynb"), output.with_name(output.name + ".html"))
    failure = _execute(source, done.notebook, given, progress)
    _page(done)
    if failure is not None:
        raise ServerError(
            f"{source.name} failed: {failure}", hint=f"its output up to there is in {done.notebook}", run=done
        )
    return done


def _execute(source: Path, output: Path, given: Mapping[str, Any], progress: bool) -> str | None:
    import papermill
    from papermill.exceptions import PapermillException, PapermillExecutionError

    with _headless():
        try:
            papermill.execute_notebook(
                str(source), str(output), dict(given), kernel_name="python3", cwd=str(source.parent),
                progress_bar=progress, log_output=False, config=_transport(),
            )  # fmt: skip
        except PapermillExecutionError as error:
            return f"{error.ename}: {error.evalue.splitlines()[0] if error.evalue else ''}"
        except PapermillException as error:
            raise LabkitError(
                f"papermill cannot run {source.name}: {error}", hint="is it a Python notebook?"
            ) from error
    return None


def _check(source: Path) -> None:
    import nbformat

    try:
        nbformat.validate(nbformat.read(source, as_version=4))
    except Exception as error:  # nbformat passes on whatever the content makes it stumble over
        raise UsageError(
            f"{source} is not a notebook inside: {type(error).__name__}", hint="open it in JupyterLab"
        ) from error


def _transport() -> Any:
    """Talk to the kernel over sockets in the user's own folder: the loopback interface is shared on a JupyterHub."""
    from jupyter_core.paths import jupyter_runtime_dir
    from traitlets.config import Config

    fits = os.name == "posix" and len(jupyter_runtime_dir()) < 55  # a socket's path has 107 bytes at most
    return Config({"KernelManager": {"transport": "ipc"}} if fits else {})


@contextmanager
def _headless() -> Iterator[None]:
    """Mark the kernel as one nobody watches: papermill itself sets no mark."""
    before = os.environ.get("LABKIT_HEADLESS")
    os.environ["LABKIT_HEADLESS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["LABKIT_HEADLESS"]
        else:
            os.environ["LABKIT_HEADLESS"] = before


def _page(done: Run) -> None:
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(embed_images=True)
    body, _ = exporter.from_filename(str(done.notebook))
    done.html.write_text(body, encoding="utf-8")


def _typed(value: Any) -> Any:
    """Return a command line's text as the number, boolean or null it reads as; objects stay text (a window's JSON)."""
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except ValueError:
        return value
    return value if isinstance(found, dict | list | str) else found
