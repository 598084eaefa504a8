"""Run a notebook again with other parameters, through papermill.

Keep its output, also when it fails.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit.charts.jsonschema_import import import_jsonschema
from labkit.errors import LabkitError, ServerError, UsageError
from labkit.notebook import parameter_types
from labkit.notebook.kernel import kernel_options
from labkit.notebook.runs import Run, RunOutcome
from labkit.replay import read_log
from labkit.text.masking import has_login

import_jsonschema()  # before nbformat and papermill, which do

_SECRET = re.compile(
    r"passw|pass_?phrase|(^|_)pwd$|secret|token|api_?key|private_?key|credential|bearer|authori[sz]ation|cookie"
    r"|(^|_)(auth|pass|pw|jwt|dsn|connection_string)$"
    r"|(access|account|shared|signing|encryption|auth|priv|ssh|master)_?key",
    re.IGNORECASE,
)


def run(
    notebook: str | os.PathLike[str],
    parameters: Mapping[str, Any] | None = None,
    *,
    folder: str | os.PathLike[str] = "runs",
    progress: bool = False,
) -> Run:
    """Execute `notebook`, and keep what it made in a new folder in `folder`.

    That is its output, a page of it and the record of the run.

    Parameters
    ----------
    notebook : path
    parameters : mapping
        For the cell tagged ``parameters``; types stay what they are. Paths, times, Windows and
        numpy's numbers will do.
    folder : path
        Made when it is missing.

    Raises
    ------
    UsageError
        For a notebook that is not there, a parameter that it does not have, or one that looks like
        a secret: parameters are saved in the output.
    ServerError
        When a cell fails; the output up to it is kept and named, and so are the receipts of what
        was read.
    """
    source, target, values = Path(notebook), Path(folder), parameters or {}
    values = {name: parameter_types.plain(name, value) for name, value in values.items()}
    check(source, values)
    try:
        new_run = Run.begin(target, source, values)
    except OSError as error:
        raise UsageError(
            f"{target} cannot be made: {error.strerror}", hint="choose another --output"
        ) from error
    failure = _execute_recorded(new_run, source, values, progress)
    if failure is not None:
        raise ServerError(
            f"{source.name} failed: {failure}",
            hint=f"its output up to there is in {new_run.notebook}",
            run=new_run,
        )
    return new_run


def type_parameters(notebook: Path, runs: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return the parameters of each run, given as texts.

    They get the types of the notebook's defaults.
    """
    parameters = parameter_types.read_declared(
        parameter_types.read_notebook(notebook), notebook.name
    )
    return parameter_types.from_texts(parameters, runs)


def import_libraries() -> None:
    """Import what a run needs; a thread can do it ahead of one."""
    import nbconvert
    import papermill  # noqa: F401

    _ = nbconvert.HTMLExporter  # imported when it is asked for


def check(source: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse other files, parameters the notebook lacks, and those that look like secrets."""
    declared = parameter_types.read_declared(parameter_types.read_notebook(source), source.name)
    for name, value in parameters.items():
        if _SECRET.search(name):
            raise UsageError(
                f"parameter {name!r} looks like a secret by its name",
                hint="put it in a profile; parameters are saved",
            )
        if _holds_secret(value):
            raise UsageError(
                f"the value of parameter {name!r} looks like a secret",
                hint="put it in a profile; parameters are saved. A condition on a field of such a name "
                "is taken as: password IN ('…')",
            )
    parameter_types.check_names(declared, parameters, source.name)


def _holds_secret(value: Any) -> bool:
    """Tell whether a value has a name that only secrets have, or an address with a login, in it."""
    if isinstance(value, Mapping):
        return any(
            _SECRET.search(str(name)) or _holds_secret(inner) for name, inner in value.items()
        )
    if isinstance(value, list | tuple):
        return any(map(_holds_secret, value))
    return isinstance(value, str) and has_login(value)


def _execute_recorded(
    done: Run, source: Path, given: Mapping[str, Any], progress: bool
) -> str | None:
    """Execute, and write down how it ended, however that is; return what failed."""
    began, outcome, failure = time.monotonic(), RunOutcome.INTERRUPTED, None
    try:
        failure = _execute(source, done, given, progress)
        outcome = RunOutcome.OK if failure is None else RunOutcome.FAILED
    except Exception as error:
        outcome = RunOutcome.FAILED
        failure = error.message if isinstance(error, LabkitError) else repr(error)
        raise
    finally:
        done.end(outcome, failure, time.monotonic() - began)
    _page(done)
    return failure


def _execute(source: Path, done: Run, given: Mapping[str, Any], progress: bool) -> str | None:
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillException, PapermillExecutionError

    # the kernel has to know that the run is unattended, which papermill does not say, and where to list what
    # is read
    with (
        _without_warnings(),
        _variables(LABKIT_HEADLESS="1", **{read_log.VARIABLE: str(done.receipts.absolute())}),
    ):
        try:
            papermill.execute_notebook(
                str(source), str(done.notebook), dict(given), kernel_name="python3", language=_language(source),
                cwd=str(source.parent),
                progress_bar=progress, log_output=False, **kernel_options(),
            )  # fmt: skip
        except PapermillExecutionError as error:
            return f"{error.ename}: {error.evalue.splitlines()[0] if error.evalue else ''}"
        except DeadKernelError:  # papermill has saved what was there after the last cell
            return "the kernel died; was there enough memory?"
        except RuntimeError as error:  # how jupyter_client says that a kernel ended or is silent
            raise LabkitError(
                f"the kernel did not start: {error}",
                hint=f"`{sys.executable} -m ipykernel_launcher` should run",
            ) from error
        except PapermillException as error:
            raise LabkitError(
                f"papermill cannot run {source.name}: {error}", hint="is it a Python notebook?"
            ) from error
    return None


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Let papermill warn of nothing: it calls a parameter with an annotation unknown."""
    logger = logging.getLogger("papermill")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _language(source: Path) -> str | None:
    """Return Python for a notebook that names no language, else None.

    Notebooks that a program wrote often name none.
    """
    import nbformat

    metadata = nbformat.read(source, as_version=4).metadata
    language = metadata.get("kernelspec", {}).get("language") or metadata.get(
        "language_info", {}
    ).get("name")
    return None if language else "python"


_one_at_a_time = threading.Lock()


@contextmanager
def _variables(**given: str) -> Iterator[None]:
    """Set environment variables, which the kernel inherits.

    They are the process's, so one run at a time has them.
    """
    with _one_at_a_time:
        before = {name: os.environ.get(name) for name in given}
        os.environ.update(given)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


# A page is a picture of the run: nothing in it runs, and it asks no server for anything. The
# notebook has the rest.
_POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; font-src data:; '
    "style-src 'unsafe-inline'\">"
)


def _page(done: Run) -> None:
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(embed_images=True)
    page, _ = exporter.from_filename(str(done.notebook))
    head, end, body = page.partition("</head>")
    # nbconvert's: libraries from other servers
    head = re.sub(r"<script\b.*?</script>", "", head, flags=re.DOTALL)
    done.html.write_text(
        head.replace("<head>", f"<head>{_POLICY}", 1) + end + body, encoding="utf-8"
    )
