"""States can be read in JupyterLab's own themes, light and dark.

Their contrast is at least 4.5 (WCAG 2, 1.4.3).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from labkit.charts import pictures
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


def test_texts_of_charts_are_as_readable_on_white_as_on_the_dark_page() -> None:
    """Their ground is clear: no grey has 4.5 on both, which takes 18.3 % of light and 20 %."""
    config = pictures.draw_nothing("records", "there are none").to_dict()["config"]
    parts = [config["title"], config["axis"], config["legend"]]
    names = ("color", "subtitleColor", "labelColor", "titleColor")
    assert {part[name] for part in parts for name in names if name in part} == {pictures.INK}
    contrasts = [
        contrast(parsed(pictures.INK, {}), parsed(ground, {})) for ground in ("#ffffff", "#111111")
    ]
    assert contrasts == pytest.approx([4.35, 4.35], abs=0.02)
