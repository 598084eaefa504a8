"""Tables in the width of a terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from labkit.text.columns import SEPARATOR, cut_end, cut_middle, fit, width_of, wrap

TEXTS = st.text(st.characters(categories=["L", "N", "P", "S", "M"]), max_size=60)


@given(TEXTS, st.integers(1, 40))
def test_a_cut_text_has_at_most_the_width_and_keeps_both_ends(text: str, most: int) -> None:
    for cut in (cut_middle(text, most), cut_end(text, most)):
        assert width_of(cut) <= most
        assert (cut == text) == (width_of(text) <= most) or "…" in text


def test_a_long_name_keeps_its_begin_and_its_end() -> None:
    assert cut_middle("indexer.logstash-es-production", 15) == "indexer…duction"
    assert cut_middle("日本語のグループ", 9) == "日本…ープ"


@given(
    st.lists(st.tuples(TEXTS, st.integers(0, 10**12), TEXTS), min_size=1, max_size=8),
    st.integers(40, 120),
)
def test_no_line_is_wider_than_the_terminal_and_numbers_are_whole(
    rows: list[tuple[str, int, str]], width: int
) -> None:
    cells = [[a, f"{number:,}", b] for a, number, b in rows]
    lines, left_out = fit(["a", "lag", "b"], cells, [False, True, False], [False] * 3, width=width)
    assert left_out == 0
    assert all(width_of(SEPARATOR.join(line)) <= width for line in lines)
    assert [line[1].strip() for line in lines[1:]] == [row[1] for row in cells]
    assert len({width_of(line[1]) for line in lines}) == 1


def test_columns_that_have_no_room_are_left_out_and_counted() -> None:
    names = [f"number{place}" for place in range(9)]
    lines, left_out = fit(names, [["1,000,000,000"] * 9], [True] * 9, [False] * 9, width=80)
    assert (len(lines[0]), left_out) == (5, 4)


@given(st.lists(TEXTS.filter(lambda text: "`" not in text), max_size=12), st.integers(20, 80))
def test_a_wrapped_line_keeps_its_words_and_is_too_wide_only_for_one_word(
    words: list[str], most: int
) -> None:
    line = "  " + " ".join(words)
    lines = wrap(line, most)
    assert " ".join(lines).split() == line.split()
    for part in lines:
        assert width_of(part) <= most or len(part.split()) == 1
        assert not part or part.startswith("  ")


def test_a_sentence_goes_on_with_more_indent_and_a_command_is_not_broken() -> None:
    line = "  note: write `labkit acl --role lab` to see it"
    assert wrap(line, 30) == ["  note: write", "    `labkit acl --role lab` to", "    see it"]
    assert wrap(line, 80) == [line]
    assert wrap("", 30) == [""]
