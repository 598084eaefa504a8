"""Records to fill topics with."""

from __future__ import annotations

import gzip
from itertools import islice
from pathlib import Path


def read_sample(count: int) -> list[bytes]:
    """Return the first lines of the sample log."""
    with gzip.open(Path(__file__).parents[2] / "data" / "irc-sample.jsonl.gz") as lines:
        return [line.rstrip(b"\n") for line in islice(lines, count)]
