"""Lists of values, and runs listed, found and compared, from what lies on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labkit.cli import main
from labkit.errors import UsageError
from labkit.notebook import parameters, runs
from labkit.replay import read_log
from labkit.replay.plan import Plan
from labkit.text.columns import width_of
from support.replays import PLAN, RECEIPT
from support.terminal import on_a_terminal


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def write(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return f"@{name}"

    return write


def test_a_list_is_a_run_for_each_value(lines: Any) -> None:
    nicks = lines("nicks", b"\xef\xbb\xbf# who asks\n\nada \n  #kafka\n#\n@bob\n7\nada\n")
    assert [one["nick"] for one in parameters.expand([("nick", nicks)])] == [
        "ada",
        "#kafka",
        "@bob",
        "7",
        "ada",
    ]
    assert parameters.swept([("nick", nicks), ("last", "6h")]) == {"nick": "nicks"}


def test_several_lists_are_every_combination(lines: Any) -> None:
    arguments = [("a", lines("a", b"1\n2\r\n")), ("n", "x"), ("b", lines("b", b"u\nv\nw"))]
    runs = parameters.expand(arguments)
    assert [(entry["a"], entry["b"]) for entry in runs] == [(a, b) for a in "12" for b in "uvw"]
    assert {entry["n"] for entry in runs} == {"x"}


def test_a_text_may_begin_with_an_at() -> None:
    assert parameters.expand([("nick", "@@bob"), ("mail", "a@b"), ("nick", "@@eve")]) == [
        {"nick": "@eve", "mail": "a@b"}
    ]
    assert parameters.swept([("nick", "@@bob")]) == {}
    assert parameters.expand([]) == [{}]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no value"),
        (b"\n# only this\n", "has no value"),
        (b"\xff\xfe", "is not text"),
        (None, "No such file"),
    ],
)
def test_a_list_that_is_none_is_told(lines: Any, content: bytes | None, words: str) -> None:
    name = "@missing" if content is None else lines("list", content)
    with pytest.raises(UsageError, match=words) as raised:
        parameters.expand([("nick", name)])
    assert "@@" in str(raised.value)


def make(
    folder: Path, source: str = "a.ipynb", outcome: str = "ok", plan: Plan = PLAN, **parameters: Any
) -> runs.Run:
    run = runs.Run.begin(folder, Path(source), parameters)
    read = {
        "how": "read",
        "at": "",
        "window": json.loads(plan.to_json()),
        "receipt": RECEIPT.to_dict(),
    }
    run.receipts.write_text(json.dumps(read) + "\n")
    if outcome != "unfinished":
        run.end(outcome, "E: it broke" if outcome == "failed" else None, 1.26)
    return run


@pytest.mark.chaos
def test_runs_are_listed_also_those_that_were_killed_or_are_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs"
    assert main(["runs", "--output", str(folder)]) == 0
    assert capsys.readouterr().out == "none\n"
    folders = [
        make(folder, nick="ada", window=PLAN.to_json()),
        make(folder, outcome="failed"),
        make(folder, outcome="unfinished"),
    ]
    for name, content in {
        "torn": "{",
        "other": "[]",
        "later": '{"labkit_run": 9}',
        "odd": '{"labkit_run": 1, "reads": [1]}',
    }.items():
        (folder / name).mkdir()
        (folder / name / "run.json").write_text(content)
    (folder / "no-run").mkdir()
    listing = runs.list_runs(folder)
    assert listing["run"].tolist()[-3:] == [run.folder.name for run in folders]
    assert listing["outcome"].tolist() == ["unreadable"] * 4 + ["ok", "failed", "unfinished"]
    assert (
        listing["reads"].tolist()[-3:] == listing["records"].floordiv(5).tolist()[-3:] == [1, 1, 1]
    )
    assert listing["parameters"].tolist()[-3] == f"nick=ada, window=<window irc {PLAN.hash}>"
    assert listing["error"].tolist()[-2] == "E: it broke"
    assert main(["runs", "--output", str(folder), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["elapsed_s"] for row in rows][-3:] == [1.3, 1.3, None]


def test_a_run_is_found_by_the_beginning_of_its_name(tmp_path: Path) -> None:
    first, second, third = (make(tmp_path, f"{name}.ipynb") for name in ("aa", "ab", "ab"))
    assert runs.find(tmp_path, "aa") == first
    assert runs.find(tmp_path, second.folder.name) == second
    assert runs.find(tmp_path, str(third.folder)) == third
    for name, words in {"ab": "2 runs", "": "3 runs", "x": "no run 'x'", "../*": "no run"}.items():
        with pytest.raises(UsageError, match=words):
            runs.find(tmp_path, name)


def test_two_runs_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = make(tmp_path, nick="ada", n=1), make(tmp_path, nick="ada", n=1)
    names = [first.folder.name, second.folder.name]
    assert runs.compare(first, second)["same"].all()
    assert main(["runs", *names, "--output", str(tmp_path)]) == 0
    assert "different" not in capsys.readouterr().out
    third = make(tmp_path, outcome="failed", nick="eve", limit=None)
    comparison = runs.compare(first, third)
    assert set(comparison.loc[~comparison["same"], "what"]) == {
        "outcome", "error", "parameter nick", "parameter n", "parameter limit",
    }  # fmt: skip
    facts = comparison.set_index("what")
    assert facts.loc["read irc 1: hash", "a"] == "ab"
    assert facts.loc["read irc 1: records", "b"] == 5
    assert facts.loc["parameter nick", ["a", "b"]].tolist() == ["ada", "eve"]
    assert main(["runs", names[0], third.folder.name, "--output", str(tmp_path)]) == 3
    assert "different" in capsys.readouterr().out
    (first.folder / "run.json").write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        runs.compare(first, second)


def test_a_read_that_one_run_lacks_is_a_difference(tmp_path: Path) -> None:
    first, second = make(tmp_path), runs.Run.begin(tmp_path, Path("a.ipynb"), {})
    second.end("ok", None, 1)
    comparison = runs.compare(first, second)
    assert set(comparison.loc[~comparison["same"], "what"]) == {
        f"read irc 1: {name}" for name in ("window", "records", "complete", "hash")
    }
    assert read_log.entries(first.receipts) == []


@pytest.mark.parametrize(
    ("cell", "refused"),
    [
        ("topic = 'irc'\nlast, n = None, 1\nwindow: str | None = None", "has no parameter 'topci'"),
        ("%matplotlib inline\ntopic = 'irc'", "has no parameter 'topci'"),
        ("", "has no parameters, so 'topci' would change nothing"),
        ("%matplotlib inline", "has no parameters, so 'topci' would change nothing"),
        ("topic = ", "the parameters cell of a.ipynb cannot be read"),
    ],
)
def test_a_parameter_the_notebook_does_not_have_is_refused(
    cell: str, refused: str, tmp_path: Path
) -> None:
    """BEHAVIOURS 49: an unknown parameter is refused.

    papermill would run it with the defaults, and the record would have the other value.
    """
    import nbformat

    from labkit.notebook import rerun

    path = tmp_path / "a.ipynb"
    first = nbformat.v4.new_code_cell(cell, metadata={"tags": ["parameters"] if cell else []})
    nbformat.write(nbformat.v4.new_notebook(cells=[first]), path)
    if "window" in cell:
        rerun.check(path, dict.fromkeys(("topic", "last", "n", "window")))
    with pytest.raises(UsageError, match=refused) as caught:
        rerun.check(path, {"topci": 1})
    if "window" in cell:
        assert "did you mean 'topic'? " in (caught.value.hint or "")
        assert "topic, last, n, window" in (caught.value.hint or "")
    assert main(["run", str(path), "-p", "topci", "x"]) == 2


def test_a_list_of_runs_fits_a_terminal_and_has_their_whole_names(tmp_path: Path) -> None:
    """BEHAVIOURS 66: a run was `odd-….331`, which no command takes."""
    names = []
    for value in ("short", "long " * 30):
        run = runs.Run.begin(tmp_path, tmp_path / "01-discover.ipynb", {"nick": value})
        run.end(runs.RunOutcome.FAILED, "ZeroDivisionError: division by zero", 12.3)
        names.append(run.folder.name)
    code, written = on_a_terminal("runs", "--output", str(tmp_path))
    head, *lines = written.splitlines()
    assert code == 0
    assert head.split()[:4] == ["run", "outcome", "seconds", "records"]
    assert sorted(line.split()[0] for line in lines) == sorted(names)
    assert all(width_of(line) <= 80 for line in lines)
