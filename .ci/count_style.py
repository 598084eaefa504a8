"""Count what makes code slow to read: `make style` for labkit, or give folders and files.

It prints figures and where the worst places are, and fails when a figure is above its limit.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# assigned names without a noun: pronouns, numerals and participles that stand alone
VAGUE = {
    "all_", "another", "answered", "any_", "asked", "both", "chosen", "done", "each", "everything", "foo", "found",
    "given", "got", "here", "kept", "known", "made", "meant", "named", "needed", "nothing", "one", "ones", "other",
    "others", "said", "seen", "some", "something", "stuff", "taken", "that", "theirs", "there", "these", "they",
    "thing", "things", "this", "those", "told", "two", "used", "wanted", "what", "whatever", "which", "who", "whole",
}  # fmt: skip
VERBS = {"embed", "exceed", "feed", "heed", "need", "proceed", "seed", "shed", "speed", "succeed"}
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LONG_LINE = 100
LONG_FUNCTION = 50
# percent
LIMITS = {
    "vague names": 2.0,
    "long lines": 3.0,
    "long functions": 2.0,
    "nested comprehensions": 1.0,
    "participles as functions": 1.0,
}


@dataclass
class Figure:
    """How many of all are meant, and where."""

    unit: str
    total: int = 0
    places: list[str] = field(default_factory=list)

    @property
    def percent(self) -> float:
        """The share of all."""
        return 100 * len(self.places) / max(1, self.total)


def assigned_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield each name that a statement, a loop or a comprehension assigns, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno


def statements(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines a function's body takes, without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def named_by_participle(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether a function is called `told` or `_merged`; a property may be `planned`."""
    name = function.name.strip("_")
    participle = name in VAGUE or (name.endswith("ed") and "_" not in name and name not in VERBS)
    return participle and not any("property" in ast.unparse(d) for d in function.decorator_list)


def nested(node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> bool:
    """Tell whether a comprehension holds another one, or loops twice on more than one line."""
    inner = any(isinstance(part, COMPREHENSIONS) for part in ast.walk(node) if part is not node)
    lines = (node.end_lineno or 0) - node.lineno + 1
    return lines > 1 and (inner or len(node.generators) > 1)


def count_style(files: list[Path]) -> tuple[dict[str, Figure], Counter[str]]:
    """Return the figures of some files, and how often each vague name is assigned."""
    figures = {
        "vague names": Figure("assignments"),
        "long lines": Figure("lines"),
        "long functions": Figure("functions"),
        "nested comprehensions": Figure("comprehensions"),
        "participles as functions": Figure("functions"),
    }
    vague: Counter[str] = Counter()
    for path in files:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        for name, line in assigned_names(tree):
            figures["vague names"].total += 1
            if name in VAGUE:
                vague[name] += 1
                figures["vague names"].places.append(f"{path}:{line} {name}")
        for number, content in enumerate(text.splitlines(), 1):
            figures["long lines"].total += 1
            if len(content) > LONG_LINE:
                figures["long lines"].places.append(f"{path}:{number}")
        for node in ast.walk(tree):
            if isinstance(node, FUNCTIONS):
                figures["long functions"].total += 1
                if (lines := statements(node)) > LONG_FUNCTION:
                    figures["long functions"].places.append(
                        f"{path}:{node.lineno} {node.name} {lines} lines"
                    )
                figures["participles as functions"].total += 1
                if named_by_participle(node):
                    figures["participles as functions"].places.append(
                        f"{path}:{node.lineno} {node.name}"
                    )
            if isinstance(node, COMPREHENSIONS):
                figures["nested comprehensions"].total += 1
                if nested(node):
                    figures["nested comprehensions"].places.append(f"{path}:{node.lineno}")
    return figures, vague


def python_files(paths: list[Path]) -> list[Path]:
    """Return the Python files among some paths and in their folders."""
    return sorted(
        file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])
    )


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; return 1 when one is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, default=[Path("labkit")])
    parser.add_argument("--list", choices=sorted(LIMITS), help="print every place of this figure")
    parser.add_argument("--files", action="store_true", help="print how many places each file has")
    parser.add_argument(
        "--hold", nargs="+", choices=sorted(LIMITS), default=sorted(LIMITS), metavar="FIGURE",
        help="the figures that fail above their limits (all)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    figures, vague = count_style(python_files(options.paths))
    for name, figure in figures.items():
        print(
            f"{name:24} {figure.percent:5.1f} % (limit {LIMITS[name]} %): "
            f"{len(figure.places):,} of {figure.total:,} {figure.unit}"
        )
        if options.files:
            for path, count in Counter(place.split(":")[0] for place in figure.places).most_common(
                15
            ):
                print(f"    {count:4} {path}")
    print("vague names: " + ", ".join(f"{name} {count}" for name, count in vague.most_common(12)))
    if options.list:
        print("\n".join(figures[options.list].places))
    return int(any(figures[name].percent > LIMITS[name] for name in options.hold))


if __name__ == "__main__":
    sys.exit(main())
