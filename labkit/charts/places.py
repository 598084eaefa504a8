"""Where records come from: a map without a tile server.

The outlines are Natural Earth's (public domain) at 1:110 million, as TopoJSON from world-atlas
2.0.2, whose copyright notice asks to be kept: Copyright 2013-2019 Michael Bostock, ISC licence.
They lie in ``world.json`` beside this module.

Records are counted in the tiles of a web map at zoom 8 (about 1.4 degrees), by Elasticsearch or by
DuckDB alike; each circle lies where the tile's records are on average.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labkit.charts import counts, draw, pictures
from labkit.charts.buckets import count_in_words, share
from labkit.charts.columns import Table
from labkit.charts.labels import shorten_label, tooltips
from labkit.errors import UsageError
from labkit.es.fields import nested_above, uncountable
from labkit.es.index import Index

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

ZOOM = 8
MOST_PLACES = 1000
LABELS = 8
_HEIGHT = round(0.472 * pictures.WIDTH)  # without Antarctica
_HINT = (
    "add one with enrich=[labkit.enrich.geoip('ip')]; field= names another column of lat and lon"
)
# https://wiki.openstreetmap.org/wiki/Slippy_map_tilenames; its edge is at 85.05 degrees
_POINTS = """
create view t as
with p as (select try_cast(point.lat as double) lat, try_cast(point.lon as double) lon, city, country from points)
select * from p where isfinite(lat) and isfinite(lon)
"""
_TILES = f"""
with p as (select *, greatest(least(lat, 85.05112878), -85.05112878) as clat from t)
select avg(lat) as lat, avg(lon) as lon, count(*) as records, mode(city) as city, mode(country) as country
from p group by floor((lon + 180) / 360 * {1 << ZOOM}),
  floor((1 - asinh(tan(radians(clat))) / pi()) / 2 * {1 << ZOOM})
