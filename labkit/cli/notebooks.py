"""Commands that run notebooks: run, demo."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from labkit.cli.common import INCOMPLETE, OK, Commands, command, json_option, say


def register(commands: Commands) -> None:
    """Add the family's commands."""
    run = command(commands, "run", _run, "run a notebook through papermill")
    run.add_argument("notebook", type=Path, metavar="NOTEBOOK")
    run.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    run.add_argument("--output", type=Path, default=Path("runs"), metavar="FOLDER", help="default: runs")
    json_option(command(commands, "demo", _demo, "show everything at work, from the extractor to a charted replay"))


def _run(options: argparse.Namespace) -> None:
    from labkit.notebook import rerun

    done = rerun.run(options.notebook, dict(options.parameter), folder=options.output, progress=sys.stderr.isatty())
    print(f"executed notebook: {done.notebook}\nas a page:         {done.html}")


def _demo(options: argparse.Namespace) -> int:
    from labkit import demo

    os.environ["LABKIT_PROFILE"] = "local"  # the notebook connects to what the demo has started
    summary = demo.run(say)
    print(json.dumps(summary.to_dict(), indent=2) if options.json else summary)
    return OK if summary.agrees else INCOMPLETE
