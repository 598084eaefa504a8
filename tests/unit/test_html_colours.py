"""States can be read in JupyterLab's own themes, light and dark.

Their contrast is at least 4.5 (WCAG 2, 1.4.3).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import vl_convert

from labkit import charts
from labkit.charts import pictures, show
from labkit.charts.lag import DOING, TILE_TEXT
from labkit.decode import cells
from labkit.text import html

SHARED = Path(sys.prefix) / "share" / "jupyter"
PALETTE = SHARED / "nbconvert" / "templates" / "lab" / "static" / "index.css"
STATES = {"green": html.GREEN, "amber": html.AMBER, "red": html.RED, "grey": html.GREY}
BACKGROUNDS = ("--jp-layout-color0", "--jp-layout-color1", "--jp-rendermime-table-row-background")


def parsed(text: str, known: dict[str, str]) -> tuple[float, ...]:
    """Return a colour as red, green, blue and alpha, from 0 to 1."""
    if match := re.fullmatch(r"var\((--[\w-]+)(?:, ?(.+))?\)", text):
        return parsed(known.get(match[1]) or match[2], known)
    if match := re.fullmatch(r"rgba\((.+)\)", text):
        *colour, alpha = map(float, match[1].split(","))
        return (*(part / 255 for part in colour), alpha)
    digits = {"white": "ffffff"}.get(text, text.lstrip("#"))
    digits = "".join(2 * part for part in digits) if len(digits) == 3 else digits
    return (*(int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)), 1.0)


def mixed(text: str, known: dict[str, str]) -> tuple[float, ...]:
    """Return the colour of a state, as a browser mixes it (CSS Color 5: premultiplied)."""
    match = re.fullmatch(r"color-mix\(in srgb, (.+) (\d+)%, currentcolor\)", text)
    if match is None:
        return parsed(text, known)
    share = int(match[2]) / 100
    colour, text_colour = parsed(match[1], known), parsed("var(--jp-content-font-color1)", known)
    alpha = share * colour[3] + (1 - share) * text_colour[3]
    pairs = zip(colour[:3], text_colour[:3], strict=True)
    return (
        *((a * colour[3] * share + b * text_colour[3] * (1 - share)) / alpha for a, b in pairs),
        alpha,
    )


def light(colour: tuple[float, ...]) -> float:
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(colour: tuple[float, ...], ground: tuple[float, ...]) -> float:
    luminances = tuple(
        a * colour[3] + b * (1 - colour[3]) for a, b in zip(colour[:3], ground[:3], strict=True)
    )
    low, high = sorted((light(luminances), light(ground)))
    return (high + 0.05) / (low + 0.05)


def test_what_is_null_has_the_colour_of_words_beside_the_matter() -> None:
    assert html.GREY in cells.html_cell(None)  # what is half transparent cannot be read


@pytest.mark.parametrize("colour", DOING.values())
def test_the_lag_on_a_tile_of_the_board_can_be_read(colour: str) -> None:
    assert contrast(parsed(TILE_TEXT, {}), parsed(colour, {})) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark", "dark-high-contrast"])
def test_states_can_be_read_in_every_theme(theme: str) -> None:
    folder = SHARED / "lab" / "themes" / "@jupyterlab" / f"theme-{theme}-extension"
    text = "".join(path.read_text(encoding="utf-8") for path in [PALETTE, *folder.glob("*.css")])
    colours = {
        name: value.strip() for name, value in re.findall(r"(--(?:jp|md)-[\w-]+):([^;}]+)", text)
    }
    assert colours["--jp-layout-color0"]
    result = {
        (state, ground): contrast(mixed(colour, colours), parsed(f"var({ground})", colours))
        for state, colour in STATES.items()
        for ground in BACKGROUNDS
    }
    assert min(result.values()) >= 4.5, result


def test_texts_of_a_chart_can_be_read_on_the_paper_of_its_picture() -> None:
    spec = pictures.draw_nothing("records", "there are none").to_dict()
    parts = [spec["config"][name] for name in ("title", "axis", "legend", "header", "text")]
    names = ("color", "subtitleColor", "labelColor", "titleColor")
    assert {part[name] for part in parts for name in names if name in part} == {show.INK}
    assert spec["background"] == show.PAPER == "rgb(255, 255, 255)"
    assert contrast(parsed(show.INK, {}), parsed("#ffffff", {})) >= 4.5
    assert show.INK not in str(show.compiled(spec))  # on a page it is the colour of its letters


def test_numbers_on_the_squares_of_a_conversation_can_be_read() -> None:
    names = [f"n{n}" for n in range(12)]
    pairs = [(left, right) for left in names for right in names if left < right]
    messages = [
        {
            "_timestamp": pd.Timestamp("2026-03-01", tz="UTC"),
            "nick": left,
            "message": f"{right}: hi",
        }
        for count, (left, right) in enumerate(pairs, 1)
        for _ in range(count)
    ]
    spec = charts.conversation(pd.DataFrame(messages), form="matrix").to_dict()
    svg = vl_convert.vegalite_to_svg(spec)
    squares, numbers = (
        re.findall(rf'aria-roledescription="{mark} mark"[^>]*? fill="([^"]+)"', svg)
        for mark in ("rect", "text")
    )
    assert len(squares) == len(numbers) > 50
    grounds = [
        "#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", square))
        for square in squares
    ]
    contrasts = [
        contrast(parsed({"#fff": "white"}.get(ink, ink), {}), parsed(ground, {}))
        for ink, ground in zip(numbers, grounds, strict=True)
    ]
    assert min(contrasts) >= 4.5
