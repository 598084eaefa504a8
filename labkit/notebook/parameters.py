"""Many runs of one notebook: parameters whose values stand in files, one a line."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path

from labkit.errors import UsageError


def expand(parameters: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """Return the parameters of each run.

    Parameters
    ----------
    parameters : pairs of name and value
        ``@FILE`` stands for the lines of a file; several make every combination, the last changing
        fastest. ``@@x`` is the text ``@x``. Of a name given twice the last counts.

    Raises
    ------
    UsageError
        For a file that is missing, is no text, or has no value.
    """
    choices = {
        name: values(value[1:]) if _is_list(value) else [_plain(value)]
        for name, value in parameters
    }
    return [
        dict(zip(choices, combination, strict=True)) for combination in product(*choices.values())
    ]


def swept(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the parameters that are lists, with the file of each."""
    return {name: value[1:] for name, value in dict(parameters).items() if _is_list(value)}


def values(file: str) -> list[str]:
    """Return a file's values, in its order.

    Empty lines are skipped, and comments: a ``#`` alone or before a space, for ``#kafka`` is a
    channel.
    """
    hint = "one value a line; the text itself, with its @, is written @@…"
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UsageError(
            f"the list {file!r} cannot be read: {error.strerror}", hint=hint
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the list {file!r} is not text in UTF-8", hint=hint) from error
    lines_with_values = [line.strip() for line in lines if line.strip() and line.split()[0] != "#"]
    if not lines_with_values:
        raise UsageError(f"the list {file!r} has no value", hint=hint)
    return lines_with_values


def _is_list(value: str) -> bool:
    return value.startswith("@") and not value.startswith("@@")


def _plain(value: str) -> str:
    return value[1:] if value.startswith("@@") else value
