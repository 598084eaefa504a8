"""An hour without a record is a window like any other.

What is asked of it is answered with nothing.
"""

from __future__ import annotations

from typing import Any

import pytest

from labkit import charts
from labkit.decode.table import from_batches
from labkit.errors import UsageError
from labkit.notebook.inspector import RecordInspector
from labkit.replay.receipt import Receipt
from labkit.sinks.replay import Replay


@pytest.fixture
def empty() -> Replay:
    return Replay(
        from_batches([], "json"), Receipt("irc", "c", "w", "read_committed", (), 0, 0.0, "g")
    )


@pytest.mark.parametrize(
    "draw",
    [charts.timeline, lambda r: charts.timeline(r, by="nick"), lambda r: charts.top(r, "nick"), charts.heatmap,
     lambda r: charts.distribution(r, "message", by="nick"), lambda r: charts.distribution(r, "n"),
     charts.conversation],
)  # fmt: skip
def test_a_chart_of_it_says_so(draw: Any, empty: Replay) -> None:
    for data in (empty, empty.to_pandas(), empty.table):
        assert draw(data).data["text"].tolist() == ["no records"]


def test_a_map_of_it_has_no_place(empty: Replay) -> None:
    title: Any = charts.map(empty).to_dict()["title"]
    assert title["subtitle"][0].startswith("0 records from 0 places")


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        (
            "select nick, count(*) n from replay where command = 'PRIVMSG' group by nick order by n",
            ["nick", "n"],
        ),
        (
            "select geoip_country country, max(geo.lat) from replay group by country",
            ["country", "max(geo.lat)"],
        ),
        ("select lower(nick) nick from replay", ["nick"]),
        (
            "with c as (select nick, m from replay) select nick, sum(m) m from c group by all",
            ["nick", "m"],
        ),
        ("select _offset, columns('_p.*') from replay", ["_offset", "_partition"]),
    ],
)
def test_sql_finds_the_fields_it_names(query: str, columns: list[str], empty: Replay) -> None:
    answer = empty.sql(query)
    assert (answer.columns.tolist(), len(answer)) == (columns, 0)


def test_sql_that_is_none_is_still_refused(empty: Replay) -> None:
    with pytest.raises(UsageError, match="DuckDB refused"):
        empty.sql("selectt 1")


def test_the_inspector_says_so(empty: Replay) -> None:
    inspector = RecordInspector(empty)
    assert inspector.text() == inspector.view.value == "no record in this replay"
    with pytest.raises(UsageError, match="row must be 0 to 0, not 1"):
        RecordInspector(empty, 1)
