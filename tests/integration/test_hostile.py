"""Records made to do harm, through every sink.

Nothing executes, nothing crashes a batch, nothing is lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pyarrow.parquet as pq
import pytest

import labkit
from labkit import Lab
from labkit.errors import LabkitError
from labkit.notebook import rerun
from labkit.stack.state import State
from support.chrome import chromium

MARKUP = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"
CONTROL = "\x00\x07\x1b[2J\x1b]0;owned\x07\u202eevil\u2028\u2029\ufeff"
FORMULA = '=HYPERLINK("http://127.0.0.1:1")'


def document(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


VALUES: list[bytes | None] = [
    document(nick=MARKUP, message=MARKUP),
    document(nick=CONTROL, message=CONTROL),
    document(nick=FORMULA, message="' or 1=1; drop table replay; --"),
    document(
        **{MARKUP: 1, "a.b": 2, "": 3, " ": 4, "_id": 5, "_topic": "x", "_error": "y", "select": 6}
    ),
    document(**{"nul\x00": 7, "nick": "x"}),
    b'{"nick": "half \\ud800 pair", "message": "\\udfff"}',
    b'{"nick": "twice", "nick": "again"}',
    b'{"n": 1e999, "m": -1e999, "i": 123456789012345678901234567890, "z": 1E-400}',
    b'{"d": ' + b'{"d": ' * 5_000 + b"1" + b"}" * 5_000 + b"}",
    b"[" * 100_000,
    b'{"deep": ' + b"[" * 3_000 + b"]" * 3_000 + b"}",
    document(message="x" * 900_000),
    document(**{f"f{n}": n for n in range(3_000)}),
    b"\xff\xfe\x00\x00",
    b"\x00\x00\x00\x00\x01",  # as the schema registry writes
    b"\x1f\x8b\x08\x00",
    b"NaN",
    b'"just text"',
    b"{}",
    b"",
    None,
    document(nick="good", message="the last"),
]
KEYS: list[bytes | None] = [MARKUP.encode(), CONTROL.encode(), b"\xff", b"", None] * 5
HEADERS = [[(MARKUP, MARKUP.encode()), ("same", None), ("same", b"\xff"), ("", b"")]] * len(VALUES)
# as text it may be anywhere; a tag that is not escaped is what runs
LIVE = re.compile(r"<script|<img", re.IGNORECASE)


@pytest.fixture
def topic(make_topic: Callable[..., str], produce: Callable[..., None]) -> str:
    name = make_topic()
    produce(name, VALUES, keys=KEYS[: len(VALUES)], headers=HEADERS)
    return name


def test_the_frame_has_every_record_as_it_is(lab: Lab, topic: str, tmp_path: Path) -> None:
    window = lab.window(topic)
    replay = window.read(cache=False)
    assert replay.receipt.complete
    assert replay.receipt.read == len(VALUES)
    assert replay.table.column("_value").to_pylist() == VALUES
    assert replay.table.column("_headers").to_pylist() == [[*map(_pair, row)] for row in HEADERS]
    frame = replay.to_pandas()
    assert len(frame) == len(VALUES)
    assert frame["nick"].iloc[0] == MARKUP
    assert frame["nick"].iloc[1] == CONTROL
    assert frame["nick"].iloc[-1] == "good"
    assert frame["_error"].notna().sum() >= 6
    window.to_parquet(tmp_path / "all.parquet")
    assert pq.read_table(tmp_path / "all.parquet").column("_value").to_pylist() == VALUES
    for kind in ("text", "raw", "auto"):
        assert len(replay.decode(kind).to_pandas()) == len(VALUES)
    assert replay.sql("select count(*) n from replay where nick = 'good'")["n"].tolist() == [1]


def _pair(pair: tuple[str, bytes | None]) -> dict[str, Any]:
    return {"key": pair[0], "value": pair[1]}


def test_an_index_has_every_record_or_a_reject_that_names_it(lab: Lab, topic: str, me: str) -> None:
    load = lab.window(topic).to_scratch("hostile")
    counts = load.counts
    assert counts["sent"] == len(VALUES)
    assert counts["indexed"] + counts["rejected"] == counts["sent"]
    refused = set(load.rejects["_offset" if "_offset" in load.rejects else "offset"])
    offsets = {int(document_id.rsplit("-", 1)[1]) for document_id in load.index.to_pandas()["_id"]}
    assert offsets | refused == set(range(len(VALUES)))
    assert not offsets & refused
    assert {0, 1, 2, len(VALUES) - 1} <= offsets  # ugly, yet good JSON
    assert not LIVE.search(load._repr_html_())


def test_what_a_notebook_shows_of_them_runs_nothing(lab: Lab, topic: str, me: str) -> None:
    replay = lab.window(topic).read(cache=False)
    from labkit.notebook.inspector import RecordInspector

    inspector = RecordInspector(replay)
    shown = [replay._repr_html_(), replay.receipt._repr_html_(), replay.to_pandas()._repr_html_()]
    for row in range(len(VALUES)):
        inspector.place.value = row
        shown.append(inspector.view.value)
    for html in shown:
        assert not LIVE.search(html), LIVE.search(html)
    assert "\x1b" not in repr(replay.receipt) + str(replay.receipt)


def test_a_page_of_a_run_draws_them_and_runs_none_of_it(
    topic: str, tmp_path: Path, stack: State
) -> None:
    """The page that `labkit run` makes, opened in a browser: what would have run leaves a mark."""
    cells = [
        f"import labkit\nfrom labkit import charts\n\nr = labkit.connect().window({topic!r}).read(cache=False)",
        "r",
        "r.receipt",
        "r.to_pandas()",
        'charts.top(r, "nick")',
        'charts.timeline(r, by="nick")',
        f"charts.top(r, {MARKUP!r})",
        f"print({MARKUP!r})",
    ]
    parameters = nbformat.v4.new_code_cell("title = ''", metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[parameters, *map(nbformat.v4.new_code_cell, cells)])
    nbformat.write(notebook, tmp_path / "hostile.ipynb")
    result = rerun.run(tmp_path / "hostile.ipynb", {"title": MARKUP}, folder=tmp_path / "runs")
    with chromium() as browser:
        page = browser.new_page()
        # nothing is fetched, neither scripts nor images
        page.route("http*://**", lambda route: route.abort())
        page.goto(result.html.as_uri())
        assert "window.hacked" in page.inner_text("body")
        assert page.locator("img").count() >= 3
        assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize("name", ["../../etc/passwd", MARKUP, CONTROL, "a b", "x" * 300])
def test_hostile_names_are_refused_before_anything_is_asked(lab: Lab, name: str) -> None:
    calls = {
        "window": lambda: lab.window(name),
        "attach": lambda: lab.attach("irc", name=name),
        "index": lambda: lab.index(name),
        "connect": lambda: labkit.connect(name),
    }
    for case, call in calls.items():
        with pytest.raises(LabkitError) as caught:
            pytest.fail(f"{case}: {call()}")
        assert caught.value.hint
