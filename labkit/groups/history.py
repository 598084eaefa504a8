"""A history of looks on disk: a folder of whole Parquet files, safe to kill at any moment.

Each look is one small file, which appears whole or not at all (written beside, then renamed). When
there are many, they are joined into one of the next level: it appears first, then the small ones
go. A kill between the two leaves both, which does no harm: rows are known by time, group and
partition, and counted once. Several may write to one folder, and read from it, at a time.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labkit.checks.user_line import warn
from labkit.errors import NotFoundError, UsageError
from labkit.groups.looks import Sample
from labkit.groups.states import Flag, Next

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = pa.schema(
    [
        ("at", pa.timestamp("ms", tz="UTC")),
        ("group", pa.string()),
        ("state", pa.string()),
        ("members", pa.int32()),
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("committed", pa.int64()),
        ("log_start", pa.int64()),
        ("log_end", pa.int64()),
        ("lag", pa.int64()),
        ("flag", pa.string()),
        ("member", pa.string()),
        ("host", pa.string()),
        ("behind_ms", pa.int64()),
        ("next", pa.string()),
    ]
)
KEY = ["at", "group", "topic", "partition"]
GAP = 3  # looks left out, after which those before tell nothing
MANY = 60  # files of one level: at a look every 10 s, those of ten minutes
_ROWS = 4_000_000  # no file is joined beyond this
_LEVELS = 3


class History:
    """A folder that samples are appended to.

    Raises
    ------
    UsageError
        When the folder cannot be made, or the path is something else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.folder = Path(path)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{path} cannot be a history's folder: {error.strerror}",
                hint="name a folder, a new or a former one",
            ) from error

    def append(self, samples: Sequence[Sample]) -> None:
        """Keep one look."""
        if not samples:
            return
        columns = []
        for name, kind in _COLUMNS:
            attribute = attrgetter(_FIELDS.get(name, name))
            columns.append(pa.array(list(map(attribute, samples)), kind))
        table = pa.table(columns, schema=SCHEMA)
        self._write(table, 0)
        for level in range(_LEVELS):
            if len(_files(self.folder, level)) >= MANY:
                self._join(level)

    def _write(self, table: pa.Table, level: int) -> None:
        first = table.column("at").cast(pa.int64())[0].as_py()
        name = f"lag-{level}-{first:013d}-{uuid.uuid4().hex[:8]}.parquet"
        part = self.folder / f".{name}.part"
        try:
            with part.open("wb") as file:
                pq.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.folder / name)
        except OSError as error:
            raise UsageError(
                f"{self.folder} cannot be written: {error.strerror}",
                hint="check the space and the rights",
            ) from error
        finally:
            part.unlink(missing_ok=True)

    def _join(self, level: int) -> None:
        """Join files of a level into one of the next, the oldest first."""
        paths: list[Path] = []
        tables: list[pa.Table] = []
        rows = 0
        for path in _files(self.folder, level):
            table = _read(path)
            if table is None:
                continue
            if tables and rows + len(table) > _ROWS:
                break
            paths.append(path)
            tables.append(table)
            rows += len(table)
        if tables:
            self._write(_unique(tables), level + 1)
        for path in paths:
            path.unlink(missing_ok=True)
        for path in self.folder.glob(".lag-*.part"):  # of a process that was killed
            if path.stat().st_mtime < self.folder.stat().st_mtime - 3600:
                path.unlink(missing_ok=True)


_FIELDS = {"at": "at_ms"}
_COLUMNS = list(zip(SCHEMA.names, SCHEMA.types, strict=True))


def _files(folder: Path, level: int | str = "*") -> list[Path]:
    return sorted(
        folder.glob(f"lag-{level}-*.parquet"), key=lambda path: path.name.split("-", 2)[2]
    )


def _read(path: Path) -> pa.Table | None:
    try:
        return pq.read_table(path, schema=SCHEMA, partitioning=None)
    except FileNotFoundError:  # joined by another process just now: its rows are in a new file
        return None
    except (OSError, pa.ArrowInvalid) as error:
        warn(f"{path} is left out: it is not a file of a history ({error})")
        return None


def _unique(tables: Iterable[pa.Table]) -> pa.Table:
    """Return all rows by time, each once."""
    table = pa.concat_tables(tables)
    counted = table.append_column("row", pa.array(np.arange(len(table))))
    rows = counted.group_by(KEY).aggregate([("row", "min")]).column("row_min")
    return table.take(rows).sort_by([(name, "ascending") for name in KEY])


def read_history(path: str | os.PathLike[str]) -> pa.Table:
    """Return all rows of a history, by time, group, topic and partition; see `SCHEMA`.

    Raises
    ------
    NotFoundError
        When there is no such folder.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise NotFoundError(
            f"there is no history {str(path)!r}",
            hint="`labkit lag --watch --record PATH` makes one",
        )
    while True:
        paths = _files(folder)
        tables = [_read(path) for path in paths]
        if set(paths) <= set(_files(folder)) or len(tables) == 0:  # nothing was joined meanwhile
            break
    return _unique([SCHEMA.empty_table(), *(table for table in tables if table is not None)])


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Return a history as a DataFrame; whole numbers with gaps stay whole."""
    import pandas as pd

    frame: pd.DataFrame = table.to_pandas(
        types_mapper={pa.int64(): pd.Int64Dtype(), pa.string(): pd.StringDtype("pyarrow")}.get
    )
    return frame


def samples_of(history: pd.DataFrame | pa.Table, last: int | None = None) -> list[Sample]:
    """Return a history's rows as samples.

    With `last`, only so many newest looks at each group are returned, and none before a gap. A gap
    is one of `GAP` looks: whether commits stood still meanwhile is unknown.
    """
    table = (
        history
        if isinstance(history, pa.Table)
        else pa.Table.from_pandas(history, preserve_index=False)
    )
    missing = set(SCHEMA.names) - set(table.column_names)
    if missing:
        raise UsageError(
            f"this DataFrame is not a history of lag: it lacks {', '.join(sorted(missing))}",
            hint="lab.lag_history(PATH) reads one",
        )
    table = table.select(SCHEMA.names).cast(SCHEMA)
    if last is not None and len(table):
        looks = table.select(["group", "at"]).group_by(["group", "at"]).aggregate([])
        newest: dict[str, list[int]] = {}
        for group, at in zip(
            looks["group"].to_pylist(), looks["at"].cast(pa.int64()).to_pylist(), strict=True
        ):
            newest.setdefault(group, []).append(at)
        since = {group: _since_gap(sorted(times)[-last:]) for group, times in newest.items()}
        floor = pa.array([since[group] for group in table["group"].to_pylist()], pa.int64())
        table = table.filter(pc.greater_equal(table["at"].cast(pa.int64()), floor))
    columns = {name: table[name].to_pylist() for name in SCHEMA.names if name != "at"}
    columns["at_ms"] = table["at"].cast(pa.int64()).to_pylist()
    columns["flag"] = [Flag(flag or "") for flag in columns["flag"]]
    columns["next"] = [Next(following or "") for following in columns["next"]]
    rows = zip(*columns.values(), strict=True)
    return [Sample(**dict(zip(columns, row, strict=True))) for row in rows]


def _since_gap(times: list[int]) -> int:
    """Return the first of the times that no gap follows."""
    steps = np.diff(times)
    usual = sorted(steps)[len(steps) // 2] if len(steps) else 0
    gaps = np.flatnonzero(steps > GAP * usual)
    return times[int(gaps[-1]) + 1 if len(gaps) else 0]
