"""The same enrichers on a frame, a file, a scratch index, the indexer and the command line.

Real servers.
"""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from labkit import charts, enrich
from labkit.enrich.geoip import _warn_once
from labkit.errors import UsageError
from labkit.lab import Lab
from labkit.stack.state import State
from support.indexing import Bench
from support.stack import LABKIT

T0 = 1_456_790_400_000  # 2016-03-01T00:00:00Z
ADDRESSES = [
    "81.2.69.142",
    "10.0.0.1",
    "192.0.2.9",
    "no.address.example",
    None,
    "2001:4860:4860::8888",
]
REASONS = ["hit", "private", "reserved", "invalid", None, "hit"]
Produce = Callable[..., None]
MakeTopic = Callable[..., str]
pytestmark = [pytest.mark.usefixtures("me"), pytest.mark.filterwarnings("ignore:GeoIP database")]


def values(count: int) -> list[bytes]:
    return [
        json.dumps({"ip": ADDRESSES[n % 6], "n": n, "text": f"no. {n}"}).encode()
        for n in range(count)
    ]


@pytest.fixture
def topic(make_topic: MakeTopic, produce: Produce) -> str:
    name = make_topic()
    produce(name, [*values(600), b"no json", None], timestamps=[T0] * 602)
    return name


def test_frame_file_and_index_are_enriched_alike(lab: Lab, topic: str, tmp_path: Path) -> None:
    chain = [enrich.geoip("ip"), enrich.parse("text", r"no\. (?P<number>\d+)"), enrich.apply(twice)]
    window = lab.window(topic)
    replay = window.read(enrich=chain)
    frame = replay.to_pandas()
    assert (
        frame["geoip_reason"].astype(object).where(frame["geoip_reason"].notna(), None).tolist()[:6]
        == REASONS
    )
    assert frame["number"].tolist()[:3] == ["0", "1", "2"]
    assert frame["twice"].tolist()[:3] == [0, 2, 4]
    assert any("GeoLite2-City of 2018-07-03" in note for note in replay.receipt.notes)
    assert "twice()" in str(replay.receipt)

    receipt = window.to_parquet(tmp_path / "x.parquet", enrich=chain)
    assert receipt.notes[-2:] == replay.receipt.notes[-2:]
    names = ["geoip_reason", "geoip_country", "geoip_city", "geoip_location", "number", "twice"]
    assert (
        pq.read_table(tmp_path / "x.parquet").select(names).to_pylist()
        == replay.table.select(names).to_pylist()
    )

    load = window.to_scratch("geo", enrich=chain)
    assert load.counts == {"sent": 602, "indexed": 602, "existing": 0, "rejected": 0, "unsent": 0}
    assert any("GeoLite2" in note for note in load.receipt.notes)
    hits = load.index.search(query={"match_all": {}}, size=1000)["hits"]["hits"]
    documents = {int(hit["_id"].rsplit("-", 1)[1]): hit["_source"] for hit in hits}
    for row in replay.table.select(["_offset", *names]).to_pylist():
        document = documents[row.pop("_offset")]
        assert {name: document.get(name) for name in names} == row
    assert documents[600]["tags"] == ["_jsonparsefailure"]


def twice(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"twice": frame["n"] * 2})


def test_the_location_is_a_geo_point_and_the_country_a_keyword(lab: Lab, topic: str) -> None:
    load = lab.window(topic).to_scratch("point", enrich=enrich.geoip("ip"))
    box = {"top_left": {"lat": 60, "lon": -10}, "bottom_right": {"lat": 50, "lon": 5}}
    near = load.index.search(query={"geo_bounding_box": {"geoip_location": box}})
    assert near["hits"]["total"]["value"] == 100
    answer = load.index.search(size=0, aggs={"by": {"terms": {"field": "geoip_country"}}})
    assert {
        bucket["key"]: bucket["doc_count"] for bucket in answer["aggregations"]["by"]["buckets"]
    } == {
        "GB": 100,
        "US": 100,
    }


