"""BEHAVIOURS 48: the type of a parameter is that of its default.

What a Python caller gives keeps its own.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.notebook.parameter_types import from_texts, plain, read_declared
from labkit.window import Window
from support.replays import PLAN

CELL = """\
%matplotlib inline
version = "1.0"  # of the mapping
count = 5
share = 0.5
strict = True
names = ["a"]
labels = {"a": 1}
pair = ("x", 2)
anything = None
last: int | str | None = 10_000
size: int | None = 20
where = Path("x")
first, second = "one", 2
odd: "Window" = None
greeting = f"{count} of"
code = str(7)
seconds = 24 * 3600
"""


def known(cell: str = CELL) -> Any:
    tagged = nbformat.v4.new_code_cell(cell, metadata={"tags": ["parameters"]})
    return read_declared(nbformat.v4.new_notebook(cells=[tagged]), "a.ipynb")


def one(name: str, text: str) -> Any:
    return from_texts(known(), [{name: text}])[0][name]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("version", "1.10", "1.10"), ("version", "true", "true"), ("version", "null", "null"), ("version", "{}", "{}"),
        ("count", "7", 7), ("count", "-7", -7), ("share", "7", 7.0), ("share", "1e-3", 0.001),
        ("strict", "false", False), ("strict", "True", True), ("strict", "0", False),
        ("names", '["b", 3]', ["b", 3]), ("names", "['b']", ["b"]), ("labels", '{"b": null}', {"b": None}),
        ("labels", "{'b': None}", {"b": None}), ("pair", "[1, 2]", [1, 2]), ("pair", "(1, 2)", [1, 2]),
        ("anything", "7", 7), ("anything", "seven", "seven"), ("anything", '{"a":1}', '{"a":1}'),
        ("anything", "None", None), ("anything", "true", True), ("last", "7d", "7d"), ("last", "700", 700),
        ("last", "None", None), ("size", "None", None), ("size", "3", 3), ("where", "y", "y"), ("first", "2", "2"),
        ("second", "3", 3), ("odd", "NaN", "NaN"), ("greeting", "5", "5"), ("code", "07", "07"), ("code", "7", "7"),
        ("seconds", "60", 60),
    ],
)  # fmt: skip
def test_a_text_becomes_what_the_default_is(name: str, text: str, value: Any) -> None:
    value_ = one(name, text)
    assert value_ == value
    assert type(value_) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("count", "7d", "a whole number"), ("count", "1.5", "a whole number"), ("share", "half", "a number"),
        ("share", "inf", "a number"), ("strict", "maybe", "true or false"), ("names", "a,b", "a list"),
        ("names", '{"a": 1}', "a list"), ("labels", "[1]", "an object"), ("size", "x", "None or a whole number"),
        ("seconds", "1.5", "a whole number"),
    ],
)  # fmt: skip
def test_a_text_that_cannot_be_of_that_type_is_refused(name: str, text: str, wanted: str) -> None:
    with pytest.raises(
        UsageError, match=f"parameter '{name}' must be {wanted}, as in `{name}.*, not '"
    ) as caught:
        one(name, text)
    assert "`" in str(caught.value)


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1", "2"], [1, 2]), (["1", "2.5"], [1.0, 2.5]), (["1", "ann"], ["1", "ann"]), (["1", "true"], ["1", "true"]),
        (["null", "1"], [None, 1]), (["007", "1"], ["007", "1"]),
    ],
)  # fmt: skip
def test_in_a_sweep_all_runs_have_one_type(texts: list[str], values: list[Any]) -> None:
    """A list of nicks among which one is a number gave one run a number."""
    value_ = [
        run["anything"] for run in from_texts(known(), [{"anything": text} for text in texts])
    ]
    assert value_ == values
    assert len({type(value) for value in value_} - {type(None)}) == 1


@given(
    st.one_of(
        st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
    )
)
def test_any_value_as_a_default_takes_itself_as_a_text(value: Any) -> None:
    cell = f"p = {value!r}"
    text = str(value)
    (value_,) = from_texts(known(cell), [{"p": text}])
    assert value_["p"] == value
    assert type(value_["p"]) is type(value)


@pytest.mark.parametrize(
    ("given_value", "value"),
    [
        ("12345", "12345"), ("true", "true"), (5, 5), (None, None), (Path("a") / "b", "a/b"),
        (pd.Timestamp("2016-03-01T00:00Z"), "2016-03-01T00:00:00+00:00"),
        (datetime(2016, 3, 1, tzinfo=UTC), "2016-03-01T00:00:00+00:00"), (timedelta(hours=6), "21600s"),
        (np.int64(3), 3), (np.float32(0.5), 0.5), (np.float64(0.5), 0.5), (np.bool_(True), True), (np.str_("x"), "x"),
        (np.array([1, 2]), [1, 2]), (pd.Series(["a"]), ["a"]), (("a", np.int8(1)), ["a", 1]), (pd.NaT, None),
        ({"a": Path("b"), 1: [np.uint8(2)]}, {"a": "b", "1": [2]}), ({"x"}, ["x"]),
        (pd.Series(pd.to_datetime(["2016-03-01"])).astype("M8[ns]").to_numpy()[0], "2016-03-01T00:00:00"),
        (np.array([5 * 10**9], "m8[ns]"), ["5s"]), (np.datetime64("2016-03-01"), "2016-03-01"),
        (timedelta(days=12, seconds=1), "1036801s"), (timedelta(microseconds=-1), "-0.000001s"),
        (Window(PLAN, None), PLAN.to_json()),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_a_python_caller_gives_keeps_its_type(given_value: Any, value: Any) -> None:
    value_ = plain("p", given_value)
    assert value_ == value
    assert type(value_) is type(value)


@pytest.mark.parametrize("value", [pd.DataFrame({"a": [1]}), b"bytes", object(), pd.NA, [object()]])
def test_what_a_notebook_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="parameter 'p' must be text, number, boolean"):
        plain("p", value)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)
NOT_IN_JSON: dict[str, tuple[Any, str]] = {
    "nan": (math.nan, "a finite number, not nan"),
    "numpy's infinity": (np.float32("-inf"), "a finite number, not -inf"),
    "nan within": ({"a": [math.nan]}, "a finite number, not nan"),
    "a long number": (10**5000, "more than 4,000 digits"),
    "bytes as text": ("\udcff", "text in UTF-8"),
    "bytes as path": (Path("\udcff"), "text in UTF-8"),
    "bytes as name": ({"\ud800": 1}, "text in UTF-8"),
    "deep": (nested(101), "nested deeper than 100"),
    "deeper": (nested(100_000), "nested deeper than 100"),
    "endless": (ENDLESS, "nested deeper than 100"),
}


@pytest.mark.parametrize("kind", NOT_IN_JSON)
def test_what_json_lacks_is_refused(kind: str) -> None:
    """A NaN made a run's record, and its notebook, unreadable; the others ended in a traceback."""
    value, text = NOT_IN_JSON[kind]
    with pytest.raises(UsageError, match=text):
        plain("p", value)


def test_a_deep_text_for_a_list_is_refused() -> None:
    with pytest.raises(UsageError, match="'p' must be a list"):
        from_texts(known("p = []"), [{"p": "[" * 100_000}])
