"""States that users meet: texts wherever they go."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pandas as pd
import pytest

from labkit.doctor.diagnosis import Status
from labkit.groups.states import Doing, Flag, Next, SinceBy, Verdict
from labkit.replay.receipt import StopReason
from labkit.text.plain_enum import PlainEnum


@pytest.mark.parametrize("states", [Doing, Flag, Next, SinceBy, Status, StopReason, Verdict])
def test_a_state_is_shown_written_and_read_as_its_text(
    states: type[PlainEnum], tmp_path: Path
) -> None:
    texts = [state.value for state in states]
    assert repr({"states": list(states)}) == repr({"states": texts})
    assert json.dumps(list(states)) == json.dumps(texts)
    assert f"{list(states)[-1]}" == texts[-1]
    assert pickle.loads(pickle.dumps(list(states))) == texts
    frame = pd.DataFrame({"state": list(states)})
    frame.to_parquet(tmp_path / "states.parquet")
    assert pd.read_parquet(tmp_path / "states.parquet")["state"].tolist() == texts
    assert frame.groupby("state").size().index.tolist() == sorted(texts)
