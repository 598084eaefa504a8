"""A profile as text, 80 columns wide."""

from __future__ import annotations

from textwrap import wrap

from labkit.profile.result import Profile
from labkit.profile.words import distinct_words, head_lines, kind_words, percent, value_words
from labkit.text.columns import cut_end, pad, width_of
from labkit.text.visible import visible

WIDTH = 80
_MOST_FIELDS = 200
_PATH_LINES = 3


def as_text(profile: Profile, width: int = WIDTH) -> str:
    """Return the profile as text; no line is longer than `width`.

    A field has one line, and its path lines of its own where it is long.
    """
    lines = [visible(profile.what), *(f"  {line}" for line in head_lines(profile))]
    for note in profile.notes:
        lines += wrap(
            f"note: {visible(note)}", width, initial_indent="  ", subsequent_indent=" " * 8
        )
    rows = [
        (visible(field.path), kind_words(field), percent(field.present / max(1, len(profile))),
         distinct_words(profile, field), value_words(field))
        for field in profile.fields[:_MOST_FIELDS]
    ]  # fmt: skip
    if rows:
        head = ("field", "type", "present", "distinct", "values")
        sizes = [max(width_of(row[place]) for row in [head, *rows]) for place in range(4)]
        # a longer path has a line of its own: cut, those of nested fields would look alike
        paths = [width_of(name) for name, *_ in [head, *rows]]
        sizes[0] = max(size for size in paths if size <= width // 3)
        sizes[1] = min(sizes[1], width // 4)
        lines += ["", *(line for row in [head, *rows] for line in _row(row, sizes, width))]
    if len(profile.fields) > _MOST_FIELDS:
        lines.append(
            f"… and {len(profile.fields) - _MOST_FIELDS:,} more fields: .to_pandas() has all"
        )
    return "\n".join(cut_end(line, width) for line in lines)


def _row(row: tuple[str, ...], sizes: list[int], width: int) -> list[str]:
    """Return a field's line, below its path where that is longer than its column."""
    name, kind, present, distinct, values = row
    fits = width_of(name) <= sizes[0]
    above = [] if fits else _path_lines(name, width)
    shown = f"{pad(name if fits else '', sizes[0])}  {pad(cut_end(kind, sizes[1]), sizes[1])}  "
    shown += f"{present:>{sizes[2]}}  {distinct:>{sizes[3]}}  {values}"
    return [*above, cut_end(shown.rstrip(), width)]


def _path_lines(path: str, width: int) -> list[str]:
    """Return a long path on lines of its own; of a very long one its beginning and its end."""
    if width_of(path) > len(path):  # lines are counted in characters
        width //= 2
    if len(path) > _PATH_LINES * width:
        half = _PATH_LINES * width // 2 - width // 4
        path = f"{path[:half]} … {path[-half:]}"
    return wrap(path, width, subsequent_indent="  ", drop_whitespace=False, break_on_hyphens=False)
