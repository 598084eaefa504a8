"""Widgets for windows, records, lag and scratch indices, to be used with the mouse.

They are plain ipywidgets over the public API, and text in a headless run and outside a notebook. In
a notebook: ``labkit.widgets``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from labkit.checks.validation import whole_number
from labkit.decode import Spec
from labkit.lab import Lab, connect
from labkit.notebook.inspector import RecordInspector
from labkit.notebook.lag_board import LagBoard
from labkit.notebook.picker import WindowPicker
from labkit.notebook.scratch import ScratchManager
from labkit.notebook.tail import Tail
from labkit.sinks.replay import Replay
from labkit.waiting.interrupt import quiet_stop

if TYPE_CHECKING:
    from labkit.notebook.browse.widget import Browse


def pick_window(
    lab: Lab | str | None = None, topic: str | None = None, *, anew: bool = False
) -> WindowPicker:
    """Return a window picker.

    ``picker.window`` is what it picks, ``picker.code`` the line that makes the same one.

    Parameters
    ----------
    lab : Lab, optional
        Left out, as in ``pick_window("irc")``: `connect()`.
    topic : str, optional
        The topic to begin with; left out: the last that was picked from, or the first one.
    anew : bool
        Begin with all of the topic; by default with what was picked of it before, in this kernel.
    """
    lab, topic = _apart(lab, topic)
    return WindowPicker(lab or connect(), topic, anew=anew)


@quiet_stop("stopped; nothing is kept: no records are shown yet")
def browse(
    lab: Any = None,
    what: Any = None,
    *,
    decode: Spec | None = None,
    time_field: str | None = None,
    limit: int | None = None,
    view: str | os.PathLike[str] | None = None,
    where: str | None = None,
    anew: bool = False,
) -> Browse:
    """Return a browser of records.

    It has a histogram over time, fields, filters by a click, a table, and one record in full.
    The histogram shows the time that is picked: dragging over it zooms in, and to remove that filter
    zooms out. ``b.where`` is the condition that was clicked, ``b.code`` the lines that make the same records,
    ``b.replay`` and ``b.to_pandas()`` are the records.

    A text is looked for in upper and lower case alike, other than by ``w.find``; in an index's fields
    of words (``text``) by the beginning of words. Without `decode`, records of which none is JSON
    are decoded by a sample (``"auto"``).

    A field whose values disagree is text here, and chips are asked of that: ``n = '5'`` is of the
    texts and numbers written ``5``. ``w.read(where=b.where)`` asks each record by the types of its
    own values, so ``5.0`` too.

    In a notebook the newest records of a topic are there at once, while the others are still read;
    what is not all of it says so, in red. An index is looked at where it is: by aggregations, and
    pages at a point in time.

    Parameters
    ----------
    lab : Lab, optional
        Left out, as in ``browse(w)`` and ``browse("irc")``: `connect()`, where a name is looked up.
    what : str, Window, Replay, Load or index
        A text names a topic, of which the newest 100,000 records are read, or an index.
    decode : str, callable or Decoder
        As `Window.read` takes it.
    time_field : str, optional
        Of an index, the field that says when; by default ``@timestamp``, ``timestamp``, ``time`` or
        ``_kafka.timestamp``.
    limit : int, optional
        How many of the newest records at most: 100,000 of a name, 1,000,000 of a window; the widget
        can change it. Of an index: read so many documents, not the newest, where its times are
        texts or its fields cannot be counted.
    view : str or path, optional
        What ``b.view`` gave, or the path of the file that "save view" wrote: the same filters and
        columns, and without `what` the same records.
    where : str, optional
        A condition to begin with, as a filter: SQL, as `Window.read` takes it; of an index a query
        such as ``"nick:ada"``.
    anew : bool
        Begin without filters; by default with those clicked on it before, in this kernel.
    """
    from labkit.notebook.browse.widget import Browse

    lab, what = _apart(lab, what)
    count = (
        None if limit is None else whole_number(limit, "limit", "how many records at most", low=1)
    )
    return Browse(
        lab, what, decode=decode, time_field=time_field, limit=count, view=view, where=where,
        anew=anew,
    )  # fmt: skip


def tail(
    lab: Lab | str | None = None,
    topic: str | None = None,
    *,
    last: int = 20,
    rows: int = 50,
    decode: Spec | None = None,
    limit: str = "1h",
) -> Tail:
    """Return a live tail of `topic`, with pause and filter; it joins no group and commits nothing.

    It ends when its cell is run again, the kernel is interrupted, or after `limit`.

    Parameters
    ----------
    lab : Lab, optional
        Left out, as in ``tail("irc")``: `connect()`.
    last : int
        How many records to begin with; as text, it shows these.
    rows : int
        How many it shows at most, newest first.
    decode : str, callable or Decoder
        As `Window.read` takes it.
    """
    lab, topic = _apart(lab, topic)
    last = whole_number(last, "last", "how many records to begin with", low=0)
    rows = whole_number(rows, "rows", "how many records at most", low=1)
    return Tail(lab or connect(), topic or "", last=last, rows=rows, decode=decode, limit=limit)


def lag_board(
    lab: Lab | str | Iterable[str] | None = None,
    groups: str | Iterable[str] | None = None,
    *,
    every: str = "2s",
    limit: str = "1h",
    patience: str = "5.5s",
) -> LagBoard:
    """Return a board of consumer groups that refreshes: verdict, lag, rates.

    `groups` are names, or patterns such as ``"indexer.*"``; by default all. The worst come first, 40
    on a page. It ends when its cell is run again, the kernel is interrupted, or after `limit`; while
    the broker is away it looks for it again.

    Parameters
    ----------
    lab : Lab, optional
        Left out, as in ``lag_board("indexer.*")``: `connect()`.
    patience : str
        A standstill of commits is called one when it is no shorter, as in `Lab.lag`.
    """
    lab, groups = _apart(lab, groups)
    patterns = [groups] if isinstance(groups, str) else None if groups is None else list(groups)
    return LagBoard(lab or connect(), patterns, every=every, limit=limit, patience=patience)


def inspect(replay: Replay, row: int | None = None) -> RecordInspector:
    """Return a look into one record of a Replay: its value as a tree, headers, bytes.

    ``.row`` is which one. Left out, `row` is the one looked at before in these records, in this
    kernel, or the first.
    """
    return RecordInspector(replay, row)


def scratch(lab: Lab | None = None) -> ScratchManager:
    """Return your scratch indices to be looked at, kept for longer, or deleted.

    It does nothing by itself.
    """
    return ScratchManager(lab or connect())


def _apart(lab: Any, what: Any) -> tuple[Lab | None, Any]:
    """Return the lab and what to show: what is given alone is no lab, as in ``browse("irc")``."""
    return (None, lab) if what is None and not isinstance(lab, Lab) else (lab, what)
