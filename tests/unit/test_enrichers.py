"""Enrichers on columns and on raw JSON.

The GeoIP database is the real one that comes with labkit.
"""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import maxminddb
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import enrich
from labkit.decode import fields
from labkit.decode.table import from_batches
from labkit.enrich.chain import Added, Chain, _text_column
from labkit.enrich.database import _place
from labkit.enrich.functions import FunctionError, load_function
from labkit.enrich.geoip import GeoIP, _warn_once
from labkit.errors import ConfigError, UsageError
from labkit.es.documents import documents
from labkit.es.json_append import fragments, splice
from labkit.es.mappings import MAPPING, IndexName, mapping, warn_of_doubles
from labkit.replay.notes import Note, NoteSource
from labkit.replay.receipt import Receipt
from labkit.replay.records import RAW_SCHEMA
from labkit.sinks.replay import Replay
from support.records import raw_batch


@pytest.fixture(scope="module")
def geoip() -> GeoIP:
    _warn_once.cache_clear()  # of a test before, in the same process
    with pytest.warns(UserWarning, match="days old"):
        return enrich.geoip("ip")


def enriched(values: list[bytes | None], *enrichers: Any) -> list[dict[str, Any]]:
    docs = documents(raw_batch(values), Chain(enrichers))
    return [json.loads(source) for source in docs.sources.to_pylist()]


# addresses -----------------------------------------------------------------------------------------------

REASONS = {
    "8.8.8.8": "hit",
    "81.2.69.142": "hit",
    "::ffff:81.2.69.142": "hit",
    "2001:4860:4860::8888": "hit",
    "10.1.2.3": "private",
    "192.168.0.1": "private",
    "172.31.255.255": "private",
    "100.64.0.1": "private",
    "127.0.0.1": "private",
    "::ffff:10.0.0.1": "private",
    "fd00::1": "private",
    "fe80::1%eth0": "private",
    "::1": "private",
    "192.0.2.1": "reserved",
    "224.0.0.1": "reserved",
    "240.0.0.1": "reserved",
    "0.0.0.0": "reserved",
    "2001:db8::1": "reserved",
    "host.example": "invalid",
    "": "invalid",
    " 8.8.8.8": "invalid",
    "8.8.8.8:53": "invalid",
    "8.8.8": "invalid",
    "134744072": "invalid",
    "010.8.8.8": "invalid",
    "1.2.3.4.5": "invalid",
    "user/cloak": "invalid",
    "8.8.8.8\x00": "invalid",
}


@pytest.mark.parametrize(("text", "reason"), REASONS.items())
def test_an_address_is_a_hit_or_has_a_reason(geoip: GeoIP, text: str, reason: str) -> None:
    row = geoip.add(pa.table({"ip": [text]})).to_pylist()[0]
    assert row["geoip_reason"] == reason
    assert (row["geoip_country"] is not None) == (reason == "hit")


def test_a_hit_has_country_city_and_a_point(geoip: GeoIP) -> None:
    row = geoip.add(pa.table({"ip": ["81.2.69.142"]})).to_pylist()[0]
    assert (row["geoip_country"], row["geoip_country_name"], row["geoip_city"]) == (
        "GB",
        "United Kingdom",
        "Willesden",
    )
    assert row["geoip_location"] == {"lat": 51.5333, "lon": -0.2333}


