"""A progress bar where somebody looks, in a terminal or a notebook.

One last line in a run without a terminal or a notebook.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import psutil

from labkit.text.counts import number_of
from labkit.waiting.notice import waiting_for

_RUNNERS = ("papermill", "nbconvert", "jupyter-execute")


@dataclass(frozen=True)
class Bar:
    """Called with the records and bytes that have come.

    `wait` takes what is waited for meanwhile.
    """

    advance: Callable[[int, int], None]
    show_wait: Callable[[str], None]

    def __call__(self, records: int, size: int) -> None:
        self.advance(records, size)

    def wait(self, text: str) -> None:
        """Show why nothing comes; the next records take it away."""
        self.show_wait(waiting_for("Kafka", text))


@contextmanager
def bar(label: str, total: int, show: bool | None = None) -> Iterator[Bar | None]:
    """Yield what takes records and bytes as they come, or None when it would not be seen.

    Parameters
    ----------
    label : str
    total : int
        Records expected, at most.
    show : bool, optional
        By default a bar in a terminal or a notebook, one line at the end of a notebook run without
        a watcher, and nothing elsewhere.
    """
    watched = sys.stderr.isatty() or (in_notebook() and not _in_voila())
    if not total or show is False or not (show or watched):
        yield None
    elif in_notebook() and headless():
        yield from _last_line(label)
    else:
        yield from _bar(label, total)


def _bar(label: str, total: int) -> Iterator[Bar]:
    from tqdm import tqdm

    options: dict[str, Any] = {"total": total, "desc": label, "unit": " records"}
    options |= {"unit_scale": True, "mininterval": 0.5, "leave": False}
    with (_notebook_bar if in_notebook() else tqdm)(**options) as shown:
        size, began = 0, time.monotonic()

        def advance(records: int, count: int) -> None:
            nonlocal size
            size += count
            speed = size / max(0.001, time.monotonic() - began)
            shown.set_postfix_str(f"{size / 1e6:,.0f} MB, {speed / 1e6:,.0f} MB/s", refresh=False)
            shown.update(records)

        yield Bar(advance, shown.set_postfix_str)
        # records outside the asked time do not come: a notebook's bar would stay, in red
        shown.total = shown.n


@contextmanager
def _notebook_bar(**options: Any) -> Iterator[Any]:
    """Yield a bar of which a saved notebook keeps nothing.

    JupyterLab said "model not found" in the place of each, when it was opened again.
    """
    from IPython.display import display
    from tqdm.notebook import tqdm as notebook_tqdm

    with notebook_tqdm(display=False, **options) as shown:
        place = display(shown.container, display_id=True)
        try:
            yield shown
        finally:
            place.update({"text/html": ""}, raw=True)


@contextmanager
def file_bar() -> Iterator[Callable[[Any], None] | None]:
    """Yield a function that takes an extractor's `Progress` in a file.

    It is None when standard error is not a terminal.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(unit="B", unit_scale=True, leave=False) as shown:

        def tell(one: Any) -> None:
            name = os.path.basename(one.path)
            if shown.desc != f"{name}: ":
                shown.reset()
                shown.total = one.size_bytes
                shown.set_description(name, refresh=False)
            shown.n = one.read_bytes
            shown.set_postfix_str(f"{one.lines:,} lines")

        yield tell


def _last_line(label: str) -> Iterator[Bar]:
    records, size, began = 0, 0, time.monotonic()

    def advance(count: int, more: int) -> None:
        nonlocal records, size
        records, size = records + count, size + more

    yield Bar(advance, partial(print, flush=True))
    seconds = time.monotonic() - began
    if records:  # none was read where the cache had all of them
        print(
            f"{label}: {number_of(records, 'record')}, {size / 1e6:,.1f} MB in {seconds:.1f} s",
            flush=True,
        )


def in_notebook() -> bool:
    """Tell whether this is a Jupyter kernel."""
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"


def _in_voila() -> bool:
    """Tell whether this becomes a page of Voilà.

    Voilà runs all cells first, so it cannot show a bar that is gone by then. It tells the kernel
    what the server is, as CGI does (voila/handler.py).
    """
    return os.environ.get("SERVER_SOFTWARE", "").startswith("voila/")


def headless() -> bool:
    """Tell whether the notebook runs unattended: `labkit run` says so.

    Papermill does not, but starts the kernel.
    """
    return bool(os.environ.get("LABKIT_HEADLESS")) or _is_started_by_runner()


@cache
def _is_started_by_runner() -> bool:
    try:
        parent = psutil.Process().parent()
        words = parent.cmdline()[:4] if parent else []
    except psutil.Error:
        return False
    return any(os.path.basename(word) in _RUNNERS for word in words)
