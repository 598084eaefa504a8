"""Charts: count first, where the records are, then draw a few hundred numbers.

`timeline`, `top`, `heatmap` and `map` take a Replay, a DataFrame, an Arrow table or an index. Arrow
columns are counted by DuckDB, indices by Elasticsearch; the same records give the same numbers
either way; ``chart.data`` has them. Each chart says what it shows and what it leaves out. Times are
those of the lab's zone, which the chart names.

`distribution` takes the same; of an index numbers only. `conversation` takes all but an index.

`comparison` draws what `Lab.compare` found, `lag` a history of consumers' lag (`Lab.lag_history`),
`board` what consumers do at a glance (`Lab.lag`).

In a notebook kernel the first chart enables labkit's renderer (see `labkit.charts.show`), unless
another was chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.charts.comparison import comparison
from labkit.charts.conversation import conversation
from labkit.charts.distribution import distribution
from labkit.charts.draw import heatmap, timeline, top
from labkit.charts.jsonschema_import import import_jsonschema
from labkit.charts.lag import board, lag
from labkit.charts.places import map
from labkit.checks.suggest import did_you_mean

__all__ = [
    "board",
    "comparison",
    "conversation",
    "distribution",
    "heatmap",
    "lag",
    "map",
    "timeline",
    "top",
]

# what pandas, altair and seaborn call a chart
_CALLED = {
    **dict.fromkeys(("bar", "barh", "barplot", "count", "countplot", "pie", "value_counts"), "top"),
    **dict.fromkeys(("area", "line", "lineplot", "plot", "resample", "volume"), "timeline"),
    **dict.fromkeys(("box", "boxplot", "density", "hist", "histogram", "histplot", "kde"), "distribution"),
    **dict.fromkeys(("graph", "matrix", "network"), "conversation"),
    **dict.fromkeys(("calendar", "punchcard"), "heatmap"),
}  # fmt: skip


if not TYPE_CHECKING:  # a misspelt name is an error of the type checker, too

    def __getattr__(name):
        """Point to the chart that others call by this name."""
        known = _CALLED.get(name)
        near = f"charts.{known} draws that" if known else did_you_mean(name, __all__).strip()
        hint = f": {near}" if near else ""
        raise AttributeError(f"labkit.charts has no {name}{hint}")


import_jsonschema()  # before the first chart imports altair
