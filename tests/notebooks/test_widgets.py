"""Widgets on real topics: what they pick, show and stop.

Their looks are tested in tests/browser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.util import run_sync

from labkit import widgets
from labkit.errors import NotFoundError, UsageError
from labkit.lab import Lab
from labkit.window import Window
from support.kernel import outputs
from support.waiting import until

HOUR = 3_600_000
FIRST = 1_456_790_400_000  # 2016-03-01T00:00:00Z


def record(number: int) -> bytes:
    return json.dumps(
        {"nick": f"n{number % 3}", "number": number, "deep": {"list": [1, {"a": None}]}}
    ).encode()


@pytest.fixture
def topic(make_topic: Callable[..., str], produce: Callable[..., None]) -> str:
    """Two partitions, a record each hour: 60 in the first, 40 in the second."""
    name = make_topic(2)
    for partition, count in ((0, 60), (1, 40)):
        produce(
            name,
            [record(number) for number in range(count)],
            partition=partition,
            timestamps=[FIRST + number * HOUR for number in range(count)],
            headers=[[("trace", b"\x00\xff"), ("trace", b"<b>")]] * count,
        )
    return name


def made_by(code: str, lab: Lab) -> Window:
    space: dict[str, Any] = {"lab": lab}
    exec(code, space)
    window: Window = space["w"]
    return window


def test_a_picker_of_many_topics_searches_their_names(
    lab: Lab, topic: str, make_topic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of 2,000 topics could only be scrolled."""
    second = make_topic()
    monkeypatch.setattr("labkit.notebook.picker.MANY", 1_000_000)
    assert widgets.pick_window(lab, topic).search.layout.display == "none"
    monkeypatch.setattr("labkit.notebook.picker.MANY", 1)
    picker = widgets.pick_window(lab, topic)
    assert picker.search.layout.display == "flex"
    before = picker.timeline
    picker.search.value = f" {second[-12:].upper()} "
    assert picker.topic.options == (topic, second)
    assert (picker.topic.value, picker.timeline) == (topic, before)
    picker.topic.value = second
    assert picker.choice.topic == second
    picker.search.value = "no-such-topic-at-all"
    assert picker.topic.options == (second,)
    picker.search.value = ""
    assert picker.topic.options[0] == second
    assert {topic, second} <= set(picker.topic.options)


def test_the_picker_picks_by_time_partition_and_count_and_prints_the_line_that_does(
    lab: Lab, topic: str
) -> None:
    picker = widgets.pick_window(lab, topic)
    assert picker.records == len(picker.window) == 100
    assert picker.timeline.counts.sum(axis=0).tolist() == [60, 40]
    assert picker.code == f'w = lab.window("{topic}")'

    edges = picker.timeline.edges
    picker.range.index = (edges.index(FIRST + 10 * HOUR), edges.index(FIRST + 30 * HOUR))
    assert picker.window is picker.window
    assert picker.records == len(picker.window.read(progress=False)) == 40
    picker.partitions.value = (1,)
    read = picker.window.read(progress=False)
    assert picker.records == len(read) == 20
    assert read.table["number"].to_pylist() == list(range(10, 30))
    assert 'start="2016-03-01T10:00:00Z", end="2016-03-02T06:00:00Z", partitions=[1]' in picker.code
    assert made_by(picker.code, lab).plan.hash == picker.window.plan.hash

    picker.by.value, picker.newest.value = "newest records", 7
    assert picker.window.offsets == {1: (33, 40)}
    assert made_by(picker.code, lab).plan.hash == picker.window.plan.hash
    assert picker.code in repr(picker)


