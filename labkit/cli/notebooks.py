"""Commands that run notebooks: run, runs, new, demo."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from labkit.cli.common import ERROR, INCOMPLETE, OK, Commands, command, json_option
from labkit.cli.terminal import answer, out, print_table, say, tell


def register(commands: Commands) -> None:
    """Add the family's commands."""
    run = command(
        commands, "run", _run, "run a notebook through papermill, once or for each value of a list"
    )
    run.add_argument("notebook", type=Path, metavar="NOTEBOOK")
    run.add_argument(
        "-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="@FILE: one run for each line of a file; several: every combination; a text that begins with @: @@text",
    )  # fmt: skip
    run.add_argument(
        "--output", type=Path, default=Path("runs"), metavar="FOLDER", help="default: runs"
    )
    runs = json_option(command(commands, "runs", _runs, "list the runs, or compare two"))
    runs.add_argument(
        "pair", nargs="*", metavar="RUN", help="two of them, by name or its beginning"
    )
    runs.add_argument(
        "--output", type=Path, default=Path("runs"), metavar="FOLDER", help="default: runs"
    )
    new = command(commands, "new", _new, "copy the template, or all the notebooks, to work on")
    new.add_argument("name", nargs="?", type=Path, metavar="NAME.ipynb", help="the new notebook")
    new.add_argument(
        "--course", type=Path, metavar="FOLDER", help="copy all the notebooks into a folder"
    )
    json_option(
        command(
            commands,
            "demo",
            _demo,
            "show everything at work, from the extractor to a charted replay",
        )
    )


def _run(options: argparse.Namespace) -> int:
    from labkit.notebook import parameters, rerun

    texts = parameters.expand(options.parameter)
    if parameters.swept(options.parameter):
        return _sweep(options, texts)
    rerun.check(options.notebook, texts[0])
    (values,) = rerun.type_parameters(options.notebook, texts)
    run = rerun.run(options.notebook, values, folder=options.output, progress=sys.stderr.isatty())
    tell(f"executed notebook: {run.notebook}\nas a page:         {run.html}")
    return OK


def _sweep(options: argparse.Namespace, asked: list[dict[str, str]]) -> int:
    """Run them one after the other; one that fails does not stop the others."""
    from labkit.errors import LabkitError, UsageError
    from labkit.notebook import parameters, rerun

    lists = parameters.swept(options.parameter)
    rerun.check(options.notebook, asked[0])
    values = rerun.type_parameters(options.notebook, asked)
    sizes = " × ".join(
        f"{len(parameters.values(file))} {name} of {file}" for name, file in lists.items()
    )
    say(f"{len(asked)} runs of {options.notebook.name}: {sizes}")
    failed = succeeded = 0
    try:
        for number, (texts, parameters_of_run) in enumerate(zip(asked, values, strict=True), 1):
            label = f"[{number}/{len(asked)}] " + ", ".join(
                f"{name}={texts[name]}" for name in lists
            )
            try:
                run = rerun.run(
                    options.notebook,
                    parameters_of_run,
                    folder=options.output,
                    progress=sys.stderr.isatty(),
                )
                tell(f"{label}: ok, {run.folder}")
            except UsageError:  # would be the same for all of them
                raise
            except LabkitError as error:
                failed += 1
                failed_run = getattr(error, "run", None)
                tell(f"{label}: {error.message}{f', {failed_run.folder}' if failed_run else ''}")
            succeeded = number
    finally:
        say(
            f"{succeeded - failed} ok, {failed} failed, {len(asked) - succeeded} not run; `labkit runs` lists them"
        )
    return ERROR if failed else OK


def _runs(options: argparse.Namespace) -> int:
    from labkit.errors import UsageError
    from labkit.notebook import runs

    if not options.pair:
        table = runs.list_runs(options.output)
        lines = table if options.json else _cut(table, "parameters", "error")
        reason = f"no runs in {options.output}: `labkit run NOTEBOOK` makes one"
        print_table(lines, options, _runs_view, why_empty=reason)
        return OK
    if len(options.pair) != 2:
        raise UsageError(
            f"runs takes two runs or none, not {len(options.pair)}",
            hint="two to compare them, none to list them",
        )
    table = runs.compare(*(runs.find(options.output, name) for name in options.pair))
    same = bool(table["same"].all())
    print_table(table if options.json else _in_words(table), options)
    return OK if same else INCOMPLETE


def _runs_view(rows: Any) -> Any:
    """Return the columns that fit a line: a run's name has its notebook and its time."""
    texts = {name: rows[name].replace("", None) for name in ("parameters", "error")}
    shown = rows[["run", "outcome", "elapsed_s", "records"]].rename(
        columns={"elapsed_s": "seconds"}
    )
    return shown.assign(**{name: text for name, text in texts.items() if text.notna().any()})


def _in_words(found: Any) -> Any:
    return _cut(found.assign(same=found["same"].map({True: "same", False: "different"})), "a", "b")


def _cut(frame: Any, *names: str) -> Any:
    """Return the frame with long texts cut, which shows; --json has them whole."""

    def cut(value: Any) -> Any:
        return value if not isinstance(value, str) or len(value) <= 60 else value[:59] + "…"

    return frame.assign(**{name: frame[name].map(cut) for name in names})


def _new(options: argparse.Namespace) -> None:
    from labkit.errors import UsageError
    from labkit.notebook import bundled

    if (options.name is None) == (options.course is None):
        raise UsageError(
            "no notebook to make is named",
            hint="`labkit new NAME.ipynb`, or `labkit new --course FOLDER`",
        )
    paths = [bundled.new(options.name)] if options.name else bundled.copy(options.course)
    out(*paths)


def _demo(options: argparse.Namespace) -> int:
    from labkit import demo

    os.environ["LABKIT_PROFILE"] = "local"  # the notebook connects to what the demo has started
    summary = demo.run(say)
    answer(options, lambda: json.dumps(summary.to_dict(), indent=2), summary)
    return OK if summary.agrees else INCOMPLETE
