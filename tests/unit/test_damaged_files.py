"""BEHAVIOURS 80, 81: a damaged or hostile file of labkit's own is one clear error.

The others are still listed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pyarrow as pa
import pytest

from labkit.errors import ConfigError, StackError, UsageError
from labkit.notebook import rerun, runs
from labkit.pipelines.files.journal import Journal
from labkit.replay import plan_view, read_log
from labkit.replay.plan import Plan
from labkit.sinks import cache
from labkit.stack.state import State

DEEP = "[" * 10_000 + "]" * 10_000
HOSTILE = [
    "", "{", "null", "5", "[]", DEEP, '{"a":' * 10_000 + "1" + "}" * 10_000, '{"labkit_run": 1e999}',
    '{"labkit_run": 1, "reads": 5, "parameters": 5}',
    '{"labkit_run": 1, "reads": [[]], "parameters": {"a": ' + DEEP + "}}",
    '{"labkit_window": 1, "topic": "irc", "ranges": [[0, 1e999, 2, 3]]}',
    '{"labkit_window": 1, "ranges": ' + DEEP + "}",
    "9" * 5000, "\x00", '{"services": ' + DEEP + "}",
]  # fmt: skip


RUN: dict[str, Any] = {
    "labkit_run": runs.FORMAT, "notebook": "n.ipynb", "source": "n.ipynb", "parameters": {}, "outcome": "ok",
    "started": "2020-01-01T00:00:00Z", "elapsed_s": 1.0, "error": None, "versions": {}, "reads": [],
}  # fmt: skip
READ = {"receipt": {"topic": "irc", "read": 1}}
NO_RUNS: list[dict[str, Any]] = [
    {"started": 5}, {"started": None}, {"elapsed_s": "1"}, {"elapsed_s": [1]}, {"notebook": 5}, {"outcome": {}},
    {"error": 5}, {"versions": 5}, {"versions": None}, {"parameters": [1]}, {"reads": {"a": READ}}, {"reads": [5]},
    {"reads": [{"receipt": {"topic": "irc", "read": 1.5}}]}, {"reads": [{"receipt": {"read": 1}}]},
    {"reads": [{"receipt": {"topic": "irc", "read": 10**30}}]}, {"reads": [{"receipt": {"topic": 5, "read": 1}}]},
    {"reads": [{"receipt": {"topic": "irc", "read": 2**62}}] * 2},
]  # fmt: skip
WINDOW: dict[str, Any] = {
    "labkit_window": 1, "topic": "irc", "cluster_id": "c", "topic_id": "t", "ranges": [[0, 0, 5, 5]],
    "start_ms": None, "end_ms": None, "timestamp_type": "CreateTime", "asked": "all", "frozen_ms": 0,
}  # fmt: skip
NO_WINDOWS: list[dict[str, Any]] = [
    {"asked": 5}, {"asked": {}}, {"cluster_id": None}, {"topic_id": 5}, {"timestamp_type": []}, {"frozen_ms": None},
    {"frozen_ms": 2**63}, {"start_ms": 10**30}, {"end_ms": True}, {"start_ms": 0.5}, {"ranges": {}},
    {"ranges": [[0, 0, 2**63, 2**63]]}, {"ranges": [[2**31, 0, 5, 5]]}, {"ranges": [[-1, 0, 5, 5]]},
    {"ranges": [[0, 0.5, 5, 5]]}, {"ranges": [["0", "0", "5", "5"]]}, {"ranges": [[0, True, 5, 5]]},
    {"ranges": [[0, 0, 5]]}, {"ranges": [5]},
]  # fmt: skip


@pytest.mark.parametrize("change", NO_RUNS, ids=str)
def test_a_record_of_a_run_with_other_types_hides_no_other_run(
    change: dict[str, Any], tmp_path: Path
) -> None:
    """BEHAVIOURS 81: well-formed JSON, and the list of all runs ended in a traceback."""
    for name, record in (("a-good", RUN), ("b-bad", {**RUN, **change})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(record))
    listed = runs.runs(tmp_path)
    outcomes = listed.to_pandas().set_index("run")["outcome"]
    assert outcomes.to_dict() == {"a-good": "ok", "b-bad": "unreadable"}
    assert "a-good" in repr(listed)
    assert "a-good" in listed._repr_html_()
    assert listed.last("n").folder.name == "a-good"
    with pytest.raises(UsageError, match=r"run\.json cannot be read"):
        runs.compare(listed["a-good"], listed["b-bad"])


def test_what_a_record_of_a_run_says_controls_no_terminal(tmp_path: Path) -> None:
    """The error of a notebook may be a record's text."""
    (tmp_path / "a").mkdir()
    record = {**RUN, "outcome": "failed", "error": "ValueError: \x1b[2J\u202e"}
    (tmp_path / "a" / "run.json").write_text(json.dumps(record))
    assert r"\u001b[2J\u202e" in repr(runs.runs(tmp_path))