def test_what_was_picked_of_a_topic_is_kept_until_it_is_begun_anew(lab: Lab, topic: str) -> None:
    """BEHAVIOURS 63: the next widget on the same data, and refresh, keep the pick, and say so."""
    first = widgets.pick_window(lab, topic)
    edges = first.timeline.edges
    first.range.index = (edges.index(FIRST + 10 * HOUR), edges.index(FIRST + 30 * HOUR))
    first.partitions.value = (1,)
    assert "picked before" not in first.said.value
    second = widgets.pick_window(lab, topic)
    assert second.code == first.code
    assert second.records == 20
    assert "picked before, and kept" in second.said.value
    second.refresh()
    assert second.code == first.code
    assert widgets.pick_window(lab).code == first.code
    assert widgets.pick_window(lab, topic, anew=True).code == f'w = lab.window("{topic}")'

    second.by.value, second.newest.value = "newest records", 7
    third = widgets.pick_window(lab, topic)
    assert "last=7" in third.code
    third.anew.click()
    assert third.code == f'w = lab.window("{topic}")'

    replay = lab.window(topic).read(progress=False)
    widgets.inspect(replay).place.value = 9
    assert widgets.inspect(replay).row == 9
    assert "looked at before" in widgets.inspect(replay).said.value
    assert widgets.inspect(replay, 0).row == 0

    clicked = widgets.browse(lab, topic)
    clicked.box.filters = [{"op": "is", "field": ["nick"], "value": "n1"}]
    again = widgets.browse(lab, topic)
    assert again.where == "nick = 'n1'"
    assert "as clicked before" in again.box.about["kept"]
    assert widgets.browse(lab, topic, anew=True).where is None


def test_the_picker_follows_topics_and_says_what_there_is_not(
    lab: Lab, topic: str, make_topic: Callable[..., str]
) -> None:
    empty = make_topic(1)
    picker = widgets.pick_window(lab, topic)
    picker.topic.value = empty
    assert picker.timeline.grid is None
    assert len(picker.window) == picker.records == 0
    assert picker.window.topic == empty
    assert "no record" in picker.chart.value
    with pytest.raises(NotFoundError):
        widgets.pick_window(lab, "irc-nowhere")


def test_a_window_of_some_partitions(lab: Lab, topic: str) -> None:
    assert lab.window(topic, partitions=[1]).offsets == {1: (0, 40)}
    with pytest.raises(ValueError, match="no partition 5"):
        lab.window(topic, partitions=[0, 5])
    with pytest.raises(UsageError, match="must name one or more"):
        lab.window(topic, partitions=[])
    with pytest.raises(UsageError, match="already"):
        lab.window(topic, offsets={0: (0, 1)}, partitions=[0])


def test_the_inspector_shows_value_headers_and_bytes_and_escapes_them(
    lab: Lab, topic: str, produce: Callable[..., None]
) -> None:
    produce(
        topic,
        [b"<script>alert(1)</script>", None, b""],
        partition=1,
        timestamps=[FIRST + 50 * HOUR] * 3,
    )
    replay = lab.window(topic, partitions=[1]).read(progress=False)
    look = widgets.inspect(replay, 3)
    assert f"{topic}[1]@3" in look.view.value
    assert "<summary><b>deep</b> 1</summary>" in look.view.value
    assert "2 headers" in look.view.value
    assert "&lt;b&gt;" in look.view.value
    assert "00000000  7b 22 6e 69 63 6b" in look.view.value
    assert '"number": 3' in repr(look)
    look.place.value = 40
    assert "<script>" not in look.view.value
    assert "&lt;script&gt;" in look.view.value
    look.place.value = 41
    assert "tombstone" in look.view.value
    look.place.value = 42
    assert "empty: 0 bytes" in look.view.value
    with pytest.raises(UsageError, match="rows count from 0"):
        widgets.inspect(replay, 99)


