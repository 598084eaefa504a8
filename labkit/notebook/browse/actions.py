"""What the buttons of a browser of records do.

Each does its work in full, and says where the result is. A button can take a minute, so its work is
done in a thread: other clicks are answered meanwhile. The kernel's loop tells the page what came of
it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labkit.errors import UsageError
from labkit.text.counts import number_of

if TYPE_CHECKING:
    import pandas as pd

    from labkit.notebook.browse.widget import Browse
    from labkit.window import Window

Work = Callable[[], str]
Chosen = Callable[[], pa.Table]  # the picked records, newest first
_FRAME = "df"
_kept: dict[str, int] = {}  # names of the frames that a button made, and which object it was


def prepare(browse: Browse, action: str) -> Work:
    """Return an action's work on what is picked now.

    What is clicked while it runs does not change it.

    Raises
    ------
    UsageError
        When there is no such action here.
    """
    if action not in offer_actions(browse):
        raise UsageError(
            f"there is no button {action!r} here; the buttons are {', '.join(offer_actions(browse))}"
        )
    if action == "view":
        return partial(_save_view, browse.name, browse.view)
    browse.records.choose(browse.filters)
    if action == "df":
        return partial(_keep_frame, browse.records.picked_rows(), browse.source.zone)
    if action == "scratch" and browse.window is not None:
        return partial(_load_scratch, browse, browse.window, browse.where)
    return partial(
        _write_file,
        browse,
        browse.records.picked_rows(),
        browse.records.count,
        browse.where,
        action,
    )


def offer_actions(browse: Browse) -> list[str]:
    """Return the actions: only a window can be loaded into a scratch index."""
    return ["df", "csv", "parquet", *(["scratch"] if browse.window is not None else []), "view"]


def _keep_frame(chosen: Chosen, zone: tzinfo) -> str:
    from labkit.tables.dataframe import in_zone, records_frame

    frame = in_zone(records_frame(chosen()), zone)
    name = _assign(frame)
    return f"{name}: a DataFrame of {len(frame):,} rows and {len(frame.columns):,} columns"


def _assign(frame: pd.DataFrame) -> str:
    """Give the frame a name in the notebook: one that is free, or that a button gave before."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None:
        raise UsageError(
            "there is no notebook to keep a DataFrame in", hint="b.to_pandas() returns it"
        )
    names, number, name = shell.user_ns, 1, _FRAME
    while name in names and _kept.get(name) != id(names[name]):
        number += 1
        name = f"{_FRAME}{number}"
    names[name] = frame
    _kept[name] = id(frame)
    return name


def _write_file(browse: Browse, chosen: Chosen, count: int, where: Any, extension: str) -> str:
    path = _free_path(browse.name, extension)
    index = browse.source.index
    if index is None:
        replay = browse.read_all() if where is None else browse.read_all().where(where)
        (replay.to_csv if extension == "csv" else replay.to_parquet)(path)
    elif browse.source.documents is not None:
        count = (index.to_csv if extension == "csv" else index.to_parquet)(path, where).read
    else:  # a sample
        from labkit.tables.dataframe import to_pandas

        frame = to_pandas(chosen())
        count = len(frame)
        frame.to_csv(path, index=False) if extension == "csv" else frame.to_parquet(path)
    return f"{path}: {number_of(count, 'record')}, {path.stat().st_size:,} bytes"


def _load_scratch(browse: Browse, window: Window, where: str | None) -> str:
    load = window.to_scratch(
        f"{browse.name}-{_stamp()}", where=where, decode=browse.decode, progress=False
    )
    counts = ", ".join(f"{count:,} {name}" for name, count in load.counts.items() if count)
    shortfall = "" if load.complete else "; NOT complete: see its rejects and the receipt"
    name = load.index.name
    return f'{name}: {counts or "no documents"}{shortfall}; lab.index("{name}") reads it for 2 days'


def _save_view(name: str, view: str) -> str:
    path = _free_path(f"{name}-view", "json")
    path.write_text(view, encoding="utf-8")
    return f'{path}: widgets.browse(view="{path.name}") opens it; a papermill parameter may have its text'


def _free_path(name: str, extension: str) -> Path:
    """Return a path in the notebook's folder that no file has."""
    path, number = Path.cwd() / f"{name}-{_stamp()}.{extension}", 1
    while path.exists():
        number += 1
        path = path.with_name(f"{name}-{_stamp()}-{number}.{extension}")
    return path


def file_name(text: str) -> str:
    """Return a topic's or an index's name as a file and an index may have it in theirs."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "records"


def _stamp() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
