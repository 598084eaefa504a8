"""Make the gallery: every notebook executed on the local stack, with a picture and a page of each.

``make gallery`` calls it. ``docs/gallery/index.html`` and the pictures are in git; the executed
pages are some megabytes and are not. A picture is the notebook's own output, of the cell tagged
``gallery``, else its first.
"""

from __future__ import annotations

import base64
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat

from labkit.errors import LabkitError
from labkit.notebook import rerun

ROOT = Path(__file__).parents[1]
GALLERY = ROOT / "docs" / "gallery"
TAG = "gallery"
STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.5 }
body { max-width: 1100px; margin: 2rem auto; padding: 0 1rem }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(480px, 1fr)); gap: 2rem }
article { border-top: 2px solid #8886; padding-top: .5rem }
img { max-width: 100%; max-height: 340px; object-fit: contain; object-position: left top }
h2 { margin: .2rem 0 }
"""


@dataclass(frozen=True)
class Piece:
    """One executed notebook: what it says of itself, and its picture."""

    name: str
    title: str
    text: str
    picture: bytes | None


def piece(name: str, notebook: Any) -> Piece:
    """Return an executed notebook's title, its first paragraph and its picture."""
    head = next((cell.source for cell in notebook.cells if cell.cell_type == "markdown"), name)
    title, _, text = head.partition("\n")
    paragraph = next((part for part in text.split("\n\n") if part.strip()), "")
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cells.sort(key=lambda cell: TAG not in cell.metadata.get("tags", []))
    pictures = [
        png
        for cell in cells
        for output in cell.outputs
        if (png := output.get("data", {}).get("image/png"))
    ]
    picture = base64.b64decode(pictures[0]) if pictures else None
    return Piece(name, title.lstrip("# "), " ".join(paragraph.replace("`", "").split()), picture)


def index(pieces: list[Piece]) -> str:
    """Return the page with all of them."""
    told = "<code>make gallery</code> executes the notebooks and makes this page, and the executed pages it links to."
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>labkit: gallery</title>\n'
        f"<style>{STYLE}</style></head>\n<body><h1>labkit: gallery</h1>\n<p>{told}</p>\n"
        f"<main>\n{''.join(map(_article, pieces))}</main></body></html>\n"
    )


def _article(one: Piece) -> str:
    title, page = escape(one.title), f"pages/{one.name}.html"
    picture = (
        f'<a href="{page}"><img src="{one.name}.png" alt="{title}"></a>' if one.picture else ""
    )
    links = (
        f'<a href="../../notebooks/{one.name}.ipynb">notebook</a> · <a href="{page}">executed</a>'
    )
    return f"<article><h2>{title}</h2><p>{escape(one.text)}</p>{picture}<p>{links}</p></article>\n"


def main() -> int:
    """Execute them all; what fails is told at the end and is not in the gallery."""
    pages = GALLERY / "pages"
    pages.mkdir(parents=True, exist_ok=True)
    pieces, failed = [], []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        print(f"executing {path.name}", flush=True)
        with TemporaryDirectory() as folder:
            try:
                done = rerun.run(path, folder=folder)
            except LabkitError as error:
                failed.append(f"{path.name}: {error}")
                continue
            found = piece(path.stem, nbformat.read(done.notebook, as_version=4))
            (pages / f"{path.stem}.html").write_text(
                done.html.read_text(encoding="utf-8"), encoding="utf-8"
            )
        pieces.append(found)
        if found.picture:
            (GALLERY / f"{path.stem}.png").write_bytes(found.picture)
    (GALLERY / "index.html").write_text(index(pieces), encoding="utf-8")
    print(f"{len(pieces)} notebooks in {GALLERY / 'index.html'}", *failed, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
