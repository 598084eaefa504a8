"""Conversations: who counts as addressed, what is left out and said, and how it is drawn."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from labkit import charts
from labkit.charts.conversation import around, curves
from labkit.errors import UsageError
from support.pictures import can_be_drawn, subtitle_lines


def talk(*messages, **names):
    nicks, texts = zip(*messages, strict=True)
    return pa.table({names.get("sender", "nick"): nicks, names.get("text", "message"): texts})


def pairs(chart):
    return {
        (itertuple.sender, itertuple.addressee): itertuple.messages
        for itertuple in chart.data.itertuples()
    }


def test_a_known_nick_as_the_first_word_is_addressed():
    data = talk(
        ("ann", "bob: hi"), ("ann", "bob, again"), ("ann", "@Bob: and again"), ("bob", "ann:"), ("bob", " ann: blank"),
        ("bob", "well, no"), ("bob", "ann hello"), ("bob", "ann:hello"), ("bob", "https://ann: no"), ("bob", "bob: me"),
        ("ann", None), (None, "bob: who?"), ("ann", "carl: not here"), ("[x]^|_", "ann: odd"), ("ann", "[X]^|_: odd"),
    )  # fmt: skip
    chart = charts.conversation(data)
    assert pairs(chart) == {
        ("ann", "bob"): 3,
        ("bob", "ann"): 2,
        ("[x]^|_", "ann"): 1,
        ("ann", "[x]^|_"): 1,
    }
    assert subtitle_lines(chart) == ["7 of 13 messages (54 %) begin with a nick, 3 of 3 nicks"]
    assert can_be_drawn(chart)


def test_case_does_not_matter_and_the_usual_spelling_is_shown():
    data = talk(("Ann", "x"), ("Ann", "y"), ("ann", "BOB: 1"), ("bob", "ANN: 2"))
    assert pairs(charts.conversation(data)) == {("Ann", "bob"): 1, ("bob", "Ann"): 1}


def test_the_top_names_and_what_is_left_out():
    data = talk(("a", "b: 1"), ("a", "b: 2"), ("b", "a: 3"), ("c", "a: 4"), ("d", "c: 5"))
    chart = charts.conversation(data, top=2)
    assert pairs(chart) == {("a", "b"): 2, ("b", "a"): 1}
    assert subtitle_lines(chart) == [
        "5 of 5 messages (100 %) begin with a nick, 2 of 4 nicks",
        "left out: 2 messages from or to others",
    ]


def crowd(size):
    return talk(
        *(
            (f"n{a}", f"n{b}: hi")
            for a in range(size)
            for b in range(size)
            for _ in range(1 + (a == b + 1))
        )
    )


def test_few_names_are_a_graph_with_the_widest_arrows_and_many_a_matrix():
    graph = charts.conversation(crowd(8))
    assert len(graph.data) == 40
    assert subtitle_lines(graph)[1] == "left out: the 16 thinnest arrows (16 messages)"
    matrix = charts.conversation(crowd(14), top=14)
    assert len(matrix.data) == 14 * 13
    kinds = [
        {str(layer["mark"]["type"]) for layer in chart.to_dict()["layer"]}
        for chart in (graph, matrix)
    ]
    assert "line" in kinds[0]
    assert kinds[1] == {"rect", "text"}
    assert can_be_drawn(graph)
    assert can_be_drawn(matrix)
    assert can_be_drawn(charts.conversation(crowd(8), form="matrix"))
    assert can_be_drawn(charts.conversation(crowd(24), form="graph", top=24))


def test_other_names_of_fields_and_frames():
    data = talk(("ann", "bob: hi"), ("bob", "hm"), sender="who", text="what").to_pandas()
    chart = charts.conversation(data, sender="who", text="what")
    assert pairs(chart) == {("ann", "bob"): 1}
    assert "begin with a who" in subtitle_lines(chart)[0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            pa.table({"nick": pa.array([], pa.string()), "message": pa.array([], pa.string())}),
            "no records",
        ),
        (talk(("ann", "hello"), ("bob", None)), "none of 1 messages begins with one of 2 nicks"),
        (
            pa.table({"nick": ["ann"], "message": pa.nulls(1)}),
            "none of 0 messages begins with one of 1 nicks",
        ),
    ],
)
def test_nothing_to_draw_is_said(data, said):
    chart = charts.conversation(data)
    assert chart.data["text"].tolist() == [said]
    assert can_be_drawn(chart)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"sender": "who"}, "there are: nick, message, n"),
        ({"text": "n"}, "sender= and text="),
        ({"top": 1}, "2 to 40"),
        ({"form": "cloud"}, "form must be 'graph' or 'matrix', not 'cloud'"),
    ],
)
def test_wrong_options_of_a_conversation_name_what_may_be(options, hint):
    data = talk(("ann", "bob: hi")).append_column("n", pa.array([1]))
    with pytest.raises(UsageError) as caught:
        charts.conversation(data, **options)
    assert hint in str(caught.value)


def test_those_who_talk_much_stand_side_by_side():
    frame = pd.DataFrame(
        [("a", "x", 50), ("b", "y", 50), ("x", "a", 50), ("a", "b", 1), ("x", "y", 1)],
        columns=["sender", "addressee", "messages"],
    )
    order = around(frame, ["a", "b", "x", "y"])
    assert sorted(order) == ["a", "b", "x", "y"]
    apart = abs(order.index("a") - order.index("x"))
    assert apart in (1, 3)


def test_arrows_end_beside_their_addressee_and_both_ways_lie_apart():
    frame = pd.DataFrame(
        [("a", "b", 1), ("b", "a", 1)], columns=["sender", "addressee", "messages"]
    )
    spots = pd.DataFrame({"name": ["a", "b"], "x": [0.0, 0.0], "y": [1.0, -1.0]})
    lines_ = curves(frame, spots)
    there, back = (lines_[lines_["sender"] == one] for one in ("a", "b"))
    end = there.iloc[-1]
    assert np.hypot(end["x"], end["y"] + 1) < 0.15
    assert end["angle"] == pytest.approx(180, abs=30) or end["angle"] == pytest.approx(-180, abs=30)
    assert there["x"].max() * back["x"].max() <= 0 or there["x"].mean() * back["x"].mean() < 0
