"""Completion for shells: completion."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from labkit.cli.common import Commands, command
from labkit.cli.terminal import out

SHELLS = ("bash", "zsh", "tcsh")


def register(commands: Commands) -> None:
    """Add the family's commands."""
    completion = command(
        commands, "completion", _completion, "print what completes the commands in a shell"
    )
    completion.add_argument("shell", choices=SHELLS)
    completion.epilog = "For bash: source <(labkit completion bash), also in ~/.bashrc."


def _completion(options: argparse.Namespace) -> None:
    import shtab

    from labkit.cli import build_parser

    parser = build_parser()
    for action in _actions(parser):
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    out(shtab.complete(parser, options.shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _actions(child)
