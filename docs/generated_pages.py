"""Fill in what pages take from the code: every command from its parser, every notebook from its first cell.

A page says where with a line of its own: ``%% commands`` or ``%% notebooks``.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from gallery import piece

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "gallery" / "pages"  # made by `make gallery`, not in git


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _fill_in)
    app.connect("build-finished", _copy_executed_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _fill_in(app: Any, page: str, source: list[str]) -> None:
    makers = {"commands": describe_commands, "notebooks": describe_notebooks}
    source[0] = re.sub(r"^%% (\w+)$", lambda match: makers[match[1]](), source[0], flags=re.MULTILINE)


def _copy_executed_notebooks(app: Any, error: Exception | None) -> None:
    if error is None and PAGES.is_dir() and app.builder.format == "html":
        shutil.copytree(PAGES, Path(app.outdir) / "executed", dirs_exist_ok=True)


def describe_commands() -> str:
    """Return every command with its arguments and options, as Markdown."""
    from labkit.cli import build_parser

    return "\n".join(_describe_parser(build_parser(), "labkit", 1))


def _describe_parser(parser: argparse.ArgumentParser, name: str, level: int) -> Iterator[str]:
    subparsers = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if level > 1:
        yield f"\n{'#' * level} {name}\n"
        yield f"{_escape(parser.description or '')}\n"
        yield "```text"
        yield re.sub(r"^usage: ", "", parser.format_usage()).rstrip()
        yield "```\n"
        for action in parser._actions:
            if action not in subparsers and action.help != argparse.SUPPRESS and action.dest != "help":
                yield from _describe_argument(action)
    for action in subparsers:
        for word, child in action.choices.items():
            yield from _describe_parser(child, f"{name} {word}", level + 1)


def _describe_argument(action: argparse.Action) -> Iterator[str]:
    value = "" if action.nargs == 0 else _name_value(action)
    names = [f"{option} {value}".strip() for option in action.option_strings] or [value]
    text = (action.help or "") % {**vars(action), "prog": ""} if action.help else ""
    yield ", ".join(f"`{name}`" for name in names)
    yield f": {_escape(text) or '(see above)'}\n"


def _name_value(action: argparse.Action) -> str:
    if action.metavar is not None:
        return str(action.metavar)
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper()


def _escape(text: str) -> str:
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*_<>\[\]{}$|\\])", r"\\\1", part) for part in parts)


def describe_notebooks() -> str:
    """Return each notebook's title, first paragraph and picture, as Markdown; where it was executed, with a link."""
    return "\n".join(line for path in sorted((ROOT / "notebooks").glob("*.ipynb")) for line in _describe(path))


def _describe(path: Path) -> Iterator[str]:
    first = piece(path.stem, nbformat.read(path, as_version=4))
    yield f"\n## {first.title}\n"
    yield f"`notebooks/{path.name}`. {_escape(first.text)}\n"
    if (ROOT / "docs" / "gallery" / f"{path.stem}.png").is_file():
        yield f"![{first.title}](../gallery/{path.stem}.png)\n"
    if (PAGES / f"{path.stem}.html").is_file():
        yield f'<p><a href="../executed/{path.stem}.html">The executed notebook</a></p>\n'
