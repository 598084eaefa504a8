"""`%load_ext labkit` in a real kernel, against a real topic."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from labkit.stack.state import State
from support.kernel import outputs

SQL = "select nick, count(*) n from replay group by 1 order by 1"


@pytest.fixture
def topic(stack: State, make_topic: Callable[..., str], produce: Callable[..., None]) -> str:
    name = make_topic(1)
    produce(name, [json.dumps({"nick": nick}).encode() for nick in ["ann", "ben", "ann", "cleo"]])
    return name


def test_the_magics_connect_freeze_and_ask(topic: str) -> None:
    load, lab, window, asked, bound, shown, again, own = outputs(
        "%load_ext labkit",
        "%lab",
        f"name = {topic!r}\n%window {{name}} --last 3 -o w",
        f"%%replay w\n{SQL}",
        f"%%replay w -o counts --where \"nick <> 'ben'\"\n{SQL}",
        "counts.to_dict('records')",
        "r = w.read(progress=False)",
        "def shout(value):\n    return {'loud': value.decode().upper()}\n"
        "get_ipython().run_cell_magic('replay', 'r --decode shout', 'select max(loud) loud from replay')",
    )
    assert load == again == ""
    assert lab.startswith("Lab on 127.0.0.1")
    assert "the newest 3 records" in window
    assert [line.split()[1:] for line in asked.splitlines()[-3:]] == [
        ["ann", "1"],
        ["ben", "1"],
        ["cleo", "1"],
    ]
    assert "ann" not in bound
    assert shown == "[{'nick': 'ann', 'n': 1}, {'nick': 'cleo', 'n': 1}]"
    assert '{"NICK": "CLEO"}' in own


def test_the_tab_key_completes_topics_and_options_and_help_tells_them(topic: str) -> None:
    complete = (
        "print(get_ipython().Completer.complete(line_buffer={0!r}, cursor_pos=len({0!r}))[1])"
    )
    _, topics, words, text, help_text = outputs(
        "%load_ext labkit",
        complete.format(f"%window {topic[:-2]}"),
        complete.format("%window irc --l"),
        "print(get_ipython().find_line_magic('window').__doc__)",
        "%window --help",
    )
    assert topics.strip() == str([topic])
    assert words.strip() == "['--last']"
    assert "--offsets" in text
    assert "usage: %window" in help_text


def test_an_error_in_a_notebook_is_its_message_hint_and_line(topic: str) -> None:
    _, gone, whole, verbose, called, refused, unknown, sql, spent = outputs(
        "%load_ext labkit\n%lab",
        "%window irc-nowhere",
        "%tb Plain",
        "%tb Verbose",
        "def look():\n    return lab.window('irc', last='6 parsecs')\n\nlook()",
        "%window irc --last 6h -o 1w",
        "%%replay nothing\nselect 1",
        f"%window {topic} -o w\nget_ipython().run_cell_magic('replay', 'w', 'selec 1')",
        f"r = w.read(progress=False)\nget_ipython().run_cell_magic('replay', 'r --where 1=1', {SQL!r})",
    )
    assert gone.splitlines()[0].startswith("NotFoundError: there is no topic 'irc-nowhere'")
    assert gone.splitlines()[1:] == [
        "Hint: `lab.topics()` lists those you may see",
        "%tb Plain shows the whole traceback; more: the documentation, Reference, Errors, The servers",
    ]
    for full in (whole, verbose):
        assert full.startswith("Traceback")
        assert "labkit/kafka/cluster.py" in full
        assert "sasl" not in full
    assert called.splitlines()[2] == "  line 2: return lab.window('irc', last='6 parsecs')"
    assert "-o w" in refused
    assert "'nothing' is not there" in unknown
    assert "DuckDB refused" in sql
    assert "read already" in spent


def test_only_the_frames_that_a_query_reads_from_are_tables(topic: str) -> None:
    """BEHAVIOURS 50: a frame called as a column ended the cell; polars frames are tables too."""
    *_, counted, joined = outputs(
        f"%load_ext labkit\n%lab\n%window {topic} -o w",
        "import pandas as pd, polars as pl\n"
        "nick = pd.DataFrame({'odd': [1, 'two', object()]})  # Arrow takes no such column\n"
        "n = pd.DataFrame({'x': [1]})\nteams = pl.DataFrame({'nick': ['ann', 'ben'], 'team': ['a', 'b']})",
        f"%%replay w\n{SQL}",
        "%%replay w\nwith n as (select * from teams) select team, count(*) c from replay join n using (nick) "
        "group by 1 order by 1",
    )
    assert [line.split()[1:] for line in counted.splitlines()[-3:]] == [
        ["ann", "2"],
        ["ben", "1"],
        ["cleo", "1"],
    ]
    assert [line.split()[1:] for line in joined.splitlines()[-2:]] == [["a", "2"], ["b", "1"]]


def test_a_query_leaves_no_bar_of_duckdb_in_a_notebook() -> None:
    """In a kernel DuckDB shows one of its own, a widget that a saved notebook has lost."""
    (shown,) = outputs(
        "from labkit.tables.duckdb_sql import connect\n"
        "connect().execute(\"select current_setting('enable_progress_bar')\").fetchall()"
    )
    assert shown == "[(False,)]"
