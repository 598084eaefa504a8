"""Pick a window of a topic with the mouse, over a timeline of its records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets as ipy

from labkit.errors import LabkitError, UsageError
from labkit.lab import Lab
from labkit.notebook.timeline import Timeline, picture, short, timeline
from labkit.notebook.widget_base import Shown
from labkit.window import Window

TIME, NEWEST = "time", "newest records"


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
        given = {"start": self.start, "end": self.end, "last": self.last}
        found: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return found if self.partitions is None else {**found, "partitions": list(self.partitions)}

    @property
    def code(self) -> str:
        """The line that makes the same window."""
        words = [json.dumps(self.topic)]
        for name, value in self.options.items():
            words.append(f"{name}={value:_}" if isinstance(value, int) else f"{name}={json.dumps(value)}")
        return f"w = lab.window({', '.join(words)})"


class WindowPicker(Shown):
    """Topic, time, partitions or the newest N; ``.window`` is the Window, ``.code`` the line that makes the same one.

    The timeline comes from Kafka's time index: no record is read. A window is frozen when ``.window`` is first asked
    for after a change, and stays the same until the next one.
    """

    def __init__(self, lab: Lab, topic: str | None = None) -> None:
        topics = list(lab.cluster.topics())
        if topic is not None and topic not in topics:
            lab.cluster.partitions(topic)  # says what is wrong
        if not topics:
            raise UsageError(
                "there is no topic to pick from", hint="`labkit extract` fills one; `labkit doctor` looks why"
            )
        self.lab = lab
        self._quiet = False
        self._frozen: tuple[Choice, Window] | None = None
        wide, label = ipy.Layout(width="100%"), {"description_width": "70px"}
        self.topic = ipy.Dropdown(options=topics, value=topic or topics[0], description="topic", style=label)
        self.partitions = ipy.SelectMultiple(options=[], rows=3, description="partitions", style=label)
        self.by = ipy.ToggleButtons(options=[TIME, NEWEST], style={"button_width": "11em"})
        self.newest = ipy.BoundedIntText(
            value=10_000, min=0, max=2**31 - 1, step=1000, description="newest", style=label
        )
        self.range = ipy.SelectionRangeSlider(
            options=["-", "-"], readout=False, layout=ipy.Layout(width="auto", margin="0 10px")
        )
        self.chart = ipy.HTML(layout=ipy.Layout(width="auto", margin="0 10px"))
        self.said = ipy.HTML(layout=wide)
        refresh = ipy.Button(description="refresh", icon="refresh", tooltip="look at the topic again")
        head = ipy.HBox(
            [self.topic, self.partitions, ipy.VBox([self.by, refresh])], layout=ipy.Layout(flex_flow="row wrap")
        )
        self.box = ipy.VBox([head, self.chart, self.range, self.newest, self.said], layout=wide)
        self.timeline = self._load()
        self.topic.observe(lambda _: self.refresh(), "value")
        refresh.on_click(lambda _: self.refresh())
        for part in (self.partitions, self.by, self.newest, self.range):
            part.observe(lambda _: self._draw(), "value")
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
        edges = self.timeline.edges
        first, last = self.range.index
        start = None if first == 0 else short(edges[first])
        end = None if last == len(edges) - 1 else short(edges[last])
        return Choice(topic, start, end, partitions=partitions)

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
        first, last = self.range.index
        return int(counts[first:last].sum())

    # showing -----------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look at the topic anew; what was picked begins anew too."""
        self._frozen = None
        try:
            self.timeline = self._load()
        except LabkitError as error:
            self.said.value = f"<b>{escape(error.message)}</b><br>{escape(error.hint or '')}"
            return
        self._draw()

    def _load(self) -> Timeline:
        found = timeline(self.lab.cluster, str(self.topic.value))
        with self._silence():
            edges = found.edges or [0, 0]
            self.range.options = [(short(ms), place) for place, ms in enumerate(edges)]
            self.range.index = (0, len(edges) - 1)
            self.partitions.options = found.partitions
            self.partitions.value = tuple(found.partitions)
        return found

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
        lit = self.range.index if by_time else (0, 0)
        self.chart.value = picture(self.timeline, self.partitions.value or self.timeline.partitions, *lit)
        self.said.value = f"about {self.records:,} records <pre>{escape(self.code)}</pre>"

    def text(self) -> str:
        """Return what is picked, and the line that makes it."""
        edges = self.timeline.edges
        span = f"records of {short(edges[0])} to {short(edges[-1])}" if edges else "no record has a time"
        return f"window picker on {self.topic.value}: {span}; picked about {self.records:,}\n  {self.code}"