@pytest.mark.parametrize("change", NO_WINDOWS, ids=str)
def test_a_window_of_other_types_is_refused(change: dict[str, Any]) -> None:
    """BEHAVIOURS 81: it was taken, and ended in a traceback when it was shown or read."""
    assert Plan.from_json(json.dumps(WINDOW)).size == 5
    with pytest.raises(UsageError, match=r"this is not a window|offsets are damaged"):
        Plan.from_json(json.dumps({**WINDOW, **change}))


def test_the_words_of_a_window_control_no_terminal() -> None:
    plan = Plan.from_json(json.dumps({**WINDOW, "asked": "\x1b[2J\nforged"}))
    assert r"\u001b[2J\nforged" in plan_view.text(plan)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_each_of_our_files_is_one_clear_error(text: str, tmp_path: Path) -> None:
    """BEHAVIOURS 81: a damaged file is no traceback of Python's.

    The files are run.json, Window JSON, the journal and stack.json.
    """
    with pytest.raises(UsageError, match="this is not a window"):
        Plan.from_json(text)

    good, bad = tmp_path / "runs" / "a-good", tmp_path / "runs" / "b-bad"
    for folder in (good, bad):
        folder.mkdir(parents=True)
    runs.Run(good)._write({**RUN, "parameters": {"window": text}})
    (bad / "run.json").write_text(text)
    listed = runs.list_runs(tmp_path / "runs").set_index("run")
    assert listed.loc["a-good", "outcome"] == "ok"
    assert listed.loc["b-bad", "outcome"] == "unreadable"

    journal = tmp_path / "extracted.json"
    journal.write_text(text)
    try:
        Journal(journal, cluster_id="c", topic="irc")
    except ConfigError as error:
        assert "journal" in error.message  # noqa: PT017

    (tmp_path / "stack.json").write_text(text)
    with pytest.raises(StackError, match="is damaged"):
        State.load(tmp_path)

    log = tmp_path / "reads.jsonl"
    log.write_text(text + '\n{"how": "read"}\n')
    assert {"how": "read"} in read_log.entries(log)