"""


@dataclass(frozen=True)
class Places:
    """Counted places.

    Attributes
    ----------
    frame : DataFrame
        latitude, longitude, records, place; the most frequent first.
    records, located : int
        All of them; those with a place.
    """

    frame: pd.DataFrame
    records: int
    located: int


def map(
    data: Any, field: str | None = None, *, query: counts.Query = None, title: str | None = None
) -> alt.LayerChart:
    """Draw where records come from: a circle for each place, by the number of its records.

    Parameters
    ----------
    data : Replay, pandas.DataFrame, pyarrow.Table or Index
        Enriched with `labkit.enrich.geoip`.
    field : str, optional
        The field of points (lat and lon; a geo_point in Elasticsearch); by default the one that is
        there.
    query : str or dict, optional
        Of an index: only the documents that fulfil it; Elasticsearch's query DSL as a dict, or a
        text such as ``"nick:alice AND command:PRIVMSG"``.
    title : str, optional
        In place of labkit's.

    Returns
    -------
    altair.LayerChart
        The circles' data has latitude, longitude, records and place.

    Raises
    ------
    UsageError
        When there is no such field.
    """
    data = counts.narrow(data, query)
    places = _of_index(data, field) if isinstance(data, Index) else _of_table(data, field)
    name = counts.name_of(data)
    return _draw(places, title or draw.title_of(name, "where records come from"))


def _of_table(data: Any, field: str | None) -> Places:
    import pandas as pd

    from labkit.tables.duckdb_sql import connect, register

    table = counts.open_table(data)
    location = _find_points(table, field)
    if location is None:
        if not table.rows:  # an empty window has no fields
            return _places(pd.DataFrame(columns=["lat", "lon", "records", "city", "country"]), 0)
        raise UsageError(f"there is no field of points{f' {field!r}' if field else ''}", hint=_HINT)
    prefix = location.removesuffix("location")
    texts = {
        short: table.get(name)
        if (name := prefix + long) in table.schema.names
        else pa.nulls(table.rows, pa.string())
        for short, long in (("city", "city"), ("country", "country_name"))
    }
    points = pa.table({"point": table.get(location).combine_chunks(), **texts})
    with connect() as connection:
        register(connection, "points", points)
        connection.execute(_POINTS)
        frame = connection.execute(_TILES).df()
    return _places(frame, table.rows)


def _find_points(table: Table, field: str | None) -> str | None:
    """Return the column of points: `field`, else the first one; None when it is none."""
    for name in table.schema.names:
        with suppress(UsageError):  # values of different kinds are no points
            if field in (None, name) and _is_point(table.get(name).type):
                return str(name)
    return None


def _is_point(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and {member.name for member in kind} >= {"lat", "lon"}


def _of_index(index: Index, field: str | None) -> Places:
    types_by_field = index.fields()
    points = [name for name, types in types_by_field.items() if "geo_point" in types]
    location = field or str(next(iter(points), ""))
    if location not in points:
        raise UsageError(f"there is no field of points{f' {field!r}' if field else ''}", hint=_HINT)
    if nested_above(types_by_field, location):
        raise uncountable(types_by_field, location)
    prefix = location.removesuffix("location")
    names = {
        short: {"terms": {"field": prefix + long, "size": 1, "shard_size": 1_000}}
        for short, long in (("city", "city"), ("country", "country_name"))
        if "keyword" in types_by_field.get(prefix + long, {})
    }
    centre = {"centre": {"geo_centroid": {"field": location}}}
    tiles = {
        "geotile_grid": {"field": location, "precision": ZOOM, "size": 10_000},
        "aggs": {**centre, **names},
    }
    answer = index.search(size=0, track_total_hits=True, aggs={"tiles": tiles})
    rows = [_place_of(tile) for tile in answer["aggregations"]["tiles"]["buckets"]]
    import pandas as pd

    frame = pd.DataFrame(rows, columns=["lat", "lon", "records", "city", "country"])
    return _places(frame, int(answer["hits"]["total"]["value"]))


def _place_of(tile: dict[str, Any]) -> dict[str, Any]:
    centre = tile["centre"]["location"]
    return {
        "lat": centre["lat"],
        "lon": centre["lon"],
        "records": tile["doc_count"],
        "city": _first(tile.get("city")),
        "country": _first(tile.get("country")),
    }


def _first(terms: dict[str, Any] | None) -> str | None:
    buckets = (terms or {}).get("buckets", [])
    return str(buckets[0]["key"]) if buckets else None


def _places(frame: pd.DataFrame, records: int) -> Places:
    frame = frame.sort_values(["records", "lat", "lon"], ascending=[False, True, True]).reset_index(
        drop=True
    )
    place = frame["city"].where(frame["city"].notna(), frame["country"])
    place = place.map(shorten_label, na_action="ignore")  # a record may bring its own
    frame = frame.assign(place=place).rename(columns={"lat": "latitude", "lon": "longitude"})
    return Places(
        frame[["latitude", "longitude", "records", "place"]], records, int(frame["records"].sum())
    )


@cache
def _outlines() -> dict[str, Any]:
    text = (Path(__file__).parent / "world.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def _draw(places: Places, title: str) -> Any:
    import altair as alt

    largest = places.frame.head(MOST_PLACES)
    land = alt.Data(
        values=_outlines(), format=alt.TopoDataFormat(type="topojson", feature="countries")
    )
    world = alt.Chart(land).mark_geoshape(
        fill=pictures.FAINT, fillOpacity=0.22, stroke=pictures.FAINT, strokeWidth=0.4
    )
    base = alt.Chart(largest).encode(longitude="longitude:Q", latitude="latitude:Q")
    circles = base.mark_circle(color=pictures.BLUE, opacity=0.55, stroke=pictures.BLUE, strokeWidth=0.8).encode(
        size=alt.Size(
            "records:Q",
            title="records",
            scale=alt.Scale(type="linear", domainMin=0, range=[4, 900]),
            legend=alt.Legend(format=",d", symbolFillColor=pictures.BLUE, values=_marks(largest)),
        ),
        tooltip=tooltips(
            "place:N", ("records:Q", {"format": ",d"}),
            ("latitude:Q", {"format": ".1f"}), ("longitude:Q", {"format": ".1f"}),
        ),
    )  # fmt: skip
    layers = [world, circles]
    if len(largest):
        names = _apart(largest.dropna(subset=["place"]))
        text = alt.Chart(names).mark_text(
            fontSize=11,
            fontWeight="bold",
            dy=-13,
            opacity=alt.ExprRef("width < 400 ? 0 : 1"),  # on a small map they hide one another
        )
        layers.append(text.encode(longitude="longitude:Q", latitude="latitude:Q", text="place:N"))
    chart = alt.layer(*layers).project(
        type="equalEarth",
        scale=alt.ExprRef("0.1945 * width"),
        translate=alt.ExprRef("[width / 2, 0.285 * width]"),
        clipExtent=alt.ExprRef("[[0, 0], [width, height]]"),
    )
    chart = chart.properties(width=pictures.WIDTH, height=_HEIGHT)
    return pictures.dress(chart, title, _subtitle_lines(places, largest), "scales")


def _marks(frame: pd.DataFrame) -> list[int]:
    """Return the numbers of records a legend shows: 1, 2, 5 times a power of ten."""
    most = int(frame["records"].max()) if len(frame) else 1
    step = 10 ** (len(str(most)) - 1)
    return [mark for mark in (step // 10, step // 2, step, 2 * step, 5 * step) if 0 < mark <= most]


def _apart(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the largest places that are far enough from one another to bear a name."""
    named_rows: list[Any] = []
    for row in frame.head(100).itertuples():
        near = (
            abs(row.latitude - neighbour.latitude) < 7
            and abs(row.longitude - neighbour.longitude) < 28
            for neighbour in named_rows
        )
        if len(named_rows) < LABELS and not any(near):
            named_rows.append(row)
    return frame.loc[[row.Index for row in named_rows]]


def _subtitle_lines(places: Places, largest: pd.DataFrame) -> list[str]:
    facts = f"{count_in_words(places.located)} from {len(largest):,} places (tiles of about 1.4 degrees)"
    left = []
    if places.located < places.records:
        missing = places.records - places.located
        left.append(
            f"{count_in_words(missing)} ({share(missing, places.records)}) without a place left out"
        )
    rest = len(places.frame) - len(largest)
    if rest:
        hidden = int(places.frame["records"].iloc[MOST_PLACES:].sum())
        left.append(f"{count_in_words(hidden)} from {rest:,} smaller places not shown")
    return pictures.subtitle([facts], left)
