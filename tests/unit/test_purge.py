"""What `labkit down --purge` leaves.

An extractor to any cluster keeps its spool and journal in the same folder.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.stack import local
from labkit.stack.state import State


def test_records_that_wait_to_be_sent_are_not_the_stack_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_STATE", str(tmp_path))
    State(tmp_path).save()
    for name in ("spool/a.sqlite", "kafka/log", "extracted.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    messages: list[str] = []
    local.down(purge=True, say=messages.append)
    assert {path.name for path in tmp_path.iterdir()} - {"lock"} == {"spool", "extracted.json"}
    assert "not an extractor's spool and extracted.json" in messages[-1]
