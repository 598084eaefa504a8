"""What a receipt says beside its counts. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum


class NoteSource(StrEnum):
    """What a note is about."""

    READING = "reading"
    DECODING = "decoding"
    ENRICHMENT = "enrichment"


class Note(str):
    """A sentence for people, and what it is about: code goes by `source`, never by the words.

    Attributes
    ----------
    source : NoteSource
        A plain text among the notes is about the reading.
    """

    source: NoteSource

    def __new__(cls, text: str, source: NoteSource = NoteSource.READING) -> Note:
        """Return the sentence with its source."""
        note = super().__new__(cls, text)
        note.source = source
        return note


def notes_about(source: NoteSource, texts: Iterable[str]) -> list[Note]:
    """Return sentences as notes of one source."""
    return [Note(text, source) for text in texts]


def source_of(note: str) -> NoteSource:
    """Return what a note is about."""
    return note.source if isinstance(note, Note) else NoteSource.READING


def notes_without(notes: Iterable[str], sources: Collection[NoteSource]) -> tuple[str, ...]:
    """Return the notes that are about something else."""
    return tuple(note for note in notes if source_of(note) not in sources)
