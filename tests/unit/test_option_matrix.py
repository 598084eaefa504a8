"""Every way to take a window's records takes every option of a reading.

Else it refuses it with the reason.
"""

from __future__ import annotations

import inspect

import pytest

from labkit.errors import UsageError
from labkit.es.index import Index
from labkit.lab import Lab
from labkit.replay.plan import Plan
from labkit.sinks.replay import Replay
from labkit.window import Window

OPTIONS = (
    "where", "decode", "key_decode", "types", "enrich", "isolation", "on_expired", "max_bytes", "deadline", "guard",
    "progress", "on_interrupt",
)  # fmt: skip
OF_READ = ("to_pandas", "to_polars")  # they pass their options on to it
SINKS = (
    "read", "batches", "sql", "to_parquet", "to_arrow", "to_csv", "to_excel", "to_jsonl", "to_topic", "to_scratch",
    "to_dask", "to_spark", "profile", "find", "latest", "around",
)  # fmt: skip


def options_of(sink: str) -> tuple[set[str], dict[str, str]]:
    """Return which options a method takes, and which it refuses, with the reason."""
    method = getattr(Window, sink)
    return OPTIONS & inspect.signature(method).parameters.keys(), getattr(method, "refused", {})


def test_each_sink_takes_each_option_or_refuses_it() -> None:
    undecided = {}
    for sink in SINKS:
        accepted, refused = options_of(sink)
        undecided[sink] = [name for name in OPTIONS if (name in accepted) == (name in refused)]
    assert undecided == {sink: [] for sink in SINKS}


def test_the_list_of_sinks_is_whole() -> None:
    """A new method that reads the window decides about each option, too."""
    methods = {
        name
        for name, method in inspect.getmembers(Window, inspect.isfunction)
        if not name.startswith("_")
    }
    reading = {
        name
        for name in methods
        if {"isolation", "deadline"} & inspect.signature(getattr(Window, name)).parameters.keys()
    }
    assert reading - {"reading"} == set(SINKS)
    for name in OF_READ:
        assert "options" in inspect.signature(getattr(Window, name)).parameters


@pytest.mark.parametrize("sink", [name for name in SINKS if options_of(name)[1]])
def test_a_refusal_says_what_to_do_instead(sink: str) -> None:
    plan = Plan(
        topic="irc", cluster_id="c", topic_id="t", ranges=(), start_ms=None, end_ms=None, timestamp_type="CreateTime",
        asked="all", frozen_ms=0,
    )  # fmt: skip
    window = Window(plan, None)  # type: ignore[arg-type]  # nothing is asked of it
    for name, reason in options_of(sink)[1].items():
        with pytest.raises(UsageError) as error:
            getattr(window, sink)(**{name: 1})
        assert error.value.message == f"{sink} takes no {name}"
        assert error.value.hint == reason


@pytest.mark.parametrize("method", ["to_parquet", "to_csv", "to_excel", "to_jsonl"])
def test_an_index_is_written_as_a_replay_is(method: str) -> None:
    own = ["query", "fields", "limit", "on_interrupt"]
    written, copied = (
        inspect.signature(getattr(public, method)).parameters for public in (Index, Replay)
    )
    assert set(written) == {*copied, *own}
    for name in copied:
        assert (written[name].kind, written[name].default) == (
            copied[name].kind,
            copied[name].default,
        )
    read = inspect.signature(Index.to_pandas).parameters
    assert [(written[name].kind, written[name].default) for name in own] == [
        (read[name].kind, read[name].default) for name in own
    ]


def test_whatever_decodes_values_decodes_keys_too() -> None:
    for public in (Window, Lab, Replay):
        for _, method in inspect.getmembers(public, inspect.isfunction):
            options = {*inspect.signature(method).parameters, *getattr(method, "refused", {})}
            assert ("decode" in options) == ("key_decode" in options), method
    assert {"decode", "key_decode"} <= inspect.signature(Lab.trace).parameters.keys()


@pytest.mark.parametrize("public", [Window, Lab, Replay, Index])
def test_a_wrong_call_names_what_was_typed(public: type) -> None:
    """Not the class inside labkit that the method stands in."""
    methods = {
        name: method
        for name, method in inspect.getmembers(public, inspect.isfunction)
        if not name.startswith("_")
    }
    called = {name: method.__qualname__ for name, method in methods.items()}
    assert called == {name: f"{public.__name__}.{name}" for name in methods}
    some = next(iter(methods))
    with pytest.raises(TypeError, match=rf"{public.__name__}\.{some}\(\)"):
        methods[some](*range(99))
