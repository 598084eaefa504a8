"""Charts: count first, where the records are, then draw a few hundred numbers.

`timeline`, `top`, `heatmap` and `map` take a Replay, a DataFrame, an Arrow table or a ScratchIndex. Arrow columns are
counted by DuckDB, scratch indices by Elasticsearch; the same records give the same numbers either way, and
``chart.data`` has them. Each chart says what it shows and what it leaves out. Times are UTC.

`lag` draws a history of consumers' lag (`lab.lag_history`), `board` what consumers do at a glance (`lab.lag`).

In a notebook kernel the first chart enables labkit's renderer (see `labkit.charts.show`), unless another was chosen.
"""

from __future__ import annotations

from labkit.charts.draw import heatmap, timeline, top
from labkit.charts.lag import board, lag
from labkit.charts.places import map

__all__ = ["board", "heatmap", "lag", "map", "timeline", "top"]
