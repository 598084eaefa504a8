"""Fields that cannot be counted as they are.

They are below nested, longer than ignore_above, or of several types in a pattern.
"""

from __future__ import annotations

import http.server
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from labkit import charts, widgets
from labkit.doctor.elasticsearch import ElasticsearchLooks
from labkit.elastic import Target
from labkit.errors import (
    ConfigError,
    IncompleteWarning,
    LabkitError,
    ServerError,
    UnavailableError,
    UsageError,
)
from labkit.es.aggregations import TOO_LONG
from labkit.es.catalog import indices_frame
from labkit.es.index import Index
from labkit.es.point_in_time import PointInTime
from labkit.lab import Lab
from labkit.sinks.scratch_index import list_indices

KEYWORD = {"type": "keyword"}
TEXT = {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 5}}}
TIME = {"type": "date"}


@pytest.fixture
def make(lab: Lab) -> Iterator[Callable[..., Index]]:
    """Make indices of documents, each of a mapping.

    The last one's name is that of them all, as a pattern.
    """
    names: list[str] = []
    prefix = f"scratch-test-fields-{uuid.uuid4().hex[:8]}"
    client = lab.target("default").client

    def build(*parts: tuple[dict[str, Any], list[dict[str, Any]]]) -> Index:
        for properties, documents in parts:
            name = f"{prefix}-{len(names)}"
            names.append(name)
            settings = {"number_of_shards": 1, "number_of_replicas": 0}
            client.indices.create(
                index=name, settings=settings, mappings={"properties": properties}
            )
            for document in documents:
                client.index(index=name, document=document)
            client.indices.refresh(index=name)
        return Index(f"{prefix}-*", lab.target("default"))

    yield build
    if names:
        client.options(ignore_status=404).indices.delete(index=names)


def counts(index: Index, by: str, **more: Any) -> dict[Any, int]:
    frame = index.agg(by, **more)
    return {
        None if value is None or value != value else value: count
        for value, count in zip(frame[by], frame["documents"], strict=True)
    }


def test_documents_that_elasticsearch_counts_several_times_are_told_of(lab: Lab, make: Any) -> None:
    """A record's own ``_doc_count`` is how many documents it stands for, to Elasticsearch alone."""
    plain, heavy = {"@timestamp": 0, "nick": "a"}, {"@timestamp": 0, "nick": "b", "_doc_count": 5}
    index = make(({"@timestamp": TIME, "nick": KEYWORD}, [plain, heavy]))
    asked: list[Callable[[], Any]] = [
        lambda: index.agg("nick"),
        lambda: charts.timeline(index),
        lambda: charts.top(index, "nick"),
    ]
    for ask in asked:
        with pytest.warns(IncompleteWarning, match="2 documents are counted as 6.*_doc_count"):
            ask()
    browsed = widgets.browse(lab, index, anew=True)
    assert not browsed.source.whole  # it is red
    assert browsed.source.said.startswith("2 documents are counted as 6")
    assert max(field.present for field in browsed.records.fields) == 1
    only_plain = make(({"nick": KEYWORD}, [{"nick": "a"}])).agg("nick", query="nick:a")
    assert only_plain["documents"].sum() == 2


# 44 --------------------------------------------------------------------------------------------------------


def test_fields_below_nested_are_named_and_not_counted_as_none(make: Any) -> None:
    """BEHAVIOURS 44: every document was "(none)"; in agg, metrics and charts."""
    items = {"type": "nested", "properties": {"sku": KEYWORD, "at": TIME, "n": {"type": "long"}}}
    document = {
        "@timestamp": 0,
        "items": [{"sku": "a", "at": 0, "n": 1}, {"sku": "b", "at": 1, "n": 2}],
    }
    index = make(({"@timestamp": TIME, "items": items, "nick": KEYWORD}, [document]))
    calls: list[Callable[[], Any]] = [
        lambda: index.agg("items.sku"),
        lambda: index.agg("items"),
        lambda: index.agg(["nick", "items.sku"]),
        lambda: index.agg("nick", metrics=["cardinality:items.sku"]),
        lambda: index.agg(metrics=["avg:items.n"]),
        lambda: index.agg("items.at", every="1h"),
        lambda: charts.top(index, "items.sku"),
        lambda: charts.timeline(index, by="items.sku"),
        lambda: charts.timeline(index, time_field="items.at"),
        lambda: charts.distribution(index, "items.n"),
    ]
    for ask in calls:
        with pytest.raises(UsageError, match="nested") as refused:
            ask()
        assert "'path': 'items'" in refused.value.hint
    body = {"in": {"nested": {"path": "items"}, "aggs": {"by": {"terms": {"field": "items.sku"}}}}}
    answer = index.agg(body=body)  # the hint's way
    assert dict(zip(answer["by"], answer["documents"], strict=True)) == {"a": 1, "b": 1}


