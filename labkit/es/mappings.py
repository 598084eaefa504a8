"""The indices documents go into: their mapping, their settings, names with a date in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import elasticsearch
import pyarrow as pa
import pyarrow.compute as pc

from labkit.checks import names
from labkit.elastic import Target
from labkit.errors import UsageError
from labkit.es.column_types import missing, truncating
from labkit.tables.dataframe import only_dates

# of scratch indices: any other gets Elasticsearch's defaults, or its administrator's
SETTINGS: dict[str, Any] = {
    "number_of_shards": 1,
    "number_of_replicas": 0,
    "mapping.total_fields.limit": 1000,
}
MAPPING: dict[str, Any] = {
    "date_detection": False,
    "dynamic_templates": [
        {
            "text_and_keyword": {
                "match_mapping_type": "string",
                "mapping": {
                    "type": "text",
                    "fields": {"keyword": {"type": "keyword", "ignore_above": 1024}},
                },
            }
        }
    ],
    "properties": {
        "@timestamp": {"type": "date"},
        "tags": {"type": "keyword"},
        "labkit": {
            "properties": {
                "error": {"type": "keyword", "ignore_above": 1024},
                "topic": {"type": "keyword"},
                "partition": {"type": "integer"},
                "offset": {"type": "long"},
            }
        },
    },
}
_PARTS = re.compile(r"%([A-Za-z%])")
_FINE = {"Y", "m", "d", "H", "G", "V", "j"}


def mapping(
    *layers: Mapping[str, Any] | None, properties: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return labkit's mapping, with what the user wants of it otherwise.

    Parameters
    ----------
    *layers : mapping, optional
        As Elasticsearch's ``mappings``, later ones on top: their ``properties`` are added to
        labkit's, any other key takes the place of labkit's. One without any key of a mapping is
        taken for the properties themselves.
    properties : mapping, optional
        Further fields, such as an enricher's; those of `layers` win.
    """
    merged, fields = dict(MAPPING), {**MAPPING["properties"], **(properties or {})}
    for layer in layers:
        own = dict(layer or {})
        if not set(own) & _MAPPING_KEYS:
            own = {"properties": own}
        fields |= own.pop("properties", {})
        merged |= own
    return {**merged, "properties": fields}


_MAPPING_KEYS = {
    "properties", "dynamic", "dynamic_templates", "date_detection", "numeric_detection", "runtime", "_source", "_meta",
    "_routing", "dynamic_date_formats", "subobjects",
}  # fmt: skip


@dataclass(frozen=True)
class IndexName:
    """The name of an index, or a pattern that names one for each record by its timestamp, in UTC.

    Parameters
    ----------
    pattern : str
        ``irc``, or with ``%Y %m %d %H %j`` (as strftime), ``%G %V`` (ISO year and week):
        ``irc-%Y.%m``. A record without a timestamp, or with one that no date can hold, goes where
        the date's place says ``undated``: ``irc-undated``.
    """

    pattern: str

    def __post_init__(self) -> None:
        odd = sorted(set(_PARTS.findall(self.pattern)) - _FINE)
        if odd or "%" in _PARTS.sub("", self.pattern):
            raise UsageError(
                f"index {self.pattern!r}: %{odd[0] if odd else ''} is not supported",
                hint="use %Y %m %d %H %j %G %V, such as irc-%Y.%m",
            )
        names.index(self.undated)

    @property
    def dated(self) -> bool:
        """Whether it is a pattern."""
        return "%" in self.pattern

    @property
    def undated(self) -> str:
        """The index of records without a timestamp."""
        return re.sub(r"%.*%[A-Za-z]|%[A-Za-z]", "undated", self.pattern, count=1)

    def of(self, timestamps: pa.Array) -> pa.StringArray:
        """Return the index of each record."""
        unit = "hour" if "%H" in self.pattern else "day"
        distinct = pc.floor_temporal(only_dates(timestamps), unit=unit).dictionary_encode()
        names = pc.strftime(distinct.dictionary, format=self.pattern).take(distinct.indices)
        return pc.fill_null(names, self.undated)


def uuid(target: Target, name: str) -> str:
    """Return the id of an index: one made again has another.

    None of an alias, whose indices come and go.
    """
    try:
        settings = target.client.indices.get_settings(
            index=name, filter_path="*.settings.index.uuid"
        )
    except elasticsearch.ApiError:
        return ""
    return str(settings[name]["settings"]["index"]["uuid"]) if name in settings else ""


