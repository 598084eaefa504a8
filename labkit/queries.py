"""SQL asked of windows: the part of `Window` and `Lab` that asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.checks.suggest import did_you_mean
from labkit.checks.user_line import warn
from labkit.checks.validation import part_of, refuses
from labkit.config.working_folder import working_folder
from labkit.errors import IncompleteWarning, UsageError
from labkit.reads import WindowReads
from labkit.replay.reader import Isolation, OnExpired
from labkit.waiting.interrupt import quiet_stop

if TYPE_CHECKING:
    import pandas as pd

    from labkit.decode import Spec
    from labkit.enrich import Enricher
    from labkit.sinks.sql import SpooledWindow
    from labkit.window import Window

_OPTIONS = (
    "decode", "key_decode", "types", "where", "enrich", "isolation", "on_expired", "max_bytes", "deadline", "guard",
)  # fmt: skip
NOTHING = "stopped; nothing is kept: the query was not answered yet"


@part_of("Window")
class WindowQueries(WindowReads):
    """The part of `Window` that asks DuckDB, in constant memory."""

    @refuses(on_interrupt="Stop ends a query, and there is no part of an answer")
    def sql(
        self,
        query: str,
        *,
        decode: Spec | None = None,
        key_decode: Spec | None = None,
        types: Mapping[str, Any] | None = None,
        where: str | None = None,
        enrich: Iterable[Enricher] | Enricher = (),
        isolation: Isolation = "read_committed",
        on_expired: OnExpired = "error",
        max_bytes: int | None = None,
        deadline: str | None = None,
        guard: bool = True,
        progress: bool | None = None,
        **tables: Any,
    ) -> pd.DataFrame:
        """Ask DuckDB of the window's records, which are the table ``replay``.

        It takes constant memory where the query allows it. The records land in a file of a
        temporary folder first (``TMPDIR`` names another), so a query of any window takes the disk
        and not the memory; what is sorted, joined or grouped spills there too. The answer is a
        frame in memory: ask for less than all. Rows come in the order in which Kafka gave them:
        sort where it matters.

        Parameters
        ----------
        query : str
            As in `Replay.sql`.
        decode, key_decode, types, where, enrich, isolation, on_expired, max_bytes, deadline, guard,
        progress
            As in `read`.
        **tables : DataFrame or Arrow table
            More tables, under these names.

        Returns
        -------
        DataFrame
            Its ``.attrs["receipts"]`` has the receipt of the read, as plain values, under
            ``"replay"``.

        Raises
        ------
        IncompleteError
            When the window was not read to its end, but for `max_bytes` and ``on_expired="clamp"``,
            which warn.
        UsageError
            When DuckDB refuses the query, or needs more memory or disk than there is.

        Examples
        --------
        >>> w.sql("select nick, count(*) n from replay group by 1 order by n desc limit 20")  # doctest: +SKIP
        """
        options = {
            "decode": decode, "key_decode": key_decode, "types": types, "where": where, "enrich": enrich,
            "isolation": isolation, "on_expired": on_expired, "max_bytes": max_bytes, "deadline": deadline,
            "guard": guard,
        }  # fmt: skip
        if "replay" in tables:
            raise UsageError(
                "the name replay is taken: it is the window", hint="give the table another name"
            )
        return _ask(query, {"replay": self}, {"replay": options}, tables, progress)  # type: ignore[dict-item]


@part_of("Lab")
class LabQueries:
    """The part of `Lab` that asks DuckDB of several windows."""

    def sql(
        self,
        query: str,
        /,
        *,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        progress: bool | None = None,
        **tables: Any,
    ) -> pd.DataFrame:
        """Ask DuckDB of several windows, in constant memory where the query allows it.

        See `Window.sql`.

        Parameters
        ----------
        query : str
        options : dict, optional
            How a window is read, by its name: ``{"a": {"decode": "avro"}}``; the options are those
            of `Window.sql`.
        progress : bool, optional
            Show a bar; by default in a notebook or a terminal only.
        **tables : Window, Replay, DataFrame or Arrow table
            The tables, under these names.

        Returns
        -------
        DataFrame
            Its ``.attrs["receipts"]`` has the receipt of each window and Replay, as plain values,
            by its name.

        Examples
        --------
        >>> lab.sql("select a.n, b.total from a join b using (id)", a=orders, b=bills)  # doctest: +SKIP
        """
        from labkit.window import Window

        windows = {name: table for name, table in tables.items() if isinstance(table, Window)}
        rest = {name: table for name, table in tables.items() if name not in windows}
        for name in options or {}:
            if name not in windows:
                raise UsageError(
                    f"options are given for {name!r}, which is not a window here",
                    hint=f"the windows are: {', '.join(windows) or 'none; lab.sql(query, a=lab.window(…))'}",
                )
        return _ask(query, windows, options or {}, rest, progress)


def _ask(
    query: str,
    windows: Mapping[str, Window],
    options: Mapping[str, Mapping[str, Any]],
    others: Mapping[str, Any],
    progress: bool | None,
) -> pd.DataFrame:
    """Read each window into a file, then ask.

    What is no table is refused before anything is read.
    """
    from labkit.sinks.replay import Replay
    from labkit.sinks.sql import ask, check_query, require_whole

    replays = {name: table for name, table in others.items() if isinstance(table, Replay)}
    frames = {name: table for name, table in others.items() if name not in replays}
    check_query(query, [*windows, *replays], frames)
    receipts: dict[str, Any] = {}
    with quiet_stop(NOTHING), working_folder() as folder:
        own: dict[str, Any] = {}
        for name, window in windows.items():
            own[name] = spooled = _spool(
                window, folder / f"{len(own)}.arrow", progress, options.get(name, {})
            )
            if shortfall := require_whole(
                f"the window {name!r} of {window.topic!r}", spooled.receipt
            ):
                warn(f"the window {name!r} of {window.topic!r} is {shortfall}", IncompleteWarning)
            receipts[name] = spooled.receipt.to_dict()
        for name, replay in replays.items():
            replay.warn_when_incomplete()
            own[name], receipts[name] = replay.table, replay.receipt.to_dict()
        answer = ask(query, own, frames, folder)
    answer.attrs["receipts"] = receipts
    return answer


def _spool(
    window: WindowReads, path: Path, progress: bool | None, options: Mapping[str, Any]
) -> SpooledWindow:
    """Read a window into a file at `path`."""
    from labkit.sinks.sql import spool_window

    for name in options:
        if name not in _OPTIONS:
            raise UsageError(
                f"a window of sql has no option {name!r}",
                hint=f"{did_you_mean(name, _OPTIONS)}the options are {', '.join(_OPTIONS)}",
            )
    spec = window._spec(**options, progress=progress)
    with window._open(spec, NOTHING) as source:
        spooled = spool_window(source, path)
    window._conclude(
        "sql", spooled.receipt, spec, cancelled=source.reading.was_cancelled, part={"receipt": spooled.receipt},
        outcome=f" of {window.plan.topic!r}", hint="nothing is kept, and the query was not asked",
    )  # fmt: skip
    return spooled
