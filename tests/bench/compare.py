"""Measure memory and time of comparing two indices, at several sizes.

Each size runs in a process of its own, on the running local stack; both sides hold documents of
about 300 bytes, one in ten of them changed on the right.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

from labkit.elastic import Target
from labkit.es.mappings import SETTINGS
from labkit.lab import connect
from labkit.sinks.scratch_index import ScratchIndex

CHILD = """
import json, sys, time, labkit, psutil
from memory import peak_mb
lab = labkit.connect()
lab.compare(sys.argv[1], sys.argv[1], latency=False, progress=False)
before, began = psutil.Process().memory_info().rss, time.monotonic()
found = lab.compare(sys.argv[2], sys.argv[3], latency=False, progress=False)
print(json.dumps({"same": found.same, "changed": found.counts["changed"], "seconds": round(time.monotonic() - began, 1),
                  "before_mb": before // 10**6, "peak_mb": round(peak_mb())}))
"""
ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}


def fill(target: Target, name: str, count: int, changed: int) -> ScratchIndex:
    """Make an index of `count` documents, of which every `changed`-th is another one; 0: none."""
    index = ScratchIndex(name, target)
    target.client.indices.create(
        index=name, settings={**SETTINGS, "refresh_interval": -1}, mappings={"dynamic": False}
    )
    for first in range(0, count, 10_000):
        body = b"".join(
            b'{"index":{"_id":"irc-0-%d"}}\n{"@timestamp":"2016-03-01T%02d:00:00.000Z","n":%d,"nick":"nick%d","text":"%s"}\n'
            % (
                n,
                n % 24,
                -n if changed and n % changed == 0 else n,
                n % 500,
                b"some words of a message " * 8,
            )
            for n in range(first, min(first + 10_000, count))
        )
        target.client.bulk(index=name, operations=[body], filter_path="errors")  # type: ignore[list-item]
    index.refresh()
    return index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, nargs="*", default=[50_000, 500_000])
    options = parser.parse_args()
    target, prefix = connect().target(), f"scratch-bench-{uuid.uuid4().hex[:6]}"
    few = fill(target, f"{prefix}-few", 2_000, 0)
    for size in options.documents:
        left, right = (
            fill(target, f"{prefix}-{side}", size, every)
            for side, every in (("left", 0), ("right", 10))
        )
        names = [few.name, left.name, right.name]
        result = subprocess.run(
            [sys.executable, "-c", CHILD, *names],
            env=ENV,
            capture_output=True,
            text=True,
            check=True,
        )
        print(f"{size:>9,} documents a side: {json.loads(result.stdout)}", flush=True)
        left.drop()
        right.drop()
    few.drop()


if __name__ == "__main__":
    main()
