"""Pick a window of a topic with the mouse, over a timeline of its records."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets as ipy

from labkit.errors import LabkitError, UsageError
from labkit.lab import Lab
from labkit.notebook.timeline import Timeline, picture, short, timeline
from labkit.notebook.widget_base import Shown, forget_pick, keep_pick, read_pick
from labkit.text.counts import number_of
from labkit.window import Window

TIME, NEWEST = "time", "newest records"
MANY = 20  # topics: a list of more takes a search


@dataclass(frozen=True)
class Choice:
    """What was picked, as `Lab.window` takes it; what is None is left out."""

    topic: str
    start: str | None = None
    end: str | None = None
    last: int | None = None
    partitions: tuple[int, ...] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of `Lab.window`."""
        bounds = {"start": self.start, "end": self.end, "last": self.last}
        options: dict[str, Any] = {
            name: value for name, value in bounds.items() if value is not None
        }
        return (
            options if self.partitions is None else {**options, "partitions": list(self.partitions)}
        )

    @property
    def code(self) -> str:
        """The line that makes the same window."""
        words = [json.dumps(self.topic)]
        for name, value in self.options.items():
            words.append(
                f"{name}={value:_}" if isinstance(value, int) else f"{name}={json.dumps(value)}"
            )
        return f"w = lab.window({', '.join(words)})"


@dataclass(frozen=True)
class _Pick:
    """What was picked of a topic, for the next picker.

    Times are in milliseconds; None is the topic's own end, or all.
    """

    by: str
    newest: int
    start_ms: int | None
    end_ms: int | None
    partitions: tuple[int, ...] | None


