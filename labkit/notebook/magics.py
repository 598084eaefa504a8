"""``%load_ext labkit``: ``%lab``, ``%window`` and ``%%replay``.

``%lab`` connects, ``%window`` freezes a part of a topic with the options of `labkit window`,
``%%replay`` asks it in SQL. Each takes ``--help``, and ``?`` shows its text: ``%window?``.
"""

# IPython's decorators and base class have no types here
# mypy: disable-error-code="misc,untyped-decorator"

from __future__ import annotations

import re
import shlex
import time
from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from labkit.checks.options import Parser, window_bounds, window_options
from labkit.errors import LabkitError, UsageError
from labkit.lab import Lab, connect
from labkit.sinks.replay import Replay
from labkit.text.visible import a_type_of
from labkit.window import Window

_REMEMBER_S = 30.0  # how long topic names are kept between two presses of the tab key


def _lab_parser() -> Parser:
    parser = Parser(prog="%lab", description="Connect, bind the name `lab`, and show it.")
    parser.add_argument(
        "profile", nargs="?", help="a profile of labkit.toml (default: LABKIT_PROFILE, else local)"
    )
    parser.add_argument("--role", default="lab", help="role on the local stack (default: lab)")
    return parser


def _window_parser() -> Parser:
    parser = Parser(
        prog="%window", description="Freeze a part of a topic as offsets; reads nothing."
    )
    window_options(parser)
    parser.add_argument("-o", "--output", metavar="NAME", help="bind the Window to this name")
    return parser


def _replay_parser() -> Parser:
    parser = Parser(
        prog="%%replay",
        description="Ask a window's records in SQL (DuckDB); the table is `replay`.",
    )
    parser.add_argument(
        "of", metavar="NAME", help="a variable: a Window, or a Replay that is read already"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="NAME",
        help="bind the DataFrame to this name instead of showing it",
    )
    parser.add_argument(
        "--decode", metavar="NAME", help="json, text, raw, avro, … or a function of yours"
    )
    parser.add_argument(
        "--where", metavar="CONDITION", help="keep only such records while reading (of a Window)"
    )
    return parser


@magics_class
class LabkitMagics(Magics):
    """The magics; they use the notebook's own ``lab`` where there is one."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._topics: tuple[float, Lab, list[str]] | None = None

    @line_magic
    def lab(self, line: str) -> Lab | None:
        """Connect, bind the name ``lab``, and show it: ``%lab``, ``%lab prod``."""
        options = _options(_lab_parser(), line)
        if options is None:
            return None
        lab = connect(options.profile, role=options.role)
        self.shell.user_ns["lab"] = lab
        return lab

    @line_magic
    def window(self, line: str) -> Window | None:
        """Freeze a part of a topic and show it: ``%window irc --last 6h -o w``.

        The tab key completes topics and options; ``{name}`` puts in a variable.
        """
        options = _options(_window_parser(), line)
        if options is None:
            return None
        _name(options.output)
        bounds = window_bounds(options)
        window = self._lab().window(options.topic, **bounds)
        if options.output:
            self.shell.user_ns[options.output] = window
        return window

    @cell_magic
    def replay(self, line: str, cell: str) -> Any:
        """Ask a window's records in SQL and return a DataFrame.

        The notebook's own frames are tables by their names.

        ::

            %%replay w
            select nick, count(*) n from replay group by 1 order by n desc
        """
        options = _options(_replay_parser(), line)
        if options is None:
            return None
        _name(options.output)
        replay = self._replay(options)
        frame = replay.sql(cell, **self._frames(cell))
        if options.output is None:
            return frame
        self.shell.user_ns[options.output] = frame
        return None

    def _frames(self, query: str) -> dict[str, Any]:
        """Return the notebook's frames that a query reads from.

        A column that is called as a frame does not count.
        """
        import pandas as pd

        from labkit.charts.counts import arrow
        from labkit.tables.duckdb_sql import connect as duckdb_connection
        from labkit.tables.duckdb_sql import syntax, tables

        with duckdb_connection() as connection:
            # none of PIVOT and the like: then any word may be a table
            trees, _ = syntax(connection, query)
        names = tables(trees) if trees else set(re.findall(r"\w+", query))
        values = {name: self.shell.user_ns.get(name) for name in names - {"replay"}}
        frames = {
            name: value
            for name, value in values.items()
            if isinstance(value, pd.DataFrame | pa.Table)
        }
        polars = {name: value for name, value in values.items() if _is_polars(value)}
        return frames | {name: arrow(frame) for name, frame in polars.items()}

    def _replay(self, options: Namespace) -> Replay:
        spaces = self.shell.user_ns
        source = spaces.get(options.of)
        decode = options.decode
        if decode is not None and callable(spaces.get(decode)):
            decode = spaces[decode]
        if isinstance(source, Window):
            return source.read(decode=decode, where=options.where)
        if not isinstance(source, Replay):
            state = f"is {a_type_of(source)}" if options.of in spaces else "is not there"
            raise UsageError(
                f"{options.of!r} {state}",
                hint="name a Window: `%window irc --last 6h -o w` makes one",
            )
        if options.where:
            raise UsageError(
                f"{options.of!r} is read already",
                hint="put the condition into the SQL, or name the Window",
            )
        return source if decode is None else source.decode(decode)

    def _lab(self) -> Lab:
        """Return the notebook's lab; without one, connect as `connect()` does."""
        lab = self.shell.user_ns.get("lab")
        return lab if isinstance(lab, Lab) else connect()

    def complete(self, _shell: Any, event: SimpleNamespace) -> list[str]:
        """Return what may follow: options after a dash, else topics.

        A broker that is away completes nothing.
        """
        if event.symbol.startswith("-"):
            return [word for action in _window_parser()._actions for word in action.option_strings]
        return self._topic_names()

    def _topic_names(self) -> list[str]:
        lab = self._lab()
        if (
            self._topics is None
            or self._topics[1] is not lab
            or time.monotonic() - self._topics[0] > _REMEMBER_S
        ):
            try:
                names = list(lab.cluster.topics())
            except LabkitError:
                names = []
            self._topics = (time.monotonic(), lab, names)
        return self._topics[2]


def _is_polars(what: Any) -> bool:
    return (
        type(what).__module__.startswith("polars.")
        and hasattr(what, "to_arrow")
        and hasattr(what, "columns")
    )


def load(shell: Any) -> None:
    """Add the magics to an IPython shell."""
    magics = LabkitMagics(shell)
    shell.register_magics(magics)
    shell.set_hook("complete_command", magics.complete, str_key="%window")


def _options(parser: Parser, line: str) -> Namespace | None:
    """Return the parsed line, or None after showing the help that was asked for."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{parser.prog}: {error}", hint="close the quotes") from error
    if {"-h", "--help"} & set(words):
        print(parser.format_help())
        return None
    return parser.parse_args(words)


def _name(text: str | None) -> None:
    """Refuse to bind to a word that is not a name, before anything is asked of a server."""
    if text is not None and not text.isidentifier():
        raise UsageError(f"-o {text!r} is not a name", hint="write such as -o w")


for _magic, _parser in (
    ("lab", _lab_parser),
    ("window", _window_parser),
    ("replay", _replay_parser),
):
    _method = getattr(LabkitMagics, _magic)
    _method.__doc__ = f"{_method.__doc__}\n\n{_parser().format_help()}"
