"""Names that are nearly right: what was meant, for errors about a name that is not there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from labkit.errors import UsageError
from labkit.text.visible import first_few

MOST_LISTED = 40
_LEAST_ALIKE, _LEAST_ALIKE_SHORT, _SHORT = 0.7, 0.6, 4  # likeness, 0 to 1; of names so long
AS_NEAR = 0.05  # of the nearest name's likeness, 0 to 1: what is further off was not meant

_readers = ["python"]


@contextmanager
def for_a_shell() -> Iterator[None]:
    """Let hints name commands within the block.

    Their reader is at a shell, not in a notebook or a script.
    """
    _readers.append("shell")
    try:
        yield
    finally:
        _readers.pop()


@contextmanager
def for_the_doctor() -> Iterator[None]:
    """Let hints within the block not send their reader to the doctor: its reader is there."""
    _readers.append("doctor")
    try:
        yield
    finally:
        _readers.pop()


def look_closer() -> str:
    """Return the sentence that sends the reader to the doctor.

    Empty for the doctor's own reader.
    """
    return "" if "doctor" in _readers else f"{way('doctor')} looks closer"


def way(command: str) -> str:
    """Return how its reader lists or examines things.

    It is ``lab.topics()`` in Python, ``labkit topics`` in a shell.
    """
    return f"`labkit {command}`" if "shell" in _readers else f"`lab.{command}()`"


def typed(python: str, shell: str) -> str:
    """Return what a hint's reader can type: the first in Python, the second in a shell."""
    return shell if "shell" in _readers else python


def did_you_mean(name: str, there: Iterable[str]) -> str:
    """Return ``did you mean 'topic'? `` for the names that are nearest to one that is not there.

    Empty without any.
    """
    from difflib import SequenceMatcher, get_close_matches

    by_lower = {name_there.lower(): name_there for name_there in there if name_there != name}
    # one letter of three is a third of a name
    least = _LEAST_ALIKE if len(name) > _SHORT else _LEAST_ALIKE_SHORT
    matches = get_close_matches(name.lower(), by_lower, 3, least)
    scores = [SequenceMatcher(None, match, name.lower()).ratio() for match in matches]
    near = [
        by_lower[match]
        for match, score in zip(matches, scores, strict=True)
        if score > scores[0] - AS_NEAR
    ]
    return f"did you mean {' or '.join(map(repr, near))}? " if near else ""


def must_be_one_of(
    option: str, value: object, choices: Iterable[str], hint: str = ""
) -> UsageError:
    """Return the error for an option's value that it cannot have, with the one that was meant."""
    names = list(choices)
    *others, last = map(repr, names)
    near = did_you_mean(value, names) if isinstance(value, str) else ""
    listed = f"{', '.join(others)} or {last}" if others else last
    return UsageError(f"{option} must be {listed}, not {value!r}", hint=f"{near}{hint}".strip())


def unknown_field(name: str, there: Iterable[str], *, where: str = "") -> UsageError:
    """Return the error for a field that is not there, with the nearest and all that there are."""
    names = list(there)
    return UsageError(
        f"{where}there is no field {name!r}",
        hint=f"{did_you_mean(name, names)}there are: {first_few(names, MOST_LISTED) or 'none'}",
        names=names,
    )
