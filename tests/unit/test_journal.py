"""The journal: how far each file got, with several extractors at work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from pathlib import Path
from labkit.pipelines.files.journal import Begun, Journal
journal = Journal(Path(sys.argv[1]), cluster_id="c", topic="t")
for number in range(25):
    journal.note(f"{sys.argv[2]}-{number}", Begun(number, "h"), now=True)
"""


def test_extractors_side_by_side_keep_one_another_s_entries(tmp_path: Path) -> None:
    """``xargs -P 4 labkit extract files``: an entry lost would send its file's lines again."""
    path = tmp_path / "extracted.json"
    running = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, path, str(number)]) for number in range(4)
    ]
    assert [number.wait(60) for number in running] == [0] * 4
    assert len(json.loads(path.read_text())) == 100
    assert {number.name for number in tmp_path.iterdir()} <= {
        "extracted.json",
        "extracted.json.lock",
    }
