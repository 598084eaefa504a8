"""Compare like for like: two downstreams of one window, document by document and field by field.

`labkit.compare.rules` says what counts as equal.
"""

from __future__ import annotations

from labkit.compare.result import Comparison
from labkit.compare.run import compare

__all__ = ["Comparison", "compare"]
