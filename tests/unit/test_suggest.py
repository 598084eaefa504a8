"""A misspelt value of an option with few is told of with the one that was meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from labkit import acl, enrich, interrupt
from labkit.cli import main
from labkit.decode import find_decoder
from labkit.decode.types import types_of
from labkit.errors import LabkitError, UsageError
from labkit.find.matching import Needle
from labkit.read_spec import ReadSpec
from labkit.sinks.replay import check_order

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
    "in_": (lambda: Needle.of("x", None, ("vlaue",)), "value"),
}


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
