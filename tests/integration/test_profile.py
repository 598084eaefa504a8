"""Profiles of real topics and indices: whole, sampled and said so, the same by every road."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from labkit import cli
from labkit.lab import Lab
from support.records import read_sample

COUNT = 3_000


@pytest.fixture
def topic(make_topic: Any, produce: Any) -> str:
    """Two partitions of the sample log.

    Every other record has a key, and one value is no JSON.
    """
    name = str(make_topic(partitions=2))
    lines = read_sample(COUNT)
    for partition in (0, 1):
        own = [*lines[partition::2], b"no json"]
        keys = [b"k%d" % (n % 5) if n % 2 else None for n in range(len(own))]
        times = [1_790_000_000_000 + n * 1_000 for n in range(len(own))]
        produce(
            name,
            own,
            partition=partition,
            keys=keys,
            timestamps=times,
            headers=[[("server", b"x")]] * len(own),
        )
    return name


def test_a_window_a_replay_and_the_topics_name_give_one_profile(lab: Lab, topic: str) -> None:
    window = lab.window(topic)
    profile = window.profile()
    assert profile.complete
    assert len(profile) == profile.receipt.read == COUNT + 2
    frame = profile.to_pandas()
    for other in (window.read().profile(), lab.profile(topic)):
        columns = ["field", "type", "present", "distinct", "min", "max"]
        assert frame[columns].equals(other.to_pandas()[columns])
        assert other.records.volume == profile.records.volume
    replay = window.read().to_pandas()
    nick = profile["nick"]
    assert nick.present == replay["nick"].notna().sum()
    assert nick.distinct == replay["nick"].nunique()
    counts = replay["nick"].value_counts()
    assert [count for _, count in nick.top(5)] == counts.iloc[:5].tolist()
    assert profile.records.headers.top(9) == [("server", COUNT + 2)]
    assert profile.records.undecodable == profile.receipt.undecodable
    assert profile.volume()["records"].sum() == COUNT + 2


def test_what_disagrees_is_counted_in_all_batches(lab: Lab, make_topic: Any, produce: Any) -> None:
    """The note was of the last batch: without a text in it there was none."""
    topic = make_topic()
    produce(topic, [b'{"n":"x"}', *[b'{"n":1}'] * 25_000])
    notes = lab.profile(topic).notes
    assert any("n: 25,000 numbers, 1 text" in note for note in notes), notes


def test_a_sample_says_so_everywhere(lab: Lab, topic: str) -> None:
    profile = lab.profile(topic, sample=400)
    assert profile.sampled
    assert not profile.complete
    assert 380 <= len(profile) <= 420
    assert len(profile) == profile.receipt.read == profile.receipt.planned
    assert "a sample" in repr(profile)
    assert "a sample" in profile._repr_html_()
    assert profile.to_pandas()["about"].all()
    share = profile["channel"].present / len(profile)
    assert share == pytest.approx(lab.profile(topic)["channel"].present / (COUNT + 2), abs=0.1)


def test_the_topics_name_takes_what_a_window_takes(lab: Lab, topic: str) -> None:
    """`on=`, `offsets=`, `partitions=` and `slack=` were a bare TypeError."""
    taken = inspect.signature(Lab.profile).parameters.keys()
    assert inspect.signature(Lab.window).parameters.keys() <= taken
    for bounds in ({"on": "2026-09-21"}, {"offsets": {1: (5, 25)}}, {"partitions": 0}):
        window = lab.window(topic, **bounds)
        assert len(lab.profile(topic, **bounds)) == window.profile().receipt.read > 0, bounds
    day = lab.window(topic, start="2026-09-21", end="2026-09-22")
    assert lab.profile(topic, on="2026-09-21", slack="0s").receipt.read == day.read().receipt.read


def test_a_condition_and_other_decoders_are_those_of_read(lab: Lab, topic: str) -> None:
    profile = lab.window(topic).profile(where="command = 'PRIVMSG'")
    assert profile["command"].top(5) == [("PRIVMSG", len(profile))]
    assert profile.receipt.filtered == COUNT + 2 - len(profile)
    texts = lab.window(topic).profile(decode="text", key_decode="text")
    assert [field_.path for field_ in texts.fields] == ["text", "_key_text"]
    assert texts["_key_text"].distinct == 5


def test_an_index_has_the_profile_of_what_was_loaded(lab: Lab, topic: str, me: str) -> None:
    window = lab.window(topic)
    load = window.to_scratch("profiled")
    profile = load.index.profile()
    assert len(profile) == COUNT + 2
    expected, mine = window.profile(), {field_.path: field_ for field_ in profile.fields}
    # a record that is no JSON has others of its own
    for name in ("nick", "channel", "command", "ip", "server"):
        assert mine[name].present == expected[name].present, name
        assert mine[name].distinct == expected[name].distinct
        assert mine[name].top(3) == expected[name].top(3)
    part = load.index.profile(limit=100)
    assert part.sampled
    assert len(part) == 100


def test_the_command_shows_and_prints_it(
    topic: str, lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["profile", topic]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert f"{COUNT + 2:,} records, all of them" in shown
    assert cli.main(["profile", topic, "--last", "50", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["records"] == 50
    assert {field_["field"] for field_ in printed["fields"]} > {"nick", "channel"}


def test_two_windows_are_compared_in_one_call(lab: Lab, topic: str) -> None:
    left = lab.window(topic, partitions=0).profile()
    right = lab.window(topic, partitions=1).profile(where="channel = '#kafka'")
    comparison = left.compare(right)
    changes = {change.field: change.change for change in comparison.changes}
    assert changes["channel"] in ("values", "present")
    assert "channel" in repr(comparison)
    assert "channel" in comparison._repr_html_()