class WindowPicker(Shown):
    """A picker of topic, time, partitions or the newest N.

    ``.window`` is the Window, ``.code`` the line that makes the same one. The kernel keeps the pick
    of each topic: the next picker begins with it, and says so.

    The timeline comes from Kafka's time index: no record is read. A window is frozen when
    ``.window`` is first asked for after a change, and stays the same until the next one.
    """

    def __init__(self, lab: Lab, topic: str | None = None, *, anew: bool = False) -> None:
        topics = list(lab.cluster.topics())
        if topic is not None and topic not in topics:
            lab.cluster.partitions(topic)  # says what is wrong
        if not topics:
            raise UsageError(
                lab.cluster.why_missing("topic"),
                hint="in a new cluster, `labkit extract` makes and fills one",
            )
        self.lab = lab
        before = topic or read_pick("picker", lab.cluster.cluster_id)
        topic = before if before in topics else topics[0]
        if anew:
            forget_pick("picker", lab.cluster.cluster_id, topic)
        self._kept = ""
        self._quiet = False
        self._frozen: tuple[Choice, Window] | None = None
        wide, label = ipy.Layout(width="100%"), {"description_width": "70px"}
        self.topic = ipy.Dropdown(options=topics, value=topic, description="topic", style=label)
        self._topics = topics
        self.search = ipy.Text(
            placeholder=f"part of a name, of {len(topics):,} topics",
            description="search",
            style=label,
            layout=ipy.Layout(display="flex" if len(topics) > MANY else "none"),
        )
        self.partitions = ipy.SelectMultiple(
            options=[], rows=4, description="partitions", style=label
        )
        self.by = ipy.ToggleButtons(options=[TIME, NEWEST], style={"button_width": "11em"})
        self.newest = ipy.BoundedIntText(
            value=10_000, min=0, max=2**31 - 1, step=1000, description="newest", style=label
        )
        self.range = ipy.SelectionRangeSlider(
            options=["-", "-"], readout=False, layout=ipy.Layout(width="auto", margin="0 10px")
        )
        self.chart = ipy.HTML(layout=ipy.Layout(width="auto", margin="0 10px"))
        self.said = ipy.HTML(layout=wide)
        refresh = ipy.Button(
            description="refresh", icon="refresh", tooltip="look at the topic again"
        )
        self.anew = ipy.Button(
            description="begin anew", icon="undo", tooltip="pick all of the topic again"
        )
        head = ipy.HBox(
            [
                ipy.VBox([self.search, self.topic]),
                self.partitions,
                ipy.VBox([self.by, ipy.HBox([refresh, self.anew])]),
            ],
            layout=ipy.Layout(flex_flow="row wrap"),
        )
        self.box = ipy.VBox([head, self.chart, self.range, self.newest, self.said], layout=wide)
        self.timeline = self._load()
        if before not in (None, topic):
            self._kept = f"topic {before}, picked before, is gone"
        self.topic.observe(lambda _: self.refresh(), "value")
        self.search.observe(lambda _: self._narrow(), "value")
        refresh.on_click(lambda _: self.refresh())
        self.anew.on_click(lambda _: self.begin_anew())
        for part in (self.partitions, self.by, self.newest, self.range):
            part.observe(lambda _: self._on_change(), "value")
        self._draw()

    # what was picked ---------------------------------------------------------------------------------

    @property
    def choice(self) -> Choice:
        """What is picked now."""
        every = len(self.partitions.value) in (0, len(self.timeline.partitions))
        partitions = None if every else tuple(sorted(self.partitions.value))
        topic = str(self.topic.value)
        if self.by.value == NEWEST or self.timeline.grid is None:
            last = int(self.newest.value) if self.by.value == NEWEST else None
            return Choice(topic, last=last, partitions=partitions)
        start, end = (None if ms is None else self._short(ms) for ms in self._times)
        return Choice(topic, start, end, partitions=partitions)

    @property
    def _times(self) -> tuple[int | None, int | None]:
        """The slider's two times; None at the topic's own end."""
        first, last = self.range.index
        return self._marks[first] if first else None, self._marks[last] if last < len(
            self._marks
        ) - 1 else None

    def _short(self, ms: int) -> str:
        return short(ms, self.lab.timezone)

    @property
    def code(self) -> str:
        """The line that makes the same window."""
        return self.choice.code

    @property
    def window(self) -> Window:
        """The window that is picked, frozen."""
        choice = self.choice
        if self._frozen is None or self._frozen[0] != choice:
            self._frozen = (choice, self.lab.window(choice.topic, **choice.options))
        return self._frozen[1]

    @property
    def records(self) -> int:
        """About how many records are picked."""
        counts = self.timeline.of(self.partitions.value or self.timeline.partitions)
        if self.by.value == NEWEST:
            return min(int(self.newest.value), int(counts.sum()))
        first, last = self._buckets
        return int(counts[first:last].sum())

    @property
    def _buckets(self) -> tuple[int, int]:
        """The buckets that the slider's times touch.

        Those of an earlier pick may lie within one.
        """
        first, last = (self._marks[place] for place in self.range.index)
        edges = self.timeline.edges
        return max(0, bisect_right(edges, first) - 1), bisect_left(edges, last)

    def _narrow(self) -> None:
        """List the topic that is picked, then those whose names have what is searched for."""
        text, picked = self.search.value.strip().lower(), str(self.topic.value)
        matching = [name for name in self._topics if text in name.lower() and name != picked]
        self.topic.options = [picked, *matching]

    # showing -----------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look at the topic again; what was picked is kept, and its window is frozen anew."""
        self._frozen = None
        try:
            self.timeline = self._load()
        except LabkitError as error:
            self.said.value = f"<b>{escape(error.message)}</b><br>{escape(error.hint or '')}"
            return
        self._draw()

    def begin_anew(self) -> None:
        """Pick all of the topic again."""
        forget_pick("picker", self.lab.cluster.cluster_id, str(self.topic.value))
        with self._silence():
            self.by.value = TIME
        self.refresh()

    def _load(self) -> Timeline:
        topic = str(self.topic.value)
        topic_timeline = timeline(self.lab.cluster, topic)
        pick: _Pick | None = read_pick("picker", self.lab.cluster.cluster_id, topic)
        lost: list[str] = []
        with self._silence():
            self._load_range(topic_timeline, pick, lost)
            self._load_partitions(topic_timeline, pick, lost)
            if pick is not None:
                self.by.value, self.newest.value = pick.by, pick.newest
        self._kept = ""
        if pick is not None:
            self._kept = "; ".join(["picked before, and kept (begin anew: all of it)", *lost])
        return topic_timeline

    def _load_range(self, loaded: Timeline, pick: _Pick | None, lost: list[str]) -> None:
        """Show the topic's time and what was picked of it; `lost` gets what no record has now."""
        edges = loaded.edges or [0, 0]
        start, end = (None, None) if pick is None else (pick.start_ms, pick.end_ms)
        if start is not None and not edges[0] <= start < edges[-1]:
            lost.append(f"no record is as of {self._short(start)} now")
            start = None
        if end is not None and not edges[0] < end <= edges[-1]:
            lost.append(f"no record is up to {self._short(end)} now")
            end = None
        picked = {ms for ms in (start, end) if ms is not None}
        self._marks = sorted({*edges, *picked}) if loaded.edges else edges
        self.range.options = [(self._short(ms), place) for place, ms in enumerate(self._marks)]
        self.range.index = (
            0 if start is None else self._marks.index(start),
            len(self._marks) - 1 if end is None else self._marks.index(end),
        )

    def _load_partitions(self, loaded: Timeline, pick: _Pick | None, lost: list[str]) -> None:
        """Show the topic's partitions; those picked before are picked, if they are there."""
        partitions = tuple(loaded.partitions)
        self.partitions.options = loaded.partitions
        if pick is None or pick.partitions is None:
            self.partitions.value = partitions
            return
        if gone := sorted({*pick.partitions} - {*partitions}):
            lost.append(f"there is no partition {', '.join(map(str, gone))} now")
        self.partitions.value = tuple(sorted({*pick.partitions} & {*partitions})) or partitions

    def _on_change(self) -> None:
        """Keep what is picked now, and draw it."""
        if self._quiet:
            return
        self._kept = ""
        every = len(self.partitions.value) in (0, len(self.timeline.partitions))
        pick = _Pick(
            str(self.by.value), int(self.newest.value), *self._times,
            None if every else tuple(sorted(self.partitions.value)),
        )  # fmt: skip
        keep_pick(pick, "picker", self.lab.cluster.cluster_id, str(self.topic.value))
        self._draw()

    @contextmanager
    def _silence(self) -> Iterator[None]:
        """Change several parts before anything is drawn."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def _draw(self) -> None:
        if self._quiet:
            return
        by_time = self.by.value == TIME
        self.range.layout.display = "" if by_time and self.timeline.grid else "none"
        self.newest.layout.display = "none" if by_time else ""
        lit = self._buckets if by_time else (0, 0)
        self.chart.value = picture(
            self.timeline,
            self.partitions.value or self.timeline.partitions,
            *lit,
            self.lab.timezone,
        )
        keep_pick(str(self.topic.value), "picker", self.lab.cluster.cluster_id)
        self.said.value = f"{self._words()} <pre><code>{escape(self.code)}</code></pre>"
        self._renew_picture()

    def _words(self) -> str:
        note = f" <i>({escape(self._kept)})</i>" if self._kept else ""
        return f"about {number_of(self.records, 'record')}{note}"

    def picture(self) -> str:
        """Return the timeline with what is picked."""
        names = escape(str(self.topic.value))
        return f"<b>{names}</b>{self.chart.value}<div>{self._words()}</div>"

    def text(self) -> str:
        """Return what is picked, and the line that makes it."""
        edges = self.timeline.edges
        span = (
            f"records of {self._short(edges[0])} to {self._short(edges[-1])}"
            if edges
            else "no record has a time"
        )
        note = f" ({self._kept})" if self._kept else ""
        return f"window picker on {self.topic.value}: {span}; picked about {self.records:,}{note}\n  {self.code}"
