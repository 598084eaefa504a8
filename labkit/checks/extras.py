"""Optional dependencies: the extras of pyproject.toml."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from labkit.errors import ConfigError


@contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Say how to install what an import within lacks.

    Parameters
    ----------
    extra : str
        A name under ``[project.optional-dependencies]``.
    purpose : str
        What the libraries are for; the subject of the message.

    Raises
    ------
    ConfigError
        When a library cannot be imported.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"{purpose} needs a library that is not installed: {error.name or error}",
            hint=f"pip install 'labkit[{extra}]'",
        ) from error