def test_scratch_indices_are_listed_kept_for_longer_and_deleted_once_asked(
    lab: Lab, make_topic: Callable[..., str], produce: Callable[..., None], me: str
) -> None:
    topic = make_topic(1)
    produce(topic, [b'{"n": 1}'] * 10)
    window = lab.window(topic)
    for name, ttl in (("old", "1ms"), ("new", "2d"), ("other", "3d")):
        load = window.to_scratch(name, ttl=ttl)
        assert load.counts["indexed"] == 10
    names = [f"scratch-{me}-{name}" for name in ("old", "new", "other")]
    board = widgets.scratch(lab)
    shown = " ".join(
        cell.description if isinstance(cell.value, bool) else cell.value
        for cell in board.table.children
    )
    assert [name for name in names if name in shown] == names
    assert shown.count("expired") == 1
    assert "3 scratch indices" in board.said.value
    assert "scratch topic" not in board.said.value
    copy = window.to_topic("copy")
    board.refresh_button.click()  # topics are not listed here, and that is said
    assert "1 scratch topic not shown: lab.scratch() lists them" in board.said.value
    copy.drop()
    assert board.delete_button.disabled

    board._ticks[1].value = True  # they are in the order of their expiry
    assert [index.name for index in board.chosen] == [names[1]]
    board.ttl.value = "5d"
    board.extend_button.click()
    assert "will expire at" in board.said.value
    assert lab.scratch().set_index("index")["expires"].idxmax() == names[1]
    board._ticks[1].value = True
    board.ttl.value = "soon"
    board.extend_button.click()
    assert "not a length of time" in board.said.value

    board.refresh_button.click()  # BEHAVIOURS 63: what is ticked stays so
    board.delete_button.click()
    assert f"Delete <b>{names[2]}</b> with 10 documents?" in board.question.value
    board.no_button.click()
    assert len(lab.scratch()) == 3
    board.delete_button.click()
    board.yes_button.click()
    assert sorted(lab.scratch()["index"]) == sorted(names[:2])
    board.collect_button.click()
    assert names[0] in board.said.value
    assert list(lab.scratch()["index"]) == [names[1]]
    board.every.value = True
    board.delete_button.click()
    lab.scratch_index("new").drop()  # somebody else was faster
    board.yes_button.click()
    assert board.said.value == "nothing deleted"
    assert repr(board) == "no scratch index: w.to_scratch(name) makes one"


def test_widgets_are_pictures_in_a_headless_run_and_text_in_plain_python(
    lab: Lab, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "the newest 4 records" in repr(widgets.tail(lab, topic, last=4))
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    picture = "print(widgets.{}._repr_mimebundle_()['text/html'])"
    _, picker, tail, inspector, scratch, running, drawn, listed = outputs(
        "import labkit\nfrom labkit import widgets\nlab = labkit.connect()",
        f"widgets.pick_window(lab, {topic!r})",
        f"t = widgets.tail(lab, {topic!r}, last=4)\nt",
        f"widgets.inspect(lab.window({topic!r}, last=1).read(progress=False))",
        "widgets.scratch(lab)",
        "t.running",
        picture.format(f"browse(lab, {topic!r})"),
        picture.format("lag_board(lab)"),
    )
    assert picker.startswith(f"window picker on {topic}")
    assert "the newest 4 records" in tail
    assert '"deep"' in inspector
    assert "scratch ind" in scratch or "expires" in scratch
    assert running == "False"
    assert re.search(r"<svg .*the newest 10:.*<table.*r = w\.read\(\)", drawn, re.DOTALL)
    assert "by the last 3 looks" in listed


@contextmanager
def kernel(*cells: str) -> Iterator[Callable[..., str]]:
    """A kernel that goes on between cells.

    The function runs one and returns its text, and reaches the kernel.
    """
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("")])
    client = NotebookClient(notebook, timeout=120)
    with client.setup_kernel():

        def run(code: str, name: str = "cell") -> str:
            cell = nbformat.v4.new_code_cell(code, id=name)
            client.nb.cells = [cell]
            client.execute_cell(cell, 0)
            return "\n".join(
                str(output.get("text") or output.data.get("text/plain")) for output in cell.outputs
            )

        run.interrupt = run_sync(client.km.interrupt_kernel)  # type: ignore[attr-defined]
        for cell in cells:
            run(cell)
        yield run


