"""Completion for shells: completion.

The printed script has the commands and options; for names of topics, groups, fields and profiles it
calls ``labkit completion KIND`` with the words typed so far.
"""

from __future__ import annotations

import argparse
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.cli.common import ERROR, Commands, command
from labkit.cli.terminal import out

if TYPE_CHECKING:
    from labkit.lab import Lab

SHELLS = ("bash", "zsh", "tcsh")
# what a shell takes as one word and leaves as it is: a foreign group's name may hold anything
_WORD = re.compile(r"[A-Za-z0-9._-]+")
_PATIENCE_S = 8.0  # a shell waits at its prompt; all else is patient while brokers move
_NEWEST = 100  # records that are looked at for their fields
_PREAMBLE = {
    "bash": """
_labkit_names() {
  local word
  while IFS= read -r word; do
    [[ $word == "$2"* ]] && printf '%s\\n' "$word"
  done < <(labkit completion "$1" "${COMP_WORDS[@]}" 2>/dev/null)
}
""",
    "zsh": """
_labkit_names() {
  local -a found
  found=("${(@f)$(labkit completion $1 "${(@Q)${(@z)LBUFFER}}" 2>/dev/null)}")
  compadd -a found
}
""",
}


def register(commands: Commands) -> None:
    """Add the family's commands."""
    completion = command(
        commands, "completion", _completion, "print what completes the commands in a shell"
    )
    completion.add_argument(
        "what",
        choices=(*SHELLS, *_NAMES),
        help="a script for this shell; or the names that such a script offers",
    )
    completion.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    completion.epilog = (
        "For bash, in ~/.bashrc: source <(labkit completion bash). "
        'For zsh, in ~/.zshrc after compinit: eval "$(labkit completion zsh)".'
    )


def _completion(options: argparse.Namespace) -> None:
    if options.what in SHELLS:
        out(_script(options.what))
    else:
        limit = threading.Timer(_PATIENCE_S, os._exit, (ERROR,))
        limit.start()
        try:
            names = _NAMES[options.what](options.words)
        finally:
            limit.cancel()
        out(*(name for name in names if _WORD.fullmatch(name)))


def _script(shell: str) -> str:
    import shtab

    from labkit.cli import build_parser

    parser = build_parser()
    for name, action in _actions(parser):
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.choices is None and (kind := _kind(name, action.dest)):
            function = f"_labkit_{kind}"
            action.complete = {  # type: ignore[attr-defined]
                "bash": function,
                "zsh": function,
                "tcsh": f"`labkit completion {kind}`",
            }
    functions = (f'_labkit_{kind}() {{ _labkit_names {kind} "$1"; }}\n' for kind in _NAMES)
    preamble = {shell: "".join([_PREAMBLE[shell], *functions])} if shell in _PREAMBLE else ""
    return str(shtab.complete(parser, shell, preamble=preamble))  # type: ignore[arg-type]


def _actions(
    parser: argparse.ArgumentParser, name: str = ""
) -> Iterator[tuple[str, argparse.Action]]:
    """Yield each command's name, and its arguments and options."""
    for action in parser._actions:
        yield name, action
        if isinstance(action, argparse._SubParsersAction):
            for child_name, child in action.choices.items():
                yield from _actions(child, f"{name} {child_name}".strip())


def _kind(command_name: str, argument: str) -> str:
    """Return which names an argument of a command takes; empty for what is no such name."""
    if argument == "patterns":
        return {"topics": "topics", "offsets": "groups", "groups list": "groups"}.get(
            command_name, ""
        )
    kinds = {"topic": "topics", "group": "groups", "groups": "groups", "field": "fields"}
    return "profiles" if argument == "profile" else kinds.get(argument, "")


# names -----------------------------------------------------------------------------------------------


def _split_options(words: list[str]) -> list[str]:
    """Return the words with options and their values apart, however ``=`` joins them."""
    parts = (word.split("=", 1) if word.startswith("-") else [word] for word in words)
    return [part for word_parts in parts for part in word_parts if part not in ("", "=")]


def _open_lab(words: list[str]) -> Lab:
    """Return the lab of the profile that is among the words typed so far."""
    from labkit.lab import Lab, find_profile

    given = dict(pairwise(_split_options(words)))
    return Lab(find_profile(given.get("--profile")))


def _first_argument(words: list[str]) -> str:
    """Return the first of the words after the command that is no option and no option's value."""
    from labkit.cli import build_parser

    _program, command_name, *rest = _split_options(words)
    flags: set[str] = set()
    for name, action in _actions(build_parser()):
        if name == command_name and action.nargs == 0:
            flags.update(action.option_strings)
    before = ["", *rest]
    return next(
        word
        for word, previous in zip(rest, before, strict=False)
        if not word.startswith("-") and (not previous.startswith("-") or previous in flags)
    )


def _topics(words: list[str]) -> Iterable[str]:
    return _open_lab(words).cluster.topics()


def _groups(words: list[str]) -> Iterable[str]:
    from labkit.groups.listing import list_whole
    from labkit.groups.offsets import names_by_members

    return sorted(names_by_members(list_whole(_open_lab(words).cluster)))


def _fields(words: list[str]) -> Iterable[str]:
    """Return the fields of the newest records of the topic, the command's first argument."""
    window = _open_lab(words).window(_first_argument(words), last=_NEWEST)
    columns = window.read(progress=False, guard=False).table.column_names
    return [name for name in columns if not name.startswith("_")]


def _profiles(_words: list[str]) -> Iterable[str]:
    from labkit.config.profiles import list_profiles

    return [row["profile"] for row in list_profiles()]


_NAMES: dict[str, Callable[[list[str]], Iterable[str]]] = {
    "topics": _topics,
    "groups": _groups,
    "fields": _fields,
    "profiles": _profiles,
}
