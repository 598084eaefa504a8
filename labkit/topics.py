"""The list of topics: one that cannot be asked in full has cells that are missing, and hides no other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from labkit.errors import LabkitError
from labkit.kafka import Cluster
from labkit.names import choose

if TYPE_CHECKING:
    import pandas as pd

_WHOLE = ["records", "earliest", "latest", "retention_ms"]
_COLUMNS = ["topic", "partitions", *_WHOLE, "cleanup", "timestamp_type"]


def topics_frame(cluster: Cluster, patterns: Iterable[str] = ()) -> pd.DataFrame:
    """Return one row per topic that a pattern matches; see `labkit.lab.Lab.topics`."""
    import pandas as pd

    choose([], patterns)  # what is no pattern is told before anything is asked
    known = cluster.topics()
    found = {name: known[name] for name in choose(known, patterns)}
    settings = cluster.each_topic_settings(found)
    bounds = cluster.log_bounds((name, one) for name, partitions in found.items() for one in partitions)
    rows = [
        (name, len(partitions), *_sums([bounds[name, one] for one in partitions]), *_kept(settings[name]))
        for name, partitions in found.items()
    ]
    return pd.DataFrame(rows, columns=_COLUMNS).astype(dict.fromkeys(_WHOLE, "Int64"))


def _sums(bounds: list[tuple[int, int] | LabkitError]) -> tuple[Any, Any, Any]:
    """Return records, first offsets and ends of a topic; a sum over some of its partitions would be none."""
    import pandas as pd

    known = [one for one in bounds if not isinstance(one, LabkitError)]
    if len(known) < len(bounds):
        return pd.NA, pd.NA, pd.NA
    first, end = sum(one[0] for one in known), sum(one[1] for one in known)
    return end - first, first, end


def _kept(settings: dict[str, str] | LabkitError) -> tuple[Any, Any, Any]:
    """Return retention, clean-up and the kind of timestamps."""
    import pandas as pd

    if isinstance(settings, LabkitError):
        return pd.NA, pd.NA, pd.NA
    keeps_ms = int(settings.get("retention.ms", -1))
    return keeps_ms, settings.get("cleanup.policy", ""), settings.get("message.timestamp.type", "")
