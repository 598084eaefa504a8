"""The most memory a process has held."""

import resource
import sys
from pathlib import Path


def peak_mb() -> float:
    """Return this process's largest resident size so far, in MB (10^6 bytes).

    On Linux `ru_maxrss` begins at what the parent held when it forked: a small process started by a
    large one looks large. `VmHWM` begins anew at exec.
    """
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
