"""Draw how the rooms of labkit import each other, as docs/structure.svg: ``make structure``.

Read from the imports, in the order of docs/ARCHITECTURE.md. Each arrow goes down; an arrow that
follows from others is left out, and so are the rooms at the bottom, which most others import.
"""

from __future__ import annotations

import ast
import json
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "labkit"
PICTURE = ROOT / "docs" / "structure.svg"
# rooms that are shown as one
GROUPS = {
    "lab, window": {"consumers", "discovery", "engines", "export", "lab", "queries", "window"},
    "reads": {"read_spec", "reads"},
    "cli": {"cli", "__main__"},
}
LAST = "kafka"  # below it are the rooms that most others import
WIDTH, ROW, BOX = 900, 62, (118, 30)


def group_of(room: str) -> str:
    """Return what a room is shown as."""
    return next((name for name, rooms in GROUPS.items() if room in rooms), room)


def read_layers() -> list[list[str]]:
    """Return the rooms that are shown, from the top down, as the architecture page lists them."""
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    block = page.split("## Rooms")[1].split("```text\n")[1].split("```")[0]
    layers: list[list[str]] = []
    for line in block.splitlines():
        rooms = line.split("  ")[0].split()
        layers.append(list(dict.fromkeys(map(group_of, rooms))))
        if LAST in rooms:
            break
    return layers


def read_imports(shown: set[str]) -> set[tuple[str, str]]:
    """Return which of the shown rooms imports which, without imports for type checking alone."""
    pairs = set()
    for path in PACKAGE.rglob("*.py"):
        room = group_of(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))
        for module in imported_modules(ast.parse(path.read_text(encoding="utf-8"))):
            other = group_of(module.split(".")[1])
            if room != other and {room, other} <= shown:
                pairs.add((room, other))
    return pairs


def imported_modules(tree: ast.Module) -> list[str]:
    """Return the names of labkit's modules that are imported when the code runs."""
    modules = []
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "labkit":
            modules += [f"labkit.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.append(node.module)
    return [module for module in modules if module.startswith("labkit.")]


def without_implied(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the pairs that do not follow from others."""
    below: dict[str, set[str]] = {}
    for room, other in pairs:
        below.setdefault(room, set()).add(other)

    def reaches(room: str, goal: str) -> bool:
        seen_rooms, open_rooms = set(), [other for other in below.get(room, ()) if other != goal]
        while open_rooms:
            current = open_rooms.pop()
            if current == goal:
                return True
            if current not in seen_rooms and current != room:
                seen_rooms.add(current)
                open_rooms += below.get(current, ())
        return False

    return {(room, other) for room, other in pairs if not reaches(room, other)}


Place = tuple[float, float]
BENDS = range(-420, 421, 10)  # how far an arrow's middle is moved to the side


def curve(start: Place, end: Place, bend: int) -> tuple[Place, Place, Place]:
    """Return an arrow's beginning, control point and end: from below a box to above the other."""
    (x1, y1), (x2, y2) = start, end
    middle = ((x1 + x2) / 2 + bend, (y1 + y2) / 2)
    return (x1, y1 + BOX[1] / 2), middle, (x2, y2 - BOX[1] / 2 - 5)


def path_of(start: Place, end: Place, bend: int) -> str:
    """Return an arrow as the path of an SVG."""
    first, middle, last = (f"{x:.0f} {y:.0f}" for x, y in curve(start, end, bend))
    return f"M {first} Q {middle} {last}"


def count_hidden(start: Place, end: Place, bend: int, boxes: list[Place]) -> int:
    """Return how many points of an arrow are behind boxes, or too near to them."""
    (x1, y1), (x2, y2), (x3, y3) = curve(start, end, bend)
    hidden = 0
    for step in range(1, 60):
        t = step / 60
        x = (1 - t) ** 2 * x1 + 2 * t * (1 - t) * x2 + t**2 * x3
        y = (1 - t) ** 2 * y1 + 2 * t * (1 - t) * y2 + t**2 * y3
        hidden += any(
            abs(x - left) < BOX[0] / 2 + 6 and abs(y - top) < BOX[1] / 2 + 2 for left, top in boxes
        )
    return hidden


def draw(layers: list[list[str]], pairs: set[tuple[str, str]]) -> str:
    """Return the picture as SVG, with the pairs as JSON in its description."""
    places = {
        room: (WIDTH * (number + 1) / (len(rooms) + 1), ROW * (row + 0.6))
        for row, rooms in enumerate(layers)
        for number, room in enumerate(rooms)
    }
    width, height = BOX
    parts = []
    for room, other in sorted(pairs):
        start, end = places[room], places[other]
        boxes = [place for name, place in places.items() if name not in (room, other)]
        # an arrow behind a box would look as if it ended there
        bend = min(BENDS, key=lambda bend: (count_hidden(start, end, bend, boxes), abs(bend)))
        parts.append(
            f'<path d="{path_of(start, end, bend)}"'
            ' fill="none" stroke="#8a94a6" stroke-width="1.2" marker-end="url(#arrow)"/>'
        )
    for room, (x, y) in places.items():
        parts.append(
            f'<rect x="{x - width / 2:.0f}" y="{y - height / 2:.0f}" width="{width}" height="{height}"'
            f' rx="6" fill="{colour_of(room)}" stroke="#5b6577"/>'
            f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle" fill="#1c2430">{escape(room)}</text>'
        )
    facts = escape(json.dumps(sorted(pairs)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {ROW * len(layers) + 8}"'
        ' font-family="sans-serif" font-size="14" role="img">\n'
        "<title>The rooms of labkit, and which imports which</title>\n"
        f"<desc>{facts}</desc>\n"
        '<rect width="100%" height="100%" fill="#ffffff"/>\n'
        '<marker id="arrow" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" markerHeight="7"'
        ' orient="auto"><path d="M0 0 8 4 0 8z" fill="#8a94a6"/></marker>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def colour_of(room: str) -> str:
    """Return a room's colour: what writes to production stands out."""
    if room == "pipelines":
        return "#ffd9b8"
    return "#dcebff" if room in ("lab, window", "cli", "notebook", "demo") else "#f4f6fa"


def make_picture() -> str:
    """Return the picture of the imports as they are now."""
    layers = read_layers()
    shown = {room for rooms in layers for room in rooms}
    return draw(layers, without_implied(read_imports(shown)))


if __name__ == "__main__":
    PICTURE.write_text(make_picture(), encoding="utf-8")
    print(PICTURE)
