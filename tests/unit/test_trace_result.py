"""What a trace shows of the record, and where."""

from __future__ import annotations

import json

from labkit.trace.result import Code, State, Step, Trace

HOSTILE = "<img src=x onerror=alert(1)>"
STEP = Step(
    "topic", State.YES, Code.FOUND, f"there {HOSTILE}", (f"key: {HOSTILE}", "value: secret")
)
TRACE = Trace("t", 0, 3, (STEP,), f"It is there {HOSTILE}.")


def test_json_and_text_leave_the_record_out() -> None:
    assert "secret" not in TRACE.to_json() + str(TRACE) + TRACE.to_pandas().to_json()
    (step,) = json.loads(TRACE.to_json())["steps"]
    assert list(step) == list(TRACE.to_pandas()) == ["place", "state", "code", "text"]


def test_html_has_it_folded_and_escaped() -> None:
    page = TRACE._repr_html_()
    assert "value: secret" in page
    assert "<img" not in page