# 45 --------------------------------------------------------------------------------------------------------


def test_texts_longer_than_ignore_above_are_not_without_a_value(make: Any) -> None:
    """BEHAVIOURS 45: they were counted among the documents that have no value."""
    documents = (
        [{"m": "short"}] * 2 + [{"m": "much longer"}] * 3 + [{}] + [{"m": ["short", "much longer"]}]
    )
    for mapping in (TEXT, {"type": "keyword", "ignore_above": 5}):
        index = make(({"m": mapping, "k": KEYWORD}, documents))
        index = Index(index.name.replace("*", str(0 if mapping is TEXT else 1)), index.target)
        assert counts(index, "m") == {"short": 3, TOO_LONG: 3, None: 1}
        assert counts(index, "m", limit=1) in ({"short": 3}, {TOO_LONG: 3})
        assert counts(index, "m", query={"exists": {"field": "m"}}).get(None) is None
        both_fields = index.agg(["m", "k"])
        assert both_fields["documents"].sum() == 7
        assert both_fields.loc[both_fields["m"] == TOO_LONG, "documents"].tolist() == [3]
        with pytest.warns(
            IncompleteWarning,
            match="cardinality:m is without 4 documents whose value is not indexed",
        ):
            assert index.agg(metrics=["cardinality:m"])["cardinality:m"].tolist() == [1]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            index.agg("m", metrics=["cardinality:k"])
        chart = charts.top(index, "m").to_dict()
        assert "3 records (43 %) with other values not shown" in str(chart["title"])
        rows = [row for rows in chart["datasets"].values() for row in rows]
        assert {row["value"]: row["records"] for row in rows} == {"short": 3, "(none)": 1}


def test_values_that_are_malformed_are_said_too(make: Any) -> None:
    """BEHAVIOURS 45, a sibling: ignore_malformed keeps the document.

    It leaves the value out of every metric.
    """
    mapping = {"n": {"type": "long", "ignore_malformed": True}}
    index = make((mapping, [{"n": 1}, {"n": "two"}]))
    with pytest.warns(
        IncompleteWarning, match="sum:n is without 1 document whose value is not indexed"
    ):
        assert index.agg(metrics=["sum:n"])["sum:n"].tolist() == [1]


# 46 --------------------------------------------------------------------------------------------------------

LONG, IP, DATE = {"type": "long"}, {"type": "ip"}, {"type": "date"}
PLAIN = {"type": "text"}


@pytest.mark.parametrize(
    ("left", "right", "told"),
    [
        ((LONG, 5), (KEYWORD, "a"), ("long in ", "keyword in ")),
        ((LONG, 5), (DATE, "2016-03-01"), ("long in ", "date in ")),
        ((KEYWORD, "10.0.0.1"), (IP, "10.0.0.1"), ("keyword in ", "ip in ")),
        ((KEYWORD, "a"), (TEXT, "a"), ("keyword in ", "text in ")),
        ((TEXT, "a"), (PLAIN, "a"), ("text in ", "without host.keyword in ")),
        ((LONG, 5), (TEXT, "a"), ("long in ", "text in ")),
    ],
)
def test_indices_that_disagree_are_named_in_one_line(
    make: Any, left: Any, right: Any, told: tuple[str, ...]
) -> None:
    """BEHAVIOURS 46: a class-cast error, a third of the documents lost, garbage labels."""
    index = make(
        *(
            ({"host": mapping, "k": KEYWORD}, [{"host": value, "k": "x"}])
            for mapping, value in (left, right)
        )
    )
    calls: list[Callable[[], Any]] = [
        lambda: index.agg("host"),
        lambda: index.agg("host", every="1d"),
        lambda: index.agg("k", metrics=["cardinality:host"]),
        lambda: charts.top(index, "host"),
    ]
    for ask in calls:
        with pytest.raises(UsageError, match="the indices disagree on field 'host'") as refused:
            ask()
        assert all(part in refused.value.message for part in told), refused.value.message
        assert "scratch-test-fields-" in refused.value.message
        assert "\n" not in refused.value.message


