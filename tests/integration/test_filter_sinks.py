"""A condition chooses the same records of a real topic in every sink.

Every other record is counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labkit.__main__ import main
from labkit.errors import UsageError
from labkit.lab import Lab
from labkit.read_spec import ReadSource
from labkit.replay.content_hash import Content
from labkit.replay.reader import Reading
from labkit.window import Window

Produce = Callable[..., None]
WHERE = "nick = 'a' and n % 3 = 0"
CHOSEN = [(partition, number) for partition in (0, 1) for number in range(0, 400, 6)]


@pytest.fixture
def window(
    lab: Lab, make_topic: Callable[..., str], produce: Produce, monkeypatch: pytest.MonkeyPatch
) -> Window:
    topic = make_topic(3)
    values = [b'{"n":%d,"nick":"%s"}' % (number, b"ab"[number % 2 :][:1]) for number in range(400)]
    produce(topic, [*values, None, b"{broken", b'{"nick":"c","rare":[1]}'])
    produce(topic, values, partition=1)
    monkeypatch.setattr(Reading, "_batch_records", lambda _: 90)
    return lab.window(topic)


def origins(table: pa.Table, prefix: str = "_") -> list[tuple[int, int]]:
    return sorted(
        zip(
            *(table[f"{prefix}{name}"].to_pylist() for name in ("partition", "offset")), strict=True
        )
    )


def command(
    capfdbinary: pytest.CaptureFixture[bytes], window: Window, *arguments: str
) -> tuple[int, list[bytes], str]:
    code = main(["replay", window.topic, *arguments])
    output = capfdbinary.readouterr()
    return code, output.out.splitlines(), output.err.decode()


def test_every_sink_takes_the_same_records(
    window: Window, me: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    replay = window.read(where=WHERE)
    total = replay.receipt
    assert (origins(replay.table), total.read, total.filtered, total.complete) == (
        CHOSEN,
        134,
        669,
        True,
    )

    batches = list(window.batches(where=WHERE))
    assert origins(pa.Table.from_batches(batches), "") == CHOSEN
    assert (len(batches) > 2, Content.of(batches).hash) == (True, total.hash)

    file = tmp_path / "w.parquet"
    written = window.to_parquet(file, where=WHERE)
    assert (written.read, written.filtered, written.undecodable, written.hash) == (
        134,
        669,
        0,
        total.hash,
    )
    table = pq.read_table(file)
    assert origins(table) == CHOSEN
    assert table.schema.names == replay.table.schema.names  # columns are those of all records
    assert "rare" in table.schema.names

    load = window.to_scratch("chosen", where=WHERE)
    assert load.counts == {"sent": 134, "indexed": 134, "existing": 0, "rejected": 0, "unsent": 0}
    assert (load.receipt.read, load.receipt.filtered, load.receipt.hash) == (134, 669, total.hash)
    assert origins(pa.Table.from_pandas(load.index.to_pandas())) == CHOSEN
    assert any(WHERE in note for note in load.receipt.notes)

    code, lines, err = command(capfdbinary, window, "--where", WHERE)
    assert (code, len(lines)) == (0, 134), err
    assert sorted(lines) == sorted(
        batch_value for batch in batches for batch_value in batch.column("value").to_pylist()
    )
    code, lines, err = command(
        capfdbinary, window, "--where", WHERE, "--decode", "json", "--key-decode", "text"
    )
    assert (code, sorted(json.loads(line)["n"] for line in lines)) == (
        0,
        sorted(n for _, n in CHOSEN),
    ), err
    code, lines, _ = command(capfdbinary, window, "--where", WHERE, "--scratch", "chosen", "--json")
    assert json.loads(lines[0])["counts"] == {**load.counts, "indexed": 0, "existing": 134}


def test_records_that_are_passed_over_undecoded_are_counted_as_filtered(window: Window) -> None:
    where = "nick = 'c' or n = 396"
    decoded = window.read(where=where, cache=False)
    chosen = [(0, 396), (0, 402), (1, 396)]
    assert (origins(decoded.table), decoded.receipt.filtered) == (chosen, 800)
    raw = ReadSource.of(window, where=where).without_decoding()
    assert origins(pa.Table.from_batches(raw.raw()), "") == chosen
    receipt = raw.receipt()
    assert (receipt.filtered, receipt.hash) == (800, decoded.receipt.hash)
    window.read()
    cached = window.read(where=where)
    assert cached.table.schema == decoded.table.schema
    assert (origins(cached.table), cached.receipt.filtered) == (chosen, 800)


def test_what_no_record_has_is_an_error_at_the_end_and_leaves_no_file(
    window: Window, me: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    file = tmp_path / "w.parquet"
    ways: list[Callable[[], object]] = [
        lambda: list(window.batches(where="nikc = 'a'")),
        lambda: window.to_parquet(file, where="nikc = 'a'"),
        lambda: window.to_scratch("typo", where="nikc = 'a'"),
    ]
    for way in ways:
        with pytest.raises(UsageError, match="no record has nikc"):
            way()
    assert list(tmp_path.iterdir()) == []
    code, lines, err = command(capfdbinary, window, "--where", "nikc = 'a'")
    assert (code, lines) == (2, [])
    assert "no record has nikc" in err


def test_a_condition_that_is_none_is_refused_before_anything_is_made(
    window: Window, me: str
) -> None:
    for way in (
        lambda: window.to_scratch("none", where="nick ="),
        lambda: next(window.batches(where="nick =")),
    ):
        with pytest.raises(UsageError, match="where='nick ='"):
            way()
    assert window.lab.scratch().empty


def test_one_that_asks_for_what_comes_later_is_no_error_of_a_read_that_ends_early(
    window: Window,
) -> None:
    """The field comes with the last record: who ends a read before it has misspelt nothing."""
    early = window.read(where="rare is not null", max_bytes=1)
    assert (early.receipt.complete, len(early)) == (False, 0)
    batches = window.batches(where="rare is null")
    assert next(batches).num_rows
    batches.close()
    assert len(window.read(where="rare is not null")) == 1


def test_a_replay_asks_its_columns_and_a_window_each_record(
    lab: Lab, make_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    """The stated difference, where values of a field disagree: docs/why/json.md."""
    topic = make_topic()
    produce(topic, [b'{"n": 5}', b'{"n": "5"}', b'{"n": 5.0}', b'{"n": "x"}'])
    window = lab.window(topic)
    condition = "n = '5'"
    assert window.read().where(condition).table["_offset"].to_pylist() == [0, 1]
    assert window.read(where=condition).table["_offset"].to_pylist() == [0, 1, 2]
