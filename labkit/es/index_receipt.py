"""The account of one read of an index. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from html import escape
from typing import Any

from labkit.text import html
from labkit.text.counts import number_of
from labkit.text.visible import visible


@dataclass(frozen=True)
class IndexReceipt:
    """The account of one read of an index, at one point in time.

    Attributes
    ----------
    index, target : str
        What was read, and the name of its cluster.
    read : int
        Documents.
    undecodable : int
        Those among them that could not be decoded.
    bytes : int
        Of the documents' JSON.
    elapsed_s : float
        Until the last document was read.
    complete : bool
        Whether the read was not interrupted.
    versions : dict
        Of labkit and the client libraries.
    notes : tuple of str
        What else the reader should know.
    """

    index: str
    target: str
    read: int
    undecodable: int
    bytes: int
    elapsed_s: float
    complete: bool
    versions: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def shortfall(self) -> str:
        """Why these are not all documents, in one line; empty when they are."""
        if self.complete:
            return ""
        return f"incomplete: {self.read:,} documents of {self.index!r} were read, not all (it was interrupted)"

    def with_notes(self, *notes: str) -> IndexReceipt:
        """Return this receipt with more notes."""
        return replace(self, notes=(*self.notes, *notes)) if notes else self

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self)

    def to_json(self) -> str:
        """Return everything as JSON."""
        return json.dumps(self.to_dict())

    @property
    def _size(self) -> str:
        return f"{self.bytes / 1e6:.1f} MB in {self.elapsed_s:.2f} s"

    @property
    def _remarks(self) -> list[str]:
        remarks = [] if self.complete else ["why: it was interrupted"]
        if self.undecodable:
            remarks.append(f"{self.undecodable:,} could not be decoded: rows with _error set")
        return [*remarks, *(f"note: {visible(note)}" for note in self.notes)]

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        head = "complete" if self.complete else "INCOMPLETE"
        count = number_of(self.read, "document")
        lines = [f"{head}: {count} read of index {self.index!r} on {self.target}", self._size]
        return "\n  ".join([*lines, *self._remarks])

    @html.view
    def _repr_html_(self) -> str:
        colour = html.GREEN if self.complete else html.RED
        word = html.word(colour, "complete" if self.complete else "incomplete")
        body = (
            f"{word} · index <code>{escape(self.index)}</code> on {escape(self.target)}"
            f'<br><b>{self.read:,}</b> read <span style="opacity:.7">· {self._size}</span>'
        )
        remarks = "".join(f"<li>{escape(remark)}</li>" for remark in self._remarks)
        return html.box(colour, f"{body}<ul style=margin:0>{remarks}</ul>" if remarks else body)
