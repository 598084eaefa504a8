"""The runs of notebooks, listed and compared: each is a folder with output and ``run.json``."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from labkit.checks.suggest import did_you_mean
from labkit.checks.validation import check_fields, read_json
from labkit.errors import LabkitError, UsageError
from labkit.replay import read_log
from labkit.replay.plan import Plan
from labkit.text import html
from labkit.text.plain_enum import PlainEnum
from labkit.text.visible import visible
from labkit.times import iso, now_ms

if TYPE_CHECKING:
    import pandas as pd

    from labkit.window import Window

FORMAT = 1
_LIBRARIES = (
    "labkit", "confluent-kafka", "elasticsearch", "pyarrow", "pandas", "polars", "duckdb", "altair", "papermill",
)  # fmt: skip
_COLUMNS = (
    "run",
    "notebook",
    "started",
    "outcome",
    "elapsed_s",
    "reads",
    "records",
    "parameters",
    "error",
)


_KINDS: dict[str, type | tuple[type, ...]] = {
    "notebook": str, "parameters": dict, "started": str, "elapsed_s": (int, float, NoneType), "outcome": str,
    "error": (str, NoneType), "versions": dict, "reads": list,
}  # fmt: skip


class RunOutcome(PlainEnum):
    """How a run ended."""

    OK = "ok"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    UNFINISHED = "unfinished"  # it runs, or was killed
    UNREADABLE = "unreadable"  # its record is


@dataclass(frozen=True)
class Run:
    """One executed notebook.

    Attributes
    ----------
    folder : Path
        ``notebook.ipynb``, the notebook with its output; ``page.html``, the same as a page, in
        which no script runs; ``run.json``, the record: notebook, parameters, started, elapsed_s,
        outcome (ok | failed | interrupted | unfinished), error (its first line), versions, and
        reads: the frozen window and the receipt of each.
    """

    folder: Path

    @property
    def notebook(self) -> Path:
        """The notebook with its output."""
        return self.folder / "notebook.ipynb"

    @property
    def html(self) -> Path:
        """The same as a page."""
        return self.folder / "page.html"

    @property
    def receipts(self) -> Path:
        """The reads as they happen; part of the record once the run has ended."""
        return self.folder / "receipts.jsonl"

    @property
    def record(self) -> dict[str, Any]:
        """What ``run.json`` says; of a run that was killed also the reads so far."""
        path = self.folder / "run.json"
        try:
            record = read_json(path.read_text(encoding="utf-8"))
            if record["labkit_run"] != FORMAT:
                raise ValueError("another format")
            check_fields(record, _KINDS)
            reads = record["reads"] or read_log.entries(self.receipts)
            for read in reads:
                check_fields(read, {"receipt": dict})
                check_fields(read["receipt"], {"topic": str, "read": int})
            check_fields({"reads": sum(read["receipt"]["read"] for read in reads)}, {"reads": int})
            return {**record, "reads": reads}
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = error if type(error) is ValueError else type(error).__name__
            raise UsageError(
                f"{path} cannot be read: {why}", hint="`labkit runs` lists them"
            ) from error

    @classmethod
    def begin(cls, folder: Path, source: Path, parameters: Mapping[str, Any]) -> Run:
        """Make a run's folder and its record, which says unfinished until `end`."""
        while True:
            run = cls(folder / f"{source.stem}-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"[:-3])
            try:
                run.folder.mkdir(parents=True)
                break
            except FileExistsError:
                if not run.folder.is_dir():
                    raise
        run._write({
            "labkit_run": FORMAT, "notebook": source.name, "source": str(source), "parameters": dict(parameters),
            "started": iso(now_ms()), "elapsed_s": None, "outcome": RunOutcome.UNFINISHED, "error": None,
            "versions": _versions(), "reads": [],
        })  # fmt: skip
        return run

    @property
    def windows(self) -> list[Window]:
        """The windows that it read, each once, in the order in which it read them first."""
        from labkit.lab import connect
        from labkit.window import Window

        plans: dict[str, Plan] = {}
        for read in self.record["reads"]:
            try:
                plan = Plan.from_json(json.dumps(read["window"]))
            except (LabkitError, KeyError, TypeError) as error:
                raise UsageError(
                    f"{self.folder} has a read whose window cannot be understood",
                    hint="was run.json changed by hand?",
                ) from error
            plans.setdefault(plan.hash, plan)
        lab = connect() if plans else None
        return [Window(plan, lab) for plan in plans.values() if lab is not None]

    @property
    def window(self) -> Window:
        """The first window that it read; `windows` has all of them.

        Raises
        ------
        UsageError
            When it read none.
        """
        windows = self.windows
        if not windows:
            outcome = self.record["outcome"]
            raise UsageError(
                f"the run {self.folder.name} ({outcome}) read no window",
                hint="labkit.runs() lists the runs",
            )
        return windows[0]

    def end(self, outcome: RunOutcome, error: str | None, elapsed_s: float) -> None:
        """Write down how it ended, and what was read."""
        self._write(
            {**self.record, "outcome": outcome, "error": error, "elapsed_s": round(elapsed_s, 1)}
        )
        self.receipts.unlink(missing_ok=True)

    def _write(self, record: dict[str, Any]) -> None:
        part = self.folder / ".run.json.part"
        part.write_text(json.dumps(record, indent=1, default=str), encoding="utf-8")
        part.replace(self.folder / "run.json")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