def ensure(
    target: Target,
    index: str,
    mappings: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Make `index`, or add the fields of `mappings` that it lacks.

    They are added to the index that is there, or to an alias's write index. With `settings` it is
    made just so; without, templates of the cluster's administrator have the first word.
    """
    client = target.client
    if not target.has_index(index):
        shape = (
            dict(mappings)
            if settings is not None
            else beside(mappings, template_mappings(client, index))
        )
        try:
            client.indices.create(index=index, mappings=shape, settings=settings)
            return
        except elasticsearch.BadRequestError as error:
            if "resource_already_exists" not in str(error):
                raise
    additions = {
        name: rule
        for name, rule in mappings["properties"].items()
        if MAPPING["properties"].get(name) != rule
    }
    if not additions:
        return
    properties = [
        entry["mappings"].get("properties", {})
        for entry in client.indices.get_mapping(index=index).values()
    ]
    additions = {
        name: rule
        for name, rule in additions.items()
        if any(fields.get(name, {}).get("type") != rule.get("type") for fields in properties)
    }
    if additions:
        client.indices.put_mapping(index=index, properties=additions, write_index_only=True)


def notes_in(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return what labkit keeps in an index's mapping of how its documents were made.

    It is empty where somebody wrote another thing in its place.
    """
    notes = mapping.get("_meta", {}).get("labkit")
    return dict(notes) if isinstance(notes, dict) else {}


def shortfalls_in(notes: Mapping[str, Any]) -> dict[str, str]:
    """Return why an index lacks a part of the windows in it, by the window's hash."""
    shortfalls = notes.get("incomplete")
    if not isinstance(shortfalls, dict):
        return {}
    return {window: str(why) for window, why in shortfalls.items()}


def put_notes(
    client: elasticsearch.Elasticsearch,
    index: str,
    mapping: Mapping[str, Any],
    notes: Mapping[str, Any],
) -> None:
    """Put labkit's notes into the mapping of an index; what others keep there stays."""
    meta = {**mapping.get("_meta", {}), "labkit": notes}
    client.indices.put_mapping(index=index, meta=meta)


def settle_condition(target: Target, index: str, where: str | None) -> None:
    """Have an index forget the condition it was made with when another one fills it too.

    Of an alias, each index forgets it.
    """
    client = target.client
    for name, entry in client.indices.get_mapping(index=index).items():
        notes = notes_in(entry["mappings"])
        if notes.pop("where", where) != where:
            put_notes(client, name, entry["mappings"], notes)


def extend(target: Target, index: str, properties: Mapping[str, Any]) -> list[str]:
    """Add the fields that `index`, or an alias's write index, lacks.

    What it has, or keeps to itself, stays. A field that it refuses is left to its own rule for new
    fields: then it is the documents that are refused. What is returned are the fields whose
    fractions it cuts.
    """
    client = target.client
    present = [entry["mappings"] for entry in client.indices.get_mapping(index=index).values()]
    fields = present[0].get("properties", {}) if len(present) == 1 else {}
    if not any(mapping.get("dynamic", True) in _CLOSED for mapping in present):
        _put(client, index, missing(properties, fields))
    return truncating(properties, fields)


def cut_fractions(index: str, fields: Sequence[str]) -> str:
    """Return the warning about fields that `extend` returned."""
    return (
        f"{index} has whole numbers in {', '.join(fields)}, and records have fractions there: "
        "it finds and sums them cut, only their _source is right; a new index has both"
    )


_CLOSED = ("strict", "false", False)  # it takes no new fields by itself


def _put(client: elasticsearch.Elasticsearch, index: str, properties: Mapping[str, Any]) -> None:
    """Put fields; where Elasticsearch refuses them together, one by one."""
    if not properties:
        return
    try:
        client.indices.put_mapping(index=index, properties=properties, write_index_only=True)
    except elasticsearch.BadRequestError as error:
        if len(properties) == 1 or "total fields" in str(error):
            return
        for name, rule in properties.items():
            _put(client, index, {name: rule})


def doubling(target: Target, index: str) -> str:
    """Return why a record that is sent again can be in `index` twice; empty where it cannot."""
    return warn_of_doubles(index, list(target.client.indices.get_mapping(index=index)))


def warn_of_doubles(index: str, behind: list[str]) -> str:
    """Return the warning about `index` when these indices are behind it."""
    streamed = any(name.startswith(".ds-") for name in behind)  # the next one comes by itself
    if len(behind) == 1 and not streamed:
        return ""
    kind = "a data stream" if streamed else f"an alias of {len(behind)} indices"
    return (
        f"{index} is {kind}, and an _id is unique in one index only: "
        "a record that is sent again after a rollover is there twice"
    )


def beside(
    mappings: Mapping[str, Any], other_layers: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return `mappings` without what is labkit's habit only, where `other_layers` say otherwise.

    Fields that the user asked for, such as an enricher's, stay. Of dynamic templates Elasticsearch
    takes theirs first.
    """
    other_layers = list(other_layers)
    parts = {key for layer in other_layers for key in layer} - {
        "properties",
        "dynamic_templates",
        "_meta",
    }
    mapped = {
        name.partition(".")[0] for layer in other_layers for name in layer.get("properties", {})
    } & {*MAPPING["properties"]}
    own = {key: rule for key, rule in mappings.items() if key not in parts}
    return {
        **own,
        "properties": {
            name: rule for name, rule in mappings["properties"].items() if name not in mapped
        },
    }


def template_mappings(client: elasticsearch.Elasticsearch, index: str) -> list[dict[str, Any]]:
    """Return the mappings that templates have for an index of this name.

    None is known where templates may not be read. Elasticsearch takes the matching template of the
    highest priority with its components, or, without one, all matching ones of the old
    kind: https://www.elastic.co/docs/manage-data/data-store/templates
    """
    with suppress(elasticsearch.AuthorizationException):
        templates = [
            entry["index_template"]
            for entry in client.indices.get_index_template()["index_templates"]
        ]
        matching = [template for template in templates if _matches(template, index)]
        if matching:
            best = max(matching, key=lambda one: one.get("priority", 0))
            return [
                layer.get("mappings", {})
                for layer in (best.get("template", {}), *_components(client, best))
            ]
        return [
            template.get("mappings", {})
            for template in client.indices.get_template().values()
            if _matches(template, index)
        ]
    return []


def _matches(template: dict[str, Any], index: str) -> bool:
    return any(fnmatchcase(index, pattern) for pattern in template["index_patterns"])


def _components(
    client: elasticsearch.Elasticsearch, template: dict[str, Any]
) -> list[dict[str, Any]]:
    if not (names := template.get("composed_of")):
        return []
    components = client.cluster.get_component_template()["component_templates"]
    return [
        component["component_template"]["template"]
        for component in components
        if component["name"] in names
    ]
