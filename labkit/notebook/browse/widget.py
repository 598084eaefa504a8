"""The browser of records in a notebook: what the page asks is answered here, by `Records`."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anywidget
import pyarrow as pa
import traitlets

from labkit.decode import Spec
from labkit.errors import LabkitError, UsageError
from labkit.lab import Lab
from labkit.notebook.browse import actions
from labkit.notebook.browse.detail import describe
from labkit.notebook.browse.documents import Documents
from labkit.notebook.browse.filters import Filter, span_of, time_ends
from labkit.notebook.browse.growth import Growth
from labkit.notebook.browse.records import Records
from labkit.notebook.browse.source import (
    MOST,
    MOST_OF_TOPIC,
    Source,
    code_of_record,
    open_source,
)
from labkit.notebook.browse.view import parse_view, read_view
from labkit.notebook.widget_base import keep_pick, read_pick
from labkit.sinks.replay import Replay
from labkit.times import parse_span
from labkit.waiting.progress import headless, in_notebook
from labkit.window import Window

_PAGE = Path(__file__).parent / "page"
# joined, one module: none imports another, so a notebook needs no address to load it from
_PARTS = (
    "elements", "clock", "page", "bar", "chips", "timeline", "fields", "columns", "table", "record",
    "actions", "browse",
)  # fmt: skip
SHOWN_FIELDS = 9  # columns of the table to begin with


class BrowseView(anywidget.AnyWidget):  # type: ignore[misc]
    """The page's side: requests come as messages, answers go back with their number."""

    _esm = "\n".join((_PAGE / f"{part}.js").read_text(encoding="utf-8") for part in _PARTS)
    _css = _PAGE / "browse.css"
    filters = traitlets.List().tag(sync=True)
    columns = traitlets.List().tag(sync=True)
    by = traitlets.Unicode("").tag(sync=True)
    widths = traitlets.Dict().tag(sync=True)
    about = traitlets.Dict().tag(sync=True)


