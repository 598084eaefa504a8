"""A progress bar where somebody looks: a notebook or a terminal; nothing in pipes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(label: str, total: int, show: bool | None = None) -> Iterator[Callable[[int, int], None] | None]:
    """Yield a function that takes records and bytes as they come, or None when nobody looks."""
    if show is None:
        show = sys.stderr.isatty() or (in_notebook() and not headless())
    if not show or not total:
        yield None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=label, unit=" records", unit_scale=True, mininterval=0.5, leave=False) as shown:
        size = 0

        def advance(records: int, count: int) -> None:
            nonlocal size
            size += count
            shown.set_postfix_str(f"{size / 1e6:.0f} MB", refresh=False)
            shown.update(records)

        yield advance


def in_notebook() -> bool:
    """Tell whether this is a Jupyter kernel."""
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"


def headless() -> bool:
    """Tell whether a notebook is run by `labkit run`: papermill itself sets no mark."""
    return bool(os.environ.get("LABKIT_HEADLESS"))
