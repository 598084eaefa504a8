"""What a browser's records become beside the cells: read on, followed, chosen anew."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from labkit.checks.validation import whole_number
from labkit.decode import Spec
from labkit.errors import UsageError
from labkit.notebook.background import Cell, Live, cell_now
from labkit.notebook.browse import follow
from labkit.notebook.browse.documents import Documents
from labkit.notebook.browse.fill import Filling, say_failed, warm_up
from labkit.notebook.browse.records import Records
from labkit.notebook.browse.source import Source, open_source, some_partitions, with_ends
from labkit.notebook.widget_base import Shown
from labkit.waiting.interrupt import quiet_stop

FILL_S = 0.25  # how often is looked whether all records are here


class Growth(Shown):
    """The part of a browser whose records change while one looks at them."""

    source: Source
    records: Records | Documents
    decode: Spec | None
    _limit: int | None
    _at_once: bool
    _live: Live | None = None
    _filling: Filling | None = None
    _cell: Cell | None = None
    _turn: Any  # a lock: what changes the records and what is asked of them, one at a time

    def _about(self) -> dict[str, Any]:
        """Return what the page needs to know of the records."""
        raise NotImplementedError

    # the other records -----------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Read the records that are not here yet, beside the cells."""
        if not self.source.begun:
            if self._at_once and isinstance(self.records, Records):
                warm_up(self.records)
            return
        self._filling = filling = Filling(self.source)

        def step() -> None:
            if filling is not self._filling:
                live.stop("others are read")
            elif filling.done:
                self._adopt()
            else:
                self.box.send({"said": filling.said})

        def end(_why: str) -> None:
            filling.stop()
            if filling is self._filling:
                self._adopt()

        live = Live(
            step, end, lambda: self.box.comm is None, every_s=FILL_S, limit_s=follow.LIMIT_S, cell=self._cell
        )  # fmt: skip
        live.start()

    def _adopt(self) -> None:
        """Show what was read, in place of the newest records."""
        with self._turn:
            filling, self._filling = self._filling, None
            if filling is None:
                return
            try:
                self.source, self.records = filling.result()
            except Exception as error:  # whatever it is, the page must say that it is a part
                self.source = say_failed(self.source, error)
            self.box.about = self._about()
        self.box.send({"filled": True})
        self._renew_picture()

    def wait(self) -> None:
        """Wait until all records are here.

        Raises
        ------
        LabkitError
            When they cannot be read.
        """
        filling = self._filling
        if filling is not None:
            count = len(self.source.table)
            with quiet_stop(
                f"stopped; the newest {count:,} records are here, browse again for the others"
            ):
                filling.result()
        self._adopt()

    def _open(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Look at another part of the window: its newest records, of some partitions."""
        within, now = self.source.within, self.source.window
        if within is None or now is None:
            raise UsageError("only a window of a topic has a newest part")
        self._follow({"on": False})
        if self._filling is not None:
            self._filling.stop()
            self._filling = None
        ends = now.plan.ranges if self.source.asked else ()  # records that were followed
        within = with_ends(within, ends)
        partitions = [int(one) for one in asked.get("partitions") or ()]
        limit = whole_number(
            asked.get("last"), "last", "how many of the newest records, such as 10_000", low=1
        )
        part = some_partitions(within, partitions)
        source = open_source(
            within.lab,
            part,
            decode=self.decode,
            time_field=None,
            limit=limit,
            at_once=self._at_once,
        )
        self._limit = limit
        self.source = replace(source, within=within)
        self.records = self.source.look()
        self.box.about = self._about()
        self._renew_picture()
        self._fill()
        return {}

    # following -------------------------------------------------------------------------------------------

    def _repr_mimebundle_(self, **options: Any) -> Any:
        self._cell = cell_now()
        return super()._repr_mimebundle_(**options)

    def _follow(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Begin to take what comes into the topic, or end it; what is here stays."""
        if self._live is not None:
            self._live.stop("paused")
            self._live = None
        if not asked["on"]:
            return {}
        if self._filling is not None:
            raise UsageError(
                "the older records are still being read", hint="follow once they are here"
            )
        pace = follow.Pace()
        self._live = live = Live(
            lambda: self._step(pace, live), lambda why: self._tell(f"{why}: {pace}", running=False),
            lambda: self.box.comm is None, every_s=follow.EVERY_S, limit_s=follow.LIMIT_S, cell=self._cell,
        )  # fmt: skip
        self._tell(f"following: {pace}", running=True)
        live.start()
        return {}

    def _step(self, pace: follow.Pace, live: Live) -> None:
        began = time.monotonic()
        before = self.records if isinstance(self.records, Records) else None
        grown = follow.grow(self.source, self.decode, before)
        with self._turn:
            if live.stopped:  # others may be looked at now
                return
            pace.add(grown.new)
            if grown.records is not None:
                labels = [field.label for field in self.records.fields]
                self.source, self.records = grown.source, grown.records
                if labels != [field.label for field in self.records.fields]:
                    self.box.about = self._about()
                self._renew_picture()
        trouble = f"; waiting: {grown.trouble}" if grown.trouble else ""
        self._tell(f"following: {pace}{trouble}", running=True, grown=grown.records is not None)
        # most of the kernel's time is for those who click
        live.rest(2 * (time.monotonic() - began))

    def _tell(self, state: str, *, running: bool, grown: bool = False) -> None:
        """Tell the page; it is a message of the widget's own, no output of a cell."""
        self.box.send({"live": state, "running": running, "grown": grown, "said": self.source.said})
