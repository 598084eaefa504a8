"""BEHAVIOURS 78: no query makes DuckDB fetch an extension or reach the network.

`where=` reads no file at all.
"""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from labkit.decode.filter import Where
from labkit.errors import UsageError
from labkit.tables.duckdb_sql import connect, duckdb, reason, refuse_extensions

BATCH = pa.table({"nick": ["ada", "bob"]})
SECRET = "a variable of a caller"


class Listener:
    """Listens on a port of its own and counts who comes."""

    def __enter__(self) -> Listener:
        self.visits = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._count, daemon=True).start()
        return self

    def _count(self) -> None:
        while True:
            try:
                self._socket.accept()[0].close()
            except OSError:
                return
            self.visits += 1

    def __exit__(self, *_: Any) -> None:
        self._socket.close()


def conditions(file: Path, address: str) -> list[str]:
    return [
        f"nick in (select content from read_text('{file}'))",
        f"nick in (select content from read_blob('{file}'))",
        f"nick in (select * from '{file}')",
        f"nick in (select column0 from read_csv('{file}'))",
        f"nick in (select file from glob('{file.parent}/*'))",
        f"nick in (select column0 from read_csv('http://{address}/x.csv'))",
        f"nick in (select column0 from 's3://{address}/x.parquet')",
        "nick in (select name from sqlite_scan('x', 'y'))",
        "nick in (select a from frame)",
        "nick in (select name from duckdb_secrets())",
        "nick = getenv('HOME')",
    ]


def test_a_condition_reads_no_file_no_variable_and_no_network(tmp_path: Path) -> None:
    """BEHAVIOURS 78: it is text that may come from a parameter, a widget or a file."""
    file = tmp_path / "secret.csv"
    file.write_text("ada\n")
    frame = pa.table({"a": ["ada"]})
    with Listener() as listener:
        for condition in conditions(file, listener.address):
            with pytest.raises(UsageError):
                Where(condition).rows(BATCH)
        assert listener.visits == 0
    assert Where("nick like 'a%'").rows(frame.rename_columns(["nick"])).tolist() == [0]


@pytest.mark.parametrize(
    "query",
    [
        "install httpfs",
        "load httpfs",
        "select 1; install httpfs; select 2",
        "force install sqlite from community",
        "update extensions",
        "import database 'folder'",
        "/* */ Import Database 'folder'; select 1",
        "pragma import_database('folder')",
    ],
)
def test_sql_loads_no_extension(query: str) -> None:
    """BEHAVIOURS 78: `sql` may read this user's files, but nothing is fetched for it.

    IMPORT DATABASE runs a file in which INSTALL may stand.
    """
    with pytest.raises(UsageError, match="installs and loads no extension"):
        refuse_extensions(query)


def test_sql_reads_files_of_ones_own_and_reaches_no_network(tmp_path: Path) -> None:
    file = tmp_path / "teams.csv"
    file.write_text("nick,team\nada,red\n")
    with Listener() as listener, connect(files=True) as connection:
        assert connection.execute(f"select team from '{file}'").fetchall() == [("red",)]
        for place in (
            f"read_csv('http://{listener.address}/x.csv')",
            f"'s3://{listener.address}/x.parquet'",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(f"select * from {place}")
        for setting in (
            "autoinstall_known_extensions",
            "autoload_known_extensions",
            "python_enable_replacements",
        ):
            with pytest.raises(duckdb.Error, match="locked"):
                connection.execute(f"set {setting} = true")
        assert listener.visits == 0
    assert "INSTALL" not in reason(
        duckdb.Error("x requires httpfs. Please try installing: INSTALL")
    )
    refuse_extensions(
        "select 1; from replay; summarize replay; pivot replay on nick using count(*)"
    )
