"""A run's list of what its notebook read, in the file that ``LABKIT_RECEIPTS`` names.

Each read is a line of JSON. `labkit run` names one, and any other runner may
(``LABKIT_RECEIPTS=reads.jsonl papermill …``). Nothing is put into the notebook. Several processes
may write: each line is one append.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from labkit.checks.user_line import warn
from labkit.checks.validation import read_json
from labkit.replay.plan import Plan
from labkit.replay.receipt import Receipt
from labkit.times import iso, now_ms

VARIABLE = "LABKIT_RECEIPTS"


def record(plan: Plan, receipt: Receipt, how: str) -> None:
    """Append a read to the list, when there is one.

    A list that cannot be written is a warning; the read goes on.

    Parameters
    ----------
    how : str
        What was called: ``read``, ``batches``, ``to_parquet``, ``to_csv``, ``to_scratch``,
        ``compare`` ….
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return
    read = {
        "how": how,
        "at": iso(now_ms()),
        "window": json.loads(plan.to_json()),
        "receipt": receipt.to_dict(),
    }
    line = b"\n" + json.dumps(read).encode() + b"\n"  # a torn line before it stays alone
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            is_whole = os.write(file, line) == len(line)
        finally:
            os.close(file)
        if not is_whole:
            raise OSError(0, "no space")
    except OSError as error:
        warn(f"this read is missing in {path} ({VARIABLE}): {error.strerror}")


def entries(path: Path) -> list[dict[str, Any]]:
    """Return the reads a list has: how, at, window, receipt.

    A torn line, of a full disk, is left out.
    """
    log = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            entry = read_json(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            log.append(entry)
    return log
