"""Keep a bench's medians where the documentation shows them: ``docs/figures``.

With them stand when, where and of which labkit they are.
"""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "docs" / "figures"


def keep(
    name: str, title: str, rounds: int, rows: list[dict[str, Any]], *, folder: Path = FOLDER
) -> Path:
    """Write ``bench-<name>.json`` and return its path.

    A row is what one way took, by the columns' names.
    """
    folder.mkdir(exist_ok=True)
    path = folder / f"bench-{name}.json"
    result = {
        "title": title,
        "version": version("labkit"),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "rounds": rounds,
        "rows": rows,
    }
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return path
