"""The names the lab may use: every rule holds before a connection is made."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.checks import names
from labkit.errors import LabkitError, RefusedError, UsageError

# argv as Python decodes it: any character but NUL, bytes that are not UTF-8 as lone surrogates
ARGUMENTS = st.text(st.characters(exclude_characters="\0"), max_size=300)


@given(ARGUMENTS)
def test_a_topic_is_refused_or_taken_as_it_is(name: str) -> None:
    try:
        assert names.topic(name) == name
    except UsageError:
        return
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a b", "a\n", "a/b", "ü", "a" * 250, "a\x00", "\udcff"]
)
def test_what_kafka_refuses_is_no_topic(name: str) -> None:
    with pytest.raises(UsageError, match="is not a topic name"):
        names.topic(name)


@pytest.mark.parametrize("name", ["irc*", ["irc", "ops"]])
def test_several_topics_are_told_that_one_is_meant(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        names.topic(name)
    assert "one topic is meant, `lab.topics()` lists them" in str(refused.value.hint)


@pytest.mark.parametrize("name", ["irc", "a" * 249, "...", "A_b-C.1"])
def test_what_kafka_takes_is_a_topic(name: str) -> None:
    assert names.topic(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "IRC",
        "-a",
        "_a",
        "+a",
        ".a",
        "..",
        "a b",
        "a*",
        "a,b",
        "a:b",
        "a#b",
        "a\\b",
        'a"',
        "a<b",
        "a|b",
        "a\tb",
    ],
)
def test_what_elasticsearch_refuses_is_no_index(name: str) -> None:
    with pytest.raises(UsageError, match="is not an index name"):
        names.index(name)


def test_an_index_has_at_most_255_bytes() -> None:
    assert names.index("ü" * 127)
    with pytest.raises(UsageError):
        names.index("ü" * 128)


def test_a_name_that_is_not_utf_8_is_no_index() -> None:
    with pytest.raises(UsageError):
        names.index("a\udcff")


@given(ARGUMENTS.filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)))
def test_an_index_is_refused_or_taken_as_it_is(name: str) -> None:
    try:
        assert names.index(name) == name
    except UsageError:
        return
    assert name
    assert name == name.lower()
    assert not set(name) & set('\\/*?"<>| ,#:\n')


@given(ARGUMENTS)
def test_only_groups_named_labkit_are_the_labs(name: str) -> None:
    if name.startswith("labkit."):
        assert names.lab_group(name) == name
    else:
        with pytest.raises(RefusedError):
            names.lab_group(name)


@pytest.mark.parametrize(
    "name", ["indexer.logstash-es", "labkit", "Labkit.x", " labkit.x", "x.labkit.", ""]
)
def test_a_foreign_group_is_refused_with_its_name_as_a_fact(name: str) -> None:
    with pytest.raises(RefusedError, match="not the lab's") as caught:
        names.lab_group(name)
    assert caught.value.group == name
    assert isinstance(caught.value, PermissionError)


@given(ARGUMENTS)
def test_an_ad_hoc_group_is_always_this_users(name: str) -> None:
    try:
        name_made = names.adhoc_group(name)
    except UsageError:
        return
    assert name_made.startswith(f"labkit.{names.user()}.")
    assert names.lab_group(name_made) == name_made


@pytest.mark.parametrize(
    "name", ["irc", "scratch", "Scratch-a", "irc-scratch-a", "scratch_a", "", "*", "_all"]
)
def test_an_index_not_named_scratch_is_refused(name: str) -> None:
    with pytest.raises(RefusedError):
        names.scratch_index(name)


@pytest.mark.parametrize(
    "name", ["scratch-*", "scratch-a,irc", "scratch-A", "scratch-a b", "scratch-a/../irc"]
)
def test_a_scratch_index_names_one_index(name: str) -> None:
    with pytest.raises(UsageError):
        names.scratch_index(name)


@given(st.text(max_size=60))
def test_a_scratch_name_never_is_another_users(name: str) -> None:
    try:
        name_made = names.scratch_name(name)
    except LabkitError:
        return
    assert name_made.startswith(f"scratch-{names.user()}-")


def test_a_full_scratch_name_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_USER", "alice")
    assert names.scratch_name("a") == names.scratch_name("scratch-alice-a") == "scratch-alice-a"
    assert names.scratch_name("scratch-bob-a") == "scratch-alice-scratch-bob-a"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50))
def test_a_user_is_always_safe_in_groups_and_indices(raw: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_USER", raw)
        user = names.user()
        assert re.fullmatch(r"[a-z0-9_]+", user)
        assert names.lab_group(names.adhoc_group("x"))
        assert names.scratch_name("x")


@pytest.mark.parametrize(
    ("labkit", "hub", "expected"),
    [
        ("alice", "bob", "alice"),
        (None, "Bob.Builder@example.org", "bob_builder_example_org_4cfaa8"),
        ("", "bob", "bob"),
    ],
)
def test_labkit_user_wins_then_jupyterhubs(
    labkit: str | None, hub: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_USER", hub)
    monkeypatch.delenv("LABKIT_USER", raising=False)
    if labkit is not None:
        monkeypatch.setenv("LABKIT_USER", labkit)
    assert names.user() == expected


def test_users_whose_names_had_to_be_changed_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would share ad hoc groups and scratch indices, and collect each other's."""
    raw = ["a.b", "a-b", "a_b", "_a_b", "李明", "王芳", "someone", "x" * 60 + "1", "x" * 60 + "2"]
    users = []
    for name_ in raw:
        monkeypatch.setenv("LABKIT_USER", name_)
        users.append(names.user())
    assert len(set(users)) == len(raw)
    assert users[2] == "a_b"
    assert users[4].startswith("someone_")


def test_a_user_without_a_name_is_known_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found")

    for variable in ("LABKIT_USER", "JUPYTERHUB_USER"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("getpass.getuser", nobody)
    assert re.fullmatch(r"uid\d+", names.user())


def test_a_name_with_a_patterns_signs_is_chosen_by_itself_too() -> None:
    """A group's id may have any sign."""
    known = ["a[b]", "ab", "a*", "axx"]
    assert names.choose(known, ["a[b]"]) == ["a[b]", "ab"]
    assert names.choose(known, ["a*"]) == known
    assert names.plain_names(["b", "a*", "a[b]", "b", "c?"]) == ["b"]