def until_shown(run: Callable[..., str], expression: str, wanted: str) -> None:
    """Wait until an expression in the kernel is shown so."""
    until(lambda: run(expression) == wanted, f"{expression} is {wanted}, not {run(expression)}:")


@pytest.mark.chaos
@pytest.mark.alone
def test_a_tail_and_a_board_follow_beside_the_cells_until_rerun_closed_or_interrupted(
    lab: Lab, topic: str, produce: Callable[..., None]
) -> None:
    before = set(lab.groups()["group"])
    with kernel("import labkit\nfrom labkit import widgets\nlab = labkit.connect()") as run:
        tail = f"t = widgets.tail(lab, {topic!r}, last=4)\nt"
        run(tail, "a")
        until_shown(run, "len(t.frame)", "4")
        produce(topic, [b'{"nick": "new"}'], partition=0)
        until_shown(run, "t.frame['nick'].iloc[-1]", "'new'")
        run("t.filter.value = 'NEW'")
        assert run("len(t.frame), t.running") == "(1, True)"
        run("t.pause.value = True")
        produce(topic, [b'{"nick": "newer"}'], partition=0)
        until_shown(run, "t.state.value.startswith('paused')", "True")
        run("t.pause.value = False")
        until_shown(run, "len(t.frame)", "2")

        run("first = t")
        run(tail, "a")  # the same cell again
        until_shown(run, "first.running, t.running", "(False, True)")
        assert "run again" in run("first.state.value")

        run("b = widgets.lag_board(lab, every='200ms')\nb", "b")
        until_shown(run, "len(b._recent.looks) > 2, b.running", "(True, True)")
        run.interrupt()  # type: ignore[attr-defined]  no cell runs now
        until_shown(run, "t.running, b.running", "(False, False)")
        assert "interrupted" in run("t.state.value + b.state.value")
        # what was seen stands beside why it ended
        until_shown(run, "'interrupted; by the last ' in b.state.value", "True")
        until_shown(run, "'interrupted; 4 records seen' in t.state.value", "True")

        run("b.view.value", "c")
        run(tail, "a")
        run("t.box.close()")
        until_shown(run, "t.running", "False")
    assert set(lab.groups()["group"]) == before


def test_what_is_given_alone_needs_no_lab_beside_it(
    lab: Lab, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.notebook.widgets.connect", lambda: lab)
    monkeypatch.setattr("labkit.lab.connect", lambda: lab)
    window = lab.window(topic)
    for what in (topic, window, window.read()):
        assert "100 of 100 picked" in widgets.browse(what, anew=True).picture()
    assert widgets.pick_window(topic, anew=True).window.topic == topic
    assert topic in str(widgets.tail(topic, limit="1s"))
    with pytest.raises(NotFoundError, match="no consumer group matches 'nobody"):
        widgets.lag_board("nobody.*")


def test_browse_begins_with_a_condition(
    lab: Lab, make_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    """Whatever it looks at; it is a filter as any other, and not kept for the next one."""
    topic = make_topic()
    produce(topic, [json.dumps({"nick": f"n{number % 3}"}).encode() for number in range(100)])
    window = lab.window(topic)
    load = window.to_scratch(f"begin-{topic[-6:]}", progress=False)
    try:
        sources = [(what, "nick = 'n1'") for what in (topic, window, window.read())]
        for what, where in (*sources, (load.index, "nick:n1")):
            browse = widgets.browse(lab, what, where=where)
            assert browse.text().count("33 of 100 picked") == 1, what
        assert widgets.browse(lab, topic).where is None
        with pytest.raises(UsageError, match="nik"):
            widgets.browse(lab, window, where="nik = 'n1'")
        with pytest.raises(UsageError, match="where must be a condition"):
            widgets.browse(lab, window, where="")
    finally:
        load.index.drop()
