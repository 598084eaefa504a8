"""A topic's decoders in labkit.toml are used wherever none is given, and the receipt says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import labkit
from labkit.cli import main
from labkit.errors import UsageError
from labkit.lab import Lab
from labkit.stack.state import State, write_private
from support.indexing import Bench

pytestmark = pytest.mark.usefixtures("stack")
SCHEMA = {"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}]}


@pytest.fixture
def topic(make_topic: Callable[..., str], produce: Callable[..., None]) -> str:
    """Ten Avro records, 0 to 9, with text as keys."""
    name = make_topic()
    produce(name, [bytes([2 * n]) for n in range(10)], keys=[f"k{n}".encode() for n in range(10)])
    return name


@pytest.fixture
def configured(stack: State, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab whose labkit.toml names the topic's decoders."""
    (tmp_path / "order.avsc").write_text(json.dumps(SCHEMA))
    path = tmp_path / "labkit.toml"
    path.write_text(
        f'[profiles.local.topics."{topic[:-4]}*"]\nvalue = "avro:order.avsc"\nkey = "text"\n'
    )
    monkeypatch.setenv("LABKIT_CONFIG", str(path))
    return labkit.connect()


def notes(found: Any) -> list[str]:
    return [note for note in found.receipt.notes if note.startswith(("value = ", "key = "))]


def test_read_uses_the_decoders_of_the_profile_and_says_so(
    configured: Lab, topic: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LABKIT_CACHE_GB", "1")
    window = configured.window(topic)
    replay = window.read()
    assert replay.table["id"].to_pylist() == list(range(10))
    assert replay.table["_key_text"].to_pylist() == [f"k{n}" for n in range(10)]
    assert [note.partition(", by [profiles.local.topics.")[0] for note in notes(replay)] == [
        'value = "avro:order.avsc"', 'key = "text"',
    ]  # fmt: skip
    decoded = window.read()
    assert any("from the local cache" in note for note in decoded.receipt.notes)
    assert notes(decoded) == notes(replay)
    assert notes(replay.decode("raw")) == []


def test_a_decoder_that_is_given_wins_over_the_profile(configured: Lab, topic: str) -> None:
    replay = configured.window(topic).read(decode="raw")
    assert "id" not in replay.table.column_names
    assert [note.partition(" = ")[0] for note in notes(replay)] == ["key"]
    assert notes(configured.window(topic).read(decode="raw", key_decode="raw")) == []


def test_trace_uses_the_decoders_of_the_profile(configured: Lab, topic: str) -> None:
    record = configured.trace(topic, 0, 3, where="id = 3").steps[0].details
    assert record == ("id: 3", "_key: k3", "_key_text: k3")
    raw = configured.trace(topic, 0, 9, decode="raw", key_decode="raw").steps[0].details
    assert raw == ("_key: k9", "_value: \\u0012")


def test_sql_uses_the_decoders_of_the_profile(configured: Lab, topic: str) -> None:
    window = configured.window(topic)
    answer = window.sql("select sum(id) s, max(_key_text) k from replay")
    assert answer.iloc[0].tolist() == [45, "k9"]
    assert any(note.startswith("value = ") for note in answer.attrs["receipts"]["replay"]["notes"])
    query = "select count(*) n from a join b on a.id = octet_length(b._value)"
    answer = configured.sql(query, a=window, b=window, options={"b": {"decode": "raw"}})
    assert answer["n"].tolist() == [10]


def test_files_profiles_finds_groups_and_dask_use_them(
    configured: Lab, topic: str, tmp_path: Path
) -> None:
    window = configured.window(topic)
    receipt = window.to_parquet(tmp_path / "orders.parquet")
    assert pq.read_table(tmp_path / "orders.parquet")["id"].to_pylist() == list(range(10))
    assert any(note.startswith("value = ") for note in receipt.notes)
    assert "id" in window.profile().to_pandas()["field"].tolist()
    assert "id" in configured.profile(topic).to_pandas()["field"].tolist()
    assert window.find("k3", in_="key").table["id"].to_pylist() == [3]
    assert window.latest().table["id"].to_pylist() == list(range(10))
    assert window.latest().table["_key_text"].to_pylist() == [f"k{n}" for n in range(10)]
    assert window.around(0, 5, before=1, after=1).table["id"].to_pylist() == [4, 5, 6]
    load = window.to_scratch(f"decoders-{topic[-8:]}", ttl="1h")
    assert load.counts["indexed"] == 10
    assert sorted(load.index.to_pandas()["id"]) == list(range(10))
    with configured.attach(topic, name=f"decoders-{topic[-8:]}", start="earliest") as group:
        assert group.read(10)["id"].tolist() == list(range(10))
        group.close(delete=True)
    frame = window.to_dask()
    assert frame["id"].compute().tolist() == list(range(10))
    assert any(note.startswith("value = ") for note in frame.receipt().notes)


def test_conditions_on_raw_records_use_them(
    configured: Lab, topic: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    window = configured.window(topic)
    batches = list(window.batches(where="id > 7 and _key_text <> 'k9'"))
    assert [row["value"] for batch in batches for row in batch.to_pylist()] == [b"\x10"]
    as_text = window.batches(where="text like '%\n%'", decode="text")
    assert [row["offset"] for batch in as_text for row in batch.to_pylist()] == [5]
    with pytest.raises(UsageError, match="decode changes nothing without where"):
        next(window.batches(decode="avro"))
    assert main(["replay", topic, "--where", "id > 7"]) == 0
    assert capfdbinary.readouterr().out == b"\x10\n\x12\n"


def test_the_indexer_uses_the_decoders_of_the_profile(
    configured: Lab, topic: str, bench: Bench, tmp_path: Path
) -> None:
    table = f'[profiles.fast.topics."{topic[:-4]}*"]\nvalue = "avro:order.avsc"\nkey = "text"\n'
    profile = tmp_path / "labkit.toml"
    write_private(
        profile, profile.read_text().replace("[profiles.local", "[profiles.other") + "\n" + table
    )
    run = bench.once(topic, "--where", "id >= 4")
    assert run.ledger == {"sent": 6, "indexed": 6, "existing": 0, "rejected": 0, "unsent": 0}
    assert run.metrics[-1]["filtered"] == 4
    assert bench.committed() == {0: 10}
    assert bench.ids() == {f"{topic}-0-{n}" for n in range(4, 10)}
    assert bench.document(topic, 9) == {"id": 9, "_key_text": "k9"}
    assert any(
        line.startswith('value = "avro:order.avsc", by [profiles.fast.topics.') for line in run.said
    ), run.said


def test_the_command_line_uses_them_for_files_and_leaves_plain_values_alone(
    configured: Lab, topic: str, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    assert main(["replay", topic, "-o", str(tmp_path / "orders.csv")]) == 0
    assert (tmp_path / "orders.csv").read_text().splitlines()[4].startswith("3,")
    capfdbinary.readouterr()
    assert main(["replay", topic, "--key-decode", "raw"]) == 0
    assert json.loads(capfdbinary.readouterr().out.splitlines()[3])["id"] == 3
    assert main(["replay", topic]) == 0
    assert capfdbinary.readouterr().out.startswith(b"\x00\n\x02\n\x04\n")