def test_a_damaged_window_of_the_cache_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BEHAVIOURS 81: whatever a byte of it was changed to."""
    tmp_path.chmod(0o755)
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    path = cache.folder() / "x.arrow"
    for metadata in (
        b"",
        b"{",
        DEEP.encode(),
        b"[]",
        b'{"receipt": 5, "at": 1}',
        b'{"receipt": {"read": {}}, "at": 1}',
    ):
        table = pa.table({"value": [b"x"]}).replace_schema_metadata({b"labkit": metadata})
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        monkeypatch.setattr(cache, "_path", lambda *_: path)
        assert cache.load(None, "read_committed", "json") is None  # type: ignore[arg-type]
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        assert cache.load(None, "read_committed", "json") is None  # type: ignore[arg-type]
    for length in range(0, len(content), 11):
        path.write_bytes(content[:length])
        assert cache.load(None, "read_committed", "json") is None  # type: ignore[arg-type]


SERVICE = {
    "name": "kafka",
    "version": "4",
    "port": 1,
    "controller_port": 2,
    "pid": 3,
    "started": 1.5,
}


@pytest.mark.parametrize(
    "change", [{"port": "9"}, {"pid": None}, {"pid": 10**30}, {"started": "x"}, {"name": 5}, {"version": []}]
)  # fmt: skip
def test_a_state_of_other_types_is_damaged(change: dict[str, Any], tmp_path: Path) -> None:
    """BEHAVIOURS 81: it was taken, and ended in a traceback where the port or process was used."""
    good = {"run_id": "r", "passwords": {"lab": "x"}, "services": {"kafka": SERVICE}}
    for state, is_good in (
        (good, True), ({**good, "services": {"kafka": {**SERVICE, **change}}}, False),
        ({**good, "run_id": 5}, False), ({**good, "passwords": {"lab": 5}}, False),
    ):  # fmt: skip
        (tmp_path / "stack.json").write_text(json.dumps(state))
        (tmp_path / "stack.json").chmod(0o600)
        if is_good:
            assert State.load(tmp_path).services["kafka"].port == 1
            continue
        with pytest.raises(StackError, match="is damaged"):
            State.load(tmp_path)


@pytest.mark.parametrize(
    "entry", [["5", "h", "b"], [1e300, "h", "b"], [10**30, "h"], [5, 5, "b"], [], [5]]
)
def test_a_journal_of_other_types_is_an_error(entry: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "extracted.json"
    path.write_text(json.dumps({"file": entry}))
    with pytest.raises(ConfigError, match=r"the journal .* cannot be read"):
        Journal(path, cluster_id="c", topic="irc")


SECRETS: dict[str, Any] = {
    "passwd": "x", "auth": "x", "es_auth": "x", "bearer": "x", "credentials": "x", "api_key": "x", "PASSWORD": "x",
    "db_pass": "x", "AWS_ACCESS_KEY": "x", "storage_account_key": "x",
    "private_key": "x", "cookie": "x", "pwd": "x", "authorization": "x", "passphrase": "x",
    "url": "https://alice:hunter2@host", "proxy": "http://TOKEN@proxy:1", "place": "https://host/?api_key=hunter2",
    "settings": {"sasl.password": "x"}, "hosts": ["https://a:b@host"], "text": "Authorization: Basic aHVudGVyMg==",
    "es_pw": "x", "jwt": "x", "connection_string": "x", "dsn": "x", "ssh_key": "x", "authkey": "x", "masterkey": "x",
    "jaas": 'required username="a" password="hunter2"', "odbc": "Server=x;Pwd=hunter2;", "jar": "Cookie: sid=hunter2",
    "pem": "-----BEGIN EC PRIVATE KEY-----\nhunter2", "signed": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.hunter2",
}  # fmt: skip
HARMLESS: dict[str, Any] = {
    "key": "nick", "author": "ada", "topic": "irc", "window": '{"labkit_window": 1}', "url": "https://host/path?q=1",
    "mail": "a@b.example", "author_field": "x", "passed": "yes", "n": 5, "monkey": "x",
    "partition_key": "x", "query": "select password from users", "where": "topic = 'secret' and word like 'eyJ%'",
}  # fmt: skip


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    path = tmp_path / "n.ipynb"
    defaults = "\n".join(f"{name} = None" for name in HARMLESS)
    cell = nbformat.v4.new_code_cell(defaults, metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    return path


@pytest.mark.parametrize("name", SECRETS)
def test_a_parameter_that_is_a_secret_is_refused(name: str, notebook: Path) -> None:
    """BEHAVIOURS 80: by its name, or by a login in its value; parameters are saved."""
    with pytest.raises(UsageError, match="looks like a secret") as caught:
        rerun.check(notebook, {name: SECRETS[name]})
    assert "hunter2" not in str(caught.value)


def test_a_condition_on_a_field_named_like_a_secret_has_a_way(notebook: Path) -> None:
    """It cannot be told from a secret; the hint names the spelling that is taken."""
    with pytest.raises(UsageError, match="the value of parameter 'where'") as caught:
        rerun.check(notebook, {"where": "password = 'x'"})
    way = "password IN ('…')"
    assert way in (caught.value.hint or "")
    rerun.check(notebook, {"where": way})


def test_a_parameter_that_only_sounds_like_one_is_taken(notebook: Path) -> None:
    rerun.check(notebook, HARMLESS)
