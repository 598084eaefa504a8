"""docs/reference/columns.md names the columns, and the types, that real answers have."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.lab import Lab

PAGE = (Path(__file__).parents[2] / "docs/reference/columns.md").read_text()


def rows_under(heading: str) -> list[list[str]]:
    """Return the cells of each row of the table under `heading`."""
    table = PAGE.split(heading, 1)[1].split("|---", 1)[1].split("\n\n", 1)[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]
    ]


def names_under(heading: str) -> list[str]:
    return [name for row in rows_under(heading) for name in re.findall(r"`(\w+)`", row[0])]


@pytest.mark.parametrize("method", ["topics", "groups", "lag", "indices", "scratch"])
def test_a_list_has_the_columns_of_its_table(lab: Lab, method: str) -> None:
    assert sorted(getattr(lab, method)().columns) == sorted(names_under(f"`lab.{method}()`"))


def test_a_replay_has_the_columns_and_types_of_its_tables(
    lab: Lab, make_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    topic = make_topic()
    values = [
        {"whole": n, "fraction": n / 2, "text": "a", "truth": True, "object": {"n": n}, "list": [n],
         "kinds": n if n % 2 else "b"}
        for n in range(4)
    ]  # fmt: skip
    produce(
        topic,
        [json.dumps(value).encode() for value in values],
        keys=[b"k"] * 4,
        headers=[[("h", b"v")]] * 4,
    )
    replay = lab.window(topic).read()
    arrow, pandas = replay.table.schema, replay.to_pandas().dtypes

    assert sorted(names_under("## Of a replay")) == sorted(set(arrow.names) - set(values[0]))
    types_told = {name.strip("`"): types for name, _, *types in rows_under("## Of a replay")}
    types_told |= {
        field: types
        for field, (_, *types) in zip(values[0], rows_under("## Of JSON fields"), strict=True)
    }
    for name, types in types_told.items():
        assert [short(arrow.field(name).type), short(pandas[name])] == types, name


def short(kind: object) -> str:
    """Spell a type as the page does: without what is in a list, a struct or a dictionary."""
    text = re.sub(r"<values=(\w+), .*>", r" of \1", str(kind)).replace("tz=", "")
    return re.sub(
        r"<.*>",
        " of struct" if text.startswith("list<") and not text.endswith("[labkit]") else "",
        text,
    )