class Browse(Growth):
    """Records with a histogram over time, fields, filters and a table.

    ``.where`` is the condition that was clicked.

    Attributes
    ----------
    source : Source
    records : Records
    box : BrowseView
    """

    def __init__(
        self,
        lab: Lab | None,
        what: Any,
        *,
        decode: Spec | None,
        time_field: str | None,
        limit: int | None,
        view: str | os.PathLike[str] | None,
        where: str | None = None,
        anew: bool = False,
        at_once: bool | None = None,
    ) -> None:
        saved = None if view is None else read_view(view)
        if what is None and saved is not None:
            lab, what, options = parse_view(lab, saved)
            decode = decode or options[0]
            time_field = time_field or options[1]
            limit = limit or options[2]
        self.decode, self._limit = decode, limit
        self._at_once = in_notebook() and not headless() if at_once is None else at_once
        self.source: Source = open_source(
            lab, what, decode=decode, time_field=time_field, limit=limit, at_once=self._at_once
        )
        self.decode = self.source.decode
        self.records: Records | Documents = self.source.look()
        if self.source.within is not None:
            self._limit = limit or (MOST_OF_TOPIC if isinstance(what, str) else MOST)
        self.box = BrowseView(columns=self._first_columns())
        self.box.about = self._about()
        self._answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "query": self._query, "page": self._page, "values": self._of_field, "detail": self._detail,
            "follow": self._follow, "span": self._span, "change": self._change, "open": self._open,
        }  # fmt: skip
        self._working: set[asyncio.Task[None]] = set()
        # of the page's last query: rows are counted in these until it knows of more
        self._page_records = self.records
        self._page_filters: list[Filter] = []
        self._turn = threading.RLock()
        self.box.on_msg(self._on_message)
        self._fill()
        key = ("browse", self.source.title if self.window is None else self.window.topic)
        if saved is not None:
            self._take(saved)
        elif where is None and not anew and (before := read_pick(*key)) is not None:
            self._begin_with(before)
        if where is not None:
            self._add_condition(where)
        self.box.observe(lambda _: self._on_change(key), ["filters", "columns", "by", "widths"])

    def _first_columns(self) -> list[str]:
        """Return the columns to begin with: plain fields, or the first of the record's place."""
        plain = [
            field.label
            for field in self.records.fields
            if field.kind not in ("object", "list", "map") and not self.records.tells_time(field)
        ]
        own = [label for label in plain if not label.startswith(("_", "labkit."))]
        return own[:SHOWN_FIELDS] or plain[:2]

    def _begin_with(self, before: str) -> None:
        """Take what was clicked before; where these records cannot have it, say so."""
        columns = self.box.columns
        try:
            self._take(read_view(before))
            note = "filters and columns as clicked before"
        except LabkitError as error:
            note = f"the filters clicked before do not fit: {error.message}"
        self.box.about = {**self.box.about, "kept": note, "columns": columns}

    def _add_condition(self, where: str) -> None:
        if not isinstance(where, str) or not where.strip():
            raise UsageError(
                f"where must be a condition, not {where!r}",
                hint='such as where="nick = \'ada\'", and of an index where="nick:ada"',
            )
        chips = [*self.box.filters, {"op": "sql", "value": where, "on": True, "negated": False}]
        self._choose([Filter.of(chip) for chip in chips])
        self.box.filters = chips

    def _on_change(self, key: tuple[str, ...]) -> None:
        keep_pick(self.view, *key)
        if "kept" in self.box.about:
            self.box.about = self._about()
        self._renew_picture()

    def _take(self, raw: dict[str, Any]) -> None:
        """Show a view; while older records are read, wait for them where it needs their fields."""
        try:
            filters = [dict(chip) for chip in raw["filters"]]
            if self._filling is not None and not {*raw["columns"], raw["by"]} <= {
                *self._labels,
                "",
            }:
                self.wait()
            self._choose([Filter.of(chip) for chip in filters])
            labels = self._labels
            known_columns = [name for name in raw["columns"] if name in labels]
            self.box.columns = known_columns or self.box.columns
            self.box.by = raw["by"] if raw["by"] in labels else ""
            self.box.widths = {str(name): int(px) for name, px in raw.get("widths", {}).items()}
            self.box.filters = filters
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(
                f"view is not what a browser's .view gave: {error}", hint="pass b.view"
            ) from error

    @property
    def _labels(self) -> set[str]:
        return {field.label for field in self.records.fields}

    def _choose(self, filters: list[Filter]) -> None:
        try:
            self.records.choose(filters)
        except UsageError:
            if self._filling is None:
                raise
            self.wait()  # older records may have the fields that are missing
            self.records.choose(filters)

    # what was picked -------------------------------------------------------------------------------------

    @property
    def filters(self) -> list[Filter]:
        """The chips."""
        return [Filter.of(chip) for chip in self.box.filters]

    @property
    def where(self) -> Any:
        """The condition of all chips that are switched on; None without one.

        A text in SQL, as `Window.read` takes it; of an index a query, as `Index.to_pandas` does.
        """
        if any(one.op == "text" and not one.field for one in self.filters):
            self.wait()  # a text is looked for in every field that a record has
        return self.condition

    @property
    def condition(self) -> Any:
        """What `where` is by the records that are here."""
        return self.records.condition_of(self.filters)

    @property
    def window(self) -> Window | None:
        """The window that is looked at; None for an index or a Replay."""
        return self.source.window

    @property
    def name(self) -> str:
        """The topic's or the index's name, as a file may have it in its own."""
        return actions.file_name(self.source.name)

    @property
    def replay(self) -> Replay:
        """The records that fulfil the chips, as a Replay.

        Raises
        ------
        UsageError
            Where documents of an index are looked at.
        """
        where = self.where
        return self.read_all() if where is None else self.read_all().where(where)

    def read_all(self) -> Replay:
        """Return the records whatever the chips, as a Replay.

        Those that were followed are read again, as one window.

        Raises
        ------
        UsageError
            Where documents of an index are looked at.
        """
        self.wait()
        source = self.source
        if source.replay is None and source.window is not None:
            replay = source.window.read(decode=self.decode, progress=False, guard=False)
            source = replace(source, replay=replay)
            if self.source.window is source.window:  # it did not grow meanwhile
                self.source = source
        if source.replay is None:
            raise UsageError(
                "documents of an index are not a Replay", hint="b.to_pandas() has the documents"
            )
        return source.replay

    def to_pandas(self) -> Any:
        """Return the rows that fulfil the chips, newest first."""
        from labkit.tables.dataframe import in_zone, records_frame

        self.wait()
        self.records.choose(self.filters)
        return in_zone(records_frame(self.records.picked_rows()()), self.source.zone)

    @property
    def code(self) -> str:
        """The lines that make the same records."""
        return self.source.code(self.condition)

    def picture(self) -> str:
        """Return the histogram, the newest rows and the chips."""
        from labkit.notebook.browse.picture import picture

        with self._turn:
            return picture(self)

    def text(self) -> str:
        """Return what is looked at, and the lines that make it."""
        self.records.choose(self.filters)
        count, total = self.records.count, self.records.there
        return (
            f"{self.source.title}: {self.source.said}; {count:,} of {total:,} picked\n{self.code}"
        )

    # answers ---------------------------------------------------------------------------------------------

    def _about(self) -> dict[str, Any]:
        fields = [
            {
                "label": field.label,
                "path": list(field.path),
                "kind": field.kind,
                "present": field.present,
                "items": field.items,
            }
            for field in self.records.fields
        ]
        about = {"title": self.source.title, "said": self.source.said, "whole": self.source.whole}
        return {
            **about,
            "fields": fields,
            "time": self._about_time(),
            "zone": str(self.source.zone),
            "actions": actions.offer_actions(self),
            "live": self.window is not None,
            "part": self._about_part(),
            "language": "Lucene" if isinstance(self.records, Documents) else "SQL",
            "finds": self.records.finds,
            "model": self.box.model_id,
        }

    def _about_part(self) -> dict[str, Any] | None:
        """Return which part of a window is looked at, and what there is to choose from."""
        within, part = self.source.within, self.window
        if within is None or part is None:
            return None
        partitions = [[one.partition for one in window.plan.ranges] for window in (within, part)]
        last = min(self._limit or MOST, len(within))
        return {"last": last, "partitions": partitions[0], "chosen": partitions[1]}

    def _on_message(self, _widget: Any, asked: Any, _buffers: Any) -> None:
        number = asked.get("number") if isinstance(asked, dict) else None
        try:
            if asked["kind"] == "do":
                self._begin(str(asked["action"]), number)
                return
            with self._turn:
                answer = self._answers[asked["kind"]](asked)
        except LabkitError as error:
            answer = {"error": error.message, "hint": error.hint or ""}
        except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
            answer = {"error": f"the page asked for what cannot be: {error}", "hint": ""}
        self.box.send({**answer, "number": number})

    def _begin(self, action: str, number: Any) -> None:
        """Do a button's work in a thread, once all records are here.

        Its answer goes out from the loop.
        """
        work = None if self._filling else actions.prepare(self, action)

        async def finish() -> None:
            nonlocal work
            try:
                if work is None:
                    if self._filling is not None:
                        await asyncio.to_thread(self._filling.result)
                    self._adopt()
                    work = actions.prepare(self, action)
                answer = {"done": await asyncio.to_thread(work)}
            except LabkitError as error:
                answer = {"error": error.message, "hint": error.hint or ""}
            # no code awaits this task: an error not shown here would be lost
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}", "hint": ""}
            self.box.send({**answer, "number": number})

        task = asyncio.get_running_loop().create_task(finish())
        self._working.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._working.discard)

    def _query(self, asked: dict[str, Any]) -> dict[str, Any]:
        filters = [Filter.of(chip) for chip in asked["filters"]]
        self.records.choose(filters)
        self._page_records, self._page_filters = self.records, filters
        by = asked.get("by") or ""
        path = self.records.field(by).path if by else ()
        return {
            "places": [self.records.place_of(one) if one else None for one in asked.get("ids", ())],
            "count": self.records.count,
            "there": self.records.there,
            "histogram": self.records.histogram(path, span_of(filters, self.records.time_path)),
            "code": self.source.code(self.records.condition),
        }

    def _pick_again(self, records: Records | Documents) -> Records | Documents:
        """Return records with the page's pick: a picture, or code in a cell, may have another."""
        records.choose(self._page_filters)
        return records

    def _page(self, asked: dict[str, Any]) -> dict[str, Any]:
        lines = self._pick_again(self._page_records).list_lines(
            int(asked["start"]), int(asked["count"]), [str(name) for name in asked["columns"]]
        )
        return {"start": int(asked["start"]), "lines": lines}

    def _of_field(self, asked: dict[str, Any]) -> dict[str, Any]:
        return self._pick_again(self.records).values(str(asked["label"]))

    def _detail(self, asked: dict[str, Any]) -> dict[str, Any]:
        answer = self._describe(asked)
        return answer | {"code": code_of_record(self.source, dict(answer["facts"]))}

    def _describe(self, asked: dict[str, Any]) -> dict[str, Any]:
        records = self._pick_again(self._page_records)
        if isinstance(records, Documents):
            return records.describe(place=asked.get("place"), record_id=asked.get("id"))
        if asked.get("id"):
            return describe(records, records.row_of(asked["id"]))
        place = int(asked["place"])
        if not 0 <= place < len(records.rows):
            raise UsageError(f"there is no row {place}: there are {len(records.rows):,}")
        return describe(records, int(records.rows[place]))

    def _span(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the filter of a time that was typed."""
        if not self.records.time_path:
            raise UsageError(
                "these documents have no time", hint="time_field= names the field that says when"
            )
        ends = time_ends(*parse_span(str(asked["text"]), self.source.zone, now=self.records.newest))
        return {"filter": self._about_time() | {"value": ends}}

    def _about_time(self) -> dict[str, Any]:
        return {
            "op": "between",
            "field": list(self.records.time_path),
            "told_as": self.records.told_as,
        }

    def _change(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return a chip with another value."""
        raw = dict(asked["filter"])
        changed = Filter.of(raw).change(str(asked["text"]), self.source.zone, self.records.newest)
        return {"filter": raw | {"value": changed.value}}

    @property
    def view(self) -> str:
        """Return what is looked at and the pick as JSON: a papermill parameter.

        ``widgets.browse(view=…)`` takes it.
        """
        pick = {
            "filters": self.box.filters,
            "columns": self.box.columns,
            "by": self.box.by,
            "widths": self.box.widths,
        }
        options = {"time_field": self.source.time_field or None, "limit": self._limit}
        decode = {"decode": self.decode} if isinstance(self.decode, str) else {}
        return json.dumps({**self.source.named, **options, **decode, **pick})