def test_the_map_of_an_index_is_that_of_the_frame(lab: Lab, topic: str) -> None:
    window = lab.window(topic)
    load, replay = (
        read(enrich=enrich.geoip("ip"))
        for read in (lambda **how: window.to_scratch("map", **how), window.read)
    )
    of_index, of_frame = (charts.map(data).layer[1].data for data in (load.index, replay))
    assert len(of_frame) == 2
    pd.testing.assert_frame_equal(of_index, of_frame, check_dtype=False, atol=0.001)


def test_a_window_from_the_cache_is_enriched_too(
    lab: Lab, topic: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LABKIT_CACHE_GB", "1")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    window = lab.window(topic)
    plain = window.read()
    again = window.read(enrich=enrich.geoip("ip"))
    assert "geoip_reason" not in plain.table.column_names
    assert "geoip_reason" not in window.read().table.column_names
    assert again.table.column("geoip_reason").to_pylist()[:6] == REASONS
    assert (
        plain.enrich(enrich.geoip("ip"))
        .table.column("geoip_reason")
        .equals(again.table.column("geoip_reason"))
    )


def test_a_missing_field_is_an_error_that_names_those_there_are(lab: Lab, topic: str) -> None:
    window = lab.window(topic)
    for read in (window.read, lambda **how: window.to_scratch("missing", **how)):
        with pytest.raises(UsageError, match="'address'") as caught:
            read(enrich=enrich.geoip("address"))
        assert caught.value.hint == "there is: ip, n, text"


def test_a_record_a_function_fails_for_is_a_reject_and_the_ledger_adds_up(
    lab: Lab, topic: str
) -> None:
    def picky(frame: pd.DataFrame) -> pd.DataFrame:
        if (frame["n"] == 77).any():
            raise ValueError("not this one")
        return pd.DataFrame({"ok": frame["n"].notna()})

    load = lab.window(topic).to_scratch("picky", enrich=enrich.apply(picky))
    assert load.counts == {"sent": 602, "indexed": 601, "existing": 0, "rejected": 1, "unsent": 0}
    assert load.rejects["offset"].tolist() == [77]
    assert "picky() failed: ValueError: not this one" in load.rejects["reason"][0]
    assert load.resend(load.rejects)["indexed"] == 1
    assert load.complete
    with pytest.raises(UsageError, match="picky"):
        lab.window(topic).read(enrich=enrich.apply(picky))


def test_mapping_template_and_settings_shape_a_new_index(lab: Lab, topic: str) -> None:
    template = {"mappings": {"properties": {"n": {"type": "keyword"}, "text": {"type": "keyword"}}},
                "settings": {"number_of_shards": 2}}  # fmt: skip
    load = lab.window(topic).to_scratch("shape", template=template, mapping={"n": {"type": "long"}})
    client = load.index.target.client
    properties = client.indices.get_mapping(index=load.index.name)[load.index.name]["mappings"][
        "properties"
    ]
    assert (properties["n"]["type"], properties["text"]["type"]) == ("long", "keyword")
    settings = client.indices.get_settings(index=load.index.name)[load.index.name]["settings"][
        "index"
    ]
    assert settings["number_of_shards"] == "2"
    with pytest.raises(UsageError, match="odd"):
        lab.window(topic).to_scratch("shape2", template={"odd": 1})


# the indexer ---------------------------------------------------------------------------------------------


def test_the_indexer_enriches_transforms_and_dates_its_indices(
    bench: Bench,
    topic: str,
    produce: Produce,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _warn_once.cache_clear()  # of a test before, in the same process
    (tmp_path / "own_columns.py").write_text("def f(frame):\n    return {'m': frame['n'] % 7}\n")
    monkeypatch.chdir(tmp_path)
    produce(topic, values(6), timestamps=[T0 + 40 * 86_400_000] * 6)
    base = bench.index
    bench.index = f"{base}-%Y.%m"
    options = [
        "--enrich",
        "geoip:ip",
        "--enrich",
        r"parse:text:no\. (?P<number>\d+)",
        "--transform",
        "own_columns:f",
    ]
    run = bench.once(topic, *options)
    assert run.ledger == {"sent": 608, "indexed": 608, "existing": 0, "rejected": 0, "unsent": 0}
    assert any("GeoLite2-City of 2018-07-03" in line for line in run.said)
    months = {"2016.03": 602, "2016.04": 6}
    for month, count in months.items():
        bench.index = f"{base}-{month}"
        assert bench.count() == count
    document = dict(bench.client.get(index=f"{base}-2016.03", id=f"{topic}-0-6")["_source"])
    assert (document["geoip_city"], document["number"], document["m"]) == ("Willesden", "6", 6)
    for month in months:
        bench.client.indices.delete(index=f"{base}-{month}")


def test_a_field_no_record_has_is_said(bench: Bench, topic: str) -> None:
    run = bench.once(topic, "--enrich", "geoip:nowhere")
    assert any(
        "no record has a value in 'nowhere'; there is: ip, n, text" in line for line in run.said
    )


def test_from_a_time_reads_what_came_since(
    bench: Bench, make_topic: MakeTopic, produce: Produce
) -> None:
    name = make_topic()
    produce(name, values(10), timestamps=[T0 + n * 1000 for n in range(10)])
    assert bench.once(name, "--from", "2016-03-01T00:00:06Z").ledger["indexed"] == 4
    assert bench.ids() == {f"{name}-0-{offset}" for offset in range(6, 10)}
    assert bench.start(name, "--from", "yesteryear").ended() == 2


def test_refused_records_go_to_an_index(
    bench: Bench, make_topic: MakeTopic, produce: Produce
) -> None:
    name, letters = make_topic(), f"{bench.index}-dead"
    bench.client.indices.create(index=bench.index, mappings={"properties": {"n": {"type": "long"}}})
    produce(name, [b'{"n":1}', b'{"n":"many"}', b'{"n":3}'])
    try:
        run = bench.once(name, "--dead-letter", f"index:{letters}", code=3)
        assert run.ledger == {"sent": 3, "indexed": 2, "existing": 0, "rejected": 1, "unsent": 0}
        bench.client.indices.refresh(index=letters)
        document = dict(bench.client.get(index=letters, id=f"{name}-0-1")["_source"])
        assert (document["topic"], document["offset"], document["source"]) == (
            name,
            1,
            '{"n":"many"}',
        )
        bench.once(name, "--from", "earliest", "--dead-letter", f"index:{letters}", code=3)
        bench.client.indices.refresh(index=letters)
        assert bench.client.count(index=letters)["count"] == 1
    finally:
        bench.client.options(ignore_status=404).indices.delete(index=letters)


# the direct form -----------------------------------------------------------------------------------------


def test_files_go_straight_into_an_index_and_twice_changes_nothing(
    stack: State,
    tmp_path: Path,
    bench: Bench,
) -> None:
    lines = tmp_path / "some.jsonl"
    lines.write_bytes(b"\n".join([*values(50), b"no json"]) + b"\n")

    def extract(*more: str) -> str:
        command = [*LABKIT, "extract", "files", str(lines), "--to-index", bench.index, *more]
        result = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
        return result.stdout

    with warnings.catch_warnings():
        assert "51 of 51 lines" in extract()
        assert bench.count() == 51
        assert "51 skipped" in extract()
        assert "51 of 51 lines" in extract("--again")
    assert bench.count() == 51
    hits = bench.client.search(index=bench.index, query={"term": {"tags": "_jsonparsefailure"}})[
        "hits"
    ]["hits"]
    assert [hit["_id"].startswith("some.jsonl-") for hit in hits] == [True]
