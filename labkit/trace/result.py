"""A record's road, place by place; shown as text and HTML."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from html import escape
from typing import TYPE_CHECKING

from labkit.text import html
from labkit.text.plain_enum import PlainEnum
from labkit.text.visible import visible

if TYPE_CHECKING:
    import pandas as pd

    from labkit.sinks.replay import Replay


class State(PlainEnum):
    """Whether a record is there, or passed."""

    YES = "yes"
    NO = "no"
    ODD = "odd"
    UNKNOWN = "unknown"  # it could not be looked at


class Code(PlainEnum):
    """What was seen at a place."""

    FOUND = "found"
    EXPIRED = "expired"
    FUTURE = "future"
    COMPACTED = "compacted"
    MARKER = "marker"
    OPEN = "open"
    ABORTED = "aborted"
    MISSING = "missing"
    FULFILLED = "fulfilled"
    FILTERED = "filtered"
    PASSED = "passed"
    NOT_REACHED = "not reached"
    NO_COMMIT = "no commit"
    NO_GROUP = "no group"
    CHANGED = "changed"
    OVERWRITTEN = "overwritten"
    REFUSED = "refused"
    NONE = "none"
    NOT_SEEN = "not seen"
    NO_SUCH_PLACE = "no such place"


_MARKS = {State.YES: "✓", State.NO: "✗", State.ODD: "!", State.UNKNOWN: "?"}
_COLOURS = {
    State.YES: html.GREEN,
    State.NO: html.RED,
    State.ODD: html.AMBER,
    State.UNKNOWN: html.GREY,
}


@dataclass(frozen=True)
class Step:
    """What one place tells of the record.

    Attributes
    ----------
    place : str
        topic, condition, group, index or dead letters.
    state : State
    code : Code
    text : str
        The evidence in a line.
    details : tuple of str
        More of it: the record's fields, key and headers; what the document has otherwise.
    """

    place: str
    state: State
    code: Code
    text: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Trace:
    """A record's road; shown as text and HTML.

    Attributes
    ----------
    topic : str
    partition, offset : int or None
        None when no record has the key that was asked for.
    steps : tuple of Step
    verdict : str
        One sentence: where it is, or why it is not there.
    record : Replay or None
        The record, while the topic has it.
    """

    topic: str
    partition: int | None
    offset: int | None
    steps: tuple[Step, ...]
    verdict: str
    record: Replay | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """The ``_id`` that labkit gives its document."""
        return f"{self.topic}-{self.partition}-{self.offset}"

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per place: place, state, code, text."""
        import pandas as pd

        return pd.DataFrame(
            [asdict(step) for step in self.steps], columns=["place", "state", "code", "text"]
        )

    def to_json(self) -> str:
        """Return everything but the record as JSON."""
        steps = [asdict(step) for step in self.steps]
        for step in steps:
            del step["details"]  # they have the record
        return json.dumps({"topic": self.topic, "partition": self.partition, "offset": self.offset, "steps": steps,
                           "verdict": self.verdict})  # fmt: skip

    def __str__(self) -> str:
        lines = [
            f"{_MARKS[step.state]} {step.place + ':':<14}{visible(step.text)}"
            for step in self.steps
        ]
        return "\n".join([f"{self._title()}", *lines, f"= {visible(self.verdict)}"])

    __repr__ = __str__

    def _title(self) -> str:
        place = (
            "no such record"
            if self.offset is None
            else f"partition {self.partition} offset {self.offset}"
        )
        return f"{self.topic}, {place}"

    @html.view
    def _repr_html_(self) -> str:
        rows = [
            [
                html.word(_COLOURS[step.state], f"{_MARKS[step.state]} {step.place}"),
                html.fold(escape(step.text), html.lines("\n".join(step.details)))
                if step.details
                else escape(step.text),
            ]
            for step in self.steps
        ]
        states = {step.state for step in self.steps}
        colour = (
            html.RED if State.NO in states else html.AMBER if states - {State.YES} else html.GREEN
        )
        head = f"<b>{escape(self.verdict)}</b><br><code>{escape(self._title())}</code>"
        return html.box(colour, head + html.table(["place", "what it tells"], rows))
