"""A new production index is as its administrator's template says, not as labkit would have it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from labkit import Lab
from labkit.elastic import Target
from labkit.es.mappings import MAPPING, ensure, mapping
from labkit.pipelines.index_sink import IndexSink
from labkit.stack.state import State
from support.indexing import Bench

TEMPLATE: dict[str, Any] = {
    "settings": {
        "number_of_shards": 3,
        "number_of_replicas": 2,
        "index.mapping.total_fields.limit": 500,
    },
    "mappings": {
        "date_detection": True,
        "dynamic_templates": [
            {"ours": {"match_mapping_type": "string", "mapping": {"type": "keyword"}}}
        ],
        "properties": {"@timestamp": {"type": "date_nanos"}, "message": {"type": "keyword"}},
    },
}
COMPONENT = {"mappings": {"properties": {"tags": {"type": "text"}}}}


@pytest.fixture
def template(bench: Bench) -> Iterator[str]:
    name, client = f"template-{bench.index}", bench.client
    client.cluster.put_component_template(name=name, template=COMPONENT)
    pattern = [f"{bench.index}*"]
    client.indices.put_index_template(
        name=name, index_patterns=pattern, priority=500, template=TEMPLATE, composed_of=[name]
    )
    outvoted = {"mappings": {"properties": {"labkit": {"type": "object", "enabled": False}}}}
    client.indices.put_index_template(
        name=f"{name}-2", index_patterns=pattern, priority=400, template=outvoted
    )
    yield name
    client.indices.delete_index_template(name=f"{name},{name}-2")
    client.cluster.delete_component_template(name=name)
    client.options(ignore_status=404).indices.delete(index=f"{bench.index}-dead")


def settings(bench: Bench, index: str) -> tuple[str, str, str | None]:
    settings = bench.client.indices.get_settings(index=index)[index]["settings"]["index"]
    limit = settings.get("mapping", {}).get("total_fields", {}).get("limit")
    return settings["number_of_shards"], settings["number_of_replicas"], limit


def mapped(bench: Bench, index: str) -> dict[str, Any]:
    return dict(bench.client.indices.get_mapping(index=index)[index]["mappings"])


@pytest.mark.usefixtures("template")
def test_a_template_decides_settings_and_the_fields_it_maps(bench: Bench, filled: Any) -> None:
    topic = filled(50)
    run = bench.once(topic, "--dead-letter", f"index:{bench.index}-dead")
    assert run.ledger["indexed"] == 50
    assert (
        settings(bench, bench.index) == settings(bench, f"{bench.index}-dead") == ("3", "2", "500")
    )
    mapping_ = mapped(bench, bench.index)
    assert mapping_["date_detection"] is True
    fields = mapping_["properties"]
    types = {name: fields[name].get("type") for name in ("@timestamp", "message", "tags", "nick")}
    assert types == {
        "@timestamp": "date_nanos",
        "message": "keyword",
        "tags": "text",
        "nick": "keyword",
    }
    # only the template of the highest priority counts
    assert fields["labkit"] == MAPPING["properties"]["labkit"]
    assert mapped(bench, f"{bench.index}-dead")["dynamic"] == "false"
    again = bench.once(topic, "--from", "earliest", "--dead-letter", f"index:{bench.index}-dead")
    assert again.ledger["existing"] == 50


@pytest.mark.usefixtures("template")
def test_the_direct_form_heeds_it_too(bench: Bench, stack: State) -> None:
    target = Target("default", stack.credentials("extractor")["elasticsearch"])
    with IndexSink(target, bench.index):
        pass
    assert settings(bench, bench.index) == ("3", "2", "500")
    assert mapped(bench, bench.index)["properties"]["@timestamp"] == {"type": "date_nanos"}


@pytest.mark.filterwarnings("ignore::elasticsearch.ElasticsearchWarning")  # of its making
def test_a_template_of_the_old_kind_decides_too(bench: Bench, filled: Any) -> None:
    client = bench.client
    client.indices.put_template(name=bench.index, index_patterns=[bench.index], **TEMPLATE)
    try:
        bench.once(filled(10))
        assert settings(bench, bench.index) == ("3", "2", "500")
        assert mapped(bench, bench.index)["properties"]["@timestamp"] == {"type": "date_nanos"}
    finally:
        client.indices.delete_template(name=bench.index)


def test_without_one_the_servers_defaults_and_labkits_mapping_stand(
    bench: Bench, filled: Any
) -> None:
    bench.once(filled(10))
    assert settings(bench, bench.index) == ("1", "1", None)
    mapping_ = mapped(bench, bench.index)
    assert mapping_["date_detection"] is False
    assert mapping_["properties"] | MAPPING["properties"] == mapping_["properties"]


def test_a_scratch_index_is_labkits_own(lab: Lab, filled: Any, me: str) -> None:
    index = lab.window(filled(10)).to_scratch("own").index
    settings = lab.target().client.indices.get_settings(index=index.name)[index.name]["settings"][
        "index"
    ]
    assert settings["number_of_replicas"] == "0"


def test_what_an_enricher_asks_for_is_not_left_to_a_template(
    bench: Bench,
    template: str,
    stack: State,
) -> None:
    place = {"geoip_location": {"type": "geo_point"}}
    component = {"mappings": {"properties": {"geoip_location": {"type": "keyword"}}}}
    bench.client.cluster.put_component_template(name=template, template=component)
    for _ in range(2):
        target = Target("default", stack.credentials("indexer")["elasticsearch"])
        ensure(target, bench.index, mapping(properties=place))
    assert mapped(bench, bench.index)["properties"]["geoip_location"] == {"type": "geo_point"}
