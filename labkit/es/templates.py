"""What an administrator's templates say of a new index; a request to make one would override them."""

from __future__ import annotations

from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any

import elasticsearch


def mappings(client: elasticsearch.Elasticsearch, index: str) -> list[dict[str, Any]]:
    """Return the mappings that templates have for an index of this name; none where they may not be read.

    Elasticsearch takes the matching template of the highest priority with its components, or, where there is none,
    all matching ones of the old kind:
    https://www.elastic.co/docs/manage-data/data-store/templates
    """
    with suppress(elasticsearch.AuthorizationException):
        found = [one["index_template"] for one in client.indices.get_index_template()["index_templates"]]
        matching = [one for one in found if _matches(one, index)]
        if matching:
            best = max(matching, key=lambda one: one.get("priority", 0))
            return [one.get("mappings", {}) for one in (best.get("template", {}), *_components(client, best))]
        return [one.get("mappings", {}) for one in client.indices.get_template().values() if _matches(one, index)]
    return []


def _matches(template: dict[str, Any], index: str) -> bool:
    return any(fnmatchcase(index, pattern) for pattern in template["index_patterns"])


def _components(client: elasticsearch.Elasticsearch, template: dict[str, Any]) -> list[dict[str, Any]]:
    if not (named := template.get("composed_of")):
        return []
    found = client.cluster.get_component_template()["component_templates"]
    return [one["component_template"]["template"] for one in found if one["name"] in named]