def test_no_value_has_no_reason(geoip: GeoIP) -> None:
    assert geoip.add(pa.table({"ip": pa.array([None], pa.string())})).to_pylist() == [
        dict.fromkeys(
            ["geoip_reason", "geoip_country", "geoip_country_name", "geoip_city", "geoip_location"]
        )
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str), min_size=1, max_size=200
    )
)
def test_all_at_once_finds_what_maxminddb_finds_one_by_one(texts: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        enricher = enrich.geoip("ip")
    rows = enricher.add(pa.table({"ip": texts})).to_pylist()
    for text, row in zip(texts, rows, strict=True):
        expected = enricher.database.reader.get(text)
        assert (row["geoip_reason"] == "hit") == (expected is not None)
        if expected is not None:
            assert row["geoip_city"] == _place(expected)[2]


def test_one_that_has_been_at_work_finds_the_same_in_another_process(geoip: GeoIP) -> None:
    texts = ["8.8.8.8", "10.0.0.1", "81.2.69.142", "2001:4860:4860::8888"]
    expected = geoip.add(pa.table({"ip": texts})).to_pylist()
    copy = pickle.loads(pickle.dumps(geoip))  # as it travels to a Dask worker
    assert copy.add(pa.table({"ip": texts[::-1]})).to_pylist() == expected[::-1]


def test_an_old_database_is_warned_of_once(geoip: GeoIP) -> None:
    """A notebook that names it in ten cells was warned ten times; each receipt says it, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert enrich.geoip("ip").notes() == geoip.notes()


def test_the_databases_date_age_and_licence_are_said(geoip: GeoIP) -> None:
    (note,) = geoip.notes()
    assert "GeoLite2-City of 2018-07-03" in note
    assert "CC BY-SA" in note
    assert "days old" in note


def test_another_database_is_named_by_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    path = tmp_path / "x.mmdb"
    path.write_bytes(b"no database")
    monkeypatch.setenv("LABKIT_GEOIP_DB", str(path))
    with pytest.raises(ConfigError, match=r"x\.mmdb"):
        enrich.geoip("ip")
    assert issubclass(maxminddb.InvalidDatabaseError, Exception)


# onto raw JSON -------------------------------------------------------------------------------------------


def test_fields_are_added_to_the_end_and_the_records_bytes_stay(geoip: GeoIP) -> None:
    value = b'{ "n": 1.50, "ip" : "81.2.69.142", "z":{"deep":[1e3]} }'
    (source,) = documents(raw_batch([value]), Chain([geoip])).sources.to_pylist()
    assert source.startswith(value[:-1])
    assert json.loads(source)["geoip_location"] == {"lat": 51.5333, "lon": -0.2333}


ODD = [
    b"{}",
    b"{ }",
    b'{"ip":null}',
    b'{"ip":7}',
    b'{"ip":{"a":1}}',
    b'{"n":1}',
    b'{"n":1} \r',
    b'{\n"n": 1\n}\n',
]


def test_what_has_nothing_to_add_stays_what_it_is(geoip: GeoIP) -> None:
    documents = enriched(ODD, geoip)
    for value, document in zip(ODD, documents, strict=True):
        assert {
            name: one for name, one in document.items() if name != "geoip_reason"
        } == json.loads(value)
    assert [entry.get("geoip_reason") for entry in documents] == [None] * 3 + ["invalid"] * 2 + [
        None
    ] * 3


BROKEN = [
    b"",
    None,
    b"{",
    b"not json",
    b"[1]",
    b'{"ip":"8.8.8.8"',
    b'{"ip":"8.8.8.8}',
    b"\xff\xfe",
    b'{"a":1}{"ip":2}',
]


def test_what_is_no_object_gets_nothing(geoip: GeoIP) -> None:
    good = b'{"ip":"8.8.8.8"}'
    docs = documents(raw_batch([*BROKEN, good]), Chain([geoip])).sources.to_pylist()
    assert docs[:-1] == documents(raw_batch(BROKEN)).sources.to_pylist()
    assert json.loads(docs[-1])["geoip_country"] == "US"


def test_a_records_own_field_is_never_overwritten(geoip: GeoIP) -> None:
    (document,) = enriched([b'{"ip":"8.8.8.8","geoip_country":"mine","geoip_country_":1}'], geoip)
    assert (document["geoip_country"], document["geoip_country_"], document["geoip_country__"]) == (
        "mine",
        1,
        "US",
    )


def test_a_text_that_looks_like_a_null_field_stays(geoip: GeoIP) -> None:
    parse = enrich.parse("m", r"(?P<geoip_city>.+)")
    (document,) = enriched([json.dumps({"m": ',"geoip_city":null'}).encode()], parse)
    assert document["geoip_city"] == ',"geoip_city":null'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.sampled_from(["ip", "m", "new", "new_", "x", "a.b"]), JSON, max_size=4)


@settings(max_examples=150, deadline=None)
@given(st.lists(OBJECTS, min_size=1, max_size=12), st.sampled_from([None, 1, (",", ":")]))
def test_any_object_keeps_its_fields_and_gains_the_new_one(
    objects: list[dict[str, Any]], style: Any
) -> None:
    options = {"separators": style} if isinstance(style, tuple) else {"indent": style}
    values = [json.dumps(document, **options).encode() for document in objects]
    documents = enriched(values, enrich.parse("m", r"^(?s)(?P<new>.*)$"))
    for own, document in zip(objects, documents, strict=True):
        assert {name: document[name] for name in own} == own
        gained = [name for name in document if name not in own]
        text = own.get("m")
        assert len(gained) == (text is not None)
        if isinstance(text, str):
            assert document[gained[0]] == text


def test_fields_with_a_dot_are_inside_of_objects(geoip: GeoIP) -> None:
    values = [
        b'{"client":{"ip":"8.8.8.8"}}',
        b'{"client.ip":"81.2.69.142"}',
        b'{"client":3}',
        b"{}",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        documents = enriched(values, enrich.geoip("client.ip"))
    assert [entry.get("geoip_country") for entry in documents] == ["US", "GB", None, None]


def test_fields_as_text_do_not_depend_on_their_batch() -> None:
    values = [
        b'{"a":1.5}',
        b'{"a":true}',
        b'{"a":"x"}',
        b'{"a":{"b":[1]}}',
        b'{"a":null}',
        b"{}",
        b"",
    ]
    alone = [
        fields.texts(pa.array([value], pa.binary()), ["a"])["a"][0].as_py() for value in values
    ]
    together = fields.texts(pa.array(values, pa.binary()), ["a"])["a"].to_pylist()
    beside_a_broken_one = fields.texts(pa.array([*values, b"{"], pa.binary()), ["a"])[
        "a"
    ].to_pylist()[:-1]
    assert (
        together
        == alone
        == beside_a_broken_one
        == ["1.5", "true", "x", '{"b": [1]}', None, None, None]
    )


# parse and apply -----------------------------------------------------------------------------------------


def test_parse_takes_named_groups(geoip: GeoIP) -> None:
    enricher = enrich.parse("m", r"(?P<verb>\w+) from (?P<ip>\S+)")
    documents = enriched(
        [b'{"m":"login from 8.8.8.8"}', b'{"m":"nothing"}'], enricher, enrich.geoip("ip")
    )
    assert (documents[0]["verb"], documents[0]["ip"], documents[0]["geoip_country"]) == (
        "login",
        "8.8.8.8",
        "US",
    )
    assert documents[1] == {"m": "nothing"}


@pytest.mark.parametrize("regex", ["(", r"\d+", r"(?P<a>x)(?=y)"])
def test_parse_refuses_what_is_no_expression_with_names(regex: str) -> None:
    with pytest.raises(UsageError) as caught:
        enrich.parse("m", regex)
    assert caught.value.hint


def shout(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"loud": frame["m"].str.upper(), "at": frame["_offset"]})


def shout_arrow(table: pa.Table) -> dict[str, Any]:
    import pyarrow.compute as pc

    return {"loud": pc.utf8_upper(table.column("m")), "at": table.column("_offset")}


@pytest.mark.parametrize("function", [shout, shout_arrow])
def test_apply_adds_the_columns_of_a_function(function: Any) -> None:
    values = [b'{"m":"a"}', b'{"m":"b","x":1}']
    assert [(one["loud"], one["at"]) for one in enriched(values, enrich.apply(function))] == [
        ("A", 0),
        ("B", 1),
    ]
    table = Chain(enrich.apply(function)).table(from_batches([raw_batch(values)], "json"))
    assert table.column("loud").to_pylist() == ["A", "B"]


def test_a_function_that_fails_is_named_and_in_documents_only_its_records_are_rejects() -> None:
    def picky(frame: pd.DataFrame) -> pd.Series:
        if (frame["n"] == 3).any():
            raise ValueError("no threes")
        return pd.Series(frame["n"] * 2, name="twice")

    values = [b'{"n":%d}' % n for n in range(9)]
    with pytest.raises(FunctionError, match=r"picky\(\) failed: ValueError: no threes"):
        Chain(enrich.apply(picky)).table(from_batches([raw_batch(values)], "json"))
    docs = documents(raw_batch(values), Chain(enrich.apply(picky)))
    assert [(reject.offset, reject.source) for reject in docs.rejects] == [(3, '{"n":3}')]
    assert "picky" in docs.rejects[0].reason
    assert [json.loads(source).get("twice") for source in docs.sources.to_pylist()] == [
        0,
        2,
        4,
        8,
        10,
        12,
        14,
        16,
    ]


def test_a_function_that_always_fails_is_an_error_not_a_thousand_rejects() -> None:
    def broken(frame: pd.DataFrame) -> pd.Series:
        return frame["no_such_column"]

    with pytest.raises(FunctionError, match="broken"):
        documents(raw_batch([b'{"n":1}'] * 1000), Chain(enrich.apply(broken)))


def test_a_function_must_return_a_row_for_each() -> None:
    with pytest.raises(FunctionError, match="returned 1 rows for 2"):
        Chain(enrich.apply(lambda frame: {"x": [1]})).table(
            from_batches([raw_batch([b"{}", b"{}"])], "json")
        )


@pytest.mark.parametrize(
    "text", ["nothing", "no_such_module:f", "json:no_such", "json:__name__", ":f"]
)
def test_a_transform_that_cannot_be_loaded_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_function(text)
    assert caught.value.hint


def test_columns_of_a_function_that_sorts_are_not_taken_for_new_ones() -> None:
    values = [b'{"a": 2}', b'{"a": 1}', b'{"a": 3}']
    table = from_batches([raw_batch(values)], "json")
    chain = Chain(enrich.apply(lambda frame: frame.assign(n=frame["a"] * 2).sort_values("a")))
    enriched_table = chain.table(table)
    assert enriched_table.column_names == [*table.column_names, "n"]
    assert enriched_table["n"].to_pylist() == [4, 2, 6]


def test_a_transform_whose_module_fails_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mine_that_fails.py").write_text("undefined_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="NameError: name 'undefined_name' is not defined"):
        load_function("mine_that_fails:f")


@pytest.mark.parametrize("text", ["rename:a=b,c", "rename:a=b,a=c", "rename:a=", "rename:=b"])
def test_a_rename_without_a_pair_of_names_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not an enricher"):
        enrich.named(text)
    assert enrich.named("rename:a=b,c=d") == enrich.rename({"a": "b", "c": "d"})


# chains and tables ---------------------------------------------------------------------------------------


def test_a_missing_field_is_an_error_that_lists_the_fields_there_are(geoip: GeoIP) -> None:
    table = from_batches([raw_batch([b'{"host":"8.8.8.8","n":1}'])], "json")
    with pytest.raises(UsageError, match="'ip'") as caught:
        Chain(geoip).table(table)
    assert caught.value.hint == "there is: host, n"
    chain = Chain(geoip)
    documents(raw_batch([b'{"host":"8.8.8.8","n":1}']), chain)
    with pytest.raises(UsageError, match="'ip'") as caught:
        chain.check()
    assert caught.value.hint == "there is: host, n"


def test_an_empty_table_gets_the_columns_too(geoip: GeoIP) -> None:
    table = Chain([geoip, enrich.apply(shout)]).table(from_batches([], "json"))
    assert len(table) == 0
    assert "geoip_country" in table.column_names


def test_a_batch_that_merely_lacks_the_field_is_none(geoip: GeoIP) -> None:
    chain = Chain(enrich.geoip("ip"))
    for values in ([b'{"n":1}'], [b'{"ip":"8.8.8.8"}'], [b'{"n":2}']):
        documents(raw_batch(values), chain)
    chain.check()


def test_a_column_whose_name_is_taken_gets_an_underscore(geoip: GeoIP) -> None:
    table = from_batches([raw_batch([b'{"ip":"8.8.8.8","geoip_country":"mine"}'])], "json")
    row = Chain(geoip).table(table).to_pylist()[0]
    assert (row["geoip_country"], row["geoip_country_"]) == ("mine", "US")


def test_two_that_add_the_same_names_are_refused(geoip: GeoIP) -> None:
    with pytest.raises(UsageError, match="twice"):
        Chain([geoip, geoip])


@pytest.mark.parametrize("odd", ["geoip", print, 7])
def test_what_is_no_enricher_is_refused(odd: Any) -> None:
    with pytest.raises(UsageError, match="must be enrichers") as caught:
        Chain([odd])
    assert "labkit.enrich.apply" in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["geoip", "geoip:", "parse:m", "parse:m:(", "what:x"])
def test_an_enricher_a_command_line_cannot_mean_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        enrich.named(text)


def test_nothing_added_is_nothing_changed() -> None:
    values = pa.array([b'{"a":1}', None], pa.binary())
    assert splice(values, fragments(Added())) is values


# indices -------------------------------------------------------------------------------------------------


def test_a_pattern_names_an_index_by_the_records_time() -> None:
    march, none = raw_batch([b"{}"], 1_456_790_400_000), raw_batch([b"{}"], None)
    name = IndexName("irc-%Y.%m")
    assert documents(march, name=name).indices.to_pylist() == ["irc-2016.03"]
    assert documents(none, name=name).indices.to_pylist() == ["irc-undated"]
    assert documents(march, name=IndexName("irc")).indices is None
    assert IndexName("irc-%Y.%m.%d-%H").of(
        pa.array([1_456_794_000_000], RAW_SCHEMA.field("timestamp").type)
    )[0].as_py() == ("irc-2016.03.01-01")


@pytest.mark.parametrize("pattern", ["irc-%Q", "irc-%", "Irc-%Y", "irc-%Y%B", "irc %Y"])
def test_a_pattern_that_names_no_index_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError):
        IndexName(pattern)


def test_a_mapping_goes_on_top_of_labkits() -> None:
    fields_ = mapping(
        {"price": {"type": "double"}}, {"dynamic": "strict"}, properties={"price": {"type": "long"}}
    )
    assert fields_["properties"]["price"] == {"type": "double"}
    assert fields_["properties"]["tags"] == MAPPING["properties"]["tags"]
    assert fields_["dynamic"] == "strict"


@pytest.mark.parametrize(
    ("behind", "kind"),
    [
        (["irc"], ""),
        (["irc-000001"], ""),
        (["irc-000001", "irc-000002"], "an alias of 2 indices"),
        ([".ds-irc-2026.11.28-000001"], "a data stream"),
    ],
)
def test_where_a_record_can_be_twice_is_said(behind: list[str], kind: str) -> None:
    assert warn_of_doubles("irc", behind).startswith(f"irc is {kind}," if kind else "")
    assert bool(warn_of_doubles("irc", behind)) == bool(kind)


# whole frames ----------------------------------------------------------------------------------------------


def test_a_function_may_write_into_the_frame_and_return_it() -> None:
    """What it was given comes back once.

    A field that it changed is added beside the record's own.
    """
    table = pa.table({"n": [1, 2, None], "nick": ["A", "B", None], "tags": [["x"], [], None]})

    def whole(frame: pd.DataFrame) -> pd.DataFrame:
        frame["odd"] = frame["n"] % 2
        frame["nick"] = frame["nick"].str.lower()
        return frame

    rows = Chain(enrich.apply(whole)).table(table)
    assert rows.column_names == ["n", "nick", "tags", "nick_", "odd"]
    assert rows.select(["nick", "nick_", "odd"]).to_pydict() == {
        "nick": ["A", "B", None], "nick_": ["a", "b", None], "odd": [1, 0, None],
    }  # fmt: skip


def test_so_may_one_of_arrow_tables() -> None:
    def whole(table: pa.Table) -> pa.Table:
        return table.append_column("m", table["n"])

    assert Chain(enrich.apply(whole)).table(pa.table({"n": [1]})).column_names == ["n", "m"]


def test_a_replay_takes_enrichers_or_a_list_of_them() -> None:
    replay = Replay(
        pa.table({"n": [1]}), Receipt("irc", "c", "w", "read_committed", (), 0, 0.0, "g")
    )
    first = enrich.apply(lambda frame: {"a": frame["n"]})
    second = enrich.apply(lambda frame: {"b": frame["n"]})
    for enriched_replay in (replay.enrich(first, second), replay.enrich([first, second])):
        assert enriched_replay.table.column_names == ["n", "a", "b"]


def test_the_notes_of_enrichers_go_with_their_columns() -> None:
    receipt = Receipt("irc", "c", "w", "read_committed", (), 0, 0.0, "g", notes=("kept",))
    replay = Replay(from_batches([], "raw"), receipt).enrich(
        enrich.apply(lambda frame: {"a": frame["n"]})
    )
    assert len(replay.receipt.notes) == 2
    assert replay.decode("text").receipt.notes == ("kept",)


def test_a_note_goes_by_its_source_not_by_its_words() -> None:
    notes = ("decoded as avro, it is not said by a decoder", Note("reworded", NoteSource.DECODING))
    receipt = Receipt("irc", "c", "w", "read_committed", (), 0, 0.0, "g", notes=notes)
    replay = Replay(from_batches([], "raw"), pickle.loads(pickle.dumps(receipt)))
    assert replay.decode("text").receipt.notes == notes[:1]
    assert json.loads(receipt.to_json())["notes"] == list(notes)
    # Dask's messages take no subclass
    assert [type(note) for note in receipt.to_dict()["notes"]] == [str, str]


def test_a_function_that_adds_nothing_is_an_error() -> None:
    with pytest.raises(FunctionError, match="no new column"):
        Chain(enrich.apply(lambda frame: frame)).table(pa.table({"n": [1]}))


def test_a_misspelt_field_is_told_with_the_near_one() -> None:
    """BEHAVIOURS 61: of the enrichers that take one field's texts."""
    with pytest.raises(
        UsageError, match="no record has the field 'nik'\nHint: did you mean 'nick'"
    ):
        _text_column(pa.table({"nick": ["ann"]}), "nik")
