"""The notebook of one's own topic: Avro in a frame, an index and a copy.

A function as a decoder, keys apart.
"""

from __future__ import annotations

import ast
import re
import uuid
from pathlib import Path

import nbformat
import pytest

from labkit.kafka.cluster import Cluster
from labkit.notebook import rerun
from labkit.stack.state import State

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "06-your-own-topic.ipynb"


@pytest.mark.timeout(280)
def test_it_runs_and_says_what_is_in_the_topic(
    registry_url: str, stack: State, admin: Cluster, me: str, tmp_path: Path
) -> None:
    topic = f"irc-own-{uuid.uuid4().hex[:8]}"
    try:
        result = rerun.run(NOTEBOOK, {"topic": topic, "records": 700}, folder=tmp_path)
    finally:
        copies = [name for name in admin.topics() if name.startswith(f"labkit.{me}.own-")]
        topics_left = [
            name for name in (topic, f"{topic}-pipes", *copies) if name in admin.topics()
        ]
        admin.ask(lambda client: client.delete_topics(topics_left), what="delete them")
    cells = [
        cell
        for cell in nbformat.read(result.notebook, as_version=4).cells
        if cell.cell_type == "code"
    ]
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    streams = [output.text for output in outputs if output.output_type == "stream"]
    # what is printed in one moment comes as one output
    lines = [line for text in streams for line in text.splitlines()]
    source = rf"({topic}(-pipes)?|window of {topic} and scratch-\S+|labkit\.{me}\.own-\w+)"
    read = re.compile(rf"{source}: [\d,]+ records, .* MB in .* s")
    warned, *code = [line for line in lines if not read.fullmatch(line)]
    assert warned.endswith("has not all of its window: 1 record was refused")
    assert "load.index.to_pandas(" in code[0]
    assert len(lines) > 2 + len(code)  # one line for each read, in a run that nobody watches
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
    summary = ast.literal_eval(outputs[-1]["data"]["text/plain"])
    assert (summary["records"], summary["complete"], summary["undecodable"]) == (701, True, 1)
    assert [note.split(":")[0] for note in summary["chosen"]] == [
        "auto chose avro for the values",
        "auto chose text for the keys",
    ]
    assert summary["types"]["at"] == "timestamp[ms, tz=UTC]"
    assert summary["types"]["fee"] == "decimal128(6, 2)"
    assert summary["with_host"] == sum(number % 3 > 0 for number in range(350, 700))
    assert (summary["lines"], summary["lines_undecodable"]) == (71, 2)
    assert summary["keys"] == ["#elastic", "#jupyter", "#kafka"]
    assert (summary["profiled"], summary["indexed"], summary["rejected"], summary["copied"]) == (
        701,
        700,
        1,
        701,
    )
    assert summary["compared"]["same"] == 700
    assert not sum(summary["compared"][name] for name in ("changed", "only_left", "only_right"))
    assert summary["same_values"]
    text = result.notebook.read_text()
    assert not [role for role, password in stack.passwords.items() if password in text]
