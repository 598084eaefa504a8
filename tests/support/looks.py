"""What somebody cannot read or cannot name on a page, found by its own styles.

Texts too pale for what is behind them, as WCAG 2 has it (1.4.3: a contrast of 4.5), controls
without a name for a screen reader, and controls that do not show the keyboard's focus.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

_COLOURS = """
  const parts = (colour) => {
    const mixed = colour.match(/color\\(srgb ([^)]*)\\)/); // of color-mix: shares of 1
    const numbers = (mixed ? mixed[1] : colour).match(/[\\d.e-]+/g).map(Number);
    const [alpha] = numbers.splice(3, 1);
    return [...numbers.map((part) => (mixed ? part : part / 255)), alpha ?? 1];
  };
  const light = (colour) => colour.slice(0, 3)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, n) => sum + part * [0.2126, 0.7152, 0.0722][n], 0);
  const over = (top, ground) => [0, 1, 2].map((n) => top[n] * top[3] + ground[n] * (1 - top[3]));
  const lineage = (element) => (element ? [element, ...lineage(element.parentElement)] : []);
  const ground = (element) => lineage(element).reverse()
    .map((one) => parts(getComputedStyle(one).backgroundColor))
    .reduce((behind, top) => over(top, behind), [1, 1, 1]);
  const contrast_of = (colour, behind) => {
    const [low, high] = [light(over(colour, behind)), light(behind)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
"""
_PALE = """(root) => {
  const contrast = (element) => {
    const { color, fill } = getComputedStyle(element);
    const [red, green, blue, alpha] = parts(element instanceof SVGElement ? fill : color);
    const opacity = lineage(element).reduce((all, one) => all * getComputedStyle(one).opacity, alpha);
    return contrast_of([red, green, blue, opacity], ground(element));
  };
  const says = (element) => [...element.childNodes].some((one) => one.nodeType === 3 && one.textContent.trim());
  return [...root.querySelectorAll("*")]
    .filter((element) => element.checkVisibility({ opacityProperty: true }) && says(element) && !element.disabled)
    .filter((element) => !["STYLE", "OPTION", "title"].includes(element.tagName)) // a title of SVG
    .filter((element) => contrast(element) < 4.5)
    .map((element) => [contrast(element).toFixed(2), element.getAttribute("class"), element.textContent.slice(0, 50)])
    .map((facts) => facts.join(" "));
}"""
_NAMELESS = """(root) => [...root.querySelectorAll("button, input, select, textarea, summary")]
  .filter((element) => element.checkVisibility())
  .filter((element) => ![element.ariaLabel, element.title, element.placeholder, element.textContent,
    ...[...(element.labels || [])].map((label) => label.textContent)].some((name) => name?.trim()))
  .map((element) => `${element.tagName} ${element.className}`)"""
_RINGLESS = """(root) => {
  const ring = (element) => {
    element.focus({focusVisible: true, preventScroll: true});
    const style = getComputedStyle(element);
    const width = style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth);
    const around = (element.closest(".noUi-target") || element).parentElement; // a handle is on its bar
    return width && contrast_of(parts(style.outlineColor), ground(around));
  };
  return [...root.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
    .filter((element) => element.checkVisibility() && !element.disabled && ring(element) < 3)
    .map((element) => `${ring(element)} ${element.tagName} ${element.className}`);
}"""


def list_pale_texts(page: Any, selector: str) -> list[str]:
    """Return the texts within some elements whose contrast is below 4.5; not disabled controls."""
    return _list_in(page, selector, _PALE)


def list_nameless_controls(page: Any, selector: str) -> list[str]:
    """Return the controls within some elements that say nothing of themselves."""
    return _list_in(page, selector, _NAMELESS)


def list_ringless_controls(page: Any, selector: str) -> list[str]:
    """Return the controls within some elements that a keyboard's focus does not ring visibly.

    As WCAG 2 has it (2.4.7 and 1.4.11): an outline with a contrast of 3.
    """
    page.keyboard.press("Tab")  # what has the focus is ringed from now on
    return _list_in(page, selector, _RINGLESS)


def _list_in(page: Any, selector: str, find: str) -> list[str]:
    lists = page.locator(selector).evaluate_all(
        f"(roots) => {{ {_COLOURS} return roots.flatMap({find}); }}"
    )
    return [str(text) for text in lists]


def choose_theme(page: Any, name: str) -> None:
    """Choose one of JupyterLab's themes by its menu, and wait until the page has it."""
    page.click(".lm-MenuBar-itemLabel >> text=Settings")
    for label in ("Theme", name):
        page.click(f".lm-Menu-itemLabel >> text={label}")
    is_light = "false" if "Dark" in name else "true"
    page.wait_for_selector(f"body[data-jp-theme-light={is_light}]", state="attached")
    page.wait_for_function(  # its colours come a moment later
        "(light) => (getComputedStyle(document.body).getPropertyValue('--jp-layout-color1').trim()"
        ".match(/^(white|#fff)/) !== null) === light",
        arg=is_light == "true",
    )


def each_look(page: Any, picture: Path, height: int) -> Iterator[tuple[str, int]]:
    """Show a page in each theme and width, and keep a picture of each.

    Parameters
    ----------
    picture : Path
        Where pictures are kept and how their names begin.
    height : int
        Of the page, in pixels.

    Yields
    ------
    tuple of str and int
        ``light`` or ``dark``, and the width.
    """
    for theme in ("Light", "Dark"):
        for width in (1300, 800):
            page.set_viewport_size({"width": 1300, "height": height})  # its menus are whole
            choose_theme(page, f"JupyterLab {theme}")
            page.set_viewport_size({"width": width, "height": height})
            look = theme.lower(), width
            page.screenshot(path=picture.with_name(f"{picture.name}-{look[0]}-{width}.png"))
            yield look