def test_indices_that_agree_enough_are_counted_together(make: Any) -> None:
    """BEHAVIOURS 46: indices of a pattern are counted together.

    They have numbers with numbers, kinds of keywords, and an index without the field.
    """
    index = make(
        ({"n": LONG, "h": KEYWORD, "t": TEXT}, [{"n": 5, "h": "a", "t": "x"}]),
        (
            {"n": {"type": "integer"}, "h": {"type": "keyword", "doc_values": True}, "t": TEXT},
            [{"n": 5, "h": "a", "t": "x"}],
        ),
        ({"other": KEYWORD}, [{"other": "o"}]),
    )
    assert counts(index, "n") == {5: 2, None: 1}
    assert counts(index, "h") == {"a": 2, None: 1}
    assert counts(index, "t") == {"x": 2, None: 1}
    assert "unmapped" not in str(index.fields())


# 47 --------------------------------------------------------------------------------------------------------


@contextmanager
def answering(status: int, body: str, **headers: str) -> Iterator[Target]:
    """Answer every request so, as a proxy or another product does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(status)
            self.send_header("content-length", str(len(body.encode())))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        do_GET = do_POST = do_PUT = do_HEAD = _answer

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Target(
            "default",
            {"hosts": f"http://127.0.0.1:{server.server_address[1]}", "basic_auth": ["u", "p"]},
        )
    finally:
        server.shutdown()
        server.server_close()


HTML = {"content_type": "text/html"}
PAGE = (
    "<html><head><style>p {}</style><title>Sign in</title></head><body><p>Welcome</p></body></html>"
)
BARE = "<html><body><h1>502 Bad Gateway</h1><hr>nginx</body></html>"
OPENSEARCH = '{"count":1,"_shards":{"total":1,"successful":1,"skipped":0,"failed":0}}'


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "told", "hint"),
    [
        (200, OPENSEARCH, {"content_type": "application/json"}, ConfigError, "is not Elasticsearch: its answers",
         "not with OpenSearch"),
        (200, PAGE, HTML, ConfigError, "is not Elasticsearch: its answers", "a proxy must pass headers on"),
        (302, "", {**HTML, "location": "https://u:secret@sso.example/login"}, ConfigError,
         "not Elasticsearch: 302; it redirects to https://", "write the address"),
        (404, PAGE, HTML, ConfigError, "not Elasticsearch: 404, 'Sign in'", "check hosts"),
        (403, PAGE, HTML, ConfigError, "not Elasticsearch: 403, 'Sign in'", "check hosts"),
        (502, BARE, {"content_type": "application/json"}, UnavailableError,
         "came is not a JSON object: '502 Bad Gateway nginx'", "a proxy stand in front"),
        (502, BARE, HTML, ServerError, "not Elasticsearch: 502, '502 Bad Gateway nginx'", "a proxy stands in front"),
    ],
)  # fmt: skip
def test_what_is_not_elasticsearch_is_said_to_be_none(
    status: int, body: str, headers: dict[str, str], kind: type[LabkitError], told: str, hint: str
) -> None:
    """BEHAVIOURS 47: "200 The client noticed", a page of HTML as the reason, "is security off?"."""
    with answering(status, body, **headers) as target:
        with pytest.raises(kind) as refused:
            Index("x", target).count()
        assert told in refused.value.message
        assert hint in refused.value.hint
        assert "<" not in str(refused.value)
        assert "secret" not in str(refused.value)
        with pytest.raises(LabkitError) as refused:
            ElasticsearchLooks(target, "irc*").login()
        assert told in refused.value.message


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/html"])
@pytest.mark.parametrize("body", ["[]", '"text"', "7", "null", "true", ""])
def test_an_answer_that_is_no_object_is_said_to_be_none(body: str, kind: str) -> None:
    """Some proxies keep the header of Elasticsearch, and answer for it."""
    readings: list[Callable[[Target], Any]] = [
        lambda target: Index("x", target).count(),
        lambda target: Index("x", target).to_pandas(),
        lambda target: Index("x", target).fields(),
        lambda target: Index("x", target).mapping(),
        lambda target: Index("x", target).search(size=1),
        lambda target: Index("x", target).agg("nick"),
        lambda target: PointInTime(target, "x", target.client_of_hits),
        lambda target: target.version,
        lambda target: target.count("x"),
        list_indices,
        lambda target: indices_frame([target], ["x"], profile="p"),
        lambda target: ElasticsearchLooks(target, "irc*").login(),
    ]
    with answering(200, body, content_type=kind, x_elastic_product="Elasticsearch") as target:
        for read in readings:
            with pytest.raises(UnavailableError, match="what came is not a JSON object") as refused:
                read(target)
            assert "proxy" in (refused.value.hint or "")


def test_a_refusal_of_elasticsearchs_own_stays_what_it_is(lab: Lab) -> None:
    with pytest.raises(LabkitError, match="no such index"):
        Index("scratch-test-fields-nothing", lab.target("default")).count()
