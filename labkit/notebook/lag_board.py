"""What each consumer group does, looked at again and again."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import ipywidgets as ipy

from labkit.errors import LabkitError
from labkit.groups.lag import VERDICTS, Judged
from labkit.groups.sampling import Recent, Sampler, every_seconds
from labkit.groups.states import Verdict
from labkit.groups.verdicts import GroupVerdict, judge_groups
from labkit.kafka.errors import is_outage
from labkit.lab import Lab
from labkit.notebook.live_widget import LiveWidget
from labkit.text import html
from labkit.text.counts import number_of
from labkit.text.visible import text_table
from labkit.times import iso, length_ms

PAGE = 40  # groups: a screen or two
_FIRST_LOOKS, _FIRST_EVERY_S = 3, 0.5  # of a board in an unattended run
_COLOURS = {
    Verdict.OK: html.GREEN, Verdict.IDLE: html.GREY, Verdict.SLOW: html.AMBER, Verdict.UNKNOWN: html.GREY,
}  # fmt: skip


class LagBoard(LiveWidget):
    """A board of groups with verdict, lag and rates."""

    def __init__(
        self, lab: Lab, groups: list[str] | None, *, every: str, limit: str, patience: str
    ) -> None:
        super().__init__(every_s=every_seconds(every), limit=limit)
        self.lab, self._groups = lab, groups
        self._sampler = Sampler(lab.cluster, groups)
        self._sampler.check()
        self._recent = Recent(self._sampler, self._every_s, length_ms(patience) / 1000)
        self._turning = threading.Lock()  # a look and a click turn pages in two threads
        self.page, self._rows, self._judged = 0, list[GroupVerdict](), list[Judged]()
        self._back, self._on = (
            ipy.Button(icon=icon, layout={"width": "40px"})
            for icon in ("angle-left", "angle-right")
        )
        self._back.on_click(lambda _: self.turn(-1))
        self._on.on_click(lambda _: self.turn(1))
        self.shown = ipy.HTML()
        self._pages = ipy.HBox([self._back, self._on, self.shown], layout={"display": "none"})
        self.box = ipy.VBox([ipy.HBox([self.stop_button, self.state]), self._pages, self.view])

    def _still(self) -> dict[str, str]:
        self._look_first()
        return super()._still()

    def _step(self) -> None:
        try:
            self._look()
        except LabkitError as error:
            if not is_outage(error):
                raise
            self.state.value = f"{escape(error.message)}; looking again …"
            return
        self._show()
        self._renew_picture()

    def _look_first(self) -> None:
        """Look a few times where nothing was seen yet."""
        if self._recent.looks:
            return
        for number in range(_FIRST_LOOKS):
            time.sleep(_FIRST_EVERY_S if number else 0)
            self._look()
            self._show()

    def _look(self) -> None:
        self._recent.look()
        self._judged = self._recent.judged  # a second for 20,000 partitions
        self._rows = list_rows(self._judged, self._sampler.without_partitions)

    def _show(self) -> None:
        self.turn(0)
        self.state.value = self._words()

    def _words(self) -> str:
        looks = self._recent.looks
        if not looks:
            return ""
        when = iso(looks[-1][0].at_ms) if looks[-1] else "no group with a partition"
        return f"by the last {number_of(len(looks), 'look')}, {when}"

    def turn(self, pages: int) -> None:
        """Show another page of groups; the first has those to look at."""
        with self._turning:
            self._turn(pages)

    def _turn(self, pages: int) -> None:
        last = max(0, len(self._rows) - 1) // PAGE
        self.page = min(max(0, self.page + pages), last)
        first = self.page * PAGE
        rows = self._rows[first : first + PAGE]
        self.view.value = table(rows, self._judged) if rows else escape(self._sampler.why_none())
        self.shown.value = (
            f"groups {first + 1:,} to {first + len(rows):,} of {len(self._rows):,}, the worst first"
        )
        self._pages.layout.display = "flex" if last else "none"
        self._back.disabled, self._on.disabled = self.page == 0, self.page == last

    def picture(self) -> str:
        """Return the board as it was last."""
        pages = f"<div>{self.shown.value}</div>" if len(self._rows) > PAGE else ""
        return f"{pages}{self.view.value}<div>{self.state.value}</div>"

    @property
    def code(self) -> str:
        """The line that makes it."""
        groups = "" if self._groups is None else f"groups={self._groups}"
        return f"labkit.widgets.lag_board({groups})"

    @property
    def judged(self) -> list[Judged]:
        """The verdict on each partition, by the last looks."""
        return self._judged

    def text(self) -> str:
        """Return a line for each group, by the last looks."""
        self._look_first()
        if not self._rows:
            return self._sampler.why_none()
        names = ("group", "verdict", "lag", "why")
        return text_table(
            names, [(row.group, row.verdict, row.lag_text, row.why) for row in self._rows]
        )


def list_rows(
    judged: Iterable[Judged], others: Mapping[str, tuple[Verdict, str]]
) -> list[GroupVerdict]:
    """Return the groups' verdicts, those to look at first, then by lag.

    `others` are groups without a partition, as `judge_groups` takes them.
    """
    return sorted(
        judge_groups(judged, others),
        key=lambda one: (VERDICTS.index(one.verdict), -one.known_lag, one.group),
    )


def table(rows: Sequence[GroupVerdict], judged: Iterable[Judged]) -> str:
    """Return groups as an HTML table, with the rates of their partitions."""
    names = {row.group for row in rows}
    read, written = defaultdict[str, float](float), defaultdict[str, float](float)
    for part in judged:
        if part.group in names:
            read[part.group] += part.read_per_s or 0
            written[part.group] += part.written_per_s or 0
    cells = []
    for row in rows:
        colour = _COLOURS.get(row.verdict, html.RED)
        verdict = f'<b style="color:{colour}">{escape(row.verdict)}</b>'
        rates = [f"{read[row.group]:,.0f}", f"{written[row.group]:,.0f}"]
        cells.append([escape(row.group), verdict, row.lag_text, *rates, escape(row.why)])
    return html.show_html(
        html.table(("group", "verdict", "lag", "read/s", "written/s", "why"), cells)
    )
