"""What comes with labkit: its notebooks, copied out to be worked on, and the sample of the demo."""

from __future__ import annotations

import shutil
from pathlib import Path

from labkit.errors import NotFoundError, UsageError

TEMPLATE = "template.ipynb"
SAMPLE = "irc-sample.jsonl.gz"
_HERE = Path(__file__).parent
_PROJECT = _HERE.parents[1]


def folder() -> Path:
    """Return where they are: in an installed labkit beside this module, else in the project."""
    return _find(TEMPLATE, "notebooks").parent


def sample() -> Path:
    """Return 120,000 messages of IRC as JSON lines, gzipped."""
    return _find(SAMPLE, "data")


def in_project() -> bool:
    """Tell whether labkit runs from its project's folder, where `make` knows it."""
    return (_PROJECT / "Makefile").is_file()


def _find(name: str, folder_name: str) -> Path:
    for path in (_HERE / "course" / name, _PROJECT / folder_name / name):
        if path.is_file():
            return path
    raise NotFoundError(
        f"this labkit came without its {name}", hint="install it again, from its wheel"
    )


def new(target: Path) -> Path:
    """Copy the template to `target`, which must not be there."""
    if target.suffix != ".ipynb":
        raise UsageError(
            f"{target} does not end in .ipynb", hint="such as `labkit new question.ipynb`"
        )
    _copy({target: folder() / TEMPLATE})
    return target


def copy(target: Path) -> list[Path]:
    """Copy all the notebooks into the folder `target`, which is made.

    All or, when one of them is there, none.
    """
    pairs = {target / source.name: source for source in sorted(folder().glob("*.ipynb"))}
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{target} cannot be made: {error.strerror}", hint="give another folder"
        ) from error
    _copy(pairs)
    return list(pairs)


def _copy(pairs: dict[Path, Path]) -> None:
    """Copy each source to its target; none is overwritten."""
    for target in pairs:
        if target.exists() or target.is_symlink():
            raise UsageError(
                f"{target} is there already", hint="give another name; nothing was written"
            )
    for target, source in pairs.items():
        try:
            with source.open("rb") as reader, target.open("xb") as writer:
                shutil.copyfileobj(reader, writer)
        except OSError as error:
            raise UsageError(
                f"{target} cannot be written: {error.strerror}", hint="is its folder there?"
            ) from error