@dataclass(frozen=True, repr=False)
class Runs:
    """The runs in a folder, the newest last; shown as a table."""

    folder: Path

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per run.

        Its columns: run, notebook, started, outcome, elapsed_s, reads, records, parameters, error.
        """
        return list_runs(self.folder)

    def __len__(self) -> int:
        return len(self.to_pandas())

    def __iter__(self) -> Iterator[Run]:
        return (Run(self.folder / name) for name in self.to_pandas()["run"])

    def __getitem__(self, name: str) -> Run:
        """Return the run whose folder is `name`, or the only one whose name begins so."""
        return find(self.folder, name)

    def last(self, notebook: str | None = None) -> Run:
        """Return the newest run, whatever came of it; with `notebook` the newest of that one.

        Parameters
        ----------
        notebook : str, optional
            Its name, with or without ``.ipynb``.

        Raises
        ------
        UsageError
            When there is none.
        """
        frame = self.to_pandas()
        stems = frame["notebook"].map(lambda name: Path(name).stem, na_action="ignore")
        matching = (
            frame
            if notebook is None
            else frame[stems == Path(str(notebook)).name.removesuffix(".ipynb")]
        )
        if matching.empty:
            names_with_runs = ", ".join(sorted(set(stems.dropna()))) or "none"
            of = "" if notebook is None else f" of the notebook {notebook!r}"
            near = "" if notebook is None else did_you_mean(str(notebook), stems.dropna())
            raise UsageError(
                f"{self.folder} has no run{of}",
                hint=f"{near}notebooks with runs: {names_with_runs}; "
                "`labkit run NOTEBOOK` makes one, or labkit.runs(FOLDER)",
            )
        return Run(self.folder / matching["run"].iloc[-1])

    def __repr__(self) -> str:
        frame = self.to_pandas()
        return (
            f"no runs in {self.folder}"
            if frame.empty
            else visible(frame.to_string(index=False, max_colwidth=40), keep="\n")
        )

    @html.view
    def _repr_html_(self) -> str:
        frame = self.to_pandas()
        if frame.empty:
            folder = escape(str(self.folder))
            return f"no runs in <code>{folder}</code>: <code>labkit run NOTEBOOK</code> makes one"
        shown = frame.astype(object).where(frame.notna(), "").astype(str)
        return html.table(
            [str(name) for name in shown],
            [[escape(cell) for cell in row] for row in shown.to_numpy()],
            one_line=True,
        )


def runs(folder: str | os.PathLike[str] = "runs") -> Runs:
    """Return the runs of notebooks that ``labkit run`` left in `folder`.

    Examples
    --------
    >>> labkit.runs().last("01-discover").window  # doctest: +SKIP
    """
    return Runs(Path(folder))


def list_runs(folder: Path) -> pd.DataFrame:
    """Return one row per run, the newest last.

    Its columns: run, notebook, started, outcome, elapsed_s, reads, records, parameters, error. A
    record that cannot be read has the outcome ``unreadable``.
    """
    import pandas as pd

    rows = [_row(Run(path.parent)) for path in folder.glob("*/run.json")]
    rows.sort(key=lambda row: (row["started"] or "", row["run"]))
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    return frame.astype({"reads": "Int64", "records": "Int64", "elapsed_s": "Float64"})


def _row(run: Run) -> dict[str, Any]:
    try:
        record = run.record
        records = sum(read["receipt"]["read"] for read in record["reads"])
        parameters = ", ".join(
            f"{name}={_short(value)}" for name, value in record["parameters"].items()
        )
        return {
            **record,
            "run": run.folder.name,
            "reads": len(record["reads"]),
            "records": records,
            "parameters": parameters,
        }
    except UsageError as error:
        return {
            "run": run.folder.name,
            "started": None,
            "outcome": RunOutcome.UNREADABLE,
            "error": str(error).split("\n")[0],
        }


def find(folder: Path, name: str) -> Run:
    """Return the run whose folder is `name`, or the only one in `folder` whose name begins so.

    Raises
    ------
    UsageError
        When there is none, or more than one.
    """
    for path in (folder / name, Path(name)):
        if name and (path / "run.json").is_file():
            return Run(path)
    near = sorted(
        path.parent for path in folder.glob("*/run.json") if path.parent.name.startswith(name)
    )
    if len(near) == 1:
        return Run(near[0])
    if near:
        examples = ", ".join(path.name for path in near[:4]) + (", …" if len(near) > 4 else "")
        raise UsageError(
            f"{len(near)} runs in {folder} begin with {name!r}",
            hint=f"give one's full name: {examples}",
        )
    raise UsageError(f"{folder} has no run {name!r}", hint="`labkit runs` lists them")


def compare(first: Run, second: Run) -> pd.DataFrame:
    """Hold two runs against each other.

    Returns
    -------
    DataFrame
        One row per fact: what, a, b, same. The nth read of a topic is held against the other's nth;
        equal hashes are equal records.
    """
    import pandas as pd

    a, b = _facts(first.record), _facts(second.record)
    names = dict.fromkeys([*a, *b])
    rows = [{"what": name, "a": a.get(name), "b": b.get(name)} for name in names]
    frame = pd.DataFrame(rows, columns=["what", "a", "b"], dtype=object)
    frame["same"] = [row["a"] == row["b"] for row in rows]
    order = ["notebook", "outcome", "error", "parameter", "read", "version"]
    rank = frame["what"].map(lambda what: order.index(what.split(" ")[0]))
    return frame.iloc[rank.argsort(kind="stable")].reset_index(drop=True)


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {name: record.get(name) for name in ("notebook", "outcome", "error")}
    facts |= {f"parameter {name}": _short(value) for name, value in record["parameters"].items()}
    counts: dict[str, int] = {}
    for read in record["reads"]:
        receipt = read["receipt"]
        topic = receipt["topic"]
        counts[topic] = counts.get(topic, 0) + 1
        for name, key in (
            ("window", "window"),
            ("records", "read"),
            ("complete", "complete"),
            ("hash", "hash"),
        ):
            if receipt.get(key) != "":  # a read on a cluster of workers has no hash
                facts[f"read {topic} {counts[topic]}: {name}"] = receipt.get(key)
    return facts | {f"version {name}": number for name, number in record["versions"].items()}


def _short(value: Any) -> str:
    """Return a parameter as text.

    A frozen window by its topic and hash, the same for the same records.
    """
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    try:
        plan = Plan.from_json(text)
    except LabkitError:
        return text
    return f"<window {plan.topic} {plan.hash}>"
