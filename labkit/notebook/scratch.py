"""A user's own scratch indices: their sizes and expiry, some kept for longer, others deleted.

It works only while a button is clicked, so there is nothing to stop when its cell is run again.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as ipy

from labkit.errors import LabkitError, NotFoundError
from labkit.lab import Lab
from labkit.notebook.widget_base import Shown, size
from labkit.sinks.scratch_index import ScratchIndex
from labkit.text import html
from labkit.text.counts import number_of
from labkit.text.visible import first_few
from labkit.times import iso, to_ms

_FEW = 3  # indices that are named in a sentence
_SHOWN = 100  # those that expire first; the rest is counted
_HEAD = ("index", "target", "topic", "documents", "size")


class ScratchManager(Shown):
    """A table of scratch indices with a box before each; ``.chosen`` is what is ticked.

    Deleting asks first.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._rows: list[dict[str, Any]] = []
        self._ticks: list[ipy.Checkbox] = []
        self._quiet = False
        self._asked: list[ScratchIndex] = []
        self.refresh_button = _button("refresh", "refresh", "look again", self.refresh)
        self.collect_button = _button(
            "collect expired",
            "recycle",
            "lab.gc(): delete the expired, and ad hoc groups without a member",
            self.collect,
        )
        self.delete_button = _button("delete …", "trash", "delete the ticked; asks first", self.ask)
        self.extend_button = _button("keep for", "clock-o", "from now, the ticked", self.extend)
        self.ttl = ipy.Text(value="2d", layout=ipy.Layout(width="5em"), tooltip="such as 6h or 7d")
        self.every = ipy.Checkbox(
            description="index", indent=False, layout=ipy.Layout(width="auto"), tooltip="all"
        )
        self.every.observe(lambda change: self._tick_all(change["new"]), "value")
        self.question = ipy.HTML()
        self.yes_button = _button("delete", "trash", "", self.delete, style="danger")
        self.no_button = _button("leave them", "", "", self._stop_asking)
        self.confirm = ipy.HBox([self.question, self.yes_button, self.no_button])
        self.table = ipy.GridBox(
            layout=ipy.Layout(
                grid_template_columns="auto " * 6, grid_gap="0 1.5em", width="max-content"
            )
        )
        self.said = ipy.HTML()
        extend = ipy.HBox([self.extend_button, self.ttl])
        buttons = [self.refresh_button, self.collect_button, extend, self.delete_button]
        wide = ipy.Layout(flex_flow="row wrap")
        self.box = ipy.VBox([ipy.HBox(buttons, layout=wide), self.confirm, self.table, self.said])
        self.refresh()

    # what is ticked ----------------------------------------------------------------------------------

    @property
    def _head(self) -> list[str]:
        return [*_HEAD, f"expires ({self.lab.timezone})"]

    @property
    def chosen(self) -> list[ScratchIndex]:
        """The indices that are ticked."""
        return [self.lab.scratch_index(row["index"], target=row["target"]) for row in self._ticked]

    @property
    def _ticked(self) -> list[dict[str, Any]]:
        return [row for row, tick in zip(self._rows, self._ticks, strict=True) if tick.value]

    def _tick_all(self, on: bool) -> None:
        if not self._quiet:
            for tick in self._ticks:
                tick.value = on

    # what the buttons do -----------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look at the indices anew."""
        self._stop_asking()
        self._safely(self._load)

    def collect(self) -> None:
        """Delete what has expired: `Lab.gc`."""
        gone = self._safely(self.lab.gc)
        if gone is not None:
            self._again(f"deleted {first_few(gone, _FEW)}" if gone else "nothing has expired")

    def ask(self) -> None:
        """Ask whether to delete the ticked indices."""
        self._asked = self.chosen
        documents = sum(row["documents"] for row in self._ticked)
        names = escape(first_few([index.name for index in self._asked], _FEW))
        self.question.value = (
            f"Delete <b>{names}</b> with {documents:,} documents? This cannot be undone."
        )
        self.confirm.layout.display = "" if self._asked else "none"

    def delete(self) -> None:
        """Delete what was asked about; those that are gone already are left out."""
        gone, failed = [], []
        for index in self._asked:
            try:
                index.drop()
                gone.append(index.name)
            except NotFoundError:
                continue
            except LabkitError as error:
                failed.append(error.message)
        self._stop_asking()
        self._again(
            "; ".join([f"deleted {first_few(gone, _FEW)}" if gone else "nothing deleted", *failed])
        )

    def extend(self) -> None:
        """Let the ticked indices expire later, as the box says: `ScratchIndex.extend`."""
        indices, ttl = self.chosen, self.ttl.value
        expires = self._safely(lambda: [index.extend(ttl) for index in indices])
        if expires:
            self._tick_all(False)
            until = iso(to_ms(min(expires)), self.lab.timezone)
            self._again(
                f"{first_few([index.name for index in indices], _FEW)} will expire at {until}"
            )

    def _stop_asking(self) -> None:
        self._asked = []
        self.confirm.layout.display = "none"

    # showing -----------------------------------------------------------------------------------------

    def _safely(self, work: Callable[[], Any]) -> Any:
        """Do something; a LabkitError is shown, and None returned."""
        try:
            return work()
        except LabkitError as error:
            self.said.value = f"<b>{escape(error.message)}</b><br>{escape(error.hint or '')}"
            return None

    def _again(self, said: str) -> None:
        self.refresh()
        self.said.value = escape(said)

    def _load(self) -> None:
        frame = self.lab.scratch()
        rows = frame[frame["kind"] == "index"].sort_values(["expires", "index"]).to_dict("records")
        ticked = {(row["index"], row["target"]) for row in self._ticked}
        self._rows = [{str(name): value for name, value in row.items()} for row in rows[:_SHOWN]]
        self._ticks = [
            ipy.Checkbox(
                (row["index"], row["target"]) in ticked,
                description=row["index"],  # the box's name, for who does not see the table
                indent=False,
                layout=ipy.Layout(width="auto"),
            )
            for row in self._rows
        ]
        for tick in self._ticks:
            tick.observe(lambda _: self._buttons(), "value")
        self._quiet = True  # the box of all is not ticked, those that were ticked stay so
        self.every.value = False
        self._quiet = False
        cells = [self.every, *(_cell(f"<b>{name}</b>") for name in self._head[1:])]
        for tick, row in zip(self._ticks, self._rows, strict=True):
            cells += [tick, *map(_cell, _row(row)[1:])]
        self.table.children = cells if rows else []
        self.said.value = self._summary(rows)
        if topics := int((frame["kind"] == "topic").sum()):
            self.said.value += (
                f"; {number_of(topics, 'scratch topic')} not shown: lab.scratch() lists them, "
                "lab.delete_scratch(name) deletes one"
            )
        if gone := ticked - {(row["index"], row["target"]) for row in self._rows}:
            names = escape(first_few(sorted(name for name, _ in gone), _FEW))
            self.said.value += f"; no longer there: {names}"
        self._buttons()
        self._renew_picture()

    @staticmethod
    def _summary(rows: list[dict[Any, Any]]) -> str:
        if not rows:
            return _NONE
        summary = "1 scratch index" if len(rows) == 1 else f"{len(rows):,} scratch indices"
        summary += f", {size(sum(row['bytes'] for row in rows))}"
        if (more := len(rows) - _SHOWN) > 0:
            summary += f"; {more:,} that expire later are not shown: lab.scratch() has them"
        return summary

    def _buttons(self) -> None:
        none_ticked = not any(tick.value for tick in self._ticks)
        self.delete_button.disabled = self.extend_button.disabled = none_ticked

    code = "labkit.widgets.scratch()"

    def picture(self) -> str:
        """Return the table."""
        table = html.table(self._head, [_row(row) for row in self._rows]) if self._rows else ""
        return html.show_html(f"{table}<div>{self.said.value}</div>")

    def text(self) -> str:
        """Return the indices as text."""
        frame = self.lab.scratch()
        return str(frame.to_string(index=False)) if len(frame) else _NONE


_NONE = "no scratch index: w.to_scratch(name) makes one"


def _button(
    label: str, icon: str, tip: str, work: Callable[[], None], *, style: str = ""
) -> ipy.Button:
    layout = ipy.Layout(width="auto")
    button = ipy.Button(
        description=label, icon=icon, tooltip=tip, button_style=style, layout=layout
    )
    button.on_click(lambda _: work())
    return button


def _cell(html: str) -> ipy.HTML:
    return ipy.HTML(html, layout=ipy.Layout(margin="0"))


def _row(row: dict[str, Any]) -> list[str]:
    expires = escape(str(row["expires"] or "never")[:16].replace("T", " "))
    state = f' <b style="color:{html.RED}">expired</b>' if row["expired"] else ""
    if row["shortfall"]:
        state += f' <b style="color:{html.RED}" title="{escape(row["shortfall"])}">incomplete</b>'
    names = [escape(str(row[name] or "")) for name in ("index", "target", "topic")]
    return [*names, f"{row['documents']:,}", size(row["bytes"]), expires + state]
