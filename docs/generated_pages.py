"""Fill in what pages take from the code.

Commands come from their parser, charts from their docstrings, notebooks from their first cell,
figures from what the benches wrote. A page says where with a line of its own: ``%% commands``, ``%%
charts``, ``%% notebooks`` or ``%% figures``.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from gallery import piece

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs" / "figures"  # written by `make bench`
PAGES = ROOT / "docs" / "gallery" / "pages"  # made by `make gallery`, not in git


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _fill_in)
    app.connect("build-finished", _copy_executed_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _fill_in(app: Any, page: str, source: list[str]) -> None:
    makers = {
        "commands": describe_commands,
        "charts": describe_charts,
        "notebooks": describe_notebooks,
        "figures": describe_figures,
    }
    source[0] = re.sub(
        r"^%% (\w+)$", lambda match: makers[match[1]](), source[0], flags=re.MULTILINE
    )


def _copy_executed_notebooks(app: Any, error: Exception | None) -> None:
    if error is None and PAGES.is_dir() and app.builder.format == "html":
        shutil.copytree(PAGES, Path(app.outdir) / "executed", dirs_exist_ok=True)


def describe_commands() -> str:
    """Return every command with its arguments and options, as Markdown."""
    from labkit.cli import build_parser

    return "\n".join(_describe_parser(build_parser(), "labkit", 1))


def _describe_parser(parser: argparse.ArgumentParser, name: str, level: int) -> Iterator[str]:
    subparsers = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    if level > 1:
        yield f"\n{'#' * level} {name}\n"
        yield f"{_escape(parser.description or '')}\n"
        yield "```text"
        yield re.sub(r"^usage: ", "", parser.format_usage()).rstrip()
        yield "```\n"
        for action in parser._actions:
            if (
                action not in subparsers
                and action.help != argparse.SUPPRESS
                and action.dest != "help"
            ):
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
    return "".join(
        part if part.startswith("`") else re.sub(r"([*_<>\[\]{}$|\\])", r"\\\1", part)
        for part in parts
    )


def describe_charts() -> str:
    """Return each chart's options with their defaults, as Markdown tables."""
    from labkit import charts

    return "\n".join(
        line for name in charts.__all__ for line in _describe_chart(name, getattr(charts, name))
    )


def _describe_chart(name: str, function: Any) -> Iterator[str]:
    from numpydoc.docscrape import FunctionDoc

    page = FunctionDoc(function)
    described = {
        one: " ".join(item.desc) for item in page["Parameters"] for one in item.name.split(", ")
    }
    text = " ".join([*page["Summary"], *page["Extended Summary"]])
    yield f"\n## {name}\n\n{_as_markdown(text)}\n"
    yield "| option | left out | what it does |\n|---|---|---|"
    for option in inspect.signature(function).parameters.values():
        needed = option.default is inspect.Parameter.empty
        left_out = "needed" if needed else f"`{option.default!r}`"
        yield f"| `{option.name}` | {left_out} | {_as_markdown(described.get(option.name, ''))} |"


def _as_markdown(text: str) -> str:
    """Return a docstring's text with Markdown's marks for code."""
    return _escape(re.sub(r"``(.+?)``", r"`\1`", text))


def describe_figures() -> str:
    """Return what `make bench` measured last, as Markdown tables.

    A sentence where it was not run yet.
    """
    found = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(FIGURES.glob("bench-*.json"))
    ]
    return "\n".join(line for bench in found for line in _describe_bench(bench)) or (
        "Nothing was measured since: `make bench` writes `docs/figures`, and this page shows what is there."
    )


def _describe_bench(bench: dict[str, Any]) -> Iterator[str]:
    yield f"\n## {_escape(bench['title'])}\n"
    where = _escape(bench["machine"])
    yield f"labkit {bench['version']}, {bench['when'][:10]}, {where}; medians of {bench['rounds']}.\n"
    names = list(bench["rows"][0])
    yield f"| {' | '.join(names)} |\n|{'---|' * len(names)}"
    for row in bench["rows"]:
        yield f"| {' | '.join(_escape(_figure(row[name])) for name in names)} |"


def _figure(value: Any) -> str:
    """Return a number with three digits that count, others as they are."""
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def describe_notebooks() -> str:
    """Return each notebook's title, first paragraph and picture, as Markdown.

    Where it was executed, with a link.
    """
    return "\n".join(
        line for path in sorted((ROOT / "notebooks").glob("*.ipynb")) for line in _describe(path)
    )


def _describe(path: Path) -> Iterator[str]:
    first = piece(path.stem, nbformat.read(path, as_version=4))
    yield f"\n## {first.title}\n"
    yield f"`notebooks/{path.name}`. {_escape(first.text)}\n"
    if (ROOT / "docs" / "gallery" / f"{path.stem}.png").is_file():
        yield f"![{first.title}](../gallery/{path.stem}.png)\n"
    if (PAGES / f"{path.stem}.html").is_file():
        yield f'<p><a href="../executed/{path.stem}.html">The executed notebook</a></p>\n'
