"""The command line without a server: what it takes and refuses, and how fast it answers."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shlex
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pytest

from labkit import cli
from labkit.checks import options
from labkit.cli.terminal import print_table
from labkit.errors import UsageError
from labkit.tables.dataframe import to_pandas
from labkit.text.columns import width_of
from support.stack import LABKIT
from support.terminal import on_a_terminal

HEAVY = (
    "pandas",
    "polars",
    "pyarrow",
    "numpy",
    "confluent_kafka",
    "elasticsearch",
    "jgo",
    "papermill",
    "altair",
)


def parsers(
    parser: argparse.ArgumentParser, path: str = "labkit"
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield path, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from parsers(child, f"{path} {name}")


ALL = dict(parsers(cli.build_parser()))


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run a command in this process; return its exit code and what it wrote."""
    try:
        code = cli.main(arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_help_lists_each_command_once_by_section(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [path.split()[1] for path in ALL if path.count(" ") == 1]
    sections = list(chain.from_iterable(cli.SECTIONS.values()))
    assert sorted(sections) == sorted(commands)
    _, shown, _ = run(["--help"], capsys)
    assert re.findall(r"^  (\w+)  ", shown, re.MULTILINE) == sections
    for title in (*cli.SECTIONS, "options"):
        assert f"\n{title}:\n" in shown


@pytest.mark.parametrize("path", ALL)
def test_every_command_explains_itself(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run([*path.split()[1:], "--help"], capsys)
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: {path}")


def test_help_answers_at_once() -> None:
    """Beside Python itself, which takes as long on a busy machine; best of three."""
    took: dict[str, list[float]] = {"labkit": [], "json.tool": []}
    for _ in range(3):
        for module, times in took.items():
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", module, "--help"], check=True, capture_output=True
            )
            times.append(time.perf_counter() - began)
    assert min(took["labkit"]) < 6 * min(took["json.tool"])


def test_help_imports_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys\nfrom labkit.cli import main\n"
        "try: main(['replay', '--help'])\nexcept SystemExit: pass\nprint('MODULES', *sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    loaded = set(result.stdout.split("MODULES", 1)[1].split())
    assert "labkit.cli" in loaded
    assert not loaded & set(HEAVY)


def test_version_prints_the_name_and_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(["--version"], capsys)
    assert code == 0
    assert out.split()[0] == "labkit"
    assert out.split()[1][0].isdigit()


USAGE = [
    "",
    "nope",
    "--nope",
    "-",
    "up extra",
    "up --elasticsearch",
    "down --purge extra",
    "status --json=x",
    "status extra",
    "credentials",
    "credentials a b",
    "extract",
    "extract nope",
    "extract irc",
    "extract irc --server a --nick b --topic irc",
    "extract irc --server a --nick b --channel #a --topic irc --port x",
    "extract irc --server a --nick b --channel #a --topic irc --max-records 1.5",
    "extract irc --server a --nick b --channel #a --topic irc --max-seconds soon",
    "extract files",
    "extract files a.jsonl",
    "extract files --topic irc",
    "index",
    "index irc",
    "index irc irc",
    "index irc irc --group",
    "index irc irc --group indexer.x --from nowhere",
    "index irc irc --group indexer.x --nope",
    "scratch extra",
    "topics --role",
    "groups --profile",
    "offsets --json --nope",
    "scratch extra",
    "retention",
    "retention irc 90d extra",
    "gc extra",
    "window",
    "window irc --start",
    "window irc extra",
    "replay",
    "replay irc -o",
    "replay irc --isolation serializable",
    "replay irc --on-expired ignore",
    "replay irc --last",
    "compare",
    "compare a",
    "compare a b c",
    "compare a b --tolerance",
    "compare a b --keep many",
    "acl",  # whom would it let in?
    "acl extra",
    "acl --principal alice",
    "acl --principal User:",
    "acl --principal User:a\tb",
    "acl --principal User:a'b",
    "run",
    "run a.ipynb -p one",
    "run a.ipynb -p nick @no-such-list",
    "run a.ipynb -p nick @",
    "runs one",
    "new",
    "new a.ipynb --course b",
    "new a.txt",
    "new no/such/folder/a.ipynb",
    "runs a b c",
    "runs a b",
    "demo extra",
    "tail irc --last 1h",
]


def is_one_line_and_a_hint(err: str) -> bool:
    lines = err.splitlines()
    return (
        1 <= len(lines) <= 2
        and lines[0].startswith("labkit: ")
        and all(line.startswith("Hint: ") for line in lines[1:])
        and "Traceback" not in err
    )


@pytest.mark.parametrize("line", USAGE)
def test_a_wrong_command_line_is_one_line_and_a_hint(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(line.split(" ") if line else [], capsys)
    assert (code, out) == (2, "")
    assert is_one_line_and_a_hint(err), err


@pytest.mark.parametrize("junk", ["a\nb", "a\rb", "a\u2028b", "x" * 5000], ids=ascii)
@pytest.mark.parametrize("command", [[], ["extract"], ["scratch"], ["up"]], ids=str)
def test_junk_where_a_word_belongs_stays_one_line(
    command: list[str], junk: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run([*command, junk], capsys)
    assert code == 2
    assert is_one_line_and_a_hint(err)


@pytest.mark.parametrize("junk", ["\x1b]0;owned\x07", "\x1b[31mred", "\x08\x08"], ids=ascii)
def test_junk_does_not_reach_the_terminal_as_control_characters(
    junk: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, err = run(["scratch", junk], capsys)
    assert not any(c < " " and c != "\n" for c in err)


@pytest.mark.parametrize(
    "text", ["0", "0:", "0:1", "0:1-", "a:1-2", "0:1-2-3", "0:1-2,", "0:-1-2", "0:1.5-2", ":"]
)
def test_offsets_that_cannot_be_read_are_refused(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(["window", "irc", f"--offsets={text}"], capsys)
    assert code == 2
    assert is_one_line_and_a_hint(err)


def test_offsets_are_half_open_ranges_by_partition() -> None:
    assert options._offsets("0:100-200,3:0-50") == {0: (100, 200), 3: (0, 50)}


def test_a_partition_named_twice_is_refused() -> None:
    with pytest.raises(UsageError):
        options._offsets("0:1-2,0:3-4")


def test_the_recipe_names_the_principal_and_what_it_may_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = run(
        ["acl", "--principal", "User:alice", "--topic", "irc", "--indices", "irc-*"], capsys
    )
    assert code == 0
    commands = [line for line in out.splitlines() if line.startswith("kafka-acls.sh")]
    assert all("--allow-principal 'User:alice'" in line for line in commands)
    assert any(
        "--operation Read" in line and "--topic 'irc' --resource-pattern-type literal" in line
        for line in commands
    )
    assert any("--group 'labkit.' --resource-pattern-type prefixed" in line for line in commands)
    changing = [line for line in commands if "Write" in line or "Alter" in line or "Create" in line]
    assert len(changing) == 1
    assert changing[0].endswith("--topic 'labkit.' --resource-pattern-type prefixed")
    assert "Alter" not in changing[0]
    role = json.loads(out.split("-d '")[1].rstrip().rstrip("'"))
    assert {name for entry in role["indices"] for name in entry["names"]} == {"scratch-*", "irc-*"}


@pytest.mark.parametrize(
    "option", ["--topic=a'b", "--topic=", "--topic=a\nb", "--indices=a'; rm -rf ~'", "--indices="]
)
def test_a_recipe_is_only_made_of_names(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(["acl", option], capsys)
    assert (code, out) == (2, "")
    assert is_one_line_and_a_hint(err)


def test_an_unforeseen_file_is_no_notebook(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("missing.ipynb", "a.txt", "."):
        if name == "a.txt":
            (tmp_path / name).write_text("{}")
        code, _, err = run(["run", str(tmp_path / name)], capsys)
        assert code == 2
        assert is_one_line_and_a_hint(err)


def test_a_secret_is_no_parameter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = tmp_path / "a.ipynb"
    notebook.write_text("{}")
    code, _, err = run(["run", str(notebook), "-p", "api_key", "hunter2"], capsys)
    assert code == 2
    assert "hunter2" not in err


NOT_NOTEBOOKS = {
    "text": b"not json",
    "empty": b"",
    "a list": b"[]",
    "an object": b"{}",
    "bytes": b"\xff\xfe\x00",
    "of a later format": b'{"cells":[],"metadata":{},"nbformat":99,"nbformat_minor":5}',
}


@pytest.mark.parametrize("content", NOT_NOTEBOOKS.values(), ids=NOT_NOTEBOOKS)
def test_a_file_that_is_no_notebook_inside_is_one_line(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = tmp_path / "a.ipynb"
    notebook.write_bytes(content)
    code, _, err = run(["run", str(notebook), "--output", str(tmp_path / "runs")], capsys)
    assert code in (1, 2)
    assert is_one_line_and_a_hint(err)


@pytest.mark.chaos
def test_interrupted_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_options: argparse.Namespace) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.stack, "_status", interrupt)
    assert run(["status"], capsys) == (130, "", "labkit: interrupted\n")


def test_an_interrupt_is_not_lost_where_python_drops_every_exception() -> None:
    """It came in a callback of an import: a traceback, and the command went on."""
    program = """
        import os, signal, sys, time
        from labkit import __main__
        from labkit.cli import stack

        class Finalized:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0)

        def work(options):
            Finalized()
            time.sleep(20)

        stack._status = work
        sys.argv = ["labkit", "status"]
        sys.exit(__main__.run())
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (130, "labkit: interrupted\n")


def test_bash_completes_commands_options_and_files(tmp_path: Path) -> None:
    """The script that is printed, in a real bash: what it offers after some words."""
    command = [*LABKIT, "completion", "bash"]
    script = subprocess.run(command, capture_output=True, text=True, check=True)
    (tmp_path / "labkit.sh").write_text(script.stdout)
    (tmp_path / "some.ipynb").touch()

    def offered(*words: str) -> list[str]:
        typed = " ".join(f"'{word}'" for word in words)
        script = f"""source labkit.sh
            COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}
            _shtab_labkit labkit '{words[-1]}' '{words[-2]}'; echo "${{COMPREPLY[@]}}" """
        result = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return result.stdout.split()

    assert offered("labkit", "re") == ["retention", "replay"]
    assert "--deadline" in offered("labkit", "replay", "--de")
    assert offered("labkit", "run", "so") == ["some.ipynb"]


def test_what_is_left_over_is_told_with_the_command_it_is_left_over_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, err = run(["replay", "irc", "--nope"], capsys)
    assert (code, err) == (
        2,
        "labkit: unrecognized arguments: --nope\nHint: `labkit replay --help` shows what it takes\n",
    )


def test_a_table_as_json_has_all_digits_and_any_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    """``labkit sql --json`` made 0.0 of 1e-12, cut microseconds, and ended at bytes of no text."""
    moment = datetime(2016, 3, 1, tzinfo=UTC)
    table = pa.table({
        "f": [1e-12, 0.1234567890123456, math.inf], "t": [moment, moment.replace(microsecond=1), None],
        "b": [b"\xff", b"a", None], "d": [Decimal("0.10"), None, None], "day": [date(2016, 3, 1), None, None],
        "m": pa.array([[("a", 2**63 - 1)], [], None], pa.map_(pa.string(), pa.int64())),
        "n": [2**63 - 1, 1, None], "s": [{"x": b"\xff"}, {"x": None}, None],
    })  # fmt: skip
    print_table(to_pandas(table), argparse.Namespace(json=True))
    first, second, third = json.loads(capsys.readouterr().out)
    assert first == {
        "f": 1e-12, "t": "2016-03-01T00:00:00.000Z", "b": {"base64": "/w=="}, "d": "0.10", "day": "2016-03-01",
        "m": {"a": 2**63 - 1}, "n": 2**63 - 1, "s": {"x": "/w=="},
    }  # fmt: skip
    assert (second["f"], second["t"]) == (0.1234567890123456, "2016-03-01T00:00:00.000001Z")
    assert (second["b"], second["m"], second["n"]) == ("a", {}, 1)
    assert set(third.values()) == {None}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_locale_that_is_not_utf_8_has_escapes_and_no_traceback(
    encoding: str, tmp_path: Path
) -> None:
    """``LC_ALL=de_DE.ISO-8859-1 labkit groups --help`` ended in a UnicodeEncodeError."""
    config = tmp_path / "labkit.toml"
    config.write_text(
        '[profiles."größe…"]\nkafka = {"bootstrap.servers" = "a:1"}', encoding="utf-8"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LABKIT_CONFIG": str(config)}

    def run_in_it(*words: str) -> str:
        result = subprocess.run(
            [*LABKIT, *words], env=environment, capture_output=True, check=False
        )
        assert (result.returncode, result.stderr) == (0, b"")
        return result.stdout.decode(encoding)

    assert "list the groups" in run_in_it("groups", "--help")
    assert "gr" in run_in_it("profiles")
    (row,) = json.loads(run_in_it("profiles", "--json"))
    assert row["profile"] == "größe…"


def test_the_list_of_kept_windows_fits_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """BEHAVIOURS 66: its lines had 91 columns."""
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "kept"))
    assert run(["cache"], capsys)[1].startswith("0.0 MB in ")
    name = f"{'a-topic-of-a-long-name-' * 4}21ea3a775edab2b2-read_committed-json-6.arrow"
    (tmp_path / "kept" / "windows" / name).write_bytes(b"0" * 1_234_567)
    code, written = on_a_terminal("cache")
    assert code == 0
    head, row, *total = written.splitlines()
    assert head.split() == ["MB", "used", "file"]
    assert row.split()[0] == "1.2"
    assert width_of(row) <= 80
    assert " ".join(total).split() == ["1.2", "MB", "in", str(tmp_path / "kept" / "windows")]


def test_without_a_profile_it_is_said_how_to_write_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It sent to the README, which an installed labkit has not: what is said can be pasted."""
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("LABKIT_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    code, text, _ = run(["profiles"], capsys)
    assert code == 0
    path, example = text.split(" may have such as:\n")
    (tmp_path / "labkit.toml").write_text(example.partition("Then ")[0])
    assert path.endswith("labkit.toml")
    assert f"; source: {tmp_path / 'labkit.toml'}\n" in run(["profiles"], capsys)[1]
    with (tmp_path / "labkit.toml").open("a") as file:
        file.write('"sasl.password" = "${WORD}"\n')
    said = run(["profiles"], capsys)[1]
    assert f"; source: {tmp_path / 'labkit.toml'} is not allowed to have" in said


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("tail irc --last 1h", "--last must be a whole number, not '1h'"),
        ("extract irc --max-seconds soon", "--max-seconds must be a number, not 'soon'"),
    ],
)
def test_an_option_says_what_it_must_be(
    line: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """argparse said: argument --last: invalid int value: '1h'."""
    assert text in run(line.split(), capsys)[2]


@pytest.mark.parametrize(("line", "code"), [("indices", 0), ("compare a b", 1)])
def test_a_profile_without_elasticsearch_says_so(line: str, code: int, tmp_path: Path) -> None:
    """`labkit indices` told of a right that might be missing."""
    config = tmp_path / "labkit.toml"
    config.write_text('[profiles.prod.kafka]\n"bootstrap.servers" = "127.0.0.1:1"')
    ended = subprocess.run(
        [*LABKIT, *line.split(), "--profile", "prod"],
        capture_output=True, text=True, env={**os.environ, "LABKIT_CONFIG": str(config)}, check=False,
    )  # fmt: skip
    assert ended.returncode == code
    assert "below [profiles.prod.elasticsearch.default] in labkit.toml" in ended.stderr
    assert "acl" not in ended.stderr


def test_a_closed_standard_output_takes_all() -> None:
    """As of a job that is started with ``>&-``: it was a traceback."""
    command = f"exec {shlex.join(LABKIT)} acl --principal User:alice >&-"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_closed_standard_error_changes_no_exit_code() -> None:
    command = shlex.join([*LABKIT, "window", "irc", "--nonsense"])
    assert subprocess.run(["sh", "-c", f"{command} 2>&-"], check=False).returncode == cli.USAGE
