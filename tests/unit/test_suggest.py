"""A misspelt value of an option with few is told of with the one that was meant."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from labkit import acl, enrich
from labkit.checks import names
from labkit.checks.suggest import for_a_shell
from labkit.checks.validation import newest_count, offset_ranges, partition_numbers
from labkit.cli import main
from labkit.decode import find_decoder
from labkit.decode.filter import Where
from labkit.decode.types import types_of
from labkit.errors import LabkitError, UsageError
from labkit.find.latest import check_key
from labkit.find.matching import Needle
from labkit.groups.sampling import every_seconds
from labkit.kafka.cluster import no_leader
from labkit.notebook.magics import LabkitMagics
from labkit.read_spec import ReadSpec
from labkit.replay import freeze
from labkit.replay.plan import Plan
from labkit.sinks.replay import check_order
from labkit.tables.duckdb_sql import refuse_extensions
from labkit.times import day_span, to_ms
from labkit.waiting import interrupt

CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "decode": (lambda: find_decoder("jsn"), "json"),
    "isolation": (lambda: ReadSpec(isolation="read_comitted"), "read_committed"),  # type: ignore[arg-type]
    "on_expired": (lambda: ReadSpec(on_expired="clam"), "clamp"),  # type: ignore[arg-type]
    "on_interrupt": (lambda: interrupt.check_policy("rais"), "raise"),
    "order": (lambda: check_order("partitions"), "partition"),
    "unwrap": (lambda: enrich.unwrap("debesium"), "debezium"),
    "role": (lambda: acl.recipe("User:a", role="indexr"), "indexer"),
    "format": (lambda: acl.recipe("User:a", form="terrafrom"), "terraform"),
    "types": (lambda: types_of({"total": "flaot"}), "float"),
    "point in time": (lambda: to_ms("lates"), "latest"),
    "is not a day": (lambda: day_span("yesterady"), "yesterday"),
    "key": (lambda: check_key("txt"), "text"),
    "in_": (lambda: Needle.of("x", None, ("vlaue",)), "value"),
}


def refuse(error: LabkitError) -> None:
    raise error


# what goes wrong in both, Python's words of the hint, and a shell's
HINTS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "last": (lambda: newest_count(1.5), 'last="6h"', "--last 6h"),
    "partitions": (lambda: partition_numbers("x"), "partitions=[0, 2]", "--partitions 0,2"),
    "offsets": (lambda: offset_ranges({}), "offsets={0: (100, 200)}", "--offsets 0:100-200"),
    "day": (lambda: day_span("5"), "start=", "--start"),
    "time": (lambda: to_ms("x"), "or a datetime", "by default), or 'now'"),
    "length": (lambda: freeze._last_ms("last monday"), "on='last monday'", "--on 'last monday'"),
    "topic": (lambda: names.topic("runs/window.json"), "Window.from_json(", "window:FILE"),
    "every": (lambda: every_seconds("1ms"), "every='2s'", "--every 2s"),
    "window": (lambda: Plan.from_json("{}"), "Window.to_json()", "`labkit window TOPIC --json`"),
    "key": (lambda: check_key("nick"), "w.sql('select", "`labkit sql TOPIC 'select"),
    "sql": (lambda: refuse_extensions("install x"), "sql(query, teams=frame)", "from 'teams.csv'"),
    "where": (lambda: Where("n > (select max(n) from batch)"), ".sql()", "`labkit sql`"),
    "leader": (
        lambda: refuse(no_leader("t", [1], [0, 2])),
        "partitions=[0, 2]",
        "--partitions 0,2",
    ),
}


@pytest.mark.parametrize("name", HINTS)
def test_a_hint_names_what_its_reader_can_type(name: str) -> None:
    """BEHAVIOURS 61: in a shell they named calls of Python, which no shell takes."""
    call, python, shell = HINTS[name]
    with pytest.raises(LabkitError) as caught:
        call()
    with for_a_shell(), pytest.raises(LabkitError) as caught_in_a_shell:
        call()
    hints = str(caught.value.hint), str(caught_in_a_shell.value.hint)
    assert [python in hint for hint in hints] == [True, False], hints
    assert [shell in hint for hint in hints] == [False, True], hints


@pytest.mark.parametrize("option", CALLS)
def test_a_misspelt_value_is_told_with_the_one_that_was_meant(option: str) -> None:
    call, suggestion = CALLS[option]
    with pytest.raises(UsageError, match=option) as caught:
        call()
    assert f"did you mean '{suggestion}'" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("replay irc --isolation read_comitted", "read_committed"), ("acl --role indexr", "indexer"),
        ("topcis", "topics"), ("acl --format terrafrom", "terraform"),
    ],
)  # fmt: skip
def test_a_shell_says_it_in_the_hint_of_one_line(
    line: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    error_text = capsys.readouterr().err
    assert f"did you mean '{meant}'" in error_text
    assert len(error_text.splitlines()) == 2


def test_what_is_near_to_nothing_has_no_guess() -> None:
    with pytest.raises(LabkitError) as caught:
        find_decoder("xml")
    assert "did you mean" not in str(caught.value.hint)


def test_a_magic_says_what_a_name_is_with_its_article() -> None:
    notebook: Any = SimpleNamespace(shell=SimpleNamespace(user_ns={"n": 3}))
    with pytest.raises(UsageError, match="'n' is an int"):
        LabkitMagics._replay(notebook, Namespace(of="n", decode=None, where=None))
